//! The node's own views for operators: what runs, what waits, what is wrong. Reads, and the few changes that an operator
//! makes to queues.
//!
//! * [`status`]: one look at everything
//! * [`queues`]: counts, peek, send, purge, requeue
//! * [`tables`]: rows of tables
//! * [`members`]: the cluster's nodes
//! * [`quarantine`]: lines that no log type took, and their replay
//! * [`storage`]: what takes the room, how long it is kept
//! * [`trace`]: one event's way, and the ledger

mod json;
mod members;
mod quarantine;
pub(crate) mod queues;
mod status;
mod storage;
mod tables;
mod trace;

use panther_cluster::door::{Door, Local};
use panther_cluster::membership::{self, Members};
use panther_cluster::objects::Objects;
use serde_json::Value;

use crate::alarms::Alarms;
use crate::api::{ApiCall, ApiError};
use crate::components::pack::LivePack;
use crate::pause::Pause;
use crate::supervision::Supervisor;

pub use status::Identity;

/// Operations that a node answers while it waits for a leader, before anything of it is started.
pub const WITHOUT_LEADER: &[&str] = &["status", "alarms", "cluster"];

/// Answers one of [`WITHOUT_LEADER`] by what a node knows that waits for a leader; `behind` says why it waits.
///
/// # Errors
/// Its state cannot be read, or it is another operation.
pub async fn of_waiting(
    local: &Local,
    identity: &Identity,
    call: &ApiCall,
    behind: &str,
) -> Result<Value, ApiError> {
    match call.operation.as_str() {
        "status" => status::waiting(local, identity, behind).await,
        "alarms" => {
            let raised = crate::alarms::written(local).await;
            let raised = raised.map_err(|error| ApiError::Internal(error.to_string()))?;
            Ok(status::listed(raised, Some(behind)))
        }
        "cluster" => {
            let look = membership::look_here(local, behind.to_owned()).await;
            Ok(members::of_look(&look, local))
        }
        _ => Err(ApiError::Unavailable(format!(
            "the node is starting: {behind}"
        ))),
    }
}

const OPERATIONS: &[&str] = &[
    "status",
    "components",
    "describe",
    "runbook",
    "alarms",
    "queues",
    "queue",
    "peek",
    "send",
    "purge",
    "delete",
    "requeue",
    "tables",
    "table_get",
    "table_scan",
    "quarantine",
    "quarantine_show",
    "quarantine_replay",
    "ledger",
    "trace",
    "storage",
    "storage_retain",
    "storage_collect",
    "object_get",
    "resume",
    "snapshot",
    "cluster",
    "cluster_invite",
    "cluster_drain",
    "cluster_remove",
    "cluster_voters",
    "cluster_lead",
    "cluster_raise_format",
    "cluster_rotate_authority",
    "cluster_accept_time",
    "cluster_force_time",
];

/// Operations that change something, and so leave a record.
pub const CHANGING: &[&str] = &[
    "send",
    "purge",
    "delete",
    "requeue",
    "quarantine_replay",
    "storage_retain",
    "storage_collect",
    "resume",
    "snapshot",
    "cluster_invite",
    "cluster_drain",
    "cluster_remove",
    "cluster_voters",
    "cluster_lead",
    "cluster_raise_format",
    "cluster_rotate_authority",
    "cluster_accept_time",
    "cluster_force_time",
];

/// What the views look at.
pub struct Views<'a> {
    /// To queues and tables.
    pub door: &'a Door,
    /// The object store.
    pub objects: &'a Objects,
    /// All actors.
    pub supervisor: &'a Supervisor,
    /// Alarms.
    pub alarms: &'a Alarms,
    /// The cluster's nodes.
    pub members: &'a Members,
    /// The live pack.
    pub live: &'a LivePack,
    /// Whether the cluster is paused.
    pub pause: &'a Pause,
    /// The node.
    pub identity: &'a Identity,
}

impl Views<'_> {
    /// Carries out one operation.
    ///
    /// # Errors
    /// As [`ApiError`] says.
    pub async fn call(&self, call: &ApiCall) -> Result<Value, ApiError> {
        match call.operation.as_str() {
            "status" => self.status().await,
            "components" => Ok(self.components()),
            "describe" => self.describe(call),
            "runbook" => Ok(
                serde_json::json!({"markdown": crate::catalogue::markdown(crate::components::catalogue())}),
            ),
            "alarms" => self.alarm_list(call).await,
            "queues" => self.queues().await,
            "queue" => self.queue(call).await,
            "peek" => self.peek(call).await,
            "send" => self.send(call).await,
            "purge" => self.purge(call).await,
            "delete" => self.delete(call).await,
            "requeue" => self.requeue(call).await,
            "tables" => self.tables().await,
            "table_get" => self.table_get(call).await,
            "table_scan" => self.table_scan(call).await,
            "quarantine" => self.quarantine(call).await,
            "quarantine_show" => self.quarantine_show(call).await,
            "quarantine_replay" => self.quarantine_replay(call).await,
            "ledger" => self.ledger(call).await,
            "trace" => self.trace(call).await,
            "storage" => self.storage().await,
            "storage_retain" => self.storage_retain(call).await,
            "storage_collect" => self.storage_collect(call).await,
            "object_get" => self.object_get(call).await,
            "resume" => {
                let was_paused = crate::pause::resume(self.door).await?;
                Ok(serde_json::json!({"was_paused": was_paused}))
            }
            "snapshot" => {
                self.door
                    .group()
                    .snapshot()
                    .await
                    .map_err(|error| ApiError::Unavailable(error.to_string()))?;
                Ok(serde_json::json!({}))
            }
            "cluster" => Ok(self.cluster().await),
            "cluster_invite" => self.cluster_invite(call).await,
            "cluster_drain" => self.cluster_drain(call).await,
            "cluster_remove" => self.cluster_remove(call).await,
            "cluster_voters" => self.cluster_voters(call).await,
            "cluster_lead" => self.cluster_lead(call).await,
            "cluster_raise_format" => self.cluster_raise_format().await,
            "cluster_rotate_authority" => self.cluster_rotate_authority().await,
            "cluster_accept_time" => members::time_set(self.door.accept_time().await?),
            "cluster_force_time" => members::time_set(self.door.force_time().await?),
            _ => Err(call.unknown("node", OPERATIONS)),
        }
    }
}
