//! Votes and entries on disk: an append-only log of preallocated segments, synced once for many callers.
//!
//! One thread writes. Everything that waits for it goes to disk in one write and one sync, then every caller is told.
//! A vote and an entry keep the order in which they came.
//!
//! An open first [reads](Found) and changes nothing. It is refused ([`Loss`]) if the log holds less than it has vouched for: the batches' numbers have no
//! gaps, segments have none either, and a high-water mark outside of the segments names a batch that was synced. Only what an unfinished write of the last
//! batch may have left is cut.

mod files;
#[cfg(feature = "simulation")]
mod harm;
mod loss;
mod mark;
mod pace;
mod record;
mod segments;
mod writer;

use std::collections::BTreeMap;
use std::io;
use std::ops::Range;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::mpsc::{SyncSender, sync_channel};
use std::thread::JoinHandle;

use bytes::Bytes;
use panther_proto::v1::{LogPosition, StoredVote};
use parking_lot::{Mutex, RwLock};

pub use files::{DiskFiles, Files, LogFile, MemoryFiles, sync_folder};
#[cfg(feature = "simulation")]
pub use harm::Harm;
pub use loss::Loss;
pub(crate) use mark::describe as describe_vote;
pub use pace::Pace;
use record::Record;

/// Told once what was handed over is durable, or that it is not.
pub type Told = Box<dyn FnOnce(io::Result<()>) + Send>;

/// An entry's position and encoded payload.
pub type LogEntry = (LogPosition, Bytes);

/// Bytes of an entry that takes as long to be applied as the smallest: some 0.2 ms of a processor, measured over the log of three nodes under mixed load.
pub const LEAST_COST: u64 = 1 << 10;

/// Operations that may wait for the writer.
const WAITING: usize = 1_024;

/// Sizes of the log.
#[derive(Debug, Clone, Copy)]
pub struct LogSettings {
    /// Bytes of a segment, taken from the disk when it is made.
    pub segment_bytes: u64,
    /// Bytes of the newest entries kept in memory.
    pub cache_bytes: usize,
}

impl Default for LogSettings {
    fn default() -> Self {
        Self {
            segment_bytes: 16 << 20,
            cache_bytes: 16 << 20,
        }
    }
}

/// What a log holds.
#[derive(Debug, Clone, PartialEq, Default)]
pub struct LogState {
    /// Up to where entries are gone.
    pub purged: Option<LogPosition>,
    /// The last entry, or where the purge ended if there is none.
    pub last: Option<LogPosition>,
    /// The vote that was given last.
    pub vote: Option<StoredVote>,
    /// Up to where entries were known to be committed.
    pub committed: Option<LogPosition>,
}

/// Where an entry lies.
#[derive(Clone)]
struct Place {
    file: Arc<dyn LogFile>,
    at: u64,
}

struct Slot {
    position: LogPosition,
    bytes: usize,
    cached: Option<Bytes>,
    place: Option<Place>,
}

/// What readers see; it runs ahead of the disk by what the writer has not synced.
#[derive(Default)]
struct Index {
    entries: BTreeMap<u64, Slot>,
    purged: Option<LogPosition>,
    vote: Option<StoredVote>,
    committed: Option<LogPosition>,
    cached_bytes: usize,
    /// Entries below are not cached.
    cached_from: u64,
}

impl Index {
    fn state(&self) -> LogState {
        let last = self.entries.last_key_value();
        LogState {
            purged: self.purged,
            last: last.map(|(_, slot)| slot.position).or(self.purged),
            vote: self.vote,
            committed: self.committed,
        }
    }

    fn insert(&mut self, slot: Slot) {
        self.cached_bytes += slot.cached.as_ref().map_or(0, Bytes::len);
        let index = slot.position.index;
        if let Some(old) = self.entries.insert(index, slot) {
            self.cached_bytes -= old.cached.as_ref().map_or(0, Bytes::len);
        }
        self.cached_from = self.cached_from.min(index);
    }

    fn drop_slot(&mut self, slot: &Slot) {
        self.cached_bytes -= slot.cached.as_ref().map_or(0, Bytes::len);
    }

    fn truncate(&mut self, after: Option<u64>) {
        let void = self.entries.split_off(&after.map_or(0, |after| after + 1));
        for slot in void.values() {
            self.drop_slot(slot);
        }
    }

    fn purge(&mut self, upto: LogPosition) {
        let kept = self.entries.split_off(&(upto.index + 1));
        for slot in std::mem::replace(&mut self.entries, kept).values() {
            self.drop_slot(slot);
        }
        self.purged = Some(upto);
    }

    /// Forgets the oldest cached payloads that are on disk.
    fn trim_cache(&mut self, bytes: usize) {
        let mut freed = 0;
        let mut from = self.cached_from;
        for (index, slot) in self.entries.range_mut(self.cached_from..) {
            if self.cached_bytes - freed <= bytes || slot.place.is_none() {
                break;
            }
            freed += slot.cached.take().map_or(0, |cached| cached.len());
            from = index + 1;
        }
        self.cached_bytes -= freed;
        self.cached_from = from;
    }
}

/// A handle on the log; clones share it.
#[derive(Clone)]
pub struct Log {
    index: Arc<RwLock<Index>>,
    settings: LogSettings,
    writer: Arc<Writer>,
    pace: Arc<Pace>,
}

struct Writer {
    operations: Mutex<Option<Operations>>,
    thread: Mutex<Option<JoinHandle<()>>>,
    stopping: Arc<AtomicBool>,
}

/// The way to the writer: a thread of its own, or, in a simulation, a task.
#[derive(Clone)]
enum Operations {
    Thread(SyncSender<writer::Operation>),
    #[cfg(feature = "simulation")]
    Task(tokio::sync::mpsc::UnboundedSender<writer::Operation>),
}

impl Operations {
    fn done_by(writer: writer::Writer) -> io::Result<(Self, Option<JoinHandle<()>>)> {
        #[cfg(feature = "simulation")]
        if crate::simulated::is_on() {
            let (sender, receiver) = tokio::sync::mpsc::unbounded_channel();
            tokio::spawn(writer.simulate(receiver));
            return Ok((Self::Task(sender), None));
        }
        let (sender, receiver) = sync_channel(WAITING);
        let thread = std::thread::Builder::new()
            .name("log-writer".into())
            .spawn(move || writer.run(&receiver))?;
        Ok((Self::Thread(sender), Some(thread)))
    }

    /// The operation, if the writer has ended.
    fn hand_over(&self, operation: writer::Operation) -> Option<writer::Operation> {
        match self {
            Self::Thread(sender) => sender.send(operation).err().map(|error| error.0),
            #[cfg(feature = "simulation")]
            Self::Task(sender) => sender.send(operation).err().map(|error| error.0),
        }
    }
}

impl Drop for Writer {
    fn drop(&mut self) {
        self.stopping.store(true, Ordering::Relaxed);
        self.operations.lock().take();
        if let Some(thread) = self.thread.lock().take() {
            thread.thread().unpark();
            // The writer ends once its channel is empty and closed; a panic in it was reported by its callers' errors.
            let _ = thread.join();
        }
    }
}

/// A log that was read and not changed: it can be held against what else is known before it is opened.
pub struct Found {
    found: segments::Found,
    settings: LogSettings,
}

impl Found {
    /// Reads a log.
    ///
    /// # Errors
    /// The files cannot be read, or hold less than was vouched for ([`Loss`]).
    pub fn read(files: Arc<dyn Files>, settings: LogSettings) -> io::Result<Self> {
        Ok(Self {
            found: segments::read(files, settings.segment_bytes)?,
            settings,
        })
    }

    /// What the log holds.
    #[must_use]
    pub fn state(&self) -> LogState {
        self.found.index.state()
    }

    /// What is seen behind the last entry, as the end of a sentence; empty if nothing is. Opening cuts it.
    #[must_use]
    pub fn torn(&self) -> String {
        self.found.torn()
    }

    /// Cuts what an unfinished write left, and goes on with the log.
    ///
    /// # Errors
    /// The disk does not take it.
    pub fn open(self) -> io::Result<Log> {
        let (index, segments, mark) = self.found.settle()?;
        Log::start(index, segments, mark, self.settings)
    }
}

impl Log {
    /// Reads a log and opens it at once.
    ///
    /// # Errors
    /// As [`Found::read`] and [`Found::open`].
    pub fn open(files: Arc<dyn Files>, settings: LogSettings) -> io::Result<Self> {
        Found::read(files, settings)?.open()
    }

    fn start(
        index: Index,
        segments: segments::Segments,
        mark: mark::Mark,
        settings: LogSettings,
    ) -> io::Result<Self> {
        let index = Arc::new(RwLock::new(index));
        let stopping = Arc::new(AtomicBool::new(false));
        let pace = Arc::new(Pace::default());
        let (operations, thread) = Operations::done_by(writer::Writer::new(
            segments,
            mark,
            index.clone(),
            settings,
            stopping.clone(),
            pace.clone(),
        ))?;
        let writer = Writer {
            operations: Mutex::new(Some(operations)),
            thread: Mutex::new(thread),
            stopping,
        };
        Ok(Self {
            index,
            settings,
            writer: Arc::new(writer),
            pace,
        })
    }

    /// How long a write and its sync take.
    #[must_use]
    pub fn pace(&self) -> &Pace {
        &self.pace
    }

    /// What the log holds.
    #[must_use]
    pub fn state(&self) -> LogState {
        self.index.read().state()
    }

    /// Whether everything up to an index is on the disk.
    #[must_use]
    pub fn holds(&self, index: u64) -> bool {
        let log = self.index.read();
        let slot = log.entries.get(&index);
        log.purged.is_some_and(|purged| purged.index >= index)
            || slot.is_some_and(|slot| slot.place.is_some())
    }

    /// Tells when everything that was handed over before is durable and the high-water mark names it.
    pub fn settled(&self, told: Told) {
        self.hand_over(Vec::new(), true, told);
    }

    /// Bytes of entries that were not purged.
    #[must_use]
    pub fn entry_bytes(&self) -> u64 {
        self.index
            .read()
            .entries
            .values()
            .map(|slot| slot.bytes as u64)
            .sum()
    }

    /// What all of them cost to be applied again, in bytes: a small entry counts as [`LEAST_COST`].
    #[must_use]
    pub fn replay_cost(&self) -> u64 {
        let index = self.index.read();
        let costs = index.entries.values().map(|slot| slot.bytes as u64);
        costs.map(|bytes| bytes.max(LEAST_COST)).sum()
    }

    /// Appends entries: readable at once, durable when told so.
    pub fn append(&self, entries: Vec<LogEntry>, told: Told) {
        {
            let mut index = self.index.write();
            for (position, payload) in &entries {
                index.insert(Slot {
                    position: *position,
                    bytes: payload.len(),
                    cached: Some(payload.clone()),
                    place: None,
                });
            }
            index.trim_cache(self.settings.cache_bytes);
        }
        self.hand_over(
            entries
                .into_iter()
                .map(|(position, payload)| Record::Entry(position, payload))
                .collect(),
            true,
            told,
        );
    }

    /// Keeps a vote.
    pub fn save_vote(&self, vote: StoredVote, told: Told) {
        self.index.write().vote = Some(vote);
        self.hand_over(vec![Record::Vote(vote)], true, told);
    }

    /// Drops entries behind an index (`None`: all).
    pub fn truncate(&self, after: Option<u64>, told: Told) {
        self.index.write().truncate(after);
        self.hand_over(vec![Record::Truncate(after)], true, told);
    }

    /// Drops entries up to a position.
    pub fn purge(&self, upto: LogPosition, told: Told) {
        self.index.write().purge(upto);
        self.hand_over(vec![Record::Purge(upto)], true, told);
    }

    /// Notes what is committed; it goes to disk with the next thing that is synced.
    pub fn save_committed(&self, at: LogPosition) {
        self.index.write().committed = Some(at);
        self.hand_over(vec![Record::Committed(at)], false, Box::new(|_| ()));
    }

    fn hand_over(&self, records: Vec<Record>, sync: bool, told: Told) {
        let sender = self.writer.operations.lock().clone();
        let operation = writer::Operation {
            records,
            sync,
            told,
        };
        let refused = match sender {
            Some(operations) => operations.hand_over(operation),
            None => Some(operation),
        };
        if let Some(operation) = refused {
            (operation.told)(Err(io::Error::new(
                io::ErrorKind::BrokenPipe,
                "the log's writer has ended",
            )));
        }
    }

    /// Entries of a range whose payload is in memory; `None` if one must be read from disk.
    #[must_use]
    pub fn cached(&self, range: Range<u64>) -> Option<Vec<LogEntry>> {
        let index = self.index.read();
        index
            .entries
            .range(range)
            .map(|(_, slot)| slot.cached.clone().map(|payload| (slot.position, payload)))
            .collect()
    }

    /// Entries of a range, from memory or disk; it ends early past `max_bytes`, but gives one entry at least.
    ///
    /// # Errors
    /// An entry cannot be read.
    pub fn read(&self, range: Range<u64>, max_bytes: usize) -> io::Result<Vec<LogEntry>> {
        let mut found = Vec::new();
        let mut bytes = 0;
        {
            let index = self.index.read();
            for (_, slot) in index.entries.range(range) {
                if bytes > 0 && bytes + slot.bytes > max_bytes {
                    break;
                }
                bytes += slot.bytes;
                found.push((
                    slot.position,
                    slot.bytes,
                    slot.cached.clone(),
                    slot.place.clone(),
                ));
            }
        }
        found
            .into_iter()
            .map(|(position, length, cached, place)| match (cached, place) {
                (Some(payload), _) => Ok((position, payload)),
                (None, Some(place)) => {
                    let mut payload = vec![0; length];
                    place.file.read_at(&mut payload, place.at)?;
                    Ok((position, payload.into()))
                }
                (None, None) => Err(io::Error::other(format!(
                    "entry {} is neither in memory nor on disk",
                    position.index
                ))),
            })
            .collect()
    }
}

#[cfg(test)]
mod tests;
