//! Lossless JSON for log records: a flat tree that borrows from the record's text and keeps every number and string exactly as written.
//!
//! A tree is the list of a document's nodes in text order. A container stores the index of its end, so that it can be skipped in one step
//! and no code needs recursion over input. Readers use [`Document`]; the layout of the tree is private to this module.

mod parse;
mod text;
mod write;

pub(crate) use parse::{Reader, is_value};
pub(crate) use text::{Str, push_quoted};
pub(crate) use write::Rewrite;

/// Maximum nesting depth of a record's JSON.
pub(crate) const MAX_DEPTH: usize = 128;

/// One node. The children of a container are the nodes that follow it, up to its `end`. The children of an object alternate between keys
/// and values.
#[derive(Debug, Clone, Copy, PartialEq)]
pub(crate) enum Node<'a> {
    Null,
    Bool(bool),
    /// The number's original text: no rounding, and `1.0` stays `1.0`.
    Number(&'a str),
    String(Str<'a>),
    Key(Str<'a>),
    Array {
        end: u32,
    },
    Object {
        end: u32,
    },
}

impl Node<'_> {
    /// The type of the node, as named in messages to users.
    pub(crate) fn kind(&self) -> &'static str {
        match self {
            Node::Null => "null",
            Node::Bool(_) => "boolean",
            Node::Number(_) => "number",
            Node::String(_) | Node::Key(_) => "string",
            Node::Array { .. } => "array",
            Node::Object { .. } => "object",
        }
    }
}

/// A parsed document. The root is node 0.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Document<'t, 'a> {
    nodes: &'t [Node<'a>],
}

impl<'t, 'a> Document<'t, 'a> {
    pub(crate) fn new(nodes: &'t [Node<'a>]) -> Self {
        Self { nodes }
    }

    /// The node at `at`; [`Node::Null`] if the index is out of range.
    pub(crate) fn node(&self, at: usize) -> Node<'a> {
        self.nodes.get(at).copied().unwrap_or(Node::Null)
    }

    /// The index after the value at `at`, including all its children.
    pub(crate) fn after(&self, at: usize) -> usize {
        match self.node(at) {
            Node::Array { end } | Node::Object { end } => end as usize,
            _ => at + 1,
        }
    }

    /// Keys and value indexes of the object at `at`; empty if the node is not an object.
    pub(crate) fn members(&self, at: usize) -> Members<'t, 'a> {
        let end = match self.node(at) {
            Node::Object { end } => end as usize,
            _ => at,
        };
        Members {
            document: *self,
            next: at + 1,
            end,
        }
    }

    /// Value indexes of the array at `at`; empty if the node is not an array.
    pub(crate) fn elements(&self, at: usize) -> Elements<'t, 'a> {
        let end = match self.node(at) {
            Node::Array { end } => end as usize,
            _ => at,
        };
        Elements {
            document: *self,
            next: at + 1,
            end,
        }
    }

    /// The index of the value of key `name` in the object at `at`. For duplicate keys the last one wins, as in Python.
    pub(crate) fn get(&self, at: usize, name: &str) -> Option<usize> {
        self.members(at)
            .filter(|(key, _)| key.is(name))
            .map(|(_, value)| value)
            .last()
    }
}

/// Iterator over an object.
pub(crate) struct Members<'t, 'a> {
    document: Document<'t, 'a>,
    next: usize,
    end: usize,
}

impl<'a> Iterator for Members<'_, 'a> {
    type Item = (Str<'a>, usize);

    fn next(&mut self) -> Option<Self::Item> {
        if self.next >= self.end {
            return None;
        }
        let Node::Key(key) = self.document.node(self.next) else {
            return None;
        };
        let value = self.next + 1;
        self.next = self.document.after(value);
        Some((key, value))
    }
}

/// Iterator over an array.
pub(crate) struct Elements<'t, 'a> {
    document: Document<'t, 'a>,
    next: usize,
    end: usize,
}

impl Iterator for Elements<'_, '_> {
    type Item = usize;

    fn next(&mut self) -> Option<usize> {
        if self.next >= self.end {
            return None;
        }
        let at = self.next;
        self.next = self.document.after(at);
        Some(at)
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;
    use serde_json::Value;

    use super::{parse::JsonError, *};

    fn encode(text: &str, depth: usize) -> Result<String, JsonError> {
        let mut reader = Reader::new(depth);
        let mut nodes = Vec::new();
        reader.read(text, &mut nodes)?;
        let mut out = String::new();
        Document::new(&nodes).write(0, &[], &mut out);
        Ok(out)
    }

    fn json() -> impl Strategy<Value = Value> {
        let leaf = prop_oneof![
            Just(Value::Null),
            any::<bool>().prop_map(Value::from),
            any::<i64>().prop_map(Value::from),
            any::<u64>().prop_map(Value::from),
            any::<f64>()
                .prop_filter("JSON has no NaN", |f| f.is_finite())
                .prop_map(Value::from),
            any::<String>().prop_map(Value::from),
            "[ -~]{0,40}".prop_map(Value::from),
        ];
        leaf.prop_recursive(6, 64, 8, |inner| {
            prop_oneof![
                prop::collection::vec(inner.clone(), 0..8).prop_map(Value::from),
                prop::collection::vec((any::<String>(), inner), 0..8)
                    .prop_map(|members| Value::Object(members.into_iter().collect())),
            ]
        })
    }

    proptest! {
        #[test]
        fn compact_text_is_kept_to_the_byte(value in json()) {
            let text = value.to_string();
            prop_assert_eq!(encode(&text, 64).unwrap(), text);
        }

        #[test]
        fn pretty_text_is_the_same_value(value in json()) {
            let pretty = serde_json::to_string_pretty(&value).unwrap();
            prop_assert_eq!(encode(&pretty, 64).unwrap(), value.to_string());
        }

        #[test]
        fn agrees_with_serde_json_on_what_is_json(text in "[-\\[\\]{}:,\"\\\\0-9eE.+ tfn\\x00-\\x1faulrse\u{e9}]{0,24}") {
            let ours = encode(&text, 64);
            let theirs: Result<Value, _> = serde_json::from_str(&text);
            match (&ours, &theirs) {
                (Ok(ours), Ok(theirs)) => prop_assert_eq!(&serde_json::from_str::<Value>(ours).unwrap(), theirs),
                (Err(_), Err(_)) => {}
                // serde_json rejects numbers beyond the range of a float; this parser keeps them
                (Ok(_), Err(error)) => prop_assert!(error.to_string().contains("out of range"), "{text:?}: {error}"),
                (Err(error), Ok(_)) => prop_assert!(false, "{text:?} refused: {error}"),
            }
        }

        #[test]
        fn what_is_taken_is_written_for_every_reader(text in "\"(\\\\u[dD][89a-fA-F0-9]{3}|\\\\[\"n\\\\]|[a\u{e9}]){0,8}\"") {
            if let Ok(written) = encode(&text, 8) {
                prop_assert!(serde_json::from_str::<Value>(&written).is_ok(), "{} of {}", written, text);
            }
        }

        #[test]
        fn arbitrary_text_never_panics(text in any::<String>()) {
            let _ = encode(&text, 8);
        }

        #[test]
        fn quoting_is_undone_by_serde_json(text in any::<String>()) {
            let mut out = String::new();
            push_quoted(&text, &mut out);
            prop_assert_eq!(serde_json::from_str::<String>(&out).unwrap(), text);
        }

        #[test]
        fn strings_decode_as_in_serde_json(text in any::<String>()) {
            let quoted = serde_json::to_string(&text).unwrap();
            let mut nodes = Vec::new();
            Reader::new(8).read(&quoted, &mut nodes).unwrap();
            let Node::String(string) = nodes[0] else { panic!("not a string") };
            prop_assert_eq!(string.decoded(), text.as_str());
            prop_assert!(string.is(&text));
        }
    }

    #[test]
    fn numbers_keep_their_text() {
        for number in [
            "0",
            "-0",
            "1.0",
            "1e5",
            "1E+05",
            "123456789012345678901234567890",
            "0.1000",
            "-12.5e-7",
        ] {
            assert_eq!(encode(number, 8).unwrap(), number);
        }
    }

    #[test]
    fn order_nulls_empties_and_doubled_keys_stay() {
        let text = r#"{"z":null,"a":"","e":{},"l":[],"z":1}"#;
        assert_eq!(encode(text, 8).unwrap(), text);
        let mut nodes = Vec::new();
        Reader::new(8).read(text, &mut nodes).unwrap();
        let document = Document::new(&nodes);
        assert_eq!(
            document.get(0, "z").map(|at| document.node(at)),
            Some(Node::Number("1"))
        );
    }

    #[test]
    fn depth_is_counted_and_not_felt() {
        let deep = format!("{}{}", "[".repeat(10_000), "]".repeat(10_000));
        assert_eq!(encode(&deep, 128), Err(JsonError::TooDeep { limit: 128 }));
        assert_eq!(encode(&deep, 10_000).unwrap(), deep);
        let mixed = format!("{}1{}", "{\"a\":[".repeat(5_000), "]}".repeat(5_000));
        assert_eq!(encode(&mixed, 10_000).unwrap(), mixed);
    }

    #[test]
    fn halves_of_surrogate_pairs_become_what_every_reader_takes() {
        for (text, expected) in [
            (r#""a\ud800b""#, r#""a\ufffdb""#),
            (
                r#"{"\udc00\ud800":"\ud83d\ude00\/\\ud800\u00e9"}"#,
                r#"{"\ufffd\ufffd":"\ud83d\ude00\/\\ud800\u00e9"}"#,
            ),
            (
                r#"["\ud800\n","\ud800\u0041","\uD83D"]"#,
                r#"["\ufffd\n","\ufffd\u0041","\ufffd"]"#,
            ),
        ] {
            let written = encode(text, 8).unwrap();
            assert_eq!(written, expected);
            assert!(serde_json::from_str::<Value>(&written).is_ok(), "{written}");
        }
        let text = r#""a\ud800b""#;
        let mut nodes = Vec::new();
        Reader::new(8).read(text, &mut nodes).unwrap();
        let Node::String(string) = nodes[0] else {
            panic!("not a string")
        };
        assert_eq!(string.decoded(), "a\u{fffd}b");
    }

    #[test]
    fn errors_say_where() {
        assert_eq!(
            encode("{\"a\":1,}", 8),
            Err(JsonError::Syntax {
                offset: 7,
                expected: "a key in quotes"
            })
        );
        assert_eq!(
            encode("{\"a\":1} x", 8),
            Err(JsonError::Trailing { offset: 8 })
        );
        assert_eq!(encode("{\"a\":", 8), Err(JsonError::Truncated));
        assert_eq!(
            encode("\"a\nb\"", 8),
            Err(JsonError::Syntax {
                offset: 2,
                expected: "no bare control character in a string"
            })
        );
        assert_eq!(encode("", 8), Err(JsonError::Truncated));
    }
}
