//! The keys of each kind of item, and what each key does here.
//!
//! Every key of the schemas of panther_analysis_tool 1.11.1 is accepted. A key that changes nothing here is accepted too and listed in
//! [`super::Pack::ignored_keys`], with the reason: an author who relies on it must see that it has no effect.

/// What a key does.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Effect {
    /// It is read.
    Used,
    /// It is accepted and changes nothing, for this reason.
    Ignored(&'static str),
}

/// One key of an item.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct Key {
    pub(crate) name: &'static str,
    pub(crate) effect: Effect,
}

const fn used(name: &'static str) -> Key {
    let effect = Effect::Used;
    Key { name, effect }
}

const fn ignored(name: &'static str, reason: &'static str) -> Key {
    let effect = Effect::Ignored(reason);
    Key { name, effect }
}

const CREATED_BY: Key = ignored("CreatedBy", "a note of the author");
const BASE_VERSION: Key = ignored(
    "BaseVersion",
    "a version of Panther's own catalogue, for its merge tool",
);
const NO_REMEDIATION: &str = "remediation is not built yet";

/// Keys that rules, scheduled rules and policies share.
const DETECTION: &[Key] = &[
    used("AnalysisType"),
    used("Filename"),
    used("DisplayName"),
    used("Description"),
    used("Reference"),
    used("Runbook"),
    used("Severity"),
    used("Enabled"),
    used("Tags"),
    used("Reports"),
    used("OutputIds"),
    used("Status"),
    used("Tests"),
    used("CreateAlert"),
    used("DedupPeriodMinutes"),
    used("Threshold"),
    used("InlineFilters"),
    used("BaseDetection"),
    ignored("OnlyUseBaseRiskScore", "alerts have no risk score"),
    ignored("SummaryAttributes", "alerts have no summary of attributes"),
    ignored("Notes", "a note of the author"),
    CREATED_BY,
    BASE_VERSION,
];

/// Keys that make the body of a simple detection.
pub(crate) const SIMPLE: &[Key] = &[
    used("Detection"),
    used("AlertTitle"),
    used("AlertContext"),
    used("GroupBy"),
    used("DynamicSeverities"),
];

const EVENTS: &[Key] = &[used("RuleID"), used("LogTypes"), used("ScheduledQueries")];

const RESOURCES: &[Key] = &[
    used("PolicyID"),
    used("ResourceTypes"),
    ignored(
        "Suppressions",
        "policies are not evaluated on resources yet",
    ),
    ignored("AutoRemediationID", NO_REMEDIATION),
    ignored("AutoRemediationParameters", NO_REMEDIATION),
    ignored("ActionDelaySeconds", NO_REMEDIATION),
];

const QUERY: &[Key] = &[
    used("AnalysisType"),
    used("QueryName"),
    used("Query"),
    used("AthenaQuery"),
    used("SnowflakeQuery"),
    used("DatabricksQuery"),
    used("Description"),
    used("Tags"),
    used("Lookback"),
    used("LookbackWindowSeconds"),
    used("Enabled"),
    BASE_VERSION,
    CREATED_BY,
];

/// The keys of a unit test of a rule or policy.
pub(crate) const TEST: &[Key] = &[
    used("Name"),
    used("ExpectedResult"),
    used("Log"),
    used("Resource"),
    used("Mocks"),
    ignored(
        "LogType",
        "the log type of a test is the p_log_type of its event",
    ),
    ignored("ResourceType", "a policy's test needs its Resource alone"),
    ignored(
        "ExpectedDestinations",
        "destinations are known to a node alone, and tests run without one",
    ),
];

/// The keys of a mapping of a data model.
pub(crate) const MAPPING: &[Key] = &[used("Name"), used("Path"), used("Method")];

/// The keys of a mock of a unit test.
pub(crate) const MOCK: &[Key] = &[used("objectName"), used("returnValue")];

/// A value of `AnalysisType` and the keys that go with it.
pub(crate) struct Kind {
    pub(crate) analysis_type: &'static str,
    pub(crate) keys: &'static [&'static [Key]],
}

const fn kind(analysis_type: &'static str, keys: &'static [&'static [Key]]) -> Kind {
    Kind {
        analysis_type,
        keys,
    }
}

/// Every kind of item.
pub(crate) const KINDS: &[Kind] = &[
    kind("rule", &[EVENTS, DETECTION, SIMPLE]),
    kind("scheduled_rule", &[EVENTS, DETECTION, SIMPLE]),
    kind("policy", &[RESOURCES, DETECTION, SIMPLE]),
    kind(
        "global",
        &[&[
            used("AnalysisType"),
            used("GlobalID"),
            used("Filename"),
            used("Description"),
            ignored("Tags", "modules are found by their id alone"),
            CREATED_BY,
            BASE_VERSION,
        ]],
    ),
    kind(
        "datamodel",
        &[&[
            used("AnalysisType"),
            used("DataModelID"),
            used("DisplayName"),
            used("Enabled"),
            used("Filename"),
            used("LogTypes"),
            used("Mappings"),
            ignored("Description", "a note of the author"),
            CREATED_BY,
            BASE_VERSION,
        ]],
    ),
    kind(
        "pack",
        &[&[
            used("AnalysisType"),
            used("PackID"),
            used("PackDefinition"),
            used("Description"),
            used("DisplayName"),
        ]],
    ),
    kind(
        "correlation_rule",
        &[&[
            used("AnalysisType"),
            used("RuleID"),
            used("Enabled"),
            used("Detection"),
            used("Severity"),
            used("Description"),
            used("DisplayName"),
            used("OutputIds"),
            used("Reference"),
            used("Runbook"),
            used("Status"),
            used("SummaryAttributes"),
            used("Tags"),
            used("Reports"),
            used("CreateAlert"),
            used("Tests"),
            used("OnlyUseBaseRiskScore"),
            CREATED_BY,
            BASE_VERSION,
        ]],
    ),
    kind("saved_query", &[QUERY]),
    kind(
        "scheduled_query",
        &[QUERY, &[used("Schedule"), used("EmailConfig")]],
    ),
    kind(
        "lookup_table",
        &[&[
            used("AnalysisType"),
            used("LookupName"),
            used("Enabled"),
            used("Filename"),
            used("Refresh"),
            used("Schema"),
            used("LogTypeMap"),
            used("Query"),
            used("AthenaQuery"),
            used("SnowflakeQuery"),
            used("DatabricksQuery"),
            used("Indicators"),
            used("Validations"),
            used("Description"),
            used("Reference"),
            BASE_VERSION,
            CREATED_BY,
        ]],
    ),
    kind(
        "scheduled_prompt",
        &[&[
            used("AnalysisType"),
            used("PromptName"),
            used("DisplayName"),
            used("PromptText"),
            used("RunAsUser"),
            used("Schedule"),
            used("Description"),
            used("OutputLength"),
            used("Enabled"),
            used("Private"),
        ]],
    ),
];

/// The kind of an `AnalysisType`.
pub(crate) fn of(analysis_type: &str) -> Option<&'static Kind> {
    KINDS
        .iter()
        .find(|kind| kind.analysis_type == analysis_type)
}

/// Kinds that the system evaluates, so that a key without effect among theirs matters to their author.
#[cfg(test)]
const EVALUATED: [&str; 6] = [
    "rule",
    "scheduled_rule",
    "policy",
    "global",
    "datamodel",
    "pack",
];

/// The keys without effect as a table for docs/detections.md.
#[cfg(test)]
pub(crate) fn ignored_table() -> String {
    use std::collections::BTreeMap;

    let mut rows: BTreeMap<(&str, &str), Vec<&str>> = BTreeMap::new();
    let kinds = KINDS
        .iter()
        .filter(|kind| EVALUATED.contains(&kind.analysis_type));
    let tests = kind("a test", &[TEST]);
    for kind in kinds.chain([&tests]) {
        for key in kind.keys.iter().copied().flatten() {
            if let Effect::Ignored(reason) = key.effect {
                let kinds = rows.entry((key.name, reason)).or_default();
                kinds.push(kind.analysis_type);
            }
        }
    }
    let mut table = String::from("| key | in | why it has no effect |\n| --- | --- | --- |\n");
    for ((key, reason), kinds) in rows {
        table.push_str(&format!("| `{key}` | {} | {reason} |\n", kinds.join(", ")));
    }
    table
}
