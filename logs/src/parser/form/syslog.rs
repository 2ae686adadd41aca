//! Syslog lines, in two forms:
//! - RFC 5424: `<priority>version time host app process message-id [id name="value"] message`
//! - RFC 3164 and what senders made of it: `<priority>time host tag[process]: message`, in which every part but one of the first two can be
//!   missing

use super::{Members, push};
use crate::{
    json::push_quoted,
    parser::{Reading, row::push_json},
    schema::ObjectType,
};

/// Maximum length of a tag, in bytes. Longer words before a colon belong to the message.
const MAX_TAG: usize = 64;

/// Reads a line of RFC 5424 only.
pub(in crate::parser) fn read_5424(
    line: &str,
    root: &ObjectType,
    out: &mut Vec<String>,
) -> Result<Reading, String> {
    let mut json = String::with_capacity(512);
    json.push('{');
    let message = header_5424(line, Some(root), &mut json)?;
    push_message(message, Some(root), &mut json);
    out.push(json);
    Ok(Reading::Written)
}

/// Appends a line of either form as a JSON object.
pub(super) fn read(text: &str, of: Option<&ObjectType>, out: &mut String) -> Result<(), String> {
    out.push('{');
    let message = header(text, of, out)?;
    push_message(message, of, out);
    Ok(())
}

fn push_message(message: &str, of: Option<&ObjectType>, out: &mut String) {
    if !message.is_empty() {
        push("message", message, of, out);
    }
    out.push('}');
}

/// Appends the members of a header of either form to the open object `out`. Returns the message.
///
/// # Errors
/// The text begins with neither a priority nor a time. `out` is unchanged then, or the text is a broken line of RFC 5424.
pub(super) fn header<'t>(
    text: &'t str,
    of: Option<&ObjectType>,
    out: &mut String,
) -> Result<&'t str, String> {
    let (number, rest) = match priority(text) {
        Ok((number, rest)) => (Some(number), rest),
        Err(_) => (None, text),
    };
    if number.is_some() && has_version(rest) {
        return header_5424(text, of, out);
    }
    let time = end_of_time(rest);
    if number.is_none() && time.is_none() {
        return Err("begins with neither `<priority>` nor a time".into());
    }
    if let Some(number) = number {
        push_priority(number, out);
    }
    let Some(end) = time else {
        return Ok(push_tag(rest.trim_start(), of, out));
    };
    let (time, rest) = rest.split_at(end);
    push("timestamp", time.trim(), of, out);
    let rest = match rest.strip_prefix(':') {
        // no host, as from some network devices
        Some(rest) => rest.trim_start(),
        None => {
            let rest = rest.trim_start();
            let (host, after) = rest.split_once(' ').unwrap_or((rest, ""));
            if host.is_empty() || split_tag(rest).is_some() {
                rest
            } else {
                push("hostname", host, of, out);
                after.trim_start()
            }
        }
    };
    Ok(push_tag(rest, of, out))
}

fn priority(line: &str) -> Result<(u16, &str), String> {
    let (priority, rest) = line
        .strip_prefix('<')
        .and_then(|rest| rest.split_once('>'))
        .ok_or("does not begin with `<priority>`")?;
    priority
        .parse()
        .ok()
        .filter(|number| *number <= 191)
        .map(|number| (number, rest))
        .ok_or_else(|| format!("`{priority}` is no priority"))
}

fn push_priority(number: u16, out: &mut String) {
    for (name, number) in [
        ("priority", number),
        ("facility", number / 8),
        ("severity", number % 8),
    ] {
        push_json(name, &number.to_string(), out);
    }
}

/// True if the version of RFC 5424 and a time, or `-`, follow the priority.
fn has_version(rest: &str) -> bool {
    rest.split_once(' ').is_some_and(|(version, after)| {
        (1..=2).contains(&version.len())
            && version.bytes().all(|byte| byte.is_ascii_digit())
            && after.starts_with(|char: char| char == '-' || char.is_ascii_digit())
    })
}

/// The end of the time at the start of `text`: `Mmm d hh:mm:ss`, with a year before or behind the clock time where a sender writes one, or
/// RFC 3339.
fn end_of_time(text: &str) -> Option<usize> {
    let (first, _) = text.split_once(' ').unwrap_or((text, ""));
    if is_like(first, "0000-00-00T00:00:00") {
        return Some(first.trim_end_matches(':').len());
    }
    const MONTHS: [&str; 12] = [
        "Jan", "Feb", "Mar", "Apr", "May", "Jun", "Jul", "Aug", "Sep", "Oct", "Nov", "Dec",
    ];
    let rest = MONTHS
        .iter()
        .find_map(|month| text.strip_prefix(month))?
        .strip_prefix(' ')?
        .trim_start_matches(' ');
    let (day, rest) = rest.split_once(' ')?;
    if !(is_like(day, "0") && day.len() <= 2) {
        return None;
    }
    let (word, after) = rest.split_once(' ').unwrap_or((rest, ""));
    let rest = if word.len() == 4 && is_like(word, "0000") {
        after
    } else {
        rest
    };
    if !is_like(rest, "00:00:00") {
        return None;
    }
    let clock = rest.get(..8)?;
    let fraction = rest
        .get(clock.len()..)?
        .strip_prefix('.')
        .map_or(0, |digits| {
            1 + digits.bytes().take_while(u8::is_ascii_digit).count()
        });
    let mut end = text.len() - rest.len() + clock.len() + fraction;
    if let Some(year) = text.get(end..end + 5)
        && is_like(year, " 2000")
        && year.starts_with(" 20")
        && !text
            .get(end + 5..)
            .is_some_and(|after| after.starts_with(|char: char| char != ' '))
    {
        end += 5;
    }
    Some(end)
}

/// True if `text` begins like `form`, in which a digit stands for any digit.
fn is_like(text: &str, form: &str) -> bool {
    text.len() >= form.len()
        && text.bytes().zip(form.bytes()).all(|(byte, expected)| {
            if expected.is_ascii_digit() {
                byte.is_ascii_digit()
            } else {
                byte == expected
            }
        })
}

/// Appends the tag and the process, if there is a tag. Returns the message.
fn push_tag<'t>(rest: &'t str, of: Option<&ObjectType>, out: &mut String) -> &'t str {
    let Some((tag, process, message)) = split_tag(rest) else {
        return rest;
    };
    push("appname", tag, of, out);
    if let Some(process) = process {
        push("procid", process, of, out);
    }
    message
}

/// Splits `tag[process]: message` or `tag: message`.
fn split_tag(text: &str) -> Option<(&str, Option<&str>, &str)> {
    let is_of_tag = |char: char| {
        char.is_ascii_alphanumeric()
            || matches!(char, '_' | '-' | '.' | '/' | '%' | '@' | '(' | ')')
    };
    let end = text.find(|char| !is_of_tag(char))?;
    let (tag, rest) = text.split_at_checked(end)?;
    if tag.is_empty() || tag.len() > MAX_TAG {
        return None;
    }
    let (process, rest) = match rest.strip_prefix('[') {
        Some(rest) => {
            let (process, rest) = rest.split_once(']')?;
            (Some(process), rest.strip_prefix(':').unwrap_or(rest))
        }
        None => (None, rest.strip_prefix(':')?),
    };
    // a colon within a word, as in an address, ends no tag
    (rest.is_empty() || rest.starts_with(' ')).then(|| (tag, process, rest.trim_start()))
}

/// Appends the members of a header of RFC 5424. Returns the message.
fn header_5424<'t>(
    line: &'t str,
    of: Option<&ObjectType>,
    out: &mut String,
) -> Result<&'t str, String> {
    let (number, mut rest) = priority(line)?;
    push_priority(number, out);
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
        if value != "-" {
            push(name, value, of, out);
        }
        rest = after;
    }
    let message = if rest == "-" || rest.starts_with("- ") {
        rest.get(1..).unwrap_or_default()
    } else if rest.starts_with('[') {
        let (data, after) = structured_data(rest)?;
        if !(after.is_empty() || after.starts_with(' ')) {
            return Err("something other than a space follows its structured data".into());
        }
        push_json("structured_data", &data, out);
        after
    } else {
        // many senders omit the structured data without the `-` that stands for it
        rest
    };
    Ok(message.trim_start().trim_start_matches('\u{feff}'))
}

/// Parses one or more `[id name="value" …]` as a JSON object of objects. Returns the JSON and the remaining text. A repeated name becomes a
/// list of its values.
fn structured_data(text: &str) -> Result<(String, &str), String> {
    let mut elements = Members::default();
    let mut rest = text;
    while let Some(element) = rest.strip_prefix('[') {
        let end = element
            .find([' ', ']'])
            .ok_or("its structured data has no end")?;
        let (id, mut params) = element.split_at(end);
        if id.is_empty() {
            return Err("an element of its structured data has no name".into());
        }
        let mut values = Members::default();
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
        let mut json = String::new();
        values.write(&mut json);
        elements.add(id, json);
        rest = params
            .strip_prefix(']')
            .ok_or("an element of its structured data has no closing bracket")?;
    }
    let mut json = String::new();
    elements.write(&mut json);
    Ok((json, rest))
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

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    fn json(text: &str) -> Result<String, String> {
        let mut out = String::new();
        read(text, None, &mut out).map(|()| out)
    }

    #[test]
    fn lines_of_either_form() {
        for (text, expected) in [
            (
                "<34>Oct 11 22:14:15 mymachine su: failed",
                r#"{"priority":34,"facility":4,"severity":2,"timestamp":"Oct 11 22:14:15","hostname":"mymachine","appname":"su","message":"failed"}"#,
            ),
            (
                "Mar  4 05:06:07 web01 sshd[12]: Failed password: x",
                r#"{"timestamp":"Mar  4 05:06:07","hostname":"web01","appname":"sshd","procid":"12","message":"Failed password: x"}"#,
            ),
            (
                "Mar  4 05:06:07 su[1]: local",
                r#"{"timestamp":"Mar  4 05:06:07","appname":"su","procid":"1","message":"local"}"#,
            ),
            (
                "2026-03-04T05:06:07.123+01:00 h kernel: [12.3] x",
                r#"{"timestamp":"2026-03-04T05:06:07.123+01:00","hostname":"h","appname":"kernel","message":"[12.3] x"}"#,
            ),
            (
                "<189>Mar 4 2026 05:06:07: %ASA-6-302013: Built",
                r#"{"priority":189,"facility":23,"severity":5,"timestamp":"Mar 4 2026 05:06:07","appname":"%ASA-6-302013","message":"Built"}"#,
            ),
            (
                "<13>Mar  4 05:06:07.250 h no tag here",
                r#"{"priority":13,"facility":1,"severity":5,"timestamp":"Mar  4 05:06:07.250","hostname":"h","message":"no tag here"}"#,
            ),
            (
                "<13>Mar  4 05:06:07 2026 h t: m",
                r#"{"priority":13,"facility":1,"severity":5,"timestamp":"Mar  4 05:06:07 2026","hostname":"h","appname":"t","message":"m"}"#,
            ),
            (
                "<13>only a message",
                r#"{"priority":13,"facility":1,"severity":5,"message":"only a message"}"#,
            ),
            (
                "<13>Mar  4 05:06:07 10.0.0.1 10.0.0.2:80 x",
                r#"{"priority":13,"facility":1,"severity":5,"timestamp":"Mar  4 05:06:07","hostname":"10.0.0.1","message":"10.0.0.2:80 x"}"#,
            ),
            (
                r#"<165>1 2003-10-11T22:14:15.003Z h app - ID47 [a b="c"] m"#,
                r#"{"priority":165,"facility":20,"severity":5,"version":"1","timestamp":"2003-10-11T22:14:15.003Z","hostname":"h","appname":"app","msgid":"ID47","structured_data":{"a":{"b":"c"}},"message":"m"}"#,
            ),
            (
                "<165>1 - - - - - - m",
                r#"{"priority":165,"facility":20,"severity":5,"version":"1","message":"m"}"#,
            ),
        ] {
            assert_eq!(json(text).as_deref(), Ok(expected), "{text}");
        }
        for text in [
            "",
            "plain text",
            "<192>x",
            "Mars 4 05:06:07 h",
            "Mar 4 h",
            "{}",
        ] {
            assert!(json(text).is_err(), "{text}");
        }
    }

    proptest! {
        #[test]
        fn any_text_is_read_or_refused(text in "(<1>)?(Mar |2026-03-04T05:06:07|1 )?[ -~\u{e9}]{0,40}") {
            if let Ok(json) = json(&text) {
                prop_assert!(serde_json::from_str::<serde_json::Value>(&json).is_ok(), "{} of {}", json, text);
            }
        }
    }
}
