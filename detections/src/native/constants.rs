//! Constants of a pack: what its modules hold once they are loaded, and what is written in its functions.

use std::collections::HashMap;
use std::sync::Arc;

use foldhash::fast::RandomState;

use super::names::{Builtin, Class};
use super::stop::OwnError;

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
    Kind(Box<Kind>),
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

/// A class, with what it takes from those above it.
#[derive(Debug)]
pub(super) struct Kind {
    /// Functions by name.
    pub(super) methods: HashMap<Box<str>, usize>,
    /// Functions that are called where the name is read.
    pub(super) properties: HashMap<Box<str>, usize>,
    pub(super) constants: HashMap<Box<str>, Constant>,
    /// The fields of a named tuple, which are all that it has.
    pub(super) fields: Option<Vec<Box<str>>>,
    /// Whether nothing may be set in its instances: they are shared by all events, or are tuples.
    pub(super) fixed: bool,
}

impl Kind {
    /// One whose instances are constants and nothing else.
    pub(super) fn fixed(constants: HashMap<Box<str>, Constant>) -> Self {
        Self {
            methods: HashMap::new(),
            properties: HashMap::new(),
            constants,
            fields: None,
            fixed: true,
        }
    }

    /// A named tuple.
    pub(super) fn tuple(fields: Vec<Box<str>>) -> Self {
        Self {
            fields: Some(fields),
            ..Self::fixed(HashMap::new())
        }
    }
}
