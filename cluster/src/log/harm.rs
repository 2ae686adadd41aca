//! Fault injection for simulations and tests: damage that a disk or an operator does to a log.

use bytes::Bytes;

use super::mark::Mark;
use super::record::Record;
use super::{Files, MemoryFiles};

/// A way to lose a part of the log that was acknowledged.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Harm {
    /// All segments are lost, as if the disk were not mounted.
    Emptied,
    /// All segments and the mark are lost.
    Forgotten,
    /// The newest segment is lost.
    NewestGone,
    /// A segment between the oldest and the newest one is lost.
    MiddleGone,
    /// The newest segment contains only zeroes.
    NewestZeroed,
    /// The log ends before a batch that was synced.
    CutShort,
    /// The log ends before the newest vote.
    VoteLost,
}

impl MemoryFiles {
    /// Loses a part of the log that was acknowledged. `chance` selects the offset at which the log is cut, or the segment that is lost. Returns
    /// false, and changes nothing, if the log has no such part.
    ///
    /// # Errors
    /// A file cannot be read.
    pub fn harm(&self, harm: Harm, chance: u64) -> std::io::Result<bool> {
        let (Some(mark), Some(newest)) = (Mark::read(self)?, self.list()?.pop()) else {
            return Ok(false);
        };
        let is_marked = newest == super::segments::name(mark.segment);
        match harm {
            Harm::Emptied | Harm::Forgotten => {
                for name in self.list()? {
                    self.remove(&name)?;
                }
                if harm == Harm::Forgotten {
                    self.forget_mark();
                }
                return Ok(true);
            }
            Harm::MiddleGone => {
                let names = self.list()?;
                let middle = names.get(1..names.len().saturating_sub(1));
                let middle = middle.filter(|middle| !middle.is_empty());
                let Some(middle) = middle else {
                    return Ok(false);
                };
                let at = usize::try_from(chance).unwrap_or(0) % middle.len();
                self.remove(&middle[at])?;
            }
            _ if !is_marked => return Ok(false),
            Harm::NewestGone => self.remove(&newest)?,
            Harm::NewestZeroed => self.wipe(&newest, 0),
            Harm::CutShort | Harm::VoteLost => {
                let vouched = self.vouched(&newest, mark.batch)?;
                let votes: Vec<usize> = vouched
                    .iter()
                    .filter(|(_, is_vote)| *is_vote)
                    .map(|(at, _)| *at)
                    .collect();
                let at = match harm {
                    Harm::VoteLost => votes.last().copied(),
                    _ => usize::try_from(chance)
                        .ok()
                        .filter(|_| !vouched.is_empty())
                        .map(|chance| vouched[chance % vouched.len()].0),
                };
                let Some(at) = at else { return Ok(false) };
                self.wipe(&newest, at);
            }
        }
        Ok(true)
    }

    /// Offsets of the synced records of a segment (up to and including `batch`), each with true if the record is a vote.
    fn vouched(&self, name: &str, batch: u64) -> std::io::Result<Vec<(usize, bool)>> {
        let file = self.open(name)?;
        let mut content = vec![0; usize::try_from(file.size()?).unwrap_or(0)];
        file.read_at(&mut content, 0)?;
        let (content, mut at, mut found) = (Bytes::from(content), 0, Vec::new());
        while let Some((record, of, length)) = Record::decode(&content.slice(at..)) {
            if of > batch {
                break;
            }
            found.push((at, matches!(record, Record::Vote(_))));
            at += length;
        }
        Ok(found)
    }
}
