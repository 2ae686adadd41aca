//! `panther-source-api`: log sources, their tokens, and users' log types.

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
use super::sources::ledger::{self, Counts};
use super::sources::{
    self, Ledger, NodeStates, Progress, Source, SourceKind, SourceRegistry, TABLE, registry,
};
use crate::api::{Api, ApiCall, ApiError, CallContext};
use crate::component::{Deps, Place};
use crate::dates::rfc3339;
use crate::sealing::{Sealer, token_hash};
use crate::supervision::Part;

/// How names of objects begin that the cluster writes and sweeps itself.
const OWN: [&str; 5] = ["raw/", "logs/", "rules/", "rule_errors/", "quarantine/"];

/// How often a change of a source is checked again because another source has changed meanwhile.
const CONFLICTS: usize = 20;

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
    /// Log sources.
    pub sources: SourceRegistry,
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
        sources: deps.sources.clone(),
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
        let mut states = sources::states(&self.door).await?;
        let mut integrations = Vec::new();
        for (source, progress) in sources::list(&self.door).await? {
            let states = states.remove(&source.id).unwrap_or_default();
            let total = self.total(&source, progress).await?;
            integrations.push(shown(&source, progress, total, &states));
        }
        Ok(ListIntegrationsAnswer { integrations })
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
        let mut changes = vec![
            Change::delete(TABLE, change::key(&source.id)).done(),
            registry::raised_revision(),
        ];
        let states = sources::states_of(&self.door, &source.id).await?;
        changes.extend(states.into_keys().map(|node| {
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
        let changes = vec![change.done(), registry::raised_revision()];
        let transact = context.transact(self.door.now_ms(), changes);
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

fn shown(source: &Source, progress: Progress, total: Ledger, states: &NodeStates) -> Integration {
    let Ledger {
        received,
        stored,
        quarantined,
        filtered,
    } = total;
    let troubles: usize = states.values().map(|state| state.troubles).sum();
    let reasons = states.iter().flat_map(|(node, state)| {
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
        last_event_received: progress.last_event_ms.map(rfc3339),
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
        let row = self.door.get(TABLE, &change::key(&source.id)).await?;
        let progress = row.as_ref().map(Progress::of).unwrap_or_default();
        let total = self.total(source, progress).await?;
        let states = sources::states_of(&self.door, &source.id).await?;
        Ok(shown(source, progress, total, &states))
    }

    /// The sum of a source's ledger.
    async fn total(&self, source: &Source, progress: Progress) -> Result<Ledger, ApiError> {
        match progress.totals {
            Some(totals) => Ok(totals),
            None => Ok(ledger::sum(&self.door.tables(), &source.id).await?),
        }
    }

    async fn find(&self, name: &str) -> Result<Source, ApiError> {
        self.sources.find(name).await?.ok_or_else(|| {
            ApiError::NotFound(format!(
                "there is no source {name}; `pantherctl sources list` shows them"
            ))
        })
    }

    /// Adds a source, or changes the settings of an existing one. The check against the other sources holds when the
    /// command is applied: if a source changes meanwhile, the check runs again.
    async fn put(
        &self,
        context: &CallContext,
        put: SourceSettings,
        existing: Option<Source>,
    ) -> Result<Integration, ApiError> {
        self.check(&put).await?;
        for _ in 0..CONFLICTS {
            match self.try_put(context, &put, existing.as_ref()).await {
                Err(ApiError::Conflict(reason)) => {
                    tracing::debug!(reason, "a source has changed meanwhile; checking again");
                    if let Some(existing) = &existing {
                        self.find(&existing.id).await?;
                    }
                }
                answer => return answer,
            }
        }
        Err(ApiError::Conflict(
            "the sources change all the time; nothing was changed, try again".to_owned(),
        ))
    }

    /// Checks the settings of a source by themselves.
    async fn check(&self, put: &SourceSettings) -> Result<(), ApiError> {
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
        Ok(())
    }

    async fn try_put(
        &self,
        context: &CallContext,
        put: &SourceSettings,
        existing: Option<&Source>,
    ) -> Result<Integration, ApiError> {
        let label = &put.label;
        let id = existing.map_or_else(
            || {
                self.sealer
                    .new_id("source", context.request_pair().as_ref())
            },
            |source| source.id.clone(),
        );
        let set = self.sources.current().await?;
        let others = || set.all().iter().filter(|other| other.id != id);
        for other in others() {
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
        let warnings: Vec<String> = overlaps(put, others()).collect();
        let follow_links = put
            .follow_links
            .unwrap_or(existing.is_some_and(|source| source.follow_links));
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
            log_types: put.log_types.clone(),
            path: put.path.clone(),
            follow_links,
            prefix: put.prefix.clone(),
            token_hash: String::new(),
            created_at: String::new(),
            has_totals: true,
        };
        let mut token = None;
        if let Some(existing) = existing {
            change = change.if_row_present();
            source.created_at.clone_from(&existing.created_at);
        } else {
            source.created_at = rfc3339(self.door.now_ms());
            let new = change
                .if_row_absent()
                .set("createdAtTime", &source.created_at)
                .set("createdBy", &context.user);
            change = Counts::default().set_in(new);
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
        let changes = vec![change.done(), set.next_revision()];
        let transact = context.transact(self.door.now_ms(), changes);
        Ok(context.commit(&self.door, transact, answer).await?)
    }
}
