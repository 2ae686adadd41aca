//! The actors of a node: one for each component that is built.

use std::sync::Arc;
use std::time::Duration;

use futures::FutureExt;
use panther_cluster::door::Door;

use super::health::watch_component;
use crate::alarms::Alarms;
use crate::api::ApiError;
use crate::catalogue::{Built, Catalogue, Component, Kind};
use crate::component::{Deps, Place};
use crate::components::{self, catalogue};
use crate::life::Life;
use crate::supervision::{Part, RunFn};
use crate::worker::WorkerStatus;

/// A part for every component that is built, and for the internal queues and tables.
pub(super) fn all(deps: &Deps) -> Result<Vec<Part>, ApiError> {
    let mut parts = Vec::new();
    let built = |component: &&Component| component.built != Built::No;
    for one in components::ALL {
        let unit = Catalogue::read([(one.file, one.text)]);
        let unit = unit.map_err(|error| ApiError::Internal(error.to_string()))?;
        for described in unit.all().filter(built) {
            let component = catalogue()
                .find(&described.identity())
                .map_err(|error| ApiError::Internal(error.to_string()))?;
            let status = Arc::new(WorkerStatus::default());
            parts.push(match (component.kind, one.build) {
                (Kind::Function, Some(build)) => {
                    build(deps, Place::new(component, catalogue(), status))?
                }
                (Kind::Queue | Kind::Dlq | Kind::Table | Kind::Topic, _) => {
                    watched(component, &deps.door, &deps.alarms, status)
                }
                _ => {
                    return Err(ApiError::Internal(format!(
                        "{} says that {} is built, but no code runs it",
                        one.file,
                        component.identity()
                    )));
                }
            });
        }
    }
    Ok(parts)
}

/// A queue, table or topic: its actor measures it and raises its alarms.
fn watched(
    component: &'static Component,
    door: &Door,
    alarms: &Alarms,
    status: Arc<WorkerStatus>,
) -> Part {
    let (door, alarms) = (door.clone(), alarms.clone());
    let counting = status.clone();
    let run: RunFn = Arc::new(move |life: Life| {
        watch_component(
            component,
            door.clone(),
            alarms.clone(),
            counting.clone(),
            life,
        )
        .boxed()
    });
    Part {
        identity: component.identity(),
        run: Some(run),
        api: None,
        status,
        deadline: Duration::from_secs(60),
        stall: Duration::from_secs(180),
    }
}
