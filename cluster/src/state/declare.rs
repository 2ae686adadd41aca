//! Declarations of tables, queues and topics. They are state, because apply must not depend on the build that runs it.

use std::collections::BTreeSet;

use panther_proto::v1::{Code, Declare, Done, QueueSpec, TableSpec, TopicSpec, reply};

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

/// From this format on, declarations of the version in force are compared with what is declared, a table can have several feeds, and a table or queue
/// that cannot change now keeps its old attributes while all others change.
const COMPARED_SINCE_FORMAT: u32 = 4;

/// Takes over declarations; those that are not named stay. A version below the one in force is refused, so that an older node does not undo what a
/// newer one declared. Declaring the same again changes nothing.
pub(super) fn run(tx: &mut Tx<'_>, declare: &Declare) -> Result<reply::Kind, Stop> {
    let compares = tx.globals().format >= COMPARED_SINCE_FORMAT;
    let in_force = tx.globals().declared;
    if declare.version < in_force {
        return Err(stop(
            Code::Invalid,
            format!(
                "declarations of version {} are older than version {in_force} in force",
                declare.version
            ),
        ));
    }
    if declare.version == in_force && !compares {
        return Ok(reply::Kind::Done(Done::default()));
    }
    check(tx, declare)?;
    let mut kept = Vec::new();
    for table in &declare.tables {
        let old = tx.read::<TableSpec>(&key(TABLE, &table.name))?;
        let mut table = table.clone();
        if let Some(old) = &old
            && (old.indexes != table.indexes || old.ttl_attribute != table.ttl_attribute)
            && !tx
                .scan_prefix(&KeyBuilder::new(kind::ROW).text(&table.name).done(), 1)?
                .is_empty()
        {
            if !compares {
                return Err(stop(
                    Code::Invalid,
                    format!(
                        "the indexes and expiry of table {} cannot change while it holds rows",
                        table.name
                    ),
                ));
            }
            table.indexes.clone_from(&old.indexes);
            table.ttl_attribute.clone_from(&old.ttl_attribute);
            kept.push(table.name.clone());
        }
        if !compares || old.as_ref() != Some(&table) {
            tx.write(key(TABLE, &table.name), &table);
            tx.set_declared();
        }
    }
    for queue in &declare.queues {
        let old = tx.read::<QueueSpec>(&key(QUEUE, &queue.name))?;
        let mut queue = queue.clone();
        // These attributes decide under which keys a waiting message is found.
        if let Some(old) = &old
            && (old.fair, old.dead_letter) != (queue.fair, queue.dead_letter)
            && !tx
                .scan_prefix(&KeyBuilder::new(kind::HEAD).text(&queue.name).done(), 1)?
                .is_empty()
        {
            if !compares {
                return Err(stop(
                    Code::Invalid,
                    format!(
                        "whether queue {} is fair or a dead letter queue cannot change while it holds messages",
                        queue.name
                    ),
                ));
            }
            (queue.fair, queue.dead_letter) = (old.fair, old.dead_letter);
            kept.push(queue.name.clone());
        }
        if !compares || old.as_ref() != Some(&queue) {
            tx.write(key(QUEUE, &queue.name), &queue);
            tx.set_declared();
        }
    }
    for topic in &declare.topics {
        let old = tx.read::<TopicSpec>(&key(TOPIC, &topic.name))?;
        if !compares || old.as_ref() != Some(topic) {
            tx.write(key(TOPIC, &topic.name), topic);
            tx.set_declared();
        }
    }
    if in_force != declare.version {
        tx.globals_mut().declared = declare.version;
    }
    Ok(reply::Kind::Done(Done {
        kept,
        ..Done::default()
    }))
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
    if let Some(table) = declare.tables.iter().find(|table| table.feeds.len() > 1)
        && tx.globals().format < COMPARED_SINCE_FORMAT
    {
        return Err(stop(
            Code::Invalid,
            format!(
                "table {} has more than one feed, which format {COMPARED_SINCE_FORMAT} allows and the format in force does not: `pantherctl cluster raise-format`",
                table.name
            ),
        ));
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
        .flat_map(|table| &table.feeds)
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
