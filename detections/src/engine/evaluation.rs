//! What the engine is given and what it gives back.

use bytes::Bytes;
use serde::{Deserialize, Serialize};

use crate::key_value::KeyValueChange;
use crate::verdict::Outcome;

/// One event for the rules of its log type.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct EventInput {
    /// Selects the rules and the data model.
    pub log_type: String,
    /// The event as one JSON object.
    pub json: Bytes,
}

/// What came of one call of [`Engine::evaluate`](super::Engine::evaluate).
#[derive(Debug, Clone, Default, PartialEq)]
pub struct Evaluation {
    /// Matches and rule errors, ordered by event, then by detection. A rule that does not match leaves no trace.
    pub verdicts: Vec<Verdict>,
    /// Changes to the key-value store, ordered by event. They are to be committed with the message that brought the events, or not at all.
    pub effects: Vec<Effects>,
    /// Detections that ended their worker or ran out of time so often that the rest of this call's events were not given to them. Each event left out
    /// has its rule error in `verdicts`. Indices into the pack's detections, ascending.
    pub suspended: Vec<usize>,
    /// Pairs of which Rust and Python said something else. Python's word is in `verdicts`, and the engine leaves the rule to it from then on.
    pub differences: Vec<Difference>,
    /// How the work went.
    pub statistics: Statistics,
}

/// A pair on which the two ways of evaluating it do not agree.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Difference {
    /// Place of the event in the input.
    pub event: usize,
    /// Place of the detection in the pack.
    pub detection: usize,
    /// What Rust said, in short.
    pub native: String,
    /// What Python said, in short.
    pub python: String,
}

/// Counts of one evaluation.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct Statistics {
    /// Pairs of event and rule by log type alone.
    pub pairs: u64,
    /// Pairs that the memory of events did not spare and that were evaluated without Python.
    #[serde(default)]
    pub pairs_native: u64,
    /// Events that were evaluated both ways.
    #[serde(default)]
    pub events_shadowed: u64,
    /// Pairs that Python looked at.
    pub pairs_called: u64,
    /// Events with at least one such pair.
    pub events_called: u64,
    /// Time for deciding pairs without Python, added up, in microseconds.
    #[serde(default)]
    pub native_micros: u64,
    /// Time inside the Python workers, added up, in microseconds.
    pub python_micros: u64,
    /// Workers that ended or had to be killed.
    pub workers_lost: u64,
}

/// A match or a rule error.
#[derive(Debug, Clone, PartialEq)]
pub struct Verdict {
    /// Place of the event in the input.
    pub event: usize,
    /// Place of the detection in [`Pack::detections`](crate::pack::Pack::detections).
    pub detection: usize,
    /// What came of the pair.
    pub outcome: Outcome,
}

/// The store changes of one event, in order.
#[derive(Debug, Clone, PartialEq)]
pub struct Effects {
    /// Place of the event in the input.
    pub event: usize,
    /// The changes.
    pub changes: Vec<KeyValueChange>,
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
