//! Schemas: the fields of a log type, their types, and how a record is held against them.
//!
//! [`file`] is a schema as its author writes it, [`compile`] makes of it the checked form here, and [`matching`] holds a record against that.

mod compile;
mod file;
mod matching;
mod names;

use std::sync::Arc;

pub(crate) use compile::compile;
pub(crate) use file::{CsvFile, ParserFile, PatternFile};
pub(crate) use matching::{Findings, Shapes, match_record};
use names::Names;
use thiserror::Error;

use crate::{indicators::Scanner, time::TimeFormat};

/// What is wrong with a schema, and where.
#[derive(Debug, Clone, PartialEq, Eq, Error)]
#[error("schema {schema}: {}{problem}", if .path.is_empty() { String::new() } else { format!("{path}: ") })]
pub struct SchemaError {
    /// The log type that the schema declares, or `?` where it does not come so far.
    pub schema: String,
    /// The field or option meant, such as `fields.actor.fields.id.timeFormat`; empty for the schema as a whole.
    pub path: String,
    /// What is wrong, and what would be right.
    pub problem: String,
}

/// A compiled schema.
#[derive(Debug)]
pub(crate) struct Schema {
    pub(crate) name: Arc<str>,
    pub(crate) description: String,
    pub(crate) reference: String,
    pub(crate) root: ObjectType,
    pub(crate) parser: Option<ParserFile>,
}

/// The type of a value.
#[derive(Debug)]
pub(crate) enum ValueType {
    String(StringType),
    Integer,
    Float,
    Boolean,
    Timestamp {
        format: TimeFormat,
        /// Place among the candidates for the event time; the lowest that is there wins.
        candidate: Option<u32>,
    },
    Object(ObjectType),
    Array(Arc<ValueType>),
    /// Anything; `aws` sends the AWS extractor through it.
    Json {
        aws: bool,
    },
}

/// What a string is good for and may be.
#[derive(Debug, Default)]
pub(crate) struct StringType {
    pub(crate) scanners: Vec<Scanner>,
    pub(crate) allowed: Allowed,
}

/// Which strings a field takes.
#[derive(Debug, Default)]
pub(crate) enum Allowed {
    #[default]
    All,
    Only(Vec<String>),
    Not(Vec<String>),
    Ending(Vec<String>),
}

impl Allowed {
    fn allows(&self, text: &str) -> bool {
        let is = |one: &String| one == text;
        match self {
            Self::All => true,
            Self::Only(these) => these.iter().any(is),
            Self::Not(these) => !these.iter().any(is),
            Self::Ending(ends) => ends.iter().any(|end| text.ends_with(end)),
        }
    }
}

/// An object and its members.
#[derive(Debug)]
pub(crate) struct ObjectType {
    pub(crate) fields: Vec<Field>,
    names: Names,
    /// Fields of which one has to be there; empty where none has to.
    one_of: Vec<Arc<str>>,
    /// One bit for each required field.
    required: u128,
}

impl ObjectType {
    pub(crate) fn field(&self, name: &str) -> Option<&Field> {
        self.names
            .get(name)
            .and_then(|index| self.fields.get(index))
    }
}

/// A member of an object.
#[derive(Debug)]
pub(crate) struct Field {
    pub(crate) name: Arc<str>,
    pub(crate) value: Arc<ValueType>,
    /// The bit of this field among the required ones; 0 for an optional field.
    required: u128,
}
