//! Where the time of an event goes before Python has any part in it.

use std::time::Instant;

/// Time by stage, in nanoseconds, of those events of which it was taken.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub struct Stages {
    /// Events of which it was taken.
    pub events: u64,
    /// Reading their JSON.
    pub reading: u64,
    /// Choosing the rules that have to look at them: what is remembered of events like them.
    pub choosing: u64,
    /// Those rules, and the texts of their matches.
    pub rules: u64,
}

impl Stages {
    pub(super) fn add(&mut self, more: &Self) {
        self.events += more.events;
        self.reading = self.reading.saturating_add(more.reading);
        self.choosing = self.choosing.saturating_add(more.choosing);
        self.rules = self.rules.saturating_add(more.rules);
    }
}

/// Goes along with one event; it costs nothing where no time is taken.
pub(crate) struct Clock {
    since: Option<Instant>,
}

impl Clock {
    /// Begins with an event of which the time is taken, or is not.
    pub(crate) fn begin(timed: bool, stages: &mut Stages) -> Self {
        stages.events += u64::from(timed);
        Self {
            since: timed.then(Instant::now),
        }
    }

    /// A stage has ended, and the next one begins.
    pub(crate) fn ended(&mut self, stage: &mut u64) {
        if let Some(since) = &mut self.since {
            let now = Instant::now();
            let nanos = u64::try_from((now - *since).as_nanos()).unwrap_or(u64::MAX);
            *stage = stage.saturating_add(nanos);
            *since = now;
        }
    }
}
