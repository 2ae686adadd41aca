//! Logs and traces of the daemon: lines on standard error, as text for people or JSON for machines, and spans to an OpenTelemetry collector.
//!
//! * [`lines`]: node and component on each line
//! * [`spans`]: the component and the trace that a span belongs to
//! * [`otlp`]: export of spans

mod lines;
mod otlp;
mod spans;

use std::fmt::Debug;
use std::io::{self, IsTerminal};

use tracing::field::Field;
use tracing::level_filters::LevelFilter;
use tracing_subscriber::field::MakeExt as _;
use tracing_subscriber::filter::{FilterExt as _, Targets};
use tracing_subscriber::fmt::format::{Writer, debug_fn};
use tracing_subscriber::layer::{Layer as _, SubscriberExt as _};
use tracing_subscriber::util::SubscriberInitExt as _;
use tracing_subscriber::{EnvFilter, Registry, fmt};

use crate::config::{Configuration, LogFormat};
use crate::repeats::Repeats;
pub(crate) use lines::name_node;
use lines::{JsonLines, TimeAndNode};
use spans::SpanContexts;

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

/// A field as text. What others wrote, such as the name of a file, begins no line of its own and gives no order to a terminal: control characters and
/// marks that turn the direction of writing are shown as their code.
fn one_line(writer: &mut Writer<'_>, field: &Field, value: &dyn Debug) -> std::fmt::Result {
    if field.name() != "message" {
        write!(writer, "{}=", field.name())?;
    }
    for character in format!("{value:?}").chars() {
        let turning = matches!(character, '\u{200e}' | '\u{200f}' | '\u{2028}'..='\u{202e}' | '\u{2066}'..='\u{2069}');
        if character.is_control() || turning {
            write!(writer, "{}", character.escape_unicode())?;
        } else {
            writer.write_char(character)?;
        }
    }
    Ok(())
}

/// Spans that go to the collector: those of this system, in full.
fn exported() -> Targets {
    let crates = [
        "panther_actors",
        "panther_cluster",
        "panther_detections",
        "pantherd",
    ];
    let crates = crates.map(|name| (name, LevelFilter::DEBUG));
    Targets::new().with_targets(crates)
}

/// Starts logs and traces of the whole process. `node` is not known yet: [`name_node`] says it.
pub(crate) fn start(configuration: &Configuration) {
    // The level was checked when the configuration was read.
    let filter = || filter(&configuration.log.level).unwrap_or_else(|_| EnvFilter::new("info"));
    let lines = fmt::layer()
        .with_writer(io::stderr)
        .with_ansi(io::stderr().is_terminal());
    let lines = match configuration.log.format {
        LogFormat::Json => {
            let format = JsonLines(fmt::format().json().flatten_event(true));
            lines.json().event_format(format).boxed()
        }
        LogFormat::Text => {
            let fields = debug_fn(one_line).delimited(" ");
            lines.with_timer(TimeAndNode).fmt_fields(fields).boxed()
        }
    };
    let repeats = Repeats::default();
    let exporter = configuration
        .traces
        .otlp_endpoint
        .as_deref()
        .map(|endpoint| {
            otlp::Exporter::start(
                endpoint,
                configuration.traces.sampled_percent,
                &configuration.node.name,
            )
        });
    let (exporter, failure) = match exporter.transpose() {
        Ok(exporter) => (exporter, None),
        Err(failure) => (None, Some(failure)),
    };
    let spans = match &exporter {
        Some(_) => SpanContexts.with_filter(exported()).boxed(),
        None => SpanContexts.with_filter(filter()).boxed(),
    };
    let started = Registry::default()
        .with(spans)
        .with(exporter.map(|exporter| exporter.with_filter(exported())))
        .with(lines.with_filter(filter().and(repeats.clone())))
        .try_init();
    repeats.count_from_now_on();
    if let Err(error) = started {
        tracing::debug!(%error, "logging was started before");
    }
    if let Some(error) = failure {
        tracing::error!(%error, "traces are not exported");
    }
}

#[cfg(test)]
mod tests {
    use std::sync::{Arc, Mutex};

    use super::*;

    /// What is logged, as one text.
    #[derive(Clone, Default)]
    struct Lines(Arc<Mutex<Vec<u8>>>);

    impl io::Write for Lines {
        fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
            self.0.lock().unwrap().extend_from_slice(bytes);
            Ok(bytes.len())
        }

        fn flush(&mut self) -> io::Result<()> {
            Ok(())
        }
    }

    #[test]
    fn a_text_of_others_stays_on_its_line_and_gives_no_orders() {
        let lines = Lines::default();
        let written = lines.clone();
        let layer = fmt::layer()
            .with_writer(move || written.clone())
            .with_ansi(false)
            .fmt_fields(debug_fn(one_line).delimited(" "));
        let evil = "a\n2026-01-01T00:00:00Z  INFO all is well \u{1b}[2J \u{9b}31m \u{202e} ü";
        tracing::subscriber::with_default(Registry::default().with(layer), || {
            tracing::warn!(file = %evil, quoted = evil, count = 3, "it said {evil}");
        });
        let text = String::from_utf8(lines.0.lock().unwrap().clone()).unwrap();
        assert_eq!(text.lines().count(), 1, "{text}");
        assert!(!text.contains(['\u{1b}', '\u{9b}', '\u{202e}']), "{text:?}");
        assert!(text.contains("it said a\\u{a}2026"), "{text}");
        assert!(
            text.contains("ü file=a\\u{a}") && text.contains(" count=3"),
            "{text}"
        );
    }
}
