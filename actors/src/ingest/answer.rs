//! Answers of doors that speak HTTP.

use std::time::Duration;

use axum::http::header::{CONTENT_TYPE, RETRY_AFTER, WWW_AUTHENTICATE};
use axum::http::{HeaderValue, StatusCode};
use axum::response::{IntoResponse, Response};
use serde_json::{Value, json};

use super::refusal::IngestError;

/// An answer in JSON.
#[must_use]
pub fn json_answer(status: StatusCode, body: &Value) -> Response {
    (
        status,
        [(CONTENT_TYPE, "application/json")],
        format!("{body}\n"),
    )
        .into_response()
}

/// The status of a refusal. Protocols that have a body of their own for errors use the same status.
pub(super) const fn status(error: &IngestError) -> StatusCode {
    match error {
        IngestError::Unknown => StatusCode::UNAUTHORIZED,
        IngestError::Conflict => StatusCode::CONFLICT,
        IngestError::Invalid(_) => StatusCode::BAD_REQUEST,
        IngestError::Encoding(_) => StatusCode::UNSUPPORTED_MEDIA_TYPE,
        IngestError::TooLarge(_) => StatusCode::PAYLOAD_TOO_LARGE,
        IngestError::TooSlow(_) => StatusCode::REQUEST_TIMEOUT,
        IngestError::Share(_) | IngestError::Crowded => StatusCode::TOO_MANY_REQUESTS,
        IngestError::Guessing { .. } | IngestError::Unanswered | IngestError::Busy { .. } => {
            StatusCode::SERVICE_UNAVAILABLE
        }
    }
}

/// The answer to a sender that is refused.
pub(super) fn refusal(error: &IngestError) -> Response {
    let body = json!({ "error": error.to_string() });
    with_headers(error, json_answer(status(error), &body))
}

/// Adds the headers of a refusal: how to authenticate, and when to try again.
pub(super) fn with_headers(error: &IngestError, mut response: Response) -> Response {
    let headers = response.headers_mut();
    if matches!(error, IngestError::Unknown) {
        headers.insert(WWW_AUTHENTICATE, HeaderValue::from_static("Bearer"));
    }
    if let Some(after) = error.retry_after() {
        headers.insert(RETRY_AFTER, HeaderValue::from(whole_seconds(after)));
    }
    response
}

fn whole_seconds(after: Duration) -> u64 {
    let begun = u64::from(after.subsec_nanos() > 0);
    (after.as_secs() + begun).max(1)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_sender_that_is_refused_for_now_learns_when_to_try_again() {
        let busy = refusal(&IngestError::Busy {
            reason: "full".to_owned(),
            retry_after: Duration::from_millis(1_200),
        });
        assert_eq!(busy.status(), StatusCode::SERVICE_UNAVAILABLE);
        assert_eq!(busy.headers()[RETRY_AFTER], "2");
        let crowded = refusal(&IngestError::Crowded);
        assert_eq!(crowded.status(), StatusCode::TOO_MANY_REQUESTS);
        assert_eq!(crowded.headers()[RETRY_AFTER], "1");
        let unanswered = refusal(&IngestError::Unanswered);
        assert_eq!(unanswered.status(), StatusCode::SERVICE_UNAVAILABLE);
        assert_eq!(unanswered.headers()[RETRY_AFTER], "5");
        let conflict = refusal(&IngestError::Conflict);
        assert_eq!(conflict.status(), StatusCode::CONFLICT);
        assert!(!conflict.headers().contains_key(RETRY_AFTER));
    }
}
