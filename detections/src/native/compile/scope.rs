//! The names of one function while it is compiled, and their slots.

use std::collections::{HashMap, HashSet};

use ruff_python_ast::visitor::{Visitor, walk_except_handler, walk_expr, walk_pattern, walk_stmt};
use ruff_python_ast::{ExceptHandler, Expr, Identifier, Pattern, Stmt};

/// Names of one function while it is compiled.
#[derive(Default)]
pub(super) struct Scope<'d> {
    pub(super) slots: HashMap<&'d str, usize>,
    pub(super) next: usize,
    /// How often each local name is given a value.
    pub(super) given: HashMap<&'d str, u32>,
    pub(super) globals: HashSet<&'d str>,
    /// Names of the comprehensions that are being compiled, the innermost last.
    pub(super) inner: Vec<HashMap<&'d str, usize>>,
    pub(super) captured: Vec<(usize, usize)>,
    pub(super) captured_names: Vec<&'d str>,
}

impl<'d> Scope<'d> {
    pub(super) fn slot(&mut self, name: &'d str) -> usize {
        let next = &mut self.next;
        *self.slots.entry(name).or_insert_with(|| {
            *next += 1;
            *next - 1
        })
    }

    pub(super) fn fresh(&mut self) -> usize {
        self.next += 1;
        self.next - 1
    }

    pub(super) fn give(&mut self, name: &'d str) {
        *self.given.entry(name).or_default() += 1;
    }

    /// A name that is given a value where there is one.
    fn give_any(&mut self, name: Option<&'d Identifier>) {
        if let Some(name) = name {
            self.give(name);
        }
    }

    fn give_target(&mut self, target: &'d Expr) {
        match target {
            Expr::Name(of) => self.give(&of.id),
            Expr::Tuple(of) => of.elts.iter().for_each(|one| self.give_target(one)),
            Expr::List(of) => of.elts.iter().for_each(|one| self.give_target(one)),
            Expr::Starred(of) => self.give_target(&of.value),
            _ => {}
        }
    }
}

/// Notes the names that statements and expressions give a value. Functions and classes inside have names of their own; so have comprehensions, but for
/// assignment expressions in them.
impl<'d> Visitor<'d> for Scope<'d> {
    fn visit_stmt(&mut self, statement: &'d Stmt) {
        match statement {
            Stmt::FunctionDef(of) => {
                self.give(&of.name);
                return;
            }
            Stmt::ClassDef(of) => self.give(&of.name),
            Stmt::Global(of) => self.globals.extend(of.names.iter().map(Identifier::as_str)),
            Stmt::Assign(of) => of
                .targets
                .iter()
                .for_each(|target| self.give_target(target)),
            Stmt::Delete(of) => of
                .targets
                .iter()
                .for_each(|target| self.give_target(target)),
            Stmt::AugAssign(of) => self.give_target(&of.target),
            Stmt::AnnAssign(of) => self.give_target(&of.target),
            Stmt::For(of) => self.give_target(&of.target),
            Stmt::With(of) => {
                let targets = of
                    .items
                    .iter()
                    .filter_map(|item| item.optional_vars.as_deref());
                targets.for_each(|target| self.give_target(target));
            }
            Stmt::Import(of) => {
                for alias in &of.names {
                    let first = alias.name.split('.').next().unwrap_or_default();
                    self.give(alias.asname.as_ref().map_or(first, Identifier::as_str));
                }
            }
            Stmt::ImportFrom(of) => {
                for alias in &of.names {
                    self.give(alias.asname.as_ref().unwrap_or(&alias.name));
                }
            }
            _ => {}
        }
        walk_stmt(self, statement);
    }

    fn visit_expr(&mut self, expression: &'d Expr) {
        match expression {
            Expr::Lambda(_) => return,
            Expr::Named(of) => self.give_target(&of.target),
            _ => {}
        }
        walk_expr(self, expression);
    }

    fn visit_except_handler(&mut self, handler: &'d ExceptHandler) {
        let ExceptHandler::ExceptHandler(of) = handler;
        self.give_any(of.name.as_ref());
        walk_except_handler(self, handler);
    }

    fn visit_pattern(&mut self, pattern: &'d Pattern) {
        match pattern {
            Pattern::MatchStar(of) => self.give_any(of.name.as_ref()),
            Pattern::MatchAs(of) => self.give_any(of.name.as_ref()),
            Pattern::MatchMapping(of) => self.give_any(of.rest.as_ref()),
            _ => {}
        }
        walk_pattern(self, pattern);
    }

    fn visit_annotation(&mut self, _: &'d Expr) {}
}
