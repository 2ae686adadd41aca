//! Small packs, written down in the tests that use them.

use std::fmt::Write as _;
use std::sync::Arc;
use std::time::{Duration, SystemTime};

use panther_detections::engine::{Engine, EngineSettings, Evaluation, EventInput};
use panther_detections::key_value::EmptyView;
use panther_detections::pack::Pack;
use panther_detections::verdict::{Outcome, Outputs, RuleError};

/// A rule that takes each event, to see that a neighbour is unharmed.
pub(crate) const NEIGHBOUR: &str = "def rule(event):\n    return event.get('n') is not None\n";

/// So many events, which differ in their number.
pub(crate) fn numbered(count: usize) -> Vec<String> {
    (0..count).map(|n| format!("{{\"n\":{n}}}")).collect()
}

/// A pack under construction.
#[derive(Default)]
pub(crate) struct Files(Vec<(String, String)>);

impl Files {
    pub(crate) fn file(mut self, path: &str, text: &str) -> Self {
        self.0.push((path.to_owned(), text.to_owned()));
        self
    }

    /// A rule for log type `T`.
    pub(crate) fn rule(self, id: &str, python: &str) -> Self {
        self.rule_with(id, "", python)
    }

    /// A rule for log type `T` with more YAML.
    pub(crate) fn rule_with(self, id: &str, yaml: &str, python: &str) -> Self {
        let metadata = format!(
            "AnalysisType: rule\nRuleID: {id}\nFilename: {id}.py\nLogTypes: [T]\nSeverity: Medium\n{yaml}"
        );
        self.file(&format!("{id}.yml"), &metadata)
            .file(&format!("{id}.py"), python)
    }

    pub(crate) fn pack(&self) -> Pack {
        let folder = tempfile::tempdir().unwrap();
        for (path, text) in &self.0 {
            std::fs::write(folder.path().join(path), text).unwrap();
        }
        Pack::read(folder.path()).unwrap_or_else(|problems| {
            let mut all = String::new();
            for problem in problems {
                let _ = writeln!(all, "{problem}");
            }
            panic!("{all}");
        })
    }

    pub(crate) async fn engine(&self) -> Running {
        self.engine_with(|_| {}).await
    }

    pub(crate) async fn engine_with(&self, change: impl FnOnce(&mut EngineSettings)) -> Running {
        let pack = self.pack();
        let mut settings = settings();
        change(&mut settings);
        let engine = Engine::start(settings, &pack).await.unwrap();
        Running {
            engine: Arc::new(engine),
            pack,
        }
    }
}

pub(crate) fn settings() -> EngineSettings {
    EngineSettings {
        workers: 1,
        rule_time: Duration::from_millis(400),
        ..EngineSettings::default()
    }
}

/// An engine and its pack.
pub(crate) struct Running {
    pub(crate) engine: Arc<Engine>,
    pub(crate) pack: Pack,
}

impl Running {
    /// Detections that were left to Python, by their places: why, and how often.
    pub(crate) fn left_to_python(&self) -> Vec<(usize, String, u64)> {
        let of = |cost: panther_detections::engine::Cost| {
            let left = cost.left_to_python.into_iter();
            left.map(move |(why, count)| (cost.detection, why, count))
        };
        self.engine.costs().into_iter().flat_map(of).collect()
    }

    pub(crate) async fn evaluate(&self, events: &[&str]) -> Evaluation {
        let events: Vec<EventInput> = events.iter().map(|json| event(json)).collect();
        self.engine
            .evaluate(&events, now(), &EmptyView)
            .await
            .unwrap()
    }

    pub(crate) fn index(&self, id: &str) -> usize {
        self.pack
            .detections
            .iter()
            .position(|detection| detection.id == id)
            .unwrap()
    }

    /// Events that a rule matched.
    pub(crate) fn matched(&self, evaluation: &Evaluation, id: &str) -> Vec<usize> {
        self.outputs(evaluation, id)
            .into_iter()
            .map(|(event, _)| event)
            .collect()
    }

    pub(crate) fn outputs(&self, evaluation: &Evaluation, id: &str) -> Vec<(usize, Outputs)> {
        let index = self.index(id);
        let of_rule = evaluation
            .verdicts
            .iter()
            .filter(|verdict| verdict.detection == index);
        of_rule
            .filter_map(|verdict| match &verdict.outcome {
                Outcome::Matched(outputs) => Some((verdict.event, (**outputs).clone())),
                Outcome::Failed(_) => None,
            })
            .collect()
    }

    pub(crate) fn errors(&self, evaluation: &Evaluation, id: &str) -> Vec<(usize, RuleError)> {
        let index = self.index(id);
        let of_rule = evaluation
            .verdicts
            .iter()
            .filter(|verdict| verdict.detection == index);
        of_rule
            .filter_map(|verdict| match &verdict.outcome {
                Outcome::Failed(error) => Some((verdict.event, (**error).clone())),
                Outcome::Matched(_) => None,
            })
            .collect()
    }
}

pub(crate) fn event(json: &str) -> EventInput {
    EventInput {
        log_type: "T".to_owned(),
        json: json.to_owned().into(),
    }
}

/// 2024-01-01T00:00:00Z.
pub(crate) fn now() -> SystemTime {
    SystemTime::UNIX_EPOCH + Duration::from_secs(1_704_067_200)
}
