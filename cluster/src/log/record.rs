//! One record of the log: length, checksum, batch number, kind, content. The trusted part of a segment ends at the first record whose checksum is
//! wrong.
//!
//! Batch n+1 is written only after batch n was synced. So a bad record in front of a good record of a batch at least two later is not a torn tail: an
//! acknowledged record was damaged.

use bytes::{BufMut, Bytes, BytesMut};
use panther_proto::v1::{LogPosition, StoredVote};
use prost::Message;

/// Bytes in front of a record's content: length of the content, checksum of batch number and content, batch number.
pub(super) const HEADER: usize = 16;
/// Largest length of a record's content, in bytes: an entry and its position, with a margin.
pub(super) const RECORD_BYTES: usize = 64 << 20;

/// One change of the log. Records are replayed in the order in which they were written.
#[derive(Debug, Clone, PartialEq)]
pub(super) enum Record {
    Vote(StoredVote),
    /// An entry: its position and its encoded payload.
    Entry(LogPosition, Bytes),
    /// Removes the entries behind this index; `None` removes all entries.
    Truncate(Option<u64>),
    /// Removes the entries up to and including this position.
    Purge(LogPosition),
    Committed(LogPosition),
}

impl Record {
    /// Appends the encoded record to `out`. Returns the offset of the entry's payload from the record's first byte (0 for other kinds).
    pub(super) fn encode(&self, batch: u64, out: &mut BytesMut) -> usize {
        let start = out.len();
        out.put_bytes(0, HEADER);
        let mut payload = 0;
        match self {
            Self::Vote(vote) => {
                out.put_u8(b'V');
                out.put_slice(&vote.encode_to_vec());
            }
            Self::Entry(at, bytes) => {
                out.put_u8(b'E');
                out.put_u64(at.term);
                out.put_u64(at.node);
                out.put_u64(at.index);
                payload = out.len() - start;
                out.put_slice(bytes);
            }
            Self::Truncate(after) => {
                out.put_u8(b'T');
                if let Some(after) = after {
                    out.put_u64(*after);
                }
            }
            Self::Purge(upto) => {
                out.put_u8(b'P');
                out.put_slice(&upto.encode_to_vec());
            }
            Self::Committed(at) => {
                out.put_u8(b'C');
                out.put_slice(&at.encode_to_vec());
            }
        }
        let length = u32::try_from(out.len() - start - HEADER).unwrap_or(u32::MAX);
        out[start..start + 4].copy_from_slice(&length.to_le_bytes());
        out[start + 8..start + HEADER].copy_from_slice(&batch.to_le_bytes());
        let checksum = crc32fast::hash(&out[start + 8..]);
        out[start + 4..start + 8].copy_from_slice(&checksum.to_le_bytes());
        payload
    }

    /// Decodes the record at the start of `bytes`. Returns the record, its batch number and its length with header; `None` if `bytes` do not start
    /// with a valid record.
    pub(super) fn decode(bytes: &Bytes) -> Option<(Self, u64, usize)> {
        let length = u32::from_le_bytes(*bytes.get(..4)?.first_chunk()?) as usize;
        let checksum = u32::from_le_bytes(*bytes.get(4..8)?.first_chunk()?);
        if length == 0 || length > RECORD_BYTES {
            return None;
        }
        let checked = bytes.get(8..HEADER + length)?;
        if crc32fast::hash(checked) != checksum {
            return None;
        }
        let batch = u64::from_le_bytes(*checked.first_chunk()?);
        let content = bytes.slice(HEADER + 1..HEADER + length);
        let record = match bytes[HEADER] {
            b'V' => Self::Vote(StoredVote::decode(content).ok()?),
            b'E' => {
                let number = |at: usize| {
                    content
                        .get(at..at + 8)
                        .and_then(|part| part.first_chunk())
                        .map(|part| u64::from_be_bytes(*part))
                };
                let at = LogPosition {
                    term: number(0)?,
                    node: number(8)?,
                    index: number(16)?,
                };
                Self::Entry(at, content.slice(24..))
            }
            b'T' if content.is_empty() => Self::Truncate(None),
            b'T' => Self::Truncate(Some(u64::from_be_bytes(*content.first_chunk()?))),
            b'P' => Self::Purge(LogPosition::decode(content).ok()?),
            b'C' => Self::Committed(LogPosition::decode(content).ok()?),
            _ => return None,
        };
        Some((record, batch, HEADER + length))
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    fn record() -> impl Strategy<Value = Record> {
        let position =
            || {
                (any::<u64>(), any::<u64>(), any::<u64>())
                    .prop_map(|(term, node, index)| LogPosition { term, node, index })
            };
        prop_oneof![
            (any::<u64>(), any::<u64>(), any::<bool>()).prop_map(|(term, node, committed)| {
                Record::Vote(StoredVote {
                    term,
                    node,
                    committed,
                })
            }),
            (position(), prop::collection::vec(any::<u8>(), 0..200))
                .prop_map(|(at, bytes)| Record::Entry(at, bytes.into())),
            prop::option::of(any::<u64>()).prop_map(Record::Truncate),
            position().prop_map(Record::Purge),
            position().prop_map(Record::Committed),
        ]
    }

    proptest! {
        #[test]
        fn a_record_reads_back(record in record()) {
            let mut out = BytesMut::new();
            record.encode(7, &mut out);
            let length = out.len();
            out.put_slice(b"more");
            prop_assert_eq!(Record::decode(&out.freeze()), Some((record, 7, length)));
        }

        #[test]
        fn a_changed_or_cut_record_is_not_taken_for_another(record in record(), at: prop::sample::Index, flip in 1_u8..) {
            let mut out = BytesMut::new();
            record.encode(7, &mut out);
            let at = at.index(out.len());
            let cut = Bytes::copy_from_slice(&out[..at]);
            prop_assert_eq!(Record::decode(&cut), None);
            out[at] ^= flip;
            let read = Record::decode(&out.freeze());
            prop_assert!(read.is_none_or(|(read, batch, _)| read != record || batch != 7));
        }

        #[test]
        fn any_bytes_are_read_without_a_panic(bytes in prop::collection::vec(any::<u8>(), 0..100)) {
            Record::decode(&bytes.into());
        }
    }
}
