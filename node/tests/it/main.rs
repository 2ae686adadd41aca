//! The daemon as a process: what an operator sees of it.
#![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic)]

mod apis;
mod callers;
mod daemon;
mod doors;
mod ingest;
mod starts;
mod without_leader;
