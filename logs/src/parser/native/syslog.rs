//! Syslog lines of RFC 5424: `<priority>version time host app process message-id [id name="value"] message`.

use std::collections::HashMap;

use super::{Reading, push};
use crate::{json::push_quoted, parser::row::push_json, schema::ObjectType};

pub(super) fn read(
    line: &str,
    root: &ObjectType,
    out: &mut Vec<String>,
) -> Result<Reading, String> {
    let (priority, rest) = line
        .strip_prefix('<')
        .and_then(|rest| rest.split_once('>'))
        .ok_or("does not begin with `<priority>`")?;
    let number: u16 = priority
        .parse()
        .ok()
        .filter(|number| *number <= 191)
        .ok_or_else(|| format!("`{priority}` is no priority"))?;
    let mut rest = rest;
    let mut json = format!(
        "{{\"priority\":{number},\"facility\":{},\"severity\":{}",
        number / 8,
        number % 8
    );
    for name in [
        "version",
        "timestamp",
        "hostname",
        "appname",
        "procid",
        "msgid",
    ] {
        let (value, after) = rest
            .split_once(' ')
            .ok_or_else(|| format!("ends before its {name}"))?;
        push(name, value, root, &mut json);
        rest = after;
    }
    let message = if rest == "-" || rest.starts_with("- ") {
        rest.get(1..).unwrap_or_default()
    } else if rest.starts_with('[') {
        let (data, after) = structured_data(rest)?;
        if !(after.is_empty() || after.starts_with(' ')) {
            return Err("something other than a space follows its structured data".into());
        }
        push_json("structured_data", &data, &mut json);
        after
    } else {
        // many senders omit the structured data without the `-` that stands for it
        rest
    };
    let message = message.trim_start().trim_start_matches('\u{feff}');
    if !message.is_empty() {
        push("message", message, root, &mut json);
    }
    json.push('}');
    out.push(json);
    Ok(Reading::Written)
}

/// Parses one or more `[id name="value" …]` as a JSON object of objects. Returns the JSON and the remaining text. A repeated name becomes a
/// list of its values.
fn structured_data(text: &str) -> Result<(String, &str), String> {
    let mut elements = Named::default();
    let mut rest = text;
    while let Some(element) = rest.strip_prefix('[') {
        let end = element
            .find([' ', ']'])
            .ok_or("its structured data has no end")?;
        let (id, mut params) = element.split_at(end);
        if id.is_empty() {
            return Err("an element of its structured data has no name".into());
        }
        let mut values = Named::default();
        while let Some(param) = params.strip_prefix(' ') {
            let (name, value) = param
                .split_once("=\"")
                .ok_or("a parameter of its structured data has no value in quotes")?;
            let (value, after) =
                quoted(value).ok_or("a value of its structured data has no closing quote")?;
            let mut json = String::new();
            push_quoted(&value, &mut json);
            values.add(name, json);
            params = after;
        }
        elements.add(id, values.write());
        rest = params
            .strip_prefix(']')
            .ok_or("an element of its structured data has no closing bracket")?;
    }
    Ok((elements.write(), rest))
}

/// Names and their JSON values, in order of appearance.
#[derive(Default)]
struct Named<'t> {
    members: Vec<(&'t str, Vec<String>)>,
    places: HashMap<&'t str, usize>,
}

impl<'t> Named<'t> {
    fn add(&mut self, name: &'t str, value: String) {
        let next = self.members.len();
        let place = *self.places.entry(name).or_insert(next);
        match self.members.get_mut(place) {
            Some((_, values)) => values.push(value),
            None => self.members.push((name, vec![value])),
        }
    }

    fn write(self) -> String {
        let mut json = String::from("{");
        for (name, values) in self.members {
            if json.len() > 1 {
                json.push(',');
            }
            push_quoted(name, &mut json);
            json.push(':');
            match values.as_slice() {
                [one] => json.push_str(one),
                several => json.push_str(&format!("[{}]", several.join(","))),
            }
        }
        json.push('}');
        json
    }
}

/// Parses a value up to its closing quote and resolves the escapes `\"`, `\\` and `\]`. Returns the value and the remaining text.
fn quoted(text: &str) -> Option<(String, &str)> {
    let mut value = String::new();
    let mut chars = text.char_indices();
    while let Some((at, char)) = chars.next() {
        match char {
            '"' => return Some((value, text.get(at + 1..)?)),
            '\\' => match chars.next() {
                Some((_, escaped @ ('"' | '\\' | ']'))) => value.push(escaped),
                Some((_, other)) => value.extend(['\\', other]),
                None => return None,
            },
            other => value.push(other),
        }
    }
    None
}
