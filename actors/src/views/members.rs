//! The cluster's nodes: who is there, who votes and leads, who is behind; invitations, and what is wanted of a node.

use std::time::Duration;

use panther_cluster::door::{Local, TimeSet};
use panther_cluster::membership::{LONGEST_VALID, Look, MembersError, Seen, known_leader};
use panther_cluster::state::read;
use panther_proto::v1::{
    AuthorityRotation, ClusterAnswer, ClusterDrainAnswer, ClusterDrainRequest, ClusterInviteAnswer,
    ClusterInviteRequest, ClusterNode, TimeSetAnswer,
};

use super::Views;
use crate::api::{ApiError, CallContext};

/// How long an invitation is good, unless it is said.
const VALID_SECONDS: u64 = 3_600;
/// Without a leader the nodes are asked every second: one that answered within this time is there.
const ANSWERS: Duration = Duration::from_secs(4);
/// The longest that one may be good.
const LONGEST_SECONDS: u64 = LONGEST_VALID.as_secs();

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

fn shown(seen: &Seen, me: u64) -> ClusterNode {
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
    ClusterNode {
        node: member.node,
        name: member.name.clone(),
        address: member.address.clone(),
        version: member.version.clone(),
        format: member.format,
        standing: member.standing.word().to_owned(),
        role: role.to_owned(),
        this_node: member.node == me,
        replaces: member.replaces,
        alive: heard
            .map(panther_cluster::door::HeardNode::lately)
            .or(last.map(|last| last.ago <= ANSWERS)),
        silent_ms: heard
            .and_then(|heard| heard.silent)
            .or(last.map(|last| last.ago))
            .map(heard_ms),
        log: heard
            .and_then(|heard| heard.matched)
            .or(last.and_then(|last| last.last_log)),
        log_term: seen.last.as_ref().and_then(|last| last.last_term),
        applied: applied.map(|(applied, _)| applied),
        hash: applied.map(|(_, hash)| format!("{hash:016x}")),
        clock_off_ms: heard.map(|heard| heard.clock_off_ms),
        waits_for: None,
    }
}

/// The nodes as one of them sees them.
pub(super) fn of_look(look: &Look, local: &Local) -> ClusterAnswer {
    let (status, me) = (local.status(), local.node());
    let format = read::globals(local.group().store()).map_or(0, |globals| globals.format);
    ClusterAnswer {
        node: me,
        leader: known_leader(&status, look.blind.is_some()),
        term: status.term,
        voters: status.voters,
        voters_wanted: look.voters_wanted,
        format,
        nodes: look.nodes.iter().map(|seen| shown(seen, me)).collect(),
        local: look.blind.is_some(),
        local_reason: look.blind.clone(),
        blind: look.blind.clone(),
        ..ClusterAnswer::default()
    }
}

/// Cluster time before and after it was set.
pub(super) fn time_set(set: TimeSet) -> TimeSetAnswer {
    TimeSetAnswer {
        from_ms: set.from_ms,
        to_ms: set.to_ms,
    }
}

impl Views<'_> {
    /// Answers without a leader too, with what is known here.
    pub(super) async fn nodes(&self) -> ClusterAnswer {
        let mut shown = of_look(&self.members.look().await, self.door.local());
        shown.time_ms = Some(self.door.now_ms());
        shown.clock_ms = Some(self.door.wall_ms());
        // What the leader waits for is known to it alone.
        let unmet = self.members.unmet();
        for node in &mut shown.nodes {
            node.waits_for = unmet.get(&node.node).map(|unmet| unmet.reason.clone());
        }
        let rotation = self.members.rotation().await;
        shown.rotation = rotation.map(|rotation| AuthorityRotation {
            step: rotation.step.word().to_owned(),
            waits_for: rotation.waits_for,
        });
        shown
    }

    pub(super) async fn invite(
        &self,
        context: &CallContext,
        request: ClusterInviteRequest,
    ) -> Result<ClusterInviteAnswer, ApiError> {
        let valid_seconds = request.valid_seconds.unwrap_or(VALID_SECONDS);
        if !(1..=LONGEST_SECONDS).contains(&valid_seconds) {
            return Err(ApiError::Invalid(format!(
                "an invitation is good for 1 to {LONGEST_SECONDS} seconds"
            )));
        }
        let valid = Duration::from_secs(valid_seconds);
        let answer = |token: &str| ClusterInviteAnswer {
            token: token.to_owned(),
            valid_seconds,
            replaces: request.replaces,
        };
        let base = |token: &str| self.base(context, &answer(token));
        let token = self.members.invite(valid, request.replaces, base).await?;
        Ok(context.given(self.door, answer(&token)).await?)
    }

    pub(super) async fn drain(
        &self,
        context: &CallContext,
        request: ClusterDrainRequest,
    ) -> Result<ClusterDrainAnswer, ApiError> {
        let (node, drained) = (request.node, request.drained.unwrap_or(true));
        let answer = ClusterDrainAnswer { node, drained };
        let base = self.base(context, &answer);
        self.members.drain(node, drained, base).await?;
        Ok(context.given(self.door, answer).await?)
    }
}
