//! What a door is to the node.

use axum::Router;

use super::intake::Intake;
use crate::component::Deps;
use crate::supervision::RunFn;

/// A door, as the list in `ingest/mod.rs` names it.
#[derive(Debug, Clone, Copy)]
pub struct IngestDoor {
    /// Its name. The loop of a door is supervised under this name.
    pub name: &'static str,
    /// How it is served.
    pub serving: Serving,
}

/// How a door is served.
#[derive(Debug, Clone, Copy)]
pub enum Serving {
    /// Routes of the node's HTTP listener. Each request carries a [`panther_listen::PlaceHandle`] as an extension.
    Routes(fn(Intake) -> Router),
    /// A supervised loop, for a door that polls or has a listener of its own.
    Loop(fn(&Deps, Intake) -> RunFn),
}
