//! What methods answer: typed messages, and for operations without typed methods JSON objects.
//!
//! A node one version away may leave a field out or add one. So reading JSON never fails: what is absent is empty, and `--json` shows everything.

use bytes::Bytes;
use chrono::DateTime;
use panther_proto::methods::Method;
use prost::Message;
use serde_json::Value;

/// An answer that `--json` can show.
pub(crate) trait AsJson {
    /// The answer as one JSON object.
    fn as_json(&self) -> String;
}

/// The answer of a typed method.
#[derive(Debug, Clone)]
pub(crate) struct Reply<M> {
    message: M,
    method: &'static Method,
}

impl<M: Message + Default> Reply<M> {
    /// Of an encoded answer of a method.
    ///
    /// # Errors
    /// The bytes are not such an answer.
    pub(crate) fn read(method: &'static Method, answer: Bytes) -> Result<Self, prost::DecodeError> {
        let message = M::decode(answer)?;
        Ok(Self { message, method })
    }
}

impl<M> std::ops::Deref for Reply<M> {
    type Target = M;

    fn deref(&self) -> &M {
        &self.message
    }
}

impl<M> std::ops::DerefMut for Reply<M> {
    fn deref_mut(&mut self) -> &mut M {
        &mut self.message
    }
}

impl<M: Message> AsJson for Reply<M> {
    fn as_json(&self) -> String {
        let encoded = self.message.encode_to_vec();
        // What was decoded before can be read again.
        let json = self.method.answer_to_json(encoded.into());
        json.unwrap_or_default().to_string()
    }
}

impl AsJson for Answer {
    fn as_json(&self) -> String {
        self.raw.clone()
    }
}

/// An operation's answer: as it came, for `--json`, and read, for people.
#[derive(Debug, Clone)]
pub(crate) struct Answer {
    /// One JSON object.
    pub(crate) raw: String,
    /// The same.
    pub(crate) value: Value,
}

impl Answer {
    /// An answer put together from several, in the shape of one.
    pub(crate) fn of(value: Value) -> Self {
        Self {
            raw: value.to_string(),
            value,
        }
    }
}

impl std::ops::Deref for Answer {
    type Target = Value;

    fn deref(&self) -> &Value {
        &self.value
    }
}

/// Fields of an answer by name.
pub(crate) trait Fields {
    /// A field as text: strings as they are, lists joined by commas, null and absent empty.
    fn text(&self, key: &str) -> String;
    /// A whole number; 0 if absent.
    fn number(&self, key: &str) -> i64;
    /// A list; empty if absent.
    fn items(&self, key: &str) -> &[Value];
    /// Whether the field is there and not null.
    fn has(&self, key: &str) -> bool;
    /// A point in time in milliseconds since 1970: written so, in seconds, or as RFC 3339.
    fn instant(&self, key: &str) -> Option<i64>;
}

impl Fields for Value {
    fn text(&self, key: &str) -> String {
        self.get(key).map(plain).unwrap_or_default()
    }

    fn number(&self, key: &str) -> i64 {
        self.get(key).and_then(Value::as_i64).unwrap_or_default()
    }

    fn items(&self, key: &str) -> &[Value] {
        self.get(key)
            .and_then(Value::as_array)
            .map(Vec::as_slice)
            .unwrap_or_default()
    }

    fn has(&self, key: &str) -> bool {
        self.get(key).is_some_and(|value| !value.is_null())
    }

    fn instant(&self, key: &str) -> Option<i64> {
        /// Seconds up to here (the year 5138), milliseconds beyond it (from 1973 on).
        const SECONDS_BELOW: i64 = 100_000_000_000;
        match self.get(key)? {
            Value::Number(number) => {
                let number = number.as_i64()?;
                match number {
                    i64::MIN..=0 => None,
                    1..SECONDS_BELOW => Some(number * 1000),
                    _ => Some(number),
                }
            }
            Value::String(text) => DateTime::parse_from_rfc3339(text)
                .ok()
                .map(|time| time.timestamp_millis()),
            _ => None,
        }
    }
}

/// A value as text without quotes.
pub(crate) fn plain(value: &Value) -> String {
    match value {
        Value::Null => String::new(),
        Value::String(text) => text.clone(),
        Value::Array(items) => items.iter().map(plain).collect::<Vec<_>>().join(", "),
        other => other.to_string(),
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use serde_json::json;

    #[test]
    fn absent_fields_are_empty() {
        let value = json!({"n": null, "list": ["a", 1], "yes": true});
        assert_eq!(value.text("gone"), "");
        assert_eq!(value.text("n"), "");
        assert_eq!(value.text("list"), "a, 1");
        assert_eq!(value.text("yes"), "true");
        assert!(value.items("n").is_empty());
        assert!(!value.has("n") && value.has("yes"));
    }

    #[test]
    fn times_are_read_in_each_form() {
        let value = json!({"ms": 1_700_000_000_123_i64, "s": 1_700_000_000, "text": "2023-11-14T22:13:20Z", "none": 0, "bad": "soon"});
        assert_eq!(value.instant("ms"), Some(1_700_000_000_123));
        assert_eq!(value.instant("s"), Some(1_700_000_000_000));
        assert_eq!(value.instant("text"), Some(1_700_000_000_000));
        assert_eq!(value.instant("none"), None);
        assert_eq!(value.instant("bad"), None);
    }
}
