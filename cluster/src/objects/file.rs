//! Upload of a file's content in pieces, so that memory use does not depend on the file's size.

use std::fs::File;
use std::io::{self, Read};
use std::os::unix::fs::FileExt;

use bytes::Bytes;
use object_store::path::Path as ObjectPath;
use object_store::{ObjectStore, ObjectStoreExt as _, WriteMultipart};
use sha2::{Digest, Sha256};

use super::{ObjectsError, failed, not_written, within};

/// Size of a piece in bytes. Buckets require at least 5 MB, except for the last piece.
const PIECE: usize = 8 << 20;
/// Concurrent uploads of pieces.
const ON_THE_WAY: usize = 2;

/// Reader of a whole file. At the end of the file it fails if the content does not match the hash.
pub(super) struct Checked<'f> {
    file: &'f File,
    at: u64,
    digest: Sha256,
    hash: &'f str,
}

impl<'f> Checked<'f> {
    /// `hash` is the SHA-256 of the content in hexadecimal digits.
    pub(super) fn new(file: &'f File, hash: &'f str) -> Self {
        Self {
            file,
            at: 0,
            digest: Sha256::new(),
            hash,
        }
    }
}

impl Read for Checked<'_> {
    fn read(&mut self, buffer: &mut [u8]) -> io::Result<usize> {
        if buffer.is_empty() {
            return Ok(0);
        }
        let count = self.file.read_at(buffer, self.at)?;
        self.digest.update(buffer.get(..count).unwrap_or_default());
        self.at += count as u64;
        if count == 0 {
            let found = format!("{:x}", self.digest.clone().finalize());
            if found != self.hash {
                return Err(io::Error::new(
                    io::ErrorKind::InvalidData,
                    "the file changes while it is read",
                ));
            }
        }
        Ok(count)
    }
}

/// Uploads a file's content to a bucket. The object appears only when all pieces are uploaded.
pub(super) async fn upload(
    store: &dyn ObjectStore,
    name: &str,
    path: &ObjectPath,
    file: File,
    hash: &str,
) -> Result<(), ObjectsError> {
    let file = std::sync::Arc::new(file);
    let started = within(name, store.put_multipart(path)).await?;
    let mut upload = WriteMultipart::new_with_chunk_size(
        started.map_err(|error| not_written(name, &error))?,
        PIECE,
    );
    let mut digest = Sha256::new();
    let mut at = 0;
    let sent = loop {
        let from = file.clone();
        let read = tokio::task::spawn_blocking(move || piece(&from, at)).await;
        let piece = match read.map_err(io::Error::other).flatten() {
            Ok(piece) => piece,
            Err(error) => break Err(error.to_string()),
        };
        if piece.is_empty() {
            let is_same = format!("{:x}", digest.finalize()) == hash;
            break is_same
                .then_some(())
                .ok_or_else(|| "the file changes while it is read".to_owned());
        }
        digest.update(&piece);
        at += piece.len() as u64;
        match within(name, upload.wait_for_capacity(ON_THE_WAY)).await {
            Ok(Ok(())) => upload.put(piece),
            Ok(Err(error)) => break Err(error.to_string()),
            Err(error) => break Err(error.to_string()),
        }
    };
    if let Err(reason) = sent {
        // An upload that is not finished never becomes an object. If the abort fails, the bucket's own lifecycle rule removes the pieces.
        let _ = within(name, upload.abort()).await;
        return Err(ObjectsError::Store {
            name: name.to_owned(),
            reason,
        });
    }
    within(name, upload.finish())
        .await?
        .map(drop)
        .map_err(|error| failed(name, error))
}

fn piece(file: &File, at: u64) -> io::Result<Bytes> {
    let mut piece = vec![0; PIECE];
    let mut length = 0;
    while let Some(room) = piece.get_mut(length..).filter(|room| !room.is_empty()) {
        match file.read_at(room, at + length as u64) {
            Ok(0) => break,
            Ok(count) => length += count,
            Err(error) if error.kind() == io::ErrorKind::Interrupted => {}
            Err(error) => return Err(error),
        }
    }
    piece.truncate(length);
    Ok(piece.into())
}
