//! The loops of a node that belong to no component of the run book. They are supervised as components are: one that ends or hangs is started again, and
//! raises an alarm.

use std::sync::Arc;

use futures::FutureExt;

use super::{Late, SystemSettings, followers, health};
use crate::component::Deps;
use crate::components::alert_delivery::sealed;
use crate::components::log_types::LogTypeRegistry;
use crate::components::rules_engine::{Decisions, trial};
use crate::components::{catalogue, pack, source_health};
use crate::destinations::OutputCache;
use crate::ingest::{self, Intake};
use crate::life::Life;
use crate::pause::PauseWatch;
use crate::schedules;
use crate::supervision::{Part, RunFn};

/// A part for each loop.
pub(super) fn all(
    deps: &Deps,
    settings: &SystemSettings,
    late: &Late,
    intake: &Intake,
    pausing: Option<PauseWatch>,
) -> Vec<Part> {
    let door = deps.door.clone();
    let outputs = OutputCache::new(door.clone(), deps.sealer.clone());
    let log_types = LogTypeRegistry::new(door.clone());
    let decisions = Decisions {
        objects: deps.objects.clone(),
        live: deps.live.clone(),
        alarms: deps.alarms.clone(),
    };
    let stall = settings.loop_stall;
    let part = |name: &str, run: RunFn| Part::of_loop(name, stall, run);
    let mut parts = vec![
        part("alarm-watch", {
            let late = late.clone();
            run(move |life| health::watch(late.clone(), life))
        }),
        part("alert-followers", {
            let late = late.clone();
            run(move |life| followers::run(late.clone(), life))
        }),
        part("schedules", {
            let (door, due) = (door.clone(), schedules::schedules(catalogue()));
            run(move |life| schedules::run(door.clone(), due.clone(), life))
        }),
        part("pack-watch", {
            let (door, live, alarms) = (door.clone(), deps.live.clone(), deps.alarms.clone());
            run(move |life| {
                let (door, live, types) = (door.clone(), live.clone(), log_types.clone());
                pack::watch::run(door, live, types, alarms.clone(), life)
            })
        }),
        part("source-health", {
            let health = source_health::SourceHealth {
                door: door.clone(),
                sources: deps.sources.clone(),
                alarms: deps.alarms.clone(),
            };
            run(move |life| health.clone().watch(life))
        }),
        part("sealed-outputs", {
            let alarms = deps.alarms.clone();
            run(move |life| sealed::watch(outputs.clone(), alarms.clone(), life))
        }),
        part("pack-trial", {
            let trial = settings.trial.clone();
            run(move |life| trial::run(decisions.clone(), trial.clone(), life))
        }),
    ];
    let doors = ingest::loops(deps, intake).into_iter();
    parts.extend(doors.map(|(name, run)| part(name, run)));
    let pausing = pausing.map(|watch| run(move |life| watch.clone().run(life)));
    parts.extend(pausing.map(|run| part("pause-watch", run)));
    parts
}

/// A loop as its supervisor starts it.
fn run<Running>(start: impl Fn(Life) -> Running + Send + Sync + 'static) -> RunFn
where
    Running: Future<Output = ()> + Send + 'static,
{
    Arc::new(move |life| start(life).boxed())
}
