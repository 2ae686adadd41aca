//! Schemas: the fields of a log type, their types, and the validation of records.
//!
//! [`file`] is the YAML form of a schema, [`compile`] converts it to the checked form in this module, and [`matching`] validates a record
//! against the checked form.

mod compile;
mod file;
mod form;
mod matching;
mod names;
mod transform;
mod validation;

use std::sync::Arc;

pub(crate) use compile::compile;
pub(crate) use file::{CsvFile, ParserFile, PatternFile};
pub(crate) use form::{Form, KeyValue};
pub(crate) use matching::{Findings, Shapes, match_record};
use names::Names;
use thiserror::Error;
pub(crate) use transform::{Changes, Mask, Source};
use validation::Validation;

use crate::{indicators::Scanner, time::TimeFormat};

/// A problem in a schema, with its path.
#[derive(Debug, Clone, PartialEq, Eq, Error)]
#[error("schema {schema}: {}{problem}", if .path.is_empty() { String::new() } else { format!("{path}: ") })]
pub struct SchemaError {
    /// The declared name of the log type, or `?` if the name cannot be read.
    pub schema: String,
    /// The path of the field or option, such as `fields.actor.fields.id.timeFormat`; empty if the problem concerns the whole schema.
    pub path: String,
    /// What is wrong, and what is accepted instead.
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
        /// Priority among the candidates for the event time; the present field with the lowest number wins.
        candidate: Option<u32>,
    },
    Object(ObjectType),
    Array(Arc<ValueType>),
    /// Any JSON value; `aws` enables the AWS indicator extractor for it.
    Json {
        aws: bool,
    },
    /// A text of a form with a structure of its own, which has this type. The parser stage replaces the text by its JSON.
    Embedded {
        form: Form,
        of: Arc<ValueType>,
    },
}

/// A string: its indicator scanners and its allowed values.
#[derive(Debug, Default)]
pub(crate) struct StringType {
    pub(crate) scanners: Vec<Scanner>,
    /// What a value must be; `None` accepts every text.
    pub(crate) validation: Option<Box<Validation>>,
    pub(crate) mask: Option<Mask>,
}

/// An object type and its members.
#[derive(Debug)]
pub(crate) struct ObjectType {
    pub(crate) fields: Vec<Field>,
    names: Names,
    /// Fields of which at least one must be present; empty if there is no such rule.
    one_of: Vec<Arc<str>>,
    /// One bit per required field.
    required: u128,
    /// The former names of fields with `rename`, each with the number of its field.
    renames: Vec<(Box<str>, usize)>,
    /// The transformations of the fields and of all types below them.
    pub(crate) changes: Changes,
}

impl ObjectType {
    pub(crate) fn field(&self, name: &str) -> Option<&Field> {
        self.names
            .get(name)
            .and_then(|index| self.fields.get(index))
    }

    /// The field that takes over the value of the member `name`.
    pub(crate) fn renamed(&self, name: &str) -> Option<&Field> {
        self.renames
            .iter()
            .find(|(from, _)| **from == *name)
            .and_then(|(_, index)| self.fields.get(*index))
    }
}

/// A member of an object.
#[derive(Debug)]
pub(crate) struct Field {
    pub(crate) name: Arc<str>,
    pub(crate) value: Arc<ValueType>,
    /// The bit of this field in the set of required fields; 0 for an optional field.
    required: u128,
    /// Transformations that give the field a value, in the order of their stages.
    pub(crate) sources: Vec<Source>,
}
