//! Runs the unit tests that a pack brings with it, with the habits of the field's own test tool.
//!
//! A test passes if `rule()` or `policy()` gave what it expects and, where it expects True, no other function failed. All tests of a detection run in
//! the order of its file in one process, since a module's globals outlive an event.

mod filter;
mod report;

use std::time::{Duration, SystemTime};

use futures::{StreamExt, TryStreamExt};

pub use filter::{Filter, FilterError};
pub use report::{DetectionReport, Report, Summary, TestReport};

use crate::engine::{Engine, EngineFault, EngineSettings, Tested};
use crate::pack::{Detection, Pack};

/// The least time that a function has under test: a test that is only slow, on a busy machine, has not
/// failed.
const TEST_TIME: Duration = Duration::from_secs(10);

/// Which tests are run and what is asked of them.
#[derive(Debug, Clone, Default)]
pub struct Options {
    /// The detections whose tests are run: those that pass every filter.
    pub filters: Vec<Filter>,
    /// Tests that each detection must have. From 2 on, one that expects True and one that expects False must be among them.
    pub minimum_tests: usize,
    /// Leave out disabled detections.
    pub skip_disabled: bool,
}

/// Runs the tests. Detections are tested side by side on all workers; the report is in the order of their ids.
///
/// `now` is what the detections take for the present.
///
/// # Errors
/// Faults of the node, such as a missing Python. Whatever a detection does is in the report.
pub async fn run(
    pack: &Pack,
    settings: EngineSettings,
    options: &Options,
    now: SystemTime,
) -> Result<Report, EngineFault> {
    let settings = EngineSettings {
        load_disabled: true,
        rule_time: settings.rule_time.max(TEST_TIME),
        ..settings
    };
    let workers = settings.workers.max(1);
    let engine = Engine::start(settings, pack).await?;
    let chosen = pack
        .detections
        .iter()
        .enumerate()
        .filter(|(_, detection)| options.takes(detection));
    let outcome: Result<Vec<DetectionReport>, EngineFault> = futures::stream::iter(chosen)
        .map(|(index, detection)| one(&engine, index, detection, options, now))
        .buffered(workers)
        .try_collect()
        .await;
    let load = engine.load_report();
    let broken_helpers = load
        .failed_globals
        .iter()
        .map(|(id, error)| (format!("global {id}"), error.clone()))
        .chain(
            load.failed_data_models
                .iter()
                .map(|(id, error)| (format!("data model {id}"), error.clone())),
        )
        .collect();
    engine.stop().await;
    Ok(Report {
        detections: outcome?,
        broken_helpers,
        left_out: pack
            .detections
            .iter()
            .filter(|detection| !options.takes(detection))
            .count(),
        unevaluated: pack
            .unevaluated
            .iter()
            .map(|item| (format!("{} {}", item.kind, item.id), item.reason.clone()))
            .collect(),
    })
}

impl Options {
    fn takes(&self, detection: &Detection) -> bool {
        (detection.enabled || !self.skip_disabled)
            && self.filters.iter().all(|filter| filter.takes(detection))
    }
}

async fn one(
    engine: &Engine,
    index: usize,
    detection: &Detection,
    options: &Options,
    now: SystemTime,
) -> Result<DetectionReport, EngineFault> {
    let tested = if detection.tests.is_empty() {
        Vec::new()
    } else {
        engine.test(index, &detection.tests, now).await?
    };
    let load_error = engine
        .load_report()
        .detections
        .iter()
        .find(|loaded| loaded.index == index)
        .and_then(|loaded| loaded.error.clone());
    let tests = detection
        .tests
        .iter()
        .zip(tested)
        .map(|(test, tested)| judge(test.expected, tested))
        .collect();
    Ok(DetectionReport {
        id: detection.id.clone(),
        kind: detection.kind,
        file: detection.file.clone(),
        load_error,
        lacking: lacking(detection, options.minimum_tests),
        tests,
        remarks: detection
            .unevaluated
            .iter()
            .chain(&detection.limitations)
            .cloned()
            .collect(),
    })
}

fn judge(expected: bool, tested: Tested) -> TestReport {
    let as_expected = tested.error.is_none() && tested.output == Some(expected);
    let failing: Vec<String> = tested
        .functions
        .iter()
        .filter(|(_, function)| function.error.is_some())
        .map(|(name, _)| name.clone())
        .collect();
    TestReport {
        passed: as_expected && (!expected || failing.is_empty()),
        expected,
        failing_functions: if expected { failing } else { Vec::new() },
        tested,
    }
}

/// What a detection's tests lack to be enough.
fn lacking(detection: &Detection, minimum: usize) -> Option<String> {
    let count = detection.tests.len();
    if count < minimum {
        return Some(format!("{count} tests; at least {minimum} are required"));
    }
    let has = |expected| detection.tests.iter().any(|test| test.expected == expected);
    match (minimum > 1, has(true), has(false)) {
        (true, false, _) => Some("no test expects True".to_owned()),
        (true, _, false) => Some("no test expects False".to_owned()),
        _ => None,
    }
}
