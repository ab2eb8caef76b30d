//! A whole request of good rows to columns, in one pass. At the first thing that is not as it should be, or
//! that is not certain to mean the same to the parsers in Python, it gives up: None. They go on from there.

use crate::columns::Column;
use crate::cursor::Cursor;
use crate::instants::instant;
use crate::objects::Group;
use crate::shape::Shape;

const ID: u8 = 1;
const TIME: u8 = 2;
const BATCH: u8 = 4;
const DATA: u8 = 8;
const TRUTH: u8 = 16;
const TRUTH_TIME: u8 = 32;
const MOST_RESERVED: usize = 1024;

/// What one request may hold. `latest`: the last instant that is not too far ahead; `batch`: of rows that
/// name none; `labels`: the rows are labels that come without their inferences.
pub struct Bounds<'a> {
    pub rows: usize,
    pub latest: i64,
    pub batch: Option<&'a [u8]>,
    pub labels: bool,
}

/// The columns of a request. `labelled`: the rows that have a label.
pub struct Found {
    pub total: usize,
    pub rows: Vec<Column>,
    pub truth: Vec<Column>,
    pub labelled: Vec<i64>,
}

/// The rows of `body`. If there are more than allowed, one more than allowed are found, without columns.
pub fn parse(body: &[u8], shape: &Shape, bounds: &Bounds) -> Option<Found> {
    let mut cursor = Cursor::new(body);
    let mut rows = Rows::new(shape, bounds);
    cursor.blanks();
    if !cursor.passes(b'[') {
        return None;
    }
    cursor.blanks();
    loop {
        let start = cursor.place();
        rows.row(&mut cursor)?;
        if rows.total == 1 {
            rows.reserve(body.len() / (cursor.place() - start).max(1));
        }
        if rows.total > bounds.rows {
            // The others say the same of any body that is UTF-8, whatever else follows.
            std::str::from_utf8(cursor.rest()).ok()?;
            return Some(Found { total: rows.total, rows: vec![], truth: vec![], labelled: vec![] });
        }
        if !cursor.goes_on(b']')? {
            break;
        }
    }
    cursor.blanks();
    cursor.at_end().then(|| rows.finish())
}

struct Rows<'a> {
    shape: &'a Shape,
    bounds: &'a Bounds<'a>,
    total: usize,
    ids: Column,
    times: Column,
    batches: Column,
    data: Group<'a>,
    label_ids: Column,
    label_times: Column,
    truth: Group<'a>,
    labelled: Vec<i64>,
}

impl<'a> Rows<'a> {
    fn new(shape: &'a Shape, bounds: &'a Bounds<'a>) -> Self {
        Self {
            shape,
            bounds,
            total: 0,
            ids: Column::of_texts(),
            times: Column::of_wholes(),
            batches: Column::of_texts(),
            data: Group::of(&shape.data, shape.text_length),
            label_ids: Column::of_texts(),
            label_times: Column::of_wholes(),
            truth: Group::of(&shape.truth, shape.text_length),
            labelled: Vec::new(),
        }
    }

    /// Room for the rows to come, if they are like the first; bounded, because they need not be.
    fn reserve(&mut self, rows: usize) {
        let rows = rows.min(self.bounds.rows).min(MOST_RESERVED);
        let head = [&mut self.ids, &mut self.times, &mut self.batches];
        head.into_iter().chain(&mut self.data.columns).for_each(|column| column.reserve(rows));
    }

    fn row(&mut self, cursor: &mut Cursor<'a>) -> Option<()> {
        if !cursor.passes(b'{') {
            return None;
        }
        cursor.blanks();
        let mut seen = 0;
        let mut label_time = None;
        let mut labelled = false;
        loop {
            let key = cursor.plain_text()?;
            cursor.colon()?;
            let field = self.field_of(key)?;
            if seen & field != 0 {
                return None;
            }
            seen |= field;
            match field {
                ID => self.id(cursor)?,
                TIME => self.times.push_whole(self.timely(cursor.plain_text()?)?),
                BATCH => self.batch(cursor)?,
                DATA => self.data.object(cursor)?,
                TRUTH if !cursor.passes_all(b"null") => {
                    self.truth.object(cursor)?;
                    labelled = self.truth.keep_if_valued();
                }
                TRUTH_TIME if !cursor.passes_all(b"null") => label_time = Some(cursor.plain_text()?),
                _ => (),
            }
            if !cursor.goes_on(b'}')? {
                break;
            }
        }
        self.complete(seen, labelled)?;
        if labelled {
            self.label(label_time?)?;
        }
        self.total += 1;
        Some(())
    }

    fn field_of(&self, key: &[u8]) -> Option<u8> {
        Some(match key {
            b"partner_inference_id" => ID,
            b"ground_truth_data" => TRUTH,
            b"ground_truth_timestamp" => TRUTH_TIME,
            b"inference_timestamp" if !self.bounds.labels => TIME,
            b"inference_data" if !self.bounds.labels => DATA,
            b"batch_id" if !self.bounds.labels => BATCH,
            _ => return None,
        })
    }

    /// A text that is not empty, or a whole number's digits.
    fn id(&mut self, cursor: &mut Cursor) -> Option<()> {
        let longest = self.shape.id_length;
        self.ids.push_text(|data| {
            let before = data.len();
            id_text(cursor, data, longest)?;
            (data.len() > before).then_some(())
        })
    }

    fn batch(&mut self, cursor: &mut Cursor) -> Option<()> {
        if cursor.passes_all(b"null") || cursor.passes_all(b"\"\"") {
            self.batches.push_missing();
            self.own_batch();
            return Some(());
        }
        let longest = self.shape.id_length;
        self.batches.push_text(|data| id_text(cursor, data, longest))
    }

    /// Replaces the missing batch of the last row by that of the request, if it has one.
    fn own_batch(&mut self) {
        if let Some(batch) = self.bounds.batch {
            self.batches.pop_missing();
            let _ = self.batches.push_text(|data| {
                data.extend_from_slice(batch);
                Some(())
            });
        }
    }

    fn timely(&self, text: &[u8]) -> Option<i64> {
        instant(text).filter(|ticks| *ticks <= self.bounds.latest)
    }

    /// Whether the row has all it needs.
    fn complete(&mut self, seen: u8, labelled: bool) -> Option<()> {
        let needed = if self.bounds.labels { ID | TRUTH | TRUTH_TIME } else { ID | TIME | DATA };
        if seen & needed != needed || (self.bounds.labels && !labelled) {
            return None;
        }
        if !self.bounds.labels {
            if seen & BATCH == 0 {
                self.batches.push_missing();
                self.own_batch();
            }
            let batched = self.batches.missing == 0;
            if batched != self.shape.is_batch || (!batched && self.batches.missing != self.batches.length) {
                return None;
            }
        }
        Some(())
    }

    fn label(&mut self, time: &[u8]) -> Option<()> {
        let ticks = self.timely(time)?;
        self.label_times.push_whole(ticks);
        let id = self.ids.last_text()?;
        self.label_ids.push_text(|data| {
            data.extend_from_slice(id);
            Some(())
        })?;
        self.labelled.push(i64::try_from(self.total).ok()?);
        Some(())
    }

    fn finish(self) -> Found {
        let mut rows = vec![self.ids, self.times, self.batches];
        rows.extend(self.data.columns);
        let mut truth = vec![self.label_ids, self.label_times];
        truth.extend(self.truth.columns);
        Found { total: self.total, rows, truth, labelled: self.labelled }
    }
}

/// A text of at most `longest` characters, or the digits of a whole number.
fn id_text(cursor: &mut Cursor, data: &mut Vec<u8>, longest: usize) -> Option<()> {
    if cursor.peek() == b'"' {
        return cursor.text(data, longest);
    }
    let start = cursor.place();
    cursor.digits()?;
    data.extend_from_slice(cursor.since(start));
    Some(())
}
