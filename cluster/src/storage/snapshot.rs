//! Snapshot file: a whole state. It contains items in key order, then the writes that happened while the items were read, then a header and a hash of
//! everything. A later item replaces an earlier item of the same key.

use std::fs::File;
use std::io::{self, BufReader, BufWriter, Read, Seek, SeekFrom, Write};
use std::path::{Path, PathBuf};

use bytes::Bytes;
use panther_proto::v1::{Membership, SnapshotHeader};
use prost::Message;
use xxhash_rust::xxh3::Xxh3;

use super::AppliedAt;
use crate::log::sync_folder;
use crate::state::Globals;

const MAGIC: &[u8; 8] = b"PCSNAP1\n";
const ENDING: &str = ".snapshot";
/// Name of a file that is being written.
const UNFINISHED: &str = "snapshot.new";
/// In place of a value's length: the key is removed.
const REMOVED: u32 = u32::MAX;
/// In place of a key's length: the header follows.
const END: u32 = u32::MAX;
/// Upper limit of a key's or value's length, in bytes. A larger length counts as damage.
const LONGEST: u32 = 256 << 20;
/// Bytes behind the header: the header's length (8), then the hash (16).
const FOOTER: i64 = 24;

/// A complete snapshot file.
#[derive(Debug, Clone, PartialEq)]
pub struct SnapshotFile {
    /// Path of the file.
    pub path: PathBuf,
    /// The file's header.
    pub header: SnapshotHeader,
}

fn damaged(path: &Path, what: &str) -> io::Error {
    io::Error::new(
        io::ErrorKind::InvalidData,
        format!("snapshot {} is damaged: {what}", path.display()),
    )
}

pub(super) struct Writer {
    root: PathBuf,
    temporary: PathBuf,
    out: BufWriter<File>,
    hash: Xxh3,
    items: u64,
}

impl Writer {
    pub(super) fn create(root: &Path) -> io::Result<Self> {
        let temporary = root.join(UNFINISHED);
        let mut writer = Self {
            root: root.to_owned(),
            out: BufWriter::with_capacity(1 << 20, File::create(&temporary)?),
            temporary,
            hash: Xxh3::new(),
            items: 0,
        };
        writer.write(MAGIC)?;
        Ok(writer)
    }

    fn write(&mut self, bytes: &[u8]) -> io::Result<()> {
        self.hash.update(bytes);
        self.out.write_all(bytes)
    }

    pub(super) fn item(&mut self, key: &[u8], value: Option<&Bytes>) -> io::Result<()> {
        let length = |length: usize| {
            u32::try_from(length)
                .ok()
                .filter(|length| *length < LONGEST)
                .ok_or_else(|| {
                    io::Error::new(
                        io::ErrorKind::InvalidInput,
                        "a value is too long for a snapshot",
                    )
                })
        };
        self.write(&length(key.len())?.to_le_bytes())?;
        self.write(
            &value
                .map_or(Ok(REMOVED), |value| length(value.len()))?
                .to_le_bytes(),
        )?;
        self.write(key)?;
        self.write(value.map_or(&[][..], |value| value))?;
        self.items += 1;
        Ok(())
    }

    pub(super) fn finish(
        mut self,
        applied: &AppliedAt,
        running_hash: u64,
        format: u32,
    ) -> io::Result<SnapshotFile> {
        let header = SnapshotHeader {
            last: applied.last,
            membership: applied.membership.clone(),
            running_hash: running_hash.to_be_bytes().to_vec().into(),
            format,
            items: self.items,
        };
        let encoded = header.encode_to_vec();
        self.write(&END.to_le_bytes())?;
        self.write(&encoded)?;
        self.write(&(encoded.len() as u64).to_le_bytes())?;
        let digest = self.hash.digest128().to_le_bytes();
        self.out.write_all(&digest)?;
        self.out.flush()?;
        self.out.get_ref().sync_all()?;
        make_current(&self.root, &self.temporary, header)
    }
}

/// Removes an unfinished file, to free its disk space.
pub(super) fn discard(root: &Path) {
    let _ = std::fs::remove_file(root.join(UNFINISHED)); // an error is harmless: the next attempt overwrites the file
}

/// Renames a finished file into `root`, durably, and removes older snapshots.
fn make_current(root: &Path, temporary: &Path, header: SnapshotHeader) -> io::Result<SnapshotFile> {
    let at = header.last.unwrap_or_default();
    let path = root.join(format!("{:016x}-{:016x}{ENDING}", at.index, at.term));
    std::fs::rename(temporary, &path)?;
    sync_folder(root)?;
    for other in list(root)?.into_iter().filter(|other| *other != path) {
        std::fs::remove_file(other)?;
    }
    Ok(SnapshotFile { path, header })
}

/// Files whose name is a snapshot's name, oldest first. Other files are left alone.
fn list(root: &Path) -> io::Result<Vec<PathBuf>> {
    let mut found = Vec::new();
    for entry in std::fs::read_dir(root)? {
        let path = entry?.path();
        let name = path.file_name().unwrap_or_default().to_string_lossy();
        if is_name(&name) {
            found.push(path);
        }
    }
    found.sort_unstable();
    Ok(found)
}

fn is_name(name: &str) -> bool {
    let number = |text: &str| text.len() == 16 && u64::from_str_radix(text, 16).is_ok();
    name.strip_suffix(ENDING)
        .and_then(|name| name.split_once('-'))
        .is_some_and(|(index, term)| number(index) && number(term))
}

impl SnapshotFile {
    /// The newest readable snapshot in a folder. A file that is truncated or damaged at its end is skipped with a warning: the state or the log still
    /// has what it contains.
    ///
    /// # Errors
    /// The folder cannot be read.
    pub fn newest(root: &Path) -> io::Result<Option<Self>> {
        for path in list(root)?.into_iter().rev() {
            match Self::open(path) {
                Ok(file) => return Ok(Some(file)),
                Err(error) => tracing::warn!(
                    %error,
                    "a snapshot file is left aside; the next snapshot removes it"
                ),
            }
        }
        Ok(None)
    }

    /// Reads a snapshot's header. [`SnapshotFile::read`] checks the items.
    ///
    /// # Errors
    /// The file cannot be read or is not a snapshot.
    pub fn open(path: PathBuf) -> io::Result<Self> {
        let mut file = File::open(&path)?;
        let length = file.metadata()?.len();
        if length < MAGIC.len() as u64 + FOOTER.unsigned_abs() {
            return Err(damaged(&path, "it is too short"));
        }
        file.seek(SeekFrom::End(-FOOTER))?;
        let mut bytes = [0; 8];
        file.read_exact(&mut bytes)?;
        let header_length = i64::from_le_bytes(bytes);
        if header_length < 0 || header_length.unsigned_abs() > length {
            return Err(damaged(&path, "its header's length makes no sense"));
        }
        file.seek(SeekFrom::End(-FOOTER - header_length))?;
        let mut encoded = vec![0; usize::try_from(header_length).unwrap_or_default()];
        file.read_exact(&mut encoded)?;
        let header = SnapshotHeader::decode(&encoded[..])
            .map_err(|_| damaged(&path, "its header does not decode"))?;
        Ok(Self { path, header })
    }

    /// Cluster time of the contained state, in milliseconds since 1970. Reads and checks the whole file.
    ///
    /// # Errors
    /// Same as [`SnapshotFile::read`].
    pub fn clock_ms(&self) -> io::Result<u64> {
        let globals_key = crate::state::keys::globals();
        let mut globals = Bytes::new();
        self.read(|key, value| {
            if key == globals_key {
                globals = value.unwrap_or_default();
            }
            Ok(())
        })?;
        let globals = Globals::decode(globals).map_err(io::Error::other)?;
        Ok(globals.clock_ms)
    }

    /// Copies this snapshot into `root`, if it is not there already, and makes it the newest one. Older snapshots are removed.
    ///
    /// # Errors
    /// The disk refuses the file.
    pub fn keep_in(&self, root: &Path) -> io::Result<Self> {
        if self.path.parent() == Some(root) {
            return Ok(self.clone());
        }
        let temporary = root.join(UNFINISHED);
        std::fs::copy(&self.path, &temporary)?;
        File::open(&temporary)?.sync_all()?;
        make_current(root, &temporary, self.header.clone())
    }

    /// Writes a copy with another membership into `root`: the state of a new group with the same items.
    ///
    /// # Errors
    /// This file is damaged, or the disk refuses the new file.
    pub fn with_membership(&self, root: &Path, membership: Membership) -> io::Result<Self> {
        let mut writer = Writer::create(root)?;
        let header = self.read(|key, value| writer.item(&key, value.as_ref()))?;
        let hash = header.running_hash.first_chunk::<8>();
        let hash = hash.ok_or_else(|| damaged(&self.path, "its header has no running hash"))?;
        let applied = AppliedAt {
            last: header.last,
            membership: Some(membership),
        };
        writer.finish(&applied, u64::from_be_bytes(*hash), header.format)
    }

    /// Calls `take` for every item, in the file's order, and checks the whole file against its hash at the end. Returns the header.
    ///
    /// # Errors
    /// The file cannot be read or is damaged, or `take` returns an error.
    pub fn read(
        &self,
        mut take: impl FnMut(Vec<u8>, Option<Bytes>) -> io::Result<()>,
    ) -> io::Result<SnapshotHeader> {
        let mut reader = Checked {
            inner: BufReader::with_capacity(1 << 20, File::open(&self.path)?),
            hash: Xxh3::new(),
        };
        let damaged = |what: &str| damaged(&self.path, what);
        if reader.bytes(MAGIC.len())? != MAGIC {
            return Err(damaged("it does not start as a snapshot"));
        }
        loop {
            let key_length = reader.number()?;
            if key_length == END {
                break;
            }
            let value_length = reader.number()?;
            if key_length > LONGEST || (value_length > LONGEST && value_length != REMOVED) {
                return Err(damaged("a length makes no sense"));
            }
            let key = reader.bytes(key_length as usize)?;
            let value = if value_length == REMOVED {
                None
            } else {
                Some(Bytes::from(reader.bytes(value_length as usize)?))
            };
            take(key, value)?;
        }
        let encoded = reader.bytes(self.header.encoded_len())?;
        let header = SnapshotHeader::decode(&encoded[..])
            .map_err(|_| damaged("its header does not decode"))?;
        reader.bytes(8)?;
        let expected = reader.hash.digest128().to_le_bytes();
        let mut digest = [0; 16];
        reader.inner.read_exact(&mut digest)?;
        if digest != expected {
            return Err(damaged("its hash does not match"));
        }
        Ok(header)
    }
}

struct Checked {
    inner: BufReader<File>,
    hash: Xxh3,
}

impl Checked {
    fn bytes(&mut self, length: usize) -> io::Result<Vec<u8>> {
        let mut bytes = vec![0; length];
        self.inner.read_exact(&mut bytes)?;
        self.hash.update(&bytes);
        Ok(bytes)
    }

    fn number(&mut self) -> io::Result<u32> {
        let bytes = self.bytes(4)?;
        Ok(u32::from_le_bytes(
            *bytes.first_chunk().ok_or(io::ErrorKind::UnexpectedEof)?,
        ))
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::storage::{StateStore, StoreSettings};

    #[test]
    fn files_that_are_no_whole_snapshot_are_left_aside() {
        let folder = tempfile::tempdir().unwrap();
        let store = StateStore::open(folder.path(), StoreSettings::default(), None, None).unwrap();
        let taken = store.take_snapshot().unwrap();
        let cut = folder
            .path()
            .join(format!("{:016x}-{:016x}{ENDING}", 77, 1));
        let whole = std::fs::read(&taken.path).unwrap();
        for content in [&whole[..0], &whole[..9], &whole[..whole.len() - 3]] {
            std::fs::write(&cut, content).unwrap();
            std::fs::write(folder.path().join("copy.snapshot"), "no snapshot").unwrap();
            assert_eq!(
                SnapshotFile::newest(folder.path()).unwrap().as_ref(),
                Some(&taken)
            );
        }
        let again = store.take_snapshot().unwrap();
        assert_eq!(list(folder.path()).unwrap(), [again.path]);
        assert!(folder.path().join("copy.snapshot").exists());
    }
}
