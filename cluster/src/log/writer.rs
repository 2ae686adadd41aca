//! The writer thread: it writes and syncs all waiting operations as one batch.

use std::io;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::mpsc::{Receiver, RecvTimeoutError};
use std::time::Duration;

use bytes::BytesMut;
use panther_proto::v1::LogPosition;
use parking_lot::RwLock;
use tokio::time::Instant;

use tokio::sync::OwnedSemaphorePermit;

use super::mark::{self, Mark};
use super::record::Record;
use super::segments::Segments;
use super::{Files, Index, LogFile, LogSettings, Pace, Place, Told};

/// Size of a batch, in bytes of entries, at which it is written even if more operations wait.
const BATCH_BYTES: usize = 4 << 20;
/// Interval at which the writer retries after the disk was full.
const ASK_FOR_ROOM: Duration = Duration::from_millis(500);

pub(super) struct Operation {
    pub(super) records: Vec<Record>,
    pub(super) sync: bool,
    pub(super) told: Told,
    /// The place in the queue, free again once the writer has taken the operation.
    pub(super) _place: Option<OwnedSemaphorePermit>,
}

/// The writer of the log. After a disk error it writes no more, because the content of the disk is then unknown. A full disk at the creation of a
/// segment is not such an error: nothing was written, and callers wait until there is space.
pub(super) struct Writer {
    pub(super) segments: Segments,
    pub(super) index: Arc<RwLock<Index>>,
    pub(super) settings: LogSettings,
    pub(super) stopping: Arc<AtomicBool>,
    pub(super) pace: Arc<Pace>,
    broken: Option<String>,
    kept_back: Vec<Record>,
    mark: Marking,
}

/// The high-water mark: the state on disk, and the state that should be on disk.
struct Marking {
    kept: Mark,
    kept_at: Instant,
    synced: Mark,
    /// The last write of the mark failed, and a warning was logged.
    refused: bool,
}

impl Marking {
    fn keep(&mut self, files: &dyn Files) {
        if self.kept == self.synced {
            return;
        }
        match self.synced.write(files) {
            Ok(()) => {
                self.kept = self.synced;
                self.refused = false;
            }
            Err(error) if !std::mem::replace(&mut self.refused, true) => {
                tracing::warn!(%error, "the log's high-water mark cannot be kept; it is tried again. Until then a lost end of the log may not be noticed at a start");
            }
            Err(_) => {}
        }
        self.kept_at = Instant::now();
    }
}

/// A batch that is written but not synced.
struct Written {
    file: Arc<dyn LogFile>,
    /// The mark once the batch is synced.
    mark: Mark,
    /// Offset of each entry's payload in the file.
    placed: Vec<(LogPosition, u64)>,
    purged: Option<u64>,
}

/// A batch in progress, with the callbacks of its operations.
pub(super) struct Begun {
    written: io::Result<Option<Written>>,
    /// At least one caller asked for [`Log::settled`](super::Log::settled): the mark must be on disk before the callbacks run. Callers ask for it
    /// before they write or close the state, so that the mark covers everything that the state holds.
    settles: bool,
    tell: Vec<Told>,
}

/// Collects further waiting operations, up to the size of a batch.
fn gather(first: Operation, mut more: impl FnMut() -> Option<Operation>) -> Vec<Operation> {
    let mut bytes = size(&first.records);
    let mut batch = vec![first];
    while bytes < BATCH_BYTES
        && let Some(operation) = more()
    {
        bytes += size(&operation.records);
        batch.push(operation);
    }
    batch
}

impl Writer {
    pub(super) fn new(
        segments: Segments,
        mark: Mark,
        index: Arc<RwLock<Index>>,
        settings: LogSettings,
        stopping: Arc<AtomicBool>,
        pace: Arc<Pace>,
    ) -> Self {
        Self {
            segments,
            index,
            settings,
            stopping,
            pace,
            broken: None,
            kept_back: Vec::new(),
            mark: Marking {
                kept: mark,
                kept_at: Instant::now(),
                synced: mark,
                refused: false,
            },
        }
    }

    /// Runs until all handles of the log are dropped.
    pub(super) fn run(mut self, operations: &Receiver<Operation>) {
        loop {
            let first = if self.mark.kept == self.mark.synced {
                operations
                    .recv()
                    .map_err(|_| RecvTimeoutError::Disconnected)
            } else {
                operations.recv_timeout(mark::PAUSE)
            };
            match first {
                Ok(first) => {
                    let batch = gather(first, || operations.try_recv().ok());
                    if let Some(begun) = self.write(batch) {
                        self.sync(begun);
                    }
                }
                Err(RecvTimeoutError::Timeout) => self.mark.keep(&*self.segments.files),
                Err(RecvTimeoutError::Disconnected) => break,
            }
        }
        self.mark.keep(&*self.segments.files);
    }

    /// The same loop as a simulated task: a sync takes up to 6 ms, and in one of 200 cases up to 400 ms.
    #[cfg(feature = "simulation")]
    pub(super) async fn simulate(
        mut self,
        mut operations: tokio::sync::mpsc::UnboundedReceiver<Operation>,
    ) {
        loop {
            let first = match tokio::time::timeout(mark::PAUSE, operations.recv()).await {
                Ok(Some(first)) => first,
                Ok(None) => break,
                Err(_) => {
                    self.mark.keep(&*self.segments.files);
                    continue;
                }
            };
            let batch = gather(first, || operations.try_recv().ok());
            if let Some(begun) = self.write(batch) {
                let slow = rand::random_ratio(1, 200);
                let ms = rand::random_range(0..if slow { 400 } else { 6 });
                tokio::time::sleep(Duration::from_millis(ms)).await;
                self.sync(begun);
            }
        }
        self.mark.keep(&*self.segments.files);
    }

    /// Writes the operations as one batch. `None` if no operation needs a sync: their records are then kept and written with the next batch.
    pub(super) fn write(&mut self, batch: Vec<Operation>) -> Option<Begun> {
        if !batch.iter().any(|operation| operation.sync) {
            let records = batch.into_iter().flat_map(|operation| operation.records);
            self.kept_back.extend(records);
            return None;
        }
        let settles = batch.iter().any(|operation| operation.records.is_empty());
        let mut records = std::mem::take(&mut self.kept_back);
        let mut tell = Vec::with_capacity(batch.len());
        for operation in batch {
            records.extend(operation.records);
            tell.push(operation.told);
        }
        self.pace.begin(std::time::Instant::now());
        let written = match &self.broken {
            Some(reason) => Err(io::Error::other(reason.clone())),
            None => self.write_records(&records),
        };
        Some(Begun {
            written,
            settles,
            tell,
        })
    }

    /// Syncs the batch and calls the callbacks.
    pub(super) fn sync(&mut self, begun: Begun) {
        let Begun {
            written,
            settles,
            tell,
        } = begun;
        let result = written.and_then(|written| self.make_durable(written));
        if settles && result.is_ok() {
            self.mark.keep(&*self.segments.files);
        }
        self.pace.end(std::time::Instant::now());
        if let Err(error) = &result
            && self.broken.is_none()
        {
            tracing::error!(%error, "the log cannot be written; this node stops taking part");
            self.broken = Some(format!("the log cannot be written: {error}"));
        }
        for told in tell {
            told(match &result {
                Ok(()) => Ok(()),
                Err(error) => Err(io::Error::new(error.kind(), error.to_string())),
            });
        }
        if result.is_ok() && self.mark.kept_at.elapsed() > mark::AGE {
            self.mark.keep(&*self.segments.files);
        }
    }

    fn write_records(&mut self, records: &[Record]) -> io::Result<Option<Written>> {
        // An operation without records only waits for the operations before it.
        if records.is_empty() {
            return Ok(None);
        }
        let batch = self.segments.batch;
        let mut mark = self.mark.synced;
        let mut buffer = BytesMut::new();
        let mut placed = Vec::new();
        let mut purged = None;
        for record in records {
            let start = buffer.len();
            let payload = record.encode(batch, &mut buffer);
            mark.follow(record);
            match record {
                Record::Entry(position, _) => placed.push((*position, (start + payload) as u64)),
                Record::Purge(upto) => purged = Some(upto.index),
                _ => {}
            }
        }
        let Self {
            segments,
            index,
            stopping,
            ..
        } = self;
        wait_for_room(segments, buffer.len(), index, stopping)?;
        let segment = segments.with_room(buffer.len(), || preface(&index.read()))?;
        segment.file.write_at(&buffer, segment.end)?;
        let base = segment.end;
        for (position, offset) in &mut placed {
            *offset += base;
            segment.highest = segment.highest.max(position.index);
        }
        segment.end += buffer.len() as u64;
        let file = segment.file.clone();
        mark = Mark {
            segment: segment.number,
            batch,
            ..mark
        };
        segments.batch = batch + 1;
        Ok(Some(Written {
            file,
            mark,
            placed,
            purged,
        }))
    }

    fn make_durable(&mut self, written: Option<Written>) -> io::Result<()> {
        let Some(Written {
            file,
            mark,
            placed,
            purged,
        }) = written
        else {
            return Ok(());
        };
        file.sync()?;
        self.mark.synced = mark;
        // The mark is written before the acknowledgement: nothing else would show later that this vote or this segment was lost.
        if mark.vote != self.mark.kept.vote || mark.segment != self.mark.kept.segment {
            self.mark.keep(&*self.segments.files);
        }
        let mut index = self.index.write();
        for (position, at) in placed {
            // The entry may have been truncated or replaced during the write.
            if let Some(slot) = index.entries.get_mut(&position.index)
                && slot.position == position
            {
                slot.place = Some(Place {
                    file: file.clone(),
                    at,
                });
            }
        }
        index.trim_cache(self.settings.cache_bytes);
        drop(index);
        if let Some(upto) = purged {
            self.segments.remove_purged(upto)?;
        }
        Ok(())
    }
}

fn size(records: &[Record]) -> usize {
    records
        .iter()
        .map(|record| {
            if let Record::Entry(_, payload) = record {
                payload.len()
            } else {
                0
            }
        })
        .sum()
}

/// Creates the next segment if one is needed. Waits while the disk is full, until there is space or the log is closed.
fn wait_for_room(
    segments: &mut Segments,
    bytes: usize,
    index: &RwLock<Index>,
    stopping: &AtomicBool,
) -> io::Result<()> {
    let mut said = false;
    loop {
        match segments.with_room(bytes, || preface(&index.read())) {
            Err(error)
                if error.kind() == io::ErrorKind::StorageFull
                    && !stopping.load(Ordering::Relaxed) =>
            {
                if !std::mem::replace(&mut said, true) {
                    tracing::error!(
                        "the disk has no room for the log: nothing can be accepted until somebody makes room"
                    );
                }
                std::thread::park_timeout(ASK_FOR_ROOM);
            }
            Err(error) => return Err(error),
            Ok(_) => {
                if said {
                    tracing::info!("the log has room again and goes on");
                }
                return Ok(());
            }
        }
    }
}

/// Records at the start of a new segment. They repeat vote, purge and commit position, so that the segments before it can be removed.
fn preface(index: &Index) -> Vec<Record> {
    let mut records = Vec::new();
    records.extend(index.vote.map(Record::Vote));
    records.extend(index.purged.map(Record::Purge));
    records.extend(index.committed.map(Record::Committed));
    records
}
