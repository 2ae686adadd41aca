//! Bodies that were posted: gathered per source into an object until the object has enough bytes or is old enough. The sender is
//! answered once the object is durable and its notification committed.
//!
//! An object joins bodies of different senders, so each body keeps its border in it and is read by itself: one sender's header,
//! unclosed array, compression or fault says nothing about another sender's body.
//!
//! A body with an idempotency key goes by itself. A row says which object the key has made and of which content, for as long as that object
//! is kept: the same body under the same key has no second effect, and another body under it is refused.

use std::collections::BTreeMap;
use std::sync::Arc;
use std::time::Duration;

use bytes::Bytes;
use data_encoding::HEXLOWER;
use panther_cluster::door::change::{self, Change, RowExt};
use panther_cluster::door::{Door, DoorError};
use panther_cluster::objects::{Objects, ObjectsError};
use panther_cluster::storage::room::Room;
use panther_logs::{InputForm, PartsWriter};
use panther_proto::v1::{Key, RowChange, Send, Transact};
use parking_lot::Mutex;
use sha2::{Digest, Sha256};
use tokio::sync::{Semaphore, oneshot};
use tokio::task::JoinSet;

use crate::callers::Callers;
use crate::components::log_processor::{ORIGIN, SOURCE};
use crate::components::objects::{Written, date, s3_event};
use crate::components::sources::{INPUT_QUEUE, Source, SourceKind, SourceRegistry};
use crate::sealing::token_hash;
use crate::system::{IngestError, Ingested};

/// The table of idempotency keys: a row for each source and key.
pub const KEYS: &str = "panther-ingest-keys";
/// Bytes that may wait to be gathered, of all sources.
const WAITING_BYTES: usize = 256 << 20;
/// When somebody who was turned away may try again.
const RETRY_AFTER: Duration = Duration::from_secs(1);
/// The same, where somebody must make room first.
const ROOM_AFTER: Duration = Duration::from_secs(30);

/// The door; clones share it.
#[derive(Clone)]
pub struct HttpIngest {
    inner: Arc<Inner>,
}

/// The right to post to one source.
#[derive(Debug, Clone)]
pub struct Admitted(Source);

impl Admitted {
    /// The source's id.
    #[must_use]
    pub fn id(&self) -> &str {
        &self.0.id
    }
}

struct Inner {
    door: Door,
    objects: Objects,
    disk: Room,
    sources: SourceRegistry,
    batch_bytes: usize,
    batch_time: Duration,
    callers: Callers,
    room: Arc<Semaphore>,
    gathering: Mutex<BTreeMap<String, Gathering>>,
    tasks: Mutex<JoinSet<()>>,
}

type Answer = Result<Ingested, IngestFault>;

/// A fault that all of a batch are told of.
#[derive(Debug, Clone)]
struct IngestFault(String);

impl From<ObjectsError> for IngestFault {
    fn from(error: ObjectsError) -> Self {
        Self(error.to_string())
    }
}

impl From<DoorError> for IngestFault {
    fn from(error: DoorError) -> Self {
        Self(error.to_string())
    }
}

#[derive(Default)]
struct Gathering {
    bodies: PartsWriter,
    waiting: Vec<(u64, oneshot::Sender<Answer>)>,
    /// Which batch of the source this is: a timer ends only its own.
    number: u64,
}

impl HttpIngest {
    /// A door that gathers up to `batch_bytes` or `batch_time`.
    #[must_use]
    pub fn new(
        door: Door,
        objects: Objects,
        disk: Room,
        sources: SourceRegistry,
        batch_bytes: usize,
        batch_time: Duration,
        callers: Callers,
    ) -> Self {
        let inner = Inner {
            door,
            objects,
            disk,
            sources,
            batch_bytes,
            batch_time,
            callers,
            room: Arc::new(Semaphore::new(WAITING_BYTES)),
            gathering: Mutex::default(),
            tasks: Mutex::new(JoinSet::new()),
        };
        Self {
            inner: Arc::new(inner),
        }
    }

    /// Lets a sender in before anything of its body is read, if its token is the source's and there is room.
    ///
    /// # Errors
    /// As [`IngestError`] says.
    pub async fn admit(&self, name: &str, token: &str) -> Result<Admitted, IngestError> {
        let source = self.source(name, token).await?;
        self.refuse_if_full()?;
        Ok(Admitted(source))
    }

    fn refuse_if_full(&self) -> Result<(), IngestError> {
        match self.inner.disk.refusal() {
            None => Ok(()),
            Some(reason) => Err(IngestError::Busy {
                reason,
                retry_after: ROOM_AFTER,
            }),
        }
    }

    /// Takes a body for a source.
    ///
    /// # Errors
    /// As [`IngestError`] says.
    pub async fn take(
        &self,
        Admitted(source): &Admitted,
        body: Bytes,
        idempotency_key: Option<&str>,
    ) -> Result<Ingested, IngestError> {
        // The disk may have filled while the body came.
        self.refuse_if_full()?;
        if body.is_empty() {
            return Err(IngestError::Invalid("the body is empty".to_owned()));
        }
        let room = u32::try_from(body.len())
            .map_err(|_| IngestError::TooLarge("the body is too large".to_owned()))?;
        if body.len() > WAITING_BYTES {
            return Err(IngestError::TooLarge(format!(
                "a body may have {WAITING_BYTES} bytes; split it"
            )));
        }
        let busy = |reason: &str| IngestError::Busy {
            reason: reason.to_owned(),
            retry_after: RETRY_AFTER,
        };
        let _room = self
            .inner
            .room
            .clone()
            .try_acquire_many_owned(room)
            .map_err(|_| busy("too much waits to be stored"))?;
        let bytes = u64::from(room);
        if let Some(key) = idempotency_key {
            if key.is_empty() || key.len() > 255 {
                return Err(IngestError::Invalid(
                    "an idempotency key has 1 to 255 bytes".to_owned(),
                ));
            }
            return match self.inner.store_once(&source.id, key, body).await {
                Ok(Some(object)) => Ok(Ingested { object, bytes }),
                Ok(None) => Err(IngestError::Conflict),
                Err(fault) => Err(busy(&fault.0)),
            };
        }
        // A compressed body has many lines already, so its sender does not wait for others; and a large one fills an object.
        if InputForm::of(&body) == InputForm::Packed || body.len() >= self.inner.batch_bytes {
            let name = self.inner.fresh_name(&source.id);
            return self
                .inner
                .store(&source.id, name, body)
                .await
                .map(|object| Ingested { object, bytes })
                .map_err(|fault| busy(&fault.0));
        }
        let (sender, receiver) = oneshot::channel();
        self.gather(&source.id, &body, sender);
        match receiver.await {
            Ok(Ok(ingested)) => Ok(ingested),
            Ok(Err(fault)) => Err(busy(&fault.0)),
            Err(_) => Err(busy("the node is stopping")),
        }
    }

    async fn source(&self, name: &str, token: &str) -> Result<Source, IngestError> {
        let busy = |reason: String| IngestError::Busy {
            reason,
            retry_after: RETRY_AFTER,
        };
        // Hashes are compared, so the time of the comparison tells nothing of a token.
        let given = token_hash(token);
        let takes = |source: &Source| source.kind == SourceKind::Http && source.token_hash == given;
        // Each question to the leader costs all nodes. While tokens are guessed, what this node's own state does not know has to come again: a source
        // that was made a moment ago is known then.
        if self.inner.callers.is_guessing() {
            let known = self.inner.sources.find_here(name).await;
            let known = known.map_err(|error| busy(error.to_string()))?;
            if !known.is_some_and(|source| takes(&source)) {
                return Err(IngestError::Guessing {
                    retry_after: RETRY_AFTER,
                });
            }
        }
        let found = self.inner.sources.find(name).await;
        let found = found.map_err(|error| busy(error.to_string()))?;
        found.filter(takes).ok_or(IngestError::Unknown)
    }

    fn gather(&self, source: &str, body: &[u8], answer: oneshot::Sender<Answer>) {
        let mut gathering = self.inner.gathering.lock();
        let batch = gathering.entry(source.to_owned()).or_default();
        let first = batch.waiting.is_empty();
        batch.bodies.body("", body);
        batch.waiting.push((body.len() as u64, answer));
        let (full, number) = (batch.bodies.len() >= self.inner.batch_bytes, batch.number);
        drop(gathering);
        if full || first {
            let (inner, source) = (self.inner.clone(), source.to_owned());
            let wait = if full {
                Duration::ZERO
            } else {
                self.inner.batch_time
            };
            let mut tasks = self.inner.tasks.lock();
            while tasks.try_join_next().is_some() {}
            tasks.spawn(async move {
                if !wait.is_zero() {
                    tokio::time::sleep(wait).await;
                }
                inner.close(&source, number).await;
            });
        }
    }

    /// Stores what is gathered; for an orderly stop.
    pub async fn drain(&self) {
        let open: Vec<(String, u64)> = self
            .inner
            .gathering
            .lock()
            .iter()
            .map(|(source, batch)| (source.clone(), batch.number))
            .collect();
        for (source, number) in open {
            self.inner.close(&source, number).await;
        }
        let mut tasks = std::mem::take(&mut *self.inner.tasks.lock());
        tasks.abort_all();
        while tasks.join_next().await.is_some() {}
    }
}

impl Inner {
    async fn close(&self, source: &str, number: u64) {
        let (bytes, waiting) = {
            let mut gathering = self.gathering.lock();
            let Some(batch) = gathering
                .get_mut(source)
                .filter(|batch| batch.number == number && !batch.waiting.is_empty())
            else {
                return;
            };
            batch.number += 1;
            (
                std::mem::take(&mut batch.bodies).finish().into(),
                std::mem::take(&mut batch.waiting),
            )
        };
        let name = PartsWriter::name(&self.fresh_name(source));
        let stored = self.store(source, name, bytes).await;
        for (bytes, answer) in waiting {
            let _ = answer.send(stored.clone().map(|object| Ingested { object, bytes })); // who posted may have hung up
        }
    }

    fn fresh_name(&self, source: &str) -> String {
        fresh_name(source, self.door.now_ms())
    }

    async fn store(
        &self,
        source: &str,
        name: String,
        content: Bytes,
    ) -> Result<String, IngestFault> {
        let written = self.put(name, content).await?;
        self.tell(source, &written, None).await?;
        Ok(written.name)
    }

    /// Stores a body once for its key: the object that the key has made, now or before. `None`: it was another body.
    async fn store_once(
        &self,
        source: &str,
        key: &str,
        content: Bytes,
    ) -> Result<Option<String>, IngestFault> {
        let row = change::key_range(
            source,
            HEXLOWER.encode(&Sha256::digest(key.as_bytes())[..16]),
        );
        let hash = Written::of(String::new(), &content).hash;
        if let Some(made) = self.made(&row, &hash).await? {
            return Ok(made);
        }
        let name = format!("raw/{source}/key-{}-{}", row.range, &hash[..16]);
        let written = self.put(name, content).await?;
        let remember = Change::put(KEYS, row.clone())
            .if_row_absent()
            .set("object", &written.name)
            .set("hash", &hash)
            .done();
        match self.tell(source, &written, Some(remember)).await {
            Ok(()) => Ok(Some(written.name)),
            // The same key came at the same time, or this is a retry of what was done.
            Err(fault) => match self.made(&row, &hash).await? {
                Some(made) => Ok(made),
                None => Err(fault),
            },
        }
    }

    /// The object that a key has made; `Some(None)` if it was made of another body.
    async fn made(&self, row: &Key, hash: &str) -> Result<Option<Option<String>>, IngestFault> {
        let row = self.door.get(KEYS, row).await?;
        Ok(row.map(|row| {
            let object = row.text("object").unwrap_or_default().to_owned();
            (row.text("hash") == Some(hash)).then_some(object)
        }))
    }

    async fn put(&self, name: String, content: Bytes) -> Result<Written, IngestFault> {
        let written = Written::of(name, &content);
        self.objects.put(&written.name, content).await?;
        Ok(written)
    }

    /// Names an object and tells the log processor of it, in one command.
    async fn tell(
        &self,
        source: &str,
        written: &Written,
        further: Option<RowChange>,
    ) -> Result<(), IngestFault> {
        let changes = std::iter::once(written.row(self.door.now_ms())).chain(further);
        self.door
            .transact(Transact {
                changes: changes.collect(),
                sends: vec![notification(source, written, "")],
                ..Transact::default()
            })
            .await?;
        Ok(())
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
