//! Warnings of one kind are shown a few times and then counted: one cause, such as a majority that is gone, must not fill the log and hide other causes.

use std::collections::HashMap;
use std::fmt::Debug;
use std::hash::{DefaultHasher, Hash, Hasher};
use std::sync::{Arc, Mutex, PoisonError};
use std::time::{Duration, Instant};

use tracing::callsite::Identifier;
use tracing::field::{Field, Visit};
use tracing::{Event, Level, Metadata, Subscriber};
use tracing_subscriber::layer::{Context, Filter};

/// Lines of one kind that are shown in one period.
const SHOWN: u32 = 5;
/// After this time the left out lines of a kind are counted in one line, and its next lines are shown again.
const PERIOD: Duration = Duration::from_secs(60);
/// Kinds that are kept apart; more of them in one period are shown without a limit.
const KINDS: usize = 10_000;
/// Where the lines come from that say how many were left out.
const TARGET: &str = "repeats";
/// Fields that make two lines of one place in the code two kinds: they name what the line is about.
const ABOUT: [&str; 7] = [
    "alarm",
    "component",
    "queue",
    "source",
    "output",
    "detection",
    "folder",
];

/// What has been shown of each kind; clones share it.
#[derive(Clone, Default)]
pub(crate) struct Repeats {
    kinds: Arc<Mutex<HashMap<(Identifier, u64), Kind>>>,
}

struct Kind {
    since: Instant,
    shown: u32,
    left_out: u64,
    message: String,
}

/// What of a line tells its kind.
#[derive(Default)]
struct About {
    hash: DefaultHasher,
    message: String,
}

impl Visit for About {
    fn record_debug(&mut self, field: &Field, value: &dyn Debug) {
        if field.name() == "message" {
            self.message = format!("{value:?}");
        } else if ABOUT.contains(&field.name()) {
            (field.name(), format!("{value:?}")).hash(&mut self.hash);
        }
    }
}

/// Left out lines of one kind.
struct LeftOut {
    lines: u64,
    message: String,
}

impl Repeats {
    /// Whether a line is shown now.
    fn shows(&self, event: &Event<'_>, now: Instant) -> bool {
        let mut about = About::default();
        event.record(&mut about);
        let kind = (event.metadata().callsite(), about.hash.finish());
        let mut kinds = self.kinds.lock().unwrap_or_else(PoisonError::into_inner);
        if kinds.len() >= KINDS && !kinds.contains_key(&kind) {
            return true;
        }
        let kind = kinds.entry(kind).or_insert_with(|| Kind {
            since: now,
            shown: 0,
            left_out: 0,
            message: about.message,
        });
        if kind.shown < SHOWN {
            kind.shown += 1;
            return true;
        }
        kind.left_out += 1;
        false
    }

    /// Ends the periods that are over; what was left out in them.
    fn settle(&self, now: Instant) -> Vec<LeftOut> {
        let mut over = Vec::new();
        let mut kinds = self.kinds.lock().unwrap_or_else(PoisonError::into_inner);
        kinds.retain(|_, kind| {
            if now.saturating_duration_since(kind.since) < PERIOD {
                return true;
            }
            if kind.left_out > 0 {
                over.push(LeftOut {
                    lines: kind.left_out,
                    message: std::mem::take(&mut kind.message),
                });
            }
            false
        });
        over
    }

    /// Says at the end of each period how many lines were left out.
    pub(crate) fn count_from_now_on(&self) {
        let repeats = self.clone();
        let counting = move || {
            loop {
                std::thread::sleep(PERIOD / 12);
                repeats.say(Instant::now());
            }
        };
        let started = std::thread::Builder::new()
            .name("repeats".to_owned())
            .spawn(counting);
        if let Err(error) = started {
            tracing::warn!(%error, "left out lines of the log are not counted");
        }
    }

    fn say(&self, now: Instant) {
        for LeftOut { lines, message } in self.settle(now) {
            tracing::warn!(
                target: TARGET,
                left_out = lines,
                of = message,
                "further lines of one kind were left out"
            );
        }
    }
}

impl<S: Subscriber> Filter<S> for Repeats {
    fn enabled(&self, _: &Metadata<'_>, _: &Context<'_, S>) -> bool {
        true
    }

    fn event_enabled(&self, event: &Event<'_>, _: &Context<'_, S>) -> bool {
        let metadata = event.metadata();
        *metadata.level() > Level::WARN
            || metadata.target() == TARGET
            || self.shows(event, Instant::now())
    }
}

#[cfg(test)]
mod tests {
    use std::io::{self, Write};

    use tracing_subscriber::fmt::MakeWriter;
    use tracing_subscriber::layer::{Layer as _, SubscriberExt as _};
    use tracing_subscriber::{Registry, fmt};

    use super::*;

    #[derive(Clone, Default)]
    struct Lines(Arc<Mutex<Vec<u8>>>);

    impl Write for Lines {
        fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
            self.0.lock().unwrap().extend(bytes);
            Ok(bytes.len())
        }

        fn flush(&mut self) -> io::Result<()> {
            Ok(())
        }
    }

    impl MakeWriter<'_> for Lines {
        type Writer = Self;

        fn make_writer(&self) -> Self {
            self.clone()
        }
    }

    #[test]
    fn lines_of_one_kind_are_shown_a_few_times_and_counted_and_others_are_all_shown() {
        let (lines, repeats) = (Lines::default(), Repeats::default());
        let shown = fmt::layer()
            .with_writer(lines.clone())
            .with_ansi(false)
            .with_filter(repeats.clone());
        let subscriber = Registry::default().with(shown);
        tracing::subscriber::with_default(subscriber, || {
            for number in 0..100 {
                tracing::warn!(number, component = "a", "cannot receive");
            }
            for alarm in 0..20 {
                tracing::error!(alarm, "alarm raised");
            }
            for _ in 0..30 {
                tracing::info!("ready");
            }
            repeats.say(Instant::now() + PERIOD);
            tracing::warn!(component = "a", "another kind");
        });
        let text = String::from_utf8(lines.0.lock().unwrap().clone()).unwrap();
        let count = |what: &str| text.lines().filter(|line| line.contains(what)).count();
        assert_eq!(count("component=\"a\""), SHOWN as usize + 1, "{text}");
        assert_eq!(count("left_out=95"), 1, "{text}");
        assert_eq!(count("alarm raised"), 20, "{text}");
        assert_eq!(count("ready"), 30, "{text}");
    }
}
