//! Deadline of a gRPC call: the deadline that the caller requests, limited by the server's maximum.

use std::time::Duration;

use axum::extract::Request;
use axum::middleware::Next;
use axum::response::Response;
use tonic::Status;

/// Ends a call after `longest` or after the time in the header `grpc-timeout`, whichever is shorter. Middleware for
/// [`axum::middleware::from_fn`].
pub async fn within(longest: Duration, request: Request, next: Next) -> Response {
    let asked = request
        .headers()
        .get("grpc-timeout")
        .and_then(|value| time(value.to_str().ok()?));
    let limit = asked.map_or(longest, |asked| asked.min(longest));
    match tokio::time::timeout(limit, next.run(request)).await {
        Ok(response) => response,
        Err(_) => Status::deadline_exceeded(format!("no answer within {} ms", limit.as_millis()))
            .into_http(),
    }
}

/// Parses a gRPC timeout: up to eight digits and a unit.
fn time(text: &str) -> Option<Duration> {
    let (digits, unit) = text.split_at_checked(text.len().checked_sub(1)?)?;
    if digits.is_empty() || digits.len() > 8 || !digits.bytes().all(|byte| byte.is_ascii_digit()) {
        return None;
    }
    let count: u64 = digits.parse().ok()?;
    Some(match unit {
        "H" => Duration::from_secs(count * 3_600),
        "M" => Duration::from_secs(count * 60),
        "S" => Duration::from_secs(count),
        "m" => Duration::from_millis(count),
        "u" => Duration::from_micros(count),
        "n" => Duration::from_nanos(count),
        _ => return None,
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn times_are_read_as_grpc_writes_them() {
        assert_eq!(time("2S"), Some(Duration::from_secs(2)));
        assert_eq!(time("1H"), Some(Duration::from_secs(3_600)));
        assert_eq!(time("15m"), Some(Duration::from_millis(15)));
        assert_eq!(time("99999999n"), Some(Duration::from_nanos(99_999_999)));
        for wrong in ["", "S", "5", "-1S", "123456789S", "1s", "1 S", "1é"] {
            assert_eq!(time(wrong), None, "{wrong:?}");
        }
    }
}
