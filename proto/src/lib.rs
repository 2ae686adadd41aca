//! The messages and services that cross a process border or lie in the log, generated from `proto/`.
//!
//! * [`v1`]: the generated types
//! * [`methods`]: the methods of the APIs with their options
//! * [`json`]: the JSON form of messages
//! * [`raw`]: calls whose messages are encoded already
//! * [`trace`]: trace ids and spans of requests, messages and commands

pub mod json;
pub mod methods;
pub mod raw;
pub mod trace;

/// Version 1 of every message and service.
pub mod v1 {
    #![allow(missing_docs, clippy::all, clippy::pedantic, unreachable_pub)]
    tonic::include_proto!("panther.v1");
}

/// Every method of every service: the service's name and the method's, as in `proto/`.
pub const METHODS: &[(&str, &str)] = include!(concat!(env!("OUT_DIR"), "/methods.rs"));

/// The encoded descriptors of all files in `proto/`, with their options.
pub const DESCRIPTORS: &[u8] = include_bytes!(concat!(env!("OUT_DIR"), "/descriptors.bin"));
