//! The messages and services that cross a process border or lie in the log, generated from `proto/`.

/// Version 1 of every message and service.
pub mod v1 {
    #![allow(missing_docs, clippy::all, clippy::pedantic, unreachable_pub)]
    tonic::include_proto!("panther.v1");
}

/// Every method of every service: the service's name and the method's, as in `proto/`.
pub const METHODS: &[(&str, &str)] = include!(concat!(env!("OUT_DIR"), "/methods.rs"));
