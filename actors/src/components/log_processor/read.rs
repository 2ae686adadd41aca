//! One object, from its first record to its last: classified, gathered into outputs by log type and hour, and written.

use std::collections::BTreeMap;
use std::io::Read;
use std::sync::atomic::{AtomicBool, AtomicUsize, Ordering};

use panther_cluster::objects::Objects;
use panther_logs::{
    Classifier, Defect, Event, EventContext, ObjectError, Outcome as Classified, Piece, RawReader,
    Record, Rejection,
};
use serde::{Deserialize, Serialize};
use tokio::runtime::Handle;

use super::super::objects::{self, Packing, Written};
use super::super::sources::Ledger;
use super::unreadable;
use crate::worker::Failure;

/// Events of one output: what the rules engine takes in one message.
const OUTPUT_EVENTS: u64 = 1_000;
/// Bytes of events of one output.
const OUTPUT_BYTES: usize = 4 << 20;
/// Bytes of all outputs that are being gathered, by all objects that are read at one time; beyond that an object's largest is written.
const GATHERED_BYTES: usize = 64 << 20;
/// What an object may gather of it whatever the others do.
const SHARE_BYTES: usize = 8 << 20;
/// Bytes of the quarantine of one command, as they are read again and as they are stored.
const QUARANTINE_BYTES: usize = 64 << 20;
const QUARANTINE_PACKED_BYTES: usize = 4 << 20;
/// Outputs of one command; the rest of the object goes on as a message of its own.
const OUTPUTS: usize = 300;
/// Quarantined records of one command.
const QUARANTINED: u64 = 100_000;
/// Bytes kept of a quarantined record's text.
const TEXT_BYTES: usize = 64 << 10;
const HOUR_MS: i64 = 3_600_000;

/// One processed object.
pub(super) struct Output {
    pub(super) log_type: String,
    pub(super) object: Written,
}

/// What no log type took.
pub(super) struct Quarantine {
    pub(super) object: Written,
    pub(super) count: u64,
    /// The first reasons, for a list.
    pub(super) reasons: Vec<String>,
}

/// What came of an object.
#[derive(Default)]
pub(super) struct Outcome {
    pub(super) outputs: Vec<Output>,
    pub(super) quarantine: Option<Quarantine>,
    pub(super) ledger: Ledger,
    /// The record from which another message goes on.
    pub(super) go_on_from: Option<u64>,
    /// The number of the last record that was read.
    pub(super) last_record: u64,
}

/// A quarantined record as it is kept, one JSON object on a line.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct QuarantinedRecord {
    /// Its number in the raw object.
    pub record: u64,
    /// The input within the raw object, as its door named it: a file's path and offset. Empty if the door named none.
    #[serde(default, skip_serializing_if = "String::is_empty")]
    pub origin: String,
    /// Its text, cut where it was too long; bytes that are no UTF-8 are shown as such.
    pub text: String,
    /// The text is not the record: it is cut, stands for bytes that cannot be read, or bytes that are no UTF-8 were replaced.
    #[serde(default, skip_serializing_if = "std::ops::Not::not")]
    pub altered: bool,
    /// Each log type's reason.
    pub reasons: Vec<Reason>,
}

impl QuarantinedRecord {
    /// Whether the record can be read again: its text is what was received.
    pub(crate) fn can_be_replayed(&self) -> bool {
        // Records of before do not say that they were cut.
        !self.altered && self.text.len() < TEXT_BYTES && !self.text.trim().is_empty()
    }
}

/// Why one log type did not take a record.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Reason {
    /// The log type; `None` where the record cannot be read at all.
    pub log_type: Option<String>,
    /// Why.
    pub reason: String,
}

pub(super) struct Reading<R: Read> {
    pub(super) reader: RawReader<R>,
    pub(super) classifier: Classifier,
    pub(super) event_context: EventContext,
    pub(super) objects: Objects,
    pub(super) runtime: Handle,
    pub(super) source: String,
    pub(super) unique: String,
    pub(super) received_ms: u64,
    /// Records below are counted in an earlier message already.
    pub(super) from: u64,
}

#[derive(Default)]
struct Gathering {
    lines: Vec<u8>,
    events: u64,
}

/// What all objects that are read at one time have gathered, in bytes.
static GATHERED: AtomicUsize = AtomicUsize::new(0);

/// What one object has gathered of it; given back when its reading ends, however that ends.
#[derive(Default)]
struct Gathered(usize);

impl Gathered {
    fn add(&mut self, bytes: usize) {
        self.0 += bytes;
        GATHERED.fetch_add(bytes, Ordering::Relaxed);
    }

    fn remove(&mut self, bytes: usize) {
        let bytes = bytes.min(self.0);
        self.0 -= bytes;
        GATHERED.fetch_sub(bytes, Ordering::Relaxed);
    }

    fn is_too_much(&self) -> bool {
        self.0 > SHARE_BYTES && GATHERED.load(Ordering::Relaxed) > GATHERED_BYTES
    }
}

impl Drop for Gathered {
    fn drop(&mut self) {
        GATHERED.fetch_sub(self.0, Ordering::Relaxed);
    }
}

/// The records that are quarantined, as lines of their object.
#[derive(Default)]
struct Refused {
    /// `None` until the first record: a packer takes some hundred kilobytes, and most objects need no quarantine.
    lines: Option<Packing>,
    bytes: usize,
    count: u64,
    /// The first reasons, for a list.
    reasons: Vec<String>,
}

impl Refused {
    fn take(
        &mut self,
        mut record: QuarantinedRecord,
        why: Vec<Rejection>,
        ledger: &mut Ledger,
    ) -> Result<(), Failure> {
        ledger.quarantined += 1;
        self.count += 1;
        record.reasons = why.into_iter().map(reason).collect();
        remember(&mut self.reasons, &record.reasons);
        let mut line = serde_json::to_vec(&record).map_err(node)?;
        line.push(b'\n');
        self.bytes += line.len();
        let lines = self.lines.get_or_insert_with(|| Packing::new(0));
        lines.add(&line).map_err(node)
    }

    /// Takes the parts of an event that did not end, in their order.
    fn take_all(
        &mut self,
        begun: &mut Vec<(QuarantinedRecord, Vec<Rejection>)>,
        ledger: &mut Ledger,
    ) -> Result<(), Failure> {
        begun
            .drain(..)
            .try_for_each(|(record, why)| self.take(record, why, ledger))
    }

    fn is_full(&self) -> bool {
        self.count >= QUARANTINED
            || self.bytes > QUARANTINE_BYTES
            || self
                .lines
                .as_ref()
                .is_some_and(|lines| lines.packed_bytes() > QUARANTINE_PACKED_BYTES)
    }
}

impl<R: Read> Reading<R> {
    /// Reads to the end, or to where another message goes on. Blocking.
    pub(super) fn run(mut self, abandoned: &AtomicBool) -> Result<Outcome, Failure> {
        let mut outcome = Outcome::default();
        let mut gathering: BTreeMap<(String, i64), Gathering> = BTreeMap::new();
        let mut gathered = Gathered::default();
        let mut refused = Refused::default();
        // Parts of an event that has not ended: a few hundred at most, which the parser bounds.
        let mut begun: Vec<(QuarantinedRecord, Vec<Rejection>)> = Vec::new();
        let mut origin = String::new();
        loop {
            if abandoned.load(Ordering::Relaxed) {
                return Err(Failure::Node(
                    "the attempt that asked for this object has ended".to_owned(),
                ));
            }
            self.reader
                .set_within_event(self.classifier.is_within_event());
            let record = match self.reader.next_piece() {
                Ok(Some(Piece::Record(record))) => record,
                Ok(Some(Piece::Input { origin: from })) => {
                    self.classifier.begin_input();
                    refused.take_all(&mut begun, &mut outcome.ledger)?;
                    origin = from;
                    continue;
                }
                Ok(Some(Piece::Context(record))) => {
                    self.classifier.classify(&record, &self.event_context);
                    continue;
                }
                Ok(Some(Piece::Gap)) => {
                    self.classifier.gap();
                    continue;
                }
                Ok(None) => break,
                Err(ObjectError::Empty { object }) => {
                    tracing::info!(object, "an empty object holds no records");
                    break;
                }
                Err(error) if error.is_read_failure() => {
                    return Err(Failure::Node(error.to_string()));
                }
                Err(error) => return Err(unreadable(error.to_string())),
            };
            // What an earlier message has counted is classified again only for what the classifier learns from it.
            let classified = self.classifier.classify(&record, &self.event_context);
            if record.number < self.from {
                continue;
            }
            outcome.ledger.received += 1;
            outcome.last_record = record.number;
            if let Classified::Joined(_) = &classified {
                outcome.ledger.filtered += begun.drain(..).count() as u64;
            } else if !classified.leaves_begun_open() {
                refused.take_all(&mut begun, &mut outcome.ledger)?;
            }
            match classified {
                Classified::Skipped(_) => outcome.ledger.filtered += 1,
                Classified::Begun { reasons } => {
                    begun.push((quarantined(&record, &origin), reasons));
                }
                Classified::Events(events) | Classified::Joined(events) => {
                    outcome.ledger.stored += 1;
                    for event in events {
                        let key = place(&event);
                        gathered.add(event.json.len() + 1);
                        let slot = gathering.entry(key.clone()).or_default();
                        slot.lines.extend_from_slice(&event.json);
                        slot.lines.push(b'\n');
                        slot.events += 1;
                        if slot.events >= OUTPUT_EVENTS || slot.lines.len() >= OUTPUT_BYTES {
                            gathered.remove(self.write(&mut outcome, &mut gathering, &key)?);
                        }
                    }
                    while gathered.is_too_much() {
                        let Some(largest) = gathering
                            .iter()
                            .max_by_key(|(_, slot)| slot.lines.len())
                            .map(|(key, _)| key.clone())
                        else {
                            break;
                        };
                        gathered.remove(self.write(&mut outcome, &mut gathering, &largest)?);
                    }
                }
                Classified::Unclassified { reasons } => {
                    let record = quarantined(&record, &origin);
                    refused.take(record, reasons, &mut outcome.ledger)?;
                }
            }
            // The next message knows nothing of an event that this one began.
            if begun.is_empty()
                && (outcome.outputs.len() + gathering.len() >= OUTPUTS || refused.is_full())
            {
                outcome.go_on_from = Some(record.number + 1);
                break;
            }
        }
        while let Some(key) = gathering.keys().next().cloned() {
            self.write(&mut outcome, &mut gathering, &key)?;
        }
        refused.take_all(&mut begun, &mut outcome.ledger)?;
        if let Some(lines) = refused.lines {
            let name = format!("quarantine/{}/{}.json.gz", self.source, self.unique);
            let object = self.put(name, lines)?;
            outcome.quarantine = Some(Quarantine {
                object,
                count: refused.count,
                reasons: refused.reasons,
            });
        }
        Ok(outcome)
    }

    fn write(
        &self,
        outcome: &mut Outcome,
        gathering: &mut BTreeMap<(String, i64), Gathering>,
        key: &(String, i64),
    ) -> Result<usize, Failure> {
        let Some(slot) = gathering.remove(key) else {
            return Ok(0);
        };
        let (log_type, hour) = key;
        let hour_ms =
            u64::try_from(*hour).map_or(self.received_ms, |hour| hour * HOUR_MS.unsigned_abs());
        let name = objects::partitioned(
            "logs",
            log_type,
            hour_ms,
            &format!("{}-{}", self.unique, outcome.outputs.len()),
        );
        let mut lines = Packing::new(slot.lines.len());
        lines.add(&slot.lines).map_err(node)?;
        let object = self.put(name, lines)?;
        outcome.outputs.push(Output {
            log_type: log_type.clone(),
            object,
        });
        Ok(slot.lines.len())
    }

    fn put(&self, name: String, lines: Packing) -> Result<Written, Failure> {
        let content = lines.finish().map_err(node)?;
        let written = Written::of(name, &content);
        self.runtime
            .block_on(self.objects.put(&written.name, content))?;
        Ok(written)
    }
}

fn node(error: impl std::fmt::Display) -> Failure {
    Failure::Node(error.to_string())
}

fn place(event: &Event) -> (String, i64) {
    (
        event.log_type.to_string(),
        event.event_time.unix_millis().div_euclid(HOUR_MS),
    )
}

/// A record as it is kept in quarantine, without its reasons.
fn quarantined(record: &Record, origin: &str) -> QuarantinedRecord {
    let text = &record.raw[..record.raw.len().min(TEXT_BYTES)];
    let is_all = match &record.defect {
        Some(Defect::TooLong { .. } | Defect::Unreadable { .. }) => false,
        _ => record.raw.len() == text.len() && std::str::from_utf8(text).is_ok(),
    };
    QuarantinedRecord {
        record: record.number,
        origin: origin.to_owned(),
        text: String::from_utf8_lossy(text).into_owned(),
        altered: !is_all,
        reasons: Vec::new(),
    }
}

fn reason(rejection: Rejection) -> Reason {
    Reason {
        log_type: rejection.log_type.map(|log_type| log_type.to_string()),
        reason: rejection.reason,
    }
}

/// Keeps a few different reasons for the list of quarantined objects.
pub(crate) fn remember(reasons: &mut Vec<String>, why: &[Reason]) {
    const KEPT: usize = 5;
    for refused in why {
        let line = match &refused.log_type {
            Some(log_type) => format!("{log_type}: {}", refused.reason),
            None => refused.reason.clone(),
        };
        let line: String = line.chars().take(300).collect();
        if reasons.len() < KEPT && !reasons.contains(&line) {
            reasons.push(line);
        }
    }
}
