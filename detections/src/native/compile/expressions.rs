//! Expressions and comprehensions.

use std::collections::HashMap;

use ruff_python_ast::{
    self as ast, BoolOp, CmpOp, ConversionFlag, Expr, ExprAttribute, ExprSubscript,
    InterpolatedElement, Operator as Written, UnaryOp,
};

use super::functions::{Compiler, Inner, Meaning, hole};
use super::literals::{Piece, literal, pieces, plain_format};
use super::pack::named;
use crate::native::constants::{Constant, Frozen, FrozenKind};
use crate::native::names::Module;
use crate::native::program::{Comparison, Comprehension, Expression, Loop, Made, Operator, Part};
use crate::native::stop::error_classes;
use crate::native::told::ToldValue;

impl<'d> Compiler<'_, 'd> {
    pub(super) fn optional(&mut self, expression: Option<&'d Expr>) -> Option<Expression> {
        expression.map(|expression| self.expression(expression))
    }

    fn expressions(&mut self, list: &'d [Expr]) -> Vec<Expression> {
        list.iter().map(|one| self.expression(one)).collect()
    }

    pub(super) fn boxed(&mut self, expression: &'d Expr) -> Box<Expression> {
        Box::new(self.expression(expression))
    }

    fn pair(&mut self, one: &'d Expr, other: &'d Expr) -> Box<[Expression; 2]> {
        Box::new([self.expression(one), self.expression(other)])
    }

    pub(super) fn expression(&mut self, expression: &'d Expr) -> Expression {
        if let Some(constant) = literal(expression) {
            return Expression::Constant(constant);
        }
        match expression {
            Expr::Name(of) => match self.meaning(&of.id) {
                Meaning::Local(slot) => Expression::Local(slot),
                Meaning::Written(slot) => Expression::Written(slot),
                Meaning::Constant(constant) => Expression::Constant(constant),
                Meaning::Hole(what) => Expression::Hole(what),
            },
            Expr::BoolOp(of) => {
                let parts = self.expressions(&of.values);
                match of.op {
                    BoolOp::And => Expression::And(parts),
                    BoolOp::Or => Expression::Or(parts),
                }
            }
            Expr::UnaryOp(of) => {
                let operand = self.boxed(&of.operand);
                match of.op {
                    UnaryOp::Not => Expression::Not(operand),
                    UnaryOp::USub => Expression::Negate(operand),
                    UnaryOp::Invert | UnaryOp::UAdd => hole("an operator"),
                }
            }
            Expr::BinOp(of) => Expression::Binary(operator(of.op), self.pair(&of.left, &of.right)),
            Expr::Compare(of) => {
                let first = self.boxed(&of.left);
                let rest = of.ops.iter().map(|op| comparison(*op)).zip(&of.comparators);
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
            Expr::If(of) => Expression::Choice(Box::new([
                self.expression(&of.test),
                self.expression(&of.body),
                self.expression(&of.orelse),
            ])),
            Expr::Call(of) => self.call(of),
            Expr::Attribute(of) => self.attribute(of),
            Expr::Subscript(of) => self.subscript(of),
            Expr::List(of) => Expression::List(self.expressions(&of.elts)),
            // Nothing can change it, so all may have the same.
            Expr::Tuple(of) => folded(Expression::Tuple(self.expressions(&of.elts))),
            Expr::Set(of) => Expression::Set(self.expressions(&of.elts)),
            Expr::Dict(of) => {
                let pairs = of.items.iter().map(|item| {
                    let key = self.optional(item.key.as_ref());
                    (key, self.expression(&item.value))
                });
                Expression::Dict(pairs.collect())
            }
            Expr::Starred(of) => Expression::Starred(self.boxed(&of.value)),
            Expr::ListComp(of) => self.comprehension(Made::List, &of.generators, &of.elt, None),
            Expr::SetComp(of) => self.comprehension(Made::Set, &of.generators, &of.elt, None),
            Expr::DictComp(of) => match &of.key {
                Some(key) => self.comprehension(Made::Dict, &of.generators, key, Some(&of.value)),
                None => hole("DictComp"),
            },
            Expr::Generator(_) => hole("a generator that is kept"),
            Expr::FString(of) => match pieces(of) {
                Some(pieces) => {
                    let parts = pieces.into_iter().map(|piece| self.part(piece));
                    Expression::Text(parts.collect())
                }
                None => hole("half a character in an f-string"),
            },
            Expr::Named(of) => {
                let value = self.boxed(&of.value);
                let slot = match &*of.target {
                    Expr::Name(name) => self.local(&name.id),
                    _ => None,
                };
                match slot {
                    Some(slot) => Expression::Walrus(slot, value),
                    None => hole("an assignment expression to a global"),
                }
            }
            Expr::Lambda(of) => self.inner(Inner::Lambda(of), false),
            other => hole(class_of(other)),
        }
    }

    fn part(&mut self, piece: Piece<'d>) -> Part {
        match piece {
            Piece::Text(text) => Part::Text(text.into()),
            Piece::Value(of) => self.value(of),
        }
    }

    fn value(&mut self, of: &'d InterpolatedElement) -> Part {
        if let Some(format) = &of.format_spec {
            return match (of.conversion, plain_format(format)) {
                (ConversionFlag::None, Some(format)) => {
                    Part::Formatted(self.expression(&of.expression), format)
                }
                _ => Part::Value(hole("a format")),
            };
        }
        let value = self.expression(&of.expression);
        match of.conversion {
            // `{value=}` shows what `repr` gives.
            ConversionFlag::None if of.debug_text.is_some() => Part::Repr(value),
            ConversionFlag::None | ConversionFlag::Str => Part::Value(value),
            ConversionFlag::Repr => Part::Repr(value),
            ConversionFlag::Ascii => Part::Value(hole("a conversion")),
        }
    }

    fn subscript(&mut self, of: &'d ExprSubscript) -> Expression {
        if let Expr::Slice(slice) = &*of.slice {
            let bounds = [
                self.optional(slice.lower.as_deref()),
                self.optional(slice.upper.as_deref()),
                self.optional(slice.step.as_deref()),
            ];
            return Expression::Slice(self.boxed(&of.value), Box::new(bounds));
        }
        Expression::Item(self.pair(&of.value, &of.slice))
    }

    /// The global that an expression names, unless the name is a local one.
    pub(super) fn global_named(&mut self, expression: &'d Expr) -> Option<&'d ToldValue> {
        let Expr::Name(of) = expression else {
            return None;
        };
        match self.local(&of.id) {
            Some(_) => None,
            None => self.globals.get(of.id.as_str()),
        }
    }

    /// What an attribute of a module means; `None` if its owner is no module.
    pub(super) fn member(&mut self, of: &'d ExprAttribute) -> Option<Constant> {
        let name = of.attr.as_str();
        if let Expr::Attribute(owner) = &*of.value {
            let owner = self.dotted(owner)?;
            return Some(named(&format!("{owner}.{name}")));
        }
        match self.global_named(&of.value)? {
            ToldValue::Module(members) => Some(match members.get(name) {
                Some(member) => self.pack.constant(member),
                None => Constant::Unknown(name.into()),
            }),
            ToldValue::Library(module) => {
                let known = match Module::named(module) {
                    Some(known) => known.name(),
                    None => module.as_str(),
                };
                let whole = format!("{known}.{name}");
                Some(match error_classes(&whole) {
                    Some(classes) => Constant::KnownErrorClass(classes),
                    None => named(&whole),
                })
            }
            ToldValue::Named(owner) => Some(named(&format!("{owner}.{name}"))),
            _ => None,
        }
    }

    /// The full name of a member of a module of the library, such as `datetime.datetime` for `dt.datetime`.
    fn dotted(&mut self, of: &'d ExprAttribute) -> Option<String> {
        match self.global_named(&of.value)? {
            ToldValue::Library(module) => Some(format!("{module}.{}", of.attr)),
            _ => None,
        }
    }

    fn attribute(&mut self, of: &'d ExprAttribute) -> Expression {
        if let Some(member) = self.member(of) {
            return Expression::Constant(member);
        }
        Expression::Attribute(self.boxed(&of.value), of.attr.as_str().into())
    }

    pub(super) fn comprehension(
        &mut self,
        made: Made,
        generators: &'d [ast::Comprehension],
        element: &'d Expr,
        value: Option<&'d Expr>,
    ) -> Expression {
        self.scope().inner.push(HashMap::new());
        let mut loops = Vec::new();
        for (place, generator) in generators.iter().enumerate() {
            // The first is evaluated outside.
            let names = (place == 0).then(|| self.scope().inner.pop()).flatten();
            let over = self.expression(&generator.iter);
            if let Some(names) = names {
                self.scope().inner.push(names);
            }
            let mut targets = Vec::new();
            plain_names(&generator.target, &mut targets);
            for name in targets {
                let scope = self.scope();
                let slot = scope.fresh();
                if let Some(names) = scope.inner.last_mut() {
                    names.insert(name, slot);
                }
            }
            let target = self.target(&generator.target);
            let tests = self.expressions(&generator.ifs);
            loops.push(Loop {
                target,
                over,
                tests,
            });
        }
        let element = self.expression(element);
        let value = self.optional(value);
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

fn plain_names<'d>(target: &'d Expr, names: &mut Vec<&'d str>) {
    match target {
        Expr::Name(of) => names.push(&of.id),
        Expr::Tuple(of) => of.elts.iter().for_each(|one| plain_names(one, names)),
        Expr::List(of) => of.elts.iter().for_each(|one| plain_names(one, names)),
        Expr::Starred(of) => plain_names(&of.value, names),
        _ => {}
    }
}

pub(super) fn operator(of: Written) -> Operator {
    match of {
        Written::Add => Operator::Add,
        Written::Sub => Operator::Subtract,
        Written::Mult => Operator::Multiply,
        Written::Div => Operator::Divide,
        Written::FloorDiv => Operator::FloorDivide,
        Written::Mod => Operator::Modulo,
        Written::BitAnd => Operator::And,
        Written::BitOr => Operator::Or,
        Written::BitXor => Operator::Xor,
        Written::Pow => Operator::Power,
        Written::MatMult | Written::LShift | Written::RShift => Operator::Other,
    }
}

fn comparison(of: CmpOp) -> Comparison {
    match of {
        CmpOp::Eq => Comparison::Equal,
        CmpOp::NotEq => Comparison::Unequal,
        CmpOp::Lt => Comparison::Less,
        CmpOp::LtE => Comparison::LessOrEqual,
        CmpOp::Gt => Comparison::Greater,
        CmpOp::GtE => Comparison::GreaterOrEqual,
        CmpOp::Is => Comparison::Is,
        CmpOp::IsNot => Comparison::IsNot,
        CmpOp::In => Comparison::In,
        CmpOp::NotIn => Comparison::NotIn,
    }
}

/// What Python calls an expression that has no form here.
pub(super) fn class_of(expression: &Expr) -> &'static str {
    match expression {
        Expr::Attribute(_) => "Attribute",
        Expr::Subscript(_) => "Subscript",
        Expr::Starred(_) => "Starred",
        Expr::Slice(_) => "Slice",
        Expr::Await(_) => "Await",
        Expr::Yield(_) => "Yield",
        Expr::YieldFrom(_) => "YieldFrom",
        Expr::TString(_) => "TemplateStr",
        _ => "an expression",
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
