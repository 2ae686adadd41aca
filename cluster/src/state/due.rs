//! Timers: the one index of everything that becomes due. The state has no clock of its own: a receive or the leader's
//! tick carries a time, and all timers that are due by then fire.

use panther_proto::v1::{Moved, reply};

use super::keys::{KeyBuilder, KeyReader, kind};
use super::{Globals, Stop, Tx, queues, requests, tables, time};

/// What happens when a timer fires.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Kind {
    /// A hidden message (in flight, delayed, backing off) becomes receivable.
    Visible,
    /// A deduplication id is removed.
    Dedup,
    /// A remembered reply is removed.
    Request,
    /// A row is removed.
    Row,
}

impl Kind {
    const fn byte(self) -> u8 {
        match self {
            Self::Visible => b'v',
            Self::Dedup => b'd',
            Self::Request => b'r',
            Self::Row => b't',
        }
    }
}

/// The start of a timer's key; the caller adds the parts that name its object.
pub(super) fn key(time_ms: u64, what: Kind) -> KeyBuilder {
    KeyBuilder::new(kind::DUE).number(time_ms).byte(what.byte())
}

/// Key of the timer of a hidden message.
pub(super) fn visible(time_ms: u64, queue: &str, seq: u64) -> Vec<u8> {
    key(time_ms, Kind::Visible).text(queue).number(seq).done()
}

/// Key ranges of all due timers: those from before a leap, and those from after it. A range may be empty.
pub fn ranges(globals: &Globals) -> impl Iterator<Item = (Vec<u8>, Vec<u8>)> {
    let after = |time_ms: u64| {
        KeyBuilder::new(kind::DUE)
            .number(time_ms.saturating_add(1))
            .done()
    };
    let (start, end) = (vec![kind::DUE], after(globals.clock_ms));
    let (first, second) = match globals.held() {
        Some((from, to)) => ((start, after(from)), Some((after(to), end))),
        None => ((start, end), None),
    };
    std::iter::once(first).chain(second)
}

/// Fires up to `max` due timers. Returns their number, and true if no due timer is left.
pub(super) fn advance(tx: &mut Tx<'_>, max: usize) -> Result<(u32, bool), Stop> {
    let mut found = Vec::new();
    for (from, to) in ranges(tx.globals()) {
        if from < to {
            found.extend(tx.scan(&from, &to, max - found.len())?);
        }
    }
    let finished = found.len() < max;
    for (key, _) in &found {
        let mut reader = KeyReader::new(key);
        let (time, what) = (reader.number(), reader.byte());
        match (time, what) {
            (Some(_), Some(b'v')) => {
                if let (Some(queue), Some(seq)) = (reader.text(), reader.number()) {
                    queues::finish::time_out(tx, &queue, seq)?;
                }
            }
            (Some(_), Some(b'd')) => {
                if let (Some(queue), Some(id)) = (reader.text(), reader.text()) {
                    tx.remove(super::keys::dedup(&queue, &id));
                }
            }
            (Some(_), Some(b'r')) => {
                if let Some(id) = reader.text() {
                    requests::forget(tx, &id);
                }
            }
            (Some(_), Some(b't')) => {
                if let (Some(table), Some(row)) = (reader.text(), reader.row_key()) {
                    tables::expire(tx, &table, &row)?;
                }
            }
            _ => {}
        }
        tx.remove(key.to_vec());
    }
    Ok((u32::try_from(found.len()).unwrap_or(u32::MAX), finished))
}

/// The leader's tick. It moves stamps back if time was set back, then fires due timers, then removes messages past
/// their retention; at most `max` items in all.
pub(super) fn tick(tx: &mut Tx<'_>, max: u32) -> Result<reply::Kind, Stop> {
    let max = max.clamp(1, 500) as usize;
    let (moved, moved_all) = time::move_back(tx, max)?;
    if !moved_all || moved as usize >= max {
        return Ok(reply::Kind::Moved(Moved {
            count: moved,
            finished: false,
            last: 0,
        }));
    }
    let (mut count, mut finished) = advance(tx, max - moved as usize)?;
    count += moved;
    for name in tx.queue_names() {
        if count as usize >= max {
            finished = false;
            break;
        }
        let (expired, done) = queues::redrive::expire(tx, name, max - count as usize)?;
        count += expired;
        finished &= done;
    }
    Ok(reply::Kind::Moved(Moved {
        count,
        finished,
        last: 0,
    }))
}
