//! What a pack must show before it becomes live: every item loads, and every unit test passes, in the Python that it will run in.

use std::time::SystemTime;

use panther_detections::engine::{Engine, EngineFault, EngineSettings};
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
        profile_one_in: 0,
        ..settings.clone()
    };
    let now = SystemTime::now();
    let proved = testing::run(pack, settings.clone(), &Options::default(), now, None).await;
    let report = match proved {
        Ok(report) => report,
        Err(fault) => {
            return Ok(Proof {
                failures: vec![refusal(fault, &settings).await?],
                ..Proof::default()
            });
        }
    };
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

/// What is wrong with a pack that could not be loaded as a whole, if it is the pack that is at fault.
///
/// # Errors
/// The fault, if it is the node's.
pub async fn refusal(
    fault: EngineFault,
    settings: &EngineSettings,
) -> Result<Problem, EngineFault> {
    let at_fault = match &fault {
        EngineFault::Refused { .. } => true,
        // A Python that starts with nothing to load, and does not start with this.
        EngineFault::Start { .. } => starts_empty(settings).await,
        _ => false,
    };
    if !at_fault {
        return Err(fault);
    }
    Ok(Problem {
        file: "the pack".to_owned(),
        key: None,
        reason: format!("does not load: {fault}"),
    })
}

async fn starts_empty(settings: &EngineSettings) -> bool {
    match Engine::start(settings.clone(), &Pack::default()).await {
        Ok(engine) => {
            engine.stop().await;
            true
        }
        Err(_) => false,
    }
}
