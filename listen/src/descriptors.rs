//! Limits on open files. Connections must not use all file descriptors of the process: the log, the state and the admin socket need some.

use rustix::process::{Resource, getrlimit};

/// Percentage of the open-file limit above which a listener for other machines rejects connections.
pub const OTHERS: u64 = 80;
/// The same percentage for the admin socket. It is higher, so that the admin socket still works when other listeners have used up their
/// share.
pub const ADMIN: u64 = 95;

/// The highest file descriptor that a connection may have. The operating system assigns the lowest free number, so a descriptor above this
/// one means that at least as many files are open.
#[must_use]
pub fn ceiling(percent: u64) -> i64 {
    let soft = getrlimit(Resource::Nofile)
        .current
        .unwrap_or(u64::MAX / 100);
    i64::try_from(soft.saturating_mul(percent) / 100).unwrap_or(i64::MAX)
}
