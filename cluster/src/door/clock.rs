//! Cluster time as the leader stamps it: it runs by the monotonic clock, follows the wall clock, and never goes back.

use std::sync::Arc;
use std::time::{Duration, Instant, SystemTime, UNIX_EPOCH};

use parking_lot::Mutex;

/// How far the wall clock may lead before it is not believed at once.
const JUMP_MS: u64 = 5_000;
/// After this time a leap forward is followed, when there is nobody to ask (one voter).
const FOLLOW_AFTER: Duration = Duration::from_secs(60);

/// How far this machine's wall clock is to be believed.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub enum Trust {
    /// There is nobody to ask: a leap is followed after a minute.
    #[default]
    Alone,
    /// Of too few other clocks anything is known: no leap is followed.
    Unheard,
    /// A majority of the voters' clocks agree with it: it is followed wherever it goes.
    Agreed,
    /// It is this many milliseconds off the others: it is not followed at all.
    Off(i64),
}

/// How far a clock may be off the others.
const OFF_MS: u64 = 5_000;

impl Trust {
    /// Of a clock among `voters`, given how far other voters' clocks are from it, as far as they were heard.
    #[must_use]
    pub fn among(voters: usize, others: &[i64]) -> Self {
        let majority = voters / 2 + 1;
        let agree = others
            .iter()
            .filter(|off| off.unsigned_abs() <= OFF_MS)
            .count();
        if voters <= 1 {
            Self::Alone
        } else if agree + 1 >= majority {
            Self::Agreed
        } else if others.len() >= majority {
            // More than half are elsewhere; this one is as far off as their middle.
            let mut offs = others.to_vec();
            offs.sort_unstable();
            Self::Off(-offs.get(offs.len() / 2).copied().unwrap_or(0))
        } else {
            Self::Unheard
        }
    }

    /// As the leader tells how far a clock is off the middle.
    #[must_use]
    pub fn told(off_ms: i64) -> Self {
        if off_ms.unsigned_abs() <= OFF_MS {
            Self::Agreed
        } else {
            Self::Off(off_ms)
        }
    }
}

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

fn offset_ms(source: &dyn TimeSource) -> i64 {
    let monotonic = i64::try_from(source.monotonic().as_millis()).unwrap_or(i64::MAX);
    i64::try_from(source.wall_ms())
        .unwrap_or(i64::MAX)
        .saturating_sub(monotonic)
}

/// Cluster time.
pub struct ClusterClock {
    source: Arc<dyn TimeSource>,
    state: Mutex<State>,
}

struct State {
    time_ms: u64,
    at: Duration,
    ahead_since: Option<Duration>,
    fault: Option<String>,
    trust: Trust,
    /// The clock's offset when it was judged.
    judged_ms: i64,
}

impl State {
    /// Time goes on to a moment of the monotonic clock.
    fn pass(&mut self, now: Duration) {
        let passed = now.saturating_sub(self.at);
        self.time_ms += u64::try_from(passed.as_millis()).unwrap_or(0);
        // What is less than a millisecond stays for the next call.
        self.at = now.saturating_sub(Duration::from_nanos(u64::from(
            passed.subsec_nanos() % 1_000_000,
        )));
    }
}

impl ClusterClock {
    /// A clock that goes on from what the state holds, or from the wall clock if that is later (the cluster was down).
    #[must_use]
    pub fn starting_at(state_ms: u64, source: Arc<dyn TimeSource>) -> Self {
        let state = State {
            time_ms: state_ms.max(source.wall_ms()),
            at: source.monotonic(),
            ahead_since: None,
            fault: None,
            trust: Trust::Alone,
            judged_ms: offset_ms(&*source),
        };
        Self {
            source,
            state: Mutex::new(state),
        }
    }

    /// One among others: it goes on from what the state holds, until the others agree with the wall clock.
    #[must_use]
    pub fn among_others(state_ms: u64, source: Arc<dyn TimeSource>) -> Self {
        let clock = Self::starting_at(0, source);
        let mut state = clock.state.lock();
        state.time_ms = state_ms;
        state.trust = Trust::Unheard;
        drop(state);
        clock
    }

    /// Cluster time in milliseconds since 1970.
    #[must_use]
    pub fn now_ms(&self) -> u64 {
        let mut state = self.state.lock();
        let (wall, now) = (self.source.wall_ms(), self.source.monotonic());
        state.pass(now);
        // Whoever has set the clock since has not been judged.
        let set_by = offset_ms(&*self.source).abs_diff(state.judged_ms);
        if state.trust == Trust::Agreed && set_by > JUMP_MS {
            state.trust = Trust::Unheard;
        }
        let lead = wall.saturating_sub(state.time_ms);
        if let Trust::Off(off) = state.trust {
            state.ahead_since = None;
            state.fault = Some(format!(
                "the wall clock is {off} ms off the clocks of the other nodes"
            ));
        } else if lead <= JUMP_MS || state.trust == Trust::Agreed {
            state.time_ms = state.time_ms.max(wall);
            state.ahead_since = None;
            let lag = state.time_ms - wall.min(state.time_ms);
            state.fault =
                (lag > JUMP_MS).then(|| format!("the wall clock is {lag} ms behind cluster time"));
        } else if state.trust == Trust::Unheard {
            state.fault = Some(format!(
                "the wall clock is {lead} ms ahead of cluster time; it is followed once a majority of the nodes agrees with it"
            ));
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
        state.pass(self.source.monotonic()); // what has passed until now is in what is told
        state.time_ms = state.time_ms.max(time_ms);
    }

    /// Says how far the wall clock is to be believed from now on, as long as nobody sets it: it was judged when it had this [offset](Self::offset_ms).
    pub fn trust(&self, trust: Trust, offset_ms: i64) {
        let mut state = self.state.lock();
        state.trust = trust;
        state.judged_ms = offset_ms;
    }

    /// How far the wall clock is ahead of the monotonic one, in milliseconds: it changes when somebody sets the clock, and at no other time.
    #[must_use]
    pub fn offset_ms(&self) -> i64 {
        offset_ms(&*self.source)
    }

    /// Whether the wall clock is known to be wrong.
    #[must_use]
    pub fn is_off(&self) -> bool {
        matches!(self.state.lock().trust, Trust::Off(_))
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
            ClusterClock::starting_at(state_ms, Arc::new(hands)),
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
    fn what_is_told_is_not_run_ahead_of_by_the_time_since_the_last_question() {
        let (hands, clock) = clock(0);
        clock.trust(Trust::Unheard, clock.offset_ms());
        hands.pass(3_000);
        clock.follow(1_003_000);
        hands.pass(10);
        assert_eq!(clock.now_ms(), 1_003_010);
    }

    #[test]
    fn it_starts_where_the_state_stopped_if_that_is_later() {
        let (_, clock) = clock(2_000_000);
        assert_eq!(clock.now_ms(), 2_000_000);
    }

    #[test]
    fn among_others_a_leap_is_followed_when_a_majority_agrees_and_never_before() {
        let (hands, clock) = clock(0);
        clock.trust(Trust::Unheard, clock.offset_ms());
        hands.wall.fetch_add(3_600_000, Ordering::SeqCst);
        hands.pass(120_000);
        assert_eq!(clock.now_ms(), 1_120_000);
        clock.trust(Trust::Off(3_600_000), clock.offset_ms());
        hands.pass(1_000);
        assert_eq!(clock.now_ms(), 1_121_000);
        assert!(
            clock
                .fault()
                .is_some_and(|fault| fault.contains("3600000 ms off"))
        );
        clock.trust(Trust::Agreed, clock.offset_ms());
        assert_eq!(clock.now_ms(), 1_121_000 + 3_600_000);
    }

    #[test]
    fn a_clock_that_was_agreed_with_and_then_set_is_not_followed() {
        let (hands, clock) = clock(0);
        clock.trust(Trust::Agreed, clock.offset_ms());
        let asked = clock.offset_ms();
        hands.wall.fetch_add(1_500_000, Ordering::SeqCst);
        hands.pass(100);
        assert_eq!(clock.now_ms(), 1_000_100);
        // Nor if the others' judgement comes only now.
        clock.trust(Trust::Agreed, asked);
        assert_eq!(clock.now_ms(), 1_000_100);
        clock.trust(Trust::Agreed, clock.offset_ms());
        assert_eq!(clock.now_ms(), 2_500_100);
    }

    #[test]
    fn a_clock_is_believed_by_the_majority_of_voters() {
        assert_eq!(Trust::among(1, &[]), Trust::Alone);
        assert_eq!(Trust::among(3, &[]), Trust::Unheard);
        assert_eq!(Trust::among(3, &[100]), Trust::Agreed);
        // One against one: nobody can say whose is wrong.
        assert_eq!(Trust::among(3, &[9_000]), Trust::Unheard);
        assert_eq!(Trust::among(3, &[-100, 3_600_000]), Trust::Agreed);
        assert_eq!(
            Trust::among(3, &[-3_600_000, -3_600_100]),
            Trust::Off(3_600_000)
        );
    }
}
