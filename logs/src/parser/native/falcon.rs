//! Records of CrowdStrike's Falcon Data Replicator. Each kind of event has fields of its own beside a header that all share. Detections look
//! at both by fixed names, so an event has the header's fields, the kind as `fdr_event_type`, and the whole record as `event`.

use crate::json::{Document, Node};

use super::{Line, Reading};

/// Fields of the header, with the names that external events have for them instead.
const HEADER: [(&str, &[&str]); 20] = [
    ("aid", &["AgentIdString", "SensorId"]),
    ("aip", &[]),
    ("cid", &["CustomerIdString"]),
    ("id", &[]),
    ("name", &[]),
    ("timestamp", &[]),
    ("event_platform", &[]),
    ("event_simpleName", &[]),
    ("ComputerName", &[]),
    ("ConfigBuild", &[]),
    ("ConfigStateHash", &[]),
    ("ContextProcessId", &[]),
    ("ContextThreadId", &[]),
    ("ContextTimeStamp", &[]),
    ("EffectiveTransmissionClass", &[]),
    ("Entitlements", &[]),
    ("Hostname", &["HostnameField"]),
    ("InContext", &[]),
    ("TreeId", &[]),
    ("UserName", &[]),
];

pub(super) fn read(line: &Line<'_, '_>, out: &mut Vec<String>) -> Result<Reading, String> {
    let document = line.json?;
    if document.get(0, "fdr_event_type").is_some() {
        // an event that is a record again
        return Ok(Reading::AsItIs);
    }
    let kind = text(document, "event_simpleName")
        .or_else(|| text(document, "ExternalApiType"))
        .ok_or("has neither event_simpleName nor ExternalApiType")?;
    let mut json = String::from("{\"fdr_event_type\":");
    document.write(kind, &[], &mut json);
    for (name, others) in HEADER {
        let value = text(document, name)
            .or_else(|| others.iter().find_map(|other| text(document, other)))
            .or_else(|| document.get(0, name));
        if let Some(at) = value {
            json.push_str(",\"");
            json.push_str(name);
            json.push_str("\":");
            document.write(at, &[], &mut json);
        }
    }
    json.push_str(",\"event\":");
    document.write(0, &[], &mut json);
    json.push('}');
    out.push(json);
    Ok(Reading::Written)
}

/// The member of the record with that name, if it is a text that is not empty.
fn text(document: Document<'_, '_>, name: &str) -> Option<usize> {
    document
        .get(0, name)
        .filter(|at| matches!(document.node(*at), Node::String(text) if !text.raw().is_empty()))
}
