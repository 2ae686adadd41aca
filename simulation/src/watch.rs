//! Invariants that must hold at every moment, checked from outside.

use std::collections::{BTreeMap, BTreeSet};
use std::sync::atomic::Ordering;
use std::time::Duration;

use panther_cluster::state::read;

use crate::tally::{DLQ, MAX_FAILURES, QUEUE};
use crate::world::{Broken, World, true_ms};

/// How far cluster time may be ahead of the true time.
pub(crate) const AHEAD_MS: u64 = 5_000;

/// Observations so far.
#[derive(Default)]
pub(crate) struct Watch {
    /// The leaders of each term. openraft orders leaders by term, then by node id. Of two leaders in one term the
    /// second one has the votes of a majority, and the first one can commit nothing any more.
    leaders: BTreeSet<(u64, u64)>,
    /// For each applied index: the first node seen there, its state hash, and the term and proposer of the entry.
    hashes: BTreeMap<u64, (u64, u64, (u64, u64))>,
    /// For each node: its present run, and how far it has applied.
    applied: BTreeMap<u64, (u64, u64)>,
    /// The latest cluster time, its era, and the index at which it was seen.
    clock: (u64, u64, u64),
    /// How often cluster time has been set.
    era: u64,
}

impl Watch {
    /// Checks all nodes.
    pub(crate) fn look(&mut self, world: &World, now: Duration) -> Result<(), Broken> {
        // A lagging node may be at entries from before cluster time was set.
        for door in world
            .places
            .values()
            .filter_map(|place| place.door.lock().clone())
        {
            if let Ok(globals) = read::globals(door.group().store()) {
                self.era = self.era.max(globals.era);
            }
        }
        for place in world.places.values() {
            let Some(door) = place.door.lock().clone() else {
                continue;
            };
            let number = place.number;
            let status = door.group().status();
            if status.leads {
                self.leaders.insert((status.term, number));
            }
            let store = door.group().store();
            let unread = |error| Broken(format!("node {number}'s state cannot be read: {error}"));
            let last = store.applied().last.unwrap_or_default();
            let applied = last.index;
            let globals = read::globals(store).map_err(unread)?;
            let run = door.session();
            world.saw([number, run, status.term, applied, globals.hash]);
            let before = self.applied.insert(number, (run, applied));
            if let Some((same, before)) = before
                && same == run
                && before > applied
            {
                return Err(Broken(format!(
                    "node {number} had applied entry {before}, and has now applied {applied}"
                )));
            }
            let by = (last.term, last.node);
            let seen = self.hashes.entry(applied);
            let (first, hash, first_by) = *seen.or_insert((number, globals.hash, by));
            if (hash, first_by) != (globals.hash, by) {
                return Err(Broken(format!(
                    "at entry {applied}, {first_by:?} and {by:?}, node {first} has hash {hash:016x} and node {number} {:016x}",
                    globals.hash
                )));
            }
            let (latest, era, at) = self.clock;
            if applied >= at {
                if globals.clock_ms < latest && globals.era == era {
                    return Err(Broken(format!(
                        "cluster time went from {latest} to {} at entry {applied}",
                        globals.clock_ms
                    )));
                }
                self.clock = (globals.clock_ms, globals.era, applied);
            }
            for queue in [QUEUE, DLQ] {
                let expired = read::counts(store, queue).map_err(unread)?.expired;
                if expired > 0 {
                    return Err(Broken(format!(
                        "{expired} messages of queue {queue} have expired at entry {applied} on node {number}, long before their time"
                    )));
                }
            }
            // A queue changes only when entries are applied.
            let dead = if before == Some((run, applied)) {
                Vec::new()
            } else {
                read::peek(store, DLQ, 0, 100).map_err(unread)?
            };
            for message in dead {
                if !message.body.starts_with(b"bad-") || message.failures != MAX_FAILURES {
                    return Err(Broken(format!(
                        "message {} is in the dead letter queue with {} failures of its own",
                        String::from_utf8_lossy(&message.body),
                        message.failures
                    )));
                }
            }
            let true_ms = true_ms(now);
            let led_ahead = world.led_ahead.load(Ordering::SeqCst);
            if globals.clock_ms > true_ms + AHEAD_MS && !led_ahead && globals.era == self.era {
                return Err(Broken(format!(
                    "cluster time is {} ms ahead of true time at entry {applied} on node {number}; {}",
                    globals.clock_ms - true_ms,
                    crate::describe(world)
                )));
            }
        }
        Ok(())
    }

    /// The number of leaders seen, over all terms.
    pub(crate) fn terms(&self) -> usize {
        self.leaders.len()
    }
}
