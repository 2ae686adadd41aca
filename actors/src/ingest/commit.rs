//! The last step of each door: an object that is durable, and its notification to the log processor, which is committed in the same command as the
//! object's row. A sender is answered after this step.
//!
//! A row remembers which object an idempotency key has made and of which content, for as long as that object is kept: the same body under the same
//! key has no second effect, and another body under it is refused.

use bytes::Bytes;
use panther_cluster::door::change::{self, Change, RowExt};
use panther_cluster::door::{Door, DoorError};
use panther_cluster::objects::{Objects, ObjectsError};
use panther_proto::v1::{Key, RowChange, Send, Transact};
use sha2::{Digest, Sha256};

use crate::components::log_processor::{ORIGIN, SOURCE};
use crate::components::objects::{Written, s3_event};
use crate::components::sources::INPUT_QUEUE;
use crate::dates::date;
use crate::sealing::hex;

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

/// Stores bodies. Clones share the door and the object store.
#[derive(Clone)]
pub(super) struct Committer {
    door: Door,
    objects: Objects,
}

impl Committer {
    pub(super) const fn new(door: Door, objects: Objects) -> Self {
        Self { door, objects }
    }

    pub(super) fn fresh_name(&self, source: &str) -> String {
        fresh_name(source, self.door.now_ms())
    }

    /// Stores an object and commits its notification; the object's name.
    pub(super) async fn store(
        &self,
        source: &str,
        name: String,
        content: Bytes,
    ) -> Result<String, StoreError> {
        let written = self.put(name, content).await?;
        self.tell(source, &written, None).await?;
        Ok(written.name)
    }

    /// Stores a body once for its key: the object that the key has made, now or before. `None`: it was another body.
    pub(super) async fn store_once(
        &self,
        source: &str,
        key: &str,
        content: Bytes,
    ) -> Result<Option<String>, StoreError> {
        let row = change::key_range(source, hex(&Sha256::digest(key.as_bytes())[..16]));
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
            Err(error) => match self.made(&row, &hash).await? {
                Some(made) => Ok(made),
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
        further: Option<RowChange>,
    ) -> Result<(), StoreError> {
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
