//! The replicated state as a plain synchronous library: commands in, answers and writes out.
//!
//! [`Machine::apply`] is a pure function of the state and an entry. It reads no clock, random number, configuration,
//! environment or hash order, so replicas that apply the same entries are equal to the byte. It computes an entry's
//! writes in memory; [`crate::storage`] stores them. A command that is refused, conflicts or panics has no effect, on
//! every replica alike.
//!
//! * [`tables`]: rows under a hash key and optional range key, conditions, updates, indexes, expiry
//! * [`queues`]: visibility timeout, receive and failure counts, delay, redrive, purge
//! * [`topics`], [`feeds`]: fan-out by attribute; one record per change of a row
//! * [`sessions`]: messages that one run of a node holds, and their release when it ends
//! * [`due`]: the one index of all timers

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

/// The newest format that this build can apply. An entry of a higher format stops the node.
#[cfg(not(feature = "next-format"))]
pub const FORMAT: u32 = 5;
/// The newest format that this build can apply: the next format, which does not differ in behaviour yet. For tests of an upgrade.
#[cfg(feature = "next-format")]
pub const FORMAT: u32 = 6;
