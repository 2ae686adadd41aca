//! Files that others name: an anchor is the descriptor of a folder, from which such files are opened.
//!
//! Who may write to a folder chooses its names, and can put another file, a link or a pipe in the place of a name at any time: also after the
//! name was looked at. So a file is opened below a descriptor, without links, and without waiting; and what counts is the file that was
//! opened, not its name.

use std::ffi::{OsStr, OsString};
use std::fs::File;
use std::io;
use std::os::fd::{AsFd, AsRawFd, OwnedFd};
use std::os::unix::ffi::OsStrExt;
use std::path::{Component, Path, PathBuf};

use rustix::fs::{AtFlags, CWD, Mode, OFlags, ResolveFlags, Stat};
use rustix::io::Errno;

/// Flags of every file that is opened: no waiting for the other end of a pipe, and no link as the last part of the path.
const FLAGS: OFlags = OFlags::NONBLOCK
    .union(OFlags::NOFOLLOW)
    .union(OFlags::CLOEXEC)
    .union(OFlags::NOCTTY);
/// Flags of a folder that files are opened below.
const FOLDER: OFlags = OFlags::PATH.union(OFlags::DIRECTORY).union(OFlags::CLOEXEC);
/// Rights of a file that is made; the process's mask takes some of them away.
const MADE: Mode = Mode::from_raw_mode(0o666);

/// Whether symbolic links are followed.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Links {
    /// No part of the path may be a link.
    Refused,
    /// Links are followed, out of the folder too, except those of a process's descriptors in `/proc`.
    Followed,
}

/// A folder below which files are opened.
#[derive(Debug)]
pub(crate) struct Anchor {
    folder: OwnedFd,
}

impl Anchor {
    /// The folder at a path, which is an operator's: links in it are followed.
    ///
    /// # Errors
    /// There is no such folder.
    pub(crate) fn at(path: &Path) -> io::Result<Self> {
        let folder = rustix::fs::openat(CWD, path, FOLDER, Mode::empty())?;
        Ok(Self { folder })
    }

    /// A folder below this one.
    ///
    /// # Errors
    /// There is no such folder, or it is a link and links are refused.
    pub(crate) fn below(&self, path: &Path, links: Links) -> io::Result<Self> {
        let folder = self.resolve(path, FOLDER, links)?;
        Ok(Self { folder })
    }

    /// Opens a regular file below the folder for reading. A read does not wait for a writer.
    ///
    /// # Errors
    /// There is no such file, or it is not a regular file, or it is a link and links are refused.
    pub(crate) fn read(&self, path: &Path, links: Links) -> io::Result<File> {
        regular(self.resolve(path, OFlags::RDONLY | FLAGS, links)?)
    }

    /// Opens a regular file directly in the folder for appending, and makes it if it is not there.
    ///
    /// # Errors
    /// The name is of something else, or of another folder.
    pub(crate) fn append(&self, name: &OsStr) -> io::Result<File> {
        if !matches!(only_part(Path::new(name)), Some(part) if part == name) {
            return Err(io::ErrorKind::InvalidInput.into());
        }
        let flags = OFlags::WRONLY | OFlags::APPEND | OFlags::CREATE | FLAGS;
        regular(rustix::fs::openat(&self.folder, name, flags, MADE)?)
    }

    /// The names in the folder, in no order.
    ///
    /// # Errors
    /// The folder cannot be read.
    pub(crate) fn names(&self) -> io::Result<Vec<OsString>> {
        let flags = OFlags::RDONLY | OFlags::DIRECTORY | OFlags::CLOEXEC;
        let folder = rustix::fs::openat(&self.folder, ".", flags, Mode::empty())?;
        let mut names = Vec::new();
        for entry in rustix::fs::Dir::read_from(folder)? {
            let entry = entry?;
            let name = entry.file_name().to_bytes();
            if !matches!(name, b"." | b"..") {
                names.push(OsStr::from_bytes(name).to_owned());
            }
        }
        Ok(names)
    }

    /// What a name in the folder is of.
    ///
    /// # Errors
    /// It is of nothing.
    pub(crate) fn stat(&self, name: &OsStr, links: Links) -> io::Result<Stat> {
        let flags = match links {
            Links::Refused => AtFlags::SYMLINK_NOFOLLOW,
            Links::Followed => AtFlags::empty(),
        };
        Ok(rustix::fs::statat(&self.folder, name, flags)?)
    }

    /// What the folder itself is.
    ///
    /// # Errors
    /// The file system does not answer.
    pub(crate) fn own_stat(&self) -> io::Result<Stat> {
        Ok(rustix::fs::fstat(&self.folder)?)
    }

    /// Where the folder is, without links: whatever its name was when it was opened.
    ///
    /// # Errors
    /// The system does not say.
    pub(crate) fn path(&self) -> io::Result<PathBuf> {
        path_of(&self.folder)
    }

    fn resolve(&self, path: &Path, flags: OFlags, links: Links) -> io::Result<OwnedFd> {
        let (flags, resolve) = match links {
            Links::Refused => (
                flags | OFlags::NOFOLLOW,
                ResolveFlags::BENEATH | ResolveFlags::NO_SYMLINKS | ResolveFlags::NO_MAGICLINKS,
            ),
            Links::Followed => (flags - OFlags::NOFOLLOW, ResolveFlags::NO_MAGICLINKS),
        };
        match rustix::fs::openat2(&self.folder, path, flags, Mode::empty(), resolve) {
            // A kernel, or a filter of system calls, from before openat2.
            Err(Errno::NOSYS | Errno::PERM) => self.step_by_step(path, flags, links),
            opened => Ok(opened?),
        }
    }

    /// The same, one part of the path after the other.
    fn step_by_step(&self, path: &Path, flags: OFlags, links: Links) -> io::Result<OwnedFd> {
        if links == Links::Followed {
            return Ok(rustix::fs::openat(
                &self.folder,
                path,
                flags,
                Mode::empty(),
            )?);
        }
        let (folders, name) = (path.parent(), path.file_name());
        let mut folder = rustix::fs::openat(&self.folder, ".", FOLDER, Mode::empty())?;
        for part in folders.into_iter().flat_map(Path::components) {
            let Component::Normal(part) = part else {
                return Err(io::ErrorKind::InvalidInput.into());
            };
            folder = rustix::fs::openat(&folder, part, FOLDER | OFlags::NOFOLLOW, Mode::empty())?;
        }
        let name = name.ok_or(io::ErrorKind::InvalidInput)?;
        Ok(rustix::fs::openat(&folder, name, flags, Mode::empty())?)
    }
}

/// Where an open file or folder is, without links.
///
/// # Errors
/// The system does not say.
pub(crate) fn path_of(file: &impl AsFd) -> io::Result<PathBuf> {
    let descriptor = file.as_fd().as_raw_fd();
    std::fs::read_link(format!("/proc/self/fd/{descriptor}"))
}

/// The data folder of a pantherd that a path without links lies in, if there is one. It need not be this daemon's: several can run on one
/// machine, and the keys of each are secrets.
pub(crate) fn data_folder_around(real: &Path) -> Option<&Path> {
    let marks = ["identity", "lock"];
    real.ancestors()
        .find(|folder| marks.iter().all(|mark| folder.join(mark).is_file()))
}

fn regular(file: OwnedFd) -> io::Result<File> {
    let file = File::from(file);
    if file.metadata()?.is_file() {
        Ok(file)
    } else {
        Err(io::Error::other("it is not a regular file"))
    }
}

fn only_part(path: &Path) -> Option<&OsStr> {
    let mut parts = path.components();
    match (parts.next(), parts.next()) {
        (Some(Component::Normal(part)), None) => Some(part),
        _ => None,
    }
}

#[cfg(test)]
mod tests {
    use std::io::{Read as _, Write as _};
    use std::os::unix::fs::symlink;

    use super::*;

    /// A folder with a file, a subfolder with one, and the ways that must not lead out of it.
    fn folder() -> (tempfile::TempDir, tempfile::TempDir) {
        let (folder, outside) = (tempfile::tempdir().unwrap(), tempfile::tempdir().unwrap());
        let root = folder.path();
        std::fs::create_dir(root.join("in")).unwrap();
        std::fs::write(root.join("in/a.log"), "a\n").unwrap();
        std::fs::write(outside.path().join("key"), "secret\n").unwrap();
        symlink(outside.path().join("key"), root.join("link")).unwrap();
        symlink(outside.path(), root.join("out")).unwrap();
        symlink("/proc/self/fd/0", root.join("magic")).unwrap();
        rustix::fs::mknodat(
            CWD,
            root.join("pipe"),
            rustix::fs::FileType::Fifo,
            Mode::RUSR,
            0,
        )
        .unwrap();
        (folder, outside)
    }

    #[test]
    fn only_a_regular_file_below_the_folder_is_opened_with_openat2_and_without() {
        let (folder, outside) = folder();
        let anchor = Anchor::at(folder.path()).unwrap();
        let flags = OFlags::RDONLY | FLAGS;
        let key = outside.path().join("key");
        for wrong in [
            "link",
            "out/key",
            "magic",
            "pipe",
            "in",
            "missing",
            "in/../in/a.log",
            "../x",
            key.to_str().unwrap(),
        ] {
            let path = Path::new(wrong);
            let opened = anchor.read(path, Links::Refused);
            assert!(opened.is_err() || wrong.starts_with("in/"), "{wrong}");
            let stepped = anchor.step_by_step(path, flags, Links::Refused);
            assert!(stepped.and_then(regular).is_err(), "{wrong}");
        }
        let good = Path::new("in/a.log");
        let stepped = anchor.step_by_step(good, flags, Links::Refused).unwrap();
        for mut file in [
            anchor.read(good, Links::Refused).unwrap(),
            regular(stepped).unwrap(),
            anchor.read(Path::new("link"), Links::Followed).unwrap(),
        ] {
            let mut text = String::new();
            file.read_to_string(&mut text).unwrap();
            assert!(text == "a\n" || text == "secret\n");
        }
        assert!(anchor.read(Path::new("magic"), Links::Followed).is_err());
        assert!(anchor.below(Path::new("out"), Links::Refused).is_err());
        let out = anchor.below(Path::new("out"), Links::Followed).unwrap();
        assert_eq!(
            out.path().unwrap(),
            outside.path().canonicalize().unwrap(),
            "the folder is known by what was opened"
        );
    }

    #[test]
    fn a_file_is_appended_to_in_the_folder_itself() {
        let (folder, _outside) = folder();
        let anchor = Anchor::at(folder.path()).unwrap();
        for wrong in ["link", "pipe", "in", "out/x", "../x", "..", ".", ""] {
            assert!(anchor.append(OsStr::new(wrong)).is_err(), "{wrong}");
        }
        for _ in 0..2 {
            let mut file = anchor.append(OsStr::new("new")).unwrap();
            file.write_all(b"line\n").unwrap();
        }
        let text = std::fs::read_to_string(folder.path().join("new")).unwrap();
        assert_eq!(text, "line\nline\n");
        // The name of the folder may be another one's by now.
        let moved = folder.path().join("moved");
        let inner = anchor.below(Path::new("in"), Links::Refused).unwrap();
        std::fs::rename(folder.path().join("in"), &moved).unwrap();
        symlink(_outside.path(), folder.path().join("in")).unwrap();
        drop(inner.append(OsStr::new("new")).unwrap());
        assert!(moved.join("new").exists());
    }
}
