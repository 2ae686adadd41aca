//! What the daemon says of itself: to standard error, as text for people or JSON for machines.

use std::io::{self, IsTerminal};

use tracing_subscriber::EnvFilter;

use crate::config::{Configuration, LogFormat};

/// Libraries whose own news are of no use to an operator; `log.level` can name them to hear more.
const QUIET: &str = "openraft=warn,sled=warn,h2=warn,hyper=warn,tonic=warn,reqwest=warn";

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
    let builder = tracing_subscriber::fmt()
        .with_env_filter(filter)
        .with_writer(io::stderr)
        .with_ansi(io::stderr().is_terminal());
    let started = match configuration.log_format {
        LogFormat::Json => builder.json().flatten_event(true).try_init(),
        LogFormat::Text => builder.try_init(),
    };
    if let Err(error) = started {
        tracing::debug!(%error, "logging was started before");
    }
}
