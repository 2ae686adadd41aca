//! One event's way through the system, and what came of each source's lines by the hour.

use panther_cluster::door::change::{self, RowExt};
use panther_cluster::state::read::Query;
use panther_proto::trace::TraceContext;
use panther_proto::v1::{LedgerAnswer, LedgerRow, RawRecord, TraceAnswer, TraceHop, TraceMatch};
use serde_json::Value;

use super::Views;
use crate::api::ApiError;
use crate::components::log_alert_forwarder::ALERTS;
use crate::components::objects;
use crate::components::sources::{Ledger, ledger};
use crate::sealing::token_hash;
use crate::traces::{Hop, Traces};

/// Digits of a trace id and of the id of an alert; the row id of an event has more.
const TRACE_DIGITS: usize = 32;
/// Rows of one page of a search through all objects.
const PAGE: usize = 1_000;

impl Views<'_> {
    pub(super) async fn hours_of(
        &self,
        source: Option<String>,
        hours: Option<u64>,
    ) -> Result<LedgerAnswer, ApiError> {
        let wanted = match &source {
            Some(name) => Some(
                self.sources
                    .find(name)
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
        let set = self.sources.current().await?;
        let sources = set.all().iter();
        let labels: std::collections::BTreeMap<&str, &str> = sources
            .map(|source| (source.id.as_str(), source.label.as_str()))
            .collect();
        let rows = ledger::since(&self.door.tables(), wanted.as_deref(), &from).await?;
        let shown = rows.iter().map(|(key, row)| {
            let Ledger {
                received,
                stored,
                quarantined,
                filtered,
            } = Ledger::of(row);
            let label = labels.get(key.hash.as_str()).copied();
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

    /// What is known of an event, a trace or an alert: the hops of its trace; of an event also the raw record that it came from, and what matched it.
    pub(super) async fn way_of(&self, id: &str) -> Result<TraceAnswer, ApiError> {
        let id = id.trim().to_lowercase();
        let id = match id.parse::<TraceContext>() {
            Ok(context) => context.trace_id(),
            Err(_) => id,
        };
        if id.len() < 8 || !id.bytes().all(|byte| byte.is_ascii_hexdigit()) {
            return Err(ApiError::Invalid(
                "a trace is found by the p_row_id of an event, a trace id, a traceparent, or the id of an alert: hexadecimal digits"
                    .to_owned(),
            ));
        }
        let traces = Traces::new(self.door.clone());
        let mut hops = traces.find(&id).await?;
        if id.len() > TRACE_DIGITS {
            return self.way_of_event(&id, hops).await;
        }
        if hops.is_empty()
            && let Some(trace) = self.trace_of_alert(&id).await?
        {
            hops = traces.find(&trace).await?;
        }
        let Some(first) = hops.first() else {
            return Err(ApiError::NotFound(format!(
                "there is no trace {id}: hops are kept for seven days, and an event is found by its whole p_row_id"
            )));
        };
        Ok(TraceAnswer {
            trace_id: Some(first.trace_id.clone()),
            hops: hops.iter().map(hop).collect(),
            ..TraceAnswer::default()
        })
    }

    async fn trace_of_alert(&self, id: &str) -> Result<Option<String>, ApiError> {
        let row = self.door.get(ALERTS, &change::key(id)).await?;
        Ok(row.and_then(|row| row.text("traceId").map(str::to_owned)))
    }

    /// An event is looked for in the objects that the hops of its trace name.
    async fn way_of_event(&self, id: &str, hops: Vec<Hop>) -> Result<TraceAnswer, ApiError> {
        let mut names: Vec<String> = Vec::new();
        for name in hops.iter().flat_map(|hop| &hop.objects) {
            if !names.contains(name) {
                names.push(name.clone());
            }
        }
        if hops.is_empty() {
            names = self.objects_made_of(id).await?;
        }
        let (mut event, mut processed, mut matches) = (Value::Null, None, Vec::new());
        let (mut looked_at, mut missing) = (0, Vec::new());
        for name in names.iter().filter(|name| {
            ["logs/", "rules/", "rule_errors/"]
                .iter()
                .any(|folder| name.starts_with(folder))
        }) {
            looked_at += 1;
            let Ok(content) = self.objects.get(name).await else {
                missing.push(name.clone());
                continue;
            };
            let wanted = id.to_owned();
            let lines = tokio::task::spawn_blocking(move || lines_of(&content, &wanted))
                .await
                .map_err(|error| ApiError::Internal(error.to_string()))?;
            for line in lines {
                if name.starts_with("logs/") {
                    processed = Some(name.clone());
                    event = line;
                } else {
                    let text = |value: &Value| value.as_str().map(str::to_owned);
                    matches.push(TraceMatch {
                        rule: text(&line["p_rule_id"]),
                        alert_id: text(&line["p_alert_id"]),
                        error: text(&line["p_rule_error"]["message"]),
                        object: name.clone(),
                    });
                }
            }
        }
        let Some(processed) = processed else {
            return Err(ApiError::NotFound(format!(
                "no stored event has the id {id}: looked through the {looked_at} objects of its trace, {} of which cannot be read",
                missing.len()
            )));
        };
        // A row id names its record of the raw object; the object itself is named by a hash of its name.
        let record = id
            .get(24..36)
            .and_then(|digits| u64::from_str_radix(digits, 16).ok())
            .unwrap_or(0);
        let named = self
            .door
            .get(objects::TABLE, &change::key(&processed))
            .await?;
        let from = named.and_then(|row| row.text("from").map(str::to_owned));
        let raw = from.filter(|name| token_hash(name).starts_with(id.get(..24).unwrap_or(id)));
        let place = raw
            .as_deref()
            .unwrap_or("an object that has no row any more");
        let found = match raw.as_deref().filter(|name| name.starts_with("raw/")) {
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
        let said = |name: &str| event[name].as_str().unwrap_or_default().to_owned();
        let steps = vec![
            format!(
                "source {} ({})",
                said("p_source_label"),
                said("p_source_id")
            ),
            came,
            format!(
                "classified as {} at {}",
                said("p_log_type"),
                said("p_parse_time")
            ),
            format!("stored in {processed}"),
            format!("{} match(es) or rule error(s)", matches.len()),
        ];
        Ok(TraceAnswer {
            trace_id: hops.first().map(|hop| hop.trace_id.clone()),
            hops: hops.iter().map(hop).collect(),
            source: event["p_source_id"].as_str().map(str::to_owned),
            event: Some(event.into()),
            raw: Some(RawRecord {
                object: raw,
                record,
                origin,
                text,
            }),
            unreadable: missing,
            processed_object: Some(processed),
            matches,
            steps,
        })
    }

    /// The objects that were made of the raw object of an event, by the rows of all objects: for an event whose hops are not kept any more.
    async fn objects_made_of(&self, id: &str) -> Result<Vec<String>, ApiError> {
        let prefix = id.get(..24).unwrap_or(id);
        let mut made = Vec::new();
        let mut query = Query {
            table: objects::TABLE.to_owned(),
            limit: PAGE,
            ..Query::default()
        };
        loop {
            let page = self.door.query(query.clone()).await?;
            for (key, row) in &page.rows {
                let from = row.text("from");
                // Matches come behind events in the order of names.
                if from.is_some_and(|from| {
                    token_hash(from).starts_with(prefix) || made.iter().any(|name| name == from)
                }) {
                    made.push(key.hash.clone());
                }
            }
            match page.next {
                Some(next) => query.after = Some(next),
                None => return Ok(made),
            }
        }
    }
}

/// A hop as the API gives it.
fn hop(hop: &Hop) -> TraceHop {
    TraceHop {
        time: crate::dates::rfc3339(hop.time_ms),
        took_ms: hop.took_ms,
        node: hop.node,
        component: hop.component.clone(),
        message: Some(hop.message.clone()).filter(|message| !message.is_empty()),
        what: hop.what.clone(),
        failed: hop.has_failed,
        trace_id: hop.trace_id.clone(),
        span_id: format!("{:016x}", hop.span_id),
        parent_span_id: (hop.parent_span_id != 0).then(|| format!("{:016x}", hop.parent_span_id)),
        objects: hop.objects.clone(),
        alerts: hop.alerts.clone(),
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
