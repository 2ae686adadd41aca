//! What the evaluation of one detection over one event gives. Python and the native engine both fill these types.

use std::collections::BTreeMap;

use serde::{Deserialize, Serialize};
use serde_json::Value;

use crate::pack::Severity;

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
    pub errors: BTreeMap<String, String>,
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
    /// Python's traceback, cut to some kilobytes; empty without a traceback.
    #[serde(default)]
    pub trace: String,
}

/// What came of one unit test, function by function.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct Tested {
    /// Name of the test.
    pub name: String,
    /// What `rule()` or `policy()` returned.
    pub output: Option<bool>,
    /// What it raised instead.
    pub error: Option<RuleError>,
    /// The other functions that the detection defines, and `dedup`.
    #[serde(default)]
    pub functions: BTreeMap<String, TestedFunction>,
    /// What it printed, up to some kilobytes.
    #[serde(default)]
    pub printed: String,
}

/// What one function gave on a test.
#[derive(Debug, Clone, Default, PartialEq, Serialize, Deserialize)]
pub struct TestedFunction {
    /// Its value; `alert_context` as JSON text.
    pub output: Value,
    /// What it raised.
    pub error: Option<RuleError>,
}
