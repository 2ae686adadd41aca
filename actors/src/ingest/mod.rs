//! The doors through which logs come in, and what the doors share.
//!
//! A door speaks the protocol of its senders. The rest is shared: each body goes through [`Intake`], in these steps.
//!
//! 1. [`tokens`]: the sender has the token of its source.
//! 2. [`shares`] and [`budget`]: one sender does not take all places, and the bodies of all senders fit into memory.
//! 3. [`batch`]: small bodies of one source are gathered into one object.
//! 4. [`commit`]: the object is durable and its notification is committed. Only then the sender gets its answer.
//!
//! | file | door |
//! | --- | --- |
//! | [`http`] | `POST /ingest/<source>` |
//! | [`folder`] | watched folders |
//!
//! Doors that speak HTTP also share [`body`], which reads a body, and [`answer`], which says what became of it.

pub mod answer;
mod batch;
mod body;
mod budget;
pub(crate) mod commit;
pub mod door;
mod folder;
mod http;
mod intake;
mod refusal;
mod shares;
mod tokens;

use axum::Router;

pub use self::budget::{ByteBudget, HeldBody};
use self::door::{IngestDoor, Serving};
pub use self::intake::{Ingested, Intake, IntakeSettings};
pub use self::refusal::IngestError;
pub use self::tokens::Admitted;
use crate::component::Deps;
use crate::supervision::RunFn;

/// All doors of a node. One line makes a door exist.
const DOORS: &[IngestDoor] = &[http::DOOR, folder::DOOR];

/// The routes of all doors on the node's HTTP listener.
pub fn routes(intake: &Intake) -> Router {
    let routes = DOORS.iter().filter_map(|door| match door.serving {
        Serving::Routes(routes) => Some(routes(intake.of_door(door.name))),
        Serving::Loop(_) => None,
    });
    routes.fold(Router::new(), Router::merge)
}

/// The loops of all doors, each with its name.
pub(crate) fn loops(deps: &Deps, intake: &Intake) -> Vec<(&'static str, RunFn)> {
    let loops = DOORS.iter().filter_map(|door| match door.serving {
        Serving::Routes(_) => None,
        Serving::Loop(start) => Some((door.name, start(deps, intake.of_door(door.name)))),
    });
    loops.collect()
}
