//! Names of objects, rows that say they are named, and the notifications in which this system tells itself of them.

use std::collections::BTreeMap;
use std::fs::File;
use std::io::{Read, Write};
use std::os::unix::fs::FileExt;

use bytes::Bytes;
use data_encoding::HEXLOWER;
use flate2::Compression;
use flate2::read::MultiGzDecoder;
use flate2::write::GzEncoder;
use panther_cluster::door::change::{self, Change};
use panther_proto::v1::{RowChange, Send};
use serde_json::json;
use sha2::{Digest, Sha256};

use crate::dates::date;

/// The table of named objects.
pub const TABLE: &str = "panther-objects";
/// The bucket's name in notifications of our own store.
pub const BUCKET: &str = "panther";
/// Most bytes that a processed object has when it is unpacked; larger ones are no work of ours.
const UNPACKED: u64 = 512 << 20;

/// An object that was written and is about to be named.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Written {
    /// Its name.
    pub name: String,
    /// Its bytes.
    pub bytes: u64,
    /// SHA-256 of its bytes.
    pub hash: String,
}

impl Written {
    /// Of this content.
    #[must_use]
    pub fn of(name: String, content: &[u8]) -> Self {
        Self {
            name,
            bytes: content.len() as u64,
            hash: HEXLOWER.encode(&Sha256::digest(content)),
        }
    }

    /// Of a file's content, read piece by piece.
    ///
    /// # Errors
    /// The file cannot be read.
    pub fn of_file(name: String, file: &File) -> std::io::Result<Self> {
        let mut digest = Sha256::new();
        let mut piece = vec![0; 1 << 20];
        let mut bytes = 0;
        loop {
            let count = file.read_at(&mut piece, bytes)?;
            if count == 0 {
                break;
            }
            digest.update(piece.get(..count).unwrap_or_default());
            bytes += count as u64;
        }
        Ok(Self {
            name,
            bytes,
            hash: HEXLOWER.encode(&digest.finalize()),
        })
    }

    /// The row that names it: what no row names is swept after a day.
    #[must_use]
    pub fn row(&self, now_ms: u64) -> RowChange {
        self.change(now_ms).done()
    }

    /// The same row, which also names the object that this one was made of.
    #[must_use]
    pub fn row_from(&self, now_ms: u64, object: &str) -> RowChange {
        self.change(now_ms).set("from", object).done()
    }

    fn change(&self, now_ms: u64) -> Change {
        Change::put(TABLE, change::key(&self.name))
            .set("bytes", self.bytes)
            .set("hash", &self.hash)
            .set("namedAt", now_ms)
    }
}

/// The table's name of a log type: lower case, dots become underscores.
#[must_use]
pub fn table_name(log_type: &str) -> String {
    log_type
        .to_lowercase()
        .chars()
        .map(|letter| {
            if letter.is_ascii_alphanumeric() {
                letter
            } else {
                '_'
            }
        })
        .collect()
}

/// `<kind>/<table>/year=…/month=…/day=…/hour=…/<hour>-<unique>.json.gz`.
#[must_use]
pub fn partitioned(kind: &str, log_type: &str, hour_ms: u64, unique: &str) -> String {
    let at = date(hour_ms);
    format!(
        "{kind}/{}/{}/{}-{unique}.json.gz",
        table_name(log_type),
        at.format("year=%Y/month=%m/day=%d/hour=%H"),
        at.format("%Y%m%dT%H0000Z")
    )
}

/// Lines, packed.
///
/// # Errors
/// Packing in memory does not fail; the type says it may.
pub fn pack(lines: &[u8]) -> std::io::Result<Bytes> {
    let mut packing = Packing::new(lines.len());
    packing.add(lines)?;
    packing.finish()
}

/// Lines that are packed as they come, so that only what is packed is held.
pub struct Packing(GzEncoder<Vec<u8>>);

impl Packing {
    /// For about so many bytes of lines.
    #[must_use]
    pub fn new(bytes: usize) -> Self {
        let packed = Vec::with_capacity(bytes / 6);
        Self(GzEncoder::new(packed, Compression::new(3)))
    }

    /// Adds lines, with their ends.
    ///
    /// # Errors
    /// As [`pack`].
    pub fn add(&mut self, lines: &[u8]) -> std::io::Result<()> {
        self.0.write_all(lines)
    }

    /// Bytes that are packed so far; what was added last may not be among them.
    #[must_use]
    pub fn packed_bytes(&self) -> usize {
        self.0.get_ref().len()
    }

    /// The object's content.
    ///
    /// # Errors
    /// As [`pack`].
    pub fn finish(self) -> std::io::Result<Bytes> {
        Ok(self.0.finish()?.into())
    }
}

/// Lines, unpacked.
///
/// # Errors
/// The bytes are not gzip, or far too many.
pub fn unpack(content: &[u8]) -> std::io::Result<Vec<u8>> {
    let mut lines = Vec::with_capacity(content.len() * 6);
    MultiGzDecoder::new(content)
        .take(UNPACKED)
        .read_to_end(&mut lines)?;
    Ok(lines)
}

/// Tells the processed-data topic of an object.
#[must_use]
pub fn processed(topic: &str, kind: &str, id: &str, object: &Written) -> Send {
    let attributes = BTreeMap::from([
        ("type".to_owned(), kind.to_owned()),
        ("id".to_owned(), id.to_owned()),
    ]);
    change::to_topic(
        topic,
        s3_event(&object.name, object.bytes).to_string(),
        attributes,
    )
}

/// An S3 event of one record.
#[must_use]
pub fn s3_event(key: &str, bytes: u64) -> serde_json::Value {
    json!({"Records": [{"eventVersion": "2.0", "eventSource": "aws:s3", "eventName": "ObjectCreated:Put",
        "s3": {"bucket": {"name": BUCKET}, "object": {"key": key, "size": bytes}}}]})
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn names_follow_the_lakes_partitions() {
        assert_eq!(
            partitioned("logs", "AWS.CloudTrail", 1_772_719_500_000, "m-1-0"),
            "logs/aws_cloudtrail/year=2026/month=03/day=05/hour=14/20260305T140000Z-m-1-0.json.gz"
        );
    }
}
