//! The module `modelwarden_native`: what Python sees of the compiled parser.
//! Must not decide anything: `schema/native.py` knows what to do with what it gives.

mod columns;
mod cursor;
mod export;
mod instants;
mod objects;
mod rows;
mod shape;

use std::panic::{AssertUnwindSafe, catch_unwind};
use std::sync::atomic::{AtomicUsize, Ordering};

use pyo3::exceptions::PyValueError;
use pyo3::prelude::*;
use pyo3::pybacked::PyBackedBytes;
use pyo3::types::PyBytes;

use crate::export::Batch;
use crate::rows::{Bounds, Found};
use crate::shape::{Fields, Kind, Shape};

/// Raised with any change of what is given or taken here, so that an old wheel is not used by new code.
const INTERFACE: u32 = 1;
/// Smaller bodies are parsed without letting other threads run: to get one's turn again costs more.
const INLINE_BYTES: usize = 64 << 10;

type Attribute = (String, String, bool, bool);

/// Parser of one model's rows: attributes are (name, kind, must its key be there, must its value).
#[pyclass(frozen)]
struct Parser {
    shape: Shape,
    panics: AtomicUsize,
}

#[pymethods]
#[allow(clippy::needless_pass_by_value)] // what has been extracted for us is ours
impl Parser {
    #[new]
    fn new(
        data: Vec<Attribute>,
        truth: Vec<Attribute>,
        is_batch: bool,
        text_length: usize,
        id_length: usize,
    ) -> PyResult<Self> {
        let (data, truth) = (fields(data)?, fields(truth)?);
        Ok(Self {
            shape: Shape { data, truth, is_batch, text_length, id_length },
            panics: AtomicUsize::new(0),
        })
    }

    /// How often a body was given up because of a mistake in here. Tests want none.
    #[getter]
    fn panics(&self) -> usize {
        self.panics.load(Ordering::Relaxed)
    }

    /// The inferences of a body if all of them are good, else None.
    fn parse(
        &self,
        py: Python<'_>,
        body: PyBackedBytes,
        rows: usize,
        latest: i64,
        batch: Option<&str>,
    ) -> Option<Parsed> {
        let batch = batch.map(str::as_bytes);
        self.run(py, &body, &Bounds { rows, latest, batch, labels: false })
    }

    /// The labels of a body if all of them are good, else None.
    fn parse_labels(&self, py: Python<'_>, body: PyBackedBytes, rows: usize, latest: i64) -> Option<Parsed> {
        self.run(py, &body, &Bounds { rows, latest, batch: None, labels: true })
    }
}

impl Parser {
    fn run(&self, py: Python<'_>, body: &[u8], bounds: &Bounds) -> Option<Parsed> {
        if body.len() <= INLINE_BYTES {
            return self.parsed(body, bounds);
        }
        py.detach(|| self.parsed(body, bounds))
    }

    /// A panic would be a mistake in here, not a reason to lose rows: the others parse the body then.
    fn parsed(&self, body: &[u8], bounds: &Bounds) -> Option<Parsed> {
        let parse = || rows::parse(body, &self.shape, bounds).map(|found| Parsed::of(found, bounds));
        catch_unwind(AssertUnwindSafe(parse)).unwrap_or_else(|_| {
            self.panics.fetch_add(1, Ordering::Relaxed);
            None
        })
    }
}

/// What was found. `total` is more than the bound if there are too many rows; then there are no columns.
#[pyclass(frozen)]
struct Parsed {
    #[pyo3(get)]
    total: usize,
    #[pyo3(get)]
    labels: usize,
    labelled: Vec<i64>,
    rows: Option<Batch>,
    truth: Option<Batch>,
}

impl Parsed {
    fn of(found: Found, bounds: &Bounds) -> Self {
        let (total, labels) = (found.total, found.labelled.len());
        let columns = total <= bounds.rows;
        Self {
            total,
            labels,
            rows: (columns && !bounds.labels).then(|| Batch::of(found.rows, total)),
            truth: (columns && labels > 0).then(|| Batch::of(found.truth, labels)),
            labelled: found.labelled,
        }
    }
}

#[pymethods]
impl Parsed {
    /// Address of the rows as an `ArrowArray` to be moved out; 0 if there are none.
    #[getter]
    fn rows(&self) -> usize {
        self.rows.as_ref().map_or(0, Batch::address)
    }

    /// Address of the labels, likewise.
    #[getter]
    fn truth(&self) -> usize {
        self.truth.as_ref().map_or(0, Batch::address)
    }

    /// The rows that have a label, as 64-bit integers of the machine.
    #[getter]
    fn labelled<'py>(&self, py: Python<'py>) -> Bound<'py, PyBytes> {
        let bytes: Vec<u8> = self.labelled.iter().flat_map(|row| row.to_ne_bytes()).collect();
        PyBytes::new(py, &bytes)
    }
}

fn fields(attributes: Vec<Attribute>) -> PyResult<Fields> {
    let mut fields = Fields::default();
    for (name, kind, keyed, valued) in attributes {
        let kind =
            Kind::of(&kind).ok_or_else(|| PyValueError::new_err(format!("no kind of value: {kind}")))?;
        fields.add(&name, kind, keyed, valued);
    }
    Ok(fields)
}

#[pymodule]
fn modelwarden_native(module: &Bound<'_, PyModule>) -> PyResult<()> {
    module.add("INTERFACE", INTERFACE)?;
    module.add_class::<Parser>()?;
    module.add_class::<Parsed>()
}
