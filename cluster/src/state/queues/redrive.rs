//! Bulk changes of waiting messages, by an operator or by time: requeue, purge, expiry. Each runs in steps.

use panther_proto::v1::{Code, Moved, Purge, Requeue, StoredBody, StoredHead, reply};
use prost::Message;

use crate::state::limits::stop;
use crate::state::{Pair, Stop, Tx, keys};

/// Maximum number of messages that one step moves or removes.
const STEP: usize = 500;
/// Maximum number of messages that one step examines.
const LOOK: usize = 4 * STEP;
/// A step ends once it has written this many bytes.
const STEP_BYTES: u64 = 4 << 20;

/// Removes messages that are not in flight, up to a sequence number (the newest at the start of the purge).
pub(in crate::state) fn purge(tx: &mut Tx<'_>, purge: &Purge) -> Result<reply::Kind, Stop> {
    tx.queue(&purge.queue)?;
    let max = (purge.max as usize).clamp(1, STEP);
    let found = heads(tx, &purge.queue, purge.after, purge.upto)?;
    let mut step = Step::new(purge.after, found.len());
    for (seq, head) in found {
        if super::in_flight(&head) {
            step.last = seq;
            continue;
        }
        if step.count == max {
            step.finished = false;
            break;
        }
        super::finish::erase(tx, &purge.queue, seq, &head)?;
        tx.counts_mut(&purge.queue).purged += 1;
        step.count += 1;
        step.last = seq;
    }
    Ok(step.moved())
}

/// Moves messages that are not in flight to another queue. Id, attributes and trace id stay, counts are reset, and
/// retention starts again.
pub(in crate::state) fn requeue(tx: &mut Tx<'_>, requeue: &Requeue) -> Result<reply::Kind, Stop> {
    let (from, to) = (tx.queue(&requeue.from)?, tx.queue(&requeue.to)?);
    if from.name == to.name {
        return Err(stop(
            Code::Invalid,
            format!("{} cannot be requeued onto itself", from.name),
        ));
    }
    let max = (requeue.max as usize).clamp(1, STEP);
    let found = heads(tx, &from.name, requeue.after, requeue.upto)?;
    let mut step = Step::new(requeue.after, found.len());
    let mut bytes = 0;
    for (seq, head) in found {
        if super::in_flight(&head) {
            step.last = seq;
            continue;
        }
        let Some(body) = tx.read::<StoredBody>(&keys::body(&from.name, seq))? else {
            continue;
        };
        if !requeue.message_id.is_empty() && body.id != requeue.message_id {
            step.last = seq;
            continue;
        }
        if step.count == max || bytes >= STEP_BYTES {
            step.finished = false;
            break;
        }
        super::send::require_room(tx, &to, head.bytes)?;
        super::finish::erase(tx, &from.name, seq, &head)?;
        tx.counts_mut(&from.name).moved_out += 1;
        tx.counts_mut(&to.name).accepted += 1;
        super::send::enqueue(tx, &to.name, &body, StoredHead::default())?;
        step.count += 1;
        step.last = seq;
        bytes += head.bytes;
        if !requeue.message_id.is_empty() {
            step.finished = true;
            break;
        }
    }
    Ok(step.moved())
}

/// Progress of one step.
struct Step {
    count: usize,
    last: u64,
    finished: bool,
}

impl Step {
    /// A step that has found this many messages to examine. At the maximum it is not the last step: more may be left.
    fn new(after: u64, found: usize) -> Self {
        Self {
            count: 0,
            last: after,
            finished: found < LOOK,
        }
    }

    fn moved(&self) -> reply::Kind {
        reply::Kind::Moved(Moved {
            count: u32::try_from(self.count).unwrap_or(u32::MAX),
            finished: self.finished,
            last: self.last,
        })
    }
}

/// Removes messages past their retention. Returns how many, and false if more are left.
pub(in crate::state) fn expire(
    tx: &mut Tx<'_>,
    queue: &str,
    max: usize,
) -> Result<(u32, bool), Stop> {
    let spec = tx.queue(queue)?;
    if spec.retention_ms == 0 {
        return Ok((0, true));
    }
    let prefix = keys::KeyBuilder::new(keys::kind::HEAD).text(queue).done();
    let mut count = 0;
    // Messages in flight are skipped, so a step examines more than it may remove.
    let found = decode(tx.scan_prefix(&prefix, max + LOOK)?)?;
    // Sequence numbers follow arrival: the first message within its retention ends the search.
    for (seq, head) in found {
        if !tx.is_past(head.sent_ms.saturating_add(spec.retention_ms)) {
            return Ok((count, true));
        }
        if super::in_flight(&head) {
            continue;
        }
        if count as usize == max {
            return Ok((count, false));
        }
        super::finish::erase(tx, queue, seq, &head)?;
        tx.counts_mut(queue).expired += 1;
        count += 1;
    }
    Ok((count, true))
}

fn heads(tx: &Tx<'_>, queue: &str, after: u64, upto: u64) -> Result<Vec<(u64, StoredHead)>, Stop> {
    let upto = if upto == 0 {
        u64::MAX
    } else {
        upto.saturating_add(1)
    };
    let from = after.saturating_add(1);
    decode(tx.scan(&keys::head(queue, from), &keys::head(queue, upto), LOOK)?)
}

fn decode(pairs: Vec<Pair>) -> Result<Vec<(u64, StoredHead)>, Stop> {
    pairs
        .into_iter()
        .filter_map(|(key, value)| {
            key.last_chunk::<8>()
                .map(|seq| (u64::from_be_bytes(*seq), value))
        })
        .map(|(seq, value)| {
            StoredHead::decode(value)
                .map(|head| (seq, head))
                .map_err(|error| {
                    Stop::Store(std::io::Error::new(
                        std::io::ErrorKind::InvalidData,
                        format!("a message's head does not decode: {error}"),
                    ))
                })
        })
        .collect()
}
