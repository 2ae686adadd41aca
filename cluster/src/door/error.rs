//! Errors of calls through the door.

use std::io;
use std::time::Duration;

use panther_proto::v1::{Code, Conflict, Refused, reply};

use crate::net::Removal;
use crate::raft::ProposeError;

/// Why a call through the door has no reply of the expected kind.
#[derive(Debug, thiserror::Error)]
pub enum DoorError {
    /// The command was refused; the code says why.
    #[error("refused ({code:?}): {reason}", code = Code::try_from(.0.code).unwrap_or(Code::Invalid), reason = .0.reason)]
    Refused(Refused),
    /// A condition does not hold any more: read again and plan again.
    #[error("conflict on table {}, attribute {:?}: {}", .0.table, .0.attribute, .0.what)]
    Conflict(Box<Conflict>),
    /// The door is full (backpressure).
    #[error("the node is busy; try again in {} ms", retry_after.as_millis())]
    Busy {
        /// How long to wait before a retry.
        retry_after: Duration,
    },
    /// Another node leads, there is no leader, or the connection to it failed.
    #[error("{0}")]
    Unavailable(String),
    /// This node was removed from its cluster.
    #[error("node {} of the cluster says that this node was removed", .0.said_by)]
    Removed(Removal),
    /// The deadline passed. The command may still take effect.
    #[error("no answer within {} ms; the command may still take effect", after.as_millis())]
    Deadline {
        /// How long the call waited.
        after: Duration,
    },
    /// The local state cannot be read.
    #[error("the state cannot be read: {0}")]
    Store(#[from] io::Error),
}

impl DoorError {
    /// A copy of the error for each of many callers whose commands were merged.
    pub(super) fn to_all(&self) -> Self {
        match self {
            Self::Busy { retry_after } => Self::Busy {
                retry_after: *retry_after,
            },
            Self::Deadline { after } => Self::Deadline { after: *after },
            other => Self::Unavailable(other.to_string()),
        }
    }

    /// True for a fault of this node or the cluster. Such an error is not a failure of the message being handled.
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

    /// True if it is unknown whether the command took effect. An idempotent command is retried then.
    #[must_use]
    pub fn has_no_answer(&self) -> bool {
        matches!(self, Self::Unavailable(_) | Self::Deadline { .. })
    }

    /// The code of a refusal.
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

/// Converts a reply of another kind than expected to an error.
pub(super) fn unexpected(reply: reply::Kind) -> DoorError {
    match reply {
        reply::Kind::Refused(refused) => DoorError::Refused(refused),
        reply::Kind::Conflict(conflict) => DoorError::Conflict(Box::new(conflict)),
        other => DoorError::Unavailable(format!("an answer of another kind came: {other:?}")),
    }
}
