//! The engine's private folder, with the layer.

use std::fs::{self, File, Permissions};
use std::io;
use std::os::unix::fs::PermissionsExt;
use std::path::{Path, PathBuf};
use std::time::Duration;

use super::layer::{self, Content};
use super::settings::EngineFault;

const PREFIX: &str = "engine-";
/// Locked as long as the engine lives, so that another one can tell whether it still does.
const LOCK: &str = "lock";
/// Age from which a folder without a lock is not one that is just being made.
const UNFINISHED: Duration = Duration::from_secs(600);

/// Removed, off the async threads, when the engine ends; by the next engine, if it was killed.
#[derive(Debug)]
pub(super) struct Folder {
    folder: Option<tempfile::TempDir>,
    _lock: File,
}

impl Folder {
    /// Makes the folder, readable by its owner alone, with a layer in it that has our own modules alone, and removes the folders of engines that were killed.
    pub(super) async fn new(parent: PathBuf) -> Result<Self, EngineFault> {
        written(move || {
            sweep(&parent);
            let folder = tempfile::Builder::new()
                .prefix(PREFIX)
                .permissions(Permissions::from_mode(0o700))
                .tempdir_in(&parent)
                .map_err(EngineFault::io(format!(
                    "making a folder in {}",
                    parent.display()
                )))?;
            let lock = lock(folder.path()).map_err(EngineFault::io(format!(
                "locking {}",
                folder.path().display()
            )))?;
            layer::write_runtime(&folder.path().join("layer"))?;
            Ok(Self {
                folder: Some(folder),
                _lock: lock,
            })
        })
        .await
    }

    /// Writes what of a pack goes into the layer.
    pub(super) async fn fill(&self, content: Content) -> Result<(), EngineFault> {
        let layer = self.layer();
        written(move || content.write(&layer)).await
    }

    pub(super) fn path(&self) -> &Path {
        self.folder
            .as_ref()
            .map_or(Path::new(""), tempfile::TempDir::path)
    }

    pub(super) fn layer(&self) -> PathBuf {
        self.path().join("layer")
    }

    pub(super) async fn remove(&mut self) {
        if let Some(folder) = self.folder.take() {
            let _ = tokio::task::spawn_blocking(move || drop(folder)).await;
        }
    }
}

impl Drop for Folder {
    fn drop(&mut self) {
        let Some(folder) = self.folder.take() else {
            return;
        };
        match tokio::runtime::Handle::try_current() {
            Ok(runtime) => drop(runtime.spawn_blocking(move || drop(folder))),
            Err(_) => drop(folder),
        }
    }
}

/// Writes off the async threads.
async fn written<T: Send + 'static>(
    write: impl FnOnce() -> Result<T, EngineFault> + Send + 'static,
) -> Result<T, EngineFault> {
    let written = tokio::task::spawn_blocking(write).await;
    written.unwrap_or_else(|error| {
        Err(EngineFault::Io {
            doing: "writing the layer".to_owned(),
            source: io::Error::other(error),
        })
    })
}

/// A locked file in the folder. It gets its name once it is locked: nobody finds it unlocked.
fn lock(folder: &Path) -> io::Result<File> {
    let unnamed = folder.join("lock.new");
    let file = File::create(&unnamed)?;
    file.try_lock()?;
    fs::rename(&unnamed, folder.join(LOCK))?;
    Ok(file)
}

/// Removes the folders of engines that are no more. What cannot be read or removed is left to the next.
fn sweep(parent: &Path) {
    for entry in fs::read_dir(parent).into_iter().flatten().flatten() {
        let path = entry.path();
        let ours = entry
            .file_name()
            .to_str()
            .is_some_and(|name| name.starts_with(PREFIX));
        if ours && entry.file_type().is_ok_and(|kind| kind.is_dir()) && is_dead(&path) {
            match fs::remove_dir_all(&path) {
                Ok(()) => {
                    tracing::info!(folder = %path.display(), "removed what a killed engine left behind")
                }
                Err(error) => {
                    tracing::warn!(folder = %path.display(), %error, "cannot remove what a killed engine left behind");
                }
            }
        }
    }
}

fn is_dead(folder: &Path) -> bool {
    if let Ok(lock) = File::open(folder.join(LOCK)) {
        return lock.try_lock().is_ok();
    }
    // Killed before it had its lock, if it is not being made just now.
    let age = fs::metadata(folder)
        .and_then(|metadata| metadata.modified())
        .ok()
        .and_then(|made| made.elapsed().ok());
    folder.join("layer/runtime").is_dir() && age.is_some_and(|age| age > UNFINISHED)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn only_the_dead_are_swept() {
        let parent = tempfile::tempdir().unwrap();
        let [alive, dead, other] =
            ["engine-alive", "engine-dead", "other"].map(|name| parent.path().join(name));
        for folder in [&alive, &dead, &other] {
            fs::create_dir(folder).unwrap();
        }
        let held = lock(&alive).unwrap();
        drop(lock(&dead).unwrap());
        drop(lock(&other).unwrap());
        sweep(parent.path());
        assert!(alive.exists() && !dead.exists() && other.exists());
        drop(held);
        sweep(parent.path());
        assert!(!alive.exists());
    }
}
