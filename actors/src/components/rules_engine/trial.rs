//! The live pack on trial, in the background of every node: whether Rust and Python say the same of each rule, over the events of its unit tests and many
//! that are made of them. Real events are looked at both ways only once in a thousand; what a pack newly brings is not to wait for that.
//!
//! It takes one core for half of the time until it is through. What has passed on this node is kept, so a start begins with what is new.

use std::path::PathBuf;
use std::sync::Arc;
use std::time::{Duration, Instant, SystemTime};

use panther_detections::testing::{Kept, trial};

use super::Decisions;
use crate::components::pack::Loaded;
use crate::life::Life;
use crate::worker::Failure;

/// How often it is looked whether another pack is live.
const EVERY: Duration = Duration::from_secs(5);
/// Rules after which it is kept which have passed.
const KEPT_EVERY: usize = 50;

/// How a pack is tried.
#[derive(Debug, Clone)]
pub struct Settings {
    /// Events that are made of each unit test; 0: no pack is tried.
    pub each: usize,
    /// What events are made from. Other nodes are to have another, so that they try others.
    pub seed: u64,
    /// The file that says which rules have passed.
    pub kept: PathBuf,
}

/// Tries whatever pack is live, until the node stops.
pub async fn run(decisions: Decisions, settings: Settings, life: Life) {
    if settings.each == 0 {
        life.over().await;
        return;
    }
    let mut through: Option<Arc<Loaded>> = None;
    let mut ticks = life.clone().ticks(EVERY);
    while ticks.next().await {
        let Some(loaded) = decisions.live.running() else {
            continue;
        };
        if through
            .as_ref()
            .is_some_and(|through| Arc::ptr_eq(through, &loaded))
        {
            continue;
        }
        // A trial takes as long as the pack is large; each of its calls to Python has a deadline.
        let Some(tried) = life.wait(one(&decisions, &settings, &loaded)).await else {
            return;
        };
        match tried {
            Ok(true) => through = Some(loaded),
            // Another pack is live by now.
            Ok(false) => {}
            Err(failure) => tracing::warn!(%failure, "the pack could not be tried; tried again"),
        }
    }
}

/// Tries a pack; false if it is no longer the live one.
async fn one(
    decisions: &Decisions,
    settings: &Settings,
    loaded: &Arc<Loaded>,
) -> Result<bool, Failure> {
    let python = loaded.engine.load_report().python.clone();
    let (pack, path) = (Arc::clone(&loaded.pack), settings.kept.clone());
    let mut kept: Kept<()> = off_thread(move || Kept::read(&path, &pack, &python)).await?;
    let (mut rules, mut events, mut compared, mut left) = (0_usize, 0, 0, 0_usize);
    let begun = Instant::now();
    for (index, detection) in loaded.pack.detections.iter().enumerate() {
        let native = detection.looks_at_events() && loaded.engine.is_native(index);
        if !native || kept.of(detection).is_some() {
            continue;
        }
        let since = Instant::now();
        let tried = trial(
            &loaded.engine,
            index,
            detection,
            settings.each,
            settings.seed,
            SystemTime::now(),
        )
        .await;
        let live = decisions.live.running();
        if !live.is_some_and(|live| Arc::ptr_eq(&live, loaded)) {
            return Ok(false);
        }
        let tried = tried.map_err(|fault| Failure::Node(fault.to_string()))?;
        rules += 1;
        events += tried.events;
        compared += tried.compared;
        match tried.differences.first() {
            Some(found) => {
                left += 1;
                let now_ms = SystemTime::now()
                    .duration_since(SystemTime::UNIX_EPOCH)
                    .unwrap_or_default();
                let now_ms = u64::try_from(now_ms.as_millis()).unwrap_or(u64::MAX);
                decisions
                    .leave_to_python(detection, &found.difference, &found.event, now_ms)
                    .await?;
            }
            None => kept.keep(detection, ()),
        }
        if rules.is_multiple_of(KEPT_EVERY) {
            kept = write(kept, settings).await?;
        }
        // The rest of the time is for events that are real.
        tokio::time::sleep(since.elapsed()).await;
    }
    if rules > 0 {
        write(kept, settings).await?;
        tracing::info!(
            version = loaded.pack.version,
            rules,
            events,
            compared,
            left_to_python = left,
            took_ms = begun.elapsed().as_millis(),
            "rules were tried both ways"
        );
    }
    Ok(true)
}

async fn write(kept: Kept<()>, settings: &Settings) -> Result<Kept<()>, Failure> {
    let path = settings.kept.clone();
    off_thread(move || {
        if let Err(error) = kept.write(&path) {
            // It is tried again at the next start, which costs time and nothing else.
            tracing::warn!(%error, path = %path.display(), "which rules have passed cannot be kept");
        }
        kept
    })
    .await
}

async fn off_thread<T: Send + 'static>(
    work: impl FnOnce() -> T + Send + 'static,
) -> Result<T, Failure> {
    tokio::task::spawn_blocking(work)
        .await
        .map_err(|error| Failure::Node(error.to_string()))
}
