//! Objects that no row names are removed after a day: what an attempt wrote before it failed, and what is older than its retention.

use panther_cluster::door::Door;
use panther_cluster::door::change;
use panther_cluster::objects::Objects;

use crate::components::objects::TABLE;

/// Age below which an object may still be named.
const DAY_MS: u64 = 24 * 3600 * 1000;
/// Folders of objects that only our own attempts write.
const FOLDERS: [&str; 6] = ["raw", "logs", "rules", "rule_errors", "quarantine", "packs"];

/// Removes the objects of our folders that are older than a day and have no row. How many.
pub(super) async fn sweep(door: &Door, objects: &Objects) -> Result<u64, String> {
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
