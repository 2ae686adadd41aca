//! Why a start is refused: what is on the disk is less than what this node has vouched for.
//!
//! A node that takes part with less than it has acknowledged breaks what the others rely on: it can elect a leader that lacks committed entries,
//! or vote twice in a term. So each of these ends the start, and nothing on the disk is changed by it.

use std::io;

/// What is missing on this node's disk, and how that is known. Each kind has a [code](Loss::code) that does not change.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum Loss {
    /// The log holds nothing, although this node has written one.
    #[error("the log holds no entry, but {known}")]
    EmptyLog {
        /// How it is known that there was a log.
        known: String,
    },
    /// A segment of the log is missing.
    #[error("log segment {name} is missing: {known}")]
    Segment {
        /// The file's name.
        name: String,
        /// How it is known that there was one.
        known: String,
    },
    /// The log ends before a batch that was synced.
    #[error(
        "the log ends with batch {found} (entry {last}), but batch {synced} was synced whole: {known}",
        last = named(*last)
    )]
    Cut {
        /// The last batch that is there.
        found: u64,
        /// The last batch that is known to have been synced.
        synced: u64,
        /// The index of the last entry that is there.
        last: Option<u64>,
        /// How that is known, and what is seen in the place of the batch.
        known: String,
    },
    /// A part of the log that was acknowledged does not check.
    #[error("log segment {name} is damaged at byte {at}: {known}")]
    Damaged {
        /// The file's name.
        name: String,
        /// Where the damage begins, in bytes.
        at: u64,
        /// How it is known that this part was acknowledged.
        known: String,
    },
    /// Entries in the log are missing.
    #[error("the log held entry {found}, but entry {missing} before it is missing")]
    Gap {
        /// The first missing index.
        missing: u64,
        /// The index of an entry behind it.
        found: u64,
    },
    /// The vote is older than one that this node has given.
    #[error("the last vote in the log is {found}, but {known}")]
    Vote {
        /// The vote in the log.
        found: String,
        /// What proves a later one.
        known: String,
    },
    /// The state holds entries that the log does not: entries are synced to the log before the state holds them.
    #[error(
        "the applied state reaches entry {applied}, but the log ends with entry {last}{torn}",
        last = named(*last)
    )]
    StateAhead {
        /// The index up to which the state, or a snapshot of it, is complete.
        applied: u64,
        /// The index of the log's last entry.
        last: Option<u64>,
        /// What is seen behind that entry, if something is.
        torn: String,
    },
    /// There is no state from which the log goes on.
    #[error(
        "the applied state cannot be read ({state}), and the newest whole snapshot reaches entry {snapshot}, but the log begins behind entry {purged}",
        snapshot = named(*snapshot),
        purged = named(*purged)
    )]
    State {
        /// Why the state cannot be used.
        state: String,
        /// The index of the newest whole snapshot.
        snapshot: Option<u64>,
        /// The index up to which the log is cut.
        purged: Option<u64>,
    },
}

/// An index, or a word where no index is known.
fn named(index: Option<u64>) -> String {
    index.map_or_else(|| "0 (no entry)".to_owned(), |index| index.to_string())
}

impl Loss {
    /// A name of the kind that never changes: documentation and tools rely on it.
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

    /// The loss that an error reports, if it reports one.
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
