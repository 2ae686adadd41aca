//! Uploads: a plan first, a proof that the pack loads and passes its tests, then a new version. The versions that were.

use std::collections::BTreeMap;
use std::time::Duration;

use bytes::Bytes;
use panther_cluster::door::change::{self, Change, RowExt};
use panther_detections::pack::{
    DetectionKind, Difference, Named, Pack, Problem, Sources, missing_ids,
};
use panther_detections::testing::Filter;
use panther_proto::v1::{
    ChangedFile, ChangedPackItem, GetDifferenceAnswer, GetVersionAnswer, IgnoredKeySummary,
    ListVersionsAnswer, NotRunning, PackChanges, PackItem, PackProblem, PackVersion, TestCounts,
    UnevaluatedSummary, UploadPlan,
};
use prost::Message;
use serde::{Deserialize, Serialize};
use serde_json::json;

use super::super::layer_manager::{self, BuildRequest};
use super::super::pack::proof::Proof;
use super::super::pack::status::{self, DetectionStatus};
use super::super::pack::version::{self, Stored, Version};
use super::super::pack::{self, Pointer, TABLE};
use super::{AnalysisService, count, word};
use crate::api::{ApiError, CallContext};

/// How long an upload waits for its version to become live.
const BUILD_TIME: Duration = Duration::from_secs(100);

/// What is to become live.
#[derive(Default)]
pub(super) struct Upload {
    /// Keep what is live and not in the upload.
    pub(super) add: bool,
    /// Take only detections that pass every one of these, as `KEY=VALUE[,VALUE]`.
    pub(super) filters: Vec<String>,
    /// Roll back to this version, in place of the data.
    pub(super) version: Option<String>,
    /// Take it although it does not load or fails its tests.
    pub(super) force: bool,
    /// The number of the version that the plan was made against; refused if another one is live by now.
    pub(super) planned: Option<u64>,
    /// The zip of a pack.
    pub(super) data: Bytes,
}

/// What a retry of an upload goes on with.
#[derive(Serialize, Deserialize)]
struct Begun {
    /// The object that is to become live.
    object: String,
    /// The encoded answer, but for the number of the new version.
    plan: Vec<u8>,
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

    fn plan(&self) -> UploadPlan {
        let mut plan = counts(&self.stored.pack, &self.difference);
        plan.live = self.number();
        plan.changes = Some(changes(&self.difference));
        let states = status::counts(&self.statuses);
        plan.states = states
            .into_iter()
            .map(|(state, count)| (state.to_owned(), count))
            .collect();
        let not_running = self
            .statuses
            .iter()
            .filter(|(_, status)| status.is_unasked());
        plan.not_running = not_running
            .map(|(id, status)| NotRunning {
                id: id.clone(),
                state: status.as_str().to_owned(),
                reason: status.reason().map(str::to_owned),
            })
            .collect();
        let tests = &self.proof.summary;
        plan.tests = Some(TestCounts {
            detections: count(tests.detections),
            tests_passed: count(tests.tests_passed),
            tests_failed: count(tests.tests_failed),
            passed: count(tests.passed),
            failed: count(tests.failed),
        });
        let failure = |problem: &Problem| PackProblem {
            file: problem.file.clone(),
            key: problem.key.clone(),
            reason: problem.reason.clone(),
        };
        plan.failures = self.proof.failures.iter().map(failure).collect();
        plan
    }
}

fn changes(difference: &Difference) -> PackChanges {
    let item = |item: &Named| PackItem {
        kind: item.kind.clone(),
        id: item.id.clone(),
    };
    PackChanges {
        new: difference.new.iter().map(item).collect(),
        changed: difference
            .changed
            .iter()
            .map(|changed| ChangedPackItem {
                kind: changed.item.kind.clone(),
                id: changed.item.id.clone(),
                parts: changed.parts.clone(),
            })
            .collect(),
        deleted: difference.deleted.iter().map(item).collect(),
        unchanged: count(difference.unchanged),
    }
}

fn shown(version: &Version) -> PackVersion {
    PackVersion {
        number: version.number,
        version: version.version.clone(),
        object: version.object.clone(),
        time: version.time.clone(),
        user: version.user.clone(),
        action: version.action.clone(),
        detections: version.detections,
        new: version.new,
        changed: version.changed,
        deleted: version.deleted,
    }
}

fn refused(problems: &[Problem]) -> ApiError {
    ApiError::Invalid(json!({"problems": problems}).to_string())
}

impl AnalysisService {
    /// What an upload would change, and what of it fails. Changes nothing.
    pub(super) async fn upload_plan(&self, upload: &Upload) -> Result<UploadPlan, ApiError> {
        Ok(self.prepare(upload).await?.plan())
    }

    pub(super) async fn upload(
        &self,
        upload: Upload,
        context: &CallContext,
    ) -> Result<UploadPlan, ApiError> {
        if let Some(begun) = context.begun::<Begun>(&self.door).await? {
            // The pack of this upload may be live by now, so that a new plan would find no change.
            let plan = UploadPlan::decode(begun.plan.as_slice())?;
            return self.finish_upload(context, &begun.object, plan).await;
        }
        let prepared = self.prepare(&upload).await?;
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
        let mut plan = prepared.plan();
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
            plan.number = Some(plan.live);
            let transact = context.transact(self.door.now_ms(), Vec::new());
            return Ok(context.commit(&self.door, transact, plan).await?);
        }
        self.objects.put(&written.name, content).await?;
        let difference = &prepared.difference;
        let body = serde_json::to_vec(&BuildRequest {
            object: written.name.clone(),
            action: action(&upload),
            user: context.user.clone(),
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
        let now_ms = self.door.now_ms();
        let mut transact = context.transact(now_ms, vec![pending.done(), written.row(now_ms)]);
        transact
            .sends
            .push(change::to_queue(layer_manager::QUEUE, body));
        let begun = Begun {
            object: written.name.clone(),
            plan: plan.encode_to_vec(),
        };
        context.begin(&mut transact, &begun)?;
        self.door.transact(transact).await?;
        self.finish_upload(context, &written.name, plan).await
    }

    /// Waits until the version of an upload is live.
    async fn finish_upload(
        &self,
        context: &CallContext,
        object: &str,
        mut plan: UploadPlan,
    ) -> Result<UploadPlan, ApiError> {
        self.wait_live(object).await?;
        let live = self.live.pointer().await?;
        plan.number = Some(live.map_or(0, |live| live.number));
        context.keep(&self.door, &plan).await?;
        Ok(plan)
    }

    /// Reads, joins, compares and proves what is to become live.
    async fn prepare(&self, upload: &Upload) -> Result<Prepared, ApiError> {
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
            None => read(upload, &before.files).await?,
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
        let versions = version::all(&self.door.tables()).await?;
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
    pub(super) async fn versions(&self) -> Result<ListVersionsAnswer, ApiError> {
        let live = self.live.pointer().await?.map_or(0, |live| live.number);
        let mut versions = version::all(&self.door.tables()).await?;
        versions.reverse();
        Ok(ListVersionsAnswer {
            versions: versions.iter().map(shown).collect(),
            live,
            kept: count(version::KEPT),
        })
    }

    /// The files of a version.
    pub(super) async fn version(&self, name: Option<&str>) -> Result<GetVersionAnswer, ApiError> {
        let version = self.version_or_live(name).await?;
        let stored = self.live.read(&version.object).await?;
        Ok(GetVersionAnswer {
            version: Some(shown(&version)),
            files: stored.files.texts().clone(),
        })
    }

    /// What differs between two versions, by item; and the texts of files that differ.
    pub(super) async fn difference(
        &self,
        from: &str,
        to: Option<&str>,
    ) -> Result<GetDifferenceAnswer, ApiError> {
        let from = self.find_version(from).await?;
        let to = self.version_or_live(to).await?;
        let before = self.live.read(&from.object).await?;
        let after = self.live.read(&to.object).await?;
        let difference = Difference::between(&before.pack, &after.pack);
        let (old, new) = (before.files.texts(), after.files.texts());
        let mut paths: Vec<&String> = old.keys().chain(new.keys()).collect();
        paths.sort();
        paths.dedup();
        let files = paths
            .into_iter()
            .filter(|path| old.get(*path) != new.get(*path))
            .map(|path| ChangedFile {
                path: path.clone(),
                from: old.get(path).cloned(),
                to: new.get(path).cloned(),
            });
        Ok(GetDifferenceAnswer {
            from: Some(shown(&from)),
            to: Some(shown(&to)),
            changes: Some(changes(&difference)),
            files: files.collect(),
        })
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
async fn read(upload: &Upload, live: &Sources) -> Result<Stored, ApiError> {
    if upload.data.is_empty() {
        return Err(ApiError::Invalid(
            "an upload needs the zip of a pack as data, or a version to roll back to".to_owned(),
        ));
    }
    let filters: Result<Vec<Filter>, _> = upload.filters.iter().map(|text| text.parse()).collect();
    let filters = filters.map_err(|error| ApiError::Invalid(error.to_string()))?;
    let (zip, add, live) = (upload.data.clone(), upload.add, live.clone());
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
fn counts(pack: &Pack, difference: &Difference) -> UploadPlan {
    let kinds = ["rule", "policy", "scheduled rule"];
    let of = |kind: &str| kinds.contains(&kind);
    let new = difference.new.iter().filter(|item| of(&item.kind)).count();
    let changed = difference.changed.iter();
    let modified = changed.filter(|changed| of(&changed.item.kind)).count();
    let deleted = difference.deleted.iter();
    let deleted = deleted.filter(|item| of(&item.kind)).count();
    let unchanged = pack.detections.len().saturating_sub(new + modified);
    let of_kind = |kind| {
        let detections = pack.detections.iter();
        count(
            detections
                .filter(|detection| detection.kind == kind)
                .count(),
        )
    };
    let mut unevaluated: Vec<UnevaluatedSummary> = pack
        .unevaluated
        .iter()
        .map(|item| UnevaluatedSummary {
            id: item.id.clone(),
            kind: word(&item.kind),
            reason: item.reason.clone(),
        })
        .collect();
    unevaluated.extend(pack.detections.iter().filter_map(|detection| {
        Some(UnevaluatedSummary {
            id: detection.id.clone(),
            kind: word(&detection.kind),
            reason: detection.unevaluated.clone()?,
        })
    }));
    let ignored_keys = pack.ignored_keys.iter().map(|ignored| IgnoredKeySummary {
        file: ignored.file.clone(),
        key: ignored.key.clone(),
        reason: ignored.reason.clone(),
    });
    UploadPlan {
        version: pack.version.clone(),
        new: count(new),
        modified: count(modified),
        unchanged: count(unchanged),
        deleted: count(deleted),
        rules: of_kind(DetectionKind::Rule),
        policies: of_kind(DetectionKind::Policy),
        scheduled_rules: of_kind(DetectionKind::ScheduledRule),
        globals: count(pack.globals.len()),
        data_models: count(pack.data_models.len()),
        unevaluated,
        ignored_keys: ignored_keys.collect(),
        ..UploadPlan::default()
    }
}
