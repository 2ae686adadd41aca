//! `panther-outputs-api`: destinations of alerts. Their configuration holds secrets and is sealed before it is proposed.

use std::str::FromStr;

use futures::future::BoxFuture;
use panther_cluster::door::change::{self, Change, RowExt};
use panther_cluster::door::{Door, DoorError};
use panther_cluster::state::read::Query;
use panther_detections::alerting::{AlertKind, Output};
use panther_detections::pack::Severity;
use panther_proto::v1::{Row, Transact};
use serde::{Deserialize, Serialize};
use serde_json::{Value, json};

use super::alert_delivery::{Sender, trust};
use super::objects::rfc3339;
use crate::api::{Api, ApiCall, ApiError};
use crate::sealing::Sealer;

/// The table of destinations.
pub const TABLE: &str = "panther-outputs";
const NAME: &str = "panther-outputs-api";
const OPERATIONS: &[&str] = &[
    "addOutput",
    "updateOutput",
    "getOutput",
    "deleteOutput",
    "getOutputs",
    "sendTestAlert",
];

/// How a destination is reached.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub enum OutputConfig {
    /// A POST of the notification to any address.
    #[serde(rename = "customWebhook", alias = "customwebhook")]
    CustomWebhook {
        /// The address.
        #[serde(rename = "webhookURL")]
        webhook_url: String,
        /// Certificates in PEM form. If they are given, only they are trusted; otherwise the system's authorities are.
        #[serde(
            default,
            rename = "caCertificate",
            skip_serializing_if = "Option::is_none"
        )]
        ca_certificate: Option<String>,
    },
    /// Slack's incoming webhook.
    Slack {
        /// The address.
        #[serde(rename = "webhookURL")]
        webhook_url: String,
        /// Certificates in PEM form. If they are given, only they are trusted; otherwise the system's authorities are.
        #[serde(
            default,
            rename = "caCertificate",
            skip_serializing_if = "Option::is_none"
        )]
        ca_certificate: Option<String>,
    },
    /// A line appended to a file on the node that delivers.
    File {
        /// The file.
        path: String,
    },
}

impl OutputConfig {
    /// Its kind, as rows hold it.
    #[must_use]
    pub const fn kind(&self) -> &'static str {
        match self {
            Self::CustomWebhook { .. } => "customwebhook",
            Self::Slack { .. } => "slack",
            Self::File { .. } => "file",
        }
    }

    fn check(&self) -> Result<(), ApiError> {
        match self {
            Self::CustomWebhook {
                webhook_url,
                ca_certificate,
            }
            | Self::Slack {
                webhook_url,
                ca_certificate,
            } => {
                if let Some(pem) = ca_certificate {
                    trust::tls(pem).map_err(|error| ApiError::Invalid(error.to_string()))?;
                }
                match reqwest::Url::parse(webhook_url) {
                    Ok(url) if matches!(url.scheme(), "http" | "https") && url.has_host() => Ok(()),
                    _ => Err(ApiError::Invalid(
                        "webhookURL must be an http or https address".to_owned(),
                    )),
                }
            }
            Self::File { path } if path.starts_with('/') && !path.contains("/../") => Ok(()),
            Self::File { .. } => Err(ApiError::Invalid(
                "path must be absolute, without `..`".to_owned(),
            )),
        }
    }

    /// With its secrets blanked.
    fn shown(&self) -> Value {
        match self {
            Self::CustomWebhook { .. } => json!({"customWebhook": {"webhookURL": ""}}),
            Self::Slack { .. } => json!({"slack": {"webhookURL": ""}}),
            Self::File { path } => json!({"file": {"path": path}}),
        }
    }
}

/// Reads destinations for routing and delivery; clones share the door.
#[derive(Clone)]
pub struct OutputCache {
    door: Door,
    sealer: Sealer,
}

impl OutputCache {
    /// Behind this door, with the key that opens configurations.
    #[must_use]
    pub fn new(door: Door, sealer: Sealer) -> Self {
        Self { door, sealer }
    }

    /// What routing knows of all destinations.
    ///
    /// # Errors
    /// There is no leader.
    pub async fn current(&self) -> Result<Vec<Output>, DoorError> {
        let rows = self
            .door
            .query_all(Query {
                table: TABLE.to_owned(),
                ..Query::default()
            })
            .await?;
        Ok(rows
            .iter()
            .map(|(key, row)| routed(&key.hash, row))
            .collect())
    }

    /// How one destination is reached; `None` if it is no more.
    ///
    /// # Errors
    /// There is no leader, or the configuration does not open.
    pub async fn config(&self, id: &str) -> Result<Option<OutputConfig>, ApiError> {
        let Some(row) = self.door.get(TABLE, &change::key(id)).await? else {
            return Ok(None);
        };
        self.open(id, &row).map(Some)
    }

    fn open(&self, id: &str, row: &Row) -> Result<OutputConfig, ApiError> {
        let sealed = row.blob("encryptedConfig").unwrap_or_default();
        let opened = self
            .sealer
            .open(&place(id), sealed)
            .map_err(|error| ApiError::Internal(format!("output {id}: {error}")))?;
        serde_json::from_slice(&opened).map_err(|error| {
            ApiError::Internal(format!(
                "output {id}: its configuration does not parse: {error}"
            ))
        })
    }
}

fn place(id: &str) -> String {
    format!("{TABLE}/{id}")
}

fn routed(id: &str, row: &Row) -> Output {
    let kinds = [AlertKind::Rule, AlertKind::RuleError, AlertKind::Policy];
    Output {
        output_id: id.to_owned(),
        display_name: row.text("displayName").unwrap_or_default().to_owned(),
        default_for_severity: row
            .items("defaultForSeverity")
            .iter()
            .filter_map(|text| Severity::from_str(text).ok())
            .collect(),
        alert_types: row
            .items("alertTypes")
            .iter()
            .filter_map(|text| kinds.into_iter().find(|kind| kind.as_str() == text))
            .collect(),
    }
}

/// The API.
pub struct OutputsApi {
    /// To the table.
    pub door: Door,
    /// Seals configurations.
    pub sealer: Sealer,
    /// Opens them.
    pub outputs: OutputCache,
    /// Sends test alerts.
    pub sender: Sender,
}

#[derive(Deserialize)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
struct PutOutput {
    #[serde(default)]
    output_id: Option<String>,
    #[serde(default)]
    user_id: String,
    display_name: String,
    #[serde(default)]
    output_config: Option<OutputConfig>,
    #[serde(default)]
    default_for_severity: Vec<String>,
    #[serde(default)]
    alert_types: Vec<String>,
}

#[derive(Deserialize)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
struct OneOutput {
    output_id: String,
    #[serde(default, rename = "userId")]
    _user_id: String,
}

#[derive(Deserialize)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
struct SendTest {
    output_ids: Vec<String>,
}

impl Api for OutputsApi {
    fn call(&self, call: ApiCall) -> BoxFuture<'_, Result<Value, ApiError>> {
        Box::pin(async move {
            match call.operation.as_str() {
                "addOutput" => self.put(call.input()?, &call, false).await,
                "updateOutput" => self.put(call.input()?, &call, true).await,
                "getOutput" => {
                    let OneOutput { output_id, .. } = call.input()?;
                    let row = self
                        .door
                        .get(TABLE, &change::key(&output_id))
                        .await?
                        .ok_or_else(|| missing(&output_id))?;
                    self.shown(&output_id, &row)
                }
                "getOutputs" => {
                    let rows = self
                        .door
                        .query_all(Query {
                            table: TABLE.to_owned(),
                            ..Query::default()
                        })
                        .await?;
                    let outputs: Result<Vec<Value>, ApiError> = rows
                        .iter()
                        .map(|(key, row)| self.shown(&key.hash, row))
                        .collect();
                    Ok(json!({"outputs": outputs?}))
                }
                "deleteOutput" => {
                    let OneOutput { output_id, .. } = call.input()?;
                    let delete = Change::delete(TABLE, change::key(&output_id))
                        .if_row_present()
                        .done();
                    match self.door.transact(request(&call, vec![delete])).await {
                        Ok(_) => Ok(json!({})),
                        Err(DoorError::Conflict(_)) => Err(missing(&output_id)),
                        Err(error) => Err(error.into()),
                    }
                }
                "sendTestAlert" => {
                    let SendTest { output_ids } = call.input()?;
                    let mut responses = Vec::new();
                    for id in output_ids {
                        let config = self
                            .outputs
                            .config(&id)
                            .await?
                            .ok_or_else(|| missing(&id))?;
                        let response = self
                            .sender
                            .send(
                                &id,
                                &config,
                                &test_alert(self.door.now_ms()),
                                self.door.now_ms(),
                            )
                            .await;
                        responses.push(json!(response));
                    }
                    Ok(json!({"responses": responses}))
                }
                _ => Err(call.unknown(NAME, OPERATIONS)),
            }
        })
    }
}

/// A transaction that a retry of the same request does not repeat.
pub(crate) fn request(call: &ApiCall, changes: Vec<panther_proto::v1::RowChange>) -> Transact {
    let (request_id, request_time_ms) = call.request.clone().unwrap_or_default();
    Transact {
        changes,
        request_id,
        request_time_ms,
        ..Transact::default()
    }
}

fn missing(id: &str) -> ApiError {
    ApiError::NotFound(format!(
        "there is no output {id}; `pantherctl outputs list` shows them"
    ))
}

fn test_alert(now_ms: u64) -> Value {
    json!({"alertId": "", "analysisId": "Test.Alert", "analysisName": "Test alert", "analysisDescription": "This is a test.", "type": "RULE",
        "createdAt": rfc3339(now_ms), "severity": "INFO", "title": "Test alert", "runbook": "Nothing is to be done.", "reference": "", "tags": ["test"],
        "context": {}, "version": "", "logTypes": [], "isTest": true})
}

impl OutputsApi {
    async fn put(&self, put: PutOutput, call: &ApiCall, update: bool) -> Result<Value, ApiError> {
        if put.display_name.is_empty() || put.display_name.len() > 255 {
            return Err(ApiError::Invalid(
                "displayName must have 1 to 255 bytes".to_owned(),
            ));
        }
        for severity in &put.default_for_severity {
            Severity::from_str(severity)
                .map_err(|error| ApiError::Invalid(format!("defaultForSeverity: {error}")))?;
        }
        for kind in &put.alert_types {
            if !["RULE", "RULE_ERROR", "POLICY"].contains(&kind.as_str()) {
                return Err(ApiError::Invalid(format!(
                    "alertTypes: {kind} is none of RULE, RULE_ERROR, POLICY"
                )));
            }
        }
        let now = rfc3339(self.door.now_ms());
        let id = match (update, put.output_id) {
            (true, Some(id)) => id,
            (true, None) => {
                return Err(ApiError::Invalid("updateOutput needs outputId".to_owned()));
            }
            (false, _) => self.sealer.new_id("output", call.request.as_ref()),
        };
        let mut change = Change::update(TABLE, change::key(&id))
            .set("displayName", &put.display_name)
            .set("lastModifiedBy", &put.user_id)
            .set("lastModifiedTime", &now)
            .set(
                "defaultForSeverity",
                put.default_for_severity
                    .iter()
                    .map(|severity| severity.to_uppercase())
                    .collect::<Vec<_>>(),
            )
            .set("alertTypes", put.alert_types);
        change = if update {
            change.if_row_present()
        } else {
            change
                .if_row_absent()
                .set("createdBy", &put.user_id)
                .set("creationTime", &now)
        };
        match put.output_config {
            Some(config) => {
                config.check()?;
                let plain = serde_json::to_vec(&config)
                    .map_err(|error| ApiError::Internal(error.to_string()))?;
                let sealed = self
                    .sealer
                    .seal(&place(&id), &plain)
                    .map_err(|error| ApiError::Internal(error.to_string()))?;
                change = change
                    .set("encryptedConfig", sealed)
                    .set("outputType", config.kind());
            }
            None if update => {}
            None => {
                return Err(ApiError::Invalid(
                    "addOutput needs outputConfig: customWebhook, slack or file".to_owned(),
                ));
            }
        }
        match self.door.transact(request(call, vec![change.done()])).await {
            Ok(_) => {}
            Err(DoorError::Conflict(_)) => return Err(missing(&id)),
            Err(error) => return Err(ApiError::from(error)),
        }
        let row = self
            .door
            .get(TABLE, &change::key(&id))
            .await?
            .ok_or_else(|| missing(&id))?;
        self.shown(&id, &row)
    }

    fn shown(&self, id: &str, row: &Row) -> Result<Value, ApiError> {
        let config = self.outputs.open(id, row)?;
        Ok(json!({
            "outputId": id,
            "displayName": row.text("displayName"),
            "outputType": row.text("outputType"),
            "outputConfig": config.shown(),
            "defaultForSeverity": row.items("defaultForSeverity"),
            "alertTypes": row.items("alertTypes"),
            "createdBy": row.text("createdBy"),
            "creationTime": row.text("creationTime"),
            "lastModifiedBy": row.text("lastModifiedBy"),
            "lastModifiedTime": row.text("lastModifiedTime"),
        }))
    }
}
