//! What the functions of a pack write, change in place and have as texts, seen before any of them is compiled.

use std::collections::{BTreeSet, HashMap, HashSet};

use ruff_python_ast::visitor::{Visitor, walk_expr, walk_stmt};
use ruff_python_ast::{Expr, Identifier, Stmt, StmtFunctionDef};

use super::literals::{Piece, pieces, text_of};

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

/// What some function does to the globals of its module.
#[derive(Default)]
pub(super) struct Survey<'d> {
    /// Slots of the names that some function declares `global`, by module and name.
    pub(super) written: HashMap<(&'d str, &'d str), usize>,
    /// Names of containers that some function changes in place, by module and name.
    pub(super) changed: HashSet<(&'d str, &'d str)>,
}

impl<'d> Survey<'d> {
    /// Takes in a function of a module, with what is defined inside it.
    pub(super) fn take(&mut self, module: &'d str, function: &'d StmtFunctionDef) {
        let mut of_module = OfModule {
            module,
            survey: self,
        };
        walk_function(&mut of_module, function);
    }

    /// Slots of the names that a function declares `global`.
    pub(super) fn writes(&self, module: &str, function: &StmtFunctionDef) -> BTreeSet<usize> {
        let mut globals = Globals::default();
        walk_function(&mut globals, function);
        let slot = |name: &&str| self.written.get(&(module, *name)).copied();
        globals.0.iter().filter_map(slot).collect()
    }
}

/// The literal texts of a function.
pub(super) fn texts_in(function: &StmtFunctionDef, texts: &mut HashSet<Box<str>>) {
    walk_function(&mut Texts(texts), function);
}

/// All of a function that is compiled, and what it is decorated with.
fn walk_function<'d>(visitor: &mut impl Visitor<'d>, function: &'d StmtFunctionDef) {
    for decorator in &function.decorator_list {
        visitor.visit_decorator(decorator);
    }
    visitor.visit_parameters(&function.parameters);
    visitor.visit_body(&function.body);
}

struct OfModule<'s, 'd> {
    module: &'d str,
    survey: &'s mut Survey<'d>,
}

impl<'d> OfModule<'_, 'd> {
    fn change(&mut self, of: &'d Expr) {
        if let Expr::Name(of) = of {
            self.survey.changed.insert((self.module, &of.id));
        }
    }

    /// `name[...] = ...`, and others like it.
    fn change_target(&mut self, target: &'d Expr) {
        match target {
            Expr::Subscript(of) => self.change(&of.value),
            Expr::Tuple(of) => of.elts.iter().for_each(|one| self.change_target(one)),
            Expr::List(of) => of.elts.iter().for_each(|one| self.change_target(one)),
            Expr::Starred(of) => self.change_target(&of.value),
            _ => {}
        }
    }
}

impl<'d> Visitor<'d> for OfModule<'_, 'd> {
    fn visit_stmt(&mut self, statement: &'d Stmt) {
        match statement {
            Stmt::Global(of) => {
                for name in &of.names {
                    let slot = self.survey.written.len();
                    let written = self.survey.written.entry((self.module, name));
                    written.or_insert(slot);
                }
            }
            Stmt::Assign(of) => of.targets.iter().for_each(|one| self.change_target(one)),
            Stmt::Delete(of) => of.targets.iter().for_each(|one| self.change_target(one)),
            Stmt::AnnAssign(of) => self.change_target(&of.target),
            Stmt::For(of) => self.change_target(&of.target),
            Stmt::AugAssign(of) => {
                self.change_target(&of.target);
                self.change(&of.target);
            }
            _ => {}
        }
        walk_stmt(self, statement);
    }

    fn visit_expr(&mut self, expression: &'d Expr) {
        if let Expr::Call(call) = expression
            && let Expr::Attribute(of) = &*call.func
            && CHANGING.contains(&of.attr.as_str())
        {
            self.change(&of.value);
        }
        walk_expr(self, expression);
    }

    fn visit_annotation(&mut self, _: &'d Expr) {}
}

#[derive(Default)]
struct Globals<'d>(Vec<&'d str>);

impl<'d> Visitor<'d> for Globals<'d> {
    fn visit_stmt(&mut self, statement: &'d Stmt) {
        if let Stmt::Global(of) = statement {
            self.0.extend(of.names.iter().map(Identifier::as_str));
        }
        walk_stmt(self, statement);
    }

    // No statement stands in an expression.
    fn visit_expr(&mut self, _: &'d Expr) {}
}

struct Texts<'s>(&'s mut HashSet<Box<str>>);

impl<'d> Visitor<'d> for Texts<'_> {
    fn visit_expr(&mut self, expression: &'d Expr) {
        match expression {
            Expr::StringLiteral(of) => {
                self.0.extend(text_of(of).map(Into::into));
            }
            Expr::FString(of) => {
                let texts = pieces(of)
                    .into_iter()
                    .flatten()
                    .filter_map(|piece| match piece {
                        Piece::Text(text) => Some(text.into()),
                        Piece::Value(_) => None,
                    });
                self.0.extend(texts);
            }
            _ => {}
        }
        walk_expr(self, expression);
    }

    fn visit_annotation(&mut self, _: &'d Expr) {}
}
