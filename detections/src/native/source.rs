//! Finds the functions that Python told in the text of their files.
//!
//! Python has loaded these files, so what Ruff's parser does not read is only left to Python.

use std::collections::{BTreeMap, HashMap};
use std::panic::{AssertUnwindSafe, catch_unwind};

use ruff_python_ast::visitor::{
    Visitor, walk_elif_else_clause, walk_expr, walk_interpolated_string_element, walk_stmt,
};
use ruff_python_ast::{
    ElifElseClause, ExceptHandler, Expr, InterpolatedStringElement, Pattern, Stmt, StmtFunctionDef,
};

use super::told::Told;
use crate::threads::side_by_side;

/// Statements and expressions inside each other. Beyond it a function is left to Python: compiling it and letting go of it would take much of a stack.
const DEEPEST: u32 = 90;

/// Where a function stands in its file: its name, and the line that it begins in, decorators included.
type Place<'s> = (&'s str, u64);

/// A function as it is written, and the names under which Python told it: a file that goes by two module names has its functions twice.
#[derive(Debug)]
pub(super) struct Definition<'d> {
    pub(super) keys: Vec<&'d str>,
    pub(super) function: StmtFunctionDef,
}

/// The functions of all files that are read here.
pub(super) fn definitions(told: &Told) -> Vec<Definition<'_>> {
    let mut wanted: BTreeMap<&str, HashMap<Place<'_>, Vec<&str>>> = BTreeMap::new();
    for (key, function) in &told.functions {
        let of_file = wanted.entry(&function.file).or_default();
        let place = (function.name.as_str(), function.line);
        of_file.entry(place).or_default().push(key);
    }
    let found = side_by_side(wanted.into_iter().collect(), |(file, wanted)| {
        let mut found = Vec::new();
        if let Some(Some(text)) = told.files.get(file) {
            // A panic of the parser is this file's matter.
            let read = catch_unwind(AssertUnwindSafe(|| in_file(text, &wanted, &mut found)));
            if read.is_err() {
                tracing::error!(file, "the file could not be read: Python evaluates it");
            }
        }
        found
    });
    found.into_iter().flatten().collect()
}

/// The functions of a file that are wanted. They are copies: the tree of the file may be deeper than other threads have a stack for.
fn in_file<'d>(
    text: &str,
    wanted: &HashMap<Place<'d>, Vec<&'d str>>,
    found: &mut Vec<Definition<'d>>,
) {
    let Ok(parsed) = ruff_python_parser::parse_module(text) else {
        return;
    };
    let mut lines = Lines::of(text);
    let mut open: Vec<&Stmt> = parsed.syntax().body.iter().rev().collect();
    while let Some(statement) = open.pop() {
        if let Stmt::FunctionDef(function) = statement
            && !function.is_async
        {
            let line = lines.at(function.range.start().to_usize());
            if let Some(keys) = wanted.get(&(function.name.as_str(), line))
                && !Depth::is_passed(function)
            {
                found.push(Definition {
                    keys: keys.clone(),
                    function: function.clone(),
                });
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
            let bodies = of.cases.iter().flat_map(|case| &case.body);
            bodies.for_each(take);
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

/// Counts statements, expressions and values of f-strings inside each other, and stops at [`DEEPEST`].
#[derive(Default)]
struct Depth {
    now: u32,
    passed: bool,
}

impl Depth {
    fn is_passed(function: &StmtFunctionDef) -> bool {
        let mut depth = Self::default();
        for decorator in &function.decorator_list {
            depth.visit_decorator(decorator);
        }
        depth.visit_parameters(&function.parameters);
        depth.visit_body(&function.body);
        depth.passed
    }

    fn deeper(&mut self, go_on: impl FnOnce(&mut Self)) {
        if self.now >= DEEPEST {
            self.passed = true;
        }
        if !self.passed {
            self.now += 1;
            go_on(self);
            self.now -= 1;
        }
    }

    /// An `elif` is an `if` inside the one before it.
    fn otherwise(&mut self, clauses: &[ElifElseClause]) {
        let Some((first, rest)) = clauses.split_first() else {
            return;
        };
        if first.test.is_none() {
            walk_elif_else_clause(self, first);
            return;
        }
        self.deeper(|depth| {
            walk_elif_else_clause(depth, first);
            depth.otherwise(rest);
        });
    }
}

impl<'a> Visitor<'a> for Depth {
    fn visit_stmt(&mut self, statement: &'a Stmt) {
        self.deeper(|depth| match statement {
            Stmt::If(of) => {
                depth.visit_expr(&of.test);
                depth.visit_body(&of.body);
                depth.otherwise(&of.elif_else_clauses);
            }
            other => walk_stmt(depth, other),
        });
    }

    fn visit_expr(&mut self, expression: &'a Expr) {
        self.deeper(|depth| walk_expr(depth, expression));
    }

    fn visit_interpolated_string_element(&mut self, element: &'a InterpolatedStringElement) {
        if element.is_interpolation() {
            self.deeper(|depth| walk_interpolated_string_element(depth, element));
        }
    }

    // Neither is compiled.
    fn visit_annotation(&mut self, _: &'a Expr) {}

    fn visit_pattern(&mut self, _: &'a Pattern) {}
}

#[cfg(test)]
mod tests {
    use super::*;

    /// The functions of a text that are found, by name, if all that is at these places is wanted.
    fn found(text: &str, places: &[(&'static str, u64)]) -> Vec<String> {
        let wanted = places.iter().map(|place| (*place, vec![place.0]));
        let mut found = Vec::new();
        in_file(text, &wanted.collect(), &mut found);
        found.iter().map(|of| of.keys.join(" ")).collect()
    }

    /// A function whose body has a name at so many levels: a statement, brackets, and the name.
    fn nested(levels: usize) -> String {
        let (open, close) = ("[".repeat(levels - 2), "]".repeat(levels - 2));
        format!("def f(e):\n    return {open}e{close}\n")
    }

    #[test]
    fn a_function_is_found_where_python_says_that_it_begins() {
        let text = "\
import a

@a.first
@a.second
def decorated(event):
    def inner(event):
        return 1
    return inner

if a:
    class C:
        async def inner(self):
            pass
        def method(self): return 2
elif a.b:
    pass
else:
    try:
        def f(event): pass
    except E:
        def f(event): pass
";
        let wanted = [
            ("decorated", 3),
            ("inner", 6),
            ("inner", 12),
            ("method", 14),
            ("f", 21),
        ];
        assert_eq!(found(text, &wanted), ["decorated", "inner", "method", "f"]);
        assert_eq!(found(text, &[("decorated", 5), ("f", 3)]), [""; 0]);
        assert_eq!(found("def f(:", &[("f", 1)]), [""; 0]);
    }

    #[test]
    fn a_function_is_left_to_python_from_a_depth_on() {
        let deepest = DEEPEST as usize;
        let chain = |length: usize| {
            let more = "    elif e:\n        pass\n".repeat(length);
            format!("def f(e):\n    if e:\n        pass\n{more}")
        };
        let values = |depth: usize| {
            // An f-string, its value and what is in it.
            let (open, close) = ("[".repeat(depth), "]".repeat(depth));
            format!("def f(e):\n    return f'{{{open}e{close}}}'\n")
        };
        for (text, is_found) in [
            (nested(deepest), true),
            (nested(deepest + 1), false),
            (nested(3000), false),
            // Each `elif` is one level further in, and so is what it asks for.
            (chain(deepest - 2), true),
            (chain(deepest - 1), false),
            (values(deepest - 4), true),
            (values(deepest - 3), false),
        ] {
            assert_eq!(!found(&text, &[("f", 1)]).is_empty(), is_found, "{text}");
        }
    }
}
