//! Objects and their records: detects the format of an object from its bytes, and splits it into records.
//!
//! [`source`] decompresses and enforces the byte limits. [`window`] is the read-ahead buffer. [`split`] finds the ends of records, with the
//! help of [`head`] (what the start of a line looks like), [`scan`] (where a JSON value ends) and [`envelope`] (whether an object contains
//! records instead of being one). [`reader`] is the interface for callers. [`parts`] joins several inputs into one object and keeps their
//! boundaries.

mod envelope;
mod head;
mod parts;
mod reader;
mod scan;
mod source;
mod split;
mod window;

use std::io;

pub use parts::{PartsWriter, Piece, RawReader, is_of_parts};
pub use reader::{ByteCount, ObjectReader};
pub use source::{InputForm, Unpacked};
use thiserror::Error;

use crate::parser::Filter;

/// Limits for reading one object. The defaults are far above the size of real logs and far below what harms a node.
#[derive(Debug, Clone)]
pub struct Limits {
    /// Maximum length of one record (a line or an array element), in bytes. A longer record is skipped to its end, and only its head is
    /// kept.
    pub record_bytes: usize,
    /// Bytes kept of an oversized record.
    pub head_bytes: usize,
    /// Maximum size of an object, in decompressed bytes.
    pub object_bytes: u64,
    /// Maximum compression ratio, in decompressed bytes per compressed byte. It is enforced after [`Limits::ratio_from_bytes`]. Repetitive
    /// logs reach 100; a gzip bomb has 1,000, a zstd bomb more.
    pub ratio: u64,
    /// Decompressed bytes after which the compression ratio is enforced.
    pub ratio_from_bytes: u64,
}

impl Default for Limits {
    fn default() -> Self {
        Self {
            record_bytes: 4 << 20,
            head_bytes: 64 << 10,
            object_bytes: 4 << 30,
            ratio: 300,
            ratio_from_bytes: 64 << 20,
        }
    }
}

/// One record of an object.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Record {
    /// Number of the record in the object, from 1: its line or array element.
    pub number: u64,
    /// Start of the record in the decompressed object, as a byte offset.
    pub offset: u64,
    /// Length of the record in the decompressed object, in bytes.
    pub length: u64,
    /// Content of the record, without its line end. For an oversized record only the head; for a CloudWatch log event only its message.
    pub raw: Vec<u8>,
    /// Defect found before any log type is tried.
    pub defect: Option<Defect>,
    /// Reason to filter the record out, if it is known before any log type is tried.
    pub filter: Option<Filter>,
}

/// Why a record is unreadable.
#[derive(Debug, Clone, PartialEq, Eq, Error)]
pub enum Defect {
    /// Longer than [`Limits::record_bytes`].
    #[error("is {bytes} bytes long, more than the limit of {limit}; its head is kept")]
    TooLong {
        /// Length of the record, in bytes.
        bytes: u64,
        /// The limit, in bytes.
        limit: u64,
    },
    /// The end of the record is missing.
    #[error("ends in the middle of a JSON value")]
    Cut,
    /// A range of the object is unreadable: a damaged compression stream, or a body that is not text. One record represents the whole
    /// range.
    #[error("{reason}")]
    Unreadable {
        /// The error text of the [`ObjectError`].
        reason: String,
    },
    /// Text where no record is allowed: between the elements of an array, or next to the array in its envelope.
    #[error("stands in or beside an array of records and is none")]
    Stray,
    /// NUL bytes instead of a line. A file has such a hole if it was truncated while its writer kept its old position.
    #[error("is a hole of {bytes} NUL bytes")]
    Hole {
        /// Number of NUL bytes.
        bytes: u64,
    },
    /// The record contains a NUL byte.
    #[error("holds a NUL byte at byte {offset}")]
    Nul {
        /// Byte offset in the record.
        offset: usize,
    },
    /// The record is not valid UTF-8.
    #[error("is not UTF-8 from byte {offset} on")]
    NotUtf8 {
        /// Byte offset in the record.
        offset: usize,
    },
}

impl Record {
    /// True if the input ended within the record.
    #[must_use]
    pub const fn is_cut(&self) -> bool {
        matches!(self.defect, Some(Defect::Cut))
    }

    /// A record that represents unreadable bytes. By default it covers `raw` from offset 0; a caller that knows the range sets
    /// [`Record::offset`] and [`Record::length`].
    pub fn unreadable(number: u64, raw: Vec<u8>, error: &ObjectError) -> Self {
        Self {
            number,
            offset: 0,
            length: raw.len() as u64,
            raw,
            defect: Some(Defect::Unreadable {
                reason: error.to_string(),
            }),
            filter: None,
        }
    }

    /// The text of the record.
    ///
    /// # Errors
    /// The defect of the record, whether it was found earlier or is found now (a NUL byte, invalid UTF-8).
    pub fn text(&self) -> Result<&str, Defect> {
        if let Some(defect) = &self.defect {
            return Err(defect.clone());
        }
        if let Some(offset) = memchr::memchr(0, &self.raw) {
            return Err(Defect::Nul { offset });
        }
        std::str::from_utf8(&self.raw).map_err(|error| Defect::NotUtf8 {
            offset: error.valid_up_to(),
        })
    }
}

/// Why an object cannot be read, or cannot be read to its end.
#[derive(Debug, Error)]
#[non_exhaustive]
pub enum ObjectError {
    /// The object is empty.
    #[error("{object} is empty")]
    Empty {
        /// The object's name.
        object: String,
    },
    /// Neither gzip nor zstd nor text.
    #[error("{object} is neither gzip nor zstd nor text: {found}")]
    NotText {
        /// The object's name.
        object: String,
        /// The detected format.
        found: &'static str,
    },
    /// The compressed stream ends early.
    #[error(
        "{object} is truncated: its {compression} stream ends after {bytes} decompressed bytes; upload the whole file again"
    )]
    Truncated {
        /// The object's name.
        object: String,
        /// The compression's name.
        compression: &'static str,
        /// Bytes decompressed so far.
        bytes: u64,
    },
    /// The compressed stream is corrupt.
    #[error(
        "{object} is damaged: its {compression} stream is invalid after {bytes} decompressed bytes: {cause}"
    )]
    Corrupt {
        /// The object's name.
        object: String,
        /// The compression's name.
        compression: &'static str,
        /// Bytes decompressed so far.
        bytes: u64,
        /// The decoder's error text.
        cause: String,
    },
    /// The compression ratio is above its limit.
    #[error(
        "{object} decompresses to more than {limit} times its size ({bytes} bytes so far): taken for a {compression} bomb"
    )]
    Bomb {
        /// The object's name.
        object: String,
        /// The compression's name.
        compression: &'static str,
        /// Bytes decompressed so far.
        bytes: u64,
        /// The limit of the ratio.
        limit: u64,
    },
    /// The object is larger than its limit.
    #[error("{object} has more than {limit} bytes when decompressed; split it into smaller files")]
    TooLarge {
        /// The object's name.
        object: String,
        /// The limit, in bytes.
        limit: u64,
    },
    /// The framing of an object of parts is invalid.
    #[error("{object} is damaged: {reason}")]
    DamagedParts {
        /// The object's name.
        object: String,
        /// What is wrong with the framing.
        reason: &'static str,
    },
    /// The storage of the object failed.
    #[error("{object} cannot be read: {cause}")]
    Read {
        /// The object's name.
        object: String,
        /// The reader's error.
        #[source]
        cause: io::Error,
    },
}

impl ObjectError {
    /// True if the storage failed and not the object: a retry may succeed.
    pub fn is_read_failure(&self) -> bool {
        matches!(self, Self::Read { .. })
    }
}
