//! What of a chunk of events is decided without Python, and which pairs are left to it.

use std::cell::RefCell;
use std::collections::HashMap;

use super::evaluation::{Evaluation, EventInput, Verdict};
use super::running::Selection;
use super::shadow::Shadow;
use super::stored::Guess;
use super::strikes::failed;
use super::worker::Job;
use crate::key_value::KeyValueChange;
use crate::native::{Answer, Clock, Look, Native, Rows, Site, Stages};
use crate::verdict::Outcome;

impl Selection {
    /// Whether rules that Python evaluates may use the key-value store, so that all must that do.
    pub(super) fn share_rows(&self, jobs: &[Job]) -> bool {
        let Some(native) = &self.native else {
            return true;
        };
        jobs.iter()
            .flat_map(|job| &job.rules)
            .any(|rule| native.may_store(*rule))
    }

    pub(super) fn plan(&self, events: &[EventInput], first: usize, now: f64) -> Planned {
        let begun = std::time::Instant::now();
        #[allow(clippy::cast_possible_truncation)]
        let rows = RefCell::new(Rows::guessed(now as i64));
        let mut guess = Guess::default();
        let mut evaluation = Evaluation::default();
        let mut jobs = Vec::new();
        let mut storing = Vec::new();
        let mut shadows = Vec::new();
        let mut raising = HashMap::new();
        let mut arena = bumpalo::Bump::with_capacity(ARENA_BEGUN);
        let mut stages = Stages::default();
        for (place, input) in events.iter().enumerate() {
            let event = first + place;
            evaluation.statistics.pairs += self.rules(&input.log_type).len() as u64;
            if arena.allocated_bytes() > ARENA_KEPT {
                arena = bumpalo::Bump::new();
            }
            arena.reset();
            let timed = self.native.as_ref().is_some_and(Native::is_timed);
            let mut clock = Clock::begin(timed, &mut stages);
            let read = crate::event::read(&arena, &input.json).ok();
            clock.ended(&mut stages.reading);
            let log_type = input.log_type.as_str();
            let look = read.map(|event| Look {
                arena: &arena,
                log_type,
                event,
                timed,
            });
            let all = self.rules(log_type);
            let mut rules = match (&self.native, look) {
                (Some(native), Some(look)) => native.select(look, all),
                _ => all.to_vec(),
            };
            clock.ended(&mut stages.choosing);
            rules.retain(|rule| match self.broken.get(rule) {
                Some(error) => {
                    evaluation
                        .verdicts
                        .push(failed(event, *rule, error.clone()));
                    false
                }
                None => true,
            });
            if let (Some(native), Some(look)) = (&self.native, look) {
                let shadowed = native.shadows();
                let mut shadow = Shadow::new(event);
                let take = |rule: u32, said: Option<Outcome>, loose: bool| {
                    evaluation.statistics.pairs_native += 1;
                    if shadowed {
                        shadow.expect(rule, said, loose);
                    } else if let Some(outcome) = said {
                        evaluation.verdicts.push(Verdict {
                            event,
                            detection: rule as usize,
                            outcome,
                        });
                    }
                };
                let left = decide(native, look, &rules, &rows, take);
                clock.ended(&mut stages.rules);
                rules = left.python;
                let sites = left.raising.into_iter();
                raising.extend(sites.map(|(rule, site)| ((event, rule), site)));
                if shadowed {
                    let others = all.iter().copied().filter(|rule| {
                        !rules.contains(rule)
                            && !self.broken.contains_key(rule)
                            && !native.may_store(*rule)
                    });
                    rules = shadow.with(&rules, others);
                    evaluation.statistics.events_shadowed += 1;
                    shadows.push(shadow);
                }
                if !left.storing.is_empty() {
                    let rules = left.storing.iter().map(|(rule, ..)| *rule).collect();
                    storing.push(Job::of(event, input, rules));
                }
                for (rule, answer, changes) in left.storing {
                    guess.take(event, rule, answer, changes);
                }
            }
            if rules.is_empty() {
                continue;
            }
            evaluation.statistics.pairs_called += rules.len() as u64;
            evaluation.statistics.events_called += 1;
            jobs.push(Job::of(event, input, rules));
        }
        if let Some(native) = &self.native {
            native.took(&stages);
        }
        evaluation.statistics.native_micros =
            u64::try_from(begun.elapsed().as_micros()).unwrap_or(u64::MAX);
        Planned {
            evaluation,
            jobs,
            storing,
            guess: guess.over(rows.into_inner()),
            shadows,
            raising,
        }
    }
}

/// What is decided of a chunk, and what is not.
pub(super) struct Planned {
    pub(super) evaluation: Evaluation,
    /// For Python.
    pub(super) jobs: Vec<Job>,
    /// Rules that ask the key-value store, to be evaluated one event after the other.
    pub(super) storing: Vec<Job>,
    /// What they say if the rows that they ask for are empty.
    pub(super) guess: Guess,
    /// What Python is expected to say of events that it evaluates as well.
    pub(super) shadows: Vec<Shadow>,
    /// Where pairs of `jobs` raised, by event and rule.
    pub(super) raising: HashMap<(usize, u32), Site>,
}

/// Rules that are not decided.
#[derive(Default)]
pub(super) struct Left {
    pub(super) python: Vec<u32>,
    /// What these say, and change, if the rows that they ask for are empty.
    pub(super) storing: Vec<(u32, Answer, Vec<KeyValueChange>)>,
    /// Where some of those for Python raised.
    pub(super) raising: Vec<(u32, Site)>,
}

/// Evaluates pairs natively and gives the rules that are left.
pub(super) fn decide<'e>(
    native: &'e Native,
    look: Look<'_, 'e>,
    rules: &[u32],
    rows: &'e RefCell<Rows>,
    mut take: impl FnMut(u32, Option<Outcome>, bool),
) -> Left {
    let mut left = Left::default();
    let answered = |rule, answer, guess| match answer {
        answer if let Some(changes) = guess => left.storing.push((rule, answer, changes)),
        Answer::No => take(rule, None, false),
        Answer::Match(outputs, loose) => {
            take(rule, Some(Outcome::Matched(outputs)), loose);
        }
        Answer::Failed(error) => take(
            rule,
            Some(Outcome::Failed(Box::new((*error).clone()))),
            false,
        ),
        Answer::Store | Answer::Missing(_) => left.storing.push((rule, answer, Vec::new())),
        Answer::Python(site) => {
            left.python.push(rule);
            left.raising.extend(site.map(|site| (rule, site)));
        }
    };
    native.evaluate(look, rules, rows, answered);
    left
}

/// Bytes that the arena of a batch begins with: most events take less.
const ARENA_BEGUN: usize = 64 << 10;
/// Bytes that the arena of a batch may keep for the next event.
const ARENA_KEPT: usize = 8 << 20;
