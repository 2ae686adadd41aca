//! YAML 1.2 into JSON values, as the field's own tooling reads a pack.
//!
//! `yes`, `no`, `on` and `off` are strings, `012` is twelve, a timestamp is a string. General YAML crates resolve plain scalars by other rules (a
//! leading zero makes a float or a string, and serde does not tell a quoted `"012"` from a plain one), so the parser's events are resolved here.
//! A number that JSON or a 64-bit integer cannot hold is an error instead of a silently different value.

use std::collections::HashMap;

use granit_parser::{Event, Parser, ScalarStyle, Span, Tag};
use serde_json::{Map, Number, Value};

/// Nodes that one document may hold, aliases counted as often as they are used: no alias bomb passes it, and the largest file of the public pack has
/// fewer than a hundredth of it.
const MAX_NODES: usize = 1_000_000;

/// Why a text is no document that can be read.
#[derive(Debug, thiserror::Error, PartialEq, Eq)]
pub(crate) enum YamlError {
    #[error("not valid YAML: {0}")]
    Syntax(String),
    #[error("line {line}: {reason}")]
    Content { line: usize, reason: String },
}

/// Reads the one document of `text`.
pub(crate) fn read(text: &str) -> Result<Value, YamlError> {
    let mut builder = Builder {
        text_ends_with_newline: text.is_empty() || text.ends_with('\n'),
        text_len_chars: 0,
        ..Builder::default()
    };
    if !builder.text_ends_with_newline {
        builder.text_len_chars = text.chars().count();
    }
    for event in Parser::new_from_str(text) {
        let (event, span) = event.map_err(|error| YamlError::Syntax(error.to_string()))?;
        builder.take(event, span)?;
    }
    Ok(builder.root.unwrap_or(Value::Null))
}

#[derive(Default)]
struct Builder {
    open: Vec<Open>,
    anchors: HashMap<usize, (Value, usize)>,
    root: Option<Value>,
    nodes: usize,
    text_ends_with_newline: bool,
    text_len_chars: usize,
}

struct Open {
    anchor: usize,
    first_node: usize,
    line: usize,
    node: OpenNode,
}

enum OpenNode {
    Sequence(Vec<Value>),
    Mapping {
        map: Map<String, Value>,
        key: Option<String>,
        merges: Vec<Value>,
    },
}

const MERGE_KEY: &str = "<<";

impl Builder {
    fn take(&mut self, event: Event<'_>, span: Span) -> Result<(), YamlError> {
        let line = span.start.line();
        match event {
            Event::Scalar(text, style, anchor, tag) => {
                let mut text = text.into_owned();
                // A block scalar's final line break is kept only if it is there: a file may end without one.
                if matches!(style, ScalarStyle::Literal | ScalarStyle::Folded)
                    && !self.text_ends_with_newline
                    && span.end.index() >= self.text_len_chars
                    && text.ends_with('\n')
                {
                    text.pop();
                }
                let value =
                    resolve(text, style, tag.as_deref()).map_err(|reason| at(line, reason))?;
                self.count(line, 1)?;
                if anchor != 0 {
                    self.anchors.insert(anchor, (value.clone(), 1));
                }
                let is_merge = style == ScalarStyle::Plain && value.as_str() == Some(MERGE_KEY);
                self.place(value, line, is_merge)
            }
            Event::SequenceStart(_, anchor, _) => {
                self.push(anchor, line, OpenNode::Sequence(Vec::new()))
            }
            Event::MappingStart(_, anchor, _) => {
                let node = OpenNode::Mapping {
                    map: Map::new(),
                    key: None,
                    merges: Vec::new(),
                };
                self.push(anchor, line, node)
            }
            Event::SequenceEnd | Event::MappingEnd => self.close(),
            Event::Alias(anchor) => {
                let Some((value, size)) = self.anchors.get(&anchor).cloned() else {
                    return Err(at(line, "an alias inside its own anchor"));
                };
                self.count(line, size)?;
                self.place(value, line, false)
            }
            Event::DocumentStart(..) if self.root.is_some() => Err(at(
                line,
                "a second document in one file; split it into two files",
            )),
            _ => Ok(()),
        }
    }

    fn count(&mut self, line: usize, nodes: usize) -> Result<(), YamlError> {
        self.nodes = self.nodes.saturating_add(nodes);
        if self.nodes > MAX_NODES {
            return Err(at(
                line,
                format!("more than {MAX_NODES} values in one file"),
            ));
        }
        Ok(())
    }

    fn push(&mut self, anchor: usize, line: usize, node: OpenNode) -> Result<(), YamlError> {
        self.count(line, 1)?;
        let first_node = self.nodes;
        self.open.push(Open {
            anchor,
            first_node,
            line,
            node,
        });
        Ok(())
    }

    fn close(&mut self) -> Result<(), YamlError> {
        let Some(open) = self.open.pop() else {
            return Ok(());
        };
        let value = match open.node {
            OpenNode::Sequence(items) => Value::Array(items),
            OpenNode::Mapping {
                mut map, merges, ..
            } => {
                for merge in merges {
                    merge_into(&mut map, merge).map_err(|reason| at(open.line, reason))?;
                }
                Value::Object(map)
            }
        };
        if open.anchor != 0 {
            let size = self.nodes.saturating_sub(open.first_node) + 1;
            // The kept copy counts as well: nested anchors would otherwise multiply one large value by their depth.
            self.count(open.line, size)?;
            self.anchors.insert(open.anchor, (value.clone(), size));
        }
        self.place(value, open.line, false)
    }

    fn place(&mut self, value: Value, line: usize, is_merge_key: bool) -> Result<(), YamlError> {
        match self.open.last_mut().map(|open| &mut open.node) {
            None => {
                self.root = Some(value);
                Ok(())
            }
            Some(OpenNode::Sequence(items)) => {
                items.push(value);
                Ok(())
            }
            Some(OpenNode::Mapping { map, key, merges }) => match key.take() {
                None => {
                    *key = Some(if is_merge_key {
                        MERGE_KEY.to_owned()
                    } else {
                        key_text(value).map_err(|reason| at(line, reason))?
                    });
                    Ok(())
                }
                Some(key) if key == MERGE_KEY => {
                    merges.push(value);
                    Ok(())
                }
                Some(key) => {
                    if map.contains_key(&key) {
                        return Err(at(
                            line,
                            format!("the key {key:?} stands twice in one mapping"),
                        ));
                    }
                    map.insert(key, value);
                    Ok(())
                }
            },
        }
    }
}

fn at(line: usize, reason: impl Into<String>) -> YamlError {
    YamlError::Content {
        line,
        reason: reason.into(),
    }
}

/// Own keys win over merged ones, and of several merged mappings the first that has a key.
fn merge_into(map: &mut Map<String, Value>, merge: Value) -> Result<(), &'static str> {
    let sources = match merge {
        Value::Array(items) => items,
        other => vec![other],
    };
    for source in sources {
        let Value::Object(source) = source else {
            return Err("the merge key << takes a mapping or a list of mappings");
        };
        for (key, value) in source {
            map.entry(key).or_insert(value);
        }
    }
    Ok(())
}

/// JSON has text keys only; the others are spelled as JSON spells the value.
fn key_text(key: Value) -> Result<String, &'static str> {
    match key {
        Value::String(text) => Ok(text),
        Value::Array(_) | Value::Object(_) => {
            Err("a key of a mapping is itself a list or a mapping")
        }
        other => Ok(other.to_string()),
    }
}

fn resolve(text: String, style: ScalarStyle, tag: Option<&Tag>) -> Result<Value, String> {
    if let Some(tag) = tag {
        let core = tag.handle() == "tag:yaml.org,2002:" || tag.handle() == "!!";
        return match (core, tag.suffix()) {
            (true, "str") => Ok(Value::String(text)),
            (true, "bool" | "int" | "float" | "null") => plain(text),
            (false, "") => Ok(Value::String(text)),
            (_, suffix) => Err(format!("the tag !{suffix} is not supported")),
        };
    }
    match style {
        ScalarStyle::Plain => plain(text),
        _ => Ok(Value::String(text)),
    }
}

fn plain(text: String) -> Result<Value, String> {
    match text.as_str() {
        "" | "~" | "null" | "Null" | "NULL" => return Ok(Value::Null),
        "true" | "True" | "TRUE" => return Ok(Value::Bool(true)),
        "false" | "False" | "FALSE" => return Ok(Value::Bool(false)),
        _ => {}
    }
    let looks_numeric =
        text.starts_with(|c: char| c.is_ascii_digit() || matches!(c, '+' | '-' | '.'));
    if !looks_numeric {
        return Ok(Value::String(text));
    }
    if let Some(number) = integer(&text)? {
        return Ok(Value::Number(number));
    }
    if let Some(number) = float(&text)? {
        return Ok(Value::Number(number));
    }
    Ok(Value::String(text))
}

fn integer(text: &str) -> Result<Option<Number>, String> {
    let (negative, digits) = sign(text);
    let (radix, digits) = match digits.get(..2) {
        Some("0x") => (16, &digits[2..]),
        Some("0o") => (8, &digits[2..]),
        Some("0b") => (2, &digits[2..]),
        _ => (10, digits),
    };
    let starts_with_digit = radix != 10 || digits.starts_with(|c: char| c.is_ascii_digit());
    if !starts_with_digit || !digits.chars().all(|c| c == '_' || c.is_digit(radix)) {
        return Ok(None);
    }
    let digits: String = digits.chars().filter(|c| *c != '_').collect();
    if digits.is_empty() {
        return Ok(None);
    }
    let number = i128::from_str_radix(&digits, radix)
        .ok()
        .map(|value| if negative { -value } else { value });
    let fitting = number.and_then(|value| {
        u64::try_from(value)
            .map(Number::from)
            .or_else(|_| i64::try_from(value).map(Number::from))
            .ok()
    });
    fitting.map(Some).ok_or_else(|| {
        format!("the number {text} does not fit in 64 bits; quote it if it is a text")
    })
}

fn float(text: &str) -> Result<Option<Number>, String> {
    let (_, unsigned) = sign(text);
    if matches!(unsigned, ".inf" | ".Inf" | ".INF") || matches!(text, ".nan" | ".NaN" | ".NAN") {
        return Err(format!(
            "{text} is no number that JSON can hold; quote it if it is a text"
        ));
    }
    let (mantissa, exponent) = match unsigned.find(['e', 'E']) {
        Some(position) => (&unsigned[..position], Some(&unsigned[position + 1..])),
        None => (unsigned, None),
    };
    let digits = |part: &str| part.chars().all(|c| c == '_' || c.is_ascii_digit());
    let well_formed = match mantissa.split_once('.') {
        Some(("", fraction)) => !fraction.is_empty() && digits(fraction),
        Some((whole, fraction)) => digits(whole) && digits(fraction),
        None => exponent.is_some() && !mantissa.is_empty() && digits(mantissa),
    };
    let exponent_well_formed = exponent.is_none_or(|exponent| {
        let (_, digits) = sign(exponent);
        !digits.is_empty() && digits.chars().all(|c| c.is_ascii_digit())
    });
    if !well_formed || !exponent_well_formed {
        return Ok(None);
    }
    let spelled: String = text.chars().filter(|c| *c != '_').collect();
    Ok(spelled.parse::<f64>().ok().and_then(Number::from_f64))
}

fn sign(text: &str) -> (bool, &str) {
    match text.as_bytes().first() {
        Some(b'-') => (true, &text[1..]),
        Some(b'+') => (false, &text[1..]),
        _ => (false, text),
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use serde_json::json;

    fn value(text: &str) -> Value {
        read(text).unwrap()
    }

    #[test]
    fn plain_scalars_resolve_by_yaml_1_2() {
        let cases = [
            ("yes", json!("yes")),
            ("no", json!("no")),
            ("on", json!("on")),
            ("off", json!("off")),
            ("True", json!(true)),
            ("FALSE", json!(false)),
            ("~", Value::Null),
            ("", Value::Null),
            ("012", json!(12)),
            ("0123456789012", json!(123_456_789_012_i64)),
            ("0o14", json!(12)),
            ("0x1F", json!(31)),
            ("1_000", json!(1000)),
            ("-7", json!(-7)),
            ("1.10", json!(1.1)),
            ("1e3", json!(1000.0)),
            (".5", json!(0.5)),
            ("1:30", json!("1:30")),
            ("1.2.3", json!("1.2.3")),
            ("2024-01-01", json!("2024-01-01")),
            ("2024-01-01T00:00:00Z", json!("2024-01-01T00:00:00Z")),
            ("10.0.0.1", json!("10.0.0.1")),
            ("'012'", json!("012")),
            ("!!str 5", json!("5")),
            ("18446744073709551615", json!(u64::MAX)),
            ("-", json!([null])),
            ("-.e", json!("-.e")),
        ];
        for (text, expected) in cases {
            assert_eq!(value(text), expected, "{text}");
        }
    }

    #[test]
    fn json_is_read_as_it_is() {
        let text = r#"{"a":"x\/y é","b":[1,2.5,null,true],"c":{"012":"no"}}"#;
        assert_eq!(value(text), serde_json::from_str::<Value>(text).unwrap());
    }

    #[test]
    fn numbers_that_would_change_are_refused() {
        for text in ["a: 12345678901234567890123", "a: .nan", "a: -.inf"] {
            assert!(
                matches!(read(text), Err(YamlError::Content { .. })),
                "{text}"
            );
        }
    }

    #[test]
    fn aliases_and_merges_work_and_a_bomb_does_not() {
        assert_eq!(
            value("base: &b {x: 1, y: 2}\nuse:\n  <<: *b\n  y: 3\n"),
            json!({"base": {"x": 1, "y": 2}, "use": {"y": 3, "x": 1}})
        );
        let mut bomb = String::from("a0: &a0 [x,x,x,x,x,x,x,x,x,x]\n");
        for i in 1..9 {
            let alias = format!("*a{}", i - 1);
            bomb.push_str(&format!("a{i}: &a{i} [{}]\n", vec![alias; 10].join(",")));
        }
        assert!(matches!(read(&bomb), Err(YamlError::Content { .. })));
    }

    #[test]
    fn what_is_ambiguous_is_an_error_with_its_line() {
        let twice = read("a: 1\nb: 2\na: 3\n").unwrap_err();
        assert!(
            matches!(twice, YamlError::Content { line: 3, .. }),
            "{twice}"
        );
        assert!(read("a: [1, 2").is_err());
        assert!(read("a: 1\n---\nb: 2\n").is_err());
        assert!(read("a: !python/object x").is_err());
    }

    #[test]
    fn a_block_scalar_keeps_the_line_breaks_that_are_there() {
        assert_eq!(value("a: |\n  x\n"), json!({"a": "x\n"}));
        assert_eq!(value("a: |\n  x"), json!({"a": "x"}));
        assert_eq!(value("a: |\n  x\nb: 1"), json!({"a": "x\n", "b": 1}));
    }

    proptest::proptest! {
        #[test]
        fn no_text_panics(text in "[ -~\n\t]{0,200}") {
            let _ = read(&text);
        }

        #[test]
        fn any_json_reads_as_itself(text in ".{0,40}", number in proptest::num::i64::ANY) {
            let document = serde_json::to_string(&json!({"t": text, "n": number})).unwrap();
            // DEL and C1 controls are legal in JSON strings and not in YAML streams.
            proptest::prop_assume!(!text.chars().any(|c| c == '\u{7f}' || ('\u{80}'..='\u{9f}').contains(&c) || c == '\u{feff}' || c == '\u{fffe}' || c == '\u{ffff}'));
            proptest::prop_assert_eq!(read(&document).unwrap(), serde_json::from_str::<Value>(&document).unwrap());
        }
    }
}
