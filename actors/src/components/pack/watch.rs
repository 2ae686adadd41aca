//! Looks at the live pack and the status of every detection, again and again: an alarm where this node cannot load the pack, counts for
//! `status`, and an alarm where something that ran no longer runs.

use std::collections::BTreeSet;
use std::time::Duration;

use panther_cluster::door::change::{self, Change, RowExt};
use panther_cluster::door::{Door, DoorError};
use panther_proto::v1::Transact;

use super::status::{self, DetectionStatus};
use super::{LivePack, PackError, TABLE};
use crate::alarms::Alarms;
use crate::components::log_types::LogTypeRegistry;
use crate::life::Life;

/// How often statuses are looked at.
const EVERY: Duration = Duration::from_secs(3);
/// The row that holds the detections that ran.
const RAN: &str = "@ran";
/// Names that an alarm tells.
const NAMES: usize = 10;

/// Watches until the node stops. Every node counts; the leader alone keeps what ran, and raises.
pub async fn run(
    door: Door,
    live: LivePack,
    log_types: LogTypeRegistry,
    alarms: Alarms,
    life: Life,
) {
    let mut ticks = life.ticks(EVERY);
    while ticks.next().await {
        if let Err(error) = look(&door, &live, &log_types, &alarms).await {
            tracing::debug!(%error, "the statuses of detections could not be read; tried again");
        }
    }
}

async fn look(
    door: &Door,
    live: &LivePack,
    log_types: &LogTypeRegistry,
    alarms: &Alarms,
) -> Result<(), DoorError> {
    let (loaded, reason) = match live.current().await {
        Ok(loaded) => (loaded, None),
        Err(PackError::Door(error)) => return Err(error),
        Err(error) => (None, Some(error.to_string())),
    };
    let reason = reason.map(|reason| {
        format!(
            "the live pack cannot be loaded on this node, and no event is evaluated here: {reason}"
        )
    });
    alarms
        .set_here("panther-rules-engine", "pack not loaded", reason.as_deref())
        .await;
    let Some(running) = loaded else {
        return Ok(());
    };
    let statuses = live.circumstances(log_types).await?.statuses(&running.pack);
    live.count(status::counts(&statuses));
    let current = live.pointer().await?;
    let is_current = current.is_some_and(|live| live.version == running.pack.version);
    if door.group().status().leader != Some(door.node()) || !is_current {
        return Ok(());
    }
    let row = door.get(TABLE, &change::key(RAN)).await?;
    let ran: BTreeSet<String> = row
        .as_ref()
        .and_then(|row| serde_json::from_str(row.json("ids")?).ok())
        .unwrap_or_default();
    let (stopped, ran_by_now) = status::stopped(&ran, &statuses);
    if ran_by_now != ran {
        let ids = serde_json::to_string(&ran_by_now).unwrap_or_default();
        let row = Change::put(TABLE, change::key(RAN)).set("ids", change::json(ids));
        door.transact(Transact {
            changes: vec![row.done()],
            ..Transact::default()
        })
        .await?;
    }
    let reason = (!stopped.is_empty()).then(|| told(&stopped));
    alarms
        .set(
            "panther-rules-engine",
            "detections stopped",
            reason.as_deref(),
        )
        .await;
    Ok(())
}

fn told(stopped: &[(&str, &DetectionStatus)]) -> String {
    let names: Vec<String> = stopped
        .iter()
        .take(NAMES)
        .map(|(id, status)| format!("{id} ({})", status.reason().unwrap_or(status.as_str())))
        .collect();
    let more = match stopped.len().saturating_sub(NAMES) {
        0 => String::new(),
        more => format!(" and {more} more"),
    };
    format!(
        "{} detection(s) that were live no longer run: {}{more}; mend the cause, or disable or suspend them; `pantherctl detections list --state no-source,no-log-type,does-not-load` shows all",
        stopped.len(),
        names.join(", ")
    )
}
