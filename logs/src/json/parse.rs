//! JSON parser: text to nodes, without recursion. Nesting depth costs a counter, not stack.

use thiserror::Error;

use super::{Node, text::Str};

/// Why a text is not a JSON document.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Error)]
pub(crate) enum JsonError {
    #[error("JSON ends in the middle of a value")]
    Truncated,
    #[error("JSON error at byte {offset}: expected {expected}")]
    Syntax {
        offset: usize,
        expected: &'static str,
    },
    #[error("more text after the JSON value, from byte {offset} on")]
    Trailing { offset: usize },
    #[error("JSON is nested deeper than {limit} levels")]
    TooDeep { limit: usize },
    #[error("text of 4 GiB or more cannot be read as one JSON document")]
    TooLong,
}

/// JSON parser. It reuses its buffers from document to document.
#[derive(Debug)]
pub(crate) struct Reader {
    max_depth: usize,
    open: Vec<u32>,
}

impl Reader {
    /// Creates a parser that rejects documents nested deeper than `max_depth` containers.
    pub(crate) fn new(max_depth: usize) -> Self {
        Self {
            max_depth,
            open: Vec::new(),
        }
    }

    /// Parses the one document in `text` and replaces the content of `nodes` with its nodes.
    pub(crate) fn read<'a>(
        &mut self,
        text: &'a str,
        nodes: &mut Vec<Node<'a>>,
    ) -> Result<(), JsonError> {
        nodes.clear();
        self.open.clear();
        if u32::try_from(text.len()).is_err() {
            return Err(JsonError::TooLong);
        }
        let mut cursor = Cursor {
            text,
            bytes: text.as_bytes(),
            at: 0,
        };
        'value: loop {
            cursor.skip_space();
            match cursor.peek()? {
                b'"' => {
                    let string = cursor.string()?;
                    nodes.push(Node::String(string));
                }
                b'{' => {
                    self.open(nodes, Node::Object { end: 0 })?;
                    cursor.at += 1;
                    cursor.skip_space();
                    if cursor.peek()? == b'}' {
                        cursor.at += 1;
                        self.close(nodes);
                    } else {
                        nodes.push(Node::Key(cursor.key()?));
                        continue 'value;
                    }
                }
                b'[' => {
                    self.open(nodes, Node::Array { end: 0 })?;
                    cursor.at += 1;
                    cursor.skip_space();
                    if cursor.peek()? == b']' {
                        cursor.at += 1;
                        self.close(nodes);
                    } else {
                        continue 'value;
                    }
                }
                b't' => nodes.push(cursor.literal("true", Node::Bool(true))?),
                b'f' => nodes.push(cursor.literal("false", Node::Bool(false))?),
                b'n' => nodes.push(cursor.literal("null", Node::Null)?),
                _ => nodes.push(Node::Number(cursor.number()?)),
            }
            loop {
                let Some(&top) = self.open.last() else {
                    break 'value;
                };
                let in_object = matches!(nodes.get(top as usize), Some(Node::Object { .. }));
                cursor.skip_space();
                match cursor.peek()? {
                    b',' => {
                        cursor.at += 1;
                        if in_object {
                            cursor.skip_space();
                            nodes.push(Node::Key(cursor.key()?));
                        }
                        continue 'value;
                    }
                    b'}' if in_object => cursor.at += 1,
                    b']' if !in_object => cursor.at += 1,
                    _ => {
                        return Err(cursor.expected(if in_object {
                            "`,` or `}`"
                        } else {
                            "`,` or `]`"
                        }));
                    }
                }
                self.close(nodes);
            }
        }
        cursor.skip_space();
        if cursor.at < cursor.bytes.len() {
            Err(JsonError::Trailing { offset: cursor.at })
        } else {
            Ok(())
        }
    }

    fn open<'a>(&mut self, nodes: &mut Vec<Node<'a>>, node: Node<'a>) -> Result<(), JsonError> {
        if self.open.len() >= self.max_depth {
            return Err(JsonError::TooDeep {
                limit: self.max_depth,
            });
        }
        // a node takes at least one byte of text, and the text length fits into 32 bits
        self.open.push(nodes.len() as u32);
        nodes.push(node);
        Ok(())
    }

    fn close(&mut self, nodes: &mut [Node<'_>]) {
        let after = nodes.len() as u32;
        if let Some(Node::Object { end } | Node::Array { end }) =
            self.open.pop().and_then(|top| nodes.get_mut(top as usize))
        {
            *end = after;
        }
    }
}

/// True if `text` is exactly one JSON value, nested at most 64 levels deep.
pub(crate) fn is_value(text: &str) -> bool {
    Reader::new(64).read(text, &mut Vec::new()).is_ok()
}

struct Cursor<'a> {
    text: &'a str,
    bytes: &'a [u8],
    at: usize,
}

impl<'a> Cursor<'a> {
    fn expected(&self, expected: &'static str) -> JsonError {
        if self.at >= self.bytes.len() {
            JsonError::Truncated
        } else {
            JsonError::Syntax {
                offset: self.at,
                expected,
            }
        }
    }

    #[inline]
    fn peek(&self) -> Result<u8, JsonError> {
        self.bytes.get(self.at).copied().ok_or(JsonError::Truncated)
    }

    #[inline]
    fn skip_space(&mut self) {
        while let Some(b' ' | b'\n' | b'\t' | b'\r') = self.bytes.get(self.at) {
            self.at += 1;
        }
    }

    fn slice(&self, from: usize) -> &'a str {
        // every caller slices at ASCII bytes
        self.text.get(from..self.at).unwrap_or_default()
    }

    /// Parses a key and the colon after it.
    #[inline]
    fn key(&mut self) -> Result<Str<'a>, JsonError> {
        if self.peek()? != b'"' {
            return Err(self.expected("a key in quotes"));
        }
        let key = self.string()?;
        self.skip_space();
        if self.peek()? != b':' {
            return Err(self.expected("`:`"));
        }
        self.at += 1;
        Ok(key)
    }

    /// Parses a string. The cursor is at its opening quote.
    #[inline]
    fn string(&mut self) -> Result<Str<'a>, JsonError> {
        self.at += 1;
        let from = self.at;
        let mut escaped = false;
        loop {
            self.at = plain_until(self.bytes, self.at);
            match self.bytes.get(self.at) {
                Some(b'"') => {
                    let raw = self.slice(from);
                    self.at += 1;
                    return Ok(Str::json(raw, escaped));
                }
                Some(b'\\') => {
                    escaped = true;
                    self.escape()?;
                }
                Some(_) => return Err(self.expected("no bare control character in a string")),
                None => return Err(JsonError::Truncated),
            }
        }
    }

    fn escape(&mut self) -> Result<(), JsonError> {
        self.at += 1;
        match self.peek()? {
            b'"' | b'\\' | b'/' | b'b' | b'f' | b'n' | b'r' | b't' => self.at += 1,
            b'u' => {
                self.at += 1;
                for _ in 0..4 {
                    if !self.peek()?.is_ascii_hexdigit() {
                        return Err(self.expected("four hexadecimal digits"));
                    }
                    self.at += 1;
                }
            }
            _ => return Err(self.expected("a known escape")),
        }
        Ok(())
    }

    fn literal(&mut self, word: &'static str, node: Node<'a>) -> Result<Node<'a>, JsonError> {
        let rest = self.bytes.get(self.at..).unwrap_or_default();
        if rest.starts_with(word.as_bytes()) {
            self.at += word.len();
            Ok(node)
        } else if word.as_bytes().starts_with(rest) {
            Err(JsonError::Truncated)
        } else {
            Err(self.expected("a value"))
        }
    }

    fn digits(&mut self) -> usize {
        let from = self.at;
        while self.bytes.get(self.at).is_some_and(u8::is_ascii_digit) {
            self.at += 1;
        }
        self.at - from
    }

    #[inline]
    fn number(&mut self) -> Result<&'a str, JsonError> {
        let from = self.at;
        if self.bytes.get(self.at) == Some(&b'-') {
            self.at += 1;
        }
        let whole = self.at;
        let digits = self.digits();
        if digits == 0 {
            return Err(self.expected(if self.at == from {
                "a value"
            } else {
                "a digit"
            }));
        }
        if digits > 1 && self.bytes.get(whole) == Some(&b'0') {
            self.at = whole;
            return Err(self.expected("a number without leading zero"));
        }
        if self.bytes.get(self.at) == Some(&b'.') {
            self.at += 1;
            if self.digits() == 0 {
                return Err(self.expected("a digit"));
            }
        }
        if let Some(b'e' | b'E') = self.bytes.get(self.at) {
            self.at += 1;
            if let Some(b'+' | b'-') = self.bytes.get(self.at) {
                self.at += 1;
            }
            if self.digits() == 0 {
                return Err(self.expected("a digit"));
            }
        }
        Ok(self.slice(from))
    }
}

const ONES: u64 = 0x0101_0101_0101_0101;
const HIGHS: u64 = 0x8080_8080_8080_8080;

/// Index of the first byte at or after `at` that ends a run of plain string text: a quote, a backslash, a control character, or the end of
/// the text. Reads eight bytes at a time. Only the lowest marked byte of the mask is exact, and only that byte is used.
#[inline]
pub(super) fn plain_until(bytes: &[u8], mut at: usize) -> usize {
    while let Some(chunk) = bytes.get(at..).and_then(|rest| rest.first_chunk::<8>()) {
        let word = u64::from_le_bytes(*chunk);
        let quote = word ^ (ONES * b'"' as u64);
        let backslash = word ^ (ONES * b'\\' as u64);
        let mark = (quote.wrapping_sub(ONES) & !quote)
            | (backslash.wrapping_sub(ONES) & !backslash)
            | (word.wrapping_sub(ONES * 0x20) & !word);
        let mark = mark & HIGHS;
        if mark != 0 {
            return at + (mark.trailing_zeros() / 8) as usize;
        }
        at += 8;
    }
    while let Some(&byte) = bytes.get(at) {
        if byte == b'"' || byte == b'\\' || byte < 0x20 {
            break;
        }
        at += 1;
    }
    at
}
