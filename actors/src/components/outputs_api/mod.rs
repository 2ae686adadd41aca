//! `panther-outputs-api`: destinations of alerts. Their configuration holds secrets and is sealed before it is proposed.

use std::str::FromStr;

use bytes::Bytes;
use futures::future::BoxFuture;
use panther_cluster::door::change::{self, Change, RowExt};
use panther_cluster::door::{Door, DoorError};
use panther_cluster::state::read::Query;
use panther_detections::alerting::{AlertKind, Output};
use panther_detections::pack::Severity;
use panther_proto::v1::outputs_api::{self, OutputsApi};
use panther_proto::v1::{
    self, AddOutputRequest, DeleteOutputAnswer, DeleteOutputRequest, DeliveryResponse, FileConfig,
    GetOutputRequest, GetOutputsAnswer, GetOutputsRequest, OutputView, Row, SendTestAlertAnswer,
    SendTestAlertRequest, UpdateOutputRequest, WebhookConfig,
};
use serde::{Deserialize, Serialize};
use serde_json::{Value, json};

use super::alert_delivery::{self, Response, Sender, trust};
use super::objects::rfc3339;
use crate::api::{Api, ApiCall, ApiError, CallContext};
use crate::component::{Deps, Place};
use crate::supervision::Part;
use crate::sealing::Sealer;

/// The table of destinations.
pub const TABLE: &str = "panther-outputs";
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
    fn shown(&self) -> v1::OutputSettings {
        use v1::output_settings::Kind;
        let kind = match self {
            Self::CustomWebhook { .. } => Kind::CustomWebhook(WebhookConfig::default()),
            Self::Slack { .. } => Kind::Slack(WebhookConfig::default()),
            Self::File { path } => Kind::File(FileConfig { path: path.clone() }),
        };
        v1::OutputSettings { kind: Some(kind) }
    }
}

impl TryFrom<v1::OutputSettings> for OutputConfig {
    type Error = ApiError;

    fn try_from(config: v1::OutputSettings) -> Result<Self, ApiError> {
        use v1::output_settings::Kind;
        Ok(match config.kind {
            Some(Kind::CustomWebhook(webhook)) => Self::CustomWebhook {
                webhook_url: webhook.webhook_url,
                ca_certificate: webhook.ca_certificate,
            },
            Some(Kind::Slack(webhook)) => Self::Slack {
                webhook_url: webhook.webhook_url,
                ca_certificate: webhook.ca_certificate,
            },
            Some(Kind::File(file)) => Self::File { path: file.path },
            None => {
                return Err(ApiError::Invalid(
                    "outputConfig must be one of customWebhook, slack and file".to_owned(),
                ));
            }
        })
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
pub struct OutputsService {
    /// To the table.
    pub door: Door,
    /// Seals configurations.
    pub sealer: Sealer,
    /// Opens them.
    pub outputs: OutputCache,
    /// Sends test alerts.
    pub sender: Sender,
}

/// The function.
///
/// # Errors
/// The HTTP client for destinations cannot be set up.
pub fn build(deps: &Deps, place: Place<'_>) -> Result<Part, ApiError> {
    Ok(place.api(OutputsService {
        door: deps.door.clone(),
        sealer: deps.sealer.clone(),
        outputs: OutputCache::new(deps.door.clone(), deps.sealer.clone()),
        sender: Sender::of(deps)?,
    }))
}

impl Api for OutputsService {
    fn call(&self, call: ApiCall) -> BoxFuture<'_, Result<Bytes, ApiError>> {
        Box::pin(async move {
            outputs_api::dispatch(self, &call.context, &call.method, call.request.clone())
                .await
                .unwrap_or_else(|| Err(call.unknown_method()))
        })
    }
}

impl OutputsApi<CallContext, ApiError> for OutputsService {
    async fn add_output(
        &self,
        context: &CallContext,
        request: AddOutputRequest,
    ) -> Result<OutputView, ApiError> {
        let config = request.output_config.ok_or_else(|| {
            ApiError::Invalid(
                "addOutput needs outputConfig: customWebhook, slack or file".to_owned(),
            )
        })?;
        let id = self
            .sealer
            .new_id("output", context.request_pair().as_ref());
        let now = rfc3339(self.door.now_ms());
        let routing = Routing::of(
            request.display_name,
            &request.default_for_severity,
            request.alert_types,
        )?;
        let mut view = routing.view(&id, &context.user, &now);
        view.created_by = Some(context.user.clone());
        view.creation_time = Some(now.clone());
        let change = routing
            .change(&id, &context.user, &now)
            .if_row_absent()
            .set("createdBy", &context.user)
            .set("creationTime", &now);
        let change = self.with_config(&id, config, change, &mut view)?;
        self.commit(context, &id, change, view).await
    }

    async fn update_output(
        &self,
        context: &CallContext,
        request: UpdateOutputRequest,
    ) -> Result<OutputView, ApiError> {
        let id = request.output_id;
        let before = self.view(&id, &self.row(&id).await?);
        let now = rfc3339(self.door.now_ms());
        let routing = Routing::of(
            request.display_name,
            &request.default_for_severity,
            request.alert_types,
        )?;
        let mut view = OutputView {
            created_by: before.created_by,
            creation_time: before.creation_time,
            needs_secret: before.needs_secret,
            output_type: before.output_type,
            address: before.address,
            output_config: before.output_config,
            ..routing.view(&id, &context.user, &now)
        };
        let mut change = routing.change(&id, &context.user, &now).if_row_present();
        if let Some(config) = request.output_config {
            change = self.with_config(&id, config, change, &mut view)?;
        }
        self.commit(context, &id, change, view).await
    }

    async fn get_output(
        &self,
        _: &CallContext,
        request: GetOutputRequest,
    ) -> Result<OutputView, ApiError> {
        let row = self.row(&request.output_id).await?;
        Ok(self.view(&request.output_id, &row))
    }

    async fn get_outputs(
        &self,
        _: &CallContext,
        _: GetOutputsRequest,
    ) -> Result<GetOutputsAnswer, ApiError> {
        let rows = self
            .door
            .query_all(Query {
                table: TABLE.to_owned(),
                ..Query::default()
            })
            .await?;
        let outputs = rows.iter().map(|(key, row)| self.view(&key.hash, row));
        Ok(GetOutputsAnswer {
            outputs: outputs.collect(),
        })
    }

    async fn delete_output(
        &self,
        context: &CallContext,
        request: DeleteOutputRequest,
    ) -> Result<DeleteOutputAnswer, ApiError> {
        let id = request.output_id;
        let delete = Change::delete(TABLE, change::key(&id)).if_row_present();
        self.commit(context, &id, delete, DeleteOutputAnswer {})
            .await
    }

    async fn send_test_alert(
        &self,
        context: &CallContext,
        request: SendTestAlertRequest,
    ) -> Result<SendTestAlertAnswer, ApiError> {
        let mut responses = Vec::new();
        for id in request.output_ids {
            let now_ms = self.door.now_ms();
            let response = match self.outputs.config(&id).await? {
                Ok(config) => {
                    let alert = test_alert(now_ms);
                    self.sender.send(&id, &config, &alert, now_ms).await
                }
                Err(Unreachable::Gone) => return Err(missing(&id)),
                Err(sealed) => Response::failed(&id, &sealed, now_ms),
            };
            responses.push(response.into());
        }
        // What leaves the system can be part of no command; its record and its answer are one.
        let now_ms = self.door.now_ms();
        let transact = context.transact(now_ms, Vec::new());
        let answer = SendTestAlertAnswer { responses };
        Ok(context.commit(&self.door, transact, answer).await?)
    }
}

impl From<Response> for DeliveryResponse {
    fn from(response: Response) -> Self {
        Self {
            output_id: response.output_id,
            message: response.message,
            status_code: response.status_code.into(),
            success: response.success,
            dispatched_at: response.dispatched_at,
        }
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

/// Which alerts a destination gets.
struct Routing {
    display_name: String,
    severities: Vec<String>,
    alert_types: Vec<String>,
}

impl Routing {
    fn of(
        display_name: String,
        severities: &[String],
        alert_types: Vec<String>,
    ) -> Result<Self, ApiError> {
        if display_name.is_empty() || display_name.len() > 255 {
            return Err(ApiError::Invalid(
                "displayName must have 1 to 255 bytes".to_owned(),
            ));
        }
        for severity in severities {
            Severity::from_str(severity)
                .map_err(|error| ApiError::Invalid(format!("defaultForSeverity: {error}")))?;
        }
        for kind in &alert_types {
            if !["RULE", "RULE_ERROR", "POLICY"].contains(&kind.as_str()) {
                return Err(ApiError::Invalid(format!(
                    "alertTypes: {kind} is none of RULE, RULE_ERROR, POLICY"
                )));
            }
        }
        // As the table holds them: sorted and unique.
        let sorted = |items: Vec<String>| change::set(items).items;
        Ok(Self {
            display_name,
            severities: sorted(severities.iter().map(|name| name.to_uppercase()).collect()),
            alert_types: sorted(alert_types),
        })
    }

    fn change(&self, id: &str, user: &str, now: &str) -> Change {
        Change::update(TABLE, change::key(id))
            .set("displayName", &self.display_name)
            .set("lastModifiedBy", user)
            .set("lastModifiedTime", now)
            .set("defaultForSeverity", self.severities.clone())
            .set("alertTypes", self.alert_types.clone())
    }

    fn view(&self, id: &str, user: &str, now: &str) -> OutputView {
        OutputView {
            output_id: id.to_owned(),
            display_name: Some(self.display_name.clone()),
            default_for_severity: self.severities.clone(),
            alert_types: self.alert_types.clone(),
            last_modified_by: Some(user.to_owned()),
            last_modified_time: Some(now.to_owned()),
            ..OutputView::default()
        }
    }
}

impl OutputsService {
    async fn row(&self, id: &str) -> Result<Row, ApiError> {
        self.door
            .get(TABLE, &change::key(id))
            .await?
            .ok_or_else(|| missing(id))
    }

    /// Adds a configuration to a change, sealed, and to what is shown of it.
    fn with_config(
        &self,
        id: &str,
        config: v1::OutputSettings,
        change: Change,
        view: &mut OutputView,
    ) -> Result<Change, ApiError> {
        let config = OutputConfig::try_from(config)?;
        config.check(&self.sender)?;
        let plain =
            serde_json::to_vec(&config).map_err(|error| ApiError::Internal(error.to_string()))?;
        let sealed = self
            .sealer
            .seal(&place(id), &plain)
            .map_err(|error| ApiError::Internal(error.to_string()))?;
        view.needs_secret = false;
        view.output_type = Some(config.kind().to_owned());
        view.address = Some(config.address());
        view.output_config = Some(config.shown());
        Ok(change
            .set("encryptedConfig", sealed)
            .set("outputType", config.kind()))
    }

    async fn commit<M: prost::Message + Default>(
        &self,
        context: &CallContext,
        id: &str,
        change: Change,
        answer: M,
    ) -> Result<M, ApiError> {
        let transact = context.transact(self.door.now_ms(), vec![change.done()]);
        match context.commit(&self.door, transact, answer).await {
            Err(DoorError::Conflict(_)) => Err(missing(id)),
            other => Ok(other?),
        }
    }

    /// What is shown of a destination. One whose secret does not open is shown too, or it could be neither mended nor removed.
    fn view(&self, id: &str, row: &Row) -> OutputView {
        let config = self.outputs.open(id, row);
        let text = |name: &str| row.text(name).map(str::to_owned);
        OutputView {
            output_id: id.to_owned(),
            needs_secret: config.is_err(),
            display_name: text("displayName"),
            output_type: text("outputType"),
            address: config.as_ref().map(OutputConfig::address).ok(),
            output_config: config.as_ref().map(OutputConfig::shown).ok(),
            default_for_severity: row.items("defaultForSeverity").to_vec(),
            alert_types: row.items("alertTypes").to_vec(),
            created_by: text("createdBy"),
            creation_time: text("creationTime"),
            last_modified_by: text("lastModifiedBy"),
            last_modified_time: text("lastModifiedTime"),
        }
    }
}
