//! A snapshot that arrives from another node in pieces. Received pieces stay on disk if the transfer is interrupted, and the next transfer resumes
//! behind them. The file is used only when it is complete and its hash is correct.

use std::fs::{File, OpenOptions};
use std::io::{self, Write};
use std::path::{Path, PathBuf};

use bytes::Bytes;

use super::SnapshotFile;
use crate::offload::offload;

/// Name of the folder for incoming snapshots, inside the state's root folder.
const FOLDER: &str = "incoming";

/// The folder in which snapshots of other nodes arrive.
#[derive(Debug, Clone)]
pub struct Incoming {
    folder: PathBuf,
}

/// A snapshot in transfer.
#[derive(Debug)]
pub struct Arriving {
    path: PathBuf,
    file: Option<File>,
    at: u64,
    bytes: u64,
}

async fn blocking<T: Send + 'static>(
    run: impl FnOnce() -> io::Result<T> + Send + 'static,
) -> io::Result<T> {
    offload(run).await?
}

impl Incoming {
    /// The folder for incoming snapshots inside `root`, the state's root folder.
    #[must_use]
    pub fn below(root: &Path) -> Self {
        Self {
            folder: root.join(FOLDER),
        }
    }

    /// Path of the partial file. Sender, size and name are part of it, so that a transfer never resumes the file of another sender or snapshot.
    fn path(&self, from: u64, name: &str, bytes: u64) -> io::Result<PathBuf> {
        let fine = !name.is_empty()
            && name.len() < 100
            && name
                .bytes()
                .all(|byte| byte.is_ascii_alphanumeric() || byte == b'-' || byte == b'.')
            && !name.starts_with('.');
        if !fine {
            return Err(io::Error::new(
                io::ErrorKind::InvalidInput,
                format!("{name:?} is no name of a snapshot"),
            ));
        }
        Ok(self.folder.join(format!("{from}-{bytes}-{name}")))
    }

    /// Number of bytes that are already received.
    ///
    /// # Errors
    /// The folder cannot be read, or the name is not valid.
    pub async fn held(&self, from: u64, name: &str, bytes: u64) -> io::Result<u64> {
        let path = self.path(from, name, bytes)?;
        blocking(move || match std::fs::metadata(&path) {
            Ok(found) => Ok(found.len().min(bytes)),
            Err(error) if error.kind() == io::ErrorKind::NotFound => Ok(0),
            Err(error) => Err(error),
        })
        .await
    }

    /// Starts or resumes a transfer. Partial files of all other transfers are removed: one transfer runs at a time.
    ///
    /// # Errors
    /// The disk refuses the file, or the name is not valid.
    pub async fn open(&self, from: u64, name: &str, bytes: u64) -> io::Result<Arriving> {
        let path = self.path(from, name, bytes)?;
        let folder = self.folder.clone();
        blocking(move || {
            std::fs::create_dir_all(&folder)?;
            for entry in std::fs::read_dir(&folder)? {
                let other = entry?.path();
                if other != path {
                    std::fs::remove_file(other)?;
                }
            }
            let file = OpenOptions::new().create(true).append(true).open(&path)?;
            let at = file.metadata()?.len();
            Ok(Arriving {
                path,
                file: Some(file),
                at,
                bytes,
            })
        })
        .await
    }
}

impl Arriving {
    /// Appends the next piece.
    ///
    /// # Errors
    /// The piece does not start at the end of the received bytes or exceeds the announced size, or the disk refuses the write.
    pub async fn take(&mut self, offset: u64, data: Bytes) -> io::Result<()> {
        if offset != self.at || self.at + data.len() as u64 > self.bytes {
            return Err(io::Error::new(
                io::ErrorKind::InvalidInput,
                format!(
                    "a piece for byte {offset} came where byte {} of {} was due",
                    self.at, self.bytes
                ),
            ));
        }
        let Some(mut file) = self.file.take() else {
            return Err(io::Error::other("an earlier piece was not taken"));
        };
        let length = data.len() as u64;
        self.file = Some(
            blocking(move || {
                file.write_all(&data)?;
                Ok(file)
            })
            .await?,
        );
        self.at += length;
        Ok(())
    }

    /// Checks the whole file against its hash. A damaged file is removed, so that the next transfer starts from the beginning.
    ///
    /// # Errors
    /// The file is incomplete (it then stays for the next transfer), or it is damaged.
    pub async fn finish(self) -> io::Result<SnapshotFile> {
        if self.at != self.bytes {
            return Err(io::Error::new(
                io::ErrorKind::UnexpectedEof,
                format!(
                    "{} of {} bytes came; the rest may follow",
                    self.at, self.bytes
                ),
            ));
        }
        let path = self.path;
        blocking(move || {
            let checked = SnapshotFile::open(path.clone()).and_then(|file| {
                file.read(|_, _| Ok(()))?;
                Ok(file)
            });
            if checked.is_err() {
                std::fs::remove_file(&path)?;
            }
            checked
        })
        .await
    }
}

#[cfg(test)]
mod tests {
    use panther_proto::v1::LogPosition;

    use super::*;
    use crate::state::Writes;
    use crate::storage::{AppliedAt, StateStore, StoreSettings};

    fn snapshot(root: &Path) -> Vec<u8> {
        let store = StateStore::open(root, StoreSettings::default(), None, None).unwrap();
        let at = AppliedAt {
            last: Some(LogPosition {
                term: 1,
                node: 1,
                index: 7,
            }),
            membership: None,
        };
        let writes =
            (0..100_u8).map(|number| (vec![b'k', number], Some(Bytes::from(vec![number; 50]))));
        store.store(writes.collect::<Writes>(), at);
        std::fs::read(store.take_snapshot().unwrap().path).unwrap()
    }

    #[tokio::test]
    async fn a_transfer_that_broke_off_goes_on_where_it_was_and_a_wrong_one_begins_anew() {
        let folder = tempfile::tempdir().unwrap();
        let whole = Bytes::from(snapshot(&folder.path().join("from")));
        let (bytes, half) = (whole.len() as u64, whole.len() / 2);
        let incoming = Incoming::below(folder.path());
        let mut first = incoming.open(1, "7-1.snapshot", bytes).await.unwrap();
        first.take(0, whole.slice(..half)).await.unwrap();
        assert!(first.finish().await.is_err());
        assert_eq!(
            incoming.held(1, "7-1.snapshot", bytes).await.unwrap(),
            half as u64
        );
        // Another node's file of the same name may have another content at the same offset.
        assert_eq!(incoming.held(2, "7-1.snapshot", bytes).await.unwrap(), 0);
        let mut second = incoming.open(1, "7-1.snapshot", bytes).await.unwrap();
        assert!(second.take(0, whole.slice(..half)).await.is_err());
        second.take(half as u64, whole.slice(half..)).await.unwrap();
        assert_eq!(second.finish().await.unwrap().header.last.unwrap().index, 7);

        let mut damaged = whole.to_vec();
        damaged[half] ^= 1;
        let mut third = incoming.open(1, "8-1.snapshot", bytes).await.unwrap();
        third.take(0, damaged.into()).await.unwrap();
        assert!(third.finish().await.is_err());
        assert_eq!(incoming.held(1, "8-1.snapshot", bytes).await.unwrap(), 0);
    }

    #[tokio::test]
    async fn a_name_that_leads_elsewhere_is_refused() {
        let folder = tempfile::tempdir().unwrap();
        let incoming = Incoming::below(folder.path());
        for name in ["", "../x", "a/b", ".hidden"] {
            assert!(incoming.held(1, name, 1).await.is_err(), "{name}");
        }
    }
}
