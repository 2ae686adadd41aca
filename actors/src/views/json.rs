//! Rows and messages as JSON for people.

use panther_proto::v1::{FeedRecord, Row, Value, value};
use prost::Message;
use serde_json::json;

/// A value; bytes are shown by their number only, for they may be secrets.
pub(super) fn value(value: &Value) -> serde_json::Value {
    match &value.kind {
        None | Some(value::Kind::Null(_)) => serde_json::Value::Null,
        Some(value::Kind::Flag(flag)) => json!(flag),
        Some(value::Kind::Int(int)) => json!(int),
        Some(value::Kind::Text(text)) => json!(text),
        Some(value::Kind::Blob(blob)) => json!(format!("<{} bytes>", blob.len())),
        Some(value::Kind::Set(set)) => json!(set.items),
        Some(value::Kind::Json(text)) => {
            crate::json::read(text.as_bytes()).unwrap_or_else(|_| json!(text))
        }
    }
}

/// A row. Hashes of tokens are not shown.
pub(super) fn row(row: &Row) -> serde_json::Value {
    let shown = row.attributes.iter().map(|(name, held)| {
        (
            name.clone(),
            if name == "tokenHash" {
                json!("<hash>")
            } else {
                value(held)
            },
        )
    });
    serde_json::Value::Object(shown.collect())
}

/// A message's body as text; a feed's record taken apart.
pub(super) fn body(queue: &str, bytes: &[u8]) -> String {
    let is_feed = queue.ends_with("-feed") || queue.ends_with("-feed-dlq");
    if is_feed && let Ok(record) = FeedRecord::decode(bytes) {
        let image = |image: &Option<Row>| image.as_ref().map(row);
        let key = record.key.as_ref().map(|key| &key.hash);
        return json!({"table": record.table, "key": key, "old": image(&record.old), "new": image(&record.new)}).to_string();
    }
    String::from_utf8_lossy(bytes).into_owned()
}
