//! Events: a classified record with the standard fields, as one line of JSON.

use std::sync::Arc;

use sha2::{Digest, Sha256};

use crate::{
    json::{Document, push_quoted},
    schema::Findings,
    time::Timestamp,
};

/// Origin of an event: its source, object and parse time. One context per object.
#[derive(Debug, Clone)]
pub struct EventContext {
    parse_time: Timestamp,
    /// `,"p_parse_time":…,"p_source_id":…,"p_source_label":…`, the same for every event of the object.
    origin: String,
    /// Prefix of the row ids of the object.
    object: String,
}

impl EventContext {
    /// `object_id` is the permanent id of the object: reading the same object again gives the same row ids. `parse_time` comes from the
    /// caller's clock, because this library has no clock.
    pub fn new(
        source_id: &str,
        source_label: &str,
        object_id: &str,
        parse_time: Timestamp,
    ) -> Self {
        let mut origin = format!(",\"p_parse_time\":\"{parse_time}\",\"p_source_id\":");
        push_quoted(source_id, &mut origin);
        origin.push_str(",\"p_source_label\":");
        push_quoted(source_label, &mut origin);
        let digest = Sha256::digest(object_id.as_bytes());
        let object = data_encoding::HEXLOWER.encode(&digest[..12]);
        Self {
            parse_time,
            origin,
            object,
        }
    }

    /// Fallback event time for events without a time of their own.
    pub fn parse_time(&self) -> Timestamp {
        self.parse_time
    }

    /// Row id of an event: 24 hexadecimal digits for the object (prefix of the SHA-256 of its id), 12 for the record number and 8 for the
    /// event within the record. Row ids are unique within an object, are the same on every reading, and sort in the order of the object's
    /// records.
    pub fn row_id(&self, record: u64, sub: u32) -> String {
        let mut id = String::with_capacity(44);
        id.push_str(&self.object);
        hex(record, 12, &mut id);
        hex(u64::from(sub), 8, &mut id);
        id
    }
}

fn hex(number: u64, digits: u32, out: &mut String) {
    for digit in (0..digits).rev() {
        out.push(char::from_digit((number >> (4 * digit)) as u32 & 15, 16).unwrap_or('0'));
    }
}

/// An event: a classified record, or one of several events that a record held.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Event {
    /// The log type that matched the record.
    pub log_type: Arc<str>,
    /// The event's own time, or the parse time if the event has no time.
    pub event_time: Timestamp,
    /// See [`EventContext::row_id`].
    pub row_id: String,
    /// The event in UTF-8: one JSON object on one line, without a line end. Fields keep their original form, except that declared
    /// timestamps are rewritten to `YYYY-MM-DD HH:MM:SS.fffffffff`. The standard fields follow.
    pub json: Vec<u8>,
    /// Optional fields whose values do not have the declared type, each with a description of the mismatch. These fields keep their
    /// original form in the event.
    pub misfits: Vec<String>,
}

/// Reserved names: the standard fields of an event, and the fields that later stages add. A record's own fields of these names are removed
/// from its event, because the sender of a log line must not be able to forge its origin or its analysis results.
const RESERVED: [&str; 18] = [
    "p_log_type",
    "p_row_id",
    "p_event_time",
    "p_parse_time",
    "p_source_id",
    "p_source_label",
    "p_source_file",
    "p_schema_version",
    "p_rule_id",
    "p_rule_tags",
    "p_rule_reports",
    "p_rule_error",
    "p_alert_id",
    "p_alert_creation_time",
    "p_alert_update_time",
    "p_alert_context",
    "p_enrichment",
    "p_udm",
];

/// True if a field name is reserved for standard fields.
pub(crate) fn is_reserved(name: &str) -> bool {
    name.starts_with("p_") && (name.starts_with("p_any_") || RESERVED.contains(&name))
}

/// Builds the event of the object at `at`.
pub(crate) fn build(
    log_type: &Arc<str>,
    document: Document<'_, '_>,
    at: usize,
    findings: &mut Findings<'_>,
    context: &EventContext,
    record: u64,
    sub: u32,
) -> Event {
    let event_time = findings.event_time().unwrap_or(context.parse_time);
    let row_id = context.row_id(record, sub);
    let mut json = String::with_capacity(1024);
    if document
        .members(at)
        .any(|(key, _)| is_reserved(&key.decoded()))
    {
        write_unreserved(document, at, findings, &mut json);
    } else {
        document.write(at, &findings.rewrites, &mut json);
        json.pop();
    }
    if json.len() > 1 {
        json.push(',');
    }
    json.push_str("\"p_log_type\":\"");
    json.push_str(log_type);
    json.push_str("\",\"p_row_id\":\"");
    json.push_str(&row_id);
    json.push_str("\",\"p_event_time\":\"");
    event_time.write(&mut json);
    json.push('"');
    json.push_str(&context.origin);
    findings.indicators.write(&mut json);
    json.push('}');
    Event {
        log_type: Arc::clone(log_type),
        event_time,
        row_id,
        json: json.into_bytes(),
        misfits: findings.misfits.iter().map(ToString::to_string).collect(),
    }
}

/// Writes the object without its closing bracket and without fields of reserved names.
fn write_unreserved(
    document: Document<'_, '_>,
    at: usize,
    findings: &Findings<'_>,
    json: &mut String,
) {
    json.push('{');
    for (key, value) in document
        .members(at)
        .filter(|(key, _)| !is_reserved(&key.decoded()))
    {
        if json.len() > 1 {
            json.push(',');
        }
        json.push('"');
        key.write(json);
        json.push_str("\":");
        document.write(value, &findings.rewrites, json);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn row_ids_tell_object_record_and_place() {
        let context = EventContext::new("s", "l", "object", Timestamp::EPOCH);
        let id = context.row_id(258, 3);
        assert_eq!(id.len(), 44);
        assert!(id.ends_with("00000000010200000003"));
        assert_eq!(
            id,
            EventContext::new("other", "x", "object", Timestamp::EPOCH).row_id(258, 3)
        );
        assert_ne!(
            id,
            EventContext::new("s", "l", "object2", Timestamp::EPOCH).row_id(258, 3)
        );
    }
}
