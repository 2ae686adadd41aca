//! Whether the node can do its work: its log must answer, or nothing else can.

use std::path::Path;
use std::time::Duration;

use panther_cluster::door::Door;
use panther_cluster::state::read;
use panther_cluster::storage::room;

/// How long a read may take before the node counts as stuck.
const ANSWER: Duration = Duration::from_secs(5);

/// How often it is looked at whether the node can go on.
const LOOK: Duration = Duration::from_secs(1);

/// Returns once the node can only be mended by a start: its part in the group has ended, or its state is out of reach.
pub(crate) async fn broken(door: &Door) -> String {
    loop {
        let group = door.group();
        if let Some(reason) = group.store().broken() {
            return reason;
        }
        if let Some(reason) = group.status().fault {
            return format!("the group has stopped on this node: {reason}");
        }
        tokio::time::sleep(LOOK).await;
    }
}

/// Returns once this build has met what only a newer one knows.
pub(crate) async fn outdated(door: &Door) -> String {
    loop {
        if let Some(reason) = door.group().outdated() {
            return reason;
        }
        tokio::time::sleep(LOOK / 4).await;
    }
}

/// Less than this, and a failure is put down to the full disk.
const NO_ROOM: u64 = 8 << 20;
/// How long a node that failed for want of room waits for some before it ends.
const WAIT_FOR_ROOM: Duration = Duration::from_secs(30);

/// Returns once the cluster has said that this node is none of its nodes any more.
pub(crate) async fn removed(door: &Door) -> String {
    loop {
        if let Some(reason) = door.removed() {
            return reason;
        }
        tokio::time::sleep(LOOK).await;
    }
}

/// Returns once there is room where `folder` lies, or after half a minute: systemd gives up on a service that ends ten
/// times in five minutes, and would not start it when there is room at last.
pub(crate) async fn wait_for_room(folder: &Path) {
    let full = || room::free_bytes(folder).is_ok_and(|free| free < NO_ROOM);
    if !full() {
        return;
    }
    tracing::error!("the disk is full; the node ends once there is room, or in half a minute");
    let since = tokio::time::Instant::now();
    while full() && since.elapsed() < WAIT_FOR_ROOM {
        tokio::time::sleep(LOOK).await;
    }
}

/// Whether the door answers a read.
///
/// # Errors
/// Why it does not.
pub(crate) async fn answers(door: &Door) -> Result<(), String> {
    match tokio::time::timeout(ANSWER, door.read(|store| read::globals(store))).await {
        Ok(Ok(_)) => Ok(()),
        Ok(Err(error)) => Err(error.to_string()),
        Err(_) => Err(format!(
            "the replicated log gave no answer within {} s",
            ANSWER.as_secs()
        )),
    }
}
