//! Free disk space for log, state and objects of a node.
//!
//! Accepted work needs disk space to complete, so the doors refuse new work before the disk is full. A log that cannot be written ends the node's
//! part in its group until the node is restarted.

use std::io;
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};

/// Disk usage at which an operator should free space, in percent of the space that is not reserved for root.
pub const NEARLY_FULL: u64 = 85;
/// Disk usage at which new work is refused, in percent as above.
pub const FULL: u64 = 95;

/// Disk usage of the file systems that a node writes to. Clones share the last measured value.
#[derive(Debug, Clone)]
pub struct Room {
    folders: Arc<Vec<PathBuf>>,
    used: Arc<AtomicU64>,
}

impl Room {
    /// Observes the file systems of these folders. The usage counts as 0 until the first [`Room::look`].
    #[must_use]
    pub fn of(folders: Vec<PathBuf>) -> Self {
        Self {
            folders: Arc::new(folders),
            used: Arc::default(),
        }
    }

    /// Measures the usage of the fullest file system, in percent. Blocks if the disk does.
    ///
    /// # Errors
    /// The usage of a file system cannot be read.
    pub fn look(&self) -> io::Result<u64> {
        let mut most = 0;
        for folder in self.folders.iter() {
            most = most.max(used_percent(folder)?);
        }
        self.used.store(most, Ordering::Relaxed);
        Ok(most)
    }

    /// Why new work is refused; `None` if it is accepted. Based on the last measured value.
    #[must_use]
    pub fn refusal(&self) -> Option<String> {
        let used = self.used.load(Ordering::Relaxed);
        (used >= FULL).then(|| {
            format!(
                "the node's disk is {used} % full; nothing new is taken from {FULL} % on: make room"
            )
        })
    }
}

/// Bytes that this process may still write to the file system of `folder`.
///
/// # Errors
/// The file system's usage cannot be read.
pub fn free_bytes(folder: &Path) -> io::Result<u64> {
    let disk = rustix::fs::statvfs(folder)?;
    Ok(disk.f_bavail.saturating_mul(disk.f_frsize))
}

/// Usage in percent, computed like `df`: blocks that are reserved for root count neither as used nor as free.
fn used_percent(folder: &Path) -> io::Result<u64> {
    let disk = rustix::fs::statvfs(folder)?;
    let used = disk.f_blocks.saturating_sub(disk.f_bfree);
    let whole = used.saturating_add(disk.f_bavail);
    Ok(used.saturating_mul(100).div_ceil(whole.max(1)))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn work_is_refused_from_the_limit_on_and_taken_again_below_it() {
        let room = Room::of(Vec::new());
        assert_eq!(room.refusal(), None);
        room.used.store(FULL, Ordering::Relaxed);
        assert!(room.refusal().unwrap().contains("95 % full"));
        assert_eq!(room.look().unwrap(), 0);
        assert_eq!(room.refusal(), None);
    }

    #[test]
    fn a_file_system_is_between_empty_and_full() {
        let folder = tempfile::tempdir().unwrap();
        let used = Room::of(vec![folder.path().to_owned()]).look().unwrap();
        assert!(used <= 100, "{used}");
        assert!(Room::of(vec![folder.path().join("none")]).look().is_err());
    }
}
