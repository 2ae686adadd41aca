//! Alarms of log sources: something that a door cannot read, and records that no log type takes. The leader looks again and again.

use std::collections::{BTreeMap, BTreeSet};
use std::time::Duration;

use panther_cluster::door::{Door, DoorError};

use super::sources::{self, Ledger, Source, SourceRegistry, ledger};
use crate::alarms::Alarms;
use crate::life::Life;

/// The component that the alarms are of.
const COMPONENT: &str = "panther-source-api";
/// How often.
const EVERY: Duration = Duration::from_secs(5);
const HOUR_MS: u64 = 3_600_000;
/// Records of an hour and the hour before it from which on a share says something.
const LEAST_RECORDS: u64 = 10;
/// Quarantined records of a hundred that raise the alarm.
const PERCENT: u64 = 10;

/// The watch of all sources.
#[derive(Clone)]
pub(crate) struct SourceHealth {
    pub(crate) door: Door,
    pub(crate) sources: SourceRegistry,
    pub(crate) alarms: Alarms,
}

impl SourceHealth {
    /// Watches until the node stops.
    pub(crate) async fn watch(self, life: Life) {
        // Labels whose alarms may be raised, so that those of a removed source are cleared.
        let mut watched = BTreeSet::new();
        let mut ticks = life.ticks(EVERY);
        while ticks.next().await {
            if !self.door.group().status().leads {
                continue;
            }
            if let Err(error) = self.look(&mut watched).await {
                tracing::debug!(%error, "the state of sources could not be read; tried again");
            }
        }
    }

    async fn look(&self, watched: &mut BTreeSet<String>) -> Result<(), DoorError> {
        let alarms = &self.alarms;
        if watched.is_empty() {
            // Another node may have raised them.
            let raised = alarms.list(false).await?;
            let ours = raised.iter().filter(|alarm| alarm.component == COMPONENT);
            watched.extend(ours.filter_map(|alarm| label(&alarm.name)));
        }
        let states = sources::states(&self.door).await?;
        let set = self.sources.current().await?;
        let hour_before = sources::hour(self.door.now_ms().saturating_sub(HOUR_MS));
        let counts: BTreeMap<String, Ledger> =
            ledger::sums_since(&self.door.tables(), &hour_before).await?;
        for source in set.all() {
            let is_troubled = states
                .get(&source.id)
                .is_some_and(|nodes| nodes.values().any(|state| state.troubles > 0));
            let troubled = is_troubled.then(|| {
                format!(
                    "not all of source {} can be read; `pantherctl sources show {}` says what and why",
                    source.label, source.label
                )
            });
            let quarantined = quarantined(source, counts.get(&source.id));
            set_alarm(alarms, &source.label, "is troubled", troubled).await;
            set_alarm(
                alarms,
                &source.label,
                "has records in quarantine",
                quarantined,
            )
            .await;
            watched.insert(source.label.clone());
        }
        let gone = |label: &String| set.labelled(label).is_none();
        for label in watched.iter().filter(|label| gone(label)) {
            set_alarm(alarms, label, "is troubled", None).await;
            set_alarm(alarms, label, "has records in quarantine", None).await;
        }
        watched.retain(|label| !gone(label));
        Ok(())
    }
}

async fn set_alarm(alarms: &Alarms, label: &str, what: &str, reason: Option<String>) {
    let metric = format!("source {label} {what}");
    alarms.set(COMPONENT, &metric, reason.as_deref()).await;
}

/// The label in the name of an alarm of this module.
fn label(name: &str) -> Option<String> {
    let rest = name.split_once("source ")?.1;
    let label = rest
        .strip_suffix(" is troubled")
        .or_else(|| rest.strip_suffix(" has records in quarantine"))?;
    Some(label.to_owned())
}

/// Why a source's records in quarantine are too many, if they are. `counts`: of this hour and the hour before it.
fn quarantined(source: &Source, counts: Option<&Ledger>) -> Option<String> {
    let counts = counts.copied().unwrap_or_default();
    let is_too_many =
        counts.received >= LEAST_RECORDS && counts.quarantined * 100 >= counts.received * PERCENT;
    is_too_many.then(|| {
        format!(
            "{PERCENT} % or more of the records of source {} in the last two hours are in quarantine; `pantherctl quarantine ls --source {}` shows why, and `quarantine replay` reads them again once the log types are right",
            source.label, source.label
        )
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_label_is_found_in_the_name_of_its_alarm() {
        for (name, expected) in [
            ("panther-source-api: source a b is troubled", Some("a b")),
            (
                "panther-source-api: source x has records in quarantine",
                Some("x"),
            ),
            ("panther-source-api: circuit_open", None),
        ] {
            assert_eq!(label(name).as_deref(), expected);
        }
    }
}
