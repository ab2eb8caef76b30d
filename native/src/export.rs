//! Columns handed to Arrow without a copy, through its C data interface
//! (<https://arrow.apache.org/docs/format/CDataInterface.html>). The only file with unsafe code.
#![allow(unsafe_code)]

use std::cell::UnsafeCell;
use std::ffi::c_void;
use std::ptr::{null, null_mut};

use crate::columns::{Column, Values};

/// `struct ArrowArray` of the interface: the consumer moves it out and calls `release` once, when it is done.
#[repr(C)]
pub struct ArrowArray {
    length: i64,
    null_count: i64,
    offset: i64,
    n_buffers: i64,
    n_children: i64,
    buffers: *mut *const c_void,
    children: *mut *mut ArrowArray,
    dictionary: *mut ArrowArray,
    release: Option<unsafe extern "C" fn(*mut ArrowArray)>,
    private_data: *mut c_void,
}

/// What an array owns, reached through `private_data`; `buffers` and `children` of the array point into it.
struct Owned {
    _column: Option<Column>,
    buffers: Vec<*const c_void>,
    children: Vec<*mut ArrowArray>,
}

/// Columns that nobody has taken over yet. The consumer writes into the array that they have moved out.
pub struct Batch(Box<UnsafeCell<ArrowArray>>);

// SAFETY: whatever the array points to is owned by it alone and is plain memory.
unsafe impl Send for Batch {}
// SAFETY: a shared Batch gives nothing but its address.
unsafe impl Sync for Batch {}

impl Batch {
    /// A record batch: a struct array with one child a column.
    pub fn of(columns: Vec<Column>, rows: usize) -> Self {
        let children = columns.into_iter().map(|column| Box::into_raw(Box::new(child(column)))).collect();
        Self(Box::new(UnsafeCell::new(array(None, vec![null()], children, rows, 0))))
    }

    /// Where the array lies, for a consumer to move it out of there.
    pub fn address(&self) -> usize {
        self.0.get().addr()
    }
}

impl Drop for Batch {
    fn drop(&mut self) {
        let array = self.0.get_mut();
        // A consumer that moved the array has left None here.
        if let Some(release) = array.release {
            // SAFETY: not released yet, made by `array`.
            unsafe { release(array) }
        }
    }
}

fn child(column: Column) -> ArrowArray {
    let known = if column.missing > 0 { column.known.bytes.as_ptr().cast() } else { null() };
    // The memory of a Vec stays where it is when the column is moved into `Owned`.
    let buffers = match &column.values {
        Values::Text { ends, data } => vec![known, ends.as_ptr().cast(), data.as_ptr().cast()],
        Values::Whole(values) => vec![known, values.as_ptr().cast()],
        Values::Float(values) => vec![known, values.as_ptr().cast()],
        Values::Boolean(values) => vec![known, values.bytes.as_ptr().cast()],
    };
    let (length, missing) = (column.length, column.missing);
    array(Some(column), buffers, vec![], length, missing)
}

fn array(
    column: Option<Column>,
    buffers: Vec<*const c_void>,
    children: Vec<*mut ArrowArray>,
    length: usize,
    missing: usize,
) -> ArrowArray {
    let (n_buffers, n_children) = (signed(buffers.len()), signed(children.len()));
    let owned = Box::into_raw(Box::new(Owned { _column: column, buffers, children }));
    // SAFETY: just made; nobody else has it yet.
    let (buffers, children) = unsafe { ((*owned).buffers.as_mut_ptr(), (*owned).children.as_mut_ptr()) };
    ArrowArray {
        length: signed(length),
        null_count: signed(missing),
        offset: 0,
        n_buffers,
        n_children,
        buffers,
        children,
        dictionary: null_mut(),
        release: Some(release),
        private_data: owned.cast(),
    }
}

/// No allocation is larger than `isize::MAX`.
fn signed(length: usize) -> i64 {
    i64::try_from(length).unwrap_or(i64::MAX)
}

/// The interface's release callback.
unsafe extern "C" fn release(released: *mut ArrowArray) {
    // SAFETY: the interface promises a pointer to an array that `array` made and nobody has released.
    let released = unsafe { &mut *released };
    // SAFETY: `array` put it there by `Box::into_raw`, and it is taken out here only, once.
    let owned = unsafe { Box::from_raw(released.private_data.cast::<Owned>()) };
    for child in &owned.children {
        // SAFETY: `Batch::of` made it by `Box::into_raw`; a consumer may have moved its content, not itself.
        let mut child = unsafe { Box::from_raw(*child) };
        if let Some(release) = child.release {
            // SAFETY: not released yet, made by `array`.
            unsafe { release(&raw mut *child) }
        }
    }
    released.release = None;
}
