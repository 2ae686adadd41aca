//! Sends: a message is deduplicated, coalesced with a waiting message, or appended to the queue.
//!
//! The byte limit of a queue rejects new work only, never an effect of accepted work: messages that a handler sends
//! when it completes a message, dead letters and feed records are always accepted.

use panther_proto::v1::{Code, QueueSpec, Send, StoredBody, StoredHead};
use prost::Message;

use crate::state::limits::stop;
use crate::state::{Stop, Tx, due, feeds, keys};

/// The origin of a message.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(in crate::state) enum Source {
    /// New work; a full queue rejects it.
    Door,
    /// A handler that completes its message.
    Handler,
    /// A table's feed. When a newer record is coalesced with a waiting one, the waiting record keeps its old image.
    Feed,
}

/// Sends one message. Returns its id (of the waiting message, if it was coalesced), or an empty id for a duplicate.
pub(in crate::state) fn run(
    tx: &mut Tx<'_>,
    queue: &str,
    send: &Send,
    source: Source,
) -> Result<String, Stop> {
    let spec = tx.queue(queue)?;
    tx.counts_mut(queue).accepted += 1;
    if !send.dedup_id.is_empty() && spec.dedup_window_ms > 0 {
        let key = keys::dedup(queue, &send.dedup_id);
        let due = |until| {
            due::key(until, due::Kind::Dedup)
                .text(queue)
                .text(&send.dedup_id)
                .done()
        };
        // The value is the time at which the id expires. A timer that fires late does not make the window longer.
        if let Some(until) = tx.get(&key)?.as_deref().and_then(number) {
            if !tx.is_past(until) {
                tx.counts_mut(queue).deduplicated += 1;
                return Ok(String::new());
            }
            tx.remove(due(until));
        }
        let until = tx.now().saturating_add(spec.dedup_window_ms);
        tx.put(key, until.to_be_bytes().to_vec().into());
        tx.put(due(until), bytes::Bytes::new());
    }
    if !send.coalesce_key.is_empty()
        && let Some(id) = coalesce(tx, queue, send, source)?
    {
        return Ok(id);
    }
    let (trace_id, span_id) = cause_of(tx, send);
    let body = StoredBody {
        id: tx.next_message_id(),
        body: send.body.clone(),
        attributes: send.attributes.clone(),
        trace_id,
        span_id,
        dedup_id: send.dedup_id.clone(),
        coalesce_key: send.coalesce_key.clone(),
        turn: send.turn.clone(),
        group: send.group.clone(),
        origin: String::new(),
    };
    let head = StoredHead {
        hidden_until_ms: if send.delay_ms == 0 {
            0
        } else {
            tx.now().saturating_add(send.delay_ms)
        },
        ..StoredHead::default()
    };
    let id = body.id.clone();
    if source == Source::Door {
        require_room(tx, &spec, body.encoded_len() as u64)?;
    }
    enqueue(tx, queue, &body, head)?;
    Ok(id)
}

/// The trace and the span of a new message: its own, or those of its command.
fn cause_of(tx: &Tx<'_>, send: &Send) -> (String, u64) {
    if !tx.traces() {
        return (send.trace_id.clone(), 0);
    }
    if send.trace_id.is_empty() {
        let cause = tx.cause();
        return (cause.trace_id.clone(), cause.span_id);
    }
    (send.trace_id.clone(), send.span_id)
}

fn number(bytes: &[u8]) -> Option<u64> {
    bytes
        .first_chunk::<8>()
        .map(|bytes| u64::from_be_bytes(*bytes))
}

/// Refuses new work that would exceed the byte limit of a queue.
pub(super) fn require_room(tx: &Tx<'_>, spec: &QueueSpec, bytes: u64) -> Result<(), Stop> {
    let held = tx.counts(&spec.name).bytes;
    if spec.max_bytes > 0 && held.saturating_add(bytes) > spec.max_bytes {
        return Err(stop(
            Code::Full,
            format!(
                "queue {} holds {held} bytes of at most {}: its consumer must catch up first",
                spec.name, spec.max_bytes
            ),
        ));
    }
    Ok(())
}

/// Appends a message to a queue, with the counters in `head`. In a dead letter queue messages are independent: group
/// and coalescing key are kept for a later requeue, but have no effect there.
pub(super) fn enqueue(
    tx: &mut Tx<'_>,
    queue: &str,
    body: &StoredBody,
    mut head: StoredHead,
) -> Result<(), Stop> {
    let spec = tx.queue(queue)?;
    let encoded = body.encode_to_vec();
    head.sent_ms = tx.now();
    head.bytes = encoded.len() as u64;
    head.turn.clone_from(&body.turn);
    if !spec.dead_letter {
        head.group.clone_from(&body.group);
    }
    let counts = tx.counts_mut(queue);
    counts.next_seq += 1;
    counts.bytes += head.bytes;
    let seq = counts.next_seq;
    if head.hidden_until_ms == 0 {
        counts.waiting += 1;
    } else {
        counts.delayed += 1;
    }
    tx.put(keys::body(queue, seq), encoded.into());
    tx.write(keys::head(queue, seq), &head);
    if !head.group.is_empty() {
        tx.put(keys::group(queue, &head.group, seq), bytes::Bytes::new());
    }
    if !body.coalesce_key.is_empty() && !spec.dead_letter {
        tx.put(
            keys::coalesce(queue, &body.coalesce_key),
            seq.to_be_bytes().to_vec().into(),
        );
    }
    if head.hidden_until_ms == 0 {
        super::make_ready(tx, queue, seq, &head)
    } else {
        tx.put(
            due::visible(head.hidden_until_ms, queue, seq),
            bytes::Bytes::new(),
        );
        Ok(())
    }
}

/// Replaces the body of a waiting message with the same coalescing key; its id, position and counts stay. In a group
/// only the last message is coalesced, so that the new body does not overtake messages in between. `None`: nothing to
/// replace.
fn coalesce(
    tx: &mut Tx<'_>,
    queue: &str,
    send: &Send,
    source: Source,
) -> Result<Option<String>, Stop> {
    let newest = tx.get(&keys::coalesce(queue, &send.coalesce_key))?;
    let Some(seq) = newest.as_deref().and_then(number) else {
        return Ok(None);
    };
    let Some(mut head) = super::head(tx, queue, seq)?
        .filter(|head| !super::in_flight(head) && head.group == send.group)
    else {
        return Ok(None);
    };
    if !head.group.is_empty() {
        let behind = keys::group(queue, &head.group, seq.saturating_add(1));
        let end = keys::group(queue, &head.group, u64::MAX);
        if !tx.scan(&behind, &end, 1)?.is_empty() {
            return Ok(None);
        }
    }
    let Some(mut body) = tx.read::<StoredBody>(&keys::body(queue, seq))? else {
        return Ok(None);
    };
    body.body = match source {
        Source::Feed => feeds::merge(&body.body, &send.body).map(Into::into),
        Source::Door | Source::Handler => None,
    }
    .unwrap_or_else(|| send.body.clone());
    body.attributes.clone_from(&send.attributes);
    let encoded = body.encode_to_vec();
    let counts = tx.counts_mut(queue);
    counts.coalesced += 1;
    counts.bytes = counts.bytes.saturating_sub(head.bytes) + encoded.len() as u64;
    head.bytes = encoded.len() as u64;
    // Makes the receipt of an earlier receiver stale, whose visibility timeout passed: it has seen only the old body.
    head.receive += 1;
    tx.write(keys::head(queue, seq), &head);
    tx.put(keys::body(queue, seq), encoded.into());
    Ok(Some(body.id))
}
