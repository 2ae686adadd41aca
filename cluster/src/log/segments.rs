//! The segments of the log: read in order when the log is opened, filled one after the other, removed when all their entries are purged.

use std::collections::VecDeque;
use std::io;
use std::sync::Arc;

use bytes::{Bytes, BytesMut};

use super::mark::{Mark, describe};
use super::record::Record;
use super::{Files, Index, LogFile, Loss, Place, Slot};

/// Extension of a segment's file name. The name itself is the segment's number in hexadecimal.
const ENDING: &str = ".log";

pub(super) struct Segment {
    pub(super) number: u64,
    pub(super) file: Arc<dyn LogFile>,
    bytes: u64,
    /// Offset of the next record.
    pub(super) end: u64,
    /// Highest index of an entry in the segment.
    pub(super) highest: u64,
}

pub(super) struct Segments {
    pub(super) files: Arc<dyn Files>,
    segment_bytes: u64,
    /// Oldest first. Records are appended to the last one.
    open: VecDeque<Segment>,
    /// Number of the next batch.
    pub(super) batch: u64,
}

pub(super) fn name(number: u64) -> String {
    format!("{number:016x}{ENDING}")
}

/// A log as read from disk; the read changed nothing.
pub(super) struct Found {
    pub(super) index: Index,
    segments: Segments,
    torn: Option<Torn>,
    /// Mark that results from all records.
    followed: Mark,
    /// Mark that results from the records up to the batch that the high-water mark names.
    at_mark: Option<Mark>,
}

/// The torn tail behind the last good record of the last segment, as a range of bytes.
struct Torn {
    at: u64,
    end: u64,
}

fn damaged(segment: u64, at: usize, known: &str) -> io::Error {
    Loss::Damaged {
        name: name(segment),
        at: at as u64,
        known: known.to_owned(),
    }
    .into()
}

/// Checks that segment numbers have no gaps: only the oldest segments are removed, and a new segment gets the next number.
fn check_numbers(numbers: &[u64], mark: Option<&Mark>) -> Result<(), Loss> {
    if let Some(gap) = numbers.windows(2).find(|pair| pair[0] + 1 != pair[1]) {
        return Err(Loss::Segment {
            name: name(gap[0] + 1),
            known: format!("segment {} is there", name(gap[1])),
        });
    }
    let Some(mark) = mark else { return Ok(()) };
    let marked = || format!("the high-water mark says that it held batch {}", mark.batch);
    match numbers.last() {
        None => Err(Loss::EmptyLog {
            known: format!(
                "the high-water mark says that entry {} was synced",
                mark.last.unwrap_or(0)
            ),
        }),
        Some(last) if *last < mark.segment => Err(Loss::Segment {
            name: name(mark.segment),
            known: marked(),
        }),
        Some(_) => Ok(()),
    }
}

/// Reads all segments. Changes nothing.
///
/// # Errors
/// The files cannot be read, or they hold less than the log has acknowledged ([`Loss`]).
pub(super) fn read(files: Arc<dyn Files>, segment_bytes: u64) -> io::Result<Found> {
    let mark = Mark::read(&*files)?;
    let numbers: Vec<u64> = files
        .list()?
        .iter()
        .filter_map(|file| u64::from_str_radix(file.strip_suffix(ENDING)?, 16).ok())
        .collect();
    check_numbers(&numbers, mark.as_ref())?;
    let mut found = Found {
        index: Index::default(),
        segments: Segments {
            files,
            segment_bytes,
            open: VecDeque::new(),
            batch: 1,
        },
        torn: None,
        followed: Mark::default(),
        at_mark: None,
    };
    for &number in &numbers {
        found.read_segment(number, Some(&number) == numbers.last(), mark.as_ref())?;
    }
    found.segments.batch = found.followed.batch + 1;
    if let Some(mark) = &mark {
        found.check_mark(mark)?;
    }
    let last = found.index.entries.last_key_value();
    found.index.cached_from = last.map_or(0, |(last, _)| last + 1);
    check_gapless(&found.index)?;
    // A segment is removed only when its entries are purged, and the next segment repeats the purge record.
    if let Some(first) = numbers.first().filter(|first| **first > 1)
        && found.index.purged.is_none()
    {
        return Err(Loss::Segment {
            name: name(first - 1),
            known: "the first segment there is follows it, and no entry was purged".to_owned(),
        }
        .into());
    }
    Ok(found)
}

impl Found {
    fn read_segment(&mut self, number: u64, is_last: bool, mark: Option<&Mark>) -> io::Result<()> {
        let (index, followed) = (&mut self.index, &mut self.followed);
        let file = self.segments.files.open(&name(number))?;
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
            // Each batch contains at least one record, and batch numbers increase by 1.
            if followed.batch > 0 && batch != followed.batch && batch != followed.batch + 1 {
                return Err(damaged(
                    number,
                    at,
                    &format!(
                        "batch {batch} follows batch {}, so what lies between them is lost",
                        followed.batch
                    ),
                ));
            }
            if self.at_mark.is_none() && mark.is_some_and(|mark| batch > mark.batch) {
                self.at_mark = Some(*followed);
            }
            (followed.batch, followed.segment) = (batch, number);
            followed.follow(&record);
            // The first records of a segment may contain a purge, while entries that this purge covers follow later.
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
            replay(index, &record);
            at += length;
        }
        segment.end = at as u64;
        self.torn = torn_tail(number, &content, at, followed.batch, is_last)?;
        self.segments.open.push_back(segment);
        Ok(())
    }

    fn check_mark(&self, mark: &Mark) -> Result<(), Loss> {
        let at = self.at_mark.unwrap_or(self.followed);
        if at.batch < mark.batch {
            return Err(self.cut(&at, mark));
        }
        if at.vote != mark.vote {
            return Err(Loss::Vote {
                found: describe(at.vote.as_ref()),
                known: format!("the high-water mark names {}", describe(mark.vote.as_ref())),
            });
        }
        if at.last < mark.last {
            return Err(self.cut(&at, mark));
        }
        Ok(())
    }

    /// The error for a log that ends before the end of the batch that the mark names.
    fn cut(&self, at: &Mark, mark: &Mark) -> Loss {
        Loss::Cut {
            found: at.batch,
            synced: mark.batch,
            last: at.last,
            known: format!(
                "the high-water mark says so; entry {} was the last one then{}",
                mark.last.unwrap_or(0),
                self.torn()
            ),
        }
    }

    /// Describes the torn tail, for a message; empty if there is no torn tail.
    pub(super) fn torn(&self) -> String {
        match (&self.torn, self.segments.open.back()) {
            (Some(torn), Some(segment)) => format!(
                "; segment {} does not check from byte {} on",
                name(segment.number),
                torn.at
            ),
            _ => String::new(),
        }
    }

    /// Cuts the torn tail, syncs the rest and writes the mark for it. Returns the mark that is valid from now on.
    ///
    /// # Errors
    /// The disk refuses the write or the sync.
    pub(super) fn settle(self) -> io::Result<(Index, Segments, Mark)> {
        let Self {
            index,
            segments,
            torn,
            followed,
            ..
        } = self;
        let Some(last) = segments.open.back() else {
            return Ok((index, segments, Mark::default()));
        };
        if let Some(Torn { at, end }) = torn {
            tracing::warn!(
                segment = name(last.number),
                at,
                "the last write to the log is not whole and is cut: a power cut or crash leaves this of a write that was not acknowledged, and nothing on this disk says that it was"
            );
            let zeroes = usize::try_from(end - at).map_err(|_| io::ErrorKind::InvalidData)?;
            last.file.write_at(&vec![0; zeroes], at)?;
        }
        // A process that was killed may have written records without syncing them, and this read found them in the page cache. The mark covers them
        // from now on, so they are synced first: a power cut must not remove them afterwards.
        last.file.sync()?;
        // A file without a record needs no mark.
        if followed.batch > 0 {
            followed.write(&*segments.files)?;
        }
        Ok((index, segments, followed))
    }
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

/// Classifies the bytes behind the last good record. Zeroes: no torn tail. Other bytes: the torn tail of the batch written last, if a crash can
/// explain them.
///
/// # Errors
/// A later batch or a later segment proves that the bytes were acknowledged ([`Loss::Damaged`]).
fn torn_tail(
    segment: u64,
    content: &Bytes,
    end: usize,
    last_batch: u64,
    is_last: bool,
) -> io::Result<Option<Torn>> {
    let written = content[end..].iter().rposition(|&byte| byte != 0);
    // A segment is created only when a batch is written to it, so it is never empty.
    if !is_last && (written.is_some() || end == 0) {
        return Err(damaged(
            segment,
            end,
            "a later segment is there, and it is begun only after this one was synced",
        ));
    }
    let Some(length) = written else {
        return Ok(None);
    };
    // The next batch is written only after this batch was synced.
    let later = (end + 1..content.len()).find_map(|at| {
        Record::decode(&content.slice(at..))
            .map(|(_, batch, _)| batch)
            .filter(|batch| *batch > last_batch + 1)
    });
    match later {
        Some(batch) => Err(damaged(
            segment,
            end,
            &format!(
                "batch {batch} behind it is whole, and it is written only after the ones before it were synced"
            ),
        )),
        None => Ok(Some(Torn {
            at: end as u64,
            end: (end + length + 1) as u64,
        })),
    }
}

fn check_gapless(index: &Index) -> Result<(), Loss> {
    let mut expected = index.purged.map(|purged| purged.index + 1);
    for &found in index.entries.keys() {
        if let Some(missing) = expected.filter(|expected| *expected != found) {
            return Err(Loss::Gap { missing, found });
        }
        expected = Some(found + 1);
    }
    Ok(())
}

impl Segments {
    /// The segment that has room for `bytes` more. If the last one is full, a new segment is created. It starts with `preface`, so that older
    /// segments can be removed. If the creation fails, nothing has changed.
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
                    // A partly created file would block the next attempt and occupy space.
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

    /// Removes the oldest segments whose entries are all purged up to `upto`. The last segment always stays.
    pub(super) fn remove_purged(&mut self, upto: u64) -> io::Result<()> {
        while self.open.len() > 1 && self.open[0].highest <= upto {
            self.files.remove(&name(self.open[0].number))?;
            self.open.pop_front();
        }
        Ok(())
    }
}
