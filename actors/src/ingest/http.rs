//! `POST /ingest/<source>`: a body of logs, answered once it is durable.
//!
//! A body may be packed with gzip, which is recognised by its first bytes, not by the headers. A sender without a right learns nothing: an unknown
//! source and a wrong token get the same answer.

use axum::body::Body;
use axum::extract::{Path, State};
use axum::http::header::{AUTHORIZATION, CONTENT_ENCODING};
use axum::http::{HeaderMap, HeaderValue, StatusCode};
use axum::response::Response;
use axum::routing::post;
use axum::{Extension, Router};
use panther_listen::PlaceHandle;
use panther_proto::trace::{TRACEPARENT, TraceContext};
use serde_json::json;

use super::door::{IngestDoor, Serving};
use super::intake::{Ingested, Intake};
use super::refusal::IngestError;
use super::{answer, body};

pub(super) const DOOR: IngestDoor = IngestDoor {
    name: "http",
    serving: Serving::Routes(routes),
};

fn routes(intake: Intake) -> Router {
    Router::new()
        .route("/ingest/{source}", post(post_logs))
        .with_state(intake)
}

async fn post_logs(
    State(intake): State<Intake>,
    Path(source): Path<String>,
    Extension(place): Extension<PlaceHandle>,
    headers: HeaderMap,
    body: Body,
) -> Response {
    match take(&intake, &source, &place, &headers, body).await {
        Ok(ingested) => {
            let trace = ingested.trace;
            let said = json!({"object": ingested.object, "bytes": ingested.bytes, "trace_id": trace.trace_id()});
            let mut response = answer::json_answer(StatusCode::OK, &said);
            if let Ok(traceparent) = HeaderValue::try_from(trace.to_string()) {
                response.headers_mut().insert(TRACEPARENT, traceparent);
            }
            response
        }
        Err(error) => {
            intake.refuse(&error, &source, place.address());
            answer::refusal(&error)
        }
    }
}

async fn take(
    intake: &Intake,
    source: &str,
    place: &PlaceHandle,
    headers: &HeaderMap,
    body: Body,
) -> Result<Ingested, IngestError> {
    let token = token(headers).ok_or(IngestError::Unknown)?;
    let key = match headers.get("idempotency-key") {
        None => None,
        Some(key) => Some(key.to_str().map_err(|_| {
            IngestError::Invalid(
                "the Idempotency-Key may have visible ASCII letters only".to_owned(),
            )
        })?),
    };
    if let Some(encoding) = headers.get(CONTENT_ENCODING) {
        let name = encoding.to_str().unwrap_or("?").trim().to_lowercase();
        if !matches!(name.as_str(), "" | "identity" | "gzip" | "x-gzip") {
            return Err(IngestError::Encoding(name));
        }
    }
    let admitted = intake.admit(source, token).await?;
    place.prove();
    let under_way = intake.begin(&admitted, place.address())?;
    let limit = intake.settings().body_bytes;
    let body = body::read(intake.budget(), limit, headers, body).await?;
    drop(under_way);
    intake.take(&admitted, body, key, brought(headers)).await
}

/// The trace that the sender brought, if it records one. A `traceparent` that is wrong counts as absent, as W3C Trace Context asks.
fn brought(headers: &HeaderMap) -> Option<TraceContext> {
    let text = headers.get(TRACEPARENT)?.to_str().ok()?;
    text.parse()
        .ok()
        .filter(|trace: &TraceContext| trace.is_sampled())
}

fn token(headers: &HeaderMap) -> Option<&str> {
    let bearer = headers.get(AUTHORIZATION).and_then(|value| {
        let (scheme, token) = value.to_str().ok()?.split_once(' ')?;
        scheme.eq_ignore_ascii_case("bearer").then(|| token.trim())
    });
    let own = || headers.get("x-panther-token")?.to_str().ok();
    bearer.or_else(own).filter(|token| !token.is_empty())
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
}
