//! The substrate: tables, queues and topics on one replicated log. It knows nothing of security, Python, logs or AWS.

pub mod door;
pub mod log;
pub mod membership;
pub mod net;
pub mod objects;
mod offload;
pub mod raft;
pub mod state;
pub mod storage;

#[cfg(feature = "simulation")]
pub use offload::simulated;
