//! What an API function is: one operation by name, JSON in and out, as the original's functions took it.

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
