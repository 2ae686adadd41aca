//! Open files of the process. Connections may not use them all: the log, the state and the admin socket need some.

use rustix::process::{Resource, Rlimit, getrlimit, setrlimit};

/// Open files that the process asks for, if the machine allows as many; a unit of systemd gets the same by `LimitNOFILE`.
const WANTED: u64 = 65_536;
/// Percent of all open files above which a listener for other machines takes no connection.
pub const OTHERS: u64 = 80;
/// The same for the admin socket, which has to be open when callers of other listeners have used up their part.
pub const ADMIN: u64 = 95;

/// Raises the soft limit of open files as far as the machine allows. A shell often gives 1,024.
pub fn raise_limit() {
    let now = getrlimit(Resource::Nofile);
    let hard = now.maximum.unwrap_or(WANTED).min(WANTED);
    if now.current.is_none_or(|soft| soft >= hard) {
        return;
    }
    let raised = Rlimit {
        current: Some(hard),
        maximum: now.maximum,
    };
    if let Err(error) = setrlimit(Resource::Nofile, raised) {
        tracing::warn!(%error, soft = now.current, "the limit of open files cannot be raised");
    }
}

/// The highest descriptor that a connection may have. The machine gives the lowest free number, so a higher number says that as many are in use.
#[must_use]
pub fn ceiling(percent: u64) -> i64 {
    let soft = getrlimit(Resource::Nofile)
        .current
        .unwrap_or(u64::MAX / 100);
    i64::try_from(soft.saturating_mul(percent) / 100).unwrap_or(i64::MAX)
}
