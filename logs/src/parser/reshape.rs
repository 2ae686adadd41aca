//! Reshaping: applies the transformations of a schema to the JSON of a record. Only log types whose schema declares one come here.
//!
//! The result is JSON text again, so that validation sees transformed records as if they had arrived in that form. In particular, a masked
//! value reaches neither the indicators nor a message about its type.

use std::borrow::Cow;

use super::{
    Line, Reading, form,
    row::{push_name, push_text},
};
use crate::{
    json::{Document, MAX_DEPTH, Node, Reader, Str, push_quoted},
    schema::{Field, Form, ObjectType, Source, ValueType},
};

/// Maximum length of all values that transformations add to one record, in bytes. A copy within each element of a list could otherwise
/// multiply a record.
const MAX_ADDED: usize = 1 << 20;
/// A stage after all stages.
const LAST: u8 = u8::MAX;

/// Transforms what a parser returned.
///
/// # Errors
/// The record is no JSON, or grows beyond its bound.
pub(super) fn reshape(
    reading: Reading,
    line: &Line<'_, '_>,
    root: &ObjectType,
    out: &mut Vec<String>,
) -> Result<Reading, String> {
    match reading {
        Reading::AsItIs => out.push(transformed(root, line.json?)?),
        Reading::Written => {
            for text in out.iter_mut() {
                *text = parsed(text, MAX_DEPTH, |document| transformed(root, document))?;
            }
        }
        other => return Ok(other),
    }
    Ok(Reading::Written)
}

fn transformed(root: &ObjectType, document: Document<'_, '_>) -> Result<String, String> {
    if root.changes.embedded && root.changes.sourced {
        // paths lead into embedded JSON too
        let mut out = String::with_capacity(1024);
        Reshaper::new(Some(root), document, Pass::Expand).object(root, 0, 0, &mut out)?;
        return parsed(&out, MAX_DEPTH, |document| all(root, document));
    }
    all(root, document)
}

fn all(root: &ObjectType, document: Document<'_, '_>) -> Result<String, String> {
    let mut out = String::with_capacity(1024);
    Reshaper::new(Some(root), document, Pass::All).object(root, 0, 0, &mut out)?;
    Ok(out)
}

fn parsed<T>(
    text: &str,
    depth: usize,
    then: impl FnOnce(Document<'_, '_>) -> Result<T, String>,
) -> Result<T, String> {
    let mut nodes = Vec::new();
    Reader::new(depth)
        .read(text, &mut nodes)
        .map_err(|error| error.to_string())?;
    then(Document::new(&nodes))
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Pass {
    /// Only embedded JSON is expanded.
    Expand,
    All,
}

/// A value found by a path or made by a transformation.
#[derive(Debug, PartialEq)]
enum Value {
    Node(usize),
    Text(String),
    Texts(Vec<String>),
}

/// Writes one document with its transformations.
struct Reshaper<'s, 't, 'a> {
    /// The type of the whole document; `None` if it is not an object.
    root: Option<&'s ObjectType>,
    document: Document<'t, 'a>,
    pass: Pass,
    added: usize,
}

impl<'s, 't, 'a> Reshaper<'s, 't, 'a> {
    fn new(root: Option<&'s ObjectType>, document: Document<'t, 'a>, pass: Pass) -> Self {
        Self {
            root,
            document,
            pass,
            added: 0,
        }
    }

    /// Writes the object at `at`, which is `depth` containers deep.
    fn object(
        &mut self,
        of: &'s ObjectType,
        at: usize,
        depth: usize,
        out: &mut String,
    ) -> Result<(), String> {
        let Node::Object { .. } = self.document.node(at) else {
            self.document.write(at, &[], out);
            return Ok(());
        };
        let made = match self.pass {
            Pass::Expand => Vec::new(),
            Pass::All => self.all_made(of, at),
        };
        out.push('{');
        for (key, member) in self.document.members(at) {
            let name = key.decoded();
            let former = match self.pass {
                Pass::Expand => None,
                Pass::All => of.renamed(&name),
            };
            let field = former.or_else(|| of.field(&name));
            let is_made = |field: &Field| made.iter().any(|(other, _)| other.name == field.name);
            match former {
                Some(new) if self.before(of, at, new, 1) == Some(Value::Node(member)) => {
                    if is_made(new) {
                        continue;
                    }
                    push_name(&new.name, out);
                }
                _ => {
                    // a null gives way to the value that a transformation finds
                    let gives_way = |field: &Field| {
                        is_made(field)
                            || matches!(self.document.node(member), Node::Null)
                                && self.before(of, at, field, 1).is_some()
                    };
                    if former.is_none() && field.is_some_and(gives_way) {
                        continue;
                    }
                    push_key(key, out);
                }
            }
            match field {
                Some(field) => self.value(&field.value, member, depth + 1, out)?,
                None => self.document.write(member, &[], out),
            }
        }
        for (field, value) in made {
            push_name(&field.name, out);
            self.made_value(&field.value, value, depth + 1, out)?;
        }
        out.push('}');
        Ok(())
    }

    /// Writes the value at `at` as a value of the type `of`.
    fn value(
        &mut self,
        of: &'s ValueType,
        at: usize,
        depth: usize,
        out: &mut String,
    ) -> Result<(), String> {
        match (of, self.document.node(at)) {
            (_, Node::Null) => out.push_str("null"),
            (ValueType::String(string), _) if self.pass == Pass::All => match &string.mask {
                Some(mask) => {
                    // a value of another type is masked too
                    let text = self.text(at).unwrap_or_else(|| {
                        let mut json = String::new();
                        self.document.write(at, &[], &mut json);
                        Cow::Owned(json)
                    });
                    push_quoted(&mask.apply(&text), out);
                }
                None => self.document.write(at, &[], out),
            },
            (ValueType::Embedded { form, of }, Node::String(text)) => {
                self.embedded(form, of, &text.decoded(), depth, out)?;
            }
            (ValueType::Embedded { of, .. }, _) => self.value(of, at, depth, out)?,
            (ValueType::Object(inner), _) if inner.changes.any() => {
                self.object(inner, at, depth, out)?;
            }
            (ValueType::Array(element), Node::Array { .. }) if element.changes().any() => {
                out.push('[');
                for (index, at) in self.document.elements(at).enumerate() {
                    if index > 0 {
                        out.push(',');
                    }
                    self.value(element, at, depth + 1, out)?;
                }
                out.push(']');
            }
            _ => self.document.write(at, &[], out),
        }
        Ok(())
    }

    /// Writes the JSON that a text has or stands for, or the text itself if it does not have this form.
    fn embedded(
        &mut self,
        form: &Form,
        of: &'s ValueType,
        text: &str,
        depth: usize,
        out: &mut String,
    ) -> Result<(), String> {
        let root = match of {
            ValueType::Object(object) => Some(object),
            _ => None,
        };
        let mut written = String::new();
        let read = match form {
            Form::Json => Some(text),
            form => form::read(form, text, root, &mut written)
                .is_ok()
                .then_some(written.as_str()),
        };
        let mut nodes = Vec::new();
        let Some(()) = read.and_then(|json| {
            Reader::new(MAX_DEPTH.saturating_sub(depth))
                .read(json, &mut nodes)
                .ok()
        }) else {
            push_quoted(text, out);
            return Ok(());
        };
        let mut inner = Reshaper::new(root, Document::new(&nodes), self.pass);
        inner.added = self.added;
        inner.value(of, 0, depth, out)?;
        self.added = inner.added;
        Ok(())
    }

    /// Writes a value that a transformation made.
    fn made_value(
        &mut self,
        of: &'s ValueType,
        value: Value,
        depth: usize,
        out: &mut String,
    ) -> Result<(), String> {
        let from = out.len();
        match (value, of) {
            (Value::Node(at), _) => self.value(of, at, depth, out)?,
            (Value::Text(text), ValueType::Embedded { form, of }) => {
                self.embedded(form, of, &text, depth, out)?;
            }
            (Value::Text(text), of) => push_masked(&text, of, out),
            (Value::Texts(texts), ValueType::Array(element)) => {
                out.push('[');
                for (index, text) in texts.iter().enumerate() {
                    if index > 0 {
                        out.push(',');
                    }
                    push_masked(text, element, out);
                }
                out.push(']');
            }
            (Value::Texts(texts), of) => push_masked(&texts.concat(), of, out),
        }
        self.added += out.len() - from;
        if self.added > MAX_ADDED {
            return Err(format!(
                "the transformations of the schema add more than {MAX_ADDED} bytes to it"
            ));
        }
        Ok(())
    }

    /// The member `name` of the object at `at`, unless it is null.
    fn member(&self, at: usize, name: &str) -> Option<usize> {
        self.document
            .get(at, name)
            .filter(|at| !matches!(self.document.node(*at), Node::Null))
    }

    /// The fields of an object whose values come from copy, concat or split, and these values. The values of other fields are written where
    /// they stand in the record.
    fn all_made(&self, of: &'s ObjectType, at: usize) -> Vec<(&'s Field, Value)> {
        of.fields
            .iter()
            .filter(|field| !field.sources.is_empty())
            .filter_map(|field| Some((field, self.made(of, at, field)?)))
            .collect()
    }

    fn made(&self, of: &ObjectType, at: usize, field: &Field) -> Option<Value> {
        let value = self.before(of, at, field, LAST)?;
        match value {
            Value::Node(node) if self.before(of, at, field, 1) == Some(Value::Node(node)) => None,
            value => Some(value),
        }
    }

    /// The value of the field after the stages before `stage`.
    fn before(&self, of: &ObjectType, at: usize, field: &Field, stage: u8) -> Option<Value> {
        let mut value = self.member(at, &field.name).map(Value::Node);
        for source in field.sources.iter().filter(|source| source.stage() < stage) {
            if value.is_some() && !source.reads(&field.name) {
                continue;
            }
            let find = |path: &str| self.find(of, at, path, source.stage());
            let made = match source {
                Source::Rename { from } => self.member(at, from).map(Value::Node),
                Source::Copy { from } => find(from),
                Source::Concat { paths, separator } => {
                    let texts: Vec<String> = paths
                        .iter()
                        .filter_map(|path| self.found_text(find(path)?))
                        .collect();
                    (!texts.is_empty()).then(|| Value::Text(texts.join(separator)))
                }
                Source::Split {
                    from,
                    separator,
                    index,
                } => find(from)
                    .and_then(|found| self.found_text(found))
                    .and_then(|text| {
                        let mut parts = text.split(separator.as_str()).map(String::from);
                        match index {
                            Some(index) => parts.nth(*index).map(Value::Text),
                            None => Some(Value::Texts(parts.collect())),
                        }
                    }),
            };
            value = made.or(value);
        }
        value
    }

    /// The value at a path: first from the object at `at`, then from the whole record.
    fn find(&self, of: &ObjectType, at: usize, path: &str, stage: u8) -> Option<Value> {
        let found = self.follow(Some(of), at, path, stage);
        if found.is_some() || at == 0 {
            return found;
        }
        self.follow(self.root, 0, path, stage)
    }

    /// The value at `path`, whose names are separated by dots. A name may have dots too.
    fn follow(&self, of: Option<&ObjectType>, at: usize, path: &str, stage: u8) -> Option<Value> {
        let ends = path
            .match_indices('.')
            .map(|(end, _)| end)
            .chain([path.len()]);
        for end in ends {
            let (name, rest) = path.split_at_checked(end)?;
            let field = of.and_then(|of| Some((of, of.field(name)?)));
            let value = match field {
                Some((of, field)) if !field.sources.is_empty() => self.before(of, at, field, stage),
                _ => self.member(at, name).map(Value::Node),
            };
            let found = match (value, rest.strip_prefix('.')) {
                (value, None) => value,
                (Some(Value::Node(at)), Some(rest)) => {
                    let of = field.and_then(|(_, field)| match &*field.value {
                        ValueType::Object(of) => Some(of),
                        ValueType::Embedded { of, .. } => match &**of {
                            ValueType::Object(of) => Some(of),
                            _ => None,
                        },
                        _ => None,
                    });
                    self.follow(of, at, rest, stage)
                }
                _ => None,
            };
            if found.is_some() {
                return found;
            }
        }
        None
    }

    /// The text of a string, number or boolean.
    fn text(&self, at: usize) -> Option<Cow<'a, str>> {
        match self.document.node(at) {
            Node::String(text) => Some(text.decoded()),
            Node::Number(text) => Some(Cow::Borrowed(text)),
            Node::Bool(value) => Some(Cow::Borrowed(if value { "true" } else { "false" })),
            _ => None,
        }
    }

    fn found_text(&self, value: Value) -> Option<String> {
        match value {
            Value::Node(at) => self.text(at).map(Cow::into_owned),
            Value::Text(text) => Some(text),
            Value::Texts(_) => None,
        }
    }
}

fn push_key(key: Str<'_>, out: &mut String) {
    if !out.ends_with('{') {
        out.push(',');
    }
    out.push('"');
    key.write(out);
    out.push_str("\":");
}

/// Appends a text as a value of the type `of`, masked if the type says so.
fn push_masked(text: &str, of: &ValueType, out: &mut String) {
    match of {
        ValueType::String(string) if string.mask.is_some() => {
            let masked = string.mask.as_ref().map(|mask| mask.apply(text));
            push_quoted(masked.as_deref().unwrap_or_default(), out);
        }
        _ => push_text(text, Some(of), out),
    }
}
