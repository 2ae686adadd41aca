//! Syslog lines as RFC 5424 has them: `<priority>version time host app process message-id [id name="value"] message`.

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
    let message = match rest.strip_prefix('-') {
        Some(after) => after,
        None => {
            let (data, after) = structured_data(rest)?;
            push_json("structured_data", &data, &mut json);
            after
        }
    };
    if !(message.is_empty() || message.starts_with(' ')) {
        return Err("something other than a space follows its structured data".into());
    }
    let message = message.trim_start().trim_start_matches('\u{feff}');
    if !message.is_empty() {
        push("message", message, root, &mut json);
    }
    json.push('}');
    out.push(json);
    Ok(Reading::Written)
}

/// One or more `[id name="value" …]`, as a JSON object of objects, and what follows.
fn structured_data(text: &str) -> Result<(String, &str), String> {
    let mut json = String::from("{");
    let mut rest = text;
    while let Some(element) = rest.strip_prefix('[') {
        let end = element
            .find([' ', ']'])
            .ok_or("its structured data has no end")?;
        let (id, mut params) = element.split_at(end);
        if id.is_empty() {
            return Err("an element of its structured data has no name".into());
        }
        if json.len() > 1 {
            json.push(',');
        }
        push_quoted(id, &mut json);
        json.push_str(":{");
        let mut first = true;
        while let Some(param) = params.strip_prefix(' ') {
            let (name, value) = param
                .split_once("=\"")
                .ok_or("a parameter of its structured data has no value in quotes")?;
            if !first {
                json.push(',');
            }
            first = false;
            let (value, after) =
                quoted(value).ok_or("a value of its structured data has no closing quote")?;
            push_quoted(name, &mut json);
            json.push(':');
            push_quoted(&value, &mut json);
            params = after;
        }
        json.push('}');
        rest = params
            .strip_prefix(']')
            .ok_or("an element of its structured data has no closing bracket")?;
    }
    if json.len() == 1 {
        return Err("has neither structured data nor `-` in its place".into());
    }
    json.push('}');
    Ok((json, rest))
}

/// A value up to its closing quote, `\"`, `\\` and `\]` standing for the second character, and what follows.
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
