//! A wall clock of a process that can be set while the process runs (libfaketime). The monotonic clock is not changed.

use std::path::{Path, PathBuf};

use crate::{During, Failure, Result};

/// Paths of the library on Debian, and on systems without multiarch folders.
const PLACES: [&str; 2] = [
    "/usr/lib/x86_64-linux-gnu/faketime/libfaketime.so.1",
    "/usr/lib/faketime/libfaketime.so.1",
];

/// The wall clock of one process.
#[derive(Debug, Clone)]
pub struct Clock {
    file: PathBuf,
    library: PathBuf,
}

impl Clock {
    /// Creates a clock without an offset. Its file is in `folder`.
    ///
    /// # Errors
    /// This machine lacks libfaketime.
    pub fn right(folder: &Path) -> Result<Self> {
        let library = PLACES.iter().map(PathBuf::from).find(|path| path.is_file());
        let library = library.ok_or_else(|| {
            Failure::CannotRun("clocks cannot be set: there is no libfaketime".to_owned())
        })?;
        std::fs::create_dir_all(folder).during("making a clock's folder")?;
        let clock = Self {
            file: folder.join("clock"),
            library,
        };
        clock.set(0)?;
        Ok(clock)
    }

    /// Sets the offset of the clock, in seconds.
    ///
    /// # Errors
    /// The file cannot be written.
    pub fn set(&self, off_s: i64) -> Result<()> {
        // An atomic rename: a reader gets either the old or the new content.
        let beside = self.file.with_extension("new");
        std::fs::write(&beside, format!("{off_s:+}\n"))
            .and_then(|()| std::fs::rename(&beside, &self.file))
            .during("setting a clock")
    }

    /// Environment variables for a process that uses this clock.
    #[must_use]
    pub fn environment(&self) -> Vec<(String, String)> {
        let text = |path: &Path| path.display().to_string();
        [
            ("LD_PRELOAD", text(&self.library)),
            ("FAKETIME_TIMESTAMP_FILE", text(&self.file)),
            ("FAKETIME_NO_CACHE", "1".to_owned()),
            ("FAKETIME_DONT_FAKE_MONOTONIC", "1".to_owned()),
            // Without this, threads of a process wait for a lock in shared memory that outlives a kill.
            ("FAKETIME_DISABLE_SHM", "1".to_owned()),
        ]
        .map(|(name, value)| (name.to_owned(), value))
        .into()
    }
}
