//! Messages that are given back uncounted, again and again.
//!
//! A fault of the node says nothing about the message that met it, so it is not counted. But if a message meets the same fault each time while others
//! of its queue pass, the fault is the message's: uncounted it would come back for ever, and never be a dead letter.

use std::collections::HashMap;

use parking_lot::Mutex;

/// How often a message may be given back for one reason, with others passing each time in between, before that counts as its failure.
const TIMES: u32 = 10;
/// Messages that are remembered at one time; of more, those that came back longest ago are forgotten.
const MOST: usize = 1_000;

/// What this worker has given back uncounted.
#[derive(Debug, Default)]
pub(super) struct Returned {
    inner: Mutex<Inner>,
}

#[derive(Debug, Default)]
struct Inner {
    /// How many messages have been handled well.
    passed: u64,
    messages: HashMap<String, Times>,
}

#[derive(Debug)]
struct Times {
    reason: String,
    times: u32,
    /// [`Inner::passed`] when it was given back last.
    passed: u64,
}

impl Returned {
    /// A message was handled well.
    pub(super) fn passed(&self, id: &str) {
        let mut inner = self.inner.lock();
        inner.passed += 1;
        inner.messages.remove(id);
    }

    /// A message ended or failed in another way.
    pub(super) fn forget(&self, id: &str) {
        self.inner.lock().messages.remove(id);
    }

    /// A message is about to be given back for a fault of the node. Gives the reason for which it fails instead, if it is the message that is at fault.
    pub(super) fn again(&self, id: &str, reason: &str) -> Option<String> {
        let mut inner = self.inner.lock();
        let passed = inner.passed;
        let reason_kept = without_numbers(reason);
        let Some(times) = inner.messages.get_mut(id) else {
            if inner.messages.len() >= MOST {
                let oldest = inner.messages.iter().min_by_key(|(_, times)| times.passed);
                if let Some(oldest) = oldest.map(|(id, _)| id.clone()) {
                    inner.messages.remove(&oldest);
                }
            }
            let first = Times {
                reason: reason_kept,
                times: 1,
                passed,
            };
            inner.messages.insert(id.to_owned(), first);
            return None;
        };
        if times.reason != reason_kept {
            *times = Times {
                reason: reason_kept,
                times: 1,
                passed,
            };
        } else if times.passed < passed {
            times.times += 1;
            times.passed = passed;
        }
        (times.times >= TIMES).then(|| {
            format!(
                "given back {} times for one reason while others of its queue passed: {reason}",
                times.times
            )
        })
    }
}

/// A reason without what differs each time: durations, process numbers, addresses.
fn without_numbers(reason: &str) -> String {
    reason.chars().filter(|c| !c.is_ascii_digit()).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_message_that_meets_one_fault_while_others_pass_counts_in_the_end() {
        let returned = Returned::default();
        for time in 1..TIMES {
            let reason = format!("the template ended after {time} ms");
            assert_eq!(returned.again("bad", &reason), None, "{time}");
            returned.passed("good");
        }
        let failed = returned
            .again("bad", "the template ended after 99 ms")
            .unwrap();
        assert!(
            failed.contains("10 times") && failed.ends_with("after 99 ms"),
            "{failed}"
        );
        // And from now on each time.
        assert!(
            returned
                .again("bad", "the template ended after 1 ms")
                .is_some()
        );
    }

    #[test]
    fn a_fault_that_all_meet_is_no_message_s() {
        let returned = Returned::default();
        for _ in 0..100 {
            assert_eq!(returned.again("one", "no leader"), None);
            assert_eq!(returned.again("other", "no leader"), None);
        }
        returned.passed("other");
        assert_eq!(returned.again("one", "no leader"), None);
    }

    #[test]
    fn another_reason_or_a_good_end_begins_the_count_again() {
        let returned = Returned::default();
        for time in 0..100 {
            let reason = if time % 5 == 0 {
                "no leader"
            } else {
                "no store"
            };
            assert_eq!(returned.again("one", reason), None);
            returned.passed("other");
        }
        for _ in 0..100 {
            assert_eq!(returned.again("two", "no store"), None);
            returned.passed("two");
        }
    }

    #[test]
    fn what_is_remembered_is_bounded() {
        let returned = Returned::default();
        for number in 0..10 * MOST {
            let _ = returned.again(&number.to_string(), "no store");
        }
        assert_eq!(returned.inner.lock().messages.len(), MOST);
    }
}
