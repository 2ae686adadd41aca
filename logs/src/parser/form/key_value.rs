//! Key=value texts, logfmt among them: `level=info msg="all is well" count=5`.
//!
//! A key consists of letters, digits and `_ . - @ $ # [ ]`, so that an address such as `http://host/?a=b` within a value is no key.

use std::borrow::Cow;

use super::{Members, members::unescape, shortened};
use crate::{
    json::push_quoted,
    parser::row::push_text,
    schema::{KeyValue, ObjectType},
};

/// How far behind a quote a better one is looked for, in bytes. Without a bound, a line of many values would take quadratic time.
const LOOK_AHEAD: usize = 1024;
/// Maximum length of a key, in characters.
const MAX_KEY: usize = 256;

/// A key with its value. The value of a flag is `None`.
type Pair<'t> = (&'t str, Option<Cow<'t, str>>);

pub(super) fn read(
    options: &KeyValue,
    text: &str,
    of: Option<&ObjectType>,
    out: &mut String,
) -> Result<(), String> {
    let mut members = Members::default();
    for (key, value) in pairs(options, text)? {
        let json = match value {
            None => "true".into(),
            Some(value) => {
                if options.empty_values.iter().any(|empty| *empty == value) {
                    continue;
                }
                let mut json = String::new();
                match of.and_then(|of| of.field(key)) {
                    Some(field) => push_text(&value, Some(&field.value), &mut json),
                    None => push_quoted(&value, &mut json),
                }
                json
            }
        };
        members.add(key, json);
    }
    members.write(out);
    Ok(())
}

fn pairs<'t>(options: &KeyValue, text: &'t str) -> Result<Vec<Pair<'t>>, String> {
    let mut pairs: Vec<Pair<'t>> = Vec::new();
    let mut quotes = true;
    let mut rest = skip_separators(options, text);
    while !rest.is_empty() {
        if let Some((key, value)) = key(options, rest) {
            let (value, after) = value_of(options, value, &mut quotes);
            pairs.push((key, Some(value)));
            rest = skip_separators(options, after);
            continue;
        }
        let end = end_of_word(options, rest);
        let (word, after) = rest.split_at(end);
        match pairs.last_mut() {
            _ if options.flags && is_key(word) => pairs.push((word, None)),
            Some((_, Some(value))) => {
                // the word belongs to the value, with the separator before it
                let from = text.len() - rest.len();
                let before = text.get(..from).unwrap_or_default();
                let gap = before.len() - trim_separators(options, before).len();
                let value = value.to_mut();
                value.push_str(before.get(before.len() - gap..).unwrap_or_default());
                value.push_str(word);
            }
            _ => return Err(format!("`{}` is no key with a value", shortened(word))),
        }
        rest = skip_separators(options, after);
    }
    if pairs.iter().all(|(_, value)| value.is_none()) {
        return Err("has no key with a value".into());
    }
    Ok(pairs)
}

/// Splits off a key and its separator.
fn key<'t>(options: &KeyValue, text: &'t str) -> Option<(&'t str, &'t str)> {
    let end = text
        .char_indices()
        .take(MAX_KEY)
        .find(|(_, char)| !is_of_key(*char))
        .map(|(end, _)| end)?;
    let (key, after) = text.split_at_checked(end)?;
    let value = after.strip_prefix(options.key_separator.as_str())?;
    (!key.is_empty()).then_some((key, value))
}

fn is_key(word: &str) -> bool {
    !word.is_empty() && word.chars().all(is_of_key)
}

fn is_of_key(char: char) -> bool {
    char.is_alphanumeric() || matches!(char, '_' | '.' | '-' | '@' | '$' | '#' | '[' | ']')
}

/// Splits off a value, which may be in quotes. Without a closing quote, the quote is part of the value; `quotes` is false from then on,
/// because a text without a closing quote has none further on either.
fn value_of<'t>(options: &KeyValue, text: &'t str, quotes: &mut bool) -> (Cow<'t, str>, &'t str) {
    if *quotes && let Some(quoted) = text.strip_prefix('"') {
        match closing_quote(options, quoted) {
            Some(at) => {
                let of = |char| matches!(char, '"' | '\\').then_some(char);
                let value = quoted.get(..at).unwrap_or_default();
                let after = quoted.get(at + 1..).unwrap_or_default();
                return (unescape(value, of), after);
            }
            None => *quotes = false,
        }
    }
    let (value, after) = text.split_at(end_of_word(options, text));
    (Cow::Borrowed(value), after)
}

/// Position of the quote that ends a value. Some senders do not escape quotes. Therefore it is the first quote before the end of the text or before
/// another key. If no such quote is near, it is the first quote before a separator.
fn closing_quote(options: &KeyValue, quoted: &str) -> Option<usize> {
    let mut first = None;
    let mut escaped = false;
    for (at, char) in quoted.char_indices() {
        if first.is_some_and(|first| at > first + LOOK_AHEAD) {
            break;
        }
        match char {
            '"' if !escaped => {
                let after = quoted.get(at + 1..).unwrap_or_default();
                if after.is_empty() {
                    return Some(at);
                }
                if starts_with_separator(options, after) {
                    let next = skip_separators(options, after);
                    if next.is_empty() || key(options, next).is_some() {
                        return Some(at);
                    }
                    first = first.or(Some(at));
                }
            }
            '\\' if !escaped => {
                escaped = true;
                continue;
            }
            _ => {}
        }
        escaped = false;
    }
    first
}

fn starts_with_separator(options: &KeyValue, text: &str) -> bool {
    match &options.pair_separator {
        Some(separator) => text.trim_start().starts_with(separator.as_str()),
        None => text.starts_with(char::is_whitespace),
    }
}

fn end_of_word(options: &KeyValue, text: &str) -> usize {
    match &options.pair_separator {
        Some(separator) => text.find(separator.as_str()),
        None => text.find(char::is_whitespace),
    }
    .unwrap_or(text.len())
}

fn skip_separators<'t>(options: &KeyValue, text: &'t str) -> &'t str {
    let mut rest = text.trim_start();
    if let Some(separator) = &options.pair_separator {
        while let Some(after) = rest.strip_prefix(separator.as_str()) {
            rest = after.trim_start();
        }
    }
    rest
}

fn trim_separators<'t>(options: &KeyValue, text: &'t str) -> &'t str {
    let mut rest = text.trim_end();
    if let Some(separator) = &options.pair_separator {
        while let Some(before) = rest.strip_suffix(separator.as_str()) {
            rest = before.trim_end();
        }
    }
    rest
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    fn options(pair: Option<&str>, key: &str, flags: bool) -> KeyValue {
        KeyValue {
            pair_separator: pair.map(String::from),
            key_separator: key.into(),
            flags,
            empty_values: vec!["-".into()],
        }
    }

    fn json(options: &KeyValue, text: &str) -> Result<String, String> {
        let mut out = String::new();
        read(options, text, None, &mut out).map(|()| out)
    }

    #[test]
    fn pairs_in_their_forms() {
        let plain = options(None, "=", false);
        for (options, text, expected) in [
            (
                &plain,
                r#"a=1 b="x y"  c= d=-"#,
                r#"{"a":"1","b":"x y","c":""}"#,
            ),
            (
                &plain,
                r#"msg="say \"hi\" in C:\new" b=2"#,
                r#"{"msg":"say \"hi\" in C:\\new","b":"2"}"#,
            ),
            (
                &plain,
                r#"msg="an "inner" quote" b=2"#,
                r#"{"msg":"an \"inner\" quote","b":"2"}"#,
            ),
            (&plain, r#"msg="open b=2"#, r#"{"msg":"\"open","b":"2"}"#),
            (
                &plain,
                "msg=see http://h/?q=1&r=2  now b=2",
                r#"{"msg":"see http://h/?q=1&r=2  now","b":"2"}"#,
            ),
            (
                &plain,
                "a=1 a=2 a.b=3 [c]=4",
                r#"{"a":["1","2"],"a.b":"3","[c]":"4"}"#,
            ),
            (
                &options(None, "=", true),
                "level=info debug x=1",
                r#"{"level":"info","debug":true,"x":"1"}"#,
            ),
            (
                &options(Some(","), "=", false),
                r#"a=x y, b="1,2",c=z,w"#,
                r#"{"a":"x y","b":"1,2","c":"z,w"}"#,
            ),
            (
                &options(Some(";"), ":", false),
                "a:x=1; b:2;",
                r#"{"a":"x=1","b":"2"}"#,
            ),
            (
                &options(None, ": ", false),
                "a: 1 b: 2",
                r#"{"a":"1","b":"2"}"#,
            ),
        ] {
            assert_eq!(json(options, text).as_deref(), Ok(expected), "{text}");
        }
        for text in ["", "plain text", "GET /?a=1", "=1"] {
            assert!(json(&plain, text).is_err(), "{text}");
        }
    }

    proptest! {
        #![proptest_config(ProptestConfig::with_cases(16))]

        /// Hostile lines: many values that look like the start of a long quoted one.
        #[test]
        fn time_is_linear(part in "(a=\"|b |\" |\"x |=){1,4}") {
            let text = part.repeat(100_000 / part.len());
            let start = std::time::Instant::now();
            let _ = json(&options(None, "=", false), &text);
            prop_assert!(start.elapsed() < std::time::Duration::from_secs(20));
        }
    }

    proptest! {
        #[test]
        fn what_is_quoted_comes_back(values in prop::collection::vec("[ -~\u{e9}]{0,12}", 1..6)) {
            let text: Vec<String> = values
                .iter()
                .enumerate()
                .map(|(index, value)| format!("k{index}=\"{}\"", value.replace('\\', "\\\\").replace('"', "\\\"")))
                .collect();
            let text = text.join(" ");
            let options = KeyValue { empty_values: Vec::new(), ..options(None, "=", false) };
            let read: Vec<Option<String>> = pairs(&options, &text).unwrap().into_iter().map(|(_, value)| value.map(Cow::into_owned)).collect();
            prop_assert_eq!(read, values.into_iter().map(Some).collect::<Vec<_>>());
        }

        #[test]
        fn nothing_panics(text in "[a=\", \\\\;:\u{e9}\t]{0,24}", pair in prop::option::of("[ ,;\u{e9}]{1,2}"), flags: bool) {
            let options = options(pair.as_deref().filter(|pair| !pair.trim().is_empty()), "=", flags);
            if let Ok(json) = json(&options, &text) {
                prop_assert!(serde_json::from_str::<serde_json::Value>(&json).is_ok());
            }
        }
    }
}
