//! What an API function is: typed methods from `proto/`, called with encoded messages.
//!
//! What a method changes, who may call it and what it names stand as options in `proto/`; [`CallContext`] carries what follows from them to the
//! component: the request id, the audit record, the answer that a retry gets.

use bytes::Bytes;
use futures::future::BoxFuture;
use panther_cluster::door::DoorError;
use panther_cluster::objects::ObjectsError;
use panther_proto::methods::Method;
use panther_proto::v1::Code;

pub use crate::call_context::{CallContext, RequestId};

/// One call of an API function.
#[derive(Debug, Clone)]
pub struct ApiCall {
    /// The method, for instance `AddOutput`.
    pub method: String,
    /// The encoded request.
    pub request: Bytes,
    /// Who calls, and what makes a retry one effect.
    pub context: CallContext,
}

impl ApiCall {
    /// A call of a typed method.
    #[must_use]
    pub fn of(method: &Method, request: Bytes, context: CallContext) -> Self {
        Self {
            method: method.name.clone(),
            request,
            context,
        }
    }

    /// The error for a method that an API does not have.
    #[must_use]
    pub fn unknown_method(&self) -> ApiError {
        ApiError::Invalid(format!("there is no method {}", self.method))
    }
}

/// Why a call failed. Each text says what was tried, why it failed and what to do.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum ApiError {
    /// What was named does not exist.
    #[error("{0}")]
    NotFound(String),
    /// The input is wrong.
    #[error("{0}")]
    Invalid(String),
    /// Something of that name exists.
    #[error("{0}")]
    Exists(String),
    /// It is in use, or changed meanwhile.
    #[error("{0}")]
    Conflict(String),
    /// The node is full; try later.
    #[error("{0}")]
    Busy(String),
    /// There is no leader, or the node is stopping.
    #[error("{0}")]
    Unavailable(String),
    /// The component is not built in this version.
    #[error("{0}")]
    NotBuilt(String),
    /// A fault of the node.
    #[error("{0}")]
    Internal(String),
}

impl ApiError {
    /// Each code with its meaning. A code stays as it is from version to version.
    pub const CODES: [(&str, &str); 8] = [
        ("not_found", "what the request names does not exist"),
        (
            "invalid",
            "the request is wrong, or cannot be carried out as things stand",
        ),
        ("exists", "there is something of that name already"),
        (
            "conflict",
            "it is in use, or it was changed meanwhile: read again and decide again",
        ),
        (
            "busy",
            "the node is full, or a limit is reached: try again later",
        ),
        (
            "unavailable",
            "there is no leader, or the node is starting or stopping: try again",
        ),
        ("not_built", "the component is not built in this version"),
        ("internal", "a fault of the node; its log has the details"),
    ];

    /// The stable code of the error, one of [`ApiError::CODES`].
    #[must_use]
    pub const fn code(&self) -> &'static str {
        match self {
            Self::NotFound(_) => "not_found",
            Self::Invalid(_) => "invalid",
            Self::Exists(_) => "exists",
            Self::Conflict(_) => "conflict",
            Self::Busy(_) => "busy",
            Self::Unavailable(_) => "unavailable",
            Self::NotBuilt(_) => "not_built",
            Self::Internal(_) => "internal",
        }
    }
}

/// An API function: encoded requests in, encoded answers out.
pub trait Api: Send + Sync + 'static {
    /// Carries out one call.
    fn call(&self, call: ApiCall) -> BoxFuture<'_, Result<Bytes, ApiError>>;
}

impl From<prost::DecodeError> for ApiError {
    fn from(error: prost::DecodeError) -> Self {
        Self::Invalid(format!("the request does not decode: {error}"))
    }
}

impl From<DoorError> for ApiError {
    fn from(error: DoorError) -> Self {
        match &error {
            DoorError::Refused(refused) => match error.code() {
                Some(Code::UnknownName) => Self::NotFound(refused.reason.clone()),
                Some(Code::NotUnique) => Self::Exists(refused.reason.clone()),
                Some(Code::Full) => Self::Busy(refused.reason.clone()),
                Some(Code::Fault) => Self::Internal(refused.reason.clone()),
                _ => Self::Invalid(refused.reason.clone()),
            },
            DoorError::Conflict(_) => Self::Conflict(format!("it was changed meanwhile: {error}")),
            DoorError::Busy { .. } => Self::Busy(error.to_string()),
            DoorError::Store(source) if matches!(source.kind(), std::io::ErrorKind::NotFound) => {
                Self::NotFound(source.to_string())
            }
            DoorError::Store(source)
                if matches!(source.kind(), std::io::ErrorKind::InvalidInput) =>
            {
                Self::Invalid(source.to_string())
            }
            DoorError::Store(_) => Self::Internal(error.to_string()),
            DoorError::Unavailable(_) | DoorError::Removed(_) | DoorError::Deadline { .. } => {
                Self::Unavailable(error.to_string())
            }
        }
    }
}

impl From<ObjectsError> for ApiError {
    fn from(error: ObjectsError) -> Self {
        match error {
            ObjectsError::NotFound(_) => Self::NotFound(error.to_string()),
            ObjectsError::BadName { .. } => Self::Invalid(error.to_string()),
            ObjectsError::Store { .. } => Self::Unavailable(error.to_string()),
        }
    }
}
