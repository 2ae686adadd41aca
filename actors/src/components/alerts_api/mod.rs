//! `panther-alerts-api`: alerts, their matches, their history.

use std::collections::BTreeSet;

use futures::future::BoxFuture;
use panther_cluster::door::change::{self, Change, IntoValue, RowExt};
use panther_cluster::door::{Door, DoorError};
use panther_cluster::objects::{Objects, ObjectsError};
use panther_cluster::state::read::{KeyedRow, Query};
use panther_proto::v1::Row;
use serde::Deserialize;
use serde_json::{Value, json};

use super::log_alert_forwarder::{ALERTS, PARTITION, QUEUE};
use super::objects::{self, rfc3339};
use super::outputs_api::request;
use crate::component::{Deps, Place};
use crate::supervision::Part;
use crate::api::{Api, ApiCall, ApiError};

/// Which objects hold the matches of an alert: one row per alert and object.
pub const EVENTS: &str = "panther-alert-events";
const NAME: &str = "panther-alerts-api";
const OPERATIONS: &[&str] = &[
    "listAlerts",
    "getAlert",
    "updateAlertStatus",
    "deliverAlert",
];
/// Entries that an alert's history keeps.
const HISTORY: u32 = 200;
/// Rows that a list reads before it gives a page, however few of them passed the filter.
const LOOKED_AT: usize = 2_000;

/// The API.
pub struct AlertsApi {
    /// To the tables.
    pub door: Door,
    /// The object store.
    pub objects: Objects,
}

#[derive(Default, Deserialize)]
#[serde(rename_all = "camelCase", deny_unknown_fields, default)]
struct List {
    rule_id: Option<String>,
    page_size: Option<usize>,
    exclusive_start_key: Option<String>,
    types: Vec<String>,
    severity: Vec<String>,
    status: Vec<String>,
    name_contains: Option<String>,
    created_at_after: Option<String>,
    created_at_before: Option<String>,
    event_count_min: Option<i64>,
    event_count_max: Option<i64>,
    log_types: Vec<String>,
    sort_dir: Option<String>,
}

#[derive(Deserialize)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
struct Get {
    alert_id: String,
    #[serde(default)]
    events_page_size: Option<usize>,
    #[serde(default)]
    events_exclusive_start_key: Option<String>,
}

#[derive(Deserialize)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
struct UpdateStatus {
    alert_ids: Vec<String>,
    #[serde(default)]
    status: Option<String>,
    #[serde(default)]
    user_id: String,
    #[serde(default)]
    disposition: Option<String>,
    #[serde(default)]
    reason: Option<String>,
    #[serde(default)]
    assignee: Option<String>,
}

#[derive(Deserialize)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
struct Deliver {
    alert_id: String,
    output_ids: Vec<String>,
}

/// The function.
///
/// # Errors
/// None.
pub fn build(deps: &Deps, place: Place<'_>) -> Result<Part, ApiError> {
    Ok(place.api(AlertsApi {
        door: deps.door.clone(),
        objects: deps.objects.clone(),
    }))
}

impl Api for AlertsApi {
    fn call(&self, call: ApiCall) -> BoxFuture<'_, Result<Value, ApiError>> {
        Box::pin(async move {
            match call.operation.as_str() {
                "listAlerts" => self.list(call.input()?).await,
                "getAlert" => self.get(call.input()?).await,
                "updateAlertStatus" => self.update(call.input()?, &call).await,
                "deliverAlert" => self.deliver(call.input()?, &call).await,
                _ => Err(call.unknown(NAME, OPERATIONS)),
            }
        })
    }
}

/// An alert as lists show it.
#[must_use]
pub fn summary(id: &str, row: &Row) -> Value {
    let list = |name: &str| {
        row.json(name)
            .and_then(|json| crate::json::read(json.as_bytes()).ok())
            .unwrap_or_else(|| json!([]))
    };
    json!({
        "alertId": id, "type": row.text("type"), "ruleId": row.text("ruleId"), "ruleDisplayName": row.text("ruleDisplayName"),
        "ruleVersion": row.text("ruleVersion"), "dedupString": row.text("dedup"), "severity": row.text("severity"),
        "status": row.text("status").unwrap_or("OPEN"), "title": row.text("title"), "creationTime": row.text("creationTime"),
        "updateTime": row.text("updateTime"), "firstEventMatchTime": row.text("firstEventMatchTime"), "eventsMatched": row.int("eventCount"),
        "logTypes": row.items("logTypes"), "deliveryResponses": list("deliveryResponses"), "lastUpdatedBy": row.text("lastUpdatedBy"),
        "lastUpdatedByTime": row.text("lastUpdatedByTime"), "assignee": row.text("assignee"), "disposition": row.text("disposition"),
    })
}

impl AlertsApi {
    async fn list(&self, list: List) -> Result<Value, ApiError> {
        let page_size = list.page_size.unwrap_or(25).clamp(1, 250);
        let (index, hash) = match &list.rule_id {
            Some(rule) => ("ruleId-creationTime-index", rule.clone().into_value()),
            None => ("timePartition-creationTime-index", PARTITION.into_value()),
        };
        let mut query = Query {
            table: ALERTS.to_owned(),
            index: index.to_owned(),
            hash: Some(hash),
            from: list.created_at_after.clone().map(IntoValue::into_value),
            to: list.created_at_before.clone().map(IntoValue::into_value),
            limit: page_size.min(100),
            descending: list.sort_dir.as_deref() != Some("ascending"),
            after: list.exclusive_start_key.as_deref().map(unhex).transpose()?,
            ..Query::default()
        };
        let mut summaries = Vec::new();
        let (mut looked_at, mut next) = (0, None);
        while summaries.len() < page_size && looked_at < LOOKED_AT {
            query.limit = (page_size - summaries.len()).clamp(1, 100);
            let page = self.door.query(query.clone()).await?;
            looked_at += page.rows.len();
            summaries.extend(
                page.rows
                    .iter()
                    .filter(|row| passes(&list, row))
                    .map(|(key, row)| summary(&key.hash, row)),
            );
            next = page.next;
            match &next {
                Some(cursor) => query.after = Some(cursor.clone()),
                None => break,
            }
        }
        Ok(
            json!({"alertSummaries": summaries, "lastEvaluatedKey": next.map(|cursor| crate::sealing::hex(&cursor))}),
        )
    }

    async fn row(&self, id: &str) -> Result<Row, ApiError> {
        self.door
            .get(ALERTS, &change::key(id))
            .await?
            .ok_or_else(|| {
                ApiError::NotFound(format!(
                    "there is no alert {id}; `pantherctl alerts list` shows them"
                ))
            })
    }

    async fn get(&self, get: Get) -> Result<Value, ApiError> {
        let row = self.row(&get.alert_id).await?;
        let mut alert = summary(&get.alert_id, &row);
        let parsed = |name: &str| {
            row.json(name)
                .and_then(|json| crate::json::read(json.as_bytes()).ok())
        };
        for name in [
            "description",
            "runbook",
            "reference",
            "packVersion",
            "engine",
        ] {
            alert[name] = row.text(name).into();
        }
        alert["context"] = parsed("context").unwrap_or(Value::Null);
        alert["tags"] = parsed("tags").unwrap_or_else(|| json!([]));
        alert["history"] = parsed("history").unwrap_or_else(|| json!([]));
        let matches = self.matches(&get).await?;
        alert["events"] = matches.events.into();
        alert["eventsLastEvaluatedKey"] = matches.next.into();
        alert["eventsUnreadable"] = matches.unreadable.into();
        Ok(alert)
    }

    /// A page of an alert's matches. The key names the object and how many of its matches were given.
    async fn matches(&self, get: &Get) -> Result<Matches, ApiError> {
        let page_size = get.events_page_size.unwrap_or(10).clamp(0, 50);
        let (after, mut skip) = match get
            .events_exclusive_start_key
            .as_deref()
            .map(|key| key.rsplit_once('#'))
        {
            Some(Some((object, given))) => (
                object.to_owned(),
                given.parse().map_err(|_| {
                    ApiError::Invalid("eventsExclusiveStartKey is none of ours".to_owned())
                })?,
            ),
            Some(None) => {
                return Err(ApiError::Invalid(
                    "eventsExclusiveStartKey is none of ours".to_owned(),
                ));
            }
            None => (String::new(), 0_usize),
        };
        let query = Query {
            table: EVENTS.to_owned(),
            hash: Some(get.alert_id.as_str().into_value()),
            from: Some(after.as_str().into_value()),
            ..Query::default()
        };
        let objects: Vec<KeyedRow> = if page_size == 0 {
            Vec::new()
        } else {
            self.door.query_all(query).await?
        };
        let mut matches = Matches::default();
        for (key, _) in &objects {
            let found = match self.read_matches(&key.range, &get.alert_id).await {
                Ok(found) => found,
                // The alert is worth more than its events: it is shown without them.
                Err(reason) => {
                    matches
                        .unreadable
                        .push(json!({"object": key.range, "reason": reason}));
                    continue;
                }
            };
            for (given, event) in (skip..).zip(found.into_iter().skip(skip)) {
                if matches.events.len() == page_size {
                    matches.next = Some(format!("{}#{given}", key.range));
                    return Ok(matches);
                }
                matches.events.push(event);
            }
            skip = 0;
        }
        Ok(matches)
    }

    /// The matches of an alert in one object, or why they cannot be read.
    async fn read_matches(&self, object: &str, alert: &str) -> Result<Vec<Value>, String> {
        let content = match self.objects.get(object).await {
            Ok(content) => content,
            Err(ObjectsError::NotFound(_)) => return Err("the object does not exist".to_owned()),
            Err(error) => return Err(error.to_string()),
        };
        let alert = alert.to_owned();
        tokio::task::spawn_blocking(move || matches_of(&content, &alert))
            .await
            .map_err(|error| error.to_string())?
    }

    async fn update(&self, update: UpdateStatus, call: &ApiCall) -> Result<Value, ApiError> {
        const STATES: [&str; 4] = ["OPEN", "TRIAGED", "CLOSED", "RESOLVED"];
        if let Some(status) = &update.status
            && !STATES.contains(&status.as_str())
        {
            return Err(ApiError::Invalid(format!(
                "status {status} is none of {}",
                STATES.join(", ")
            )));
        }
        if let Some(disposition) = &update.disposition
            && !["true", "benign", "false", ""].contains(&disposition.as_str())
        {
            return Err(ApiError::Invalid(format!(
                "disposition {disposition} is none of true, benign, false"
            )));
        }
        let ids: BTreeSet<&String> = update.alert_ids.iter().collect();
        if ids.is_empty() || ids.len() > 500 {
            return Err(ApiError::Invalid(
                "alertIds must name 1 to 500 alerts".to_owned(),
            ));
        }
        let now = rfc3339(self.door.now_ms());
        let entry = json!({"time": now, "user": update.user_id, "status": update.status, "disposition": update.disposition, "assignee": update.assignee, "reason": update.reason});
        let changes = ids.iter().map(|id| {
            let mut change = Change::update(ALERTS, change::key(id.as_str()))
                .if_row_present()
                .set("lastUpdatedBy", &update.user_id)
                .set("lastUpdatedByTime", &now)
                .append("history", change::json(entry.to_string()), HISTORY);
            if let Some(status) = &update.status {
                // An open alert has no status, so that a new one need not be given one.
                change =
                    change.set_or_remove("status", (status != "OPEN").then_some(status.as_str()));
            }
            for (name, value) in [
                ("disposition", &update.disposition),
                ("assignee", &update.assignee),
                ("dispositionReason", &update.reason),
            ] {
                if let Some(value) = value {
                    change =
                        change.set_or_remove(name, (!value.is_empty()).then_some(value.as_str()));
                }
            }
            change.done()
        });
        match self.door.transact(request(call, changes.collect())).await {
            Ok(_) => {}
            Err(DoorError::Conflict(conflict)) => {
                let id = conflict.key.map(|key| key.hash).unwrap_or_default();
                return Err(ApiError::NotFound(format!(
                    "there is no alert {id}; nothing was changed"
                )));
            }
            Err(error) => return Err(error.into()),
        }
        let mut summaries = Vec::new();
        for id in ids {
            summaries.push(summary(id, &self.row(id).await?));
        }
        Ok(json!({"summaries": summaries}))
    }

    async fn deliver(&self, deliver: Deliver, call: &ApiCall) -> Result<Value, ApiError> {
        let row = self.row(&deliver.alert_id).await?;
        if deliver.output_ids.is_empty() {
            return Err(ApiError::Invalid(
                "outputIds must name at least one output".to_owned(),
            ));
        }
        let kind = if row.text("type") == Some("RULE_ERROR") {
            panther_detections::alerting::AlertKind::RuleError
        } else {
            panther_detections::alerting::AlertKind::Rule
        };
        let mut alert = super::log_alert_forwarder::alert(
            &row,
            &deliver.alert_id,
            row.text("creationTime").unwrap_or_default(),
            kind,
        );
        alert["isResent"] = true.into();
        let mut transact = request(call, Vec::new());
        for id in &deliver.output_ids {
            let mut send = change::to_queue(QUEUE, alert.to_string());
            send.attributes.insert("outputId".to_owned(), id.clone());
            transact.sends.push(send);
        }
        self.door.transact(transact).await?;
        Ok(summary(&deliver.alert_id, &row))
    }
}

fn passes(list: &List, (_, row): &KeyedRow) -> bool {
    let one_of = |wanted: &[String], held: Option<&str>| {
        wanted.is_empty()
            || held.is_some_and(|held| {
                wanted
                    .iter()
                    .any(|wanted| wanted.eq_ignore_ascii_case(held))
            })
    };
    let count = row.int("eventCount").unwrap_or(0);
    one_of(&list.types, row.text("type"))
        && one_of(&list.severity, row.text("severity"))
        && one_of(&list.status, Some(row.text("status").unwrap_or("OPEN")))
        && list.name_contains.as_ref().is_none_or(|part| {
            row.text("title")
                .unwrap_or_default()
                .to_lowercase()
                .contains(&part.to_lowercase())
        })
        && list.event_count_min.is_none_or(|least| count >= least)
        && list.event_count_max.is_none_or(|most| count <= most)
        && (list.log_types.is_empty()
            || row
                .items("logTypes")
                .iter()
                .any(|held| list.log_types.contains(held)))
}

/// A page of the matches of an alert.
#[derive(Default)]
struct Matches {
    events: Vec<Value>,
    /// Where the next page begins.
    next: Option<String>,
    /// Objects that hold matches and cannot be read, each with the reason.
    unreadable: Vec<Value>,
}

fn matches_of(content: &[u8], alert_id: &str) -> Result<Vec<Value>, String> {
    let damaged = |error: &dyn std::fmt::Display| format!("the object is damaged: {error}");
    let lines = objects::unpack(content).map_err(|error| damaged(&error))?;
    let mut found = Vec::new();
    for line in lines
        .split(|&byte| byte == b'\n')
        .filter(|line| !line.is_empty())
    {
        let event = crate::json::read(line).map_err(|error| damaged(&error))?;
        if event["p_alert_id"] == alert_id {
            found.push(event);
        }
    }
    Ok(found)
}

/// Bytes of hexadecimal digits.
pub(crate) fn unhex(text: &str) -> Result<Vec<u8>, ApiError> {
    let bad = || ApiError::Invalid("the start key is none of ours".to_owned());
    if !text.is_ascii() || !text.len().is_multiple_of(2) {
        return Err(bad());
    }
    (0..text.len())
        .step_by(2)
        .map(|at| u8::from_str_radix(&text[at..at + 2], 16).map_err(|_| bad()))
        .collect()
}
