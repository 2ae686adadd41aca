//! Envelopes: JSON objects that are not records but contain records.
//!
//! * A page of an API list: one array of objects under a name that APIs use for lists, and no other members than those of a page.
//! * A message of a CloudWatch Logs subscription. Each of its log events holds a record as text.
//!
//! An envelope can be recognised only when it is read completely: a record that has a list among its fields also has other fields, and
//! those fields distinguish it from a page.

use std::{collections::VecDeque, ops::Range};

use super::scan::{Found, Scan};
use crate::json::{Document, Node, Reader};

/// Names of the array member of a page.
const LISTS: [&str; 10] = [
    "Records", "records", "items", "entries", "events", "value", "values", "data", "results",
    "logs",
];

/// Names of the other members of a page: its kind, its counts, and the link to the next page.
const BESIDE: [&str; 56] = [
    "kind",
    "etag",
    "apiVersion",
    "metadata",
    "object",
    "nextPageToken",
    "pageToken",
    "nextToken",
    "NextToken",
    "nextLink",
    "@odata.context",
    "@odata.nextLink",
    "@odata.count",
    "@odata.deltaLink",
    "next",
    "previous",
    "prev",
    "first",
    "last",
    "self",
    "next_url",
    "prev_url",
    "total",
    "totalCount",
    "total_count",
    "totalResults",
    "count",
    "size",
    "limit",
    "offset",
    "page",
    "pages",
    "pageSize",
    "page_size",
    "perPage",
    "per_page",
    "startIndex",
    "itemsPerPage",
    "chunk_size",
    "next_stream_position",
    "response_metadata",
    "meta",
    "links",
    "_links",
    "paging",
    "pagination",
    "cursor",
    "cursors",
    "next_cursor",
    "nextCursor",
    "hasMore",
    "has_more",
    "ok",
    "success",
    "requestId",
    "request_id",
];

/// The members of a message of a CloudWatch Logs subscription.
const SUBSCRIPTION: [&str; 7] = [
    "messageType",
    "owner",
    "logGroup",
    "logStream",
    "subscriptionFilters",
    "logEvents",
    "policyLevel",
];

/// Content of an envelope.
#[derive(Debug, PartialEq)]
pub(super) enum Content {
    /// Records, as byte ranges in the object's text.
    Records(VecDeque<Range<usize>>),
    /// Log events, as byte ranges in the object's text. The record is the `message` of each log event.
    Messages(VecDeque<Range<usize>>),
    /// A control message of the subscription itself. It holds no log.
    Control,
    /// A page without records.
    Nothing,
}

/// The content of the object in `text`, or `None` if the object is not an envelope.
pub(super) fn open(text: &[u8]) -> Option<Content> {
    let members = members(text)?;
    let get = |name: &str| {
        members
            .iter()
            .find(|(key, _)| *key == name)
            .map(|(_, range)| range.clone())
    };
    if let (Some(kind), Some(_), Some(events)) =
        (get("messageType"), get("logGroup"), get("logEvents"))
    {
        return match text.get(kind)? {
            b"\"CONTROL_MESSAGE\"" => Some(Content::Control),
            b"\"DATA_MESSAGE\"" => elements(text, events).map(Content::Messages),
            _ => None,
        };
    }
    if !members
        .iter()
        .all(|(key, _)| LISTS.contains(key) || is_beside(key))
    {
        return None;
    }
    let mut lists = members.iter().filter(|(key, _)| LISTS.contains(key));
    let (Some((_, list)), None) = (lists.next(), lists.next()) else {
        return None;
    };
    let records = elements(text, list.clone())?;
    Some(if records.is_empty() {
        Content::Nothing
    } else {
        Content::Records(records)
    })
}

/// True if a member of this name belongs to a page and not to a record.
pub(super) fn is_beside(name: &str) -> bool {
    BESIDE.contains(&name)
}

/// True if `text`, the members of an envelope other than its array, holds nothing that could be a record.
pub(super) fn is_simple(text: &[u8]) -> bool {
    let Ok(text) = std::str::from_utf8(text) else {
        return false;
    };
    let object = format!("{{{}}}", text.trim().trim_start_matches(','));
    let mut nodes = Vec::new();
    if Reader::new(64).read(&object, &mut nodes).is_err() {
        return false;
    }
    let document = Document::new(&nodes);
    document.members(0).all(|(key, at)| {
        is_beside(&key.decoded())
            || !(at..document.after(at)).any(|at| matches!(document.node(at), Node::Object { .. }))
    })
}

/// The message of a log event; `None` if it has no message.
pub(super) fn message(event: &[u8]) -> Option<Vec<u8>> {
    let text = std::str::from_utf8(event).ok()?;
    let mut nodes = Vec::new();
    Reader::new(64).read(text, &mut nodes).ok()?;
    let document = Document::new(&nodes);
    match document.node(document.get(0, "message")?) {
        Node::String(message) => Some(message.decoded().trim_end().as_bytes().to_vec()),
        _ => None,
    }
}

fn blanks(text: &[u8], at: usize) -> usize {
    at + text
        .get(at..)
        .unwrap_or_default()
        .iter()
        .take_while(|byte| byte.is_ascii_whitespace())
        .count()
}

/// The members of an object, with the byte ranges of their values. `None` if `text` is not an object, or if it has a member that no
/// envelope has.
fn members(text: &[u8]) -> Option<Vec<(&str, Range<usize>)>> {
    let mut members = Vec::new();
    let mut at = blanks(text, 1);
    loop {
        let key = text.get(at..)?.strip_prefix(b"\"")?;
        let key = key.get(..memchr::memchr(b'"', key)?)?;
        let name = std::str::from_utf8(key).ok()?;
        if !(LISTS.contains(&name) || is_beside(name) || SUBSCRIPTION.contains(&name)) {
            return None;
        }
        at = blanks(text, at + key.len() + 2);
        if text.get(at) != Some(&b':') {
            return None;
        }
        at = blanks(text, at + 1);
        let end = value_end(text, at)?;
        members.push((name, at..end));
        at = blanks(text, end);
        match text.get(at)? {
            b',' => at = blanks(text, at + 1),
            b'}' if blanks(text, at + 1) == text.len() => return Some(members),
            _ => return None,
        }
    }
}

/// The byte ranges of the objects in the array at `array`; `None` if the array holds anything other than objects.
fn elements(text: &[u8], array: Range<usize>) -> Option<VecDeque<Range<usize>>> {
    let mut elements = VecDeque::new();
    if text.get(array.start) != Some(&b'[') {
        return None;
    }
    let mut at = blanks(text, array.start + 1);
    if text.get(at) == Some(&b']') {
        return Some(elements);
    }
    loop {
        if text.get(at) != Some(&b'{') {
            return None;
        }
        let end = value_end(text, at)?;
        elements.push_back(at..end);
        at = blanks(text, end);
        match text.get(at)? {
            b',' => at = blanks(text, at + 1),
            b']' => return Some(elements),
            _ => return None,
        }
    }
}

/// The end of the value that begins at `at`.
fn value_end(text: &[u8], at: usize) -> Option<usize> {
    let rest = text.get(at..)?;
    match rest.first()? {
        b'{' | b'[' => {
            // the lines of the document belong to the value, in whichever column they begin
            let mut scan = Scan::value();
            match scan.run(rest, true) {
                Found::End(length) if scan.is_strict() => Some(at + length),
                _ => None,
            }
        }
        b'"' => {
            let mut from = 1;
            loop {
                from += memchr::memchr2(b'"', b'\\', rest.get(from..)?)?;
                match rest.get(from)? {
                    b'"' => return Some(at + from + 1),
                    _ => from += 2,
                }
            }
        }
        _ => {
            let length = rest.iter().position(|byte| {
                byte.is_ascii_whitespace() || matches!(byte, b',' | b'}' | b']')
            })?;
            (length > 0).then_some(at + length)
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn records(text: &str) -> Option<Vec<&str>> {
        match open(text.as_bytes())? {
            Content::Records(ranges) | Content::Messages(ranges) => {
                Some(ranges.into_iter().map(|range| &text[range]).collect())
            }
            Content::Control | Content::Nothing => Some(Vec::new()),
        }
    }

    #[test]
    fn a_page_is_told_from_a_record_by_what_stands_beside_its_list() {
        for (text, expected) in [
            (
                r#"{"kind":"x","items":[{"a":1},{"b":"]"}],"nextPageToken":"t"}"#,
                Some(vec![r#"{"a":1}"#, r#"{"b":"]"}"#]),
            ),
            (r#"{"items":[]}"#, Some(vec![])),
            (r#"{"items":[{"a":1}],"customer":"x"}"#, None),
            (r#"{"items":[1,2]}"#, None),
            (r#"{"items":{"a":1}}"#, None),
            (r#"{"items":[{"a":1}],"data":[{"b":1}]}"#, None),
            (
                r#"{"kind":"admin#reports#activity","id":{},"events":[{"a":1}]}"#,
                None,
            ),
            (
                r#"{"messageType":"CONTROL_MESSAGE","logGroup":"g","logEvents":[{"message":"m"}]}"#,
                Some(vec![]),
            ),
            (
                r#"{"messageType":"DATA_MESSAGE","logGroup":"g","logEvents":[{"message":"m"}]}"#,
                Some(vec![r#"{"message":"m"}"#]),
            ),
            (r#"{"a":1}"#, None),
            (r#"{"#, None),
        ] {
            assert_eq!(records(text), expected, "{text}");
        }
    }
}
