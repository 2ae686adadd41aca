//! Who an alert goes to.

use std::collections::BTreeSet;

use serde::{Deserialize, Serialize};

use super::AlertKind;
use crate::pack::Severity;

/// The one entry of a destinations list that says: to nobody.
pub const SKIP: &str = "SKIP";
/// Most destinations that one match may name.
pub const MAX_DESTINATIONS: usize = 10;

/// What routing knows of a destination.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct Output {
    /// Its id.
    pub output_id: String,
    /// Its name, unique.
    pub display_name: String,
    /// Severities that come to it unless an alert says otherwise.
    #[serde(default)]
    pub default_for_severity: Vec<Severity>,
    /// Kinds of alerts that come to it unless an alert says otherwise; empty means all.
    #[serde(default)]
    pub alert_types: Vec<AlertKind>,
}

/// What an alert says about its destinations.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Recipients<'a> {
    /// Ids from `destinations()`, after [`resolve_destinations`].
    pub destinations: Option<&'a [String]>,
    /// `OutputIds` of the detection.
    pub output_ids: &'a [String],
    /// Severity of the alert.
    pub severity: Severity,
    /// What the alert is about.
    pub kind: AlertKind,
}

/// Turns the names or ids that `destinations()` gave into ids. `None` (so that routing falls through to the detection's own list and the severity) if an
/// entry is unknown or stands twice, or if there are more than [`MAX_DESTINATIONS`]; `[SKIP]` stays as it is.
#[must_use]
pub fn resolve_destinations(given: &[String], outputs: &[Output]) -> Option<Vec<String>> {
    if given.iter().any(|entry| entry == SKIP) {
        return Some(vec![SKIP.to_owned()]);
    }
    let mut ids = Vec::with_capacity(given.len());
    for entry in given {
        // An id is exact; only then may the text be a name.
        let output = outputs
            .iter()
            .find(|output| output.output_id == *entry)
            .or_else(|| outputs.iter().find(|output| output.display_name == *entry))?;
        if ids.contains(&output.output_id) {
            return None;
        }
        ids.push(output.output_id.clone());
    }
    (!ids.is_empty() && ids.len() <= MAX_DESTINATIONS).then_some(ids)
}

/// Ids of the outputs that an alert goes to, each once, in the order of the list that decided:
///
/// 1. `destinations` hold [`SKIP`]: nobody;
/// 2. `destinations`;
/// 3. the detection's `output_ids`;
/// 4. outputs that take the severity and the kind.
///
/// Ids of no output are left out, and a step that leaves nothing falls through to the next.
#[must_use]
pub fn route(recipients: &Recipients<'_>, outputs: &[Output]) -> Vec<String> {
    let destinations = recipients.destinations.unwrap_or_default();
    if destinations.iter().any(|id| id == SKIP) {
        return Vec::new();
    }
    let known = |ids: &[String]| {
        let mut seen = BTreeSet::new();
        ids.iter()
            .filter(|id| {
                outputs.iter().any(|output| output.output_id == **id) && seen.insert((*id).clone())
            })
            .cloned()
            .collect::<Vec<_>>()
    };
    for explicit in [known(destinations), known(recipients.output_ids)] {
        if !explicit.is_empty() {
            return explicit;
        }
    }
    outputs
        .iter()
        .filter(|output| output.default_for_severity.contains(&recipients.severity))
        .filter(|output| {
            output.alert_types.is_empty() || output.alert_types.contains(&recipients.kind)
        })
        .map(|output| output.output_id.clone())
        .collect()
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    fn output(id: &str, severities: &[Severity], kinds: &[AlertKind]) -> Output {
        Output {
            output_id: id.to_owned(),
            display_name: format!("name of {id}"),
            default_for_severity: severities.to_vec(),
            alert_types: kinds.to_vec(),
        }
    }

    fn outputs() -> Vec<Output> {
        vec![
            output("high", &[Severity::High, Severity::Critical], &[]),
            output("errors", &[Severity::High], &[AlertKind::RuleError]),
            output("none", &[], &[]),
        ]
    }

    fn ids(names: &[&str]) -> Vec<String> {
        names.iter().map(|name| (*name).to_owned()).collect()
    }

    fn routed(
        destinations: Option<&[&str]>,
        output_ids: &[&str],
        severity: Severity,
        kind: AlertKind,
    ) -> Vec<String> {
        let destinations = destinations.map(ids);
        let recipients = Recipients {
            destinations: destinations.as_deref(),
            output_ids: &ids(output_ids),
            severity,
            kind,
        };
        route(&recipients, &outputs())
    }

    #[test]
    fn each_step_falls_through_to_the_next() {
        use AlertKind::{Rule, RuleError};
        assert_eq!(routed(None, &[], Severity::High, Rule), ids(&["high"]));
        assert_eq!(
            routed(None, &[], Severity::High, RuleError),
            ids(&["high", "errors"])
        );
        assert_eq!(routed(None, &[], Severity::Low, Rule), ids(&[]));
        assert_eq!(
            routed(None, &["none", "none"], Severity::High, Rule),
            ids(&["none"])
        );
        assert_eq!(
            routed(Some(&["errors"]), &["none"], Severity::Low, Rule),
            ids(&["errors"])
        );
        assert_eq!(
            routed(Some(&["gone"]), &["gone", "none"], Severity::Low, Rule),
            ids(&["none"])
        );
        assert_eq!(
            routed(Some(&["gone"]), &["gone"], Severity::High, Rule),
            ids(&["high"])
        );
        assert_eq!(
            routed(Some(&[SKIP]), &["none"], Severity::High, Rule),
            ids(&[])
        );
        assert_eq!(routed(Some(&[]), &[], Severity::High, Rule), ids(&["high"]));
    }

    #[test]
    fn one_bad_entry_voids_what_a_rule_names() {
        let resolve = |names: &[&str]| resolve_destinations(&ids(names), &outputs());
        assert_eq!(
            resolve(&["high", "name of none"]),
            Some(ids(&["high", "none"]))
        );
        assert_eq!(resolve(&["high", "name of high"]), None);
        assert_eq!(resolve(&["high", "gone"]), None);
        assert_eq!(resolve(&[SKIP]), Some(ids(&[SKIP])));
        assert_eq!(resolve(&[]), None);
    }

    proptest! {
        #[test]
        fn nobody_gets_an_alert_twice_and_only_outputs_get_one(
            destinations in proptest::option::of(proptest::collection::vec("high|errors|none|gone", 0..5)),
            output_ids in proptest::collection::vec("high|errors|none|gone", 0..5),
        ) {
            let recipients = Recipients { destinations: destinations.as_deref(), output_ids: &output_ids, severity: Severity::High, kind: AlertKind::Rule };
            let routed = route(&recipients, &outputs());
            let distinct: BTreeSet<_> = routed.iter().collect();
            prop_assert_eq!(distinct.len(), routed.len());
            prop_assert!(routed.iter().all(|id| id != "gone"));
        }
    }
}
