//! Classification: finds which of a source's log types a record belongs to.
//!
//! Log types are tried in ascending order of penalty. A failed match adds 1 to a log type's penalty; a successful match resets it to 0. So
//! the log type of the previous record is tried first. Log types of equal penalty are tried in the order in which the source lists them. A
//! log type whose declared fields all match is preferred to a log type with misfits.

use std::{
    panic::{AssertUnwindSafe, catch_unwind},
    sync::Arc,
};

use thiserror::Error;

use crate::{
    event::{self, Event, EventContext},
    json::{Document, MAX_DEPTH, Node, Reader},
    log_types::{LogType, LogTypes},
    object::Record,
    parser::{Filter, Line, Parser, Reading, State},
    schema::{Findings, Shapes, match_record},
};

/// Result of the classification of one record.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Outcome {
    /// A log type matched the record. The record holds one or more events.
    Events(Vec<Event>),
    /// A log type matched the record as the last part of a multi-record event. The preceding records with the outcome `Begun` are the other
    /// parts of this event.
    Joined(Vec<Event>),
    /// The record may be part of a multi-record event that a later record completes. The caller buffers it: a later `Joined` of the same
    /// input makes it part of that event. The reader must know that an event is open: see
    /// [`ObjectReader::set_within_event`](crate::ObjectReader::set_within_event). Blank lines and parts of an envelope leave the record
    /// undecided. Every other outcome, and the end of the input, sends it to quarantine.
    Begun {
        /// Quarantine reasons, used if the event is never completed.
        reasons: Vec<Rejection>,
    },
    /// No log type matched the record. It goes to quarantine with the reasons.
    Unclassified {
        /// The reason of each log type, or a single reason if the record was unreadable and no log type was tried.
        reasons: Vec<Rejection>,
    },
    /// The record carries no event and is filtered out. No data is lost.
    Skipped(Filter),
}

impl Outcome {
    /// True if preceding records with the outcome `Begun` stay undecided after this outcome.
    pub fn leaves_begun_open(&self) -> bool {
        matches!(
            self,
            Self::Begun { .. } | Self::Skipped(Filter::Blank | Filter::Envelope)
        )
    }
}

/// Why a record was rejected.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Rejection {
    /// The log type that rejected the record. `None` if the record itself is unreadable.
    pub log_type: Option<Arc<str>>,
    /// Reason of the rejection, for operators.
    pub reason: String,
}

/// Why a classifier cannot be created.
#[derive(Debug, Clone, PartialEq, Eq, Error)]
pub enum ClassifierError {
    /// The source lists no log type.
    #[error("no log type is given to classify records by")]
    NoLogTypes,
    /// The source lists an unknown log type.
    #[error("there is no log type `{name}`{}", nearest.as_ref().map(|nearest| format!("; did you mean `{nearest}`?")).unwrap_or_default())]
    UnknownLogType {
        /// The unknown name.
        name: String,
        /// The known name with the smallest edit distance, if one is close enough.
        nearest: Option<Arc<str>>,
    },
}

/// Counters of a classifier. Invariant: `records` = `classified` + `filtered` + `unclassified`.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub struct Tally {
    /// Records received.
    pub records: u64,
    /// Total length of those records in their object, in bytes.
    pub bytes: u64,
    /// Records that became events.
    pub classified: u64,
    /// Events made from those records.
    pub events: u64,
    /// Blank lines, header lines, comments, and leading parts of a completed multi-record event.
    pub filtered: u64,
    /// Records that no log type matched, and parts of a multi-record event that is not complete.
    pub unclassified: u64,
    /// Events with fields whose type differs from the declared type: see [`Event::misfits`].
    pub misfits: u64,
}

/// Classifies the records of one object. Learned state (penalties, header lines) applies to that object only.
#[derive(Debug)]
pub struct Classifier {
    entries: Vec<Entry>,
    tally: Tally,
    /// Number of records of the open multi-record event.
    begun: u64,
    reader: Reader,
    scratch: Scratch,
}

#[derive(Debug)]
struct Entry {
    log_type: Arc<LogType>,
    state: State,
    penalty: u64,
}

/// Buffers reused from record to record. They are empty between records.
#[derive(Debug, Default)]
struct Scratch {
    nodes: Vec<Node<'static>>,
    written_nodes: Vec<Node<'static>>,
    findings: Findings<'static>,
    written_findings: Findings<'static>,
    written: Vec<String>,
}

impl Classifier {
    /// Creates a classifier for the log types that a source lists, in that order. Duplicate names are ignored.
    ///
    /// # Errors
    /// A name is not in `known`, or `log_types` is empty.
    pub fn new(known: &LogTypes, log_types: &[impl AsRef<str>]) -> Result<Self, ClassifierError> {
        let mut entries: Vec<Entry> = Vec::with_capacity(log_types.len());
        for name in log_types.iter().map(AsRef::as_ref) {
            let log_type = known
                .get(name)
                .ok_or_else(|| ClassifierError::UnknownLogType {
                    name: name.into(),
                    nearest: known.nearest(name).cloned(),
                })?;
            if !entries
                .iter()
                .any(|entry| Arc::ptr_eq(&entry.log_type, log_type))
            {
                entries.push(Entry {
                    log_type: Arc::clone(log_type),
                    state: State::default(),
                    penalty: 1,
                });
            }
        }
        if entries.is_empty() {
            return Err(ClassifierError::NoLogTypes);
        }
        Ok(Self {
            entries,
            tally: Tally::default(),
            begun: 0,
            reader: Reader::new(MAX_DEPTH),
            scratch: Scratch::default(),
        })
    }

    /// Starts a new input: resets penalties and learned header lines, which apply to one input only.
    pub fn begin_input(&mut self) {
        self.begun = 0;
        for entry in &mut self.entries {
            entry.state = State::default();
            entry.penalty = 1;
        }
    }

    /// Marks a gap in the input: the next record does not directly follow the previous one, so an open multi-record event is dropped.
    pub fn gap(&mut self) {
        self.begun = 0;
        for entry in &mut self.entries {
            entry.state.forget_begun();
        }
    }

    /// True if one of the log types has multi-record events.
    pub(crate) fn has_long_events(&self) -> bool {
        let mut parsers = self.entries.iter().map(|entry| &entry.log_type.parser);
        parsers.any(Parser::has_long_events)
    }

    /// True if one of the log types could read this line as the first part of a multi-record event.
    pub(crate) fn may_begin(&self, line: &str) -> bool {
        let mut parsers = self.entries.iter().map(|entry| &entry.log_type.parser);
        parsers.any(|parser| parser.may_begin(line))
    }

    /// True if a multi-record event is open, so that the next record may continue it.
    pub fn is_within_event(&self) -> bool {
        self.entries.iter().any(|entry| entry.state.is_open())
    }

    /// The counters so far.
    pub fn tally(&self) -> Tally {
        self.tally
    }

    /// Classifies one record and builds its events.
    pub fn classify(&mut self, record: &Record, context: &EventContext) -> Outcome {
        let outcome = match record.text() {
            Ok(_) if record.filter.is_some() => {
                Outcome::Skipped(record.filter.unwrap_or(Filter::Blank))
            }
            Ok(text) => {
                let whole = text;
                let text = text.trim();
                if text.is_empty() {
                    for entry in &mut self.entries {
                        entry.state.blank(whole);
                    }
                    Outcome::Skipped(Filter::Blank)
                } else {
                    // a panic of a parser affects only this record
                    catch_unwind(AssertUnwindSafe(|| {
                        self.classify_text(text, whole, record.number, context)
                    }))
                    .unwrap_or_else(|_| {
                        unreadable("a parser failed on it; this is a fault of the program".into())
                    })
                }
            }
            Err(defect) => {
                // a multi-record event without one of its lines would be a different event
                for entry in &mut self.entries {
                    entry.state.forget_begun();
                }
                unreadable(defect.to_string())
            }
        };
        self.tally.records += 1;
        self.tally.bytes += record.length;
        if let Outcome::Joined(_) = &outcome {
            self.tally.unclassified -= self.begun;
            self.tally.filtered += self.begun;
        }
        if !outcome.leaves_begun_open() {
            self.begun = 0;
        }
        match &outcome {
            Outcome::Events(events) | Outcome::Joined(events) => {
                self.tally.classified += 1;
                self.tally.events += events.len() as u64;
                self.tally.misfits += events
                    .iter()
                    .filter(|event| !event.misfits.is_empty())
                    .count() as u64;
            }
            Outcome::Begun { .. } => {
                self.tally.unclassified += 1;
                self.begun += 1;
            }
            Outcome::Unclassified { .. } => self.tally.unclassified += 1,
            Outcome::Skipped(_) => self.tally.filtered += 1,
        }
        outcome
    }

    fn classify_text(
        &mut self,
        text: &str,
        whole: &str,
        number: u64,
        context: &EventContext,
    ) -> Outcome {
        let mut scratch = std::mem::take(&mut self.scratch);
        let mut nodes = recycled(scratch.nodes);
        let mut findings = scratch.findings.recycled();
        let mut json_problem = String::new();
        let is_json = if text.starts_with('{') {
            match self.reader.read(text, &mut nodes) {
                Ok(()) => true,
                Err(error) => {
                    json_problem = error.to_string();
                    false
                }
            }
        } else {
            json_problem.push_str("is no JSON object");
            false
        };
        let document = Document::new(&nodes);
        let line = Line {
            text,
            whole,
            json: if is_json {
                Ok(document)
            } else {
                Err(&json_problem)
            },
        };

        let mut taken: Option<Taken> = None;
        let mut fewest = usize::MAX;
        let mut filtered = None;
        let mut begun = false;
        let mut rejections = Vec::new();
        for (index, entry) in self.entries.iter_mut().enumerate() {
            let log_type = &entry.log_type;
            let ends_begun = entry.state.is_open();
            scratch.written.clear();
            findings.begin(context.parse_time());
            let events = match log_type.parser.read(
                &line,
                &log_type.schema.root,
                &mut entry.state,
                &mut scratch.written,
            ) {
                Ok(Reading::AsItIs) => match_record(
                    &log_type.schema.root,
                    document,
                    0,
                    Shapes::Lenient,
                    &mut findings,
                )
                .map(|()| {
                    vec![event::build(
                        log_type.name(),
                        document,
                        0,
                        &mut findings,
                        context,
                        number,
                        0,
                    )]
                })
                .map_err(|mismatch| mismatch.to_string()),
                Ok(Reading::Written) => {
                    let mut written = Written {
                        reader: &mut self.reader,
                        shapes: log_type.parser.shapes(),
                        nodes: &mut scratch.written_nodes,
                        findings: &mut scratch.written_findings,
                    };
                    written.events(&scratch.written, log_type, context, number)
                }
                Ok(Reading::Filtered(filter)) => {
                    filtered = filtered.or(Some((index, filter)));
                    continue;
                }
                Ok(Reading::Begun) => {
                    begun = true;
                    rejections.push(Rejection {
                        log_type: Some(Arc::clone(log_type.name())),
                        reason: "a quoted value begins here or before and has no closing quote"
                            .into(),
                    });
                    continue;
                }
                Err(reason) => Err(reason),
            };
            match events {
                Ok(events) => {
                    let misfits = events.iter().map(|event| event.misfits.len()).sum();
                    if misfits < fewest {
                        fewest = misfits;
                        taken = Some(Taken {
                            index,
                            events,
                            ends_begun,
                        });
                    }
                    if misfits == 0 {
                        break;
                    }
                }
                Err(reason) => {
                    entry.penalty += 1;
                    rejections.push(Rejection {
                        log_type: Some(Arc::clone(log_type.name())),
                        reason,
                    });
                }
            }
        }
        let outcome = match (taken, filtered) {
            (Some(taken), _) => {
                if let Some(entry) = self.entries.get_mut(taken.index) {
                    entry.penalty = 0;
                }
                if taken.ends_begun {
                    Outcome::Joined(taken.events)
                } else {
                    Outcome::Events(taken.events)
                }
            }
            (None, Some((index, filter))) => {
                if let Some(entry) = self.entries.get_mut(index) {
                    entry.state.accept();
                }
                Outcome::Skipped(filter)
            }
            (None, None) => {
                for entry in &mut self.entries {
                    entry.state.accept();
                }
                let reasons = std::mem::take(&mut rejections);
                if begun {
                    Outcome::Begun { reasons }
                } else {
                    Outcome::Unclassified { reasons }
                }
            }
        };
        if !self.entries.is_sorted_by_key(|entry| entry.penalty) {
            self.entries.sort_by_key(|entry| entry.penalty);
        }
        scratch.findings = findings.recycled();
        scratch.nodes = recycled(nodes);
        self.scratch = scratch;
        outcome
    }
}

/// The best match so far.
struct Taken {
    /// Index of the log type in the classifier.
    index: usize,
    events: Vec<Event>,
    /// True if the record completes a multi-record event.
    ends_begun: bool,
}

/// Builds events from the JSON that a parser wrote.
struct Written<'s> {
    reader: &'s mut Reader,
    shapes: Shapes,
    nodes: &'s mut Vec<Node<'static>>,
    findings: &'s mut Findings<'static>,
}

impl Written<'_> {
    /// The events of all `texts`, or the reason of the first text that does not match: a record is matched as a whole or not at all.
    fn events(
        &mut self,
        texts: &[String],
        log_type: &LogType,
        context: &EventContext,
        number: u64,
    ) -> Result<Vec<Event>, String> {
        let mut nodes = recycled(std::mem::take(self.nodes));
        let mut findings = std::mem::take(self.findings).recycled();
        let mut events = Vec::with_capacity(texts.len());
        for (sub, text) in (0..).zip(texts) {
            findings.begin(context.parse_time());
            self.reader
                .read(text, &mut nodes)
                .map_err(|error| error.to_string())?;
            let document = Document::new(&nodes);
            match_record(
                &log_type.schema.root,
                document,
                0,
                self.shapes,
                &mut findings,
            )
            .map_err(|mismatch| mismatch.to_string())?;
            events.push(event::build(
                log_type.name(),
                document,
                0,
                &mut findings,
                context,
                number,
                sub,
            ));
        }
        *self.nodes = recycled(nodes);
        *self.findings = findings.recycled();
        Ok(events)
    }
}

fn unreadable(reason: String) -> Outcome {
    Outcome::Unclassified {
        reasons: vec![Rejection {
            log_type: None,
            reason,
        }],
    }
}

/// Largest node buffer that is kept for the next record, in nodes. The memory of a larger buffer is freed.
const KEPT_NODES: usize = 64 << 10;

/// Clears the vector so that it can hold the nodes of another text. Collecting in place keeps the allocation.
fn recycled<'b>(mut nodes: Vec<Node<'_>>) -> Vec<Node<'b>> {
    if nodes.capacity() > KEPT_NODES {
        return Vec::new();
    }
    nodes.clear();
    nodes.into_iter().map(|_| Node::Null).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_classifier_can_move_between_threads() {
        fn can_move<T: Send>() {}
        can_move::<Classifier>();
        can_move::<LogTypes>();
    }

    #[test]
    fn memory_is_kept_from_record_to_record_but_not_without_bound() {
        let nodes: Vec<Node<'_>> = Vec::with_capacity(100);
        assert_eq!(recycled(nodes).capacity(), 100);
        let nodes: Vec<Node<'_>> = Vec::with_capacity(KEPT_NODES + 1);
        assert_eq!(recycled(nodes).capacity(), 0);
        assert!(size_of::<Node<'_>>() <= 32);
    }
}
