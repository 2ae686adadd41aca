//! From matches to alerts: deduplication, threshold, texts, routing.
//!
//! Pure functions over what was matched, when, and the row as it was read. They know no table and no clock, so that a test, a backtest and the
//! cluster decide alike.

mod dedup;
mod ids;
mod routing;
mod texts;

use std::fmt;

use serde::{Deserialize, Serialize};

pub use dedup::{DedupRow, Forward, Group, Step, decide, forward};
pub use ids::{alert_id, dedup_key};
pub use routing::{MAX_DESTINATIONS, Output, Recipients, SKIP, resolve_destinations, route};
pub use texts::{AlertTexts, Generated, alert_texts, error_outputs};

/// What an alert is about.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, PartialOrd, Ord, Serialize, Deserialize)]
#[serde(rename_all = "SCREAMING_SNAKE_CASE")]
pub enum AlertKind {
    /// A rule matched.
    Rule,
    /// A rule failed.
    RuleError,
    /// A resource fails a policy.
    Policy,
}

impl AlertKind {
    /// The name in upper case that rows and messages use.
    #[must_use]
    pub fn as_str(self) -> &'static str {
        match self {
            Self::Rule => "RULE",
            Self::RuleError => "RULE_ERROR",
            Self::Policy => "POLICY",
        }
    }
}

impl fmt::Display for AlertKind {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.as_str())
    }
}
