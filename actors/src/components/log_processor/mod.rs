//! `panther-log-processor`: reads objects that notifications name, classifies their records, writes processed events, and
//! says what came of every record.
//!
//! Nothing is dropped: a record becomes events, or goes into quarantine with each log type's reason, or is a blank,
//! header or comment line; the ledger's counts are changed by the command that ends the message.

pub mod read;

use std::sync::Arc;
use std::time::Duration;

use panther_cluster::door::TableReader;
use panther_cluster::door::change::{self, Change, RowExt};
use panther_cluster::objects::Objects;
use panther_logs::{Classifier, EventContext, Limits, RawReader, Timestamp};
use panther_proto::v1::{Message, Row, RowChange, Send};
use serde::{Deserialize, Serialize};

use super::log_types::LogTypeRegistry;
use super::notifications::{self, Named, Notification};
use super::objects;
use super::sources::ledger::{self, Counts, signed};
use super::sources::{self, Ledger, Source, SourceRegistry};
use crate::api::ApiError;
use crate::component::{Deps, Place};
use crate::supervision::Part;
use crate::traces;
use crate::worker::{Context, Failure, Handler, Plan, PlanContext};

/// The topic that hears of processed events.
pub const TOPIC: &str = "panther-processed-data-notifications";
/// The table of what no log type took: one row per object of it.
pub const QUARANTINE: &str = "panther-quarantine";
/// The table of objects that notifications named: a repeated notification is ignored.
const TOLD: &str = "panther-told-objects";
/// How long a row stays in that table. S3 repeats a notification within hours, and a queue in between may keep it for 14 days.
const TOLD_SECONDS: u64 = 30 * 24 * 3_600;
/// Attribute of a notification: the source that it belongs to.
pub const SOURCE: &str = "source";
/// Attribute of a notification: where the object's bytes came from, for people.
pub const ORIGIN: &str = "origin";
/// Attribute of a notification: the record to go on from.
const FROM: &str = "from";
/// Wait after an object that cannot be read, before it is tried again: short, so that poison surfaces soon.
const RETRY: Duration = Duration::from_secs(1);

/// The handler.
pub struct LogProcessor {
    /// Where objects lie.
    pub objects: Objects,
    /// Known log types.
    pub log_types: LogTypeRegistry,
    /// Log sources.
    pub sources: SourceRegistry,
    /// Bounds on what is read.
    pub limits: Limits,
}

/// What came of a message.
pub enum LogWork {
    /// There is nothing to do.
    Nothing,
    /// It names several things; each becomes a message of its own.
    Several(Vec<String>),
    /// It named an object, which was read.
    Object(Box<ObjectWork>),
}

/// What came of one object.
pub struct ObjectWork {
    source: Source,
    named: Named,
    outcome: read::Outcome,
    replay: Option<Replay>,
}

/// The function.
///
/// # Errors
/// None.
pub fn build(deps: &Deps, place: Place<'_>) -> Result<Part, ApiError> {
    Ok(place.worker(deps, LogProcessor::new(deps)))
}

impl Handler for LogProcessor {
    type Work = LogWork;

    async fn work(&self, message: &Message, context: &Context) -> Result<Self::Work, Failure> {
        let named = match notifications::notification(&message.body) {
            Ok(Notification::Object(named)) => named,
            Ok(Notification::Several(bodies)) => return Ok(LogWork::Several(bodies)),
            Ok(Notification::Ignored(reason)) => {
                tracing::info!(reason, "a notification asks for nothing");
                return Ok(LogWork::Nothing);
            }
            Err(reason) => return Err(Failure::message(reason)),
        };
        let from = number(message, FROM).unwrap_or(0);
        let source = self.source(message, &named, context).await?;
        if from == 0 && was_told(&context.door.tables(), &source, &named).await? {
            return Ok(LogWork::Nothing);
        }
        let outcome = self.read(message, &source, &named, from, context).await?;
        Ok(LogWork::Object(Box::new(ObjectWork {
            source,
            named,
            outcome,
            replay: Replay::of(message),
        })))
    }

    async fn plan(
        work: &Self::Work,
        message: &Message,
        context: &PlanContext,
    ) -> Result<Plan, Failure> {
        let work = match work {
            LogWork::Nothing => return Ok(done("asks for nothing, or was read before")),
            LogWork::Several(bodies) => {
                let sends = bodies.iter().map(|body| {
                    let mut send = change::to_queue(sources::INPUT_QUEUE, body.clone());
                    send.attributes.clone_from(&message.attributes);
                    send.turn.clone_from(&message.turn);
                    send
                });
                return Ok(Plan {
                    sends: sends.collect(),
                    what: format!("names {} objects; each is read by itself", bodies.len()),
                    ..Plan::default()
                });
            }
            LogWork::Object(work) => work,
        };
        let ObjectWork {
            source,
            named,
            replay,
            ..
        } = &**work;
        let is_first = number(message, FROM).unwrap_or(0) == 0;
        let mut plan = Plan::default();
        if is_first {
            // Another message of the same object, or of the same quarantined records, may have ended since this one was read.
            if was_told(&context.tables, source, named).await? {
                return Ok(done("was read before"));
            }
            if let Some(identity) = named.identity() {
                let row = Change::put(TOLD, change::key_range(&source.id, identity))
                    .if_row_absent()
                    .set("bucket", &named.bucket)
                    .set("key", &named.key)
                    .set("version", &named.version)
                    .set("expiresAt", expiry(context.received_ms));
                plan.changes.push(row.done());
            }
            if let Some(replay) = replay {
                let key = change::key_range(&source.id, &replay.object);
                let Some(row) = context.tables.get(QUARANTINE, &key).await? else {
                    return Ok(done("these records are in quarantine no more"));
                };
                plan.changes
                    .push(Change::delete(QUARANTINE, key).if_row_present().done());
                plan.changes
                    .extend(replay.kept.as_ref().map(|kept| kept.row(&source.id, &row)));
            }
        }
        let counted = if work.outcome.ledger.received > 0 {
            let ledger = work.outcome.ledger;
            let counts = replay.as_ref().map_or_else(
                || Counts::from(ledger),
                |replay| replay.counts(&work.outcome),
            );
            let total = ledger::add_to_totals(&context.tables, source, counts).await?;
            Some((counts, total))
        } else {
            None
        };
        if is_first && replay.is_none() {
            // From the row ids of the events to their trace.
            let of_object = traces::of_object(&named.key).trace_id();
            plan.links.push(of_object);
        }
        effects(&mut plan, work, counted, message, context);
        plan.what = words(work);
        Ok(plan)
    }
}

/// What came of an object, in words.
fn words(work: &ObjectWork) -> String {
    let ObjectWork {
        source, outcome, ..
    } = work;
    let Ledger {
        received,
        stored,
        quarantined,
        filtered,
    } = outcome.ledger;
    let mut types: Vec<&str> = outcome
        .outputs
        .iter()
        .map(|output| &*output.log_type)
        .collect();
    types.sort_unstable();
    types.dedup();
    let mut words = format!(
        "source {}: {received} records received, {stored} stored, {quarantined} quarantined, {filtered} filtered",
        source.label
    );
    if !types.is_empty() {
        words.push_str(&format!(" ({})", types.join(", ")));
    }
    if outcome.go_on_from.is_some() {
        words.push_str("; another message reads on");
    }
    words
}

/// A plan that changes nothing.
fn done(why: &str) -> Plan {
    Plan {
        what: why.to_owned(),
        ..Plan::default()
    }
}

/// Says which quarantined records a message reads again, and how they were counted.
#[derive(Debug, Clone)]
pub(crate) struct Replay {
    /// The quarantined object.
    pub(crate) object: String,
    /// Its records.
    pub(crate) count: u64,
    /// The hour of the ledger in which they are counted.
    pub(crate) hour: String,
    /// The object's other records, which cannot be read again.
    pub(crate) kept: Option<Kept>,
}

/// Records that stay in quarantine while the others of their object are read again.
#[derive(Debug, Clone, Serialize, Deserialize)]
pub(crate) struct Kept {
    /// The object that holds them and nothing else.
    pub(crate) object: String,
    /// How many there are.
    pub(crate) count: u64,
    /// Their first reasons.
    pub(crate) reasons: Vec<String>,
}

impl Kept {
    /// The row of their object, as `before` was the row of all records.
    fn row(&self, source: &str, before: &Row) -> RowChange {
        let mut change = Change::put(QUARANTINE, change::key_range(source, &self.object))
            .set("count", self.count)
            .set("reasons", self.reasons.clone());
        for name in ["sourceLabel", "object", "origin", "hour"] {
            if let Some(text) = before.text(name) {
                change = change.set(name, text);
            }
        }
        if let Some(time) = before.int("time") {
            change = change.set("time", time);
        }
        change.done()
    }
}

impl Replay {
    /// Attributes that carry it in a notification.
    const OBJECT: &str = "replayed";
    const COUNT: &str = "replayedCount";
    const HOUR: &str = "replayedHour";
    const KEPT: &str = "replayedKept";

    fn of(message: &Message) -> Option<Self> {
        Some(Self {
            object: message.attributes.get(Self::OBJECT)?.clone(),
            count: number(message, Self::COUNT)?,
            hour: message.attributes.get(Self::HOUR)?.clone(),
            kept: message
                .attributes
                .get(Self::KEPT)
                .and_then(|kept| serde_json::from_str(kept).ok()),
        })
    }

    /// Writes it into a notification.
    pub(crate) fn tell(&self, send: &mut Send) {
        for (name, value) in [
            (Self::OBJECT, self.object.clone()),
            (Self::COUNT, self.count.to_string()),
            (Self::HOUR, self.hour.clone()),
        ] {
            send.attributes.insert(name.to_owned(), value);
        }
        if let Some(kept) = &self.kept {
            let kept = serde_json::json!(kept).to_string();
            send.attributes.insert(Self::KEPT.to_owned(), kept);
        }
    }

    /// How the ledger changes: the records were received once, and leave the quarantined ones for what they are now.
    fn counts(&self, outcome: &read::Outcome) -> Counts {
        let Ledger {
            received,
            stored,
            quarantined,
            filtered,
        } = outcome.ledger;
        let mut counts = Counts {
            received: 0,
            stored: signed(stored),
            quarantined: signed(quarantined) - signed(received),
            filtered: signed(filtered),
        };
        if outcome.go_on_from.is_none() {
            // A reader of today may find another number of records in the same text than the reader that refused it.
            let more = signed(outcome.last_record) - signed(self.count);
            counts.quarantined += more;
            counts.received += more.max(0);
            counts.filtered += (-more).max(0);
        }
        counts
    }
}

/// The change of the hour in which records are counted.
fn in_hour(counts: Counts, source: &Source, hour: String) -> Change {
    let change = Change::update(sources::LEDGER, change::key_range(&source.id, hour))
        // The ledger outlives its source, and is shown under a name.
        .set("sourceLabel", &source.label);
    counts.add_to(change)
}

fn number(message: &Message, attribute: &str) -> Option<u64> {
    message.attributes.get(attribute)?.parse().ok()
}

/// In seconds, as the table's expiry counts.
const fn expiry(now_ms: u64) -> u64 {
    now_ms / 1_000 + TOLD_SECONDS
}

/// Whether the same writing of the same object was read before.
async fn was_told(tables: &TableReader, source: &Source, named: &Named) -> Result<bool, Failure> {
    let Some(identity) = named.identity() else {
        return Ok(false);
    };
    let key = change::key_range(&source.id, identity);
    let was_told = tables.get(TOLD, &key).await?.is_some();
    if was_told {
        tracing::info!(
            source = source.label,
            object = named.key,
            "a repeated notification names an object that was read before; it is ignored"
        );
    }
    Ok(was_told)
}

/// The rest of an object that is too large for one command is a message of its own.
fn go_on(message: &Message, named: &Named, source: &Source, from: u64) -> Send {
    let mut send = change::to_queue(
        sources::INPUT_QUEUE,
        objects::s3_event(&named.key, named.size.unwrap_or(1)).to_string(),
    );
    send.attributes.clone_from(&message.attributes);
    send.attributes.insert(FROM.to_owned(), from.to_string());
    send.attributes.insert(SOURCE.to_owned(), source.id.clone());
    send.turn.clone_from(&source.id);
    send
}

/// Adds the effects of a read object to a plan.
///
/// `counted`: the records as they are counted, and the change of the source's totals.
fn effects(
    plan: &mut Plan,
    work: &ObjectWork,
    counted: Option<(Counts, Change)>,
    message: &Message,
    context: &PlanContext,
) {
    let ObjectWork {
        source,
        named,
        outcome,
        replay,
    } = work;
    let now = context.received_ms;
    for output in &outcome.outputs {
        plan.changes.push(output.object.row_from(now, &named.key));
        let mut send = objects::processed(TOPIC, "LogData", &output.log_type, &output.object);
        send.attributes.insert(SOURCE.to_owned(), source.id.clone());
        plan.sends.push(send);
    }
    let hour = replay
        .as_ref()
        .map_or_else(|| sources::hour(now), |replay| replay.hour.clone());
    if let Some(quarantine) = &outcome.quarantine {
        plan.changes.push(quarantine.object.row(now));
        let row = Change::put(
            QUARANTINE,
            change::key_range(&source.id, &quarantine.object.name),
        )
        .set("sourceLabel", &source.label)
        .set("object", &named.key)
        .set(
            "origin",
            message.attributes.get(ORIGIN).map_or("", String::as_str),
        )
        .set("count", quarantine.count)
        .set("time", now)
        .set("hour", &hour)
        .set("reasons", quarantine.reasons.clone());
        plan.changes.push(row.done());
    }
    if let Some((counts, total)) = counted {
        plan.changes.push(in_hour(counts, source, hour).done());
        let total = if replay.is_none() {
            total.max("lastEventReceived", now)
        } else {
            total
        };
        plan.changes.push(total.done());
    }
    if let Some(from) = outcome.go_on_from {
        plan.sends.push(go_on(message, named, source, from));
    }
}

impl LogProcessor {
    /// The handler of a node.
    #[must_use]
    pub fn new(deps: &Deps) -> Self {
        Self {
            objects: deps.objects.clone(),
            log_types: LogTypeRegistry::new(deps.door.clone()),
            sources: deps.sources.clone(),
            limits: Limits::default(),
        }
    }

    async fn source(
        &self,
        message: &Message,
        named: &Named,
        context: &Context,
    ) -> Result<Source, Failure> {
        let found = match message.attributes.get(SOURCE) {
            Some(id) => sources::by_id(&context.door, id).await?,
            None => self.sources.of_object(&named.key).await?,
        };
        found.ok_or_else(|| {
            Failure::message(format!(
                "no source takes {}: {}; `pantherctl sources list` shows the sources and their prefixes",
                named.key,
                message.attributes.get(SOURCE).map_or_else(|| "no source's prefix is its beginning".to_owned(), |id| format!("the source {id} does not exist (any more)"))
            ))
        })
    }

    async fn read(
        &self,
        message: &Message,
        source: &Source,
        named: &Named,
        from: u64,
        context: &Context,
    ) -> Result<read::Outcome, Failure> {
        let types = self.log_types.current().await?;
        let classifier = Classifier::new(&types, &source.log_types).map_err(|error| {
            Failure::message(format!(
                "source {}: {error}; `pantherctl schemas list` shows the log types",
                source.label
            ))
        })?;
        let reader = self.objects.open(&named.key).await?;
        let parse_time =
            Timestamp::from_unix_millis(i64::try_from(context.received_ms).unwrap_or(0))
                .ok_or_else(|| Failure::Node("cluster time is no time".to_owned()))?;
        let reading = read::Reading {
            reader: RawReader::new(
                &message.attributes.get(ORIGIN).map_or_else(
                    || named.key.clone(),
                    |origin| format!("{origin} (kept as {})", named.key),
                ),
                reader,
                self.limits.clone(),
            ),
            classifier,
            event_context: EventContext::new(&source.id, &source.label, &named.key, parse_time),
            objects: self.objects.clone(),
            runtime: tokio::runtime::Handle::current(),
            source: source.id.clone(),
            unique: format!("{}-0", context.attempt),
            received_ms: context.received_ms,
            from,
        };
        let abandoned = Arc::new(std::sync::atomic::AtomicBool::new(false));
        let _guard = Abandon(abandoned.clone());
        let read = tokio::task::spawn_blocking(move || reading.run(&abandoned)).await;
        match read {
            Ok(outcome) => outcome.map_err(|failure| with_remedy(failure, &named.key)),
            Err(error) if error.is_panic() => Err(Failure::message(format!(
                "a parser panicked: {}",
                crate::worker::panic_text(error.into_panic())
            ))),
            Err(error) => Err(Failure::Node(error.to_string())),
        }
    }
}

/// Tells the reading thread that nobody waits for it any more.
struct Abandon(Arc<std::sync::atomic::AtomicBool>);

impl Drop for Abandon {
    fn drop(&mut self) {
        self.0.store(true, std::sync::atomic::Ordering::Relaxed);
    }
}

/// What mends an object that cannot be read hangs on where the object came from.
fn with_remedy(failure: Failure, key: &str) -> Failure {
    match failure {
        Failure::Message {
            reason,
            retry_after,
            record,
        } => {
            let remedy = if key.starts_with("raw/") {
                "what was received never changes, so that a requeue fails again: have it sent again, then delete this message with `pantherctl queue delete`"
            } else {
                "put a whole object in its place, then requeue"
            };
            Failure::Message {
                reason: format!("{reason}; {remedy}"),
                retry_after,
                record,
            }
        }
        other => other,
    }
}

fn unreadable(reason: String) -> Failure {
    Failure::Message {
        reason,
        retry_after: Some(RETRY),
        record: Vec::new(),
    }
}
