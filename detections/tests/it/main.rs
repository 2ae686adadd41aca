//! The engine with real Python: what detections may do, and that it harms only themselves.

mod engine;
mod public_pack;
mod support;
mod testing;
