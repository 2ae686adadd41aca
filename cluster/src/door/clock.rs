//! Cluster time as the leader stamps it: it runs by the monotonic clock, follows the wall clock, and never goes back.

use std::time::{Duration, Instant, SystemTime, UNIX_EPOCH};

use parking_lot::Mutex;

/// How far the wall clock may lead before it is not believed at once.
const JUMP_MS: u64 = 5_000;
/// After this time a leap forward is followed, when there is nobody to ask (one voter).
const FOLLOW_AFTER: Duration = Duration::from_secs(60);

/// What tells time; tests give their own.
pub trait TimeSource: Send + Sync {
    /// Milliseconds since 1970, as the machine believes.
    fn wall_ms(&self) -> u64;
    /// Time since some fixed moment; never goes back.
    fn monotonic(&self) -> Duration;
}

/// The machine's clocks.
#[derive(Debug)]
pub struct SystemTimeSource {
    start: Instant,
}

impl Default for SystemTimeSource {
    fn default() -> Self {
        Self {
            start: Instant::now(),
        }
    }
}

impl TimeSource for SystemTimeSource {
    fn wall_ms(&self) -> u64 {
        SystemTime::now()
            .duration_since(UNIX_EPOCH)
            .map_or(0, |since| {
                u64::try_from(since.as_millis()).unwrap_or(u64::MAX)
            })
    }

    fn monotonic(&self) -> Duration {
        self.start.elapsed()
    }
}

/// Cluster time.
pub struct ClusterClock {
    source: Box<dyn TimeSource>,
    state: Mutex<State>,
}

struct State {
    time_ms: u64,
    at: Duration,
    ahead_since: Option<Duration>,
    fault: Option<String>,
}

impl ClusterClock {
    /// A clock that goes on from what the state holds, or from the wall clock if that is later (the cluster was down).
    #[must_use]
    pub fn starting_at(state_ms: u64) -> Self {
        Self::with_source(state_ms, Box::new(SystemTimeSource::default()))
    }

    /// The same with a source of the caller's.
    #[must_use]
    pub fn with_source(state_ms: u64, source: Box<dyn TimeSource>) -> Self {
        let state = State {
            time_ms: state_ms.max(source.wall_ms()),
            at: source.monotonic(),
            ahead_since: None,
            fault: None,
        };
        Self {
            source,
            state: Mutex::new(state),
        }
    }

    /// Cluster time in milliseconds since 1970.
    #[must_use]
    pub fn now_ms(&self) -> u64 {
        let mut state = self.state.lock();
        let (wall, now) = (self.source.wall_ms(), self.source.monotonic());
        let passed = now.saturating_sub(state.at);
        state.time_ms += u64::try_from(passed.as_millis()).unwrap_or(0);
        // What is less than a millisecond stays for the next call.
        state.at = now.saturating_sub(Duration::from_nanos(u64::from(
            passed.subsec_nanos() % 1_000_000,
        )));
        let lead = wall.saturating_sub(state.time_ms);
        if lead <= JUMP_MS {
            state.time_ms = state.time_ms.max(wall);
            state.ahead_since = None;
            let lag = state.time_ms - wall.min(state.time_ms);
            state.fault =
                (lag > JUMP_MS).then(|| format!("the wall clock is {lag} ms behind cluster time"));
        } else if now.saturating_sub(*state.ahead_since.get_or_insert(now)) >= FOLLOW_AFTER {
            state.time_ms = wall;
            state.ahead_since = None;
            state.fault = None;
        } else {
            state.fault = Some(format!(
                "the wall clock leapt {lead} ms ahead of cluster time; it is followed after a minute"
            ));
        }
        state.time_ms
    }

    /// Follows cluster time that the leader or the state tells, if it is later.
    pub fn follow(&self, time_ms: u64) {
        let mut state = self.state.lock();
        state.time_ms = state.time_ms.max(time_ms);
    }

    /// The machine's wall clock, in milliseconds since 1970.
    #[must_use]
    pub fn wall_ms(&self) -> u64 {
        self.source.wall_ms()
    }

    /// What is wrong with the wall clock, if something is.
    #[must_use]
    pub fn fault(&self) -> Option<String> {
        self.state.lock().fault.clone()
    }
}

#[cfg(test)]
mod tests {
    use std::sync::Arc;
    use std::sync::atomic::{AtomicU64, Ordering};

    use super::*;

    #[derive(Clone, Default)]
    struct Hands {
        wall: Arc<AtomicU64>,
        monotonic: Arc<AtomicU64>,
    }

    impl TimeSource for Hands {
        fn wall_ms(&self) -> u64 {
            self.wall.load(Ordering::SeqCst)
        }

        fn monotonic(&self) -> Duration {
            Duration::from_millis(self.monotonic.load(Ordering::SeqCst))
        }
    }

    impl Hands {
        fn pass(&self, ms: u64) {
            self.wall.fetch_add(ms, Ordering::SeqCst);
            self.monotonic.fetch_add(ms, Ordering::SeqCst);
        }
    }

    fn clock(state_ms: u64) -> (Hands, ClusterClock) {
        let hands = Hands::default();
        hands.wall.store(1_000_000, Ordering::SeqCst);
        (
            hands.clone(),
            ClusterClock::with_source(state_ms, Box::new(hands)),
        )
    }

    #[test]
    fn it_goes_on_while_the_wall_clock_is_set_back_and_says_so() {
        let (hands, clock) = clock(0);
        hands.pass(100);
        assert_eq!(clock.now_ms(), 1_000_100);
        hands.wall.store(10, Ordering::SeqCst);
        hands.pass(100);
        assert_eq!(clock.now_ms(), 1_000_200);
        assert!(clock.fault().is_some_and(|fault| fault.contains("behind")));
    }

    #[test]
    fn a_leap_forward_is_followed_only_after_a_minute() {
        let (hands, clock) = clock(0);
        hands.wall.fetch_add(3_600_000, Ordering::SeqCst);
        hands.pass(1_000);
        assert_eq!(clock.now_ms(), 1_001_000);
        assert!(clock.fault().is_some_and(|fault| fault.contains("leapt")));
        hands.pass(60_000);
        assert_eq!(clock.now_ms(), 1_000_000 + 3_600_000 + 61_000);
        assert_eq!(clock.fault(), None);
    }

    #[test]
    fn it_starts_where_the_state_stopped_if_that_is_later() {
        let (_, clock) = clock(2_000_000);
        assert_eq!(clock.now_ms(), 2_000_000);
    }
}
