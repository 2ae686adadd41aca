//! Regular expressions and file name patterns, where they mean the same as in Python.
//!
//! A pattern is used on ASCII texts only, where letter classes agree. What is written differently, or searched in another order, is refused when the
//! pattern is made. It is compiled when it is first needed: any text of a module that imports `re` may turn out to be one.

use std::sync::OnceLock;

use bumpalo::Bump;
use bumpalo::collections::Vec as ArenaVec;
use regex::bytes::{NoExpand, Regex, RegexBuilder};

use super::stop::Stop;

/// Python's flags: `re.IGNORECASE`, `re.MULTILINE`, `re.DOTALL`, and `re.UNICODE`, which is always on for texts.
const IGNORE_CASE: u64 = 2;
const MULTILINE: u64 = 8;
const DOT_ALL: u64 = 16;
const UNICODE: u64 = 32;
const ASCII: u64 = 256;
/// Bytes that a compiled pattern may take.
const LARGEST: usize = 1 << 20;

/// A pattern.
#[derive(Debug)]
pub(super) struct Pattern {
    /// Its text, as it is spelt here.
    text: Box<str>,
    /// Its flags, in front of the text.
    flags: Box<str>,
    /// `$` also stands before a last line break in Python.
    dollar: bool,
    /// Compiled for each [`Way`]; inner `None`: it is none, or too large.
    compiled: [OnceLock<Option<Regex>>; 3],
}

/// What a pattern found.
#[derive(Debug)]
pub(super) struct Match<'e> {
    /// The whole, then its groups.
    pub(super) groups: &'e [Option<&'e str>],
    pub(super) names: &'e [(&'e str, usize)],
}

/// How a pattern is to be applied.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Way {
    Search,
    Start,
    Whole,
}

impl Pattern {
    /// The flag of a name of `re`.
    pub(super) fn flag(name: &str) -> Option<u64> {
        Some(match name {
            "IGNORECASE" | "I" => IGNORE_CASE,
            "MULTILINE" | "M" => MULTILINE,
            "DOTALL" | "S" => DOT_ALL,
            "ASCII" | "A" => ASCII,
            _ => return None,
        })
    }

    /// `None` if it may not mean the same here.
    pub(super) fn new(text: &str, flags: u64) -> Option<Self> {
        if flags & !(IGNORE_CASE | MULTILINE | DOT_ALL | UNICODE | ASCII) != 0 || !text.is_ascii() {
            return None;
        }
        let (text, dollar) = same_meaning(text)?;
        let mut prefix = String::from("(?");
        for (flag, letter) in [(IGNORE_CASE, 'i'), (MULTILINE, 'm'), (DOT_ALL, 's')] {
            if flags & flag != 0 {
                prefix.push(letter);
            }
        }
        let prefix = if prefix.len() > 2 {
            prefix + ")"
        } else {
            String::new()
        };
        Some(Self {
            text: text.into(),
            flags: prefix.into(),
            dollar: dollar && flags & MULTILINE == 0,
            compiled: Default::default(),
        })
    }

    fn compiled<'e>(&self, way: Way) -> Result<&Regex, Stop<'e>> {
        let Self { text, flags, .. } = self;
        let compile = || {
            let text = match way {
                Way::Search => format!("{flags}{text}"),
                Way::Start => format!("{flags}\\A(?:{text})"),
                Way::Whole => format!("{flags}\\A(?:{text})\\z"),
            };
            // In ASCII all classes are small.
            let mut builder = RegexBuilder::new(&text);
            builder.unicode(false).size_limit(LARGEST).build().ok()
        };
        self.compiled[way as usize]
            .get_or_init(compile)
            .as_ref()
            .ok_or(Stop::Hole(&"a regular expression"))
    }

    /// Whether it can match nothing at all, after which Python goes on otherwise.
    fn may_be_empty(&self, search: &Regex) -> bool {
        search.is_match(b"")
            || self.text.contains("\\b")
            || self.text.contains("\\B")
            || self.text.contains('^')
    }

    fn check<'e>(&self, text: &str) -> Result<(), Stop<'e>> {
        if !text.is_ascii() || text.bytes().any(|byte| (0x1c..=0x1f).contains(&byte)) {
            return Err(Stop::Hole(&"a pattern on a text outside ASCII"));
        }
        if self.dollar && text.ends_with('\n') {
            return Err(Stop::Hole(&"a pattern's end before a line break"));
        }
        Ok(())
    }

    pub(super) fn find<'e>(
        &'e self,
        arena: &'e Bump,
        way: Way,
        text: &'e str,
    ) -> Result<Option<Match<'e>>, Stop<'e>> {
        self.check(text)?;
        let regex = self.compiled(way)?;
        if regex.captures_len() == 1 {
            return Ok(regex.find(text.as_bytes()).map(|found| Match {
                groups: arena.alloc([text.get(found.range())]),
                names: &[],
            }));
        }
        Ok(regex.captures(text.as_bytes()).map(|found| {
            let mut groups = ArenaVec::new_in(arena);
            groups.extend(found.iter().map(|group| text.get(group?.range())));
            let mut names = ArenaVec::new_in(arena);
            names.extend(
                regex
                    .capture_names()
                    .enumerate()
                    .filter_map(|(place, name)| Some((name?, place))),
            );
            Match {
                groups: groups.into_bump_slice(),
                names: names.into_bump_slice(),
            }
        }))
    }

    /// All that it finds, one after the other: the whole and its groups, which are empty where they took no part.
    pub(super) fn find_all<'e>(&self, text: &'e str) -> Result<Vec<Vec<&'e str>>, Stop<'e>> {
        self.check(text)?;
        let search = self.compiled(Way::Search)?;
        if self.may_be_empty(search) {
            return Err(Stop::Hole(&"a pattern that may match nothing"));
        }
        Ok(search
            .captures_iter(text.as_bytes())
            .map(|found| {
                found
                    .iter()
                    .map(|group| group.and_then(|group| text.get(group.range())))
                    .map(Option::unwrap_or_default)
                    .collect()
            })
            .collect())
    }

    /// Replaces all that it finds by a text without references.
    pub(super) fn replace<'e>(&self, text: &'e str, by: &str) -> Result<String, Stop<'e>> {
        self.check(text)?;
        let search = self.compiled(Way::Search)?;
        if self.may_be_empty(search) || by.contains('\\') {
            return Err(Stop::Hole(&"a replacement with references"));
        }
        let replaced = search.replace_all(text.as_bytes(), NoExpand(by.as_bytes()));
        String::from_utf8(replaced.into_owned()).map_err(|_| Stop::Hole(&"a replacement"))
    }
}

/// The pattern in this library's spelling, and whether it has a `$`. `None` if a part of it may mean something else.
fn same_meaning(text: &str) -> Option<(String, bool)> {
    let bytes = text.as_bytes();
    let mut out = String::with_capacity(text.len());
    let (mut at, mut dollar) = (0, false);
    while at < bytes.len() {
        match bytes[at] {
            b'\\' => {
                let next = *bytes.get(at + 1)?;
                match next {
                    b'Z' => out.push_str("\\z"),
                    b'd' | b'D' | b'w' | b'W' | b's' | b'S' | b'b' | b'B' | b'n' | b'r' | b't'
                    | b'f' | b'v' | b'A' => {
                        out.push('\\');
                        out.push(char::from(next));
                    }
                    _ if next.is_ascii_punctuation() => {
                        if "<>".contains(char::from(next)) {
                            out.push(char::from(next));
                        } else {
                            out.push('\\');
                            out.push(char::from(next));
                        }
                    }
                    _ => return None,
                }
                at += 2;
            }
            b'[' => {
                let end = class_end(bytes, at)?;
                let inside = &text[at + 1..end];
                let body = inside.strip_prefix('^').unwrap_or(inside);
                // Nested classes and set operations are this library's own.
                if body.starts_with(']')
                    || body.contains('[')
                    || ["&&", "--", "~~"].iter().any(|pair| body.contains(pair))
                    || escapes_differ(body)
                {
                    return None;
                }
                out.push('[');
                out.push_str(inside);
                out.push(']');
                at = end + 1;
            }
            b'(' if bytes.get(at + 1) == Some(&b'?') => {
                let rest = &text[at + 2..];
                if rest.starts_with(':') || rest.starts_with("P<") {
                    out.push_str("(?");
                    at += 2;
                } else if at == 0 && (rest.starts_with("i)") || rest.starts_with("s)")) {
                    out.push_str(&text[..4]);
                    at += 4;
                } else {
                    return None;
                }
            }
            b'{' => {
                // A repetition, or a brace that Python takes for itself.
                let end = at + text[at..].find('}')?;
                let inside = &text[at + 1..end];
                let good = inside.starts_with(|first: char| first.is_ascii_digit())
                    && inside
                        .chars()
                        .all(|letter| letter.is_ascii_digit() || letter == ',');
                if !good || matches!(bytes.get(end + 1), Some(b'+')) {
                    return None;
                }
                out.push_str(&text[at..=end]);
                at = end + 1;
            }
            b'}' => return None,
            b'*' | b'+' | b'?' if matches!(bytes.get(at + 1), Some(b'+')) => return None,
            b'$' => {
                dollar = true;
                out.push('$');
                at += 1;
            }
            other => {
                out.push(char::from(other));
                at += 1;
            }
        }
    }
    Some((out, dollar))
}

fn class_end(bytes: &[u8], open: usize) -> Option<usize> {
    let mut at = open + 1;
    if bytes.get(at) == Some(&b'^') {
        at += 1;
    }
    if bytes.get(at) == Some(&b']') {
        at += 1;
    }
    loop {
        match bytes.get(at)? {
            b'\\' => at += 2,
            b']' => return Some(at),
            _ => at += 1,
        }
    }
}

fn escapes_differ(class: &str) -> bool {
    let mut letters = class.chars();
    while let Some(letter) = letters.next() {
        if letter == '\\' {
            match letters.next() {
                Some('d' | 'D' | 'w' | 'W' | 's' | 'S' | 'n' | 'r' | 't') => {}
                Some(other) if other.is_ascii_punctuation() && !"<>".contains(other) => {}
                _ => return true,
            }
        }
    }
    false
}

/// Whether a file name pattern of `*` and `?` takes a text; `None` if it has classes. A bracket that is not closed is itself.
pub(super) fn glob(text: &str, pattern: &str) -> Option<bool> {
    if let Some((_, rest)) = pattern.split_once('[')
        && rest.contains(']')
    {
        return None;
    }
    let text: &[u8] = text.as_bytes();
    let signs = pattern.as_bytes();
    let (mut at, mut sign) = (0, 0);
    let mut retry: Option<(usize, usize)> = None;
    while at < text.len() {
        match signs.get(sign) {
            Some(b'*') => {
                retry = Some((sign, at));
                sign += 1;
            }
            Some(b'?') => {
                at += 1;
                // One character, however many bytes it has.
                while text.get(at).is_some_and(|byte| byte & 0xC0 == 0x80) {
                    at += 1;
                }
                sign += 1;
            }
            Some(byte) if *byte == text[at] => {
                at += 1;
                sign += 1;
            }
            _ => match retry {
                Some((star, from)) => {
                    let mut next = from + 1;
                    while text.get(next).is_some_and(|byte| byte & 0xC0 == 0x80) {
                        next += 1;
                    }
                    retry = Some((star, next));
                    at = next;
                    sign = star + 1;
                }
                None => return Some(false),
            },
        }
    }
    Some(signs[sign..].iter().all(|sign| *sign == b'*'))
}
