//! The thread that moves layers of writes from memory to sled.
//!
//! After its first disk error sled answers no request until it is opened again. So the writer checks for free space before it writes a layer, and
//! flushes each layer. Apart from the load of a snapshot, sled writes to the disk nowhere else.

use std::io;
use std::path::Path;
use std::sync::Arc;
use std::thread::JoinHandle;

use bytes::Bytes;
use parking_lot::Mutex;

use super::database;
use super::room;
use super::store::Shared;
use crate::state::Writes;

/// Free space that a layer needs in addition to twice its bytes: sled allocates whole segments and writes whole pages.
const SPARE_ROOM: u64 = 8 << 20;

#[derive(Default)]
pub(super) struct Signal {
    pub(super) wanted: bool,
    pub(super) stopping: bool,
    pub(super) fault: Option<Fault>,
}

/// Why a layer did not reach the disk.
#[derive(Debug, Clone, PartialEq)]
pub(super) enum Fault {
    /// The disk has too little space. The write was not attempted; it is retried.
    NoRoom(String),
    /// sled failed, and answers no request until it is opened again.
    Broken(String),
}

impl Fault {
    pub(super) fn reason(&self) -> &str {
        let (Self::NoRoom(reason) | Self::Broken(reason)) = self;
        reason
    }
}

impl From<Fault> for io::Error {
    fn from(fault: Fault) -> Self {
        match fault {
            Fault::NoRoom(reason) => Self::new(io::ErrorKind::StorageFull, reason),
            Fault::Broken(reason) => Self::other(reason),
        }
    }
}

pub(super) struct WriterThread {
    shared: Arc<Shared>,
    thread: Mutex<Option<JoinHandle<()>>>,
}

impl WriterThread {
    pub(super) fn start(shared: &Arc<Shared>) -> io::Result<Self> {
        #[cfg(feature = "simulation")]
        if crate::simulated::is_on() {
            return Ok(Self {
                shared: shared.clone(),
                thread: Mutex::default(),
            });
        }
        let thread = {
            let shared = shared.clone();
            std::thread::Builder::new()
                .name("state-writer".into())
                .spawn(move || write_layers(&shared))?
        };
        Ok(Self {
            shared: shared.clone(),
            thread: Mutex::new(Some(thread)),
        })
    }
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

/// The loop of the writer thread: writes a layer when it is full or old.
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
                return; // a clean stop has called `close`; after any other stop the log replays the rest
            }
            signal.wanted = false;
        }
        try_layer(shared);
    }
}

/// Writes a layer, and records the reason if it does not reach the disk.
pub(super) fn try_layer(shared: &Shared) {
    let fault = write_layer(shared).err();
    let mut signal = shared.signal.lock();
    match (&fault, &signal.fault) {
        (Some(fault), None) => tracing::error!(
            reason = fault.reason(),
            "applied state cannot be written to disk; it stays in memory and is tried again"
        ),
        (None, Some(_)) => tracing::info!("applied state reaches the disk again"),
        _ => {}
    }
    signal.fault = fault;
    shared.changed.notify_all();
}

/// Writes and flushes a layer. After this call its writes are in sled's file, not only in sled's buffers.
pub(super) fn write_layer(shared: &Shared) -> Result<(), Fault> {
    let _one_at_a_time = shared.writing.lock();
    let (layer, applied) = {
        let mut layers = shared.layers.write();
        if layers.on_its_way.is_none() {
            // Entries without writes also move the stored position: the log may be purged up to them.
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
    shared
        .wait_logged(&applied)
        .map_err(|error| Fault::Broken(format!("the log cannot be synced: {error}")))?;
    let database = shared.database.read();
    has_room(&database.folder, &layer)?;
    let written = database::write(&database.db, &layer, &applied);
    database
        .noted(shared, written)
        .map_err(|error| Fault::Broken(format!("the state database failed: {error}")))?;
    drop(database);
    let mut layers = shared.layers.write();
    layers.on_its_way = None;
    layers.stored = applied;
    Ok(())
}

/// Checks for free space. sled must not meet a full disk: after an error of its file it answers no request until it is opened again.
fn has_room(folder: &Path, layer: &Writes) -> Result<(), Fault> {
    let wanted = SPARE_ROOM + 2 * size(layer) as u64;
    match room::free_bytes(folder) {
        Ok(free) if free < wanted => Err(Fault::NoRoom(format!(
            "the disk has room for {} MB more, and {} MB are wanted: make room",
            free >> 20,
            wanted.div_ceil(1 << 20)
        ))),
        // If the file system does not report its free space, the write is attempted.
        Ok(_) | Err(_) => Ok(()),
    }
}

/// Approximate size of the writes in memory, in bytes.
pub(super) fn size(writes: &Writes) -> usize {
    writes
        .iter()
        .map(|(key, value)| key.len() + value.as_ref().map_or(0, Bytes::len) + 64)
        .sum()
}
