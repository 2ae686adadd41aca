//! A message arrives: deduplicated, laid over a waiting one, or put at the end of the line.

use panther_proto::v1::{Code, Send, StoredBody, StoredHead};
use prost::Message;

use crate::state::limits::stop;
use crate::state::{Stop, Tx, due, feeds, keys};

/// Sends one message; its id, or an empty one if it was a duplicate.
pub(in crate::state) fn run(tx: &mut Tx<'_>, queue: &str, send: &Send) -> Result<String, Stop> {
    let spec = tx.queue(queue)?;
    tx.counts_mut(queue).accepted += 1;
    if !send.dedup_id.is_empty() && spec.dedup_window_ms > 0 {
        let key = keys::dedup(queue, &send.dedup_id);
        if tx.get(&key)?.is_some() {
            tx.counts_mut(queue).deduplicated += 1;
            return Ok(String::new());
        }
        tx.put(key, bytes::Bytes::new());
        let until = tx.now().saturating_add(spec.dedup_window_ms);
        tx.put(
            due::key(until, due::Kind::Dedup)
                .text(queue)
                .text(&send.dedup_id)
                .done(),
            bytes::Bytes::new(),
        );
    }
    if !send.coalesce_key.is_empty()
        && let Some(id) = coalesce(tx, queue, send)?
    {
        return Ok(id);
    }
    let body = StoredBody {
        id: tx.next_message_id(),
        body: send.body.clone(),
        attributes: send.attributes.clone(),
        trace_id: send.trace_id.clone(),
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
    enqueue(tx, queue, &body, head)?;
    Ok(id)
}

/// Puts a message at the end of the line, with the counts that `head` brings.
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
    head.group.clone_from(&body.group);
    let counts = tx.counts_mut(queue);
    if spec.max_bytes > 0 && counts.bytes + head.bytes > spec.max_bytes {
        return Err(stop(
            Code::Full,
            format!(
                "queue {queue} holds {} bytes of at most {}: its consumer must catch up first",
                counts.bytes, spec.max_bytes
            ),
        ));
    }
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
    if !body.group.is_empty() {
        tx.put(keys::group(queue, &body.group, seq), bytes::Bytes::new());
    }
    if !body.coalesce_key.is_empty() {
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

/// Gives a waiting message of the same key the new body: id, place and counts stay.
fn coalesce(tx: &mut Tx<'_>, queue: &str, send: &Send) -> Result<Option<String>, Stop> {
    let Some(bytes) = tx.get(&keys::coalesce(queue, &send.coalesce_key))? else {
        return Ok(None);
    };
    let Some(seq) = bytes
        .first_chunk::<8>()
        .map(|bytes| u64::from_be_bytes(*bytes))
    else {
        return Ok(None);
    };
    let Some(mut head) = super::head(tx, queue, seq)?.filter(|head| !super::in_flight(head)) else {
        return Ok(None);
    };
    let Some(mut body) = tx.read::<StoredBody>(&keys::body(queue, seq))? else {
        return Ok(None);
    };
    body.body = match feeds::merge(&body.body, &send.body).filter(|_| !send.group.is_empty()) {
        Some(merged) => merged.into(),
        None => send.body.clone(),
    };
    body.attributes.clone_from(&send.attributes);
    let encoded = body.encode_to_vec();
    let counts = tx.counts_mut(queue);
    counts.coalesced += 1;
    counts.bytes = counts.bytes.saturating_sub(head.bytes) + encoded.len() as u64;
    head.bytes = encoded.len() as u64;
    tx.write(keys::head(queue, seq), &head);
    tx.put(keys::body(queue, seq), encoded.into());
    Ok(Some(body.id))
}
