//! Who is of the cluster: nodes are invited, join, vote, are drained, replaced and removed.
//!
//! What operators want is rows; what Raft knows follows them. The leader's [`steward`] compares both again and again and takes
//! the next step from one to the other, so that each procedure goes on where it was, whichever node leads then. Numbers of nodes are counted in a row and
//! never given again.
//!
//! * [`rows`]: what is written down of nodes and invitations
//! * [`roll`]: who stands where, for the gate of calls
//! * [`token`]: an invitation as an operator carries it from one machine to another
//! * [`join`]: how a machine becomes a node
//! * [`rotation`]: a new authority for the cluster
//! * [`voters`]: who should vote
//! * [`plan`]: the next step, and what is waited for; [`steward`]: takes the steps

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

use panther_proto::v1::{RaiseFormat, TableSpec, Transact, command};

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

/// The table of nodes: what each is, and what is wanted of it.
pub const MEMBERS: &str = "panther-nodes";
/// The table of invitations that are open.
pub const INVITATIONS: &str = "panther-invitations";

/// Why a change of membership is not made.
#[derive(Debug, thiserror::Error)]
pub enum MembersError {
    /// It cannot be as it is asked for.
    #[error("{0}")]
    Refused(String),
    /// There is no such node.
    #[error("there is no node {0} in this cluster; `pantherctl cluster status` lists the nodes")]
    NoSuchNode(u64),
    /// The cluster gives no answer.
    #[error(transparent)]
    Door(#[from] DoorError),
    /// A certificate cannot be made.
    #[error(transparent)]
    Certificate(#[from] CertificateError),
}

/// What a node is, and what it gives to one that joins.
#[derive(Debug)]
pub struct Own {
    /// Its name, for lists.
    pub name: String,
    /// Where others reach it; empty if they do not.
    pub address: String,
    /// Its version, for lists.
    pub version: String,
    /// The authority with which the node started; a node without it takes in no others.
    pub authority: Option<Arc<Authority>>,
    /// Keeps what a new authority gives to the node; without it the authority cannot be replaced.
    pub keeper: Option<Arc<dyn KeyKeeper>>,
    /// What the cluster seals secrets with.
    pub sealing_key: Vec<u8>,
}

/// One node as it is seen now.
#[derive(Debug, Clone)]
pub struct Seen {
    /// What is written down of it.
    pub member: Member,
    /// It votes.
    pub votes: bool,
    /// It leads.
    pub leads: bool,
    /// What the leader has heard of it; `None` while no leader can be asked.
    pub heard: Option<HeardNode>,
    /// What this node last heard of it, from the leader or from the node itself.
    pub last: Option<LastHeard>,
}

/// All nodes as they are seen now.
#[derive(Debug, Clone)]
pub struct Look {
    /// The nodes by number.
    pub nodes: Vec<Seen>,
    /// How many should vote, if there are enough nodes.
    pub voters_wanted: u64,
    /// Why this is only what this node knows by itself; `None`: it is what the cluster knows.
    pub blind: Option<String>,
}

/// The leader, as it is shown: if the cluster has just confirmed what this node knows, the one that it knows; else one that was heard of lately.
#[must_use]
pub fn known_leader(status: &GroupStatus, by_itself: bool) -> Option<u64> {
    match by_itself {
        false => status.leader,
        true => status.live_leader(),
    }
}

/// All nodes by what one node knows by itself, which may be behind what others acknowledged.
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

/// The cluster's nodes, seen from one of them; clones share it.
#[derive(Clone)]
pub struct Members {
    inner: Arc<Inner>,
}

struct Inner {
    door: Door,
    own: Arc<Own>,
    steward: parking_lot::Mutex<Option<tokio::task::JoinHandle<()>>>,
    waits: parking_lot::Mutex<steward::Waits>,
    /// The authority that this node takes in others with.
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

/// The tables that have to be declared for membership.
#[must_use]
pub fn tables() -> Vec<TableSpec> {
    let table = |name: &str, ttl: &str| TableSpec {
        name: name.to_owned(),
        ttl_attribute: ttl.to_owned(),
        ..TableSpec::default()
    };
    vec![table(MEMBERS, ""), table(INVITATIONS, rows::EXPIRES)]
}

/// Begins a new lineage with this node alone: the other nodes that are written down are removed, and what they held is given back. Their numbers.
///
/// # Errors
/// The cluster gives no answer.
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
    /// Notes what this node is, and takes part in looking after membership. The tables are declared.
    ///
    /// # Errors
    /// The cluster gives no answer.
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

    /// Makes an invitation for one node, good for `valid`: the token, to be handed to `pantherd join`. The invitation is written down as part of
    /// the command that `base` gives for the token.
    ///
    /// # Errors
    /// This node has no address that others reach, or the one that is to be replaced is none.
    pub async fn invite(
        &self,
        valid: Duration,
        replaces: Option<u64>,
        base: impl FnOnce(&str) -> Transact,
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
        let token = invitation.token();
        let base = base(&token);
        rows::invite(door, &invitation.secret, valid, replaces, base).await?;
        Ok(token)
    }

    /// Takes in whoever shows the secret of an open invitation.
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

    /// Replaces the cluster's authority; returns once that is written down as part of `base`. Certificates of before are good for nothing once it is done.
    ///
    /// # Errors
    /// This node listens to no others, the authority is being replaced already, or the cluster gives no answer.
    pub async fn rotate_authority(&self, base: Transact) -> Result<(), MembersError> {
        rotation::begin(&self.inner, base).await
    }

    /// How far the replacement of the authority has come, by this node's own state; `None` if there never was one.
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

    /// All nodes, as written down, as Raft has them and as the leader hears them; soon, and without a leader by what this node knows by itself.
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

    /// Takes the work from a node, or gives it back: it receives nothing, does not lead, and votes only if it is needed for that. One that is being removed
    /// can be taken back as long as Raft has it. The change is part of the command `base`, which is carried out also where the node stands so already.
    ///
    /// # Errors
    /// There is no such node, or it is gone too far.
    pub async fn drain(
        &self,
        node: u64,
        drained: bool,
        base: Transact,
    ) -> Result<(), MembersError> {
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
            return Ok(rows::make_with(door, base, Vec::new()).await?);
        }
        let changed = rows::change_standing(door, node, from, to, base).await;
        changed.map_err(|error| moved_on(node, error))
    }

    /// Asks for a node to be taken out of the cluster for good; the steward does it as soon as it can, and [`Members::unmet`] says what it waits for. The
    /// change is part of the command `base`, which is carried out also where it was asked for already.
    ///
    /// # Errors
    /// There is no such node, or it is the last.
    pub async fn remove(&self, node: u64, base: Transact) -> Result<(), MembersError> {
        let from = self.standing(node).await?;
        if from == Standing::Leaving {
            return Ok(rows::make_with(&self.inner.door, base, Vec::new()).await?);
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
        let asked = rows::leave(&self.inner.door, node, from, stays, base).await;
        asked.map_err(|error| moved_on(node, error))
    }

    /// The nodes that do not stand as it is wanted, with what the leader waits for; known to the leader alone.
    #[must_use]
    pub fn unmet(&self) -> BTreeMap<u64, Unmet> {
        self.inner.waits.lock().unmet()
    }

    /// Sets how many nodes vote, if there are enough: 1, 3 or 5. The change is part of the command `base`.
    ///
    /// # Errors
    /// It is another number.
    pub async fn set_voters(&self, wanted: u64, base: Transact) -> Result<(), MembersError> {
        if ![1, 3, 5].contains(&wanted) {
            return Err(MembersError::Refused(format!(
                "{wanted} voters are no good number: 1 survives no loss, 3 survive one, 5 two; more only cost time"
            )));
        }
        Ok(rows::set_voters(&self.inner.door, wanted, base).await?)
    }

    /// From now on the newest format is written that all nodes apply; a node of an older build cannot come back then. The format.
    ///
    /// # Errors
    /// It is in force already: which node stands in the way of a newer one.
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

    /// Lets another voter lead.
    ///
    /// # Errors
    /// It does not vote, or there is no leader that could be asked.
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
