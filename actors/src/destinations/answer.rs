//! What a destination answered, or what went wrong.

use std::time::Duration;

/// What came of an attempt.
pub(super) struct Answer {
    /// An HTTP status. Two have a meaning of their own: 0 = no connection, 504 = no answer in time.
    pub(super) status: u16,
    pub(super) message: String,
    /// How long the destination asked to be left alone.
    pub(super) retry_after: Option<Duration>,
}

impl Answer {
    pub(super) const fn new(status: u16, message: String) -> Self {
        Self {
            status,
            message,
            retry_after: None,
        }
    }
}
