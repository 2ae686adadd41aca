//! Holding a record against a schema: are its declared fields there and what they should be, and what do they yield?

use std::fmt;

use super::{Field, ObjectType, ValueType};
use crate::{
    indicators::{Indicators, extract_aws},
    json::{Document, Node, Rewrite, Str},
    time::Timestamp,
};

/// What a record yields as it is held against a schema.
#[derive(Debug, Default)]
pub(crate) struct Findings<'a> {
    /// Declared timestamps, in the order of the document.
    pub(crate) rewrites: Vec<Rewrite>,
    pub(crate) indicators: Indicators<'a>,
    event_time: Option<(u32, Timestamp)>,
}

impl<'a> Findings<'a> {
    pub(crate) fn clear(&mut self) {
        self.rewrites.clear();
        self.indicators.clear();
        self.event_time = None;
    }

    /// Empty, with the memory of these.
    pub(crate) fn recycled<'b>(mut self) -> Findings<'b> {
        self.clear();
        Findings {
            rewrites: self.rewrites,
            indicators: self.indicators.recycled(),
            event_time: None,
        }
    }

    pub(crate) fn event_time(&self) -> Option<Timestamp> {
        self.event_time.map(|(_, time)| time)
    }
}

/// Why a record is not of a log type: the field, and what is wrong with it.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct Mismatch {
    /// From the field upwards.
    path: Vec<String>,
    problem: String,
}

impl Mismatch {
    fn new(problem: impl Into<String>) -> Self {
        Self {
            path: Vec::new(),
            problem: problem.into(),
        }
    }

    fn under(mut self, name: &str) -> Self {
        self.path.push(name.into());
        self
    }
}

impl fmt::Display for Mismatch {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        for (index, name) in self.path.iter().rev().enumerate() {
            if index > 0 && !name.starts_with('[') {
                f.write_str(".")?;
            }
            f.write_str(name)?;
        }
        if !self.path.is_empty() {
            f.write_str(": ")?;
        }
        f.write_str(&self.problem)
    }
}

/// Holds the object at `at` against `root`.
pub(crate) fn match_record<'a>(
    root: &ObjectType,
    document: Document<'_, 'a>,
    at: usize,
    findings: &mut Findings<'a>,
) -> Result<(), Mismatch> {
    object(root, document, at, findings)
}

fn object<'a>(
    of: &ObjectType,
    document: Document<'_, 'a>,
    at: usize,
    findings: &mut Findings<'a>,
) -> Result<(), Mismatch> {
    let Node::Object { .. } = document.node(at) else {
        return Err(unexpected("an object", document.node(at)));
    };
    let mut seen = 0;
    for (key, at) in document.members(at) {
        // a declared name has no need of escapes; one written with them is looked up all the same
        let Some(field) = of.field(&key.decoded()) else {
            continue;
        };
        if matches!(document.node(at), Node::Null) {
            continue;
        }
        seen |= field.required;
        value(&field.value, document, at, findings)
            .map_err(|mismatch| mismatch.under(&field.name))?;
    }
    if seen != of.required {
        let missing = of
            .fields
            .iter()
            .find(|Field { required, .. }| required & !seen != 0);
        return Err(Mismatch::new("is required and missing")
            .under(missing.map_or("?", |field| &field.name)));
    }
    Ok(())
}

fn value<'a>(
    of: &ValueType,
    document: Document<'_, 'a>,
    at: usize,
    findings: &mut Findings<'a>,
) -> Result<(), Mismatch> {
    let node = document.node(at);
    match of {
        ValueType::String(string) => {
            let text = match node {
                Node::String(text) => text,
                // vendors change ids from text to number and back; the value stays as it came
                Node::Number(text) => Str::plain(text),
                Node::Bool(_) => return Ok(()),
                _ => return Err(unexpected("a string", node)),
            };
            if !string.allowed.allows(&text.decoded()) {
                return Err(Mismatch::new(format!(
                    "`{}` is not an allowed value",
                    shortened(&text.decoded())
                )));
            }
            findings.indicators.scan(&string.scanners, text);
            Ok(())
        }
        ValueType::Integer => numeric("an integer", node, is_integer),
        ValueType::Float => numeric("a number", node, |text| {
            text.parse::<f64>().is_ok_and(f64::is_finite)
        }),
        ValueType::Boolean => match node {
            Node::Bool(_) => Ok(()),
            Node::String(text)
                if matches!(&*text.decoded().to_ascii_lowercase(), "true" | "false" | "") =>
            {
                Ok(())
            }
            _ => Err(unexpected("a boolean", node)),
        },
        ValueType::Timestamp { format, candidate } => {
            let time = match node {
                Node::String(text) if text.raw().is_empty() => return Ok(()),
                Node::String(text) => format.parse(&text.decoded(), false),
                Node::Number(text) => format.parse(text, true),
                _ => return Err(unexpected("a timestamp", node)),
            };
            let Some(time) = time else {
                let text = match node {
                    Node::String(text) => text.decoded(),
                    Node::Number(text) => text.into(),
                    _ => "".into(),
                };
                return Err(Mismatch::new(format!(
                    "`{}` is no timestamp of the declared format",
                    shortened(&text)
                )));
            };
            findings.rewrites.push(Rewrite { at, time });
            if let Some(candidate) = *candidate
                && time != Timestamp::EPOCH
                && findings.event_time.is_none_or(|(best, _)| candidate < best)
            {
                findings.event_time = Some((candidate, time));
            }
            Ok(())
        }
        ValueType::Object(of) => object(of, document, at, findings),
        ValueType::Array(element) => {
            let Node::Array { .. } = node else {
                return Err(unexpected("an array", node));
            };
            for (index, at) in document.elements(at).enumerate() {
                if !matches!(document.node(at), Node::Null) {
                    value(element, document, at, findings)
                        .map_err(|mismatch| mismatch.under(&format!("[{index}]")))?;
                }
            }
            Ok(())
        }
        ValueType::Json { aws } => {
            if *aws {
                extract_aws(document, at, &mut findings.indicators);
            }
            Ok(())
        }
    }
}

fn numeric(
    expected: &'static str,
    node: Node<'_>,
    is: impl Fn(&str) -> bool,
) -> Result<(), Mismatch> {
    match node {
        Node::Number(text) if is(text) => Ok(()),
        Node::String(text) if text.raw().is_empty() || is(text.decoded().trim()) => Ok(()),
        Node::Number(text) => Err(Mismatch::new(format!(
            "expected {expected}, found `{}`",
            shortened(text)
        ))),
        Node::String(text) => Err(Mismatch::new(format!(
            "expected {expected}, found `{}`",
            shortened(&text.decoded())
        ))),
        _ => Err(unexpected(expected, node)),
    }
}

/// Digits, or a number such as `1.0` and `1e5` that is whole all the same. Size is no matter: the text is kept.
fn is_integer(text: &str) -> bool {
    let digits = text.strip_prefix(['-', '+']).unwrap_or(text);
    if !digits.is_empty() && digits.bytes().all(|byte| byte.is_ascii_digit()) {
        return true;
    }
    text.parse::<f64>()
        .is_ok_and(|number| number.is_finite() && number.fract() == 0.0)
}

fn unexpected(expected: &str, found: Node<'_>) -> Mismatch {
    Mismatch::new(format!("expected {expected}, found {}", found.kind()))
}

/// Enough of a value to know it by.
fn shortened(text: &str) -> String {
    match text.char_indices().nth(40) {
        Some((end, _)) => format!("{}…", text.get(..end).unwrap_or_default()),
        None => text.into(),
    }
}
