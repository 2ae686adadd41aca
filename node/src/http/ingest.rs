//! `POST /ingest/<source>`: a body of logs, answered once it is durable.
//!
//! A body may be packed with gzip, which is seen by its first bytes, whatever the headers say. Whoever has no right
//! learns nothing: a source that does not exist and a token that is wrong get the same answer.

use std::time::Duration;

use axum::Extension;
use axum::body::Body;
use axum::extract::{Path, State};
use axum::http::header::{
    AUTHORIZATION, CONTENT_ENCODING, CONTENT_LENGTH, RETRY_AFTER, WWW_AUTHENTICATE,
};
use axum::http::{HeaderMap, HeaderValue, StatusCode};
use axum::response::Response;
use bytes::{Bytes, BytesMut};
use panther_actors::callers::RefusedFor;
use panther_actors::system::IngestError;
use panther_listen::PlaceHandle;
use serde_json::json;
use tokio::sync::OwnedSemaphorePermit;
use tokio::time::Instant;
use tokio_stream::StreamExt;

use super::{Shared, said};

/// How long a sender may pause within a body.
const PAUSE: Duration = Duration::from_secs(30);
/// How long a body may be slower than the least rate.
const GRACE: Duration = Duration::from_secs(10);
/// The least rate, in bytes a second: a body that holds its place for next to nothing keeps others out.
const LEAST_RATE: f64 = 1024.0;
/// How long a whole body may take.
const WHOLE: Duration = Duration::from_secs(600);
/// How long it may take to make it durable.
const STORE: Duration = Duration::from_secs(60);

/// Why a request is turned away.
#[derive(Debug)]
enum Refusal {
    Unknown,
    Guessing(String, Duration),
    Conflict,
    Invalid(String),
    Encoding(String),
    TooLarge(String),
    TooSlow,
    /// The source or the address has its share of the bodies that are being read.
    Share(&'static str),
    Busy(StatusCode, String, Duration),
}

impl From<IngestError> for Refusal {
    fn from(error: IngestError) -> Self {
        match error {
            IngestError::Unknown => Self::Unknown,
            IngestError::Conflict => Self::Conflict,
            IngestError::Invalid(what) => Self::Invalid(what),
            IngestError::TooLarge(what) => Self::TooLarge(what),
            IngestError::Guessing { retry_after } => Self::Guessing(error.to_string(), retry_after),
            IngestError::Busy {
                reason,
                retry_after,
            } => Self::Busy(StatusCode::SERVICE_UNAVAILABLE, reason, retry_after),
        }
    }
}

impl Refusal {
    fn reason(&self) -> RefusedFor {
        match self {
            Self::Unknown | Self::Guessing(..) => RefusedFor::Token,
            Self::Conflict => RefusedFor::Conflict,
            Self::Invalid(_) | Self::Encoding(_) => RefusedFor::Invalid,
            Self::TooLarge(_) => RefusedFor::Large,
            Self::TooSlow => RefusedFor::Slow,
            Self::Share(_) => RefusedFor::Share,
            Self::Busy(..) => RefusedFor::Busy,
        }
    }

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
                    "the body did not come in time: after {} s it has to have {LEAST_RATE} bytes a second, pauses may last {} s, the whole {} s; nothing was taken",
                    GRACE.as_secs(),
                    PAUSE.as_secs(),
                    WHOLE.as_secs()
                ),
            ),
            Self::Share(whose) => (
                StatusCode::TOO_MANY_REQUESTS,
                format!(
                    "{whose} has as many bodies under way as it may have; send them one after the other, or more in one body"
                ),
            ),
            Self::Guessing(reason, _) => (StatusCode::SERVICE_UNAVAILABLE, reason.clone()),
            Self::Busy(status, reason, _) => (*status, reason.clone()),
        };
        let mut response = said(status, &json!({ "error": what }));
        match self {
            Self::Unknown => {
                let challenge = HeaderValue::from_static("Bearer");
                response.headers_mut().insert(WWW_AUTHENTICATE, challenge);
            }
            Self::Guessing(_, after) | Self::Busy(_, _, after) => retry(&mut response, after),
            Self::Share(_) => retry(&mut response, Duration::from_secs(1)),
            _ => {}
        }
        response
    }
}

fn retry(response: &mut Response, after: Duration) {
    let seconds = after.as_secs() + u64::from(after.subsec_nanos() > 0);
    let headers = response.headers_mut();
    headers.insert(RETRY_AFTER, HeaderValue::from(seconds.max(1)));
}

/// Takes a body.
pub(super) async fn take(
    State(shared): State<Shared>,
    Path(source): Path<String>,
    Extension(place): Extension<PlaceHandle>,
    headers: HeaderMap,
    body: Body,
) -> Response {
    match taken(&shared, &source, &place, &headers, body).await {
        Ok(response) => response,
        Err(refusal) => {
            let callers = &shared.callers;
            callers.refuse(refusal.reason(), &source, place.address());
            refusal.answer()
        }
    }
}

async fn taken(
    shared: &Shared,
    source: &str,
    place: &PlaceHandle,
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
    place.prove();
    let of_source = shared.of_source.take(&admitted.id().to_owned());
    let of_source = of_source.ok_or(Refusal::Share("this source"))?;
    let of_address = place.address().map(|address| {
        let share = shared.of_address.take(&address);
        share.ok_or(Refusal::Share("this address"))
    });
    let of_address = of_address.transpose()?;
    let (content, _room) = tokio::time::timeout(WHOLE, read(shared, headers, body))
        .await
        .map_err(|_| Refusal::TooSlow)??;
    drop((of_source, of_address));
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
    let began = Instant::now();
    loop {
        let earned = Duration::from_secs_f64(content.len() as f64 / LEAST_RATE);
        let latest = (began + GRACE + earned).min(Instant::now() + PAUSE);
        let piece = match tokio::time::timeout_at(latest, stream.next()).await {
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
