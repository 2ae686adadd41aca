//! Watched folders: a file is taken once it has not changed for two seconds, or was moved in and is that old already. What
//! identifies it is path, size and content; a row says that it was taken, written by the command that tells of it. Files
//! are never changed or deleted.

use std::collections::{BTreeMap, BTreeSet};
use std::io;
use std::path::{Path, PathBuf};
use std::time::{Duration, SystemTime};

use bytes::Bytes;
use panther_cluster::door::change::{self, Change};
use panther_cluster::door::{Door, DoorError};
use panther_cluster::objects::Objects;
use panther_cluster::storage::room::Room;
use panther_proto::v1::Transact;
use tokio::sync::watch;

use crate::components::objects::Written;
use crate::components::sources::{self, Source, SourceKind};

/// The table of files that were taken.
pub const TABLE: &str = "panther-watched-files";
/// How often folders are looked through.
const LOOK: Duration = Duration::from_millis(500);
/// How long a file must have been as it is.
const QUIET: Duration = Duration::from_secs(2);
/// Largest file that is taken; a larger one is said to be too large, once.
const FILE_BYTES: u64 = 2 << 30;
/// Folders below a watched one that are looked into.
const DEPTH: usize = 8;

/// Watches the folders of all folder sources.
pub struct FolderWatch {
    door: Door,
    objects: Objects,
    disk: Room,
}

/// What a file looked like when it was last seen.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
struct Look {
    bytes: u64,
    modified: SystemTime,
}

#[derive(Default)]
struct Seen {
    /// Files that were taken or refused as they are.
    settled: BTreeMap<PathBuf, Look>,
    /// Folders that could not be read, so that this is said once.
    unreadable: BTreeSet<PathBuf>,
}

impl FolderWatch {
    /// Behind this door.
    #[must_use]
    pub fn new(door: Door, objects: Objects, disk: Room) -> Self {
        Self {
            door,
            objects,
            disk,
        }
    }

    /// Looks until `stop` is true.
    pub async fn run(&self, mut stop: watch::Receiver<bool>) {
        let mut seen: BTreeMap<String, Seen> = BTreeMap::new();
        let mut ticks = tokio::time::interval(LOOK);
        ticks.set_missed_tick_behavior(tokio::time::MissedTickBehavior::Delay);
        loop {
            tokio::select! { _ = ticks.tick() => {}, _ = stop.changed() => return }
            if self.disk.refusal().is_some() {
                continue; // files wait where they lie; the disk's alarm tells why
            }
            let folders = match sources::all(&self.door).await {
                Ok(all) => all
                    .into_iter()
                    .filter(|source| source.kind == SourceKind::Folder),
                Err(error) => {
                    tracing::debug!(%error, "sources cannot be read; folders are looked through later");
                    continue;
                }
            };
            for source in folders {
                if *stop.borrow() {
                    return;
                }
                self.look(&source, seen.entry(source.id.clone()).or_default())
                    .await;
            }
        }
    }

    async fn look(&self, source: &Source, seen: &mut Seen) {
        let folder = PathBuf::from(&source.path);
        let listed = {
            let folder = folder.clone();
            tokio::task::spawn_blocking(move || list(&folder, DEPTH)).await
        };
        let files = match listed {
            Ok(Ok(files)) => {
                seen.unreadable.remove(&folder);
                files
            }
            Ok(Err(error)) => {
                if seen.unreadable.insert(folder) {
                    tracing::warn!(source = source.label, path = source.path, %error, "a watched folder cannot be read; it is tried again");
                }
                return;
            }
            Err(_) => return,
        };
        seen.settled.retain(|path, _| files.contains_key(path));
        let now = SystemTime::now();
        for (path, look) in files {
            let quiet = now
                .duration_since(look.modified)
                .is_ok_and(|since| since >= QUIET);
            if !quiet || seen.settled.get(&path) == Some(&look) {
                continue;
            }
            match self.take(source, &path, look).await {
                Ok(true) => {
                    tracing::info!(source = source.label, path = %path.display(), bytes = look.bytes, "file taken");
                    seen.settled.insert(path, look);
                }
                Ok(false) => {
                    seen.settled.insert(path, look);
                }
                Err(error) => {
                    tracing::warn!(source = source.label, path = %path.display(), error, "a file could not be taken; it is tried again")
                }
            }
        }
    }

    /// Takes a file; false if it was taken before, or is none to be taken.
    async fn take(&self, source: &Source, path: &Path, look: Look) -> Result<bool, String> {
        if look.bytes == 0 {
            return Ok(false);
        }
        if look.bytes > FILE_BYTES {
            tracing::error!(source = source.label, path = %path.display(), bytes = look.bytes, "a file is larger than {FILE_BYTES} bytes and is not taken: split it");
            return Ok(false);
        }
        let read = {
            let path = path.to_owned();
            tokio::task::spawn_blocking(move || std::fs::read(path)).await
        };
        let content = read
            .map_err(|error| error.to_string())?
            .map_err(|error| error.to_string())?;
        if content.len() as u64 != look.bytes {
            return Err("it grew while it was read".to_owned());
        }
        let content = Bytes::from(content);
        let mut written = Written::of(String::new(), &content);
        let identity = format!("{}:{}:{}", path.display(), written.bytes, written.hash);
        let key = change::key_range(&source.id, crate::sealing::token_hash(&identity));
        if self
            .door
            .get(TABLE, &key)
            .await
            .map_err(|error| error.to_string())?
            .is_some()
        {
            return Ok(false);
        }
        // One object per identity: a second try of the same file writes the same one.
        written.name = format!("raw/{}/file-{}", source.id, key.range);
        self.objects
            .put(&written.name, content)
            .await
            .map_err(|error| error.to_string())?;
        let now = self.door.now_ms();
        let row = Change::put(TABLE, key)
            .if_row_absent()
            .set("path", path.display().to_string())
            .set("bytes", written.bytes)
            .set("hash", &written.hash)
            .set("object", &written.name)
            .set("takenAt", now);
        let tell = Transact {
            changes: vec![row.done(), written.row(now)],
            sends: vec![super::http::notification(&source.id, &written)],
            ..Transact::default()
        };
        match self.door.transact(tell).await {
            Ok(_) => Ok(true),
            Err(DoorError::Conflict(_)) => Ok(false),
            Err(error) => Err(error.to_string()),
        }
    }
}

/// Regular files below a folder; hidden ones and those that are still being written by name are left out.
fn list(folder: &Path, depth: usize) -> io::Result<BTreeMap<PathBuf, Look>> {
    let mut files = BTreeMap::new();
    for entry in std::fs::read_dir(folder)? {
        let entry = entry?;
        let name = entry.file_name();
        let name = name.to_string_lossy();
        if name.starts_with('.') || name.ends_with(".tmp") || name.ends_with(".part") {
            continue;
        }
        let kind = entry.file_type()?;
        if kind.is_dir() && depth > 0 {
            // A folder that goes while it is looked at is no error of the others.
            files.extend(list(&entry.path(), depth - 1).unwrap_or_default());
        } else if kind.is_file()
            && let Ok(meta) = entry.metadata()
        {
            files.insert(
                entry.path(),
                Look {
                    bytes: meta.len(),
                    modified: meta.modified()?,
                },
            );
        }
    }
    Ok(files)
}
