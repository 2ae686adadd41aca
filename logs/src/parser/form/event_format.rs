//! CEF (ArcSight) and LEEF (QRadar): columns separated by `|`, then key=value pairs. A syslog header can stand before them.
//!
//! The pairs become an object of their own, because the sender of a value can write anything that looks like a pair.

use super::{HEADER, Members, member, members::unescape, push, push_object, shortened, syslog};
use crate::{
    json::push_quoted,
    parser::row::{push_json, push_text},
    schema::ObjectType,
};

const CEF_COLUMNS: [&str; 7] = [
    "cefVersion",
    "deviceVendor",
    "deviceProduct",
    "deviceVersion",
    "deviceEventClassId",
    "name",
    "severity",
];
const LEEF_COLUMNS: [&str; 5] = [
    "leefVersion",
    "vendor",
    "product",
    "productVersion",
    "eventId",
];

pub(super) fn read_cef(
    text: &str,
    of: Option<&ObjectType>,
    out: &mut String,
) -> Result<(), String> {
    let (header, text) = marked(text, "CEF:").ok_or("has no `CEF:` with a version")?;
    out.push('{');
    let rest = columns(text, &CEF_COLUMNS, of, out).ok_or("has not the seven columns of CEF")?;
    let extension = cef_pairs(rest, member(of, "extension"));
    let mut json = String::new();
    extension.write(&mut json);
    push_json("extension", &json, out);
    out.push('}');
    push_header(header, of, out);
    Ok(())
}

pub(super) fn read_leef(
    text: &str,
    of: Option<&ObjectType>,
    out: &mut String,
) -> Result<(), String> {
    let (header, text) = marked(text, "LEEF:").ok_or("has no `LEEF:` with a version")?;
    out.push('{');
    let mut rest =
        columns(text, &LEEF_COLUMNS, of, out).ok_or("has not the five columns of LEEF")?;
    let mut delimiter = '\t';
    // version 2 has one more column, the delimiter, which some senders leave out
    if text.starts_with('2')
        && let Some((column, after)) = rest.split_once('|')
        && !column.contains('=')
    {
        delimiter = leef_delimiter(column).ok_or_else(|| format!("`{column}` is no delimiter"))?;
        rest = after;
    }
    let of_attributes = member(of, "attributes");
    let mut attributes = Members::default();
    for pair in rest.split(delimiter).filter(|pair| !pair.trim().is_empty()) {
        let (key, value) = pair
            .split_once('=')
            .ok_or_else(|| format!("an attribute has no `=`: {}", shortened(pair)))?;
        attributes.add(key.trim(), typed(key.trim(), value, of_attributes));
    }
    let mut json = String::new();
    attributes.write(&mut json);
    push_json("attributes", &json, out);
    out.push('}');
    push_header(header, of, out);
    Ok(())
}

/// Splits a line at its mark, which a digit follows, into the header before it and the text behind it.
fn marked<'t>(text: &'t str, mark: &str) -> Option<(&'t str, &'t str)> {
    text.match_indices(mark).find_map(|(at, _)| {
        let header = text.get(..at)?;
        let rest = text.get(at + mark.len()..)?;
        let is_start = header.is_empty() || header.ends_with([' ', ':', '>']);
        (is_start && rest.starts_with(|char: char| char.is_ascii_digit())).then_some((header, rest))
    })
}

/// Appends the columns, in which `\|` and `\\` are escapes. Returns the text behind them.
fn columns<'t>(
    text: &'t str,
    names: &[&str],
    of: Option<&ObjectType>,
    out: &mut String,
) -> Option<&'t str> {
    let mut rest = text;
    for (index, name) in names.iter().enumerate() {
        let (column, after) = match end_of_column(rest) {
            Some(end) => (rest.get(..end)?, rest.get(end + 1..)?),
            // without pairs the last separator can be missing
            None if index + 1 == names.len() => (rest, ""),
            None => return None,
        };
        let of_escape = |char| matches!(char, '|' | '\\').then_some(char);
        push(name, unescape(column, of_escape).trim(), of, out);
        rest = after;
    }
    Some(rest)
}

fn end_of_column(text: &str) -> Option<usize> {
    let mut escaped = false;
    for (at, byte) in text.bytes().enumerate() {
        match byte {
            b'|' if !escaped => return Some(at),
            b'\\' => escaped = !escaped,
            _ => escaped = false,
        }
    }
    None
}

/// Reads `key=value key=value`, where values have spaces without quotes: a value ends where a space, a key and `=` follow.
fn cef_pairs<'t>(text: &'t str, of: Option<&ObjectType>) -> Members<'t> {
    let mut members = Members::default();
    // the key before the value that is open, and where this value begins
    let mut open: Option<(&str, usize)> = None;
    let mut close = |open: Option<(&'t str, usize)>, end: usize| {
        if let Some((key, from)) = open {
            let value = text
                .get(from..end)
                .unwrap_or_default()
                .trim_end_matches(' ');
            let of_escape = |char| match char {
                '=' | '\\' | '|' => Some(char),
                'n' => Some('\n'),
                'r' => Some('\r'),
                't' => Some('\t'),
                _ => None,
            };
            members.add(key, typed(key, &unescape(value, of_escape), of));
        }
    };
    let bytes = text.as_bytes();
    let mut from = 0;
    while let Some(at) = bytes
        .get(from..)
        .and_then(|rest| memchr::memchr(b'=', rest))
        .map(|at| from + at)
    {
        from = at + 1;
        let before = text.get(..at).unwrap_or_default();
        let start = before
            .rfind(|char: char| !(char.is_ascii_alphanumeric() || "_.-[]".contains(char)))
            .map_or(0, |at| at + 1);
        let key = before.get(start..).unwrap_or_default();
        let follows_space =
            start == 0 || before.get(..start).is_some_and(|head| head.ends_with(' '));
        if key.is_empty() || !follows_space {
            continue;
        }
        close(open, start);
        open = Some((key, at + 1));
    }
    close(open, text.len());
    members
}

fn leef_delimiter(column: &str) -> Option<char> {
    let mut chars = column.chars();
    match (chars.next(), chars.next()) {
        (None, _) => Some('\t'),
        (Some(one), None) => Some(one),
        _ => {
            let digits = column
                .strip_prefix("0x")
                .or_else(|| column.strip_prefix('x'))?;
            u32::from_str_radix(digits, 16)
                .ok()
                .and_then(char::from_u32)
        }
    }
}

fn typed(name: &str, text: &str, of: Option<&ObjectType>) -> String {
    let mut json = String::new();
    match of.and_then(|of| of.field(name)) {
        Some(field) => push_text(text, Some(&field.value), &mut json),
        None => push_quoted(text, &mut json),
    }
    json
}

/// Appends the header's values as the field `syslog`. A header of another form becomes its `message`.
fn push_header(header: &str, of: Option<&ObjectType>, out: &mut String) {
    if header.trim().is_empty() {
        return;
    }
    let of = member(of, HEADER);
    let mut json = String::new();
    if syslog::read(header, of, &mut json).is_err() {
        json = "{".into();
        push("message", header.trim_end(), of, &mut json);
        json.push('}');
    }
    push_object(HEADER, &json, out);
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    fn cef(text: &str) -> Result<String, String> {
        let mut out = String::new();
        read_cef(text, None, &mut out).map(|()| out)
    }

    fn leef(text: &str) -> Result<String, String> {
        let mut out = String::new();
        read_leef(text, None, &mut out).map(|()| out)
    }

    #[test]
    fn cef_with_its_escapes() {
        let columns = r#""cefVersion":"0","deviceVendor":"Sec|urity","deviceProduct":"threat","deviceVersion":"1.0","deviceEventClassId":"100","name":"a \\ b","severity":"10""#;
        for (text, expected) in [
            (
                r"CEF:0|Sec\|urity|threat|1.0|100|a \\ b|10|src=10.0.0.1 act=blocked a | b spt=1232 msg=x\=y\nz  ad.k[0]=v",
                format!(
                    r#"{{{columns},"extension":{{"src":"10.0.0.1","act":"blocked a | b","spt":"1232","msg":"x=y\nz","ad.k[0]":"v"}}}}"#
                ),
            ),
            (
                r"CEF:0|Sec\|urity|threat|1.0|100|a \\ b|10",
                format!(r#"{{{columns},"extension":{{}}}}"#),
            ),
            (
                r"Sep 19 08:26:10 host CEF:0|Sec\|urity|threat|1.0|100|a \\ b|10|request=http://h/?a=b c=",
                format!(
                    r#"{{{columns},"extension":{{"request":"http://h/?a=b","c":""}},"syslog":{{"timestamp":"Sep 19 08:26:10","hostname":"host"}}}}"#
                ),
            ),
        ] {
            assert_eq!(cef(text).as_deref(), Ok(expected.as_str()), "{text}");
        }
        for text in ["", "CEF:0|a|b", "XCEF:0|a|b|c|d|e|f|", "CEF:|a|b|c|d|e|f|"] {
            assert!(cef(text).is_err(), "{text}");
        }
    }

    #[test]
    fn leef_of_both_versions() {
        for (text, expected) in [
            (
                "LEEF:1.0|V|P|1|E|src=10.0.0.1\tmsg=a b=c\t",
                r#"{"leefVersion":"1.0","vendor":"V","product":"P","productVersion":"1","eventId":"E","attributes":{"src":"10.0.0.1","msg":"a b=c"}}"#,
            ),
            (
                "LEEF:2.0|V|P|1|E|^|a=1^b=2",
                r#"{"leefVersion":"2.0","vendor":"V","product":"P","productVersion":"1","eventId":"E","attributes":{"a":"1","b":"2"}}"#,
            ),
            (
                "<13>Mar  4 05:06:07 h LEEF:2.0|V|P|1|E|x7c|a=1|b=2",
                r#"{"leefVersion":"2.0","vendor":"V","product":"P","productVersion":"1","eventId":"E","attributes":{"a":"1","b":"2"},"syslog":{"priority":13,"facility":1,"severity":5,"timestamp":"Mar  4 05:06:07","hostname":"h"}}"#,
            ),
            (
                "LEEF:2.0|V|P|1|E|a=1\tb=2|3",
                r#"{"leefVersion":"2.0","vendor":"V","product":"P","productVersion":"1","eventId":"E","attributes":{"a":"1","b":"2|3"}}"#,
            ),
        ] {
            assert_eq!(leef(text).as_deref(), Ok(expected), "{text}");
        }
        assert!(leef("LEEF:1.0|V|P|1|E|no pair").is_err());
        assert!(leef("LEEF:2.0|V|P|1|E|xyz|a=1").is_err());
    }

    proptest! {
        #[test]
        fn any_text_is_read_or_refused(text in "[a=| \\\\\"\t\u{e9}n<>:0x^]{0,32}") {
            for text in [text.clone(), format!("CEF:0|a|b|c|d|e|f|{text}"), format!("LEEF:2.0|a|b|c|d|{text}")] {
                for json in [cef(&text), leef(&text)].into_iter().flatten() {
                    prop_assert!(serde_json::from_str::<serde_json::Value>(&json).is_ok(), "{} of {}", json, text);
                }
            }
        }
    }
}
