//! The high-water mark: what the log has vouched for, kept in a small file outside of the segments.
//!
//! A segment cannot say that a later one, or its own end, is lost. The mark can: it names a batch that was synced, and the vote and last entry after it. Batches are
//! numbered without gaps and their numbers never fall, while the last index may fall when entries are truncated, so the batch decides.
//! The mark is written before a vote, or the first batch of a segment, is acknowledged. Else it follows when the log has nothing to do, after
//! [`AGE`] at the latest, and at the end: a batch costs no second sync. What it does not name yet is not claimed.

use std::io;
use std::time::Duration;

use panther_proto::v1::StoredVote;

use super::Files;
use super::record::Record;

/// While batches come without a pause, the mark follows after this time.
pub(super) const AGE: Duration = Duration::from_secs(2);
/// After this time without a batch the mark follows.
pub(super) const PAUSE: Duration = Duration::from_millis(200);

const HEAD: &str = "panther log mark 1";

/// What has been synced at least.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub(super) struct Mark {
    /// The segment that holds the batch.
    pub(super) segment: u64,
    /// The last batch.
    pub(super) batch: u64,
    /// The last vote up to it.
    pub(super) vote: Option<StoredVote>,
    /// The index of the last entry after it, or up to where entries are purged.
    pub(super) last: Option<u64>,
}

impl Mark {
    /// What is vouched for after one more record. A log that is read again follows its records to the same mark, unless a part of it is lost.
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

    /// `None` if the text is not what [`Mark::encode`] wrote.
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
                // A later build may say more.
                _ => {}
            }
        }
        Some(mark)
    }

    /// The mark of a log. A log of an older build has no mark; a mark that does not check says nothing, and is written again.
    ///
    /// # Errors
    /// The file is there and cannot be read.
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

    /// Keeps the mark.
    ///
    /// # Errors
    /// The disk does not take it; the mark before it is then still there.
    pub(super) fn write(&self, files: &dyn Files) -> io::Result<()> {
        files.write_mark(self.encode().as_bytes())
    }
}

/// A vote as messages name it.
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
