//! Deterministic simulation: three nodes on one thread, reproducible by a seed.
//!
//! The nodes run the substrate as it is shipped: doors, openraft, gRPC with mutual TLS, log, state. Its environment is
//! simulated: the network (turmoil), the disk below the log (what was not synced is lost in a power cut), the clocks,
//! and randomness. So a run of half a minute takes about a second, makes some dozens of faults, and is repeated exactly
//! by its seed.
//!
//! * [`entropy`]: randomness from a seed
//! * [`world`]: state that outlives the nodes; [`node`]: a node; [`operator`]: what an operator does for it
//! * [`clients`]: client calls; [`history`], [`tally`]: their answers, and whether the answers can be true
//! * [`faults`]: fault injection; [`watch`]: invariants that must hold meanwhile

mod clients;
mod entropy;
mod faults;
mod history;
mod node;
mod operator;
mod tally;
mod watch;
mod world;

use std::collections::BTreeMap;
use std::sync::Arc;
use std::sync::atomic::Ordering;
use std::time::Duration;

use panther_cluster::state::read;
use serde::{Deserialize, Serialize};
use turmoil::{Builder, Sim};

pub use faults::Made;
use faults::{FAST, Faults};
use tally::{DLQ, QUEUE};
use watch::Watch;
pub use world::Broken;
use world::{DAWN_MS, World};

/// Duration of one step of simulated time.
const STEP: Duration = Duration::from_millis(1);
/// Interval of the outside checks, in steps.
const LOOK: u32 = 20;
/// Longest time until three nodes form one cluster.
const FORM: Duration = Duration::from_secs(30);
/// Longest time from the last fault until everything is done. A connection that lost a message is given up only after
/// ten seconds.
const SETTLE: Duration = Duration::from_secs(90);

/// Settings of a run.
#[derive(Debug, Clone, Copy)]
pub struct Settings {
    /// The seed: everything follows from it.
    pub seed: u64,
    /// For how long faults are made, in simulated time.
    pub faults_for: Duration,
    /// True to print events as they happen.
    pub spoken: bool,
}

/// Result of a run.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Report {
    /// The faults that were made.
    pub made: Made,
    /// Refused starts, by the code of the loss.
    pub refused: BTreeMap<String, u32>,
    /// Nodes that moved to another address.
    pub moves: u32,
    /// Leaders seen, over all terms.
    pub terms: usize,
    /// Messages that were completed.
    pub messages: usize,
    /// Calls that were checked for linearizability.
    pub calls: usize,
    /// Keys with too many orders to search.
    pub undecided: usize,
    /// Time from the last fault until everything was done.
    pub settled: Duration,
    /// Hash of all events of the run.
    pub trace: u64,
}

/// Runs one simulation.
///
/// # Errors
/// A promise was broken.
pub fn run(settings: Settings) -> Result<Report, Broken> {
    // A thread of its own: hash maps draw their keys once per thread.
    let thread = std::thread::Builder::new()
        .name(format!("seed-{}", settings.seed))
        .spawn(move || {
            entropy::begin(settings.seed);
            panther_cluster::simulated::begin();
            simulate(settings)
        })
        .map_err(|error| Broken(format!("no thread: {error}")))?;
    thread.join().unwrap_or_else(|panic| {
        let what = panic
            .downcast_ref::<String>()
            .cloned()
            .or_else(|| panic.downcast_ref::<&str>().map(ToString::to_string));
        Err(Broken(format!(
            "a panic: {}",
            what.unwrap_or_else(|| "of no text".to_owned())
        )))
    })
}

/// A folder for the states. A power cut takes nothing from them, so they may be in memory: syncing files to a disk
/// would take longer than all the rest.
fn in_memory() -> std::io::Result<tempfile::TempDir> {
    tempfile::tempdir_in("/dev/shm").or_else(|_| tempfile::tempdir())
}

fn simulate(settings: Settings) -> Result<Report, Broken> {
    let folder = in_memory().map_err(|error| Broken(error.to_string()))?;
    let world = Arc::new(World::new(folder.path(), settings)?);
    let mut sim = Builder::new()
        .rng_seed(settings.seed)
        .tick_duration(STEP)
        .simulation_duration(Duration::from_secs(100_000))
        .epoch(std::time::UNIX_EPOCH + Duration::from_millis(DAWN_MS))
        .min_message_latency(Duration::from_millis(0))
        .max_message_latency(FAST)
        .tcp_capacity(1 << 20)
        .enable_random_order()
        .build();
    for place in world.places.values() {
        let (world, place) = (world.clone(), place.clone());
        sim.host(node::host(place.number), move || {
            node::run(world.clone(), place.clone())
        });
    }
    let mut watch = Watch::default();
    let mut faults = Faults::new(settings.seed);
    until(
        &mut sim,
        &world,
        &mut watch,
        FORM,
        "three nodes are one cluster",
        |_, world| world.ready.load(Ordering::SeqCst),
    )?;
    let began = sim.elapsed();
    until(
        &mut sim,
        &world,
        &mut watch,
        settings.faults_for * 2,
        "faults are made",
        |sim, world| {
            faults.step(sim, world, began);
            sim.elapsed() >= began + settings.faults_for
        },
    )?;
    faults.heal(&mut sim, &world);
    let healed = sim.elapsed();
    world.draining.store(true, Ordering::SeqCst);
    world.mended.store(true, Ordering::SeqCst);
    until(
        &mut sim,
        &world,
        &mut watch,
        SETTLE,
        "all is done and the nodes stand as it is wanted",
        |sim, world| {
            faults::start_all(sim);
            is_done(world)
        },
    )?;
    let settled = sim.elapsed() - healed;
    world.note(sim.elapsed(), format_args!("all is done"));
    let door = world.places[&1].door.lock().clone();
    let door = door.ok_or_else(|| Broken("node 1 is not there".to_owned()))?;
    let messages = world.tally.lock().check(door.group().store())?;
    let refused = world.refused.lock().clone();
    let of_logs = refused.iter().filter(|(code, _)| *code != "state-lost");
    let of_logs: u32 = of_logs.map(|(_, count)| count).sum();
    let lost = world.harms.load(Ordering::SeqCst);
    if of_logs != lost {
        return Err(Broken(format!(
            "{lost} nodes lost a part of their log, and {of_logs} starts were refused"
        )));
    }
    let history = world.history.lock();
    let (unexplained, undecided) = history.check();
    if let Some(unexplained) = unexplained.first() {
        return Err(Broken(format!(
            "no order explains the answers: {unexplained}"
        )));
    }
    Ok(Report {
        made: faults.made,
        refused,
        moves: world.moves.load(Ordering::SeqCst),
        terms: watch.terms(),
        messages,
        calls: history.len(),
        undecided: undecided.len(),
        settled,
        trace: world.trace(),
    })
}

/// Steps the simulation until `reached`, and checks the nodes meanwhile. A node that ended because it was refused or
/// removed is restarted, as systemd does.
fn until(
    sim: &mut Sim<'_>,
    world: &World,
    watch: &mut Watch,
    at_most: Duration,
    what: &str,
    mut reached: impl FnMut(&mut Sim<'_>, &World) -> bool,
) -> Result<(), Broken> {
    let end = sim.elapsed() + at_most;
    let mut steps = 0;
    loop {
        sim.step().map_err(|error| Broken(error.to_string()))?;
        steps += 1;
        if steps % LOOK == 0 {
            faults::start_others(sim, world);
            watch.look(world, sim.elapsed())?;
            if let Some(broken) = world.tally.lock().broken.first() {
                return Err(Broken(broken.clone()));
            }
            if reached(sim, world) {
                return Ok(());
            }
            if sim.elapsed() > end {
                return Err(Broken(format!(
                    "{what}: not within {at_most:?}; {}",
                    describe(world)
                )));
            }
        }
    }
}

/// True if no client is busy, no message is left, and all nodes hold the same state.
fn is_done(world: &World) -> bool {
    if world.tally.lock().busy > 0
        || world.is_replacing()
        || world.led_ahead.load(Ordering::SeqCst)
        || world.wrote.lock().len() < world.places.len()
    {
        return false;
    }
    let mut held = Vec::new();
    for place in world.places.values() {
        let Some(door) = place.door.lock().clone() else {
            return false;
        };
        let store = door.group().store();
        let (Ok(counts), Ok(dead), Ok(globals)) = (
            read::counts(store, QUEUE),
            read::counts(store, DLQ),
            read::globals(store),
        ) else {
            return false;
        };
        held.push((
            store.applied().last.map(|at| at.index),
            globals.hash,
            counts.waiting + counts.delayed + counts.in_flight,
            dead.waiting,
        ));
    }
    held.iter()
        .all(|one| *one == held[0] && one.2 == 0 && one.3 == 0)
}

/// Status of all nodes, for the analysis of a failure.
fn describe(world: &World) -> String {
    let nodes: Vec<u64> = world
        .places
        .values()
        .map(|place| place.node.load(Ordering::SeqCst))
        .collect();
    let (busy, removal) = (world.tally.lock().busy, *world.removal.lock());
    let mut text = format!(
        "{busy} clients are busy; the machines are nodes {nodes:?}, to be removed {removal:?}, time led ahead {}, replacing {}, wrote {:?}",
        world.led_ahead.load(Ordering::SeqCst),
        world.is_replacing(),
        world.wrote.lock(),
    );
    for place in world.places.values() {
        let door = place.door.lock().clone();
        let Some(door) = door else {
            text.push_str(&format!("; n{} is down", place.number));
            continue;
        };
        let status = door.group().status();
        let counts = read::counts(door.group().store(), QUEUE).unwrap_or_default();
        let dead = read::counts(door.group().store(), DLQ).unwrap_or_default();
        let globals = read::globals(door.group().store()).unwrap_or_default();
        text.push_str(&format!(
            "; n{}: clock {} ms off, {:?}, term {}, leader {:?}, voters {:?}, members {:?}, cluster time {} ms since the dawn, set {} times, stamps moved {} ms back, held {:?}, last {:?}, applied {:?}, waiting {}, in flight {}, dead {}",
            place.number,
            place.off_ms.load(Ordering::SeqCst),
            door.clock_fault(),
            status.term,
            status.leader,
            status.voters,
            status.members,
            globals.clock_ms.saturating_sub(DAWN_MS),
            globals.era,
            globals.back_by_ms,
            globals.held(),
            status.last_log,
            status.applied,
            counts.waiting,
            counts.in_flight,
            dead.waiting
        ));
    }
    text
}
