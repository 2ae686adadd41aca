//! The thread that writes: everything that waits, in one write and one sync.

use std::io;
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::mpsc::Receiver;
use std::time::{Duration, Instant};

use bytes::BytesMut;
use parking_lot::RwLock;

use super::record::Record;
use super::segments::Segments;
use super::{Index, LogSettings, Pace, Place, Told};

/// Bytes of records after which a batch is written even if more waits.
const BATCH_BYTES: usize = 4 << 20;
/// How often a full disk is asked whether there is room again.
const ASK_FOR_ROOM: Duration = Duration::from_millis(500);

pub(super) struct Operation {
    pub(super) records: Vec<Record>,
    pub(super) sync: bool,
    pub(super) told: Told,
}

/// Writes until every handle is gone. After an error of the disk nothing is written any more: what it holds is unknown.
/// A disk without room for a further segment is no such error: nothing was written, and callers wait until there is room.
pub(super) fn run(
    mut segments: Segments,
    operations: &Receiver<Operation>,
    index: &RwLock<Index>,
    settings: LogSettings,
    stopping: &AtomicBool,
    pace: &Pace,
) {
    let mut broken: Option<String> = None;
    let mut kept_back: Vec<Record> = Vec::new();
    while let Ok(first) = operations.recv() {
        let mut batch = vec![first];
        let mut bytes = size(&batch[0].records);
        while bytes < BATCH_BYTES
            && let Ok(more) = operations.try_recv()
        {
            bytes += size(&more.records);
            batch.push(more);
        }
        if !batch.iter().any(|operation| operation.sync) {
            // Nobody waits for these; they ride along with the next that does.
            kept_back.extend(batch.into_iter().flat_map(|operation| operation.records));
            continue;
        }
        let mut records = std::mem::take(&mut kept_back);
        let mut tell = Vec::with_capacity(batch.len());
        for operation in batch {
            records.extend(operation.records);
            tell.push(operation.told);
        }
        pace.begin(Instant::now());
        let result = match &broken {
            Some(reason) => Err(io::Error::other(reason.clone())),
            None => write(&mut segments, &records, index, settings, stopping),
        };
        pace.end(Instant::now());
        if let Err(error) = &result
            && broken.is_none()
        {
            tracing::error!(%error, "the log cannot be written; this node stops taking part");
            broken = Some(format!("the log cannot be written: {error}"));
        }
        for told in tell {
            told(match &result {
                Ok(()) => Ok(()),
                Err(error) => Err(io::Error::new(error.kind(), error.to_string())),
            });
        }
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

fn write(
    segments: &mut Segments,
    records: &[Record],
    index: &RwLock<Index>,
    settings: LogSettings,
    stopping: &AtomicBool,
) -> io::Result<()> {
    let batch = segments.batch;
    let mut buffer = BytesMut::new();
    let mut placed = Vec::new();
    let mut purged = None;
    for record in records {
        let start = buffer.len();
        let payload = record.encode(batch, &mut buffer);
        match record {
            Record::Entry(position, _) => placed.push((*position, (start + payload) as u64)),
            Record::Purge(upto) => purged = Some(upto.index),
            _ => {}
        }
    }
    wait_for_room(segments, buffer.len(), index, stopping)?;
    let segment = segments.with_room(buffer.len(), || preface(&index.read()))?;
    segment.file.write_at(&buffer, segment.end)?;
    segment.file.sync()?;
    let (file, base) = (segment.file.clone(), segment.end);
    segment.end += buffer.len() as u64;
    segment.highest = placed
        .iter()
        .map(|(position, _)| position.index)
        .fold(segment.highest, u64::max);
    {
        let mut index = index.write();
        for (position, offset) in placed {
            // It may have been truncated or replaced while it was written.
            if let Some(slot) = index.entries.get_mut(&position.index)
                && slot.position == position
            {
                slot.place = Some(Place {
                    file: file.clone(),
                    at: base + offset,
                });
            }
        }
        index.trim_cache(settings.cache_bytes);
    }
    segments.batch = batch + 1;
    if let Some(upto) = purged {
        segments.remove_purged(upto)?;
    }
    Ok(())
}

/// Makes the next segment, if one is needed, as soon as the disk has room for it.
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

/// What a new segment repeats, so that the ones before it can be removed.
fn preface(index: &Index) -> Vec<Record> {
    let mut records = Vec::new();
    records.extend(index.vote.map(Record::Vote));
    records.extend(index.purged.map(Record::Purge));
    records.extend(index.committed.map(Record::Committed));
    records
}
