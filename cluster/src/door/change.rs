//! Builders for keys, values, row changes and sends, shorter than the wire form.

use std::collections::BTreeMap;

use panther_proto::v1::{
    Append, Condition, Key, Row, RowChange, Send, TextSet, Update, Value, condition, send, update,
    value,
};

/// Builds a key without a range part.
#[must_use]
pub fn key(hash: impl Into<String>) -> Key {
    Key {
        hash: hash.into(),
        ..Key::default()
    }
}

/// Builds a key with a range part.
#[must_use]
pub fn key_range(hash: impl Into<String>, range: impl Into<String>) -> Key {
    Key {
        hash: hash.into(),
        range: range.into(),
        ..Key::default()
    }
}

/// Types that can be stored in an attribute.
pub trait IntoValue {
    /// Converts to a value.
    fn into_value(self) -> Value;
}

impl IntoValue for Value {
    fn into_value(self) -> Value {
        self
    }
}

macro_rules! into_value {
    ($($type:ty => $kind:expr),* $(,)?) => {$(
        impl IntoValue for $type {
            fn into_value(self) -> Value {
                #[allow(clippy::redundant_closure_call)]
                Value { kind: Some(($kind)(self)) }
            }
        }
    )*};
}

into_value! {
    bool => value::Kind::Flag,
    i64 => value::Kind::Int,
    u32 => |int| value::Kind::Int(i64::from(int)),
    // Times and counts: they stay far below `i64::MAX`.
    u64 => |int| value::Kind::Int(i64::try_from(int).unwrap_or(i64::MAX)),
    &str => |text: &str| value::Kind::Text(text.to_owned()),
    String => value::Kind::Text,
    &String => |text: &String| value::Kind::Text(text.clone()),
    Vec<u8> => |blob: Vec<u8>| value::Kind::Blob(blob.into()),
    Vec<String> => |items| value::Kind::Set(set(items)),
}

/// Builds a set of strings, sorted and without duplicates.
#[must_use]
pub fn set(items: impl IntoIterator<Item = String>) -> TextSet {
    let mut items: Vec<String> = items.into_iter().collect();
    items.sort_unstable();
    items.dedup();
    TextSet { items }
}

/// JSON as an opaque value.
#[must_use]
pub fn json(text: impl Into<String>) -> Value {
    Value {
        kind: Some(value::Kind::Json(text.into())),
    }
}

/// Builder of one row change.
#[derive(Debug, Clone)]
pub struct Change(RowChange);

impl Change {
    /// Updates a row's attributes; creates the row if it is absent.
    #[must_use]
    pub fn update(table: &str, key: Key) -> Self {
        Self(RowChange {
            table: table.to_owned(),
            key: Some(key),
            ..RowChange::default()
        })
    }

    /// Replaces all attributes of a row; creates the row if it is absent.
    #[must_use]
    pub fn put(table: &str, key: Key) -> Self {
        Self(RowChange {
            table: table.to_owned(),
            key: Some(key),
            replace: true,
            ..RowChange::default()
        })
    }

    /// Removes a row.
    #[must_use]
    pub fn delete(table: &str, key: Key) -> Self {
        Self(RowChange {
            table: table.to_owned(),
            key: Some(key),
            delete: true,
            ..RowChange::default()
        })
    }

    fn condition(mut self, attribute: &str, test: condition::Test) -> Self {
        self.0.conditions.push(Condition {
            attribute: attribute.to_owned(),
            test: Some(test),
        });
        self
    }

    /// Condition: the row is absent.
    #[must_use]
    pub fn if_row_absent(self) -> Self {
        self.condition("", condition::Test::Absent(true))
    }

    /// Condition: the row is present.
    #[must_use]
    pub fn if_row_present(self) -> Self {
        self.condition("", condition::Test::Absent(false))
    }

    /// Condition: an attribute is absent.
    #[must_use]
    pub fn if_absent(self, attribute: &str) -> Self {
        self.condition(attribute, condition::Test::Absent(true))
    }

    /// Condition: an attribute has this value.
    #[must_use]
    pub fn if_equals(self, attribute: &str, value: impl IntoValue) -> Self {
        self.condition(attribute, condition::Test::Equals(value.into_value()))
    }

    /// Condition: an attribute is present and less than this value.
    #[must_use]
    pub fn if_less(self, attribute: &str, value: impl IntoValue) -> Self {
        self.condition(attribute, condition::Test::Less(value.into_value()))
    }

    fn change(mut self, attribute: &str, change: update::Change) -> Self {
        self.0.updates.push(Update {
            attribute: attribute.to_owned(),
            change: Some(change),
        });
        self
    }

    /// Sets an attribute.
    #[must_use]
    pub fn set(self, attribute: &str, value: impl IntoValue) -> Self {
        self.change(attribute, update::Change::Set(value.into_value()))
    }

    /// Sets an attribute, or removes it if there is no value.
    #[must_use]
    pub fn set_or_remove(self, attribute: &str, value: Option<impl IntoValue>) -> Self {
        match value {
            Some(value) => self.set(attribute, value),
            None => self.remove(attribute),
        }
    }

    /// Removes an attribute.
    #[must_use]
    pub fn remove(self, attribute: &str) -> Self {
        self.change(attribute, update::Change::Remove(true))
    }

    /// Adds to a number; an absent attribute counts as 0.
    #[must_use]
    pub fn add(self, attribute: &str, number: i64) -> Self {
        self.change(attribute, update::Change::Add(number))
    }

    /// Sets an attribute to the greater of its value and this one.
    #[must_use]
    pub fn max(self, attribute: &str, value: impl IntoValue) -> Self {
        self.change(attribute, update::Change::Max(value.into_value()))
    }

    /// Adds items to a set.
    #[must_use]
    pub fn union(self, attribute: &str, items: impl IntoIterator<Item = String>) -> Self {
        self.change(attribute, update::Change::Union(set(items)))
    }

    /// Removes items from a set. An empty set is removed.
    #[must_use]
    pub fn difference(self, attribute: &str, items: impl IntoIterator<Item = String>) -> Self {
        self.change(attribute, update::Change::Difference(set(items)))
    }

    /// Appends an item to a list and drops its oldest items beyond `bound` (0 = the default, 1000).
    #[must_use]
    pub fn append(self, attribute: &str, item: Value, bound: u32) -> Self {
        self.change(
            attribute,
            update::Change::Append(Append {
                item: Some(item),
                bound,
            }),
        )
    }

    /// The change in wire form.
    #[must_use]
    pub fn done(self) -> RowChange {
        self.0
    }
}

/// Builds a message to a queue.
#[must_use]
pub fn to_queue(queue: &str, body: impl Into<bytes::Bytes>) -> Send {
    Send {
        to: Some(send::To::Queue(queue.to_owned())),
        body: body.into(),
        ..Send::default()
    }
}

/// Builds a message to a topic.
#[must_use]
pub fn to_topic(
    topic: &str,
    body: impl Into<bytes::Bytes>,
    attributes: BTreeMap<String, String>,
) -> Send {
    Send {
        to: Some(send::To::Topic(topic.to_owned())),
        body: body.into(),
        attributes,
        ..Send::default()
    }
}

/// Typed access to a row's attributes. An attribute of another kind counts as absent.
pub trait RowExt {
    /// A text.
    fn text(&self, attribute: &str) -> Option<&str>;
    /// A number.
    fn int(&self, attribute: &str) -> Option<i64>;
    /// A boolean.
    fn flag(&self, attribute: &str) -> Option<bool>;
    /// The items of a set; empty if absent.
    fn items(&self, attribute: &str) -> &[String];
    /// JSON, as text.
    fn json(&self, attribute: &str) -> Option<&str>;
    /// Bytes.
    fn blob(&self, attribute: &str) -> Option<&[u8]>;
}

impl RowExt for Row {
    fn text(&self, attribute: &str) -> Option<&str> {
        match self.attributes.get(attribute)?.kind.as_ref()? {
            value::Kind::Text(text) => Some(text),
            _ => None,
        }
    }

    fn int(&self, attribute: &str) -> Option<i64> {
        match self.attributes.get(attribute)?.kind.as_ref()? {
            value::Kind::Int(int) => Some(*int),
            _ => None,
        }
    }

    fn flag(&self, attribute: &str) -> Option<bool> {
        match self.attributes.get(attribute)?.kind.as_ref()? {
            value::Kind::Flag(flag) => Some(*flag),
            _ => None,
        }
    }

    fn items(&self, attribute: &str) -> &[String] {
        match self
            .attributes
            .get(attribute)
            .and_then(|value| value.kind.as_ref())
        {
            Some(value::Kind::Set(set)) => &set.items,
            _ => &[],
        }
    }

    fn json(&self, attribute: &str) -> Option<&str> {
        match self.attributes.get(attribute)?.kind.as_ref()? {
            value::Kind::Json(json) => Some(json),
            _ => None,
        }
    }

    fn blob(&self, attribute: &str) -> Option<&[u8]> {
        match self.attributes.get(attribute)?.kind.as_ref()? {
            value::Kind::Blob(blob) => Some(blob),
            _ => None,
        }
    }
}
