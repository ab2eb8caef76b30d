//! What a model's rows look like: the attributes of `inference_data` and of `ground_truth_data`.

use std::collections::HashMap;

use crate::columns::{Column, Values};

#[derive(Clone, Copy)]
pub enum Kind {
    Text,
    Integer,
    Float,
    Boolean,
    Instant,
}

impl Kind {
    pub fn of(name: &str) -> Option<Self> {
        Some(match name {
            "text" => Self::Text,
            "integer" => Self::Integer,
            "float" => Self::Float,
            "boolean" => Self::Boolean,
            "instant" => Self::Instant,
            _ => return None,
        })
    }

    pub fn column(self) -> Column {
        Column::of(match self {
            Self::Text => return Column::of_texts(),
            Self::Integer | Self::Instant => Values::Whole(Vec::new()),
            Self::Float => Values::Float(Vec::new()),
            Self::Boolean => Values::Boolean(crate::columns::Bits::default()),
        })
    }
}

/// An attribute. `keyed`: its key must be there; `valued`: its value must not be null.
pub struct Field {
    pub kind: Kind,
    pub keyed: bool,
    pub valued: bool,
}

#[derive(Default)]
pub struct Fields {
    pub all: Vec<Field>,
    places: HashMap<Vec<u8>, usize>,
}

impl Fields {
    pub fn add(&mut self, name: &str, kind: Kind, keyed: bool, valued: bool) {
        self.places.insert(name.as_bytes().to_vec(), self.all.len());
        self.all.push(Field { kind, keyed, valued });
    }

    pub fn place(&self, name: &[u8]) -> Option<usize> {
        self.places.get(name).copied()
    }

    pub fn columns(&self) -> Vec<Column> {
        self.all.iter().map(|field| field.kind.column()).collect()
    }
}

pub struct Shape {
    pub data: Fields,
    pub truth: Fields,
    pub is_batch: bool,
    pub text_length: usize,
    pub id_length: usize,
}
