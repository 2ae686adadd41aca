//! The replicated state as a plain synchronous library: commands in, answers and writes out.
//!
//! [`Machine::apply`] is a pure function of the state and an entry: it asks no clock, random number, configuration,
//! environment or hash order, so that replicas which apply the same entries stay equal to the byte. It computes an
//! entry's writes in memory; [`crate::storage`] keeps them. A command that is refused, conflicts or panics leaves
//! nothing behind, on every replica alike.
//!
//! * [`tables`]: rows under a hash key and optional range key, conditions, updates, indexes, expiry
//! * [`queues`]: visibility, receive and failure counts, delay, redrive, purge
//! * [`topics`], [`feeds`]: fan-out by attribute; one record per change of a row
//! * [`sessions`]: what a node's run holds, and what its end gives back
//! * [`due`]: the one index of everything that time will change

pub mod declare;
pub mod due;
pub mod feeds;
pub mod keys;
pub mod limits;
mod machine;
pub mod queues;
pub mod read;
pub mod requests;
pub mod sessions;
pub mod tables;
pub mod time;
pub mod topics;
mod transact;
mod tx;
mod view;

pub use machine::{Applied, Globals, Machine};
pub(crate) use machine::{panic_text, require_format};
pub use tx::{Stop, Tx};
pub use view::{Base, MemoryBase, Pair, Writes, scan_layers};

/// The newest format that this build can apply; an entry that names a higher one stops the node.
#[cfg(not(feature = "next-format"))]
pub const FORMAT: u32 = 4;
/// The newest format that this build can apply: the next one, which differs in nothing yet. For trials of an upgrade.
#[cfg(feature = "next-format")]
pub const FORMAT: u32 = 5;
