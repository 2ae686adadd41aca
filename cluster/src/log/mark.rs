//! The high-water mark: a small file outside of the segments that names a batch which was synced.
//!
//! A segment cannot show that a later segment, or its own end, is lost. The mark can: it names a synced batch, and the vote and the last entry after
//! that batch. The check compares batches, because batch numbers have no gaps and never fall, while the last index falls when entries are truncated.
//! The mark is written before a vote, or the first batch of a segment, is acknowledged. Otherwise it is written later, so that a batch costs no
//! second sync: when the log is idle, after [`AGE`] at the latest, and when the log is closed. Batches after the mark are not covered by the check.

use std::io;
use std::time::Duration;

use panther_proto::v1::StoredVote;

use super::Files;
use super::record::Record;

/// Longest age of the mark while batches arrive without a pause.
pub(super) const AGE: Duration = Duration::from_secs(2);
/// Idle time after which the mark is written.
pub(super) const PAUSE: Duration = Duration::from_millis(200);

const HEAD: &str = "panther log mark 1";

/// Summary of the log at a batch that was synced.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub(super) struct Mark {
    /// The segment that contains the batch.
    pub(super) segment: u64,
    /// Number of the batch.
    pub(super) batch: u64,
    /// The newest vote up to and including the batch.
    pub(super) vote: Option<StoredVote>,
    /// Index of the last entry after the batch, or of the last purged entry.
    pub(super) last: Option<u64>,
}

impl Mark {
    /// Updates the mark with one more record. Reading a log back yields the same mark, unless a part of the log is lost.
    pub(super) fn follow(&mut self, record: &Record) {
        match record {
            Record::Vote(vote) => self.vote = Some(*vote),
            Record::Entry(position, _) => self.last = Some(position.index),
            Record::Truncate(after) => self.last = self.last.min(*after),
            Record::Purge(upto) => self.last = self.last.max(Some(upto.index)),
            Record::Committed(_) => {}
        }
    }

    fn encode(&self) -> String {
        let mut text = format!("{HEAD}\nsegment {}\nbatch {}\n", self.segment, self.batch);
        if let Some(vote) = &self.vote {
            let StoredVote {
                term,
                node,
                committed,
            } = vote;
            text.push_str(&format!("vote {term} {node} {committed}\n"));
        }
        if let Some(last) = self.last {
            text.push_str(&format!("last {last}\n"));
        }
        let checksum = crc32fast::hash(text.as_bytes());
        text.push_str(&format!("checksum {checksum:08x}\n"));
        text
    }

    /// Parses the text of [`Mark::encode`]. `None` if the text is damaged.
    fn decode(text: &str) -> Option<Self> {
        let (content, checksum) = text.rsplit_once("checksum ")?;
        let checksum = u32::from_str_radix(checksum.strip_suffix('\n')?, 16).ok()?;
        let mut lines = content.lines();
        if crc32fast::hash(content.as_bytes()) != checksum || lines.next() != Some(HEAD) {
            return None;
        }
        let mut mark = Self::default();
        for line in lines {
            let words: Vec<&str> = line.split(' ').collect();
            match words[..] {
                ["segment", number] => mark.segment = number.parse().ok()?,
                ["batch", number] => mark.batch = number.parse().ok()?,
                ["last", number] => mark.last = Some(number.parse().ok()?),
                ["vote", term, node, committed] => {
                    mark.vote = Some(StoredVote {
                        term: term.parse().ok()?,
                        node: node.parse().ok()?,
                        committed: committed.parse().ok()?,
                    });
                }
                // Unknown lines are ignored: a later build may add some.
                _ => {}
            }
        }
        Some(mark)
    }

    /// Reads the mark of a log. `None` if there is no mark (a log of an older build) or the mark is damaged; a damaged mark proves nothing and is
    /// written again.
    ///
    /// # Errors
    /// The mark file exists and cannot be read.
    pub(super) fn read(files: &dyn Files) -> io::Result<Option<Self>> {
        let Some(content) = files.read_mark()? else {
            return Ok(None);
        };
        let mark = std::str::from_utf8(&content).ok().and_then(Self::decode);
        if mark.is_none() {
            tracing::warn!(
                "the log's high-water mark (the file log.mark) is damaged: a lost end of the log is not noticed at this start; the mark is written again"
            );
        }
        Ok(mark)
    }

    /// Writes the mark to disk.
    ///
    /// # Errors
    /// The disk refuses the write; the old mark is then still there.
    pub(super) fn write(&self, files: &dyn Files) -> io::Result<()> {
        files.write_mark(self.encode().as_bytes())
    }
}

/// The vote as text for messages.
pub(crate) fn describe(vote: Option<&StoredVote>) -> String {
    vote.map_or_else(
        || "no vote".to_owned(),
        |vote| format!("the vote for node {} in term {}", vote.node, vote.term),
    )
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    proptest! {
        #[test]
        fn a_mark_reads_back_and_a_changed_one_is_not_believed(
            numbers in (any::<u64>(), any::<u64>()),
            vote in prop::option::of((any::<u64>(), any::<u64>(), any::<bool>())),
            last in prop::option::of(any::<u64>()),
            at in any::<prop::sample::Index>(),
            flip in 1_u8..,
        ) {
            let vote = vote.map(|(term, node, committed)| StoredVote { term, node, committed });
            let mark = Mark { segment: numbers.0, batch: numbers.1, vote, last };
            let mut text = mark.encode().into_bytes();
            prop_assert_eq!(Mark::decode(std::str::from_utf8(&text).unwrap()), Some(mark));
            let at = at.index(text.len());
            text[at] ^= flip;
            let read = std::str::from_utf8(&text).ok().and_then(Mark::decode);
            prop_assert!(read.is_none_or(|read| read == mark));
            text.truncate(at);
            let read = std::str::from_utf8(&text).ok().and_then(Mark::decode);
            prop_assert!(read.is_none());
        }
    }
}
