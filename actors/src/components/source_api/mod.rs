//! `panther-source-api`: log sources, their tokens, and users' log types.

use std::collections::BTreeMap;
use std::path::Path;

use bytes::Bytes;
use futures::future::BoxFuture;
use panther_cluster::door::Door;
use panther_cluster::door::change::{self, Change};
use panther_cluster::objects::Objects;
use panther_cluster::storage::room::Room;
use panther_proto::v1::source_api::{self, SourceApi};
use panther_proto::v1::{
    DeleteIntegrationAnswer, DeleteIntegrationRequest, GetIntegrationRequest, Integration,
    ListIntegrationsAnswer, ListIntegrationsRequest, ListLogTypesAnswer, ListLogTypesRequest,
    ListSchemasAnswer, ListSchemasRequest, NotifyAnswer, NotifyRequest, PutIntegrationRequest,
    PutSchemaAnswer, PutSchemaRequest, RotateTokenAnswer, RotateTokenRequest, SchemaSummary,
    SourceTrouble, UpdateIntegrationSettingsRequest,
};
use serde_json::Value;

use super::log_types::{LogTypeRegistry, RegistryError};
use super::objects::s3_event;
use super::sources::{self, Ledger, Source, SourceKind, SourceState, TABLE};
use crate::api::{Api, ApiCall, ApiError, CallContext};
use crate::component::{Deps, Place};
use crate::dates::rfc3339;
use crate::sealing::{Sealer, token_hash};
use crate::supervision::Part;

/// How names of objects begin that the cluster writes and sweeps itself.
const OWN: [&str; 5] = ["raw/", "logs/", "rules/", "rule_errors/", "quarantine/"];

/// The API.
pub struct SourceService {
    /// To the table.
    pub door: Door,
    /// The object store.
    pub objects: Objects,
    /// The node's disk: a notification is refused while it is full, because the processing needs room.
    pub disk: Room,
    /// Known log types.
    pub log_types: LogTypeRegistry,
    /// What ingest addresses begin with.
    pub ingest_url: String,
    /// Makes ids and tokens that a retry makes again.
    pub sealer: Sealer,
}

/// The function.
///
/// # Errors
/// None.
pub fn build(deps: &Deps, place: Place<'_>) -> Result<Part, ApiError> {
    Ok(place.api(SourceService {
        door: deps.door.clone(),
        objects: deps.objects.clone(),
        disk: deps.disk.clone(),
        log_types: LogTypeRegistry::new(deps.door.clone()),
        ingest_url: deps.ingest_url.clone(),
        sealer: deps.sealer.clone(),
    }))
}

impl Api for SourceService {
    fn call(&self, call: ApiCall) -> BoxFuture<'_, Result<Bytes, ApiError>> {
        Box::pin(async move {
            source_api::dispatch(self, &call.context, &call.method, call.request.clone())
                .await
                .unwrap_or_else(|| Err(call.unknown_method()))
        })
    }
}

impl SourceApi<CallContext, ApiError> for SourceService {
    async fn put_integration(
        &self,
        context: &CallContext,
        request: PutIntegrationRequest,
    ) -> Result<Integration, ApiError> {
        let settings = SourceSettings {
            label: request.integration_label,
            kind: kind_named(&request.integration_type)?,
            log_types: request.log_types,
            path: request.path,
            prefix: request.prefix,
            follow_links: request.follow_links,
        };
        self.put(context, settings, None).await
    }

    async fn update_integration_settings(
        &self,
        context: &CallContext,
        request: UpdateIntegrationSettingsRequest,
    ) -> Result<Integration, ApiError> {
        let settings = SourceSettings {
            label: request.integration_label,
            kind: kind_named(&request.integration_type)?,
            log_types: request.log_types,
            path: request.path,
            prefix: request.prefix,
            follow_links: request.follow_links,
        };
        let existing = self.find(&request.integration_id).await?;
        self.put(context, settings, Some(existing)).await
    }

    async fn list_integrations(
        &self,
        _: &CallContext,
        _: ListIntegrationsRequest,
    ) -> Result<ListIntegrationsAnswer, ApiError> {
        let ledgers = sources::ledgers(&self.door).await?;
        let states = sources::states(&self.door).await?;
        let all = sources::all(&self.door).await?;
        let shown = all
            .iter()
            .map(|source| shown(source, ledgers.get(&source.id), states.get(&source.id)));
        Ok(ListIntegrationsAnswer {
            integrations: shown.collect(),
        })
    }

    async fn get_integration(
        &self,
        _: &CallContext,
        request: GetIntegrationRequest,
    ) -> Result<Integration, ApiError> {
        let source = self.find(&request.integration_id).await?;
        self.shown(&source).await
    }

    async fn delete_integration(
        &self,
        context: &CallContext,
        request: DeleteIntegrationRequest,
    ) -> Result<DeleteIntegrationAnswer, ApiError> {
        let source = self.find(&request.integration_id).await?;
        let mut changes = vec![Change::delete(TABLE, change::key(&source.id)).done()];
        let states = sources::states(&self.door).await?.remove(&source.id);
        changes.extend(states.unwrap_or_default().into_keys().map(|node| {
            Change::delete(sources::STATES, change::key_range(&source.id, node)).done()
        }));
        let transact = context.transact(self.door.now_ms(), changes);
        let answer = DeleteIntegrationAnswer {};
        Ok(context.commit(&self.door, transact, answer).await?)
    }

    async fn rotate_token(
        &self,
        context: &CallContext,
        request: RotateTokenRequest,
    ) -> Result<RotateTokenAnswer, ApiError> {
        let source = self.find(&request.integration_id).await?;
        if source.kind != SourceKind::Http {
            return Err(ApiError::Invalid(format!(
                "source {} is a {} source and has no token",
                source.label,
                source.kind.as_str()
            )));
        }
        let token = self.sealer.new_token(context.request_pair().as_ref());
        let change = Change::update(TABLE, change::key(&source.id))
            .if_row_present()
            .set("tokenHash", token_hash(&token));
        let transact = context.transact(self.door.now_ms(), vec![change.done()]);
        let answer = RotateTokenAnswer { token };
        Ok(context.commit(&self.door, transact, answer).await?)
    }

    async fn list_log_types(
        &self,
        _: &CallContext,
        _: ListLogTypesRequest,
    ) -> Result<ListLogTypesAnswer, ApiError> {
        let types = self.log_types.current().await?;
        Ok(ListLogTypesAnswer {
            log_types: types.names().map(ToString::to_string).collect(),
        })
    }

    async fn put_schema(
        &self,
        context: &CallContext,
        request: PutSchemaRequest,
    ) -> Result<PutSchemaAnswer, ApiError> {
        match self.log_types.put(&request.yaml, context).await {
            Ok(answer) => Ok(answer),
            Err(RegistryError::Schema(error)) => Err(ApiError::Invalid(error.to_string())),
            Err(RegistryError::Door(error)) => Err(error.into()),
        }
    }

    async fn list_schemas(
        &self,
        _: &CallContext,
        _: ListSchemasRequest,
    ) -> Result<ListSchemasAnswer, ApiError> {
        let types = self.log_types.current().await?;
        let schemas = types
            .names()
            .filter_map(|name| types.get(name))
            .map(|log_type| SchemaSummary {
                log_type: log_type.name().to_string(),
                builtin: log_type.is_builtin(),
                description: log_type.description().to_owned(),
                reference: log_type.reference().to_owned(),
            });
        Ok(ListSchemasAnswer {
            schemas: schemas.collect(),
        })
    }

    async fn notify(
        &self,
        context: &CallContext,
        request: NotifyRequest,
    ) -> Result<NotifyAnswer, ApiError> {
        if let Some(reason) = self.disk.refusal() {
            return Err(ApiError::Busy(reason));
        }
        let source = self.find(&request.integration_id).await?;
        if !request.object.starts_with(&source.prefix) {
            return Err(ApiError::Invalid(format!(
                "{} does not begin with {}, as the objects of source {} do",
                request.object, source.prefix, source.label
            )));
        }
        let info = self.objects.head(&request.object).await?;
        let mut send = change::to_queue(
            sources::INPUT_QUEUE,
            s3_event(&request.object, info.bytes).to_string(),
        );
        send.attributes
            .insert(super::log_processor::SOURCE.to_owned(), source.id.clone());
        send.turn.clone_from(&source.id);
        let mut transact = context.transact(self.door.now_ms(), Vec::new());
        transact.sends.push(send);
        let done = self.door.transact(transact).await?;
        let answer = NotifyAnswer {
            message_id: done.message_ids.into_iter().next(),
        };
        context.keep(&self.door, &answer).await?;
        Ok(answer)
    }
}

fn kind_named(name: &str) -> Result<SourceKind, ApiError> {
    [SourceKind::Http, SourceKind::Folder, SourceKind::Objects]
        .into_iter()
        .find(|kind| kind.as_str() == name)
        .ok_or_else(|| {
            ApiError::Invalid(format!(
                "integrationType {name} is unknown; it must be http, folder or objects"
            ))
        })
}

/// What a user says of a source.
struct SourceSettings {
    label: String,
    kind: SourceKind,
    log_types: Vec<String>,
    path: String,
    prefix: String,
    follow_links: Option<bool>,
}

fn shown(
    source: &Source,
    ledger: Option<&Ledger>,
    states: Option<&BTreeMap<String, SourceState>>,
) -> Integration {
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
    let reasons = states.into_iter().flatten().flat_map(|(node, state)| {
        state.reasons.iter().map(move |reason| SourceTrouble {
            node: node.clone(),
            reason: reason.clone(),
        })
    });
    Integration {
        integration_id: source.id.clone(),
        integration_label: source.label.clone(),
        integration_type: source.kind.as_str().to_owned(),
        log_types: source.log_types.clone(),
        path: source.path.clone(),
        follow_links: source.follow_links,
        prefix: source.prefix.clone(),
        created_at_time: source.created_at.clone(),
        last_event_received: source.last_event_ms.map(rfc3339),
        received,
        stored,
        quarantined,
        filtered,
        state: if troubles == 0 { "ok" } else { "troubled" }.to_owned(),
        troubles: u64::try_from(troubles).unwrap_or(u64::MAX),
        reasons: reasons.collect(),
        ..Integration::default()
    }
}

/// What is odd about a source beside the others: both would count the same files or objects.
fn overlaps<'a>(
    put: &'a SourceSettings,
    others: impl Iterator<Item = &'a Source> + 'a,
) -> impl Iterator<Item = String> + 'a {
    others.filter_map(|other| match (put.kind, other.kind) {
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

impl SourceService {
    async fn shown(&self, source: &Source) -> Result<Integration, ApiError> {
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

    /// Adds a source, or changes the settings of an existing one.
    async fn put(
        &self,
        context: &CallContext,
        put: SourceSettings,
        existing: Option<Source>,
    ) -> Result<Integration, ApiError> {
        let known = self.log_types.current().await?;
        let label = &put.label;
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
        match put.kind {
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
        let id = existing.as_ref().map_or_else(
            || {
                self.sealer
                    .new_id("source", context.request_pair().as_ref())
            },
            |source| source.id.clone(),
        );
        let mut others = sources::all(&self.door).await?;
        others.retain(|other| other.id != id);
        for other in &others {
            if other.label == *label {
                return Err(ApiError::Exists(format!("a source named {label} exists")));
            }
            if put.kind == SourceKind::Folder
                && other.kind == SourceKind::Folder
                && other.path == put.path
            {
                return Err(ApiError::Exists(format!(
                    "source {} watches {} already: a second one would count each line twice. Add log types to that source instead: `pantherctl sources update {} --log-types …`",
                    other.label, other.path, other.label
                )));
            }
            if put.kind == SourceKind::Objects
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
            .set("integrationType", put.kind.as_str())
            .set(
                "logTypeOrder",
                change::json(Value::from(put.log_types.clone()).to_string()),
            )
            .set("logTypes", put.log_types.clone())
            .set("path", &put.path)
            .set("followLinks", follow_links)
            .set("prefix", &put.prefix);
        let mut source = Source {
            id: id.clone(),
            label: put.label.clone(),
            kind: put.kind,
            log_types: put.log_types,
            path: put.path,
            follow_links,
            prefix: put.prefix,
            token_hash: String::new(),
            created_at: String::new(),
            last_event_ms: None,
        };
        let mut token = None;
        if let Some(existing) = existing {
            change = change.if_row_present();
            source.created_at = existing.created_at;
            source.last_event_ms = existing.last_event_ms;
        } else {
            source.created_at = rfc3339(self.door.now_ms());
            change = change
                .if_row_absent()
                .set("createdAtTime", &source.created_at)
                .set("createdBy", &context.user);
            if put.kind == SourceKind::Http {
                let new = self.sealer.new_token(context.request_pair().as_ref());
                change = change.set("tokenHash", token_hash(&new));
                token = Some(new);
            }
        }
        let answer = Integration {
            warnings,
            ingest_url: token
                .as_ref()
                .map(|_| format!("{}/ingest/{id}", self.ingest_url)),
            token,
            ..self.shown(&source).await?
        };
        let transact = context.transact(self.door.now_ms(), vec![change.done()]);
        Ok(context.commit(&self.door, transact, answer).await?)
    }
}
