//! `panther-analysis-api`: uploads of packs ([`upload`]), and what is known of each detection.

mod upload;

use std::sync::Arc;

use bytes::Bytes;
use futures::future::BoxFuture;
use panther_cluster::door::Door;
use panther_cluster::objects::Objects;
use panther_detections::engine::Cost;
use panther_detections::pack::{Detection, DetectionKind, ItemKind, Mock, Pack, Source, Test};
use panther_proto::v1::analysis_api::{self, AnalysisApi};
use panther_proto::v1::{
    BulkUploadRequest, DetectionCost, DetectionDetails, DetectionEngine, DetectionSummary,
    DetectionTest, GetDetectionRequest, GetDifferenceAnswer, GetDifferenceRequest,
    GetPolicyRequest, GetRuleRequest, GetUploadPlanRequest, GetVersionAnswer, GetVersionRequest,
    ListDetectionsAnswer, ListDetectionsRequest, ListVersionsAnswer, ListVersionsRequest, Paging,
    ProfileDetectionsAnswer, ProfileDetectionsRequest, SetDetectionStateAnswer,
    SetDetectionStateRequest, TestMock, UploadPlan,
};
use serde::Serialize;
use serde_json::{Value, json};

use super::log_types::LogTypeRegistry;
use super::pack::status::{self, DetectionStatus};
use super::pack::{DetectionState, LivePack, PackError};
use crate::alarms::Alarms;
use crate::api::{Api, ApiCall, ApiError, CallContext};
use crate::component::{Deps, Place};
use crate::supervision::Part;
use upload::Upload;

/// The type of correlation rules in lists.
const CORRELATION_RULE: &str = "CORRELATION_RULE";

/// The API.
pub struct AnalysisService {
    /// To the table.
    pub door: Door,
    /// The object store.
    pub objects: Objects,
    /// The live pack.
    pub live: LivePack,
    /// Suspensions end here as well.
    pub alarms: Alarms,
    /// Known log types.
    pub log_types: LogTypeRegistry,
}

impl From<PackError> for ApiError {
    fn from(error: PackError) -> Self {
        match error {
            PackError::Door(error) => error.into(),
            PackError::Objects(error) => error.into(),
            PackError::Damaged { .. } => Self::Internal(error.to_string()),
            PackError::Engine(_) => Self::Unavailable(error.to_string()),
        }
    }
}

/// The function.
///
/// # Errors
/// None.
pub fn build(deps: &Deps, place: Place<'_>) -> Result<Part, ApiError> {
    Ok(place.api(AnalysisService {
        door: deps.door.clone(),
        objects: deps.objects.clone(),
        live: deps.live.clone(),
        alarms: deps.alarms.clone(),
        log_types: LogTypeRegistry::new(deps.door.clone()),
    }))
}

impl Api for AnalysisService {
    fn call(&self, call: ApiCall) -> BoxFuture<'_, Result<Bytes, ApiError>> {
        Box::pin(async move {
            analysis_api::dispatch(self, &call.context, &call.method, call.request.clone())
                .await
                .unwrap_or_else(|| Err(call.unknown_method()))
        })
    }
}

impl AnalysisApi<CallContext, ApiError> for AnalysisService {
    async fn get_upload_plan(
        &self,
        _: &CallContext,
        request: GetUploadPlanRequest,
    ) -> Result<UploadPlan, ApiError> {
        let upload = Upload {
            add: request.add,
            filters: request.filters,
            version: request.version,
            force: request.force,
            planned: request.planned,
            data: request.data,
        };
        self.upload_plan(&upload).await
    }

    async fn bulk_upload(
        &self,
        context: &CallContext,
        request: BulkUploadRequest,
    ) -> Result<UploadPlan, ApiError> {
        let upload = Upload {
            add: request.add,
            filters: request.filters,
            version: request.version,
            force: request.force,
            planned: request.planned,
            data: request.data,
        };
        self.upload(upload, context).await
    }

    async fn list_versions(
        &self,
        _: &CallContext,
        _: ListVersionsRequest,
    ) -> Result<ListVersionsAnswer, ApiError> {
        self.versions().await
    }

    async fn get_version(
        &self,
        _: &CallContext,
        request: GetVersionRequest,
    ) -> Result<GetVersionAnswer, ApiError> {
        self.version(request.version.as_deref()).await
    }

    async fn get_difference(
        &self,
        _: &CallContext,
        request: GetDifferenceRequest,
    ) -> Result<GetDifferenceAnswer, ApiError> {
        self.difference(&request.from, request.to.as_deref()).await
    }

    async fn list_detections(
        &self,
        _: &CallContext,
        request: ListDetectionsRequest,
    ) -> Result<ListDetectionsAnswer, ApiError> {
        self.list(request).await
    }

    async fn get_detection(
        &self,
        _: &CallContext,
        request: GetDetectionRequest,
    ) -> Result<DetectionDetails, ApiError> {
        self.get(&request.id).await
    }

    async fn get_rule(
        &self,
        _: &CallContext,
        request: GetRuleRequest,
    ) -> Result<DetectionDetails, ApiError> {
        self.get(&request.id).await
    }

    async fn get_policy(
        &self,
        _: &CallContext,
        request: GetPolicyRequest,
    ) -> Result<DetectionDetails, ApiError> {
        self.get(&request.id).await
    }

    async fn set_detection_state(
        &self,
        context: &CallContext,
        request: SetDetectionStateRequest,
    ) -> Result<SetDetectionStateAnswer, ApiError> {
        self.set_state(context, request).await
    }

    async fn profile_detections(
        &self,
        _: &CallContext,
        _: ProfileDetectionsRequest,
    ) -> Result<ProfileDetectionsAnswer, ApiError> {
        Ok(self.profile())
    }
}

/// A count as messages hold it.
fn count(number: usize) -> u64 {
    u64::try_from(number).unwrap_or(u64::MAX)
}

/// The word that a value has in JSON.
fn word(value: &impl Serialize) -> String {
    match serde_json::to_value(value) {
        Ok(Value::String(word)) => word,
        _ => String::new(),
    }
}

impl AnalysisService {
    async fn pack(&self) -> Result<Option<Arc<Pack>>, ApiError> {
        let Some(live) = self.live.pointer().await? else {
            return Ok(None);
        };
        if let Some(running) = self.live.running()
            && running.pack.version == live.version
        {
            return Ok(Some(Arc::clone(&running.pack)));
        }
        Ok(Some(Arc::new(self.live.read(&live.object).await?.pack)))
    }

    async fn list(&self, list: ListDetectionsRequest) -> Result<ListDetectionsAnswer, ApiError> {
        let Some(pack) = self.pack().await? else {
            return Ok(ListDetectionsAnswer {
                paging: Some(Paging {
                    this_page: 1,
                    ..Paging::default()
                }),
                ..ListDetectionsAnswer::default()
            });
        };
        let statuses = self
            .live
            .circumstances(&self.log_types)
            .await?
            .statuses(&pack);
        let one_of = |wanted: &[String], held: &str| {
            wanted.is_empty()
                || wanted
                    .iter()
                    .any(|wanted| wanted.eq_ignore_ascii_case(held))
        };
        let named = |id: &str, name: Option<&String>| {
            list.name_contains.as_ref().is_none_or(|part| {
                let part = part.to_lowercase();
                id.to_lowercase().contains(&part)
                    || name.is_some_and(|name| name.to_lowercase().contains(&part))
            })
        };
        let in_state = |id: &str| {
            statuses
                .get(id)
                .is_some_and(|status| one_of(&list.states, status.as_str()))
        };
        let mut found: Vec<DetectionSummary> = pack
            .detections
            .iter()
            .filter(|detection| {
                one_of(&list.severity, detection.severity.as_str())
                    && one_of(&list.analysis_types, detection.kind.as_str())
                    && list
                        .enabled
                        .is_none_or(|enabled| detection.enabled == enabled)
                    && (list.log_types.is_empty()
                        || detection
                            .log_types
                            .iter()
                            .any(|held| list.log_types.contains(held)))
                    && named(&detection.id, detection.display_name.as_ref())
                    && in_state(&detection.id)
            })
            .map(|detection| shown(detection, statuses.get(&detection.id)))
            .collect();
        // Correlation rules are detections too, which this version does not evaluate.
        let unevaluated = pack
            .unevaluated
            .iter()
            .filter(|item| {
                item.kind == ItemKind::CorrelationRule
                    && list.severity.is_empty()
                    && list.log_types.is_empty()
                    && one_of(&list.analysis_types, CORRELATION_RULE)
                    && list.enabled.is_none_or(|enabled| item.enabled == enabled)
                    && named(&item.id, None)
                    && in_state(&item.id)
            })
            .map(|item| {
                let status = Shown::of(statuses.get(&item.id));
                DetectionSummary {
                    id: item.id.clone(),
                    r#type: CORRELATION_RULE.to_owned(),
                    enabled: item.enabled,
                    file: item.file.clone(),
                    unevaluated: Some(item.reason.clone()),
                    state: status.state,
                    state_reason: status.reason,
                    load_error: status.load_error,
                    ..DetectionSummary::default()
                }
            });
        found.extend(unevaluated);
        let page_size = number(list.page_size).unwrap_or(1_000).clamp(1, 1_000);
        let page = number(list.page).unwrap_or(1).max(1);
        let total = found.len();
        let states = status::counts(&statuses);
        Ok(ListDetectionsAnswer {
            detections: found
                .into_iter()
                .skip((page - 1) * page_size)
                .take(page_size)
                .collect(),
            version: Some(pack.version.clone()),
            unevaluated: count(pack.unevaluated.len()),
            states: states
                .into_iter()
                .map(|(state, count)| (state.to_owned(), count))
                .collect(),
            paging: Some(Paging {
                this_page: count(page),
                total_pages: count(total.div_ceil(page_size)),
                total_items: count(total),
            }),
        })
    }

    async fn get(&self, id: &str) -> Result<DetectionDetails, ApiError> {
        let missing = || {
            ApiError::NotFound(format!(
                "there is no detection {id} in the live pack; `pantherctl detections list` shows them"
            ))
        };
        let pack = self.pack().await?.ok_or_else(missing)?;
        let (place, detection) = pack
            .detections
            .iter()
            .enumerate()
            .find(|(_, detection)| detection.id == id)
            .ok_or_else(missing)?;
        let status = self.live.circumstances(&self.log_types).await?;
        let running = self
            .live
            .running()
            .filter(|running| running.pack.version == pack.version);
        let shown = shown(detection, Some(&status.status(detection)));
        let body = match &detection.source {
            Source::Python { text, .. } => json!(text),
            Source::Simple(keys) => json!(keys),
        };
        let native = running
            .as_ref()
            .is_some_and(|running| running.engine.is_native(place));
        Ok(DetectionDetails {
            id: shown.id,
            r#type: shown.r#type,
            display_name: shown.display_name,
            severity: shown.severity,
            enabled: shown.enabled,
            log_types: shown.log_types,
            resource_types: shown.resource_types,
            tags: shown.tags,
            unevaluated: shown.unevaluated,
            load_error: shown.load_error,
            tests: detection.tests.iter().map(test).collect(),
            file: shown.file,
            state: shown.state,
            state_reason: shown.state_reason,
            body: Some(body.into()),
            description: detection.description.clone(),
            reference: detection.reference.clone(),
            runbook: detection.runbook.clone(),
            dedup_period_minutes: detection.dedup_minutes,
            threshold: detection.threshold,
            create_alert: detection.create_alert,
            output_ids: detection.output_ids.clone(),
            reports: Some(json!(detection.reports).into()),
            limitations: detection.limitations.clone(),
            version_id: detection.version.clone(),
            pack_version: pack.version.clone(),
            engine: Some(DetectionEngine {
                name: if native { "rust" } else { "python" }.to_owned(),
            }),
        })
    }

    /// What each rule has cost on this node since its pack was loaded here, the dearest first.
    fn profile(&self) -> ProfileDetectionsAnswer {
        let node = self.door.node();
        let Some(running) = self.live.running() else {
            return ProfileDetectionsAnswer {
                node,
                ..ProfileDetectionsAnswer::default()
            };
        };
        let shown = |cost: &Cost| {
            let detection = running.pack.detections.get(cost.detection);
            DetectionCost {
                id: detection.map(|detection| detection.id.clone()),
                events: cost.spent.events,
                nanos: cost.spent.nanos,
                matches: cost.spent.matches,
                errors: cost.spent.errors,
                left_to_python: cost.pairs_left(),
                reasons: cost
                    .left_to_python
                    .iter()
                    .map(|(why, _)| why.clone())
                    .collect(),
            }
        };
        ProfileDetectionsAnswer {
            node,
            version: Some(running.pack.version.clone()),
            one_in: Some(running.engine.profile_one_in().into()),
            detections: running.engine.costs().iter().map(shown).collect(),
        }
    }

    async fn set_state(
        &self,
        context: &CallContext,
        set: SetDetectionStateRequest,
    ) -> Result<SetDetectionStateAnswer, ApiError> {
        let state: DetectionState = serde_json::from_value(Value::from(set.state))
            .map_err(|error| ApiError::Invalid(format!("state: {error}")))?;
        let missing = || {
            ApiError::NotFound(format!(
                "there is no detection {} in the live pack; `pantherctl detections list` shows them",
                set.id
            ))
        };
        let pack = self.pack().await?.ok_or_else(missing)?;
        let detection = pack.detection(&set.id).ok_or_else(missing)?;
        let reason = if set.reason.is_empty() {
            format!(
                "by {}",
                if context.user.is_empty() {
                    "an operator"
                } else {
                    &context.user
                }
            )
        } else {
            set.reason
        };
        self.live
            .decide(
                &set.id,
                &detection.version,
                state,
                &reason,
                context.transact(self.door.now_ms(), Vec::new()),
            )
            .await?;
        if state != DetectionState::Python {
            self.alarms
                .set(
                    "panther-rules-engine",
                    &format!("rule differs {}", set.id),
                    None,
                )
                .await;
        }
        if state != DetectionState::Suspended {
            self.alarms
                .set(
                    "panther-rules-engine",
                    &format!("rule suspended {}", set.id),
                    None,
                )
                .await;
        }
        let answer = SetDetectionStateAnswer {};
        context.keep(&self.door, &answer).await?;
        Ok(answer)
    }
}

fn number(given: Option<u32>) -> Option<usize> {
    given.and_then(|number| usize::try_from(number).ok())
}

fn test(test: &Test) -> DetectionTest {
    let mock = |mock: &Mock| TestMock {
        object_name: mock.object_name.clone(),
        return_value: Some(mock.return_value.clone().into()),
    };
    DetectionTest {
        name: test.name.clone(),
        expected: test.expected,
        input: Some(test.input.clone().into()),
        mocks: test.mocks.iter().map(mock).collect(),
    }
}

fn shown(detection: &Detection, status: Option<&DetectionStatus>) -> DetectionSummary {
    let (mut log_types, mut resource_types) = (detection.log_types.clone(), Vec::new());
    if detection.kind == DetectionKind::Policy {
        std::mem::swap(&mut log_types, &mut resource_types);
    }
    let status = Shown::of(status);
    DetectionSummary {
        id: detection.id.clone(),
        r#type: detection.kind.as_str().to_owned(),
        display_name: detection.display_name.clone(),
        severity: Some(detection.severity.as_str().to_owned()),
        enabled: detection.enabled,
        log_types,
        resource_types,
        tags: detection.tags.clone(),
        unevaluated: detection.unevaluated.clone(),
        load_error: status.load_error,
        tests: count(detection.tests.len()),
        file: detection.file.clone(),
        state: status.state,
        state_reason: status.reason,
    }
}

/// The state of a detection as it is shown, and why it is so.
#[derive(Default)]
struct Shown {
    state: Option<String>,
    reason: Option<String>,
    load_error: Option<String>,
}

impl Shown {
    fn of(status: Option<&DetectionStatus>) -> Self {
        let Some(status) = status else {
            return Self::default();
        };
        Self {
            state: Some(status.as_str().to_owned()),
            reason: status.reason().map(str::to_owned),
            load_error: match status {
                DetectionStatus::DoesNotLoad(error) => Some(error.clone()),
                _ => None,
            },
        }
    }
}
