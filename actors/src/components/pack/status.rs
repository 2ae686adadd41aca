//! The status of each detection: whether it runs, and if not, why. Decided here alone, from the pack, the log types, the sources and what was decided
//! about detections.

use std::collections::{BTreeMap, BTreeSet};

use panther_detections::pack::{Detection, DetectionKind, ItemKind, Pack, nearest};

use super::{Decided, DetectionState};

/// Whether a detection runs.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum DetectionStatus {
    /// It looks at the events of at least one source.
    Live,
    /// The same, evaluated by Python alone.
    Python(String),
    /// It runs, and a part of it is not evaluated.
    PartlyEvaluated(String),
    /// Its pack disables it.
    Disabled,
    /// An operator stopped it.
    Off(String),
    /// It was stopped because it kept failing, or by an operator.
    Suspended(String),
    /// Its code does not load: each event of its log types gives an error.
    DoesNotLoad(String),
    /// This version does not evaluate what it is.
    NotEvaluated(String),
    /// No log type that it names is known.
    NoLogType(String),
    /// No source sends a log type that it names.
    NoSource(String),
}

impl DetectionStatus {
    /// As lists, filters and counts name it.
    #[must_use]
    pub const fn as_str(&self) -> &'static str {
        match self {
            Self::Live => "live",
            Self::Python(_) => "python",
            Self::PartlyEvaluated(_) => "partly-evaluated",
            Self::Disabled => "disabled",
            Self::Off(_) => "off",
            Self::Suspended(_) => "suspended",
            Self::DoesNotLoad(_) => "does-not-load",
            Self::NotEvaluated(_) => "not-evaluated",
            Self::NoLogType(_) => "no-log-type",
            Self::NoSource(_) => "no-source",
        }
    }

    /// Why it is so.
    #[must_use]
    pub fn reason(&self) -> Option<&str> {
        match self {
            Self::Live | Self::Disabled => None,
            Self::Python(reason)
            | Self::PartlyEvaluated(reason)
            | Self::Off(reason)
            | Self::Suspended(reason)
            | Self::DoesNotLoad(reason)
            | Self::NotEvaluated(reason)
            | Self::NoLogType(reason)
            | Self::NoSource(reason) => Some(reason),
        }
    }

    /// Events reach it and its code says something of them.
    #[must_use]
    pub const fn runs(&self) -> bool {
        matches!(
            self,
            Self::Live | Self::Python(_) | Self::PartlyEvaluated(_)
        )
    }

    /// It does not run, although no user disabled or suspended it.
    #[must_use]
    pub const fn is_unasked(&self) -> bool {
        matches!(
            self,
            Self::DoesNotLoad(_) | Self::NoLogType(_) | Self::NoSource(_)
        )
    }
}

/// What a status depends on besides the detection.
#[derive(Debug, Clone, Default)]
pub struct Circumstances {
    /// Names of all known log types.
    pub log_types: BTreeSet<String>,
    /// Log types that sources may send.
    pub sent: BTreeSet<String>,
    /// What was decided, by detection.
    pub decided: BTreeMap<String, Decided>,
    /// Why detections did not load on this node, by detection.
    pub load_errors: BTreeMap<String, String>,
}

impl Circumstances {
    /// The status of a detection.
    #[must_use]
    pub fn status(&self, detection: &Detection) -> DetectionStatus {
        let decided = self.decided.get(&detection.id);
        // A decision of the engine is about one version; a newer one starts afresh.
        let of_this_version = decided.filter(|decided| decided.version == detection.version);
        if !detection.enabled {
            return DetectionStatus::Disabled;
        }
        if let Some(off) = decided.filter(|decided| decided.state == DetectionState::Off) {
            return DetectionStatus::Off(off.reason.clone());
        }
        if let Some(reason) = not_evaluated(detection) {
            return DetectionStatus::NotEvaluated(reason);
        }
        if let Some(stopped) = of_this_version.filter(|of| of.state == DetectionState::Suspended) {
            return DetectionStatus::Suspended(stopped.reason.clone());
        }
        if let Some(error) = self.load_errors.get(&detection.id) {
            return DetectionStatus::DoesNotLoad(error.clone());
        }
        let known = |log_type: &&String| self.log_types.contains(*log_type);
        let unknown: Vec<String> = detection
            .log_types
            .iter()
            .filter(|log_type| !known(log_type))
            .map(|log_type| self.unknown(log_type))
            .collect();
        if unknown.len() == detection.log_types.len() {
            return DetectionStatus::NoLogType(unknown.join("; "));
        }
        if !detection.log_types.iter().any(|of| self.sent.contains(of)) {
            let known: Vec<&str> = detection
                .log_types
                .iter()
                .filter(known)
                .map(String::as_str)
                .collect();
            return DetectionStatus::NoSource(format!("no source sends {}", known.join(", ")));
        }
        let partly: Vec<String> = unknown
            .into_iter()
            .chain(detection.limitations.clone())
            .collect();
        match of_this_version.filter(|of| of.state == DetectionState::Python) {
            _ if !partly.is_empty() => DetectionStatus::PartlyEvaluated(partly.join("; ")),
            Some(python) => DetectionStatus::Python(python.reason.clone()),
            None => DetectionStatus::Live,
        }
    }

    /// The statuses of all of a pack's detections, correlation rules included, by id.
    #[must_use]
    pub fn statuses(&self, pack: &Pack) -> BTreeMap<String, DetectionStatus> {
        let detections = pack.detections.iter();
        let detections = detections.map(|of| (of.id.clone(), self.status(of)));
        let others = pack.unevaluated.iter();
        let others = others.filter(|item| item.kind == ItemKind::CorrelationRule);
        let others = others.map(|item| {
            let status = if item.enabled {
                DetectionStatus::NotEvaluated(item.reason.clone())
            } else {
                DetectionStatus::Disabled
            };
            (item.id.clone(), status)
        });
        detections.chain(others).collect()
    }

    fn unknown(&self, log_type: &str) -> String {
        let meant = nearest(log_type, self.log_types.iter().map(String::as_str));
        match meant {
            Some(meant) => format!("there is no log type {log_type}; did you mean {meant}?"),
            None => format!("there is no log type {log_type}"),
        }
    }
}

/// Why this version does not evaluate a detection, if it does not.
fn not_evaluated(detection: &Detection) -> Option<String> {
    let policy = "policies look at resources, which this version does not collect; unit tests run";
    let of_policy = (detection.kind == DetectionKind::Policy).then(|| policy.to_owned());
    detection.unevaluated.clone().or(of_policy)
}

/// How many detections have each status.
#[must_use]
pub fn counts(statuses: &BTreeMap<String, DetectionStatus>) -> BTreeMap<&'static str, u64> {
    let mut counts = BTreeMap::new();
    for status in statuses.values() {
        *counts.entry(status.as_str()).or_default() += 1;
    }
    counts
}

/// Detections that ran once and do not run now although no user disabled or suspended them, and the set of those that ran, as it is from now on. A detection
/// that is no longer in the pack, is disabled or is stopped is forgotten.
#[must_use]
pub fn stopped<'s>(
    ran: &BTreeSet<String>,
    statuses: &'s BTreeMap<String, DetectionStatus>,
) -> (Vec<(&'s str, &'s DetectionStatus)>, BTreeSet<String>) {
    let mut stopped = Vec::new();
    let mut ran_by_now = BTreeSet::new();
    for (id, status) in statuses {
        let unasked = status.is_unasked() && ran.contains(id);
        if unasked {
            stopped.push((id.as_str(), status));
        }
        if unasked || status.runs() {
            ran_by_now.insert(id.clone());
        }
    }
    (stopped, ran_by_now)
}

#[cfg(test)]
mod tests {
    use panther_detections::pack::{Severity, Source};

    use super::*;

    fn rule(log_types: &[&str]) -> Detection {
        Detection {
            id: "R".to_owned(),
            kind: DetectionKind::Rule,
            version: "v1".to_owned(),
            file: String::new(),
            display_name: None,
            description: String::new(),
            reference: String::new(),
            runbook: String::new(),
            severity: Severity::Low,
            enabled: true,
            create_alert: true,
            log_types: log_types.iter().map(|of| (*of).to_owned()).collect(),
            scheduled_queries: Vec::new(),
            dedup_minutes: 60,
            threshold: 1,
            tags: Vec::new(),
            reports: BTreeMap::new(),
            output_ids: Vec::new(),
            summary_attributes: Vec::new(),
            status: None,
            inline_filters: None,
            suppressions: Vec::new(),
            auto_remediation_id: None,
            auto_remediation_parameters: BTreeMap::new(),
            source: Source::Simple(BTreeMap::new()),
            tests: Vec::new(),
            unevaluated: None,
            limitations: Vec::new(),
        }
    }

    fn circumstances() -> Circumstances {
        let set = |names: &[&str]| names.iter().map(|name| (*name).to_owned()).collect();
        Circumstances {
            log_types: set(&["AWS.CloudTrail", "Okta.SystemLog"]),
            sent: set(&["AWS.CloudTrail"]),
            ..Circumstances::default()
        }
    }

    fn decided(state: DetectionState, version: &str) -> Circumstances {
        let decided = Decided {
            state,
            reason: "why".to_owned(),
            version: version.to_owned(),
        };
        Circumstances {
            decided: BTreeMap::from([("R".to_owned(), decided)]),
            ..circumstances()
        }
    }

    #[test]
    fn a_rule_is_live_only_if_events_reach_it() {
        let state = |log_types: &[&str]| circumstances().status(&rule(log_types));
        assert_eq!(state(&["AWS.CloudTrail"]), DetectionStatus::Live);
        assert_eq!(
            state(&["AWS.CloudTrial"]),
            DetectionStatus::NoLogType(
                "there is no log type AWS.CloudTrial; did you mean AWS.CloudTrail?".into()
            )
        );
        assert_eq!(
            state(&["Okta.SystemLog"]),
            DetectionStatus::NoSource("no source sends Okta.SystemLog".into())
        );
        assert_eq!(
            state(&["Nothing.Alike", "Okta.SystemLog"]).as_str(),
            "no-source"
        );
        // One of two log types is enough, and the other is said.
        let partly = state(&["AWS.CloudTrail", "Nothing.Alike"]);
        assert_eq!((partly.as_str(), partly.runs()), ("partly-evaluated", true));
        assert!(partly.reason().unwrap().contains("Nothing.Alike"));
    }

    #[test]
    fn what_was_decided_and_what_is_not_evaluated_comes_before_sources() {
        let rule = rule(&["AWS.CloudTrail"]);
        for (state, version, expected) in [
            (DetectionState::Suspended, "v1", "suspended"),
            (DetectionState::Suspended, "v0", "live"),
            (DetectionState::Python, "v1", "python"),
            (DetectionState::Off, "v0", "off"),
            (DetectionState::Live, "v1", "live"),
        ] {
            let status = decided(state, version).status(&rule);
            assert_eq!(status.as_str(), expected, "{state:?} {version}");
        }
        let disabled = Detection {
            enabled: false,
            ..rule.clone()
        };
        assert_eq!(
            decided(DetectionState::Off, "v1").status(&disabled),
            DetectionStatus::Disabled
        );
        let policy = Detection {
            kind: DetectionKind::Policy,
            ..rule.clone()
        };
        assert_eq!(circumstances().status(&policy).as_str(), "not-evaluated");
        let unique = Detection {
            limitations: vec!["unique() is not evaluated".into()],
            ..rule.clone()
        };
        assert_eq!(
            circumstances().status(&unique),
            DetectionStatus::PartlyEvaluated("unique() is not evaluated".into())
        );
        let broken = Circumstances {
            load_errors: BTreeMap::from([("R".to_owned(), "SyntaxError".to_owned())]),
            ..circumstances()
        };
        assert_eq!(broken.status(&rule).as_str(), "does-not-load");
    }

    #[test]
    fn what_ran_and_runs_no_more_is_told_until_it_runs_or_somebody_decides() {
        let of = |status: DetectionStatus| BTreeMap::from([("R".to_owned(), status)]);
        let gone = || DetectionStatus::NoSource(String::new());
        let never = BTreeSet::new();
        assert!(stopped(&never, &of(gone())).0.is_empty(), "it never ran");
        let live = of(DetectionStatus::Live);
        let (none, ran) = stopped(&never, &live);
        assert!(none.is_empty() && ran.contains("R"));
        let lost = of(gone());
        let (found, still) = stopped(&ran, &lost);
        assert_eq!(found[0].0, "R");
        assert!(still.contains("R"), "it is told at the next look too");
        for decided in [
            DetectionStatus::Disabled,
            DetectionStatus::Suspended(String::new()),
        ] {
            let decided = of(decided);
            let (found, forgotten) = stopped(&ran, &decided);
            assert!(found.is_empty() && forgotten.is_empty());
        }
    }
}
