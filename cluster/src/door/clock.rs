//! Cluster time as the leader stamps it: it advances by the monotonic clock, follows the wall clock, and goes back only
//! when an operator sets it.
//!
//! A wall clock more than an hour ahead of cluster time is followed only while the system reports it as synchronised.
//! Either the cluster was down for that long, or the clock is wrong. Until it is followed, cluster time advances by the
//! monotonic clock.

use std::sync::Arc;
use std::time::{Duration, SystemTime, UNIX_EPOCH};

use parking_lot::Mutex;
use rtime_clock::adjtime::{Timex, adjtimex};
use rustix::time::{ClockId, clock_gettime};

use crate::state::Globals;
use crate::state::time::LEAP_MS;

/// How far, in ms, the wall clock may be ahead of cluster time and still be followed without further proof.
pub(super) const JUMP_MS: u64 = 5_000;
/// How long a leap that was followed is reported as a fault.
const SAID_FOR: Duration = Duration::from_secs(600);
/// If the maximum error of the kernel's clock is at least this many microseconds, the clock is not synchronised: the
/// kernel sets that error on a clock that no time service has set.
const UNSYNCHRONISED_US: i64 = 16_000_000;
/// How long a node without other voters (one voter) waits before it follows a forward jump of its wall clock.
const FOLLOW_AFTER: Duration = Duration::from_secs(60);

/// How far this machine's wall clock is trusted.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub enum Trust {
    /// There is no other voter to compare with: a forward jump is followed after a minute.
    #[default]
    Alone,
    /// Too few other clocks are known: no forward jump is followed.
    Unheard,
    /// The clock agrees with a majority of the voters' clocks: it is followed.
    Agreed,
    /// The clock differs from the others by this many ms (positive: it is ahead): it is not followed.
    Off(i64),
}

/// Maximum difference, in ms, at which two clocks agree.
const OFF_MS: u64 = 5_000;

impl Trust {
    /// Judges a clock among `voters` voters. `others`: how far each known clock of another voter is ahead of it, in ms.
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
            // More than half of the clocks differ: report the difference from their median.
            let mut offs = others.to_vec();
            offs.sort_unstable();
            Self::Off(-offs.get(offs.len() / 2).copied().unwrap_or(0))
        } else {
            Self::Unheard
        }
    }

    /// Judges a clock by the leader's answer: how far the clock is ahead of the median, in ms.
    #[must_use]
    pub fn told(off_ms: i64) -> Self {
        if off_ms.unsigned_abs() <= OFF_MS {
            Self::Agreed
        } else {
            Self::Off(off_ms)
        }
    }
}

/// Source of time. Tests and simulation implement their own.
pub trait TimeSource: Send + Sync {
    /// The wall clock, in milliseconds since 1970. It may jump forward or back.
    fn wall_ms(&self) -> u64;
    /// Time since a fixed moment. It must never go back.
    fn monotonic(&self) -> Duration;
    /// True if the system reports that a time service keeps the wall clock correct.
    fn is_synchronised(&self) -> bool {
        false
    }
    /// The machine's uptime and boot id; `None` if not known.
    fn uptime(&self) -> Option<Uptime> {
        None
    }
}

/// How long a machine has run since its last boot.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Uptime {
    /// Boot id: identifies this run of the machine and changes at every boot.
    pub boot: String,
    /// Time since boot, including time in which the machine was suspended.
    pub up: Duration,
}

/// The machine's clocks. Their monotonic time includes time in which the machine was suspended.
#[derive(Debug, Default)]
pub struct SystemTimeSource {
    _private: (),
}

fn since_boot() -> Duration {
    let now = clock_gettime(ClockId::Boottime);
    let seconds = u64::try_from(now.tv_sec).unwrap_or(0);
    Duration::new(seconds, u32::try_from(now.tv_nsec).unwrap_or(0))
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
        since_boot()
    }

    fn is_synchronised(&self) -> bool {
        let mut kernel = Timex::new(); // reads only, sets nothing
        if adjtimex(&mut kernel).is_err() || kernel.0.maxerror >= UNSYNCHRONISED_US {
            return false;
        }
        // The kernel's clock is synchronised, but a process can see another wall clock, as by a preloaded library.
        let seconds = u64::try_from(kernel.0.time.tv_sec).unwrap_or(0);
        seconds.saturating_mul(1_000).abs_diff(self.wall_ms()) <= JUMP_MS
    }

    fn uptime(&self) -> Option<Uptime> {
        let boot = std::fs::read_to_string("/proc/sys/kernel/random/boot_id").ok()?;
        Some(Uptime {
            boot: boot.trim().to_owned(),
            up: since_boot(),
        })
    }
}

fn offset_ms(source: &dyn TimeSource) -> i64 {
    let monotonic = i64::try_from(source.monotonic().as_millis()).unwrap_or(i64::MAX);
    i64::try_from(source.wall_ms())
        .unwrap_or(i64::MAX)
        .saturating_sub(monotonic)
}

/// A moment of cluster time. A stamp of an earlier era is void: an operator has set the time since.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub struct Stamp {
    /// How often cluster time had been set.
    pub era: u64,
    /// Milliseconds since 1970.
    pub time_ms: u64,
}

impl From<&Globals> for Stamp {
    fn from(globals: &Globals) -> Self {
        Self {
            era: globals.era,
            time_ms: globals.clock_ms,
        }
    }
}

/// Formats a span of time for an operator.
pub(super) fn span(ms: u64) -> String {
    let minutes = ms / 60_000;
    match (minutes / 1_440, minutes / 60 % 24, minutes % 60) {
        (0, 0, minutes) => format!("{minutes} min"),
        (0, hours, minutes) => format!("{hours} h {minutes} min"),
        (days, hours, _) => format!("{days} d {hours} h"),
    }
}

/// The cluster clock of one node.
pub struct ClusterClock {
    source: Arc<dyn TimeSource>,
    /// True if there is no other node to compare clocks with.
    alone: bool,
    state: Mutex<State>,
}

struct State {
    time_ms: u64,
    /// How often cluster time has been set, as far as this node knows.
    era: u64,
    /// True if this node stamps entries. Only then may its wall clock cause a leap; otherwise the leader provides the
    /// time.
    leads: bool,
    /// True if cluster time is known: from the state, from the leader, or from a wall clock that was followed as the
    /// only source.
    known: bool,
    /// The last leap that was followed: when (monotonic), and its report.
    leapt: Option<(Duration, String)>,
    at: Duration,
    ahead_since: Option<Duration>,
    fault: Option<String>,
    trust: Trust,
    /// The wall clock's offset at the time of `trust`.
    judged_ms: i64,
}

impl State {
    /// Advances time to a moment of the monotonic clock.
    fn pass(&mut self, now: Duration) {
        let passed = now.saturating_sub(self.at);
        self.time_ms += u64::try_from(passed.as_millis()).unwrap_or(0);
        // Fractions of a millisecond are kept for the next call.
        self.at = now.saturating_sub(Duration::from_nanos(u64::from(
            passed.subsec_nanos() % 1_000_000,
        )));
    }
}

impl ClusterClock {
    /// A clock for a node without peers. It continues from the state's time and follows the wall clock at once, because
    /// no other clock can disagree. Without a time in the state it starts with the wall clock.
    #[must_use]
    pub fn starting_at(state: Stamp, source: Arc<dyn TimeSource>) -> Self {
        let state = State {
            time_ms: match state.time_ms {
                0 => source.wall_ms(),
                time_ms => time_ms,
            },
            era: state.era,
            leads: true,
            known: state.time_ms != 0,
            leapt: None,
            at: source.monotonic(),
            ahead_since: None,
            fault: None,
            trust: Trust::Agreed,
            judged_ms: offset_ms(&*source),
        };
        Self {
            source,
            alone: true,
            state: Mutex::new(state),
        }
    }

    /// A clock for a cluster member. It continues from the state's time until the other nodes agree with its wall
    /// clock.
    #[must_use]
    pub fn among_others(state: Stamp, source: Arc<dyn TimeSource>) -> Self {
        let mut clock = Self::starting_at(state, source);
        clock.alone = false;
        let mut now = clock.state.lock();
        now.time_ms = state.time_ms;
        now.trust = Trust::Unheard;
        drop(now);
        clock
    }

    /// Cluster time in milliseconds since 1970.
    #[must_use]
    pub fn now_ms(&self) -> u64 {
        self.stamp().time_ms
    }

    /// Cluster time with its era, as the leader stamps an entry.
    #[must_use]
    pub fn stamp(&self) -> Stamp {
        let mut state = self.state.lock();
        let (wall, now) = (self.source.wall_ms(), self.source.monotonic());
        state.pass(now);
        // The wall clock was set since it was judged: the judgement is void.
        let offset_ms = offset_ms(&*self.source);
        if state.trust == Trust::Agreed && offset_ms.abs_diff(state.judged_ms) > JUMP_MS {
            state.trust = if self.alone {
                Trust::Alone
            } else {
                Trust::Unheard
            };
            state.judged_ms = offset_ms;
        }
        let lead = wall.saturating_sub(state.time_ms);
        let leaps = lead > LEAP_MS && state.known;
        let waits = match state.trust {
            Trust::Off(off) => Some(format!(
                "the wall clock is {off} ms off the clocks of the other nodes"
            )),
            _ if leaps && !state.leads => Some(format!(
                "the wall clock is {} ahead of cluster time; the leader's clock decides whether time follows",
                span(lead)
            )),
            _ if leaps && !self.source.is_synchronised() => Some(format!(
                "the wall clock is {} ahead of cluster time, and the system does not say that its clock is synchronised: it is not followed, and what is stored now is dated by cluster time. If the clock is right: `pantherctl cluster accept-time`; if it is wrong, set it right",
                span(lead)
            )),
            _ if lead <= JUMP_MS => None,
            Trust::Agreed => None,
            Trust::Unheard => Some(format!(
                "the wall clock is {lead} ms ahead of cluster time; it is followed once a majority of the nodes agrees with it"
            )),
            Trust::Alone => {
                let since = *state.ahead_since.get_or_insert(now);
                (now.saturating_sub(since) < FOLLOW_AFTER).then(|| format!(
                    "the wall clock leapt {lead} ms ahead of cluster time; it is followed after a minute"
                ))
            }
        };
        if waits.is_none() {
            if leaps {
                state.leapt = Some((
                    now,
                    format!(
                        "cluster time was set {} forward to the wall clock, which is synchronised: the cluster was down so long, or its clock was wrong. Nothing expires because of it for a minute, and later only step by step. If the clock was wrong: set it right, then `pantherctl cluster force-time`",
                        span(lead)
                    ),
                ));
            }
            state.time_ms = state.time_ms.max(wall);
            state.known = true;
        }
        let is_ahead = waits.is_some() && state.trust == Trust::Alone && lead > JUMP_MS;
        if !is_ahead {
            state.ahead_since = None;
        }
        let said = state.leapt.clone();
        let said = said.filter(|(at, _)| now.saturating_sub(*at) < SAID_FOR);
        let lag = state.time_ms.saturating_sub(wall);
        state.fault = waits.or_else(|| {
            if lag > LEAP_MS {
                Some(format!(
                    "the wall clock is {} behind cluster time: cluster time was led too far ahead, or this clock is wrong. If the clock is right: `pantherctl cluster force-time`; if it is wrong, set it right",
                    span(lag)
                ))
            } else if lag > JUMP_MS {
                Some(format!("the wall clock is {lag} ms behind cluster time"))
            } else {
                said.map(|(_, what)| what)
            }
        });
        Stamp {
            era: state.era,
            time_ms: state.time_ms,
        }
    }

    /// Follows the leader's time, as [`ClusterClock::follow`]. In addition it goes back if this clock has leapt and the
    /// leader's has not.
    pub fn follow_leader(&self, told: Stamp) {
        self.follow(told);
        let mut state = self.state.lock();
        state.leads = false;
        if told.era == state.era && state.time_ms > told.time_ms.saturating_add(LEAP_MS) {
            state.time_ms = told.time_ms;
        }
    }

    /// Marks this node as leader: its clock stamps entries.
    pub fn lead(&self) {
        self.state.lock().leads = true;
    }

    /// Follows a time from the leader or the state, if it is later or if cluster time was set since.
    pub fn follow(&self, told: Stamp) {
        let mut state = self.state.lock();
        state.pass(self.source.monotonic()); // the new time includes what has passed until now
        state.known |= told.time_ms != 0;
        if told.era > state.era {
            state.era = told.era;
            state.time_ms = told.time_ms;
            (state.ahead_since, state.leapt) = (None, None);
        } else if told.era == state.era {
            state.time_ms = state.time_ms.max(told.time_ms);
        }
    }

    /// Sets how far the wall clock is trusted. It was judged at this [offset](Self::offset_ms); if the clock is set
    /// later, the judgement is void.
    pub fn trust(&self, trust: Trust, offset_ms: i64) {
        let mut state = self.state.lock();
        state.trust = trust;
        state.judged_ms = offset_ms;
    }

    /// The wall clock minus the monotonic clock, in ms. It changes only when the wall clock is set.
    #[must_use]
    pub fn offset_ms(&self) -> i64 {
        offset_ms(&*self.source)
    }

    /// True if the wall clock is known to be wrong.
    #[must_use]
    pub fn is_off(&self) -> bool {
        matches!(self.state.lock().trust, Trust::Off(_))
    }

    /// The machine's wall clock, in milliseconds since 1970.
    #[must_use]
    pub fn wall_ms(&self) -> u64 {
        self.source.wall_ms()
    }

    /// The fault of the wall clock, if there is one.
    #[must_use]
    pub fn fault(&self) -> Option<String> {
        self.state.lock().fault.clone()
    }
}

#[cfg(test)]
mod tests {
    use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};

    use super::*;

    #[derive(Clone, Default)]
    struct Hands {
        synchronised: Arc<AtomicBool>,
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

        fn is_synchronised(&self) -> bool {
            self.synchronised.load(Ordering::SeqCst)
        }
    }

    impl Hands {
        fn pass(&self, ms: u64) {
            self.wall.fetch_add(ms, Ordering::SeqCst);
            self.monotonic.fetch_add(ms, Ordering::SeqCst);
        }
    }

    fn clock(time_ms: u64) -> (Hands, ClusterClock) {
        let hands = Hands::default();
        hands.wall.store(1_000_000, Ordering::SeqCst);
        (
            hands.clone(),
            ClusterClock::starting_at(Stamp { era: 0, time_ms }, Arc::new(hands)),
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

    const DAY_MS: u64 = 86_400_000;

    fn says(clock: &ClusterClock, what: &str) -> bool {
        clock.fault().is_some_and(|fault| fault.contains(what))
    }

    #[test]
    fn a_leap_is_followed_only_while_the_clock_is_synchronised() {
        let (hands, clock) = clock(1_000_000);
        hands.wall.fetch_add(400 * DAY_MS, Ordering::SeqCst);
        for _ in 0..3 {
            hands.pass(100_000);
            let _ = clock.now_ms();
        }
        assert_eq!(clock.now_ms(), 1_300_000, "time goes on as it passes");
        assert!(says(&clock, "400 d 0 h ahead"), "{:?}", clock.fault());
        assert!(says(&clock, "accept-time"));
        // The clock becomes synchronised, as by a time service that has just started: it is judged again.
        hands.synchronised.store(true, Ordering::SeqCst);
        let _ = clock.now_ms();
        hands.pass(60_000);
        assert_eq!(clock.now_ms(), hands.wall_ms());
        assert!(says(&clock, "set 400 d 0 h forward"), "{:?}", clock.fault());
        hands.pass(600_000);
        let _ = clock.now_ms();
        assert_eq!(clock.fault(), None);
    }

    #[test]
    fn an_hour_at_a_start_is_followed_at_once() {
        let hands = Hands::default();
        hands.wall.store(DAY_MS, Ordering::SeqCst);
        let start = |time_ms| {
            let state = Stamp { era: 0, time_ms };
            ClusterClock::starting_at(state, Arc::new(hands.clone())).now_ms()
        };
        assert_eq!(start(DAY_MS - LEAP_MS), DAY_MS);
        assert_eq!(start(DAY_MS - LEAP_MS - 1), DAY_MS - LEAP_MS - 1);
        assert_eq!(start(0), DAY_MS, "a state that has no time yet");
    }

    #[test]
    fn a_majority_that_agrees_with_a_clock_is_no_proof_of_a_leap() {
        let hands = Hands::default();
        hands.wall.store(DAY_MS, Ordering::SeqCst);
        let state = Stamp {
            era: 0,
            time_ms: 1_000,
        };
        let clock = ClusterClock::among_others(state, Arc::new(hands.clone()));
        clock.trust(Trust::Agreed, clock.offset_ms());
        assert_eq!(clock.now_ms(), 1_000);
        hands.synchronised.store(true, Ordering::SeqCst);
        assert_eq!(clock.now_ms(), DAY_MS);
    }

    #[test]
    fn the_first_node_of_a_cluster_begins_with_its_wall_clock() {
        let hands = Hands::default();
        hands.wall.store(400 * DAY_MS, Ordering::SeqCst);
        let clock = ClusterClock::among_others(Stamp::default(), Arc::new(hands.clone()));
        hands.pass(3_000);
        let _ = clock.now_ms(); // it waits until it leads
        clock.follow(Stamp::default());
        clock.trust(Trust::Agreed, clock.offset_ms());
        assert_eq!(clock.now_ms(), hands.wall_ms());
        hands.wall.fetch_add(DAY_MS, Ordering::SeqCst);
        clock.trust(Trust::Agreed, clock.offset_ms());
        assert_eq!(
            clock.now_ms(),
            hands.wall_ms() - DAY_MS,
            "later it is a leap"
        );
    }

    #[test]
    fn a_clock_that_does_not_lead_does_not_leap_and_one_that_has_leapt_comes_back() {
        let hands = Hands::default();
        hands.synchronised.store(true, Ordering::SeqCst);
        hands.wall.store(400 * DAY_MS, Ordering::SeqCst);
        let told = Stamp {
            era: 0,
            time_ms: DAY_MS,
        };
        let clock = ClusterClock::among_others(told, Arc::new(hands.clone()));
        clock.trust(Trust::Agreed, clock.offset_ms());
        clock.follow_leader(told);
        assert_eq!(clock.now_ms(), DAY_MS);
        assert!(says(&clock, "the leader's clock decides"));
        clock.lead();
        assert_eq!(clock.now_ms(), 400 * DAY_MS);
        // Another node leads before any entry carries that time.
        clock.follow_leader(told);
        assert_eq!(clock.now_ms(), DAY_MS);
    }

    #[test]
    fn time_that_was_set_is_taken_over_and_what_was_told_before_is_not() {
        let (hands, clock) = clock(400 * DAY_MS);
        assert_eq!(clock.now_ms(), 400 * DAY_MS);
        assert!(says(&clock, "force-time"), "{:?}", clock.fault());
        clock.follow(Stamp {
            era: 1,
            time_ms: 1_000_000,
        });
        hands.pass(10);
        clock.follow(Stamp {
            era: 0,
            time_ms: 400 * DAY_MS,
        });
        assert_eq!(
            clock.stamp(),
            Stamp {
                era: 1,
                time_ms: 1_000_010
            }
        );
        assert_eq!(clock.fault(), None);
    }

    #[test]
    fn what_is_told_is_not_run_ahead_of_by_the_time_since_the_last_question() {
        let (hands, clock) = clock(0);
        clock.trust(Trust::Unheard, clock.offset_ms());
        hands.pass(3_000);
        clock.follow(Stamp {
            era: 0,
            time_ms: 1_003_000,
        });
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
        // Also not if the other nodes' judgement arrives only now.
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
        // One against one: it is undecidable which clock is wrong.
        assert_eq!(Trust::among(3, &[9_000]), Trust::Unheard);
        assert_eq!(Trust::among(3, &[-100, 3_600_000]), Trust::Agreed);
        assert_eq!(
            Trust::among(3, &[-3_600_000, -3_600_100]),
            Trust::Off(3_600_000)
        );
    }
}
