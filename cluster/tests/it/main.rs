//! Integration tests: promises of the substrate, tested through its doors on a real folder.

#![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic, missing_docs)]

mod addresses;
mod door;
mod entrance;
mod gate;
mod lineage;
mod lost;
mod members;
mod model;
mod promises;
mod queues;
mod rotation;
mod three;
mod time;
