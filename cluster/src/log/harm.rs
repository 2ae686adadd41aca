//! What a disk or an operator does to a log: for simulations and tests.

use bytes::Bytes;

use super::mark::Mark;
use super::record::Record;
use super::{Files, MemoryFiles};

/// A way to lose a part of a log that was vouched for.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Harm {
    /// All segments are gone: a disk that is not mounted.
    Emptied,
    /// All segments are gone, and the mark with them.
    Forgotten,
    /// The newest segment is gone.
    NewestGone,
    /// A segment between the oldest and the newest one is gone.
    MiddleGone,
    /// The newest segment holds zeroes.
    NewestZeroed,
    /// The log ends before a batch that was synced.
    CutShort,
    /// The log ends before the vote that was given last.
    VoteLost,
}

impl MemoryFiles {
    /// Loses a part that was vouched for; false if there is no such part, and nothing was done. `chance` decides where a log is cut short, and which segment is lost.
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

    /// Where the records of a segment begin that were synced, and which of them are votes.
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
