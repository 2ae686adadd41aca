//! Objects in a local folder. `object_store` writes without a sync: after a power cut a file may exist without its content, and because objects never
//! change, it would make every retry fail. So an object is first written to a staging file and synced, and only then linked to its name.

use std::fs::File;
use std::io::{self, Read};
use std::path::{Path, PathBuf};
use std::time::{Duration, SystemTime};

use crate::log::sync_folder;

/// Folder of the staging files, inside the root folder.
const STAGED: &str = ".staged";
/// Age after which a staging file is abandoned: its process ended before the object got its name. Nodes may share the folder, so a younger file may
/// belong to another node.
const ABANDONED: Duration = Duration::from_secs(24 * 3600);
/// Bytes that are compared at a time.
const COMPARED: u64 = 64 << 10;

/// A folder of objects.
#[derive(Debug, Clone)]
pub(super) struct LocalFolder {
    root: PathBuf,
}

impl LocalFolder {
    /// Creates the folder if it does not exist, and removes abandoned staging files.
    pub(super) fn open(folder: &Path) -> io::Result<Self> {
        std::fs::create_dir_all(folder.join(STAGED))?;
        let root = folder.canonicalize()?;
        for entry in std::fs::read_dir(root.join(STAGED))? {
            let entry = entry?;
            let age = entry
                .metadata()
                .and_then(|meta| meta.modified())
                .map(|written| {
                    SystemTime::now()
                        .duration_since(written)
                        .unwrap_or_default()
                });
            if age.is_ok_and(|age| age > ABANDONED) {
                std::fs::remove_file(entry.path())?;
            }
        }
        Ok(Self { root })
    }

    pub(super) fn root(&self) -> &Path {
        &self.root
    }

    /// Writes an object, durable on return. Returns false if the name exists with another content.
    pub(super) fn put(&self, path: &str, content: &[u8]) -> io::Result<bool> {
        self.put_from(path, || Ok(content))
    }

    /// Like [`LocalFolder::put`], but reads the content in pieces. Each call of `content` returns a reader of the whole content.
    pub(super) fn put_from<R: Read>(
        &self,
        path: &str,
        content: impl Fn() -> io::Result<R>,
    ) -> io::Result<bool> {
        let file = self.root.join(path);
        if let Some(folder) = file.parent() {
            std::fs::create_dir_all(folder)?;
        }
        let staged = self
            .root
            .join(STAGED)
            .join(format!("{:032x}", rand::random::<u128>()));
        let named = content()
            .and_then(|content| write_synced(&staged, content))
            .and_then(|()| match std::fs::hard_link(&staged, &file) {
                Ok(()) => Ok(true),
                Err(error) if error.kind() == io::ErrorKind::AlreadyExists => {
                    holds(&file, content()?)
                }
                Err(error) => Err(error),
            });
        // A leftover staging file is removed at a later start. The object does not depend on it.
        let _ = std::fs::remove_file(&staged);
        let named = named?;
        // The folders are synced even if the object exists already: its writer may have crashed before its own sync.
        for folder in file.ancestors().skip(1) {
            sync_folder(folder)?;
            if folder == self.root {
                break;
            }
        }
        Ok(named)
    }
}

fn write_synced(path: &Path, mut content: impl Read) -> io::Result<()> {
    let mut file = File::options().write(true).create_new(true).open(path)?;
    io::copy(&mut content, &mut file)?;
    file.sync_all()
}

/// True if the file has this content.
fn holds(path: &Path, mut content: impl Read) -> io::Result<bool> {
    let mut file = File::open(path)?;
    let (mut theirs, mut ours) = (Vec::new(), Vec::new());
    loop {
        theirs.clear();
        ours.clear();
        file.by_ref().take(COMPARED).read_to_end(&mut theirs)?;
        content.by_ref().take(COMPARED).read_to_end(&mut ours)?;
        if theirs != ours || ours.is_empty() {
            return Ok(theirs == ours);
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_name_keeps_its_first_content_and_nothing_stays_aside() {
        let folder = tempfile::tempdir().unwrap();
        let local = LocalFolder::open(folder.path()).unwrap();
        let long = vec![7; 3 * (COMPARED as usize) + 1];
        assert!(local.put("raw/a/1", &long).unwrap());
        assert!(local.put("raw/a/1", &long).unwrap());
        let mut other = long.clone();
        *other.last_mut().unwrap() = 8;
        assert!(!local.put("raw/a/1", &other).unwrap());
        assert!(!local.put("raw/a/1", b"short").unwrap());
        assert_eq!(std::fs::read(folder.path().join("raw/a/1")).unwrap(), long);
        assert_eq!(
            std::fs::read_dir(folder.path().join(STAGED))
                .unwrap()
                .count(),
            0
        );
    }

    #[test]
    fn what_was_left_half_written_long_ago_goes_at_a_start() {
        let folder = tempfile::tempdir().unwrap();
        LocalFolder::open(folder.path()).unwrap();
        let (old, young) = (
            folder.path().join(STAGED).join("old"),
            folder.path().join(STAGED).join("young"),
        );
        for file in [&old, &young] {
            std::fs::write(file, "half").unwrap();
        }
        let long_ago = SystemTime::now() - 2 * ABANDONED;
        File::options()
            .write(true)
            .open(&old)
            .unwrap()
            .set_modified(long_ago)
            .unwrap();
        LocalFolder::open(folder.path()).unwrap();
        assert!(!old.exists() && young.exists());
    }
}
