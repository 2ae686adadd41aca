//! How much room is left where a node keeps log, state and objects.
//!
//! Work that was accepted needs room to end, so doors stop taking new work before there is none: a log that cannot be
//! written ends the node's part in its group until it is started again.

use std::io;
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};

/// From this on somebody should make room, in percent of what is not reserved for root.
pub const NEARLY_FULL: u64 = 85;
/// From this on nothing new is taken.
pub const FULL: u64 = 95;

/// The file systems that a node writes to; clones share what was last seen.
#[derive(Debug, Clone)]
pub struct Room {
    folders: Arc<Vec<PathBuf>>,
    used: Arc<AtomicU64>,
}

impl Room {
    /// Of the file systems that these folders lie on. Nothing is known before the first look.
    #[must_use]
    pub fn of(folders: Vec<PathBuf>) -> Self {
        Self {
            folders: Arc::new(folders),
            used: Arc::default(),
        }
    }

    /// Looks how much of the fullest one is used, in percent. Blocks where the disk does.
    ///
    /// # Errors
    /// One cannot be asked.
    pub fn look(&self) -> io::Result<u64> {
        let mut most = 0;
        for folder in self.folders.iter() {
            most = most.max(used_percent(folder)?);
        }
        self.used.store(most, Ordering::Relaxed);
        Ok(most)
    }

    /// Why nothing new is taken, if that is so by the last look.
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

/// Bytes that this process may still write where `folder` lies.
///
/// # Errors
/// The file system cannot be asked.
pub fn free_bytes(folder: &Path) -> io::Result<u64> {
    let disk = rustix::fs::statvfs(folder)?;
    Ok(disk.f_bavail.saturating_mul(disk.f_frsize))
}

/// As `df` counts: what root has reserved for itself is neither used nor free.
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
