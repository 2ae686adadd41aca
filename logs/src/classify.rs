//! Classification: of the log types that a source may send, which one is this record?
//!
//! Log types are tried in the order of their penalties: one that fails gets one more, one that succeeds has none. So the type of the record
//! before is tried first, and equal penalties leave the order in which the source lists its types. A type whose declared fields all have
//! the declared shapes is preferred to one for which some have not.

use std::{
    panic::{AssertUnwindSafe, catch_unwind},
    sync::Arc,
};

use thiserror::Error;

use crate::{
    event::{self, Event, EventContext},
    json::{Document, Node, Reader},
    log_types::{LogType, LogTypes},
    object::Record,
    parser::{Filter, Line, Parser, Reading, State},
    schema::{Findings, Shapes, match_record},
};

/// How deep a record's JSON may be nested.
const MAX_DEPTH: usize = 128;

/// What became of a record.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Outcome {
    /// A log type took it: one event, or several that it held.
    Events(Vec<Event>),
    /// A log type took it as the end of an event that records with the outcome `Begun` began. Those records are parts of this event.
    Joined(Vec<Event>),
    /// It may be part of an event that a later record ends. The caller keeps it until then: a later `Joined` of the same input makes it part of
    /// that event. The reader must know of it: see [`ObjectReader::set_within_event`](crate::ObjectReader::set_within_event). Blank lines and
    /// parts of an envelope decide nothing. Every other outcome, and the end of the input, puts it into quarantine.
    Begun {
        /// Why it is quarantined if the event does not end.
        reasons: Vec<Rejection>,
    },
    /// No log type took it; it belongs into quarantine, with the reasons.
    Unclassified {
        /// Each log type's reason, or the one reason for which no log type was tried.
        reasons: Vec<Rejection>,
    },
    /// It carries no event, and nothing is lost without it.
    Skipped(Filter),
}

impl Outcome {
    /// Whether records with the outcome `Begun` before this one stay undecided.
    pub fn leaves_begun_open(&self) -> bool {
        matches!(
            self,
            Self::Begun { .. } | Self::Skipped(Filter::Blank | Filter::Envelope)
        )
    }
}

/// Why a record was not taken.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Rejection {
    /// The log type that refused it; none where the record itself is unreadable.
    pub log_type: Option<Arc<str>>,
    /// Why.
    pub reason: String,
}

/// Why there can be no classifier.
#[derive(Debug, Clone, PartialEq, Eq, Error)]
pub enum ClassifierError {
    /// The source lists no log type.
    #[error("no log type is given to classify records by")]
    NoLogTypes,
    /// A log type that does not exist.
    #[error("there is no log type `{name}`{}", nearest.as_ref().map(|nearest| format!("; did you mean `{nearest}`?")).unwrap_or_default())]
    UnknownLogType {
        /// Its name.
        name: String,
        /// The name most like it.
        nearest: Option<Arc<str>>,
    },
}

/// What went through a classifier. `records` = `classified` + `filtered` + `unclassified`.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub struct Tally {
    /// Records received.
    pub records: u64,
    /// Bytes of those records in their object.
    pub bytes: u64,
    /// Records that became events.
    pub classified: u64,
    /// Events that they became.
    pub events: u64,
    /// Blank, header and comment lines, and parts of an event that a later record ended.
    pub filtered: u64,
    /// Records that no log type took, and parts of an event that has not ended.
    pub unclassified: u64,
    /// Events some of whose fields have other shapes than declared: see [`Event::misfits`].
    pub misfits: u64,
}

/// Classifies the records of one object. What it learns (penalties, header lines) holds for that object only.
#[derive(Debug)]
pub struct Classifier {
    entries: Vec<Entry>,
    tally: Tally,
    /// Records of the event that has not ended.
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

/// Working memory kept from record to record; empty between them.
#[derive(Debug, Default)]
struct Scratch {
    nodes: Vec<Node<'static>>,
    written_nodes: Vec<Node<'static>>,
    findings: Findings<'static>,
    written_findings: Findings<'static>,
    written: Vec<String>,
}

impl Classifier {
    /// For the log types that a source lists, in its order; names given twice count once.
    ///
    /// # Errors
    /// A name that `known` does not have, or no name at all.
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

    /// Another input begins: forgets penalties and header lines, which hold for one input only.
    pub fn begin_input(&mut self) {
        self.begun = 0;
        for entry in &mut self.entries {
            entry.state = State::default();
            entry.penalty = 1;
        }
    }

    /// What follows does not stand directly behind what came: an event that has begun does not go on.
    pub fn gap(&mut self) {
        self.begun = 0;
        for entry in &mut self.entries {
            entry.state.forget_begun();
        }
    }

    /// Whether an event of one of the log types may be more than one record.
    pub(crate) fn has_long_events(&self) -> bool {
        let mut parsers = self.entries.iter().map(|entry| &entry.log_type.parser);
        parsers.any(Parser::has_long_events)
    }

    /// Whether one of the log types could take a line for the beginning of an event that later records end.
    pub(crate) fn may_begin(&self, line: &str) -> bool {
        let mut parsers = self.entries.iter().map(|entry| &entry.log_type.parser);
        parsers.any(|parser| parser.may_begin(line))
    }

    /// Whether the next record may go on with an event that the records before have begun.
    pub fn is_within_event(&self) -> bool {
        self.entries.iter().any(|entry| entry.state.is_open())
    }

    /// What went through so far.
    pub fn tally(&self) -> Tally {
        self.tally
    }

    /// Finds the log type of a record and makes its events.
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
                    // a parser's fault is one record's matter
                    catch_unwind(AssertUnwindSafe(|| {
                        self.classify_text(text, whole, record.number, context)
                    }))
                    .unwrap_or_else(|_| {
                        unreadable("a parser failed on it; this is a fault of the program".into())
                    })
                }
            }
            Err(defect) => {
                // An event without one of its lines would be another event.
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
            findings.clear();
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

/// What the best log type so far made of a record.
struct Taken {
    /// The log type's place in the classifier.
    index: usize,
    events: Vec<Event>,
    /// Whether the record ends an event that earlier records began.
    ends_begun: bool,
}

/// Makes events of the JSON that a parser wrote.
struct Written<'s> {
    reader: &'s mut Reader,
    shapes: Shapes,
    nodes: &'s mut Vec<Node<'static>>,
    findings: &'s mut Findings<'static>,
}

impl Written<'_> {
    /// The events of all `texts`, or the reason of the first that is none: a record is taken whole or not at all.
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
            findings.clear();
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

/// Nodes whose memory is kept for the next record; what a larger record took is given back.
const KEPT_NODES: usize = 64 << 10;

/// The emptied vector for nodes of another text: collecting in place keeps the allocation.
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
