//! CA rotation: replacement of the cluster's certificate authority (CA). A copy of a node's folder contains the CA's key and can issue node
//! certificates; after a rotation such certificates are invalid.
//!
//! The leader creates the new CA and writes it into a row, with its key encrypted. Each node follows in three steps. The leader starts the next step
//! when every node has completed the present one, so any two nodes trust each other at all times:
//!
//! 1. Each node trusts both the new CA and the old one.
//! 2. Each node shows a certificate of the new CA, and admits others with it.
//! 3. Each node trusts only the new CA, and closes older connections.
//!
//! A node stores the result of a step on disk before it records the step in its row. If it stops in between, it repeats the step.

use std::collections::BTreeMap;
use std::fmt;
use std::io;
use std::sync::Arc;

use panther_proto::v1::{RowChange, Transact};

use super::rows::{Member, Standing};
use super::{Inner, MEMBERS, MembersError};
use crate::door::change::{Change, RowExt, key};
use crate::door::{Door, DoorError};
use crate::net::{Authority, Certificates};
use crate::offload::offload;
use crate::state::read;
use crate::storage::StateStore;

/// Key of the row that describes the rotation in progress, or the last one.
const ROW: &str = "authority";
/// Attribute of a node's own row: the last step that the node has completed, see [`Rotation::mark`].
const TAKEN: &str = "authorityStep";
/// Context for the encryption of the CA's key.
const PLACE: &str = "panther-nodes/authority";

/// Stores a node's CA and certificates, and encrypts secrets that go to other nodes through the log.
pub trait KeyKeeper: Send + Sync + fmt::Debug {
    /// Replaces the stored CA and certificates on disk atomically: both are replaced, or nothing is. May block.
    ///
    /// # Errors
    /// The disk refuses the write.
    fn keep(&self, authority: &Authority, certificates: &Certificates) -> io::Result<()>;

    /// Encrypts a secret for the context `place`.
    ///
    /// # Errors
    /// The encryption fails.
    fn seal(&self, place: &str, secret: &[u8]) -> io::Result<Vec<u8>>;

    /// Decrypts a secret that was encrypted for the context `place`.
    ///
    /// # Errors
    /// The secret was encrypted with another key or for another context, or it was changed.
    fn open(&self, place: &str, sealed: &[u8]) -> io::Result<Vec<u8>>;
}

/// The step that the nodes execute.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub enum RotationStep {
    /// Nodes trust both CAs.
    Believe,
    /// Nodes show certificates of the new CA.
    Show,
    /// Nodes trust only the new CA.
    Alone,
    /// All nodes have completed the rotation.
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

    /// The step as text for display.
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

/// A rotation as stored in its row.
#[derive(Clone)]
pub(super) struct Rotation {
    generation: i64,
    step: RotationStep,
    certificate: String,
    sealed: Vec<u8>,
}

/// A rotation for display.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct RotationState {
    /// The present step.
    pub step: RotationStep,
    /// Nodes that have not completed the step.
    pub waits_for: Vec<u64>,
}

impl Rotation {
    /// Rotation and step as one number, which only grows.
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

/// The rotation, and the last completed step of each node, by this node's own state.
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

/// The rotation for display, with the nodes that it waits for; `None` if there was no rotation.
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

/// True while a rotation is in progress. No node is admitted meanwhile, because it would need both CAs.
pub(super) async fn is_under_way(door: &Door) -> Result<bool, MembersError> {
    let rotation = door.read(Rotation::of_store).await?;
    Ok(rotation.is_some_and(|rotation| rotation.step != RotationStep::Done))
}

/// Creates a new CA and starts its rotation.
pub(super) async fn begin(inner: &Inner) -> Result<(), MembersError> {
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
    write(door, change).await
}

/// Ends a rotation that was in progress when a lineage ended: the new lineage creates its own CA.
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

/// On the leader: starts the next step once all nodes have completed the present one.
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
    // All nodes have received the key, so it is removed from the state.
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

/// On every node: executes the present step, if the node has not completed it.
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
        return Ok(()); // no rotation was requested so far, or the tables are not declared yet
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
        // If this step is repeated after a stop, the CA in use may be the new one already. So the trusted CAs are taken from the certificates.
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
