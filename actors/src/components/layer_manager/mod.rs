//! `panther-layer-manager`: builds what the engines load. A version becomes live only once Python has loaded it here; until
//! then, and if any item of it does not load, the old version stays. Only an upload that was forced brings what does not load.

use std::sync::Arc;

use panther_cluster::door::change::{self, Change, RowExt};
use panther_proto::v1::{Message, RowChange, Transact};
use serde::{Deserialize, Serialize};

use panther_detections::pack::{Pack, Problem};

use super::pack::version::{self, Version};
use super::pack::{self, LivePack, Loaded};
use crate::api::ApiError;
use crate::component::{Deps, Place};
use crate::dates::rfc3339;
use crate::supervision::Part;
use crate::worker::{Context, Failure, Handler, Plan, PlanContext};

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
    Ok(place.worker(deps, LayerManager::new(deps)))
}

impl LayerManager {
    /// The handler of a node.
    #[must_use]
    pub fn new(deps: &Deps) -> Self {
        Self {
            live: deps.live.clone(),
        }
    }
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
        work: &Self::Work,
        _message: &Message,
        context: &PlanContext,
    ) -> Result<Plan, Failure> {
        let Some(built) = work else {
            return Ok(Plan::default());
        };
        let pending = read(context, pack::PENDING, "object").await?;
        let live = read(context, pack::LIVE, "object").await?;
        let is_superseded = if built.is_new {
            pending
                .as_ref()
                .is_some_and(|pending| *pending != built.request.object)
        } else {
            live.as_ref() != Some(&built.request.object)
        };
        if is_superseded {
            return Ok(Plan::default());
        }
        let mut changes = match &built.outcome {
            Ok(loaded) => {
                let versions = version::all(&context.tables).await?;
                built.live(loaded, &versions, live.as_deref(), context.received_ms)
            }
            Err(_) => Vec::new(),
        };
        changes.extend(built.pending(pending.as_deref()));
        Ok(Plan {
            changes,
            ..Plan::default()
        })
    }

    /// The engine that `work` has started need not be started again. If this is skipped, the engine is started when the
    /// live version is needed next.
    fn committed(&self, work: Self::Work, command: &Transact) {
        if let Some(Built {
            outcome: Ok(loaded),
            ..
        }) = work
            && !command.changes.is_empty()
        {
            self.live.adopt(loaded);
        }
    }
}

/// A text of a row of the table of detections.
async fn read(context: &PlanContext, key: &str, name: &str) -> Result<Option<String>, Failure> {
    let row = context.tables.get(pack::TABLE, &change::key(key)).await?;
    Ok(row.and_then(|row| row.text(name).map(str::to_owned)))
}

/// A change of a row on the condition that its object is the one that was read.
fn unchanged(change: Change, object: Option<&str>) -> Change {
    match object {
        Some(object) => change.if_equals("object", object),
        None => change.if_absent("object"),
    }
}

impl Built {
    /// The changes that make this version live. `before` is the object that was live.
    fn live(
        &self,
        loaded: &Loaded,
        versions: &[Version],
        before: Option<&str>,
        now_ms: u64,
    ) -> Vec<RowChange> {
        let request = &self.request;
        let detections = loaded.pack.detections.len() as u64;
        let live = Change::update(pack::TABLE, change::key(pack::LIVE))
            .set("version", &self.version)
            .set("object", &request.object)
            .set("lastModified", now_ms)
            .set("lastModifiedBy", &request.user)
            .set("detections", detections)
            .add("revision", 1);
        let live = unchanged(live, before);
        if !self.is_new {
            return vec![live.done()];
        }
        let (new, changed, deleted) = request.counts;
        let next = Version {
            number: versions.last().map_or(0, |version| version.number) + 1,
            version: self.version.clone(),
            object: request.object.clone(),
            time: rfc3339(now_ms),
            user: request.user.clone(),
            action: request.action.clone(),
            detections,
            new,
            changed,
            deleted,
        };
        let mut changes = vec![next.row()];
        changes.extend(version::expired(versions, &next));
        changes.push(live.set("number", next.number).done());
        changes
    }

    /// The change that tells the uploader about the outcome. `before` is the object of the upload in progress. Another
    /// upload than the one that was built stays as it is.
    fn pending(&self, before: Option<&str>) -> Option<RowChange> {
        let object = &self.request.object;
        if before.is_some_and(|before| before != object) {
            return None;
        }
        let pending = Change::update(pack::TABLE, change::key(pack::PENDING))
            .set("version", &self.version)
            .set("object", object);
        let pending = match &self.outcome {
            Ok(_) => pending.remove("error").set("state", "live"),
            Err(problems) => {
                let problems = serde_json::to_string(problems).unwrap_or_default();
                pending
                    .set("error", change::json(problems))
                    .set("state", "failed")
            }
        };
        Some(unchanged(pending, before).done())
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
