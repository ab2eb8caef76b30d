//! Columns in the making, in Arrow's layout: values, and a bit a row once one is missing.
//! Must not know JSON, nor who frees what.

pub enum Values {
    Text { ends: Vec<i32>, data: Vec<u8> },
    Whole(Vec<i64>),
    Float(Vec<f64>),
    Boolean(Bits),
}

#[derive(Default)]
pub struct Bits {
    pub bytes: Vec<u8>,
    length: usize,
}

impl Bits {
    #[inline]
    fn push(&mut self, bit: bool) {
        if self.length.is_multiple_of(8) {
            self.bytes.push(0);
        }
        if let Some(last) = self.bytes.last_mut() {
            *last |= u8::from(bit) << (self.length % 8);
        }
        self.length += 1;
    }

    fn last(&self) -> bool {
        let place = self.length.wrapping_sub(1);
        self.bytes.get(place / 8).is_some_and(|byte| byte >> (place % 8) & 1 == 1)
    }

    fn pop(&mut self) {
        self.length -= 1;
        if self.length.is_multiple_of(8) {
            self.bytes.pop();
        } else if let Some(last) = self.bytes.last_mut() {
            *last &= !(1 << (self.length % 8));
        }
    }

    fn of_ones(length: usize) -> Self {
        let mut bits = Self { bytes: vec![0xFF; length / 8], length: length / 8 * 8 };
        (0..length % 8).for_each(|_| bits.push(true));
        bits
    }
}

pub struct Column {
    pub values: Values,
    /// Empty as long as no value is missing.
    pub known: Bits,
    pub missing: usize,
    pub length: usize,
}

impl Column {
    pub fn of(values: Values) -> Self {
        Self { values, known: Bits::default(), missing: 0, length: 0 }
    }

    pub fn of_texts() -> Self {
        Self::of(Values::Text { ends: vec![0], data: Vec::new() })
    }

    pub fn of_wholes() -> Self {
        Self::of(Values::Whole(Vec::new()))
    }

    pub fn reserve(&mut self, rows: usize) {
        match &mut self.values {
            Values::Text { ends, .. } => ends.reserve(rows),
            Values::Whole(values) => values.reserve(rows),
            Values::Float(values) => values.reserve(rows),
            Values::Boolean(_) => (),
        }
    }

    #[inline]
    pub fn push_whole(&mut self, value: i64) {
        if let Values::Whole(values) = &mut self.values {
            values.push(value);
        }
        self.pushed();
    }

    #[inline]
    pub fn push_float(&mut self, value: f64) {
        if let Values::Float(values) = &mut self.values {
            values.push(value);
        }
        self.pushed();
    }

    pub fn push_boolean(&mut self, value: bool) {
        if let Values::Boolean(values) = &mut self.values {
            values.push(value);
        }
        self.pushed();
    }

    /// A text that `write` appends. None if it fails, or if the column gets too large for Arrow's `string`.
    #[inline]
    pub fn push_text(&mut self, write: impl FnOnce(&mut Vec<u8>) -> Option<()>) -> Option<()> {
        if let Values::Text { ends, data } = &mut self.values {
            write(data)?;
            ends.push(i32::try_from(data.len()).ok()?);
        }
        self.pushed();
        Some(())
    }

    pub fn push_missing(&mut self) {
        match &mut self.values {
            Values::Text { ends, .. } => ends.push(ends.last().copied().unwrap_or(0)),
            Values::Whole(values) => values.push(0),
            Values::Float(values) => values.push(0.0),
            Values::Boolean(values) => values.push(false),
        }
        if self.missing == 0 {
            self.known = Bits::of_ones(self.length);
        }
        self.known.push(false);
        self.missing += 1;
        self.length += 1;
    }

    /// Takes a missing value back, the last one.
    pub fn pop_missing(&mut self) {
        match &mut self.values {
            Values::Text { ends, .. } => drop(ends.pop()),
            Values::Whole(values) => drop(values.pop()),
            Values::Float(values) => drop(values.pop()),
            Values::Boolean(values) => values.pop(),
        }
        self.known.pop();
        self.missing -= 1;
        self.length -= 1;
    }

    pub fn last_is_missing(&self) -> bool {
        self.missing > 0 && !self.known.last()
    }

    /// The last text.
    pub fn last_text(&self) -> Option<&[u8]> {
        match &self.values {
            Values::Text { ends, data } => {
                let start = *ends.get(self.length.checked_sub(1)?)?;
                data.get(usize::try_from(start).ok()?..)
            }
            _ => None,
        }
    }

    #[inline]
    fn pushed(&mut self) {
        if self.missing > 0 {
            self.known.push(true);
        }
        self.length += 1;
    }
}
