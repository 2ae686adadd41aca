//! What is in a watched folder: the files that may be read, and what is left out, with the reason.
//!
//! Names in the folder are chosen by others, so a file is opened only if it is the one that was listed: below the folder, by no
//! symbolic link unless the source follows them, a regular file of the same inode, and nothing of this daemon's own.

use std::collections::{BTreeMap, BTreeSet};
use std::fs::{File, Metadata};
use std::io;
use std::os::unix::fs::{MetadataExt, OpenOptionsExt};
use std::path::{Path, PathBuf};
use std::time::SystemTime;

use rustix::fs::{Mode, OFlags, ResolveFlags};

/// Folders below a watched one that are looked into.
const DEPTH: usize = 32;
/// Files of one folder source; those beyond are left out and named in the source's state.
const FILES: usize = 100_000;

/// A file as it was listed.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct Found {
    /// Its path.
    pub(super) path: PathBuf,
    /// Which file it is on this machine, until it is removed: the name does not tell, as rotation renames files.
    pub(super) id: FileId,
    /// Its bytes.
    pub(super) size: u64,
    /// When it was last written to, by its file system.
    pub(super) modified: SystemTime,
}

/// Device and inode of a file.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub(super) struct FileId {
    pub(super) device: u64,
    pub(super) inode: u64,
}

impl FileId {
    pub(super) fn of(meta: &Metadata) -> Self {
        Self {
            device: meta.dev(),
            inode: meta.ino(),
        }
    }
}

/// A folder's files, and why others are left out.
#[derive(Debug, Default)]
pub(super) struct Listing {
    pub(super) files: Vec<Found>,
    /// What is not read: path, and the reason with its remedy.
    pub(super) left_out: BTreeMap<PathBuf, String>,
}

/// How a folder is looked through.
#[derive(Debug, Clone)]
pub(super) struct Watched {
    /// The folder.
    pub(super) root: PathBuf,
    /// Symbolic links are followed.
    pub(super) follow_links: bool,
    /// Folders of this daemon's own, of which nothing is read.
    pub(super) own: Vec<PathBuf>,
}

/// A folder whose files are followed. It changes at any time, also between two calls.
pub(super) trait Folder {
    /// Lists the folder.
    ///
    /// # Errors
    /// The folder itself cannot be listed.
    fn list(&self) -> io::Result<Listing>;

    /// Opens a listed file, without waiting for a writer of a pipe, and makes sure that it is the one that was listed.
    ///
    /// # Errors
    /// It cannot be opened, or is another one by now.
    fn open(&self, found: &Found) -> io::Result<File>;
}

impl Folder for Watched {
    fn list(&self) -> io::Result<Listing> {
        let mut listing = Listing::default();
        let mut walk = Walk {
            watched: self,
            listing: &mut listing,
            seen: BTreeSet::new(),
            folders: BTreeSet::new(),
        };
        let meta = std::fs::metadata(&self.root)?;
        walk.folders.insert(FileId::of(&meta));
        walk.folder(&self.root, 0)?;
        listing
            .files
            .sort_by(|left, right| (left.modified, &left.path).cmp(&(right.modified, &right.path)));
        Ok(listing)
    }

    fn open(&self, found: &Found) -> io::Result<File> {
        let file = if self.follow_links {
            open_plainly(&found.path, 0)?
        } else {
            self.open_beneath(&found.path)?
        };
        let meta = file.metadata()?;
        if !meta.is_file() || FileId::of(&meta) != found.id {
            return Err(io::Error::new(
                io::ErrorKind::NotFound,
                "another file took its name while the folder was looked through",
            ));
        }
        Ok(file)
    }
}

impl Watched {
    fn open_beneath(&self, path: &Path) -> io::Result<File> {
        let flags = OFlags::RDONLY | OFlags::NONBLOCK | OFlags::CLOEXEC | OFlags::NOCTTY;
        let root = rustix::fs::open(
            &self.root,
            OFlags::PATH | OFlags::DIRECTORY | OFlags::CLOEXEC,
            Mode::empty(),
        )?;
        let below = path.strip_prefix(&self.root).map_err(io::Error::other)?;
        let resolve = ResolveFlags::BENEATH | ResolveFlags::NO_SYMLINKS;
        match rustix::fs::openat2(&root, below, flags, Mode::empty(), resolve) {
            Ok(file) => Ok(File::from(file)),
            // A kernel, or a filter of system calls, from before openat2. The check of the inode still holds.
            Err(rustix::io::Errno::NOSYS | rustix::io::Errno::PERM) => {
                open_plainly(path, libc::O_NOFOLLOW)
            }
            Err(error) => Err(error.into()),
        }
    }

    fn is_own(&self, path: &Path) -> bool {
        let real = std::fs::canonicalize(path).unwrap_or_else(|_| path.to_owned());
        self.own.iter().any(|own| real.starts_with(own))
    }
}

fn open_plainly(path: &Path, flags: i32) -> io::Result<File> {
    std::fs::OpenOptions::new()
        .read(true)
        .custom_flags(libc::O_NONBLOCK | libc::O_CLOEXEC | libc::O_NOCTTY | flags)
        .open(path)
}

struct Walk<'a> {
    watched: &'a Watched,
    listing: &'a mut Listing,
    seen: BTreeSet<FileId>,
    folders: BTreeSet<FileId>,
}

impl Walk<'_> {
    fn folder(&mut self, folder: &Path, depth: usize) -> io::Result<()> {
        if self.watched.is_own(folder) {
            self.leave_out(
                folder,
                "it is a folder of this daemon's own data, which is never read as logs",
            );
            return Ok(());
        }
        for entry in std::fs::read_dir(folder)? {
            let path = entry?.path();
            if is_hidden_or_unfinished(&path) {
                continue;
            }
            match std::fs::symlink_metadata(&path) {
                Ok(meta) => self.entry(path, meta, depth),
                // A file that goes while it is looked at is no fault.
                Err(error) if error.kind() == io::ErrorKind::NotFound => {}
                Err(error) => self.leave_out(&path, format!("it cannot be looked at: {error}")),
            }
        }
        Ok(())
    }

    fn entry(&mut self, path: PathBuf, mut meta: Metadata, depth: usize) {
        if meta.is_symlink() {
            if !self.watched.follow_links {
                self.leave_out(&path, "it is a symbolic link, and this source does not follow them: `pantherctl sources update … --follow-links` changes that");
                return;
            }
            meta = match std::fs::metadata(&path) {
                Ok(meta) => meta,
                Err(error) => {
                    self.leave_out(
                        &path,
                        format!("it is a symbolic link that leads nowhere: {error}"),
                    );
                    return;
                }
            };
            if self.watched.is_own(&path) {
                self.leave_out(
                    &path,
                    "it is a link to data of this daemon's own, which is never read as logs",
                );
                return;
            }
        }
        if meta.is_dir() {
            if depth + 1 >= DEPTH {
                self.leave_out(&path, format!("it lies deeper than {DEPTH} folders"));
            } else if self.folders.insert(FileId::of(&meta))
                && let Err(error) = self.folder(&path, depth + 1)
                && error.kind() != io::ErrorKind::NotFound
            {
                self.leave_out(
                    &path,
                    format!("the folder cannot be listed: {error}; let the daemon's user read it"),
                );
            }
            return;
        }
        if !meta.is_file() {
            self.leave_out(&path, "it is no regular file");
            return;
        }
        let Ok(modified) = meta.modified() else {
            self.leave_out(&path, "its file system tells no time of change");
            return;
        };
        if self.listing.files.len() >= FILES {
            let root = self.watched.root.clone();
            self.leave_out(
                &root,
                format!("it holds more than {FILES} files; the rest of them is not read"),
            );
            return;
        }
        // Two names of one file are one file.
        if self.seen.insert(FileId::of(&meta)) {
            self.listing.files.push(Found {
                path,
                id: FileId::of(&meta),
                size: meta.len(),
                modified,
            });
        }
    }

    fn leave_out(&mut self, path: &Path, reason: impl Into<String>) {
        self.listing.left_out.insert(path.to_owned(), reason.into());
    }
}

/// Names that programs give to what they still write, or hide.
fn is_hidden_or_unfinished(path: &Path) -> bool {
    let name = path.file_name().unwrap_or_default().to_string_lossy();
    name.starts_with('.') || name.ends_with(".tmp") || name.ends_with(".part")
}

#[cfg(test)]
mod tests {
    use std::os::unix::fs::symlink;

    use super::*;

    fn watched(root: &Path) -> Watched {
        Watched {
            root: root.to_owned(),
            follow_links: false,
            own: Vec::new(),
        }
    }

    #[test]
    fn what_is_left_out_is_named_with_its_reason() {
        let folder = tempfile::tempdir().unwrap();
        let root = folder.path();
        std::fs::write(root.join("plain.log"), "x\n").unwrap();
        std::fs::write(root.join("half.part"), "x\n").unwrap();
        symlink(root.join("plain.log"), root.join("link.log")).unwrap();
        symlink(root, root.join("loop")).unwrap();
        rustix::fs::mknodat(
            rustix::fs::CWD,
            root.join("pipe"),
            rustix::fs::FileType::Fifo,
            Mode::RUSR,
            0,
        )
        .unwrap();
        let listing = watched(root).list().unwrap();
        assert_eq!(listing.files.len(), 1);
        let names: Vec<String> = listing
            .left_out
            .keys()
            .map(|path| path.file_name().unwrap().to_string_lossy().into_owned())
            .collect();
        assert_eq!(names, ["link.log", "loop", "pipe"]);
        let following = Watched {
            follow_links: true,
            ..watched(root)
        };
        // The link is another name of the same file, and the loop ends.
        assert_eq!(following.list().unwrap().files.len(), 1);
    }

    #[test]
    fn a_file_that_was_exchanged_for_a_link_after_it_was_listed_is_not_opened() {
        let folder = tempfile::tempdir().unwrap();
        let secret = tempfile::tempdir().unwrap();
        std::fs::write(secret.path().join("key"), "secret\n").unwrap();
        let path = folder.path().join("a.log");
        std::fs::write(&path, "x\n").unwrap();
        let watched = watched(folder.path());
        let found = watched.list().unwrap().files.remove(0);
        assert!(watched.open(&found).is_ok());
        std::fs::remove_file(&path).unwrap();
        symlink(secret.path().join("key"), &path).unwrap();
        assert!(watched.open(&found).is_err());
        // A folder on the way that becomes a link is not followed either.
        let inner = folder.path().join("in");
        std::fs::create_dir(&inner).unwrap();
        std::fs::write(inner.join("key"), "x\n").unwrap();
        let mut found = watched
            .list()
            .unwrap()
            .files
            .into_iter()
            .find(|file| file.path.ends_with("in/key"))
            .unwrap();
        std::fs::remove_dir_all(&inner).unwrap();
        symlink(secret.path(), &inner).unwrap();
        found.id = FileId::of(&std::fs::metadata(secret.path().join("key")).unwrap());
        assert!(watched.open(&found).is_err());
    }

    #[test]
    fn the_daemons_own_folders_are_no_logs() {
        let folder = tempfile::tempdir().unwrap();
        let own = folder.path().join("data");
        std::fs::create_dir(&own).unwrap();
        std::fs::write(own.join("sealing.key"), "secret\n").unwrap();
        let watched = Watched {
            own: vec![std::fs::canonicalize(&own).unwrap()],
            ..watched(folder.path())
        };
        let listing = watched.list().unwrap();
        assert!(listing.files.is_empty());
        assert!(listing.left_out[&own].contains("own data"));
    }
}
