//! The whole state as of now, for a backup: a snapshot that is checked before any of it goes out.

use std::fs::File;
use std::io::{self, Read, Seek};

use bytes::BytesMut;
use panther_actors::sealing::fingerprint;
use panther_cluster::door::Door;
use panther_cluster::storage::{SnapshotFile, StateStore};
use panther_proto::v1::{BackupAbout, BackupPiece, backup_piece};
use sha2::{Digest, Sha256};
use tokio::sync::mpsc;
use tonic::Status;

use super::status;
use crate::backup_seal;

/// Bytes of one piece.
const PIECE: usize = 256 << 10;
/// Pieces that wait for a caller who writes more slowly than is read.
const WAITING: usize = 4;
/// A snapshot file may make room for a newer one while it is checked.
const ATTEMPTS: u32 = 3;

/// What a backup says of where it comes from.
#[derive(Clone)]
pub(crate) struct Origin {
    /// The cluster.
    pub(crate) cluster: String,
    /// The key that seals its secrets.
    pub(crate) sealing_key: [u8; 32],
}

/// The pieces of a backup that holds everything that was acknowledged before this call.
///
/// # Errors
/// There is no leader, or the state cannot be read or written down.
pub(super) async fn pieces(
    door: &Door,
    origin: &Origin,
) -> Result<mpsc::Receiver<Result<BackupPiece, Status>>, Status> {
    let caught_up = door.read(|_| Ok(())).await;
    caught_up.map_err(|error| status::of_door(&error))?;
    let store = door.group().store().clone();
    let checked = tokio::task::spawn_blocking(move || checked(&store));
    let (file, content, sha256) = checked
        .await
        .map_err(io::Error::other)
        .flatten()
        .map_err(|error| Status::internal(format!("the state cannot be written down: {error}")))?;
    let length = content
        .metadata()
        .map_err(|error| Status::internal(error.to_string()))?
        .len();
    let last = file.header.last.unwrap_or_default();
    let mut about = BackupAbout {
        cluster: origin.cluster.clone(),
        node: door.node(),
        version: env!("CARGO_PKG_VERSION").to_owned(),
        format: file.header.format,
        term: last.term,
        index: last.index,
        items: file.header.items,
        bytes: length,
        sha256,
        time_ms: door.now_ms(),
        sealing_key: fingerprint(&origin.sealing_key),
        seal: String::new(),
    };
    about.seal = backup_seal::seal(&origin.sealing_key, &about)
        .map_err(|error| Status::internal(format!("the backup cannot be sealed: {error}")))?;
    let (to, from) = mpsc::channel(WAITING);
    tokio::task::spawn_blocking(move || send(about, content, &to));
    Ok(from)
}

/// A snapshot as of now, opened at its start, and its hash. What is wrong with it is found here, and not when it is needed.
fn checked(store: &StateStore) -> io::Result<(SnapshotFile, File, String)> {
    let mut attempt = 0;
    loop {
        attempt += 1;
        let file = store.take_snapshot()?;
        let opened = File::open(&file.path).and_then(|content| {
            file.read(|_, _| Ok(()))?;
            Ok(content)
        });
        let mut content = match opened {
            Err(error) if error.kind() == io::ErrorKind::NotFound && attempt < ATTEMPTS => continue,
            opened => opened?,
        };
        let mut hash = Sha256::new();
        io::copy(&mut content, &mut hash)?;
        content.rewind()?;
        return Ok((file, content, format!("{:x}", hash.finalize())));
    }
}

fn send(about: BackupAbout, mut content: File, to: &mpsc::Sender<Result<BackupPiece, Status>>) {
    let piece = |kind| BackupPiece { kind: Some(kind) };
    if to
        .blocking_send(Ok(piece(backup_piece::Kind::About(about))))
        .is_err()
    {
        return; // the caller has hung up
    }
    loop {
        let mut bytes = BytesMut::zeroed(PIECE);
        let next = match content.read(&mut bytes) {
            Ok(0) => return,
            Ok(length) => {
                bytes.truncate(length);
                Ok(piece(backup_piece::Kind::Content(bytes.freeze())))
            }
            Err(error) => Err(Status::internal(format!(
                "the snapshot cannot be read: {error}"
            ))),
        };
        if to.blocking_send(next).is_err() {
            return;
        }
    }
}
