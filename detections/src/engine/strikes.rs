//! What a rule has cost: the errors of pairs that took a worker with them or ran out of time, and when that is enough.

use std::collections::{BTreeSet, HashMap};
use std::time::Duration;

use parking_lot::Mutex;

use super::evaluation::{Evaluation, Verdict};
use super::worker::{Job, Loss, Lost};
use crate::verdict::{Outcome, RuleError};

/// Class of the errors of a rule that passed its time, whoever noticed it.
pub(super) const TIMEOUT: &str = "DetectionTimeout";

pub(super) fn failed(event: usize, rule: u32, error: RuleError) -> Verdict {
    Verdict {
        event,
        detection: rule as usize,
        outcome: Outcome::Failed(Box::new(error)),
    }
}

/// The rule error for a pair that took its worker with it.
pub(super) fn loss_error(loss: &Loss, rule_time: Duration) -> RuleError {
    let reason = &loss.reason;
    let (kind, message) = match loss.how {
        Lost::TimedOut => {
            let time = rule_time.as_millis();
            (TIMEOUT, format!("timed out after {time} ms: {reason}"))
        }
        Lost::Died => (
            "WorkerDied",
            format!("the detection took its worker down: {reason}"),
        ),
        Lost::Spoilt => (
            "SharedStateChanged",
            format!("no other detection may run where this one did: {reason}"),
        ),
    };
    RuleError {
        kind: kind.to_owned(),
        title: format!("{kind}({message:?})"),
        message,
        place: None,
        trace: String::new(),
    }
}

/// How often each rule has cost a worker or its whole time in this evaluation.
pub(super) struct Strikes {
    limit: u32,
    counts: Mutex<HashMap<u32, u32>>,
}

impl Strikes {
    pub(super) fn new(limit: u32) -> Self {
        Self {
            limit,
            counts: Mutex::new(HashMap::new()),
        }
    }

    /// Counts one; true if the rule is out.
    pub(super) fn strike(&self, rule: u32) -> bool {
        let mut counts = self.counts.lock();
        let count = counts.entry(rule).or_default();
        *count += 1;
        *count >= self.limit
    }

    pub(super) fn out(&self) -> BTreeSet<u32> {
        let counts = self.counts.lock();
        counts
            .iter()
            .filter(|(_, count)| **count >= self.limit)
            .map(|(rule, _)| *rule)
            .collect()
    }

    /// Takes the rules that are out from the jobs and gives each of their pairs its error.
    pub(super) fn apply(&self, jobs: &mut [Job], evaluation: &mut Evaluation) {
        let out = self.out();
        if out.is_empty() {
            return;
        }
        for job in jobs {
            let event = job.event;
            job.rules.retain(|rule| {
                if out.contains(rule) {
                    evaluation
                        .verdicts
                        .push(failed(event, *rule, suspended(self.limit)));
                }
                !out.contains(rule)
            });
        }
    }
}

fn suspended(limit: u32) -> RuleError {
    let message = format!(
        "not run on this event: the rule ended its worker, ran out of time or changed what all rules share {limit} times in this batch"
    );
    RuleError {
        kind: "DetectionSuspended".to_owned(),
        title: format!("DetectionSuspended({message:?})"),
        message,
        place: None,
        trace: String::new(),
    }
}
