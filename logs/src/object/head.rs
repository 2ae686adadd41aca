//! What begins at the head of a line, and whether an object is text at all.

/// How far the head of a line is looked at to tell what begins there.
pub(super) const LOOK_AHEAD: usize = 256;
/// NUL bytes in a row that are a hole in the file and no part of a line.
pub(super) const HOLE: usize = 16;

/// Names under which writers wrap an array of records of any length, as the object's first member.
const WRAPPERS: [&[u8]; 2] = [b"\"Records\"", b"\"records\""];

/// What begins at the head of a line.
#[derive(Debug, PartialEq)]
pub(super) enum Head {
    /// An array of records, whose first element comes after `length` bytes; `wrapped` in an object.
    Array { length: usize, wrapped: bool },
    /// A JSON document written over several lines.
    Document,
    /// A line that may be one JSON object, or several.
    Object,
    /// Any other line.
    Text,
}

/// Tells what begins at `rest`, of which [`LOOK_AHEAD`] bytes are there, or all.
pub(super) fn head(rest: &[u8]) -> Head {
    let skip = |at: usize| {
        at + rest
            .get(at..)
            .unwrap_or_default()
            .iter()
            .take_while(|byte| byte.is_ascii_whitespace())
            .count()
    };
    match rest.first() {
        Some(b'[') => {
            let element = skip(1);
            let is_array = match rest.get(element) {
                // a log line can begin with `[{` too; an object begins with a key, or ends
                Some(b'{') => matches!(rest.get(skip(element + 1)), Some(b'"' | b'}')),
                Some(b']') => matches!(
                    rest.get(skip(element + 1)),
                    None | Some(b'\n' | b'[' | b'{')
                ),
                None => element > 1,
                Some(_) => false,
            };
            // `[` alone on its line, with its first element further down
            let alone = rest
                .get(1..element)
                .is_some_and(|space| space.contains(&b'\n'))
                && rest.get(element) == Some(&b'{');
            if is_array || alone {
                Head::Array {
                    length: 1,
                    wrapped: false,
                }
            } else {
                Head::Text
            }
        }
        Some(b'{') => {
            let key = skip(1);
            let name = WRAPPERS
                .iter()
                .find(|name| rest.get(key..).is_some_and(|rest| rest.starts_with(name)));
            if let Some(name) = name {
                let colon = skip(key + name.len());
                let array = skip(colon + 1);
                if rest.get(colon) == Some(&b':') && rest.get(array) == Some(&b'[') {
                    return Head::Array {
                        length: array + 1,
                        wrapped: true,
                    };
                }
            }
            let line_end = rest
                .get(1..)
                .unwrap_or_default()
                .iter()
                .find(|byte| !matches!(byte, b' ' | b'\t' | b'\r'));
            if line_end == Some(&b'\n') {
                Head::Document
            } else {
                Head::Object
            }
        }
        _ => Head::Text,
    }
}

/// Whether a line holds `}` and `{` with no more than blanks between: perhaps several values without a line end between them.
pub(super) fn may_be_joined(line: &[u8]) -> bool {
    memchr::memchr_iter(b'{', line).any(|at| {
        line.get(..at)
            .unwrap_or_default()
            .iter()
            .rev()
            .find(|byte| !matches!(byte, b' ' | b'\t'))
            == Some(&b'}')
    })
}

/// Where the first hole of `line` begins.
pub(super) fn hole(line: &[u8]) -> Option<usize> {
    let mut at = memchr::memchr(0, line)?;
    loop {
        let length = nuls(line.get(at..).unwrap_or_default());
        if length >= HOLE {
            return Some(at);
        }
        at += length;
        at += memchr::memchr(0, line.get(at..).unwrap_or_default())?;
    }
}

/// How many NUL bytes `text` begins with.
pub(super) fn nuls(text: &[u8]) -> usize {
    text.iter().take_while(|byte| **byte == 0).count()
}

/// What an object is that begins with `head` and is no text. A single bad line is that line's matter; but where more than half of the head
/// is in bad lines, the first among them, each further "line" would be one more piece of the same rubbish. Holes are passed over.
pub(super) fn no_text(head: &[u8], name: &str) -> Option<&'static str> {
    let mut rest = head;
    let (mut bad, mut seen, mut first) = (0, 0, None);
    while !rest.is_empty() {
        let end = memchr::memchr(b'\n', rest).unwrap_or(rest.len());
        let line = rest.get(..end).unwrap_or_default();
        let line = line.get(..hole(line).unwrap_or(end)).unwrap_or_default();
        let after = rest.get(line.len()..).unwrap_or_default();
        let hole = nuls(after);
        rest = after.get(hole..).unwrap_or_default();
        rest = rest.strip_prefix(b"\n").unwrap_or(rest);
        if line.is_empty() {
            continue;
        }
        // the last may be cut in the middle of a character
        let invalid = std::str::from_utf8(line)
            .is_err_and(|error| error.error_len().is_some() || !rest.is_empty());
        let is_bad = invalid || memchr::memchr(0, line).is_some();
        first = first.or(Some(is_bad));
        seen += line.len();
        bad += if is_bad { line.len() } else { 0 };
    }
    if first != Some(true) || bad * 2 <= seen {
        return None;
    }
    Some(
        if head.starts_with(b"\xff\xfe") || head.starts_with(b"\xfe\xff") {
            "UTF-16; only UTF-8 is read"
        } else if name.ends_with(".gz") {
            "binary data, though its name ends in .gz"
        } else if name.ends_with(".zst") {
            "binary data, though its name ends in .zst"
        } else {
            "binary data"
        },
    )
}
