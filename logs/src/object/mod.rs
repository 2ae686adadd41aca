//! Objects and their records: what an object's bytes are, found out from the bytes themselves, and how they come apart.
//!
//! [`source`] undoes compression and holds the limits on bytes, [`window`] holds what is being looked at, and [`split`] finds where records
//! end: [`head`] tells what begins on a line, [`scan`] where a JSON value ends, [`envelope`] whether an object holds records instead of
//! being one. [`reader`] is what callers see of them.
//! [`parts`] joins several inputs to one object and keeps them apart.

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

/// What of an object is read at most. The defaults are far above what logs are and far below what harms a node.
#[derive(Debug, Clone)]
pub struct Limits {
    /// Bytes of one record (a line or an array element). A longer one is skipped to its end and only its head is kept.
    pub record_bytes: usize,
    /// Bytes kept of a record that is too long.
    pub head_bytes: usize,
    /// Bytes of an object, decompressed.
    pub object_bytes: u64,
    /// Decompressed bytes for each compressed byte, once [`Limits::ratio_from_bytes`] are decompressed. Logs that repeat themselves reach
    /// 100; a gzip bomb has 1,000, a zstd bomb more.
    pub ratio: u64,
    /// Decompressed bytes from which on the ratio is held against its limit.
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
    /// Which record of the object it is, from 1: its line or array element.
    pub number: u64,
    /// Where in the decompressed object its bytes begin.
    pub offset: u64,
    /// How many bytes of the decompressed object it takes.
    pub length: u64,
    /// Its bytes, without line end; only the head of one that was too long, and the message of one that came in a log event.
    pub raw: Vec<u8>,
    /// What is wrong with it before any log type has seen it.
    pub defect: Option<Defect>,
    /// Why it carries no event, where that is known before any log type has seen it.
    pub filter: Option<Filter>,
}

/// Why a record cannot be read at all.
#[derive(Debug, Clone, PartialEq, Eq, Error)]
pub enum Defect {
    /// Longer than [`Limits::record_bytes`].
    #[error("is {bytes} bytes long, more than the limit of {limit}; its head is kept")]
    TooLong {
        /// How long it is.
        bytes: u64,
        /// What the limit was.
        limit: u64,
    },
    /// Its end is missing.
    #[error("ends in the middle of a JSON value")]
    Cut,
    /// The bytes around it cannot be read: a damaged compression stream, or a body that is no text. The record stands for all of them.
    #[error("{reason}")]
    Unreadable {
        /// What is wrong, as [`ObjectError`] says it.
        reason: String,
    },
    /// Stands where no record can stand: between the elements of an array, or beside the array in its envelope.
    #[error("stands in or beside an array of records and is none")]
    Stray,
    /// Is no line but NUL bytes, as a file has them that was truncated while its writer went on.
    #[error("is a hole of {bytes} NUL bytes")]
    Hole {
        /// How many.
        bytes: u64,
    },
    /// Holds a NUL byte.
    #[error("holds a NUL byte at byte {offset}")]
    Nul {
        /// Where in the record.
        offset: usize,
    },
    /// Is not UTF-8.
    #[error("is not UTF-8 from byte {offset} on")]
    NotUtf8 {
        /// Where in the record.
        offset: usize,
    },
}

impl Record {
    /// Whether the input ended within it.
    #[must_use]
    pub const fn is_cut(&self) -> bool {
        matches!(self.defect, Some(Defect::Cut))
    }

    /// A record that stands for bytes that cannot be read. They are taken for all of their object; a caller who knows better sets
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

    /// The record's text.
    ///
    /// # Errors
    /// Its defect, found before or now.
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
    /// Nothing in it.
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
        /// What it seems to be.
        found: &'static str,
    },
    /// The compressed stream stops before its end.
    #[error(
        "{object} is truncated: its {compression} stream ends after {bytes} decompressed bytes; upload the whole file again"
    )]
    Truncated {
        /// The object's name.
        object: String,
        /// The compression's name.
        compression: &'static str,
        /// What could be decompressed.
        bytes: u64,
    },
    /// The compressed stream is damaged.
    #[error(
        "{object} is damaged: its {compression} stream is invalid after {bytes} decompressed bytes: {cause}"
    )]
    Corrupt {
        /// The object's name.
        object: String,
        /// The compression's name.
        compression: &'static str,
        /// What could be decompressed.
        bytes: u64,
        /// What the decoder says.
        cause: String,
    },
    /// Decompresses beyond the ratio.
    #[error(
        "{object} decompresses to more than {limit} times its size ({bytes} bytes so far): taken for a {compression} bomb"
    )]
    Bomb {
        /// The object's name.
        object: String,
        /// The compression's name.
        compression: &'static str,
        /// What had been decompressed.
        bytes: u64,
        /// The limit on the ratio.
        limit: u64,
    },
    /// Larger than an object may be.
    #[error("{object} has more than {limit} bytes when decompressed; split it into smaller files")]
    TooLarge {
        /// The object's name.
        object: String,
        /// The limit on bytes.
        limit: u64,
    },
    /// An object that joins several inputs does not have the form of one.
    #[error("{object} is damaged: {reason}")]
    DamagedParts {
        /// The object's name.
        object: String,
        /// What is wrong with its form.
        reason: &'static str,
    },
    /// What holds the object failed.
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
    /// Whether the fault is where the object is stored, not in the object: trying again may help.
    pub fn is_read_failure(&self) -> bool {
        matches!(self, Self::Read { .. })
    }
}
