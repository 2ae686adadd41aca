//! `panther-alerts-api`: alerts, their matches, their history.

use std::collections::BTreeSet;

use bytes::Bytes;
use data_encoding::HEXLOWER;
use futures::future::BoxFuture;
use panther_cluster::door::change::{self, Change, IntoValue, RowExt};
use panther_cluster::door::{Door, DoorError};
use panther_cluster::objects::{Objects, ObjectsError};
use panther_cluster::state::read::{KeyedRow, Query};
use panther_proto::v1::alerts_api::{self, AlertsApi};
use panther_proto::v1::{
    AlertChange, AlertDetails, AlertSummary, DeliverAlertRequest, DeliveryResponse,
    GetAlertRequest, Json, ListAlertsAnswer, ListAlertsRequest, Row, UnreadableObject,
    UpdateAlertStatusAnswer, UpdateAlertStatusRequest,
};
use serde::de::DeserializeOwned;
use serde::{Deserialize, Serialize};
use serde_json::Value;

use super::log_alert_forwarder::{ALERTS, PARTITION, QUEUE};
use super::objects;
use crate::api::{Api, ApiCall, ApiError, CallContext};
use crate::component::{Deps, Place};
use crate::dates::rfc3339;
use crate::destinations::Response;
use crate::supervision::Part;

/// Which objects hold the matches of an alert: one row per alert and object.
pub const EVENTS: &str = "panther-alert-events";
/// Entries that an alert's history keeps.
const HISTORY: u32 = 200;
/// Rows that a list reads before it gives a page, however few of them passed the filter.
const LOOKED_AT: usize = 2_000;

/// The API.
pub struct AlertsService {
    /// To the tables.
    pub door: Door,
    /// The object store.
    pub objects: Objects,
}

/// The function.
///
/// # Errors
/// None.
pub fn build(deps: &Deps, place: Place<'_>) -> Result<Part, ApiError> {
    Ok(place.api(AlertsService {
        door: deps.door.clone(),
        objects: deps.objects.clone(),
    }))
}

impl Api for AlertsService {
    fn call(&self, call: ApiCall) -> BoxFuture<'_, Result<Bytes, ApiError>> {
        Box::pin(async move {
            alerts_api::dispatch(self, &call.context, &call.method, call.request.clone())
                .await
                .unwrap_or_else(|| Err(call.unknown_method()))
        })
    }
}

/// An alert as lists show it.
#[must_use]
pub fn summary(id: &str, row: &Row) -> AlertSummary {
    let text = |name: &str| row.text(name).map(str::to_owned);
    let responses: Vec<Response> = stored(row, "deliveryResponses").unwrap_or_default();
    AlertSummary {
        alert_id: id.to_owned(),
        r#type: text("type"),
        rule_id: text("ruleId"),
        rule_display_name: text("ruleDisplayName"),
        rule_version: text("ruleVersion"),
        dedup_string: text("dedup"),
        severity: text("severity"),
        status: row.text("status").unwrap_or("OPEN").to_owned(),
        title: text("title"),
        creation_time: text("creationTime"),
        update_time: text("updateTime"),
        first_event_match_time: text("firstEventMatchTime"),
        events_matched: row.int("eventCount"),
        log_types: row.items("logTypes").to_vec(),
        delivery_responses: responses.into_iter().map(DeliveryResponse::from).collect(),
        last_updated_by: text("lastUpdatedBy"),
        last_updated_by_time: text("lastUpdatedByTime"),
        assignee: text("assignee"),
        disposition: text("disposition"),
    }
}

/// JSON that a row holds, as a type; nothing if the row holds no JSON or JSON of another type.
fn stored<T: DeserializeOwned>(row: &Row, name: &str) -> Option<T> {
    serde_json::from_str(row.json(name)?).ok()
}

/// One change of an alert, as its row holds it.
#[derive(Serialize, Deserialize)]
struct HistoryEntry {
    time: String,
    user: String,
    status: Option<String>,
    disposition: Option<String>,
    assignee: Option<String>,
    reason: Option<String>,
}

impl From<HistoryEntry> for AlertChange {
    fn from(entry: HistoryEntry) -> Self {
        Self {
            time: entry.time,
            user: entry.user,
            status: entry.status,
            disposition: entry.disposition,
            assignee: entry.assignee,
            reason: entry.reason,
        }
    }
}

fn details(summary: AlertSummary, row: &Row, matches: Matches) -> AlertDetails {
    let text = |name: &str| row.text(name).map(str::to_owned);
    let history: Vec<HistoryEntry> = stored(row, "history").unwrap_or_default();
    AlertDetails {
        alert_id: summary.alert_id,
        r#type: summary.r#type,
        rule_id: summary.rule_id,
        rule_display_name: summary.rule_display_name,
        rule_version: summary.rule_version,
        dedup_string: summary.dedup_string,
        severity: summary.severity,
        status: summary.status,
        title: summary.title,
        creation_time: summary.creation_time,
        update_time: summary.update_time,
        first_event_match_time: summary.first_event_match_time,
        events_matched: summary.events_matched,
        log_types: summary.log_types,
        delivery_responses: summary.delivery_responses,
        last_updated_by: summary.last_updated_by,
        last_updated_by_time: summary.last_updated_by_time,
        assignee: summary.assignee,
        disposition: summary.disposition,
        description: text("description"),
        runbook: text("runbook"),
        reference: text("reference"),
        pack_version: text("packVersion"),
        engine: text("engine"),
        context: row.json("context").map(|text| Json {
            text: text.to_owned(),
        }),
        tags: stored(row, "tags").unwrap_or_default(),
        history: history.into_iter().map(AlertChange::from).collect(),
        events: matches.events.into_iter().map(Json::from).collect(),
        events_last_evaluated_key: matches.next,
        events_unreadable: matches.unreadable,
    }
}

impl AlertsApi<CallContext, ApiError> for AlertsService {
    async fn list_alerts(
        &self,
        _: &CallContext,
        list: ListAlertsRequest,
    ) -> Result<ListAlertsAnswer, ApiError> {
        let page_size = usize::try_from(list.page_size.unwrap_or(25))
            .unwrap_or(usize::MAX)
            .clamp(1, 250);
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
            after: list
                .exclusive_start_key
                .as_deref()
                .map(cursor)
                .transpose()?,
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
        Ok(ListAlertsAnswer {
            alert_summaries: summaries,
            last_evaluated_key: next.map(|cursor| HEXLOWER.encode(&cursor)),
        })
    }

    async fn get_alert(
        &self,
        _: &CallContext,
        get: GetAlertRequest,
    ) -> Result<AlertDetails, ApiError> {
        let row = self.row(&get.alert_id).await?;
        let matches = self.matches(&get).await?;
        Ok(details(summary(&get.alert_id, &row), &row, matches))
    }

    async fn update_alert_status(
        &self,
        context: &CallContext,
        update: UpdateAlertStatusRequest,
    ) -> Result<UpdateAlertStatusAnswer, ApiError> {
        const STATES: [&str; 4] = ["OPEN", "TRIAGED", "CLOSED", "RESOLVED"];
        if let Some(status) = &update.status
            && !STATES.contains(&status.as_str())
        {
            return Err(ApiError::Invalid(format!(
                "status {status} is not one of {}",
                STATES.join(", ")
            )));
        }
        if let Some(disposition) = &update.disposition
            && !["true", "benign", "false", ""].contains(&disposition.as_str())
        {
            return Err(ApiError::Invalid(format!(
                "disposition {disposition} is not one of true, benign, false"
            )));
        }
        let ids: BTreeSet<&String> = update.alert_ids.iter().collect();
        if ids.is_empty() || ids.len() > 500 {
            return Err(ApiError::Invalid(
                "alertIds must name 1 to 500 alerts".to_owned(),
            ));
        }
        let now = rfc3339(self.door.now_ms());
        let entry = HistoryEntry {
            time: now.clone(),
            user: context.user.clone(),
            status: update.status.clone(),
            disposition: update.disposition.clone(),
            assignee: update.assignee.clone(),
            reason: update.reason.clone(),
        };
        let entry =
            serde_json::to_string(&entry).map_err(|error| ApiError::Internal(error.to_string()))?;
        // An open alert has no status, so that a new one need not be given one.
        let status = update
            .status
            .as_ref()
            .map(|status| Some(status.clone()).filter(|status| status != "OPEN"));
        let texts = [
            ("status", status),
            ("disposition", update.disposition.map(some_text)),
            ("assignee", update.assignee.map(some_text)),
            ("dispositionReason", update.reason.map(some_text)),
        ];
        let (mut changes, mut summaries) = (Vec::new(), Vec::new());
        for id in ids {
            let before = self.door.get(ALERTS, &change::key(id.as_str())).await?;
            let before = before.ok_or_else(|| {
                ApiError::NotFound(format!("there is no alert {id}; nothing was changed"))
            })?;
            let mut summary = summary(id, &before);
            summary.last_updated_by = Some(context.user.clone());
            summary.last_updated_by_time = Some(now.clone());
            let mut change = Change::update(ALERTS, change::key(id.as_str()))
                .if_row_present()
                .set("lastUpdatedBy", &context.user)
                .set("lastUpdatedByTime", &now)
                .append("history", change::json(entry.clone()), HISTORY);
            for (name, text) in &texts {
                let Some(text) = text else { continue };
                change = change.set_or_remove(name, text.as_deref());
                match *name {
                    "status" => {
                        summary.status = text.clone().unwrap_or_else(|| "OPEN".to_owned());
                    }
                    "disposition" => summary.disposition.clone_from(text),
                    "assignee" => summary.assignee.clone_from(text),
                    _ => {}
                }
            }
            changes.push(change.done());
            summaries.push(summary);
        }
        let transact = context.transact(self.door.now_ms(), changes);
        let answer = UpdateAlertStatusAnswer { summaries };
        match context.commit(&self.door, transact, answer).await {
            Err(DoorError::Conflict(conflict)) => {
                let id = conflict.key.map(|key| key.hash).unwrap_or_default();
                Err(ApiError::NotFound(format!(
                    "there is no alert {id}; nothing was changed"
                )))
            }
            other => Ok(other?),
        }
    }

    async fn deliver_alert(
        &self,
        context: &CallContext,
        deliver: DeliverAlertRequest,
    ) -> Result<AlertSummary, ApiError> {
        let row = self.row(&deliver.alert_id).await?;
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
        let mut transact = context.transact(self.door.now_ms(), Vec::new());
        for id in &deliver.output_ids {
            let mut send = change::to_queue(QUEUE, alert.to_string());
            send.attributes.insert("outputId".to_owned(), id.clone());
            transact.sends.push(send);
        }
        let answer = summary(&deliver.alert_id, &row);
        Ok(context.commit(&self.door, transact, answer).await?)
    }
}

/// A text, or nothing where it is empty.
fn some_text(text: String) -> Option<String> {
    Some(text).filter(|text| !text.is_empty())
}

impl AlertsService {
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

    /// A page of an alert's matches. The key names the object and how many of its matches were given.
    async fn matches(&self, get: &GetAlertRequest) -> Result<Matches, ApiError> {
        let page_size = usize::try_from(get.events_page_size.unwrap_or(10).min(50)).unwrap_or(50);
        let (after, mut skip) = match get
            .events_exclusive_start_key
            .as_deref()
            .map(|key| key.rsplit_once('#'))
        {
            Some(Some((object, given))) => (
                object.to_owned(),
                given.parse().map_err(|_| {
                    ApiError::Invalid(
                        "eventsExclusiveStartKey is not one that an answer gave".to_owned(),
                    )
                })?,
            ),
            Some(None) => {
                return Err(ApiError::Invalid(
                    "eventsExclusiveStartKey is not one that an answer gave".to_owned(),
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
                    matches.unreadable.push(UnreadableObject {
                        object: key.range.clone(),
                        reason,
                    });
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
}

fn passes(list: &ListAlertsRequest, (_, row): &KeyedRow) -> bool {
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
    unreadable: Vec<UnreadableObject>,
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

/// The cursor in the start key of a request.
pub(crate) fn cursor(text: &str) -> Result<Vec<u8>, ApiError> {
    HEXLOWER
        .decode(text.as_bytes())
        .map_err(|_| ApiError::Invalid("the start key is not one that an answer gave".to_owned()))
}
