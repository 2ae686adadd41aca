//! When a component is started again, and when that is given up. Time and chance are handed in.

use std::collections::VecDeque;
use std::time::Duration;

use panther_retry::Retry;

/// How restarts are dosed.
#[derive(Debug, Clone, Copy, PartialEq)]
pub struct Policy {
    /// Wait before the first restart; doubled each time.
    pub first: Duration,
    /// Longest wait.
    pub longest: Duration,
    /// Restarts within `window` after which the circuit opens.
    pub restarts: usize,
    /// See `restarts`.
    pub window: Duration,
    /// Time after which an open circuit is tried again.
    pub open_for: Duration,
}

impl Default for Policy {
    fn default() -> Self {
        Self {
            first: Duration::from_millis(200),
            longest: Duration::from_secs(30),
            restarts: 8,
            window: Duration::from_secs(600),
            open_for: Duration::from_secs(300),
        }
    }
}

/// What happens after an end that nobody asked for.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Decision {
    /// Start again after this time.
    Restart(Duration),
    /// The circuit opens; try again after this time.
    Open(Duration),
}

/// Restarts of one component so far.
#[derive(Debug, Clone, Default)]
pub struct RestartBudget {
    ends: VecDeque<Duration>,
}

impl RestartBudget {
    /// Decides after an end at `now`; `chance` in 0..1 spreads restarts of many nodes.
    pub fn decide(&mut self, policy: &Policy, now: Duration, chance: f64) -> Decision {
        while self
            .ends
            .front()
            .is_some_and(|end| now.saturating_sub(*end) > policy.window)
        {
            self.ends.pop_front();
        }
        self.ends.push_back(now);
        if self.ends.len() > policy.restarts {
            self.ends.clear();
            return Decision::Open(policy.open_for);
        }
        let ends = u32::try_from(self.ends.len()).unwrap_or(u32::MAX);
        Decision::Restart(Retry::new(policy.first, policy.longest).pause(ends, chance))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn waits_double_up_to_the_longest_and_too_many_open_the_circuit() {
        let policy = Policy {
            first: Duration::from_secs(1),
            longest: Duration::from_secs(3),
            restarts: 4,
            ..Policy::default()
        };
        let mut budget = RestartBudget::default();
        let mut decide = |seconds| budget.decide(&policy, Duration::from_secs(seconds), 1.0);
        assert_eq!(
            [decide(0), decide(1), decide(2), decide(3)].map(
                |decision| matches!(decision, Decision::Restart(wait) if wait <= policy.longest)
            ),
            [true; 4]
        );
        assert_eq!(decide(4), Decision::Open(policy.open_for));
        assert_eq!(
            decide(5),
            Decision::Restart(Duration::from_secs(1)),
            "a circuit that closes starts afresh"
        );
    }

    #[test]
    fn ends_that_lie_far_apart_do_not_add_up() {
        let policy = Policy::default();
        let mut budget = RestartBudget::default();
        for hour in 0..100 {
            assert_eq!(
                budget.decide(&policy, Duration::from_secs(hour * 3600), 1.0),
                Decision::Restart(policy.first)
            );
        }
    }

    #[test]
    fn jitter_stays_between_half_and_the_whole() {
        let policy = Policy {
            first: Duration::from_secs(2),
            ..Policy::default()
        };
        for (chance, expected) in [(0.0, 1.0), (0.5, 1.5), (1.0, 2.0)] {
            let decision = RestartBudget::default().decide(&policy, Duration::ZERO, chance);
            assert_eq!(
                decision,
                Decision::Restart(Duration::from_secs_f64(expected))
            );
        }
    }
}
