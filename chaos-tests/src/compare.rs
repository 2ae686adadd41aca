//! Comparison of two runs with the same input.
//!
//! Matches, rule errors and the ledger must always be equal. Alerts must be equal too, if the run was shorter than a rule's dedup period.
//! Windows are based on processing time: in a longer run the same matches may open a further window, which is a further alert, or two
//! partial windows that both stay below the threshold. For such rules the number of alerts may differ by one per group and started period.
//! The exact invariant for them is the one that [`Tally`](crate::tally::Tally) checks within one run: every window at its threshold is one
//! alert, and its event count equals the number of matches stored under it.
//!
//! A rule with memory of earlier events (in the key-value store) may match other events if their order changes, and kills change the order.
//! The caller names such rules. The checks within one tally still apply to them.

use std::collections::{BTreeMap, BTreeSet};
use std::fmt::Debug;
use std::time::Duration;

use crate::tally::{Alerts, Group, Tally};

/// The differences between `disturbed`, which took `took`, and `undisturbed`.
#[must_use]
pub fn differences(
    undisturbed: &Tally,
    disturbed: &Tally,
    took: Duration,
    order_dependent: &[String],
) -> Vec<String> {
    let mut found = Vec::new();
    for (run, tally) in [("undisturbed", undisturbed), ("disturbed", disturbed)] {
        found.extend(
            tally
                .problems
                .iter()
                .map(|what| format!("{run} run: {what}")),
        );
    }
    let apart = |rule: &String| order_dependent.contains(rule);
    let comparable = |counts: &BTreeMap<String, u64>| {
        let counts = counts.iter().filter(|(rule, _)| !apart(rule));
        counts
            .map(|(rule, count)| (rule.clone(), *count))
            .collect::<BTreeMap<_, _>>()
    };
    each(
        "matches of",
        &comparable(&undisturbed.matches),
        &comparable(&disturbed.matches),
        &mut found,
    );
    each(
        "errors of",
        &undisturbed.errors,
        &disturbed.errors,
        &mut found,
    );
    each(
        "ledger of",
        &undisturbed.ledger,
        &disturbed.ledger,
        &mut found,
    );
    let turns = |group: &Group| {
        let minutes = undisturbed.periods.get(&group.rule).copied().unwrap_or(0);
        // A period of length 0 is unknown, so its windows cannot be predicted.
        took.as_secs() / (minutes * 60).max(1)
    };
    let steady = |group: &&Group| turns(group) == 0 && !apart(&group.rule);
    let of = |tally: &Tally| {
        tally
            .alerts
            .clone()
            .into_iter()
            .filter(|(group, _)| steady(&group))
            .collect::<BTreeMap<Group, Alerts>>()
    };
    each("alerts of", &of(undisturbed), &of(disturbed), &mut found);
    let windows = |tally: &Tally| {
        tally
            .windows
            .clone()
            .into_iter()
            .filter(|(group, _)| steady(&group))
            .collect::<BTreeMap<_, _>>()
    };
    each(
        "deduplication of",
        &windows(undisturbed),
        &windows(disturbed),
        &mut found,
    );
    for (group, alerts) in disturbed
        .alerts
        .iter()
        .filter(|(group, _)| turns(group) > 0 && !apart(&group.rule))
    {
        // Matches that stayed below the threshold in one run can reach it in the other run only if they were in one window there.
        let most = 1 + turns(group);
        if alerts.alerts > most {
            found.push(format!(
                "{group:?}: {} alerts, and at most {most} periods began",
                alerts.alerts
            ));
        }
    }
    found
}

fn each<K: Ord + Debug + Clone, V: PartialEq + Debug>(
    what: &str,
    undisturbed: &BTreeMap<K, V>,
    disturbed: &BTreeMap<K, V>,
    found: &mut Vec<String>,
) {
    let keys: BTreeSet<&K> = undisturbed.keys().chain(disturbed.keys()).collect();
    for key in keys {
        let (left, right) = (undisturbed.get(key), disturbed.get(key));
        if left != right {
            found.push(format!(
                "{what} {key:?}: {left:?} undisturbed, {right:?} disturbed"
            ));
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn tally(alerts: u64) -> Tally {
        let group = Group {
            rule: "r".into(),
            dedup: "d".into(),
            kind: "RULE".into(),
        };
        Tally {
            matches: [("r".to_owned(), 5)].into(),
            alerts: [(
                group,
                Alerts {
                    alerts,
                    events: 5,
                    ..Alerts::default()
                },
            )]
            .into(),
            periods: [("r".to_owned(), 15)].into(),
            ..Tally::default()
        }
    }

    #[test]
    fn a_second_alert_is_wrong_unless_a_window_has_turned() {
        let minutes = |minutes: u64| Duration::from_secs(60 * minutes);
        assert!(differences(&tally(1), &tally(1), minutes(1), &[]).is_empty());
        assert_eq!(differences(&tally(1), &tally(2), minutes(14), &[]).len(), 1);
        assert!(differences(&tally(1), &tally(2), minutes(16), &[]).is_empty());
        assert_eq!(differences(&tally(1), &tally(3), minutes(16), &[]).len(), 1);
    }

    #[test]
    fn a_rule_that_depends_on_order_is_left_out_and_no_other() {
        let mut other = tally(2);
        other.matches.insert("r".into(), 6);
        let apart = |rule: &str| differences(&tally(1), &other, Duration::ZERO, &[rule.into()]);
        assert_eq!(apart("r"), Vec::<String>::new());
        assert_eq!(apart("s").len(), 2);
    }

    #[test]
    fn a_match_more_or_less_is_always_wrong() {
        let mut other = tally(1);
        other.matches.insert("r".into(), 6);
        assert_eq!(
            differences(&tally(1), &other, Duration::from_secs(36_000), &[]).len(),
            1
        );
        other.matches.clear();
        assert_eq!(
            differences(&tally(1), &other, Duration::from_secs(1), &[]).len(),
            1
        );
    }
}
