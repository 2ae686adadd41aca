//! Schema validation: checks whether a record has the declared fields with the declared types, and collects timestamps and indicators.
//!
//! A missing or invalid required field rejects the record, and so does a value that the schema does not allow: these checks identify the
//! log type. With [`Shapes::Lenient`], an optional field of the wrong type does not reject the record, because vendors change minor fields,
//! and an event must not be lost for that. Such a field keeps its original form and is reported as a misfit.

use std::fmt;

use super::{Field, ObjectType, ValueType};
use crate::{
    indicators::{Indicators, extract_aws},
    json::{Document, Node, Rewrite, Str},
    time::Timestamp,
};

/// How optional fields of the wrong type are handled.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Shapes {
    /// The record is rejected: in a text without field names, a wrong type means that columns are in the wrong place.
    Strict,
    /// The record matches, and the fields are reported as misfits. If there are more than half as many misfits as valid fields, the record
    /// is rejected.
    Lenient,
}

/// Results of the validation of a record.
#[derive(Debug)]
pub(crate) struct Findings<'a> {
    /// When the record was received. Times without a year are read relative to it.
    received: Timestamp,
    /// Optional fields of the wrong type.
    pub(crate) misfits: Vec<Mismatch>,
    /// Number of valid fields.
    fits: usize,
    /// Declared timestamps to be rewritten, in document order.
    pub(crate) rewrites: Vec<Rewrite>,
    pub(crate) indicators: Indicators<'a>,
    event_time: Option<(u32, Timestamp)>,
}

impl Default for Findings<'_> {
    fn default() -> Self {
        Self {
            received: Timestamp::EPOCH,
            misfits: Vec::new(),
            fits: 0,
            rewrites: Vec::new(),
            indicators: Indicators::default(),
            event_time: None,
        }
    }
}

impl<'a> Findings<'a> {
    /// Removes all findings, before the next record is validated.
    pub(crate) fn begin(&mut self, received: Timestamp) {
        self.received = received;
        self.clear();
    }

    fn clear(&mut self) {
        self.misfits.clear();
        self.fits = 0;
        self.rewrites.clear();
        self.indicators.clear();
        self.event_time = None;
    }

    /// Empty findings that reuse the memory of these.
    pub(crate) fn recycled<'b>(mut self) -> Findings<'b> {
        self.clear();
        Findings {
            received: self.received,
            misfits: self.misfits,
            fits: 0,
            rewrites: self.rewrites,
            indicators: self.indicators.recycled(),
            event_time: None,
        }
    }

    pub(crate) fn event_time(&self) -> Option<Timestamp> {
        self.event_time.map(|(_, time)| time)
    }
}

/// Why a record does not match a log type: the path of the field, and the reason.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct Mismatch {
    /// Path components, from the field upwards.
    path: Vec<String>,
    problem: String,
    /// True if the schema does not allow the value. The mismatch then rejects the record even if the field is optional.
    firm: bool,
}

impl Mismatch {
    fn new(problem: impl Into<String>) -> Self {
        Self {
            path: Vec::new(),
            problem: problem.into(),
            firm: false,
        }
    }

    fn firm(problem: String) -> Self {
        Self {
            firm: true,
            ..Self::new(problem)
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

/// Validates the object at `at` against `root`.
pub(crate) fn match_record<'a>(
    root: &ObjectType,
    document: Document<'_, 'a>,
    at: usize,
    shapes: Shapes,
    findings: &mut Findings<'a>,
) -> Result<(), Mismatch> {
    object(root, document, at, shapes, findings)?;
    if !root.one_of.is_empty() {
        let is_there = |name: &std::sync::Arc<str>| {
            document
                .get(at, name)
                .is_some_and(|at| !matches!(document.node(at), Node::Null))
        };
        if !root.one_of.iter().any(is_there) {
            return Err(Mismatch::new(format!(
                "has none of {}",
                root.one_of.join(", ")
            )));
        }
    }
    if findings.misfits.len() * 2 > findings.fits {
        // probably a record of another log type that shares some field names
        findings.misfits.truncate(1);
        return Err(findings
            .misfits
            .pop()
            .unwrap_or_else(|| Mismatch::new("has none of the declared fields")));
    }
    Ok(())
}

fn object<'a>(
    of: &ObjectType,
    document: Document<'_, 'a>,
    at: usize,
    shapes: Shapes,
    findings: &mut Findings<'a>,
) -> Result<(), Mismatch> {
    let Node::Object { .. } = document.node(at) else {
        return Err(unexpected("an object", document.node(at)));
    };
    let mut seen = 0;
    for (key, at) in document.members(at) {
        // a declared name needs no escapes, but a record may still escape it, so the decoded key is looked up
        let Some(field) = of.field(&key.decoded()) else {
            continue;
        };
        if matches!(document.node(at), Node::Null) {
            continue;
        }
        seen |= field.required;
        let (rewrites, event_time, misfits) = (
            findings.rewrites.len(),
            findings.event_time,
            findings.misfits.len(),
        );
        match value(&field.value, document, at, shapes, findings) {
            Ok(()) => {
                findings.fits += 1;
                for misfit in findings.misfits.iter_mut().skip(misfits) {
                    misfit.path.push(field.name.to_string());
                }
            }
            Err(mismatch) if shapes == Shapes::Lenient && field.required == 0 && !mismatch.firm => {
                findings.rewrites.truncate(rewrites);
                findings.event_time = event_time;
                findings.misfits.truncate(misfits);
                findings.misfits.push(mismatch.under(&field.name));
            }
            Err(mismatch) => return Err(mismatch.under(&field.name)),
        }
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
    shapes: Shapes,
    findings: &mut Findings<'a>,
) -> Result<(), Mismatch> {
    let node = document.node(at);
    match of {
        ValueType::String(string) => {
            let text = match node {
                Node::String(text) => text,
                // vendors switch ids between string and number; the value keeps its original form
                Node::Number(text) => Str::plain(text),
                Node::Bool(_) => return Ok(()),
                Node::Array { .. } => {
                    // strings in a list are still scanned for indicators
                    for at in document.elements(at) {
                        if let Node::String(text) = document.node(at) {
                            findings.indicators.scan(&string.scanners, text);
                        }
                    }
                    return Err(unexpected("a string", node));
                }
                _ => return Err(unexpected("a string", node)),
            };
            if let Some(validation) = &string.validation
                && !validation.accepts(&text.decoded())
            {
                return Err(Mismatch::firm(format!(
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
                Node::String(text) => format.parse(&text.decoded(), false, findings.received),
                Node::Number(text) => format.parse(text, true, findings.received),
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
        ValueType::Object(of) => object(of, document, at, shapes, findings),
        ValueType::Array(element) => {
            let Node::Array { .. } = node else {
                if let (ValueType::String(of), Node::String(text)) = (&**element, node) {
                    findings.indicators.scan(&of.scanners, text);
                }
                return Err(unexpected("an array", node));
            };
            let misfits = findings.misfits.len();
            for (index, at) in document.elements(at).enumerate() {
                if matches!(document.node(at), Node::Null) {
                    continue;
                }
                let rewrites = findings.rewrites.len();
                let name = || format!("[{index}]");
                match value(element, document, at, shapes, findings) {
                    Ok(()) => {}
                    Err(mismatch) if shapes == Shapes::Lenient && !mismatch.firm => {
                        findings.rewrites.truncate(rewrites);
                        findings.misfits.push(mismatch);
                    }
                    Err(mismatch) => return Err(mismatch.under(&name())),
                }
                // only the first mismatch of a list is kept, as a representative
                findings.misfits.truncate(misfits + 1);
                if let Some(misfit) = findings
                    .misfits
                    .get_mut(misfits)
                    .filter(|misfit| !misfit.path.last().is_some_and(|name| name.starts_with('[')))
                {
                    misfit.path.push(name());
                }
            }
            Ok(())
        }
        ValueType::Embedded { of, .. } => match node {
            // vendors write an empty text where there is no value
            Node::String(text) if text.raw().is_empty() => Ok(()),
            _ => value(of, document, at, shapes, findings),
        },
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

/// True for digits, and for numbers with an integral value such as `1.0` and `1e5`. The size is not limited, because the text is kept.
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

/// A prefix of a value that is long enough to recognise it.
fn shortened(text: &str) -> String {
    match text.char_indices().nth(40) {
        Some((end, _)) => format!("{}…", text.get(..end).unwrap_or_default()),
        None => text.into(),
    }
}
