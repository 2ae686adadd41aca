//! Evaluates rules in Rust, with Python's results or not at all.
//!
//! Python loads a pack and tells what it has loaded as syntax trees and constants; here they become a [`program`](mod@program) that runs over an event
//! in an arena. Whatever this engine does not do exactly as Python is a hole: the pair of rule and event is then left to Python. Nothing here has an
//! effect, so an evaluation that ends at a hole has left no trace.

mod address;
mod assignment;
mod builtins;
mod classes;
mod compile;
mod constants;
mod containers;
mod equality;
mod expressions;
mod format;
mod kinds;
mod library;
mod load;
mod lookups;
mod loops;
mod memo;
mod methods;
mod moment;
mod names;
mod number;
mod operators;
mod outputs;
mod pattern;
mod program;
mod raised;
mod rows;
mod run;
mod sets;
mod similarity;
mod source;
mod stages;
mod statements;
mod stop;
mod store;
mod strptime;
mod tested;
mod text;
mod texts;
mod times;
mod told;
mod trail;
mod value;
mod views;

use std::cell::RefCell;
use std::collections::{BTreeMap, HashMap};
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::Instant;

use bumpalo::Bump;
use parking_lot::Mutex;

use crate::event::Map;
use crate::key_value::KeyValueChange;
use crate::pack::DetectionKind;
use crate::verdict::RuleError;
pub(crate) use load::{Known, NativeSettings};
use memo::{Memo, Recollection};
pub(crate) use outputs::Answer;
use program::Program;
pub(crate) use rows::Rows;
pub(crate) use stages::Clock;
pub use stages::Stages;
use stop::Stop;
pub(crate) use tested::{InRust, TestEvent};
pub(crate) use told::Told;
pub(crate) use trail::Site;

/// The rules of a pack that are evaluated here.
#[derive(Debug)]
pub(crate) struct Native {
    program: Program,
    /// By log type: which rules say no to which events. An event of another log type has no rules.
    memos: HashMap<String, Memo>,
    /// Events so far, of which a share is evaluated by Python as well.
    events: AtomicU64,
    shadow_one_in: u64,
    /// How often a rule was left to Python, by reason. Reasons are the holes of the pack: there is no more of them than of its code.
    left: Mutex<BTreeMap<(u32, String), u64>>,
    /// What Python said of rules that raised.
    errors: raised::Errors,
    /// What rules have cost on those events of which it was taken.
    spent: Mutex<BTreeMap<u32, Spent>>,
    /// Where the time of those events went.
    stages: Mutex<Stages>,
    profile_one_in: u64,
    /// Events and pairs of which it could have been taken.
    looks: AtomicU64,
}

/// How often a rule may run out of steps before it is left to Python.
const MOST_EXHAUSTED: u32 = 3;

/// What a rule has cost in Rust.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub struct Spent {
    /// Events that it looked at.
    pub events: u64,
    /// Time, in nanoseconds.
    pub nanos: u64,
    /// Matches among them.
    pub matches: u64,
    /// Errors among them.
    pub errors: u64,
}

impl Spent {
    fn add(&mut self, begun: Instant, answer: &Answer) {
        self.events += 1;
        let nanos = u64::try_from(begun.elapsed().as_nanos()).unwrap_or(u64::MAX);
        self.nanos = self.nanos.saturating_add(nanos);
        match answer {
            Answer::Match(..) => self.matches += 1,
            Answer::Failed(_) => self.errors += 1,
            _ => {}
        }
    }
}

/// An event that rules look at.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Look<'a, 'e> {
    /// Where evaluations have their values.
    pub(crate) arena: &'e Bump,
    pub(crate) log_type: &'a str,
    pub(crate) event: &'e Map<'e>,
    /// Whether the time of its rules is taken.
    pub(crate) timed: bool,
}

impl Native {
    /// Whether Python is to evaluate the next event as well, with all rules: the first, and then one of so many.
    pub(crate) fn shadows(&self) -> bool {
        let event = self.events.fetch_add(1, Ordering::Relaxed);
        self.shadow_one_in > 0 && event.is_multiple_of(self.shadow_one_in)
    }

    /// What each rule has cost here, of those events of which it was taken.
    pub(crate) fn spent(&self) -> BTreeMap<u32, Spent> {
        self.spent.lock().clone()
    }

    /// Whether it is to be taken of the event that comes now: of one in so many.
    pub(crate) fn is_timed(&self) -> bool {
        self.profile_one_in > 0
            && self
                .looks
                .fetch_add(1, Ordering::Relaxed)
                .is_multiple_of(self.profile_one_in)
    }

    /// Adds where the time of some events went.
    pub(crate) fn took(&self, stages: &Stages) {
        if stages.events > 0 {
            self.stages.lock().add(stages);
        }
    }

    /// Where the time went of those events of which it was taken.
    pub(crate) fn stages(&self) -> Stages {
        *self.stages.lock()
    }

    /// How often each rule was left to Python, and why.
    pub(crate) fn left(&self) -> BTreeMap<(u32, String), u64> {
        self.left.lock().clone()
    }

    /// The rules that have to look at an event, of all those of its log type.
    pub(crate) fn select<'e>(&'e self, look: Look<'_, 'e>, all: &[u32]) -> Vec<u32> {
        let Some(memo) = self.memos.get(look.log_type) else {
            return all.to_vec();
        };
        let writes = self.program.writes.load(Ordering::Acquire);
        match memo.recall(look.event, writes) {
            Recollection::Only(rules) => return rules.to_vec(),
            Recollection::Nothing => {}
            Recollection::Learn => {
                let looked_up = all.iter().filter_map(|rule| self.looked_up(look, *rule));
                let looked_up: Vec<_> = looked_up.collect();
                memo.learn(look.event, &looked_up);
            }
            Recollection::New(key) => {
                let looks = |rule: &u32| {
                    self.looked_up(look, *rule)
                        .is_none_or(|paths| !memo.covers(&key, &paths))
                };
                let rules: Vec<u32> = all.iter().copied().filter(looks).collect();
                memo.keep(key, rules.clone(), writes);
                return rules;
            }
        }
        all.to_vec()
    }

    /// What a rule that says no to an event has looked up; `None` if it does not say no, or has looked at more than fields.
    fn looked_up<'e>(&'e self, look: Look<'_, 'e>, rule: u32) -> Option<Vec<memo::Path>> {
        let detection = self.program.detections.get(&rule)?;
        if detection.demoted.load(Ordering::Relaxed) {
            return None;
        }
        let event = look.event;
        let mut run = self.run(look);
        event.reads().keep();
        let said = run.over_event(detection.rule);
        let paths = event.reads().end(|reads| memo::paths(event, reads));
        match said {
            // It may have read the pack's state as it was loaded: once that is written, what it said is forgotten.
            Ok(value::Value::Bool(false)) => paths.flatten(),
            Err(Stop::Hole(what)) => {
                self.note_end(rule, what);
                None
            }
            _ => None,
        }
    }

    /// Evaluates rules over one event. Those that ask the key-value store go by a guess, in `rows`: `take` is given what they would change if it holds.
    pub(crate) fn evaluate<'e>(
        &'e self,
        look: Look<'_, 'e>,
        rules: &[u32],
        rows: &'e RefCell<Rows>,
        mut take: impl FnMut(u32, Answer, Option<Vec<KeyValueChange>>),
    ) {
        let mut run = self.run(look);
        run.of_store = Some(rows);
        for rule in rules {
            let answer = self.answer_timed(*rule, &mut run, look.timed);
            let happened = matches!(answer, Answer::No | Answer::Match(..));
            let guess = rows.borrow_mut().end_guess(happened);
            take(*rule, answer, guess);
        }
    }

    fn answer_timed(&self, rule: u32, run: &mut run::Run<'_>, timed: bool) -> Answer {
        let begun = timed.then(Instant::now);
        let answer = self.answer(rule, run);
        if let Some(begun) = begun {
            let mut spent = self.spent.lock();
            spent.entry(rule).or_default().add(begun, &answer);
        }
        answer
    }

    /// Evaluates a rule that asks the key-value store, over rows that have been fetched. What it changes is in `rows` then. And whether Python might put
    /// texts otherwise.
    pub(crate) fn with_rows<'e>(
        &'e self,
        look: Look<'_, 'e>,
        rule: u32,
        rows: &'e RefCell<Rows>,
    ) -> (Answer, bool) {
        let mut run = self.run(look);
        run.rows = Some(rows);
        let answer = self.answer_timed(rule, &mut run, look.timed);
        (answer, run.loose)
    }

    fn run<'e>(&'e self, look: Look<'_, 'e>) -> run::Run<'e> {
        let model = self.program.models.get(look.log_type);
        run::Run::new(look.arena, &self.program, model, look.event)
    }

    /// Evaluates a pair, and notes why it is left to Python if it is.
    fn answer(&self, rule: u32, run: &mut run::Run<'_>) -> Answer {
        let Some(detection) = self.program.detections.get(&rule) else {
            return self.leave(rule, "it has no form here");
        };
        if detection.demoted.load(Ordering::Relaxed) {
            return self.leave(rule, "it was found to need Python");
        }
        let said = detection.evaluate(run);
        if said.is_err() && run.rows.is_some_and(|rows| rows.borrow().is_guess()) {
            self.may_write(rule);
            return Answer::Store;
        }
        match said {
            Ok(None) => Answer::No,
            Ok(Some(outputs)) => Answer::Match(outputs, run.loose),
            Err(Stop::Hole(&run::STORE)) => {
                self.may_write(rule);
                Answer::Store
            }
            Err(Stop::Missing(key)) => Answer::Missing((*key).to_owned()),
            Err(Stop::Raise(raised)) => {
                // What it has changed in the store before stays.
                let site = match run.rows {
                    Some(rows) if rows.borrow().has_changes() => None,
                    _ => run.trail.site(raised),
                };
                if let Some(known) = site.as_ref().and_then(|site| self.errors.at(rule, site)) {
                    return Answer::Failed(known);
                }
                self.leave(rule, &format!("it raises {}", raised.classes.name()));
                Answer::Python(site)
            }
            Err(Stop::Hole(what)) => {
                if [run::STALE, run::CHANGED].contains(what) {
                    self.demote(rule);
                }
                self.note_end(rule, what);
                self.leave(rule, what)
            }
            Err(Stop::NoForm(what)) => self.leave(rule, what),
        }
    }

    /// Notes that a rule is left to Python.
    fn leave(&self, rule: u32, why: &str) -> Answer {
        *self.left.lock().entry((rule, why.to_owned())).or_default() += 1;
        self.may_write(rule);
        Answer::Python(None)
    }

    /// Notes that the globals that a rule writes may be others from now on, somewhere in Python.
    fn may_write(&self, rule: u32) {
        let detection = self.program.detections.get(&rule);
        for slot in detection.iter().flat_map(|detection| &detection.writes) {
            self.program.is_written(*slot);
        }
    }

    /// Keeps what Python said of a rule that raised.
    pub(crate) fn learn(&self, rule: u32, site: Site, error: &RuleError) {
        self.errors.learn(rule, site, error);
    }

    /// Whether a rule may ask the key-value store, as far as its functions tell.
    pub(crate) fn may_store(&self, rule: u32) -> bool {
        self.program
            .detections
            .get(&rule)
            .is_none_or(|detection| detection.may_store)
    }

    /// A rule that has run out of steps a few times is not let run into that again: Python stops it sooner, and suspends it if need be.
    fn note_end(&self, rule: u32, what: &str) {
        let detection = self.program.detections.get(&rule);
        if let Some(detection) = detection.filter(|_| what == run::STEPS)
            && detection.exhausted.fetch_add(1, Ordering::Relaxed) + 1 >= MOST_EXHAUSTED
        {
            self.demote(rule);
        }
    }

    /// Whether a detection is evaluated here at all.
    pub(crate) fn has(&self, rule: u32) -> bool {
        let detection = self.program.detections.get(&rule);
        detection.is_some_and(|detection| !detection.demoted.load(Ordering::Relaxed))
    }

    /// Whether it is a rule, which looks at events.
    pub(crate) fn is_rule(&self, rule: u32) -> bool {
        let detection = self.program.detections.get(&rule);
        detection.is_some_and(|detection| detection.kind == DetectionKind::Rule)
    }

    /// Leaves a rule to Python from now on.
    pub(crate) fn demote(&self, rule: u32) {
        if let Some(detection) = self.program.detections.get(&rule) {
            detection.demoted.store(true, Ordering::Relaxed);
        }
    }
}
