//! One rule both ways over events that may be made up, to find where Rust and Python part before a real event does.
//!
//! What the engine would say counts as Rust's word. Python says its own in a worker apart, since a rule may leave something behind in
//! it, and made-up events are to leave nothing.

use std::cell::RefCell;
use std::collections::HashMap;
use std::sync::Arc;

use super::evaluation::{Difference, Evaluation, EventInput};
use super::in_python::{in_python, learn};
use super::plan::decide;
use super::pool::Pool;
use super::running::{Running, Selection};
use super::settings::EngineFault;
use super::shadow::{self, Shadow};
use super::stored::{self, Guess};
use super::strikes::Strikes;
use super::worker::{Job, Store};
use crate::key_value::{EmptyView, KeyValueChange};
use crate::native::{Look, Native, Rows, Site};
use crate::verdict::Outcome;

pub(super) async fn evaluate(
    engine: &Running,
    rule: u32,
    events: &[EventInput],
    now: f64,
) -> Result<Evaluation, EngineFault> {
    engine.pool.open()?;
    let Some(native) = engine.selection.native.as_ref() else {
        return Ok(Evaluation::default());
    };
    if !native.is_rule(rule) || !native.has(rule) || engine.selection.broken.contains_key(&rule) {
        return Ok(Evaluation::default());
    }
    let pool = engine.pool.aside();
    let rule = Rule {
        engine,
        native,
        rule,
        now,
    };
    if native.may_store(rule.rule) {
        rule.over_rows(&pool, events).await
    } else {
        rule.plainly(&pool, events).await
    }
}

/// A rule on trial.
struct Rule<'a> {
    engine: &'a Running,
    native: &'a Native,
    rule: u32,
    now: f64,
}

impl Rule<'_> {
    fn store(&self) -> Store<'static> {
        Store::new(&EmptyView, self.engine.settings.rule_time)
    }

    fn strikes(&self) -> Strikes {
        Strikes::new(self.engine.settings.strikes)
    }

    /// Each event by itself.
    async fn plainly(&self, pool: &Pool, events: &[EventInput]) -> Result<Evaluation, EngineFault> {
        let (selection, own) = (Arc::clone(&self.engine.selection), events.to_vec());
        let rule = self.rule;
        let tried = tokio::task::spawn_blocking(move || selection.tried(rule, &own)).await;
        let Tried {
            mut evaluation,
            jobs,
            shadows,
            raising,
        } = tried.map_err(|error| EngineFault::Native {
            reason: error.to_string(),
        })?;
        let (mut store, strikes) = (self.store(), self.strikes());
        let said = in_python(self.engine, pool, jobs, self.now, &mut store, &strikes).await?;
        learn(self.native, raising, &said);
        evaluation.append(said);
        shadow::compare(self.native, &shadows, &mut evaluation);
        Ok(evaluation)
    }

    /// One event after the other, each way over rows of its own. Past the first difference the rows are others, so nothing is compared after it.
    async fn over_rows(
        &self,
        pool: &Pool,
        events: &[EventInput],
    ) -> Result<Evaluation, EngineFault> {
        let jobs: Vec<Job> = events
            .iter()
            .enumerate()
            .map(|(place, input)| Job::of(place, input, vec![self.rule]))
            .collect();
        let (engine, now, strikes) = (self.engine, self.now, self.strikes());
        let native = stored::evaluate(
            engine,
            pool,
            &jobs,
            Guess::default(),
            now,
            &mut self.store(),
            &strikes,
        )
        .await?;
        let strikes = self.strikes();
        let mut python = in_python(engine, pool, jobs, now, &mut self.store(), &strikes).await?;
        let mut loose = false;
        for event in 0..events.len() {
            loose |= native.loose.contains(&event);
            let (ours, theirs) = (
                Said::of(&native.evaluation, event),
                Said::of(&python, event),
            );
            if theirs.outcome.is_some_and(shadow::says_nothing) {
                break;
            }
            if !ours.agrees(&theirs, loose) {
                self.native.demote(self.rule);
                python.differences.push(Difference {
                    event,
                    detection: self.rule as usize,
                    native: ours.told(),
                    python: theirs.told(),
                });
                break;
            }
        }
        python.statistics.pairs_native = native.evaluation.statistics.pairs_native;
        python.statistics.pairs_called = events.len() as u64;
        Ok(python)
    }
}

/// What one way said of an event.
struct Said<'a> {
    outcome: Option<&'a Outcome>,
    changes: &'a [KeyValueChange],
}

impl<'a> Said<'a> {
    fn of(evaluation: &'a Evaluation, event: usize) -> Self {
        let mut verdicts = evaluation.verdicts.iter();
        let mut effects = evaluation.effects.iter();
        Self {
            outcome: verdicts
                .find(|verdict| verdict.event == event)
                .map(|verdict| &verdict.outcome),
            changes: effects
                .find(|effects| effects.event == event)
                .map_or(&[], |effects| &effects.changes),
        }
    }

    /// Texts and rows need not be the same if they are `loose`: Python's clock is another.
    fn agrees(&self, other: &Self, loose: bool) -> bool {
        match (self.outcome, other.outcome) {
            (Some(Outcome::Matched(_)), Some(Outcome::Matched(_))) | (None, None) if loose => true,
            (ours, theirs) => ours == theirs && (loose || self.changes == other.changes),
        }
    }

    fn told(&self) -> String {
        let outcome = shadow::in_short(self.outcome);
        if self.changes.is_empty() {
            return outcome;
        }
        format!("{outcome}, and of the store {:?}", self.changes)
    }
}

/// What came of a rule's events in Rust, and what Python is to look at.
#[derive(Default)]
struct Tried {
    evaluation: Evaluation,
    jobs: Vec<Job>,
    shadows: Vec<Shadow>,
    raising: HashMap<(usize, u32), Site>,
}

impl Selection {
    fn tried(&self, rule: u32, events: &[EventInput]) -> Tried {
        let mut tried = Tried::default();
        let Some(native) = &self.native else {
            return tried;
        };
        let rows = RefCell::new(Rows::guessed(0));
        let mut arena = bumpalo::Bump::new();
        for (place, input) in events.iter().enumerate() {
            arena.reset();
            let Ok(event) = crate::event::read(&arena, &input.json) else {
                continue;
            };
            let mut shadow = Shadow::new(place);
            let log_type = input.log_type.as_str();
            // What is made up would tell of no real event's cost.
            let look = Look {
                arena: &arena,
                log_type,
                event,
                timed: false,
            };
            let take = |rule, said, loose| {
                tried.evaluation.statistics.pairs_native += 1;
                shadow.expect(rule, said, loose);
            };
            let left = decide(native, look, &[rule], &rows, take);
            if !left.python.is_empty() && left.raising.is_empty() {
                continue;
            }
            let raising = left.raising.into_iter();
            tried
                .raising
                .extend(raising.map(|(rule, site)| ((place, rule), site)));
            tried.evaluation.statistics.pairs_called += 1;
            tried.jobs.push(Job::of(place, input, vec![rule]));
            tried.shadows.push(shadow);
        }
        tried
    }
}
