//! When matches open an alert, when they extend one, and when an alert is shown.

use std::collections::BTreeSet;

use serde::{Deserialize, Serialize};

use super::{AlertKind, alert_id};

/// The part of a deduplication row that decides.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct DedupRow {
    /// Alerts that this row has opened, the open one included.
    pub alert_count: u64,
    /// When the open alert was opened, Unix seconds.
    pub alert_creation_time: i64,
    /// When it last grew, Unix seconds.
    pub alert_update_time: i64,
    /// Its matches.
    pub event_count: u64,
    /// Log types of its matches.
    pub log_types: BTreeSet<String>,
}

/// Matches (or errors) of one rule with one dedup string, seen together.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Group<'a> {
    /// The rule.
    pub rule_id: &'a str,
    /// The dedup string.
    pub dedup: &'a str,
    /// Matches or errors.
    pub kind: AlertKind,
    /// How many; at least one.
    pub matches: u64,
    /// Log types of theirs.
    pub log_types: &'a BTreeSet<String>,
}

/// What a group does to its row.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Step {
    /// A new alert. To be written on condition that the row is as it was read: absent, or with the same `alert_count` and
    /// `alert_creation_time`; its generated fields are set, and removed where the new alert has none.
    Open {
        /// The alert.
        alert_id: String,
        /// The row afterwards.
        row: DedupRow,
    },
    /// The open alert grows. To be written on condition that `alert_count` and `alert_creation_time` are as they were read; `event_count` is added to
    /// and `log_types` united, so that several may extend at once.
    Extend {
        /// The alert.
        alert_id: String,
        /// What is added to `event_count`.
        matches: u64,
        /// The row afterwards, if nothing else extends it meanwhile.
        row: DedupRow,
    },
}

impl Step {
    /// The alert that the group's matches belong to.
    #[must_use]
    pub fn alert_id(&self) -> &str {
        match self {
            Self::Open { alert_id, .. } | Self::Extend { alert_id, .. } => alert_id,
        }
    }

    /// The row afterwards.
    #[must_use]
    pub fn row(&self) -> &DedupRow {
        match self {
            Self::Open { row, .. } | Self::Extend { row, .. } => row,
        }
    }
}

/// Decides for `group` at time `now` (Unix seconds) with a period of `dedup_minutes`, given the row as it was read.
///
/// The window begins with the alert's first match and does not slide: an alert opened more than the period ago is closed to further matches. So is one that
/// lies further ahead than that: cluster time was set back since.
#[must_use]
pub fn decide(row: Option<&DedupRow>, group: &Group<'_>, dedup_minutes: u32, now: i64) -> Step {
    let period = i64::from(dedup_minutes) * 60;
    let open =
        row.filter(|row| i128::from(row.alert_creation_time.abs_diff(now)) <= i128::from(period));
    match open {
        Some(open) => Step::Extend {
            alert_id: alert_id(
                group.rule_id,
                open.alert_count,
                open.alert_creation_time,
                group.dedup,
                group.kind,
            ),
            matches: group.matches,
            row: DedupRow {
                alert_update_time: open.alert_update_time.max(now),
                event_count: open.event_count.saturating_add(group.matches),
                log_types: open.log_types.union(group.log_types).cloned().collect(),
                ..open.clone()
            },
        },
        None => {
            let alert_count = row.map_or(0, |row| row.alert_count).saturating_add(1);
            Step::Open {
                alert_id: alert_id(group.rule_id, alert_count, now, group.dedup, group.kind),
                row: DedupRow {
                    alert_count,
                    alert_creation_time: now,
                    alert_update_time: now,
                    event_count: group.matches,
                    log_types: group.log_types.clone(),
                },
            }
        }
    }
}

/// What becomes of a changed deduplication row.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Forward {
    /// Too few matches: nothing yet.
    BelowThreshold,
    /// The alert is put and sent.
    Create,
    /// The alert is there: its counts, log types and update time are raised.
    Update,
}

/// Decides whether an alert of `event_count` matches is shown. The threshold is of matches only: an error always shows.
#[must_use]
pub fn forward(kind: AlertKind, event_count: u64, threshold: u64, alert_exists: bool) -> Forward {
    if kind == AlertKind::Rule && event_count < threshold {
        Forward::BelowThreshold
    } else if alert_exists {
        Forward::Update
    } else {
        Forward::Create
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    fn types(names: &[&str]) -> BTreeSet<String> {
        names.iter().map(|name| (*name).to_owned()).collect()
    }

    fn group(matches: u64, log_types: &BTreeSet<String>) -> Group<'_> {
        Group {
            rule_id: "r",
            dedup: "d",
            kind: AlertKind::Rule,
            matches,
            log_types,
        }
    }

    #[test]
    fn the_window_begins_with_the_first_match_and_does_not_slide() {
        let (a, b) = (types(&["A"]), types(&["B"]));
        let opened = decide(None, &group(2, &a), 60, 1000);
        let row = opened.row().clone();
        assert!(matches!(opened, Step::Open { .. }));
        assert_eq!(
            (row.alert_count, row.alert_creation_time, row.event_count),
            (1, 1000, 2)
        );

        let extended = decide(Some(&row), &group(3, &b), 60, 1000 + 3600);
        assert!(matches!(extended, Step::Extend { matches: 3, .. }));
        assert_eq!(extended.alert_id(), opened.alert_id());
        let row = extended.row().clone();
        assert_eq!(
            (
                row.event_count,
                row.alert_update_time,
                row.log_types.clone()
            ),
            (5, 4600, types(&["A", "B"]))
        );

        let second = decide(Some(&row), &group(1, &b), 60, 1000 + 3601);
        assert!(matches!(second, Step::Open { .. }));
        assert_eq!(
            (
                second.row().alert_count,
                second.row().event_count,
                second.row().log_types.clone()
            ),
            (2, 1, types(&["B"]))
        );
        assert_ne!(second.alert_id(), opened.alert_id());
    }

    #[test]
    fn the_threshold_is_of_matches_only() {
        assert_eq!(
            forward(AlertKind::Rule, 4, 5, false),
            Forward::BelowThreshold
        );
        assert_eq!(forward(AlertKind::Rule, 5, 5, false), Forward::Create);
        assert_eq!(forward(AlertKind::Rule, 6, 5, true), Forward::Update);
        assert_eq!(forward(AlertKind::RuleError, 1, 5, false), Forward::Create);
    }

    proptest! {
        #[test]
        fn no_match_is_lost_and_time_never_goes_back(steps in proptest::collection::vec((1u64..5, 0i64..200), 1..40), minutes in 0u32..3) {
            let log_types = types(&["A"]);
            let mut row: Option<DedupRow> = None;
            let mut per_alert = std::collections::BTreeMap::<String, u64>::new();
            let (mut now, mut total) = (0, 0);
            for (matches, passed) in steps {
                now += passed;
                total += matches;
                let step = decide(row.as_ref(), &group(matches, &log_types), minutes, now);
                *per_alert.entry(step.alert_id().to_owned()).or_default() += matches;
                prop_assert_eq!(per_alert[step.alert_id()], step.row().event_count);
                prop_assert!(now - step.row().alert_creation_time <= i64::from(minutes) * 60);
                if let Some(before) = &row {
                    prop_assert!(step.row().alert_update_time >= before.alert_update_time);
                }
                row = Some(step.row().clone());
            }
            prop_assert_eq!(per_alert.values().sum::<u64>(), total);
            prop_assert_eq!(per_alert.len() as u64, row.map_or(0, |row| row.alert_count));
        }
    }
}
