//! Reads an event's JSON into its tree, as Python's `json.loads` reads: of equal keys the last value counts, at the first one's place. What has no exact form
//! here (a lone surrogate, `NaN`, nesting beyond [`DEEPEST`]) makes the event [`Unreadable`], and Python evaluates it.

use bumpalo::Bump;

use super::{Map, Node, Reads};

/// Nesting beyond which an event is left to Python.
const DEEPEST: u32 = 64;
/// Members of one mapping beyond which an event is left to Python: look-ups are linear here.
const WIDEST: usize = 512;

/// An event that only Python can read, or that nobody can.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct Unreadable;

/// Reads one JSON object.
pub(crate) fn read<'e>(arena: &'e Bump, json: &'e [u8]) -> Result<&'e Map<'e>, Unreadable> {
    let text = std::str::from_utf8(json).map_err(|_| Unreadable)?;
    match read_value(arena, text)? {
        Node::Map(map) => Ok(map),
        _ => Err(Unreadable),
    }
}

/// Reads any JSON value, as `json.loads` does.
pub(crate) fn read_value<'e>(arena: &'e Bump, text: &'e str) -> Result<Node<'e>, Unreadable> {
    let mut reader = Reader {
        arena,
        reads: arena.alloc(Reads::new(arena)),
        text,
        bytes: text.as_bytes(),
        at: 0,
        depth: 0,
        nodes: Vec::with_capacity(16),
        members: Vec::with_capacity(64),
    };
    reader.space();
    let node = reader.value()?;
    reader.space();
    if reader.at == reader.bytes.len() {
        Ok(node)
    } else {
        Err(Unreadable)
    }
}

struct Reader<'e> {
    arena: &'e Bump,
    reads: &'e Reads<'e>,
    text: &'e str,
    bytes: &'e [u8],
    at: usize,
    depth: u32,
    /// Elements and members of the containers that are still open.
    nodes: Vec<Node<'e>>,
    members: Vec<(&'e str, Node<'e>)>,
}

impl<'e> Reader<'e> {
    fn space(&mut self) {
        while let Some(b' ' | b'\t' | b'\n' | b'\r') = self.bytes.get(self.at) {
            self.at += 1;
        }
    }

    fn value(&mut self) -> Result<Node<'e>, Unreadable> {
        match self.bytes.get(self.at) {
            Some(b'"') => {
                self.at += 1;
                self.string().map(Node::Text)
            }
            Some(b'{') => self.deeper(Self::map),
            Some(b'[') => self.deeper(Self::list),
            Some(b't') => self.word("true", Node::Bool(true)),
            Some(b'f') => self.word("false", Node::Bool(false)),
            Some(b'n') => self.word("null", Node::Null),
            Some(b'-' | b'0'..=b'9') => self.number(),
            _ => Err(Unreadable),
        }
    }

    fn deeper(
        &mut self,
        read: impl FnOnce(&mut Self) -> Result<Node<'e>, Unreadable>,
    ) -> Result<Node<'e>, Unreadable> {
        if self.depth == DEEPEST {
            return Err(Unreadable);
        }
        self.depth += 1;
        self.at += 1;
        self.space();
        let node = read(self)?;
        self.depth -= 1;
        Ok(node)
    }

    fn word(&mut self, word: &str, node: Node<'e>) -> Result<Node<'e>, Unreadable> {
        if self.bytes[self.at..].starts_with(word.as_bytes()) {
            self.at += word.len();
            return Ok(node);
        }
        Err(Unreadable)
    }

    fn list(&mut self) -> Result<Node<'e>, Unreadable> {
        let begun = self.nodes.len();
        if self.take(b']') {
            return Ok(Node::List(&[]));
        }
        loop {
            let node = self.value()?;
            self.nodes.push(node);
            self.space();
            if self.take(b',') {
                self.space();
            } else if self.take(b']') {
                break;
            } else {
                return Err(Unreadable);
            }
        }
        let list = self.arena.alloc_slice_copy(&self.nodes[begun..]);
        self.nodes.truncate(begun);
        Ok(Node::List(list))
    }

    fn map(&mut self) -> Result<Node<'e>, Unreadable> {
        let begun = self.members.len();
        let mut odd_keys = false;
        // A bit for each sort of key seen: equal keys are looked for only where there can be some.
        let mut seen = 0_u64;
        if !self.take(b'}') {
            loop {
                if !self.take(b'"') {
                    return Err(Unreadable);
                }
                let key = self.string()?;
                self.space();
                if !self.take(b':') {
                    return Err(Unreadable);
                }
                self.space();
                let node = self.value()?;
                odd_keys |= !key.is_ascii();
                let bit = 1 << sort_of(key);
                let repeated = (seen & bit != 0)
                    .then(|| {
                        self.members[begun..]
                            .iter()
                            .position(|(name, _)| *name == key)
                    })
                    .flatten();
                seen |= bit;
                match repeated {
                    Some(place) => self.members[begun + place].1 = node,
                    None => self.members.push((key, node)),
                }
                if self.members.len() - begun > WIDEST {
                    return Err(Unreadable);
                }
                self.space();
                if self.take(b',') {
                    self.space();
                } else if self.take(b'}') {
                    break;
                } else {
                    return Err(Unreadable);
                }
            }
        }
        let members = self.arena.alloc_slice_copy(&self.members[begun..]);
        self.members.truncate(begun);
        Ok(Node::Map(
            self.arena.alloc(Map::new(members, odd_keys, self.reads)),
        ))
    }

    fn take(&mut self, byte: u8) -> bool {
        let there = self.bytes.get(self.at) == Some(&byte);
        self.at += usize::from(there);
        there
    }

    /// The string whose opening quote is behind.
    fn string(&mut self) -> Result<&'e str, Unreadable> {
        let begun = self.at;
        self.at += plain(&self.bytes[begun..]);
        match self.bytes.get(self.at) {
            Some(b'"') => {
                let text = &self.text[begun..self.at];
                self.at += 1;
                Ok(text)
            }
            Some(b'\\') => self.escaped(begun),
            _ => Err(Unreadable),
        }
    }

    fn escaped(&mut self, begun: usize) -> Result<&'e str, Unreadable> {
        let mut text = bumpalo::collections::String::with_capacity_in(64, self.arena);
        text.push_str(&self.text[begun..self.at]);
        loop {
            let begun = self.at;
            self.at += plain(&self.bytes[begun..]);
            text.push_str(&self.text[begun..self.at]);
            let end = self.bytes.get(self.at).copied().filter(|end| *end >= 0x20);
            self.at += 1;
            match end {
                Some(b'"') => return Ok(text.into_bump_str()),
                Some(_) => {
                    let letter = self.escape()?;
                    text.push(letter);
                }
                None => return Err(Unreadable),
            }
        }
    }

    /// The character of an escape whose backslash is behind.
    fn escape(&mut self) -> Result<char, Unreadable> {
        let which = self.bytes.get(self.at).copied().ok_or(Unreadable)?;
        self.at += 1;
        Ok(match which {
            b'"' => '"',
            b'\\' => '\\',
            b'/' => '/',
            b'b' => '\u{8}',
            b'f' => '\u{c}',
            b'n' => '\n',
            b'r' => '\r',
            b't' => '\t',
            b'u' => {
                let first = self.hex()?;
                if !(0xD800..0xDC00).contains(&first) {
                    // A lone low surrogate is no character.
                    return char::from_u32(first).ok_or(Unreadable);
                }
                if !self.bytes[self.at..].starts_with(b"\\u") {
                    return Err(Unreadable);
                }
                self.at += 2;
                let second = self.hex()?;
                if !(0xDC00..0xE000).contains(&second) {
                    return Err(Unreadable);
                }
                let code = 0x10000 + ((first - 0xD800) << 10) + (second - 0xDC00);
                return char::from_u32(code).ok_or(Unreadable);
            }
            _ => return Err(Unreadable),
        })
    }

    fn hex(&mut self) -> Result<u32, Unreadable> {
        let digits = self.bytes.get(self.at..self.at + 4).ok_or(Unreadable)?;
        self.at += 4;
        digits.iter().try_fold(0, |value, digit| {
            char::from(*digit)
                .to_digit(16)
                .map(|digit| value * 16 + digit)
                .ok_or(Unreadable)
        })
    }

    fn number(&mut self) -> Result<Node<'e>, Unreadable> {
        let begun = self.at;
        self.take(b'-');
        if !self.take(b'0') && self.digits() == 0 {
            return Err(Unreadable);
        }
        let mut whole = true;
        if self.take(b'.') {
            whole = false;
            if self.digits() == 0 {
                return Err(Unreadable);
            }
        }
        if self.take(b'e') || self.take(b'E') {
            whole = false;
            if !self.take(b'+') {
                self.take(b'-');
            }
            if self.digits() == 0 {
                return Err(Unreadable);
            }
        }
        let text = &self.text[begun..self.at];
        Ok(if whole {
            text.parse().map_or(Node::Big, Node::Int)
        } else {
            match text.parse::<f64>() {
                Ok(value) if value.is_finite() => Node::Float(value),
                _ => Node::Big,
            }
        })
    }

    fn digits(&mut self) -> usize {
        let begun = self.at;
        while self.bytes.get(self.at).is_some_and(u8::is_ascii_digit) {
            self.at += 1;
        }
        self.at - begun
    }
}

/// How many bytes there are before a quote, a backslash, a control character or the end. Eight at a time.
fn plain(bytes: &[u8]) -> usize {
    const ONES: u64 = u64::MAX / 255;
    const HIGH: u64 = ONES << 7;
    // The lowest high bit that is set marks the first byte that is zero, or below 0x20; those above it may be marked wrongly.
    let zero = |word: u64| word.wrapping_sub(ONES) & !word & HIGH;
    let (words, rest) = bytes.as_chunks::<8>();
    for (place, word) in words.iter().enumerate() {
        let word = u64::from_le_bytes(*word);
        let quote = zero(word ^ (ONES * u64::from(b'"')));
        let backslash = zero(word ^ (ONES * u64::from(b'\\')));
        let control = word.wrapping_sub(ONES * 0x20) & !word & HIGH;
        let ends = quote | backslash | control;
        if ends != 0 {
            return place * 8 + (ends.trailing_zeros() / 8) as usize;
        }
    }
    let ends = |byte: &u8| matches!(byte, b'"' | b'\\' | 0..0x20);
    bytes.len() - rest.len() + rest.iter().position(ends).unwrap_or(rest.len())
}

/// A number below 64 that equal keys share.
fn sort_of(key: &str) -> u32 {
    let bytes = key.as_bytes();
    let ends = match bytes {
        [] => 0,
        [first, .., last] => u32::from(*first) * 5 + u32::from(*last),
        [only] => u32::from(*only),
    };
    (ends + u32::try_from(bytes.len() & 63).unwrap_or(0) * 11) & 63
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;
    use serde_json::Value;

    fn plainly(node: &Node<'_>) -> Option<Value> {
        Some(match node {
            Node::Null => Value::Null,
            Node::Bool(value) => (*value).into(),
            Node::Int(value) => (*value).into(),
            Node::Float(value) => (*value).into(),
            Node::Big => return None,
            Node::Text(text) => (*text).into(),
            Node::List(items) => Value::Array(items.iter().map(plainly).collect::<Option<_>>()?),
            Node::Map(map) => Value::Object(
                map.members()
                    .iter()
                    .map(|(key, node)| Some(((*key).to_owned(), plainly(node)?)))
                    .collect::<Option<_>>()?,
            ),
        })
    }

    fn events() -> impl Strategy<Value = Value> {
        let text = prop_oneof![
            "[ -~]{0,20}",
            "\\PC{0,12}",
            "[\"\\\\\n\u{0}-\u{1f}é😀]{0,20}"
        ];
        let leaf = prop_oneof![
            Just(Value::Null),
            any::<bool>().prop_map(Value::from),
            any::<i64>().prop_map(Value::from),
            any::<f64>()
                .prop_filter("JSON has only finite ones", |value| value.is_finite())
                .prop_map(Value::from),
            text.clone().prop_map(Value::from),
        ];
        let any = leaf.prop_recursive(4, 40, 6, move |inner| {
            prop_oneof![
                proptest::collection::vec(inner.clone(), 0..6).prop_map(Value::from),
                proptest::collection::btree_map("[ -~é]{0,9}", inner, 0..6)
                    .prop_map(|map| Value::Object(map.into_iter().collect())),
            ]
        });
        proptest::collection::btree_map("[a-c\"\\\\]{0,3}", any, 0..6)
            .prop_map(|map| Value::Object(map.into_iter().collect()))
    }

    proptest! {
        #[test]
        fn an_event_is_read_as_serde_reads_it(event in events(), pretty in any::<bool>()) {
            let text = if pretty { serde_json::to_string_pretty(&event).unwrap() } else { event.to_string() };
            let arena = Bump::new();
            let read = read(&arena, text.as_bytes()).unwrap();
            prop_assert_eq!(plainly(&Node::Map(read)), Some(event));
        }

        #[test]
        fn nonsense_is_refused_as_serde_refuses_it(text in "[\\[\\]{}\",:\\\\u0-9eE+\\-. tfn]{0,24}") {
            let text = format!("{{{text}}}");
            let arena = Bump::new();
            if read(&arena, text.as_bytes()).is_ok() {
                prop_assert!(serde_json::from_str::<Value>(&text).is_ok(), "{}", text);
            }
        }
    }
}
