//! A whole system in one process: files in, alerts out.

#![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic, missing_docs)]

mod bad_input;
mod flow;
mod keys;
mod loops;
mod outputs;
mod pause;
mod phases;
mod retention;
mod retries;
mod schedules;
mod states;
mod support;
mod swap;
mod turns;
mod upload;
