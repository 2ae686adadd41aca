//! `panther-layer-manager`: builds what the engines load. A version becomes live only once Python has loaded it here; until
//! then, and if any item of it does not load, the old version stays. Only an upload that was forced brings what does not load.

use std::sync::Arc;

use panther_cluster::door::change::{self, Change, RowExt};
use panther_proto::v1::Message;
use serde::{Deserialize, Serialize};

use panther_detections::pack::{Pack, Problem};

use super::objects::rfc3339;
use super::pack::version::{self, Version};
use super::pack::{self, LivePack, Loaded};
use crate::component::{Deps, Place};
use crate::supervision::Part;
use crate::api::ApiError;
use crate::worker::{Context, Failure, Handler, Plan};

/// The queue of versions to build.
pub const QUEUE: &str = "panther-layer-manager-queue";

/// What a message asks for.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct BuildRequest {
    /// The object that holds the version.
    pub object: String,
    /// Who uploaded it.
    #[serde(default)]
    pub user: String,
    /// How it came, for the history.
    #[serde(default)]
    pub action: String,
    /// It becomes live also if items of it do not load.
    #[serde(default)]
    pub force: bool,
    /// Items that are new, changed and deleted, against the version before.
    #[serde(default)]
    pub counts: (u64, u64, u64),
}

/// The handler.
pub struct LayerManager {
    /// The live pack of this node.
    pub live: LivePack,
}

/// A version that was loaded, or why not.
pub struct Built {
    request: BuildRequest,
    /// The pack's version.
    version: String,
    /// False if the version that is live was built again.
    is_new: bool,
    outcome: Result<Arc<Loaded>, Vec<Problem>>,
}

/// The function.
///
/// # Errors
/// None.
pub fn build(deps: &Deps, place: Place<'_>) -> Result<Part, ApiError> {
    let live = deps.live.clone();
    Ok(place.worker(deps, LayerManager { live }))
}

impl Handler for LayerManager {
    type Work = Option<Built>;

    /// The environment is made before an upload is looked at, and at the start rather than when the first one comes.
    async fn ready(&self) -> Result<(), Failure> {
        Ok(self.live.prepare().await?)
    }

    async fn work(&self, message: &Message, context: &Context) -> Result<Self::Work, Failure> {
        let rebuild = &message.body[..] == b"GLOBAL";
        let request = if rebuild {
            // The original's message: build again what is live, as it is.
            let Some(live) = self.live.pointer().await? else {
                return Ok(None);
            };
            BuildRequest {
                object: live.object,
                user: "GLOBAL".to_owned(),
                force: true,
                ..BuildRequest::default()
            }
        } else {
            serde_json::from_slice(&message.body).map_err(|error| {
                Failure::message(format!(
                    "the request is neither GLOBAL nor a version: {error}"
                ))
            })?
        };
        let pending = context
            .door
            .get(pack::TABLE, &change::key(pack::PENDING))
            .await?;
        let wanted = pending.as_ref().and_then(|row| row.text("object"));
        if wanted.is_some_and(|wanted| wanted != request.object) && !rebuild {
            return Ok(None); // a newer upload has taken its place
        }
        let content = self
            .live
            .read(&request.object)
            .await
            .map_err(|error| match error {
                pack::PackError::Damaged { .. }
                | pack::PackError::Objects(panther_cluster::objects::ObjectsError::NotFound(_)) => {
                    Failure::message(error.to_string())
                }
                other => other.into(),
            })?;
        let revision = self
            .live
            .pointer()
            .await?
            .map_or(1, |live| live.revision + 1);
        let pack = Arc::new(content.pack);
        let version = pack.version.clone();
        let outcome = match self.live.load(pack, revision).await {
            Ok(loaded) => {
                let problems = not_loaded(&loaded);
                if problems.is_empty() || request.force {
                    Ok(Arc::new(loaded))
                } else {
                    Err(problems)
                }
            }
            // No other try, and no other node, would load it.
            Err(error) => Err(vec![self.live.refusal(error).await?]),
        };
        Ok(Some(Built {
            version,
            request,
            is_new: !rebuild,
            outcome,
        }))
    }

    async fn plan(
        &self,
        work: &Self::Work,
        _message: &Message,
        context: &Context,
    ) -> Result<Plan, Failure> {
        let Some(built) = work else {
            return Ok(Plan::default());
        };
        let now = context.received_ms;
        let object = &built.request.object;
        let pending = Change::update(pack::TABLE, change::key(pack::PENDING))
            .set("version", &built.version)
            .set("object", object);
        let changes = match &built.outcome {
            Ok(loaded) => {
                let versions = version::all(&context.door).await?;
                let newest = versions.last().map_or(0, |version| version.number);
                let live = Change::update(pack::TABLE, change::key(pack::LIVE))
                    .set("version", &built.version)
                    .set("object", object)
                    .set("lastModified", now)
                    .set("lastModifiedBy", &built.request.user)
                    .set("detections", loaded.pack.detections.len() as u64)
                    .add("revision", 1);
                let mut changes = Vec::new();
                let live = if built.is_new {
                    let (new, changed, deleted) = built.request.counts;
                    let next = Version {
                        number: newest + 1,
                        version: built.version.clone(),
                        object: object.clone(),
                        time: rfc3339(now),
                        user: built.request.user.clone(),
                        action: built.request.action.clone(),
                        detections: loaded.pack.detections.len() as u64,
                        new,
                        changed,
                        deleted,
                    };
                    changes.push(next.row());
                    changes.extend(version::expired(&versions, &next));
                    live.set("number", next.number)
                } else {
                    live
                };
                // The engine that was proved here need not be started again.
                self.live.adopt(loaded.clone());
                changes.push(live.done());
                changes.push(pending.remove("error").set("state", "live").done());
                changes
            }
            Err(problems) => {
                let problems = serde_json::to_string(problems).unwrap_or_default();
                vec![
                    pending
                        .set("error", change::json(problems))
                        .set("state", "failed")
                        .done(),
                ]
            }
        };
        Ok(Plan {
            changes,
            sends: Vec::new(), ..Plan::default() })
    }
}

/// What of a pack did not load, at most as many problems as a row should hold.
fn not_loaded(loaded: &Loaded) -> Vec<Problem> {
    const MOST: usize = 100;
    let report = loaded.engine.load_report();
    let pack: &Pack = &loaded.pack;
    let problem = |file: &str, id: &str, error: &panther_detections::verdict::RuleError| Problem {
        file: file.to_owned(),
        key: Some(id.to_owned()),
        reason: format!("does not load: {}: {}", error.kind, error.message),
    };
    let globals = report.failed_globals.iter().map(|(id, error)| {
        let global = pack.globals.iter().find(|global| global.id == *id);
        problem(global.map_or("", |global| &global.file), id, error)
    });
    let models = report.failed_data_models.iter().map(|(id, error)| {
        let model = pack.data_models.iter().find(|model| model.id == *id);
        problem(model.map_or("", |model| &model.file), id, error)
    });
    let detections = report.detections.iter().filter_map(|item| {
        let detection = pack.detections.get(item.index)?;
        Some(problem(
            &detection.file,
            &detection.id,
            item.error.as_ref()?,
        ))
    });
    globals.chain(models).chain(detections).take(MOST).collect()
}
