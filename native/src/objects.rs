//! `inference_data` and `ground_truth_data`: one object a row, one column an attribute.
//! As `rows`, gives up at the first doubt.

use crate::columns::Column;
use crate::cursor::Cursor;
use crate::instants::instant;
use crate::shape::{Field, Fields, Kind};

/// What leads from one value to the next, and the column of that one.
struct Step<'a> {
    bytes: &'a [u8],
    place: usize,
}

enum Next {
    /// Of the column at this place.
    Value(usize),
    End,
}

/// The attributes of one object a row.
pub struct Group<'a> {
    fields: &'a Fields,
    pub columns: Vec<Column>,
    /// What stood before each value of the objects so far: the same bytes mean the same again.
    steps: Vec<Step<'a>>,
    length: usize,
    text_length: usize,
}

impl<'a> Group<'a> {
    pub fn of(fields: &'a Fields, text_length: usize) -> Self {
        Self { fields, columns: fields.columns(), steps: Vec::new(), length: 0, text_length }
    }

    pub fn object(&mut self, cursor: &mut Cursor<'a>) -> Option<()> {
        if !cursor.passes(b'{') {
            return None;
        }
        let mut keys = 0;
        while let Next::Value(place) = self.key(cursor, keys)? {
            let (field, column) = (self.fields.all.get(place)?, self.columns.get_mut(place)?);
            // A second value of the same key: which one counts is left to the others.
            if column.length != self.length {
                return None;
            }
            take(cursor, field, column, self.text_length)?;
            keys += 1;
        }
        self.length += 1;
        if keys < self.columns.len() {
            self.fill()?;
        }
        Some(())
    }

    /// Up to the next value, or to the end of the object.
    #[inline]
    fn key(&mut self, cursor: &mut Cursor<'a>, keys: usize) -> Option<Next> {
        match self.steps.get(keys) {
            Some(step) if cursor.passes_all(step.bytes) => {
                cursor.blanks();
                Some(Next::Value(step.place))
            }
            _ => self.other_key(cursor, keys),
        }
    }

    fn other_key(&mut self, cursor: &mut Cursor<'a>, keys: usize) -> Option<Next> {
        let start = cursor.place();
        cursor.blanks();
        let ends = if keys == 0 { cursor.passes(b'}') } else { !cursor.goes_on(b'}')? };
        if ends {
            return Some(Next::End);
        }
        let place = self.fields.place(cursor.plain_text()?)?;
        cursor.colon()?;
        let step = Step { bytes: cursor.since(start), place };
        match self.steps.get_mut(keys) {
            Some(old) => *old = step,
            None => self.steps.push(step),
        }
        Some(Next::Value(place))
    }

    /// Missing values for keys that were left out and may be.
    fn fill(&mut self) -> Option<()> {
        for (field, column) in self.fields.all.iter().zip(&mut self.columns) {
            if column.length < self.length {
                if field.keyed {
                    return None;
                }
                column.push_missing();
            }
        }
        Some(())
    }

    /// Whether the last object has a value; if it has none, it is as if it had not come.
    pub fn keep_if_valued(&mut self) -> bool {
        let valued = self.columns.iter().any(|column| !column.last_is_missing());
        if !valued {
            self.length -= 1;
            self.columns.iter_mut().for_each(Column::pop_missing);
        }
        valued
    }
}

#[inline]
fn take(cursor: &mut Cursor, field: &Field, column: &mut Column, longest: usize) -> Option<()> {
    if cursor.peek() == b'n' {
        if field.valued || !cursor.passes_all(b"null") {
            return None;
        }
        column.push_missing();
        return Some(());
    }
    match field.kind {
        Kind::Float => column.push_float(cursor.float()?),
        Kind::Integer => column.push_whole(cursor.integer()?),
        Kind::Text => column.push_text(|data| cursor.text(data, longest))?,
        Kind::Instant => {
            let text = cursor.plain_text().filter(|text| text.len() <= longest)?;
            column.push_whole(instant(text)?);
        }
        Kind::Boolean if cursor.passes_all(b"true") => column.push_boolean(true),
        Kind::Boolean if cursor.passes_all(b"false") => column.push_boolean(false),
        Kind::Boolean => return None,
    }
    Some(())
}
