//! The last step of each door: an object that is durable, and its notification to the log processor, which is committed in the same command as the
//! object's row. A sender is answered after this step.
//!
//! The trace begins here. An object of one body whose sender brought a trace belongs to that trace; any other object has a trace of its own, to which
//! the traces of its senders are linked.
//!
//! A row remembers which object an idempotency key has made and of which content, for as long as that object is kept: the same body under the same
//! key has no second effect, and another body under it is refused.

use bytes::Bytes;
use data_encoding::HEXLOWER;
use panther_cluster::door::change::{self, Change, RowExt};
use panther_cluster::door::{Door, DoorError};
use panther_cluster::objects::{Objects, ObjectsError};
use panther_proto::trace::TraceContext;
use panther_proto::v1::{Key, RowChange, Send, Transact};
use sha2::{Digest, Sha256};
use tracing::Instrument as _;

use crate::components::log_processor::{ORIGIN, SOURCE};
use crate::components::objects::{Written, s3_event};
use crate::components::sources::INPUT_QUEUE;
use crate::dates::date;
use crate::traces::{Hop, Traces, of_object};

/// The table of idempotency keys: a row for each source and key.
pub(crate) const KEYS: &str = "panther-ingest-keys";

/// Why a body was not stored. All senders of a batch get the same reason.
#[derive(Debug, Clone, thiserror::Error)]
#[error("{0}")]
pub(super) struct StoreError(String);

impl From<ObjectsError> for StoreError {
    fn from(error: ObjectsError) -> Self {
        Self(error.to_string())
    }
}

impl From<DoorError> for StoreError {
    fn from(error: DoorError) -> Self {
        Self(error.to_string())
    }
}

/// Traces of senders that are linked to one object at most; the others find their events by the object.
const LINKED: usize = 64;

/// How the content of one object came.
#[derive(Debug, Clone, Default)]
pub(super) struct Arrival {
    /// The door.
    pub(super) door: &'static str,
    /// Bodies, or pieces of files.
    pub(super) bodies: usize,
    /// The traces that senders brought.
    pub(super) traces: Vec<TraceContext>,
}

impl Arrival {
    /// The trace of the object with this name, and the span that caused it.
    pub(super) fn trace(&self, name: &str) -> TraceContext {
        match (self.bodies, self.traces.as_slice()) {
            (1, [brought]) => *brought,
            _ => of_object(name),
        }
    }

    /// The span in which the object with this name is stored.
    fn span(&self, name: &str, trace: TraceContext) -> tracing::Span {
        tracing::debug_span!(
            "store",
            component = format!("door {}", self.door),
            object = name,
            trace_id = trace.trace_id(),
            span_id = trace.span_id(),
            parent_span_id = self.trace(name).span_id(),
        )
    }
}

/// An object that is durable and whose notification is committed.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct StoredObject {
    /// Its name.
    pub(super) name: String,
    /// The trace that it belongs to.
    pub(super) trace: TraceContext,
}

/// Stores bodies. Clones share the door and the object store.
#[derive(Clone)]
pub(super) struct Committer {
    door: Door,
    objects: Objects,
    traces: Traces,
}

impl Committer {
    pub(super) fn new(door: Door, objects: Objects) -> Self {
        Self {
            traces: Traces::new(door.clone()),
            door,
            objects,
        }
    }

    pub(super) fn fresh_name(&self, source: &str) -> String {
        fresh_name(source, self.door.now_ms())
    }

    /// Stores an object and commits its notification.
    pub(super) async fn store(
        &self,
        source: &str,
        name: String,
        content: Bytes,
        arrival: &Arrival,
    ) -> Result<StoredObject, StoreError> {
        let trace = arrival.trace(&name).child();
        let stored = async {
            let written = self.put(name.clone(), content).await?;
            self.tell(source, &written, arrival, Vec::new(), trace)
                .await
        };
        stored.instrument(arrival.span(&name, trace)).await?;
        Ok(StoredObject { name, trace })
    }

    /// Stores a body once for its key: the object that the key has made, now or before. `None`: it was another body.
    pub(super) async fn store_once(
        &self,
        source: &str,
        key: &str,
        content: Bytes,
        arrival: &Arrival,
    ) -> Result<Option<StoredObject>, StoreError> {
        let row = change::key_range(
            source,
            HEXLOWER.encode(&Sha256::digest(key.as_bytes())[..16]),
        );
        let hash = Written::of(String::new(), &content).hash;
        // Which trace the first body brought is not known here; that of the object's name leads to it.
        let stored = |name: String| StoredObject {
            trace: of_object(&name).child(),
            name,
        };
        if let Some(made) = self.made(&row, &hash).await? {
            return Ok(made.map(stored));
        }
        let name = format!("raw/{source}/key-{}-{}", row.range, &hash[..16]);
        let written = self.put(name, content).await?;
        let remember = Change::put(KEYS, row.clone())
            .if_row_absent()
            .set("object", &written.name)
            .set("hash", &hash)
            .done();
        let trace = arrival.trace(&written.name).child();
        let told = self.tell(source, &written, arrival, vec![remember], trace);
        match told.instrument(arrival.span(&written.name, trace)).await {
            Ok(()) => Ok(Some(StoredObject {
                name: written.name,
                trace,
            })),
            // The same key came at the same time, or this is a retry of what was done.
            Err(error) => match self.made(&row, &hash).await? {
                Some(made) => Ok(made.map(stored)),
                None => Err(error),
            },
        }
    }

    /// The object that a key has made; `Some(None)` if it was made of another body.
    async fn made(&self, row: &Key, hash: &str) -> Result<Option<Option<String>>, StoreError> {
        let row = self.door.get(KEYS, row).await?;
        Ok(row.map(|row| {
            let object = row.text("object").unwrap_or_default().to_owned();
            (row.text("hash") == Some(hash)).then_some(object)
        }))
    }

    async fn put(&self, name: String, content: Bytes) -> Result<Written, StoreError> {
        let written = Written::of(name, &content);
        self.objects.put(&written.name, content).await?;
        Ok(written)
    }

    /// Names an object and tells the log processor of it, in one command.
    async fn tell(
        &self,
        source: &str,
        written: &Written,
        arrival: &Arrival,
        changes: Vec<RowChange>,
        trace: TraceContext,
    ) -> Result<(), StoreError> {
        let notification = notification(source, written, "");
        let to = (&self.door, &self.traces);
        let transact = command(to, written, notification, (arrival, trace), changes).await;
        self.door.transact(transact).await?;
        Ok(())
    }
}

/// The command of an object that a door stored: its row and `changes`, its notification, and the first hop of its trace.
pub(super) async fn command(
    (door, traces): (&Door, &Traces),
    written: &Written,
    mut notification: Send,
    (arrival, trace): (&Arrival, TraceContext),
    mut changes: Vec<RowChange>,
) -> Transact {
    let brought = arrival.trace(&written.name);
    let now_ms = door.now_ms();
    let hop = Hop {
        trace_id: trace.trace_id(),
        span_id: trace.span_id(),
        parent_span_id: brought.span_id(),
        time_ms: now_ms,
        component: format!("door {}", arrival.door),
        what: format!(
            "{} bod{}, {} bytes stored as {}",
            arrival.bodies,
            if arrival.bodies == 1 { "y" } else { "ies" },
            written.bytes,
            written.name
        ),
        objects: vec![written.name.clone()],
        ..Hop::default()
    };
    changes.push(written.row(now_ms));
    changes.extend(traces.row(hop).await);
    for sender in arrival.traces.iter().take(LINKED) {
        changes.extend(traces.link(&sender.trace_id(), &trace).await);
    }
    notification.trace_id = trace.trace_id();
    notification.span_id = trace.span_id();
    Transact {
        changes,
        sends: vec![notification],
        trace_id: trace.trace_id(),
        span_id: trace.span_id(),
        ..Transact::default()
    }
}

/// A name for a raw object that no other object has.
pub(super) fn fresh_name(source: &str, now_ms: u64) -> String {
    format!(
        "raw/{source}/{}/{}",
        date(now_ms).format("%Y%m%d/%H%M%S"),
        uuid::Uuid::new_v4()
    )
}

/// Tells the log processor of a raw object. `origin` says where its bytes came from, for people; empty where the object says it.
pub(super) fn notification(source: &str, written: &Written, origin: &str) -> Send {
    let mut send = change::to_queue(
        INPUT_QUEUE,
        s3_event(&written.name, written.bytes).to_string(),
    );
    send.attributes.insert(SOURCE.to_owned(), source.to_owned());
    if !origin.is_empty() {
        send.attributes.insert(ORIGIN.to_owned(), origin.to_owned());
    }
    source.clone_into(&mut send.turn);
    send
}
