//! Text forms with names of their own for their values: each becomes a JSON object.

mod event_format;
mod key_value;
mod members;
pub(super) mod syslog;
mod xml;

use members::Members;

use super::{Line, Parser, Reading, State};
use crate::schema::{Form, ObjectType, ValueType};

/// The field that holds the values of a syslog header before another form.
const HEADER: &str = "syslog";

/// Appends `text`, which has the form `form`, as one JSON object. Values are converted to the types that `of` declares.
///
/// # Errors
/// Why the text does not have this form. `out` may hold a part of an object then.
pub(super) fn read(
    form: &Form,
    text: &str,
    of: Option<&ObjectType>,
    out: &mut String,
) -> Result<(), String> {
    match form {
        Form::Json => {
            out.push_str(text);
            Ok(())
        }
        Form::KeyValue(options) => key_value::read(options, text, of, out),
        Form::Cef => event_format::read_cef(text, of, out),
        Form::Leef => event_format::read_leef(text, of, out),
        Form::Syslog => syslog::read(text, of, out),
        Form::Xml(options) => xml::read(options, text, of, out),
    }
}

/// Parses a line with `inner`, after its syslog header, if it has one. The header's values become the field `syslog`.
pub(super) fn read_behind_header(
    inner: &Parser,
    line: &Line<'_, '_>,
    root: &ObjectType,
    state: &mut State,
    out: &mut Vec<String>,
) -> Result<Reading, String> {
    let mut header = String::from("{");
    let Ok(rest) = syslog::header(line.text, member(Some(root), HEADER), &mut header) else {
        return inner.parse(line, root, state, out);
    };
    header.push('}');
    let rest = rest.trim();
    let reading = match inner {
        Parser::Json => {
            if !(rest.starts_with('{') && rest.ends_with('}')) {
                return Err("is no JSON object after its syslog header".into());
            }
            out.push(rest.into());
            Reading::Written
        }
        inner => {
            let line = Line {
                text: rest,
                whole: rest,
                json: Err("is no JSON object"),
            };
            inner.parse(&line, root, state, out)?
        }
    };
    if reading == Reading::Written {
        for json in out.iter_mut() {
            push_object(HEADER, &header, json);
        }
    }
    Ok(reading)
}

/// Appends a member to a complete JSON object.
fn push_object(name: &str, value: &str, json: &mut String) {
    json.pop();
    json.truncate(json.trim_end().len());
    super::row::push_name(name, json);
    json.push_str(value);
    json.push('}');
}

/// The type of the member `name`, if it is an object.
fn member<'s>(of: Option<&'s ObjectType>, name: &str) -> Option<&'s ObjectType> {
    match &*of?.field(name)?.value {
        ValueType::Object(of) => Some(of),
        _ => None,
    }
}

/// Appends a member that a text gives, converted to its declared type.
fn push(name: &str, text: &str, of: Option<&ObjectType>, out: &mut String) {
    super::row::push_name(name, out);
    let of = of.and_then(|of| of.field(name)).map(|field| &*field.value);
    super::row::push_text(text, of, out);
}

/// The first 40 characters of a text, for a message.
fn shortened(text: &str) -> &str {
    text.char_indices()
        .nth(40)
        .and_then(|(end, _)| text.get(..end))
        .unwrap_or(text)
}
