//! At-least-once messages: order of arrival, visibility timeout, receive and failure counts, delay, retention, redrive.
//!
//! A message has a body (immutable) and a head (mutable). While it may be received it is also in the ready index; while
//! it is hidden (in flight, delayed, backing off) it has a timer. A message of a group is ready only while it is the
//! first of its group.

pub(super) mod finish;
pub(super) mod receive;
pub(super) mod redrive;
pub(super) mod send;

use panther_proto::v1::{Code, StoredHead};

use super::limits::stop;
use super::{Stop, Tx, keys};

/// True if a session holds the message.
pub(super) fn in_flight(head: &StoredHead) -> bool {
    head.session != 0
}

pub(super) fn head(tx: &Tx<'_>, queue: &str, seq: u64) -> Result<Option<StoredHead>, Stop> {
    tx.read(&keys::head(queue, seq))
}

fn require_head(tx: &Tx<'_>, queue: &str, seq: u64) -> Result<StoredHead, Stop> {
    head(tx, queue, seq)?.ok_or_else(|| {
        stop(
            Code::StaleReceipt,
            format!(
                "message {seq} is no longer in queue {queue}: it was done, moved, purged or expired"
            ),
        )
    })
}

/// Adds a message to the ready index, unless an earlier message of its group is still in the queue.
fn make_ready(tx: &mut Tx<'_>, queue: &str, seq: u64, head: &StoredHead) -> Result<(), Stop> {
    if !head.group.is_empty() {
        let prefix = keys::KeyBuilder::new(keys::kind::GROUP)
            .text(queue)
            .text(&head.group)
            .done();
        if tx
            .scan_prefix(&prefix, 1)?
            .first()
            .is_some_and(|(first, _)| **first != *keys::group(queue, &head.group, seq))
        {
            return Ok(()); // becomes ready when the earlier message has left
        }
    }
    if head.suspect {
        let key = keys::suspect(queue, seq);
        if tx.get(&key)?.is_none() {
            tx.put(key, bytes::Bytes::new());
            tx.counts_mut(queue).suspects += 1;
        }
    } else {
        let fair = tx.queue(queue)?.fair;
        tx.put(
            keys::ready(queue, if fair { &head.turn } else { "" }, seq),
            bytes::Bytes::new(),
        );
        let counts = tx.counts_mut(queue);
        counts.ready_from = counts.ready_from.min(seq);
    }
    tx.wake(queue);
    Ok(())
}

/// Removes a message from the ready index, if it is there.
fn unready(tx: &mut Tx<'_>, queue: &str, seq: u64, head: &StoredHead) -> Result<(), Stop> {
    if head.suspect {
        let key = keys::suspect(queue, seq);
        if tx.get(&key)?.is_some() {
            tx.remove(key);
            let counts = tx.counts_mut(queue);
            counts.suspects = counts.suspects.saturating_sub(1);
        }
    } else {
        let fair = tx.queue(queue)?.fair;
        tx.remove(keys::ready(queue, if fair { &head.turn } else { "" }, seq));
    }
    Ok(())
}

/// Makes the next message of a group ready, after the earlier one has left.
fn ready_next_of_group(tx: &mut Tx<'_>, queue: &str, group: &str) -> Result<(), Stop> {
    let prefix = keys::KeyBuilder::new(keys::kind::GROUP)
        .text(queue)
        .text(group)
        .done();
    let Some((first, _)) = tx.scan_prefix(&prefix, 1)?.pop() else {
        return Ok(());
    };
    let Some(seq) = first
        .last_chunk::<8>()
        .map(|bytes| u64::from_be_bytes(*bytes))
    else {
        return Ok(());
    };
    if let Some(head) = head(tx, queue, seq)?
        && !in_flight(&head)
        && head.hidden_until_ms == 0
    {
        make_ready(tx, queue, seq, &head)?;
    }
    Ok(())
}
