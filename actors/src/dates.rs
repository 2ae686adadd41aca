//! Cluster times as dates.

use chrono::{DateTime, Utc};

/// A cluster time as date and time.
#[must_use]
pub fn date(ms: u64) -> DateTime<Utc> {
    i64::try_from(ms)
        .ok()
        .and_then(DateTime::from_timestamp_millis)
        .unwrap_or_default()
}

/// A cluster time in RFC 3339, as rows and messages carry it.
#[must_use]
pub fn rfc3339(ms: u64) -> String {
    date(ms).to_rfc3339_opts(chrono::SecondsFormat::Millis, true)
}
