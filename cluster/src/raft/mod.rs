//! Every openraft call stands here, so that an upgrade of its alphas touches one folder.
//!
//! * [`types`]: the types that openraft is given, and their form in the log
//! * [`log_store`]: openraft's log interface over [`crate::log`]
//! * [`apply`]: openraft's state machine interface over [`crate::state`] and [`crate::storage`], on one thread
//! * [`network`]: the way to other voters, and [`calls`]: what they call here; [`wire`]: how both cross the wire
//! * [`lineage`]: a group that goes on with one voter, from a backup or after a lost majority
//! * [`hashes`]: the state's running hash behind the last entries, to compare replicas by
//! * [`group`]: a running group: propose, read index, snapshots; [`membership`]: who takes part; [`hand_over`]: another voter leads

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
