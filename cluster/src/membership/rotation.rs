//! A new authority for the cluster. Who had a node's folder can make certificates of nodes; after a rotation they are good for nothing.
//!
//! The leader makes the new authority and writes it down, its key sealed. Each node follows in three steps, and the leader goes on to the next one when every
//! node has taken it, so that at no time two nodes do not believe each other:
//!
//! 1. Each node believes the new authority beside the old one.
//! 2. Each node shows a certificate of the new authority, and takes in others with it.
//! 3. Each node believes the new authority alone, and ends the connections that were made before.
//!
//! A step is kept on the disk before it is written down, so a node that stops between the two takes it again.

use std::collections::BTreeMap;
use std::fmt;
use std::io;
use std::sync::Arc;

use panther_proto::v1::{RowChange, Transact};

use super::rows::{self, Member, Standing};
use super::{Inner, MEMBERS, MembersError};
use crate::door::change::{Change, RowExt, key};
use crate::door::{Door, DoorError};
use crate::net::{Authority, Certificates};
use crate::offload::offload;
use crate::state::read;
use crate::storage::StateStore;

/// The row of the rotation that is under way, or was the last one.
const ROW: &str = "authority";
/// How far a node has come, in its own row: see [`Rotation::mark`].
const TAKEN: &str = "authorityStep";
/// What the authority's key is sealed for.
const PLACE: &str = "panther-nodes/authority";

/// Keeps what a node shows of itself, and seals what goes to other nodes through the log.
pub trait KeyKeeper: Send + Sync + fmt::Debug {
    /// Keeps both on the disk in place of what is there: all, or nothing. It may block.
    ///
    /// # Errors
    /// The disk does not take them.
    fn keep(&self, authority: &Authority, certificates: &Certificates) -> io::Result<()>;

    /// Seals a secret for a place.
    ///
    /// # Errors
    /// It cannot be sealed.
    fn seal(&self, place: &str, secret: &[u8]) -> io::Result<Vec<u8>>;

    /// Opens what was sealed for a place.
    ///
    /// # Errors
    /// It was sealed with another key, or changed.
    fn open(&self, place: &str, sealed: &[u8]) -> io::Result<Vec<u8>>;
}

/// What the nodes do about the new authority.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub enum RotationStep {
    /// They believe it beside the old one.
    Believe,
    /// They show its certificates.
    Show,
    /// They believe no other one.
    Alone,
    /// All have done so.
    Done,
}

impl RotationStep {
    const ALL: [Self; 4] = [Self::Believe, Self::Show, Self::Alone, Self::Done];

    fn number(self) -> i64 {
        self as i64 + 1
    }

    fn of(number: i64) -> Option<Self> {
        Self::ALL.into_iter().find(|step| step.number() == number)
    }

    fn next(self) -> Self {
        Self::of(self.number() + 1).unwrap_or(Self::Done)
    }

    /// As it is shown.
    #[must_use]
    pub fn word(self) -> &'static str {
        match self {
            Self::Believe => "believe",
            Self::Show => "show",
            Self::Alone => "alone",
            Self::Done => "done",
        }
    }
}

/// A rotation, as it is written down.
#[derive(Clone)]
pub(super) struct Rotation {
    generation: i64,
    step: RotationStep,
    certificate: String,
    sealed: Vec<u8>,
}

/// A rotation, as it is shown.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct RotationState {
    /// What the nodes do at this time.
    pub step: RotationStep,
    /// Nodes that have yet to do it.
    pub waits_for: Vec<u64>,
}

impl Rotation {
    /// The step and the rotation as one number, which only grows.
    fn mark(&self) -> i64 {
        self.generation * 10 + self.step.number()
    }

    fn of_store(store: &StateStore) -> io::Result<Option<Self>> {
        let Some(row) = read::row(store, MEMBERS, &key(ROW))? else {
            return Ok(None);
        };
        let number = |name: &str| row.int(name).unwrap_or_default();
        Ok(RotationStep::of(number("step")).map(|step| Self {
            generation: number("generation"),
            step,
            certificate: row.text("certificate").unwrap_or_default().to_owned(),
            sealed: row.blob("key").unwrap_or_default().to_vec(),
        }))
    }
}

/// The rotation and how far each node has come, by this node's own state.
fn read_all(
    store: &StateStore,
    nodes: &[u64],
) -> io::Result<(Option<Rotation>, BTreeMap<u64, i64>)> {
    let mut taken = BTreeMap::new();
    for node in nodes {
        let row = read::row(store, MEMBERS, &key(node.to_string()))?;
        taken.insert(
            *node,
            row.and_then(|row| row.int(TAKEN)).unwrap_or_default(),
        );
    }
    Ok((Rotation::of_store(store)?, taken))
}

fn there(members: &BTreeMap<u64, Member>) -> Vec<u64> {
    let members = members.values();
    let there = members.filter(|member| member.standing != Standing::Removed);
    there.map(|member| member.node).collect()
}

/// What is shown of the rotation, with the nodes that it waits for; `None` if there never was one.
pub(super) fn state(
    store: &StateStore,
    members: &BTreeMap<u64, Member>,
) -> io::Result<Option<RotationState>> {
    let (rotation, taken) = read_all(store, &there(members))?;
    Ok(rotation.map(|rotation| {
        let late = taken.iter().filter(|(_, taken)| **taken < rotation.mark());
        let late = late.map(|(node, _)| *node);
        RotationState {
            step: rotation.step,
            waits_for: match rotation.step {
                RotationStep::Done => Vec::new(),
                _ => late.collect(),
            },
        }
    }))
}

/// Whether a rotation is under way, in which no node is taken in: it would have to be given both authorities.
pub(super) async fn is_under_way(door: &Door) -> Result<bool, MembersError> {
    let rotation = door.read(Rotation::of_store).await?;
    Ok(rotation.is_some_and(|rotation| rotation.step != RotationStep::Done))
}

/// Makes a new authority and writes it down.
pub(super) async fn begin(inner: &Inner, base: Transact) -> Result<(), MembersError> {
    let door = &inner.door;
    let refused = |reason: &str| MembersError::Refused(reason.to_owned());
    let (Some(keeper), Some(authority)) = (&inner.own.keeper, inner.authority()) else {
        return Err(refused(
            "this node listens to no other nodes (cluster.listen), so there is no authority to replace",
        ));
    };
    let before = door.read(Rotation::of_store).await?;
    if before
        .as_ref()
        .is_some_and(|before| before.step != RotationStep::Done)
    {
        return Err(refused(
            "the authority is being replaced already; `pantherctl cluster status` shows which nodes it waits for",
        ));
    }
    let new = Authority::create(authority.cluster())?;
    let sealed = keeper.seal(PLACE, new.key().as_bytes());
    let sealed = sealed.map_err(|error| MembersError::Refused(error.to_string()))?;
    let generation = before.as_ref().map_or(0, |before| before.generation);
    let change = Change::update(MEMBERS, key(ROW));
    let change = match &before {
        Some(before) => change.if_equals("generation", before.generation),
        None => change.if_absent("generation"),
    };
    let change = change
        .set("generation", generation + 1)
        .set("step", RotationStep::Believe.number())
        .set("certificate", new.certificate())
        .set("key", sealed)
        .done();
    Ok(rows::make_with(door, base, vec![change]).await?)
}

/// The end of a rotation that was under way when a lineage ended: the new lineage has an authority of its own.
pub(super) async fn given_up(door: &Door) -> Result<Option<RowChange>, DoorError> {
    let rotation = door.read(Rotation::of_store).await?;
    let change = Change::update(MEMBERS, key(ROW))
        .set("step", RotationStep::Done.number())
        .remove("key");
    Ok(rotation.map(|_| change.done()))
}

async fn write(door: &Door, change: RowChange) -> Result<(), MembersError> {
    let transact = Transact {
        changes: vec![change],
        ..Transact::default()
    };
    door.transact(transact).await?;
    Ok(())
}

/// The leader: on to the next step, once all nodes have taken this one.
pub(super) async fn lead(door: &Door, members: &BTreeMap<u64, Member>) -> Result<(), MembersError> {
    let nodes = there(members);
    let (rotation, taken) = door.read(move |store| read_all(store, &nodes)).await?;
    let Some(rotation) = rotation.filter(|rotation| rotation.step != RotationStep::Done) else {
        return Ok(());
    };
    if taken.values().any(|taken| *taken < rotation.mark()) {
        return Ok(());
    }
    let next = rotation.step.next();
    let change = Change::update(MEMBERS, key(ROW))
        .if_equals("generation", rotation.generation)
        .if_equals("step", rotation.step.number())
        .set("step", next.number());
    // The key has reached all nodes; it need not stay in the state.
    let change = match next {
        RotationStep::Done => change.remove("key"),
        _ => change,
    };
    write(door, change.done()).await?;
    tracing::info!(
        step = next.word(),
        "the cluster's authority is being replaced"
    );
    Ok(())
}

/// Every node: takes the step that is written down, if it has not yet.
pub(super) async fn follow(inner: &Inner) -> Result<(), MembersError> {
    let (door, node) = (&inner.door, inner.door.node());
    let (Some(keeper), Some(peers)) = (&inner.own.keeper, door.peers()) else {
        return Ok(());
    };
    let here = door
        .local()
        .read(move |store| read_all(store, &[node]))
        .await;
    let Ok((Some(rotation), taken)) = here else {
        return Ok(()); // no rotation was ever asked for, or the tables are not declared yet
    };
    let taken = taken.get(&node).copied().unwrap_or_default();
    if taken >= rotation.mark() || rotation.step == RotationStep::Done {
        return Ok(());
    }
    let Some(old) = inner.authority() else {
        return Ok(());
    };
    let refused = |error: io::Error| MembersError::Refused(error.to_string());
    let key_of_new = keeper.open(PLACE, &rotation.sealed).map_err(refused)?;
    let key_of_new = String::from_utf8_lossy(&key_of_new);
    let new = Authority::open(old.cluster(), &key_of_new, &rotation.certificate)?;
    let (new, shown) = (Arc::new(new), peers.certificates());
    let both = || vec![new.certificate().to_owned(), old.certificate().to_owned()];
    let (issuing, certificates) = match rotation.step {
        RotationStep::Believe => (old.clone(), shown.believing(both())),
        // Taken again after a stop, the old one may be the new one already; the certificates name what they believe.
        RotationStep::Show => {
            let believed = shown.believed().to_vec();
            (new.clone(), new.issue(node)?.believing(believed))
        }
        RotationStep::Alone | RotationStep::Done => {
            let alone = vec![new.certificate().to_owned()];
            (new.clone(), shown.believing(alone))
        }
    };
    let (keeper, kept) = (keeper.clone(), (issuing.clone(), certificates.clone()));
    let keep = move || keeper.keep(&kept.0, &kept.1);
    offload(keep).await.and_then(|kept| kept).map_err(refused)?;
    inner.issues_with(issuing);
    peers.renew(certificates);
    let change = Change::update(MEMBERS, key(node.to_string())).set(TAKEN, rotation.mark());
    write(door, change.done()).await?;
    tracing::info!(
        step = rotation.step.word(),
        "this node follows the new authority of the cluster"
    );
    Ok(())
}
