//! The history of client calls, and a check that it is linearizable, key by key.

use std::collections::{BTreeMap, HashSet};

/// A call on a row that holds one number.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub(crate) enum Asked {
    /// Reads the number.
    Read,
    /// Writes the number.
    Write(i64),
    /// Compare and swap: writes `to` if the row holds `from`.
    Swap { from: i64, to: i64 },
}

/// An answer.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub(crate) enum Answer {
    /// The row holds this number; `None`: there is no row.
    Holds(Option<i64>),
    /// The write took effect.
    Done,
    /// The swap failed: the row holds another number.
    Differs,
}

/// A call with its answer. Times are positions in the order of all events.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Call {
    asked: Asked,
    began: u64,
    /// `None`: it is unknown whether the call took effect.
    ended: Option<(u64, Answer)>,
}

/// All calls, by key.
#[derive(Debug, Default)]
pub(crate) struct History {
    moment: u64,
    calls: BTreeMap<String, Vec<Call>>,
}

/// Handle of a call that has begun.
#[derive(Debug)]
pub(crate) struct Begun {
    key: String,
    at: usize,
}

/// Result of a check.
#[derive(Debug, PartialEq, Eq)]
pub(crate) enum Verdict {
    /// One order explains all answers: the calls are linearizable.
    Explained,
    /// No order explains them.
    Unexplained,
    /// There are too many orders to search.
    Undecided,
}

/// Number of orders that are searched before a key is left undecided.
const ORDERS: usize = 2_000_000;

impl History {
    fn now(&mut self) -> u64 {
        self.moment += 1;
        self.moment
    }

    pub(crate) fn begin(&mut self, key: &str, asked: Asked) -> Begun {
        let began = self.now();
        let calls = self.calls.entry(key.to_owned()).or_default();
        calls.push(Call {
            asked,
            began,
            ended: None,
        });
        Begun {
            key: key.to_owned(),
            at: calls.len() - 1,
        }
    }

    pub(crate) fn end(&mut self, begun: &Begun, answer: Answer) {
        let now = self.now();
        if let Some(call) = self
            .calls
            .get_mut(&begun.key)
            .and_then(|calls| calls.get_mut(begun.at))
        {
            call.ended = Some((now, answer));
        }
    }

    /// The number of calls.
    pub(crate) fn len(&self) -> usize {
        self.calls.values().map(Vec::len).sum()
    }

    /// Checks each key. Returns the keys that no order explains, and the keys that are undecided.
    pub(crate) fn check(&self) -> (Vec<String>, Vec<String>) {
        let (mut unexplained, mut undecided) = (Vec::new(), Vec::new());
        for (key, calls) in &self.calls {
            match explain(calls) {
                Verdict::Explained => {}
                Verdict::Unexplained => unexplained.push(format!("{key}: {calls:?}")),
                Verdict::Undecided => undecided.push(key.clone()),
            }
        }
        (unexplained, undecided)
    }
}

/// Drops unanswered calls that cannot affect linearizability: reads, and writes of a value that was never observed.
/// Such a write is kept if a swap failed after the write began, because the write may be the reason.
fn relevant(calls: &[Call]) -> Vec<Call> {
    let seen: HashSet<i64> = calls
        .iter()
        .filter_map(|call| match (call.asked, call.ended) {
            (_, Some((_, Answer::Holds(held)))) => held,
            (Asked::Swap { from, .. }, Some((_, Answer::Done)) | None) => Some(from),
            _ => None,
        })
        .collect();
    let told_differs = |since: u64| {
        calls
            .iter()
            .any(|call| matches!(call.ended, Some((ended, Answer::Differs)) if ended > since))
    };
    calls
        .iter()
        .filter(|call| {
            call.ended.is_some()
                || match call.asked {
                    Asked::Read => false,
                    Asked::Write(to) | Asked::Swap { to, .. } => {
                        seen.contains(&to) || told_differs(call.began)
                    }
                }
        })
        .copied()
        .collect()
}

/// What a row holds after a call; `None` if the call's answer does not fit what it held before.
fn after(call: &Call, held: Option<i64>) -> Option<Option<i64>> {
    let answer = call.ended.map(|(_, answer)| answer);
    match (call.asked, answer) {
        (Asked::Read, Some(Answer::Holds(told))) => (told == held).then_some(held),
        (Asked::Write(to), Some(Answer::Done) | None) => Some(Some(to)),
        (Asked::Swap { from, to }, Some(Answer::Done)) => (held == Some(from)).then_some(Some(to)),
        (Asked::Swap { from, .. }, Some(Answer::Differs)) => (held != Some(from)).then_some(held),
        (Asked::Swap { from, to }, None) => Some(if held == Some(from) { Some(to) } else { held }),
        _ => None,
    }
}

/// Searches for an order (Wing and Gong's algorithm, which skips states that it has seen before).
fn explain(calls: &[Call]) -> Verdict {
    let calls = relevant(calls);
    let words = calls.len().div_ceil(64);
    let all = calls.iter().filter(|call| call.ended.is_some()).count();
    let mut seen = HashSet::new();
    let mut open = vec![(vec![0_u64; words], None::<i64>, 0_usize)];
    while let Some((placed, held, answered)) = open.pop() {
        if answered == all {
            return Verdict::Explained;
        }
        if seen.len() > ORDERS {
            return Verdict::Undecided;
        }
        let is_placed = |at: usize| placed[at / 64] & (1 << (at % 64)) != 0;
        // A call that began after another one ended must come after it.
        let first_end = calls
            .iter()
            .enumerate()
            .filter(|(at, _)| !is_placed(*at))
            .filter_map(|(_, call)| call.ended.map(|(ended, _)| ended))
            .min()
            .unwrap_or(u64::MAX);
        for (at, call) in calls.iter().enumerate() {
            if is_placed(at) || call.began > first_end {
                continue;
            }
            if let Some(holds) = after(call, held) {
                let mut next = placed.clone();
                next[at / 64] |= 1 << (at % 64);
                if seen.insert((next.clone(), holds)) {
                    open.push((next, holds, answered + usize::from(call.ended.is_some())));
                }
            }
        }
    }
    Verdict::Unexplained
}

#[cfg(test)]
mod tests {
    use super::*;

    fn call(asked: Asked, began: u64, ended: Option<(u64, Answer)>) -> Call {
        Call {
            asked,
            began,
            ended,
        }
    }

    #[test]
    fn answers_that_one_order_explains_are_explained() {
        let calls = [
            call(Asked::Write(1), 1, Some((4, Answer::Done))),
            call(Asked::Read, 2, Some((3, Answer::Holds(None)))),
            call(Asked::Swap { from: 1, to: 2 }, 5, None),
            call(Asked::Read, 6, Some((7, Answer::Holds(Some(2))))),
            call(
                Asked::Swap { from: 1, to: 3 },
                8,
                Some((9, Answer::Differs)),
            ),
        ];
        assert_eq!(explain(&calls), Verdict::Explained);
    }

    #[test]
    fn a_read_of_what_was_replaced_before_is_not() {
        let calls = [
            call(Asked::Write(1), 1, Some((2, Answer::Done))),
            call(Asked::Write(2), 3, Some((4, Answer::Done))),
            call(Asked::Read, 5, Some((6, Answer::Holds(Some(1))))),
        ];
        assert_eq!(explain(&calls), Verdict::Unexplained);
    }

    #[test]
    fn a_value_that_is_seen_and_gone_again_is_not() {
        let calls = [
            call(Asked::Write(1), 1, Some((2, Answer::Done))),
            call(Asked::Write(2), 3, None),
            call(Asked::Read, 4, Some((5, Answer::Holds(Some(2))))),
            call(Asked::Read, 6, Some((7, Answer::Holds(Some(1))))),
        ];
        assert_eq!(explain(&calls), Verdict::Unexplained);
    }

    #[test]
    fn two_that_swap_the_same_value_are_not() {
        let calls = [
            call(Asked::Write(1), 1, Some((2, Answer::Done))),
            call(Asked::Swap { from: 1, to: 2 }, 3, Some((5, Answer::Done))),
            call(Asked::Swap { from: 1, to: 3 }, 4, Some((6, Answer::Done))),
        ];
        assert_eq!(explain(&calls), Verdict::Unexplained);
    }
}
