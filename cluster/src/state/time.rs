//! Cluster time as state: how timers behave after a leap, and how an operator sets the time.
//!
//! A leap is a step of more than an hour from one entry to the next: the cluster was down, or a clock was wrong. Timers
//! whose time lies within the leap are held back. For a minute not one of them is due; for the next hour they become
//! due at the normal rate; after that, a day's worth of them becomes due in an hour. Timers that are set after the leap
//! are not affected.
//!
//! If cluster time ran too far ahead, it can be set back. Afterwards no stamp may lie further ahead than a stamp made
//! now could, and a message that was received or sent while time was ahead stays hidden for as long as its caller
//! asked. Sessions are moved back at once; messages, deduplication ids and request ids are moved back in steps, by
//! ticks.

use panther_proto::v1::{Code, Done, Entry, QueueSpec, SetTime, StoredHead, StoredSession, reply};

use super::due::{self, Kind};
use super::keys::{self, KeyBuilder, KeyReader, kind};
use super::limits::{DELAY_MS, REQUEST_MS, VISIBILITY_MS, stop};
use super::{Globals, Stop, Tx};

/// A larger step of cluster time than this, in ms, is a leap.
pub const LEAP_MS: u64 = 3_600_000;
/// How long after a leap no timer within the leap is due, in ms.
pub const HOLD_MS: u64 = 60_000;
/// How long after that the timers within the leap become due at the normal rate, in ms.
const STEADY_MS: u64 = 3_600_000;
/// The rate afterwards, as a multiple of the normal rate.
const FASTER: u64 = 24;
/// The first format in which leaps are recorded and the time can be set.
pub const SINCE_FORMAT: u32 = 2;
/// The first format in which a stamp that was made while time was ahead is recognised by its message's other stamps.
const MADE_AHEAD_SINCE_FORMAT: u32 = 3;

impl Globals {
    /// True if a moment has passed, for the purpose of timers: a moment within a leap passes later than the clock says.
    #[must_use]
    pub fn is_past(&self, at_ms: u64) -> bool {
        let held = self.held();
        at_ms <= self.clock_ms && !held.is_some_and(|(from, to)| from < at_ms && at_ms <= to)
    }

    /// The moments `from < t <= to` that a leap still holds back: cluster time is past them, but their timers are not
    /// due.
    #[must_use]
    pub fn held(&self) -> Option<(u64, u64)> {
        let since = self.clock_ms.saturating_sub(self.leap_to_ms);
        let passed = since.saturating_sub(HOLD_MS);
        let (steady, fast) = (passed.min(STEADY_MS), passed.saturating_sub(STEADY_MS));
        let from = self
            .leap_from_ms
            .saturating_add(steady)
            .saturating_add(fast.saturating_mul(FASTER));
        (from < self.leap_to_ms).then_some((from, self.leap_to_ms))
    }

    /// This state at a later time, as an entry of this format would leave it.
    #[must_use]
    pub fn at(&self, time_ms: u64, format: u32) -> Self {
        let mut later = self.clone();
        later.pass_to(time_ms, format);
        later
    }

    /// Advances the clock to an entry's time. It never goes back. A stamp made before the time was set (another era) is
    /// ignored.
    pub(super) fn pass(&mut self, entry: &Entry) {
        if entry.era == self.era {
            self.pass_to(entry.time_ms, entry.format);
        }
    }

    fn pass_to(&mut self, time_ms: u64, format: u32) {
        if time_ms <= self.clock_ms {
            return;
        }
        let leaps = self.clock_ms != 0 && time_ms - self.clock_ms > LEAP_MS;
        if leaps && format >= SINCE_FORMAT {
            // What an earlier leap still holds back becomes part of the new leap.
            self.leap_from_ms = self.held().map_or(self.clock_ms, |(from, _)| from);
            self.leap_to_ms = time_ms;
        }
        self.clock_ms = time_ms;
    }

    /// True while stamps remain to be moved back.
    #[must_use]
    pub fn moves_stamps(&self) -> bool {
        self.back_by_ms != 0
    }
}

/// Sets cluster time. Forward, it is an ordinary leap. Back, later ticks move the stamps that were made before. Refused
/// while such a move is in progress.
pub(super) fn set(tx: &mut Tx<'_>, set: &SetTime) -> Result<reply::Kind, Stop> {
    let before = tx.globals().clone();
    if before.format < SINCE_FORMAT {
        return Err(stop(
            Code::BadFormat,
            format!(
                "cluster time can be set from format {SINCE_FORMAT} on, and format {} is in force: `pantherctl cluster raise-format`",
                before.format
            ),
        ));
    }
    if set.time_ms == 0 {
        return Err(stop(Code::Invalid, "cluster time cannot be set to 0"));
    }
    if before.moves_stamps() {
        return Err(stop(
            Code::Invalid,
            "cluster time was set back a moment ago, and not all stamps are moved yet: try again",
        ));
    }
    let globals = tx.globals_mut();
    globals.era += 1;
    if set.time_ms >= before.clock_ms {
        globals.pass_to(set.time_ms, SINCE_FORMAT);
    } else {
        globals.clock_ms = set.time_ms;
        (globals.leap_from_ms, globals.leap_to_ms) = (0, 0);
        globals.back_by_ms = before.clock_ms - set.time_ms;
        globals.back_at = vec![kind::DUE];
        sessions_back(tx)?;
    }
    Ok(reply::Kind::Done(Done::default()))
}

/// Moves all sessions back at once: there is only one per node.
fn sessions_back(tx: &mut Tx<'_>) -> Result<(), Stop> {
    let now = tx.now();
    let prefix = KeyBuilder::new(kind::SESSION).byte(b's').done();
    for (key, _) in tx.scan_prefix(&prefix, usize::MAX)? {
        if let Some(mut session) = tx.read::<StoredSession>(&key)? {
            session.opened_ms = session.opened_ms.min(now);
            session.yields_until_ms = 0;
            tx.write(key.to_vec(), &session);
        }
    }
    Ok(())
}

/// A stamp moved back by `by_ms`, as if time had not been ahead, but limited to `now` through `most`.
fn back(at_ms: u64, by_ms: u64, now: u64, most: u64) -> u64 {
    at_ms.saturating_sub(by_ms).clamp(now, most)
}

/// Moves up to `max` stamps back. Returns how many were examined, and true if the move is complete.
pub(super) fn move_back(tx: &mut Tx<'_>, max: usize) -> Result<(u32, bool), Stop> {
    let (by, at) = (tx.globals().back_by_ms, tx.globals().back_at.clone());
    if by == 0 {
        return Ok((0, true));
    }
    let of_due = at.first() == Some(&kind::DUE);
    let end = keys::after(&[if of_due { kind::DUE } else { kind::HEAD }]);
    let found = tx.scan(&at, &end, max)?;
    for (key, _) in &found {
        if of_due {
            due_back(tx, key, by)?;
        } else {
            head_back(tx, key, by)?;
        }
    }
    let last = found.last().map(|(key, _)| key.to_vec());
    let globals = tx.globals_mut();
    match last {
        Some(mut last) if found.len() == max => {
            last.push(0);
            globals.back_at = last;
        }
        _ if of_due => globals.back_at = vec![kind::HEAD],
        _ => {
            globals.back_by_ms = 0;
            globals.back_at = Vec::new();
        }
    }
    let done = !globals.moves_stamps();
    // At least 1, so that the ticks continue until the move is complete.
    Ok((u32::try_from(found.len()).unwrap_or(u32::MAX).max(1), done))
}

fn due_back(tx: &mut Tx<'_>, key: &[u8], by: u64) -> Result<(), Stop> {
    let now = tx.now();
    let mut reader = KeyReader::new(key);
    let (Some(at), Some(what)) = (reader.number(), reader.byte()) else {
        return Ok(());
    };
    let to = |longest: u64| {
        let most = now.saturating_add(longest);
        (at > most).then(|| back(at, by, now, most))
    };
    match what {
        b'v' => {
            let (Some(queue), Some(seq)) = (reader.text(), reader.number()) else {
                return Ok(());
            };
            let Some(mut head) = super::queues::head(tx, &queue, seq)? else {
                return Ok(());
            };
            let in_flight = super::queues::in_flight(&head);
            let longest = if in_flight { VISIBILITY_MS } else { DELAY_MS };
            // If time was ahead by less than `longest`, that limit alone does not reveal a stamp made meanwhile. Such a
            // stamp shows in the other stamps of its message, which lie in the future, or in that it would lie in the
            // future even after the move.
            let made_ahead = tx.globals().format >= MADE_AHEAD_SINCE_FORMAT
                && (head.sent_ms > now
                    || head.received_ms > now
                    || in_flight && at > now.saturating_add(by));
            let sooner = (made_ahead && at > now).then(|| back(at, by, now, at));
            let to = to(longest).or(sooner);
            let Some(to) = to.filter(|to| *to != at && head.hidden_until_ms == at) else {
                return Ok(());
            };
            head.hidden_until_ms = to;
            tx.write(keys::head(&queue, seq), &head);
            tx.put(due::visible(to, &queue, seq), bytes::Bytes::new());
        }
        b'd' => {
            let (Some(queue), Some(id)) = (reader.text(), reader.text()) else {
                return Ok(());
            };
            let window = |spec: &QueueSpec| spec.dedup_window_ms;
            let window = tx.queue(&queue).map_or(0, |spec| window(&spec));
            let Some(to) = to(window) else { return Ok(()) };
            tx.put(keys::dedup(&queue, &id), to.to_be_bytes().to_vec().into());
            let moved = due::key(to, Kind::Dedup).text(&queue).text(&id).done();
            tx.put(moved, bytes::Bytes::new());
        }
        b'r' => {
            let Some(id) = reader.text() else {
                return Ok(());
            };
            let Some(to) = to(REQUEST_MS.saturating_add(1)) else {
                return Ok(());
            };
            let moved = due::key(to, Kind::Request).text(&id).done();
            tx.put(moved, bytes::Bytes::new());
        }
        // The expiry of a row is part of what was written into it. It is not moved, so no row is deleted earlier.
        _ => return Ok(()),
    }
    tx.remove(key.to_vec());
    Ok(())
}

fn head_back(tx: &mut Tx<'_>, key: &[u8], by: u64) -> Result<(), Stop> {
    let now = tx.now();
    let Some(mut head) = tx.read::<StoredHead>(key)? else {
        return Ok(());
    };
    if head.sent_ms <= now && head.received_ms <= now {
        return Ok(());
    }
    for stamp in [&mut head.sent_ms, &mut head.received_ms] {
        if *stamp > now {
            *stamp = back(*stamp, by, 0, now);
        }
    }
    tx.write(key.to_vec(), &head);
    Ok(())
}
