//! What the daemon says of itself: to standard error, as text for people or JSON for machines.

use std::io::{self, IsTerminal};

use tracing_subscriber::layer::{Layer as _, SubscriberExt as _};
use tracing_subscriber::util::SubscriberInitExt as _;
use tracing_subscriber::{EnvFilter, Registry, fmt};

use crate::config::{Configuration, LogFormat};
use crate::repeats::Repeats;

/// Libraries whose own news are of no use to an operator; `log.level` can name them to hear more.
const QUIET: &str = "openraft=error,sled=warn,h2=warn,hyper=warn,tonic=warn,reqwest=warn";

/// What is logged, from a level or directives.
///
/// # Errors
/// It is no level and no list of directives.
pub(crate) fn filter(level: &str) -> Result<EnvFilter, String> {
    EnvFilter::builder()
        .parse(format!("{QUIET},{level}"))
        .map_err(|error| error.to_string())
}

/// Starts logging for the whole process.
pub(crate) fn start(configuration: &Configuration) {
    // The level was checked when the configuration was read.
    let filter = filter(&configuration.log_level).unwrap_or_else(|_| EnvFilter::new("info"));
    let lines = fmt::layer()
        .with_writer(io::stderr)
        .with_ansi(io::stderr().is_terminal());
    let lines = match configuration.log_format {
        LogFormat::Json => lines.json().flatten_event(true).boxed(),
        LogFormat::Text => lines.boxed(),
    };
    let repeats = Repeats::default();
    let shown = lines.with_filter(repeats.clone());
    let started = Registry::default().with(shown).with(filter).try_init();
    repeats.count_from_now_on();
    if let Err(error) = started {
        tracing::debug!(%error, "logging was started before");
    }
}
