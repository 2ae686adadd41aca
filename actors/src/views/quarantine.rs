//! Lines that no log type took: listed by object, shown with each log type's reason, and replayed after a schema was mended.

use std::collections::BTreeMap;
use std::io::Read;

use panther_cluster::door::change::{self, IntoValue, RowExt};
use panther_cluster::state::read::{KeyedRow, Query};
use panther_logs::{EventEnds, Limits, PartsWriter, Piece, RawReader};
use panther_proto::v1::{
    LogTypeReason, QuarantineAnswer, QuarantineGroup, QuarantineLine, QuarantineReplayAnswer,
    QuarantineShowAnswer, RowChange, Transact,
};
use serde::{Deserialize, Serialize};

use super::Views;
use crate::api::{ApiError, CallContext};
use crate::components::log_processor::read::{QuarantinedRecord, remember};
use crate::components::log_processor::{Kept, QUARANTINE, Replay, SOURCE};
use crate::components::objects::{self, Written, s3_event};
use crate::components::sources::{INPUT_QUEUE, hour};

/// Records of a source, of an object, or all.
pub(super) struct Which {
    pub(super) source: Option<String>,
    pub(super) object: Option<String>,
}

/// What a replay set out to do: a retry goes on with the same objects.
#[derive(Serialize, Deserialize)]
struct Bounds {
    /// Each object with the source that it belongs to.
    objects: Vec<(String, String)>,
}

/// The id of the source in the name of a quarantined object.
fn source_of(object: &str) -> Option<&str> {
    let (source, _) = object.strip_prefix("quarantine/")?.split_once('/')?;
    Some(source)
}

impl Views<'_> {
    async fn quarantined(&self, which: &Which) -> Result<Vec<KeyedRow>, ApiError> {
        let source = match (&which.source, &which.object) {
            (Some(name), _) => Some(
                self.sources
                    .find(name)
                    .await?
                    .map_or_else(|| name.clone(), |source| source.id),
            ),
            (None, Some(object)) => source_of(object).map(str::to_owned),
            (None, None) => None,
        };
        if let (Some(source), Some(object)) = (&source, &which.object) {
            let key = change::key_range(source, object);
            let row = self.door.get(QUARANTINE, &key).await?;
            return Ok(row.map(|row| (key, row)).into_iter().collect());
        }
        let query = Query {
            table: QUARANTINE.to_owned(),
            hash: source.map(IntoValue::into_value),
            ..Query::default()
        };
        let rows = self.door.query_all(query).await?;
        let wanted = rows.into_iter().filter(|(key, _)| {
            let object = which.object.as_ref();
            object.is_none_or(|object| key.range == *object)
        });
        Ok(wanted.collect())
    }

    pub(super) async fn groups(
        &self,
        which: &Which,
        limit: Option<u64>,
    ) -> Result<QuarantineAnswer, ApiError> {
        let mut rows = self.quarantined(which).await?;
        rows.sort_by_key(|(_, row)| std::cmp::Reverse(row.int("time")));
        let groups = rows
            .iter()
            .take(super::at_most(limit, 100))
            .map(|(key, row)| {
                let text = |name: &str| row.text(name).map(str::to_owned);
                QuarantineGroup {
                    source: key.hash.clone(),
                    source_label: text("sourceLabel"),
                    object: key.range.clone(),
                    raw_object: text("object"),
                    origin: text("origin").filter(|origin| !origin.is_empty()),
                    count: row.int("count"),
                    first_ms: row.int("time"),
                    reasons: row.items("reasons").to_vec(),
                }
            });
        Ok(QuarantineAnswer {
            groups: groups.collect(),
        })
    }

    pub(super) async fn records(
        &self,
        object: &str,
        limit: Option<u64>,
    ) -> Result<QuarantineShowAnswer, ApiError> {
        let lines = self.lines(object).await?;
        let shown = lines
            .into_iter()
            .take(super::at_most(limit, 20))
            .map(|record| QuarantineLine {
                record: record.record,
                origin: record.origin,
                text: record.text,
                altered: record.altered,
                reasons: record
                    .reasons
                    .into_iter()
                    .map(|reason| LogTypeReason {
                        log_type: reason.log_type,
                        reason: reason.reason,
                    })
                    .collect(),
            });
        Ok(QuarantineShowAnswer {
            lines: shown.collect(),
        })
    }

    async fn lines(&self, object: &str) -> Result<Vec<QuarantinedRecord>, ApiError> {
        if !object.starts_with("quarantine/") {
            return Err(ApiError::Invalid(format!(
                "{object} is no quarantined object; `pantherctl quarantine ls` shows them"
            )));
        }
        let content = self.objects.get(object).await?;
        let damaged = |error: &dyn std::fmt::Display| {
            ApiError::Internal(format!("{object} is damaged: {error}"))
        };
        let text = objects::unpack(&content).map_err(|error| damaged(&error))?;
        text.split(|&byte| byte == b'\n')
            .filter(|line| !line.is_empty())
            .map(|line| serde_json::from_slice(line).map_err(|error| damaged(&error)))
            .collect()
    }

    /// The first line of each input of a raw object that is no JSON, by the number of the input's first record. An object that is gone has no
    /// input.
    async fn heads(&self, object: &str) -> BTreeMap<u64, Vec<u8>> {
        let Ok(reader) = self.objects.open(object).await else {
            return BTreeMap::new();
        };
        let name = object.to_owned();
        let ends = self.event_ends(object).await;
        let read = tokio::task::spawn_blocking(move || heads(&name, reader, ends)).await;
        read.unwrap_or_default()
    }

    /// Makes a raw object of the records and lets the log processor read them again. What no log type takes this time is
    /// quarantined again. A record whose text is not what was received stays where it is.
    ///
    /// Each object is one command under a request id of its own, so that a retry replays no object twice.
    pub(super) async fn replay(
        &self,
        context: &CallContext,
        which: &Which,
    ) -> Result<QuarantineReplayAnswer, ApiError> {
        let rows = self.quarantined(which).await?;
        let objects = rows
            .iter()
            .map(|(key, _)| (key.hash.clone(), key.range.clone()));
        let bounds = Bounds {
            objects: objects.collect(),
        };
        let bounds = context.begin_with(self.door, bounds).await?;
        let mut count = 0;
        let mut stay = 0;
        for (source, object) in bounds.objects {
            let key = change::key_range(source, object);
            // Where a first call was cut off, its messages may have removed rows already: these objects are replayed.
            let Some(row) = self.door.get(QUARANTINE, &key).await? else {
                count += 1;
                continue;
            };
            let (lines, others): (Vec<_>, Vec<_>) = self
                .lines(&key.range)
                .await?
                .into_iter()
                .partition(QuarantinedRecord::can_be_replayed);
            stay += others.len();
            if lines.is_empty() {
                continue;
            }
            // Each record is read by itself, as it was refused by itself, but behind the first lines of its input: they name its columns.
            let heads = match row.text("object") {
                Some(object) => self.heads(object).await,
                None => BTreeMap::new(),
            };
            let mut parts = PartsWriter::default();
            for line in &lines {
                let head = heads.range(..=line.record).next_back();
                if let Some((_, head)) = head.filter(|(_, head)| !head.is_empty()) {
                    parts.head(&line.origin, head);
                }
                parts.body(&line.origin, line.text.as_bytes());
            }
            let content = bytes::Bytes::from(parts.finish());
            let written = Written::of(String::new(), &content);
            let name = PartsWriter::name(&format!(
                "raw/{}/replay-{}-{}",
                key.hash,
                crate::sealing::token_hash(&key.range),
                &written.hash[..16]
            ));
            let written = Written { name, ..written };
            self.objects.put(&written.name, content).await?;
            let mut changes = vec![written.row(self.door.now_ms())];
            let kept = self.keep(&key.hash, &others, &mut changes).await?;
            let mut send = change::to_queue(
                INPUT_QUEUE,
                s3_event(&written.name, written.bytes).to_string(),
            );
            send.attributes.insert(SOURCE.to_owned(), key.hash.clone());
            send.turn.clone_from(&key.hash);
            // The records stay quarantined, and counted so, until they are read: the message that reads them removes the row.
            let time = row
                .int("time")
                .and_then(|time| u64::try_from(time).ok())
                .unwrap_or(0);
            let replay = Replay {
                object: key.range.clone(),
                count: lines.len() as u64,
                hour: row
                    .text("hour")
                    .map_or_else(|| hour(time), ToOwned::to_owned),
                kept,
            };
            replay.tell(&mut send);
            let (request_id, request_time_ms) =
                context.step(&crate::sealing::token_hash(&key.range)[..16]);
            let transact = Transact {
                changes,
                sends: vec![send],
                request_id,
                request_time_ms,
                ..Transact::default()
            };
            self.door.transact(transact).await?;
            count += 1;
        }
        let answer = QuarantineReplayAnswer {
            objects: count,
            messages: count,
            stay: super::count(stay),
        };
        self.finished(context, answer).await
    }

    /// Writes records that cannot be read again to an object of their own.
    async fn keep(
        &self,
        source: &str,
        records: &[QuarantinedRecord],
        changes: &mut Vec<RowChange>,
    ) -> Result<Option<Kept>, ApiError> {
        if records.is_empty() {
            return Ok(None);
        }
        let internal = |error: &dyn std::fmt::Display| ApiError::Internal(error.to_string());
        let mut lines = Vec::new();
        let mut reasons = Vec::new();
        for record in records {
            serde_json::to_writer(&mut lines, record).map_err(|error| internal(&error))?;
            lines.push(b'\n');
            remember(&mut reasons, &record.reasons);
        }
        let content = objects::pack(&lines).map_err(|error| internal(&error))?;
        let written = Written::of(String::new(), &content);
        let name = format!("quarantine/{source}/kept-{}.json.gz", &written.hash[..32]);
        let written = Written { name, ..written };
        self.objects.put(&written.name, content).await?;
        changes.push(written.row(self.door.now_ms()));
        Ok(Some(Kept {
            object: written.name,
            count: records.len() as u64,
            reasons,
        }))
    }
}

/// Longest line that is kept as a head.
const HEAD_BYTES: usize = 4 << 10;

fn heads(object: &str, reader: impl Read, mut ends: Option<EventEnds>) -> BTreeMap<u64, Vec<u8>> {
    let mut pieces = RawReader::new(object, reader, Limits::default());
    let mut heads = BTreeMap::new();
    // Of the input that is read: its first line, until its first record tells its number.
    let mut head: Option<Vec<u8>> = None;
    let mut is_new = true;
    while let Ok(Some(piece)) = pieces.next_piece() {
        if let Some(ends) = &mut ends {
            pieces.set_within_event(ends.follow(&piece));
        }
        match piece {
            Piece::Input { .. } => (head, is_new) = (None, true),
            Piece::Context(record) => head = head.or(Some(record.raw)),
            Piece::Record(record) if is_new => {
                is_new = false;
                let line = head.take().unwrap_or(record.raw);
                let is_json = line.trim_ascii_start().starts_with(b"{");
                let is_head = !is_json && line.len() <= HEAD_BYTES;
                heads.insert(record.number, if is_head { line } else { Vec::new() });
            }
            Piece::Record(_) | Piece::Gap => {}
        }
    }
    heads
}
