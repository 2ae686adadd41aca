//! What was read of files just now. A file can be truncated, renamed or removed at any time: also after it was read, and before its copy
//! in the same folder is judged. Rows do not help then: the row of what this look reads is not written yet, and a row knows a content as a
//! whole, not a copy that ends a few lines before the last line that was read. So the last bytes that were read are kept until the next
//! look has ended.

use std::io::{self, Read};
use std::path::PathBuf;

use super::super::listing::{FileId, Found};
use super::super::prefix::{HEAD, Prefix, read_full};
use super::copies::may_be_same;
use super::head_of;

/// Last bytes of a chunk that are kept. A copy lacks at most what was written between its last byte and the truncation.
const TAIL: usize = 256 << 10;
/// The same of all chunks of one look.
const TAILS: usize = 8 << 20;

/// The end of what was read of one file.
#[derive(Debug)]
pub(super) struct Recent {
    file: FileId,
    path: PathBuf,
    /// The content's first bytes.
    head: Vec<u8>,
    /// Where `tail` begins.
    from: u64,
    /// Digest of the content before that place.
    digest: String,
    tail: Vec<u8>,
}

/// What a file has in common with what was read of another one.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Shared {
    /// The file begins with all that was read.
    All,
    /// The file holds nothing but a beginning of what was read: this many bytes.
    Part(u64),
}

impl Recent {
    /// Of a chunk: `before` is the content in front of it and `head` the first bytes with the chunk. `before` is moved on behind the chunk.
    /// `others` are those that are kept already.
    pub(super) fn of(
        found: &Found,
        before: &mut Prefix,
        head: &[u8],
        body: &[u8],
        others: &[Self],
    ) -> Self {
        let kept: usize = others.iter().map(|other| other.tail.len()).sum();
        let tail = body.len().min(TAIL).min(TAILS.saturating_sub(kept));
        let (first, last) = body.split_at(body.len() - tail);
        before.feed(first);
        let (from, digest) = (before.bytes(), before.digest());
        before.feed(last);
        Self {
            file: found.id,
            path: found.path.clone(),
            head: head_of(head, before.bytes().min(HEAD)),
            from,
            digest,
            tail: last.to_vec(),
        }
    }

    /// Bytes of the content that were read.
    fn bytes(&self) -> u64 {
        self.from + self.tail.len() as u64
    }

    /// What a file whose first bytes are `head` has in common with the content. `None` where the two differ, or are equal only by chance.
    pub(super) fn shared(
        &self,
        found: &Found,
        head: &[u8],
        mut content: impl Read,
    ) -> io::Result<Option<Shared>> {
        let alike = head.len().min(self.head.len());
        if head.get(..alike) != self.head.get(..alike) {
            return Ok(None);
        }
        let mut prefix = Prefix::default();
        prefix.feed_from(&mut content, self.from)?;
        if prefix.bytes() != self.from || prefix.digest() != self.digest {
            return Ok(None);
        }
        let mut rest = vec![0; self.tail.len()];
        let length = read_full(&mut content, &mut rest)?;
        rest.truncate(length);
        if !self.tail.starts_with(&rest) {
            return Ok(None);
        }
        let bytes = self.from + length as u64;
        if !may_be_same(found, bytes, &self.path) {
            return Ok(None);
        }
        Ok(Some(if bytes == self.bytes() {
            Shared::All
        } else {
            Shared::Part(bytes)
        }))
    }

    /// Whether a file can be a copy of what was read: a file that was truncated in place, or made again under its name, is not. It may begin
    /// with the same lines all the same.
    pub(super) fn can_be_copied_to(&self, found: &Found) -> bool {
        self.file != found.id && self.path != found.path
    }
}
