//! What an API function is: one operation by name, JSON in and out, as the original's functions took it.

use futures::future::BoxFuture;
use panther_cluster::door::DoorError;
use panther_cluster::objects::ObjectsError;
use panther_proto::v1::Code;
use serde::de::DeserializeOwned;
use serde_json::Value;

/// One call of an API function.
#[derive(Debug, Clone, Default)]
pub struct ApiCall {
    /// The operation.
    pub operation: String,
    /// Its input, an object.
    pub input: Value,
    /// Bytes that belong to the input.
    pub payload: bytes::Bytes,
    /// Makes a retry single: the request's id and when it was issued, milliseconds since 1970.
    pub request: Option<(String, u64)>,
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

/// An API function: calls by name.
pub trait Api: Send + Sync + 'static {
    /// Carries out one call.
    fn call(&self, call: ApiCall) -> BoxFuture<'_, Result<Value, ApiError>>;
}

impl ApiCall {
    /// The input as a type.
    ///
    /// # Errors
    /// It is not of that type; the error names the key.
    pub fn input<T: DeserializeOwned>(&self) -> Result<T, ApiError> {
        let input = if self.input.is_null() {
            Value::Object(serde_json::Map::new())
        } else {
            self.input.clone()
        };
        serde_json::from_value(input).map_err(|error| {
            ApiError::Invalid(format!("the input of {} is wrong: {error}", self.operation))
        })
    }

    /// The error for an operation that a component does not have.
    #[must_use]
    pub fn unknown(&self, component: &str, known: &[&str]) -> ApiError {
        ApiError::Invalid(format!(
            "{component} has no operation {:?}; it has {}",
            self.operation,
            known.join(", ")
        ))
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
