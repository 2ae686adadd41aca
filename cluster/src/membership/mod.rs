//! Membership of the cluster: nodes are invited, join, become voters, are drained, replaced and removed.
//!
//! The desired state is a set of rows, and Raft's membership follows it. The leader's [`steward`] is a reconciliation loop: it compares both and
//! takes the next step from one to the other. So each procedure continues after a change of the leader. Node ids come from a counter in a row and are
//! never reused.
//!
//! * [`rows`]: the rows of nodes and invitations
//! * [`roll`]: a node's membership, for the access control of calls
//! * [`token`]: an invitation as text, which an operator carries from one machine to another
//! * [`join`]: how a machine becomes a node
//! * [`rotation`]: replacement of the cluster's certificate authority (CA)
//! * [`voters`]: choice of the voters
//! * [`plan`]: the next step, and what blocks it; [`steward`]: executes the steps

mod join;
mod plan;
mod roll;
mod rotation;
mod rows;
mod steward;
mod token;
mod voters;

use std::collections::BTreeMap;
use std::sync::Arc;
use std::time::Duration;

use panther_proto::v1::{RaiseFormat, TableSpec, command};

pub use join::{Gate, JoinError, Joined, join};
pub(crate) use roll::Roll;
pub use rotation::{KeyKeeper, RotationState, RotationStep};
pub use rows::{LONGEST_VALID, Member, Standing};
pub use steward::Unmet;
pub use token::{Invitation, TokenError};

use crate::door::{Door, DoorError, FRESH, HeardNode, LastHeard, Local};
use crate::net::{Authority, CertificateError};
use crate::raft::GroupStatus;
use crate::state::read;
use crate::storage::StateStore;

/// Name of the table of nodes: the data of each node, and its desired state.
pub const MEMBERS: &str = "panther-nodes";
/// Name of the table of open invitations.
pub const INVITATIONS: &str = "panther-invitations";

/// Why a membership change is refused or fails.
#[derive(Debug, thiserror::Error)]
pub enum MembersError {
    /// The request cannot be fulfilled. The text gives the reason.
    #[error("{0}")]
    Refused(String),
    /// No node has this id.
    #[error("there is no node {0} in this cluster; `pantherctl cluster status` lists the nodes")]
    NoSuchNode(u64),
    /// The cluster does not answer.
    #[error(transparent)]
    Door(#[from] DoorError),
    /// A certificate cannot be created.
    #[error(transparent)]
    Certificate(#[from] CertificateError),
}

/// A node's own data, and what it passes to nodes that join through it.
#[derive(Debug)]
pub struct Own {
    /// Display name.
    pub name: String,
    /// Address for other nodes; empty if the node has no listener for them.
    pub address: String,
    /// Version of the daemon, for display.
    pub version: String,
    /// The cluster's CA at the node's start. `None`: the node cannot admit others.
    pub authority: Option<Arc<Authority>>,
    /// Stores the key material of a new CA on this node. `None`: the CA cannot be rotated.
    pub keeper: Option<Arc<dyn KeyKeeper>>,
    /// Key with which the cluster encrypts secrets.
    pub sealing_key: Vec<u8>,
}

/// Status of one node.
#[derive(Debug, Clone)]
pub struct Seen {
    /// The node's row.
    pub member: Member,
    /// True if the node is a voter.
    pub votes: bool,
    /// True if the node is the leader.
    pub leads: bool,
    /// The leader's data from the node's last heartbeat; `None` if the leader does not answer or has no heartbeat of the node.
    pub heard: Option<HeardNode>,
    /// This node's newest data about the node, from the leader or from the node itself.
    pub last: Option<LastHeard>,
}

/// Status of all nodes.
#[derive(Debug, Clone)]
pub struct Look {
    /// The nodes in the order of their ids.
    pub nodes: Vec<Seen>,
    /// The desired number of voters.
    pub voters_wanted: u64,
    /// Why this is only the local view of one node, which may be outdated; `None` if the cluster has confirmed it.
    pub blind: Option<String>,
}

/// The leader to display: the leader that this node knows, if the cluster has just confirmed the view; otherwise (`by_itself`) only a leader in
/// contact.
#[must_use]
pub fn known_leader(status: &GroupStatus, by_itself: bool) -> Option<u64> {
    match by_itself {
        false => status.leader,
        true => status.live_leader(),
    }
}

/// The local view of one node: its status of all nodes. It may lack changes that other nodes have acknowledged.
pub async fn look_here(local: &Local, blind: String) -> Look {
    let written = local.read(rows::of_store).await;
    let (members, voters_wanted) = written.unwrap_or_else(|_| rows::unwritten());
    let status = local.status();
    seen(
        members,
        voters_wanted,
        &status,
        local,
        BTreeMap::new(),
        Some(blind),
    )
}

fn seen(
    mut members: BTreeMap<u64, Member>,
    voters_wanted: u64,
    status: &GroupStatus,
    local: &Local,
    heard: BTreeMap<u64, HeardNode>,
    blind: Option<String>,
) -> Look {
    for (node, address) in &status.members {
        members
            .entry(*node)
            .or_insert_with(|| Member::unwritten(*node, address));
    }
    let last = local.heard();
    let leader = known_leader(status, blind.is_some());
    let nodes = members
        .into_values()
        .map(|member| Seen {
            votes: status.voters.contains(&member.node),
            leads: leader == Some(member.node),
            heard: heard.get(&member.node).cloned(),
            last: last.get(&member.node).cloned(),
            member,
        })
        .collect();
    Look {
        nodes,
        voters_wanted,
        blind,
    }
}

/// Membership operations, executed through one node. Clones share it.
#[derive(Clone)]
pub struct Members {
    inner: Arc<Inner>,
}

struct Inner {
    door: Door,
    own: Arc<Own>,
    steward: parking_lot::Mutex<Option<tokio::task::JoinHandle<()>>>,
    waits: parking_lot::Mutex<steward::Waits>,
    /// The CA with which this node admits others.
    authority: parking_lot::Mutex<Option<Arc<Authority>>>,
}

impl Inner {
    fn authority(&self) -> Option<Arc<Authority>> {
        self.authority.lock().clone()
    }

    fn issues_with(&self, authority: Arc<Authority>) {
        *self.authority.lock() = Some(authority);
    }
}

impl Drop for Inner {
    fn drop(&mut self) {
        if let Some(steward) = self.steward.lock().take() {
            steward.abort();
        }
    }
}

/// Specifications of the tables that membership needs. They must be declared before [`Members::start`].
#[must_use]
pub fn tables() -> Vec<TableSpec> {
    let table = |name: &str, ttl: &str| TableSpec {
        name: name.to_owned(),
        ttl_attribute: ttl.to_owned(),
        ..TableSpec::default()
    };
    vec![table(MEMBERS, ""), table(INVITATIONS, rows::EXPIRES)]
}

/// Starts a new lineage: removes all other nodes and releases the messages they held. Returns the removed node ids.
///
/// # Errors
/// The cluster does not answer.
pub async fn begin_anew(door: &Door) -> Result<Vec<u64>, DoorError> {
    let (members, _) = rows::all(door).await?;
    let mut others: Vec<u64> = members
        .values()
        .filter(|member| member.standing != Standing::Removed)
        .map(|member| member.node)
        .collect();
    others.retain(|node| *node != door.node());
    rows::begin_anew(door, &others).await?;
    door.end_other_sessions().await?;
    Ok(others)
}

fn moved_on(node: u64, error: DoorError) -> MembersError {
    match error {
        DoorError::Conflict(_) => MembersError::Refused(format!(
            "node {node}, or the node that would have stayed, has changed its standing meanwhile; look at `pantherctl cluster status` and ask again"
        )),
        other => other.into(),
    }
}

impl Members {
    /// Writes this node's data into its row, and starts the reconciliation loop. The tables must be declared.
    ///
    /// # Errors
    /// The cluster does not answer.
    pub async fn start(door: Door, own: Arc<Own>, gate: &Gate) -> Result<Self, MembersError> {
        rows::note_own(&door, &own).await?;
        let inner = Arc::new(Inner {
            door,
            authority: parking_lot::Mutex::new(own.authority.clone()),
            own,
            steward: parking_lot::Mutex::default(),
            waits: parking_lot::Mutex::default(),
        });
        let members = Self { inner };
        let steward = tokio::spawn(steward::run(Arc::downgrade(&members.inner)));
        *members.inner.steward.lock() = Some(steward);
        gate.open(&members);
        Ok(members)
    }

    /// Creates an invitation for one node, which is valid for `valid`. Returns the token for `pantherd join`.
    ///
    /// # Errors
    /// This node has no address for other nodes, a CA rotation is in progress, or the node `replaces` does not exist or was removed.
    pub async fn invite(
        &self,
        valid: Duration,
        replaces: Option<u64>,
    ) -> Result<String, MembersError> {
        let (door, own) = (&self.inner.door, &*self.inner.own);
        let authority = self.inner.authority();
        let Some(authority) = authority.filter(|_| !own.address.is_empty()) else {
            return Err(MembersError::Refused(
                "this node listens to no other nodes: set cluster.listen (and cluster.advertise, where others reach it under another address), start it again, and invite then"
                    .to_owned(),
            ));
        };
        if let Some(old) = replaces {
            self.standing(old).await?;
        }
        self.keeps_its_authority().await?;
        let invitation = Invitation::new(&authority, door.node(), &own.address)?;
        rows::invite(door, &invitation.secret, valid, replaces).await?;
        Ok(invitation.token())
    }

    /// Admits the machine that shows the secret of an open invitation, and issues its certificate.
    pub(crate) async fn admit(
        &self,
        secret: &[u8],
        member: Member,
    ) -> Result<Joined, MembersError> {
        let (door, own) = (&self.inner.door, &*self.inner.own);
        let Some(authority) = self.inner.authority() else {
            return Err(MembersError::Refused(
                "this node has no authority to take in others".to_owned(),
            ));
        };
        self.keeps_its_authority().await?;
        let in_force = door.read(|store| read::globals(store)).await?.format;
        if member.format < in_force {
            return Err(MembersError::Refused(format!(
                "the cluster writes format {in_force}, and the build on that machine knows formats up to {}: install a newer pantherd there and join then",
                member.format
            )));
        }
        let node = rows::admit(door, secret, member).await?;
        Ok(Joined {
            node,
            certificates: authority.issue(node)?,
            authority: Authority::open(
                authority.cluster(),
                &authority.key(),
                authority.certificate(),
            )?,
            sealing_key: own.sealing_key.clone(),
        })
    }

    async fn keeps_its_authority(&self) -> Result<(), MembersError> {
        match rotation::is_under_way(&self.inner.door).await? {
            false => Ok(()),
            true => Err(MembersError::Refused(
                "the cluster's authority is being replaced: no node is taken in until that is done (`pantherctl cluster status`)"
                    .to_owned(),
            )),
        }
    }

    /// Starts a CA rotation. Returns once the request is committed. Certificates of the old CA become invalid when the rotation is complete.
    ///
    /// # Errors
    /// This node has no listener for other nodes, a rotation is in progress already, or the cluster does not answer.
    pub async fn rotate_authority(&self) -> Result<(), MembersError> {
        rotation::begin(&self.inner).await
    }

    /// Progress of the newest CA rotation, by this node's own state; `None` if there was no rotation.
    pub async fn rotation(&self) -> Option<RotationState> {
        let state = |store: &StateStore| {
            let (members, _) = rows::of_store(store)?;
            rotation::state(store, &members)
        };
        self.inner.door.local().read(state).await.ok().flatten()
    }

    async fn standing(&self, node: u64) -> Result<Standing, MembersError> {
        let (members, _) = rows::all(&self.inner.door).await?;
        let member = members.get(&node).ok_or(MembersError::NoSuchNode(node))?;
        if member.standing == Standing::Removed {
            return Err(MembersError::Refused(format!(
                "node {node} was removed; its number is never used again"
            )));
        }
        Ok(member.standing)
    }

    /// Status of all nodes, from their rows, Raft's membership and the leader's heartbeat data. Answers within a bounded time; without a leader it is
    /// the local view.
    pub async fn look(&self) -> Look {
        let door = &self.inner.door;
        let local = door.local();
        if let Err(blind) = door.fresh().await {
            return look_here(local, blind).await;
        }
        let heard = tokio::time::timeout(FRESH, door.heard()).await;
        let heard = match heard {
            Ok(Ok(heard)) => heard,
            Ok(Err(error)) => return look_here(local, error.to_string()).await,
            Err(_) => {
                let blind = "the leader does not say what it has heard".to_owned();
                return look_here(local, blind).await;
            }
        };
        match local.read(rows::of_store).await {
            Ok((members, voters_wanted)) => {
                seen(members, voters_wanted, &local.status(), local, heard, None)
            }
            Err(error) => look_here(local, error.to_string()).await,
        }
    }

    /// Drains a node (`drained`), or reverts that. A drained node receives no messages, does not lead, and is a voter only if the cluster needs it.
    /// Reverting also cancels a removal, as long as the node is a member of the Raft group.
    ///
    /// # Errors
    /// The node does not exist, is still joining, or its removal has progressed too far.
    pub async fn drain(&self, node: u64, drained: bool) -> Result<(), MembersError> {
        let door = &self.inner.door;
        let from = self.standing(node).await?;
        let to = match (from, drained) {
            (Standing::Joining, _) => {
                return Err(MembersError::Refused(format!(
                    "node {node} is still joining"
                )));
            }
            (Standing::Leaving, true) => {
                return Err(MembersError::Refused(format!(
                    "node {node} is being removed; `pantherctl cluster drain {node} --back` takes it back"
                )));
            }
            (Standing::Leaving, false) if !door.group().has(node) => {
                return Err(MembersError::Refused(format!(
                    "node {node} is removed already, but for writing it down: its machine has to join again"
                )));
            }
            (_, true) => Standing::Draining,
            (_, false) => Standing::Member,
        };
        if from == to {
            return Ok(());
        }
        let changed = rows::change_standing(door, node, from, to).await;
        changed.map_err(|error| moved_on(node, error))
    }

    /// Requests the permanent removal of a node. The reconciliation loop removes it as soon as it can; [`Members::unmet`] shows what blocks the
    /// removal.
    ///
    /// # Errors
    /// The node does not exist, or it is the last one that can keep the data.
    pub async fn remove(&self, node: u64) -> Result<(), MembersError> {
        let from = self.standing(node).await?;
        if from == Standing::Leaving {
            return Ok(());
        }
        let (members, _) = rows::all(&self.inner.door).await?;
        let may_stay = |other: &&Member| {
            other.node != node && matches!(other.standing, Standing::Member | Standing::Draining)
        };
        let mut stays: Vec<&Member> = members.values().filter(may_stay).collect();
        stays.sort_by_key(|other| other.standing == Standing::Draining);
        let Some(stays) = stays.first() else {
            return Err(MembersError::Refused(format!(
                "node {node} is the last one that can keep the cluster's data"
            )));
        };
        let asked = rows::leave(&self.inner.door, node, from, stays).await;
        asked.map_err(|error| moved_on(node, error))
    }

    /// Nodes whose desired state is not reached, with what the leader waits for. Only the leader knows this; empty on other nodes.
    #[must_use]
    pub fn unmet(&self) -> BTreeMap<u64, Unmet> {
        self.inner.waits.lock().unmet()
    }

    /// Sets the desired number of voters: 1, 3 or 5. It applies if there are enough nodes.
    ///
    /// # Errors
    /// Another number.
    pub async fn set_voters(&self, wanted: u64) -> Result<(), MembersError> {
        if ![1, 3, 5].contains(&wanted) {
            return Err(MembersError::Refused(format!(
                "{wanted} voters are no good number: 1 survives no loss, 3 survive one, 5 two; more only cost time"
            )));
        }
        Ok(rows::set_voters(&self.inner.door, wanted).await?)
    }

    /// Raises the format to the newest one that all nodes apply, and returns it. A node of an older build cannot take part afterwards.
    ///
    /// # Errors
    /// That format is in force already. The text names the node that prevents a newer one.
    pub async fn raise_format(&self) -> Result<u32, MembersError> {
        let door = &self.inner.door;
        let in_force = door.read(|store| read::globals(store)).await?.format;
        let (members, _) = rows::all(door).await?;
        let nodes = || {
            let there = |member: &&Member| member.standing != Standing::Removed;
            members.values().filter(there)
        };
        let oldest = nodes().min_by_key(|member| member.format);
        match oldest {
            Some(oldest) if oldest.format > in_force => {
                let format = oldest.format;
                door.execute(command::Kind::RaiseFormat(RaiseFormat { format }))
                    .await?;
                Ok(format)
            }
            oldest => {
                let newest = nodes().map(|member| member.format).max();
                Err(MembersError::Refused(match oldest {
                    Some(oldest) if newest > Some(in_force) => format!(
                        "format {in_force} is in force, and node {} (pantherd {}) knows no newer one: upgrade it first, or remove it",
                        oldest.node, oldest.version
                    ),
                    _ => format!("format {in_force} is in force, and no node knows a newer one"),
                }))
            }
        }
    }

    /// Transfers leadership to another voter.
    ///
    /// # Errors
    /// The node is not a voter, or there is no leader.
    pub async fn lead(&self, node: u64) -> Result<(), MembersError> {
        let status = self.inner.door.group().status();
        if !status.voters.contains(&node) {
            return Err(MembersError::Refused(format!(
                "node {node} does not vote, so it cannot lead; the voters are {:?}",
                status.voters
            )));
        }
        Ok(self.inner.door.let_lead(node).await?)
    }
}
