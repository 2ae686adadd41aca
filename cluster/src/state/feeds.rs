//! A feed is a queue that a table fills (change data capture): one record per row change, sent by the same command.
//!
//! The group of a record is its row's key, so at most one record per row is in flight, and in order. While a record
//! waits, a later change of the row with the same coalescing key replaces its new image; its old image stays. A record
//! belongs to the trace of the command that made it.

use panther_proto::v1::{FeedRecord, FeedSpec, Key, Row, Send};
use prost::Message;

use super::keys::KeyBuilder;
use super::{Stop, Tx, queues};

/// Sends the record of one row change.
pub(super) fn record(
    tx: &mut Tx<'_>,
    feed: &FeedSpec,
    table: &str,
    key: &Key,
    old: Option<&Row>,
    new: Option<&Row>,
) -> Result<(), Stop> {
    let group = text_of(&KeyBuilder::new(b'g').row_key(key).done());
    let mut coalesce = KeyBuilder::new(b'k').row_key(key);
    for attribute in &feed.coalesce_by {
        let held = new
            .or(old)
            .and_then(|row| row.attributes.get(attribute))
            .cloned()
            .unwrap_or_default();
        if !coalesce.value(&held) {
            coalesce = coalesce.byte(0);
        }
    }
    let record = FeedRecord {
        table: table.to_owned(),
        key: Some(key.clone()),
        old: old.cloned(),
        new: new.cloned(),
    };
    let send = Send {
        body: record.encode_to_vec().into(),
        group,
        coalesce_key: text_of(&coalesce.done()),
        ..Send::default()
    };
    queues::send::run(tx, &feed.queue, &send, queues::send::Source::Feed)?;
    Ok(())
}

/// Merges a newer record into a waiting one, which keeps its old image. `None` if either does not decode.
pub(super) fn merge(waiting: &[u8], newer: &[u8]) -> Option<Vec<u8>> {
    let waiting = FeedRecord::decode(waiting).ok()?;
    let newer = FeedRecord::decode(newer).ok()?;
    Some(
        FeedRecord {
            old: waiting.old,
            ..newer
        }
        .encode_to_vec(),
    )
}

/// Encodes bytes as hexadecimal text: keys are bytes, groups are text, and distinct keys must stay distinct.
fn text_of(bytes: &[u8]) -> String {
    use std::fmt::Write;
    bytes
        .iter()
        .fold(String::with_capacity(bytes.len() * 2), |mut out, byte| {
            let _ = write!(out, "{byte:02x}");
            out
        })
}
