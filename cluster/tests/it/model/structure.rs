//! Invariants of the stored keys: every secondary item belongs to a primary one, and every counter is correct.

use std::collections::{BTreeMap, BTreeSet};

use panther_cluster::state::keys::{self, KeyBuilder, KeyReader, kind};
use panther_cluster::state::{Base, Globals, Pair, read};
use panther_proto::v1::{
    QueueCounts, RememberedReply, Row, StoredBody, StoredHead, StoredSession, value,
};
use prost::Message as _;

type Items = BTreeMap<Vec<u8>, Vec<u8>>;

/// All items of a store.
pub(super) fn everything(base: &dyn Base) -> Items {
    pairs_of(base.scan(&[], &[0xFF; 9], usize::MAX, false).unwrap())
}

pub(super) fn pairs_of(found: Vec<Pair>) -> Items {
    let pairs = found.into_iter();
    pairs
        .map(|(key, value)| (key.to_vec(), value.to_vec()))
        .collect()
}

fn of(items: &Items, wanted: u8) -> BTreeSet<Vec<u8>> {
    items
        .keys()
        .filter(|key| key[0] == wanted)
        .cloned()
        .collect()
}

fn due(time: u64, what: u8) -> KeyBuilder {
    KeyBuilder::new(kind::DUE).number(time).byte(what)
}

/// Returns the first invariant that does not hold.
pub(super) fn check(base: &dyn Base) -> Result<(), String> {
    let items = everything(base);
    let specs: BTreeMap<String, _> = read::queues(base)
        .unwrap()
        .into_iter()
        .map(|spec| (spec.name.clone(), spec))
        .collect();
    let mut heads: BTreeMap<(String, u64), StoredHead> = BTreeMap::new();
    let mut bodies: BTreeMap<(String, u64), StoredBody> = BTreeMap::new();
    let mut wanted: BTreeMap<u8, BTreeSet<Vec<u8>>> = BTreeMap::new();
    for (key, bytes) in &items {
        let mut reader = KeyReader::new(key);
        match key[0] {
            kind::HEAD => {
                let place = (reader.text().unwrap(), reader.number().unwrap());
                heads.insert(place, StoredHead::decode(&bytes[..]).unwrap());
            }
            kind::BODY => {
                let place = (reader.text().unwrap(), reader.number().unwrap());
                bodies.insert(place, StoredBody::decode(&bytes[..]).unwrap());
            }
            _ => {}
        }
    }
    if !heads.keys().eq(bodies.keys()) {
        return Err("a head without a body, or a body without a head".into());
    }
    // Index items and timers that each message must have.
    let mut counts: BTreeMap<String, QueueCounts> = BTreeMap::new();
    let mut holds: BTreeMap<u64, u64> = BTreeMap::new();
    let mut groups: BTreeSet<(String, String)> = BTreeSet::new();
    let mut lowest_ready: BTreeMap<String, u64> = BTreeMap::new();
    for ((queue, seq), head) in &heads {
        let spec = &specs[queue];
        let body = &bodies[&(queue.clone(), *seq)];
        let count = counts.entry(queue.clone()).or_default();
        count.bytes += head.bytes;
        if head.bytes != body.encoded_len() as u64 {
            return Err(format!("{queue} {seq}: its head says another size"));
        }
        let first = head.group.is_empty() || groups.insert((queue.clone(), head.group.clone()));
        if !head.group.is_empty() {
            wanted
                .entry(kind::GROUP)
                .or_default()
                .insert(keys::group(queue, &head.group, *seq));
        }
        if head.hidden_until_ms != 0 {
            wanted.entry(kind::DUE).or_default().insert(
                due(head.hidden_until_ms, b'v')
                    .text(queue)
                    .number(*seq)
                    .done(),
            );
        }
        if head.session != 0 {
            count.in_flight += 1;
            *holds.entry(head.session).or_default() += 1;
            wanted
                .entry(kind::HELD)
                .or_default()
                .insert(keys::held(head.session, queue, *seq));
        } else if head.hidden_until_ms != 0 {
            count.delayed += 1;
        } else {
            count.waiting += 1;
            if first && head.suspect {
                count.suspects += 1;
                wanted
                    .entry(kind::SUSPECT)
                    .or_default()
                    .insert(keys::suspect(queue, *seq));
            } else if first {
                let turn = if spec.fair { head.turn.as_str() } else { "" };
                lowest_ready.entry(queue.clone()).or_insert(*seq);
                wanted
                    .entry(kind::READY)
                    .or_default()
                    .insert(keys::ready(queue, turn, *seq));
            }
        }
    }
    for (queue, spec) in &specs {
        let told: QueueCounts = read::counts(base, queue).unwrap();
        let seen = counts.remove(queue).unwrap_or_default();
        let numbers = |counts: &QueueCounts| {
            (
                counts.waiting,
                counts.delayed,
                counts.in_flight,
                counts.bytes,
                counts.suspects,
            )
        };
        if numbers(&told) != numbers(&seen) {
            return Err(format!(
                "{queue}: counted waiting, delayed, in flight, bytes, suspects {:?}, found {:?}",
                numbers(&told),
                numbers(&seen)
            ));
        }
        let left = told.waiting + told.delayed + told.in_flight;
        let gone = told.done
            + told.dead_lettered
            + told.expired
            + told.purged
            + told.moved_out
            + told.coalesced
            + told.deduplicated;
        if told.accepted != left + gone {
            return Err(format!(
                "{queue}: accepted is not what became of it: {told:?}"
            ));
        }
        if let Some(lowest) = lowest_ready.get(queue)
            && !spec.fair
            && told.ready_from > *lowest
        {
            return Err(format!(
                "{queue}: {} hides the ready message {lowest}",
                told.ready_from
            ));
        }
    }
    // Sessions and the messages they hold.
    for (key, bytes) in items.iter().filter(|(key, _)| key[0] == kind::SESSION) {
        if key[1] != b's' {
            continue;
        }
        let session = StoredSession::decode(&bytes[..]).unwrap();
        if session.holds != holds.remove(&session.session).unwrap_or(0) {
            return Err(format!("a session holds another number: {session:?}"));
        }
        let named = base.get(&keys::session_of(session.node)).unwrap();
        if named.as_deref() != Some(&session.session.to_be_bytes()) {
            return Err(format!(
                "a session that its node does not name: {session:?}"
            ));
        }
    }
    if !holds.is_empty() {
        return Err(format!("held by sessions that do not run: {holds:?}"));
    }
    // A coalescing key refers to a message with that key.
    for (key, bytes) in items.iter().filter(|(key, _)| key[0] == kind::COALESCE) {
        let mut reader = KeyReader::new(key);
        let (queue, coalesce) = (reader.text().unwrap(), reader.text().unwrap());
        let seq = u64::from_be_bytes(bytes[..].try_into().unwrap());
        if bodies
            .get(&(queue.clone(), seq))
            .is_none_or(|body| body.coalesce_key != coalesce)
        {
            return Err(format!("{queue}: the key {coalesce} points at nothing"));
        }
    }
    // Deduplication ids, remembered replies and rows each have a timer.
    for (key, bytes) in &items {
        let mut reader = KeyReader::new(key);
        let item = match key[0] {
            kind::DEDUP => {
                let until = u64::from_be_bytes(bytes[..].try_into().unwrap());
                let (queue, id) = (reader.text().unwrap(), reader.text().unwrap());
                due(until, b'd').text(&queue).text(&id).done()
            }
            kind::REQUEST => {
                let until = RememberedReply::decode(&bytes[..]).unwrap().until_ms;
                due(until, b'r').text(&reader.text().unwrap()).done()
            }
            kind::ROW => {
                let table = reader.text().unwrap();
                let row = Row::decode(&bytes[..]).unwrap();
                match row
                    .attributes
                    .get("expiresAt")
                    .and_then(|at| at.kind.as_ref())
                {
                    Some(value::Kind::Int(seconds)) if *seconds >= 0 => {
                        due(*seconds as u64 * 1_000, b't')
                            .text(&table)
                            .row_key(&reader.row_key().unwrap())
                            .done()
                    }
                    _ => continue,
                }
            }
            _ => continue,
        };
        wanted.entry(kind::DUE).or_default().insert(item);
    }
    // Index items.
    let tables = read::tables(base).unwrap();
    for (key, bytes) in items.iter().filter(|(key, _)| key[0] == kind::ROW) {
        let mut reader = KeyReader::new(key);
        let (table, row_key) = (reader.text().unwrap(), reader.row_key().unwrap());
        let row = Row::decode(&bytes[..]).unwrap();
        let spec = tables.iter().find(|spec| spec.name == table).unwrap();
        for index in &spec.indexes {
            let mut item = KeyBuilder::new(kind::INDEX)
                .text(&table)
                .text(&index.name)
                .text(&row_key.tenant);
            let mut complete = true;
            for attribute in [&index.hash, &index.range] {
                if !attribute.is_empty() {
                    complete &= row
                        .attributes
                        .get(attribute)
                        .is_some_and(|value| item.value(value));
                }
            }
            if complete {
                wanted
                    .entry(kind::INDEX)
                    .or_default()
                    .insert(item.text(&row_key.hash).text(&row_key.range).done());
            }
        }
    }
    for what in [
        kind::GROUP,
        kind::DUE,
        kind::HELD,
        kind::SUSPECT,
        kind::READY,
        kind::INDEX,
    ] {
        let found = of(&items, what);
        let wanted = wanted.remove(&what).unwrap_or_default();
        if found != wanted {
            let show = |keys: Vec<&Vec<u8>>| {
                keys.into_iter()
                    .map(|key| String::from_utf8_lossy(key).into_owned())
                    .collect::<Vec<_>>()
            };
            return Err(format!(
                "items of kind {:?}: too many {:?}, missing {:?}",
                what as char,
                show(found.difference(&wanted).collect()),
                show(wanted.difference(&found).collect())
            ));
        }
    }
    let globals: Globals = read::globals(base).unwrap();
    if globals.messages < heads.len() as u64 {
        return Err("fewer ids given than messages there".into());
    }
    Ok(())
}
