//! Names of objects, rows that say they are named, and notifications that tell of them in the form of S3 events.

use std::collections::BTreeMap;
use std::io::{Read, Write};

use bytes::Bytes;
use chrono::{DateTime, Utc};
use flate2::Compression;
use flate2::read::MultiGzDecoder;
use flate2::write::GzEncoder;
use panther_cluster::door::change::{self, Change};
use panther_proto::v1::{RowChange, Send};
use serde::{Deserialize, Serialize};
use serde_json::json;
use sha2::{Digest, Sha256};

use crate::sealing::hex;

/// The table of named objects.
pub const TABLE: &str = "panther-objects";
/// The bucket's name in notifications of our own store.
pub const BUCKET: &str = "panther";
/// Most bytes that a processed object has when it is unpacked; larger ones are no work of ours.
const UNPACKED: u64 = 512 << 20;

/// An object that was written and is about to be named.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Written {
    /// Its name.
    pub name: String,
    /// Its bytes.
    pub bytes: u64,
    /// SHA-256 of its bytes.
    pub hash: String,
}

impl Written {
    /// Of this content.
    #[must_use]
    pub fn of(name: String, content: &[u8]) -> Self {
        Self {
            name,
            bytes: content.len() as u64,
            hash: hex(&Sha256::digest(content)),
        }
    }

    /// The row that names it: what no row names is swept after a day.
    #[must_use]
    pub fn row(&self, now_ms: u64) -> RowChange {
        Change::put(TABLE, change::key(&self.name))
            .set("bytes", self.bytes)
            .set("hash", &self.hash)
            .set("namedAt", now_ms)
            .done()
    }
}

/// A cluster time as date and time.
#[must_use]
pub fn date(ms: u64) -> DateTime<Utc> {
    i64::try_from(ms)
        .ok()
        .and_then(DateTime::from_timestamp_millis)
        .unwrap_or_default()
}

/// A cluster time in RFC 3339, as rows and messages carry it.
#[must_use]
pub fn rfc3339(ms: u64) -> String {
    date(ms).to_rfc3339_opts(chrono::SecondsFormat::Millis, true)
}

/// The table's name of a log type: lower case, dots become underscores.
#[must_use]
pub fn table_name(log_type: &str) -> String {
    log_type
        .to_lowercase()
        .chars()
        .map(|letter| {
            if letter.is_ascii_alphanumeric() {
                letter
            } else {
                '_'
            }
        })
        .collect()
}

/// `<kind>/<table>/year=…/month=…/day=…/hour=…/<hour>-<unique>.json.gz`.
#[must_use]
pub fn partitioned(kind: &str, log_type: &str, hour_ms: u64, unique: &str) -> String {
    let at = date(hour_ms);
    format!(
        "{kind}/{}/{}/{}-{unique}.json.gz",
        table_name(log_type),
        at.format("year=%Y/month=%m/day=%d/hour=%H"),
        at.format("%Y%m%dT%H0000Z")
    )
}

/// Lines, packed.
///
/// # Errors
/// Packing in memory does not fail; the type says it may.
pub fn pack(lines: &[u8]) -> std::io::Result<Bytes> {
    let mut encoder = GzEncoder::new(Vec::with_capacity(lines.len() / 6), Compression::new(3));
    encoder.write_all(lines)?;
    Ok(encoder.finish()?.into())
}

/// Lines, unpacked.
///
/// # Errors
/// The bytes are not gzip, or far too many.
pub fn unpack(content: &[u8]) -> std::io::Result<Vec<u8>> {
    let mut lines = Vec::with_capacity(content.len() * 6);
    MultiGzDecoder::new(content)
        .take(UNPACKED)
        .read_to_end(&mut lines)?;
    Ok(lines)
}

/// Tells the processed-data topic of an object.
#[must_use]
pub fn processed(topic: &str, kind: &str, id: &str, object: &Written) -> Send {
    let attributes = BTreeMap::from([
        ("type".to_owned(), kind.to_owned()),
        ("id".to_owned(), id.to_owned()),
    ]);
    change::to_topic(
        topic,
        s3_event(&object.name, object.bytes).to_string(),
        attributes,
    )
}

/// An S3 event of one record.
#[must_use]
pub fn s3_event(key: &str, bytes: u64) -> serde_json::Value {
    json!({"Records": [{"eventVersion": "2.0", "eventSource": "aws:s3", "eventName": "ObjectCreated:Put",
        "s3": {"bucket": {"name": BUCKET}, "object": {"key": key, "size": bytes}}}]})
}

/// One object that a notification names.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Named {
    /// The bucket.
    pub bucket: String,
    /// The key, decoded.
    pub key: String,
    /// Its bytes; `None` = not told.
    pub size: Option<u64>,
}

/// What a message to the input queue says.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Notification {
    /// Objects to read.
    Objects(Vec<Named>),
    /// Nothing to do, for this reason.
    Ignored(&'static str),
}

/// Reads a notification: an SNS envelope around an S3 event, a CloudTrail notice or a test, or one of these bare.
///
/// # Errors
/// It is none of them; the text says why.
pub fn notification(body: &[u8]) -> Result<Notification, String> {
    let value: serde_json::Value = serde_json::from_slice(body)
        .map_err(|error| format!("the notification is no JSON: {error}"))?;
    match (value.get("Type").and_then(|kind| kind.as_str()), value.get("Message").and_then(|message| message.as_str())) {
        (Some("Notification"), Some(message)) => payload(message),
        (Some("SubscriptionConfirmation"), _) => Err("it asks to confirm a subscription of an SNS topic, which this system does not do: confirm it at the topic's owner".to_owned()),
        (Some(other), _) => Err(format!("an envelope of type {other:?} is no notification")),
        (None, _) => records(&value),
    }
}

fn payload(message: &str) -> Result<Notification, String> {
    if message == "CloudTrail validation message." {
        return Ok(Notification::Ignored("CloudTrail's validation message"));
    }
    let value: serde_json::Value = serde_json::from_str(message)
        .map_err(|error| format!("the notification's message is no JSON: {error}"))?;
    records(&value)
}

fn records(value: &serde_json::Value) -> Result<Notification, String> {
    if value.get("Event").and_then(|event| event.as_str()) == Some("s3:TestEvent") {
        return Ok(Notification::Ignored("S3's test event"));
    }
    if let (Some(bucket), Some(keys)) = (
        value.get("s3Bucket").and_then(|bucket| bucket.as_str()),
        value.get("s3ObjectKey").and_then(|keys| keys.as_array()),
    ) {
        let named = keys.iter().filter_map(|key| key.as_str()).map(|key| Named {
            bucket: bucket.to_owned(),
            key: key.to_owned(),
            size: None,
        });
        return Ok(Notification::Objects(named.collect()));
    }
    let Some(records) = value.get("Records").and_then(|records| records.as_array()) else {
        return Err(
            "it holds neither Records, nor s3Bucket and s3ObjectKey, and is no test event"
                .to_owned(),
        );
    };
    let mut objects = Vec::new();
    for record in records {
        let (Some(bucket), Some(key)) = (
            record
                .pointer("/s3/bucket/name")
                .and_then(|name| name.as_str()),
            record
                .pointer("/s3/object/key")
                .and_then(|key| key.as_str()),
        ) else {
            return Err("a record names no bucket and key".to_owned());
        };
        let size = record
            .pointer("/s3/object/size")
            .and_then(serde_json::Value::as_u64);
        if size == Some(0) || key.ends_with('/') {
            continue; // a folder's marker
        }
        // Notifications of our own store carry the key as it is.
        let key = if bucket == BUCKET {
            key.to_owned()
        } else {
            percent_decoded(key)
        };
        objects.push(Named {
            bucket: bucket.to_owned(),
            key,
            size,
        });
    }
    Ok(if objects.is_empty() {
        Notification::Ignored("it names only empty objects")
    } else {
        Notification::Objects(objects)
    })
}

/// S3 writes keys in notifications like a form: `+` is a space, the rest is percent-encoded.
fn percent_decoded(key: &str) -> String {
    let bytes = key.as_bytes();
    let mut out = Vec::with_capacity(bytes.len());
    let mut at = 0;
    while at < bytes.len() {
        let hex = (bytes[at] == b'%')
            .then(|| key.get(at + 1..at + 3))
            .flatten()
            .and_then(|digits| u8::from_str_radix(digits, 16).ok());
        match (bytes[at], hex) {
            (_, Some(byte)) => {
                out.push(byte);
                at += 3;
            }
            (b'+', None) => {
                out.push(b' ');
                at += 1;
            }
            (byte, None) => {
                out.push(byte);
                at += 1;
            }
        }
    }
    String::from_utf8(out).unwrap_or_else(|_| key.to_owned())
}

#[cfg(test)]
mod tests {
    use super::*;

    fn objects(body: &serde_json::Value) -> Vec<Named> {
        match notification(body.to_string().as_bytes()) {
            Ok(Notification::Objects(objects)) => objects,
            other => panic!("{other:?}"),
        }
    }

    #[test]
    fn an_s3_event_is_read_bare_and_in_an_envelope() {
        let event = json!({"Records": [{"s3": {"bucket": {"name": "logs"}, "object": {"key": "a+b/c%3Dd%2Be.gz", "size": 12}}}]});
        let expected = vec![Named {
            bucket: "logs".into(),
            key: "a b/c=d+e.gz".into(),
            size: Some(12),
        }];
        assert_eq!(objects(&event), expected);
        assert_eq!(
            objects(
                &json!({"Type": "Notification", "TopicArn": "arn", "Message": event.to_string()})
            ),
            expected
        );
        assert_eq!(
            objects(&s3_event("raw/a+b", 3)),
            vec![Named {
                bucket: BUCKET.into(),
                key: "raw/a+b".into(),
                size: Some(3)
            }]
        );
    }

    #[test]
    fn cloudtrail_notices_tests_and_folders_are_known_and_all_else_is_refused_with_its_reason() {
        let notice = json!({"s3Bucket": "b", "s3ObjectKey": ["k1", "k2"]});
        assert_eq!(objects(&notice).len(), 2);
        let ignored = |body: serde_json::Value| {
            matches!(
                notification(body.to_string().as_bytes()),
                Ok(Notification::Ignored(_))
            )
        };
        assert!(ignored(json!({"Event": "s3:TestEvent"})));
        assert!(ignored(
            json!({"Type": "Notification", "Message": "CloudTrail validation message."})
        ));
        assert!(ignored(
            json!({"Records": [{"s3": {"bucket": {"name": "b"}, "object": {"key": "folder/", "size": 0}}}]})
        ));
        assert!(notification(b"{").unwrap_err().contains("no JSON"));
        assert!(notification(b"{}").unwrap_err().contains("Records"));
    }

    #[test]
    fn names_follow_the_lakes_partitions() {
        assert_eq!(
            partitioned("logs", "AWS.CloudTrail", 1_772_719_500_000, "m-1-0"),
            "logs/aws_cloudtrail/year=2026/month=03/day=05/hour=14/20260305T140000Z-m-1-0.json.gz"
        );
    }
}
