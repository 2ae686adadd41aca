//! Votes and entries on disk: an append-only log of preallocated segments with group commit (one sync for many callers).
//!
//! One thread writes. It puts all waiting operations into one batch, writes and syncs the batch once, and then calls each caller's callback. Votes
//! and entries keep the order in which they were submitted.
//!
//! Opening begins with a [read](Found) that changes nothing. Opening is refused ([`Loss`]) if the log holds less than it has acknowledged. Three
//! things show that: batch numbers have no gaps, segment numbers have no gaps, and a high-water mark outside of the segments names a batch that was
//! synced. Opening cuts only the torn tail that an unfinished write of the last batch may have left.

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
use std::sync::mpsc;
use std::thread::JoinHandle;

use bytes::Bytes;
use panther_proto::v1::{LogPosition, StoredVote};
use parking_lot::{Mutex, RwLock};
use tokio::sync::Semaphore;

pub use files::{DiskFiles, Files, LogFile, MemoryFiles, sync_folder};
#[cfg(feature = "simulation")]
pub use harm::Harm;
pub use loss::Loss;
pub(crate) use mark::describe as describe_vote;
pub use pace::Pace;
use record::Record;

/// Callback of one operation. It is called once, when the operation is durable or has failed.
pub type Told = Box<dyn FnOnce(io::Result<()>) + Send>;

/// An entry's position and encoded payload.
pub type LogEntry = (LogPosition, Bytes);

/// The smallest apply cost of an entry, expressed in bytes: an entry below this size takes as long to apply as one of this size. Some 0.2 ms of
/// processor time, measured over the log of three nodes under mixed load.
pub const LEAST_COST: u64 = 1 << 10;

/// Capacity of the writer's queue, in operations. A caller blocks while the queue is full.
const WAITING: usize = 1_024;

/// Sizes of the log.
#[derive(Debug, Clone, Copy)]
pub struct LogSettings {
    /// Bytes of a segment. The disk space is allocated when the segment is created.
    pub segment_bytes: u64,
    /// Bytes of the newest entries that are cached in memory.
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

/// Summary of the log's content.
#[derive(Debug, Clone, PartialEq, Default)]
pub struct LogState {
    /// The last purged entry; it and all entries before it are removed.
    pub purged: Option<LogPosition>,
    /// The last entry; equal to `purged` if the log holds no entry.
    pub last: Option<LogPosition>,
    /// The newest vote.
    pub vote: Option<StoredVote>,
    /// The last entry that is known to be committed.
    pub committed: Option<LogPosition>,
}

/// Position of an entry's payload on disk.
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

/// In-memory index of the log, which readers use. It is ahead of the disk by the operations that the writer has not synced yet.
#[derive(Default)]
struct Index {
    entries: BTreeMap<u64, Slot>,
    purged: Option<LogPosition>,
    vote: Option<StoredVote>,
    committed: Option<LogPosition>,
    cached_bytes: usize,
    /// No entry below this index is cached.
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

    /// Evicts the oldest cached payloads that are on disk, until the cache holds at most `bytes`.
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

/// Handle of the log. Clones share the log.
#[derive(Clone)]
pub struct Log {
    index: Arc<RwLock<Index>>,
    settings: LogSettings,
    writer: Arc<Writer>,
    pace: Arc<Pace>,
}

struct Writer {
    operations: Mutex<Option<Operations>>,
    /// A place for each operation that may wait for the writer.
    places: Arc<Semaphore>,
    thread: Mutex<Option<JoinHandle<()>>>,
    stopping: Arc<AtomicBool>,
}

/// Queue to the writer. The writer is a thread; in a simulation it is a task.
#[derive(Clone)]
enum Operations {
    Thread(mpsc::Sender<writer::Operation>),
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
        let (sender, receiver) = mpsc::channel();
        let thread = std::thread::Builder::new()
            .name("log-writer".into())
            .spawn(move || writer.run(&receiver))?;
        Ok((Self::Thread(sender), Some(thread)))
    }

    /// Submits an operation. Returns the operation if the writer has ended.
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
            // The writer ends when its queue is empty and closed. Its callers' errors have already reported a panic of it.
            let _ = thread.join();
        }
    }
}

/// A log that was read but not changed, so that the caller can compare it with other facts before the log is opened.
pub struct Found {
    found: segments::Found,
    settings: LogSettings,
}

impl Found {
    /// Reads a log.
    ///
    /// # Errors
    /// The files cannot be read, or they hold less than the log has acknowledged ([`Loss`]).
    pub fn read(files: Arc<dyn Files>, settings: LogSettings) -> io::Result<Self> {
        Ok(Self {
            found: segments::read(files, settings.segment_bytes)?,
            settings,
        })
    }

    /// Summary of the log's content.
    #[must_use]
    pub fn state(&self) -> LogState {
        self.found.index.state()
    }

    /// Describes the torn tail behind the last entry, as the end of a sentence; empty if there is no torn tail. [`Found::open`] cuts the torn tail.
    #[must_use]
    pub fn torn(&self) -> String {
        self.found.torn()
    }

    /// Cuts the torn tail that an unfinished write left, and starts the writer.
    ///
    /// # Errors
    /// The disk refuses the write or the sync.
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
            places: Arc::new(Semaphore::new(WAITING)),
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

    /// Latency of the writer's current and last batch (write and sync).
    #[must_use]
    pub fn pace(&self) -> &Pace {
        &self.pace
    }

    /// Summary of the log's content.
    #[must_use]
    pub fn state(&self) -> LogState {
        self.index.read().state()
    }

    /// True if all entries up to `index` are durable or purged.
    #[must_use]
    pub fn holds(&self, index: u64) -> bool {
        let log = self.index.read();
        let slot = log.entries.get(&index);
        log.purged.is_some_and(|purged| purged.index >= index)
            || slot.is_some_and(|slot| slot.place.is_some())
    }

    /// Calls `told` when all operations submitted before are durable and the high-water mark names them.
    pub fn settled(&self, told: Told) {
        self.hand_over(Vec::new(), true, told);
    }

    /// Bytes of the entries that are not purged.
    #[must_use]
    pub fn entry_bytes(&self) -> u64 {
        self.index
            .read()
            .entries
            .values()
            .map(|slot| slot.bytes as u64)
            .sum()
    }

    /// Cost of applying all entries that are not purged again, in bytes. An entry counts at least [`LEAST_COST`].
    #[must_use]
    pub fn replay_cost(&self) -> u64 {
        let index = self.index.read();
        let costs = index.entries.values().map(|slot| slot.bytes as u64);
        costs.map(|bytes| bytes.max(LEAST_COST)).sum()
    }

    /// Waits until the writer's queue has a place. Each async caller waits here before it submits an operation: the queue
    /// itself does not block, because a slow disk would block a thread of the runtime.
    pub async fn room(&self) {
        drop(self.writer.places.acquire().await); // the semaphore is never closed
    }

    /// Appends entries. They are readable at once and durable when `told` is called with `Ok`.
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

    /// Saves a vote. It is durable when `told` is called with `Ok`.
    pub fn save_vote(&self, vote: StoredVote, told: Told) {
        self.index.write().vote = Some(vote);
        self.hand_over(vec![Record::Vote(vote)], true, told);
    }

    /// Removes the entries behind the index `after` (`None`: all entries).
    pub fn truncate(&self, after: Option<u64>, told: Told) {
        self.index.write().truncate(after);
        self.hand_over(vec![Record::Truncate(after)], true, told);
    }

    /// Removes the entries up to and including `upto`.
    pub fn purge(&self, upto: LogPosition, told: Told) {
        self.index.write().purge(upto);
        self.hand_over(vec![Record::Purge(upto)], true, told);
    }

    /// Records the commit position. It does not cause a sync of its own: it goes to disk with the next operation that is synced.
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
            // A caller that did not wait for a place is a thread that waits for the answer.
            _place: self.writer.places.clone().try_acquire_owned().ok(),
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

    /// The entries of a range, from memory only. `None` if at least one payload must be read from disk.
    #[must_use]
    pub fn cached(&self, range: Range<u64>) -> Option<Vec<LogEntry>> {
        let index = self.index.read();
        index
            .entries
            .range(range)
            .map(|(_, slot)| slot.cached.clone().map(|payload| (slot.position, payload)))
            .collect()
    }

    /// The entries of a range, from memory or disk. The result ends before its payloads exceed `max_bytes`, but contains at least one entry.
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
