//! Runs the unit tests that a pack brings with it, with the habits of the field's own test tool.
//!
//! A test passes if `rule()` or `policy()` gave what it expects and, where it expects True, no other function failed. All tests of a detection run in
//! the order of its file in one process, since a module's globals outlive an event.

mod changed;
mod filter;
mod interpreters;
mod kept;
mod report;
mod trial;

use std::collections::{BTreeMap, BTreeSet};
use std::time::{Duration, SystemTime};

pub use changed::Changes;
pub use filter::{Filter, FilterError};
pub use interpreters::Interpreters;
pub use kept::Kept;
pub use report::{Detail, DetectionReport, Failed, Report, Shown, Summary, TestReport};
pub use trial::{Differing, Trial, trial, trials};

use crate::engine::{Engine, EngineFault, Interpreter};
use crate::pack::{Detection, Pack, Test};
use crate::verdict::{RuleError, Tested};

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

/// Detections that one interpreter should have to load at least, before it is worth starting another beside it.
const WORTH_A_PART: usize = 40;

/// Runs the tests. The detections are dealt out to the interpreters, each of which loads and tests its share alone; the
/// report is in the order of their ids. What `kept` knows to have passed is not run again, and it learns what passes now.
///
/// `now` is what the detections take for the present.
///
/// # Errors
/// Faults of the node, such as a missing Python. Whatever a detection does is in the report.
pub async fn run(
    pack: &Pack,
    interpreters: impl Into<Interpreters>,
    options: &Options,
    now: SystemTime,
    kept: Option<&mut Kept>,
) -> Result<Report, EngineFault> {
    let mut interpreters = interpreters.into();
    let mut known = BTreeMap::new();
    let mut open = Vec::new();
    let chosen = pack.detections.iter().enumerate();
    for (index, detection) in chosen.filter(|(_, detection)| options.takes(detection)) {
        match kept.as_ref().and_then(|kept| kept.of(detection)) {
            Some(report) => {
                let lacking = lacking(detection, options.minimum_tests);
                known.insert(
                    index,
                    DetectionReport {
                        lacking,
                        ..report.clone()
                    },
                );
            }
            None => open.push(index),
        }
    }
    let unchanged = known.len();
    let parts = (open.len() / WORTH_A_PART).clamp(1, interpreters.most);
    // Neighbours stay together: they import the same.
    let parts = open.chunks(open.len().div_ceil(parts).max(1));
    let parts = parts.map(|part| part.iter().copied().collect());
    let tested: Vec<_> = parts
        .map(|part: BTreeSet<usize>| share(pack, interpreters.next(), part, options, now))
        .collect();
    drop(interpreters);
    let mut broken_helpers = Vec::new();
    for (reports, broken) in futures::future::try_join_all(tested).await? {
        known.extend(reports);
        // All of them have loaded the same helpers.
        broken_helpers = broken;
    }
    let report = Report {
        detections: known.into_values().collect(),
        unchanged,
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
    };
    if let Some(kept) = kept {
        kept.take(pack, &report);
    }
    Ok(report)
}

/// What came of a share of the detections, by their index, and what helpers did not load.
type Share = (Vec<(usize, DetectionReport)>, Vec<(String, RuleError)>);

/// Loads and tests some detections in an interpreter of their own.
async fn share(
    pack: &Pack,
    interpreter: impl Future<Output = Result<Interpreter, EngineFault>>,
    part: BTreeSet<usize>,
    options: &Options,
    now: SystemTime,
) -> Result<Share, EngineFault> {
    let interpreter = interpreter.await?;
    let engine = Engine::start_in(interpreter, pack, |index, _| part.contains(&index)).await?;
    let chosen = part.iter();
    let chosen = chosen.filter_map(|index| Some((*index, pack.detections.get(*index)?)));
    let chosen: Vec<(usize, &Detection)> = chosen.collect();
    let tests: Vec<(usize, &[Test])> = chosen
        .iter()
        .map(|(index, detection)| (*index, detection.tests.as_slice()))
        .collect();
    let tested = engine.test(&tests, now).await?;
    let reports = chosen.into_iter().zip(tested);
    let reports = reports
        .map(|((index, detection), tested)| {
            (index, one(&engine, index, detection, options, tested))
        })
        .collect();
    let load = engine.load_report();
    let globals = load.failed_globals.iter();
    let globals = globals.map(|(id, error)| (format!("global {id}"), error.clone()));
    let models = load.failed_data_models.iter();
    let models = models.map(|(id, error)| (format!("data model {id}"), error.clone()));
    let broken = globals.chain(models).collect();
    engine.stop().await;
    Ok((reports, broken))
}

impl Options {
    fn takes(&self, detection: &Detection) -> bool {
        (detection.enabled || !self.skip_disabled)
            && self.filters.iter().all(|filter| filter.takes(detection))
    }
}

/// What came of a detection.
fn one(
    engine: &Engine,
    index: usize,
    detection: &Detection,
    options: &Options,
    tested: Vec<Tested>,
) -> DetectionReport {
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
    DetectionReport {
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
    }
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
