//! Open files of the process. Connections may not use them all: the log, the state and the admin socket need some.

use rustix::process::{Resource, getrlimit};

/// Percent of all open files above which a listener for other machines takes no connection.
pub const OTHERS: u64 = 80;
/// The same for the admin socket, which has to be open when callers of other listeners have used up their part.
pub const ADMIN: u64 = 95;

/// The highest descriptor that a connection may have. The machine gives the lowest free number, so a higher number says that as many are in use.
#[must_use]
pub fn ceiling(percent: u64) -> i64 {
    let soft = getrlimit(Resource::Nofile)
        .current
        .unwrap_or(u64::MAX / 100);
    i64::try_from(soft.saturating_mul(percent) / 100).unwrap_or(i64::MAX)
}
