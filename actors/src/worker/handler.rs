//! What a handler is given and what it gives back.

use std::time::Duration;

use panther_cluster::door::{Door, DoorError};
use panther_cluster::objects::ObjectsError;
use panther_proto::trace::TraceContext;
use panther_proto::v1::{Message, RowChange, Send};

/// What a handler knows besides its message.
#[derive(Clone)]
pub struct Context {
    /// Reads of tables go through here; changes do not.
    pub door: Door,
    /// Cluster time of the receive, in milliseconds since 1970.
    pub received_ms: u64,
    /// Names this receive of this message: part of the names of objects that it writes.
    pub attempt: String,
    /// The trace of the message, and the span in which it is handled.
    pub trace: TraceContext,
}

/// What ends a message.
#[derive(Debug, Clone, Default, PartialEq)]
pub struct Plan {
    /// Changes of rows.
    pub changes: Vec<RowChange>,
    /// Messages that follow.
    pub sends: Vec<Send>,
    /// What is done, in words, for the trace of the message; empty: the worker names what is sent.
    pub what: String,
}

/// Why a message was not handled.
#[derive(Debug, Clone, PartialEq, thiserror::Error)]
pub enum Failure {
    /// The message's own fault: counted, tried again after a delay, in the end a dead letter.
    #[error("{reason}")]
    Message {
        /// What is wrong, for the dead letter.
        reason: String,
        /// When to try again; `None` = soon, and later each time.
        retry_after: Option<Duration>,
        /// What is kept of the attempt.
        record: Vec<RowChange>,
    },
    /// A fault of this node or of something that it depends on: not counted.
    #[error("{0}")]
    Node(String),
    /// What the plan relied on has changed: plan again.
    #[error("conflict: {0}")]
    Conflict(String),
}

impl Failure {
    /// The message's own fault.
    #[must_use]
    pub fn message(reason: impl Into<String>) -> Self {
        Self::Message {
            reason: reason.into(),
            retry_after: None,
            record: Vec::new(),
        }
    }
}

impl From<DoorError> for Failure {
    fn from(error: DoorError) -> Self {
        match error {
            DoorError::Conflict(_) => Self::Conflict(error.to_string()),
            DoorError::Refused(_) => Self::message(error.to_string()),
            _ => Self::Node(error.to_string()),
        }
    }
}

impl From<ObjectsError> for Failure {
    fn from(error: ObjectsError) -> Self {
        match error {
            ObjectsError::NotFound(_) | ObjectsError::BadName { .. } => {
                Self::message(error.to_string())
            }
            ObjectsError::Store { .. } => Self::Node(error.to_string()),
        }
    }
}

/// A function of a message, the time of its receive and what it reads, to conditions and effects.
pub trait Handler: std::marker::Send + Sync + 'static {
    /// What the dear part gives the cheap one.
    type Work: std::marker::Send + Sync + 'static;

    /// Makes ready what every message needs, such as an engine, before one is received: a message that is held for that
    /// long would be taken for the cause if the node ended meanwhile, and a node that cannot do the work takes none.
    fn ready(&self) -> impl Future<Output = Result<(), Failure>> + std::marker::Send {
        std::future::ready(Ok(()))
    }

    /// Does what is dear, once for a receive.
    fn work(
        &self,
        message: &Message,
        context: &Context,
    ) -> impl Future<Output = Result<Self::Work, Failure>> + std::marker::Send;

    /// Reads rows and says what ends the message; runs again on a conflict.
    fn plan(
        &self,
        work: &Self::Work,
        message: &Message,
        context: &Context,
    ) -> impl Future<Output = Result<Plan, Failure>> + std::marker::Send;
}
