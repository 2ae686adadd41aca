//! What the engine is given and what it gives back.

use std::collections::BTreeSet;
use std::future::Future;
use std::pin::Pin;

use bytes::Bytes;
use serde::{Deserialize, Serialize};
use serde_json::Value;

use crate::pack::Severity;

/// One event for the rules of its log type.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct EventInput {
    /// Selects the rules and the data model.
    pub log_type: String,
    /// The event as one JSON object.
    pub json: Bytes,
}

/// What came of one call of [`Engine::evaluate`](super::Engine::evaluate).
#[derive(Debug, Clone, Default, PartialEq)]
pub struct Evaluation {
    /// Matches and rule errors, ordered by event, then by detection. A rule that does not match leaves no trace.
    pub verdicts: Vec<Verdict>,
    /// Changes to the key-value store, ordered by event. They are to be committed with the message that brought the events, or not at all.
    pub effects: Vec<Effects>,
    /// Detections that ended their worker or ran out of time so often that the rest of this call's events were not given to them. Each event left out
    /// has its rule error in `verdicts`. Indices into the pack's detections, ascending.
    pub suspended: Vec<usize>,
    /// Pairs of which Rust and Python said something else. Python's word is in `verdicts`, and the engine leaves the rule to it from then on.
    pub differences: Vec<Difference>,
    /// How the work went.
    pub statistics: Statistics,
}

/// A pair on which the two ways of evaluating it do not agree.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Difference {
    /// Place of the event in the input.
    pub event: usize,
    /// Place of the detection in the pack.
    pub detection: usize,
    /// What Rust said, in short.
    pub native: String,
    /// What Python said, in short.
    pub python: String,
}

/// Counts of one evaluation.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct Statistics {
    /// Pairs of event and rule by log type alone.
    pub pairs: u64,
    /// Pairs whose guard holds and that were evaluated without Python.
    #[serde(default)]
    pub pairs_native: u64,
    /// Events that were evaluated both ways.
    #[serde(default)]
    pub events_shadowed: u64,
    /// Pairs whose guard holds and that Python looked at.
    pub pairs_called: u64,
    /// Events with at least one such pair.
    pub events_called: u64,
    /// Time for deciding pairs without Python, guards included, added up, in microseconds.
    #[serde(default)]
    pub native_micros: u64,
    /// Time inside the Python workers, added up, in microseconds.
    pub python_micros: u64,
    /// Workers that ended or had to be killed.
    pub workers_lost: u64,
}

/// A match or a rule error.
#[derive(Debug, Clone, PartialEq)]
pub struct Verdict {
    /// Place of the event in the input.
    pub event: usize,
    /// Place of the detection in [`Pack::detections`](crate::pack::Pack::detections).
    pub detection: usize,
    /// What came of the pair.
    pub outcome: Outcome,
}

/// What came of one pair of event and rule.
#[derive(Debug, Clone, PartialEq)]
pub enum Outcome {
    /// `rule()` returned True.
    Matched(Box<Outputs>),
    /// The rule failed on this event.
    Failed(Box<RuleError>),
}

/// What a match's auxiliary functions gave, defaults filled in. `None` means: the rule's own value.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Outputs {
    /// `title()`; its rule's id if that failed.
    #[serde(default)]
    pub title: Option<String>,
    /// `dedup()`, else the title, else a default that names the rule. Never empty.
    pub dedup: String,
    /// `severity()`, else the rule's.
    pub severity: Severity,
    /// `description()`.
    #[serde(default)]
    pub description: Option<String>,
    /// `reference()`.
    #[serde(default)]
    pub reference: Option<String>,
    /// `runbook()`.
    #[serde(default)]
    pub runbook: Option<String>,
    /// `destinations()`: names or ids as the rule wrote them; `["SKIP"]` for none at all.
    #[serde(default)]
    pub destinations: Option<Vec<String>>,
    /// `alert_context()` as JSON text, at most 200 KB.
    #[serde(default)]
    pub context: Option<String>,
    /// `unique()`.
    #[serde(default)]
    pub unique: Option<String>,
    /// Functions that failed and got their default: name to the exception's text.
    #[serde(default)]
    pub errors: std::collections::BTreeMap<String, String>,
}

/// Why a rule failed on an event. It is the rule's own failure, never a fault of the node.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct RuleError {
    /// Class of the exception, or one of the engine's own: `DetectionTimeout`, `WorkerDied`, `DetectionSuspended`. It is the error's dedup string.
    #[serde(rename = "type")]
    pub kind: String,
    /// The exception's representation; the error's title.
    pub title: String,
    /// Message, then the place.
    pub message: String,
    /// File of the pack, line, column and function that raised, as text; `None` if that is not known.
    #[serde(default)]
    pub place: Option<String>,
    /// Python's traceback, cut to some kilobytes; empty if there is none.
    #[serde(default)]
    pub trace: String,
}

/// The store changes of one event, in order.
#[derive(Debug, Clone, PartialEq)]
pub struct Effects {
    /// Place of the event in the input.
    pub event: usize,
    /// The changes.
    pub changes: Vec<KeyValueChange>,
}

/// One change of one row of the key-value store.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct KeyValueChange {
    /// The row.
    pub key: String,
    /// The change.
    #[serde(flatten)]
    pub change: Change,
}

/// What is done to a row.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(tag = "op", rename_all = "snake_case")]
pub enum Change {
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
    pub fn apply(&mut self, change: &Change) {
        match change {
            Change::Add { value } => {
                self.count = Some(self.count.unwrap_or(0).saturating_add(*value));
            }
            Change::Union { values } => self
                .set
                .get_or_insert_default()
                .extend(values.iter().cloned()),
            Change::Remove { values } => {
                if let Some(set) = &mut self.set {
                    set.retain(|member| !values.contains(member));
                }
                // As in the original's table, a set without members is no set.
                self.set = self.set.take().filter(|set| !set.is_empty());
            }
            Change::PutSet { values } => self.set = Some(values.clone()),
            Change::PutDict { value } => {
                self.dict = Some(value.clone()).filter(|value| !value.is_null())
            }
            Change::SetCount { value } => self.count = Some(*value),
            Change::ResetSet => self.set = None,
            Change::ResetCount => self.count = None,
            Change::Expire { at } => self.expires = Some(*at),
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
        assert_eq!(add.change, Change::Add { value: 2 });
        let put: KeyValueChange =
            serde_json::from_str(r#"{"key":"k","op":"put_set","values":["a"]}"#).unwrap();
        assert_eq!(
            put.change,
            Change::PutSet {
                values: BTreeSet::from(["a".to_owned()])
            }
        );
        let reset: KeyValueChange =
            serde_json::from_str(r#"{"key":"k","op":"reset_count"}"#).unwrap();
        assert_eq!(reset.change, Change::ResetCount);
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
        row.apply(&Change::Add { value: 2 });
        row.apply(&Change::Add { value: -5 });
        row.apply(&Change::Union {
            values: set(&["a", "b"]),
        });
        row.apply(&Change::Remove {
            values: set(&["a"]),
        });
        assert_eq!((row.count, row.set.clone()), (Some(-3), Some(set(&["b"]))));
        row.apply(&Change::Remove {
            values: set(&["b"]),
        });
        assert_eq!(row.set, None);
        row.apply(&Change::PutDict {
            value: serde_json::json!({"x": 1}),
        });
        row.apply(&Change::Expire { at: 7 });
        row.apply(&Change::ResetCount);
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
