//! Whether a thread that others wait for keeps up: how long what it does now has taken, or how long the last thing took.
//!
//! A leader whose disk or apply is slow makes everybody wait, although its heartbeats come in time; so it is measured, and the lead goes to another.

use std::sync::atomic::{AtomicU64, Ordering};
use std::time::{Duration, Instant};

/// For how long it counts that the last thing took long.
const FRESH: Duration = Duration::from_secs(5);

/// The pace of one thread.
#[derive(Debug)]
pub struct Pace {
    origin: Instant,
    /// When it began what it does now, in milliseconds since the origin, and one more; 0 while it waits for work.
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

    /// It begins something.
    pub(crate) fn begin(&self, at: Instant) {
        self.busy_since.store(self.ms(at) + 1, Ordering::Relaxed);
    }

    /// It has done it.
    pub(crate) fn end(&self, at: Instant) {
        let (now, since) = (self.ms(at), self.busy_since.swap(0, Ordering::Relaxed));
        let took = (now + 1).saturating_sub(since);
        self.last_took.store(took, Ordering::Relaxed);
        self.last_ended.store(now, Ordering::Relaxed);
    }

    /// How long it takes at this moment.
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
