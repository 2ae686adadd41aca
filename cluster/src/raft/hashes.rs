//! The running hash of the state after each of the newest entries. Two replicas can be compared at one index, although they are never at that index
//! at the same moment.

use std::collections::VecDeque;

use parking_lot::Mutex;

use crate::state::Globals;

/// Number of entries whose hash is kept. At 1,000 entries/s this covers more than the time between two heartbeats of a node.
const REMEMBERED: usize = 8_192;

/// Running hashes of the state, by the index of the last applied entry.
#[derive(Debug, Default)]
pub struct Hashes {
    last: Mutex<VecDeque<(u64, u64)>>,
    globals: Mutex<Globals>,
}

impl Hashes {
    /// Records the global state after an entry was applied, or after a snapshot up to that entry was installed.
    pub(super) fn note(&self, index: u64, globals: &Globals) {
        let hash = globals.hash;
        self.globals.lock().clone_from(globals);
        let mut last = self.last.lock();
        if last.back().is_some_and(|(before, _)| *before >= index) {
            last.clear();
        }
        if last.len() == REMEMBERED {
            last.pop_front();
        }
        last.push_back((index, hash));
    }

    /// The hash after the entry `index`; `None` if that hash is no longer or not yet known.
    #[must_use]
    pub fn at(&self, index: u64) -> Option<u64> {
        let last = self.last.lock();
        let place = last.binary_search_by_key(&index, |(index, _)| *index);
        place.ok().map(|place| last[place].1)
    }

    /// The global state after the last applied entry, from memory.
    #[must_use]
    pub fn globals(&self) -> Globals {
        self.globals.lock().clone()
    }

    /// The last applied entry and the hash after it.
    #[must_use]
    pub fn latest(&self) -> (u64, u64) {
        self.last.lock().back().copied().unwrap_or_default()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_last_entries_have_their_hash_and_older_ones_have_not() {
        let hashes = Hashes::default();
        let note = |index, hash| {
            hashes.note(
                index,
                &Globals {
                    hash,
                    ..Globals::default()
                },
            );
        };
        let count = REMEMBERED as u64 + 10;
        for index in 1..=count {
            note(index, index * 3);
        }
        assert_eq!(hashes.latest(), (count, count * 3));
        assert_eq!(hashes.at(count - 5), Some((count - 5) * 3));
        assert_eq!((hashes.at(10), hashes.at(count + 1)), (None, None));
        // A snapshot is installed: the entries in between were never applied here.
        note(count + 100, 7);
        assert_eq!(hashes.at(count + 50), None);
        assert_eq!(hashes.at(count + 100), Some(7));
    }
}
