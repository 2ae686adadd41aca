//! Repeats an operation after transient errors: the pauses grow up to a limit, jitter spreads them, a deadline ends them.

use std::time::Duration;

use tokio::time::Instant;

/// When an operation is tried again.
///
/// The pause doubles after each failure. Jitter takes up to half of a pause away, so that callers that failed together do
/// not come back together.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Retry {
    first: Duration,
    longest: Duration,
    within: Option<Duration>,
}

impl Retry {
    /// The pause after the first failure, and the longest pause. There is no deadline.
    #[must_use]
    pub const fn new(first: Duration, longest: Duration) -> Self {
        Self {
            first,
            longest,
            within: None,
        }
    }

    /// Pauses of one length.
    #[must_use]
    pub const fn every(pause: Duration) -> Self {
        Self::new(pause, pause)
    }

    /// Starts no attempt later than this after the first one.
    #[must_use]
    pub const fn within(self, deadline: Duration) -> Self {
        Self {
            within: Some(deadline),
            ..self
        }
    }

    /// The pause after so many failures in a row. `chance`, 0 to 1, is the jitter: 0 gives half of the pause, 1 the whole.
    #[must_use]
    pub fn pause(&self, failures: u32, chance: f64) -> Duration {
        let doublings = failures.saturating_sub(1).min(30);
        let pause = self.first.saturating_mul(1 << doublings).min(self.longest);
        pause.mul_f64(0.5 + chance.clamp(0.0, 1.0) / 2.0)
    }

    /// Runs `attempt` until it succeeds, fails with an error that is not transient, or the deadline has passed. The
    /// operation must be idempotent if an attempt that failed may have had an effect.
    ///
    /// # Errors
    /// The error of the last attempt.
    pub async fn run<T, E, A>(
        &self,
        is_transient: impl Fn(&E) -> bool,
        mut attempt: impl FnMut() -> A,
    ) -> Result<T, E>
    where
        A: Future<Output = Result<T, E>>,
    {
        let until = self.within.map(|deadline| Instant::now() + deadline);
        let mut failures = 0_u32;
        loop {
            match attempt().await {
                Err(error)
                    if is_transient(&error) && until.is_none_or(|until| Instant::now() < until) =>
                {
                    failures = failures.saturating_add(1);
                    tokio::time::sleep(self.pause(failures, rand::random())).await;
                }
                answer => return answer,
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use std::cell::Cell;

    use proptest::prelude::*;

    use super::*;

    const SECOND: Duration = Duration::from_secs(1);

    /// Fails so many times with an error, then succeeds. The number of attempts.
    async fn attempts(
        retry: Retry,
        fails: u32,
        error: &'static str,
    ) -> (Result<(), &'static str>, u32) {
        let made = Cell::new(0);
        let attempt = || {
            made.set(made.get() + 1);
            std::future::ready(if made.get() <= fails {
                Err(error)
            } else {
                Ok(())
            })
        };
        let answer = retry.run(|error| *error == "busy", attempt).await;
        (answer, made.get())
    }

    #[tokio::test(start_paused = true)]
    async fn a_transient_error_is_tried_again_and_any_other_is_not() {
        let retry = Retry::every(SECOND);
        assert_eq!(attempts(retry, 5, "busy").await, (Ok(()), 6));
        assert_eq!(attempts(retry, 5, "wrong").await, (Err("wrong"), 1));
    }

    #[tokio::test(start_paused = true)]
    async fn the_deadline_ends_the_attempts() {
        let retry = Retry::every(SECOND).within(10 * SECOND);
        let begun = Instant::now();
        let (answer, made) = attempts(retry, 1_000, "busy").await;
        assert_eq!(answer, Err("busy"));
        assert!(begun.elapsed() >= 10 * SECOND && begun.elapsed() <= 11 * SECOND);
        assert!((11..=22).contains(&made), "{made}");
    }

    proptest! {
        #[test]
        fn pauses_grow_to_the_longest_and_jitter_takes_at_most_half(
            first in 1_u64..10_000, more in 0_u64..1_000_000, failures in 1_u32..100, chance in 0.0_f64..1.0,
        ) {
            let longest = Duration::from_millis(first + more);
            let retry = Retry::new(Duration::from_millis(first), longest);
            let whole = retry.pause(failures, 1.0);
            prop_assert!(whole <= longest);
            prop_assert!(whole >= retry.pause(1, 1.0));
            prop_assert!(retry.pause(failures + 1, 1.0) >= whole);
            let jittered = retry.pause(failures, chance);
            prop_assert!(jittered <= whole && jittered >= whole / 2 - Duration::from_nanos(1).min(whole / 2));
        }
    }
}
