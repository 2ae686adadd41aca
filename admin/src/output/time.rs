//! Times as people tell them: how long ago, and when exactly.

use chrono::{DateTime, Utc};

/// How long a time of `ms` milliseconds is, in its largest fitting unit.
pub(crate) fn span(ms: i64) -> String {
    let seconds = ms.max(0) / 1000;
    match seconds {
        0 => format!("{} ms", ms.max(0)),
        1..120 => format!("{seconds} s"),
        120..7_200 => format!("{} min", seconds / 60),
        7_200..172_800 => format!("{} h", seconds / 3600),
        _ => format!("{} d", seconds / 86_400),
    }
}

/// How long ago a point in time (milliseconds since 1970) is; empty for none.
pub(crate) fn ago(now: DateTime<Utc>, then: Option<i64>) -> String {
    let Some(then) = then else {
        return String::new();
    };
    match now.timestamp_millis() - then {
        ..-1000 => format!("in {}", span(then - now.timestamp_millis())),
        -1000..1000 => "now".to_owned(),
        passed => format!("{} ago", span(passed)),
    }
}

/// Milliseconds since 1970 of a time in RFC 3339; nothing for a text that is not one.
pub(crate) fn instant(text: &str) -> Option<i64> {
    let time = DateTime::parse_from_rfc3339(text).ok()?;
    Some(time.timestamp_millis())
}

/// The exact time in UTC and how long ago it is; empty for none.
pub(crate) fn moment(now: DateTime<Utc>, then: Option<i64>) -> String {
    then.and_then(DateTime::from_timestamp_millis)
        .map(|time| format!("{} ({})", time.format("%Y-%m-%d %H:%M:%SZ"), ago(now, then)))
        .unwrap_or_default()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn times_are_told_in_their_largest_fitting_unit() {
        let now = DateTime::from_timestamp(1_700_000_000, 0).unwrap();
        let told = |seconds: i64| ago(now, Some((1_700_000_000 - seconds) * 1000));
        assert_eq!(told(0), "now");
        assert_eq!(told(-5), "in 5 s");
        assert_eq!(told(90), "90 s ago");
        assert_eq!(told(600), "10 min ago");
        assert_eq!(told(10_000), "2 h ago");
        assert_eq!(told(1_000_000), "11 d ago");
        assert_eq!(ago(now, None), "");
        assert_eq!(
            moment(now, Some(1_700_000_000_000)),
            "2023-11-14 22:13:20Z (now)"
        );
        assert_eq!(span(250), "250 ms");
    }
}
