//! The handler of a component: its three phases, their inputs and outputs.

use std::time::Duration;

use bytes::Bytes;
use panther_cluster::door::{Door, DoorError, TableReader};
use panther_cluster::objects::ObjectsError;
use panther_proto::trace::TraceContext;
use panther_proto::v1::{Message, RowChange, Send, Transact};

/// Input of [`Handler::work`] besides its message.
#[derive(Clone)]
pub struct Context {
    /// The door of this node.
    pub door: Door,
    /// Cluster time of the receive, in milliseconds since 1970.
    pub received_ms: u64,
    /// Names this receive of this message: part of the names of objects that it writes.
    pub attempt: String,
    /// The trace of the message, and the span in which it is handled.
    pub trace: TraceContext,
}

/// Input of [`Handler::plan`] besides its message. It can read tables and can change nothing.
#[derive(Clone)]
pub struct PlanContext {
    /// Reads of tables.
    pub tables: TableReader,
    /// Cluster time of the receive, in milliseconds since 1970.
    pub received_ms: u64,
    /// As [`Context::attempt`].
    pub attempt: String,
    /// As [`Context::trace`].
    pub trace: TraceContext,
}

impl From<&Context> for PlanContext {
    fn from(context: &Context) -> Self {
        Self {
            tables: context.door.tables(),
            received_ms: context.received_ms,
            attempt: context.attempt.clone(),
            trace: context.trace,
        }
    }
}

/// An object that a plan's changes name. The worker writes it before it commits the plan.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct PlannedObject {
    /// Its name. It contains the attempt and the content's hash: plans of one message share a name only if they share
    /// the content.
    pub name: String,
    /// Its content.
    pub content: Bytes,
}

/// The effects that complete a message.
#[derive(Debug, Clone, Default, PartialEq)]
pub struct Plan {
    /// Objects that depend on rows, such as matches with the id of their alert. Objects that depend on the message
    /// alone are written in [`Handler::work`].
    pub objects: Vec<PlannedObject>,
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

/// Handles the messages of one queue, in three phases.
///
/// 1. [`work`](Self::work) does everything expensive, once for a receive.
/// 2. [`plan`](Self::plan) reads rows and returns the effects. It runs again after each conflict, so it must be pure: it
///    has no `self` and its context can only read. The same work and the same rows give the same plan.
/// 3. [`committed`](Self::committed) applies local effects on this node, after the plan is committed.
pub trait Handler: std::marker::Send + Sync + 'static {
    /// Result of [`work`](Self::work); input of the other phases.
    type Work: std::marker::Send + Sync + 'static;

    /// Prepares what every message needs, such as an engine, before a message is received. A node that is not ready
    /// receives no message: a message that is held during a long preparation would count as the cause if the node
    /// ended meanwhile.
    fn ready(&self) -> impl Future<Output = Result<(), Failure>> + std::marker::Send {
        std::future::ready(Ok(()))
    }

    /// Does the expensive part: reads objects, runs Python, writes objects, delivers. It runs once for a receive, and
    /// again if the message is received again; so each effect outside of the plan must be idempotent, or harmless if
    /// the message is never completed. An object that no committed plan names is swept after a day.
    fn work(
        &self,
        message: &Message,
        context: &Context,
    ) -> impl Future<Output = Result<Self::Work, Failure>> + std::marker::Send;

    /// Reads rows and returns the effects that complete the message. Runs again on a conflict.
    fn plan(
        work: &Self::Work,
        message: &Message,
        context: &PlanContext,
    ) -> impl Future<Output = Result<Plan, Failure>> + std::marker::Send;

    /// Applies effects in this process, such as the use of an engine that `work` has started. `command` is what was
    /// committed: the plan and the message's end. It runs at most once, after the commit. It does not run if the process
    /// ends first, or if the answer to the commit is lost; so it may only save work that this node would otherwise do
    /// later.
    fn committed(&self, _work: Self::Work, _command: &Transact) {}
}
