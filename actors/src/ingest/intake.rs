//! The way of a body through any door: the sender is admitted, the body is read, and it is stored before the sender gets its answer.

use std::net::IpAddr;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::Duration;

use panther_cluster::door::Door;
use panther_cluster::objects::Objects;
use panther_cluster::storage::room::Room;
use panther_logs::InputForm;
use panther_proto::trace::TraceContext;

use super::batch::Batches;
use super::budget::{ByteBudget, HeldBody};
use super::commit::{Arrival, Committer};
use super::refusal::IngestError;
use super::shares::{Share, Shares};
use super::tokens::{Admitted, Tokens};
use crate::callers::Callers;
use crate::components::sources::SourceRegistry;

/// Bytes of all bodies that are being read, or wait to be stored.
const BUDGET: usize = 256 << 20;
/// How long it may take to make a body durable.
const STORE: Duration = Duration::from_secs(60);
/// When a sender may try again.
const RETRY_AFTER: Duration = Duration::from_secs(1);
/// The same, where an operator must free disk space first.
const ROOM_AFTER: Duration = Duration::from_secs(30);
/// The same, where the node stops.
const STOPPING_AFTER: Duration = Duration::from_secs(5);

/// Bounds of what senders may do.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct IntakeSettings {
    /// Bytes after which a batch is closed.
    pub batch_bytes: usize,
    /// Time after which a batch is closed.
    pub batch_time: Duration,
    /// Bytes of one body.
    pub body_bytes: usize,
    /// Connections that the HTTP listener has at one time. One source may have a quarter as many bodies under way, one address half as many.
    pub connections: usize,
}

/// Where stored logs lie.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Ingested {
    /// The object that holds them.
    pub object: String,
    /// Bytes as they came.
    pub bytes: u64,
    /// The trace that the object belongs to.
    pub trace: TraceContext,
}

/// What all doors share, as one door uses it. Clones share it.
#[derive(Clone)]
pub struct Intake {
    inner: Arc<Inner>,
    /// The name of the door.
    door: &'static str,
}

struct Inner {
    settings: IntakeSettings,
    disk: Room,
    callers: Callers,
    tokens: Tokens,
    of_source: Shares<String>,
    of_address: Shares<IpAddr>,
    budget: ByteBudget,
    batches: Batches,
    committer: Committer,
    stopping: AtomicBool,
}

/// The right to have one body under way. It ends when it is dropped.
pub(super) struct UnderWay {
    _of_source: Share<String>,
    _of_address: Option<Share<IpAddr>>,
}

impl Intake {
    /// Stores bodies in `objects`, and refuses them while `disk` is full. `callers` counts senders that are refused.
    #[must_use]
    pub fn new(
        door: Door,
        objects: Objects,
        disk: Room,
        sources: SourceRegistry,
        callers: Callers,
        settings: IntakeSettings,
    ) -> Self {
        let committer = Committer::new(door, objects);
        let inner = Inner {
            settings,
            disk,
            tokens: Tokens::new(sources, callers.clone()),
            callers,
            of_source: Shares::new(settings.connections / 4),
            of_address: Shares::new(settings.connections / 2),
            budget: ByteBudget::new(BUDGET),
            batches: Batches::new(committer.clone(), settings.batch_bytes, settings.batch_time),
            committer,
            stopping: AtomicBool::new(false),
        };
        Self {
            inner: Arc::new(inner),
            door: "node",
        }
    }

    /// The same for the door of this name, which the trace of its bodies shows.
    #[must_use]
    pub(super) fn of_door(&self, door: &'static str) -> Self {
        Self {
            inner: self.inner.clone(),
            door,
        }
    }

    /// The bounds of what senders may do.
    #[must_use]
    pub fn settings(&self) -> &IntakeSettings {
        &self.inner.settings
    }

    /// The memory for bodies.
    #[must_use]
    pub fn budget(&self) -> &ByteBudget {
        &self.inner.budget
    }

    /// Admits a sender before anything of its body is read, if its token is the source's and the disk has room.
    ///
    /// # Errors
    /// As [`IngestError`] says.
    pub async fn admit(&self, source: &str, token: &str) -> Result<Admitted, IngestError> {
        let admitted = self.inner.tokens.check(source, token).await?;
        self.refuse_if_full()?;
        Ok(admitted)
    }

    /// Begins to read a body: the source and the address have not more bodies under way than their shares.
    pub(super) fn begin(
        &self,
        admitted: &Admitted,
        address: Option<IpAddr>,
    ) -> Result<UnderWay, IngestError> {
        let of_source = self.inner.of_source.take(&admitted.id().to_owned());
        let of_source = of_source.ok_or(IngestError::Share("this source"))?;
        let of_address = address.map(|address| {
            let share = self.inner.of_address.take(&address);
            share.ok_or(IngestError::Share("this address"))
        });
        Ok(UnderWay {
            _of_source: of_source,
            _of_address: of_address.transpose()?,
        })
    }

    /// Stores a body of a source. It returns once the body is durable and its notification is committed. `trace` is the sender's, if it brought one.
    ///
    /// # Errors
    /// As [`IngestError`] says.
    pub async fn take(
        &self,
        admitted: &Admitted,
        body: HeldBody,
        idempotency_key: Option<&str>,
        trace: Option<TraceContext>,
    ) -> Result<Ingested, IngestError> {
        let stored = self.store(admitted.id(), body, idempotency_key, trace);
        let stored = tokio::time::timeout(STORE, stored).await;
        stored.unwrap_or(Err(IngestError::Unanswered))
    }

    async fn store(
        &self,
        source: &str,
        body: HeldBody,
        idempotency_key: Option<&str>,
        trace: Option<TraceContext>,
    ) -> Result<Ingested, IngestError> {
        let inner = &*self.inner;
        if inner.stopping.load(Ordering::Acquire) {
            return Err(busy("the node is stopping", STOPPING_AFTER));
        }
        // The disk may have filled while the body came.
        self.refuse_if_full()?;
        let content = body.content();
        if content.is_empty() {
            return Err(IngestError::Invalid("the body is empty".to_owned()));
        }
        let bytes = content.len() as u64;
        let alone = Arrival {
            door: self.door,
            bodies: 1,
            traces: trace.into_iter().collect(),
        };
        let object = if let Some(key) = idempotency_key {
            if key.is_empty() || key.len() > 255 {
                return Err(IngestError::Invalid(
                    "an idempotency key has 1 to 255 bytes".to_owned(),
                ));
            }
            // It goes by itself: the key's row names one object of one body.
            let (content, _held) = body.into_parts();
            let stored = inner
                .committer
                .store_once(source, key, content, &alone)
                .await;
            stored.map(|object| object.ok_or(IngestError::Conflict))
        } else if InputForm::of(content) == InputForm::Packed
            || content.len() >= inner.settings.batch_bytes
        {
            // A compressed body has many lines already, so its sender does not wait for others; and a large one fills an object.
            let (content, _held) = body.into_parts();
            let name = inner.committer.fresh_name(source);
            let stored = inner.committer.store(source, name, content, &alone).await;
            stored.map(Ok)
        } else {
            let stored = inner.batches.add(self.door, source, body, trace).await;
            stored
                .map_err(|_| busy("the node is stopping", RETRY_AFTER))?
                .map(Ok)
        };
        let object = object.map_err(|error| busy(&error.to_string(), RETRY_AFTER))??;
        Ok(Ingested {
            object: object.name,
            bytes,
            trace: object.trace,
        })
    }

    fn refuse_if_full(&self) -> Result<(), IngestError> {
        match self.inner.disk.refusal() {
            None => Ok(()),
            Some(reason) => Err(busy(&reason, ROOM_AFTER)),
        }
    }

    /// Counts and logs a sender that is refused.
    pub fn refuse(&self, error: &IngestError, source: &str, address: Option<IpAddr>) {
        let callers = &self.inner.callers;
        callers.refuse(error.counted_as(), source, address);
    }

    /// Refuses further bodies, and stores what is gathered; for an orderly stop.
    pub async fn drain(&self) {
        self.inner.stopping.store(true, Ordering::Release);
        self.inner.batches.drain().await;
    }
}

fn busy(reason: &str, retry_after: Duration) -> IngestError {
    IngestError::Busy {
        reason: reason.to_owned(),
        retry_after,
    }
}
