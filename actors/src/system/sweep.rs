//! Objects that no command named are removed after a day: what an attempt wrote before it failed.

use std::time::Duration;

use panther_cluster::door::Door;
use panther_cluster::door::change;
use panther_cluster::objects::Objects;
use tokio::sync::watch;

use crate::components::objects::TABLE;

/// How often objects are looked through.
const EVERY: Duration = Duration::from_secs(3600);
/// Age below which an object may still be named.
const DAY_MS: u64 = 24 * 3600 * 1000;
/// Folders of objects that only our own attempts write.
const FOLDERS: [&str; 6] = ["raw", "logs", "rules", "rule_errors", "quarantine", "packs"];

pub(super) async fn run(door: Door, objects: Objects, mut stop: watch::Receiver<bool>) {
    let mut ticks = tokio::time::interval(EVERY);
    ticks.set_missed_tick_behavior(tokio::time::MissedTickBehavior::Delay);
    loop {
        tokio::select! { _ = ticks.tick() => {}, _ = stop.changed() => return }
        match sweep(&door, &objects).await {
            Ok(0) => {}
            Ok(removed) => tracing::info!(removed, "objects that no message named were removed"),
            Err(error) => {
                tracing::warn!(error, "objects could not be swept; tried again in an hour")
            }
        }
    }
}

async fn sweep(door: &Door, objects: &Objects) -> Result<u64, String> {
    let before = door.now_ms().saturating_sub(DAY_MS);
    let mut removed = 0;
    for folder in FOLDERS {
        for object in objects
            .list(folder)
            .await
            .map_err(|error| error.to_string())?
        {
            // The store's clock dates objects; a day is far more than two clocks differ.
            if object.written_ms >= before
                || door
                    .get(TABLE, &change::key(&object.name))
                    .await
                    .map_err(|error| error.to_string())?
                    .is_some()
            {
                continue;
            }
            objects
                .remove(&object.name)
                .await
                .map_err(|error| error.to_string())?;
            removed += 1;
        }
    }
    Ok(removed)
}
