//! Where a JSON value ends, found out piece by piece without holding the value.
//!
//! The scan is strict as long as it can be: it knows what may come next, so that a line which is no part of the value is told from one that
//! is. A fault within a line that belongs to the value (it stands on the value's first line, or is indented) does not end the value: from
//! there on only brackets and quotes are followed, so that one faulty element leaves its neighbours alone. A line that begins in the first
//! column has to fit, or the value ends before it.

/// Levels that are followed; deeper ones end the value.
const MAX_DEPTH: usize = 1 << 20;
/// Bytes of a number or word.
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

/// What a scan found.
#[derive(Debug, Clone, Copy, PartialEq)]
pub(super) enum Found {
    /// The value ends before this place.
    End(usize),
    /// No value: the line that holds this place, or the one that begins there, cannot be part of one.
    Broken,
    /// The text so far is within the value.
    Inside,
}

/// A scan of one value, or of the rest of an object.
#[derive(Debug)]
pub(super) struct Scan {
    open: Vec<Container>,
    expected: Expected,
    in_string: bool,
    /// How far the text is looked at.
    at: usize,
    /// Where the line that is looked at begins; none on the first line.
    line: Option<usize>,
    /// The line that is looked at begins in the first column.
    bare: bool,
    /// It does not begin with a closing bracket either, so that it might be a record of its own.
    doubtful: bool,
    /// Such a line was taken for part of the value.
    took_doubtful: bool,
    faulty: bool,
}

impl Scan {
    /// Of the array or object that the text begins with.
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

    /// Of what follows a value within an object, up to the object's end.
    pub(super) fn rest_of_object() -> Self {
        Self {
            open: vec![Container::Object],
            expected: Expected::CommaOrEnd,
            ..Self::value()
        }
    }

    /// Whether the text so far breaks no rule of JSON.
    pub(super) fn is_strict(&self) -> bool {
        !self.faulty
    }

    /// Whether a line was taken for part of the value that might be a record of its own: one in the first column that begins as a value may
    /// go on. The line that is looked at does not count.
    pub(super) fn took_doubtful(&self) -> bool {
        self.took_doubtful
    }

    /// Whether the line that is looked at might be a record of its own.
    pub(super) fn is_doubtful(&self) -> bool {
        self.doubtful
    }

    /// Where the line that ended the scan begins; none for the value's first line.
    pub(super) fn line_start(&self) -> Option<usize> {
        self.line
    }

    /// How much of the text is looked at.
    pub(super) fn looked_at(&self) -> usize {
        self.at
    }

    /// The first `bytes` of the text will not come again.
    pub(super) fn forget(&mut self, bytes: usize) {
        self.at = self.at.saturating_sub(bytes);
        self.line = self.line.map(|line| line.saturating_sub(bytes));
    }

    /// Goes on with `text`, which holds what came before. `ended` says that nothing comes behind it.
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
                // a record of its own, whose scan must not overlap with this one
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
                    // the last byte is passed over below, as every token's is
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

    /// Goes on within a string; none once it has ended.
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
            // no JSON string holds a line end: a quote is missing
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

/// Whether `word` is `true`, `false`, `null` or a number.
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
