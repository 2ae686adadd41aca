//! Expressions and constants.

use ruff_python_ast::{self as ast, BoolOp, CmpOp, Expr, Number, Operator, UnaryOp};
use serde_json::Value as Json;

use super::formatted::formatted;
use super::statements::parameters;
use super::{REPLACED, Read, deeper, name_or_none, node, text};

pub(super) fn expression_or_none(of: Option<&Expr>, depth: u32) -> Read {
    of.map_or(Ok(Json::Null), |of| expression(of, depth))
}

pub(super) fn expressions<'s>(list: impl IntoIterator<Item = &'s Expr>, depth: u32) -> Read {
    list.into_iter().map(|one| expression(one, depth)).collect()
}

pub(super) fn keywords(list: &[ast::Keyword], depth: u32) -> Read {
    let keyword = |of: &ast::Keyword| {
        let value = expression(&of.value, depth)?;
        node("keyword", [name_or_none(of.arg.as_ref()), value])
    };
    list.iter().map(keyword).collect()
}

pub(super) fn expression(expression: &Expr, depth: u32) -> Read {
    let depth = deeper(depth)?;
    let one = |of: &Expr| self::expression(of, depth);
    let maybe = |of: &Option<Box<Expr>>| expression_or_none(of.as_deref(), depth);
    let many = |of: &[Expr]| expressions(of, depth);
    let loops = |of: &[ast::Comprehension]| -> Read {
        of.iter().map(|one| comprehension(one, depth)).collect()
    };
    match expression {
        Expr::Name(of) => node("Name", [text(&of.id)]),
        Expr::StringLiteral(of) => constant(string(of.value.to_str())),
        Expr::NumberLiteral(of) => constant(number(&of.value)),
        Expr::BooleanLiteral(of) => constant(form("K", Json::from(of.value))),
        Expr::NoneLiteral(_) => constant(form("K", Json::Null)),
        Expr::BytesLiteral(_) => constant(form("X", text("bytes"))),
        Expr::EllipsisLiteral(_) => constant(form("X", text("ellipsis"))),
        Expr::BoolOp(of) => {
            let operator = match of.op {
                BoolOp::And => "And",
                BoolOp::Or => "Or",
            };
            node("BoolOp", [text(operator), many(&of.values)?])
        }
        Expr::Named(of) => node("NamedExpr", [one(&of.target)?, one(&of.value)?]),
        Expr::BinOp(of) => node("BinOp", [one(&of.left)?, operator(of.op), one(&of.right)?]),
        Expr::UnaryOp(of) => {
            let operator = match of.op {
                UnaryOp::Invert => "Invert",
                UnaryOp::Not => "Not",
                UnaryOp::UAdd => "UAdd",
                UnaryOp::USub => "USub",
            };
            node("UnaryOp", [text(operator), one(&of.operand)?])
        }
        Expr::Lambda(of) => {
            let parameters = parameters(of.parameters.as_deref(), depth)?;
            node("Lambda", [parameters, one(&of.body)?])
        }
        Expr::If(of) => node("IfExp", [one(&of.test)?, one(&of.body)?, one(&of.orelse)?]),
        Expr::Dict(of) => {
            let keys = of.items.iter().map(|of| of.key.as_ref());
            let keys = keys.map(|key| expression_or_none(key, depth));
            let values = expressions(of.items.iter().map(|of| &of.value), depth)?;
            node("Dict", [keys.collect::<Read>()?, values])
        }
        Expr::Set(of) => node("Set", [many(&of.elts)?]),
        Expr::ListComp(of) => node("ListComp", [one(&of.elt)?, loops(&of.generators)?]),
        Expr::SetComp(of) => node("SetComp", [one(&of.elt)?, loops(&of.generators)?]),
        Expr::Generator(of) => node("GeneratorExp", [one(&of.elt)?, loops(&of.generators)?]),
        Expr::DictComp(of) => {
            let (key, value) = (maybe(&of.key)?, one(&of.value)?);
            node("DictComp", [key, value, loops(&of.generators)?])
        }
        Expr::Await(of) => node("Await", [one(&of.value)?]),
        Expr::Yield(of) => node("Yield", [maybe(&of.value)?]),
        Expr::YieldFrom(of) => node("YieldFrom", [one(&of.value)?]),
        Expr::Compare(of) => {
            let operators = of.ops.iter().map(|op| text(comparison(*op))).collect();
            node(
                "Compare",
                [one(&of.left)?, operators, many(&of.comparators)?],
            )
        }
        Expr::Call(of) => {
            let given = &of.arguments;
            let keywords = keywords(&given.keywords, depth)?;
            node("Call", [one(&of.func)?, many(&given.args)?, keywords])
        }
        Expr::FString(of) => formatted(of, depth),
        Expr::Attribute(of) => node("Attribute", [one(&of.value)?, text(&of.attr)]),
        Expr::Subscript(of) => node("Subscript", [one(&of.value)?, one(&of.slice)?]),
        Expr::Starred(of) => node("Starred", [one(&of.value)?]),
        Expr::List(of) => node("List", [many(&of.elts)?]),
        Expr::Tuple(of) => node("Tuple", [many(&of.elts)?]),
        Expr::Slice(of) => {
            let (lower, upper) = (maybe(&of.lower)?, maybe(&of.upper)?);
            node("Slice", [lower, upper, maybe(&of.step)?])
        }
        Expr::TString(_) => Ok(text("TemplateStr")),
        Expr::IpyEscapeCommand(_) => Ok(text("IpyEscapeCommand")),
    }
}

fn comprehension(of: &ast::Comprehension, depth: u32) -> Read {
    let target = expression(&of.target, depth)?;
    let over = expression(&of.iter, depth)?;
    let tests = expressions(&of.ifs, depth)?;
    let is_async = u8::from(of.is_async);
    node("comprehension", [target, over, tests, Json::from(is_async)])
}

fn form(form: &str, value: Json) -> Json {
    Json::Array(vec![text(form), value])
}

pub(super) fn constant(value: Json) -> Read {
    node("Constant", [value])
}

pub(super) fn string(value: &str) -> Json {
    if value.contains(REPLACED) {
        return form("X", text("constant"));
    }
    form("K", text(value))
}

fn number(value: &Number) -> Json {
    match value {
        Number::Int(value) => match value.as_i64() {
            Some(value) => form("K", Json::from(value)),
            None => form("X", text("constant")),
        },
        Number::Float(value) => form("D", Json::from(format!("{value:?}"))),
        Number::Complex { .. } => form("X", text("complex")),
    }
}

pub(super) fn operator(of: Operator) -> Json {
    text(match of {
        Operator::Add => "Add",
        Operator::Sub => "Sub",
        Operator::Mult => "Mult",
        Operator::MatMult => "MatMult",
        Operator::Div => "Div",
        Operator::Mod => "Mod",
        Operator::Pow => "Pow",
        Operator::LShift => "LShift",
        Operator::RShift => "RShift",
        Operator::BitOr => "BitOr",
        Operator::BitXor => "BitXor",
        Operator::BitAnd => "BitAnd",
        Operator::FloorDiv => "FloorDiv",
    })
}

fn comparison(of: CmpOp) -> &'static str {
    match of {
        CmpOp::Eq => "Eq",
        CmpOp::NotEq => "NotEq",
        CmpOp::Lt => "Lt",
        CmpOp::LtE => "LtE",
        CmpOp::Gt => "Gt",
        CmpOp::GtE => "GtE",
        CmpOp::Is => "Is",
        CmpOp::IsNot => "IsNot",
        CmpOp::In => "In",
        CmpOp::NotIn => "NotIn",
    }
}
