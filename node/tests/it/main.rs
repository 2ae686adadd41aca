//! The daemon as a process: what an operator sees of it.

mod daemon;
mod ingest;
mod starts;
