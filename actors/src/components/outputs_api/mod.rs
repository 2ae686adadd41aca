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

use super::alert_delivery::{self, Response, Sender, trust};
use super::objects::rfc3339;
use crate::component::{Deps, Place};
use crate::supervision::Part;
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

    fn check(&self, sender: &Sender) -> Result<(), ApiError> {
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
                // The parser takes any number of slashes, and the first word of a path for the host.
                let has_host = webhook_url
                    .split_once("://")
                    .is_some_and(|(_, rest)| !rest.starts_with('/'));
                match reqwest::Url::parse(webhook_url) {
                    Ok(url) if matches!(url.scheme(), "http" | "https") && has_host => {
                        sender.egress().check(&url).map_err(ApiError::Invalid)
                    }
                    _ => Err(ApiError::Invalid(
                        "webhookURL must be an http or https address".to_owned(),
                    )),
                }
            }
            Self::File { path } => sender.files().check(path).map_err(ApiError::Invalid),
        }
    }

    /// Scheme and host, or the file: what of it is no secret.
    fn address(&self) -> String {
        match self {
            Self::CustomWebhook { webhook_url, .. } | Self::Slack { webhook_url, .. } => {
                alert_delivery::origin(webhook_url)
            }
            Self::File { path } => path.clone(),
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

    /// How one destination is reached, or why it is not.
    ///
    /// # Errors
    /// There is no leader.
    pub async fn config(&self, id: &str) -> Result<Result<OutputConfig, Unreachable>, DoorError> {
        let row = self.door.get(TABLE, &change::key(id)).await?;
        Ok(match row {
            Some(row) => self.open(id, &row),
            None => Err(Unreachable::Gone),
        })
    }

    /// The names of destinations whose secrets this node cannot open.
    ///
    /// # Errors
    /// There is no leader.
    pub async fn unopened(&self) -> Result<Vec<String>, DoorError> {
        let query = Query {
            table: TABLE.to_owned(),
            ..Query::default()
        };
        let rows = self.door.query_all(query).await?;
        let unopened = rows
            .iter()
            .filter(|(key, row)| self.open(&key.hash, row).is_err());
        Ok(unopened
            .map(|(key, row)| row.text("displayName").unwrap_or(&key.hash).to_owned())
            .collect())
    }

    fn open(&self, id: &str, row: &Row) -> Result<OutputConfig, Unreachable> {
        let sealed = row.blob("encryptedConfig").unwrap_or_default();
        let opened = self
            .sealer
            .open(&place(id), sealed)
            .map_err(|error| Unreachable::Sealed(error.to_string()))?;
        serde_json::from_slice(&opened).map_err(|error| {
            Unreachable::Sealed(format!("its configuration does not parse: {error}"))
        })
    }
}

/// Why a destination cannot be tried.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum Unreachable {
    /// It has no row.
    #[error("the destination was removed")]
    Gone,
    /// Its configuration does not open on this node.
    #[error("{0}; `pantherctl outputs update` gives the destination its address again")]
    Sealed(String),
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

/// The function.
///
/// # Errors
/// The HTTP client for destinations cannot be set up.
pub fn build(deps: &Deps, place: Place<'_>) -> Result<Part, ApiError> {
    Ok(place.api(OutputsApi {
        door: deps.door.clone(),
        sealer: deps.sealer.clone(),
        outputs: OutputCache::new(deps.door.clone(), deps.sealer.clone()),
        sender: Sender::of(deps)?,
    }))
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
                    Ok(self.shown(&output_id, &row))
                }
                "getOutputs" => {
                    let rows = self
                        .door
                        .query_all(Query {
                            table: TABLE.to_owned(),
                            ..Query::default()
                        })
                        .await?;
                    let outputs: Vec<Value> = rows
                        .iter()
                        .map(|(key, row)| self.shown(&key.hash, row))
                        .collect();
                    Ok(json!({"outputs": outputs}))
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
                        let now_ms = self.door.now_ms();
                        let response = match self.outputs.config(&id).await? {
                            Ok(config) => {
                                let alert = test_alert(now_ms);
                                self.sender.send(&id, &config, &alert, now_ms).await
                            }
                            Err(Unreachable::Gone) => return Err(missing(&id)),
                            Err(sealed) => Response::failed(&id, &sealed, now_ms),
                        };
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
                config.check(&self.sender)?;
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
        Ok(self.shown(&id, &row))
    }

    /// What is shown of a destination. One whose secret does not open is shown too, or it could be neither mended nor removed.
    fn shown(&self, id: &str, row: &Row) -> Value {
        let config = self.outputs.open(id, row);
        json!({
            "outputId": id,
            "needsSecret": config.is_err(),
            "displayName": row.text("displayName"),
            "outputType": row.text("outputType"),
            "address": config.as_ref().map(OutputConfig::address).ok(),
            "outputConfig": config.as_ref().map_or(Value::Null, OutputConfig::shown),
            "defaultForSeverity": row.items("defaultForSeverity"),
            "alertTypes": row.items("alertTypes"),
            "createdBy": row.text("createdBy"),
            "creationTime": row.text("creationTime"),
            "lastModifiedBy": row.text("lastModifiedBy"),
            "lastModifiedTime": row.text("lastModifiedTime"),
        })
    }
}
