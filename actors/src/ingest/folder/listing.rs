//! What is in a watched folder: the files that may be read, and what is left out, with the reason.
//!
//! Names in the folder are chosen by others, so a file is opened only if it is the one that was listed: below the folder, by no
//! symbolic link unless the source follows them, a regular file of the same inode, and nothing of this daemon's own.

use std::collections::{BTreeMap, BTreeSet};
use std::ffi::OsStr;
use std::fs::File;
use std::io;
use std::path::{Path, PathBuf};
use std::time::{Duration, SystemTime};

use rustix::fs::{FileType, Stat};

use crate::anchor::{Anchor, Links, data_folder_around, path_of};

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
    pub(super) fn of(stat: &Stat) -> Self {
        Self {
            device: stat.st_dev,
            inode: stat.st_ino,
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
        let root = Anchor::at(&self.root)?;
        let mut walk = Walk {
            watched: self,
            listing: &mut listing,
            seen: BTreeSet::new(),
            folders: BTreeSet::from([FileId::of(&root.own_stat()?)]),
        };
        walk.folder(&root, &self.root, 0)?;
        listing
            .files
            .sort_by(|left, right| (left.modified, &left.path).cmp(&(right.modified, &right.path)));
        Ok(listing)
    }

    fn open(&self, found: &Found) -> io::Result<File> {
        let below = found.path.strip_prefix(&self.root);
        let file = Anchor::at(&self.root)?
            .read(below.map_err(io::Error::other)?, self.links())
            .map_err(|error| match error.raw_os_error() {
                // A link took its name, or one of a folder on the way.
                Some(libc::ELOOP | libc::ENOTDIR | libc::ENXIO) => gone(),
                _ => error,
            })?;
        let stat = rustix::fs::fstat(&file)?;
        if FileId::of(&stat) != found.id {
            return Err(gone());
        }
        // A link can lead to another file at each look; what was opened cannot change.
        if self.is_own(&path_of(&file)?) {
            return Err(io::Error::other(OWN));
        }
        Ok(file)
    }
}

/// Why a file of the daemon's own is left out.
const OWN: &str = "it is a daemon's own data, which is never read as logs";

fn gone() -> io::Error {
    io::Error::new(
        io::ErrorKind::NotFound,
        "another file took its name while the folder was looked through",
    )
}

impl Watched {
    const fn links(&self) -> Links {
        if self.follow_links {
            Links::Followed
        } else {
            Links::Refused
        }
    }

    /// Whether a path without links leads to the daemon's own data, or to that of another daemon on this machine.
    fn is_own(&self, real: &Path) -> bool {
        self.own.iter().any(|own| real.starts_with(own)) || data_folder_around(real).is_some()
    }
}

struct Walk<'a> {
    watched: &'a Watched,
    listing: &'a mut Listing,
    seen: BTreeSet<FileId>,
    folders: BTreeSet<FileId>,
}

impl Walk<'_> {
    fn folder(&mut self, folder: &Anchor, path: &Path, depth: usize) -> io::Result<()> {
        if self.watched.is_own(&folder.path()?) {
            self.leave_out(path, OWN);
            return Ok(());
        }
        for name in folder.names()? {
            if is_hidden_or_unfinished(&name) {
                continue;
            }
            match folder.stat(&name, Links::Refused) {
                Ok(stat) => self.entry(folder, path, &name, stat, depth),
                // A file that goes while it is looked at is no fault.
                Err(error) if error.kind() == io::ErrorKind::NotFound => {}
                Err(error) => {
                    self.leave_out(
                        &path.join(&name),
                        format!("it cannot be looked at: {error}"),
                    );
                }
            }
        }
        Ok(())
    }

    fn entry(&mut self, folder: &Anchor, at: &Path, name: &OsStr, mut stat: Stat, depth: usize) {
        let path = at.join(name);
        let kind = |stat: &Stat| FileType::from_raw_mode(stat.st_mode);
        if kind(&stat) == FileType::Symlink {
            if !self.watched.follow_links {
                self.leave_out(&path, "it is a symbolic link, and this source does not follow them: `pantherctl sources update … --follow-links` changes that");
                return;
            }
            stat = match folder.stat(name, Links::Followed) {
                Ok(stat) => stat,
                Err(error) => {
                    self.leave_out(
                        &path,
                        format!("it is a symbolic link that leads nowhere: {error}"),
                    );
                    return;
                }
            };
            if std::fs::canonicalize(&path).is_ok_and(|real| self.watched.is_own(&real)) {
                self.leave_out(&path, OWN);
                return;
            }
        }
        if kind(&stat) == FileType::Directory {
            self.subfolder(folder, &path, name, &stat, depth);
            return;
        }
        if kind(&stat) != FileType::RegularFile {
            self.leave_out(&path, "it is no regular file");
            return;
        }
        if self.listing.files.len() >= FILES {
            let root = self.watched.root.clone();
            self.leave_out(
                &root,
                format!("it holds more than {FILES} files; the rest of them is not read"),
            );
            return;
        }
        // Two names of one file are one file.
        if self.seen.insert(FileId::of(&stat)) {
            self.listing.files.push(Found {
                path,
                id: FileId::of(&stat),
                size: u64::try_from(stat.st_size).unwrap_or(0),
                modified: modified(&stat),
            });
        }
    }

    fn subfolder(&mut self, folder: &Anchor, path: &Path, name: &OsStr, stat: &Stat, depth: usize) {
        if depth + 1 >= DEPTH {
            self.leave_out(path, format!("it lies deeper than {DEPTH} folders"));
            return;
        }
        if !self.folders.insert(FileId::of(stat)) {
            return;
        }
        let below = folder
            .below(Path::new(name), self.watched.links())
            .and_then(|below| self.folder(&below, path, depth + 1));
        match below {
            Ok(()) => {}
            // It went, or a link took its name.
            Err(error) if error.kind() == io::ErrorKind::NotFound => {}
            Err(error) if matches!(error.raw_os_error(), Some(libc::ELOOP | libc::ENOTDIR)) => {}
            Err(error) => self.leave_out(
                path,
                format!("the folder cannot be listed: {error}; let the daemon's user read it"),
            ),
        }
    }

    fn leave_out(&mut self, path: &Path, reason: impl Into<String>) {
        self.listing.left_out.insert(path.to_owned(), reason.into());
    }
}

/// When a file was last written to; a time before 1970 is 1970.
fn modified(stat: &Stat) -> SystemTime {
    let seconds = u64::try_from(stat.st_mtime).unwrap_or(0);
    let nanoseconds = u32::try_from(stat.st_mtime_nsec).unwrap_or(0);
    SystemTime::UNIX_EPOCH + Duration::new(seconds, nanoseconds.min(999_999_999))
}

/// Names that programs give to what they still write, or hide.
fn is_hidden_or_unfinished(name: &OsStr) -> bool {
    let name = name.to_string_lossy();
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
            rustix::fs::Mode::RUSR,
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
        found.id = FileId::of(&rustix::fs::stat(secret.path().join("key")).unwrap());
        assert!(watched.open(&found).is_err());
    }

    #[test]
    fn a_file_whose_name_another_file_took_after_it_was_listed_is_not_opened() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("a.log");
        std::fs::write(&path, "listed\n").unwrap();
        let watched = watched(folder.path());
        let found = watched.list().unwrap().files.remove(0);
        let other = folder.path().join("b.log");
        std::fs::write(&other, "another\n").unwrap();
        std::fs::rename(&other, &path).unwrap();
        let error = watched.open(&found).unwrap_err();
        assert_eq!(error.kind(), io::ErrorKind::NotFound);
    }

    #[test]
    fn a_link_that_leads_to_own_data_after_it_was_listed_is_not_opened() {
        let folder = tempfile::tempdir().unwrap();
        let own = tempfile::tempdir().unwrap();
        let key = own.path().join("sealing.key");
        std::fs::write(&key, "secret\n").unwrap();
        let path = folder.path().join("a.log");
        symlink(&key, &path).unwrap();
        let watched = Watched {
            follow_links: true,
            own: vec![std::fs::canonicalize(own.path()).unwrap()],
            ..watched(folder.path())
        };
        let listing = watched.list().unwrap();
        assert!(listing.left_out[&path].contains("own"));
        // As if the link had led elsewhere at the moment in which this was asked.
        let found = Found {
            path,
            id: FileId::of(&rustix::fs::stat(&key).unwrap()),
            size: 7,
            modified: SystemTime::now(),
        };
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

    /// Each node looks through the folder, and the folder's name can lead to the keys of any of them.
    #[test]
    fn the_data_of_another_daemon_on_this_machine_is_no_log() {
        let place = tempfile::tempdir().unwrap();
        let (data, root) = (place.path().join("data"), place.path().join("logs"));
        std::fs::create_dir_all(data.join("keys")).unwrap();
        std::fs::write(data.join("keys/node.key"), "secret\n").unwrap();
        let key = FileId::of(&rustix::fs::stat(data.join("keys/node.key")).unwrap());
        symlink(data.join("keys"), &root).unwrap();
        let watched = watched(&root);
        let found = watched.list().unwrap().files.remove(0);
        assert_eq!(found.id, key);
        assert!(watched.open(&found).is_ok());
        // As soon as the folder around it is a daemon's.
        for mark in ["identity", "lock"] {
            std::fs::write(data.join(mark), "").unwrap();
        }
        let listing = watched.list().unwrap();
        assert!(listing.files.is_empty());
        assert!(listing.left_out[&root].contains("own data"));
        assert!(watched.open(&found).is_err());
    }
}
