//! Applied state: an active layer of writes in memory, one layer on its way to sled, and sled.

use std::io;
use std::path::{Path, PathBuf};
use std::sync::{Arc, OnceLock};
use std::time::Duration;

use bytes::Bytes;
use panther_proto::v1::{LogPosition, Membership};
use parking_lot::{Condvar, Mutex, RwLock};
use prost::Message;

use super::database::{self, Below};
use super::folders;
use super::items;
use super::snapshot::{self, SnapshotFile};
use super::writer::{Fault, Signal, WriterThread, size, write_layer};
use crate::log::{Log, Loss};
use crate::state::{Base, Globals, Pair, Writes};

/// Sizes of the store.
#[derive(Debug, Clone, Copy)]
pub struct StoreSettings {
    /// sled's cache.
    pub cache_bytes: u64,
    /// Bytes of writes in memory at which they go to sled.
    pub layer_bytes: usize,
    /// Longest time after which they go, however few.
    pub layer_age: Duration,
}

impl Default for StoreSettings {
    fn default() -> Self {
        Self {
            cache_bytes: 32 << 20,
            layer_bytes: 8 << 20,
            layer_age: Duration::from_secs(2),
        }
    }
}

/// Up to where the state is complete.
#[derive(Debug, Clone, PartialEq, Default)]
pub struct AppliedAt {
    /// The last applied entry.
    pub last: Option<LogPosition>,
    /// The membership in force there.
    pub membership: Option<Membership>,
}

#[derive(Default)]
pub(super) struct Layers {
    pub(super) active: Writes,
    pub(super) active_bytes: usize,
    /// Writes that are being stored, and the position that they complete.
    pub(super) on_its_way: Option<(Arc<Writes>, AppliedAt)>,
    pub(super) applied: AppliedAt,
    /// The position that sled holds.
    pub(super) stored: AppliedAt,
    /// While a snapshot is taken: everything written since it began.
    recording: Option<Writes>,
}

pub(super) struct Shared {
    pub(super) layers: RwLock<Layers>,
    pub(super) database: RwLock<Database>,
    pub(super) settings: StoreSettings,
    /// The log that the state must not be ahead of on the disk.
    log: OnceLock<Log>,
    pub(super) signal: Mutex<Signal>,
    /// Damage that sled came upon since it was opened.
    damage: OnceLock<String>,
    pub(super) changed: Condvar,
    /// Held while a layer is written or the database is replaced: one at a time.
    pub(super) writing: Mutex<()>,
    /// Held while a snapshot file is made or taken over: they share a temporary name.
    pub(super) snapshotting: Mutex<()>,
}

impl Shared {
    /// Whether the log holds everything up to there.
    fn is_logged(&self, applied: &AppliedAt) -> bool {
        match (self.log.get(), applied.last) {
            (Some(log), Some(last)) => log.holds(last.index),
            _ => true,
        }
    }

    /// Waits until the log holds everything up to there.
    ///
    /// # Errors
    /// The log cannot be written any more.
    pub(super) fn wait_logged(&self, applied: &AppliedAt) -> io::Result<()> {
        if self.is_logged(applied) {
            return Ok(());
        }
        // In a simulation the log's writer is a task of the same thread, so that each writer waits for it before.
        #[cfg(feature = "simulation")]
        if crate::simulated::is_on() {
            return Err(io::Error::other("the log has not synced that far"));
        }
        let Some(log) = self.log.get() else {
            return Ok(());
        };
        let (settled, told) = std::sync::mpsc::sync_channel(1);
        log.settled(Box::new(move |result| {
            let _ = settled.send(result); // the receiver is there until it has been told
        }));
        told.recv().map_err(io::Error::other).flatten()
    }
}

pub(super) struct Database {
    pub(super) db: sled::Db,
    pub(super) folder: PathBuf,
}

impl Database {
    /// Takes note of damage. It is this node's alone, and no reason to refuse a command that others carry out: the state is given up, and built anew at
    /// the next start.
    pub(super) fn noted<T>(&self, shared: &Shared, answer: io::Result<T>) -> io::Result<T> {
        if let Err(error) = &answer
            && error.kind() == io::ErrorKind::InvalidData
            && shared.damage.set(error.to_string()).is_ok()
        {
            tracing::error!(%error, "the state is given up; it is rebuilt from the newest snapshot and the log when the node is started again");
            if let Err(unmarked) = folders::condemn(&self.folder, &error.to_string()) {
                tracing::warn!(error = %unmarked, "the damage cannot be noted; it has to be come upon again");
            }
        }
        answer
    }
}

fn index_of(at: Option<LogPosition>) -> Option<u64> {
    at.map(|at| at.index)
}

/// # Errors
/// It reaches further than a log that ends with `last`, or holds another entry in that place.
pub(crate) fn not_ahead(
    applied: Option<LogPosition>,
    last: Option<LogPosition>,
) -> Result<(), Loss> {
    let Some(at) = applied else {
        return Ok(());
    };
    let behind = last.is_some_and(|last| {
        at.index < last.index || (at.index, at.term, at.node) == (last.index, last.term, last.node)
    });
    if behind {
        return Ok(());
    }
    Err(Loss::StateAhead {
        applied: at.index,
        last: index_of(last),
        torn: String::new(),
    })
}

fn open_current(folder: &Path, settings: StoreSettings) -> io::Result<(sled::Db, AppliedAt)> {
    if let Some(why) = folders::condemned(folder) {
        return Err(io::Error::new(io::ErrorKind::InvalidData, why));
    }
    let db = database::open(folder, settings)?;
    let applied = database::stored_applied(&db)?;
    // The position is written last.
    if applied.last.is_none() && !database::asked(|| Ok(db.is_empty()))? {
        return Err(io::Error::new(
            io::ErrorKind::InvalidData,
            "it was not built to its end",
        ));
    }
    Ok((db, applied))
}

/// Builds the state from the newest snapshot beside the one in force, and makes it current once it is whole.
fn rebuild(
    root: &Path,
    old: &Path,
    why: &str,
    settings: StoreSettings,
    purged: Option<LogPosition>,
    last: Option<LogPosition>,
) -> io::Result<(sled::Db, AppliedAt, PathBuf)> {
    let snapshot = SnapshotFile::newest(root)?;
    let reaches = snapshot.as_ref().and_then(|file| file.header.last);
    not_ahead(reaches, last)?;
    if index_of(reaches) < index_of(purged) {
        return Err(Loss::State {
            state: why.to_owned(),
            snapshot: index_of(reaches),
            purged: index_of(purged),
        }
        .into());
    }
    let folder = folders::next_folder(root)?;
    let db = database::open(&folder, settings)?;
    let applied = match snapshot {
        Some(file) => database::load(&db, &file)?,
        None => AppliedAt::default(),
    };
    folders::point_to(root, &folder)?;
    let aside = folders::set_aside(old)?;
    tracing::error!(
        why,
        aside = %aside.display(),
        "the state database was set aside; it is rebuilt from the newest snapshot and the log"
    );
    Ok((db, applied, folder))
}

/// A handle on the state; clones share it.
#[derive(Clone)]
pub struct StateStore {
    shared: Arc<Shared>,
    root: PathBuf,
    writer: Arc<WriterThread>,
}

impl StateStore {
    /// Opens the state below `root`, beside a log that holds entries behind `purged` up to `last`.
    ///
    /// A state that reaches further than the log is refused: entries are synced to the log before the state holds them, so it proves that the log was lost. A state
    /// that cannot be read, or that the log's start has passed, is rebuilt from the newest snapshot file; entries behind that are applied again from the log.
    ///
    /// # Errors
    /// The log or the state was lost ([`Loss`]); or the disk fails. What is on the disk is then as it was.
    pub fn open(
        root: &Path,
        settings: StoreSettings,
        purged: Option<LogPosition>,
        last: Option<LogPosition>,
    ) -> io::Result<Self> {
        std::fs::create_dir_all(root)?;
        let folder = folders::current_folder(root)?;
        let why = match open_current(&folder, settings) {
            Ok((db, applied)) => {
                not_ahead(applied.last, last)?;
                if index_of(applied.last) >= index_of(purged) {
                    return Self::start(root, settings, db, folder, applied);
                }
                format!("it reaches entry {}", index_of(applied.last).unwrap_or(0))
            }
            // No signs of damage; and a rebuilt one would find no room either.
            Err(error)
                if matches!(
                    error.kind(),
                    io::ErrorKind::StorageFull | io::ErrorKind::ResourceBusy
                ) =>
            {
                return Err(error);
            }
            Err(error) => error.to_string(),
        };
        let (db, applied, folder) = rebuild(root, &folder, &why, settings, purged, last)?;
        Self::start(root, settings, db, folder, applied)
    }

    /// Opens the state below `root` as it is, whatever has become of its log. A node does not take part with it.
    ///
    /// # Errors
    /// It cannot be read.
    pub fn open_alone(root: &Path, settings: StoreSettings) -> io::Result<Self> {
        let folder = folders::current_folder(root)?;
        if !folder.exists() {
            return Err(io::Error::new(
                io::ErrorKind::NotFound,
                format!("{} is missing", folder.display()),
            ));
        }
        let (db, applied) = open_current(&folder, settings)?;
        Self::start(root, settings, db, folder, applied)
    }

    fn start(
        root: &Path,
        settings: StoreSettings,
        db: sled::Db,
        folder: PathBuf,
        applied: AppliedAt,
    ) -> io::Result<Self> {
        let shared = Arc::new(Shared {
            layers: RwLock::new(Layers {
                stored: applied.clone(),
                applied,
                ..Layers::default()
            }),
            database: RwLock::new(Database { db, folder }),
            settings,
            log: OnceLock::new(),
            signal: Mutex::new(Signal::default()),
            damage: OnceLock::new(),
            changed: Condvar::new(),
            writing: Mutex::new(()),
            snapshotting: Mutex::new(()),
        });
        let writer = Arc::new(WriterThread::start(&shared)?);
        Ok(Self {
            shared,
            root: root.to_owned(),
            writer,
        })
    }

    /// Writes only what this log holds from now on. Entries may be applied while the log still syncs them: written before that, a power cut could leave a
    /// state that is ahead of the log.
    pub(crate) fn behind(&self, log: Log) {
        let _ = self.shared.log.set(log); // there is one log
    }

    /// Up to where the state is complete, in memory.
    #[must_use]
    pub fn applied(&self) -> AppliedAt {
        self.shared.layers.read().applied.clone()
    }

    /// Whether the log holds all that was applied.
    #[cfg(feature = "simulation")]
    pub(crate) fn is_logged(&self) -> bool {
        self.shared.is_logged(&self.applied())
    }

    /// Bytes that the state takes on disk.
    ///
    /// # Errors
    /// The database cannot say.
    pub fn disk_bytes(&self) -> io::Result<u64> {
        self.shared
            .database
            .read()
            .db
            .size_on_disk()
            .map_err(items::io_error)
    }

    /// What keeps writes from reaching the disk, if something does.
    #[must_use]
    pub fn fault(&self) -> Option<String> {
        let signal = self.shared.signal.lock();
        signal.fault.as_ref().map(|fault| fault.reason().to_owned())
    }

    /// Why the state can be neither read nor written until it is opened anew, if that is so.
    #[must_use]
    pub fn broken(&self) -> Option<String> {
        let broken = || match &self.shared.signal.lock().fault {
            Some(Fault::Broken(reason)) => Some(reason.clone()),
            _ => None,
        };
        self.shared.damage.get().cloned().or_else(broken)
    }

    /// Takes over an entry's writes and the position that they complete. Waits while far more is in memory than should
    /// be, because the disk does not keep up.
    pub fn store(&self, writes: Writes, applied: AppliedAt) {
        let shared = &self.shared;
        let mut layers = shared.layers.write();
        let bytes = size(&writes);
        if let Some(recording) = &mut layers.recording {
            recording.extend(
                writes
                    .iter()
                    .map(|(key, value)| (key.clone(), value.clone())),
            );
        }
        layers.active.extend(writes);
        layers.active_bytes += bytes;
        layers.applied = applied;
        let full = layers.active_bytes >= shared.settings.layer_bytes;
        let far_too_full = layers.active_bytes >= shared.settings.layer_bytes.saturating_mul(4)
            && layers.on_its_way.is_some();
        drop(layers);
        #[cfg(feature = "simulation")]
        if full && crate::simulated::is_on() {
            if self.is_logged() {
                super::writer::try_layer(shared);
            }
            return;
        }
        if full {
            let mut signal = shared.signal.lock();
            signal.wanted = true;
            shared.changed.notify_all();
            if far_too_full && !signal.stopping {
                shared
                    .changed
                    .wait_for(&mut signal, Duration::from_millis(200));
            }
        }
    }

    /// Writes a snapshot of the state as it is at the end of this call, while writes go on. Older ones are removed.
    ///
    /// # Errors
    /// The file cannot be written.
    pub fn take_snapshot(&self) -> io::Result<SnapshotFile> {
        self.take_snapshot_into(&self.root)
    }

    /// The same into another folder.
    ///
    /// # Errors
    /// As [`StateStore::take_snapshot`].
    pub fn take_snapshot_into(&self, folder: &Path) -> io::Result<SnapshotFile> {
        let _one_at_a_time = self.shared.snapshotting.lock();
        self.shared.layers.write().recording = Some(Writes::new());
        let taken = self.scan_into_file(folder);
        match taken {
            Ok(file) => {
                // The log will be cut up to here, so the database should reach as far.
                write_layer(&self.shared)?;
                Ok(file)
            }
            Err(error) => {
                self.shared.layers.write().recording = None;
                snapshot::discard(folder);
                Err(error)
            }
        }
    }

    fn scan_into_file(&self, folder: &Path) -> io::Result<SnapshotFile> {
        // A page is held in memory whole, and values may be large.
        const PAGE: usize = 100;
        let globals_key = crate::state::keys::globals();
        let mut globals = None;
        let mut file = snapshot::Writer::create(folder)?;
        let mut from = Vec::new();
        loop {
            let page = self.scan(&from, &[0xFF; 9], PAGE, false)?;
            for (key, value) in &page {
                if **key == *globals_key {
                    globals = Some(value.clone());
                }
                file.item(key, Some(value))?;
            }
            match page.last() {
                Some((key, _)) if page.len() == PAGE => {
                    from = key.to_vec();
                    from.push(0);
                }
                _ => break,
            }
        }
        let (since, applied) = {
            let mut layers = self.shared.layers.write();
            (layers.recording.take(), layers.applied.clone())
        };
        let since = since.ok_or_else(|| {
            io::Error::other("the state was replaced while a snapshot of it was taken")
        })?;
        for (key, value) in &since {
            file.item(key, value.as_ref())?;
        }
        // The hash and format as of that position: what was recorded last, or what was read and has not changed since.
        if let Some(recorded) = since.get(&globals_key) {
            globals.clone_from(recorded);
        }
        let globals = Globals::decode(globals.unwrap_or_default()).map_err(io::Error::other)?;
        self.shared.wait_logged(&applied)?;
        file.finish(&applied, globals.hash, globals.format)
    }

    /// Keeps a snapshot of another node as this one's newest. From then on the state can be rebuilt from it, so the log up to there may go.
    ///
    /// # Errors
    /// The disk does not take it.
    pub fn keep(&self, file: &SnapshotFile) -> io::Result<SnapshotFile> {
        // A snapshot that is being taken ends in an error: it would hold some of the old state and some of the new.
        self.shared.layers.write().recording = None;
        let _one_at_a_time = self.shared.snapshotting.lock();
        file.keep_in(&self.root)
    }

    /// Replaces the state by a snapshot: built beside the old one, made current by a rename.
    ///
    /// # Errors
    /// The snapshot does not check, or the disk does not take it; the old state is then still in force.
    pub fn install(&self, file: &SnapshotFile) -> io::Result<()> {
        // A snapshot that is being taken ends in an error: it would hold some of the old state and some of the new.
        self.shared.layers.write().recording = None;
        let _one_at_a_time = self.shared.snapshotting.lock();
        let folder = folders::next_folder(&self.root)?;
        let db = database::open(&folder, self.shared.settings)?;
        let applied = database::load(&db, file)?;
        // The file first: once the state is in force, the log before it may be gone.
        file.keep_in(&self.root)?;
        // A layer of the old state that is on its way ends there, not in the new database.
        let _no_layer = self.shared.writing.lock();
        folders::point_to(&self.root, &folder)?;
        let mut layers = self.shared.layers.write();
        let mut database = self.shared.database.write();
        let old = std::mem::replace(&mut *database, Database { db, folder });
        *layers = Layers {
            stored: applied.clone(),
            applied,
            ..Layers::default()
        };
        drop((database, layers));
        let Database { db, folder } = old;
        drop(db);
        std::fs::remove_dir_all(folder)
    }

    /// The folder that holds the state and its snapshots.
    #[must_use]
    pub fn root(&self) -> &Path {
        &self.root
    }

    /// Moves everything to sled and to the disk; for an orderly stop.
    ///
    /// # Errors
    /// The disk does not take it.
    pub fn close(&self) -> io::Result<()> {
        let _ = &self.writer;
        write_layer(&self.shared)?;
        write_layer(&self.shared)?;
        let database = self.shared.database.read();
        let file = database.folder.join("db");
        if file.exists() {
            std::fs::File::open(file)?.sync_all()?;
        }
        Ok(())
    }
}

impl Base for StateStore {
    fn get(&self, key: &[u8]) -> io::Result<Option<Bytes>> {
        let layers = self.shared.layers.read();
        if let Some(value) = layers.active.get(key).or_else(|| {
            layers
                .on_its_way
                .as_ref()
                .and_then(|(layer, _)| layer.get(key))
        }) {
            return Ok(value.clone());
        }
        let database = self.shared.database.read();
        let stored = database::get_stored(&database.db, key);
        database.noted(&self.shared, stored)
    }

    fn scan(&self, from: &[u8], to: &[u8], limit: usize, reverse: bool) -> io::Result<Vec<Pair>> {
        let layers = self.shared.layers.read();
        let database = self.shared.database.read();
        let over: Vec<&Writes> = std::iter::once(&layers.active)
            .chain(layers.on_its_way.as_ref().map(|(layer, _)| layer.as_ref()))
            .collect();
        let below = Below {
            db: &database.db,
            over: &over,
        };
        let found = crate::state::scan_layers(&below, &over, from, to, limit, reverse);
        database.noted(&self.shared, found)
    }
}

#[cfg(test)]
mod tests {
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
    fn entries_that_write_nothing_move_the_stored_position_too() {
        let folder = tempfile::tempdir().unwrap();
        let store = StateStore::open(folder.path(), StoreSettings::default(), None, None).unwrap();
        store.store(Writes::new(), at(3));
        store.close().unwrap();
        let database = store.shared.database.read();
        assert_eq!(database::stored_applied(&database.db).unwrap(), at(3));
    }

    /// A state that cannot be read, beside a snapshot that reaches an entry.
    fn with_snapshot(reaches: u64) -> tempfile::TempDir {
        let folder = tempfile::tempdir().unwrap();
        let store = StateStore::open(folder.path(), StoreSettings::default(), None, None).unwrap();
        store.store(Writes::new(), at(reaches));
        store.take_snapshot().unwrap();
        store.close().unwrap();
        drop(store);
        let database = folders::current_folder(folder.path()).unwrap();
        std::fs::remove_dir_all(database).unwrap();
        folder
    }

    fn loss(folder: &Path, purged: u64, last: u64) -> Option<Loss> {
        let (purged, last) = (at(purged).last, at(last).last);
        let opened = StateStore::open(folder, StoreSettings::default(), purged, last);
        let error = opened.err()?;
        Some(Loss::of(&error).expect("a loss").clone())
    }

    #[test]
    fn a_snapshot_that_is_ahead_of_the_log_is_refused() {
        let folder = with_snapshot(7);
        let refused = loss(folder.path(), 3, 6).expect("refused");
        assert_eq!(refused.code(), "state-ahead-of-log");
        assert_eq!(loss(folder.path(), 3, 7), None);
    }

    #[test]
    fn a_snapshot_that_ends_before_the_log_begins_is_refused() {
        let folder = with_snapshot(7);
        let refused = loss(folder.path(), 8, 9).expect("refused");
        assert_eq!(refused.code(), "state-lost");
        assert_eq!(loss(folder.path(), 7, 9), None);
    }
}
