//! All calls of openraft. They stand in one folder, so that an upgrade of its alpha releases touches one folder.
//!
//! * [`types`]: the types for openraft, and their encoding in the log
//! * [`log_store`]: openraft's log interface over [`crate::log`]
//! * [`apply`]: openraft's state machine interface over [`crate::state`] and [`crate::storage`], on one thread
//! * [`network`]: calls to other nodes; [`calls`]: handlers of other nodes' calls; [`wire`]: encoding of both on the wire
//! * [`lineage`]: a group that continues with one voter, from a backup or after the majority is lost
//! * [`hashes`]: running hashes of the state after the newest entries, for the comparison of replicas
//! * [`group`]: a running group: propose, read index, snapshots; [`membership`]: learners and voters; [`hand_over`]: leadership transfer

mod apply;
mod calls;
mod group;
mod hand_over;
mod hashes;
pub mod lineage;
mod log_store;
mod membership;
mod network;
#[cfg(test)]
mod suite;
mod types;
mod wire;

pub use apply::AfterApply;
pub use group::{Changes, Group, GroupSettings, GroupStatus, Membership, ProposeError};
pub use hashes::Hashes;
