//! The alarms of each kind of component. A component's file gives only what differs from its kind.

use serde::Serialize;

use super::{Component, Kind};

/// When an alarm is raised: the statistic over a period is above the threshold in so many periods in a row.
#[derive(Debug, Clone, PartialEq, Serialize)]
pub struct AlarmSpec {
    /// What is measured.
    pub metric: &'static str,
    /// How the values of a period become one value.
    pub statistic: &'static str,
    /// The highest value that raises no alarm.
    pub threshold: f64,
    /// Periods in a row.
    pub periods: u32,
    /// Seconds of a period.
    pub period_seconds: u64,
}

const fn spec(
    metric: &'static str,
    statistic: &'static str,
    threshold: f64,
    periods: u32,
    period_seconds: u64,
) -> AlarmSpec {
    AlarmSpec {
        metric,
        statistic,
        threshold,
        periods,
        period_seconds,
    }
}

/// The alarms of a component, as the original had them for its kind.
pub(super) fn of(component: &Component) -> Vec<AlarmSpec> {
    match component.kind {
        Kind::Function => vec![
            spec("logged_errors", "sum", 0.0, 1, 300),
            spec("logged_warnings", "sum", 25.0, 1, 300),
            spec("memory_percent", "max", 90.0, 1, 300),
            spec("execution_errors", "sum", 0.0, 1, 300),
            spec("throttles", "sum", 5.0, 1, 300),
            spec("duration_percent_of_timeout", "max", 90.0, 3, 300),
        ],
        Kind::Queue => {
            let queue = component.queue.as_ref();
            let seconds = queue.and_then(|queue| queue.oldest_age_alarm_seconds);
            #[expect(
                clippy::cast_precision_loss,
                reason = "an age in seconds is far below 2^52"
            )]
            let alarm =
                |seconds: u64| spec("oldest_message_age_seconds", "max", seconds as f64, 3, 300);
            seconds.map(alarm).into_iter().collect()
        }
        Kind::Dlq => vec![spec("visible_messages", "sum", 0.0, 1, 300)],
        // The tables of our own have no entry in the original's set.
        Kind::Table if component.internal => Vec::new(),
        Kind::Table => vec![
            spec("user_errors", "sum", 0.0, 1, 300),
            spec("system_errors", "sum", 0.0, 1, 300),
            spec("throttled_requests", "sum", 0.0, 1, 300),
            spec("request_latency_ms", "max", 1_000.0, 1, 300),
        ],
        Kind::Topic => vec![spec("failed_notifications", "sum", 0.0, 1, 300)],
        Kind::Gateway => vec![
            spec("responses_5xx", "sum", 0.0, 3, 300),
            spec("integration_latency_ms", "max", 1_000.0, 3, 60),
        ],
        Kind::Graphql => vec![
            spec("responses_4xx", "sum", 20.0, 1, 300),
            spec("responses_5xx", "sum", 0.0, 1, 300),
        ],
        Kind::StateMachine => vec![spec("executions_failed", "sum", 0.0, 1, 300)],
        Kind::Web => vec![
            spec("responses_5xx", "sum", 0.0, 3, 300),
            spec("target_responses_5xx", "sum", 0.0, 3, 300),
            spec("unhealthy_hosts", "max", 0.0, 3, 300),
            spec("target_latency_seconds", "p95", 0.5, 5, 1_500),
        ],
    }
}
