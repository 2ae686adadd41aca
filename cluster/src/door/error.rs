//! Why a call through the door had no answer of the kind that was asked for.

use std::io;
use std::time::Duration;

use panther_proto::v1::{Code, Conflict, Refused, reply};

use crate::net::Removal;
use crate::raft::ProposeError;

/// Why a call through the door had no answer of the kind that was asked for.
#[derive(Debug, thiserror::Error)]
pub enum DoorError {
    /// The command can never succeed as it is.
    #[error("refused ({code:?}): {reason}", code = Code::try_from(.0.code).unwrap_or(Code::Invalid), reason = .0.reason)]
    Refused(Refused),
    /// A condition no longer holds: read again, plan again.
    #[error("conflict on table {}, attribute {:?}: {}", .0.table, .0.attribute, .0.what)]
    Conflict(Box<Conflict>),
    /// The door is full.
    #[error("the node is busy; try again in {} ms", retry_after.as_millis())]
    Busy {
        /// When to try again.
        retry_after: Duration,
    },
    /// Another node leads, or none does.
    #[error("{0}")]
    Unavailable(String),
    /// This node is no longer of its cluster.
    #[error("node {} of the cluster says that this node was removed", .0.said_by)]
    Removed(Removal),
    /// No answer came in time; the command may still take effect.
    #[error("no answer within {} ms; the command may still take effect", after.as_millis())]
    Deadline {
        /// How long was waited.
        after: Duration,
    },
    /// The state cannot be read here.
    #[error("the state cannot be read: {0}")]
    Store(#[from] io::Error),
}

impl DoorError {
    /// The same for each of many callers.
    pub(super) fn to_all(&self) -> Self {
        match self {
            Self::Busy { retry_after } => Self::Busy {
                retry_after: *retry_after,
            },
            Self::Deadline { after } => Self::Deadline { after: *after },
            other => Self::Unavailable(other.to_string()),
        }
    }

    /// True for a fault of this node or of the cluster, which says nothing of the message that was being handled.
    #[must_use]
    pub fn is_fault_of_node(&self) -> bool {
        matches!(
            self,
            Self::Busy { .. }
                | Self::Unavailable(_)
                | Self::Removed(_)
                | Self::Deadline { .. }
                | Self::Store(_)
        )
    }

    /// True if nobody knows whether the command took effect: what does no harm twice is tried again.
    #[must_use]
    pub fn has_no_answer(&self) -> bool {
        matches!(self, Self::Unavailable(_) | Self::Deadline { .. })
    }

    /// The refusal's code, if it is one.
    #[must_use]
    pub fn code(&self) -> Option<Code> {
        match self {
            Self::Refused(refused) => Code::try_from(refused.code).ok(),
            _ => None,
        }
    }
}

impl From<ProposeError> for DoorError {
    fn from(error: ProposeError) -> Self {
        Self::Unavailable(error.to_string())
    }
}

/// An answer that is none to what was asked.
pub(super) fn unexpected(reply: reply::Kind) -> DoorError {
    match reply {
        reply::Kind::Refused(refused) => DoorError::Refused(refused),
        reply::Kind::Conflict(conflict) => DoorError::Conflict(Box::new(conflict)),
        other => DoorError::Unavailable(format!("an answer of another kind came: {other:?}")),
    }
}
