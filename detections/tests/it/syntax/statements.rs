//! Statements, and what functions are given.

use ruff_python_ast::{self as ast, ExceptHandler, Expr, Stmt};
use serde_json::Value as Json;

use super::expressions::{expression, expression_or_none, expressions, keywords, operator};
use super::{Read, deeper, name_or_none, node, text};

fn body(statements: &[Stmt], depth: u32) -> Read {
    let each = statements.iter();
    each.map(|statement| self::statement(statement, depth))
        .collect()
}

fn statement(statement: &Stmt, depth: u32) -> Read {
    let depth = deeper(depth)?;
    let one = |of: &Expr| expression(of, depth);
    let maybe = |of: &Option<Box<Expr>>| expression_or_none(of.as_deref(), depth);
    let many = |of: &[Expr]| expressions(of, depth);
    let all = |of: &[Stmt]| body(of, depth);
    match statement {
        Stmt::FunctionDef(of) => definition(of, depth),
        Stmt::ClassDef(of) => {
            let (bases, keywords) = match &of.arguments {
                Some(given) => (many(&given.args)?, self::keywords(&given.keywords, depth)?),
                None => (Json::Array(Vec::new()), Json::Array(Vec::new())),
            };
            let name = text(&of.name);
            let decorators = decorators(&of.decorator_list, depth)?;
            node(
                "ClassDef",
                [name, bases, keywords, all(&of.body)?, decorators],
            )
        }
        Stmt::Return(of) => node("Return", [maybe(&of.value)?]),
        Stmt::Delete(of) => node("Delete", [many(&of.targets)?]),
        Stmt::Assign(of) => node("Assign", [many(&of.targets)?, one(&of.value)?]),
        Stmt::AugAssign(of) => node(
            "AugAssign",
            [one(&of.target)?, operator(of.op), one(&of.value)?],
        ),
        Stmt::AnnAssign(of) => node("AnnAssign", [one(&of.target)?, maybe(&of.value)?]),
        Stmt::For(of) => {
            let class = if of.is_async { "AsyncFor" } else { "For" };
            let (target, over) = (one(&of.target)?, one(&of.iter)?);
            node(class, [target, over, all(&of.body)?, all(&of.orelse)?])
        }
        Stmt::While(of) => node("While", [one(&of.test)?, all(&of.body)?, all(&of.orelse)?]),
        Stmt::If(of) => {
            let otherwise = otherwise(&of.elif_else_clauses, depth)?;
            node("If", [one(&of.test)?, all(&of.body)?, otherwise])
        }
        Stmt::With(of) => {
            let class = if of.is_async { "AsyncWith" } else { "With" };
            let item = |item: &ast::WithItem| {
                let (context, target) = (one(&item.context_expr)?, maybe(&item.optional_vars)?);
                node("withitem", [context, target])
            };
            let items = of.items.iter().map(item).collect::<Read>()?;
            node(class, [items, all(&of.body)?])
        }
        Stmt::Match(of) => {
            // Without the patterns: such a statement is for Python, and what counts is what its code reads and writes.
            let case =
                |case: &ast::MatchCase| node("match_case", [maybe(&case.guard)?, all(&case.body)?]);
            let cases = of.cases.iter().map(case).collect::<Read>()?;
            node("Match", [one(&of.subject)?, cases])
        }
        Stmt::Raise(of) => node("Raise", [maybe(&of.exc)?, maybe(&of.cause)?]),
        Stmt::Try(of) => {
            let class = if of.is_star { "TryStar" } else { "Try" };
            let handler = |ExceptHandler::ExceptHandler(of): &ExceptHandler| {
                let name = name_or_none(of.name.as_ref());
                node("ExceptHandler", [maybe(&of.type_)?, name, all(&of.body)?])
            };
            let handlers = of.handlers.iter().map(handler).collect::<Read>()?;
            let (otherwise, finally) = (all(&of.orelse)?, all(&of.finalbody)?);
            node(class, [all(&of.body)?, handlers, otherwise, finally])
        }
        Stmt::Assert(of) => node("Assert", [one(&of.test)?, maybe(&of.msg)?]),
        Stmt::Import(of) => node("Import", [aliases(&of.names)]),
        Stmt::ImportFrom(of) => {
            let module = name_or_none(of.module.as_ref());
            node(
                "ImportFrom",
                [module, aliases(&of.names), Json::from(of.level)],
            )
        }
        Stmt::Global(of) => node("Global", [names(&of.names)]),
        Stmt::Nonlocal(of) => node("Nonlocal", [names(&of.names)]),
        Stmt::Expr(of) => node("Expr", [one(&of.value)?]),
        Stmt::TypeAlias(_) => Ok(text("TypeAlias")),
        Stmt::Pass(_) => Ok(text("Pass")),
        Stmt::Break(_) => Ok(text("Break")),
        Stmt::Continue(_) => Ok(text("Continue")),
        Stmt::IpyEscapeCommand(_) => Ok(text("IpyEscapeCommand")),
    }
}

/// What follows an `if`: an `elif` is an `if` inside it.
fn otherwise(clauses: &[ast::ElifElseClause], depth: u32) -> Read {
    let Some((first, rest)) = clauses.split_first() else {
        return Ok(Json::Array(Vec::new()));
    };
    let Some(test) = &first.test else {
        return body(&first.body, depth);
    };
    let depth = deeper(depth)?;
    let (test, body) = (expression(test, depth)?, body(&first.body, depth)?);
    let inner: Read = node("If", [test, body, otherwise(rest, depth)?]);
    Ok(Json::Array(vec![inner?]))
}

pub(super) fn definition(of: &ast::StmtFunctionDef, depth: u32) -> Read {
    let class = if of.is_async {
        "AsyncFunctionDef"
    } else {
        "FunctionDef"
    };
    let parameters = parameters(Some(&of.parameters), depth)?;
    let decorators = decorators(&of.decorator_list, depth)?;
    let body = body(&of.body, depth)?;
    node(class, [text(&of.name), parameters, body, decorators])
}

fn decorators(list: &[ast::Decorator], depth: u32) -> Read {
    expressions(list.iter().map(|one| &one.expression), depth)
}

pub(super) fn parameters(of: Option<&ast::Parameters>, depth: u32) -> Read {
    let none = ast::Parameters::default();
    let of = of.unwrap_or(&none);
    let one = |name: &ast::Identifier| -> Read { node("arg", [text(name)]) };
    let all = |list: &[ast::ParameterWithDefault]| -> Read {
        list.iter().map(|of| one(&of.parameter.name)).collect()
    };
    let rest = |of: Option<&ast::Parameter>| of.map_or(Ok(Json::Null), |of| one(&of.name));
    let positional = of.posonlyargs.iter().chain(&of.args);
    let defaults = positional.filter_map(|of| of.default.as_deref());
    let named = of.kwonlyargs.iter();
    let named_defaults = named.map(|of| expression_or_none(of.default.as_deref(), depth));
    node(
        "arguments",
        [
            all(&of.posonlyargs)?,
            all(&of.args)?,
            rest(of.vararg.as_deref())?,
            all(&of.kwonlyargs)?,
            named_defaults.collect::<Read>()?,
            rest(of.kwarg.as_deref())?,
            expressions(defaults, depth)?,
        ],
    )
}

fn names(list: &[ast::Identifier]) -> Json {
    list.iter().map(|name| text(name)).collect()
}

fn aliases(list: &[ast::Alias]) -> Json {
    let alias = |of: &ast::Alias| {
        Json::Array(vec![
            text("alias"),
            text(&of.name),
            name_or_none(of.asname.as_ref()),
        ])
    };
    list.iter().map(alias).collect()
}
