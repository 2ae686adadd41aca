//! `panther-source-api`: log sources, their tokens, and users' log types.

use futures::future::BoxFuture;
use panther_cluster::door::change::{self, Change};
use panther_cluster::door::{Door, DoorError};
use panther_cluster::objects::Objects;
use panther_cluster::storage::room::Room;
use serde::Deserialize;
use serde_json::{Value, json};

use super::log_types::{LogTypeRegistry, RegistryError};
use super::objects::{rfc3339, s3_event};
use super::outputs_api::request;
use super::sources::{self, Ledger, Source, SourceKind, TABLE};
use crate::api::{Api, ApiCall, ApiError};
use crate::sealing::{Sealer, token_hash};

const NAME: &str = "panther-source-api";
const OPERATIONS: &[&str] = &[
    "putIntegration",
    "listIntegrations",
    "getIntegration",
    "updateIntegrationSettings",
    "deleteIntegration",
    "rotateToken",
    "listLogTypes",
    "putSchema",
    "listSchemas",
    "notify",
];

/// The API.
pub struct SourceApi {
    /// To the table.
    pub door: Door,
    /// The object store.
    pub objects: Objects,
    /// The node's disk: what is told of is work that needs room.
    pub disk: Room,
    /// Known log types.
    pub log_types: LogTypeRegistry,
    /// What ingest addresses begin with.
    pub ingest_url: String,
    /// Makes ids and tokens that a retry makes again.
    pub sealer: Sealer,
}

#[derive(Deserialize)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
struct PutSource {
    #[serde(default)]
    user_id: String,
    #[serde(default)]
    integration_id: Option<String>,
    integration_label: String,
    integration_type: SourceKind,
    log_types: Vec<String>,
    #[serde(default)]
    path: String,
    #[serde(default)]
    prefix: String,
}

#[derive(Deserialize)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
struct OneSource {
    integration_id: String,
    #[serde(default, rename = "userId")]
    _user_id: String,
}

#[derive(Deserialize)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
struct Notify {
    integration_id: String,
    object: String,
}

#[derive(Deserialize)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
struct PutSchema {
    yaml: String,
    #[serde(default, rename = "userId")]
    _user_id: String,
}

impl Api for SourceApi {
    fn call(&self, call: ApiCall) -> BoxFuture<'_, Result<Value, ApiError>> {
        Box::pin(async move {
            match call.operation.as_str() {
                "putIntegration" => self.put(call.input()?, &call, false).await,
                "updateIntegrationSettings" => self.put(call.input()?, &call, true).await,
                "listIntegrations" => {
                    let ledgers = sources::ledgers(&self.door).await?;
                    let all = sources::all(&self.door).await?;
                    Ok(
                        json!({"integrations": all.iter().map(|source| shown(source, ledgers.get(&source.id))).collect::<Vec<_>>()}),
                    )
                }
                "getIntegration" => {
                    let OneSource { integration_id, .. } = call.input()?;
                    let source = self.find(&integration_id).await?;
                    let ledgers = sources::ledgers(&self.door).await?;
                    Ok(shown(&source, ledgers.get(&source.id)))
                }
                "deleteIntegration" => {
                    let OneSource { integration_id, .. } = call.input()?;
                    let source = self.find(&integration_id).await?;
                    self.door
                        .transact(request(
                            &call,
                            vec![Change::delete(TABLE, change::key(&source.id)).done()],
                        ))
                        .await?;
                    Ok(json!({}))
                }
                "rotateToken" => {
                    let OneSource { integration_id, .. } = call.input()?;
                    let source = self.find(&integration_id).await?;
                    if source.kind != SourceKind::Http {
                        return Err(ApiError::Invalid(format!(
                            "source {} is a {} source and has no token",
                            source.label,
                            source.kind.as_str()
                        )));
                    }
                    let token = self.sealer.new_token(call.request.as_ref());
                    let change = Change::update(TABLE, change::key(&source.id))
                        .if_row_present()
                        .set("tokenHash", token_hash(&token));
                    self.door
                        .transact(request(&call, vec![change.done()]))
                        .await?;
                    Ok(json!({"token": token}))
                }
                "listLogTypes" => {
                    let types = self.log_types.current().await?;
                    Ok(
                        json!({"logTypes": types.names().map(ToString::to_string).collect::<Vec<_>>()}),
                    )
                }
                "putSchema" => {
                    let PutSchema { yaml, .. } = call.input()?;
                    match self.log_types.put(&yaml, request(&call, Vec::new())).await {
                        Ok(log_type) => Ok(json!({"logType": log_type})),
                        Err(RegistryError::Schema(error)) => {
                            Err(ApiError::Invalid(error.to_string()))
                        }
                        Err(RegistryError::Door(error)) => Err(error.into()),
                    }
                }
                "listSchemas" => {
                    let types = self.log_types.current().await?;
                    let schemas: Vec<Value> = types
                        .names()
                        .filter_map(|name| types.get(name))
                        .map(|log_type| json!({"logType": log_type.name().to_string(), "builtin": log_type.is_builtin(), "description": log_type.description(), "reference": log_type.reference()}))
                        .collect();
                    Ok(json!({"schemas": schemas}))
                }
                "notify" => self.notify(call.input()?, &call).await,
                _ => Err(call.unknown(NAME, OPERATIONS)),
            }
        })
    }
}

fn shown(source: &Source, ledger: Option<&Ledger>) -> Value {
    let Ledger {
        received,
        stored,
        quarantined,
        filtered,
    } = ledger.copied().unwrap_or_default();
    json!({
        "integrationId": source.id, "integrationLabel": source.label, "integrationType": source.kind.as_str(), "logTypes": source.log_types,
        "path": source.path, "prefix": source.prefix, "createdAtTime": source.created_at, "lastEventReceived": source.last_event_ms.map(rfc3339),
        "received": received, "stored": stored, "quarantined": quarantined, "filtered": filtered,
    })
}

impl SourceApi {
    async fn find(&self, name: &str) -> Result<Source, ApiError> {
        sources::find(&self.door, name).await?.ok_or_else(|| {
            ApiError::NotFound(format!(
                "there is no source {name}; `pantherctl sources list` shows them"
            ))
        })
    }

    async fn put(&self, put: PutSource, call: &ApiCall, update: bool) -> Result<Value, ApiError> {
        let known = self.log_types.current().await?;
        let label = &put.integration_label;
        if label.is_empty()
            || label.len() > 32
            || !label.chars().all(|letter| {
                letter.is_ascii_alphanumeric() || matches!(letter, ' ' | '-' | '_' | '.')
            })
        {
            return Err(ApiError::Invalid("integrationLabel must have 1 to 32 letters, digits, spaces, hyphens, underscores or dots".to_owned()));
        }
        if put.log_types.is_empty() {
            return Err(ApiError::Invalid(
                "logTypes must name at least one log type; `pantherctl schemas list` shows them"
                    .to_owned(),
            ));
        }
        if let Some(unknown) = put.log_types.iter().find(|name| known.get(name).is_none()) {
            return Err(ApiError::Invalid(format!(
                "there is no log type {unknown}; `pantherctl schemas list` shows them, `pantherctl schemas add` adds one"
            )));
        }
        match put.integration_type {
            SourceKind::Folder if !put.path.starts_with('/') => {
                return Err(ApiError::Invalid(
                    "a folder source needs `path`, absolute".to_owned(),
                ));
            }
            SourceKind::Objects if put.prefix.is_empty() => {
                return Err(ApiError::Invalid(
                    "an objects source needs `prefix`: what the names of its objects begin with"
                        .to_owned(),
                ));
            }
            _ => {}
        }
        let existing = match &put.integration_id {
            Some(id) if update => Some(self.find(id).await?),
            None if update => {
                return Err(ApiError::Invalid(
                    "updateIntegrationSettings needs integrationId".to_owned(),
                ));
            }
            _ => None,
        };
        let id = existing.as_ref().map_or_else(
            || self.sealer.new_id("source", call.request.as_ref()),
            |source| source.id.clone(),
        );
        for other in sources::all(&self.door)
            .await?
            .iter()
            .filter(|other| other.id != id)
        {
            if other.label == *label {
                return Err(ApiError::Exists(format!("a source named {label} exists")));
            }
            if put.integration_type == SourceKind::Objects
                && other.kind == SourceKind::Objects
                && other.prefix == put.prefix
            {
                return Err(ApiError::Exists(format!(
                    "source {} takes objects that begin with {} already",
                    other.label, put.prefix
                )));
            }
        }
        let mut change = Change::update(TABLE, change::key(&id))
            .set("integrationLabel", label)
            .set("integrationType", put.integration_type.as_str())
            .set("logTypes", put.log_types)
            .set("path", put.path)
            .set("prefix", put.prefix);
        let mut token = None;
        if existing.is_some() {
            change = change.if_row_present();
        } else {
            change = change
                .if_row_absent()
                .set("createdAtTime", rfc3339(self.door.now_ms()))
                .set("createdBy", &put.user_id);
            if put.integration_type == SourceKind::Http {
                let new = self.sealer.new_token(call.request.as_ref());
                change = change.set("tokenHash", token_hash(&new));
                token = Some(new);
            }
        }
        self.door
            .transact(request(call, vec![change.done()]))
            .await?;
        let source = self.find(&id).await?;
        let ledgers = sources::ledgers(&self.door).await?;
        let mut answer = shown(&source, ledgers.get(&source.id));
        if let Some(token) = token {
            answer["token"] = token.into();
            answer["ingestUrl"] = format!("{}/ingest/{}", self.ingest_url, source.id).into();
        }
        Ok(answer)
    }

    async fn notify(&self, notify: Notify, call: &ApiCall) -> Result<Value, ApiError> {
        if let Some(reason) = self.disk.refusal() {
            return Err(ApiError::Busy(reason));
        }
        let source = self.find(&notify.integration_id).await?;
        if !notify.object.starts_with(&source.prefix) {
            return Err(ApiError::Invalid(format!(
                "{} does not begin with {}, as the objects of source {} do",
                notify.object, source.prefix, source.label
            )));
        }
        let info = self.objects.head(&notify.object).await?;
        let mut send = change::to_queue(
            sources::INPUT_QUEUE,
            s3_event(&notify.object, info.bytes).to_string(),
        );
        send.attributes
            .insert(super::log_processor::SOURCE.to_owned(), source.id.clone());
        send.turn.clone_from(&source.id);
        let mut transact = request(call, Vec::new());
        transact.sends.push(send);
        let done = self
            .door
            .transact(transact)
            .await
            .map_err(|error: DoorError| ApiError::from(error))?;
        Ok(json!({"messageId": done.message_ids.first()}))
    }
}
