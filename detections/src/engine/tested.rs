//! Unit tests of one detection: in Rust from the first on, in Python from the first one on that Rust does not evaluate. And tests both ways, to find
//! where the two part.

use std::collections::BTreeMap;
use std::sync::Arc;

use futures::TryStreamExt;
use futures::future::try_join;
use futures::stream::FuturesOrdered;
use tokio::sync::{Semaphore, mpsc};

use super::evaluation::Difference;
use super::pool::Pool;
use super::running::Running;
use super::settings::EngineFault;
use super::worker::{Ended, Store};
use super::{shadow, strikes};
use crate::key_value::EmptyView;
use crate::native::{InRust, TestEvent};
use crate::pack::Test;
use crate::verdict::Tested;

/// Tests under way in Rust at once, at most: each may take much memory.
const MOST_AT_ONCE: usize = 4;

/// Tests under way in Rust at once: as many as there are processors. Some go through everything that AWS can do, and take a thousand times as long as most:
/// more of them at once would all end late.
fn turns() -> Semaphore {
    let processors = std::thread::available_parallelism().map_or(1, usize::from);
    Semaphore::new(processors.min(MOST_AT_ONCE))
}

/// Runs tests of detections: what of them is for Rust side by side, what is for Python one after the other, since modules outlive a test and are shared: in the
/// order of those that Rust never evaluates, then of the others.
pub(super) async fn run(
    engine: &Running,
    detections: &[(u32, &[Test])],
    now: f64,
) -> Result<Vec<Vec<Tested>>, EngineFault> {
    // What is for Python from the beginning on goes first, as Rust is still at work on the others.
    let mut order: Vec<usize> = (0..detections.len()).collect();
    order.sort_by_cached_key(|place| engine.is_native(detections[*place].0));
    // Room for all: what is done in Rust waits for no Python.
    let (begun, mut begun_before) = mpsc::channel(detections.len().max(1));
    let turns = turns();
    let in_rust = order.iter().map(|place| {
        let (detection, tests) = detections[*place];
        in_rust(engine, detection, tests, Each::BehindOthers, &turns)
    });
    // All of them, since the first may be the one that takes long.
    let mut in_rust = in_rust.collect::<FuturesOrdered<_>>();
    let ahead = async {
        let begun = begun;
        while let Some(said) = in_rust.try_next().await? {
            if begun.send(said).await.is_err() {
                break;
            }
        }
        Ok(())
    };
    let behind = async {
        let mut all = vec![Vec::new(); detections.len()];
        for place in &order {
            let (detection, tests) = detections[*place];
            let Some(said) = begun_before.recv().await else {
                break;
            };
            let mut results: Vec<Option<Tested>> = vec![None; tests.len()];
            for (result, said) in results.iter_mut().zip(said) {
                *result = said.map(|said| said.tested);
            }
            let results = in_python(engine, &engine.pool, detection, tests, now, results);
            all[*place] = results.await?;
        }
        Ok(all)
    };
    let ((), all) = try_join(ahead, behind).await?;
    Ok(all)
}

/// Runs tests both ways, each by itself in Rust, and gives how many were evaluated in both and where they do not agree. If they do not, the detection is
/// left to Python from then on.
pub(super) async fn both_ways(
    engine: &Running,
    detection: u32,
    tests: &[Test],
    now: f64,
) -> Result<(u64, Vec<Difference>), EngineFault> {
    let ours = in_rust(engine, detection, tests, Each::ByItself, &turns()).await?;
    let (mut compared, mut differences) = (0, Vec::new());
    if ours.iter().all(Option::is_none) {
        return Ok((compared, differences));
    }
    let aside = engine.pool.aside();
    let theirs = in_python(
        engine,
        &aside,
        detection,
        tests,
        now,
        vec![None; tests.len()],
    )
    .await?;
    for (event, (ours, theirs)) in ours.iter().zip(&theirs).enumerate() {
        let Some(ours) = ours else {
            continue;
        };
        compared += 1;
        if agree(ours, theirs) {
            continue;
        }
        if let Some(native) = &engine.selection.native {
            native.demote(detection);
        }
        differences.push(Difference {
            event,
            detection: detection as usize,
            native: shadow::cut(&format!("{:?}", ours.tested)),
            python: shadow::cut(&format!("{theirs:?}")),
        });
    }
    Ok((compared, differences))
}

fn agree(ours: &InRust, theirs: &Tested) -> bool {
    match &theirs.error {
        Some(error) => shadow::is_of_the_worker(error),
        None if ours.loose => {
            let failed = theirs.functions.values().any(|of| of.error.is_some());
            ours.tested.output == theirs.output && !failed
        }
        None => ours.tested == *theirs,
    }
}

/// How tests stand to each other.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Each {
    /// What one leaves behind the next one sees: from the first one on that is for Python, all are.
    BehindOthers,
    ByItself,
}

/// What Rust says of tests; `None` of one that is for Python.
async fn in_rust(
    engine: &Running,
    detection: u32,
    tests: &[Test],
    each: Each,
    turns: &Semaphore,
) -> Result<Vec<Option<InRust>>, EngineFault> {
    if !engine.is_native(detection) || engine.selection.broken.contains_key(&detection) {
        return Ok(Vec::new());
    }
    let one = |test: &Test| {
        let (selection, event) = (Arc::clone(&engine.selection), event(test));
        async move {
            let Some(event) = event else {
                return Ok(None);
            };
            let _turn = turns.acquire().await.map_err(|_| EngineFault::Stopped)?;
            let tested = tokio::task::spawn_blocking(move || {
                let native = selection.native.as_ref();
                native.and_then(|native| native.tested(detection, &event))
            });
            tested.await.map_err(|error| EngineFault::Native {
                reason: error.to_string(),
            })
        }
    };
    // Nothing of one hangs on another.
    let mut tested: FuturesOrdered<_> = tests.iter().map(one).collect();
    let mut said = Vec::with_capacity(tests.len());
    while let Some(one) = tested.try_next().await? {
        if one.is_none() && each == Each::BehindOthers {
            break;
        }
        said.push(one);
    }
    Ok(said)
}

/// A test's event as Rust takes it; none of a test with mocks, which take the place of names in Python.
fn event(test: &Test) -> Option<TestEvent> {
    let log_type = test.input["p_log_type"].as_str();
    test.mocks.is_empty().then(|| TestEvent {
        name: test.name.clone(),
        log_type: log_type.unwrap_or_default().to_owned(),
        json: test.input.to_string(),
    })
}

/// Runs the tests of which there is no result yet.
async fn in_python(
    engine: &Running,
    pool: &Pool,
    detection: u32,
    tests: &[Test],
    now: f64,
    mut results: Vec<Option<Tested>>,
) -> Result<Vec<Tested>, EngineFault> {
    let mut unexplained = false;
    loop {
        let open: Vec<usize> = (0..tests.len())
            .filter(|place| results[*place].is_none())
            .collect();
        let batch: Vec<&Test> = open.iter().map(|place| &tests[*place]).collect();
        if batch.is_empty() {
            break;
        }
        let mut lease = pool.lease().await?;
        let mut store = Store::new(&EmptyView, engine.settings.rule_time);
        let tested = lease.worker().tests(detection, &batch, now, &mut store);
        match tested.await {
            Ok((tested, afterwards)) => {
                lease.leave(afterwards);
                for (place, tested) in open.into_iter().zip(tested) {
                    results[place] = Some(tested);
                }
                break;
            }
            // One that was at rest may have ended before; the next one's end is the doing of the detection.
            Err(Ended::Lost(loss)) => match loss.at {
                None if !unexplained => unexplained = true,
                at => {
                    let at = at.and_then(|at| open.get(at as usize));
                    let Some(place) = at.or(open.first()) else {
                        break;
                    };
                    let error = strikes::loss_error(&loss, engine.settings.rule_time);
                    results[*place] = Some(Tested {
                        name: tests[*place].name.clone(),
                        output: None,
                        error: Some(error),
                        functions: BTreeMap::new(),
                        printed: String::new(),
                    });
                }
            },
            Err(Ended::Cut | Ended::Spoilt { .. }) => {}
            Err(Ended::Fault(fault)) => return Err(fault),
        }
    }
    Ok(results.into_iter().flatten().collect())
}
