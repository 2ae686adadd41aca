//! What the functions of a pack share while they are compiled: their places, the values that Python told, and what they do beyond their results.

use std::collections::{BTreeMap, BTreeSet, HashMap, HashSet};
use std::sync::Arc;
use std::sync::atomic::AtomicBool;

use ruff_python_ast::StmtFunctionDef;

use super::survey::{Survey, texts_in};
use crate::native::constants::{Constant, Frozen, FrozenKind, Kind};
use crate::native::moment::Span;
use crate::native::names::{Builtin, Class};
use crate::native::pattern::Pattern;
use crate::native::program::Written;
use crate::native::source::Definition;
use crate::native::stop::{OwnError, error_classes};
use crate::native::told::{Plain, Told, ToldClass, ToldFunction, ToldValue};

/// The functions of a pack, and what they share.
pub(in crate::native) struct Pack<'d> {
    /// Each function as Python told it and as it is written, in the order of their places.
    pub(super) functions: Vec<(&'d ToldFunction, &'d StmtFunctionDef)>,
    places: HashMap<&'d str, usize>,
    /// What a library has a lot of.
    tables: HashMap<&'d str, Arc<Frozen>>,
    pub(super) survey: Survey<'d>,
}

/// What a function does beyond its result.
#[derive(Debug, Clone, Default, PartialEq)]
pub(in crate::native) struct Reached {
    /// It uses the key-value store, or a class of the pack that may.
    pub(in crate::native) stores: bool,
    /// Slots of the globals that it writes.
    pub(in crate::native) writes: BTreeSet<usize>,
}

impl<'d> Pack<'d> {
    /// A function that is not among the definitions is left to Python.
    pub(in crate::native) fn new(told: &'d Told, definitions: &'d [Definition<'d>]) -> Self {
        let mut written: BTreeMap<&str, &StmtFunctionDef> = BTreeMap::new();
        for definition in definitions {
            let keys = definition.keys.iter();
            written.extend(keys.map(|key| (*key, &definition.function)));
        }
        let mut pack = Self {
            functions: Vec::new(),
            places: HashMap::new(),
            tables: HashMap::new(),
            survey: Survey::default(),
        };
        for (name, function) in &told.functions {
            if let Some(written) = written.get(name.as_str()) {
                pack.places.insert(name, pack.functions.len());
                pack.functions.push((function, written));
                pack.survey.take(module_of(function), written);
            }
        }
        for (name, value) in &told.tables {
            if let Constant::Frozen(table) = pack.constant(value) {
                pack.tables.insert(name, Arc::from(table));
            }
        }
        pack
    }

    /// The place of a function.
    pub(in crate::native) fn place(&self, name: &str) -> Option<usize> {
        self.places.get(name).copied()
    }

    /// The texts that functions may hand to `re`, compiled: those in the containers that a function beside `re` can read.
    pub(in crate::native) fn patterns(&self) -> HashMap<Box<str>, Pattern> {
        let mut texts = HashSet::new();
        for (told, written) in &self.functions {
            let regular = |value: &ToldValue| match value {
                ToldValue::Library(name) | ToldValue::Named(name) => {
                    name == "re" || name.starts_with("re.")
                }
                _ => false,
            };
            if told.globals.values().any(regular) {
                for value in told.globals.values() {
                    told_texts(value, &mut texts);
                }
                texts_in(written, &mut texts);
            }
        }
        texts
            .into_iter()
            .filter_map(|text| {
                let pattern = Pattern::new(&text, 0)?;
                Some((text, pattern))
            })
            .collect()
    }

    /// By function: what it, or one that it reaches, does beyond its result.
    pub(in crate::native) fn reached(&self, globals: &[String]) -> Vec<Reached> {
        let mut reached = Vec::with_capacity(self.functions.len());
        let mut calls = Vec::with_capacity(self.functions.len());
        for (told, written) in &self.functions {
            let (mut stores, mut called) = (false, Vec::new());
            for value in told.globals.values() {
                self.reach(value, globals, &mut stores, &mut called);
            }
            let writes = self.survey.writes(module_of(told), written);
            reached.push(Reached { stores, writes });
            calls.push(called);
        }
        loop {
            let before = reached.clone();
            for (place, called) in calls.iter().enumerate() {
                for called in called {
                    let Reached { stores, writes } = reached[*called].clone();
                    reached[place].stores |= stores;
                    reached[place].writes.extend(writes);
                }
            }
            if reached == before {
                return reached;
            }
        }
    }

    fn reach(
        &self,
        value: &ToldValue,
        globals: &[String],
        stores: &mut bool,
        calls: &mut Vec<usize>,
    ) {
        let mut all = |values: &mut dyn Iterator<Item = &ToldValue>| {
            for value in values {
                self.reach(value, globals, stores, calls);
            }
        };
        match value {
            ToldValue::Function(name) => calls.extend(self.place(name)),
            ToldValue::Named(name) | ToldValue::Library(name) => {
                let module = name.split('.').next().unwrap_or_default();
                *stores |= module == "panther_detection_helpers"
                    || globals.iter().any(|global| global == module);
            }
            ToldValue::Unknown(_) => *stores = true,
            ToldValue::Class(of) => all(&mut of.methods.values().chain(of.properties.values())),
            ToldValue::Module(members) => all(&mut members.values()),
            ToldValue::List(items) | ToldValue::Tuple(items) | ToldValue::Set(items) => {
                all(&mut items.iter());
            }
            ToldValue::Dict(pairs) => all(&mut pairs.iter().map(|(_, value)| value)),
            _ => {}
        }
    }

    /// The written names, by their slots.
    pub(in crate::native) fn written(&self) -> Vec<Written> {
        let mut names: Vec<_> = self.survey.written.iter().collect();
        names.sort_by_key(|(_, slot)| **slot);
        let loaded = |module: &str, name: &str| {
            let told = self.functions.iter().map(|(told, _)| told);
            let of_module = told.filter(|told| module_of(told) == module);
            let mut values = of_module.filter_map(|told| told.globals.get(name));
            values.next().map(|value| self.constant(value))
        };
        names
            .into_iter()
            .map(|((module, name), _)| Written {
                loaded: loaded(module, name)
                    .unwrap_or_else(|| Constant::Unknown("a name without a value".into())),
                since: AtomicBool::new(false),
            })
            .collect()
    }

    /// A value that Python told.
    pub(in crate::native) fn constant(&self, value: &ToldValue) -> Constant {
        let unknown = |what: &str| Constant::Unknown(what.into());
        match value {
            ToldValue::Plain(Plain::None(())) => Constant::None,
            ToldValue::Plain(Plain::Bool(value)) => Constant::Bool(*value),
            ToldValue::Plain(Plain::Int(value)) => Constant::Int(*value),
            ToldValue::Plain(Plain::Text(text)) => Constant::Text(text.as_str().into()),
            ToldValue::Float(text) => text
                .parse()
                .map_or_else(|_| unknown("a float"), Constant::Float),
            ToldValue::List(items) => self.container(FrozenKind::List, items),
            ToldValue::Tuple(items) => self.container(FrozenKind::Tuple, items),
            ToldValue::Set(items) => self.container(FrozenKind::Set, items),
            ToldValue::Dict(pairs) => {
                let keys = pairs.iter().map(|(key, _)| self.constant(key));
                let values = pairs.iter().map(|(_, value)| self.constant(value));
                let frozen = Frozen::new(FrozenKind::Dict, keys.collect(), values.collect());
                Constant::Frozen(frozen.into())
            }
            ToldValue::Regex((text, flags)) => Pattern::new(text, *flags).map_or_else(
                || unknown("a regular expression"),
                |pattern| Constant::Regex(pattern.into()),
            ),
            ToldValue::Span(micros) => Constant::Span(Span(*micros)),
            ToldValue::Function(name) => self
                .place(name)
                .map_or_else(|| unknown("a function"), Constant::Function),
            ToldValue::Table(name) => self.tables.get(name.as_str()).map_or_else(
                || unknown("a table"),
                |table| Constant::Table(table.clone()),
            ),
            ToldValue::Class(of) => Constant::Kind(self.kind(of).into()),
            ToldValue::NamedTuple(fields) => {
                let fields = fields.iter().map(|name| name.as_str().into());
                Constant::Kind(Kind::tuple(fields.collect()).into())
            }
            ToldValue::Named(name) => named(name),
            ToldValue::Error(of) => {
                let known = of.names.first().and_then(|name| error_classes(name));
                let own = || OwnError {
                    names: of.names.iter().map(|name| name.as_str().into()).collect(),
                    plain: of.plain,
                };
                known.map_or_else(
                    || Constant::ErrorClass(own().into()),
                    Constant::KnownErrorClass,
                )
            }
            ToldValue::Library(what) | ToldValue::Unknown(what) => unknown(what),
            ToldValue::Module(_) => unknown("a module"),
        }
    }

    /// A class whose instances are constants and nothing else.
    pub(in crate::native) fn fixed_kind(&self, constants: &BTreeMap<String, ToldValue>) -> Kind {
        let constants = constants.iter();
        let constants = constants.map(|(name, of)| (name.as_str().into(), self.constant(of)));
        Kind::fixed(constants.collect())
    }

    /// A class. A method that has no form here is as if it were not there: a call of it is a hole.
    fn kind(&self, of: &ToldClass) -> Kind {
        let functions = |of: &HashMap<String, ToldValue>| {
            let places = of.iter().filter_map(|(name, value)| match value {
                ToldValue::Function(function) => {
                    Some((name.as_str().into(), self.place(function)?))
                }
                _ => None,
            });
            places.collect()
        };
        let constants = of.constants.iter();
        Kind {
            methods: functions(&of.methods),
            properties: functions(&of.properties),
            constants: constants
                .map(|(name, value)| (name.as_str().into(), self.constant(value)))
                .collect(),
            fields: None,
            fixed: false,
        }
    }

    fn container(&self, kind: FrozenKind, items: &[ToldValue]) -> Constant {
        let items = items.iter().map(|item| self.constant(item)).collect();
        Constant::Frozen(Frozen::new(kind, items, Vec::new()).into())
    }
}

fn module_of(function: &ToldFunction) -> &str {
    function.module.as_deref().unwrap_or_default()
}

/// The texts in a told value and in the containers of it.
fn told_texts(value: &ToldValue, texts: &mut HashSet<Box<str>>) {
    match value {
        ToldValue::Plain(Plain::Text(text)) => {
            texts.insert(text.as_str().into());
        }
        ToldValue::List(items) | ToldValue::Tuple(items) | ToldValue::Set(items) => {
            items.iter().for_each(|item| told_texts(item, texts));
        }
        ToldValue::Dict(pairs) => pairs.iter().for_each(|(key, value)| {
            told_texts(key, texts);
            told_texts(value, texts);
        }),
        _ => {}
    }
}

/// A function or class by its name, with its module's.
pub(super) fn named(name: &str) -> Constant {
    let plain = name.strip_prefix("builtins.").unwrap_or(name);
    if let Some(builtin) = Builtin::named(plain) {
        Constant::Builtin(builtin)
    } else if let Some(class) = Class::named(plain) {
        Constant::Class(class)
    } else {
        Constant::Unknown(name.into())
    }
}
