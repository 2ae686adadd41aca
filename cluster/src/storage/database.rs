//! sled behind an interface of the store: whole values, batches that include the position they complete, and loading from a snapshot.

use std::fs::{File, TryLockError};
use std::io;
use std::panic::{AssertUnwindSafe, catch_unwind};
use std::path::Path;
use std::time::{Duration, Instant};

use bytes::Bytes;
use panther_proto::v1::SnapshotHeader;
use prost::Message;

use super::items;
use super::snapshot::SnapshotFile;
use super::store::{AppliedAt, StoreSettings};
use crate::state::{Base, Pair, Writes};

/// How long to wait for the lock on the database files: threads of a database that was just closed may still hold it.
const LOCKED: Duration = Duration::from_secs(10);

/// Opens the database. Waits up to 10 s for its lock.
///
/// # Errors
/// [`io::ErrorKind::ResourceBusy`] if another process or thread holds the lock, which proves nothing about the content. Other errors mean that the
/// database cannot be read.
pub(super) fn open(folder: &Path, settings: StoreSettings) -> io::Result<sled::Db> {
    open_within(folder, settings, LOCKED)
}

fn open_within(folder: &Path, settings: StoreSettings, patience: Duration) -> io::Result<sled::Db> {
    let until = Instant::now() + patience;
    let config = sled::Config::new()
        .path(folder)
        .cache_capacity(settings.cache_bytes)
        // The writer of a layer flushes it itself, so that sled meets a full disk only where the store checks for free space.
        .flush_every_ms(None);
    let mut was_free = false;
    loop {
        match open_now(&config) {
            Ok(db) => return Ok(db),
            // The lock may have been released just before this check, so the open is retried once. If the files are unlocked and damaged, the retry
            // fails too.
            Err(error) if !is_locked(folder) => {
                if was_free {
                    return Err(error);
                }
                was_free = true;
            }
            Err(error) if Instant::now() >= until => {
                return Err(io::Error::new(io::ErrorKind::ResourceBusy, error));
            }
            Err(_) => std::thread::sleep(Duration::from_millis(10)),
        }
    }
}

/// Opens the database without waiting.
fn open_now(config: &sled::Config) -> io::Result<sled::Db> {
    asked(|| config.open().map_err(items::io_error))
}

/// Runs a request to sled, and turns a panic of sled into an error. sled panics on some corruption and detects some only on access; both are reported
/// as corruption, not as a defect of the caller.
///
/// # Errors
/// [`io::ErrorKind::InvalidData`] for corruption.
pub(super) fn asked<T>(ask: impl FnOnce() -> io::Result<T>) -> io::Result<T> {
    catch_unwind(AssertUnwindSafe(ask))
        .unwrap_or_else(|panic| Err(items::damaged(&crate::state::panic_text(panic.as_ref()))))
}

/// True if another process or thread holds the lock of the database.
fn is_locked(folder: &Path) -> bool {
    let file = File::open(folder.join("db"));
    file.is_ok_and(|file| matches!(file.try_lock(), Err(TryLockError::WouldBlock)))
}

pub(super) fn encode_applied(applied: &AppliedAt) -> Vec<u8> {
    SnapshotHeader {
        last: applied.last,
        membership: applied.membership.clone(),
        ..SnapshotHeader::default()
    }
    .encode_to_vec()
}

pub(super) fn get_stored(db: &sled::Db, key: &[u8]) -> io::Result<Option<Bytes>> {
    asked(
        || match db.get(items::head_key(key)).map_err(items::io_error)? {
            None => Ok(None),
            Some(head) => items::whole(db, key, &head).map(Some),
        },
    )
}

/// sled as the base below the layers `over`. A layer may be on its way into sled at this moment, so a value for which a layer has a newer version may
/// consist of pieces of both. Such a value is not assembled (an empty value stands in its place), because the layer's version replaces it.
pub(super) struct Below<'a> {
    pub(super) db: &'a sled::Db,
    pub(super) over: &'a [&'a Writes],
}

impl Base for Below<'_> {
    fn get(&self, key: &[u8]) -> io::Result<Option<Bytes>> {
        get_stored(self.db, key)
    }

    fn scan(&self, from: &[u8], to: &[u8], limit: usize, reverse: bool) -> io::Result<Vec<Pair>> {
        let range = self.db.range(items::head_key(from)..items::head_key(to));
        let pair = |item: sled::Result<(sled::IVec, sled::IVec)>| {
            let (key, head) = item.map_err(items::io_error)?;
            let key = Bytes::copy_from_slice(&key[1..]);
            if self.over.iter().any(|layer| layer.contains_key(&key[..])) {
                return Ok((key, Bytes::new()));
            }
            let value = items::whole(self.db, &key, &head)?;
            Ok((key, value))
        };
        asked(|| {
            if reverse {
                range.rev().take(limit).map(pair).collect()
            } else {
                range.take(limit).map(pair).collect()
            }
        })
    }
}

/// Writes a layer to sled and flushes it.
pub(super) fn write(db: &sled::Db, layer: &Writes, applied: &AppliedAt) -> io::Result<()> {
    asked(|| {
        let batch = layer_batch(db, layer, applied)?;
        db.apply_batch(batch).map_err(items::io_error)?;
        db.flush().map(drop).map_err(items::io_error)
    })
}

/// A layer's writes together with the position that they complete. sled applies a batch atomically, so after a crash the content always matches its
/// position.
fn layer_batch(db: &sled::Db, layer: &Writes, applied: &AppliedAt) -> io::Result<sled::Batch> {
    let mut batch = sled::Batch::default();
    for (key, value) in layer {
        items::put(db, &mut batch, key, value.as_ref())?;
    }
    batch.insert(items::APPLIED, encode_applied(applied));
    Ok(batch)
}

pub(super) fn stored_applied(db: &sled::Db) -> io::Result<AppliedAt> {
    let Some(bytes) = asked(|| db.get(items::APPLIED).map_err(items::io_error))? else {
        return Ok(AppliedAt::default());
    };
    let header = SnapshotHeader::decode(&bytes[..]).map_err(io::Error::other)?;
    Ok(AppliedAt {
        last: header.last,
        membership: header.membership,
    })
}

/// Loads a snapshot file into an empty database.
pub(super) fn load(db: &sled::Db, file: &SnapshotFile) -> io::Result<AppliedAt> {
    const BATCH_BYTES: usize = 4 << 20;
    let mut batch = Writes::new();
    let mut bytes = 0;
    let write = |batch: &mut Writes| -> io::Result<()> {
        let mut items_batch = sled::Batch::default();
        for (key, value) in std::mem::take(batch) {
            items::put(db, &mut items_batch, &key, value.as_ref())?;
        }
        db.apply_batch(items_batch).map_err(items::io_error)
    };
    let header = file.read(|key, value| {
        bytes += key.len() + value.as_ref().map_or(0, Bytes::len);
        batch.insert(key, value);
        if bytes >= BATCH_BYTES {
            bytes = 0;
            write(&mut batch)?;
        }
        Ok(())
    })?;
    write(&mut batch)?;
    let applied = AppliedAt {
        last: header.last,
        membership: header.membership,
    };
    db.insert(items::APPLIED, encode_applied(&applied))
        .map_err(items::io_error)?;
    db.flush().map_err(items::io_error)?;
    Ok(applied)
}

#[cfg(test)]
mod tests {
    use panther_proto::v1::LogPosition;

    use super::*;

    fn at(index: u64) -> AppliedAt {
        AppliedAt {
            last: Some(LogPosition {
                term: 1,
                node: 1,
                index,
            }),
            membership: None,
        }
    }

    #[test]
    fn a_layers_writes_and_their_position_are_one_batch() {
        let folder = tempfile::tempdir().unwrap();
        let db = open(folder.path(), StoreSettings::default()).unwrap();
        let layer = Writes::from([(b"k".to_vec(), Some(Bytes::from_static(b"v")))]);
        let batch = layer_batch(&db, &layer, &at(7)).unwrap();
        assert_eq!(stored_applied(&db).unwrap(), AppliedAt::default());
        assert_eq!(get_stored(&db, b"k").unwrap(), None);
        db.apply_batch(batch).unwrap();
        assert_eq!(stored_applied(&db).unwrap(), at(7));
        assert_eq!(get_stored(&db, b"k").unwrap().as_deref(), Some(&b"v"[..]));
    }

    #[test]
    fn what_sled_cannot_answer_is_damage_and_no_panic() {
        let unsaid: io::Result<()> = asked(|| panic!("cannot find pid {}", 7));
        let error = unsaid.unwrap_err();
        assert_eq!(error.kind(), io::ErrorKind::InvalidData);
        assert!(error.to_string().contains("cannot find pid 7"), "{error}");
        assert_eq!(asked(|| Ok(1)).unwrap(), 1);
    }

    #[test]
    fn a_database_that_is_held_is_busy_and_not_damaged() {
        let folder = tempfile::tempdir().unwrap();
        let db = open(folder.path(), StoreSettings::default()).unwrap();
        db.insert("a", "1").unwrap();
        db.flush().unwrap();
        drop(db);
        let file = File::open(folder.path().join("db")).unwrap();
        file.lock().unwrap();
        let busy = open_within(folder.path(), StoreSettings::default(), Duration::ZERO);
        assert_eq!(busy.unwrap_err().kind(), io::ErrorKind::ResourceBusy);
        let waiting = {
            let folder = folder.path().to_owned();
            std::thread::spawn(move || open(&folder, StoreSettings::default()))
        };
        file.unlock().unwrap();
        let db = waiting.join().unwrap().unwrap();
        assert_eq!(db.get("a").unwrap().unwrap(), "1");
    }
}
