//! Immutable objects outside of the log: raw files, processed events, packs. An object is written once, is durable before a command names it, and
//! never changes.
//!
//! The object store is a local folder, or a bucket that the crate `object_store` supports. The module [`local`] writes to a local folder, because
//! `object_store` does not sync.
//!
//! * [`place`]: the store's location
//! * [`proof`]: check that all nodes use the same store

mod file;
mod local;
pub mod place;
pub mod proof;

use std::io::{self, Read};
use std::path::Path;
use std::sync::Arc;
use std::time::Duration;

use bytes::Bytes;
use futures::TryStreamExt;
use object_store::local::LocalFileSystem;
use object_store::path::Path as ObjectPath;
use object_store::prefix::PrefixStore;
use object_store::{ObjectStore, ObjectStoreExt, PutMode, PutOptions, PutPayload};
use tokio_util::io::{StreamReader, SyncIoBridge};

use local::LocalFolder;
use place::{Bucket, Place};
use tracing::Instrument as _;

/// Deadline of one call.
const DEADLINE: Duration = Duration::from_secs(60);

/// Why an object could not be read or written.
#[derive(Debug, thiserror::Error)]
pub enum ObjectsError {
    /// No object has this name.
    #[error("there is no object {0}")]
    NotFound(String),
    /// The name is not valid.
    #[error("{name:?} is no name of an object: {reason}")]
    BadName {
        /// The name.
        name: String,
        /// What is wrong with it.
        reason: String,
    },
    /// The store failed. This is a fault of the node or of the store, not of the object.
    #[error("the object store failed on {name}: {reason}")]
    Store {
        /// Name of the object.
        name: String,
        /// Reason.
        reason: String,
    },
}

/// Metadata of an object.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct ObjectInfo {
    /// Name of the object.
    pub name: String,
    /// Size in bytes.
    pub bytes: u64,
    /// Time of the write by the store's clock, in milliseconds since 1970.
    pub written_ms: u64,
}

/// The objects of a cluster. Clones share the store.
#[derive(Clone)]
pub struct Objects {
    store: Arc<dyn ObjectStore>,
    /// The folder, if the store is a local folder.
    folder: Option<LocalFolder>,
}

impl Objects {
    /// Opens a store in a local folder. Creates the folder if it does not exist.
    ///
    /// # Errors
    /// The folder cannot be created.
    pub fn local(folder: &Path) -> io::Result<Self> {
        let folder = LocalFolder::open(folder)?;
        let store = LocalFileSystem::new_with_prefix(folder.root()).map_err(io::Error::other)?;
        Ok(Self {
            store: Arc::new(store),
            folder: Some(folder),
        })
    }

    /// Opens the store at a location. A bucket must exist; the first call shows if it is reachable.
    ///
    /// # Errors
    /// The folder cannot be created, or the bucket's settings are not valid.
    pub fn at(place: &Place) -> io::Result<Self> {
        match place {
            Place::Folder(folder) => Self::local(folder),
            Place::Bucket(bucket) => Self::bucket(bucket),
        }
    }

    fn bucket(bucket: &Bucket) -> io::Result<Self> {
        let (store, folder) = bucket.open().map_err(io::Error::other)?;
        Ok(Self {
            store: Arc::new(PrefixStore::new(store, folder)),
            folder: None,
        })
    }

    /// The folder, if the store is a folder.
    #[must_use]
    pub fn folder(&self) -> Option<&Path> {
        self.folder.as_ref().map(LocalFolder::root)
    }

    /// Writes an object. It is durable on return. The write is idempotent: an existing object with the same content is kept. Names contain the
    /// attempt, so the same name with the same content is a retry of the same write.
    ///
    /// # Errors
    /// See [`ObjectsError`]. An existing object with another content is a [`ObjectsError::Store`].
    pub async fn put(&self, name: &str, content: Bytes) -> Result<(), ObjectsError> {
        let span = tracing::debug_span!("write object", name, bytes = content.len());
        self.put_within(name, content).instrument(span).await
    }

    async fn put_within(&self, name: &str, content: Bytes) -> Result<(), ObjectsError> {
        let path = parse(name)?;
        let changed = |reason: &str| ObjectsError::Store {
            name: name.to_owned(),
            reason: format!("{reason}; objects never change"),
        };
        if let Some(folder) = &self.folder {
            let folder = folder.clone();
            let put = tokio::task::spawn_blocking(move || folder.put(path.as_ref(), &content));
            let put = within(name, put).await?.map_err(io::Error::other).flatten();
            return match put {
                Ok(true) => Ok(()),
                Ok(false) => Err(changed("it exists with another content")),
                Err(error) => Err(of_file(name, &error)),
            };
        }
        let payload = PutPayload::from_bytes(content.clone());
        let options = PutOptions {
            mode: PutMode::Create,
            ..PutOptions::default()
        };
        let put = self.store.put_opts(&path, payload.clone(), options);
        match within(name, put).await? {
            Ok(_) => Ok(()),
            // The store supports no conditional writes, so existence is checked before the write. Names contain the attempt, so no other node writes
            // this name.
            Err(error) if knows_no_conditions(&error) => match self.get(name).await {
                Ok(there) if there == content => Ok(()),
                Ok(_) => Err(changed("it exists with another content")),
                Err(ObjectsError::NotFound(_)) => within(name, self.store.put(&path, payload))
                    .await?
                    .map(drop)
                    .map_err(|error| not_written(name, &error)),
                Err(error) => Err(error),
            },
            // Only a retry gets here, so a read of the object is cheap on average. Its length alone would not prove equal content.
            Err(object_store::Error::AlreadyExists { .. }) => {
                if self.get(name).await? == content {
                    Ok(())
                } else {
                    Err(changed("it exists with another content"))
                }
            }
            Err(error) => Err(not_written(name, &error)),
        }
    }

    /// Writes a file's content as an object, in pieces, like [`Objects::put`]. `hash` is the SHA-256 of the content in hexadecimal digits.
    ///
    /// # Errors
    /// The file's content does not match `hash`; or see [`ObjectsError`].
    pub async fn put_file(
        &self,
        name: &str,
        file: std::fs::File,
        hash: &str,
    ) -> Result<(), ObjectsError> {
        let path = parse(name)?;
        let Some(folder) = &self.folder else {
            return file::upload(self.store.as_ref(), name, &path, file, hash).await;
        };
        let (folder, hash) = (folder.clone(), hash.to_owned());
        let put = tokio::task::spawn_blocking(move || {
            folder.put_from(path.as_ref(), || Ok(file::Checked::new(&file, &hash)))
        });
        let put = within(name, put).await?.map_err(io::Error::other).flatten();
        let reason = match put {
            Ok(true) => return Ok(()),
            Ok(false) => "it exists with another content; objects never change".to_owned(),
            Err(error) => error.to_string(),
        };
        Err(ObjectsError::Store {
            name: name.to_owned(),
            reason,
        })
    }

    /// Reads a whole object.
    ///
    /// # Errors
    /// See [`ObjectsError`].
    pub async fn get(&self, name: &str) -> Result<Bytes, ObjectsError> {
        let path = parse(name)?;
        let read = async { self.store.get(&path).await?.bytes().await };
        within(name, read)
            .await?
            .map_err(|error| failed(name, error))
    }

    /// Reads up to `bytes` bytes of an object from the offset `from` on. The result is shorter only at the end of the object.
    ///
    /// # Errors
    /// See [`ObjectsError`].
    pub async fn range(
        &self,
        name: &str,
        from: usize,
        bytes: usize,
    ) -> Result<Bytes, ObjectsError> {
        let path = parse(name)?;
        let read = async {
            let size = self.store.head(&path).await?.size;
            let from = size.min(from as u64);
            let to = size.min(from.saturating_add(bytes as u64));
            if from == to {
                return Ok(Bytes::new());
            }
            self.store.get_range(&path, from..to).await
        };
        within(name, read)
            .await?
            .map_err(|error| failed(name, error))
    }

    /// Opens an object for streaming. The reader blocks, so it must be used off the async threads.
    ///
    /// # Errors
    /// See [`ObjectsError`].
    pub async fn open(&self, name: &str) -> Result<Box<dyn Read + Send>, ObjectsError> {
        let path = parse(name)?;
        let Some(folder) = &self.folder else {
            let opened = within(name, self.store.get(&path)).await?;
            let content = opened.map_err(|error| failed(name, error))?.into_stream();
            let reader = StreamReader::new(content.map_err(io::Error::other));
            return Ok(Box::new(SyncIoBridge::new(Box::pin(reader))));
        };
        let file = folder.root().join(path.as_ref());
        let opened = tokio::task::spawn_blocking(move || std::fs::File::open(file))
            .await
            .map_err(io::Error::other)
            .flatten();
        match opened {
            Ok(file) => Ok(Box::new(file)),
            Err(error) => Err(of_file(name, &error)),
        }
    }

    /// Metadata of an object.
    ///
    /// # Errors
    /// See [`ObjectsError`].
    pub async fn head(&self, name: &str) -> Result<ObjectInfo, ObjectsError> {
        let path = parse(name)?;
        let meta = within(name, self.store.head(&path))
            .await?
            .map_err(|error| failed(name, error))?;
        Ok(info(&meta))
    }

    /// Lists the objects of a folder and its subfolders, in no particular order.
    ///
    /// # Errors
    /// See [`ObjectsError`].
    pub async fn list(&self, folder: &str) -> Result<Vec<ObjectInfo>, ObjectsError> {
        let path = parse(folder)?;
        let listed = self
            .store
            .list(Some(&path))
            .map_ok(|meta| info(&meta))
            .try_collect();
        within(folder, listed)
            .await?
            .map_err(|error| failed(folder, error))
    }

    /// Removes an object. Idempotent: a missing object counts as removed. The caller makes sure that no row names the object.
    ///
    /// # Errors
    /// See [`ObjectsError`].
    pub async fn remove(&self, name: &str) -> Result<(), ObjectsError> {
        let path = parse(name)?;
        match within(name, self.store.delete(&path)).await? {
            Ok(()) | Err(object_store::Error::NotFound { .. }) => Ok(()),
            Err(error) => Err(failed(name, error)),
        }
    }
}

/// True if the error says that an S3-compatible server does not support `If-None-Match`.
fn knows_no_conditions(error: &object_store::Error) -> bool {
    matches!(error, object_store::Error::NotImplemented { .. })
        || error.to_string().contains("501 Not Implemented")
}

fn info(meta: &object_store::ObjectMeta) -> ObjectInfo {
    let written_ms = u64::try_from(meta.last_modified.timestamp_millis()).unwrap_or(0);
    ObjectInfo {
        name: meta.location.to_string(),
        bytes: meta.size,
        written_ms,
    }
}

fn parse(name: &str) -> Result<ObjectPath, ObjectsError> {
    let bad = |reason: &str| ObjectsError::BadName {
        name: name.to_owned(),
        reason: reason.to_owned(),
    };
    if name.is_empty() || name.len() > 1_024 {
        return Err(bad("it is empty or longer than 1,024 bytes"));
    }
    if name
        .split('/')
        .any(|part| part.is_empty() || part == "." || part == "..")
    {
        return Err(bad("a part of it is empty, `.` or `..`"));
    }
    ObjectPath::parse(name).map_err(|error| bad(&error.to_string()))
}

fn failed(name: &str, error: object_store::Error) -> ObjectsError {
    match error {
        object_store::Error::NotFound { .. } => ObjectsError::NotFound(name.to_owned()),
        other => ObjectsError::Store {
            name: name.to_owned(),
            reason: other.to_string(),
        },
    }
}

/// Converts a file system error.
fn of_file(name: &str, error: &io::Error) -> ObjectsError {
    match error.kind() {
        io::ErrorKind::NotFound => ObjectsError::NotFound(name.to_owned()),
        // This error is permanent and not a fault of the store.
        io::ErrorKind::InvalidFilename => ObjectsError::BadName {
            name: name.to_owned(),
            reason: "it is longer than the file system of the object store takes".to_owned(),
        },
        _ => ObjectsError::Store {
            name: name.to_owned(),
            reason: error.to_string(),
        },
    }
}

/// Converts an error of a write. "Not found" then refers to the bucket, not to the object.
fn not_written(name: &str, error: &object_store::Error) -> ObjectsError {
    ObjectsError::Store {
        name: name.to_owned(),
        reason: error.to_string(),
    }
}

async fn within<T>(name: &str, call: impl Future<Output = T>) -> Result<T, ObjectsError> {
    tokio::time::timeout(DEADLINE, call)
        .await
        .map_err(|_| ObjectsError::Store {
            name: name.to_owned(),
            reason: format!("no answer within {} s", DEADLINE.as_secs()),
        })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[tokio::test]
    async fn an_object_is_written_once_and_never_changes() {
        let folder = tempfile::tempdir().unwrap();
        let objects = Objects::local(folder.path()).unwrap();
        objects
            .put("raw/a/1", Bytes::from_static(b"one"))
            .await
            .unwrap();
        objects
            .put("raw/a/1", Bytes::from_static(b"one"))
            .await
            .unwrap();
        assert!(
            objects
                .put("raw/a/1", Bytes::from_static(b"other"))
                .await
                .is_err()
        );
        assert_eq!(objects.get("raw/a/1").await.unwrap(), "one");
        assert_eq!(objects.list("raw").await.unwrap().len(), 1);
        objects.remove("raw/a/1").await.unwrap();
        objects.remove("raw/a/1").await.unwrap();
        assert!(matches!(
            objects.get("raw/a/1").await,
            Err(ObjectsError::NotFound(_))
        ));
    }

    #[tokio::test]
    async fn in_a_bucket_another_content_of_the_same_length_is_refused() {
        let objects = Objects {
            store: Arc::new(object_store::memory::InMemory::new()),
            folder: None,
        };
        let put = |content: &'static [u8]| objects.put("raw/a/1", Bytes::from_static(content));
        put(b"one").await.unwrap();
        put(b"one").await.unwrap();
        assert!(put(b"two").await.is_err());
        assert_eq!(objects.get("raw/a/1").await.unwrap(), "one");
        assert_eq!(objects.range("raw/a/1", 1, 5).await.unwrap(), "ne");
        assert!(objects.range("raw/a/1", 3, 5).await.unwrap().is_empty());
    }

    #[tokio::test]
    async fn a_files_content_becomes_an_object_unless_it_has_changed() {
        use sha2::{Digest as _, Sha256};
        let folder = tempfile::tempdir().unwrap();
        let in_memory = Objects {
            store: Arc::new(object_store::memory::InMemory::new()),
            folder: None,
        };
        let from = folder.path().join("from");
        let content: Vec<u8> = (0..20_000_000_u32)
            .map(|byte| byte.to_le_bytes()[1])
            .collect();
        let hash = format!("{:x}", Sha256::digest(&content));
        for objects in [
            Objects::local(&folder.path().join("to")).unwrap(),
            in_memory,
        ] {
            std::fs::write(&from, &content).unwrap();
            let file = || std::fs::File::open(&from).unwrap();
            for _ in 0..2 {
                objects.put_file("raw/a/1", file(), &hash).await.unwrap();
            }
            assert_eq!(objects.get("raw/a/1").await.unwrap(), content);
            std::fs::write(&from, b"another").unwrap();
            let put = objects.put_file("raw/a/2", file(), &hash).await;
            assert!(put.unwrap_err().to_string().contains("changes"));
            assert!(matches!(
                objects.get("raw/a/2").await,
                Err(ObjectsError::NotFound(_))
            ));
        }
    }

    #[tokio::test]
    async fn a_name_cannot_leave_the_folder() {
        let folder = tempfile::tempdir().unwrap();
        let objects = Objects::local(folder.path()).unwrap();
        let long = format!("told/{}", "n".repeat(400));
        let deep = "told/".to_owned() + &"d/".repeat(300) + &"n".repeat(300);
        for name in ["../x", "a/../../x", "/etc/passwd", "a//b", "", &long, &deep] {
            for got in [
                objects.open(name).await.map(drop),
                objects.get(name).await.map(drop),
                objects.head(name).await.map(drop),
                objects.put(name, "x".into()).await,
            ] {
                assert!(
                    matches!(
                        got,
                        Err(ObjectsError::BadName { .. } | ObjectsError::NotFound(_))
                    ),
                    "{name}: {got:?}"
                );
            }
        }
    }
}
