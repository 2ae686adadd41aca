//! `panther-log-processor`: reads objects that notifications name, classifies their records, writes processed events, and
//! says what came of every record.
//!
//! Nothing is dropped: a record becomes events, or goes into quarantine with each log type's reason, or is a blank,
//! header or comment line; the ledger's counts are changed by the command that ends the message.

pub mod read;

use std::sync::Arc;
use std::time::Duration;

use panther_cluster::door::change::{self, Change};
use panther_cluster::objects::Objects;
use panther_logs::{Classifier, EventContext, Limits, ObjectReader, Timestamp};
use panther_proto::v1::{Message, Send};

use super::log_types::LogTypeRegistry;
use super::objects::{self, Named, Notification};
use super::sources::{self, Ledger, Source};
use crate::worker::{Context, Failure, Handler, Plan};

/// The topic that hears of processed events.
pub const TOPIC: &str = "panther-processed-data-notifications";
/// The table of what no log type took: one row per object of it.
pub const QUARANTINE: &str = "panther-quarantine";
/// Attribute of a notification: the source that it belongs to.
pub const SOURCE: &str = "source";
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
    /// Bounds on what is read.
    pub limits: Limits,
}

/// What came of one object.
pub struct ObjectWork {
    source: Source,
    named: Named,
    outcome: read::Outcome,
}

impl Handler for LogProcessor {
    type Work = Vec<ObjectWork>;

    async fn work(&self, message: &Message, context: &Context) -> Result<Self::Work, Failure> {
        let named = match objects::notification(&message.body) {
            Ok(Notification::Objects(named)) => named,
            Ok(Notification::Ignored(reason)) => {
                tracing::info!(reason, "a notification asks for nothing");
                Vec::new()
            }
            Err(reason) => return Err(Failure::message(reason)),
        };
        let from = message
            .attributes
            .get(FROM)
            .and_then(|from| from.parse().ok())
            .unwrap_or(0);
        let mut work = Vec::with_capacity(named.len());
        for (place, named) in named.into_iter().enumerate() {
            let source = self.source(message, &named, context).await?;
            let outcome = self
                .read(
                    &source,
                    &named,
                    from,
                    &format!("{}-{place}", context.attempt),
                    context,
                )
                .await?;
            work.push(ObjectWork {
                source,
                named,
                outcome,
            });
        }
        Ok(work)
    }

    async fn plan(
        &self,
        work: &Self::Work,
        message: &Message,
        context: &Context,
    ) -> Result<Plan, Failure> {
        let mut plan = Plan::default();
        let now = context.received_ms;
        for ObjectWork {
            source,
            named,
            outcome,
        } in work
        {
            for output in &outcome.outputs {
                plan.changes.push(output.object.row(now));
                let mut send =
                    objects::processed(TOPIC, "LogData", &output.log_type, &output.object);
                send.attributes.insert(SOURCE.to_owned(), source.id.clone());
                plan.sends.push(send);
            }
            if let Some(quarantine) = &outcome.quarantine {
                plan.changes.push(quarantine.object.row(now));
                let row = Change::put(
                    QUARANTINE,
                    change::key_range(&source.id, &quarantine.object.name),
                )
                .set("sourceLabel", &source.label)
                .set("object", &named.key)
                .set("count", quarantine.count)
                .set("time", now)
                .set("reasons", quarantine.reasons.clone());
                plan.changes.push(row.done());
            }
            let Ledger {
                received,
                stored,
                quarantined,
                filtered,
            } = outcome.ledger;
            if received > 0 {
                let hour = objects::date(now).format("%Y-%m-%dT%H").to_string();
                let mut ledger =
                    Change::update(sources::LEDGER, change::key_range(&source.id, hour));
                for (name, count) in [
                    ("received", received),
                    ("stored", stored),
                    ("quarantined", quarantined),
                    ("filtered", filtered),
                ] {
                    ledger = ledger.add(name, i64::try_from(count).unwrap_or(i64::MAX));
                }
                plan.changes.push(ledger.done());
                plan.changes.push(
                    Change::update(sources::TABLE, change::key(&source.id))
                        .if_row_present()
                        .max("lastEventReceived", now)
                        .done(),
                );
            }
            if let Some(from) = outcome.go_on_from {
                plan.sends.push(go_on(message, named, source, from));
            }
        }
        Ok(plan)
    }
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

impl LogProcessor {
    async fn source(
        &self,
        message: &Message,
        named: &Named,
        context: &Context,
    ) -> Result<Source, Failure> {
        let found = match message.attributes.get(SOURCE) {
            Some(id) => sources::by_id(&context.door, id).await?,
            None => sources::of_object(&context.door, &named.key).await?,
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
        source: &Source,
        named: &Named,
        from: u64,
        unique: &str,
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
            reader: ObjectReader::new(&named.key, reader, self.limits.clone()),
            classifier,
            event_context: EventContext::new(&source.id, &source.label, &named.key, parse_time),
            objects: self.objects.clone(),
            runtime: tokio::runtime::Handle::current(),
            source: source.id.clone(),
            unique: unique.to_owned(),
            received_ms: context.received_ms,
            from,
        };
        let abandoned = Arc::new(std::sync::atomic::AtomicBool::new(false));
        let _guard = Abandon(abandoned.clone());
        let read = tokio::task::spawn_blocking(move || reading.run(&abandoned)).await;
        match read {
            Ok(outcome) => outcome,
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

fn unreadable(reason: String) -> Failure {
    Failure::Message {
        reason,
        retry_after: Some(RETRY),
        record: Vec::new(),
    }
}
