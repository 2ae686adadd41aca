//! Applied state: an active layer of writes in memory, one layer on its way to sled, and sled.

use std::io;
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::thread::JoinHandle;
use std::time::Duration;

use bytes::Bytes;
use panther_proto::v1::{LogPosition, Membership, SnapshotHeader};
use parking_lot::{Condvar, Mutex, RwLock};
use prost::Message;

use super::items;
use super::snapshot::{self, SnapshotFile};
use crate::log::sync_folder;
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
    /// How often sled hands its writes to the operating system.
    pub flush_every: Duration,
}

impl Default for StoreSettings {
    fn default() -> Self {
        Self {
            cache_bytes: 32 << 20,
            layer_bytes: 8 << 20,
            layer_age: Duration::from_secs(2),
            flush_every: Duration::from_millis(500),
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
struct Layers {
    active: Writes,
    active_bytes: usize,
    /// Writes that are being stored, and the position that they complete.
    on_its_way: Option<(Arc<Writes>, AppliedAt)>,
    applied: AppliedAt,
    /// The position that sled holds.
    stored: AppliedAt,
    /// While a snapshot is taken: everything written since it began.
    recording: Option<Writes>,
}

struct Shared {
    layers: RwLock<Layers>,
    database: RwLock<Database>,
    settings: StoreSettings,
    signal: Mutex<Signal>,
    changed: Condvar,
    /// Held while a layer is written or the database is replaced: one at a time.
    writing: Mutex<()>,
    /// Held while a snapshot file is made or taken over: they share a temporary name.
    snapshotting: Mutex<()>,
}

#[derive(Default)]
struct Signal {
    wanted: bool,
    stopping: bool,
    fault: Option<String>,
}

struct Database {
    db: sled::Db,
    folder: PathBuf,
}

/// A handle on the state; clones share it.
#[derive(Clone)]
pub struct StateStore {
    shared: Arc<Shared>,
    root: PathBuf,
    writer: Arc<WriterThread>,
}

struct WriterThread {
    shared: Arc<Shared>,
    thread: Mutex<Option<JoinHandle<()>>>,
}

impl Drop for WriterThread {
    fn drop(&mut self) {
        self.shared.signal.lock().stopping = true;
        self.shared.changed.notify_all();
        if let Some(thread) = self.thread.lock().take() {
            let _ = thread.join();
        }
    }
}

const CURRENT: &str = "current";

fn open_database(folder: &Path, settings: StoreSettings) -> io::Result<sled::Db> {
    sled::Config::new()
        .path(folder)
        .cache_capacity(settings.cache_bytes)
        .flush_every_ms(Some(
            u64::try_from(settings.flush_every.as_millis()).unwrap_or(u64::MAX),
        ))
        .open()
        .map_err(items::io_error)
}

fn encode_applied(applied: &AppliedAt) -> Vec<u8> {
    SnapshotHeader {
        last: applied.last,
        membership: applied.membership.clone(),
        ..SnapshotHeader::default()
    }
    .encode_to_vec()
}

impl StateStore {
    /// Opens the state below `root`. If it cannot be read, or fits neither the log's start nor its end
    /// (`purged`..=`last`), it is set aside and rebuilt from the newest snapshot file; entries behind that are applied
    /// again from the log.
    ///
    /// # Errors
    /// Neither the state nor a snapshot that reaches the log's start can be read.
    pub fn open(
        root: &Path,
        settings: StoreSettings,
        purged: Option<LogPosition>,
        last: Option<LogPosition>,
    ) -> io::Result<Self> {
        std::fs::create_dir_all(root)?;
        let folder = current_folder(root)?;
        let fits = |applied: &AppliedAt| {
            let index = applied.last.map(|at| at.index);
            index <= last.map(|at| at.index) && index >= purged.map(|at| at.index)
        };
        let opened = open_database(&folder, settings).and_then(|db| {
            let applied = stored_applied(&db)?;
            if fits(&applied) {
                Ok((db, applied))
            } else {
                Err(io::Error::new(
                    io::ErrorKind::InvalidData,
                    format!(
                        "it is complete up to {:?}, the log holds {purged:?} to {last:?}",
                        applied.last.map(|at| at.index)
                    ),
                ))
            }
        });
        let (db, applied, folder) = match opened {
            Ok((db, applied)) => (db, applied, folder),
            Err(error) => {
                let aside = set_aside(&folder)?;
                tracing::error!(%error, aside = %aside.display(), "the state database was set aside; it is rebuilt from the newest snapshot and the log");
                let folder = next_folder(root)?;
                let db = open_database(&folder, settings)?;
                let applied = match SnapshotFile::newest(root)? {
                    Some(file) => load(&db, &file)?,
                    None => AppliedAt::default(),
                };
                if !fits(&applied) {
                    return Err(io::Error::new(
                        io::ErrorKind::InvalidData,
                        format!(
                            "the state cannot be rebuilt: the newest snapshot reaches {:?}, the log starts behind {purged:?}; replace this node or restore a backup",
                            applied.last.map(|at| at.index)
                        ),
                    ));
                }
                point_to(root, &folder)?;
                (db, applied, folder)
            }
        };
        let shared = Arc::new(Shared {
            layers: RwLock::new(Layers {
                stored: applied.clone(),
                applied,
                ..Layers::default()
            }),
            database: RwLock::new(Database { db, folder }),
            settings,
            signal: Mutex::new(Signal::default()),
            changed: Condvar::new(),
            writing: Mutex::new(()),
            snapshotting: Mutex::new(()),
        });
        let thread = {
            let shared = shared.clone();
            std::thread::Builder::new()
                .name("state-writer".into())
                .spawn(move || write_layers(&shared))?
        };
        let writer = Arc::new(WriterThread {
            shared: shared.clone(),
            thread: Mutex::new(Some(thread)),
        });
        Ok(Self {
            shared,
            root: root.to_owned(),
            writer,
        })
    }

    /// Up to where the state is complete, in memory.
    #[must_use]
    pub fn applied(&self) -> AppliedAt {
        self.shared.layers.read().applied.clone()
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
        self.shared.signal.lock().fault.clone()
    }

    /// Takes over an entry's writes and the position that they complete. Waits while far more is in memory than should
    /// be, because the disk does not keep up.
    pub fn store(&self, writes: Writes, applied: AppliedAt) {
        let shared = &self.shared;
        let mut layers = shared.layers.write();
        let bytes: usize = writes
            .iter()
            .map(|(key, value)| key.len() + value.as_ref().map_or(0, Bytes::len) + 64)
            .sum();
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
        let _one_at_a_time = self.shared.snapshotting.lock();
        self.shared.layers.write().recording = Some(Writes::new());
        let taken = self.scan_into_file();
        match taken {
            Ok(file) => {
                // The log will be cut up to here, so the database should reach as far.
                write_layer(&self.shared)?;
                self.shared
                    .database
                    .read()
                    .db
                    .flush()
                    .map_err(items::io_error)?;
                Ok(file)
            }
            Err(error) => {
                self.shared.layers.write().recording = None;
                Err(error)
            }
        }
    }

    fn scan_into_file(&self) -> io::Result<SnapshotFile> {
        // A page is held in memory whole, and values may be large.
        const PAGE: usize = 100;
        let globals_key = crate::state::keys::globals();
        let mut globals = None;
        let mut file = snapshot::Writer::create(&self.root)?;
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
        file.finish(&applied, globals.hash, globals.format)
    }

    /// Replaces the state by a snapshot: built beside the old one, made current by a rename.
    ///
    /// # Errors
    /// The snapshot does not check, or the disk does not take it; the old state is then still in force.
    pub fn install(&self, file: &SnapshotFile) -> io::Result<()> {
        // A snapshot that is being taken ends in an error: it would hold some of the old state and some of the new.
        self.shared.layers.write().recording = None;
        let _one_at_a_time = self.shared.snapshotting.lock();
        let folder = next_folder(&self.root)?;
        let db = open_database(&folder, self.shared.settings)?;
        let applied = load(&db, file)?;
        // The file first: once the state is in force, the log before it may be gone.
        file.keep_in(&self.root)?;
        // A layer of the old state that is on its way ends there, not in the new database.
        let _no_layer = self.shared.writing.lock();
        point_to(&self.root, &folder)?;
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
        database.db.flush().map_err(items::io_error)?;
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
        get_stored(&self.shared.database.read().db, key)
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
        crate::state::scan_layers(&below, &over, from, to, limit, reverse)
    }
}

fn get_stored(db: &sled::Db, key: &[u8]) -> io::Result<Option<Bytes>> {
    match db.get(items::head_key(key)).map_err(items::io_error)? {
        None => Ok(None),
        Some(head) => items::whole(db, key, &head).map(Some),
    }
}

/// sled as it lies below layers. A layer may be on its way into it right now, so a value of which a layer holds a newer
/// one may be found in pieces that do not belong together: it is not put together, since the newer one covers it.
struct Below<'a> {
    db: &'a sled::Db,
    over: &'a [&'a Writes],
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
        if reverse {
            range.rev().take(limit).map(pair).collect()
        } else {
            range.take(limit).map(pair).collect()
        }
    }
}

/// The writer thread: a layer goes to sled when it is full or old.
fn write_layers(shared: &Shared) {
    loop {
        {
            let mut signal = shared.signal.lock();
            if !signal.wanted && !signal.stopping {
                shared
                    .changed
                    .wait_for(&mut signal, shared.settings.layer_age);
            }
            if signal.stopping {
                return; // an orderly stop has called `close`; after any other the log brings the rest back
            }
            signal.wanted = false;
        }
        let fault = write_layer(shared).err().map(|error| error.to_string());
        let mut signal = shared.signal.lock();
        if let Some(reason) = &fault
            && signal.fault.is_none()
        {
            tracing::error!(
                reason,
                "applied state cannot be written to disk; it stays in memory and is tried again"
            );
        }
        signal.fault = fault;
        shared.changed.notify_all();
    }
}

fn write_layer(shared: &Shared) -> io::Result<()> {
    let _one_at_a_time = shared.writing.lock();
    let (layer, applied) = {
        let mut layers = shared.layers.write();
        if layers.on_its_way.is_none() {
            // Entries that wrote nothing count too: the log may be cut behind them.
            if layers.active.is_empty() && layers.applied == layers.stored {
                return Ok(());
            }
            layers.active_bytes = 0;
            let closed = Arc::new(std::mem::take(&mut layers.active));
            layers.on_its_way = Some((closed, layers.applied.clone()));
        }
        let Some(on_its_way) = layers.on_its_way.clone() else {
            return Ok(());
        };
        on_its_way
    };
    let database = shared.database.read();
    let batch = layer_batch(&database.db, &layer, &applied)?;
    database.db.apply_batch(batch).map_err(items::io_error)?;
    drop(database);
    let mut layers = shared.layers.write();
    layers.on_its_way = None;
    layers.stored = applied;
    Ok(())
}

/// A layer's writes together with the position that they complete: sled keeps a batch whole or not at all, so that what
/// a crash leaves is never ahead of or behind its position.
fn layer_batch(db: &sled::Db, layer: &Writes, applied: &AppliedAt) -> io::Result<sled::Batch> {
    let mut batch = sled::Batch::default();
    for (key, value) in layer {
        items::put(db, &mut batch, key, value.as_ref())?;
    }
    batch.insert(items::APPLIED, encode_applied(applied));
    Ok(batch)
}

fn stored_applied(db: &sled::Db) -> io::Result<AppliedAt> {
    let Some(bytes) = db.get(items::APPLIED).map_err(items::io_error)? else {
        return Ok(AppliedAt::default());
    };
    let header = SnapshotHeader::decode(&bytes[..]).map_err(io::Error::other)?;
    Ok(AppliedAt {
        last: header.last,
        membership: header.membership,
    })
}

/// Fills a fresh database from a snapshot file.
fn load(db: &sled::Db, file: &SnapshotFile) -> io::Result<AppliedAt> {
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

fn numbered(root: &Path) -> io::Result<Vec<u64>> {
    let mut numbers = Vec::new();
    for entry in std::fs::read_dir(root)? {
        if let Some(number) = entry?
            .file_name()
            .to_str()
            .and_then(|name| name.strip_prefix("state-"))
            .and_then(|number| number.parse().ok())
        {
            numbers.push(number);
        }
    }
    numbers.sort_unstable();
    Ok(numbers)
}

/// The folder of the state in force; others that a crash left half-built are removed.
fn current_folder(root: &Path) -> io::Result<PathBuf> {
    let named = match std::fs::read_to_string(root.join(CURRENT)) {
        Ok(name) => name.trim().to_owned(),
        Err(error) if error.kind() == io::ErrorKind::NotFound => {
            let first = root.join("state-1");
            point_to(root, &first)?;
            "state-1".to_owned()
        }
        Err(error) => return Err(error),
    };
    for number in numbered(root)? {
        let name = format!("state-{number}");
        if name != named {
            std::fs::remove_dir_all(root.join(name))?;
        }
    }
    Ok(root.join(named))
}

/// A folder of a number that is not in use. The one in force counts although it may have been set aside: what is built
/// must not bear its name before it is whole.
fn next_folder(root: &Path) -> io::Result<PathBuf> {
    let in_force = std::fs::read_to_string(root.join(CURRENT))
        .ok()
        .and_then(|name| name.trim().strip_prefix("state-")?.parse().ok())
        .unwrap_or(0);
    let last = numbered(root)?.last().copied().unwrap_or(0).max(in_force);
    Ok(root.join(format!("state-{}", last + 1)))
}

fn point_to(root: &Path, folder: &Path) -> io::Result<()> {
    let name = folder
        .file_name()
        .map(|name| name.to_string_lossy().into_owned())
        .unwrap_or_default();
    let temporary = root.join("current.new");
    std::fs::write(&temporary, name)?;
    std::fs::File::open(&temporary)?.sync_all()?;
    std::fs::rename(&temporary, root.join(CURRENT))?;
    sync_folder(root)
}

fn set_aside(folder: &Path) -> io::Result<PathBuf> {
    for attempt in 1.. {
        let aside = folder.with_file_name(format!(
            "{}.aside-{attempt}",
            folder.file_name().unwrap_or_default().to_string_lossy()
        ));
        if !aside.exists() {
            if folder.exists() {
                std::fs::rename(folder, &aside)?;
            }
            return Ok(aside);
        }
    }
    Err(io::Error::other(
        "no free name to set the state database aside",
    ))
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
    fn a_layers_writes_and_their_position_are_one_batch() {
        let folder = tempfile::tempdir().unwrap();
        let db = open_database(folder.path(), StoreSettings::default()).unwrap();
        let layer = Writes::from([(b"k".to_vec(), Some(Bytes::from_static(b"v")))]);
        let batch = layer_batch(&db, &layer, &at(7)).unwrap();
        assert_eq!(stored_applied(&db).unwrap(), AppliedAt::default());
        assert_eq!(get_stored(&db, b"k").unwrap(), None);
        db.apply_batch(batch).unwrap();
        assert_eq!(stored_applied(&db).unwrap(), at(7));
        assert_eq!(get_stored(&db, b"k").unwrap().as_deref(), Some(&b"v"[..]));
    }

    #[test]
    fn entries_that_write_nothing_move_the_stored_position_too() {
        let folder = tempfile::tempdir().unwrap();
        let store = StateStore::open(folder.path(), StoreSettings::default(), None, None).unwrap();
        store.store(Writes::new(), at(3));
        store.close().unwrap();
        let database = store.shared.database.read();
        assert_eq!(stored_applied(&database.db).unwrap(), at(3));
    }

    #[test]
    fn what_is_rebuilt_never_bears_the_name_of_the_state_in_force() {
        let root = tempfile::tempdir().unwrap();
        let current = current_folder(root.path()).unwrap();
        std::fs::create_dir_all(&current).unwrap();
        set_aside(&current).unwrap();
        assert_ne!(next_folder(root.path()).unwrap(), current);
    }
}
