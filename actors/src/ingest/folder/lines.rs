//! How far content that still grows may be read: up to where a record has ended and a line begins.

use std::io::Read;

use panther_logs::{EventEnds, Limits, ObjectReader, Record};
use serde::de::IgnoredAny;

/// What of the bytes may be read.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) struct Readable {
    /// Bytes of whole records: each ends with a line end, and no array or document is open behind them.
    pub(super) whole: usize,
    /// What follows is JSON with its end, though without a line end.
    pub(super) rest_is_json: bool,
}

/// Looks for the last place where a line begins and no record and no event is open, in bytes that begin at such a place. `ends` knows the
/// events of the source, if one of them may be more than one record; `context` are the text's first lines, where the bytes are not the first.
pub(super) fn readable(
    bytes: &[u8],
    limits: &Limits,
    ends: Option<&mut EventEnds>,
    context: &[u8],
) -> Readable {
    let mut may_begin = false;
    let mut whole_bytes = whole(bytes, limits, |record| {
        may_begin |= ends.as_ref().is_some_and(|ends| ends.may_begin(record));
        false
    });
    if let Some(ends) = ends.filter(|_| may_begin) {
        read_context(ends, context, limits);
        whole_bytes = whole(bytes, limits, |record| ends.take(record));
    }
    Readable {
        whole: whole_bytes,
        rest_is_json: is_json(bytes.get(whole_bytes..).unwrap_or_default()),
    }
}

/// The last place in a whole text where no event is open; `None` if none is open at its end.
pub(super) fn last_end(text: impl Read, limits: &Limits, ends: &mut EventEnds) -> Option<u64> {
    ends.begin();
    let mut reader = ObjectReader::new("", text, limits.clone());
    let (mut last, mut is_open) = (0, false);
    while let Ok(Some(record)) = reader.next_record() {
        is_open = ends.take(&record);
        reader.set_within_event(is_open);
        if let Some(at) = reader.line_begins_at().filter(|_| !is_open) {
            last = at;
        }
    }
    is_open.then_some(last)
}

/// Reads a context as the log processor does.
fn read_context(ends: &mut EventEnds, context: &[u8], limits: &Limits) {
    ends.begin();
    let mut reader = ObjectReader::new("", context, limits.clone());
    while let Ok(Some(record)) = reader.next_record() {
        let is_open = ends.take(&record);
        reader.set_within_event(is_open);
    }
    ends.gap();
}

fn whole(bytes: &[u8], limits: &Limits, mut is_event_open: impl FnMut(&Record) -> bool) -> usize {
    // What one record's end looks like, the reader knows. What is behind the last line end may go on, and so may what it cut.
    let Some(last) = memchr::memrchr(b'\n', bytes) else {
        return 0;
    };
    let lines = bytes.get(..=last).unwrap_or_default();
    let mut reader = ObjectReader::new("", lines, limits.clone());
    let mut whole = 0;
    let (mut is_cut, mut is_open) = (false, false);
    loop {
        let next = reader.next_record();
        if let Ok(next) = &next {
            if let Some(record) = next {
                is_cut = record.is_cut();
                is_open = is_event_open(record);
                reader.set_within_event(is_open);
            }
            let at = reader
                .line_begins_at()
                .and_then(|at| usize::try_from(at).ok());
            if let Some(at) = at
                && !is_open
                && !(is_cut && at >= lines.len())
                && at.checked_sub(1).and_then(|at| lines.get(at)) == Some(&b'\n')
            {
                whole = at;
            }
        }
        match next {
            Ok(Some(_)) => {}
            Ok(None) => return whole,
            // Not for this reader; the log processor says why of each piece.
            Err(_) => return lines.len(),
        }
    }
}

fn is_json(rest: &[u8]) -> bool {
    let begins = rest.iter().find(|byte| !byte.is_ascii_whitespace());
    matches!(begins, Some(b'{' | b'['))
        && serde_json::Deserializer::from_slice(rest)
            .into_iter::<IgnoredAny>()
            .all(|value| value.is_ok())
}

#[cfg(test)]
mod tests {
    use super::*;

    fn of(text: &str) -> (usize, bool) {
        let readable = readable(text.as_bytes(), &Limits::default(), None, &[]);
        (readable.whole, readable.rest_is_json)
    }

    #[test]
    fn lines_are_read_up_to_the_last_line_end() {
        assert_eq!(of("one\ntwo\nhal"), (8, false));
        assert_eq!(of("hal"), (0, false));
        assert_eq!(of(""), (0, false));
        assert_eq!(of("{\"a\":1}\n{\"b\":"), (8, false));
        assert_eq!(of("{\"a\":1}\n{\"b\":2}"), (8, true));
        assert_eq!(of("{\"a\":1}{\"b\":2}"), (0, true));
    }

    #[test]
    fn arrays_and_documents_are_read_once_they_have_ended() {
        assert_eq!(of("{\n  \"a\": 1,\n"), (0, false));
        assert_eq!(of("{\n  \"a\": 1\n}\n"), (13, false));
        assert_eq!(of("{\n  \"a\": 1\n}"), (0, true));
        assert_eq!(of("[{\"a\":1},\n{\"a\":2}"), (0, false));
        assert_eq!(of("[{\"a\":1},\n{\"a\":2}]\n"), (19, false));
        assert_eq!(of("x\n{\"Records\":[{\"a\":1},\n"), (2, false));
        assert_eq!(of("{\"Records\":[{\"a\":1}]}"), (0, true));
    }
}
