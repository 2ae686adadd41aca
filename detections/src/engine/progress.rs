//! How far a batch of jobs has come in Python, and what each of its pairs has come to.

use std::time::Duration;

use super::evaluation::{Effects, Evaluation, Verdict};
use super::strikes::{Strikes, TIMEOUT, failed, loss_error};
use super::wire::{EventResults, RuleResult};
use super::worker::{Continue, Job, Loss};
use crate::verdict::Outcome;

/// What a chunk has come to so far.
#[derive(Default)]
pub(super) struct Progress {
    pub(super) evaluation: Evaluation,
    /// Jobs that are behind it.
    pub(super) done: usize,
}

impl Progress {
    /// Passes jobs of which no rule is left; false if all are behind it.
    pub(super) fn advance(&mut self, jobs: &mut [Job], strikes: &Strikes) -> bool {
        strikes.apply(&mut jobs[self.done..], &mut self.evaluation);
        while jobs.get(self.done).is_some_and(|job| job.rules.is_empty()) {
            self.done += 1;
        }
        self.done < jobs.len()
    }

    /// Keeps what came of one event.
    pub(super) fn take(
        &mut self,
        jobs: &[Job],
        begun: usize,
        results: EventResults,
        strikes: &Strikes,
    ) -> Continue {
        let place = begun + results.i as usize;
        let Some(job) = jobs.get(place).filter(|_| place >= self.done) else {
            return Continue::Yes;
        };
        self.done = place + 1;
        let mut proceed = Continue::Yes;
        for RuleResult {
            rule,
            matched,
            error,
        } in results.results
        {
            let outcome = match (matched, error) {
                _ if !job.rules.contains(&rule) => continue,
                (Some(outputs), None) => Outcome::Matched(outputs),
                (_, Some(error)) => {
                    if error.kind == TIMEOUT && strikes.strike(rule) {
                        proceed = Continue::No;
                    }
                    Outcome::Failed(error)
                }
                (None, None) => continue,
            };
            self.evaluation.verdicts.push(Verdict {
                event: job.event,
                detection: rule as usize,
                outcome,
            });
        }
        if !results.kv.is_empty() {
            self.evaluation.effects.push(Effects {
                event: job.event,
                changes: results.kv,
            });
        }
        proceed
    }

    /// Gives the pair at which a worker was lost its rule error, and leaves the events before it whose results had not come yet to be run again; false if the worker was at no pair that is still open.
    pub(super) fn blame(
        &mut self,
        jobs: &mut [Job],
        begun: usize,
        loss: &Loss,
        strikes: &Strikes,
        rule_time: Duration,
    ) -> bool {
        let Some(place) = loss
            .at
            .map(|at| begun + at as usize)
            .filter(|place| *place >= self.done)
        else {
            return false;
        };
        let Some(job) = jobs.get_mut(place) else {
            return false;
        };
        let blamed = match loss.rule {
            Some(rule) if job.rules.contains(&rule) => vec![rule],
            Some(_) => return false,
            // It died over the event's JSON, which is the same for all.
            None => job.rules.clone(),
        };
        for rule in blamed {
            strikes.strike(rule);
            job.rules.retain(|other| *other != rule);
            self.evaluation
                .verdicts
                .push(failed(job.event, rule, loss_error(loss, rule_time)));
        }
        true
    }
}
