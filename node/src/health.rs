//! Whether the node can do its work, and whether it can only be mended by a start.

use std::path::Path;
use std::time::Duration;

use panther_cluster::door::{Door, Local};
use panther_cluster::membership::known_leader;
use panther_cluster::net::Removal;
use panther_cluster::storage::room;
use serde_json::{Value, json};

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

/// Returns once it is known that this node's state differs from the others'.
pub(crate) async fn differs(door: &Door) -> String {
    loop {
        if let Some(reason) = door.differs() {
            return reason;
        }
        tokio::time::sleep(LOOK).await;
    }
}

/// Less than this, and a failure is put down to the full disk.
const NO_ROOM: u64 = 8 << 20;
/// How long a node that failed for want of room waits for some before it ends.
const WAIT_FOR_ROOM: Duration = Duration::from_secs(30);

/// Returns once there is room where these folders lie, or after half a minute: systemd gives up on a service that ends ten
/// times in five minutes, and would not start it when there is room at last.
pub(crate) async fn wait_for_room(folders: &[&Path]) {
    let is_full = |folder: &&Path| room::free_bytes(folder).is_ok_and(|free| free < NO_ROOM);
    let full = || folders.iter().any(is_full);
    if !full() {
        return;
    }
    tracing::error!("the disk is full; the node ends once there is room, or in half a minute");
    let since = tokio::time::Instant::now();
    while full() && since.elapsed() < WAIT_FOR_ROOM {
        tokio::time::sleep(LOOK).await;
    }
}

/// How a node is that is removed, in the words of its end.
pub(crate) fn removed(removal: &Removal, node: u64, cluster: &str) -> String {
    let at = removal.at_ms.map_or_else(String::new, |at| {
        format!(" on {}", panther_actors::dates::rfc3339(at))
    });
    format!(
        "node {node} was removed from cluster {cluster}{at}, as node {} says; its number is not used again. To make this machine a node again, empty data_dir (and the identity file, if \
         one is set) and join again",
        removal.said_by
    )
}

/// What a node says of its health to a program that asks over HTTP.
#[derive(Debug)]
pub(crate) struct Health {
    /// Requests can be served.
    pub(crate) well: bool,
    /// The same for a reader.
    pub(crate) said: Value,
}

/// Whether the node can do its work; soon, whether or not there is a leader.
pub(crate) async fn of(door: &Door) -> Health {
    of_local(door.local(), door.fresh().await.err())
}

/// What a node says of its health whose door is not open.
pub(crate) fn of_waiting(local: &Local) -> Health {
    let reason = local.without_leader().map(|(_, reason)| reason);
    let starting = || "the node is starting".to_owned();
    of_local(local, Some(reason.unwrap_or_else(starting)))
}

fn of_local(local: &Local, reason: Option<String>) -> Health {
    let status = local.status();
    let well = reason.is_none();
    let known = json!({
        "status": if well { "ok" } else { "failing" },
        "local": !well,
        "node": local.node(), "leader": known_leader(&status, !well), "term": status.term,
        "last_log": status.last_log, "last_term": status.last_term, "applied": status.applied,
    });
    let mut said = known;
    if let Some(reason) = reason {
        said["reason"] = reason.into();
    }
    Health { well, said }
}
