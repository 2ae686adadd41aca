//! Encoding of a key and a value as sled items of at most 6 KB.
//!
//! sled (with segments of 512 KB) puts larger items into files in `blobs/`, which it never syncs. So a value is split: its first piece is stored
//! under the key, and the further pieces under the key and a number.

use std::io;

use bytes::{Bytes, BytesMut};
use sled::{Batch, IVec, Tree};

/// Size of one piece of a value, in bytes.
const PIECE: usize = 6 << 10;

const HEAD: u8 = 0;
const TAIL: u8 = 1;
/// Key of the position up to which the state is complete.
pub(super) const APPLIED: &[u8] = &[2];

pub(super) fn io_error(error: sled::Error) -> io::Error {
    match error {
        sled::Error::Io(error) => error,
        sled::Error::Corruption { .. } => damaged(&error.to_string()),
        other => io::Error::other(format!("the state database: {other}")),
    }
}

/// The error for content that differs from what was written.
pub(super) fn damaged(what: &str) -> io::Error {
    io::Error::new(
        io::ErrorKind::InvalidData,
        format!("the state database is damaged: {what}"),
    )
}

pub(super) fn head_key(key: &[u8]) -> Vec<u8> {
    let mut out = Vec::with_capacity(key.len() + 1);
    out.push(HEAD);
    out.extend_from_slice(key);
    out
}

fn tail_key(key: &[u8], piece: u16) -> Vec<u8> {
    let mut out = Vec::with_capacity(key.len() + 3);
    out.push(TAIL);
    out.extend_from_slice(key);
    out.extend_from_slice(&piece.to_be_bytes());
    out
}

fn pieces_of(head: &[u8]) -> u16 {
    head.first_chunk::<2>()
        .map_or(0, |bytes| u16::from_be_bytes(*bytes))
}

/// Adds a write to a batch, and the removal of surplus pieces of the old value.
pub(super) fn put(
    tree: &Tree,
    batch: &mut Batch,
    key: &[u8],
    value: Option<&Bytes>,
) -> io::Result<()> {
    let head_key = head_key(key);
    let old = tree.get(&head_key).map_err(io_error)?;
    let old_pieces = old.as_deref().map_or(0, pieces_of);
    let mut pieces = 0_u16;
    match value {
        None if old.is_none() => {}
        None => batch.remove(head_key),
        Some(value) => {
            let (first, rest) = value.split_at(value.len().min(PIECE));
            for part in rest.chunks(PIECE) {
                batch.insert(tail_key(key, pieces), part);
                pieces += 1;
            }
            let mut head = Vec::with_capacity(first.len() + 2);
            head.extend_from_slice(&pieces.to_be_bytes());
            head.extend_from_slice(first);
            batch.insert(head_key, head);
        }
    }
    for piece in pieces..old_pieces {
        batch.remove(tail_key(key, piece));
    }
    Ok(())
}

/// Assembles a value from its first piece `head` and its further pieces.
///
/// # Errors
/// [`io::ErrorKind::InvalidData`] if a piece is missing.
pub(super) fn whole(tree: &Tree, key: &[u8], head: &IVec) -> io::Result<Bytes> {
    let pieces = pieces_of(head);
    let first = head.get(2..).unwrap_or_default();
    if pieces == 0 {
        return Ok(Bytes::copy_from_slice(first));
    }
    let mut out = BytesMut::with_capacity(first.len() + usize::from(pieces) * PIECE);
    out.extend_from_slice(first);
    for piece in 0..pieces {
        let Some(part) = tree.get(tail_key(key, piece)).map_err(io_error)? else {
            return Err(damaged("it lacks a piece of a value"));
        };
        out.extend_from_slice(&part);
    }
    Ok(out.freeze())
}
