//! Storage of the applied state: the newest writes in memory, older ones in sled, and snapshot files from which both can be rebuilt.
//!
//! sled's flush is not an fsync on Linux, so this storage does not have to survive a power cut: the log and the newest snapshot file do. That makes
//! writes cheap: applied writes gather in memory and go to sled in large batches, each with the position up to which it is complete. Messages that
//! were sent and completed between two batches never reach sled.
//!
//! * [`store`]: the layers in memory, and sled below them; [`writer`]: the thread that moves layers to sled
//! * [`database`], [`folders`]: sled behind the layers, and which of its folders is current
//! * [`items`]: encoding of a key and a value as sled items of at most 6 KB (larger items would go to blob files, which sled does not sync)
//! * [`snapshot`]: files that contain a whole state
//! * [`incoming`]: a snapshot that arrives from another node
//! * [`room`]: free disk space

mod database;
mod folders;
mod incoming;
mod items;
pub mod room;
pub mod snapshot;
mod store;
mod writer;

pub use incoming::Incoming;
pub use snapshot::SnapshotFile;
pub(crate) use store::not_ahead;
pub use store::{AppliedAt, StateStore, StoreSettings};
