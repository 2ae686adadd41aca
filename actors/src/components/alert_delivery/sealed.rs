//! Looks whether this node can open the secrets of all destinations, again and again: a sealing key that is another cluster's, or damaged, is
//! otherwise seen only when alerts do not arrive.

use std::time::Duration;

use crate::alarms::Alarms;
use crate::destinations::OutputCache;
use crate::life::Life;

/// How often.
const EVERY: Duration = Duration::from_secs(3);
/// Names that the alarm gives.
const NAMES: usize = 10;

/// Watches until the node stops.
pub(crate) async fn watch(outputs: OutputCache, alarms: Alarms, life: Life) {
    let mut ticks = life.ticks(EVERY);
    while ticks.next().await {
        let unopened = match outputs.unopened().await {
            Ok(unopened) => unopened,
            Err(error) => {
                tracing::debug!(%error, "the destinations could not be read; tried again");
                continue;
            }
        };
        let reason = (!unopened.is_empty()).then(|| reason(&unopened));
        alarms
            .set_here("panther-outputs", "sealed", reason.as_deref())
            .await;
    }
}

fn reason(unopened: &[String]) -> String {
    let names = unopened[..unopened.len().min(NAMES)].join(", ");
    let more = match unopened.len().saturating_sub(NAMES) {
        0 => String::new(),
        more => format!(" and {more} more"),
    };
    format!(
        "the secrets of {} destination(s) do not open with this node's sealing.key: {names}{more}; put the cluster's sealing.key back and restart the node, or give each one its address again with `pantherctl outputs update`",
        unopened.len()
    )
}
