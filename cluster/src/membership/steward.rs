//! Reconciliation of membership on the leader: compares the rows of the nodes with Raft's membership and takes one step from the latter to the
//! former. A new leader continues from the same data. The only state in memory is how long each node has been waited for.

use std::collections::{BTreeMap, BTreeSet};
use std::sync::Weak;
use std::time::Duration;

use tokio::time::Instant;

use super::plan::{Step, View, leaves};
use super::rotation;
use super::rows::{self, Member, Standing};
use super::{Inner, MembersError};
use crate::door::{Door, DoorError};
use crate::raft::GroupStatus;
use crate::state::read;

/// Longest interval between two rounds, if nothing changes in the group.
const LOOK: Duration = Duration::from_secs(1);
/// A node that has answered within this time counts as reachable.
const ANSWERED: Duration = Duration::from_secs(5);

/// A node whose desired state is not reached.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Unmet {
    /// The state of the node's membership, which the node should enter or leave.
    pub standing: Standing,
    /// What the node waits for, as far as the leader knows.
    pub reason: String,
    /// How long this leader has waited.
    pub for_so_long: Duration,
}

/// For each node whose desired state is not reached: the time since when it is waited for, its state, and the reason.
#[derive(Default)]
pub(super) struct Waits {
    nodes: BTreeMap<u64, (Instant, Standing, String)>,
    /// Error of the last step, if it failed.
    failed: Option<String>,
}

impl Waits {
    fn look(&mut self, unmet: BTreeMap<u64, String>, members: &BTreeMap<u64, Member>) {
        let now = Instant::now();
        let mut nodes = BTreeMap::new();
        for (node, reason) in unmet {
            let standing = members.get(&node).map(|member| member.standing);
            let standing = standing.unwrap_or(Standing::Member);
            let since = match self.nodes.get(&node) {
                Some((since, was, _)) if *was == standing => *since,
                _ => now,
            };
            nodes.insert(node, (since, standing, reason));
        }
        self.nodes = nodes;
    }

    fn clear(&mut self) {
        *self = Self::default();
    }

    pub(super) fn unmet(&self) -> BTreeMap<u64, Unmet> {
        let unmet = |(since, standing, reason): &(Instant, Standing, String)| Unmet {
            standing: *standing,
            reason: match &self.failed {
                Some(failed) => format!("{reason}; the last step failed: {failed}"),
                None => reason.clone(),
            },
            for_so_long: since.elapsed(),
        };
        let nodes = self.nodes.iter();
        nodes.map(|(node, waits)| (*node, unmet(waits))).collect()
    }
}

/// Runs the reconciliation loop until the node stops.
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
        // Local data is enough for a drained or leaving node to stop receiving messages, with or without a leader.
        if let Ok((members, _)) = rows::all_here(&door).await {
            let own = members.get(&door.node()).map(|member| member.standing);
            door.receives(!own.is_some_and(leaves));
        }
        let Some(inner) = inner.upgrade() else { return };
        if let Err(error) = rotation::follow(&inner).await {
            tracing::warn!(%error, "this node could not follow the new authority; trying again");
        }
        let status = door.group().status();
        if !status.leads || !status.in_contact {
            inner.waits.lock().clear();
            continue;
        }
        let taken = look(&inner, &status).await;
        let failed = taken.err().map(|error| error.to_string());
        let pause = failed.is_some();
        if let Some(error) = &failed {
            tracing::warn!(%error, "a step of membership was not taken; trying again");
        }
        inner.waits.lock().failed = failed;
        drop(inner);
        if pause {
            tokio::time::sleep(LOOK).await;
        }
    }
}

/// One round: reads the state and takes the next step.
async fn look(inner: &Inner, status: &GroupStatus) -> Result<(), MembersError> {
    let door = &inner.door;
    let (members, voters_wanted) = rows::all(door).await?;
    rotation::lead(door, &members).await?;
    if members.len() <= 1 && status.members.len() <= 1 {
        return Ok(()); // a group of one node, and no machine joins
    }
    for (node, address) in door.local().said_addresses() {
        if members
            .get(&node)
            .is_some_and(|member| member.address != address)
        {
            rows::set_address(door, node, &address).await?;
            tracing::info!(
                node,
                address,
                "a node says that it is reached at another address"
            );
        }
    }
    let globals = door.local().read(|store| read::globals(store)).await;
    let globals = globals.map_err(DoorError::from)?;
    let heard = door.heard().await?;
    let lately = door.local().heard().into_iter();
    let lately = lately.filter(|(_, heard)| heard.ago <= ANSWERED);
    let answered: BTreeSet<u64> = lately.map(|(node, _)| node).collect();
    let view = View {
        me: door.node(),
        members: &members,
        voters_wanted,
        voters: &status.voters,
        changing: status.changing,
        raft: &status.members,
        last: status.last_log.unwrap_or(0),
        heard: &heard,
        answered: &answered,
        now: &globals.at(door.now_ms(), globals.format),
    };
    let (step, unmet) = (view.next(), view.unmet());
    inner.waits.lock().look(unmet, &members);
    take(door, &members, step).await
}

async fn take(
    door: &Door,
    members: &BTreeMap<u64, Member>,
    step: Step,
) -> Result<(), MembersError> {
    let group = door.group();
    let refused = |error: crate::raft::ProposeError| MembersError::Door(error.into());
    let address = |node: u64| {
        let member = members.get(&node);
        member.map_or_else(String::new, |member| member.address.clone())
    };
    match step {
        Step::Rest => {}
        Step::TakeIn(node) => {
            group.snapshot_for_newcomer().await.map_err(refused)?;
            let address = address(node);
            group.let_follow(node, &address).await.map_err(refused)?;
            tracing::info!(node, address, "a node that joins is given the log");
        }
        Step::Arrived(node) => {
            let Some(member) = members.get(&node) else {
                return Ok(());
            };
            rows::caught_up(door, member, members).await?;
            let replaces = member.replaces;
            tracing::info!(node, replaces, "a node that joined has caught up");
        }
        Step::Expire(node) => {
            // The machine may be reachable and still busy with a large transfer.
            if door.local().answers(node, &address(node)).await {
                return Ok(());
            }
            remove(door, node, Standing::Joining).await?;
            tracing::warn!(
                node,
                "a machine that was admitted did not come in the time of its invitation; its number is given up"
            );
        }
        Step::Moved(node) => {
            let address = address(node);
            group.set_address(node, &address).await.map_err(refused)?;
            tracing::info!(node, address, "a node's address has changed");
        }
        Step::Vote(wanted) => {
            let voters: Vec<u64> = wanted.iter().copied().collect();
            group.set_voters(wanted).await.map_err(refused)?;
            tracing::info!(?voters, "who votes has changed");
        }
        Step::HandOver(heir) => {
            // The heir continues the reconciliation.
            group.hand_over(heir).await.map_err(refused)?;
            tokio::time::sleep(LOOK).await;
        }
        Step::Remove(node) => {
            remove(door, node, Standing::Leaving).await?;
            tracing::info!(node, "a node was removed");
        }
    }
    Ok(())
}

/// Removes a node from Raft, releases the messages it held, and marks its row as removed if its state is still `standing`.
async fn remove(door: &Door, node: u64, standing: Standing) -> Result<(), MembersError> {
    let group = door.group();
    if group.status().members.contains_key(&node) {
        let gone = group.let_go(node).await;
        gone.map_err(|error| MembersError::Door(error.into()))?;
    }
    door.end_session_of(node).await?;
    match rows::change_standing(door, node, standing, Standing::Removed).await {
        // The removal was cancelled meanwhile, so the node is added again.
        Err(DoorError::Conflict(_)) => Ok(()),
        changed => Ok(changed?),
    }
}
