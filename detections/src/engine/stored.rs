//! Rules that ask the key-value store, evaluated without Python: one event after the other, since each sees what the one before has written.

use std::cell::RefCell;
use std::collections::BTreeSet;
use std::sync::Arc;

use super::evaluation::{Effects, Evaluation, Verdict};
use super::in_python::{in_python, learn};
use super::pool::Pool;
use super::running::Running;
use super::settings::EngineFault;
use super::strikes::Strikes;
use super::worker::{Job, Store};
use crate::key_value::{KeyValueChange, KeyValueRow};
use crate::native::{Answer, Look, Native, Rows, Site};
use crate::verdict::Outcome;

/// How far the jobs have been evaluated.
struct Progress {
    evaluation: Evaluation,
    loose: BTreeSet<usize>,
    rows: Rows,
    /// The job, and the rule within it, that is next.
    job: usize,
    rule: usize,
}

enum Ended {
    Done,
    Missing(String),
    /// And where it raised, if what Python says of that is worth keeping.
    Python(Option<Site>),
}

/// What jobs come to if all rows that they ask for are empty. Most users and addresses are seen for the first time, and to find out what is asked for the rules
/// run anyway.
#[derive(Default)]
pub(super) struct Guess {
    evaluation: Evaluation,
    /// The rows, as far as it is known which.
    wanted: BTreeSet<String>,
    /// Whether it is good for finding out rows only: a pair is for Python, or there were too many rows.
    void: bool,
}

impl Guess {
    /// Takes what a pair says. Pairs come in the order in which they are evaluated.
    pub(super) fn take(
        &mut self,
        event: usize,
        rule: u32,
        answer: Answer,
        changes: Vec<KeyValueChange>,
    ) {
        self.void |= !note(&mut self.evaluation, event, rule, answer, changes);
    }

    /// The rows over which it was made.
    pub(super) fn over(mut self, rows: Rows) -> Self {
        match rows.wanted() {
            Some(wanted) => self.wanted = wanted,
            None => self.void = true,
        }
        self
    }
}

/// Notes what a pair has come to; false if that is for others to say.
fn note(
    evaluation: &mut Evaluation,
    event: usize,
    rule: u32,
    answer: Answer,
    changes: Vec<KeyValueChange>,
) -> bool {
    let outcome = match answer {
        Answer::No => None,
        Answer::Match(outputs, _) => Some(Outcome::Matched(outputs)),
        Answer::Failed(error) => Some(Outcome::Failed(Box::new((*error).clone()))),
        Answer::Store | Answer::Missing(_) | Answer::Python(_) => return false,
    };
    evaluation.statistics.pairs_native += 1;
    evaluation.verdicts.extend(outcome.map(|outcome| Verdict {
        event,
        detection: rule as usize,
        outcome,
    }));
    if !changes.is_empty() {
        evaluation.effects.push(Effects { event, changes });
    }
    true
}

/// What came of jobs.
#[derive(Default)]
pub(super) struct Stored {
    pub(super) evaluation: Evaluation,
    /// Events whose texts Python might have put otherwise: in another order, or a moment later.
    pub(super) loose: BTreeSet<usize>,
}

/// Evaluates all jobs, unless what was guessed of them holds. A pair that is for Python goes there by itself, with what
/// those before it have written.
pub(super) async fn evaluate(
    engine: &Running,
    pool: &Pool,
    jobs: &[Job],
    guess: Guess,
    now: f64,
    store: &mut Store<'_>,
    strikes: &Strikes,
) -> Result<Stored, EngineFault> {
    #[allow(clippy::cast_possible_truncation)]
    let mut rows = Rows::new(now as i64);
    // Without any, nothing has been guessed.
    let mut holds = !guess.void && !guess.wanted.is_empty();
    for key in guess.wanted {
        let row = store.read(&key).await?;
        holds &= row.as_ref().is_none_or(KeyValueRow::is_empty);
        rows.fetched(&key, row);
    }
    if holds {
        let mut evaluation = guess.evaluation;
        tell(store, &evaluation);
        evaluation.effects = by_event(evaluation.effects);
        return Ok(Stored {
            evaluation,
            ..Stored::default()
        });
    }
    let shared: Arc<[Job]> = jobs.into();
    let mut all = Evaluation::default();
    let mut progress = Progress {
        evaluation: Evaluation::default(),
        loose: BTreeSet::new(),
        rows,
        job: 0,
        rule: 0,
    };
    loop {
        let (selection, jobs) = (Arc::clone(&engine.selection), Arc::clone(&shared));
        let (after, ended) = tokio::task::spawn_blocking(move || {
            let ended = match &selection.native {
                Some(native) => progress.go_on(native, &jobs),
                None => Ended::Python(None),
            };
            (progress, ended)
        })
        .await
        .map_err(|error| EngineFault::Native {
            reason: error.to_string(),
        })?;
        progress = after;
        let part = std::mem::take(&mut progress.evaluation);
        tell(store, &part);
        all.append(part);
        match ended {
            Ended::Done => {
                all.effects = by_event(all.effects);
                return Ok(Stored {
                    evaluation: all,
                    loose: progress.loose,
                });
            }
            Ended::Missing(key) => {
                let row = store.read(&key).await?;
                progress.rows.fetched(&key, row);
            }
            Ended::Python(site) => {
                let Some(job) = shared.get(progress.job) else {
                    continue;
                };
                let event = job.event;
                progress.loose.insert(event);
                let rules = job.rules.get(progress.rule).copied().into_iter().collect();
                let alone = Job {
                    rules,
                    ..job.clone()
                };
                let mut part = in_python(engine, pool, vec![alone], now, store, strikes).await?;
                part.statistics.pairs_called += 1;
                part.statistics.events_called += 1;
                for change in part.effects.iter().flat_map(|effects| &effects.changes) {
                    progress.rows.changed(change);
                }
                if let (Some(native), Some(site)) = (&engine.selection.native, site)
                    && let Some(rule) = shared[progress.job].rules.get(progress.rule)
                    && part.effects.is_empty()
                {
                    learn(native, [((event, *rule), site)].into(), &part);
                }
                all.append(part);
                progress.rule += 1;
            }
        }
    }
}

/// Tells the store of what an evaluation has changed.
fn tell(store: &mut Store<'_>, of: &Evaluation) {
    for change in of.effects.iter().flat_map(|effects| &effects.changes) {
        store.note(&change.key, change.change.clone());
    }
}

/// One entry for each event, though several rules changed rows for it.
fn by_event(effects: Vec<Effects>) -> Vec<Effects> {
    let mut joined: Vec<Effects> = Vec::with_capacity(effects.len());
    for mut of in effects {
        match joined.last_mut() {
            Some(last) if last.event == of.event => last.changes.append(&mut of.changes),
            _ => joined.push(of),
        }
    }
    joined
}

impl Progress {
    fn go_on(&mut self, native: &Native, jobs: &[Job]) -> Ended {
        let mut arena = bumpalo::Bump::new();
        while let Some(job) = jobs.get(self.job) {
            arena.reset();
            let rows = RefCell::new(std::mem::take(&mut self.rows));
            let ended = self.event(native, &arena, job, &rows);
            self.rows = rows.into_inner();
            match ended {
                Ended::Done => {
                    self.job += 1;
                    self.rule = 0;
                }
                ended => return ended,
            }
        }
        Ended::Done
    }

    fn event(
        &mut self,
        native: &Native,
        arena: &bumpalo::Bump,
        job: &Job,
        rows: &RefCell<Rows>,
    ) -> Ended {
        let Ok(event) = crate::event::read(arena, &job.json) else {
            return Ended::Python(None);
        };
        while let Some(rule) = job.rules.get(self.rule) {
            let look = Look {
                arena,
                log_type: &job.log_type,
                event,
                timed: native.is_timed(),
            };
            let (answer, loose) = native.with_rows(look, *rule, rows);
            if loose {
                self.loose.insert(job.event);
            }
            let happened = matches!(answer, Answer::No | Answer::Match(..));
            let changes = rows.borrow_mut().end_pair(happened);
            match answer {
                Answer::Missing(key) => return Ended::Missing(key),
                Answer::Python(site) => return Ended::Python(site),
                Answer::Store => return Ended::Python(None),
                answer => note(&mut self.evaluation, job.event, *rule, answer, changes),
            };
            self.rule += 1;
        }
        Ended::Done
    }
}
