//! The rows of nodes and invitations, and the commands that change them. Several nodes may change a row concurrently (optimistic concurrency): each
//! command states its conditions, and on a conflict the caller reads again.

use std::collections::BTreeMap;
use std::io;
use std::time::Duration;

use data_encoding::HEXLOWER;
use panther_proto::v1::{Row, RowChange, Transact};
use sha2::{Digest, Sha256};

use super::{INVITATIONS, MEMBERS, MembersError, Own, rotation};
use crate::door::change::{Change, RowExt, key};
use crate::door::{Door, DoorError};
use crate::offload::offload;
use crate::state::read::{self, Query};
use crate::storage::StateStore;

/// Attribute: end of an invitation, in seconds since 1970. It is the table's TTL attribute.
pub(super) const EXPIRES: &str = "expiresAt";
/// Key of the row with cluster-wide values. The other rows' keys are node ids.
pub(super) const CLUSTER: &str = "cluster";
/// Attribute: the id of the next node. The first node's id is 1.
pub(super) const NEXT: &str = "next";
const FIRST_NEXT: i64 = 2;
/// Attribute: time of a node's removal in cluster time, in milliseconds since 1970.
const REMOVED_AT: &str = "removedAt";
/// Attribute: deadline for an admitted machine to join, in cluster time; milliseconds since 1970.
const JOIN_BY: &str = "joinBy";
/// Longest validity of an invitation.
pub const LONGEST_VALID: Duration = Duration::from_secs(7 * 24 * 3_600);
/// Shortest time that a machine has to join after its admission, even if the invitation ends earlier.
const LEAST_TO_JOIN: Duration = Duration::from_secs(600);
/// Attribute: the desired number of voters.
const VOTERS: &str = "voters";
const DEFAULT_VOTERS: u64 = 3;
/// Page size for reading nodes: far more than a cluster has.
const NODES: usize = 1_000;
/// Attempts of an admission if other commands change the same rows.
const ATTEMPTS: u32 = 20;

/// State of a node's membership.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Standing {
    /// Admitted, not caught up yet.
    Joining,
    /// A regular member.
    Member,
    /// A member that receives no messages.
    Draining,
    /// To be removed.
    Leaving,
    /// Removed.
    Removed,
}

impl Standing {
    /// The state as stored in the row and displayed.
    #[must_use]
    pub fn word(self) -> &'static str {
        match self {
            Self::Joining => "joining",
            Self::Member => "member",
            Self::Draining => "draining",
            Self::Leaving => "leaving",
            Self::Removed => "removed",
        }
    }

    fn of(word: &str) -> Self {
        [Self::Joining, Self::Draining, Self::Leaving, Self::Removed]
            .into_iter()
            .find(|standing| standing.word() == word)
            .unwrap_or(Self::Member)
    }
}

/// The row of one node.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Member {
    /// The node's id.
    pub node: u64,
    /// Display name.
    pub name: String,
    /// Address for other nodes; empty if the node has no listener for them.
    pub address: String,
    /// Version of the node's daemon.
    pub version: String,
    /// The newest format that its daemon applies.
    pub format: u32,
    /// State of the node's membership.
    pub standing: Standing,
    /// The node that it replaces once it has caught up.
    pub replaces: Option<u64>,
    /// Deadline for the admitted machine to join, in milliseconds since 1970.
    pub join_by_ms: Option<u64>,
    /// Time of the removal, in milliseconds since 1970; `None` if the node is not removed.
    pub removed_ms: Option<u64>,
}

impl Member {
    /// A member of the Raft group without a row.
    pub(super) fn unwritten(node: u64, address: &str) -> Self {
        Self {
            node,
            name: String::new(),
            address: address.to_owned(),
            version: String::new(),
            format: 1,
            standing: Standing::Member,
            replaces: None,
            join_by_ms: None,
            removed_ms: None,
        }
    }

    pub(super) fn of(node: u64, row: &Row) -> Self {
        let text = |name: &str| row.text(name).unwrap_or_default().to_owned();
        Self {
            node,
            name: text("name"),
            address: text("address"),
            version: text("version"),
            format: row
                .int("format")
                .and_then(|format| u32::try_from(format).ok())
                .unwrap_or(1),
            standing: Standing::of(row.text("standing").unwrap_or_default()),
            replaces: row
                .int("replaces")
                .and_then(|node| u64::try_from(node).ok()),
            join_by_ms: row.int(JOIN_BY).and_then(|at| u64::try_from(at).ok()),
            removed_ms: row.int(REMOVED_AT).and_then(|at| u64::try_from(at).ok()),
        }
    }
}

/// The nodes by id, and the desired number of voters.
pub(super) type Written = (BTreeMap<u64, Member>, u64);

/// The values before any row is written.
pub(super) fn unwritten() -> Written {
    (BTreeMap::new(), DEFAULT_VOTERS)
}

pub(super) fn of_store(store: &StateStore) -> io::Result<Written> {
    let query = Query {
        table: MEMBERS.to_owned(),
        limit: NODES,
        ..Query::default()
    };
    let (mut members, mut voters) = (BTreeMap::new(), DEFAULT_VOTERS);
    for (key, row) in read::query(store, &query)?.rows {
        if let Ok(node) = key.hash.parse() {
            members.insert(node, Member::of(node, &row));
        } else if let Some(wanted) = row
            .int(VOTERS)
            .and_then(|wanted| u64::try_from(wanted).ok())
        {
            voters = wanted;
        }
    }
    Ok((members, voters))
}

/// Linearizable read of all rows.
pub(super) async fn all(door: &Door) -> Result<Written, DoorError> {
    door.read(of_store).await
}

/// Local read of all rows, for nodes without contact to a leader. It may be outdated.
pub(super) async fn all_here(door: &Door) -> io::Result<Written> {
    let store = door.group().store().clone();
    offload(move || of_store(&store)).await?
}

fn of_node(node: u64) -> Change {
    Change::update(MEMBERS, key(node.to_string()))
}

async fn make(door: &Door, changes: Vec<RowChange>) -> Result<(), DoorError> {
    make_with(door, Transact::default(), changes).await
}

/// Makes changes as part of `base`, a command of the caller's.
pub(super) async fn make_with(
    door: &Door,
    mut base: Transact,
    changes: Vec<RowChange>,
) -> Result<(), DoorError> {
    base.changes.extend(changes);
    if base == Transact::default() {
        return Ok(());
    }
    door.transact(base).await.map(drop)
}

/// Writes this node's data into its row, if they have changed.
pub(super) async fn note_own(door: &Door, own: &Own) -> Result<(), DoorError> {
    let node = door.node();
    let (members, _) = all(door).await?;
    let format = door.group().newest_format();
    let same = members.get(&node).is_some_and(|member| {
        let noted = (&member.name, &member.address, &member.version);
        noted == (&own.name, &own.address, &own.version) && member.format == format
    });
    if same {
        return Ok(());
    }
    let change = of_node(node)
        .set("name", &own.name)
        .set("address", &own.address)
        .set("version", &own.version)
        .set("format", format)
        .done();
    make(door, vec![change]).await
}

/// Writes a node's address into its row.
pub(super) async fn set_address(door: &Door, node: u64, address: &str) -> Result<(), DoorError> {
    let change = of_node(node)
        .if_row_present()
        .set("address", address)
        .done();
    make(door, vec![change]).await
}

/// Key of an invitation: the SHA-256 hash of its secret. The secret itself is not stored.
fn secret_key(secret: &[u8]) -> String {
    HEXLOWER.encode(&Sha256::digest(secret))
}

/// Writes the row of a new invitation.
pub(super) async fn invite(
    door: &Door,
    secret: &[u8],
    valid: Duration,
    replaces: Option<u64>,
    base: Transact,
) -> Result<(), DoorError> {
    let ends = door.now_ms() / 1_000 + valid.as_secs();
    let change = Change::put(INVITATIONS, key(secret_key(secret)))
        .set(EXPIRES, ends)
        .set_or_remove("replaces", replaces)
        .done();
    make_with(door, base, vec![change]).await
}

/// Assigns an id to a new node and deletes its invitation, in one command.
pub(super) async fn admit(
    door: &Door,
    secret: &[u8],
    mut member: Member,
) -> Result<u64, MembersError> {
    let invitation = key(secret_key(secret));
    for _ in 0..ATTEMPTS {
        let Some(open) = door.get(INVITATIONS, &invitation).await? else {
            return Err(MembersError::Refused(
                "this invitation is not open: it was used, or its time is over; `pantherctl cluster invite` makes another"
                    .to_owned(),
            ));
        };
        member.replaces = open
            .int("replaces")
            .and_then(|node| u64::try_from(node).ok());
        let least = u64::try_from(LEAST_TO_JOIN.as_millis()).unwrap_or(u64::MAX);
        let ends = open.int(EXPIRES).and_then(|at| u64::try_from(at).ok());
        // An invitation that was created while cluster time was ahead would stay open longer by that difference.
        let latest = door.now_ms() / 1_000 + LONGEST_VALID.as_secs();
        if ends.is_some_and(|ends| ends > latest) {
            return Err(MembersError::Refused(
                "this invitation was made while cluster time was ahead of the true time; `pantherctl cluster invite` makes another".to_owned(),
            ));
        }
        let join_by = (ends.unwrap_or(0) * 1_000).max(door.now_ms().saturating_add(least));
        let cluster = door.get(MEMBERS, &key(CLUSTER)).await?;
        let next = cluster.and_then(|row| row.int(NEXT));
        let number = next.unwrap_or(FIRST_NEXT);
        let counter = Change::update(MEMBERS, key(CLUSTER));
        let counter = match next {
            Some(next) => counter.if_equals(NEXT, next),
            None => counter.if_absent(NEXT),
        };
        member.node = u64::try_from(number).unwrap_or(u64::MAX);
        let changes = vec![
            counter.set(NEXT, number + 1).done(),
            Change::delete(INVITATIONS, invitation.clone())
                .if_row_present()
                .done(),
            Change::put(MEMBERS, key(number.to_string()))
                .if_row_absent()
                .set("name", &member.name)
                .set("address", &member.address)
                .set("version", &member.version)
                .set("format", member.format)
                .set("standing", Standing::Joining.word())
                .set(JOIN_BY, join_by)
                .set_or_remove("replaces", member.replaces)
                .done(),
        ];
        match make(door, changes).await {
            Ok(()) => return Ok(member.node),
            Err(DoorError::Conflict(_)) => {}
            Err(error) => return Err(error.into()),
        }
    }
    Err(MembersError::Refused(
        "too many nodes join at this moment; try again".to_owned(),
    ))
}

/// Changes the state of a node's membership, on condition that it is still `from`.
pub(super) async fn change_standing(
    door: &Door,
    node: u64,
    from: Standing,
    to: Standing,
    base: Transact,
) -> Result<(), DoorError> {
    let change = still(door, node, from).await?;
    make_with(door, base, vec![to_stand(door, change, to).done()]).await
}

/// Marks a node as leaving, on condition that the node `stays`, which can keep the data, does not leave. If two nodes are to leave at once and each
/// command relies on the other node, the second command is refused.
pub(super) async fn leave(
    door: &Door,
    node: u64,
    from: Standing,
    stays: &Member,
    base: Transact,
) -> Result<(), DoorError> {
    let leaving = still(door, node, from).await?;
    let staying = still(door, stays.node, stays.standing).await?;
    let changes = vec![
        to_stand(door, leaving, Standing::Leaving).done(),
        to_stand(door, staying, stays.standing).done(),
    ];
    make_with(door, base, changes).await
}

/// A change of a node's row with the condition that its state is still `standing`. The first node's row has no state until it is changed once.
async fn still(door: &Door, node: u64, standing: Standing) -> Result<Change, DoorError> {
    let row = door.get(MEMBERS, &key(node.to_string())).await?;
    let change = of_node(node);
    Ok(match row.as_ref().and_then(|row| row.text("standing")) {
        None if standing == Standing::Member => change.if_absent("standing"),
        _ => change.if_equals("standing", standing.word()),
    })
}

fn to_stand(door: &Door, change: Change, standing: Standing) -> Change {
    let change = change.set("standing", standing.word());
    match standing {
        Standing::Removed => change.set(REMOVED_AT, door.now_ms()),
        _ => change,
    }
}

/// Records that a node has caught up: it becomes a member, and the node that it replaces starts to leave.
pub(super) async fn caught_up(
    door: &Door,
    member: &Member,
    members: &BTreeMap<u64, Member>,
) -> Result<(), DoorError> {
    let joined = of_node(member.node)
        .if_equals("standing", Standing::Joining.word())
        .set("standing", Standing::Member.word())
        .remove("replaces")
        .remove(JOIN_BY)
        .done();
    let mut changes = vec![joined];
    // A removed node stays removed.
    let old = member.replaces.and_then(|old| members.get(&old));
    if let Some(old) = old.filter(|old| old.standing != Standing::Removed) {
        let leaving = still(door, old.node, old.standing).await?;
        changes.push(to_stand(door, leaving, Standing::Leaving).done());
    }
    make(door, changes).await
}

/// Marks the nodes of an ended lineage as removed, and this node as a member.
pub(super) async fn begin_anew(door: &Door, nodes: &[u64]) -> Result<(), DoorError> {
    let own = of_node(door.node()).set("standing", Standing::Member.word());
    let mut changes = vec![own.done()];
    for node in nodes {
        changes.push(to_stand(door, of_node(*node), Standing::Removed).done());
    }
    changes.extend(rotation::given_up(door).await?);
    make(door, changes).await
}

/// Says how many nodes should vote.
pub(super) async fn set_voters(door: &Door, wanted: u64, base: Transact) -> Result<(), DoorError> {
    let change = Change::update(MEMBERS, key(CLUSTER))
        .set(VOTERS, wanted)
        .done();
    make_with(door, base, vec![change]).await
}
