//! Receives. A receive is a command, so that a message which kills its node has been counted.
//!
//! A suspect is a message whose last holder's session ended. It runs alone: while a session holds a suspect it receives
//! nothing else, and it receives a suspect only while it holds nothing. The death of a node therefore points at one
//! message and counts against no other. A session that asks for a suspect while it holds other messages receives no new
//! ones for a while, until it is empty. A session that does not ask (the suspect's consumer has stopped) continues as
//! usual, so a suspect blocks no other queue.

use std::collections::BTreeMap;

use panther_proto::v1::{
    Code, Message, QueueSpec, Receive, Received, StoredBody, StoredHead, StoredSession, reply,
};

use crate::state::keys::KeyReader;
use crate::state::limits::{RECEIVE_MAX, VISIBILITY_MS, stop};
use crate::state::{Stop, Tx, due, keys, sessions};

/// Maximum number of due timers that a receive fires first.
const DUE_FIRST: usize = 16;
/// Maximum number of fairness keys that one receive considers.
const TURNS_MAX: usize = 256;
/// The first format in which a receive may limit how many messages of one fairness key its session holds.
const TURN_MAX_SINCE_FORMAT: u32 = 3;
/// How long a session that asked for a suspect receives nothing else, in ms.
const YIELD_MS: u64 = 10_000;

pub(in crate::state) fn run(tx: &mut Tx<'_>, receive: &Receive) -> Result<reply::Kind, Stop> {
    let spec = tx.queue(&receive.queue)?;
    sessions::require(tx, receive.session)?;
    if receive.visibility_ms > VISIBILITY_MS {
        return Err(stop(
            Code::Invalid,
            format!(
                "a visibility of {} ms is longer than 12 hours",
                receive.visibility_ms
            ),
        ));
    }
    due::advance(tx, DUE_FIRST)?;
    // Read after the timers: they may have taken messages from the session.
    let mut session = sessions::require(tx, receive.session)?;
    let visible_at = tx.now().saturating_add(
        if receive.visibility_ms == 0 {
            spec.visibility_ms
        } else {
            receive.visibility_ms
        }
        .max(1),
    );
    if receive.again {
        let messages = received_before(tx, receive)?;
        if !messages.is_empty() {
            return Ok(reply::Kind::Received(Received {
                messages,
                time_ms: tx.now(),
            }));
        }
    }
    let max = receive.max.clamp(1, RECEIVE_MAX) as usize;
    let mut messages = Vec::new();
    let yielded = session.yields_until_ms;
    for seq in choose(tx, &spec, &mut session, receive, max)? {
        if let Some(message) = take(tx, receive, seq, visible_at)? {
            session.alone |= message.suspect;
            session.holds += 1;
            messages.push(message);
        }
    }
    if !messages.is_empty() || session.yields_until_ms != yielded {
        tx.write(keys::session(receive.session), &session);
    }
    if !messages.is_empty() && tx.waits(&spec.name) {
        tx.wake(&spec.name);
    }
    Ok(reply::Kind::Received(Received {
        messages,
        time_ms: tx.now(),
    }))
}

/// Sequence numbers of the messages to hand out.
fn choose(
    tx: &mut Tx<'_>,
    spec: &QueueSpec,
    session: &mut StoredSession,
    receive: &Receive,
    max: usize,
) -> Result<Vec<u64>, Stop> {
    if session.alone {
        return Ok(Vec::new());
    }
    // Suspects of a queue come first: the session empties itself, then receives one.
    if tx.counts(&spec.name).suspects > 0 {
        if session.holds > 0 {
            session.yields_until_ms = tx.now().saturating_add(YIELD_MS);
            return Ok(Vec::new());
        }
        session.yields_until_ms = 0;
        let prefix = keys::KeyBuilder::new(keys::kind::SUSPECT)
            .text(&spec.name)
            .done();
        return Ok(tx
            .scan_prefix(&prefix, 1)?
            .iter()
            .filter_map(|(key, _)| seq_of(key))
            .collect());
    }
    if tx.now() < session.yields_until_ms && tx.suspects_wait() {
        return Ok(Vec::new());
    }
    if spec.fair {
        in_turn(tx, spec, receive, max)
    } else {
        in_line(tx, spec, max)
    }
}

fn in_line(tx: &mut Tx<'_>, spec: &QueueSpec, max: usize) -> Result<Vec<u64>, Stop> {
    let from = tx.counts(&spec.name).ready_from;
    let found = tx.scan(
        &keys::ready(&spec.name, "", from),
        &keys::ready(&spec.name, "", u64::MAX),
        max,
    )?;
    let seqs: Vec<u64> = found.iter().filter_map(|(key, _)| seq_of(key)).collect();
    // No message below is ready: the next scan need not skip the keys of those just taken.
    let counts = tx.counts_mut(&spec.name);
    counts.ready_from = seqs.last().map_or(counts.next_seq, |last| last + 1);
    Ok(seqs)
}

/// Round robin: one message of each fairness key in turn, starting after the key that was served last. A fairness key
/// of which the session holds as many messages as the receive allows is skipped.
fn in_turn(
    tx: &mut Tx<'_>,
    spec: &QueueSpec,
    receive: &Receive,
    max: usize,
) -> Result<Vec<u64>, Stop> {
    let bounded = receive.turn_max > 0 && tx.globals().format >= TURN_MAX_SINCE_FORMAT;
    let mut held = if bounded {
        held_by_turn(tx, &spec.name, receive.session)?
    } else {
        BTreeMap::new()
    };
    let last = tx.counts(&spec.name).last_turn;
    // By fairness key, the next sequence number to consider.
    let mut turns: Vec<(String, u64)> = turns_from(tx, &spec.name, &last)?
        .into_iter()
        .map(|turn| (turn, 0))
        .collect();
    let mut seqs = Vec::new();
    while seqs.len() < max && !turns.is_empty() {
        let mut left = Vec::with_capacity(turns.len());
        for (turn, from) in turns {
            if seqs.len() == max {
                break;
            }
            if bounded
                && held
                    .get(&turn)
                    .is_some_and(|held| *held >= receive.turn_max)
            {
                continue;
            }
            let found = tx.scan(
                &keys::ready(&spec.name, &turn, from),
                &keys::ready(&spec.name, &turn, u64::MAX),
                1,
            )?;
            if let Some(seq) = found.first().and_then(|(key, _)| seq_of(key)) {
                seqs.push(seq);
                *held.entry(turn.clone()).or_default() += 1;
                tx.counts_mut(&spec.name).last_turn.clone_from(&turn);
                left.push((turn, seq + 1));
            }
        }
        turns = left;
    }
    Ok(seqs)
}

/// Fairness keys with a ready message: those after `last` first, then the others.
fn turns_from(tx: &Tx<'_>, queue: &str, last: &str) -> Result<Vec<String>, Stop> {
    let all = || keys::KeyBuilder::new(keys::kind::READY).text(queue);
    let (start, middle, end) = (
        all().done(),
        keys::after(&all().text(last).done()),
        keys::after(&all().done()),
    );
    let mut turns = Vec::new();
    for (mut from, to) in [(middle.clone(), end), (start, middle)] {
        while turns.len() < TURNS_MAX {
            let found = tx.scan(&from, &to, 1)?;
            let Some(turn) = found.first().and_then(|(key, _)| turn_of(key)) else {
                break;
            };
            from = keys::after(&all().text(&turn).done());
            turns.push(turn);
        }
    }
    Ok(turns)
}

/// How many messages a session holds, by fairness key.
fn held_by_turn(tx: &Tx<'_>, queue: &str, session: u64) -> Result<BTreeMap<String, u32>, Stop> {
    let mut held = BTreeMap::new();
    for (key, _) in tx.scan_prefix(&keys::held_of_queue(session, queue), usize::MAX)? {
        if let Some(seq) = seq_of(&key)
            && let Some(head) = super::head(tx, queue, seq)?
        {
            *held.entry(head.turn).or_default() += 1;
        }
    }
    Ok(held)
}

/// The fairness key in the key of a ready message.
pub(in crate::state) fn turn_of(key: &[u8]) -> Option<String> {
    let mut reader = KeyReader::new(key);
    reader.text()?;
    reader.text()
}

/// Messages that the session holds from an earlier receive with the same attempt number, whose answer was lost.
fn received_before(tx: &Tx<'_>, receive: &Receive) -> Result<Vec<Message>, Stop> {
    let prefix = keys::held_of_queue(receive.session, &receive.queue);
    let attempt = receive.attempt.to_be_bytes();
    let mut messages = Vec::new();
    for (key, held) in tx.scan_prefix(&prefix, usize::MAX)? {
        let Some(seq) = seq_of(&key).filter(|_| held[..] == attempt) else {
            continue;
        };
        if let Some(head) = super::head(tx, &receive.queue, seq)?
            && let Some(body) = tx.read::<StoredBody>(&keys::body(&receive.queue, seq))?
        {
            messages.push(message(&receive.queue, seq, &head, body));
        }
    }
    Ok(messages)
}

fn take(
    tx: &mut Tx<'_>,
    receive: &Receive,
    seq: u64,
    visible_at: u64,
) -> Result<Option<Message>, Stop> {
    let (queue, session) = (receive.queue.as_str(), receive.session);
    let Some(mut head) = super::head(tx, queue, seq)? else {
        return Ok(None);
    };
    let Some(body) = tx.read::<StoredBody>(&keys::body(queue, seq))? else {
        return Ok(None);
    };
    super::unready(tx, queue, seq, &head)?;
    head.receives += 1;
    head.receive += 1;
    head.session = session;
    head.hidden_until_ms = visible_at;
    head.received_ms = tx.now();
    let counts = tx.counts_mut(queue);
    counts.waiting = counts.waiting.saturating_sub(1);
    counts.in_flight += 1;
    tx.write(keys::head(queue, seq), &head);
    tx.put(due::visible(visible_at, queue, seq), bytes::Bytes::new());
    let attempt = receive.attempt.to_be_bytes().to_vec();
    tx.put(keys::held(session, queue, seq), attempt.into());
    Ok(Some(message(queue, seq, &head, body)))
}

/// The sequence number at the end of a key.
pub(in crate::state) fn seq_of(key: &[u8]) -> Option<u64> {
    key.last_chunk::<8>()
        .map(|bytes| u64::from_be_bytes(*bytes))
}

/// A message as its receiver and an operator see it.
#[must_use]
pub(in crate::state) fn message(
    queue: &str,
    seq: u64,
    head: &StoredHead,
    body: StoredBody,
) -> Message {
    Message {
        id: body.id,
        queue: queue.to_owned(),
        body: body.body,
        attributes: body.attributes,
        receipt: (head.session != 0).then(|| panther_proto::v1::Receipt {
            queue: queue.to_owned(),
            seq,
            receive: head.receive,
            session: head.session,
        }),
        receives: head.receives,
        failures: head.failures,
        sent_ms: head.sent_ms,
        trace_id: body.trace_id,
        seq,
        last_error: head.last_error.clone(),
        in_flight: head.session != 0,
        turn: body.turn,
        group: body.group,
        visible_at_ms: head.hidden_until_ms,
        received_ms: head.received_ms,
        origin: body.origin,
        lonely_deaths: head.lonely_deaths,
        suspect: head.suspect,
        span_id: body.span_id,
    }
}
