//! One evaluation: events cut into chunks, each chunk run to its end whatever its rules do to the workers.

use std::cell::RefCell;
use std::collections::HashMap;
use std::time::Duration;

use super::pool::Pool;
use super::shadow::{self, Shadow};
use super::stored::Guess;
use super::strikes::{Strikes, TIMEOUT, failed, loss_error};
use super::verdict::{
    Effects, Evaluation, EventInput, KeyValueChange, Outcome, Statistics, Verdict,
};
use super::wire::{EventResults, RuleResult};
use super::worker::{Continue, Ended, Job, Loss, Lost, Store};
use super::{Engine, EngineFault, KeyValueView, Selection, alone, stored};
use crate::native::{Answer, Clock, Look, Native, Rows, Site, Stages};

pub(super) async fn evaluate(
    engine: &Engine,
    events: &[EventInput],
    now: f64,
    view: &dyn KeyValueView,
) -> Result<Evaluation, EngineFault> {
    let strikes = Strikes::new(engine.settings.strikes);
    let mut evaluation = Evaluation::default();
    // One chunk after the other over one store: a rule sees what it wrote for earlier events of the call. Several calls
    // run side by side, so the workers are busy all the same.
    let mut store = Store::new(view, engine.settings.rule_time);
    for range in chunks_of(engine, events) {
        evaluation.append(chunk(engine, events, range, now, &mut store, &strikes).await?);
    }
    evaluation
        .verdicts
        .sort_by_key(|verdict| (verdict.event, verdict.detection));
    evaluation.effects.sort_by_key(|effects| effects.event);
    evaluation.suspended = strikes
        .out()
        .into_iter()
        .map(|rule| rule as usize)
        .collect();
    Ok(evaluation)
}

impl Evaluation {
    pub(super) fn append(&mut self, mut part: Self) {
        self.verdicts.append(&mut part.verdicts);
        self.effects.append(&mut part.effects);
        self.differences.append(&mut part.differences);
        self.statistics.add(part.statistics);
    }
}

impl Statistics {
    fn add(&mut self, other: Self) {
        self.pairs += other.pairs;
        self.pairs_native += other.pairs_native;
        self.events_shadowed += other.events_shadowed;
        self.native_micros += other.native_micros;
        self.pairs_called += other.pairs_called;
        self.events_called += other.events_called;
        self.python_micros += other.python_micros;
        self.workers_lost += other.workers_lost;
    }
}

/// Ranges of events, each within the bounds of a batch.
fn chunks_of(engine: &Engine, events: &[EventInput]) -> Vec<std::ops::Range<usize>> {
    let (most_events, most_bytes) = (engine.settings.batch_events, engine.settings.batch_bytes);
    let mut ranges = Vec::new();
    let (mut start, mut bytes) = (0, 0);
    for (place, event) in events.iter().enumerate() {
        if place > start && (place - start >= most_events || bytes + event.json.len() > most_bytes)
        {
            ranges.push(start..place);
            (start, bytes) = (place, 0);
        }
        bytes += event.json.len();
    }
    if start < events.len() {
        ranges.push(start..events.len());
    }
    ranges
}

/// How many workers, or templates with all of them, may be lost in one batch to no known rule before its rules are run one at a time.
const UNEXPLAINED: u32 = 2;

/// What a chunk has come to so far.
#[derive(Default)]
pub(super) struct Progress {
    pub(super) evaluation: Evaluation,
    /// Jobs that are behind it.
    pub(super) done: usize,
}

async fn chunk(
    engine: &Engine,
    events: &[EventInput],
    range: std::ops::Range<usize>,
    now: f64,
    store: &mut Store<'_>,
    strikes: &Strikes,
) -> Result<Evaluation, EngineFault> {
    let Planned {
        mut evaluation,
        mut jobs,
        storing,
        guess,
        shadows,
        raising,
    } = planned(engine, &events[range.clone()], range.start, now).await?;
    if !storing.is_empty() {
        if engine.selection.share_rows(&jobs) {
            join(&mut jobs, storing, &mut evaluation.statistics);
        } else {
            let part = stored::evaluate(engine, &engine.pool, &storing, guess, now, store, strikes);
            evaluation.append(part.await?.evaluation);
        }
    }
    let in_python = in_python(engine, &engine.pool, jobs, now, store, strikes).await?;
    if let Some(native) = &engine.selection.native {
        learn(native, raising, &in_python);
    }
    evaluation.append(in_python);
    if let Some(native) = &engine.selection.native {
        shadow::compare(native, &shadows, &mut evaluation);
    }
    Ok(evaluation)
}

/// Keeps what Python said of pairs that raised, for those like them.
pub(super) fn learn(native: &Native, mut raising: HashMap<(usize, u32), Site>, said: &Evaluation) {
    for verdict in &said.verdicts {
        let Ok(rule) = u32::try_from(verdict.detection) else {
            continue;
        };
        if let Outcome::Failed(error) = &verdict.outcome
            && let Some(site) = raising.remove(&(verdict.event, rule))
        {
            native.learn(rule, site, error);
        }
    }
}

/// Runs jobs to their end, whatever their rules do to the workers.
pub(super) async fn in_python(
    engine: &Engine,
    pool: &Pool,
    mut jobs: Vec<Job>,
    now: f64,
    store: &mut Store<'_>,
    strikes: &Strikes,
) -> Result<Evaluation, EngineFault> {
    let mut progress = Progress::default();
    // Workers lost to no known rule, and templates.
    let mut unexplained = 0;
    // Jobs up to here are run with a look after each rule.
    let mut careful: usize = 0;
    loop {
        if !progress.advance(&mut jobs, strikes) {
            return Ok(progress.evaluation);
        }
        // Jobs may have lost their last rule; the worker skips them.
        let mut lease = pool.lease().await?;
        let begun = progress.done;
        let take = |results: EventResults| progress.take(&jobs, begun, results, strikes);
        let carefully = u32::try_from(careful.saturating_sub(begun)).unwrap_or(u32::MAX);
        let batch = lease
            .worker()
            .batch(&jobs[begun..], carefully, now, store, take);
        let ended = batch.await;
        match ended {
            Ok(micros) => {
                progress.evaluation.statistics.python_micros += micros;
                lease.give_back();
                return Ok(progress.evaluation);
            }
            Err(Ended::Cut) => {}
            Err(Ended::Spoilt { up_to, reason }) => {
                drop(lease);
                progress.evaluation.statistics.workers_lost += 1;
                // A rule that does it only now and then may have done nothing when it was looked at.
                let nothing_found = careful > begun;
                careful = begun + up_to as usize + 1;
                tracing::info!(reason, "a rule is looked for");
                unexplained += u32::from(nothing_found);
            }
            Err(Ended::Fault(fault)) => return Err(fault),
            Err(Ended::Lost(loss)) => {
                let generation = lease.worker().generation();
                drop(lease);
                progress.evaluation.statistics.workers_lost += 1;
                // All workers end with their template, whatever they are at.
                let with_all = loss.how == Lost::Died && pool.template_ended(generation).await;
                if !with_all
                    && progress.blame(&mut jobs, begun, &loss, strikes, engine.settings.rule_time)
                {
                    unexplained = 0;
                } else {
                    tracing::warn!(reason = loss.reason, "a worker was lost to no known rule");
                    unexplained += 1;
                }
            }
        }
        if unexplained >= UNEXPLAINED {
            let rest = jobs.split_off(progress.done);
            let alone = alone::evaluate(engine, pool, &rest, now, store, strikes).await?;
            progress.evaluation.append(alone);
            return Ok(progress.evaluation);
        }
    }
}

/// Decides what can be decided here, on a thread that may be busy for a while, and gives the pairs that Python has to look at.
async fn planned(
    engine: &Engine,
    events: &[EventInput],
    first: usize,
    now: f64,
) -> Result<Planned, EngineFault> {
    engine.pool.open()?;
    let selection = std::sync::Arc::clone(&engine.selection);
    let events = events.to_vec();
    tokio::task::spawn_blocking(move || selection.plan(&events, first, now))
        .await
        .map_err(|error| EngineFault::Native {
            reason: error.to_string(),
        })
}

impl Selection {
    /// Whether rules that Python evaluates may use the key-value store, so that all must that do.
    fn share_rows(&self, jobs: &[Job]) -> bool {
        let Some(native) = &self.native else {
            return true;
        };
        jobs.iter()
            .flat_map(|job| &job.rules)
            .any(|rule| native.may_store(*rule))
    }

    fn plan(&self, events: &[EventInput], first: usize, now: f64) -> Planned {
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
            evaluation.statistics.pairs += self.index.rules(&input.log_type) as u64;
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
            let mut rules = match (&self.native, look) {
                (Some(native), Some(look)) => {
                    native.select(look, self.index.all(log_type), |some| match some {
                        Some(rules) => self.index.candidates_among(log_type, look.event, rules),
                        None => self.index.candidates_of(log_type, read),
                    })
                }
                _ => self.index.candidates_of(log_type, read),
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
                    let others = self.index.all(log_type).filter(|rule| {
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

/// Gives pairs that were to be evaluated without Python to Python.
fn join(jobs: &mut Vec<Job>, storing: Vec<Job>, statistics: &mut Statistics) {
    for mut job in storing {
        statistics.pairs_called += job.rules.len() as u64;
        match jobs.binary_search_by_key(&job.event, |job| job.event) {
            Ok(place) => {
                jobs[place].rules.append(&mut job.rules);
                jobs[place].rules.sort_unstable();
            }
            Err(place) => {
                statistics.events_called += 1;
                jobs.insert(place, job);
            }
        }
    }
}

/// What is decided of a chunk, and what is not.
struct Planned {
    evaluation: Evaluation,
    /// For Python.
    jobs: Vec<Job>,
    /// Rules that ask the key-value store, to be evaluated one event after the other.
    storing: Vec<Job>,
    /// What they say if the rows that they ask for are empty.
    guess: Guess,
    /// What Python is expected to say of events that it evaluates as well.
    shadows: Vec<Shadow>,
    /// Where pairs of `jobs` raised, by event and rule.
    raising: HashMap<(usize, u32), Site>,
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
