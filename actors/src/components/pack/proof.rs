//! What a pack must show before it becomes live: every item loads, and every unit test passes, in the Python that it will run in.

use std::time::SystemTime;

use panther_detections::engine::{EngineFault, EngineSettings};
use panther_detections::pack::{Pack, Problem};
use panther_detections::testing::{self, Options, Summary};
use serde::Serialize;

/// What came of loading and testing a pack.
#[derive(Debug, Clone, Default, PartialEq, Serialize)]
pub struct Proof {
    /// Counts of detections and tests.
    pub summary: Summary,
    /// What does not load, and tests that fail. Empty: the pack may become live.
    pub failures: Vec<Problem>,
}

/// Loads all of a pack and runs its unit tests.
///
/// # Errors
/// Python does not run.
pub async fn prove(pack: &Pack, settings: &EngineSettings) -> Result<Proof, EngineFault> {
    let settings = EngineSettings {
        guards: false,
        profile_one_in: 0,
        ..settings.clone()
    };
    let now = SystemTime::now();
    let report = testing::run(pack, settings, &Options::default(), now, None).await?;
    let failures = report.failures().into_iter().map(|failed| Problem {
        file: failed.file,
        key: Some(failed.id),
        reason: failed.reason,
    });
    Ok(Proof {
        summary: report.summary(),
        failures: failures.collect(),
    })
}
