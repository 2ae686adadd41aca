//! Why logs are not taken.

use std::time::Duration;

use crate::callers::RefusedFor;

/// Why logs were not taken. Nothing of the body was stored, except after [`IngestError::Unanswered`].
#[derive(Debug, Clone, thiserror::Error)]
pub enum IngestError {
    /// There is no such source, or the token is not its own; callers are not told which.
    #[error(
        "no source of this name takes this token; `pantherctl sources list` names the sources, `pantherctl sources rotate-token` gives a new token"
    )]
    Unknown,
    /// The body cannot be taken.
    #[error("{0}")]
    Invalid(String),
    /// The sender says that the body has an encoding that is not understood.
    #[error("Content-Encoding {0} is not understood; send the body as it is, or packed with gzip")]
    Encoding(String),
    /// The idempotency key was used for another body.
    #[error(
        "this Idempotency-Key was used for another body; nothing was taken: give each body a key of its own, such as a hash of it"
    )]
    Conflict,
    /// The body is too large.
    #[error("{0}")]
    TooLarge(String),
    /// The body came too slowly.
    #[error("{0}")]
    TooSlow(String),
    /// The source or the address, which the text names, has its share of the bodies that are being read.
    #[error(
        "{0} has as many bodies under way as it may have; send them one after the other, or more in one body"
    )]
    Share(&'static str),
    /// The bodies of all senders use up the byte budget.
    #[error("too many bodies are being read at this time")]
    Crowded,
    /// Many requests with wrong tokens come, and this node's own state knows no source that takes this one.
    #[error(
        "many requests with wrong tokens come at this time, and this node does not know that a source takes this one; try again"
    )]
    Guessing {
        /// When.
        retry_after: Duration,
    },
    /// It is not known whether the logs were stored.
    #[error(
        "the logs were not stored in time; they may be yet, so send them again with the same Idempotency-Key, or count on a second copy"
    )]
    Unanswered,
    /// Try again later.
    #[error("{reason}")]
    Busy {
        /// Why.
        reason: String,
        /// When.
        retry_after: Duration,
    },
}

impl IngestError {
    /// The reason under which metrics and the node's log count the sender.
    #[must_use]
    pub const fn counted_as(&self) -> RefusedFor {
        match self {
            Self::Unknown | Self::Guessing { .. } => RefusedFor::Token,
            Self::Conflict => RefusedFor::Conflict,
            Self::Invalid(_) | Self::Encoding(_) => RefusedFor::Invalid,
            Self::TooLarge(_) => RefusedFor::Large,
            Self::TooSlow(_) => RefusedFor::Slow,
            Self::Share(_) => RefusedFor::Share,
            Self::Crowded | Self::Unanswered | Self::Busy { .. } => RefusedFor::Busy,
        }
    }

    /// When the sender may try the same body again; `None` if it would be refused again.
    #[must_use]
    pub const fn retry_after(&self) -> Option<Duration> {
        match self {
            Self::Share(_) | Self::Crowded => Some(Duration::from_secs(1)),
            Self::Unanswered => Some(Duration::from_secs(5)),
            Self::Guessing { retry_after } | Self::Busy { retry_after, .. } => Some(*retry_after),
            Self::Unknown
            | Self::Invalid(_)
            | Self::Encoding(_)
            | Self::Conflict
            | Self::TooLarge(_)
            | Self::TooSlow(_) => None,
        }
    }
}
