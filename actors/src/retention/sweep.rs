//! Objects that no row names are removed after a day: what an attempt wrote before it failed, and what is older than its retention.

use panther_cluster::door::Door;
use panther_cluster::door::change;
use panther_cluster::objects::{Objects, proof};
use panther_cluster::state::read;

use crate::components::objects::TABLE;

/// Age below which an object may still be named.
const DAY_MS: u64 = 24 * 3600 * 1000;
/// Folders of objects that only our own attempts write.
const FOLDERS: [&str; 6] = ["raw", "logs", "rules", "rule_errors", "quarantine", "packs"];

/// Removes the objects of our folders that are older than a day and have no row. Returns how many.
///
/// # Errors
/// The store or the cluster gives no answer.
pub async fn sweep(door: &Door, objects: &Objects) -> Result<u64, String> {
    let read = door.read(|store| read::globals(store)).await;
    let globals = read.map_err(|error| error.to_string())?;
    // The store dates objects by its own clock. Cluster time may be ahead of it, and holds back what was due within a leap.
    let store_ms = proof::store_time(objects, door.node()).await;
    let store_ms = store_ms.map_err(|error| error.to_string())?;
    let is_old = |written_ms: u64| {
        let at_ms = written_ms.saturating_add(DAY_MS);
        at_ms < store_ms && globals.is_past(at_ms)
    };
    let mut removed = 0;
    for folder in FOLDERS {
        for object in objects
            .list(folder)
            .await
            .map_err(|error| error.to_string())?
        {
            if !is_old(object.written_ms)
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
