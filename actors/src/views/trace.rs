//! One event's way through the system, and what came of each source's lines by the hour.

use panther_cluster::door::change::RowExt;
use panther_cluster::state::read::Query;
use panther_proto::v1::{LedgerAnswer, LedgerRow, RawRecord, TraceAnswer, TraceMatch};
use serde_json::Value;

use super::Views;
use crate::api::ApiError;
use crate::components::objects;
use crate::components::sources::{self, LEDGER, Ledger};

/// Objects that a trace looks through, newest first.
const LOOKED_AT: usize = 20_000;

impl Views<'_> {
    pub(super) async fn hours_of(
        &self,
        source: Option<String>,
        hours: Option<u64>,
    ) -> Result<LedgerAnswer, ApiError> {
        let wanted = match &source {
            Some(name) => Some(
                sources::find(self.door, name)
                    .await?
                    .ok_or_else(|| {
                        ApiError::NotFound(format!(
                            "there is no source {name}; `pantherctl sources list` shows them"
                        ))
                    })?
                    .id,
            ),
            None => None,
        };
        let hours = i64::try_from(hours.unwrap_or(24))
            .unwrap_or(24)
            .clamp(1, 24 * 366);
        let from = (crate::dates::date(self.door.now_ms()) - chrono::Duration::hours(hours - 1))
            .format("%Y-%m-%dT%H")
            .to_string();
        let labels: std::collections::BTreeMap<String, String> = sources::all(self.door)
            .await?
            .into_iter()
            .map(|source| (source.id, source.label))
            .collect();
        let rows = self
            .door
            .query_all(Query {
                table: LEDGER.to_owned(),
                ..Query::default()
            })
            .await?;
        let shown = rows
            .iter()
            .filter(|(key, _)| {
                wanted.as_ref().is_none_or(|wanted| key.hash == *wanted) && key.range >= from
            })
            .map(|(key, row)| {
                let Ledger {
                    received,
                    stored,
                    quarantined,
                    filtered,
                } = Ledger::of(row);
                let label = labels.get(&key.hash).map(String::as_str);
                LedgerRow {
                    source: key.hash.clone(),
                    source_label: label.or_else(|| row.text("sourceLabel")).map(str::to_owned),
                    hour: key.range.clone(),
                    received,
                    stored,
                    quarantined,
                    filtered,
                }
            });
        Ok(LedgerAnswer {
            rows: shown.collect(),
        })
    }

    /// Finds an event by its row id: which raw record it came from, where it lies, what matched.
    pub(super) async fn way_of(&self, id: &str) -> Result<TraceAnswer, ApiError> {
        if id.len() < 8 || !id.bytes().all(|byte| byte.is_ascii_hexdigit()) {
            return Err(ApiError::Invalid(
                "an event is named by its p_row_id, hexadecimal digits".to_owned(),
            ));
        }
        let mut rows = self
            .door
            .query_all(Query {
                table: objects::TABLE.to_owned(),
                ..Query::default()
            })
            .await?;
        rows.sort_by_key(|(_, row)| std::cmp::Reverse(row.int("namedAt")));
        let (mut event, mut processed, mut matches) = (Value::Null, None, Vec::new());
        let mut looked_at = 0;
        let mut missing = Vec::new();
        let mut from = None;
        for (key, row) in rows
            .iter()
            .filter(|(key, _)| {
                ["logs/", "rules/", "rule_errors/"]
                    .iter()
                    .any(|folder| key.hash.starts_with(folder))
            })
            .take(LOOKED_AT)
        {
            looked_at += 1;
            let Ok(content) = self.objects.get(&key.hash).await else {
                missing.push(key.hash.clone());
                continue;
            };
            let wanted = id.to_owned();
            let lines = tokio::task::spawn_blocking(move || lines_of(&content, &wanted))
                .await
                .map_err(|error| ApiError::Internal(error.to_string()))?;
            for line in lines {
                if key.hash.starts_with("logs/") {
                    processed = Some(key.hash.clone());
                    from = row.text("from").map(ToOwned::to_owned);
                    event = line;
                } else {
                    let text = |value: &Value| value.as_str().map(str::to_owned);
                    matches.push(TraceMatch {
                        rule: text(&line["p_rule_id"]),
                        alert_id: text(&line["p_alert_id"]),
                        error: text(&line["p_rule_error"]["message"]),
                        object: key.hash.clone(),
                    });
                }
            }
        }
        if event.is_null() {
            return Err(ApiError::NotFound(format!(
                "no stored event has the id {id}: looked through {looked_at} objects, newest first; {} of them cannot be read",
                missing.len()
            )));
        }
        // A row id says which record of its raw object it was; the object itself is named by a hash of its name.
        let record = id
            .get(24..36)
            .and_then(|digits| u64::from_str_radix(digits, 16).ok())
            .unwrap_or(0);
        let own = rows.iter().map(|(key, _)| &key.hash).find(|name| {
            name.starts_with("raw/") && id.starts_with(&crate::sealing::token_hash(name)[..24])
        });
        let raw = own.cloned().or(from);
        let place = raw
            .as_deref()
            .unwrap_or("an object that has no row any more");
        let found = match own {
            Some(object) => self.raw_record(object, record).await,
            None => None,
        };
        let (origin, text) = found.map_or((None, None), |(origin, text)| {
            (Some(origin).filter(|origin| !origin.is_empty()), Some(text))
        });
        let came = match &origin {
            Some(origin) => format!("record {record} of {place}, which came from {origin}"),
            None => format!("record {record} of {place}"),
        };
        let steps = vec![
            format!(
                "source {} ({})",
                event["p_source_label"].as_str().unwrap_or_default(),
                event["p_source_id"].as_str().unwrap_or_default()
            ),
            came,
            format!(
                "classified as {} at {}",
                event["p_log_type"].as_str().unwrap_or_default(),
                event["p_parse_time"].as_str().unwrap_or_default()
            ),
            format!("stored in {}", processed.as_deref().unwrap_or_default()),
            format!("{} match(es) or rule error(s)", matches.len()),
        ];
        Ok(TraceAnswer {
            source: event["p_source_id"].as_str().map(str::to_owned),
            event: Some(event.into()),
            raw: Some(RawRecord {
                object: raw,
                record,
                origin,
                text,
            }),
            unreadable: missing,
            processed_object: processed,
            matches,
            steps,
        })
    }
}

fn lines_of(content: &[u8], id: &str) -> Vec<Value> {
    let Ok(text) = objects::unpack(content) else {
        return Vec::new();
    };
    let needle = id.as_bytes();
    text.split(|&byte| byte == b'\n')
        .filter(|line| line.windows(needle.len()).any(|part| part == needle))
        .filter_map(|line| crate::json::read(line).ok())
        .filter(|event| event["p_row_id"] == id)
        .collect()
}
