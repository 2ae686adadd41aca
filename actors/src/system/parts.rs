//! The actors of a node: one for each component that is built.

use std::sync::Arc;
use std::time::Duration;

use futures::FutureExt;
use panther_cluster::door::Door;

use super::health::watch_component;
use crate::alarms::Alarms;
use crate::api::ApiError;
use crate::catalogue::{Built, Component, Kind};
use crate::component::{Deps, Place};
use crate::components::{self, catalogue};
use crate::life::Life;
use crate::supervision::{Part, RunFn};
use crate::worker::WorkerStatus;

/// A part for every component that is built, and for the internal queues and tables.
pub(super) fn all(deps: &Deps) -> Result<Vec<Part>, ApiError> {
    let built = catalogue()
        .all()
        .filter(|component| component.built != Built::No);
    let parts = built.map(|component| {
        let status = Arc::new(WorkerStatus::default());
        match component.kind {
            Kind::Queue | Kind::Dlq | Kind::Table | Kind::Topic => {
                Ok(watched(component, &deps.door, &deps.alarms, status))
            }
            _ => {
                let described = components::ALL
                    .iter()
                    .find(|one| one.file == component.file);
                let build = described.and_then(|one| one.build).ok_or_else(|| {
                    ApiError::Internal(format!(
                        "{} says that {} is built, but no code runs it",
                        component.file,
                        component.identity()
                    ))
                })?;
                build(deps, Place::new(component, catalogue(), status))
            }
        }
    });
    parts.collect()
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
