//! `panther-log-alert-forwarder`: turns changes of the deduplication table into alerts.
//!
//! A record is enough by itself: the row carries its threshold, texts and destinations. A record that is handled twice
//! changes nothing the second time.

use panther_cluster::door::change::{self, Change, RowExt};
use panther_detections::alerting::{self, AlertKind, Forward};
use panther_proto::v1::{FeedRecord, Message, Row};
use prost::Message as _;
use serde_json::{Value, json};

use crate::api::ApiError;
use crate::component::{Deps, Place};
use crate::dates::rfc3339;
use crate::supervision::Part;
use crate::worker::{Context, Failure, Handler, Plan, PlanContext};

/// The table of alerts.
pub const ALERTS: &str = "panther-log-alert-info";
/// The queue of alerts to deliver.
pub const QUEUE: &str = "panther-alerts-queue";
/// The feed of the deduplication table.
pub const FEED: &str = "panther-log-alert-dedup-feed";
/// All alerts share this value, by which they are listed in order of time.
pub const PARTITION: &str = "defaultPartition";

/// The handler.
pub struct LogAlertForwarder;

/// The function.
///
/// # Errors
/// None.
pub fn build(deps: &Deps, place: Place<'_>) -> Result<Part, ApiError> {
    Ok(place.worker(deps, LogAlertForwarder))
}

impl Handler for LogAlertForwarder {
    type Work = Option<Row>;

    async fn work(&self, message: &Message, _context: &Context) -> Result<Self::Work, Failure> {
        let record = FeedRecord::decode(message.body.clone()).map_err(|error| {
            Failure::message(format!("the feed record does not decode: {error}"))
        })?;
        Ok(record.new)
    }

    async fn plan(
        row: &Self::Work,
        _message: &Message,
        context: &PlanContext,
    ) -> Result<Plan, Failure> {
        let Some(row) = row else {
            return Ok(Plan::default());
        };
        let Some(alert_id) = row.text("alertId") else {
            return Err(Failure::message("the row has no alert id"));
        };
        let kind = if row.text("type") == Some("RULE_ERROR") {
            AlertKind::RuleError
        } else {
            AlertKind::Rule
        };
        let count = |name: &str| row.int(name).and_then(|count| u64::try_from(count).ok());
        let events = count("eventCount").unwrap_or(0);
        let exists = context
            .tables
            .get(ALERTS, &change::key(alert_id))
            .await?
            .is_some();
        let updated = rfc3339(count("alertUpdateTime").unwrap_or(0) * 1000);
        match alerting::forward(kind, events, count("threshold").unwrap_or(1), exists) {
            Forward::BelowThreshold => Ok(Plan {
                what: format!("{events} matches are below the threshold of the rule"),
                ..Plan::default()
            }),
            Forward::Update => {
                let change = Change::update(ALERTS, change::key(alert_id))
                    .if_row_present()
                    .max("eventCount", events)
                    .max("updateTime", updated)
                    .union("logTypes", row.items("logTypes").iter().cloned());
                Ok(Plan {
                    changes: vec![change.done()],
                    what: format!("alert {alert_id} has {events} events now"),
                    ..Plan::default()
                })
            }
            Forward::Create => {
                let created = updated;
                let change = create(row, alert_id, events, &created, kind)
                    .set("traceId", context.trace.trace_id())
                    .if_row_absent();
                let mut send =
                    change::to_queue(QUEUE, alert(row, alert_id, &created, kind).to_string());
                send.dedup_id = alert_id.to_owned();
                Ok(Plan {
                    changes: vec![change.done()],
                    sends: vec![send],
                    what: format!("alert {alert_id} created"),
                    ..Plan::default()
                })
            }
        }
    }
}

fn create(row: &Row, alert_id: &str, events: u64, created: &str, kind: AlertKind) -> Change {
    let first_ms = row
        .int("alertCreationTime")
        .and_then(|seconds| u64::try_from(seconds).ok())
        .unwrap_or(0)
        * 1000;
    let mut change = Change::put(ALERTS, change::key(alert_id))
        .set("timePartition", PARTITION)
        .set("type", kind.as_str())
        .set("creationTime", created)
        .set("updateTime", created)
        .set("firstEventMatchTime", rfc3339(first_ms))
        .set("eventCount", events)
        .set("logTypes", row.items("logTypes").to_vec());
    for name in [
        "ruleId",
        "ruleVersion",
        "ruleDisplayName",
        "packVersion",
        "engine",
        "title",
        "description",
        "reference",
        "runbook",
        "severity",
        "dedup",
    ] {
        change = change.set_or_remove(name, row.text(name));
    }
    for name in ["destinations", "outputIds", "tags", "context"] {
        change = change.set_or_remove(name, row.json(name).map(change::json));
    }
    change
}

/// The alert as delivery and outside readers of the queue see it.
#[must_use]
pub fn alert(row: &Row, alert_id: &str, created: &str, kind: AlertKind) -> Value {
    let text = |name: &str| row.text(name).unwrap_or_default();
    let json = |name: &str| {
        row.json(name)
            .and_then(|json| crate::json::read(json.as_bytes()).ok())
            .unwrap_or(Value::Null)
    };
    json!({
        "alertId": alert_id,
        "analysisId": text("ruleId"),
        "analysisName": text("ruleDisplayName"),
        "analysisDescription": text("description"),
        "type": kind.as_str(),
        "createdAt": created,
        "severity": text("severity"),
        "outputIds": json("outputIds"),
        "destinations": json("destinations"),
        "logTypes": row.items("logTypes"),
        "version": text("ruleVersion"),
        "reference": text("reference"),
        "runbook": text("runbook"),
        "tags": json("tags"),
        "title": text("title"),
        "context": json("context"),
    })
}
