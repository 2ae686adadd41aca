//! Envelopes: JSON objects that are no records but hold some.
//!
//! * A page of an API's list: one array of objects under a name that APIs use for lists, and beside it nothing but what pages have.
//! * A message of a CloudWatch Logs subscription, whose log events each hold a record as a text.
//!
//! An envelope is known only once all of it is read: a record that merely has a list among its fields has other fields too, by which it
//! is told from a page.

use std::{collections::VecDeque, ops::Range};

use super::scan::{Found, Scan};
use crate::json::{Document, Node, Reader};

/// Names of the array in a page.
const LISTS: [&str; 10] = [
    "Records", "records", "items", "entries", "events", "value", "values", "data", "results",
    "logs",
];

/// What stands beside the array in a page: what kind of page it is, how many there are, and where the next one is.
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

/// The members of a CloudWatch Logs subscription's message.
const SUBSCRIPTION: [&str; 7] = [
    "messageType",
    "owner",
    "logGroup",
    "logStream",
    "subscriptionFilters",
    "logEvents",
    "policyLevel",
];

/// What an object holds instead of being a record.
#[derive(Debug, PartialEq)]
pub(super) enum Content {
    /// Records, each at its place in the object's text.
    Records(VecDeque<Range<usize>>),
    /// Log events, each at its place; the record is their message.
    Messages(VecDeque<Range<usize>>),
    /// A message of the subscription itself, about no log.
    Control,
    /// A page without records.
    Nothing,
}

/// What the object that `text` is holds, if it is an envelope.
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

/// Whether a member of that name says something of a page and nothing of a record.
pub(super) fn is_beside(name: &str) -> bool {
    BESIDE.contains(&name)
}

/// Whether `text`, the members of an envelope beside its array, holds nothing that could be a record.
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

/// The message of a log event; none where it has none.
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

/// The members of an object, with the places of their values. None for what is no object or has a member that no envelope has.
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

/// The places of the objects in the array at `array`; none if it holds anything else.
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

/// Where the value that begins at `at` ends.
fn value_end(text: &[u8], at: usize) -> Option<usize> {
    let rest = text.get(at..)?;
    match rest.first()? {
        b'{' | b'[' => {
            // a document's own lines are part of it, wherever they begin
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
