//! Tables whose own comment lines name the columns: Zeek's tab-separated logs and the W3C extended log format.

use std::borrow::Cow;

use super::{
    Filter, Learned, Line, Reading, State,
    row::{Row, RowOptions, number, push_field, push_json},
};
use crate::{
    json::push_quoted,
    schema::{ObjectType, ValueType, W3cFile, ZeekFile},
};

/// Zeek's logs, in both of its forms: JSON, and tables with `#fields` and `#types`.
#[derive(Debug)]
pub(crate) struct Zeek {
    path: Option<String>,
}

impl Zeek {
    pub(super) fn compile(file: &ZeekFile) -> Self {
        Self {
            path: file.path.clone(),
        }
    }

    pub(super) fn read(
        &self,
        line: &Line<'_, '_>,
        root: &ObjectType,
        state: &mut State,
        out: &mut Vec<String>,
    ) -> Result<Reading, String> {
        if line.text.starts_with('{') {
            return line.json.map(|_| Reading::AsItIs).map_err(String::from);
        }
        if let Some(title) = line.whole.strip_prefix('#') {
            return Ok(Reading::Filtered(self.title(title, state)));
        }
        if state.foreign {
            return Err("is a row of another log: `#path` says so".into());
        }
        let Some(header) = &state.header else {
            return Err("is no JSON object, and no `#fields` line came before".into());
        };
        let row = line.whole.strip_suffix('\r').unwrap_or(line.whole);
        let count = row.split('\t').count();
        if count != header.len() {
            return Err(format!(
                "has {count} columns, not the {} of `#fields`",
                header.len()
            ));
        }
        let mut json = String::with_capacity(512);
        json.push('{');
        for (index, (name, value)) in header.iter().zip(row.split('\t')).enumerate() {
            let kind = state.types.get(index).map_or("", String::as_str);
            push_zeek(name, value, kind, root, &mut json);
        }
        json.push('}');
        out.push(json);
        Ok(Reading::Written)
    }

    fn title(&self, title: &str, state: &mut State) -> Filter {
        let title = title.trim_end();
        let mut words = title.split('\t');
        match words.next() {
            Some("fields") => {
                state.pending = Some(Learned::Header(words.map(String::from).collect()));
                Filter::Header
            }
            Some("types") => {
                state.pending = Some(Learned::Types(words.map(String::from).collect()));
                Filter::Header
            }
            Some("path") => {
                let path = words.next();
                let foreign = self.path.is_some() && path != self.path.as_deref();
                state.pending = Some(Learned::Foreign(foreign));
                Filter::Header
            }
            _ => Filter::Comment,
        }
    }
}

/// Appends a value of Zeek's type `kind`; a value that is not set is left out. Without `#types`, the schema's type decides.
fn push_zeek(name: &str, value: &str, kind: &str, root: &ObjectType, json: &mut String) {
    if value == "-" {
        return;
    }
    let element = kind
        .strip_prefix("set[")
        .or_else(|| kind.strip_prefix("vector["))
        .and_then(|kind| kind.strip_suffix(']'));
    let declared = root.field(name).map(|field| &*field.value);
    let is_list =
        element.is_some() || kind.is_empty() && matches!(declared, Some(ValueType::Array(_)));
    if !is_list {
        let value = if value == "(empty)" { "" } else { value };
        match scalar(value, kind) {
            Some(scalar) => push_json(name, &scalar, json),
            None => push_field(name, &unescape(value), root, json),
        }
        return;
    }
    let mut list = String::from("[");
    if value != "(empty)" {
        for value in value.split(',').filter(|value| *value != "-") {
            if list.len() > 1 {
                list.push(',');
            }
            match scalar(value, element.unwrap_or_default()) {
                Some(scalar) => list.push_str(&scalar),
                None => push_quoted(&unescape(value), &mut list),
            }
        }
    }
    list.push(']');
    push_json(name, &list, json);
}

/// The JSON of a boolean or number.
fn scalar<'t>(value: &'t str, kind: &str) -> Option<Cow<'t, str>> {
    match kind {
        "bool" => match value {
            "T" => Some(Cow::Borrowed("true")),
            "F" => Some(Cow::Borrowed("false")),
            _ => None,
        },
        "count" | "int" | "port" | "double" | "time" | "interval" => number(value),
        _ => None,
    }
}

/// Resolves `\xHH`, by which Zeek writes separators and bytes that cannot be printed.
fn unescape(value: &str) -> Cow<'_, str> {
    if !value.contains("\\x") {
        return Cow::Borrowed(value);
    }
    let mut bytes = Vec::with_capacity(value.len());
    let mut rest = value;
    while let Some((before, after)) = rest.split_once("\\x") {
        bytes.extend_from_slice(before.as_bytes());
        match after
            .get(..2)
            .filter(|digits| digits.bytes().all(|byte| byte.is_ascii_hexdigit()))
            .and_then(|digits| u8::from_str_radix(digits, 16).ok())
        {
            Some(byte) => {
                bytes.push(byte);
                rest = after.get(2..).unwrap_or_default();
            }
            None => {
                bytes.extend_from_slice(b"\\x");
                rest = after;
            }
        }
    }
    bytes.extend_from_slice(rest.as_bytes());
    Cow::Owned(String::from_utf8_lossy(&bytes).into_owned())
}

/// The W3C extended log format, as IIS and CloudFront write it: `#Fields:` names the columns, which spaces or tabs separate.
#[derive(Debug)]
pub(crate) struct W3c {
    options: RowOptions,
}

impl W3c {
    pub(super) fn compile(file: &W3cFile) -> Result<Self, (&'static str, String)> {
        let unset = ["-".to_owned()];
        let empty_values = file.empty_values.as_deref().unwrap_or(&unset);
        Ok(Self {
            options: RowOptions::compile(empty_values, false, &file.expand_fields)?,
        })
    }

    pub(super) fn read(
        &self,
        line: &str,
        root: &ObjectType,
        state: &mut State,
        out: &mut Vec<String>,
    ) -> Result<Reading, String> {
        let line = line.trim_end_matches(['\r', '\n']);
        if let Some(title) = line.strip_prefix('#') {
            let Some(names) = title.strip_prefix("Fields:") else {
                return Ok(Reading::Filtered(Filter::Comment));
            };
            let names = names.split_whitespace().map(String::from).collect();
            state.pending = Some(Learned::Header(names));
            return Ok(Reading::Filtered(Filter::Header));
        }
        let Some(header) = &state.header else {
            return Err("no `#Fields:` line came before".into());
        };
        let separator = if line.contains('\t') { '\t' } else { ' ' };
        let count = line.split(separator).count();
        if count != header.len() {
            return Err(format!(
                "has {count} columns, not the {} of `#Fields:`",
                header.len()
            ));
        }
        let row: Row<'_> = header
            .iter()
            .map(String::as_str)
            .zip(line.split(separator).map(Cow::Borrowed))
            .collect();
        out.push(self.options.write(&row, root));
        Ok(Reading::Written)
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    #[test]
    fn escaped_bytes_are_undone() {
        for (text, expected) in [
            ("plain", "plain"),
            ("a\\x09b\\x5cx", "a\tb\\x"),
            ("\\xc3\\xa9", "\u{e9}"),
            ("\\xff", "\u{fffd}"),
            ("\\xg1\\x", "\\xg1\\x"),
        ] {
            assert_eq!(unescape(text), expected);
        }
    }

    proptest! {
        #[test]
        fn escaped_text_comes_back(text in any::<String>()) {
            let escaped: String = text.bytes().map(|byte| format!("\\x{byte:02x}")).collect();
            prop_assert_eq!(unescape(&escaped), text);
        }
    }
}
