//! The key-value store that rules use: rows, changes of rows, and the view that an evaluation reads.

use std::collections::BTreeSet;
use std::future::Future;
use std::pin::Pin;

use serde::{Deserialize, Serialize};
use serde_json::Value;

/// One change of one row of the key-value store.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct KeyValueChange {
    /// The row.
    pub key: String,
    /// The change.
    #[serde(flatten)]
    pub change: ValueChange,
}

/// What is done to a row.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(tag = "op", rename_all = "snake_case")]
pub enum ValueChange {
    /// Adds to the count.
    Add {
        /// What is added; may be negative.
        value: i64,
    },
    /// Adds to the set.
    Union {
        /// The members.
        values: BTreeSet<String>,
    },
    /// Takes from the set.
    Remove {
        /// The members.
        values: BTreeSet<String>,
    },
    /// Replaces the set.
    PutSet {
        /// The members.
        values: BTreeSet<String>,
    },
    /// Replaces the dictionary; null removes it.
    PutDict {
        /// The dictionary.
        value: Value,
    },
    /// Replaces the count.
    SetCount {
        /// The count.
        value: i64,
    },
    /// Removes the set.
    ResetSet,
    /// Removes the count.
    ResetCount,
    /// Sets when the row ends.
    Expire {
        /// Unix seconds.
        at: i64,
    },
}

/// One row of the key-value store.
#[derive(Debug, Clone, Default, PartialEq, Serialize, Deserialize)]
pub struct KeyValueRow {
    /// A counter.
    pub count: Option<i64>,
    /// A set of texts.
    pub set: Option<BTreeSet<String>>,
    /// A dictionary.
    pub dict: Option<Value>,
    /// Unix seconds after which the row counts as gone.
    pub expires: Option<i64>,
}

impl KeyValueRow {
    /// Whether it is as if it were not there.
    pub(crate) fn is_empty(&self) -> bool {
        *self == Self::default()
    }

    /// The row after `change`.
    pub fn apply(&mut self, change: &ValueChange) {
        match change {
            ValueChange::Add { value } => {
                self.count = Some(self.count.unwrap_or(0).saturating_add(*value));
            }
            ValueChange::Union { values } => self
                .set
                .get_or_insert_default()
                .extend(values.iter().cloned()),
            ValueChange::Remove { values } => {
                if let Some(set) = &mut self.set {
                    set.retain(|member| !values.contains(member));
                }
                // As in the original's table, a set without members is no set.
                self.set = self.set.take().filter(|set| !set.is_empty());
            }
            ValueChange::PutSet { values } => self.set = Some(values.clone()),
            ValueChange::PutDict { value } => {
                self.dict = Some(value.clone()).filter(|value| !value.is_null())
            }
            ValueChange::SetCount { value } => self.count = Some(*value),
            ValueChange::ResetSet => self.set = None,
            ValueChange::ResetCount => self.count = None,
            ValueChange::Expire { at } => self.expires = Some(*at),
        }
    }
}

/// Why a view could not be read: a fault of the store it reads, not of the rule.
pub type ViewError = Box<dyn std::error::Error + Send + Sync>;

/// A read of one row under way.
pub type ViewRead<'a> =
    Pin<Box<dyn Future<Output = Result<Option<KeyValueRow>, ViewError>> + Send + 'a>>;

/// The key-value store as it was when an evaluation began. What the evaluation itself writes is laid over it by the engine.
pub trait KeyValueView: Send + Sync {
    /// The row of this key, if there is one.
    fn get<'a>(&'a self, key: &'a str) -> ViewRead<'a>;
}

/// A store without rows.
#[derive(Debug, Clone, Copy, Default)]
pub struct EmptyView;

impl KeyValueView for EmptyView {
    fn get<'a>(&'a self, _key: &'a str) -> ViewRead<'a> {
        Box::pin(std::future::ready(Ok(None)))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn changes_have_the_form_of_the_wire() {
        let add: KeyValueChange =
            serde_json::from_str(r#"{"key":"k","op":"add","value":2}"#).unwrap();
        assert_eq!(add.change, ValueChange::Add { value: 2 });
        let put: KeyValueChange =
            serde_json::from_str(r#"{"key":"k","op":"put_set","values":["a"]}"#).unwrap();
        assert_eq!(
            put.change,
            ValueChange::PutSet {
                values: BTreeSet::from(["a".to_owned()])
            }
        );
        let reset: KeyValueChange =
            serde_json::from_str(r#"{"key":"k","op":"reset_count"}"#).unwrap();
        assert_eq!(reset.change, ValueChange::ResetCount);
    }

    #[test]
    fn a_row_follows_its_changes() {
        let mut row = KeyValueRow::default();
        let set = |names: &[&str]| {
            names
                .iter()
                .map(|name| (*name).to_owned())
                .collect::<BTreeSet<_>>()
        };
        row.apply(&ValueChange::Add { value: 2 });
        row.apply(&ValueChange::Add { value: -5 });
        row.apply(&ValueChange::Union {
            values: set(&["a", "b"]),
        });
        row.apply(&ValueChange::Remove {
            values: set(&["a"]),
        });
        assert_eq!((row.count, row.set.clone()), (Some(-3), Some(set(&["b"]))));
        row.apply(&ValueChange::Remove {
            values: set(&["b"]),
        });
        assert_eq!(row.set, None);
        row.apply(&ValueChange::PutDict {
            value: serde_json::json!({"x": 1}),
        });
        row.apply(&ValueChange::Expire { at: 7 });
        row.apply(&ValueChange::ResetCount);
        assert_eq!(
            row,
            KeyValueRow {
                count: None,
                set: None,
                dict: Some(serde_json::json!({"x": 1})),
                expires: Some(7)
            }
        );
    }
}
