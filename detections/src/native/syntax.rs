//! Reads the code of a pack: gives each function that Python told the tree that its file has for it.
//!
//! The trees are those of Python's own `ast`, as [`super::compile`] takes them: a node is `[class, field, ...]` with its fields in Python's order, without
//! contexts and annotations; one without fields is its class alone; the value of a constant is `[form, value]`. Python has loaded these files, so what
//! does not parse here is only left to it.

use std::collections::{BTreeMap, HashMap};
use std::thread;

use ruff_python_ast::{
    self as ast, BoolOp, CmpOp, ExceptHandler, Expr, FStringPart, InterpolatedStringElement,
    Number, Operator, Stmt, UnaryOp,
};
use serde_json::Value as Json;

/// Statements and expressions inside each other. Beyond it a function is left to Python: compiling it and letting go of it would take much of a stack.
const DEEPEST: u32 = 90;
/// For the parser's own tree of a file, which is let go level by level. Python compiles some thousand levels.
const STACK: usize = 64 << 20;
/// What the parser makes of half a character. Rust's texts have none, so what is written in code with one is for Python.
const REPLACED: char = '\u{fffd}';

/// Where a function stands in its file: its name, and the line that it begins in, decorators included.
type Place = (String, u64);

/// Takes the files out of what Python told, and gives the functions their trees. A function without one is told no more.
pub(super) fn give_trees(told: &mut Json) {
    let files = told.get_mut("files").map(Json::take).unwrap_or_default();
    let Some(functions) = told.get_mut("functions").and_then(Json::as_object_mut) else {
        return;
    };
    let mut wanted: BTreeMap<String, HashMap<Place, Vec<String>>> = BTreeMap::new();
    for (key, function) in functions.iter() {
        if let (Some(file), Some(name), Some(line)) = (
            function["file"].as_str(),
            function["name"].as_str(),
            function["line"].as_u64(),
        ) {
            let of_file = wanted.entry(file.to_owned()).or_default();
            let of_place = of_file.entry((name.to_owned(), line)).or_default();
            of_place.push(key.clone());
        }
    }
    let read = || {
        let mut found = Vec::new();
        for (file, wanted) in &wanted {
            if let Some(source) = files[file].as_str() {
                in_file(source, |place| wanted.get(place), &mut found);
            }
        }
        found
    };
    let found = thread::scope(|scope| {
        let reader = thread::Builder::new().stack_size(STACK);
        let reader = reader.spawn_scoped(scope, read).ok()?;
        reader.join().ok()
    });
    if found.is_none() {
        tracing::error!("the code of the pack could not be read: Python evaluates all of it");
    }
    for (keys, tree) in found.into_iter().flatten() {
        for key in keys {
            functions[key]["tree"] = tree.clone();
        }
    }
    functions.retain(|_, function| function.get("tree").is_some());
}

/// The trees of those functions of a file that are wanted.
fn in_file<W>(source: &str, wanted: impl Fn(&Place) -> Option<W>, found: &mut Vec<(W, Json)>) {
    let Ok(parsed) = ruff_python_parser::parse_module(source) else {
        return;
    };
    let mut lines = Lines::of(source);
    let mut open: Vec<&Stmt> = parsed.syntax().body.iter().rev().collect();
    while let Some(statement) = open.pop() {
        if let Stmt::FunctionDef(function) = statement
            && !function.is_async
        {
            let begins = function.range.start().to_usize();
            let place = (function.name.to_string(), lines.at(begins));
            if let Some(wanted) = wanted(&place)
                && let Ok(tree) = definition(function, 0)
            {
                found.push((wanted, tree));
            }
        }
        let before = open.len();
        inside(statement, |inner| open.push(inner));
        open[before..].reverse();
    }
}

/// The lines of a text by where they begin. Asked in the order of the text, all answers together go through it once.
struct Lines<'s> {
    rest: &'s [u8],
    passed: usize,
    line: u64,
}

impl<'s> Lines<'s> {
    fn of(source: &'s str) -> Self {
        Self {
            rest: source.as_bytes(),
            passed: 0,
            line: 1,
        }
    }

    fn at(&mut self, offset: usize) -> u64 {
        let (before, rest) = self.rest.split_at(offset.saturating_sub(self.passed));
        let ended = before.iter().filter(|byte| **byte == b'\n').count();
        self.line += u64::try_from(ended).unwrap_or(u64::MAX);
        self.passed = offset;
        self.rest = rest;
        self.line
    }
}

/// Statements inside a statement, in their order.
fn inside<'s>(statement: &'s Stmt, mut take: impl FnMut(&'s Stmt)) {
    match statement {
        Stmt::FunctionDef(of) => of.body.iter().for_each(take),
        Stmt::ClassDef(of) => of.body.iter().for_each(take),
        Stmt::For(of) => of.body.iter().chain(&of.orelse).for_each(take),
        Stmt::While(of) => of.body.iter().chain(&of.orelse).for_each(take),
        Stmt::With(of) => of.body.iter().for_each(take),
        Stmt::If(of) => {
            let others = of.elif_else_clauses.iter().flat_map(|of| &of.body);
            of.body.iter().chain(others).for_each(take);
        }
        Stmt::Match(of) => {
            let cases = of.cases.iter().flat_map(|case| &case.body);
            cases.for_each(take);
        }
        Stmt::Try(of) => {
            of.body.iter().for_each(&mut take);
            for ExceptHandler::ExceptHandler(handler) in &of.handlers {
                handler.body.iter().for_each(&mut take);
            }
            of.orelse.iter().chain(&of.finalbody).for_each(take);
        }
        _ => {}
    }
}

/// A function that is nested deeper than is read here.
#[derive(Debug)]
struct TooDeep;

type Read = Result<Json, TooDeep>;

/// `[class, field, ...]`.
macro_rules! node {
    ($class:expr $(, $field:expr)* $(,)?) => {
        Ok(Json::Array(vec![Json::from($class) $(, $field)*]))
    };
}

fn deeper(depth: u32) -> Result<u32, TooDeep> {
    if depth >= DEEPEST {
        return Err(TooDeep);
    }
    Ok(depth + 1)
}

fn text(text: &str) -> Json {
    Json::from(text)
}

fn name_or_none(name: Option<&ast::Identifier>) -> Json {
    name.map_or(Json::Null, |name| text(name))
}

fn expression_or_none(of: Option<&Expr>, depth: u32) -> Read {
    of.map_or(Ok(Json::Null), |of| expression(of, depth))
}

fn expressions<'s>(list: impl IntoIterator<Item = &'s Expr>, depth: u32) -> Read {
    list.into_iter().map(|one| expression(one, depth)).collect()
}

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
            node!(
                "ClassDef",
                name,
                bases,
                keywords,
                all(&of.body)?,
                decorators
            )
        }
        Stmt::Return(of) => node!("Return", maybe(&of.value)?),
        Stmt::Delete(of) => node!("Delete", many(&of.targets)?),
        Stmt::Assign(of) => node!("Assign", many(&of.targets)?, one(&of.value)?),
        Stmt::AugAssign(of) => {
            node!(
                "AugAssign",
                one(&of.target)?,
                operator(of.op),
                one(&of.value)?
            )
        }
        Stmt::AnnAssign(of) => node!("AnnAssign", one(&of.target)?, maybe(&of.value)?),
        Stmt::For(of) => {
            let class = if of.is_async { "AsyncFor" } else { "For" };
            let (target, over) = (one(&of.target)?, one(&of.iter)?);
            node!(class, target, over, all(&of.body)?, all(&of.orelse)?)
        }
        Stmt::While(of) => node!("While", one(&of.test)?, all(&of.body)?, all(&of.orelse)?),
        Stmt::If(of) => {
            let otherwise = otherwise(&of.elif_else_clauses, depth)?;
            node!("If", one(&of.test)?, all(&of.body)?, otherwise)
        }
        Stmt::With(of) => {
            let class = if of.is_async { "AsyncWith" } else { "With" };
            let item = |item: &ast::WithItem| {
                let (context, target) = (one(&item.context_expr)?, maybe(&item.optional_vars)?);
                node!("withitem", context, target)
            };
            let items = of.items.iter().map(item).collect::<Read>()?;
            node!(class, items, all(&of.body)?)
        }
        Stmt::Match(of) => {
            // Without the patterns: such a statement is for Python, and what counts is what its code reads and writes.
            let case =
                |case: &ast::MatchCase| node!("match_case", maybe(&case.guard)?, all(&case.body)?);
            let cases = of.cases.iter().map(case).collect::<Read>()?;
            node!("Match", one(&of.subject)?, cases)
        }
        Stmt::Raise(of) => node!("Raise", maybe(&of.exc)?, maybe(&of.cause)?),
        Stmt::Try(of) => {
            let class = if of.is_star { "TryStar" } else { "Try" };
            let handler = |ExceptHandler::ExceptHandler(of): &ExceptHandler| {
                let name = name_or_none(of.name.as_ref());
                node!("ExceptHandler", maybe(&of.type_)?, name, all(&of.body)?)
            };
            let handlers = of.handlers.iter().map(handler).collect::<Read>()?;
            let (otherwise, finally) = (all(&of.orelse)?, all(&of.finalbody)?);
            node!(class, all(&of.body)?, handlers, otherwise, finally)
        }
        Stmt::Assert(of) => node!("Assert", one(&of.test)?, maybe(&of.msg)?),
        Stmt::Import(of) => node!("Import", aliases(&of.names)),
        Stmt::ImportFrom(of) => {
            let module = name_or_none(of.module.as_ref());
            node!(
                "ImportFrom",
                module,
                aliases(&of.names),
                Json::from(of.level)
            )
        }
        Stmt::Global(of) => node!("Global", names(&of.names)),
        Stmt::Nonlocal(of) => node!("Nonlocal", names(&of.names)),
        Stmt::Expr(of) => node!("Expr", one(&of.value)?),
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
    let inner: Read = node!("If", test, body, otherwise(rest, depth)?);
    Ok(Json::Array(vec![inner?]))
}

fn definition(of: &ast::StmtFunctionDef, depth: u32) -> Read {
    let class = if of.is_async {
        "AsyncFunctionDef"
    } else {
        "FunctionDef"
    };
    let parameters = parameters(Some(&of.parameters), depth)?;
    let decorators = decorators(&of.decorator_list, depth)?;
    let body = body(&of.body, depth)?;
    node!(class, text(&of.name), parameters, body, decorators)
}

fn decorators(list: &[ast::Decorator], depth: u32) -> Read {
    expressions(list.iter().map(|one| &one.expression), depth)
}

fn parameters(of: Option<&ast::Parameters>, depth: u32) -> Read {
    let none = ast::Parameters::default();
    let of = of.unwrap_or(&none);
    let one = |name: &ast::Identifier| -> Read { node!("arg", text(name)) };
    let all = |list: &[ast::ParameterWithDefault]| -> Read {
        list.iter().map(|of| one(&of.parameter.name)).collect()
    };
    let rest = |of: Option<&ast::Parameter>| of.map_or(Ok(Json::Null), |of| one(&of.name));
    let positional = of.posonlyargs.iter().chain(&of.args);
    let defaults = positional.filter_map(|of| of.default.as_deref());
    let named = of.kwonlyargs.iter();
    let named_defaults = named.map(|of| expression_or_none(of.default.as_deref(), depth));
    node!(
        "arguments",
        all(&of.posonlyargs)?,
        all(&of.args)?,
        rest(of.vararg.as_deref())?,
        all(&of.kwonlyargs)?,
        named_defaults.collect::<Read>()?,
        rest(of.kwarg.as_deref())?,
        expressions(defaults, depth)?,
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

fn keywords(list: &[ast::Keyword], depth: u32) -> Read {
    let keyword = |of: &ast::Keyword| {
        let value = expression(&of.value, depth)?;
        node!("keyword", name_or_none(of.arg.as_ref()), value)
    };
    list.iter().map(keyword).collect()
}

fn expression(expression: &Expr, depth: u32) -> Read {
    let depth = deeper(depth)?;
    let one = |of: &Expr| self::expression(of, depth);
    let maybe = |of: &Option<Box<Expr>>| expression_or_none(of.as_deref(), depth);
    let many = |of: &[Expr]| expressions(of, depth);
    let loops = |of: &[ast::Comprehension]| -> Read {
        of.iter().map(|one| comprehension(one, depth)).collect()
    };
    match expression {
        Expr::Name(of) => node!("Name", text(&of.id)),
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
            node!("BoolOp", text(operator), many(&of.values)?)
        }
        Expr::Named(of) => node!("NamedExpr", one(&of.target)?, one(&of.value)?),
        Expr::BinOp(of) => node!("BinOp", one(&of.left)?, operator(of.op), one(&of.right)?),
        Expr::UnaryOp(of) => {
            let operator = match of.op {
                UnaryOp::Invert => "Invert",
                UnaryOp::Not => "Not",
                UnaryOp::UAdd => "UAdd",
                UnaryOp::USub => "USub",
            };
            node!("UnaryOp", text(operator), one(&of.operand)?)
        }
        Expr::Lambda(of) => {
            let parameters = parameters(of.parameters.as_deref(), depth)?;
            node!("Lambda", parameters, one(&of.body)?)
        }
        Expr::If(of) => node!("IfExp", one(&of.test)?, one(&of.body)?, one(&of.orelse)?),
        Expr::Dict(of) => {
            let keys = of.items.iter().map(|of| of.key.as_ref());
            let keys = keys.map(|key| expression_or_none(key, depth));
            let values = expressions(of.items.iter().map(|of| &of.value), depth)?;
            node!("Dict", keys.collect::<Read>()?, values)
        }
        Expr::Set(of) => node!("Set", many(&of.elts)?),
        Expr::ListComp(of) => node!("ListComp", one(&of.elt)?, loops(&of.generators)?),
        Expr::SetComp(of) => node!("SetComp", one(&of.elt)?, loops(&of.generators)?),
        Expr::Generator(of) => node!("GeneratorExp", one(&of.elt)?, loops(&of.generators)?),
        Expr::DictComp(of) => {
            let (key, value) = (maybe(&of.key)?, one(&of.value)?);
            node!("DictComp", key, value, loops(&of.generators)?)
        }
        Expr::Await(of) => node!("Await", one(&of.value)?),
        Expr::Yield(of) => node!("Yield", maybe(&of.value)?),
        Expr::YieldFrom(of) => node!("YieldFrom", one(&of.value)?),
        Expr::Compare(of) => {
            let operators = of.ops.iter().map(|op| text(comparison(*op))).collect();
            node!("Compare", one(&of.left)?, operators, many(&of.comparators)?)
        }
        Expr::Call(of) => {
            let given = &of.arguments;
            let keywords = keywords(&given.keywords, depth)?;
            node!("Call", one(&of.func)?, many(&given.args)?, keywords)
        }
        Expr::FString(of) => formatted(of, depth),
        Expr::Attribute(of) => node!("Attribute", one(&of.value)?, text(&of.attr)),
        Expr::Subscript(of) => node!("Subscript", one(&of.value)?, one(&of.slice)?),
        Expr::Starred(of) => node!("Starred", one(&of.value)?),
        Expr::List(of) => node!("List", many(&of.elts)?),
        Expr::Tuple(of) => node!("Tuple", many(&of.elts)?),
        Expr::Slice(of) => {
            let (lower, upper) = (maybe(&of.lower)?, maybe(&of.upper)?);
            node!("Slice", lower, upper, maybe(&of.step)?)
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
    node!("comprehension", target, over, tests, Json::from(is_async))
}

fn form(form: &str, value: Json) -> Json {
    Json::Array(vec![text(form), value])
}

fn constant(value: Json) -> Read {
    node!("Constant", value)
}

fn string(value: &str) -> Json {
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

/// An f-string, with the plain strings that stand beside it.
fn formatted(of: &ast::ExprFString, depth: u32) -> Read {
    let mut parts = Parts::default();
    for part in of.value.as_slice() {
        match part {
            FStringPart::Literal(literal) => parts.literal.push_str(literal),
            FStringPart::FString(of) => parts.take(&of.elements, depth)?,
        }
    }
    parts.joined()
}

/// The parts of an f-string: what is written between two values is one.
#[derive(Default)]
struct Parts {
    parts: Vec<Json>,
    literal: String,
    replaced: bool,
}

impl Parts {
    fn take(&mut self, elements: &[InterpolatedStringElement], depth: u32) -> Result<(), TooDeep> {
        for element in elements {
            match element {
                InterpolatedStringElement::Literal(literal) => self.literal.push_str(literal),
                InterpolatedStringElement::Interpolation(of) => {
                    if let Some(written) = &of.debug_text {
                        self.literal.push_str(written.as_str());
                    }
                    self.end_literal()?;
                    self.parts.push(value(of, depth)?);
                }
            }
        }
        Ok(())
    }

    fn end_literal(&mut self) -> Result<(), TooDeep> {
        let literal = std::mem::take(&mut self.literal);
        self.replaced |= literal.contains(REPLACED);
        if !literal.is_empty() {
            self.parts.push(constant(string(&literal))?);
        }
        Ok(())
    }

    fn joined(mut self) -> Read {
        self.end_literal()?;
        if self.replaced {
            // No class of Python's, and so not compiled.
            return Ok(text("half a character in an f-string"));
        }
        node!("JoinedStr", Json::Array(self.parts))
    }
}

fn value(of: &ast::InterpolatedElement, depth: u32) -> Read {
    let depth = deeper(depth)?;
    let format = match &of.format_spec {
        Some(format) => {
            let mut parts = Parts::default();
            parts.take(&format.elements, depth)?;
            parts.joined()?
        }
        None => Json::Null,
    };
    let conversion = match of.conversion {
        // `{value=}` shows what `repr` gives, unless it says otherwise.
        ast::ConversionFlag::None if of.debug_text.is_some() && format.is_null() => b'r' as i8,
        other => other as i8,
    };
    let value = expression(&of.expression, depth)?;
    node!("FormattedValue", value, Json::from(conversion), format)
}

fn operator(of: Operator) -> Json {
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

#[cfg(test)]
mod tests {
    use std::path::{Path, PathBuf};
    use std::process::Command;

    use super::*;

    #[test]
    fn trees_are_those_of_pythons_own_parser() {
        let forms = concat!(env!("CARGO_MANIFEST_DIR"), "/conformance/syntax_forms.py");
        let odd = concat!(env!("CARGO_MANIFEST_DIR"), "/tests/it/syntax.py");
        let python = || Command::new("python3");
        let library = python()
            .args(["-c", "import os; print(os.path.dirname(os.__file__))"])
            .output()
            .unwrap();
        let library = String::from_utf8(library.stdout).unwrap();
        let library = Path::new(library.trim());
        let files = [
            "dataclasses.py",
            "fnmatch.py",
            "json/encoder.py",
            "textwrap.py",
        ];
        let files = files.map(|file| library.join(file));
        let told = python()
            .arg(forms)
            .arg(odd)
            .args(files)
            .args(of_pack())
            .output()
            .unwrap();
        let (mut compared, mut deep) = (0, 0);
        for file in String::from_utf8(told.stdout).unwrap().lines() {
            let file: Json = serde_json::from_str(file).unwrap();
            let theirs = file["functions"].as_array().unwrap();
            let mut ours = Vec::new();
            let all = |place: &Place| Some(place.clone());
            in_file(file["source"].as_str().unwrap(), all, &mut ours);
            let ours: HashMap<Place, Json> = ours.into_iter().collect();
            for function in theirs {
                let name = function[0].as_str().unwrap().to_owned();
                let place = (name, function[1].as_u64().unwrap());
                match ours.get(&place) {
                    Some(tree) => assert_eq!(
                        tree.to_string(),
                        function[3].as_str().unwrap(),
                        "{} {place:?}",
                        file["file"]
                    ),
                    None => {
                        assert!(
                            function[2].as_u64().unwrap() >= DEEPEST.into(),
                            "{} {place:?}",
                            file["file"]
                        );
                        deep += 1;
                    }
                }
                compared += 1;
            }
        }
        assert!(compared > 100, "{compared}");
        assert_eq!(deep, 2);
    }

    /// The code of the pack that `PANTHER_PACK` names, if it names one.
    fn of_pack() -> Vec<PathBuf> {
        let mut folders: Vec<PathBuf> = std::env::var_os("PANTHER_PACK")
            .map(PathBuf::from)
            .into_iter()
            .collect();
        let mut files = Vec::new();
        while let Some(folder) = folders.pop() {
            for entry in std::fs::read_dir(folder).unwrap() {
                let path = entry.unwrap().path();
                if path.is_dir() {
                    folders.push(path);
                } else if path.extension().is_some_and(|is| is == "py") {
                    files.push(path);
                }
            }
        }
        files
    }
}
