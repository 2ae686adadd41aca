//! Reads the body of an HTTP request within all bounds: its size, the byte budget, and its pace.

use std::time::Duration;

use axum::body::Body;
use axum::http::HeaderMap;
use axum::http::header::CONTENT_LENGTH;
use futures::StreamExt;
use tokio::time::Instant;

use super::budget::{ByteBudget, HeldBody};
use super::refusal::IngestError;

/// How long a sender may pause within a body.
const PAUSE: Duration = Duration::from_secs(30);
/// How long a body may be slower than the least rate.
const GRACE: Duration = Duration::from_secs(10);
/// The least rate, in bytes a second: a body that holds its place for next to nothing keeps others out.
const LEAST_RATE: f64 = 1024.0;
/// How long a whole body may take.
const WHOLE: Duration = Duration::from_secs(600);

/// Reads the whole body of at most `limit` bytes.
///
/// # Errors
/// The body is too large, too slow or broken off, or the budget is used up.
pub(super) async fn read(
    budget: &ByteBudget,
    limit: usize,
    headers: &HeaderMap,
    body: Body,
) -> Result<HeldBody, IngestError> {
    let reading = read_in_pace(budget, limit, headers, body);
    let read = tokio::time::timeout(WHOLE, reading).await;
    read.unwrap_or_else(|_| Err(too_slow()))
}

async fn read_in_pace(
    budget: &ByteBudget,
    limit: usize,
    headers: &HeaderMap,
    body: Body,
) -> Result<HeldBody, IngestError> {
    let too_large = || {
        IngestError::TooLarge(format!(
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
    let mut content = budget.begin();
    let began = Instant::now();
    loop {
        let earned = Duration::from_secs_f64(content.len() as f64 / LEAST_RATE);
        let latest = (began + GRACE + earned).min(Instant::now() + PAUSE);
        let piece = match tokio::time::timeout_at(latest, stream.next()).await {
            Err(_) => return Err(too_slow()),
            Ok(None) => return Ok(content.finish()),
            Ok(Some(Err(error))) => {
                return Err(IngestError::Invalid(format!(
                    "the body broke off: {error}; nothing was taken"
                )));
            }
            Ok(Some(Ok(piece))) => piece,
        };
        if content.len() + piece.len() > limit {
            return Err(too_large());
        }
        content.push(&piece)?;
    }
}

fn too_slow() -> IngestError {
    IngestError::TooSlow(format!(
        "the body did not come in time: after {} s it has to have {LEAST_RATE} bytes a second, pauses may last {} s, the whole {} s; nothing was taken",
        GRACE.as_secs(),
        PAUSE.as_secs(),
        WHOLE.as_secs()
    ))
}
