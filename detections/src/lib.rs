//! Packs of detections and the engines that evaluate them: events and a pack in, verdicts out.
//!
//! - [`pack`] reads a folder or zip in panther-analysis's format, checks it as a whole and says what
//!   of it is not evaluated.
//! - [`engine`] runs a pack's Python in worker processes; a rule that hangs, exits or dies harms that
//!   rule only.
//! - [`verdict`] is what a detection says of an event, and [`key_value`] the store that its helpers use; every part may use
//!   both.
//! - [`alerting`] turns matches into alerts: deduplication, threshold, severity, routing, as pure
//!   functions.
//! - [`testing`] runs the unit tests that a pack brings with it.
//!
//! The crate knows no queue, table, actor or node.

pub mod alerting;
pub mod engine;
mod event;
pub mod key_value;
mod native;
pub mod pack;
mod python;
pub mod testing;
mod threads;
pub mod verdict;
