//! The interpreters of a run: how they are to be, and those that were started before the pack was read.

use futures::future::join_all;

use super::TEST_TIME;
use crate::engine::{EngineFault, EngineSettings, Interpreter};

/// The interpreters of a run. Those that it does not need end when it begins.
#[derive(Debug)]
pub struct Interpreters {
    settings: EngineSettings,
    started: Vec<Interpreter>,
    /// How many there may be, at least 1.
    pub(super) most: usize,
}

impl From<EngineSettings> for Interpreters {
    /// They are started when they are needed.
    fn from(settings: EngineSettings) -> Self {
        Self {
            most: settings.workers.max(1),
            settings: EngineSettings {
                load_disabled: true,
                rule_time: settings.rule_time.max(TEST_TIME),
                workers: 1,
                ..settings
            },
            started: Vec::new(),
        }
    }
}

impl Interpreters {
    /// Starts so many of them at once, while the pack is still to be read. What cannot be started now is started, and fails, when it is needed.
    pub async fn ahead(settings: EngineSettings, count: usize) -> Self {
        let mut ahead = Self::from(settings);
        let started =
            (0..count.min(ahead.most)).map(|_| Interpreter::start(ahead.settings.clone()));
        let started = join_all(started).await.into_iter();
        ahead.started = started.filter_map(Result::ok).collect();
        ahead
    }

    /// The next one: one that was started before, if there is one left.
    pub(super) fn next(
        &mut self,
    ) -> impl Future<Output = Result<Interpreter, EngineFault>> + use<> {
        let (started, settings) = (self.started.pop(), self.settings.clone());
        async move {
            match started {
                Some(started) => Ok(started),
                None => Interpreter::start(settings).await,
            }
        }
    }
}
