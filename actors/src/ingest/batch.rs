//! Gathers small bodies of one source into one object, until the object has enough bytes or is old enough.
//!
//! An object joins bodies of different senders, so each body keeps its border in it and is read by itself: one sender's header, unclosed array,
//! compression or fault says nothing about another sender's body.

use std::collections::BTreeMap;
use std::sync::Arc;
use std::time::Duration;

use panther_logs::PartsWriter;
use panther_proto::trace::TraceContext;
use parking_lot::Mutex;
use tokio::sync::{OwnedSemaphorePermit, oneshot};
use tokio::task::JoinSet;

use super::budget::HeldBody;
use super::commit::{Arrival, Committer, StoreError, StoredObject};

/// The object that holds a body, once it is stored.
pub(super) type Stored = Result<StoredObject, StoreError>;

/// The batches that are open, one for each door and source. Clones share them.
#[derive(Clone)]
pub(super) struct Batches {
    inner: Arc<Inner>,
}

struct Inner {
    committer: Committer,
    batch_bytes: usize,
    batch_time: Duration,
    open: Mutex<BTreeMap<BatchKey, Batch>>,
    tasks: Mutex<JoinSet<()>>,
}

/// The door and the source of a batch.
type BatchKey = (&'static str, String);

#[derive(Default)]
struct Batch {
    bodies: PartsWriter,
    waiting: Vec<Waiting>,
    /// Which batch of the source this is: a timer ends only its own.
    number: u64,
}

/// A sender that waits for its answer. Its bytes count against the budget until they are stored, even if the sender hangs up.
struct Waiting {
    answer: oneshot::Sender<Stored>,
    trace: Option<TraceContext>,
    _held: Option<OwnedSemaphorePermit>,
}

impl Batches {
    /// Batches of up to `batch_bytes` or `batch_time`.
    pub(super) fn new(committer: Committer, batch_bytes: usize, batch_time: Duration) -> Self {
        Self {
            inner: Arc::new(Inner {
                committer,
                batch_bytes,
                batch_time,
                open: Mutex::default(),
                tasks: Mutex::new(JoinSet::new()),
            }),
        }
    }

    /// Adds a body to the open batch of its door and source. The receiver gets the answer once the batch is stored; it fails if the node stops first.
    pub(super) fn add(
        &self,
        door: &'static str,
        source: &str,
        body: HeldBody,
        trace: Option<TraceContext>,
    ) -> oneshot::Receiver<Stored> {
        let (answer, receiver) = oneshot::channel();
        let (content, held) = body.into_parts();
        let mut open = self.inner.open.lock();
        let key = (door, source.to_owned());
        let batch = open.entry(key.clone()).or_default();
        let first = batch.waiting.is_empty();
        batch.bodies.body("", &content);
        batch.waiting.push(Waiting {
            answer,
            trace,
            _held: held,
        });
        let (full, number) = (batch.bodies.len() >= self.inner.batch_bytes, batch.number);
        drop(open);
        if full || first {
            let wait = if full {
                Duration::ZERO
            } else {
                self.inner.batch_time
            };
            self.close_after(wait, key, number);
        }
        receiver
    }

    fn close_after(&self, wait: Duration, key: BatchKey, number: u64) {
        let inner = self.inner.clone();
        let mut tasks = self.inner.tasks.lock();
        while tasks.try_join_next().is_some() {}
        tasks.spawn(async move {
            if !wait.is_zero() {
                tokio::time::sleep(wait).await;
            }
            inner.close(&key, number).await;
        });
    }

    /// Stores what is gathered; for an orderly stop.
    pub(super) async fn drain(&self) {
        let open: Vec<(BatchKey, u64)> = self
            .inner
            .open
            .lock()
            .iter()
            .map(|(key, batch)| (key.clone(), batch.number))
            .collect();
        for (key, number) in open {
            self.inner.close(&key, number).await;
        }
        let mut tasks = std::mem::take(&mut *self.inner.tasks.lock());
        tasks.abort_all();
        while tasks.join_next().await.is_some() {}
    }
}

impl Inner {
    async fn close(&self, key: &BatchKey, number: u64) {
        let (door, source) = key;
        let (bytes, waiting) = {
            let mut open = self.open.lock();
            let Some(batch) = open
                .get_mut(key)
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
        let name = PartsWriter::name(&self.committer.fresh_name(source));
        let arrival = Arrival {
            door,
            bodies: waiting.len(),
            traces: waiting.iter().filter_map(|sender| sender.trace).collect(),
        };
        let stored = self.committer.store(source, name, bytes, &arrival).await;
        for sender in waiting {
            let _ = sender.answer.send(stored.clone()); // the sender may have hung up
        }
    }
}

#[cfg(test)]
mod tests {
    use bytes::Bytes;
    use panther_cluster::door::{Door, DoorSettings};
    use panther_cluster::objects::Objects;

    use super::*;
    use crate::ingest::budget::ByteBudget;

    #[tokio::test(flavor = "multi_thread")]
    async fn a_sender_that_hangs_up_holds_its_bytes_until_they_are_stored() {
        let folder = tempfile::tempdir().unwrap();
        let group = folder.path().join("group");
        let door = Door::open(&group, 1, 1, DoorSettings::default());
        let door = door.await.unwrap();
        let objects = Objects::local(&folder.path().join("objects")).unwrap();
        let committer = Committer::new(door, objects);
        let batches = Batches::new(committer, 1 << 20, Duration::from_secs(3_600));
        let budget = ByteBudget::new(10);
        let body = budget.hold(Bytes::from_static(b"12345678")).unwrap();
        drop(batches.add("http", "source", body, None));
        assert!(budget.hold(Bytes::from_static(b"123")).is_err());
        batches.drain().await;
        assert!(budget.hold(Bytes::from_static(b"123")).is_ok());
    }
}
