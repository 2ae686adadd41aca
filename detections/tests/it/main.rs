//! The engine with real Python: what detections may do, and that it harms only themselves.
#![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic)]

mod both_ways;
mod engine;
mod native;
mod native_memory;
mod native_simple;
mod native_store;
mod public_pack;
mod store_view;
mod support;
mod syntax;
mod tested;
mod testing;
mod worst;
