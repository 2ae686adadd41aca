//! From what Python told of a pack (`_panther_native.py`) to a [`Program`]: names become slots or constants, whatever is not known becomes a hole.

use std::collections::{HashMap, HashSet};

use serde_json::Value as Json;

use super::names::{Builtin, Class, Method, Module, error_classes};
use super::pattern::Pattern;
use super::program::{
    Arguments, Comparison, Comprehension, Expression, Function, Handler, Lambda, Loop, Made,
    Operator, Parameter, Parameters, Part, Statement, Target,
};
use super::value::{Constant, Frozen, FrozenKind};
use crate::pack::Global;

/// Everything that the functions of a pack share while they are compiled.
pub(super) struct Pack<'d> {
    dump: &'d serde_json::Map<String, Json>,
    places: HashMap<&'d str, usize>,
    /// Slots of the names that some function declares `global`, by module and name.
    written: HashMap<(&'d str, &'d str), usize>,
    /// Names of containers that some function changes in place, by module and name.
    changed: HashSet<(&'d str, &'d str)>,
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
    pub(super) fn new(dump: &'d serde_json::Map<String, Json>) -> Self {
        let mut pack = Self {
            dump,
            places: dump
                .keys()
                .enumerate()
                .map(|(place, name)| (name.as_str(), place))
                .collect(),
            written: HashMap::new(),
            changed: HashSet::new(),
        };
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

    /// By function: whether it, or one that it reaches, uses the key-value store, or a class of the pack that may.
    pub(super) fn storing(&self, globals: &[Global]) -> Vec<bool> {
        let mut storing = vec![false; self.places.len()];
        let mut calls: Vec<Vec<usize>> = vec![Vec::new(); self.places.len()];
        for (place, entry) in self.dump.values().enumerate() {
            for form in entry["globals"]
                .as_object()
                .into_iter()
                .flat_map(|globals| globals.values())
            {
                self.reach(form, globals, &mut storing[place], &mut calls[place]);
            }
        }
        loop {
            let before = storing.iter().filter(|stores| **stores).count();
            for (place, called) in calls.iter().enumerate() {
                storing[place] = storing[place] || called.iter().any(|called| storing[*called]);
            }
            if storing.iter().filter(|stores| **stores).count() == before {
                return storing;
            }
        }
    }

    fn reach(&self, form: &Json, globals: &[Global], stores: &mut bool, calls: &mut Vec<usize>) {
        match (form[0].as_str(), &form[1]) {
            (Some("F"), Json::String(name)) => calls.extend(self.place(name)),
            (Some("C" | "N"), Json::String(name)) => {
                let module = name.split('.').next().unwrap_or_default();
                *stores |= module == "panther_detection_helpers"
                    || globals.iter().any(|global| global.id == module);
            }
            (Some("X"), _) => *stores = true,
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

    /// How many slots the written names need.
    pub(super) fn written(&self) -> usize {
        self.written.len()
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
        self.dump
            .values()
            .map(|entry| self.function(entry))
            .collect()
    }

    fn function(&self, entry: &'d Json) -> Function {
        let mut compiler = Compiler {
            pack: self,
            module: entry["module"].as_str().unwrap_or_default(),
            globals: &entry["globals"],
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
                Constant::Frozen(Frozen::new(FrozenKind::Dict, keys, values))
            }
            "R" => of
                .as_str()
                .and_then(|text| Pattern::new(text, form[2].as_u64().unwrap_or(u64::MAX)))
                .map_or_else(|| unknown("a regular expression"), Constant::Regex),
            "F" => of
                .as_str()
                .and_then(|name| self.places.get(name))
                .map_or_else(|| unknown("a function"), |place| Constant::Function(*place)),
            "C" => named(of.as_str().unwrap_or_default()),
            "E" => match error_classes(of.as_str().unwrap_or_default()) {
                Some(classes) => Constant::KnownErrorClass(classes),
                None => Constant::ErrorClass(
                    form[2]
                        .as_array()
                        .into_iter()
                        .flatten()
                        .filter_map(|name| name.as_str().map(Into::into))
                        .collect(),
                ),
            },
            _ => unknown(of.as_str().unwrap_or("a value")),
        }
    }

    fn container(&self, kind: FrozenKind, items: &'d Json) -> Constant {
        let items = items
            .as_array()
            .into_iter()
            .flatten()
            .map(|item| self.constant(item))
            .collect();
        Constant::Frozen(Frozen::new(kind, items, Vec::new()))
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

/// Names of one function while it is compiled.
#[derive(Default)]
struct Scope<'d> {
    slots: HashMap<&'d str, usize>,
    next: usize,
    /// How often each local name is given a value.
    given: HashMap<&'d str, u32>,
    globals: HashSet<&'d str>,
    /// Names of the comprehensions that are being compiled, the innermost last.
    inner: Vec<HashMap<&'d str, usize>>,
    captured: Vec<(usize, usize)>,
    captured_names: Vec<&'d str>,
}

impl<'d> Scope<'d> {
    fn slot(&mut self, name: &'d str) -> usize {
        let next = &mut self.next;
        *self.slots.entry(name).or_insert_with(|| {
            *next += 1;
            *next - 1
        })
    }

    fn fresh(&mut self) -> usize {
        self.next += 1;
        self.next - 1
    }

    /// Notes the names that statements and expressions give a value.
    fn survey(&mut self, tree: &'d Json) {
        let Json::Array(parts) = tree else {
            return;
        };
        match class(tree) {
            "Lambda" => return,
            "FunctionDef" => {
                self.give(tree[1].as_str().unwrap_or_default());
                return;
            }
            "Global" => self
                .globals
                .extend(items(&tree[1]).filter_map(Json::as_str)),
            "Assign" => items(&tree[1]).for_each(|target| self.survey_target(target)),
            "AugAssign" | "AnnAssign" | "For" | "NamedExpr" => self.survey_target(&tree[1]),
            "ExceptHandler" => {
                if let Some(name) = tree[2].as_str() {
                    self.give(name);
                }
            }
            "ListComp" | "SetComp" | "DictComp" | "GeneratorExp" => {
                // Their targets are their own; an assignment expression inside is the function's.
            }
            _ => {}
        }
        for part in parts {
            self.survey(part);
        }
    }

    fn survey_target(&mut self, target: &'d Json) {
        match class(target) {
            "Name" => self.give(target[1].as_str().unwrap_or_default()),
            "Tuple" | "List" => items(&target[1]).for_each(|one| self.survey_target(one)),
            "Starred" => self.survey_target(&target[1]),
            _ => {}
        }
    }

    fn give(&mut self, name: &'d str) {
        *self.given.entry(name).or_default() += 1;
    }
}

struct Compiler<'p, 'd> {
    pack: &'p Pack<'d>,
    module: &'d str,
    globals: &'d Json,
    scopes: Vec<Scope<'d>>,
}

/// What a name means.
enum Meaning {
    Local(usize),
    Written(usize),
    Constant(Constant),
    Hole(Box<str>),
}

fn hole(what: &str) -> Expression {
    Expression::Hole(what.into())
}

impl<'d> Compiler<'_, 'd> {
    fn scope(&mut self) -> &mut Scope<'d> {
        // There is one from `definition` on until it ends.
        if self.scopes.is_empty() {
            self.scopes.push(Scope::default());
        }
        let last = self.scopes.len() - 1;
        &mut self.scopes[last]
    }

    /// A `def` or `lambda`, given the values of its defaults: by the place from the end, and by name.
    fn definition(
        &mut self,
        tree: &'d Json,
        given: &dyn Fn(usize) -> Option<Constant>,
        named: &dyn Fn(&str) -> Option<Constant>,
    ) -> Function {
        let (function, _, _) = self.inner_definition(tree, given, named);
        function
    }

    #[allow(clippy::type_complexity)]
    fn inner_definition(
        &mut self,
        tree: &'d Json,
        given: &dyn Fn(usize) -> Option<Constant>,
        named: &dyn Fn(&str) -> Option<Constant>,
    ) -> (Function, Vec<(usize, usize)>, Vec<&'d str>) {
        let is_lambda = class(tree) == "Lambda";
        let (arguments, body) = if is_lambda {
            (&tree[1], &tree[2])
        } else {
            (&tree[2], &tree[3])
        };
        let mut scope = Scope::default();
        let mut parameters = Parameters::default();
        let positional: Vec<&'d str> = items(&arguments[1])
            .chain(items(&arguments[2]))
            .filter_map(|argument| argument[1].as_str())
            .collect();
        for (place, name) in positional.iter().enumerate() {
            scope.slot(name);
            scope.give(name);
            parameters.positional.push(Parameter {
                name: (*name).into(),
                default: given(positional.len() - place),
            });
        }
        for argument in items(&arguments[4]) {
            let name = argument[1].as_str().unwrap_or_default();
            scope.slot(name);
            scope.give(name);
            parameters.keyword_only.push(Parameter {
                name: name.into(),
                default: named(name),
            });
        }
        if let Some(name) = arguments[3].get(1).and_then(Json::as_str) {
            scope.slot(name);
            scope.give(name);
            parameters.rest = true;
        }
        let more = !arguments[6].is_null();
        scope.survey(body);
        let names: Vec<&str> = scope.given.keys().copied().collect();
        for name in names {
            if !scope.globals.contains(name) {
                scope.slot(name);
            }
        }
        self.scopes.push(scope);
        let body = if more {
            vec![Statement::Hole("**arguments".into())]
        } else if is_lambda {
            let value = self.expression(body);
            vec![Statement::Return(Some(value))]
        } else {
            self.statements(body)
        };
        let scope = self.scopes.pop().unwrap_or_default();
        let function = Function {
            parameters,
            slots: scope.next,
            body,
        };
        (function, scope.captured, scope.captured_names)
    }

    /// A function inside the one that is being compiled. `at_once` if it is called by what it is given to and then forgotten.
    fn inner(&mut self, tree: &'d Json, own: Option<&'d str>, at_once: bool) -> Expression {
        let arguments = if class(tree) == "Lambda" {
            &tree[1]
        } else {
            &tree[2]
        };
        let defaults: Vec<&'d Json> = items(&arguments[7]).collect();
        let mut all = defaults.iter().copied().chain(items(&arguments[5]));
        if !all.all(|default| default.is_null() || class(default) == "Constant")
            || (class(tree) == "FunctionDef" && items(&tree[4]).next().is_some())
        {
            return hole("an inner function with defaults or decorators");
        }
        let pack = self.pack;
        let given = |from_end: usize| {
            let default = defaults.len().checked_sub(from_end)?;
            Some(pack.constant(&defaults.get(default)?[1]))
        };
        let named = |name: &str| {
            let place = items(&arguments[4]).position(|argument| argument[1] == name)?;
            let default = &arguments[5][place];
            (!default.is_null()).then(|| pack.constant(&default[1]))
        };
        let (function, captured, names) = self.inner_definition(tree, &given, &named);
        let scope = self.scope();
        let settled = |name: &str| scope.given.get(name).copied().unwrap_or(0) <= 1;
        if !at_once && !names.iter().all(|name| Some(*name) == own || settled(name)) {
            return hole("an inner function over a name that changes");
        }
        let mut own_slot = None;
        let mut kept = Vec::new();
        for ((outer, inner), name) in captured.into_iter().zip(names) {
            if Some(name) == own {
                own_slot = Some(inner);
            } else {
                kept.push((outer, inner));
            }
        }
        Expression::Lambda(Box::new(Lambda {
            function,
            captured: kept,
            own: own_slot,
        }))
    }

    fn meaning(&mut self, name: &'d str) -> Meaning {
        match self.local(name, self.scopes.len()) {
            Some(slot) => Meaning::Local(slot),
            None => self.global(name),
        }
    }

    /// The slot of a name in the scope of this depth; names of outer functions are captured.
    fn local(&mut self, name: &'d str, depth: usize) -> Option<usize> {
        let scope = self.scopes.get(depth.checked_sub(1)?)?;
        if let Some(slot) = scope.inner.iter().rev().find_map(|names| names.get(name)) {
            return Some(*slot);
        }
        if scope.globals.contains(name) {
            return None;
        }
        if let Some(slot) = scope.slots.get(name) {
            return Some(*slot);
        }
        let outer = self.local(name, depth - 1)?;
        let scope = &mut self.scopes[depth - 1];
        let slot = scope.slot(name);
        scope.captured.push((outer, slot));
        scope.captured_names.push(name);
        Some(slot)
    }

    fn global(&self, name: &'d str) -> Meaning {
        if let Some(slot) = self.pack.written.get(&(self.module, name)) {
            return Meaning::Written(*slot);
        }
        if self.pack.changed.contains(&(self.module, name)) {
            return Meaning::Hole(format!("{name}, which is changed in place").into());
        }
        match self.globals.get(name) {
            Some(form) if form[0] == "P" => Meaning::Hole(format!("module {name}").into()),
            Some(form) => Meaning::Constant(self.pack.constant(form)),
            None => Meaning::Hole(format!("name {name}").into()),
        }
    }

    fn statements(&mut self, list: &'d Json) -> Vec<Statement> {
        items(list)
            .map(|statement| self.statement(statement))
            .collect()
    }

    fn statement(&mut self, tree: &'d Json) -> Statement {
        match class(tree) {
            "Return" => Statement::Return(self.optional(&tree[1])),
            "Expr" => match class(&tree[1]) {
                "Constant" => Statement::Pass,
                _ => Statement::Expression(self.expression(&tree[1])),
            },
            "Assign" => {
                let value = self.expression(&tree[2]);
                let targets = items(&tree[1]).map(|target| self.target(target)).collect();
                Statement::Assign(targets, value)
            }
            "AnnAssign" if tree[2].is_null() => Statement::Pass,
            "AnnAssign" => {
                let value = self.expression(&tree[2]);
                Statement::Assign(vec![self.target(&tree[1])], value)
            }
            "AugAssign" => {
                let value = self.expression(&tree[3]);
                Statement::Augment(self.target(&tree[1]), operator(&tree[2]), value)
            }
            "If" => Statement::If(
                self.expression(&tree[1]),
                self.statements(&tree[2]),
                self.statements(&tree[3]),
            ),
            "For" => Statement::For {
                over: self.expression(&tree[2]),
                target: self.target(&tree[1]),
                body: self.statements(&tree[3]),
                otherwise: self.statements(&tree[4]),
            },
            "While" => Statement::While {
                test: self.expression(&tree[1]),
                body: self.statements(&tree[2]),
                otherwise: self.statements(&tree[3]),
            },
            "Try" => Statement::Try {
                body: self.statements(&tree[1]),
                handlers: items(&tree[2])
                    .map(|handler| self.handler(handler))
                    .collect(),
                otherwise: self.statements(&tree[3]),
                finally: self.statements(&tree[4]),
            },
            "Raise" if !tree[2].is_null() => Statement::Raise(self.optional(&tree[1])),
            "Raise" => Statement::Raise(self.optional(&tree[1])),
            "Break" => Statement::Break,
            "Continue" => Statement::Continue,
            "Pass" | "Global" => Statement::Pass,
            "FunctionDef" => {
                let name = tree[1].as_str().unwrap_or_default();
                let function = self.inner(tree, Some(name), false);
                let slot = self.scope().slot(name);
                Statement::Assign(vec![Target::Local(slot)], function)
            }
            other => Statement::Hole(other.into()),
        }
    }

    fn handler(&mut self, tree: &'d Json) -> Handler {
        let class = self.optional(&tree[1]);
        let slot = tree[2].as_str().map(|name| self.scope().slot(name));
        Handler {
            class,
            slot,
            body: self.statements(&tree[3]),
        }
    }

    fn target(&mut self, tree: &'d Json) -> Target {
        match class(tree) {
            "Name" => match self.meaning(tree[1].as_str().unwrap_or_default()) {
                Meaning::Local(slot) => Target::Local(slot),
                Meaning::Written(slot) => Target::Written(slot),
                _ => Target::Hole("an assignment to a global".into()),
            },
            "Subscript" if class(&tree[2]) != "Slice" => {
                Target::Item(self.expression(&tree[1]), self.expression(&tree[2]))
            }
            "Tuple" | "List" => {
                let starred = items(&tree[1]).position(|one| class(one) == "Starred");
                let targets = items(&tree[1])
                    .map(|one| match class(one) {
                        "Starred" => self.target(&one[1]),
                        _ => self.target(one),
                    })
                    .collect();
                Target::Several(targets, starred)
            }
            other => Target::Hole(other.into()),
        }
    }

    fn optional(&mut self, tree: &'d Json) -> Option<Expression> {
        (!tree.is_null()).then(|| self.expression(tree))
    }

    fn expressions(&mut self, list: &'d Json) -> Vec<Expression> {
        items(list).map(|one| self.expression(one)).collect()
    }

    fn boxed(&mut self, tree: &'d Json) -> Box<Expression> {
        Box::new(self.expression(tree))
    }

    fn expression(&mut self, tree: &'d Json) -> Expression {
        match class(tree) {
            "Constant" => Expression::Constant(self.pack.constant(&tree[1])),
            "Name" => match self.meaning(tree[1].as_str().unwrap_or_default()) {
                Meaning::Local(slot) => Expression::Local(slot),
                Meaning::Written(slot) => Expression::Written(slot),
                Meaning::Constant(constant) => Expression::Constant(constant),
                Meaning::Hole(what) => Expression::Hole(what),
            },
            "BoolOp" => {
                let parts = self.expressions(&tree[2]);
                match tree[1].as_str() {
                    Some("And") => Expression::And(parts),
                    _ => Expression::Or(parts),
                }
            }
            "UnaryOp" => {
                let operand = self.boxed(&tree[2]);
                match tree[1].as_str() {
                    Some("Not") => Expression::Not(operand),
                    Some("USub") => Expression::Negate(operand),
                    _ => hole("an operator"),
                }
            }
            "BinOp" => Expression::Binary(
                operator(&tree[2]),
                Box::new([self.expression(&tree[1]), self.expression(&tree[3])]),
            ),
            "Compare" => {
                let first = self.boxed(&tree[1]);
                let rest = items(&tree[2])
                    .map(comparison)
                    .zip(
                        items(&tree[3])
                            .map(|one| self.expression(one))
                            .collect::<Vec<_>>(),
                    )
                    .collect();
                Expression::Compare(first, rest)
            }
            "IfExp" => Expression::Choice(Box::new([
                self.expression(&tree[1]),
                self.expression(&tree[2]),
                self.expression(&tree[3]),
            ])),
            "Call" => self.call(tree),
            "Attribute" => self.attribute(tree),
            "Subscript" => self.subscript(tree),
            "List" => Expression::List(self.expressions(&tree[1])),
            "Tuple" => Expression::Tuple(self.expressions(&tree[1])),
            "Set" => Expression::Set(self.expressions(&tree[1])),
            "Dict" => Expression::Dict(
                items(&tree[1])
                    .zip(items(&tree[2]))
                    .map(|(key, value)| (self.optional(key), self.expression(value)))
                    .collect(),
            ),
            "Starred" => Expression::Starred(self.boxed(&tree[1])),
            "ListComp" => self.comprehension(Made::List, tree),
            "SetComp" => self.comprehension(Made::Set, tree),
            "DictComp" => self.comprehension(Made::Dict, tree),
            "GeneratorExp" => hole("a generator that is kept"),
            "JoinedStr" => Expression::Text(items(&tree[1]).map(|part| self.part(part)).collect()),
            "NamedExpr" => {
                let value = self.boxed(&tree[2]);
                let name = tree[1][1].as_str().unwrap_or_default();
                match self.local(name, self.scopes.len()) {
                    Some(slot) => Expression::Walrus(slot, value),
                    None => hole("an assignment expression to a global"),
                }
            }
            "Lambda" => self.inner(tree, None, false),
            other => hole(other),
        }
    }

    fn part(&mut self, tree: &'d Json) -> Part {
        match class(tree) {
            "Constant" => Part::Text(tree[1][1].as_str().unwrap_or_default().into()),
            _ if !tree[3].is_null() => Part::Value(hole("a format")),
            _ => {
                let value = self.expression(&tree[1]);
                match tree[2].as_i64() {
                    Some(-1 | 115) => Part::Value(value),
                    Some(114) => Part::Repr(value),
                    _ => Part::Value(hole("a conversion")),
                }
            }
        }
    }

    fn subscript(&mut self, tree: &'d Json) -> Expression {
        if class(&tree[2]) == "Slice" {
            let bounds = [
                self.optional(&tree[2][1]),
                self.optional(&tree[2][2]),
                self.optional(&tree[2][3]),
            ];
            return Expression::Slice(self.boxed(&tree[1]), Box::new(bounds));
        }
        Expression::Item(Box::new([
            self.expression(&tree[1]),
            self.expression(&tree[2]),
        ]))
    }

    /// What an attribute of a module means; `None` if its owner is no module.
    fn member(&mut self, tree: &'d Json) -> Option<Constant> {
        let (of, name) = attribute(tree)?;
        let Some(owner) = name_of(of) else {
            return self
                .dotted(of)
                .map(|owner| named(&format!("{owner}.{name}")));
        };
        if self.local(owner, self.scopes.len()).is_some() {
            return None;
        }
        let form = self.globals.get(owner)?;
        match form[0].as_str()? {
            "P" => Some(match form[1].get(name) {
                Some(inner) => self.pack.constant(inner),
                None => Constant::Unknown(name.into()),
            }),
            "N" => {
                let module = form[1].as_str()?;
                let known: &str = match Module::named(module) {
                    Some(known) => known.name(),
                    None => module,
                };
                let whole = format!("{known}.{name}");
                Some(match error_classes(&whole) {
                    Some(classes) => Constant::KnownErrorClass(classes),
                    None => named(&whole),
                })
            }
            "C" => Some(named(&format!("{}.{name}", form[1].as_str()?))),
            _ => None,
        }
    }

    /// The full name of a member of a module of the library, such as `datetime.datetime` for `dt.datetime`.
    fn dotted(&mut self, tree: &'d Json) -> Option<String> {
        let (of, name) = attribute(tree)?;
        let owner = name_of(of)?;
        if self.local(owner, self.scopes.len()).is_some() {
            return None;
        }
        let form = self.globals.get(owner)?;
        (form[0] == "N").then(|| Some(format!("{}.{name}", form[1].as_str()?)))?
    }

    fn attribute(&mut self, tree: &'d Json) -> Expression {
        if let Some(member) = self.member(tree) {
            return Expression::Constant(member);
        }
        Expression::Attribute(
            self.boxed(&tree[1]),
            tree[2].as_str().unwrap_or_default().into(),
        )
    }

    fn call(&mut self, tree: &'d Json) -> Expression {
        let (of, arguments, named_arguments) = (&tree[1], &tree[2], &tree[3]);
        if items(named_arguments).any(|keyword| keyword[1].is_null()) {
            return hole("**arguments in a call");
        }
        let member = match class(of) {
            "Name" => match self.meaning(of[1].as_str().unwrap_or_default()) {
                Meaning::Constant(constant) => Some(constant),
                _ => None,
            },
            "Attribute" => self.member(of),
            _ => None,
        };
        let method = attribute(of).filter(|_| member.is_none());
        let generator = items(arguments).position(|one| class(one) == "GeneratorExp");
        if let Some(place) = generator {
            let count = items(arguments).count() + items(named_arguments).count();
            match &member {
                Some(Constant::Builtin(Builtin::Any)) if count == 1 => {
                    return self.comprehension(Made::Any, &arguments[0]);
                }
                Some(Constant::Builtin(Builtin::All)) if count == 1 => {
                    return self.comprehension(Made::All, &arguments[0]);
                }
                Some(Constant::Builtin(Builtin::Next)) if place == 0 && count == 2 => {
                    let default = self.expression(&arguments[1]);
                    let found = self.comprehension(Made::First, &arguments[0]);
                    return match found {
                        Expression::Comprehension(made, mut of) => {
                            of.default = Some(default);
                            Expression::Comprehension(made, of)
                        }
                        other => other,
                    };
                }
                _ => {}
            }
        }
        // What goes through all elements before it does anything else: a generator may run before it.
        let takes_all = matches!(
            &member,
            Some(
                Constant::Builtin(Builtin::Sorted | Builtin::Sum | Builtin::Min | Builtin::Max)
                    | Constant::Class(
                        Class::List | Class::Set | Class::Tuple | Class::Dict | Class::Frozenset
                    )
            )
        ) || matches!(method, Some((_, "join" | "extend" | "update")));
        let mut positional = Vec::new();
        for argument in items(arguments) {
            positional.push(match class(argument) {
                "GeneratorExp" if takes_all => self.comprehension(Made::Elements, argument),
                "Lambda" => self.inner(argument, None, true),
                _ => self.expression(argument),
            });
        }
        let named_arguments = items(named_arguments)
            .map(|keyword| {
                let name = keyword[1].as_str().unwrap_or_default().into();
                let value = match class(&keyword[2]) {
                    "Lambda" => self.inner(&keyword[2], None, true),
                    _ => self.expression(&keyword[2]),
                };
                (name, value)
            })
            .collect();
        let arguments = Arguments {
            positional,
            named: named_arguments,
        };
        match (member, method) {
            (Some(constant), _) => {
                Expression::Call(Box::new(Expression::Constant(constant)), arguments)
            }
            (None, Some((of, name))) => match Method::named(name) {
                Some(method) => Expression::Method(self.boxed(of), method, arguments),
                None => hole(name),
            },
            (None, None) => Expression::Call(self.boxed(of), arguments),
        }
    }

    fn comprehension(&mut self, made: Made, tree: &'d Json) -> Expression {
        let generators = if class(tree) == "DictComp" {
            &tree[3]
        } else {
            &tree[2]
        };
        self.scope().inner.push(HashMap::new());
        let mut loops = Vec::new();
        let mut first = true;
        for generator in items(generators) {
            // The first is evaluated outside.
            let names = first.then(|| self.scope().inner.pop()).flatten();
            let over = self.expression(&generator[2]);
            if let Some(names) = names {
                self.scope().inner.push(names);
            }
            first = false;
            let mut targets = Vec::new();
            plain_names(&generator[1], &mut targets);
            for name in targets {
                let scope = self.scope();
                let slot = scope.fresh();
                if let Some(names) = scope.inner.last_mut() {
                    names.insert(name, slot);
                }
            }
            let target = self.target(&generator[1]);
            let tests = self.expressions(&generator[3]);
            loops.push(Loop {
                target,
                over,
                tests,
            });
        }
        let element = self.expression(&tree[1]);
        let value = (class(tree) == "DictComp").then(|| self.expression(&tree[2]));
        self.scope().inner.pop();
        Expression::Comprehension(
            made,
            Box::new(Comprehension {
                element,
                value,
                loops,
                default: None,
            }),
        )
    }
}

fn plain_names<'d>(target: &'d Json, names: &mut Vec<&'d str>) {
    match class(target) {
        "Name" => names.extend(target[1].as_str()),
        "Tuple" | "List" => items(&target[1]).for_each(|one| plain_names(one, names)),
        "Starred" => plain_names(&target[1], names),
        _ => {}
    }
}

fn operator(tree: &Json) -> Operator {
    match tree.as_str().unwrap_or_default() {
        "Add" => Operator::Add,
        "Sub" => Operator::Subtract,
        "Mult" => Operator::Multiply,
        "Div" => Operator::Divide,
        "FloorDiv" => Operator::FloorDivide,
        "Mod" => Operator::Modulo,
        "BitAnd" => Operator::And,
        "BitOr" => Operator::Or,
        "BitXor" => Operator::Xor,
        _ => Operator::Other,
    }
}

fn comparison(tree: &Json) -> Comparison {
    match tree.as_str().unwrap_or_default() {
        "Eq" => Comparison::Equal,
        "NotEq" => Comparison::Unequal,
        "Lt" => Comparison::Less,
        "LtE" => Comparison::LessOrEqual,
        "Gt" => Comparison::Greater,
        "GtE" => Comparison::GreaterOrEqual,
        "Is" => Comparison::Is,
        "IsNot" => Comparison::IsNot,
        "In" => Comparison::In,
        _ => Comparison::NotIn,
    }
}
