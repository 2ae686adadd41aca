//! What a message to the input queue says: which object to read, in the forms in which AWS tells of objects.
//!
//! S3 tells of many objects in one message, tells of them at least once, and tells of much that brings no data. So a message is
//! taken apart into one message per object, each done or failed by itself; a repeated notification is recognised by the object's
//! [identity](Named::identity); and what brings no data is done with a reason.

use serde_json::{Value, json};

use super::objects::BUCKET;
use crate::sealing::token_hash;

/// Most objects that one message may name: each becomes a message of its own in one command.
const MOST: usize = 900;

/// One object that a notification names.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Named {
    /// The bucket.
    pub bucket: String,
    /// The key, decoded.
    pub key: String,
    /// Its bytes; `None` = the notification does not say.
    pub size: Option<u64>,
    /// Distinguishes this version of the object from others: version id, ETag and sequencer, as far as the notification has them.
    pub version: String,
}

impl Named {
    /// The same for each notification of one writing of an object. `None` for objects of our own store: their notifications are
    /// written in the command that makes the object, or by an operator who wants it to be read again.
    #[must_use]
    pub fn identity(&self) -> Option<String> {
        (self.bucket != BUCKET).then(|| {
            let parts = [&self.bucket, &self.key, &self.version];
            let text: String = parts
                .iter()
                .map(|part| format!("{}:{part}", part.len()))
                .collect();
            token_hash(&text)
        })
    }
}

/// What a message to the input queue says.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Notification {
    /// An object to read.
    Object(Named),
    /// Several things, each as the body of a message of its own.
    Several(Vec<String>),
    /// Nothing to do, for this reason.
    Ignored(String),
}

/// Reads a notification: an S3 event, an event of EventBridge, a CloudTrail notice or a test; bare, or in an SNS envelope.
///
/// # Errors
/// The message has none of these forms; the text says why.
pub fn notification(body: &[u8]) -> Result<Notification, String> {
    let value: Value = serde_json::from_slice(body)
        .map_err(|error| format!("the notification is no JSON: {error}"))?;
    match (value["Type"].as_str(), value["Message"].as_str()) {
        (Some("Notification"), Some(message)) => payload(message),
        (Some("SubscriptionConfirmation"), _) => Err("it asks to confirm a subscription of an SNS topic, which this system does not do: confirm it at the topic's owner".to_owned()),
        (Some(other), _) => Err(format!("an envelope of type {other:?} is no notification")),
        (None, _) => event(&value),
    }
}

fn payload(message: &str) -> Result<Notification, String> {
    if message == "CloudTrail validation message." {
        return Ok(ignored("it is CloudTrail's validation message"));
    }
    let value: Value = serde_json::from_str(message)
        .map_err(|error| format!("the notification's message is no JSON: {error}"))?;
    event(&value)
}

fn event(value: &Value) -> Result<Notification, String> {
    if value["Event"] == "s3:TestEvent" {
        return Ok(ignored("it is S3's test event"));
    }
    if let Some(detail_type) = value["detail-type"].as_str() {
        return event_bridge(value, detail_type);
    }
    if let (Some(bucket), Some(keys)) =
        (value["s3Bucket"].as_str(), value["s3ObjectKey"].as_array())
    {
        return several(
            keys,
            |key| cloudtrail_notice(bucket, key),
            |key| json!({"s3Bucket": bucket, "s3ObjectKey": [key]}),
        );
    }
    if let Some(records) = value["Records"].as_array() {
        return several(records, s3_record, |record| json!({"Records": [record]}));
    }
    Err("it is no event of S3 or EventBridge, no CloudTrail notice and no test event: it holds neither Records, nor detail-type, nor s3Bucket and s3ObjectKey".to_owned())
}

/// One thing is read; of several, those that bring data become messages of their own, a bad one too.
fn several(
    items: &[Value],
    read: impl Fn(&Value) -> Result<Notification, String>,
    alone: impl Fn(&Value) -> Value,
) -> Result<Notification, String> {
    match items {
        [] => Ok(ignored("it names no object")),
        [one] => read(one),
        _ => {
            let mut bodies = Vec::new();
            let mut reasons = Vec::new();
            for item in items {
                match read(item) {
                    Ok(Notification::Ignored(reason)) => reasons.push(reason),
                    _ => bodies.push(alone(item).to_string()),
                }
            }
            if bodies.is_empty() {
                reasons.dedup();
                return Ok(ignored(&reasons.join("; ")));
            }
            if bodies.len() > MOST {
                return Err(format!(
                    "it names {} objects, more than {MOST}: tell of them in several messages",
                    bodies.len()
                ));
            }
            Ok(Notification::Several(bodies))
        }
    }
}

fn cloudtrail_notice(bucket: &str, key: &Value) -> Result<Notification, String> {
    let key = key.as_str().ok_or("a key of the notice is no text")?;
    Ok(Notification::Object(Named {
        bucket: bucket.to_owned(),
        key: key.to_owned(),
        size: None,
        version: String::new(),
    }))
}

fn s3_record(record: &Value) -> Result<Notification, String> {
    // Some that speak S3's protocol tell no name of the event, or put `s3:` before it.
    let name = record["eventName"].as_str().unwrap_or("ObjectCreated:");
    let name = name.strip_prefix("s3:").unwrap_or(name);
    if !name.starts_with("ObjectCreated:") {
        return Ok(ignored(&format!("{name} brings no new data")));
    }
    let (bucket, object) = (&record["s3"]["bucket"], &record["s3"]["object"]);
    // Notifications of our own store carry the key as it is; S3 writes it like a form.
    let key = |key: &str| match bucket["name"].as_str() {
        Some(BUCKET) => key.to_owned(),
        _ => percent_decoded(key),
    };
    named(bucket, object, key, "versionId", "eTag")
}

fn event_bridge(value: &Value, detail_type: &str) -> Result<Notification, String> {
    if value["source"] != "aws.s3" {
        return Err(format!(
            "an event of EventBridge of {} names no object; S3 sends as aws.s3",
            value["source"]
        ));
    }
    if detail_type != "Object Created" {
        return Ok(ignored(&format!("{detail_type:?} brings no new data")));
    }
    let detail = &value["detail"];
    named(
        &detail["bucket"],
        &detail["object"],
        str::to_owned,
        "version-id",
        "etag",
    )
}

fn named(
    bucket: &Value,
    object: &Value,
    decoded: impl Fn(&str) -> String,
    version: &str,
    etag: &str,
) -> Result<Notification, String> {
    let (Some(bucket), Some(key)) = (bucket["name"].as_str(), object["key"].as_str()) else {
        return Err("it names no bucket and key".to_owned());
    };
    let size = object["size"].as_u64();
    if size == Some(0) || key.ends_with('/') {
        return Ok(ignored("it names an empty object"));
    }
    let told = [version, etag, "sequencer"].map(|name| object[name].as_str().unwrap_or_default());
    Ok(Notification::Object(Named {
        bucket: bucket.to_owned(),
        key: decoded(key),
        size,
        version: told.join(" ").trim().to_owned(),
    }))
}

fn ignored(reason: &str) -> Notification {
    Notification::Ignored(reason.to_owned())
}

/// S3 writes keys in notifications like a form: `+` is a space, the rest is percent-encoded.
fn percent_decoded(key: &str) -> String {
    let bytes = key.as_bytes();
    let mut out = Vec::with_capacity(bytes.len());
    let mut at = 0;
    while let Some(&byte) = bytes.get(at) {
        let hex = (byte == b'%')
            .then(|| key.get(at + 1..at + 3))
            .flatten()
            .and_then(|digits| u8::from_str_radix(digits, 16).ok());
        at += if hex.is_some() { 3 } else { 1 };
        out.push(match hex {
            Some(decoded) => decoded,
            None if byte == b'+' => b' ',
            None => byte,
        });
    }
    String::from_utf8(out).unwrap_or_else(|_| key.to_owned())
}

#[cfg(test)]
mod tests {
    use super::super::objects::s3_event;
    use super::*;

    fn read(body: &Value) -> Notification {
        notification(body.to_string().as_bytes()).unwrap()
    }

    fn created(key: &str) -> Value {
        json!({"eventName": "ObjectCreated:Put", "s3": {"bucket": {"name": "logs"}, "object": {"key": key, "size": 12, "eTag": "e", "sequencer": "5"}}})
    }

    fn object(key: &str) -> Named {
        Named {
            bucket: "logs".into(),
            key: key.into(),
            size: Some(12),
            version: "e 5".into(),
        }
    }

    #[test]
    fn an_s3_event_is_read_bare_and_in_an_envelope() {
        let event = json!({"Records": [created("a+b/c%3Dd%2Be.gz")]});
        let expected = Notification::Object(object("a b/c=d+e.gz"));
        assert_eq!(read(&event), expected);
        assert_eq!(
            read(&json!({"Type": "Notification", "TopicArn": "arn", "Message": event.to_string()})),
            expected
        );
        let own = read(&s3_event("raw/a+b", 3));
        let Notification::Object(own) = own else {
            panic!("{own:?}")
        };
        assert_eq!((own.key.as_str(), own.identity()), ("raw/a+b", None));
    }

    #[test]
    fn event_bridge_tells_of_an_object_with_its_key_as_it_is() {
        let event = |kind: &str| json!({"detail-type": kind, "source": "aws.s3", "detail": {"bucket": {"name": "logs"}, "object": {"key": "a+b%20.gz", "size": 12, "etag": "e", "sequencer": "5"}}});
        assert_eq!(
            read(&event("Object Created")),
            Notification::Object(object("a+b%20.gz"))
        );
        assert!(matches!(
            read(&event("Object Deleted")),
            Notification::Ignored(_)
        ));
        let other =
            json!({"detail-type": "EC2 Instance State-change Notification", "source": "aws.ec2"});
        assert!(notification(other.to_string().as_bytes()).is_err());
    }

    #[test]
    fn what_brings_no_data_is_ignored_with_its_reason() {
        for name in [
            "ObjectRemoved:Delete",
            "s3:ObjectRemoved:DeleteMarkerCreated",
            "LifecycleExpiration:Delete",
            "ObjectRestore:Completed",
            "ObjectTagging:Put",
            "ObjectAcl:Put",
            "LifecycleTransition",
            "IntelligentTiering",
            "Replication:OperationFailedReplication",
        ] {
            let mut record = created("a");
            record["eventName"] = name.into();
            let Notification::Ignored(reason) = read(&json!({"Records": [record]})) else {
                panic!("{name}")
            };
            assert!(reason.contains("no new data"), "{reason}");
        }
        for body in [
            json!({"Event": "s3:TestEvent"}),
            json!({"Type": "Notification", "Message": "CloudTrail validation message."}),
            json!({"Records": [{"s3": {"bucket": {"name": "b"}, "object": {"key": "folder/", "size": 0}}}]}),
            json!({"Records": []}),
        ] {
            assert!(matches!(read(&body), Notification::Ignored(_)), "{body}");
        }
        assert!(notification(b"{").unwrap_err().contains("no JSON"));
        assert!(notification(b"{}").unwrap_err().contains("Records"));
    }

    #[test]
    fn of_several_records_each_becomes_a_message_of_its_own_and_a_bad_one_spoils_no_other() {
        let mut removed = created("gone");
        removed["eventName"] = "ObjectRemoved:Delete".into();
        let event = json!({"Records": [created("a"), {"eventName": "ObjectCreated:Put"}, removed, created("b")]});
        let Notification::Several(bodies) = read(&event) else {
            panic!()
        };
        let alone: Vec<Result<Notification, String>> = bodies
            .iter()
            .map(|body| notification(body.as_bytes()))
            .collect();
        assert_eq!(alone[0], Ok(Notification::Object(object("a"))));
        assert!(alone[1].as_ref().unwrap_err().contains("no bucket"));
        assert_eq!(alone[2], Ok(Notification::Object(object("b"))));
        assert_eq!(alone.len(), 3);
        let Notification::Several(notices) =
            read(&json!({"s3Bucket": "b", "s3ObjectKey": ["k1", "k2"]}))
        else {
            panic!()
        };
        assert_eq!(notices.len(), 2);
    }

    #[test]
    fn one_writing_of_an_object_has_one_identity_and_another_writing_another() {
        let of = |record: &Value| match read(&json!({"Records": [record]})) {
            Notification::Object(named) => named.identity().unwrap(),
            other => panic!("{other:?}"),
        };
        let first = of(&created("a"));
        assert_eq!(first, of(&created("a")));
        assert_ne!(first, of(&created("b")));
        for (field, value) in [("eTag", "f"), ("sequencer", "6"), ("versionId", "v")] {
            let mut other = created("a");
            other["s3"]["object"][field] = value.into();
            assert_ne!(first, of(&other), "{field}");
        }
    }
}
