//! Statements and the targets of assignments.

use ruff_python_ast::{ElifElseClause, ExceptHandler, ExceptHandlerExceptHandler, Expr, Stmt};

use super::expressions::{class_of, operator};
use super::functions::{Compiler, Inner, Meaning};
use super::literals::literal;
use crate::native::program::{Handler, Statement, Target};

impl<'d> Compiler<'_, 'd> {
    pub(super) fn statements(&mut self, list: &'d [Stmt]) -> Vec<Statement> {
        list.iter()
            .map(|statement| self.statement(statement))
            .collect()
    }

    fn statement(&mut self, statement: &'d Stmt) -> Statement {
        let hole = |class: &str| Statement::Hole(class.into());
        match statement {
            Stmt::Return(of) => Statement::Return(self.optional(of.value.as_deref())),
            Stmt::Expr(of) if literal(&of.value).is_some() => Statement::Pass,
            Stmt::Expr(of) => Statement::Expression(self.expression(&of.value)),
            Stmt::Assign(of) => {
                let value = self.expression(&of.value);
                let targets = of.targets.iter().map(|target| self.target(target));
                Statement::Assign(targets.collect(), value)
            }
            Stmt::AnnAssign(of) => match &of.value {
                None => Statement::Pass,
                Some(value) => {
                    let value = self.expression(value);
                    Statement::Assign(vec![self.target(&of.target)], value)
                }
            },
            Stmt::AugAssign(of) => {
                let value = self.expression(&of.value);
                Statement::Augment(self.target(&of.target), operator(of.op), value)
            }
            Stmt::If(of) => Statement::If(
                self.expression(&of.test),
                self.statements(&of.body),
                self.otherwise(&of.elif_else_clauses),
            ),
            Stmt::For(of) if of.is_async => hole("AsyncFor"),
            Stmt::For(of) => Statement::For {
                over: self.expression(&of.iter),
                target: self.target(&of.target),
                body: self.statements(&of.body),
                otherwise: self.statements(&of.orelse),
            },
            Stmt::While(of) => Statement::While {
                test: self.expression(&of.test),
                body: self.statements(&of.body),
                otherwise: self.statements(&of.orelse),
            },
            Stmt::Try(of) if of.is_star => hole("TryStar"),
            Stmt::Try(of) => Statement::Try {
                body: self.statements(&of.body),
                handlers: of
                    .handlers
                    .iter()
                    .map(|ExceptHandler::ExceptHandler(handler)| self.handler(handler))
                    .collect(),
                otherwise: self.statements(&of.orelse),
                finally: self.statements(&of.finalbody),
            },
            Stmt::Raise(of) => Statement::Raise(self.optional(of.exc.as_deref())),
            Stmt::Break(_) => Statement::Break,
            Stmt::Continue(_) => Statement::Continue,
            Stmt::Pass(_) | Stmt::Global(_) => Statement::Pass,
            Stmt::FunctionDef(of) if of.is_async => hole("AsyncFunctionDef"),
            Stmt::FunctionDef(of) => {
                let function = self.inner(Inner::Function(of), false);
                let slot = self.scope().slot(&of.name);
                Statement::Assign(vec![Target::Local(slot)], function)
            }
            Stmt::ClassDef(_) => hole("ClassDef"),
            Stmt::Delete(_) => hole("Delete"),
            Stmt::With(of) if of.is_async => hole("AsyncWith"),
            Stmt::With(_) => hole("With"),
            Stmt::Match(_) => hole("Match"),
            Stmt::Assert(_) => hole("Assert"),
            Stmt::Import(_) => hole("Import"),
            Stmt::ImportFrom(_) => hole("ImportFrom"),
            Stmt::Nonlocal(_) => hole("Nonlocal"),
            Stmt::TypeAlias(_) => hole("TypeAlias"),
            Stmt::IpyEscapeCommand(_) => hole("IpyEscapeCommand"),
        }
    }

    /// What follows an `if`: an `elif` is an `if` inside it.
    fn otherwise(&mut self, clauses: &'d [ElifElseClause]) -> Vec<Statement> {
        match clauses.split_first() {
            None => Vec::new(),
            Some((first, rest)) => match &first.test {
                None => self.statements(&first.body),
                Some(test) => vec![Statement::If(
                    self.expression(test),
                    self.statements(&first.body),
                    self.otherwise(rest),
                )],
            },
        }
    }

    fn handler(&mut self, of: &'d ExceptHandlerExceptHandler) -> Handler {
        let class = self.optional(of.type_.as_deref());
        let slot = of.name.as_ref().map(|name| self.scope().slot(name));
        Handler {
            class,
            slot,
            body: self.statements(&of.body),
        }
    }

    pub(super) fn target(&mut self, target: &'d Expr) -> Target {
        match target {
            Expr::Name(of) => match self.meaning(&of.id) {
                Meaning::Local(slot) => Target::Local(slot),
                Meaning::Written(slot) => Target::Written(slot),
                _ => Target::Hole("an assignment to a global".into()),
            },
            Expr::Subscript(of) if !of.slice.is_slice_expr() => {
                Target::Item(self.expression(&of.value), self.expression(&of.slice))
            }
            Expr::Attribute(of) if self.member(of).is_none() => {
                Target::Attribute(self.expression(&of.value), of.attr.as_str().into())
            }
            Expr::Tuple(of) => self.several(&of.elts),
            Expr::List(of) => self.several(&of.elts),
            other => Target::Hole(class_of(other).into()),
        }
    }

    fn several(&mut self, targets: &'d [Expr]) -> Target {
        let starred = targets.iter().position(Expr::is_starred_expr);
        let targets = targets.iter().map(|one| match one {
            Expr::Starred(of) => self.target(&of.value),
            one => self.target(one),
        });
        Target::Several(targets.collect(), starred)
    }
}
