//! Incremental scanner that finds the end of a JSON value without buffering the value.
//!
//! The scan is strict as long as possible: it knows which token may come next, so it can distinguish a line of the value from an unrelated
//! line. A syntax error within a line of the value (the value's first line, or an indented line) does not end the value: from there on the
//! scan follows only brackets and quotes, so that one broken element does not affect its neighbours. A line that begins in the first column
//! must be valid, or the value ends before it.

/// Maximum nesting depth. Deeper nesting ends the value.
const MAX_DEPTH: usize = 1 << 20;
/// Maximum length of a number or literal, in bytes.
const MAX_WORD: usize = 4 << 10;

#[derive(Debug, Clone, Copy, PartialEq)]
enum Expected {
    Value,
    /// A value, or the end of the array.
    ValueOrEnd,
    Key,
    /// A key, or the end of the object.
    KeyOrEnd,
    Colon,
    CommaOrEnd,
}

#[derive(Debug, Clone, Copy, PartialEq)]
enum Container {
    Array,
    Object,
}

/// Result of a scan.
#[derive(Debug, Clone, Copy, PartialEq)]
pub(super) enum Found {
    /// The value ends before this index.
    End(usize),
    /// Not a value: the line that holds this index, or the line that begins there, cannot be part of one.
    Broken,
    /// The value is incomplete: more text is needed.
    Inside,
}

/// Scanner state for one value, or for the rest of an object.
#[derive(Debug)]
pub(super) struct Scan {
    open: Vec<Container>,
    expected: Expected,
    in_string: bool,
    /// Index up to which the text is scanned.
    at: usize,
    /// Start of the current line; `None` on the first line of the value.
    line: Option<usize>,
    /// The current line begins in the first column.
    bare: bool,
    /// The current line also does not begin with a closing bracket, so it might be a separate record.
    doubtful: bool,
    /// Such a line was accepted as part of the value.
    took_doubtful: bool,
    faulty: bool,
}

impl Scan {
    /// A scan of the array or object at the start of the text.
    pub(super) fn value() -> Self {
        Self {
            open: Vec::new(),
            expected: Expected::Value,
            in_string: false,
            at: 0,
            line: None,
            bare: false,
            doubtful: false,
            took_doubtful: false,
            faulty: false,
        }
    }

    /// A scan of what follows a value within an object, up to the end of the object.
    pub(super) fn rest_of_object() -> Self {
        Self {
            open: vec![Container::Object],
            expected: Expected::CommaOrEnd,
            ..Self::value()
        }
    }

    /// True if the text so far is valid JSON.
    pub(super) fn is_strict(&self) -> bool {
        !self.faulty
    }

    /// True if the scan accepted a line that might be a separate record: a line in the first column that is a valid continuation of the
    /// value. The current line does not count.
    pub(super) fn took_doubtful(&self) -> bool {
        self.took_doubtful
    }

    /// True if the current line might be a separate record.
    pub(super) fn is_doubtful(&self) -> bool {
        self.doubtful
    }

    /// Start of the line that ended the scan; `None` for the first line of the value.
    pub(super) fn line_start(&self) -> Option<usize> {
        self.line
    }

    /// Number of bytes scanned.
    pub(super) fn looked_at(&self) -> usize {
        self.at
    }

    /// Shifts all positions: the caller removes the first `bytes` of the text.
    pub(super) fn forget(&mut self, bytes: usize) {
        self.at = self.at.saturating_sub(bytes);
        self.line = self.line.map(|line| line.saturating_sub(bytes));
    }

    /// Continues the scan with `text`, which includes the text scanned before. `ended` is true if no more text follows.
    pub(super) fn run(&mut self, text: &[u8], ended: bool) -> Found {
        while let Some(&byte) = text.get(self.at) {
            if self.in_string {
                match self.string(text, ended) {
                    Some(Found::Inside) => return Found::Inside,
                    Some(found) => return found,
                    None => continue,
                }
            }
            match byte {
                b'\n' => {
                    self.at += 1;
                    self.line = Some(self.at);
                    self.bare = false;
                    self.took_doubtful |= std::mem::take(&mut self.doubtful);
                    continue;
                }
                b' ' | b'\t' | b'\r' => {
                    self.at += 1;
                    continue;
                }
                _ => {}
            }
            if self.line == Some(self.at) {
                self.bare = true;
                let closing = matches!(byte, b'}' | b']');
                // a separate record, whose scan must not overlap with this one
                if matches!(byte, b'{' | b'[') || (self.faulty && !closing) {
                    return Found::Broken;
                }
                self.doubtful = !closing;
            }
            let fits = match byte {
                b'"' => {
                    self.in_string = true;
                    self.at += 1;
                    continue;
                }
                b'{' | b'[' => {
                    let fits = matches!(self.expected, Expected::Value | Expected::ValueOrEnd);
                    if self.open.len() >= MAX_DEPTH {
                        return Found::Broken;
                    }
                    if byte == b'{' {
                        self.open.push(Container::Object);
                        self.expected = Expected::KeyOrEnd;
                    } else {
                        self.open.push(Container::Array);
                        self.expected = Expected::ValueOrEnd;
                    }
                    fits
                }
                b'}' | b']' => {
                    let closed = self.open.pop();
                    let fits = match closed {
                        Some(Container::Object) => {
                            byte == b'}'
                                && matches!(
                                    self.expected,
                                    Expected::KeyOrEnd | Expected::CommaOrEnd
                                )
                        }
                        Some(Container::Array) => {
                            byte == b']'
                                && matches!(
                                    self.expected,
                                    Expected::ValueOrEnd | Expected::CommaOrEnd
                                )
                        }
                        None => return Found::Broken,
                    };
                    self.expected = Expected::CommaOrEnd;
                    if fits && self.open.is_empty() {
                        return Found::End(self.at + 1);
                    }
                    fits
                }
                b',' => {
                    let fits = self.expected == Expected::CommaOrEnd;
                    self.expected = match self.open.last() {
                        Some(Container::Object) => Expected::Key,
                        _ => Expected::Value,
                    };
                    fits
                }
                b':' => {
                    let fits = self.expected == Expected::Colon;
                    self.expected = Expected::Value;
                    fits
                }
                _ => {
                    let rest = text.get(self.at..).unwrap_or_default();
                    let length = rest
                        .iter()
                        .position(|byte| {
                            matches!(
                                byte,
                                b' ' | b'\t'
                                    | b'\r'
                                    | b'\n'
                                    | b','
                                    | b':'
                                    | b'{'
                                    | b'}'
                                    | b'['
                                    | b']'
                                    | b'"'
                            )
                        })
                        .unwrap_or(rest.len());
                    if length == rest.len() && !ended && length < MAX_WORD {
                        return Found::Inside;
                    }
                    let fits = matches!(self.expected, Expected::Value | Expected::ValueOrEnd)
                        && is_word(rest.get(..length).unwrap_or_default());
                    self.expected = Expected::CommaOrEnd;
                    // the shared step below skips the last byte, as for every token
                    self.at += length - 1;
                    fits
                }
            };
            if !fits {
                if self.bare {
                    return Found::Broken;
                }
                self.faulty = true;
                if self.open.is_empty() {
                    return Found::End(self.at + 1);
                }
            }
            self.at += 1;
        }
        Found::Inside
    }

    /// Continues within a string; returns `None` after the end of the string.
    fn string(&mut self, text: &[u8], ended: bool) -> Option<Found> {
        let rest = text.get(self.at..).unwrap_or_default();
        let Some(next) = memchr::memchr3(b'"', b'\\', b'\n', rest) else {
            self.at = text.len();
            return Some(Found::Inside);
        };
        self.at += next;
        match rest.get(next) {
            Some(b'\\') => match rest.get(next + 1) {
                None if !ended => return Some(Found::Inside),
                Some(b'\n') | None => self.at += 1,
                Some(_) => self.at += 2,
            },
            Some(b'"') => {
                self.at += 1;
                self.in_string = false;
                return self.end_of_string();
            }
            // a JSON string cannot contain a line end, so a quote is missing
            _ if self.line.is_none() || self.bare => return Some(Found::Broken),
            _ => {
                self.in_string = false;
                self.faulty = true;
            }
        }
        None
    }

    fn end_of_string(&mut self) -> Option<Found> {
        self.expected = match self.expected {
            Expected::Key | Expected::KeyOrEnd => Expected::Colon,
            Expected::Value | Expected::ValueOrEnd => Expected::CommaOrEnd,
            _ if self.bare => return Some(Found::Broken),
            expected => {
                self.faulty = true;
                expected
            }
        };
        None
    }
}

/// True if `word` is `true`, `false`, `null` or a number.
fn is_word(word: &[u8]) -> bool {
    matches!(word, b"true" | b"false" | b"null")
        || std::str::from_utf8(word).is_ok_and(crate::json::is_value)
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    fn end(text: &str) -> Found {
        Scan::value().run(text.as_bytes(), true)
    }

    #[test]
    fn a_line_in_the_first_column_has_to_fit() {
        for (text, expected) in [
            ("{\"a\":[1,{\"b\":\"]}\"}]} x", Found::End(20)),
            ("{\n  \"a\": 1\n}\nnext", Found::End(12)),
            ("{\n\"a\":\n1\n}", Found::End(10)),
            ("{\"a\":[\n1.2.3.4 - -", Found::Broken),
            ("{\"a\":[\n\"x\" y", Found::Broken),
            ("{\n{\"a\":1}\n", Found::Broken),
            ("{\n[{\"a\":1}]\n", Found::Broken),
            ("{\"a\":\"open\n}", Found::Broken),
            ("{\"a\":tru,\"b\":1}", Found::End(15)),
            ("{\n \"a\": tru\n \"b\"\n}", Found::End(18)),
            ("{\n \"a\": \"open\n \"b\": 1\n}", Found::End(23)),
            ("{\n \"a\": tru\nplain", Found::Broken),
            ("{\"a\":", Found::Inside),
        ] {
            assert_eq!(end(text), expected, "{text}");
        }
    }

    proptest! {
        #[test]
        fn pieces_make_no_difference(text in "\\{?[\\[\\]{}\",:\\\\ \nt1a]{0,40}", size in 1usize..8) {
            let text = text.as_bytes();
            let mut scan = Scan::value();
            let mut held = 0;
            let found = loop {
                held = (held + size).min(text.len());
                match scan.run(&text[..held], held == text.len()) {
                    Found::Inside if held < text.len() => {}
                    found => break found,
                }
            };
            let mut whole = Scan::value();
            prop_assert_eq!(found, whole.run(text, true));
            prop_assert_eq!(scan.is_strict(), whole.is_strict());
        }
    }
}
