//! Who changed what: a row for every change that was asked for through an API. Inputs are not kept whole, for they may
//! hold secrets: only what names the thing.

use panther_cluster::door::Door;
use panther_cluster::door::change::{self, Change};
use panther_proto::v1::Transact;
use serde_json::Value;

use crate::api::{ApiCall, ApiError};
use crate::views::CHANGING;

const TABLE: &str = "panther-audit";
/// Keys of an input that name what is changed.
const NAMES: [&str; 17] = [
    "id",
    "name",
    "queue",
    "to",
    "from",
    "message_id",
    "alertIds",
    "alertId",
    "outputId",
    "displayName",
    "integrationId",
    "integrationLabel",
    "state",
    "status",
    "kind",
    "logType",
    "days",
];
/// Operations of API functions that change nothing.
const READING: [&str; 4] = ["get", "list", "describe", "enumerate"];

/// Whether a call leaves a record.
pub(super) fn wanted(component: &str, operation: &str) -> bool {
    if component == "node" {
        CHANGING.contains(&operation)
    } else {
        !READING.iter().any(|start| operation.starts_with(start))
    }
}

/// What is recorded.
pub(super) struct Record {
    component: String,
    operation: String,
    user: String,
    named: Value,
}

impl Record {
    pub(super) fn of(component: &str, call: &ApiCall) -> Self {
        let named = NAMES
            .iter()
            .filter_map(|name| Some(((*name).to_owned(), call.input.get(name)?.clone())))
            .collect();
        Self {
            component: component.to_owned(),
            operation: call.operation.clone(),
            user: call
                .input
                .get("userId")
                .and_then(Value::as_str)
                .unwrap_or_default()
                .to_owned(),
            named: Value::Object(named),
        }
    }

    pub(super) async fn write(self, door: &Door, result: &Result<Value, ApiError>) {
        let now = door.now_ms();
        let day = crate::components::objects::date(now)
            .format("%Y-%m-%d")
            .to_string();
        let key = change::key_range(day, format!("{now:013}-{}", uuid::Uuid::new_v4()));
        let outcome = match result {
            Ok(_) => "done".to_owned(),
            Err(error) => error.to_string().chars().take(500).collect(),
        };
        let row = Change::put(TABLE, key)
            .set("component", self.component)
            .set("operation", self.operation)
            .set("user", self.user)
            .set("named", change::json(self.named.to_string()))
            .set("outcome", outcome)
            .set("time", now);
        if let Err(error) = door
            .transact(Transact {
                changes: vec![row.done()],
                ..Transact::default()
            })
            .await
        {
            tracing::error!(%error, "a change could not be recorded");
        }
    }
}
