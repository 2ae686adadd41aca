//! Expressions, calls and comprehensions.

use std::collections::HashMap;

use serde_json::Value as Json;

use super::functions::{Compiler, Meaning, hole};
use super::{attribute, class, items, name_of, named};
use crate::native::constants::{Constant, Frozen, FrozenKind};
use crate::native::names::Module;
use crate::native::program::{Comparison, Comprehension, Expression, Loop, Made, Operator, Part};
use crate::native::stop::error_classes;

impl<'d> Compiler<'_, 'd> {
    pub(super) fn optional(&mut self, tree: &'d Json) -> Option<Expression> {
        (!tree.is_null()).then(|| self.expression(tree))
    }

    pub(super) fn expressions(&mut self, list: &'d Json) -> Vec<Expression> {
        items(list).map(|one| self.expression(one)).collect()
    }

    pub(super) fn boxed(&mut self, tree: &'d Json) -> Box<Expression> {
        Box::new(self.expression(tree))
    }

    pub(super) fn expression(&mut self, tree: &'d Json) -> Expression {
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
                let rest = items(&tree[2]).map(comparison).zip(items(&tree[3]));
                let rest = rest.map(|(comparison, right)| {
                    let right = self.expression(right);
                    // What is only asked for its elements need not be made anew each time.
                    match comparison {
                        Comparison::In | Comparison::NotIn => (comparison, folded(right)),
                        _ => (comparison, right),
                    }
                });
                Expression::Compare(first, rest.collect())
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
            // Nothing can change it, so all may have the same.
            "Tuple" => folded(Expression::Tuple(self.expressions(&tree[1]))),
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

    pub(super) fn part(&mut self, tree: &'d Json) -> Part {
        match class(tree) {
            "Constant" => Part::Text(tree[1][1].as_str().unwrap_or_default().into()),
            _ if !tree[3].is_null() => match (tree[2].as_i64(), plain_format(&tree[3])) {
                (Some(-1), Some(format)) => {
                    Part::Formatted(self.expression(&tree[1]), format.into())
                }
                _ => Part::Value(hole("a format")),
            },
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

    pub(super) fn subscript(&mut self, tree: &'d Json) -> Expression {
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
    pub(super) fn member(&mut self, tree: &'d Json) -> Option<Constant> {
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
    pub(super) fn dotted(&mut self, tree: &'d Json) -> Option<String> {
        let (of, name) = attribute(tree)?;
        let owner = name_of(of)?;
        if self.local(owner, self.scopes.len()).is_some() {
            return None;
        }
        let form = self.globals.get(owner)?;
        (form[0] == "N").then(|| Some(format!("{}.{name}", form[1].as_str()?)))?
    }

    pub(super) fn attribute(&mut self, tree: &'d Json) -> Expression {
        if let Some(member) = self.member(tree) {
            return Expression::Constant(member);
        }
        Expression::Attribute(
            self.boxed(&tree[1]),
            tree[2].as_str().unwrap_or_default().into(),
        )
    }

    pub(super) fn comprehension(&mut self, made: Made, tree: &'d Json) -> Expression {
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

pub(super) fn plain_names<'d>(target: &'d Json, names: &mut Vec<&'d str>) {
    match class(target) {
        "Name" => names.extend(target[1].as_str()),
        "Tuple" | "List" => items(&target[1]).for_each(|one| plain_names(one, names)),
        "Starred" => plain_names(&target[1], names),
        _ => {}
    }
}

pub(super) fn operator(tree: &Json) -> Operator {
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
        "Pow" => Operator::Power,
        _ => Operator::Other,
    }
}

pub(super) fn comparison(tree: &Json) -> Comparison {
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

/// The text of a format that has no expressions inside.
fn plain_format(tree: &Json) -> Option<&str> {
    match tree[1].as_array()?.as_slice() {
        [part] if class(part) == "Constant" => part[1][1].as_str(),
        _ => None,
    }
}

/// A display of plain constants as one constant; anything else as it is.
fn folded(expression: Expression) -> Expression {
    let is_plain = |part: &Expression| {
        matches!(
            part,
            Expression::Constant(
                Constant::None
                    | Constant::Bool(_)
                    | Constant::Int(_)
                    | Constant::Float(_)
                    | Constant::Text(_)
            )
        )
    };
    let (kind, parts) = match expression {
        Expression::List(parts) => (FrozenKind::List, parts),
        Expression::Tuple(parts) => (FrozenKind::Tuple, parts),
        Expression::Set(parts) => (FrozenKind::Set, parts),
        other => return other,
    };
    if !parts.iter().all(is_plain) {
        return match kind {
            FrozenKind::List => Expression::List(parts),
            FrozenKind::Set => Expression::Set(parts),
            _ => Expression::Tuple(parts),
        };
    }
    let constants = parts.into_iter().filter_map(|part| match part {
        Expression::Constant(constant) => Some(constant),
        _ => None,
    });
    let frozen = Frozen::new(kind, constants.collect(), Vec::new());
    Expression::Constant(Constant::Frozen(frozen.into()))
}
