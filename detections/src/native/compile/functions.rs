//! Functions, those inside others too, and what the names in them mean.

use std::collections::HashMap;

use ruff_python_ast::visitor::Visitor;
use ruff_python_ast::{ExprLambda, Parameters as Written, StmtFunctionDef};

use super::literals::literal;
use super::pack::Pack;
use super::scope::Scope;
use crate::native::constants::Constant;
use crate::native::program::{Expression, Function, Lambda, Parameter, Parameters, Statement};
use crate::native::told::{ToldFunction, ToldValue};

/// Compiles one function of a pack.
pub(super) struct Compiler<'p, 'd> {
    pub(super) pack: &'p Pack<'d>,
    module: &'d str,
    pub(super) globals: &'d HashMap<String, ToldValue>,
    /// What `super()` has, in a method.
    pub(super) supers: &'d HashMap<String, ToldValue>,
    pub(super) scopes: Vec<Scope<'d>>,
}

/// What a name means.
pub(super) enum Meaning {
    Local(usize),
    Written(usize),
    Constant(Constant),
    Hole(Box<str>),
}

/// A function as it is written inside another one.
#[derive(Clone, Copy)]
pub(super) enum Inner<'d> {
    Function(&'d StmtFunctionDef),
    Lambda(&'d ExprLambda),
}

impl<'d> Inner<'d> {
    fn parameters(self) -> Option<&'d Written> {
        match self {
            Self::Function(of) => Some(&of.parameters),
            Self::Lambda(of) => of.parameters.as_deref(),
        }
    }

    /// Its own name.
    fn name(self) -> Option<&'d str> {
        match self {
            Self::Function(of) => Some(&of.name),
            Self::Lambda(_) => None,
        }
    }

    fn is_decorated(self) -> bool {
        matches!(self, Self::Function(of) if !of.decorator_list.is_empty())
    }
}

/// A function with what it reads of the function around it.
struct Compiled<'d> {
    function: Function,
    /// Slots outside, and the slots inside that they are copied to.
    captured: Vec<(usize, usize)>,
    /// Their names, in the same order.
    names: Vec<&'d str>,
}

pub(super) fn hole(what: &str) -> Expression {
    Expression::Hole(what.into())
}

/// A function of a pack.
pub(super) fn function<'d>(
    pack: &Pack<'d>,
    told: &'d ToldFunction,
    written: &'d StmtFunctionDef,
) -> Function {
    let mut compiler = Compiler {
        pack,
        module: told.module.as_deref().unwrap_or_default(),
        globals: &told.globals,
        supers: &told.supers,
        scopes: Vec::new(),
    };
    let given = |from_end: usize| {
        let place = told.defaults.len().checked_sub(from_end)?;
        told.defaults.get(place).map(|value| pack.constant(value))
    };
    let named = |name: &str| {
        let value = told.keyword_defaults.get(name);
        value.map(|value| pack.constant(value))
    };
    let compiled = compiler.definition(Inner::Function(written), &given, &named);
    compiled.function
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
    fn definition(
        &mut self,
        written: Inner<'d>,
        given: &dyn Fn(usize) -> Option<Constant>,
        named: &dyn Fn(&str) -> Option<Constant>,
    ) -> Compiled<'d> {
        let mut scope = Scope::default();
        let mut parameters = Parameters::default();
        let mut more = false;
        if let Some(of) = written.parameters() {
            let positional = || of.posonlyargs.iter().chain(&of.args);
            let count = positional().count();
            for (place, one) in positional().enumerate() {
                let name = one.parameter.name.as_str();
                scope.slot(name);
                scope.give(name);
                parameters.positional.push(Parameter {
                    name: name.into(),
                    default: given(count - place),
                });
            }
            for one in &of.kwonlyargs {
                let name = one.parameter.name.as_str();
                scope.slot(name);
                scope.give(name);
                parameters.keyword_only.push(Parameter {
                    name: name.into(),
                    default: named(name),
                });
            }
            if let Some(rest) = &of.vararg {
                scope.slot(&rest.name);
                scope.give(&rest.name);
                parameters.rest = true;
            }
            more = of.kwarg.is_some();
        }
        match written {
            Inner::Function(of) => scope.visit_body(&of.body),
            Inner::Lambda(of) => scope.visit_expr(&of.body),
        }
        let names: Vec<&str> = scope.given.keys().copied().collect();
        for name in names {
            if !scope.globals.contains(name) {
                scope.slot(name);
            }
        }
        self.scopes.push(scope);
        let body = match written {
            _ if more => vec![Statement::Hole("**arguments".into())],
            Inner::Function(of) => self.statements(&of.body),
            Inner::Lambda(of) => vec![Statement::Return(Some(self.expression(&of.body)))],
        };
        let scope = self.scopes.pop().unwrap_or_default();
        Compiled {
            function: Function {
                parameters,
                slots: scope.next,
                body,
            },
            captured: scope.captured,
            names: scope.captured_names,
        }
    }

    /// A function inside the one that is being compiled. `at_once` if it is called by what it is given to and then forgotten.
    pub(super) fn inner(&mut self, written: Inner<'d>, at_once: bool) -> Expression {
        let none = Written::default();
        let of = written.parameters().unwrap_or(&none);
        let positional: Vec<_> = of.posonlyargs.iter().chain(&of.args).collect();
        let all = positional.iter().copied().chain(&of.kwonlyargs);
        let mut defaults = all.filter_map(|one| one.default.as_deref());
        if !defaults.all(|default| literal(default).is_some()) || written.is_decorated() {
            return hole("an inner function with defaults or decorators");
        }
        let given = |from_end: usize| {
            let place = positional.len().checked_sub(from_end)?;
            literal(positional.get(place)?.default.as_deref()?)
        };
        let named = |name: &str| {
            let mut all = of.kwonlyargs.iter();
            let one = all.find(|one| one.parameter.name == *name)?;
            literal(one.default.as_deref()?)
        };
        let compiled = self.definition(written, &given, &named);
        let own = written.name();
        let scope = self.scope();
        let settled = |name: &str| scope.given.get(name).copied().unwrap_or(0) <= 1;
        let mut names = compiled.names.iter();
        if !at_once && !names.all(|name| Some(*name) == own || settled(name)) {
            return hole("an inner function over a name that changes");
        }
        let mut own_slot = None;
        let mut kept = Vec::new();
        for ((outer, inner), name) in compiled.captured.into_iter().zip(compiled.names) {
            if Some(name) == own {
                own_slot = Some(inner);
            } else {
                kept.push((outer, inner));
            }
        }
        Expression::Lambda(Box::new(Lambda {
            function: compiled.function,
            captured: kept,
            own: own_slot,
        }))
    }

    pub(super) fn meaning(&mut self, name: &'d str) -> Meaning {
        match self.local(name) {
            Some(slot) => Meaning::Local(slot),
            None => self.global(name),
        }
    }

    /// The slot of a name of this function or of one around it.
    pub(super) fn local(&mut self, name: &'d str) -> Option<usize> {
        self.local_at(name, self.scopes.len())
    }

    /// The slot of a name in the scope of this depth; names of outer functions are captured.
    fn local_at(&mut self, name: &'d str, depth: usize) -> Option<usize> {
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
        let outer = self.local_at(name, depth - 1)?;
        let scope = &mut self.scopes[depth - 1];
        let slot = scope.slot(name);
        scope.captured.push((outer, slot));
        scope.captured_names.push(name);
        Some(slot)
    }

    fn global(&self, name: &'d str) -> Meaning {
        if let Some(slot) = self.pack.survey.written.get(&(self.module, name)) {
            return Meaning::Written(*slot);
        }
        if self.pack.survey.changed.contains(&(self.module, name)) {
            return Meaning::Hole(format!("{name}, which is changed in place").into());
        }
        match self.globals.get(name) {
            Some(ToldValue::Module(_)) => Meaning::Hole(format!("module {name}").into()),
            Some(value) => Meaning::Constant(self.pack.constant(value)),
            None => Meaning::Hole(format!("name {name}").into()),
        }
    }
}
