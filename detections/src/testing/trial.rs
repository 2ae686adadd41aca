//! A pack on trial: each rule that is evaluated in Rust is evaluated in Python too, over the events of its own unit tests and over many that are made
//! of them by small changes. Where the two do not agree, Rust has a mistake, and Python is right.

use std::time::SystemTime;

use bytes::Bytes;
use futures::{StreamExt, TryStreamExt, stream};
use serde_json::Value;

use super::changed::Changes;
use crate::engine::{Difference, Engine, EngineFault, EventInput};
use crate::pack::{Detection, Pack, Test};

/// Bytes of events that are made of one test; a test whose event is large has fewer made of it.
const MOST_BYTES: usize = 16 << 20;

/// What came of the trial of one rule.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Trial {
    /// Events that it was given.
    pub events: u64,
    /// How many of them were evaluated in Rust.
    pub compared: u64,
    /// Where the two do not agree: at most one of each test.
    pub differences: Vec<Differing>,
}

/// An event on which Rust and Python do not agree.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Differing {
    /// What each said.
    pub difference: Difference,
    /// The event.
    pub event: Bytes,
}

/// Puts one detection of an engine's pack on trial, with so many events made of each of its tests. Nothing comes of one that is not evaluated in Rust. What
/// looks at no events (policies, scheduled rules, rules that are not enabled) is evaluated as under test.
///
/// The same `seed` makes the same events. A rule of which the two do not agree is left to Python by the engine from then on.
///
/// # Errors
/// Faults of the node.
pub async fn trial(
    engine: &Engine,
    index: usize,
    detection: &Detection,
    each: usize,
    seed: u64,
    now: SystemTime,
) -> Result<Trial, EngineFault> {
    let mut trial = Trial::default();
    let mut changes = Changes::new(seed, detection.tests.iter().map(|test| &test.input));
    for test in &detection.tests {
        if !engine.is_native(index) {
            break;
        }
        let events = events(&mut changes, &test.input, each);
        let (compared, differences) = if detection.looks_at_events() {
            let Some(log_type) = log_type(detection, &test.input) else {
                break;
            };
            let inputs: Vec<EventInput> =
                events.iter().map(|event| input(log_type, event)).collect();
            let evaluation = engine.both_ways(index, &inputs, now).await?;
            (evaluation.statistics.pairs_called, evaluation.differences)
        } else {
            let tests: Vec<Test> = events.iter().map(|event| test_over(test, event)).collect();
            engine.tests_both_ways(index, &tests, now).await?
        };
        trial.events += events.len() as u64;
        trial.compared += compared;
        let first = differences.into_iter().next();
        trial.differences.extend(first.and_then(|difference| {
            let event = events.get(difference.event)?.to_string().into();
            Some(Differing { difference, event })
        }));
    }
    Ok(trial)
}

/// A test's event, and events that are made of it.
fn events(changes: &mut Changes, of: &Value, each: usize) -> Vec<Value> {
    let mut bytes = 0;
    let made = (0..=each).map(|number| match number {
        0 => of.clone(),
        _ => changes.of(of),
    });
    made.enumerate()
        .take_while(|(number, event)| {
            bytes += event.to_string().len();
            *number == 0 || bytes <= MOST_BYTES
        })
        .map(|(_, event)| event)
        .collect()
}

fn input(log_type: &str, event: &Value) -> EventInput {
    EventInput {
        log_type: log_type.to_owned(),
        json: event.to_string().into(),
    }
}

/// A test like another, over another event.
fn test_over(test: &Test, event: &Value) -> Test {
    Test {
        input: event.clone(),
        ..test.clone()
    }
}

/// Puts all detections of an engine's pack on trial, so many at once, and says of each what came of it.
///
/// # Errors
/// As [`trial`].
pub async fn trials(
    engine: &Engine,
    pack: &Pack,
    each: usize,
    seed: u64,
    at_once: usize,
    now: SystemTime,
    mut told: impl FnMut(&Detection, Trial),
) -> Result<(), EngineFault> {
    let native = pack.detections.iter().enumerate();
    let native = native.filter(|(index, _)| engine.is_native(*index));
    let mut tried = stream::iter(native)
        .map(|(index, detection)| async move {
            let tried = trial(engine, index, detection, each, seed, now).await;
            tried.map(|tried| (detection, tried))
        })
        .buffer_unordered(at_once.max(1));
    while let Some((detection, tried)) = tried.try_next().await? {
        told(detection, tried);
    }
    Ok(())
}

/// The log type that a test's event says it has, if the detection looks at it, or the first that it looks at.
fn log_type<'a>(detection: &'a Detection, event: &Value) -> Option<&'a str> {
    let said = event["p_log_type"].as_str();
    let mut types = detection.log_types.iter();
    types
        .find(|log_type| Some(log_type.as_str()) == said)
        .or(detection.log_types.first())
        .map(String::as_str)
}
