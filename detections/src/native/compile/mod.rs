//! From what Python told of a pack (`_panther_native.py`) to a [`Program`]: names become slots or constants, whatever is not known becomes a hole.

mod calls;
mod expressions;
mod functions;
mod scope;
mod statements;

use std::collections::{BTreeSet, HashMap, HashSet};
use std::sync::Arc;
use std::sync::atomic::AtomicBool;

use serde_json::Value as Json;

use super::constants::Kind;
use super::constants::{Constant, Frozen, FrozenKind};
use super::moment::Span;
use super::names::{Builtin, Class};
use super::pattern::Pattern;
use super::program::{Function, Written};
use super::stop::OwnError;
use super::stop::error_classes;
use crate::threads::side_by_side;
use functions::Compiler;

/// Everything that the functions of a pack share while they are compiled.
pub(super) struct Pack<'d> {
    dump: &'d serde_json::Map<String, Json>,
    places: HashMap<&'d str, usize>,
    /// What a library has a lot of.
    tables: HashMap<&'d str, Arc<Frozen>>,
    /// Slots of the names that some function declares `global`, by module and name.
    written: HashMap<(&'d str, &'d str), usize>,
    /// Names of containers that some function changes in place, by module and name.
    changed: HashSet<(&'d str, &'d str)>,
}

/// What a function does beyond its result.
#[derive(Debug, Clone, Default, PartialEq)]
pub(super) struct Reached {
    /// It uses the key-value store, or a class of the pack that may.
    pub(super) stores: bool,
    /// Slots of the globals that it writes.
    pub(super) writes: BTreeSet<usize>,
}

const CHANGING: &[&str] = &[
    "append",
    "extend",
    "insert",
    "remove",
    "pop",
    "clear",
    "sort",
    "reverse",
    "update",
    "setdefault",
    "popitem",
    "add",
    "discard",
    "difference_update",
    "intersection_update",
    "symmetric_difference_update",
];

impl<'d> Pack<'d> {
    pub(super) fn new(
        dump: &'d serde_json::Map<String, Json>,
        tables: &'d serde_json::Map<String, Json>,
    ) -> Self {
        let mut pack = Self {
            dump,
            places: dump
                .keys()
                .enumerate()
                .map(|(place, name)| (name.as_str(), place))
                .collect(),
            tables: HashMap::new(),
            written: HashMap::new(),
            changed: HashSet::new(),
        };
        for (name, form) in tables {
            if let Constant::Frozen(table) = pack.constant(form) {
                pack.tables.insert(name, Arc::from(table));
            }
        }
        for entry in dump.values() {
            let module = entry["module"].as_str().unwrap_or_default();
            pack.survey(module, &entry["tree"]);
        }
        pack
    }

    /// The place of a function.
    pub(super) fn place(&self, name: &str) -> Option<usize> {
        self.places.get(name).copied()
    }

    /// The texts that functions may hand to `re`, compiled: those in the containers that a function beside `re` can read.
    pub(super) fn patterns(&self) -> HashMap<Box<str>, Pattern> {
        let mut texts = HashSet::new();
        for entry in self.dump.values() {
            let globals = entry["globals"].as_object();
            let regular = |form: &Json| {
                form[1]
                    .as_str()
                    .is_some_and(|name| name == "re" || name.starts_with("re."))
            };
            if globals.is_some_and(|globals| globals.values().any(regular)) {
                for form in globals.into_iter().flat_map(|globals| globals.values()) {
                    texts_in(form, &mut texts);
                }
                literals_in(&entry["tree"], &mut texts);
            }
        }
        texts
            .into_iter()
            .filter_map(|text| Some((text.into(), Pattern::new(text, 0)?)))
            .collect()
    }

    /// By function: what it, or one that it reaches, does beyond its result.
    pub(super) fn reached(&self, globals: &[String]) -> Vec<Reached> {
        let mut reached = vec![Reached::default(); self.places.len()];
        let mut calls: Vec<Vec<usize>> = vec![Vec::new(); self.places.len()];
        for (place, entry) in self.dump.values().enumerate() {
            for form in entry["globals"]
                .as_object()
                .into_iter()
                .flat_map(|globals| globals.values())
            {
                self.reach(form, globals, &mut reached[place].stores, &mut calls[place]);
            }
            let module = entry["module"].as_str().unwrap_or_default();
            self.writes(module, &entry["tree"], &mut reached[place].writes);
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

    /// Slots of the names that a tree declares `global`.
    fn writes(&self, module: &str, tree: &Json, slots: &mut BTreeSet<usize>) {
        let Json::Array(parts) = tree else {
            return;
        };
        if parts.first().and_then(Json::as_str) == Some("Global") {
            let names = items(&parts[1]).filter_map(Json::as_str);
            slots.extend(names.filter_map(|name| self.written.get(&(module, name))));
        }
        for part in parts {
            self.writes(module, part, slots);
        }
    }

    fn reach(&self, form: &Json, globals: &[String], stores: &mut bool, calls: &mut Vec<usize>) {
        match (form[0].as_str(), &form[1]) {
            (Some("F"), Json::String(name)) => calls.extend(self.place(name)),
            (Some("C" | "N"), Json::String(name)) => {
                let module = name.split('.').next().unwrap_or_default();
                *stores |= module == "panther_detection_helpers"
                    || globals.iter().any(|global| global == module);
            }
            (Some("X"), _) => *stores = true,
            (Some("O"), _) => {
                for of in ["methods", "properties"] {
                    for method in form[2][of]
                        .as_object()
                        .into_iter()
                        .flat_map(|of| of.values())
                    {
                        self.reach(method, globals, stores, calls);
                    }
                }
            }
            (Some("P"), Json::Object(members)) => {
                for member in members.values() {
                    self.reach(member, globals, stores, calls);
                }
            }
            (Some("L" | "T" | "S"), Json::Array(items)) => {
                for item in items {
                    self.reach(item, globals, stores, calls);
                }
            }
            (Some("M"), Json::Array(pairs)) => {
                for pair in pairs {
                    self.reach(&pair[1], globals, stores, calls);
                }
            }
            _ => {}
        }
    }

    /// The written names, by their slots.
    pub(super) fn written(&self) -> Vec<Written> {
        let mut names: Vec<_> = self.written.iter().collect();
        names.sort_by_key(|(_, slot)| **slot);
        let loaded = |module: &str, name: &str| {
            let of_module = self.dump.values().filter(|entry| entry["module"] == module);
            let mut forms = of_module.filter_map(|entry| entry["globals"].get(name));
            forms.next().map(|form| self.constant(form))
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

    /// Notes which globals of a module a tree writes or changes.
    fn survey(&mut self, module: &'d str, tree: &'d Json) {
        let Json::Array(parts) = tree else {
            return;
        };
        match parts.first().and_then(Json::as_str) {
            Some("Global") => {
                for name in parts[1].as_array().into_iter().flatten() {
                    let slot = self.written.len();
                    self.written
                        .entry((module, name.as_str().unwrap_or_default()))
                        .or_insert(slot);
                }
            }
            Some("Call") => {
                if let Some((of, name)) = attribute(&parts[1])
                    && let Some(of) = name_of(of)
                    && CHANGING.contains(&name)
                {
                    self.changed.insert((module, of));
                }
            }
            Some("Assign" | "Delete") => {
                for target in parts[1].as_array().into_iter().flatten() {
                    self.survey_target(module, target);
                }
            }
            Some("AugAssign") => {
                self.survey_target(module, &parts[1]);
                if let Some(name) = name_of(&parts[1]) {
                    self.changed.insert((module, name));
                }
            }
            _ => {}
        }
        for part in parts {
            self.survey(module, part);
        }
    }

    fn survey_target(&mut self, module: &'d str, target: &'d Json) {
        if class(target) == "Subscript"
            && let Some(name) = name_of(&target[1])
        {
            self.changed.insert((module, name));
        }
    }

    /// All functions, in the order of their places.
    pub(super) fn functions(&self) -> Vec<Function> {
        side_by_side(self.dump.values().collect(), |entry| self.function(entry))
    }

    fn function(&self, entry: &'d Json) -> Function {
        let mut compiler = Compiler {
            pack: self,
            module: entry["module"].as_str().unwrap_or_default(),
            globals: &entry["globals"],
            supers: &entry["super"],
            scopes: Vec::new(),
        };
        let defaults = |form: &'d Json| self.constant(form);
        let positional: Vec<&Json> = entry["defaults"].as_array().into_iter().flatten().collect();
        let given = |place_from_end: usize| {
            positional
                .len()
                .checked_sub(place_from_end)
                .and_then(|place| positional.get(place))
                .map(|form| defaults(form))
        };
        let named = |name: &str| entry["keyword_defaults"].get(name).map(&defaults);
        compiler.definition(&entry["tree"], &given, &named)
    }

    /// A value that Python told.
    pub(super) fn constant(&self, form: &'d Json) -> Constant {
        let unknown = |what: &str| Constant::Unknown(what.into());
        let of = &form[1];
        match form[0].as_str().unwrap_or_default() {
            "K" => match of {
                Json::Null => Constant::None,
                Json::Bool(value) => Constant::Bool(*value),
                Json::Number(number) => number
                    .as_i64()
                    .map_or_else(|| unknown("a number"), Constant::Int),
                Json::String(text) => Constant::Text(text.as_str().into()),
                _ => unknown("a constant"),
            },
            "D" => of
                .as_str()
                .and_then(|text| text.parse().ok())
                .map_or_else(|| unknown("a float"), Constant::Float),
            "L" => self.container(FrozenKind::List, of),
            "T" => self.container(FrozenKind::Tuple, of),
            "S" => self.container(FrozenKind::Set, of),
            "M" => {
                let (mut keys, mut values) = (Vec::new(), Vec::new());
                for pair in of.as_array().into_iter().flatten() {
                    keys.push(self.constant(&pair[0]));
                    values.push(self.constant(&pair[1]));
                }
                Constant::Frozen(Frozen::new(FrozenKind::Dict, keys, values).into())
            }
            "R" => of
                .as_str()
                .and_then(|text| Pattern::new(text, form[2].as_u64().unwrap_or(u64::MAX)))
                .map_or_else(
                    || unknown("a regular expression"),
                    |pattern| Constant::Regex(pattern.into()),
                ),
            "Q" => of.as_i64().map_or_else(
                || unknown("a time span"),
                |micros| Constant::Span(Span(micros)),
            ),
            "F" => of
                .as_str()
                .and_then(|name| self.places.get(name))
                .map_or_else(|| unknown("a function"), |place| Constant::Function(*place)),
            "B" => of
                .as_str()
                .and_then(|name| self.tables.get(name))
                .map_or_else(
                    || unknown("a table"),
                    |table| Constant::Table(table.clone()),
                ),
            "O" => Constant::Kind(self.kind(&form[2]).into()),
            "Y" => {
                let fields = items(of).filter_map(|name| name.as_str().map(Into::into));
                Constant::Kind(Kind::tuple(fields.collect()).into())
            }
            "C" => named(of.as_str().unwrap_or_default()),
            "E" => match error_classes(of.as_str().unwrap_or_default()) {
                Some(classes) => Constant::KnownErrorClass(classes),
                None => {
                    let names = items(&form[2]).filter_map(|name| name.as_str());
                    let own = OwnError {
                        names: names.map(Into::into).collect(),
                        plain: form[3] == true,
                    };
                    Constant::ErrorClass(own.into())
                }
            },
            _ => unknown(of.as_str().unwrap_or("a value")),
        }
    }

    /// Classes by name that are constants and nothing else.
    pub(super) fn kinds(&self, told: &'d Json) -> HashMap<Box<str>, Kind> {
        let told = told.as_object().into_iter().flatten();
        told.map(|(name, constants)| {
            let constants = constants.as_object().into_iter().flatten();
            let constants = constants.map(|(name, of)| (name.as_str().into(), self.constant(of)));
            (name.as_str().into(), Kind::fixed(constants.collect()))
        })
        .collect()
    }

    /// A class. A method that has no form here is as if it were not there: whoever calls it comes to a hole.
    fn kind(&self, parts: &'d Json) -> Kind {
        let functions = |of: &str| {
            let of = parts[of].as_object().into_iter().flatten();
            let places = of.filter_map(|(name, form)| {
                let place = self.place(form[1].as_str()?)?;
                (form[0] == "F").then(|| (name.as_str().into(), place))
            });
            places.collect()
        };
        let constants = parts["constants"].as_object().into_iter().flatten();
        Kind {
            methods: functions("methods"),
            properties: functions("properties"),
            constants: constants
                .map(|(name, form)| (name.as_str().into(), self.constant(form)))
                .collect(),
            fields: None,
            fixed: false,
        }
    }

    fn container(&self, kind: FrozenKind, items: &'d Json) -> Constant {
        let items = items
            .as_array()
            .into_iter()
            .flatten()
            .map(|item| self.constant(item))
            .collect();
        Constant::Frozen(Frozen::new(kind, items, Vec::new()).into())
    }
}

/// The texts in a told value and in the containers of it.
fn texts_in<'d>(form: &'d Json, texts: &mut HashSet<&'d str>) {
    match (form[0].as_str(), &form[1]) {
        (Some("K"), Json::String(text)) => {
            texts.insert(text);
        }
        (Some("L" | "T" | "S"), Json::Array(items)) => {
            items.iter().for_each(|item| texts_in(item, texts));
        }
        (Some("M"), Json::Array(pairs)) => pairs.iter().for_each(|pair| {
            texts_in(&pair[0], texts);
            texts_in(&pair[1], texts);
        }),
        _ => {}
    }
}

/// The literal texts of a function.
fn literals_in<'d>(tree: &'d Json, texts: &mut HashSet<&'d str>) {
    if class(tree) == "Constant" {
        texts_in(&tree[1], texts);
    } else if let Json::Array(parts) = tree {
        parts.iter().for_each(|part| literals_in(part, texts));
    }
}

/// A function or class by its name, with its module's.
fn named(name: &str) -> Constant {
    let plain = name.strip_prefix("builtins.").unwrap_or(name);
    if let Some(builtin) = Builtin::named(plain) {
        Constant::Builtin(builtin)
    } else if let Some(class) = Class::named(plain) {
        Constant::Class(class)
    } else {
        Constant::Unknown(name.into())
    }
}

/// A node's class. One without fields is told as its class alone.
fn class(tree: &Json) -> &str {
    tree.as_str()
        .or_else(|| tree.get(0).and_then(Json::as_str))
        .unwrap_or_default()
}

fn name_of(tree: &Json) -> Option<&str> {
    (class(tree) == "Name").then(|| tree[1].as_str()).flatten()
}

fn attribute(tree: &Json) -> Option<(&Json, &str)> {
    (class(tree) == "Attribute")
        .then(|| Some((&tree[1], tree[2].as_str()?)))
        .flatten()
}

fn items(tree: &Json) -> impl Iterator<Item = &Json> {
    tree.as_array().into_iter().flatten()
}
