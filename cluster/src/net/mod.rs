//! How nodes of one cluster speak to each other: gRPC, one connection for Raft and one for the work of doors, so that a flood
//! of commands never keeps a heartbeat from its turn.
//!
//! * [`peers`]: connections to other nodes, made when they are needed
//! * [`server`]: what other nodes call here

mod peers;
mod server;

pub use peers::Peers;
pub(crate) use peers::{Lane, PeerError};
pub(crate) use server::{Behind, Refusal, serve};
