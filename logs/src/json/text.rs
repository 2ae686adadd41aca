//! Strings of a JSON document. They keep their escapes and are decoded on demand.

use std::borrow::Cow;

use super::parse::plain_until;

/// A JSON string without its quotes, exactly as written.
#[derive(Debug, Clone, Copy, PartialEq)]
pub(crate) struct Str<'a> {
    raw: &'a str,
    escaped: bool,
}

impl<'a> Str<'a> {
    /// `raw` must be valid between quotes. `escaped` is true if it contains a backslash.
    pub(super) fn json(raw: &'a str, escaped: bool) -> Self {
        Self { raw, escaped }
    }

    /// A text that needs no escapes, such as a number.
    pub(crate) fn plain(raw: &'a str) -> Self {
        Self {
            raw,
            escaped: false,
        }
    }

    /// The text between the quotes, with its escapes.
    pub(crate) fn raw(&self) -> &'a str {
        self.raw
    }

    /// The decoded string. A lone surrogate decodes to U+FFFD.
    pub(crate) fn decoded(&self) -> Cow<'a, str> {
        if self.escaped {
            Cow::Owned(unescape(self.raw))
        } else {
            Cow::Borrowed(self.raw)
        }
    }

    /// Appends the text between the quotes as written, except that each lone surrogate becomes the escape of U+FFFD. JSON's grammar allows
    /// escapes of lone surrogates, but many parsers reject them, and one such string would make the whole event unreadable for them.
    pub(crate) fn write(&self, out: &mut String) {
        let mut rest = self.raw;
        while self.escaped
            && let Some(at) = memchr::memchr(b'\\', rest.as_bytes())
        {
            let escape = rest.get(at + 1..).unwrap_or_default();
            let (character, length) = match escape.strip_prefix('u') {
                Some(digits) => {
                    let (character, used) = unicode(digits);
                    (character, 2 + used)
                }
                None => (char::default(), 2),
            };
            let (before, after) = rest.split_at(at + length.min(rest.len() - at));
            if character == char::REPLACEMENT_CHARACTER {
                out.push_str(before.get(..at).unwrap_or_default());
                out.push_str("\\ufffd");
            } else {
                out.push_str(before);
            }
            rest = after;
        }
        out.push_str(rest);
    }

    /// True if the decoded string equals `other`.
    #[inline]
    pub(crate) fn is(&self, other: &str) -> bool {
        if self.escaped {
            unescape(self.raw) == other
        } else {
            self.raw == other
        }
    }
}

fn unescape(raw: &str) -> String {
    let mut out = String::with_capacity(raw.len());
    let mut rest = raw;
    while let Some(at) = rest.find('\\') {
        let (plain, escape) = rest.split_at(at);
        out.push_str(plain);
        let mut chars = escape.chars();
        chars.next();
        match chars.next() {
            Some('n') => out.push('\n'),
            Some('t') => out.push('\t'),
            Some('r') => out.push('\r'),
            Some('b') => out.push('\u{8}'),
            Some('f') => out.push('\u{c}'),
            Some('u') => {
                let (character, used) = unicode(chars.as_str());
                out.push(character);
                rest = chars.as_str().get(used..).unwrap_or_default();
                continue;
            }
            Some(other) => out.push(other),
            None => {}
        }
        rest = chars.as_str();
    }
    out.push_str(rest);
    out
}

/// The character of the four hexadecimal digits at the start of `text`, combined with a second escape if the two are a surrogate pair.
fn unicode(text: &str) -> (char, usize) {
    let unit = |from: usize| {
        text.get(from..from + 4)
            .and_then(|digits| u32::from_str_radix(digits, 16).ok())
    };
    let Some(first) = unit(0) else {
        return (char::REPLACEMENT_CHARACTER, text.len().min(4));
    };
    if (0xd800..0xdc00).contains(&first)
        && text.get(4..6) == Some("\\u")
        && let Some(second) = unit(6)
        && (0xdc00..0xe000).contains(&second)
    {
        let pair = 0x10000 + ((first - 0xd800) << 10) + (second - 0xdc00);
        return (
            char::from_u32(pair).unwrap_or(char::REPLACEMENT_CHARACTER),
            10,
        );
    }
    (
        char::from_u32(first).unwrap_or(char::REPLACEMENT_CHARACTER),
        4,
    )
}

/// Appends `text` as a JSON string, with quotes.
pub(crate) fn push_quoted(text: &str, out: &mut String) {
    out.push('"');
    let mut from = 0;
    loop {
        let at = plain_until(text.as_bytes(), from);
        out.push_str(text.get(from..at).unwrap_or_default());
        match text.as_bytes().get(at) {
            None => break,
            Some(b'"') => out.push_str("\\\""),
            Some(b'\\') => out.push_str("\\\\"),
            Some(b'\n') => out.push_str("\\n"),
            Some(b'\r') => out.push_str("\\r"),
            Some(b'\t') => out.push_str("\\t"),
            Some(control) => out.push_str(&format!("\\u{control:04x}")),
        }
        from = at + 1;
    }
    out.push('"');
}
