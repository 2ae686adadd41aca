//! The cluster's nodes: who is there, who votes and leads, who is behind; invitations, and what is wanted of a node.

use std::time::Duration;

use panther_cluster::door::{Local, TimeSet};
use panther_cluster::membership::{LONGEST_VALID, Look, MembersError, Seen, known_leader};
use panther_cluster::state::read;
use serde::Deserialize;
use serde_json::{Value, json};

use super::Views;
use crate::api::{ApiCall, ApiError};

/// How long an invitation is good, unless it is said.
const VALID_SECONDS: u64 = 3_600;
/// Without a leader the nodes are asked every second: one that answered within this time is there.
const ANSWERS: Duration = Duration::from_secs(4);
/// The longest that one may be good.
const LONGEST_SECONDS: u64 = LONGEST_VALID.as_secs();

#[derive(Deserialize)]
#[serde(deny_unknown_fields, default)]
struct Invite {
    valid_seconds: u64,
    replaces: Option<u64>,
}

impl Default for Invite {
    fn default() -> Self {
        Self {
            valid_seconds: VALID_SECONDS,
            replaces: None,
        }
    }
}

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct Drain {
    node: u64,
    #[serde(default = "yes")]
    drained: bool,
}

fn yes() -> bool {
    true
}

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct Node {
    node: u64,
}

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct Voters {
    voters: u64,
}

impl From<MembersError> for ApiError {
    fn from(error: MembersError) -> Self {
        match error {
            MembersError::Refused(reason) => Self::Invalid(reason),
            MembersError::NoSuchNode(_) => Self::NotFound(error.to_string()),
            MembersError::Door(error) => error.into(),
            MembersError::Certificate(_) => Self::Internal(error.to_string()),
        }
    }
}

fn shown(seen: &Seen, me: u64) -> Value {
    let member = &seen.member;
    let heard = seen.heard.as_ref();
    let role = match () {
        () if seen.leads => "leader",
        () if seen.votes => "voter",
        () => "follower",
    };
    // The leader's word first; without one what this node last heard.
    let last = seen.last.as_ref().filter(|_| heard.is_none());
    let heard_ms = |ago: Duration| u64::try_from(ago.as_millis()).unwrap_or(u64::MAX);
    let applied = heard
        .map(|heard| (heard.applied, heard.hash))
        .or(last.map(|last| (last.applied, last.hash)))
        .filter(|(applied, _)| *applied > 0);
    json!({
        "node": member.node, "name": member.name, "address": member.address, "version": member.version, "format": member.format, "standing": member.standing.word(), "role": role, "this": member.node == me,
        "replaces": member.replaces,
        "alive": heard.map(panther_cluster::door::HeardNode::lately).or(last.map(|last| last.ago <= ANSWERS)),
        "silent_ms": heard.and_then(|heard| heard.silent).or(last.map(|last| last.ago)).map(heard_ms),
        "log": heard.and_then(|heard| heard.matched).or(last.and_then(|last| last.last_log)),
        "log_term": seen.last.as_ref().and_then(|last| last.last_term),
        "applied": applied.map(|(applied, _)| applied),
        "hash": applied.map(|(_, hash)| format!("{hash:016x}")),
        "clock_off_ms": heard.map(|heard| heard.clock_off_ms),
    })
}

/// The nodes as one of them sees them.
pub(super) fn of_look(look: &Look, local: &Local) -> Value {
    let (status, me) = (local.status(), local.node());
    let format = read::globals(local.group().store()).map_or(0, |globals| globals.format);
    let nodes: Vec<Value> = look.nodes.iter().map(|seen| shown(seen, me)).collect();
    json!({"node": me, "leader": known_leader(&status, look.blind.is_some()), "term": status.term, "voters": status.voters, "voters_wanted": look.voters_wanted, "format": format, "nodes": nodes,
        "local": look.blind.is_some(), "local_reason": look.blind, "blind": look.blind})
}

/// Cluster time before and after it was set.
pub(super) fn time_set(set: TimeSet) -> Result<Value, ApiError> {
    Ok(json!({"from_ms": set.from_ms, "to_ms": set.to_ms}))
}

impl Views<'_> {
    /// Answers without a leader too, with what is known here.
    pub(super) async fn cluster(&self) -> Value {
        let mut shown = of_look(&self.members.look().await, self.door.local());
        shown["time_ms"] = self.door.now_ms().into();
        shown["clock_ms"] = self.door.wall_ms().into();
        // What the leader waits for is known to it alone.
        let unmet = self.members.unmet();
        for node in shown["nodes"].as_array_mut().into_iter().flatten() {
            let number = node["node"].as_u64().unwrap_or_default();
            node["waits_for"] = json!(unmet.get(&number).map(|unmet| &unmet.reason));
        }
        shown["rotation"] = json!(self.members.rotation().await.map(|rotation| {
            json!({"step": rotation.step.word(), "waits_for": rotation.waits_for})
        }));
        shown
    }

    pub(super) async fn cluster_rotate_authority(&self) -> Result<Value, ApiError> {
        self.members.rotate_authority().await?;
        Ok(json!({"asked": true}))
    }

    pub(super) async fn cluster_invite(&self, call: &ApiCall) -> Result<Value, ApiError> {
        let Invite {
            valid_seconds,
            replaces,
        } = call.input()?;
        if !(1..=LONGEST_SECONDS).contains(&valid_seconds) {
            return Err(ApiError::Invalid(format!(
                "an invitation is good for 1 to {LONGEST_SECONDS} seconds"
            )));
        }
        let valid = Duration::from_secs(valid_seconds);
        let token = self.members.invite(valid, replaces).await?;
        Ok(json!({"token": token, "valid_seconds": valid_seconds, "replaces": replaces}))
    }

    pub(super) async fn cluster_drain(&self, call: &ApiCall) -> Result<Value, ApiError> {
        let Drain { node, drained } = call.input()?;
        self.members.drain(node, drained).await?;
        Ok(json!({"node": node, "drained": drained}))
    }

    pub(super) async fn cluster_remove(&self, call: &ApiCall) -> Result<Value, ApiError> {
        let Node { node } = call.input()?;
        self.members.remove(node).await?;
        Ok(json!({"node": node}))
    }

    pub(super) async fn cluster_voters(&self, call: &ApiCall) -> Result<Value, ApiError> {
        let Voters { voters } = call.input()?;
        self.members.set_voters(voters).await?;
        Ok(json!({"voters": voters}))
    }

    pub(super) async fn cluster_raise_format(&self) -> Result<Value, ApiError> {
        let format = self.members.raise_format().await?;
        Ok(json!({"format": format}))
    }

    pub(super) async fn cluster_lead(&self, call: &ApiCall) -> Result<Value, ApiError> {
        let Node { node } = call.input()?;
        self.members.lead(node).await?;
        Ok(json!({"leader": node}))
    }
}
