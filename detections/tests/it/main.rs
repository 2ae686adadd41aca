//! The engine with real Python: what detections may do, and that it harms only themselves.
#![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic)]

mod engine;
mod native;
mod public_pack;
mod support;
mod testing;
