//! Matches and errors of a message, grouped as alerts see them, and their lines as they are stored.

use std::collections::BTreeMap;

use panther_detections::alerting::{self, AlertKind, Generated, Output, Step};
use panther_detections::engine::{Effects, Evaluation, EventInput};
use panther_detections::pack::{Detection, Pack};
use panther_detections::verdict::Outcome;
use serde_json::{Value, json};

/// What makes matches one alert.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord)]
pub struct GroupKey {
    /// The rule.
    pub rule: String,
    /// Its dedup string.
    pub dedup: String,
    /// Match or error.
    pub kind: AlertKind,
}

/// One match or error: its event and what is added to it.
struct Line {
    event: bytes::Bytes,
    context: Option<String>,
    error: Option<Value>,
}

/// Matches of one rule with one dedup string; texts are those of the first.
pub struct Group {
    lines: Vec<Line>,
    /// Texts of the alert: generated, else the rule's own.
    pub generated: Generated,
    /// `alert_context()` of the first match, as JSON.
    pub context: Option<String>,
    /// Resolved destinations, where `destinations()` gave some.
    pub destinations: Option<Vec<String>>,
    /// The rule's name for people.
    pub display_name: String,
    /// The rule's version.
    pub rule_version: String,
    /// The rule's own destinations.
    pub output_ids: Vec<String>,
    /// The rule's tags.
    pub tags: Vec<String>,
    reports: Value,
    /// Minutes for which matches go into one alert.
    pub dedup_minutes: u32,
    /// Matches before the alert is shown.
    pub threshold: u64,
    /// False for signals: matches are stored, no alert is opened.
    pub opens_alert: bool,
}

impl Group {
    /// How many matches.
    #[must_use]
    pub fn matches(&self) -> u64 {
        self.lines.len() as u64
    }

    fn of(
        detection: &Detection,
        kind: AlertKind,
        generated: Generated,
        context: Option<String>,
        destinations: Option<Vec<String>>,
    ) -> Self {
        let texts = alerting::alert_texts(&generated, detection);
        Self {
            lines: Vec::new(),
            generated: Generated {
                title: Some(texts.title),
                description: Some(texts.description),
                reference: Some(texts.reference),
                runbook: Some(texts.runbook),
                severity: Some(texts.severity),
            },
            context,
            destinations,
            display_name: detection
                .display_name
                .clone()
                .unwrap_or_else(|| detection.id.clone()),
            rule_version: detection.version.clone(),
            output_ids: detection.output_ids.clone(),
            tags: detection.tags.clone(),
            reports: json!(detection.reports),
            dedup_minutes: detection.dedup_minutes,
            // An error always shows.
            threshold: if kind == AlertKind::Rule {
                detection.threshold
            } else {
                1
            },
            opens_alert: detection.create_alert || kind == AlertKind::RuleError,
        }
    }
}

/// All groups of a message.
pub struct Groups {
    /// The log type of its events.
    pub log_type: String,
    /// The pack that decided.
    pub pack_version: String,
    /// By rule, dedup string and kind.
    pub groups: BTreeMap<GroupKey, Group>,
    /// What rules wrote to the key-value store.
    pub store: Vec<Effects>,
    /// The number of events that were evaluated.
    pub events: usize,
    /// The object that holds the events.
    pub from: String,
}

impl Groups {
    /// Groups an evaluation's verdicts.
    #[must_use]
    pub fn of(
        pack: &Pack,
        log_type: &str,
        events: &[EventInput],
        evaluation: Evaluation,
        outputs: &[Output],
    ) -> Self {
        let mut groups: BTreeMap<GroupKey, Group> = BTreeMap::new();
        for verdict in evaluation.verdicts {
            let (Some(detection), Some(event)) = (
                pack.detections.get(verdict.detection),
                events.get(verdict.event),
            ) else {
                continue;
            };
            let (key, line) = match verdict.outcome {
                Outcome::Matched(found) => {
                    let key = GroupKey {
                        rule: detection.id.clone(),
                        dedup: found.dedup.clone(),
                        kind: AlertKind::Rule,
                    };
                    let destinations = found
                        .destinations
                        .as_deref()
                        .and_then(|given| alerting::resolve_destinations(given, outputs));
                    groups.entry(key.clone()).or_insert_with(|| {
                        Group::of(
                            detection,
                            AlertKind::Rule,
                            Generated::from(&*found),
                            found.context.clone(),
                            destinations,
                        )
                    });
                    (
                        key,
                        Line {
                            event: event.json.clone(),
                            context: found.context,
                            error: None,
                        },
                    )
                }
                Outcome::Failed(error) => {
                    let (title, dedup) = alerting::error_outputs(&error);
                    let key = GroupKey {
                        rule: detection.id.clone(),
                        dedup,
                        kind: AlertKind::RuleError,
                    };
                    let generated = Generated {
                        title: Some(title),
                        ..Generated::default()
                    };
                    groups.entry(key.clone()).or_insert_with(|| {
                        Group::of(detection, AlertKind::RuleError, generated, None, None)
                    });
                    (
                        key,
                        Line {
                            event: event.json.clone(),
                            context: None,
                            error: Some(
                                json!({"type": error.kind, "message": error.message, "place": error.place, "trace": error.trace}),
                            ),
                        },
                    )
                }
            };
            if let Some(group) = groups.get_mut(&key) {
                group.lines.push(line);
            }
        }
        Self {
            log_type: log_type.to_owned(),
            pack_version: pack.version.clone(),
            groups,
            store: evaluation.effects,
            events: events.len(),
            from: String::new(),
        }
    }

    /// What the evaluation found, in words.
    #[must_use]
    pub fn words(&self) -> String {
        /// Rules that are named.
        const NAMED: usize = 5;
        let (mut matches, mut errors) = (0, 0);
        for (key, group) in &self.groups {
            match key.kind {
                AlertKind::RuleError => errors += group.matches(),
                _ => matches += group.matches(),
            }
        }
        let mut rules: Vec<&str> = self.groups.keys().map(|key| key.rule.as_str()).collect();
        rules.dedup();
        let more = rules.len().saturating_sub(NAMED);
        rules.truncate(NAMED);
        let mut words = format!(
            "{} events of {} evaluated: {matches} matches, {errors} rule errors",
            self.events, self.log_type
        );
        if !rules.is_empty() {
            words.push_str(&format!(" ({}", rules.join(", ")));
            if more > 0 {
                words.push_str(&format!(" and {more} more rules"));
            }
            words.push(')');
        }
        words
    }

    /// Rows that a plan of these groups changes, at most.
    #[must_use]
    pub fn rows(&self) -> usize {
        let keys: std::collections::BTreeSet<&str> = self
            .store
            .iter()
            .flat_map(|effects| &effects.changes)
            .map(|change| change.key.as_str())
            .collect();
        self.groups.len() * 2 + keys.len() + 4
    }

    /// The lines of all matches (or errors), each with its alert.
    #[must_use]
    pub fn lines(&self, kind: AlertKind, steps: &BTreeMap<&GroupKey, Option<Step>>) -> Vec<u8> {
        let mut out = Vec::new();
        for (key, group) in self.groups.iter().filter(|(key, _)| key.kind == kind) {
            let mut about = serde_json::Map::new();
            about.insert("p_rule_id".into(), key.rule.clone().into());
            about.insert("p_rule_tags".into(), group.tags.clone().into());
            about.insert("p_rule_reports".into(), group.reports.clone());
            if let Some(severity) = group.generated.severity {
                about.insert("p_rule_severity".into(), severity.as_str().into());
            }
            if let Some(Some(step)) = steps.get(key) {
                about.insert("p_alert_id".into(), step.alert_id().into());
                about.insert(
                    "p_alert_creation_time".into(),
                    stamp(step.row().alert_creation_time).into(),
                );
                about.insert(
                    "p_alert_update_time".into(),
                    stamp(step.row().alert_update_time).into(),
                );
            }
            for line in &group.lines {
                let mut added = about.clone();
                if let Some(context) = line
                    .context
                    .as_ref()
                    .and_then(|context| crate::json::read(context.as_bytes()).ok())
                {
                    added.insert("p_alert_context".into(), context);
                }
                if let Some(error) = &line.error {
                    added.insert("p_rule_error".into(), error.clone());
                }
                append(&mut out, &line.event, &added);
            }
        }
        out
    }
}

/// The event's own text stays as it is; what is added comes behind.
fn append(out: &mut Vec<u8>, event: &[u8], added: &serde_json::Map<String, Value>) {
    let event = event.trim_ascii_end();
    let Some(open) = event.strip_suffix(b"}") else {
        return;
    };
    out.extend_from_slice(open);
    let added = Value::Object(added.clone()).to_string();
    if open.trim_ascii() != b"{" {
        out.push(b',');
    }
    out.extend_from_slice(&added.as_bytes()[1..]);
    out.push(b'\n');
}

fn stamp(seconds: i64) -> String {
    chrono::DateTime::from_timestamp(seconds, 0)
        .map(|time| time.format("%Y-%m-%d %H:%M:%S.000000000").to_string())
        .unwrap_or_default()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_is_added_comes_behind_an_event_whose_text_stays() {
        let mut out = Vec::new();
        let added = serde_json::Map::from_iter([("p_rule_id".to_owned(), Value::from("r"))]);
        append(&mut out, br#"{"n":1.50,"n2":1e400}"#, &added);
        append(&mut out, b"{}", &added);
        assert_eq!(
            String::from_utf8(out).unwrap(),
            "{\"n\":1.50,\"n2\":1e400,\"p_rule_id\":\"r\"}\n{\"p_rule_id\":\"r\"}\n"
        );
    }
}
