//! Reads the code of a pack: gives each function that Python told the tree that its file has for it.
//!
//! The trees are those of Python's own `ast`, as [`super::compile`] takes them: a node is `[class, field, ...]` with its fields in Python's order, without
//! contexts and annotations; one without fields is its class alone; the value of a constant is `[form, value]`. Python has loaded these files, so what
//! does not parse here is only left to it.

mod expressions;
mod formatted;
mod statements;

use std::collections::{BTreeMap, HashMap};
use std::panic::{AssertUnwindSafe, catch_unwind};

use ruff_python_ast::{ExceptHandler, Identifier, Stmt};
use serde_json::Value as Json;

use crate::threads::side_by_side;
use statements::definition;

/// Statements and expressions inside each other. Beyond it a function is left to Python: compiling it and letting go of it would take much of a stack.
const DEEPEST: u32 = 90;
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
    let found = side_by_side(wanted.iter().collect(), |(file, wanted)| {
        let mut found = Vec::new();
        let source = files[file].as_str().unwrap_or_default();
        // Whatever the parser meets, it is this file's matter.
        let read = catch_unwind(AssertUnwindSafe(|| {
            in_file(source, |place| wanted.get(place), &mut found);
        }));
        if read.is_err() {
            tracing::error!(file, "the file could not be read: Python evaluates it");
        }
        found
    });
    for (keys, tree) in found.into_iter().flatten() {
        // A file that goes by two module names has its functions twice.
        let Some((last, others)) = keys.split_last() else {
            continue;
        };
        for key in others {
            functions[key]["tree"] = tree.clone();
        }
        functions[last]["tree"] = tree;
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
fn node<const N: usize>(class: &str, fields: [Json; N]) -> Read {
    let parts = std::iter::once(text(class)).chain(fields);
    Ok(Json::Array(parts.collect()))
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

fn name_or_none(name: Option<&Identifier>) -> Json {
    name.map_or(Json::Null, |name| text(name))
}

#[cfg(test)]
mod tests {
    use std::path::{Path, PathBuf};
    use std::process::Command;

    use super::*;

    #[test]
    fn trees_are_those_of_pythons_own_parser() {
        let forms = concat!(env!("CARGO_MANIFEST_DIR"), "/conformance/syntax_forms.py");
        let odd = concat!(env!("CARGO_MANIFEST_DIR"), "/conformance/syntax_odd.py");
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
