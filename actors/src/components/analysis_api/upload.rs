//! Uploads: a plan first, a proof that the pack loads and passes its tests, then a new version. The versions that were.

use std::collections::BTreeMap;
use std::time::Duration;

use panther_cluster::door::change::{self, Change, RowExt};
use panther_detections::pack::{DetectionKind, Difference, Pack, Problem, Sources, missing_ids};
use panther_detections::testing::Filter;
use serde::Deserialize;
use serde_json::{Value, json};

use super::super::layer_manager::{self, BuildRequest};
use super::super::outputs_api::request;
use super::super::pack::proof::Proof;
use super::super::pack::status::{self, DetectionStatus};
use super::super::pack::version::{self, Stored, Version};
use super::super::pack::{self, Pointer, TABLE};
use super::AnalysisApi;
use crate::api::{ApiCall, ApiError};

/// How long an upload waits for its version to become live.
const BUILD_TIME: Duration = Duration::from_secs(100);

/// What is to become live. The payload is the zip of a pack, unless a version is named.
#[derive(Default, Deserialize)]
#[serde(rename_all = "camelCase", deny_unknown_fields, default)]
pub(super) struct Upload {
    user_id: String,
    /// Keep what is live and not in the upload.
    add: bool,
    /// Take only detections that pass every one of these, as `KEY=VALUE[,VALUE]`.
    filters: Vec<String>,
    /// Roll back to this version, in place of a payload.
    version: Option<String>,
    /// Take it although it does not load or fails its tests.
    force: bool,
    /// The number of the version that the plan was made against; refused if another one is live by now.
    planned: Option<u64>,
}

#[derive(Deserialize)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
pub(super) struct OneVersion {
    /// Absent: the live one.
    #[serde(default)]
    version: Option<String>,
}

#[derive(Deserialize)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
pub(super) struct TwoVersions {
    from: String,
    /// Absent: the live one.
    #[serde(default)]
    to: Option<String>,
}

/// An upload that was looked at.
struct Prepared {
    /// What would become of each detection, by id.
    statuses: BTreeMap<String, DetectionStatus>,
    stored: Stored,
    live: Option<Pointer>,
    difference: Difference,
    proof: Proof,
}

impl Prepared {
    fn number(&self) -> u64 {
        self.live.as_ref().map_or(0, |live| live.number)
    }

    fn told(&self) -> Value {
        let mut told = counts(&self.stored.pack, &self.difference);
        told["live"] = self.number().into();
        told["changes"] = json!(self.difference);
        told["states"] = json!(status::counts(&self.statuses));
        let troubled = self
            .statuses
            .iter()
            .filter(|(_, status)| status.is_unasked());
        let troubled = troubled.map(
            |(id, status)| json!({"id": id, "state": status.as_str(), "reason": status.reason()}),
        );
        told["notRunning"] = troubled.collect();
        told["tests"] = json!(self.proof.summary);
        told["failures"] = json!(self.proof.failures);
        told
    }
}

fn refused(problems: &[Problem]) -> ApiError {
    ApiError::Invalid(json!({"problems": problems}).to_string())
}

impl AnalysisApi {
    /// What an upload would change, and what of it fails. Changes nothing.
    pub(super) async fn upload_plan(
        &self,
        upload: &Upload,
        call: &ApiCall,
    ) -> Result<Value, ApiError> {
        let prepared = self.prepare(upload, call).await?;
        Ok(prepared.told())
    }

    pub(super) async fn upload(&self, upload: Upload, call: &ApiCall) -> Result<Value, ApiError> {
        let prepared = self.prepare(&upload, call).await?;
        if let Some(planned) = upload
            .planned
            .filter(|planned| *planned != prepared.number())
        {
            return Err(ApiError::Conflict(format!(
                "version {} has become live since the plan was made against version {planned}; make the plan again",
                prepared.number()
            )));
        }
        if !prepared.proof.failures.is_empty() && !upload.force {
            return Err(refused(&prepared.proof.failures));
        }
        let mut told = prepared.told();
        let stored = prepared.stored;
        let (written, content) = tokio::task::spawn_blocking(move || stored.encode())
            .await
            .map_err(|error| ApiError::Internal(error.to_string()))?
            .map_err(|error| ApiError::Internal(error.to_string()))?;
        if prepared
            .live
            .as_ref()
            .is_some_and(|live| live.object == written.name)
        {
            told["number"] = told["live"].clone();
            return Ok(told);
        }
        self.objects.put(&written.name, content).await?;
        let count = |length: usize| u64::try_from(length).unwrap_or(u64::MAX);
        let difference = &prepared.difference;
        let body = serde_json::to_vec(&BuildRequest {
            object: written.name.clone(),
            action: action(&upload),
            user: upload.user_id,
            force: upload.force,
            counts: (
                count(difference.new.len()),
                count(difference.changed.len()),
                count(difference.deleted.len()),
            ),
        })
        .map_err(|error| ApiError::Internal(error.to_string()))?;
        let pending = Change::put(TABLE, change::key(pack::PENDING))
            .set("object", &written.name)
            .set("state", "building");
        let mut transact = request(call, vec![pending.done(), written.row(self.door.now_ms())]);
        transact
            .sends
            .push(change::to_queue(layer_manager::QUEUE, body));
        self.door.transact(transact).await?;
        self.wait_live(&written.name).await?;
        told["number"] = self
            .live
            .pointer()
            .await?
            .map_or(0, |live| live.number)
            .into();
        Ok(told)
    }

    /// Reads, joins, compares and proves what is to become live.
    async fn prepare(&self, upload: &Upload, call: &ApiCall) -> Result<Prepared, ApiError> {
        let live = self.live.pointer().await?;
        let before = match &live {
            Some(live) => self.live.read(&live.object).await?,
            None => Stored::default(),
        };
        if upload.add && before.lacks_files() {
            return Err(ApiError::Conflict(
                "the live pack was uploaded to a release that did not keep its files, so that nothing can be added to it; upload the whole pack once"
                    .to_owned(),
            ));
        }
        let stored = match &upload.version {
            Some(name) => {
                let version = self.find_version(name).await?;
                self.live.read(&version.object).await?
            }
            None => read(upload, call, &before.files).await?,
        };
        let difference = Difference::between(&before.pack, &stored.pack);
        let mut proof = self.live.prove(&stored.pack).await?;
        proof.failures.extend(missing_ids(&stored.pack));
        let mut circumstances = self.live.circumstances(&self.log_types).await?;
        // What ran before does not tell what loads now: the proof does.
        let failures = proof.failures.iter().filter_map(|failure| {
            let reason = failure.reason.strip_prefix("does not load: ")?;
            Some((failure.key.clone()?, reason.to_owned()))
        });
        circumstances.load_errors = failures.collect();
        Ok(Prepared {
            statuses: circumstances.statuses(&stored.pack),
            stored,
            live,
            difference,
            proof,
        })
    }

    async fn find_version(&self, name: &str) -> Result<Version, ApiError> {
        let versions = version::all(&self.door).await?;
        version::named(&versions, name).cloned().ok_or_else(|| {
            ApiError::NotFound(format!(
                "there is no version {name}; the last {} are kept, and `pantherctl detections history` shows them",
                version::KEPT
            ))
        })
    }

    async fn version_or_live(&self, name: Option<&str>) -> Result<Version, ApiError> {
        match (name, self.live.pointer().await?) {
            (Some(name), _) => self.find_version(name).await,
            (None, Some(live)) => self.find_version(&live.number.to_string()).await,
            (None, None) => Err(ApiError::NotFound(
                "no pack was ever uploaded; `pantherctl detections upload DIR` brings one"
                    .to_owned(),
            )),
        }
    }

    /// The versions that are kept, the newest first.
    pub(super) async fn versions(&self) -> Result<Value, ApiError> {
        let live = self.live.pointer().await?.map_or(0, |live| live.number);
        let mut versions = version::all(&self.door).await?;
        versions.reverse();
        Ok(json!({"versions": versions, "live": live, "kept": version::KEPT}))
    }

    /// The files of a version.
    pub(super) async fn version(&self, of: OneVersion) -> Result<Value, ApiError> {
        let version = self.version_or_live(of.version.as_deref()).await?;
        let stored = self.live.read(&version.object).await?;
        Ok(json!({"version": version, "files": stored.files}))
    }

    /// What differs between two versions, by item; and the texts of files that differ.
    pub(super) async fn difference(&self, of: TwoVersions) -> Result<Value, ApiError> {
        let from = self.find_version(&of.from).await?;
        let to = self.version_or_live(of.to.as_deref()).await?;
        let before = self.live.read(&from.object).await?;
        let after = self.live.read(&to.object).await?;
        let difference = Difference::between(&before.pack, &after.pack);
        let (old, new) = (before.files.texts(), after.files.texts());
        let mut paths: Vec<&String> = old.keys().chain(new.keys()).collect();
        paths.sort();
        paths.dedup();
        let files: Vec<Value> = paths
            .into_iter()
            .filter(|path| old.get(*path) != new.get(*path))
            .map(|path| json!({"path": path, "from": old.get(path), "to": new.get(path)}))
            .collect();
        Ok(json!({"from": from, "to": to, "changes": difference, "files": files}))
    }

    /// Waits until the version of an object is live, or says why it does not become so.
    async fn wait_live(&self, object: &str) -> Result<(), ApiError> {
        let until = tokio::time::Instant::now() + BUILD_TIME;
        loop {
            let pending = self
                .door
                .get(TABLE, &change::key(pack::PENDING))
                .await?
                .unwrap_or_default();
            if pending.text("object") != Some(object) {
                return Err(ApiError::Conflict(
                    "another upload has taken this one's place".to_owned(),
                ));
            }
            match pending.text("state") {
                Some("live") => return Ok(()),
                Some("failed") => {
                    let problems = pending.json("error").unwrap_or("[]");
                    return Err(refused(
                        &serde_json::from_str::<Vec<Problem>>(problems).unwrap_or_default(),
                    ));
                }
                _ if tokio::time::Instant::now() >= until => {
                    // What the layer manager said of its last attempt is what the uploader needs.
                    let waiting = self.door.peek(layer_manager::QUEUE, 0, 1).await?;
                    let last = waiting
                        .first()
                        .map(|message| message.last_error.as_str())
                        .filter(|error| !error.is_empty())
                        .unwrap_or("it is still being built");
                    return Err(ApiError::Unavailable(format!(
                        "the new version is not live after {} s, and the old one stays until it is: {last}",
                        BUILD_TIME.as_secs()
                    )));
                }
                _ => tokio::time::sleep(Duration::from_millis(100)).await,
            }
        }
    }
}

/// The pack that an upload brings, with the files that it is written in.
async fn read(upload: &Upload, call: &ApiCall, live: &Sources) -> Result<Stored, ApiError> {
    if call.payload.is_empty() {
        return Err(ApiError::Invalid(
            "an upload needs the zip of a pack as payload, or a version to roll back to".to_owned(),
        ));
    }
    let filters: Result<Vec<Filter>, _> = upload.filters.iter().map(|text| text.parse()).collect();
    let filters = filters.map_err(|error| ApiError::Invalid(error.to_string()))?;
    let (zip, add, live) = (call.payload.clone(), upload.add, live.clone());
    let read = tokio::task::spawn_blocking(move || {
        let mut sources = Sources::read_zip(&zip)?;
        if !filters.is_empty() {
            sources = sources
                .selected(|detection| filters.iter().all(|filter| filter.takes(detection)))?;
        }
        if add {
            sources = sources.added_to(&live);
        }
        let pack = sources.pack()?;
        let files = sources.used();
        Ok(Stored { pack, files })
    });
    read.await
        .map_err(|error| ApiError::Internal(error.to_string()))?
        .map_err(|problems: Vec<Problem>| refused(&problems))
}

/// The text that the history shows for an upload.
fn action(upload: &Upload) -> String {
    let mut action = match &upload.version {
        Some(version) => format!("rollback to {version}"),
        None => "upload".to_owned(),
    };
    if upload.add {
        action.push_str(" --add");
    }
    for filter in &upload.filters {
        action.push_str(&format!(" --filter {filter}"));
    }
    if upload.force {
        action.push_str(" --force");
    }
    action
}

/// Counts of a pack's items and, over its detections, of what an upload changes.
fn counts(pack: &Pack, difference: &Difference) -> Value {
    let kinds = ["rule", "policy", "scheduled rule"];
    let of = |kind: &str| kinds.contains(&kind);
    let new = difference.new.iter().filter(|item| of(&item.kind)).count();
    let changed = difference.changed.iter();
    let modified = changed.filter(|changed| of(&changed.item.kind)).count();
    let deleted = difference.deleted.iter();
    let deleted = deleted.filter(|item| of(&item.kind)).count();
    let unchanged = pack.detections.len().saturating_sub(new + modified);
    let of_kind = |kind| {
        pack.detections
            .iter()
            .filter(|detection| detection.kind == kind)
            .count()
    };
    let mut unevaluated: Vec<Value> = pack
        .unevaluated
        .iter()
        .map(|item| json!({"id": item.id, "kind": item.kind, "reason": item.reason}))
        .collect();
    unevaluated.extend(pack.detections.iter().filter_map(|detection| Some(json!({"id": detection.id, "kind": detection.kind, "reason": detection.unevaluated.as_ref()?}))));
    json!({
        "version": pack.version, "new": new, "modified": modified, "unchanged": unchanged, "deleted": deleted,
        "rules": of_kind(DetectionKind::Rule), "policies": of_kind(DetectionKind::Policy), "scheduledRules": of_kind(DetectionKind::ScheduledRule),
        "globals": pack.globals.len(), "dataModels": pack.data_models.len(), "unevaluated": unevaluated, "ignoredKeys": pack.ignored_keys, "problems": [],
    })
}
