//! Reads outside of commands: rows, index ranges, messages, counters. They change no state.

use std::collections::{BTreeMap, BTreeSet};
use std::io;

use panther_proto::v1::{
    Key, Message as QueueMessage, QueueCounts, QueueSpec, Receive, Row, StoredBody, StoredHead,
    StoredSession, TableSpec, TopicSpec,
};
use prost::Message;

use super::keys::{self, KeyBuilder, kind};
pub use super::query::{Page, Query, query};
use super::{Base, Globals, declare, queues, tables};

/// Counters of each queue, and the arrival time of its oldest message (cluster time, ms).
pub type AllCounts = BTreeMap<String, (QueueCounts, Option<u64>)>;

/// A row with its key.
pub type KeyedRow = (Key, Row);

pub(super) fn decode<M: Message + Default>(bytes: bytes::Bytes) -> io::Result<M> {
    M::decode(bytes).map_err(|error| {
        io::Error::new(
            io::ErrorKind::InvalidData,
            format!("stored state does not decode: {error}"),
        )
    })
}

pub(super) fn read<M: Message + Default>(base: &dyn Base, key: &[u8]) -> io::Result<Option<M>> {
    base.get(key)?.map(decode).transpose()
}

/// The global state: clock, format, hash.
///
/// # Errors
/// The store cannot be read.
pub fn globals(base: &dyn Base) -> io::Result<Globals> {
    Ok(read(base, &keys::globals())?.unwrap_or_default())
}

/// The session in force of each node, by node id.
///
/// # Errors
/// The store cannot be read.
pub fn sessions(base: &dyn Base) -> io::Result<std::collections::BTreeMap<u64, u64>> {
    let prefix = keys::sessions_of_nodes();
    let found = base.scan(&prefix, &keys::after(&prefix), usize::MAX, false)?;
    Ok(found
        .into_iter()
        .filter_map(|(key, value)| {
            let node = u64::from_be_bytes(*key.last_chunk::<8>()?);
            Some((node, u64::from_be_bytes(*value.first_chunk::<8>()?)))
        })
        .collect())
}

/// The session in force of each node and when it was opened (cluster time, ms), by node id.
///
/// # Errors
/// The store cannot be read.
pub fn open_sessions(base: &dyn Base) -> io::Result<std::collections::BTreeMap<u64, (u64, u64)>> {
    let mut open = std::collections::BTreeMap::new();
    for (node, session) in sessions(base)? {
        let stored = base.get(&keys::session(session))?;
        let stored: StoredSession = stored.map(decode).transpose()?.unwrap_or_default();
        open.insert(node, (session, stored.opened_ms));
    }
    Ok(open)
}

fn specs<M: Message + Default>(base: &dyn Base, what: u8) -> io::Result<Vec<M>> {
    let prefix = declare::prefix(what);
    base.scan(&prefix, &keys::after(&prefix), usize::MAX, false)?
        .into_iter()
        .map(|(_, value)| decode(value))
        .collect()
}

/// All declared tables.
///
/// # Errors
/// The store cannot be read.
pub fn tables(base: &dyn Base) -> io::Result<Vec<TableSpec>> {
    specs(base, declare::TABLE)
}

/// All declared queues.
///
/// # Errors
/// The store cannot be read.
pub fn queues(base: &dyn Base) -> io::Result<Vec<QueueSpec>> {
    specs(base, declare::QUEUE)
}

/// All declared topics.
///
/// # Errors
/// The store cannot be read.
pub fn topics(base: &dyn Base) -> io::Result<Vec<TopicSpec>> {
    specs(base, declare::TOPIC)
}

pub(super) fn table(base: &dyn Base, name: &str) -> io::Result<TableSpec> {
    read(
        base,
        &KeyBuilder::new(kind::DECLARED)
            .byte(declare::TABLE)
            .text(name)
            .done(),
    )?
    .ok_or_else(|| io::Error::new(io::ErrorKind::NotFound, format!("there is no table {name}")))
}

/// One row; an expired row is hidden.
///
/// # Errors
/// The store cannot be read, or there is no such table.
pub fn row(base: &dyn Base, table_name: &str, key: &Key) -> io::Result<Option<Row>> {
    let spec = table(base, table_name)?;
    let globals = globals(base)?;
    Ok(read::<Row>(base, &keys::row(table_name, key))?
        .filter(|row| !tables::expired(&spec, row, &globals)))
}

/// Counters of all queues.
///
/// # Errors
/// The store cannot be read.
pub fn all_counts(base: &dyn Base) -> io::Result<AllCounts> {
    let mut all = AllCounts::new();
    for QueueSpec { name, .. } in queues(base)? {
        let of = (counts(base, &name)?, oldest_ms(base, &name)?);
        all.insert(name, of);
    }
    Ok(all)
}

/// A queue's counters.
///
/// # Errors
/// The store cannot be read.
pub fn counts(base: &dyn Base, queue: &str) -> io::Result<QueueCounts> {
    Ok(read(base, &keys::counts(queue))?.unwrap_or_default())
}

/// Arrival time of a queue's oldest message (cluster time, ms); `None` if the queue is empty.
///
/// # Errors
/// The store cannot be read.
pub fn oldest_ms(base: &dyn Base, queue: &str) -> io::Result<Option<u64>> {
    let found = base.scan(
        &keys::head(queue, 0),
        &keys::head(queue, u64::MAX),
        1,
        false,
    )?;
    found
        .into_iter()
        .next()
        .map(|(_, value)| decode::<StoredHead>(value).map(|head| head.sent_ms))
        .transpose()
}

/// Messages after a sequence number, without receiving them. `limit` is 1 to 1,000.
///
/// # Errors
/// The store cannot be read.
pub fn peek(
    base: &dyn Base,
    queue: &str,
    after: u64,
    limit: usize,
) -> io::Result<Vec<QueueMessage>> {
    let found = base.scan(
        &keys::head(queue, after.saturating_add(1)),
        &keys::head(queue, u64::MAX),
        limit.clamp(1, 1_000),
        false,
    )?;
    let mut messages = Vec::with_capacity(found.len());
    for (key, value) in found {
        let Some(seq) = key.last_chunk::<8>().map(|seq| u64::from_be_bytes(*seq)) else {
            continue;
        };
        let Some(body) = read::<StoredBody>(base, &keys::body(queue, seq))? else {
            continue;
        };
        messages.push(queues::receive::message(queue, seq, &decode(value)?, body));
    }
    Ok(messages)
}

/// True if this receive might return a message. This is a hint only: apply decides.
///
/// # Errors
/// The store cannot be read.
pub fn may_receive(base: &dyn Base, receive: &Receive) -> io::Result<bool> {
    let queue = receive.queue.as_str();
    let counts = counts(base, queue)?;
    if counts.suspects > 0 {
        return Ok(true);
    }
    if counts.waiting > 0 {
        let prefix = KeyBuilder::new(kind::READY).text(queue).done();
        let end = keys::after(&prefix);
        let mut from = keys::ready(queue, "", counts.ready_from).max(prefix);
        let full = full_turns(base, receive)?;
        // One scan for each fairness key at its bound, and one behind them.
        while let Some((key, _)) = base.scan(&from, &end, 1, false)?.first() {
            match queues::receive::turn_of(key) {
                Some(turn) if full.contains(&turn) => {
                    let of_turn = KeyBuilder::new(kind::READY).text(queue).text(&turn);
                    from = keys::after(&of_turn.done());
                }
                _ => return Ok(true),
            }
        }
    }
    Ok(false)
}

fn is_fair(base: &dyn Base, queue: &str) -> io::Result<bool> {
    let key = KeyBuilder::new(kind::DECLARED)
        .byte(declare::QUEUE)
        .text(queue)
        .done();
    Ok(read::<QueueSpec>(base, &key)?.is_some_and(|spec| spec.fair))
}

/// Fairness keys of which the session holds as many messages as the receive allows.
fn full_turns(base: &dyn Base, receive: &Receive) -> io::Result<BTreeSet<String>> {
    let queue = receive.queue.as_str();
    if receive.turn_max == 0 || !is_fair(base, queue)? {
        return Ok(BTreeSet::new());
    }
    let prefix = keys::held_of_queue(receive.session, queue);
    let mut held: BTreeMap<String, u32> = BTreeMap::new();
    for (key, _) in base.scan(&prefix, &keys::after(&prefix), usize::MAX, false)? {
        if let Some(seq) = queues::receive::seq_of(&key)
            && let Some(head) = read::<StoredHead>(base, &keys::head(queue, seq))?
        {
            *held.entry(head.turn).or_default() += 1;
        }
    }
    held.retain(|_, held| *held >= receive.turn_max);
    Ok(held.into_keys().collect())
}

/// After this time without an entry, in ms, a tick records the time, so that a leap can be distinguished from a pause.
const MARK_MS: u64 = 600_000;

/// True if a tick at `now_ms` would change anything.
///
/// # Errors
/// The store cannot be read.
pub fn anything_due(base: &dyn Base, now_ms: u64) -> io::Result<bool> {
    let globals = globals(base)?;
    if globals.moves_stamps() || globals.clock_ms.saturating_add(MARK_MS) <= now_ms {
        return Ok(true);
    }
    let globals = globals.at(now_ms, globals.format);
    for (from, to) in super::due::ranges(&globals) {
        if from < to && !base.scan(&from, &to, 1, false)?.is_empty() {
            return Ok(true);
        }
    }
    for queue in queues(base)? {
        if queue.retention_ms > 0
            && let Some(oldest) = oldest_ms(base, &queue.name)?
            && globals.is_past(oldest.saturating_add(queue.retention_ms))
        {
            return Ok(true);
        }
    }
    Ok(false)
}
