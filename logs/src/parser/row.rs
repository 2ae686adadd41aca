//! Rows: named texts from a line, and the JSON object built from them with a schema's top-level types.

use std::{borrow::Cow, collections::BTreeMap};

use crate::{
    json::{is_value, push_quoted},
    schema::{Form, ObjectType, ValueType},
};

/// The fields of one line, in order.
pub(super) type Row<'a> = Vec<(&'a str, Cow<'a, str>)>;

/// Options shared by the text parsers: which texts count as empty, and which fields are built from other fields.
#[derive(Debug, Default)]
pub(super) struct RowOptions {
    empty_values: Vec<String>,
    trim_space: bool,
    expand: Vec<(String, Vec<Piece>)>,
}

/// A part of a template such as `%{date}T%{time}Z`.
#[derive(Debug)]
enum Piece {
    Text(String),
    Field(String),
}

impl RowOptions {
    pub(super) fn compile(
        empty_values: &[String],
        trim_space: bool,
        expand_fields: &BTreeMap<String, String>,
    ) -> Result<Self, (&'static str, String)> {
        let expand = expand_fields
            .iter()
            .map(|(name, template)| {
                Ok((
                    name.clone(),
                    pieces(template)
                        .map_err(|problem| ("expandFields", format!("{name}: {problem}")))?,
                ))
            })
            .collect::<Result<_, _>>()?;
        Ok(Self {
            empty_values: empty_values.to_vec(),
            trim_space,
            expand,
        })
    }

    /// Writes `row` as a JSON object. Empty values are omitted. Columns that the schema does not declare are kept as strings.
    pub(super) fn write(&self, row: &Row<'_>, root: &ObjectType) -> String {
        let mut out = String::with_capacity(512);
        out.push('{');
        for (name, text) in row {
            let text = if self.trim_space { text.trim() } else { text };
            if !self.empty_values.iter().any(|empty| empty == text) {
                push_field(name, text, root, &mut out);
            }
        }
        for (name, pieces) in &self.expand {
            let text: String = pieces
                .iter()
                .map(|piece| match piece {
                    Piece::Text(text) => text.as_str(),
                    Piece::Field(field) => row
                        .iter()
                        .find(|(name, _)| name == field)
                        .map_or("", |(_, text)| text),
                })
                .collect();
            push_field(name, &text, root, &mut out);
        }
        out.push('}');
        out
    }
}

fn pieces(template: &str) -> Result<Vec<Piece>, String> {
    let mut pieces = Vec::new();
    let mut rest = template;
    while let Some((text, after)) = rest.split_once("%{") {
        let (field, after) = after
            .split_once('}')
            .ok_or_else(|| format!("`%{{{after}` has no closing `}}`"))?;
        if !text.is_empty() {
            pieces.push(Piece::Text(text.into()));
        }
        pieces.push(Piece::Field(field.into()));
        rest = after;
    }
    if !rest.is_empty() {
        pieces.push(Piece::Text(rest.into()));
    }
    Ok(pieces)
}

/// Appends a field, converted to its declared type. A text that does not convert is kept as a string, and schema validation reports the
/// mismatch.
pub(super) fn push_field(name: &str, text: &str, root: &ObjectType, out: &mut String) {
    push_name(name, out);
    push_text(text, root.field(name).map(|field| &*field.value), out);
}

/// Appends a text as a value of the type `of`.
pub(super) fn push_text(text: &str, of: Option<&ValueType>, out: &mut String) {
    match of {
        Some(ValueType::Integer | ValueType::Float) => match number(text) {
            Some(number) => out.push_str(&number),
            None => push_quoted(text, out),
        },
        Some(ValueType::Boolean) => match text.to_ascii_lowercase().as_str() {
            "true" => out.push_str("true"),
            "false" => out.push_str("false"),
            _ => push_quoted(text, out),
        },
        Some(
            ValueType::Json { .. }
            | ValueType::Object(_)
            | ValueType::Array(_)
            | ValueType::Embedded {
                form: Form::Json, ..
            },
        ) if is_value(text) => out.push_str(text),
        _ => push_quoted(text, out),
    }
}

/// Appends a field whose value already is JSON.
pub(super) fn push_json(name: &str, value: &str, out: &mut String) {
    push_name(name, out);
    out.push_str(value);
}

pub(super) fn push_name(name: &str, out: &mut String) {
    if !out.ends_with('{') {
        out.push(',');
    }
    push_quoted(name, out);
    out.push(':');
}

/// Converts `text` to a JSON number: removes leading zeros and a plus sign, which JSON does not allow.
fn number(text: &str) -> Option<Cow<'_, str>> {
    let text = text.trim();
    let first_is_number = text.starts_with(|char: char| char == '-' || char.is_ascii_digit());
    if first_is_number && is_value(text) {
        return Some(Cow::Borrowed(text));
    }
    let (sign, digits) = match text.strip_prefix('-') {
        Some(rest) => ("-", rest),
        None => ("", text.strip_prefix('+').unwrap_or(text)),
    };
    let stripped = digits.trim_start_matches('0');
    let number = if stripped.starts_with(|char: char| char.is_ascii_digit()) {
        format!("{sign}{stripped}")
    } else {
        format!("{sign}0{stripped}")
    };
    (digits.starts_with(|char: char| char.is_ascii_digit() || char == '.') && is_value(&number))
        .then_some(Cow::Owned(number))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn numbers_become_json_numbers() {
        for (text, expected) in [
            ("1", "1"),
            ("-1.50", "-1.50"),
            ("007", "7"),
            ("+5", "5"),
            ("000", "0"),
            ("-0.5", "-0.5"),
            (".5", "0.5"),
            ("00.5", "0.5"),
            ("1e5", "1e5"),
        ] {
            assert_eq!(number(text).as_deref(), Some(expected), "{text}");
        }
        for text in ["", "-", "x", "1x", "0x10", "1.", "true", "\"1\""] {
            assert_eq!(number(text), None, "{text}");
        }
    }
}
