//! Statements and the targets of assignments.

use serde_json::Value as Json;

use super::expressions::operator;
use super::functions::{Compiler, Meaning};
use super::{class, items};
use crate::native::program::{Handler, Statement, Target};

impl<'d> Compiler<'_, 'd> {
    pub(super) fn statements(&mut self, list: &'d Json) -> Vec<Statement> {
        items(list)
            .map(|statement| self.statement(statement))
            .collect()
    }

    pub(super) fn statement(&mut self, tree: &'d Json) -> Statement {
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

    pub(super) fn handler(&mut self, tree: &'d Json) -> Handler {
        let class = self.optional(&tree[1]);
        let slot = tree[2].as_str().map(|name| self.scope().slot(name));
        Handler {
            class,
            slot,
            body: self.statements(&tree[3]),
        }
    }

    pub(super) fn target(&mut self, tree: &'d Json) -> Target {
        match class(tree) {
            "Name" => match self.meaning(tree[1].as_str().unwrap_or_default()) {
                Meaning::Local(slot) => Target::Local(slot),
                Meaning::Written(slot) => Target::Written(slot),
                _ => Target::Hole("an assignment to a global".into()),
            },
            "Subscript" if class(&tree[2]) != "Slice" => {
                Target::Item(self.expression(&tree[1]), self.expression(&tree[2]))
            }
            "Attribute" if self.member(tree).is_none() => Target::Attribute(
                self.expression(&tree[1]),
                tree[2].as_str().unwrap_or_default().into(),
            ),
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
}
