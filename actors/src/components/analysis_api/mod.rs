//! `panther-analysis-api`: uploads of packs ([`upload`]), and what is known of each detection.

mod upload;

use std::sync::Arc;

use futures::future::BoxFuture;
use panther_cluster::door::Door;
use panther_cluster::objects::Objects;
use panther_detections::engine::Cost;
use panther_detections::pack::{Detection, DetectionKind, ItemKind, Pack, Source};
use serde::Deserialize;
use serde_json::{Value, json};

use super::log_types::LogTypeRegistry;
use super::outputs_api::request;
use super::pack::status::{self, DetectionStatus};
use super::pack::{DetectionState, LivePack, PackError};
use crate::alarms::Alarms;
use crate::component::{Deps, Place};
use crate::supervision::Part;
use crate::api::{Api, ApiCall, ApiError};

const NAME: &str = "panther-analysis-api";
/// The type of correlation rules in lists.
const CORRELATION_RULE: &str = "CORRELATION_RULE";
const OPERATIONS: &[&str] = &[
    "getUploadPlan",
    "bulkUpload",
    "listVersions",
    "getVersion",
    "getDifference",
    "listDetections",
    "getDetection",
    "getRule",
    "getPolicy",
    "setDetectionState",
    "profileDetections",
];

/// The API.
pub struct AnalysisApi {
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

#[derive(Default, Deserialize)]
#[serde(rename_all = "camelCase", deny_unknown_fields, default)]
struct List {
    name_contains: Option<String>,
    enabled: Option<bool>,
    states: Vec<String>,
    severity: Vec<String>,
    log_types: Vec<String>,
    analysis_types: Vec<String>,
    page_size: Option<usize>,
    page: Option<usize>,
}

#[derive(Deserialize)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
struct One {
    id: String,
}

#[derive(Deserialize)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
struct SetState {
    id: String,
    state: DetectionState,
    #[serde(default)]
    reason: String,
    #[serde(default, rename = "userId")]
    user_id: String,
}

/// The function.
///
/// # Errors
/// None.
pub fn build(deps: &Deps, place: Place<'_>) -> Result<Part, ApiError> {
    Ok(place.api(AnalysisApi {
        door: deps.door.clone(),
        objects: deps.objects.clone(),
        live: deps.live.clone(),
        alarms: deps.alarms.clone(),
        log_types: LogTypeRegistry::new(deps.door.clone()),
    }))
}

impl Api for AnalysisApi {
    fn call(&self, call: ApiCall) -> BoxFuture<'_, Result<Value, ApiError>> {
        Box::pin(async move {
            match call.operation.as_str() {
                "getUploadPlan" => self.upload_plan(&call.input()?, &call).await,
                "bulkUpload" => self.upload(call.input()?, &call).await,
                "listVersions" => self.versions().await,
                "getVersion" => self.version(call.input()?).await,
                "getDifference" => self.difference(call.input()?).await,
                "listDetections" => self.list(call.input()?).await,
                "getDetection" | "getRule" | "getPolicy" => {
                    self.get(&call.input::<One>()?.id).await
                }
                "setDetectionState" => self.set_state(call.input()?, &call).await,
                "profileDetections" => Ok(self.profile()),
                _ => Err(call.unknown(NAME, OPERATIONS)),
            }
        })
    }
}

impl AnalysisApi {
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

    async fn list(&self, list: List) -> Result<Value, ApiError> {
        let Some(pack) = self.pack().await? else {
            return Ok(
                json!({"detections": [], "version": null, "paging": {"thisPage": 1, "totalPages": 0, "totalItems": 0}}),
            );
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
        let mut found: Vec<Value> = pack
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
                let mut shown = json!({"id": item.id, "type": CORRELATION_RULE, "enabled": item.enabled, "file": item.file, "unevaluated": item.reason});
                tell_status(&mut shown, statuses.get(&item.id));
                shown
            });
        found.extend(unevaluated);
        let page_size = list.page_size.unwrap_or(1_000).clamp(1, 1_000);
        let page = list.page.unwrap_or(1).max(1);
        let total = found.len();
        let shown: Vec<Value> = found
            .into_iter()
            .skip((page - 1) * page_size)
            .take(page_size)
            .collect();
        Ok(
            json!({"detections": shown, "version": pack.version, "unevaluated": pack.unevaluated.len(), "states": status::counts(&statuses),
            "paging": {"thisPage": page, "totalPages": total.div_ceil(page_size), "totalItems": total}}),
        )
    }

    async fn get(&self, id: &str) -> Result<Value, ApiError> {
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
        let mut answer = shown(detection, Some(&status.status(detection)));
        let body = match &detection.source {
            Source::Python { text, .. } => json!(text),
            Source::Simple(keys) => json!(keys),
        };
        answer["body"] = body;
        answer["tests"] = json!(detection.tests);
        answer["description"] = detection.description.clone().into();
        answer["reference"] = detection.reference.clone().into();
        answer["runbook"] = detection.runbook.clone().into();
        answer["dedupPeriodMinutes"] = detection.dedup_minutes.into();
        answer["threshold"] = detection.threshold.into();
        answer["createAlert"] = detection.create_alert.into();
        answer["outputIds"] = json!(detection.output_ids);
        answer["reports"] = json!(detection.reports);
        answer["limitations"] = json!(detection.limitations);
        answer["versionId"] = detection.version.clone().into();
        answer["packVersion"] = pack.version.clone().into();
        let native = running
            .as_ref()
            .is_some_and(|running| running.engine.is_native(place));
        answer["engine"] = json!({"name": if native { "rust" } else { "python" }});
        Ok(answer)
    }

    /// What each rule has cost on this node since its pack was loaded here, the dearest first.
    fn profile(&self) -> Value {
        let Some(running) = self.live.running() else {
            return json!({"node": self.door.node(), "version": null, "oneIn": null, "detections": []});
        };
        let told = |cost: &Cost| {
            let reasons: Vec<&String> = cost.left_to_python.iter().map(|(why, _)| why).collect();
            let id = running.pack.detections.get(cost.detection);
            json!({
                "id": id.map(|detection| &detection.id), "events": cost.spent.events, "nanos": cost.spent.nanos, "matches": cost.spent.matches,
                "errors": cost.spent.errors, "leftToPython": cost.pairs_left(), "reasons": reasons,
            })
        };
        let costs = running.engine.costs();
        json!({
            "node": self.door.node(), "version": running.pack.version, "oneIn": running.engine.profile_one_in(),
            "detections": costs.iter().map(told).collect::<Vec<_>>(),
        })
    }

    async fn set_state(&self, set: SetState, call: &ApiCall) -> Result<Value, ApiError> {
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
                if set.user_id.is_empty() {
                    "an operator"
                } else {
                    &set.user_id
                }
            )
        } else {
            set.reason
        };
        self.live
            .decide(
                &set.id,
                &detection.version,
                set.state,
                &reason,
                request(call, Vec::new()),
            )
            .await?;
        if set.state != DetectionState::Python {
            self.alarms
                .set(
                    "panther-rules-engine",
                    &format!("rule differs {}", set.id),
                    None,
                )
                .await;
        }
        if set.state != DetectionState::Suspended {
            self.alarms
                .set(
                    "panther-rules-engine",
                    &format!("rule suspended {}", set.id),
                    None,
                )
                .await;
        }
        Ok(json!({}))
    }
}

fn shown(detection: &Detection, status: Option<&DetectionStatus>) -> Value {
    let types = if detection.kind == DetectionKind::Policy {
        "resourceTypes"
    } else {
        "logTypes"
    };
    let mut shown = json!({
        "id": detection.id, "type": detection.kind.as_str(), "displayName": detection.display_name, "severity": detection.severity.as_str(),
        "enabled": detection.enabled, types: detection.log_types, "tags": detection.tags, "unevaluated": detection.unevaluated, "loadError": null,
        "tests": detection.tests.len(), "file": detection.file,
    });
    tell_status(&mut shown, status);
    shown
}

/// Adds the state of a detection, and why it is so.
fn tell_status(shown: &mut Value, status: Option<&DetectionStatus>) {
    let Some(status) = status else { return };
    shown["state"] = status.as_str().into();
    shown["stateReason"] = status.reason().into();
    if let DetectionStatus::DoesNotLoad(error) = status {
        shown["loadError"] = error.as_str().into();
    }
}
