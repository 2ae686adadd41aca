//! Reasons to refuse a start: the disk holds less than this node has acknowledged.
//!
//! A node that takes part with less than it has acknowledged breaks the guarantees that other nodes rely on: it can elect a leader that lacks
//! committed entries, or vote twice in one term. So each of these losses ends the start. The start then changes nothing on the disk.

use std::io;

/// What is missing on this node's disk, and the evidence for it. Each variant has a stable [code](Loss::code).
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum Loss {
    /// The log is empty, although this node has written entries.
    #[error("the log holds no entry, but {known}")]
    EmptyLog {
        /// Evidence that the log held entries.
        known: String,
    },
    /// A segment of the log is missing.
    #[error("log segment {name} is missing: {known}")]
    Segment {
        /// Name of the segment's file.
        name: String,
        /// Evidence that the segment existed.
        known: String,
    },
    /// The log ends before a batch that was synced.
    #[error(
        "the log ends with batch {found} (entry {last}), but batch {synced} was synced whole: {known}",
        last = named(*last)
    )]
    Cut {
        /// The last batch in the log.
        found: u64,
        /// The last batch that is known to be synced.
        synced: u64,
        /// Index of the last entry in the log.
        last: Option<u64>,
        /// Evidence that the batch was synced, and a description of what is found in its place.
        known: String,
    },
    /// A checksum mismatch in a part of the log that was acknowledged.
    #[error("log segment {name} is damaged at byte {at}: {known}")]
    Damaged {
        /// Name of the segment's file.
        name: String,
        /// Offset of the damage, in bytes.
        at: u64,
        /// Evidence that this part was acknowledged.
        known: String,
    },
    /// The log has a gap between two entries.
    #[error("the log held entry {found}, but entry {missing} before it is missing")]
    Gap {
        /// The first missing index.
        missing: u64,
        /// Index of an entry behind the gap.
        found: u64,
    },
    /// The vote in the log is older than one that this node has given.
    #[error("the last vote in the log is {found}, but {known}")]
    Vote {
        /// The vote in the log.
        found: String,
        /// Evidence of the newer vote.
        known: String,
    },
    /// The state is ahead of the log. Entries are synced to the log before they are applied, so the log has lost entries.
    #[error(
        "the applied state reaches entry {applied}, but the log ends with entry {last}{torn}",
        last = named(*last)
    )]
    StateAhead {
        /// Index of the last entry that the state, or a snapshot of it, includes.
        applied: u64,
        /// Index of the last entry in the log.
        last: Option<u64>,
        /// Description of the torn tail behind that entry; empty if there is no torn tail.
        torn: String,
    },
    /// The log cannot be replayed: no readable state or snapshot reaches the start of the log.
    #[error(
        "the applied state cannot be read ({state}), and the newest whole snapshot reaches entry {snapshot}, but the log begins behind entry {purged}",
        snapshot = named(*snapshot),
        purged = named(*purged)
    )]
    State {
        /// Why the state cannot be used.
        state: String,
        /// Index of the newest complete snapshot.
        snapshot: Option<u64>,
        /// Index of the last entry that is purged from the log.
        purged: Option<u64>,
    },
}

/// The index as text, or a fixed text if there is no entry.
fn named(index: Option<u64>) -> String {
    index.map_or_else(|| "0 (no entry)".to_owned(), |index| index.to_string())
}

impl Loss {
    /// Stable name of the variant. Documentation and tools rely on it.
    #[must_use]
    pub fn code(&self) -> &'static str {
        match self {
            Self::EmptyLog { .. } => "log-empty",
            Self::Segment { .. } => "log-segment-missing",
            Self::Cut { .. } => "log-cut",
            Self::Damaged { .. } => "log-damaged",
            Self::Gap { .. } => "log-gap",
            Self::Vote { .. } => "vote-forgotten",
            Self::StateAhead { .. } => "state-ahead-of-log",
            Self::State { .. } => "state-lost",
        }
    }

    /// The loss inside an I/O error, if the error reports one.
    #[must_use]
    pub fn of(error: &io::Error) -> Option<&Self> {
        error.get_ref()?.downcast_ref()
    }
}

impl From<Loss> for io::Error {
    fn from(loss: Loss) -> Self {
        Self::new(io::ErrorKind::InvalidData, loss)
    }
}
