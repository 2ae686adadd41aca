//! `POST /ingest/<source>`: a body of logs, answered once it is durable.
//!
//! A body may be packed with gzip, which is seen by its first bytes, whatever the headers say. Whoever has no right
//! learns nothing: a source that does not exist and a token that is wrong get the same answer.

use std::time::Duration;

use axum::body::Body;
use axum::extract::{Path, State};
use axum::http::header::{
    AUTHORIZATION, CONTENT_ENCODING, CONTENT_LENGTH, RETRY_AFTER, WWW_AUTHENTICATE,
};
use axum::http::{HeaderMap, HeaderValue, StatusCode};
use axum::response::Response;
use bytes::{Bytes, BytesMut};
use panther_actors::system::IngestError;
use serde_json::json;
use tokio::sync::OwnedSemaphorePermit;
use tokio_stream::StreamExt;

use super::{Shared, said};

/// How long a sender may pause within a body.
const PAUSE: Duration = Duration::from_secs(30);
/// How long a whole body may take.
const WHOLE: Duration = Duration::from_secs(600);
/// How long it may take to make it durable.
const STORE: Duration = Duration::from_secs(60);

/// Why a request is turned away.
#[derive(Debug)]
enum Refusal {
    Unknown,
    Conflict,
    Invalid(String),
    Encoding(String),
    TooLarge(String),
    TooSlow,
    Busy(StatusCode, String, Duration),
}

impl From<IngestError> for Refusal {
    fn from(error: IngestError) -> Self {
        match error {
            IngestError::Unknown => Self::Unknown,
            IngestError::Conflict => Self::Conflict,
            IngestError::Invalid(what) => Self::Invalid(what),
            IngestError::TooLarge(what) => Self::TooLarge(what),
            IngestError::Busy {
                reason,
                retry_after,
            } => Self::Busy(StatusCode::SERVICE_UNAVAILABLE, reason, retry_after),
        }
    }
}

impl Refusal {
    fn answer(self) -> Response {
        let (status, what) = match &self {
            Self::Unknown => (StatusCode::UNAUTHORIZED, IngestError::Unknown.to_string()),
            Self::Conflict => (StatusCode::CONFLICT, IngestError::Conflict.to_string()),
            Self::Invalid(what) => (StatusCode::BAD_REQUEST, what.clone()),
            Self::Encoding(name) => (
                StatusCode::UNSUPPORTED_MEDIA_TYPE,
                format!(
                    "Content-Encoding {name} is not understood; send the body as it is, or packed with gzip"
                ),
            ),
            Self::TooLarge(what) => (StatusCode::PAYLOAD_TOO_LARGE, what.clone()),
            Self::TooSlow => (
                StatusCode::REQUEST_TIMEOUT,
                format!(
                    "the body did not come in time: pauses may last {} s, the whole {} s; nothing was taken",
                    PAUSE.as_secs(),
                    WHOLE.as_secs()
                ),
            ),
            Self::Busy(status, reason, _) => (*status, reason.clone()),
        };
        let mut response = said(status, &json!({ "error": what }));
        match self {
            Self::Unknown => {
                let challenge = HeaderValue::from_static("Bearer");
                response.headers_mut().insert(WWW_AUTHENTICATE, challenge);
            }
            Self::Busy(_, _, after) => {
                let seconds = after.as_secs() + u64::from(after.subsec_nanos() > 0);
                response
                    .headers_mut()
                    .insert(RETRY_AFTER, HeaderValue::from(seconds.max(1)));
            }
            _ => {}
        }
        response
    }
}

/// Takes a body.
pub(super) async fn take(
    State(shared): State<Shared>,
    Path(source): Path<String>,
    headers: HeaderMap,
    body: Body,
) -> Response {
    match taken(&shared, &source, &headers, body).await {
        Ok(response) => response,
        Err(refusal) => {
            tracing::debug!(source, ?refusal, "ingest turned away");
            refusal.answer()
        }
    }
}

async fn taken(
    shared: &Shared,
    source: &str,
    headers: &HeaderMap,
    body: Body,
) -> Result<Response, Refusal> {
    let token = token(headers).ok_or(Refusal::Unknown)?;
    let key = match headers.get("idempotency-key") {
        None => None,
        Some(key) => Some(key.to_str().map_err(|_| {
            Refusal::Invalid("the Idempotency-Key may have visible ASCII letters only".to_owned())
        })?),
    };
    if let Some(encoding) = headers.get(CONTENT_ENCODING) {
        let name = encoding.to_str().unwrap_or("?").trim().to_lowercase();
        if !matches!(name.as_str(), "" | "identity" | "gzip" | "x-gzip") {
            return Err(Refusal::Encoding(name));
        }
    }
    let admitted = shared.system.admit(source, token).await?;
    let (content, _room) = tokio::time::timeout(WHOLE, read(shared, headers, body))
        .await
        .map_err(|_| Refusal::TooSlow)??;
    let stored = shared.system.ingest(&admitted, content, key);
    let ingested = tokio::time::timeout(STORE, stored).await.map_err(|_| {
        let reason = "the logs were not stored in time; they may be yet, so send them again with the same Idempotency-Key, or count on a second copy";
        Refusal::Busy(StatusCode::SERVICE_UNAVAILABLE, reason.to_owned(), Duration::from_secs(5))
    })??;
    Ok(said(
        StatusCode::OK,
        &json!({"object": ingested.object, "bytes": ingested.bytes}),
    ))
}

fn token(headers: &HeaderMap) -> Option<&str> {
    let bearer = headers.get(AUTHORIZATION).and_then(|value| {
        let (scheme, token) = value.to_str().ok()?.split_once(' ')?;
        scheme.eq_ignore_ascii_case("bearer").then(|| token.trim())
    });
    let own = || headers.get("x-panther-token")?.to_str().ok();
    bearer.or_else(own).filter(|token| !token.is_empty())
}

/// The whole body, within all bounds; its room is held until the permit is dropped.
async fn read(
    shared: &Shared,
    headers: &HeaderMap,
    body: Body,
) -> Result<(Bytes, Option<OwnedSemaphorePermit>), Refusal> {
    let limit = shared.limits.body_bytes;
    let too_large = || {
        Refusal::TooLarge(format!(
            "a body may have {limit} bytes (ingest.max_body_bytes); split it, or pack it with gzip"
        ))
    };
    let announced = headers
        .get(CONTENT_LENGTH)
        .and_then(|length| length.to_str().ok()?.parse::<usize>().ok())
        .unwrap_or_default();
    if announced > limit {
        return Err(too_large());
    }
    let mut stream = body.into_data_stream();
    let mut content = BytesMut::new();
    let mut room: Option<OwnedSemaphorePermit> = None;
    loop {
        let piece = match tokio::time::timeout(PAUSE, stream.next()).await {
            Err(_) => return Err(Refusal::TooSlow),
            Ok(None) => return Ok((content.freeze(), room)),
            Ok(Some(Err(error))) => {
                return Err(Refusal::Invalid(format!(
                    "the body broke off: {error}; nothing was taken"
                )));
            }
            Ok(Some(Ok(piece))) => piece,
        };
        if content.len() + piece.len() > limit {
            return Err(too_large());
        }
        let permits = u32::try_from(piece.len()).unwrap_or(u32::MAX);
        let more = shared
            .room
            .clone()
            .try_acquire_many_owned(permits)
            .map_err(|_| {
                let reason = "too many bodies are being read at this time".to_owned();
                Refusal::Busy(
                    StatusCode::TOO_MANY_REQUESTS,
                    reason,
                    Duration::from_secs(1),
                )
            })?;
        match &mut room {
            Some(room) => room.merge(more),
            None => room = Some(more),
        }
        content.extend_from_slice(&piece);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn headers(name: &'static str, value: &'static str) -> HeaderMap {
        let mut headers = HeaderMap::new();
        headers.insert(name, HeaderValue::from_static(value));
        headers
    }

    #[test]
    fn a_token_comes_in_either_header() {
        assert_eq!(token(&headers("authorization", "Bearer abc")), Some("abc"));
        assert_eq!(
            token(&headers("authorization", "bearer  abc ")),
            Some("abc")
        );
        assert_eq!(token(&headers("x-panther-token", "abc")), Some("abc"));
        assert_eq!(token(&headers("authorization", "Basic abc")), None);
        assert_eq!(token(&headers("authorization", "Bearer ")), None);
        assert_eq!(token(&HeaderMap::new()), None);
    }

    #[test]
    fn who_is_turned_away_for_now_is_told_when_to_come_again() {
        let busy = Refusal::from(IngestError::Busy {
            reason: "full".to_owned(),
            retry_after: Duration::from_millis(1_200),
        });
        let response = busy.answer();
        assert_eq!(response.status(), StatusCode::SERVICE_UNAVAILABLE);
        assert_eq!(response.headers()[RETRY_AFTER], "2");
    }
}
