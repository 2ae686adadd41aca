//! The applied state: an active layer of writes in memory, one layer on its way to sled, and sled.

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

/// Settings of the store.
#[derive(Debug, Clone, Copy)]
pub struct StoreSettings {
    /// Size of sled's cache, in bytes.
    pub cache_bytes: u64,
    /// Size of the active layer, in bytes, at which it is written to sled.
    pub layer_bytes: usize,
    /// Longest time until the active layer is written to sled, even if it is small.
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

/// The position up to which the state is complete.
#[derive(Debug, Clone, PartialEq, Default)]
pub struct AppliedAt {
    /// The last applied entry.
    pub last: Option<LogPosition>,
    /// The membership as of that entry.
    pub membership: Option<Membership>,
}

#[derive(Default)]
pub(super) struct Layers {
    pub(super) active: Writes,
    pub(super) active_bytes: usize,
    /// The layer that is being written to sled, and the position that it completes.
    pub(super) on_its_way: Option<(Arc<Writes>, AppliedAt)>,
    pub(super) applied: AppliedAt,
    /// The position of sled's content.
    pub(super) stored: AppliedAt,
    /// While a snapshot is taken: all writes since the scan began.
    recording: Option<Writes>,
}

pub(super) struct Shared {
    pub(super) layers: RwLock<Layers>,
    pub(super) database: RwLock<Database>,
    pub(super) settings: StoreSettings,
    /// The log. The state on disk must not be ahead of it.
    log: OnceLock<Log>,
    pub(super) signal: Mutex<Signal>,
    /// The first corruption that sled has found since it was opened.
    damage: OnceLock<String>,
    pub(super) changed: Condvar,
    /// Held while a layer is written or the database is replaced, so that these steps exclude each other.
    pub(super) writing: Mutex<()>,
    /// Held while a snapshot file is created or copied, because all of them use the same temporary name.
    pub(super) snapshotting: Mutex<()>,
}

impl Shared {
    /// True if the log on disk contains all entries up to this position.
    fn is_logged(&self, applied: &AppliedAt) -> bool {
        match (self.log.get(), applied.last) {
            (Some(log), Some(last)) => log.holds(last.index),
            _ => true,
        }
    }

    /// Waits until the log on disk contains all entries up to this position.
    ///
    /// # Errors
    /// The log can no longer be written.
    pub(super) fn wait_logged(&self, applied: &AppliedAt) -> io::Result<()> {
        if self.is_logged(applied) {
            return Ok(());
        }
        // In a simulation the log's writer is a task of the same thread, so this thread must not block. Each caller waits for the log before it
        // calls.
        #[cfg(feature = "simulation")]
        if crate::simulated::is_on() {
            return Err(io::Error::other("the log has not synced that far"));
        }
        let Some(log) = self.log.get() else {
            return Ok(());
        };
        let (settled, told) = std::sync::mpsc::sync_channel(1);
        log.settled(Box::new(move |result| {
            let _ = settled.send(result); // the receiver waits for this value
        }));
        told.recv().map_err(io::Error::other).flatten()
    }
}

pub(super) struct Database {
    pub(super) db: sled::Db,
    pub(super) folder: PathBuf,
}

impl Database {
    /// Records corruption. Only this node is affected, so it is not a reason to refuse a command that other nodes execute. Instead the state is
    /// abandoned, and rebuilt at the next start.
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

/// Checks that the state is not ahead of a log whose last entry is `last`.
///
/// # Errors
/// The state includes an entry behind `last`, or another entry at the same index.
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

/// Builds a new folder of the state from the newest snapshot. It becomes current once it is complete; the old folder is set aside.
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

/// Handle of the state. Clones share the state.
#[derive(Clone)]
pub struct StateStore {
    shared: Arc<Shared>,
    root: PathBuf,
    writer: Arc<WriterThread>,
}

impl StateStore {
    /// Opens the state in the folder `root`, next to a log that contains the entries behind `purged` up to `last`.
    ///
    /// A state ahead of the log is refused: entries are synced to the log before the state is written, so this state proves that the log has lost
    /// entries. A state that cannot be read, or that ends before the start of the log, is rebuilt from the newest snapshot file; the log replays the
    /// entries behind the snapshot.
    ///
    /// # Errors
    /// The log or the state has lost data ([`Loss`]), or the disk fails. The content of the disk is then unchanged.
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
            // These errors are no sign of damage, and a rebuild would meet the same full disk or lock.
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

    /// Opens the state in the folder `root` without its log, whatever the log's condition. For salvage only: a node must not take part with it.
    ///
    /// # Errors
    /// The state cannot be read.
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

    /// From now on, writes to disk only what `log` contains on disk. Entries may be applied while the log still syncs them; if the state was written
    /// first, a power cut could leave a state ahead of the log.
    pub(crate) fn behind(&self, log: Log) {
        let _ = self.shared.log.set(log); // a store has one log
    }

    /// The position up to which the state, including the layers in memory, is complete.
    #[must_use]
    pub fn applied(&self) -> AppliedAt {
        self.shared.layers.read().applied.clone()
    }

    /// True if the log on disk contains all applied entries.
    #[cfg(feature = "simulation")]
    pub(crate) fn is_logged(&self) -> bool {
        self.shared.is_logged(&self.applied())
    }

    /// Size of the state on disk, in bytes.
    ///
    /// # Errors
    /// The size cannot be read.
    pub fn disk_bytes(&self) -> io::Result<u64> {
        self.shared
            .database
            .read()
            .db
            .size_on_disk()
            .map_err(items::io_error)
    }

    /// Why writes do not reach the disk; `None` if they do.
    #[must_use]
    pub fn fault(&self) -> Option<String> {
        let signal = self.shared.signal.lock();
        signal.fault.as_ref().map(|fault| fault.reason().to_owned())
    }

    /// Why the state can be neither read nor written until it is opened again; `None` if it works.
    #[must_use]
    pub fn broken(&self) -> Option<String> {
        let broken = || match &self.shared.signal.lock().fault {
            Some(Fault::Broken(reason)) => Some(reason.clone()),
            _ => None,
        };
        self.shared.damage.get().cloned().or_else(broken)
    }

    /// Adds an entry's writes and the position that they complete. If the disk is slow and the active layer is over four times its limit, waits up to
    /// 200 ms (backpressure).
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

    /// Writes a snapshot of the state as of the end of this call, while writes continue. Older snapshots are removed.
    ///
    /// # Errors
    /// The file cannot be written.
    pub fn take_snapshot(&self) -> io::Result<SnapshotFile> {
        self.take_snapshot_into(&self.root)
    }

    /// Same as [`StateStore::take_snapshot`], but into another folder.
    ///
    /// # Errors
    /// Same as [`StateStore::take_snapshot`].
    pub fn take_snapshot_into(&self, folder: &Path) -> io::Result<SnapshotFile> {
        let _one_at_a_time = self.shared.snapshotting.lock();
        self.shared.layers.write().recording = Some(Writes::new());
        let taken = self.scan_into_file(folder);
        match taken {
            Ok(file) => {
                // The log will be purged up to this snapshot, so the database must include these entries.
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
        // A page is completely in memory, and values may be large.
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
        // Hash and format as of that position: the newest recorded value, or the scanned value if it has not changed since.
        if let Some(recorded) = since.get(&globals_key) {
            globals.clone_from(recorded);
        }
        let globals = Globals::decode(globals.unwrap_or_default()).map_err(io::Error::other)?;
        self.shared.wait_logged(&applied)?;
        file.finish(&applied, globals.hash, globals.format)
    }

    /// Keeps another node's snapshot as the newest one of this node. From then on the state can be rebuilt from it, so the log up to it may be
    /// purged.
    ///
    /// # Errors
    /// The disk refuses the file.
    pub fn keep(&self, file: &SnapshotFile) -> io::Result<SnapshotFile> {
        // A snapshot that is being taken fails: it would mix the old state and the new one.
        self.shared.layers.write().recording = None;
        let _one_at_a_time = self.shared.snapshotting.lock();
        file.keep_in(&self.root)
    }

    /// Replaces the state with a snapshot. The new state is built next to the old one and becomes current by a rename.
    ///
    /// # Errors
    /// The snapshot is damaged, or the disk refuses a write; the old state then stays current.
    pub fn install(&self, file: &SnapshotFile) -> io::Result<()> {
        // A snapshot that is being taken fails: it would mix the old state and the new one.
        self.shared.layers.write().recording = None;
        let _one_at_a_time = self.shared.snapshotting.lock();
        let folder = folders::next_folder(&self.root)?;
        let db = database::open(&folder, self.shared.settings)?;
        let applied = database::load(&db, file)?;
        // The snapshot file is kept first: once the new state is current, the log before it may be purged.
        file.keep_in(&self.root)?;
        // A layer of the old state that is being written must end in the old database, not in the new one.
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

    /// The folder that contains the state and its snapshots.
    #[must_use]
    pub fn root(&self) -> &Path {
        &self.root
    }

    /// Writes everything in memory to sled and to the disk, for a clean stop.
    ///
    /// # Errors
    /// The disk refuses a write.
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

    /// A folder whose state cannot be read, with a snapshot up to the entry `reaches`.
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
