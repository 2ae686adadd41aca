//! What a pack consists of, in the shape that is stored and handed to the engine.

use std::collections::BTreeMap;
use std::fmt;
use std::str::FromStr;

use serde::{Deserialize, Serialize};
use serde_json::Value;

/// A whole pack, checked.
#[derive(Debug, Clone, Default, PartialEq, Serialize, Deserialize)]
pub struct Pack {
    /// Hash of everything that can change a verdict or a test: the same content has the same version wherever it was read from. 32 hex digits.
    pub version: String,
    /// Rules, policies and scheduled rules, ordered by id. A detection's place in this list is its index in the engine's verdicts.
    pub detections: Vec<Detection>,
    /// Helper modules that detections import by their id, ordered by id.
    pub globals: Vec<Global>,
    /// Data models, ordered by id.
    pub data_models: Vec<DataModel>,
    /// Named sets of ids, ordered by id.
    pub packs: Vec<PackDefinition>,
    /// Items that were read and are not evaluated in this version, each with the reason.
    pub unevaluated: Vec<UnevaluatedItem>,
    /// YAML files with no `AnalysisType`, which are therefore no part of the pack.
    pub ignored_files: Vec<String>,
    /// Keys that were accepted and have no effect, by file.
    #[serde(default)]
    pub ignored_keys: Vec<IgnoredKey>,
}

/// A key of a YAML file that was accepted and has no effect.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord, Serialize, Deserialize)]
pub struct IgnoredKey {
    /// The YAML file.
    pub file: String,
    /// The key.
    pub key: String,
    /// Why it has no effect.
    pub reason: String,
}

/// What a detection looks at and when it runs.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, PartialOrd, Ord, Serialize, Deserialize)]
#[serde(rename_all = "SCREAMING_SNAKE_CASE")]
pub enum DetectionKind {
    /// Looks at each event of its log types.
    Rule,
    /// Looks at each resource of its resource types.
    Policy,
    /// Looks at the rows that a scheduled query returns.
    ScheduledRule,
}

impl DetectionKind {
    /// The name in upper case that messages, rows and the Python side use.
    #[must_use]
    pub fn as_str(self) -> &'static str {
        match self {
            Self::Rule => "RULE",
            Self::Policy => "POLICY",
            Self::ScheduledRule => "SCHEDULED_RULE",
        }
    }
}

impl fmt::Display for DetectionKind {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.as_str())
    }
}

/// How much an alert matters, from lowest to highest.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, PartialOrd, Ord, Serialize, Deserialize)]
#[serde(rename_all = "UPPERCASE")]
#[allow(missing_docs)]
pub enum Severity {
    Info,
    Low,
    Medium,
    High,
    Critical,
}

impl Severity {
    /// The name in upper case, as rows, messages and Python spell it.
    #[must_use]
    pub fn as_str(self) -> &'static str {
        match self {
            Self::Info => "INFO",
            Self::Low => "LOW",
            Self::Medium => "MEDIUM",
            Self::High => "HIGH",
            Self::Critical => "CRITICAL",
        }
    }
}

impl fmt::Display for Severity {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.as_str())
    }
}

/// A text that names no severity.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("{0:?} is no severity; it is one of Info, Low, Medium, High, Critical")]
pub struct UnknownSeverity(pub String);

impl FromStr for Severity {
    type Err = UnknownSeverity;

    fn from_str(text: &str) -> Result<Self, Self::Err> {
        [
            Self::Info,
            Self::Low,
            Self::Medium,
            Self::High,
            Self::Critical,
        ]
        .into_iter()
        .find(|severity| severity.as_str().eq_ignore_ascii_case(text))
        .ok_or_else(|| UnknownSeverity(text.to_owned()))
    }
}

/// The body of a detection.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Source {
    /// A Python module.
    Python {
        /// Its file in the pack.
        file: String,
        /// Its text.
        text: String,
    },
    /// A simple detection: the YAML keys `Detection`, `AlertTitle`, `AlertContext`, `GroupBy`, `DynamicSeverities` that are given.
    Simple(BTreeMap<String, Value>),
}

/// A rule, policy or scheduled rule.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct Detection {
    /// `RuleID` or `PolicyID`; unique in the pack.
    pub id: String,
    /// What it looks at.
    pub kind: DetectionKind,
    /// Hash of this detection alone (metadata and body). 32 hex digits.
    pub version: String,
    /// The YAML file it was read from.
    pub file: String,
    /// `DisplayName`.
    pub display_name: Option<String>,
    /// `Description`, empty if absent.
    pub description: String,
    /// `Reference`, empty if absent.
    pub reference: String,
    /// `Runbook`, empty if absent.
    pub runbook: String,
    /// `Severity`.
    pub severity: Severity,
    /// `Enabled`, true if absent.
    pub enabled: bool,
    /// `CreateAlert`: with false, matches are stored and no alert is opened.
    pub create_alert: bool,
    /// Log types of a rule, resource types of a policy, none for a scheduled rule. Never empty for a rule; empty for a policy means every type.
    pub log_types: Vec<String>,
    /// Queries whose rows a scheduled rule looks at.
    pub scheduled_queries: Vec<String>,
    /// `DedupPeriodMinutes`: minutes for which matches of one dedup string go into one alert. 60 if absent.
    pub dedup_minutes: u32,
    /// `Threshold`: matches within the period before the alert is opened. 1 if absent.
    pub threshold: u64,
    /// `Tags`, sorted.
    pub tags: Vec<String>,
    /// `Reports`: framework to sorted control ids.
    pub reports: BTreeMap<String, Vec<String>>,
    /// `OutputIds`: destinations that take this detection's alerts whatever the severity.
    pub output_ids: Vec<String>,
    /// `SummaryAttributes`.
    pub summary_attributes: Vec<String>,
    /// `Status`, as written.
    pub status: Option<String>,
    /// `InlineFilters`, if they say anything (the empty list and `[{All: []}]` do not).
    pub inline_filters: Option<Value>,
    /// Resource patterns that a policy leaves out.
    pub suppressions: Vec<String>,
    /// Remediation that a policy asks for.
    pub auto_remediation_id: Option<String>,
    /// Its parameters.
    pub auto_remediation_parameters: BTreeMap<String, String>,
    /// The body.
    pub source: Source,
    /// Unit tests, in the order of the file.
    pub tests: Vec<Test>,
    /// Why the detection is not evaluated at all in this version, if it is not.
    pub unevaluated: Option<String>,
    /// What of it is not evaluated as written, one sentence each; the rest is.
    pub limitations: Vec<String>,
}

impl Detection {
    /// Whether the engine shows events to it. All else is evaluated under test alone.
    #[must_use]
    pub fn looks_at_events(&self) -> bool {
        self.kind == DetectionKind::Rule && self.enabled && self.unevaluated.is_none()
    }
}

/// A unit test of a detection.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct Test {
    /// `Name`.
    pub name: String,
    /// `ExpectedResult`: what `rule()` or `policy()` should return.
    pub expected: bool,
    /// `Log` or `Resource`.
    pub input: Value,
    /// `Mocks`.
    pub mocks: Vec<Mock>,
}

/// A module attribute that a test replaces by a callable.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct Mock {
    /// Name of the attribute.
    #[serde(rename = "objectName")]
    pub object_name: String,
    /// What calling it returns.
    #[serde(rename = "returnValue")]
    pub return_value: Value,
}

/// A helper module.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct Global {
    /// `GlobalID`: the name by which detections import it.
    pub id: String,
    /// Its Python file in the pack.
    pub file: String,
    /// `Description`, empty if absent.
    pub description: String,
    /// Its Python text.
    pub text: String,
}

/// How the common field names of `event.udm()` are found in one log type.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct DataModel {
    /// `DataModelID`.
    pub id: String,
    /// The YAML file it was read from.
    pub file: String,
    /// `DisplayName`.
    pub display_name: Option<String>,
    /// `Enabled`, true if absent. At most one enabled model per log type.
    pub enabled: bool,
    /// The one log type it is for.
    pub log_type: String,
    /// Common name to place.
    pub mappings: Vec<Mapping>,
    /// The Python file of `text` in the pack.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub text_file: Option<String>,
    /// Python text with the methods that mappings name.
    pub text: Option<String>,
}

/// One common name of a data model.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct Mapping {
    /// The common name.
    pub name: String,
    /// Where its value comes from.
    #[serde(flatten)]
    pub target: MappingTarget,
}

/// Where a data model finds a value.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum MappingTarget {
    /// A key or JSONPath of the event.
    Path(String),
    /// A function of the model's Python text.
    Method(String),
}

/// A named set of the pack's items, by id.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct PackDefinition {
    /// `PackID`.
    pub id: String,
    /// The YAML file it was read from.
    #[serde(default)]
    pub file: String,
    /// `DisplayName`.
    pub display_name: Option<String>,
    /// `Description`, empty if absent.
    pub description: String,
    /// `PackDefinition.IDs`.
    pub ids: Vec<String>,
}

/// Kinds of items that are read and kept, and not evaluated in this version.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, PartialOrd, Ord, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
#[allow(missing_docs)]
pub enum ItemKind {
    CorrelationRule,
    LookupTable,
    SavedQuery,
    ScheduledQuery,
    ScheduledPrompt,
}

impl fmt::Display for ItemKind {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::CorrelationRule => "correlation rule",
            Self::LookupTable => "lookup table",
            Self::SavedQuery => "saved query",
            Self::ScheduledQuery => "scheduled query",
            Self::ScheduledPrompt => "scheduled prompt",
        })
    }
}

/// An item that was read and is not evaluated in this version.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct UnevaluatedItem {
    /// What it is.
    pub kind: ItemKind,
    /// Its id or name.
    pub id: String,
    /// The YAML file it was read from.
    pub file: String,
    /// `Enabled`, true if absent.
    pub enabled: bool,
    /// Why it is not evaluated.
    pub reason: String,
    /// All of it, as written.
    pub definition: Value,
}

/// One thing that is wrong with a pack.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord, Serialize, Deserialize)]
pub struct Problem {
    /// The file, relative to the pack.
    pub file: String,
    /// The YAML key, if it is of one.
    pub key: Option<String>,
    /// What is wrong and what would be right.
    pub reason: String,
}

impl fmt::Display for Problem {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match &self.key {
            Some(key) => write!(f, "{}: {key}: {}", self.file, self.reason),
            None => write!(f, "{}: {}", self.file, self.reason),
        }
    }
}
