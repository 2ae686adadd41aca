//! Objects in a local folder. `object_store` writes there without syncing: after a power cut a name may be there whose
//! content is not, and as objects never change, it would be in the way of every further try. So an object is written
//! and synced aside, and only then gets its name.

use std::fs::File;
use std::io::{self, Read};
use std::path::{Path, PathBuf};
use std::time::{Duration, SystemTime};

use crate::log::sync_folder;

/// Where objects are written before they get their names, beside all of them.
const STAGED: &str = ".staged";
/// After this time nobody writes a staged file any more: its process ended before the object got its name. A folder may
/// be shared by nodes, so a younger one may be another's.
const ABANDONED: Duration = Duration::from_secs(24 * 3600);
/// Bytes that are compared at a time.
const COMPARED: u64 = 64 << 10;

/// A folder of objects.
#[derive(Debug, Clone)]
pub(super) struct LocalFolder {
    root: PathBuf,
}

impl LocalFolder {
    /// Makes the folder if it is not there, and removes what was left half-written long ago.
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

    /// Writes an object, durable on return; false if another content has this name already.
    pub(super) fn put(&self, path: &str, content: &[u8]) -> io::Result<bool> {
        self.put_from(path, || Ok(content))
    }

    /// The same of what a reader gives, piece by piece. `content` gives a reader of all of it each time.
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
        // What stays is removed at a start; the object does not depend on it.
        let _ = std::fs::remove_file(&staged);
        let named = named?;
        // Also for one that is there already: whoever wrote it may have been cut off before this.
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

/// Whether a file has this content.
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
