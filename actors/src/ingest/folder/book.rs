//! The rows of `panther-watched-files`: what was read of each content, whatever file holds it at this time.
//!
//! A row belongs to a content and not to a name. Rotation renames, copies and compresses files, and the same content in another
//! file is the same data: what a row says was read of it is not read again.

use std::collections::BTreeMap;

use panther_cluster::door::change::{self, Change, RowExt};
use panther_cluster::state::read::KeyedRow;
use panther_proto::v1::{Row, RowChange};

use super::prefix::{HEAD, Prefix, head_hash};

/// The table of what was read of watched files.
pub(super) const TABLE: &str = "panther-watched-files";

/// In which form a content lies in its file.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Form {
    /// Text, followed as it grows.
    Text,
    /// Compressed; what counts is the unpacked content.
    Packed,
}

impl Form {
    const fn word(self) -> &'static str {
        match self {
            Self::Text => "text",
            Self::Packed => "packed",
        }
    }
}

/// What was read of one content.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct Followed {
    /// The row's range key.
    pub(super) id: String,
    /// Its form when it was looked at last.
    pub(super) form: Form,
    /// The file that held it last.
    pub(super) path: String,
    /// That file's inode. A hint: what tells is the content.
    pub(super) inode: u64,
    /// Bytes of the content that were read, unpacked.
    pub(super) offset: u64,
    /// Hash of the whole blocks in these bytes.
    pub(super) chain: String,
    /// Hash of all these bytes.
    pub(super) digest: String,
    /// How many of the first bytes `head` covers.
    pub(super) head_bytes: u64,
    /// Hash of the first bytes.
    pub(super) head: String,
    /// The file's bytes when it was looked at last.
    pub(super) size: u64,
    /// When the file was written to last, nanoseconds since 1970.
    pub(super) modified: i64,
}

impl Followed {
    /// Takes over how far a content was read.
    pub(super) fn read_to(&mut self, prefix: &Prefix, head: &[u8]) {
        self.offset = prefix.bytes();
        self.chain = prefix.chain();
        self.digest = prefix.digest();
        let bytes = head
            .len()
            .min(usize::try_from(self.offset.min(HEAD)).unwrap_or(usize::MAX));
        self.head_bytes = bytes as u64;
        self.head = head_hash(head.get(..bytes).unwrap_or_default());
    }

    fn of(id: &str, row: &Row) -> Option<Self> {
        let count = |name: &str| row.int(name).and_then(|count| u64::try_from(count).ok());
        Some(Self {
            id: id.to_owned(),
            form: match row.text("form")? {
                "text" => Form::Text,
                _ => Form::Packed,
            },
            path: row.text("path")?.to_owned(),
            // Kept as the same 64 bits.
            inode: row.int("inode")?.cast_unsigned(),
            offset: count("offset")?,
            chain: row.text("chain")?.to_owned(),
            digest: row.text("digest")?.to_owned(),
            head_bytes: count("headBytes")?,
            head: row.text("head")?.to_owned(),
            size: count("size")?,
            modified: row.int("modified")?,
        })
    }

    /// The change that says so, if the row still says what it said before (`None`: there was no row). So a content is read
    /// once, also where several nodes see the same folder.
    pub(super) fn change(&self, source: &str, before: Option<&str>, now_ms: u64) -> RowChange {
        let change = Change::put(TABLE, change::key_range(source, &self.id));
        let change = match before {
            Some(digest) => change.if_equals("digest", digest),
            None => change.if_row_absent(),
        };
        change
            .set("form", self.form.word())
            .set("path", &self.path)
            .set("inode", self.inode.cast_signed())
            .set("offset", self.offset)
            .set("chain", &self.chain)
            .set("digest", &self.digest)
            .set("headBytes", self.head_bytes)
            .set("head", &self.head)
            .set("size", self.size)
            .set("modified", self.modified)
            .set("seenAt", now_ms)
            .done()
    }
}

/// What was read of a source's files.
#[derive(Debug, Default)]
pub(super) struct Book {
    rows: BTreeMap<String, Followed>,
    /// Whole files that a version before this one took, by path and size: hash of the content.
    whole_files: BTreeMap<(String, u64), String>,
    /// When each row was last seen in a folder, cluster time in milliseconds, as the rows say.
    seen: BTreeMap<String, u64>,
}

impl Book {
    /// Of a source's rows.
    pub(super) fn of(rows: &[KeyedRow]) -> Self {
        let mut book = Self::default();
        for (key, row) in rows {
            if let Some(followed) = Followed::of(&key.range, row) {
                let seen = row.int("seenAt").and_then(|at| u64::try_from(at).ok());
                book.seen.insert(key.range.clone(), seen.unwrap_or(0));
                book.rows.insert(key.range.clone(), followed);
            } else if let (Some(path), Some(bytes), Some(hash)) =
                (row.text("path"), row.int("bytes"), row.text("hash"))
            {
                let bytes = u64::try_from(bytes).unwrap_or(0);
                book.whole_files
                    .insert((path.to_owned(), bytes), hash.to_owned());
            }
        }
        book
    }

    pub(super) fn get(&self, id: &str) -> Option<&Followed> {
        self.rows.get(id)
    }

    pub(super) fn put(&mut self, followed: Followed, now_ms: u64) {
        self.seen.insert(followed.id.clone(), now_ms);
        self.rows.insert(followed.id.clone(), followed);
    }

    pub(super) fn forget(&mut self, id: &str) {
        self.rows.remove(id);
        self.seen.remove(id);
    }

    /// Rows whose content was last seen in this inode, the longest first.
    pub(super) fn of_inode(&self, inode: u64) -> Vec<&Followed> {
        let mut rows: Vec<&Followed> = self
            .rows
            .values()
            .filter(|row| row.inode == inode)
            .collect();
        rows.sort_by_key(|row| std::cmp::Reverse(row.offset));
        rows
    }

    /// Rows whose content may begin with these bytes, the longest first.
    pub(super) fn beginning_with(&self, head: &[u8]) -> Vec<&Followed> {
        let mut hashes: BTreeMap<u64, String> = BTreeMap::new();
        let mut rows: Vec<&Followed> = self
            .rows
            .values()
            .filter(|row| {
                let Some(first) = usize::try_from(row.head_bytes)
                    .ok()
                    .and_then(|bytes| head.get(..bytes))
                else {
                    return false;
                };
                *hashes
                    .entry(row.head_bytes)
                    .or_insert_with(|| head_hash(first))
                    == row.head
            })
            .collect();
        rows.sort_by_key(|row| std::cmp::Reverse(row.offset));
        rows
    }

    /// The hash of a file of this path and size that was taken as a whole by an older version.
    pub(super) fn whole_file(&self, path: &str, bytes: u64) -> Option<&str> {
        self.whole_files
            .get(&(path.to_owned(), bytes))
            .map(String::as_str)
    }

    /// A free row for a content: made of what two nodes that see the same file know alike, so that one of the two is refused.
    pub(super) fn new_id(
        &self,
        inode: u64,
        head: &[u8],
        is_reserved: impl Fn(&str) -> bool,
    ) -> String {
        let line = head.split(|byte| *byte == b'\n').next().unwrap_or_default();
        let base = crate::sealing::token_hash(&format!("{inode}:{}", head_hash(line)));
        let mut id = format!("f-{base}");
        let mut number = 1;
        while self.rows.contains_key(&id) || is_reserved(&id) {
            number += 1;
            id = format!("f-{base}-{number}");
        }
        id
    }

    /// Rows by when they were last seen, for tidying up.
    pub(super) fn seen(&self) -> impl Iterator<Item = (&Followed, u64)> {
        self.rows
            .values()
            .map(|row| (row, self.seen.get(&row.id).copied().unwrap_or(0)))
    }
}
