//! Ruff's parser, by which the native engine reads the code of a pack, beside Python's own: the same trees of the oddest code, and of a pack's.
//!
//! The trees are written in the form of Python's `ast`: a node is `[class, field, ...]` with its fields in Python's order, without contexts and
//! annotations; one without fields is its class alone; the value of a constant is `[form, value]`.

mod expressions;
mod formatted;
mod statements;

use std::collections::HashMap;
use std::path::{Path, PathBuf};
use std::process::Command;

use ruff_python_ast::{ExceptHandler, Identifier, Stmt};
use serde_json::Value as Json;

use statements::definition;

/// Statements and expressions inside each other, as the native engine bounds them.
const DEEPEST: u32 = 90;
/// What the parser makes of half a character.
const REPLACED: char = '\u{fffd}';

/// Where a function stands in its file: its name, and the line that it begins in, decorators included.
type Place = (String, u64);

/// The trees of the functions of a file.
fn in_file(source: &str) -> HashMap<Place, Json> {
    let mut found = HashMap::new();
    let parsed = ruff_python_parser::parse_module(source).unwrap();
    let mut lines = Lines::of(source);
    let mut open: Vec<&Stmt> = parsed.syntax().body.iter().rev().collect();
    while let Some(statement) = open.pop() {
        if let Stmt::FunctionDef(function) = statement
            && !function.is_async
        {
            let begins = function.range.start().to_usize();
            let place = (function.name.to_string(), lines.at(begins));
            if let Ok(tree) = definition(function, 0) {
                found.insert(place, tree);
            }
        }
        let before = open.len();
        inside(statement, |inner| open.push(inner));
        open[before..].reverse();
    }
    found
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
        let ours = in_file(file["source"].as_str().unwrap());
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
