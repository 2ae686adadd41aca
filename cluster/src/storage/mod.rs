//! Where applied state lies: newest writes in memory, the rest in sled, and snapshot files from which both can be rebuilt.
//!
//! sled's flush is no fsync on Linux, so nothing here is trusted to survive a power cut: the log and the newest snapshot
//! file are. That makes writing cheap: applied writes gather in memory and go to sled in large batches, each with the
//! position up to which it is complete, so that what was sent and done in between never reaches the disk.
//!
//! * [`store`]: the layers, and sled below them; [`writer`]: the thread that moves them there
//! * [`database`], [`folders`]: sled behind the layers, and which folder of it is in force
//! * [`items`]: how a key and a value become sled items of at most 6 KB (larger ones would land in unsynced blob files)
//! * [`snapshot`]: files that hold a whole state
//! * [`incoming`]: a snapshot that comes from another node
//! * [`room`]: how much room is left

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
