//! The log's files: read in order at open, filled one after the other, removed once all their entries are purged.

use std::collections::VecDeque;
use std::io;
use std::sync::Arc;

use bytes::{Bytes, BytesMut};

use super::record::Record;
use super::{Files, Index, LogFile, Place, Slot};

/// Ending of a segment's name; before it stands its number in hexadecimal.
const ENDING: &str = ".log";

pub(super) struct Segment {
    number: u64,
    pub(super) file: Arc<dyn LogFile>,
    bytes: u64,
    /// Where the next record goes.
    pub(super) end: u64,
    /// The highest index of an entry in it.
    pub(super) highest: u64,
}

pub(super) struct Segments {
    files: Arc<dyn Files>,
    segment_bytes: u64,
    /// Oldest first; the last one is written.
    open: VecDeque<Segment>,
    /// The batch that comes next.
    pub(super) batch: u64,
}

fn name(number: u64) -> String {
    format!("{number:016x}{ENDING}")
}

fn corrupt(segment: u64, at: usize) -> io::Error {
    io::Error::new(
        io::ErrorKind::InvalidData,
        format!(
            "log segment {} is damaged at byte {at}, in a part that was acknowledged: this node cannot vouch for it. Replace the node (its data folder is left as it is), or, if it is the only one, restore a backup",
            name(segment)
        ),
    )
}

/// Reads all segments.
pub(super) fn recover(files: Arc<dyn Files>, segment_bytes: u64) -> io::Result<(Index, Segments)> {
    let mut index = Index::default();
    let mut segments = Segments {
        files: files.clone(),
        segment_bytes,
        open: VecDeque::new(),
        batch: 1,
    };
    let numbers: Vec<u64> = files
        .list()?
        .iter()
        .filter_map(|file| u64::from_str_radix(file.strip_suffix(ENDING)?, 16).ok())
        .collect();
    let mut last_batch = 0;
    for (place, &number) in numbers.iter().enumerate() {
        let is_last = place + 1 == numbers.len();
        let file = files.open(&name(number))?;
        let bytes = file.size()?;
        let mut content = vec![0; usize::try_from(bytes).map_err(|_| io::ErrorKind::InvalidData)?];
        file.read_at(&mut content, 0)?;
        let content = Bytes::from(content);
        let mut segment = Segment {
            number,
            file,
            bytes,
            end: 0,
            highest: 0,
        };
        let mut at = 0;
        while let Some((record, batch, length)) = Record::decode(&content.slice(at..)) {
            last_batch = last_batch.max(batch);
            // A segment's first records may tell of a purge before the entries that it covers.
            if let Record::Entry(position, payload) = &record
                && index
                    .purged
                    .is_none_or(|purged| purged.index < position.index)
            {
                segment.highest = segment.highest.max(position.index);
                let offset = (at + length - payload.len()) as u64;
                index.insert(Slot {
                    position: *position,
                    bytes: payload.len(),
                    cached: None,
                    place: Some(Place {
                        file: segment.file.clone(),
                        at: offset,
                    }),
                });
            }
            replay(&mut index, &record);
            at += length;
        }
        segment.end = at as u64;
        settle_tail(&segment, &content, at, last_batch, is_last)?;
        segments.open.push_back(segment);
    }
    // A process that died may have written without syncing: what is read here from the system's memory is vouched for from now on, so it must not be lost with the power.
    if let Some(last) = segments.open.back() {
        last.file.sync()?;
    }
    index.cached_from = index
        .entries
        .last_key_value()
        .map_or(0, |(last, _)| last + 1);
    segments.batch = last_batch + 1;
    check_gapless(&index)?;
    Ok((index, segments))
}

fn replay(index: &mut Index, record: &Record) {
    match record {
        Record::Vote(vote) => index.vote = Some(*vote),
        Record::Entry(..) => {}
        Record::Truncate(after) => index.truncate(*after),
        Record::Purge(upto) => {
            if index.purged.is_none_or(|purged| purged.index <= upto.index) {
                index.purge(*upto);
            }
        }
        Record::Committed(at) => index.committed = Some(*at),
    }
}

/// Behind the last good record comes nothing, or what a power cut left of one batch: that is wiped, so that no later
/// record can run into it. Anything else was acknowledged.
fn settle_tail(
    segment: &Segment,
    content: &Bytes,
    end: usize,
    last_batch: u64,
    is_last: bool,
) -> io::Result<()> {
    if content[end..].iter().all(|&byte| byte == 0) {
        return Ok(());
    }
    let later = (end + 1..content.len()).find_map(|at| {
        Record::decode(&content.slice(at..))
            .filter(|(_, batch, _)| *batch > last_batch + 1)
            .map(|_| at)
    });
    if !is_last || later.is_some() {
        return Err(corrupt(segment.number, end));
    }
    tracing::warn!(
        segment = name(segment.number),
        at = end,
        "the log's tail was torn by a power cut or crash; nobody was told of it, and it is cut"
    );
    segment
        .file
        .write_at(&vec![0; content.len() - end], end as u64)?;
    segment.file.sync()
}

fn check_gapless(index: &Index) -> io::Result<()> {
    let mut expected = index.purged.map(|purged| purged.index + 1);
    for &at in index.entries.keys() {
        if expected.is_some_and(|expected| expected != at) {
            return Err(io::Error::new(
                io::ErrorKind::InvalidData,
                format!(
                    "the log lacks entry {}, but has entry {at}: replace this node or restore a backup",
                    expected.unwrap_or_default()
                ),
            ));
        }
        expected = Some(at + 1);
    }
    Ok(())
}

impl Segments {
    /// The segment that has room for `bytes` more; a new one starts with `preface`, so that older ones can go. If it
    /// cannot be made nothing has changed.
    pub(super) fn with_room(
        &mut self,
        bytes: usize,
        preface: impl FnOnce() -> Vec<Record>,
    ) -> io::Result<&mut Segment> {
        let fits = self
            .open
            .back()
            .is_some_and(|segment| segment.end + bytes as u64 <= segment.bytes);
        if !fits {
            let number = self.open.back().map_or(1, |segment| segment.number + 1);
            let mut start = BytesMut::new();
            for record in preface() {
                record.encode(self.batch, &mut start);
            }
            let size = self.segment_bytes.max((start.len() + bytes) as u64);
            let file = self.files.create(&name(number), size).and_then(|file| {
                file.write_at(&start, 0)?;
                Ok(file)
            });
            let file = match file {
                Ok(file) => file,
                Err(error) => {
                    // Half of one would be in the way of the next attempt, and takes room.
                    let _ = self.files.remove(&name(number));
                    return Err(error);
                }
            };
            self.open.push_back(Segment {
                number,
                file,
                bytes: size,
                end: start.len() as u64,
                highest: 0,
            });
        }
        self.open
            .back_mut()
            .ok_or_else(|| io::Error::other("the log has no segment"))
    }

    /// Removes segments before the last whose entries are all purged.
    pub(super) fn remove_purged(&mut self, upto: u64) -> io::Result<()> {
        while self.open.len() > 1 && self.open[0].highest <= upto {
            self.files.remove(&name(self.open[0].number))?;
            self.open.pop_front();
        }
        Ok(())
    }
}
