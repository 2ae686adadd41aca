//! Latency of a thread that others wait for: the duration of its current operation so far, or of its last operation.
//!
//! A leader whose disk or apply is slow delays every client, although it sends its heartbeats in time. So the latency is measured, and a slow leader
//! transfers its leadership to another voter.

use std::sync::atomic::{AtomicU64, Ordering};
use std::time::{Duration, Instant};

/// How long the duration of the last operation remains relevant.
const FRESH: Duration = Duration::from_secs(5);

/// The latency of one thread.
#[derive(Debug)]
pub struct Pace {
    origin: Instant,
    /// Start of the current operation, in milliseconds since the origin, plus 1; 0 while the thread waits for work.
    busy_since: AtomicU64,
    last_took: AtomicU64,
    last_ended: AtomicU64,
}

impl Default for Pace {
    fn default() -> Self {
        Self {
            origin: Instant::now(),
            busy_since: AtomicU64::new(0),
            last_took: AtomicU64::new(0),
            last_ended: AtomicU64::new(0),
        }
    }
}

impl Pace {
    fn ms(&self, at: Instant) -> u64 {
        let since = at.saturating_duration_since(self.origin);
        u64::try_from(since.as_millis()).unwrap_or(u64::MAX - 1)
    }

    /// Marks the start of an operation.
    pub(crate) fn begin(&self, at: Instant) {
        self.busy_since.store(self.ms(at) + 1, Ordering::Relaxed);
    }

    /// Marks the end of the operation.
    pub(crate) fn end(&self, at: Instant) {
        let (now, since) = (self.ms(at), self.busy_since.swap(0, Ordering::Relaxed));
        let took = (now + 1).saturating_sub(since);
        self.last_took.store(took, Ordering::Relaxed);
        self.last_ended.store(now, Ordering::Relaxed);
    }

    /// The latency at the time `at`: the larger of the current operation's duration so far and the last operation's duration, if that one ended less
    /// than 5 s ago. Resolution 1 ms.
    #[must_use]
    pub fn takes(&self, at: Instant) -> Duration {
        let now = self.ms(at);
        let current = match self.busy_since.load(Ordering::Relaxed) {
            0 => 0,
            since => (now + 1).saturating_sub(since),
        };
        let ended = self.last_ended.load(Ordering::Relaxed);
        let fresh = now.saturating_sub(ended) < u64::try_from(FRESH.as_millis()).unwrap_or(0);
        let last = if fresh {
            self.last_took.load(Ordering::Relaxed)
        } else {
            0
        };
        Duration::from_millis(current.max(last))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_takes_long_shows_while_it_lasts_and_for_a_while_after() {
        let pace = Pace::default();
        let at = |seconds| pace.origin + Duration::from_secs(seconds);
        assert_eq!(pace.takes(at(1)), Duration::ZERO);
        pace.begin(at(10));
        assert_eq!(pace.takes(at(13)), Duration::from_secs(3));
        pace.end(at(14));
        assert_eq!(pace.takes(at(15)), Duration::from_secs(4));
        assert_eq!(pace.takes(at(30)), Duration::ZERO);
        pace.begin(at(31));
        pace.end(at(31));
        assert_eq!(pace.takes(at(32)), Duration::ZERO);
    }
}
