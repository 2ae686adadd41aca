//! Lookahead: classifies the start of a line, and checks whether an object is text at all.

/// Lookahead that is needed to classify the start of a line, in bytes.
pub(super) const LOOK_AHEAD: usize = 256;
/// Minimum length of a run of NUL bytes that counts as a hole in the file and not as part of a line.
pub(super) const HOLE: usize = 16;

/// Member names under which writers wrap an array of records of any length. The array is the object's first member.
const WRAPPERS: [&[u8]; 2] = [b"\"Records\"", b"\"records\""];

/// What the start of a line looks like.
#[derive(Debug, PartialEq)]
pub(super) enum Head {
    /// An array of records. Its first element begins after `length` bytes. `wrapped` is true if an object wraps the array.
    Array { length: usize, wrapped: bool },
    /// A JSON document that spans several lines.
    Document,
    /// A line that may be one JSON object or several.
    Object,
    /// Any other line.
    Text,
}

/// Classifies the start of a line at `rest`. `rest` holds at least [`LOOK_AHEAD`] bytes, or all remaining bytes.
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
                // a log line can begin with `[{` too; a JSON object begins with a key, or is empty
                Some(b'{') => matches!(rest.get(skip(element + 1)), Some(b'"' | b'}')),
                Some(b']') => matches!(
                    rest.get(skip(element + 1)),
                    None | Some(b'\n' | b'[' | b'{')
                ),
                None => element > 1,
                Some(_) => false,
            };
            // `[` alone on its line, with its first element on a later line
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

/// True if a line has `}` followed by `{` with only blanks between them: it may hold several values without a line end between them.
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

/// The start of the first hole of `line`.
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

/// Number of NUL bytes at the start of `text`.
pub(super) fn nuls(text: &[u8]) -> usize {
    text.iter().take_while(|byte| **byte == 0).count()
}

/// The binary format of an object that begins with `head`, or `None` if the object is text. A single bad line is a defect of that line
/// only. The object counts as binary if the first line is bad and bad lines make up more than half of the head; each further "line" would
/// be one more fragment of the same binary data. Holes are skipped.
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
        // the last line may be cut inside a multi-byte character
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
