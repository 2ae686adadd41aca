//! Constants of a pack: what its modules hold once they are loaded, and what is written in its functions.

use std::collections::HashMap;
use std::sync::Arc;

use foldhash::fast::RandomState;

use super::names::{Builtin, Class};
use super::value::{Classes, Done, OwnError, Stop, Value};

/// A constant container of a pack.
#[derive(Debug)]
pub(super) struct Frozen {
    pub(super) kind: FrozenKind,
    pub(super) items: Vec<Constant>,
    /// Values of a dict, by the place of their key in `items`.
    pub(super) values: Vec<Constant>,
    /// Places of its texts.
    pub(super) texts: HashMap<Box<str>, usize, RandomState>,
    /// Whether `texts` has all items.
    pub(super) only_texts: bool,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum FrozenKind {
    List,
    Tuple,
    Set,
    Dict,
}

/// A constant of a pack.
#[derive(Debug)]
pub(super) enum Constant {
    None,
    Bool(bool),
    Int(i64),
    Float(f64),
    Text(Box<str>),
    Frozen(Box<Frozen>),
    /// What a library has a lot of, shared by all that read it.
    Table(Arc<Frozen>),
    Function(usize),
    Builtin(Builtin),
    Class(Class),
    ErrorClass(Box<OwnError>),
    KnownErrorClass(&'static [&'static str]),
    Regex(Box<super::pattern::Pattern>),
    Span(super::moment::Span),
    Kind(Box<super::kinds::Kind>),
    /// What it is that has no form here.
    Unknown(Box<str>),
}

impl Frozen {
    pub(super) fn new(kind: FrozenKind, items: Vec<Constant>, values: Vec<Constant>) -> Self {
        let texts: HashMap<Box<str>, usize, RandomState> = items
            .iter()
            .enumerate()
            .rev()
            .filter_map(|(place, item)| match item {
                Constant::Text(text) => Some((text.clone(), place)),
                _ => None,
            })
            .collect();
        let only_texts = items.iter().all(|item| matches!(item, Constant::Text(_)));
        Self {
            kind,
            items,
            values,
            texts,
            only_texts,
        }
    }
}

impl Constant {
    pub(super) fn value(&self) -> Done<'_> {
        Ok(match self {
            Self::None => Value::None,
            Self::Bool(value) => Value::Bool(*value),
            Self::Int(value) => Value::Int(*value),
            Self::Float(value) => Value::Float(*value),
            Self::Text(text) => Value::Text(text),
            Self::Frozen(frozen) => Value::Frozen(frozen),
            Self::Table(table) => Value::Frozen(table),
            Self::Function(place) => Value::Function(*place),
            Self::Builtin(builtin) => Value::Builtin(*builtin),
            Self::Class(class) => Value::Class(*class),
            Self::ErrorClass(classes) => Value::ErrorClass(Classes::OfPack(classes)),
            Self::KnownErrorClass(classes) => Value::ErrorClass(Classes::Known(classes)),
            Self::Regex(pattern) => Value::Regex(pattern),
            Self::Span(span) => Value::Span(*span),
            Self::Kind(kind) => Value::Kind(kind),
            Self::Unknown(what) => return Err(Stop::NoForm(what)),
        })
    }
}
