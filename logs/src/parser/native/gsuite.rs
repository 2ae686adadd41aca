//! Activities of Google Workspace's Reports API. One activity holds several events. The parameters of an event are a list of named values
//! of several types. Detections look at one event and access its parameters by name, so each event of an activity becomes a separate event.

use crate::json::{Document, Node, push_quoted};

use super::{Line, Reading};

pub(super) fn read(line: &Line<'_, '_>, out: &mut Vec<String>) -> Result<Reading, String> {
    let document = line.json?;
    let Some(events) = document.get(0, "events") else {
        // an activity that was split before
        return Ok(Reading::AsItIs);
    };
    let Node::Array { .. } = document.node(events) else {
        return Err(format!(
            "events: expected an array, found {}",
            document.node(events).kind()
        ));
    };
    for event in document.elements(events) {
        let Node::Object { .. } = document.node(event) else {
            return Err("events: expected objects".into());
        };
        let mut json = String::from("{");
        for (key, value) in document.members(0).filter(|(key, _)| !key.is("events")) {
            push_member(key.raw(), document, value, &mut json);
        }
        for (key, value) in document.members(event) {
            if key.is("parameters") && matches!(document.node(value), Node::Array { .. }) {
                push_key("parameters", &mut json);
                push_parameters(document, value, &mut json, 0);
            } else {
                push_member(key.raw(), document, value, &mut json);
            }
        }
        json.push('}');
        out.push(json);
    }
    if out.is_empty() {
        return Ok(Reading::AsItIs);
    }
    Ok(Reading::Written)
}

fn push_key(raw: &str, json: &mut String) {
    if !json.ends_with('{') {
        json.push(',');
    }
    json.push('"');
    json.push_str(raw);
    json.push_str("\":");
}

fn push_member(raw: &str, document: Document<'_, '_>, value: usize, json: &mut String) {
    push_key(raw, json);
    document.write(value, &[], json);
}

/// Maximum depth of nested messages that are converted. Deeper messages keep their original form.
const MAX_DEPTH: usize = 16;

/// Converts `[{"name": n, "value": v}, …]` to `{n: v, …}`.
fn push_parameters(document: Document<'_, '_>, list: usize, json: &mut String, depth: usize) {
    json.push('{');
    for parameter in document.elements(list) {
        let Some(Node::String(name)) = document.get(parameter, "name").map(|at| document.node(at))
        else {
            continue;
        };
        push_key(name.raw(), json);
        let values = [
            "value",
            "intValue",
            "boolValue",
            "multiValue",
            "multiIntValue",
            "multiBoolValue",
            "messageValue",
            "multiMessageValue",
        ];
        let found = values
            .iter()
            .find_map(|kind| document.get(parameter, kind).map(|at| (*kind, at)));
        match found {
            None => json.push_str("null"),
            Some(("messageValue", at)) => push_message(document, at, json, depth),
            Some(("multiMessageValue", at)) => {
                json.push('[');
                for (number, message) in document.elements(at).enumerate() {
                    if number > 0 {
                        json.push(',');
                    }
                    push_message(document, message, json, depth);
                }
                json.push(']');
            }
            // the API writes 64-bit integers as strings
            Some(("intValue", at)) => push_integer(document, at, json),
            Some(("multiIntValue", at)) => {
                json.push('[');
                for (number, at) in document.elements(at).enumerate() {
                    if number > 0 {
                        json.push(',');
                    }
                    push_integer(document, at, json);
                }
                json.push(']');
            }
            Some((_, at)) => document.write(at, &[], json),
        }
    }
    json.push('}');
}

fn push_message(document: Document<'_, '_>, at: usize, json: &mut String, depth: usize) {
    match document.get(at, "parameter") {
        Some(list) if depth < MAX_DEPTH && matches!(document.node(list), Node::Array { .. }) => {
            push_parameters(document, list, json, depth + 1)
        }
        _ => document.write(at, &[], json),
    }
}

fn push_integer(document: Document<'_, '_>, at: usize, json: &mut String) {
    match document.node(at) {
        Node::String(text) => {
            let digits = text.raw().strip_prefix('-').unwrap_or(text.raw());
            let plain = !digits.is_empty()
                && digits.bytes().all(|byte| byte.is_ascii_digit())
                && (digits == "0" || !digits.starts_with('0'));
            if plain {
                json.push_str(text.raw())
            } else {
                push_quoted(&text.decoded(), json)
            }
        }
        _ => document.write(at, &[], json),
    }
}
