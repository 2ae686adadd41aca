//! One evaluation: events cut into chunks, each chunk run to its end whatever its rules do to the workers.

use super::evaluation::{Evaluation, EventInput, Statistics};
use super::in_python::{in_python, learn};
use super::plan::Planned;
use super::running::Running;
use super::settings::EngineFault;
use super::strikes::Strikes;
use super::worker::{Job, Store};
use super::{shadow, stored};
use crate::key_value::KeyValueView;

pub(super) async fn evaluate(
    engine: &Running,
    events: &[EventInput],
    now: f64,
    view: &dyn KeyValueView,
) -> Result<Evaluation, EngineFault> {
    let strikes = Strikes::new(engine.settings.strikes);
    let mut evaluation = Evaluation::default();
    // One chunk after the other over one store: a rule sees what it wrote for earlier events of the call. Several calls
    // run side by side, so the workers are busy all the same.
    let mut store = Store::new(view, engine.settings.rule_time);
    for range in chunks_of(engine, events) {
        evaluation.append(chunk(engine, events, range, now, &mut store, &strikes).await?);
    }
    evaluation
        .verdicts
        .sort_by_key(|verdict| (verdict.event, verdict.detection));
    evaluation.effects.sort_by_key(|effects| effects.event);
    evaluation.suspended = strikes
        .out()
        .into_iter()
        .map(|rule| rule as usize)
        .collect();
    Ok(evaluation)
}

/// Ranges of events, each within the bounds of a batch.
fn chunks_of(engine: &Running, events: &[EventInput]) -> Vec<std::ops::Range<usize>> {
    let (most_events, most_bytes) = (engine.settings.batch_events, engine.settings.batch_bytes);
    let mut ranges = Vec::new();
    let (mut start, mut bytes) = (0, 0);
    for (place, event) in events.iter().enumerate() {
        if place > start && (place - start >= most_events || bytes + event.json.len() > most_bytes)
        {
            ranges.push(start..place);
            (start, bytes) = (place, 0);
        }
        bytes += event.json.len();
    }
    if start < events.len() {
        ranges.push(start..events.len());
    }
    ranges
}

async fn chunk(
    engine: &Running,
    events: &[EventInput],
    range: std::ops::Range<usize>,
    now: f64,
    store: &mut Store<'_>,
    strikes: &Strikes,
) -> Result<Evaluation, EngineFault> {
    let Planned {
        mut evaluation,
        mut jobs,
        storing,
        guess,
        shadows,
        raising,
    } = planned(engine, &events[range.clone()], range.start, now).await?;
    if !storing.is_empty() {
        if engine.selection.share_rows(&jobs) {
            join(&mut jobs, storing, &mut evaluation.statistics);
        } else {
            let part = stored::evaluate(engine, &engine.pool, &storing, guess, now, store, strikes);
            evaluation.append(part.await?.evaluation);
        }
    }
    let in_python = in_python(engine, &engine.pool, jobs, now, store, strikes).await?;
    if let Some(native) = &engine.selection.native {
        learn(native, raising, &in_python);
    }
    evaluation.append(in_python);
    if let Some(native) = &engine.selection.native {
        shadow::compare(native, &shadows, &mut evaluation);
    }
    Ok(evaluation)
}

/// Decides what can be decided here, on a thread that may be busy for a while, and gives the pairs that Python has to look at.
async fn planned(
    engine: &Running,
    events: &[EventInput],
    first: usize,
    now: f64,
) -> Result<Planned, EngineFault> {
    engine.pool.open()?;
    let selection = std::sync::Arc::clone(&engine.selection);
    let events = events.to_vec();
    tokio::task::spawn_blocking(move || selection.plan(&events, first, now))
        .await
        .map_err(|error| EngineFault::Native {
            reason: error.to_string(),
        })
}

/// Gives pairs that were to be evaluated without Python to Python.
fn join(jobs: &mut Vec<Job>, storing: Vec<Job>, statistics: &mut Statistics) {
    for mut job in storing {
        statistics.pairs_called += job.rules.len() as u64;
        match jobs.binary_search_by_key(&job.event, |job| job.event) {
            Ok(place) => {
                jobs[place].rules.append(&mut job.rules);
                jobs[place].rules.sort_unstable();
            }
            Err(place) => {
                statistics.events_called += 1;
                jobs.insert(place, job);
            }
        }
    }
}
