//! How a receive ends: completion, release or visibility timeout; and the move to the dead letter queue.
//!
//! A receipt stays valid after its visibility timeout, until the message is received again, released, coalesced with a
//! newer body, moved, purged or completed, or until its session ends. One receive counts at most one failure: if the
//! visibility timeout has counted it, a later release with an error does not count it again.

use panther_proto::v1::{
    Code, Done, Extend, GiveBack, QueueSpec, Receipt, StoredBody, StoredHead, reply,
};

use crate::state::limits::{DELAY_MS, VISIBILITY_MS, stop};
use crate::state::{Stop, Tx, due, keys, sessions, tables};

/// Maximum bytes of the error text that is kept with a message.
const ERROR_BYTES: usize = 2_000;

/// The head of the message that a receipt names; refused if the receipt is stale.
fn receipt(tx: &Tx<'_>, receipt: &Receipt) -> Result<StoredHead, Stop> {
    sessions::require(tx, receipt.session)?;
    let head = super::require_head(tx, &receipt.queue, receipt.seq)?;
    let held_by_another = super::in_flight(&head) && head.session != receipt.session;
    if head.receive != receipt.receive || held_by_another {
        return Err(stop(
            Code::StaleReceipt,
            format!(
                "message {} of queue {} was received again, given back or replaced since",
                receipt.seq, receipt.queue
            ),
        ));
    }
    Ok(head)
}

/// Completes a message: it leaves the queue for good.
pub(in crate::state) fn done(tx: &mut Tx<'_>, receipt: &Receipt) -> Result<(), Stop> {
    let head = self::receipt(tx, receipt)?;
    erase(tx, &receipt.queue, receipt.seq, &head)?;
    tx.counts_mut(&receipt.queue).done += 1;
    Ok(())
}

/// Sets a new visibility timeout, longer or shorter, counted from now.
pub(in crate::state) fn extend(tx: &mut Tx<'_>, extend: &Extend) -> Result<reply::Kind, Stop> {
    let Some(receipt) = &extend.receipt else {
        return Err(stop(Code::Invalid, "the extension names no receipt"));
    };
    let mut head = self::receipt(tx, receipt)?;
    if !super::in_flight(&head) {
        return Err(stop(
            Code::StaleReceipt,
            format!(
                "the visibility of message {} of queue {} ran out",
                receipt.seq, receipt.queue
            ),
        ));
    }
    if extend.visibility_ms > VISIBILITY_MS {
        return Err(stop(
            Code::Invalid,
            format!(
                "a visibility of {} ms is longer than 12 hours",
                extend.visibility_ms
            ),
        ));
    }
    tx.remove(due::visible(
        head.hidden_until_ms,
        &receipt.queue,
        receipt.seq,
    ));
    head.hidden_until_ms = tx.now().saturating_add(extend.visibility_ms.max(1));
    tx.put(
        due::visible(head.hidden_until_ms, &receipt.queue, receipt.seq),
        bytes::Bytes::new(),
    );
    tx.write(keys::head(&receipt.queue, receipt.seq), &head);
    Ok(reply::Kind::Done(Done::default()))
}

/// Releases a message, with or without a failure counted against it.
pub(in crate::state) fn give_back(
    tx: &mut Tx<'_>,
    give_back: &GiveBack,
) -> Result<reply::Kind, Stop> {
    let Some(receipt) = &give_back.receipt else {
        return Err(stop(
            Code::Invalid,
            "the message to give back has no receipt",
        ));
    };
    if give_back.delay_ms > DELAY_MS {
        return Err(stop(
            Code::Invalid,
            format!(
                "a delay of {} ms is longer than {DELAY_MS} ms",
                give_back.delay_ms
            ),
        ));
    }
    let mut head = self::receipt(tx, receipt)?;
    let counted = !super::in_flight(&head);
    release(tx, &receipt.queue, receipt.seq, &mut head)?;
    head.receive += 1; // makes the receipt stale: a repeated release counts nothing
    if !give_back.reason.is_empty() {
        let from = if give_back.component.is_empty() {
            String::new()
        } else {
            format!("{}: ", give_back.component)
        };
        head.last_error = cut(&format!("{from}{}", give_back.reason));
    }
    // The holder released it and lives: the message did not cause the end of an earlier session.
    head.suspect = false;
    head.lonely_deaths = 0;
    back_in_line(
        tx,
        &receipt.queue,
        receipt.seq,
        head,
        give_back.failed && !counted,
        give_back.delay_ms,
    )?;
    // After the release: a change may coalesce a feed record with this very message, which waits again.
    tables::change_all(tx, &give_back.changes)?;
    Ok(reply::Kind::Done(Done::default()))
}

/// Handles the timer of a hidden message: its visibility timeout or the end of its delay.
pub(in crate::state) fn time_out(tx: &mut Tx<'_>, queue: &str, seq: u64) -> Result<(), Stop> {
    let Some(mut head) = super::head(tx, queue, seq)? else {
        return Ok(());
    };
    if head.hidden_until_ms == 0 || head.hidden_until_ms > tx.now() {
        return Ok(());
    }
    if super::in_flight(&head) {
        release(tx, queue, seq, &mut head)?;
        head.last_error = "its visibility ran out before its consumer was done".to_owned();
        back_in_line(tx, queue, seq, head, true, 0)
    } else {
        head.hidden_until_ms = 0;
        let counts = tx.counts_mut(queue);
        counts.delayed = counts.delayed.saturating_sub(1);
        counts.waiting += 1;
        tx.write(keys::head(queue, seq), &head);
        super::make_ready(tx, queue, seq, &head)
    }
}

/// Handles the end of the session that held a message: the message becomes a suspect and its receipt stale. `alone`:
/// the session held no other message.
pub(in crate::state) fn orphan(
    tx: &mut Tx<'_>,
    queue: &str,
    seq: u64,
    alone: bool,
) -> Result<(), Stop> {
    /// Delay in ms before the second, third and later try of a message whose node died with it.
    const BACK_OFF_MS: [u64; 3] = [1_000, 10_000, 60_000];
    let Some(mut head) = super::head(tx, queue, seq)? else {
        return Ok(());
    };
    let lonely_death = alone && head.suspect;
    if super::in_flight(&head) {
        tx.remove(due::visible(head.hidden_until_ms, queue, seq));
        head.session = 0;
        head.hidden_until_ms = 0;
        let counts = tx.counts_mut(queue);
        counts.in_flight = counts.in_flight.saturating_sub(1);
        counts.waiting += 1;
    }
    head.receive += 1;
    head.suspect = true;
    let spec = tx.queue(queue)?;
    if lonely_death {
        head.lonely_deaths += 1;
        head.last_error = format!(
            "its node's session ended {} times while this was its only message",
            head.lonely_deaths
        );
        if spec.lonely_deaths > 0
            && head.lonely_deaths >= spec.lonely_deaths
            && !spec.dlq.is_empty()
        {
            return bury(tx, &spec, seq, head);
        }
        let delay = BACK_OFF_MS[(head.lonely_deaths as usize - 1).min(BACK_OFF_MS.len() - 1)];
        return hide(tx, queue, seq, head, delay);
    }
    tx.write(keys::head(queue, seq), &head);
    super::make_ready(tx, queue, seq, &head)
}

/// Makes a message waiting, but not ready: removes it from its session, or from the ready index, or ends its delay.
fn release(tx: &mut Tx<'_>, queue: &str, seq: u64, head: &mut StoredHead) -> Result<(), Stop> {
    if super::in_flight(head) {
        tx.remove(due::visible(head.hidden_until_ms, queue, seq));
        sessions::let_go(tx, head.session, queue, seq)?;
        head.session = 0;
        head.hidden_until_ms = 0;
        let counts = tx.counts_mut(queue);
        counts.in_flight = counts.in_flight.saturating_sub(1);
        counts.waiting += 1;
        wake_turn(tx, queue)?;
    } else {
        // Its visibility timeout has passed already: it is ready, or backing off.
        super::unready(tx, queue, seq, head)?;
        if head.hidden_until_ms != 0 {
            tx.remove(due::visible(head.hidden_until_ms, queue, seq));
            head.hidden_until_ms = 0;
            let counts = tx.counts_mut(queue);
            counts.delayed = counts.delayed.saturating_sub(1);
            counts.waiting += 1;
        }
    }
    Ok(())
}

/// Wakes receivers of a fair queue: one that limits its messages per fairness key may continue once a message has
/// ended.
fn wake_turn(tx: &mut Tx<'_>, queue: &str) -> Result<(), Stop> {
    if tx.queue(queue)?.fair && tx.waits(queue) {
        tx.wake(queue);
    }
    Ok(())
}

fn back_in_line(
    tx: &mut Tx<'_>,
    queue: &str,
    seq: u64,
    mut head: StoredHead,
    failed: bool,
    delay_ms: u64,
) -> Result<(), Stop> {
    let spec = tx.queue(queue)?;
    if failed {
        head.failures += 1;
        tx.counts_mut(queue).failures += 1;
        if spec.max_receive_count > 0
            && head.failures >= spec.max_receive_count
            && !spec.dlq.is_empty()
        {
            return bury(tx, &spec, seq, head);
        }
    }
    if delay_ms > 0 {
        return hide(tx, queue, seq, head, delay_ms);
    }
    tx.write(keys::head(queue, seq), &head);
    super::make_ready(tx, queue, seq, &head)
}

fn hide(
    tx: &mut Tx<'_>,
    queue: &str,
    seq: u64,
    mut head: StoredHead,
    delay_ms: u64,
) -> Result<(), Stop> {
    head.hidden_until_ms = tx.now().saturating_add(delay_ms);
    let counts = tx.counts_mut(queue);
    counts.waiting = counts.waiting.saturating_sub(1);
    counts.delayed += 1;
    tx.put(
        due::visible(head.hidden_until_ms, queue, seq),
        bytes::Bytes::new(),
    );
    tx.write(keys::head(queue, seq), &head);
    Ok(())
}

/// Moves a message that failed too often to the dead letter queue, with its id, attributes, counts and last error.
fn bury(tx: &mut Tx<'_>, spec: &QueueSpec, seq: u64, head: StoredHead) -> Result<(), Stop> {
    let Some(mut body) = tx.read::<StoredBody>(&keys::body(&spec.name, seq))? else {
        return Ok(());
    };
    tracing::debug!(
        queue = spec.name,
        message = body.id,
        reason = head.last_error,
        "dead letter"
    );
    erase(tx, &spec.name, seq, &head)?;
    tx.counts_mut(&spec.name).dead_lettered += 1;
    body.origin.clone_from(&spec.name);
    let kept = StoredHead {
        receives: head.receives,
        failures: head.failures,
        lonely_deaths: head.lonely_deaths,
        last_error: head.last_error,
        ..StoredHead::default()
    };
    tx.counts_mut(&spec.dlq).accepted += 1;
    super::send::enqueue(tx, &spec.dlq, &body, kept)
}

/// Removes everything that is stored for a message, and makes the next message of its group ready.
pub(super) fn erase(tx: &mut Tx<'_>, queue: &str, seq: u64, head: &StoredHead) -> Result<(), Stop> {
    let counts = tx.counts_mut(queue);
    counts.bytes = counts.bytes.saturating_sub(head.bytes);
    if super::in_flight(head) {
        counts.in_flight = counts.in_flight.saturating_sub(1);
        tx.remove(due::visible(head.hidden_until_ms, queue, seq));
        sessions::let_go(tx, head.session, queue, seq)?;
        wake_turn(tx, queue)?;
    } else if head.hidden_until_ms != 0 {
        counts.delayed = counts.delayed.saturating_sub(1);
        tx.remove(due::visible(head.hidden_until_ms, queue, seq));
    } else {
        counts.waiting = counts.waiting.saturating_sub(1);
        super::unready(tx, queue, seq, head)?;
    }
    if let Some(body) = tx.read::<StoredBody>(&keys::body(queue, seq))?
        && !body.coalesce_key.is_empty()
    {
        let key = keys::coalesce(queue, &body.coalesce_key);
        if tx.get(&key)?.as_deref() == Some(&seq.to_be_bytes()) {
            tx.remove(key);
        }
    }
    tx.remove(keys::body(queue, seq));
    tx.remove(keys::head(queue, seq));
    if !head.group.is_empty() {
        tx.remove(keys::group(queue, &head.group, seq));
        super::ready_next_of_group(tx, queue, &head.group)?;
    }
    Ok(())
}

fn cut(text: &str) -> String {
    let mut end = text.len().min(ERROR_BYTES);
    while !text.is_char_boundary(end) {
        end -= 1;
    }
    text[..end].to_owned()
}
