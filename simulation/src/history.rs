//! What clients asked for and were told, and whether one order of all of it explains every answer (linearizability, key by key).

use std::collections::{BTreeMap, HashSet};

/// What was asked of a row that holds one number.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub(crate) enum Asked {
    /// What it holds.
    Read,
    /// To hold this.
    Write(i64),
    /// To hold `to` if it holds `from`.
    Swap { from: i64, to: i64 },
}

/// What was answered.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub(crate) enum Answer {
    /// It holds this; `None`: there is no row.
    Holds(Option<i64>),
    /// It was done.
    Done,
    /// It holds something else.
    Differs,
}

/// A call. Moments are places in the order of everything that happened.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Call {
    asked: Asked,
    began: u64,
    /// `None`: nobody knows whether it took effect.
    ended: Option<(u64, Answer)>,
}

/// All calls, by key.
#[derive(Debug, Default)]
pub(crate) struct History {
    moment: u64,
    calls: BTreeMap<String, Vec<Call>>,
}

/// A call that was begun.
#[derive(Debug)]
pub(crate) struct Begun {
    key: String,
    at: usize,
}

/// What a check comes to.
#[derive(Debug, PartialEq, Eq)]
pub(crate) enum Verdict {
    /// One order explains all answers.
    Explained,
    /// None does.
    Unexplained,
    /// Too many orders to look at.
    Undecided,
}

/// Orders that are looked at before a key is left undecided.
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

    /// How many calls there were.
    pub(crate) fn len(&self) -> usize {
        self.calls.values().map(Vec::len).sum()
    }

    /// Checks each key: those that no order explains, and those that are undecided.
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

/// Leaves out calls without an answer that cannot matter: reads, and writes of what nobody has seen while nobody was told that it differs.
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

/// What a row holds after a call, if the call's answer fits what it held before.
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

/// Looks for an order (Wing and Gong's search, with what was seen before left out).
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
        // Whatever began after another had ended comes after it.
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
