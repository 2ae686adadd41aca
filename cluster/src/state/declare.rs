//! Declarations of tables, queues and topics. They are state, because apply must not depend on the build that runs it.

use std::collections::BTreeSet;

use panther_proto::v1::{Code, Declare, Done, QueueSpec, TableSpec, reply};

use super::keys::{KeyBuilder, kind};
use super::limits::{NAME_BYTES, stop};
use super::{Stop, Tx};

pub(super) const TABLE: u8 = b't';
pub(super) const QUEUE: u8 = b'q';
pub(super) const TOPIC: u8 = b'p';

pub(super) fn prefix(what: u8) -> Vec<u8> {
    KeyBuilder::new(kind::DECLARED).byte(what).done()
}

fn key(what: u8, name: &str) -> Vec<u8> {
    KeyBuilder::new(kind::DECLARED).byte(what).text(name).done()
}

/// Applies declarations. Objects that the command does not name keep their declaration. A version below the one in
/// force is refused, so that an older node cannot undo the declarations of a newer one. The version in force may be
/// declared again and changes nothing (idempotent).
pub(super) fn run(tx: &mut Tx<'_>, declare: &Declare) -> Result<reply::Kind, Stop> {
    let in_force = tx.globals_mut().declared;
    if declare.version < in_force {
        return Err(stop(
            Code::Invalid,
            format!(
                "declarations of version {} are older than version {in_force} in force",
                declare.version
            ),
        ));
    }
    if declare.version == in_force {
        return Ok(reply::Kind::Done(Done::default()));
    }
    check(tx, declare)?;
    for table in &declare.tables {
        if let Some(old) = tx.read::<TableSpec>(&key(TABLE, &table.name))?
            && (old.indexes != table.indexes || old.ttl_attribute != table.ttl_attribute)
            && !tx
                .scan_prefix(&KeyBuilder::new(kind::ROW).text(&table.name).done(), 1)?
                .is_empty()
        {
            return Err(stop(
                Code::Invalid,
                format!(
                    "the indexes and expiry of table {} cannot change while it holds rows",
                    table.name
                ),
            ));
        }
        tx.write(key(TABLE, &table.name), table);
    }
    for queue in &declare.queues {
        // These attributes decide under which keys a waiting message is found.
        if let Some(old) = tx.read::<QueueSpec>(&key(QUEUE, &queue.name))?
            && (old.fair, old.dead_letter) != (queue.fair, queue.dead_letter)
            && !tx
                .scan_prefix(&KeyBuilder::new(kind::HEAD).text(&queue.name).done(), 1)?
                .is_empty()
        {
            return Err(stop(
                Code::Invalid,
                format!(
                    "whether queue {} is fair or a dead letter queue cannot change while it holds messages",
                    queue.name
                ),
            ));
        }
        tx.write(key(QUEUE, &queue.name), queue);
    }
    for topic in &declare.topics {
        tx.write(key(TOPIC, &topic.name), topic);
    }
    tx.globals_mut().declared = declare.version;
    tx.set_declared();
    Ok(reply::Kind::Done(Done::default()))
}

fn check(tx: &Tx<'_>, declare: &Declare) -> Result<(), Stop> {
    let queues: BTreeSet<&str> = declare
        .queues
        .iter()
        .map(|queue| queue.name.as_str())
        .chain(tx.queue_names().map(String::as_str))
        .collect();
    let names = declare
        .tables
        .iter()
        .map(|table| &table.name)
        .chain(declare.queues.iter().map(|queue| &queue.name))
        .chain(declare.topics.iter().map(|topic| &topic.name));
    for name in names {
        if name.is_empty() || name.len() > NAME_BYTES {
            return Err(stop(
                Code::Invalid,
                format!("the name {name:?} is empty or longer than {NAME_BYTES} bytes"),
            ));
        }
    }
    for queue in &declare.queues {
        if queue.dead_letter && !queue.dlq.is_empty() {
            return Err(stop(
                Code::Invalid,
                format!(
                    "{} is a dead letter queue and has none of its own",
                    queue.name
                ),
            ));
        }
        if queue.dlq == queue.name {
            return Err(stop(
                Code::Invalid,
                format!("queue {} names itself as its dead letter queue", queue.name),
            ));
        }
        if !queue.dlq.is_empty() && !queues.contains(queue.dlq.as_str()) {
            return Err(stop(
                Code::UnknownName,
                format!(
                    "queue {} names {} as its dead letter queue, which is not declared",
                    queue.name, queue.dlq
                ),
            ));
        }
    }
    let fed = declare
        .tables
        .iter()
        .filter_map(|table| table.feed.as_ref())
        .map(|feed| &feed.queue);
    let subscribed = declare
        .topics
        .iter()
        .flat_map(|topic| &topic.subscriptions)
        .map(|subscription| &subscription.queue);
    for queue in fed.chain(subscribed) {
        if !queues.contains(queue.as_str()) {
            return Err(stop(
                Code::UnknownName,
                format!("queue {queue} is fed or subscribed, but not declared"),
            ));
        }
    }
    Ok(())
}

/// Raises the format in force: later entries may be of this format. The entry that carries this command is of the new
/// format already. A node that does not know the format therefore stops at this entry. Otherwise it would refuse the
/// command while the other replicas apply it.
pub(super) fn raise_format(tx: &mut Tx<'_>, format: u32) -> reply::Kind {
    let globals = tx.globals_mut();
    globals.format = globals.format.max(format);
    reply::Kind::Done(Done::default())
}
