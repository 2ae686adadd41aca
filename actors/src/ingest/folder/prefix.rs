//! What is known of the content that was read from a file: enough to go on behind it, and to know the same content again in
//! another file, without keeping the content.
//!
//! Content is hashed in blocks: each block's hash covers the hash before it. The digest of a prefix covers the last whole block's
//! hash and the bytes behind it. So a follower goes on from a stored prefix by reading at most two blocks again: one whole block is
//! always among them, so that content which changed in front of that place is noticed.

use std::io::{self, Read};

use data_encoding::HEXLOWER;
use sha2::{Digest as _, Sha256};

/// Bytes of a block.
pub(super) const BLOCK: u64 = 64 << 10;
/// Bytes of content that a fingerprint of its head covers at most.
pub(super) const HEAD: u64 = 1 << 10;

/// Content from its first byte on, as far as it was read.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub(super) struct Prefix {
    blocks: u64,
    /// Hash of the whole blocks.
    chain: [u8; 32],
    /// The same without the last of them.
    chain_before: [u8; 32],
    /// What stands behind the last whole block.
    rest: Vec<u8>,
}

impl Prefix {
    /// The prefix up to the place from which content is read again, as [`Prefix::again_from`] and [`Prefix::chain`] told of it.
    pub(super) fn from_blocks(bytes: u64, chain: &str) -> Option<Self> {
        let hash: [u8; 32] = HEXLOWER.decode(chain.as_bytes()).ok()?.try_into().ok()?;
        Some(Self {
            blocks: bytes / BLOCK,
            chain: hash,
            chain_before: hash,
            rest: Vec::new(),
        })
    }

    /// Bytes that it covers.
    pub(super) fn bytes(&self) -> u64 {
        self.blocks * BLOCK + self.rest.len() as u64
    }

    /// From where content is read again before it is gone on from, if `bytes` of it were read.
    pub(super) const fn again_from(bytes: u64) -> u64 {
        (bytes / BLOCK).saturating_sub(1) * BLOCK
    }

    /// Hash of the blocks in front of that place, in hexadecimal digits.
    pub(super) fn chain(&self) -> String {
        HEXLOWER.encode(&self.chain_before)
    }

    /// Hash of all that it covers, in hexadecimal digits.
    pub(super) fn digest(&self) -> String {
        let mut hash = Sha256::new();
        hash.update(self.blocks.to_be_bytes());
        hash.update(self.chain);
        hash.update(&self.rest);
        HEXLOWER.encode(&hash.finalize())
    }

    /// Takes in what follows.
    pub(super) fn feed(&mut self, mut content: &[u8]) {
        let block = usize::try_from(BLOCK).unwrap_or(usize::MAX);
        while !content.is_empty() {
            let (now, later) = content.split_at((block - self.rest.len()).min(content.len()));
            self.rest.extend_from_slice(now);
            content = later;
            if self.rest.len() == block {
                let mut hash = Sha256::new();
                hash.update(self.chain);
                hash.update(&self.rest);
                self.chain_before = std::mem::replace(&mut self.chain, hash.finalize().into());
                self.blocks += 1;
                self.rest.clear();
            }
        }
    }

    /// Takes in up to `bytes` of a reader, and says how many there were.
    pub(super) fn feed_from(&mut self, reader: &mut impl Read, bytes: u64) -> io::Result<u64> {
        let mut buffer = vec![0; 64 << 10];
        let mut taken = 0;
        while taken < bytes {
            let room =
                usize::try_from(bytes - taken).map_or(buffer.len(), |left| left.min(buffer.len()));
            let count = read_some(reader, buffer.get_mut(..room).unwrap_or_default())?;
            if count == 0 {
                break;
            }
            self.feed(buffer.get(..count).unwrap_or_default());
            taken += count as u64;
        }
        Ok(taken)
    }
}

/// Hash of a content's first bytes, by which candidates for the same content are found.
pub(super) fn head_hash(head: &[u8]) -> String {
    HEXLOWER.encode(&Sha256::digest(head)[..16])
}

/// Reads until the buffer is full or there is no more.
pub(super) fn read_full(reader: &mut impl Read, buffer: &mut [u8]) -> io::Result<usize> {
    let mut at = 0;
    while at < buffer.len() {
        match read_some(reader, buffer.get_mut(at..).unwrap_or_default())? {
            0 => break,
            count => at += count,
        }
    }
    Ok(at)
}

fn read_some(reader: &mut impl Read, buffer: &mut [u8]) -> io::Result<usize> {
    loop {
        match reader.read(buffer) {
            Err(error) if error.kind() == io::ErrorKind::Interrupted => {}
            result => return result,
        }
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    proptest! {
        #[test]
        fn a_prefix_is_the_same_however_its_content_came_and_where_it_was_left(
            content in proptest::collection::vec(any::<u8>(), 0..200_000),
            cuts in proptest::collection::vec(0_usize..200_000, 0..4),
        ) {
            let mut whole = Prefix::default();
            whole.feed(&content);
            let mut cuts: Vec<usize> = cuts.into_iter().map(|cut| cut.min(content.len())).collect();
            cuts.sort_unstable();
            let mut pieces = Prefix::default();
            let mut at = 0;
            for cut in cuts {
                pieces.feed(&content[at..cut]);
                at = cut;
                // Left here, and gone on from what a row keeps.
                let from = Prefix::again_from(at as u64);
                let digest = pieces.digest();
                pieces = Prefix::from_blocks(from, &pieces.chain()).unwrap();
                pieces.feed(&content[usize::try_from(from).unwrap()..at]);
                prop_assert_eq!(pieces.digest(), digest);
            }
            pieces.feed(&content[at..]);
            prop_assert_eq!(pieces.bytes(), content.len() as u64);
            prop_assert_eq!(pieces.digest(), whole.digest());
        }

        #[test]
        fn another_content_has_another_digest(mut content in proptest::collection::vec(any::<u8>(), 1..70_000), at in any::<prop::sample::Index>()) {
            let mut first = Prefix::default();
            first.feed(&content);
            let at = at.index(content.len());
            content[at] ^= 1;
            let mut second = Prefix::default();
            second.feed(&content);
            prop_assert_ne!(first.digest(), second.digest());
        }
    }
}
