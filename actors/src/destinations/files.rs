//! Files as destinations. The path is an operator's, and what lies there may be anything: a pipe without a reader, a folder, a mount that
//! hangs. So each attempt runs on a thread of its own, at most one for each path, and a blocked one costs nothing but its thread.

use std::collections::BTreeMap;
use std::io::{self, Write};
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::time::Duration;

use parking_lot::Mutex;
use tokio::sync::Semaphore;

use crate::anchor::{Anchor, data_folder_around};

/// Folders of the system in which no destination lies.
const SYSTEM: [&str; 3] = ["/proc", "/sys", "/dev"];

/// How the name of a destination ends that lies in the data folder itself.
const EXTENSIONS: [&str; 3] = ["jsonl", "ndjson", "log"];

/// Why nothing was appended.
#[derive(Debug, thiserror::Error)]
pub(super) enum FileError {
    /// An earlier attempt has not ended.
    #[error("{0} is still blocked by an earlier attempt: does its disk or mount answer?")]
    Blocked(String),
    /// No end within the time.
    #[error("{path} was not written within {} s", time.as_secs())]
    Slow {
        /// The file.
        path: String,
        /// The time.
        time: Duration,
    },
    /// It cannot be written.
    #[error("{path} cannot be written: {error}")]
    Failed {
        /// The file.
        path: String,
        /// Why.
        error: io::Error,
    },
}

/// Appends to files; clones share what is under way.
#[derive(Debug, Clone, Default)]
pub(super) struct Files {
    /// Folders in which no destination may lie: the node's own.
    own: Arc<Vec<PathBuf>>,
    /// A place for each path, which an attempt holds until it has ended.
    places: Arc<Mutex<BTreeMap<String, Arc<Semaphore>>>>,
}

impl Files {
    /// No destination may lie in these folders, but for lines of JSON and logs directly in one of them.
    #[must_use]
    pub(super) fn outside(own: &[PathBuf]) -> Self {
        let own = own
            .iter()
            .map(|own| own.canonicalize().unwrap_or_else(|_| own.clone()));
        Self {
            own: Arc::new(own.collect()),
            places: Arc::default(),
        }
    }

    /// Whether a path can be a destination.
    ///
    /// # Errors
    /// What is wrong with it.
    pub(super) fn check(&self, path: &str) -> Result<(), String> {
        let parts = || Path::new(path).components();
        if !path.starts_with('/') || parts().any(|part| part.as_os_str() == "..") {
            return Err("path must be absolute, without `..`".to_owned());
        }
        let Some(folder) = Path::new(path).parent() else {
            return Err("path must name a file".to_owned());
        };
        // A folder that does not exist yet is checked at each attempt.
        let folder = folder.canonicalize().unwrap_or_else(|_| folder.to_owned());
        self.check_folder(&folder, path)
    }

    fn check_folder(&self, folder: &Path, path: &str) -> Result<(), String> {
        let own = self.own.iter().filter_map(|own| own.canonicalize().ok());
        let own: Vec<PathBuf> = own.collect();
        let forbidden = own.iter().cloned().chain(SYSTEM.iter().map(PathBuf::from));
        // Under systemd the data folder may be all that can be written, and none of the node's own files is called so.
        let is_ours_to_give = |forbidden: &PathBuf| {
            let extension = Path::new(path).extension().and_then(|name| name.to_str());
            *forbidden == folder
                && self.own.contains(forbidden)
                && extension.is_some_and(|extension| EXTENSIONS.contains(&extension))
        };
        let others = data_folder_around(folder).filter(|data| !own.iter().any(|own| own == data));
        let mut met = forbidden
            .filter(|forbidden| folder.starts_with(forbidden) && !is_ours_to_give(forbidden))
            .chain(others.map(Path::to_owned));
        match met.next() {
            Some(forbidden) => Err(format!(
                "a destination cannot be there: {} holds files of the node or of the system; give a file in another folder, or, directly in the data folder, one whose name ends with .jsonl",
                forbidden.display()
            )),
            None => Ok(()),
        }
    }

    /// Appends a line and syncs it.
    ///
    /// # Errors
    /// As [`FileError`] says.
    pub(super) async fn append(
        &self,
        path: &str,
        line: String,
        time: Duration,
    ) -> Result<(), FileError> {
        let places = self
            .places
            .lock()
            .entry(path.to_owned())
            .or_insert_with(|| Arc::new(Semaphore::new(1)))
            .clone();
        let place = tokio::time::timeout(time, places.acquire_owned()).await;
        let Ok(Ok(place)) = place else {
            return Err(FileError::Blocked(path.to_owned()));
        };
        let (files, to) = (self.clone(), path.to_owned());
        let (say, said) = tokio::sync::oneshot::channel();
        let failed = |error| FileError::Failed {
            path: path.to_owned(),
            error,
        };
        // A thread outside the runtime's pool: others are not held up, and a stop does not wait for it.
        std::thread::Builder::new()
            .name("file-destination".to_owned())
            .spawn(move || {
                let written = files.write(&to, &line);
                drop(place);
                let _ = say.send(written); // the attempt may have given up waiting
            })
            .map_err(failed)?;
        match tokio::time::timeout(time, said).await {
            Ok(Ok(written)) => written.map_err(failed),
            Ok(Err(_)) => Err(failed(io::Error::other("its thread ended"))),
            Err(_) => Err(FileError::Slow {
                path: path.to_owned(),
                time,
            }),
        }
    }

    fn write(&self, path: &str, line: &str) -> io::Result<()> {
        let to = Path::new(path);
        let (Some(folder), Some(name)) = (to.parent(), to.file_name()) else {
            return Err(io::ErrorKind::InvalidInput.into());
        };
        // The folder that is checked is the one that is written to, whatever its name leads to later.
        let folder = Anchor::at(folder)?;
        self.check_folder(&folder.path()?, path)
            .map_err(|reason| io::Error::new(io::ErrorKind::PermissionDenied, reason))?;
        let mut file = folder.append(name)?;
        file.write_all(line.as_bytes())?;
        file.sync_data()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const TIME: Duration = Duration::from_secs(10);

    #[tokio::test]
    async fn only_regular_files_outside_our_folders_are_written() {
        let folder = tempfile::tempdir().unwrap();
        let own = folder.path().join("own");
        std::fs::create_dir(&own).unwrap();
        let at = |name: &str| folder.path().join(name).to_str().unwrap().to_owned();
        std::os::unix::fs::symlink(&own, at("alias")).unwrap();
        std::os::unix::fs::symlink(own.join("key"), at("link")).unwrap();
        let made = std::process::Command::new("mkfifo")
            .arg(at("pipe"))
            .status();
        assert!(made.unwrap().success());
        let files = Files::outside(std::slice::from_ref(&own));
        std::fs::create_dir(own.join("group")).unwrap();
        // Data folders: the node's own, and that of another daemon on this machine.
        std::fs::create_dir(at("other")).unwrap();
        for data in ["own", "other"] {
            for mark in ["identity", "lock"] {
                std::fs::write(Path::new(&at(data)).join(mark), "").unwrap();
            }
        }
        for wrong in [
            "pipe",
            "own/x",
            "alias/x",
            "link",
            "own",
            "missing/x",
            "own/group/x.jsonl",
            "other/x.jsonl",
        ] {
            let done = files.append(&at(wrong), "line\n".into(), TIME).await;
            assert!(
                matches!(done, Err(FileError::Failed { .. })),
                "{wrong}: {done:?}"
            );
        }
        assert_eq!(std::fs::read_dir(&own).unwrap().count(), 3);
        for wrong in [
            "/proc/self/mem",
            "/dev/full",
            "/a/..",
            "a",
            "/",
            &at("alias/x"),
            &at("other/x.jsonl"),
        ] {
            assert!(files.check(wrong).is_err(), "{wrong}");
        }
        files.check(&at("good")).unwrap();
        files.check(&at("own/alerts.jsonl")).unwrap();
        let jsonl = at("own/alerts.jsonl");
        files.append(&jsonl, "line\n".into(), TIME).await.unwrap();
        for _ in 0..2 {
            files
                .append(&at("good"), "line\n".into(), TIME)
                .await
                .unwrap();
        }
        assert_eq!(std::fs::read_to_string(at("good")).unwrap(), "line\nline\n");
    }

    #[tokio::test]
    async fn a_path_that_is_blocked_takes_no_second_thread() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("f").to_str().unwrap().to_owned();
        let files = Files::default();
        let append = || files.append(&path, "line\n".into(), Duration::from_millis(50));
        append().await.unwrap();
        let places = files.places.lock()[&path].clone();
        let place = places.acquire_owned().await;
        let done = append().await;
        assert!(matches!(done, Err(FileError::Blocked(_))), "{done:?}");
        drop(place);
        append().await.unwrap();
    }
}
