//! `panther-source-api`: log sources, their tokens, and users' log types.

use std::collections::BTreeMap;
use std::path::Path;

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
use super::sources::{self, Ledger, Source, SourceKind, SourceState, TABLE};
use crate::component::{Deps, Place};
use crate::supervision::Part;
use crate::api::{Api, ApiCall, ApiError};
use crate::sealing::{Sealer, token_hash};

const NAME: &str = "panther-source-api";
/// How names of objects begin that the cluster writes and sweeps itself.
const OWN: [&str; 5] = ["raw/", "logs/", "rules/", "rule_errors/", "quarantine/"];
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
    #[serde(default)]
    follow_links: Option<bool>,
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

/// The function.
///
/// # Errors
/// None.
pub fn build(deps: &Deps, place: Place<'_>) -> Result<Part, ApiError> {
    Ok(place.api(SourceApi {
        door: deps.door.clone(),
        objects: deps.objects.clone(),
        disk: deps.disk.clone(),
        log_types: LogTypeRegistry::new(deps.door.clone()),
        ingest_url: deps.ingest_url.clone(),
        sealer: deps.sealer.clone(),
    }))
}

impl Api for SourceApi {
    fn call(&self, call: ApiCall) -> BoxFuture<'_, Result<Value, ApiError>> {
        Box::pin(async move {
            match call.operation.as_str() {
                "putIntegration" => self.put(call.input()?, &call, false).await,
                "updateIntegrationSettings" => self.put(call.input()?, &call, true).await,
                "listIntegrations" => {
                    let ledgers = sources::ledgers(&self.door).await?;
                    let states = sources::states(&self.door).await?;
                    let all = sources::all(&self.door).await?;
                    let shown = all.iter().map(|source| {
                        shown(source, ledgers.get(&source.id), states.get(&source.id))
                    });
                    Ok(json!({"integrations": shown.collect::<Vec<_>>()}))
                }
                "getIntegration" => {
                    let OneSource { integration_id, .. } = call.input()?;
                    let source = self.find(&integration_id).await?;
                    self.shown(&source).await
                }
                "deleteIntegration" => {
                    let OneSource { integration_id, .. } = call.input()?;
                    let source = self.find(&integration_id).await?;
                    let mut changes = vec![Change::delete(TABLE, change::key(&source.id)).done()];
                    let states = sources::states(&self.door).await?.remove(&source.id);
                    changes.extend(states.unwrap_or_default().into_keys().map(|node| {
                        Change::delete(sources::STATES, change::key_range(&source.id, node)).done()
                    }));
                    self.door.transact(request(&call, changes)).await?;
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

fn shown(
    source: &Source,
    ledger: Option<&Ledger>,
    states: Option<&BTreeMap<String, SourceState>>,
) -> Value {
    let Ledger {
        received,
        stored,
        quarantined,
        filtered,
    } = ledger.copied().unwrap_or_default();
    let troubles: usize = states
        .into_iter()
        .flatten()
        .map(|(_, state)| state.troubles)
        .sum();
    let reasons: Vec<Value> = states
        .into_iter()
        .flatten()
        .flat_map(|(node, state)| {
            state
                .reasons
                .iter()
                .map(move |reason| json!({"node": node, "reason": reason}))
        })
        .collect();
    json!({
        "integrationId": source.id, "integrationLabel": source.label, "integrationType": source.kind.as_str(), "logTypes": source.log_types,
        "path": source.path, "followLinks": source.follow_links, "prefix": source.prefix, "createdAtTime": source.created_at, "lastEventReceived": source.last_event_ms.map(rfc3339),
        "received": received, "stored": stored, "quarantined": quarantined, "filtered": filtered,
        "state": if troubles == 0 { "ok" } else { "troubled" }, "troubles": troubles, "reasons": reasons,
    })
}

/// What is odd about a source beside the others: both would count the same files or objects.
fn overlaps<'a>(
    put: &'a PutSource,
    others: impl Iterator<Item = &'a Source> + 'a,
) -> impl Iterator<Item = String> + 'a {
    others.filter_map(|other| match (put.integration_type, other.kind) {
        (SourceKind::Folder, SourceKind::Folder) => {
            let (ours, theirs) = (Path::new(&put.path), Path::new(&other.path));
            (ours.starts_with(theirs) || theirs.starts_with(ours)).then(|| {
                format!(
                    "the folder of source {} ({}) overlaps with this one: files in both are read and counted twice",
                    other.label, other.path
                )
            })
        }
        (SourceKind::Objects, SourceKind::Objects) => {
            let overlap = put.prefix.starts_with(&other.prefix) || other.prefix.starts_with(&put.prefix);
            overlap.then(|| {
                format!(
                    "the prefix of source {} ({}) overlaps with this one: an object belongs to the source with the longer prefix",
                    other.label, other.prefix
                )
            })
        }
        _ => None,
    })
}

impl SourceApi {
    async fn shown(&self, source: &Source) -> Result<Value, ApiError> {
        let ledgers = sources::ledgers(&self.door).await?;
        let states = sources::states(&self.door).await?;
        Ok(shown(
            source,
            ledgers.get(&source.id),
            states.get(&source.id),
        ))
    }

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
            SourceKind::Objects
                if OWN
                    .iter()
                    .any(|own| own.starts_with(&put.prefix) || put.prefix.starts_with(own)) =>
            {
                return Err(ApiError::Invalid(format!(
                    "prefix {} takes objects of the cluster's own, which are removed when no row names them; the cluster's own begin with {}",
                    put.prefix,
                    OWN.join(", ")
                )));
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
        let mut others = sources::all(&self.door).await?;
        others.retain(|other| other.id != id);
        for other in &others {
            if other.label == *label {
                return Err(ApiError::Exists(format!("a source named {label} exists")));
            }
            if put.integration_type == SourceKind::Folder
                && other.kind == SourceKind::Folder
                && other.path == put.path
            {
                return Err(ApiError::Exists(format!(
                    "source {} watches {} already: a second one would count each line twice. Add log types to that source instead: `pantherctl sources update {} --log-types …`",
                    other.label, other.path, other.label
                )));
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
        let warnings: Vec<String> = overlaps(&put, others.iter()).collect();
        let follow_links = put
            .follow_links
            .unwrap_or(existing.as_ref().is_some_and(|source| source.follow_links));
        let mut change = Change::update(TABLE, change::key(&id))
            .set("integrationLabel", label)
            .set("integrationType", put.integration_type.as_str())
            .set(
                "logTypeOrder",
                change::json(Value::from(put.log_types.clone()).to_string()),
            )
            .set("logTypes", put.log_types)
            .set("path", put.path)
            .set("followLinks", follow_links)
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
        let mut answer = self.shown(&source).await?;
        answer["warnings"] = warnings.into();
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
