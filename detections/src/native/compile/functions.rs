//! Functions, those inside others too, and what the names in them mean.

use serde_json::Value as Json;

use super::scope::Scope;
use super::{Pack, class, items};
use crate::native::constants::Constant;
use crate::native::program::{Expression, Function, Lambda, Parameter, Parameters, Statement};

/// Compiles one function of a pack.
pub(super) struct Compiler<'p, 'd> {
    pub(super) pack: &'p Pack<'d>,
    pub(super) module: &'d str,
    pub(super) globals: &'d Json,
    /// What `super()` has, in a method.
    pub(super) supers: &'d Json,
    pub(super) scopes: Vec<Scope<'d>>,
}

/// What a name means.
pub(super) enum Meaning {
    Local(usize),
    Written(usize),
    Constant(Constant),
    Hole(Box<str>),
}

pub(super) fn hole(what: &str) -> Expression {
    Expression::Hole(what.into())
}

impl<'d> Compiler<'_, 'd> {
    pub(super) fn scope(&mut self) -> &mut Scope<'d> {
        // There is one from `definition` on until it ends.
        if self.scopes.is_empty() {
            self.scopes.push(Scope::default());
        }
        let last = self.scopes.len() - 1;
        &mut self.scopes[last]
    }

    /// A `def` or `lambda`, given the values of its defaults: by the place from the end, and by name.
    pub(super) fn definition(
        &mut self,
        tree: &'d Json,
        given: &dyn Fn(usize) -> Option<Constant>,
        named: &dyn Fn(&str) -> Option<Constant>,
    ) -> Function {
        let (function, _, _) = self.inner_definition(tree, given, named);
        function
    }

    #[allow(clippy::type_complexity)]
    pub(super) fn inner_definition(
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
    pub(super) fn inner(
        &mut self,
        tree: &'d Json,
        own: Option<&'d str>,
        at_once: bool,
    ) -> Expression {
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

    pub(super) fn meaning(&mut self, name: &'d str) -> Meaning {
        match self.local(name, self.scopes.len()) {
            Some(slot) => Meaning::Local(slot),
            None => self.global(name),
        }
    }

    /// The slot of a name in the scope of this depth; names of outer functions are captured.
    pub(super) fn local(&mut self, name: &'d str, depth: usize) -> Option<usize> {
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

    pub(super) fn global(&self, name: &'d str) -> Meaning {
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
}
