//! The leader's look after membership: what is written down of nodes beside what Raft has, and one step from the one to the other. Whoever leads next
//! goes on from there, since nothing is remembered in between.

use std::collections::BTreeMap;
use std::sync::Weak;
use std::time::Duration;

use super::rows::{self, Member, Standing};
use super::voters::{Candidate, choose};
use super::{Inner, MembersError};
use crate::door::{Door, HeardNode, UNAPPLIED};
use crate::raft::GroupStatus;

/// How often it is looked, if nothing changes in the group.
const LOOK: Duration = Duration::from_secs(1);
/// Entries that a node may lack and still count as caught up: what the leader writes while it is asked.
const BEHIND: u64 = 500;

/// Looks until the node stops.
pub(super) async fn run(inner: Weak<Inner>) {
    let mut changes = None;
    loop {
        let Some(door) = inner.upgrade().map(|inner| inner.door.clone()) else {
            return;
        };
        changes
            .get_or_insert_with(|| door.group().changes())
            .next(LOOK)
            .await;
        // What is known here is enough for a node to keep its hands off the work, with a leader or without.
        if let Ok((members, _)) = rows::all_here(&door).await {
            let own = members.get(&door.node()).map(|member| member.standing);
            door.receives(!own.is_some_and(leaves));
        }
        let status = door.group().status();
        if status.leads
            && let Err(error) = step(&door, &status).await
        {
            tracing::warn!(%error, "a step of membership was not taken; trying again");
            tokio::time::sleep(LOOK).await;
        }
    }
}

/// Whether a node is to do no work.
fn leaves(standing: Standing) -> bool {
    matches!(
        standing,
        Standing::Draining | Standing::Leaving | Standing::Removed
    )
}

/// Takes the next step, if there is one.
async fn step(door: &Door, status: &GroupStatus) -> Result<(), MembersError> {
    let (members, voters_wanted) = rows::all(door).await?;
    if members.len() <= 1 && status.members.len() <= 1 {
        return Ok(()); // alone, and nobody joins
    }
    let heard = door.heard().await?;
    let group = door.group();
    let refused = |error: crate::raft::ProposeError| MembersError::Door(error.into());
    for member in members.values() {
        let node = member.node;
        match (member.standing, status.members.get(&node)) {
            (Standing::Removed, _) => {}
            (Standing::Joining, None) => {
                group.snapshot_for_newcomer().await.map_err(refused)?;
                group
                    .let_follow(node, &member.address)
                    .await
                    .map_err(refused)?;
                tracing::info!(
                    node,
                    address = member.address,
                    "a node that joins is given the log"
                );
                return Ok(());
            }
            (Standing::Joining, Some(_)) if caught_up(status, heard.get(&node)) => {
                rows::caught_up(door, member).await?;
                tracing::info!(
                    node,
                    replaces = member.replaces,
                    "a node that joined has caught up"
                );
                return Ok(());
            }
            (_, Some(known)) if !member.address.is_empty() && *known != member.address => {
                group
                    .set_address(node, &member.address)
                    .await
                    .map_err(refused)?;
                tracing::info!(
                    node,
                    from = known,
                    to = member.address,
                    "a node's address has changed"
                );
                return Ok(());
            }
            _ => {}
        }
    }
    let me = door.node();
    let mine = members.get(&me).map(|member| member.standing);
    let wanted = choose(&candidates(&members, status, &heard), voters_wanted, me);
    let voting: Vec<u64> = wanted.iter().copied().collect();
    if !wanted.is_empty() && voting != status.voters && wanted.contains(&me) {
        group.set_voters(wanted).await.map_err(refused)?;
        tracing::info!(voters = ?voting, "who votes has changed");
        return Ok(());
    }
    if mine.is_some_and(leaves) {
        // Somebody who stays takes over, and goes on with the steps.
        let heir = status.voters.iter().find(|voter| {
            **voter != me
                && heard.get(voter).is_some_and(HeardNode::lately)
                && !members
                    .get(voter)
                    .is_some_and(|member| leaves(member.standing))
        });
        if let Some(heir) = heir {
            group.hand_over(*heir).await.map_err(refused)?;
            tokio::time::sleep(LOOK).await;
        }
        return Ok(());
    }
    for member in members.values() {
        let node = member.node;
        if member.standing != Standing::Leaving || status.voters.contains(&node) {
            continue;
        }
        if status.members.contains_key(&node) {
            group.let_go(node).await.map_err(refused)?;
        }
        door.end_session_of(node).await?;
        rows::set_standing(door, node, Standing::Removed).await?;
        tracing::info!(node, "a node was removed");
        return Ok(());
    }
    Ok(())
}

fn caught_up(status: &GroupStatus, heard: Option<&HeardNode>) -> bool {
    let last = status.last_log.unwrap_or(0);
    heard.is_some_and(|heard| {
        heard.lately()
            && heard.matched.is_some_and(|has| has + BEHIND >= last)
            && heard.applied + UNAPPLIED >= last
    })
}

fn candidates(
    members: &BTreeMap<u64, Member>,
    status: &GroupStatus,
    heard: &BTreeMap<u64, HeardNode>,
) -> Vec<Candidate> {
    status
        .members
        .keys()
        .map(|node| {
            let standing = members
                .get(node)
                .map_or(Standing::Member, |member| member.standing);
            let me = *node == status.node;
            Candidate {
                node: *node,
                votes: status.voters.contains(node),
                fit: standing == Standing::Member && (me || caught_up(status, heard.get(node))),
                draining: standing == Standing::Draining,
                leaving: matches!(standing, Standing::Leaving | Standing::Removed),
            }
        })
        .collect()
}
