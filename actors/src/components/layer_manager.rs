//! `panther-layer-manager`: builds what the engines load. A version becomes live only once Python has loaded it here; until
//! then, and if it does not load, the old version stays.

use std::sync::Arc;

use panther_cluster::door::change::{self, Change, RowExt};
use panther_proto::v1::Message;
use serde::{Deserialize, Serialize};

use super::pack::{self, LivePack, Loaded};
use crate::worker::{Context, Failure, Handler, Plan};

/// The queue of versions to build.
pub const QUEUE: &str = "panther-layer-manager-queue";

/// What a message asks for.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct BuildRequest {
    /// The pack's version.
    pub version: String,
    /// Who uploaded it.
    #[serde(default)]
    pub user: String,
}

/// The handler.
pub struct LayerManager {
    /// The live pack of this node.
    pub live: LivePack,
}

/// A version that was loaded, or why not.
pub struct Built {
    version: String,
    user: String,
    outcome: Result<Arc<Loaded>, String>,
}

impl Handler for LayerManager {
    type Work = Option<Built>;

    /// The environment is made before an upload is looked at, and at the start rather than when the first one comes.
    async fn ready(&self) -> Result<(), Failure> {
        Ok(self.live.prepare().await?)
    }

    async fn work(&self, message: &Message, context: &Context) -> Result<Self::Work, Failure> {
        let request: BuildRequest = if &message.body[..] == b"GLOBAL" {
            // The original's message: build again what is live.
            let Some((version, _)) = self.live.pointer().await? else {
                return Ok(None);
            };
            BuildRequest {
                version,
                user: "GLOBAL".to_owned(),
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
        let wanted = pending.as_ref().and_then(|row| row.text("version"));
        if wanted.is_some_and(|wanted| wanted != request.version) && &message.body[..] != b"GLOBAL"
        {
            return Ok(None); // a newer upload has taken its place
        }
        let content = self
            .live
            .read(&request.version)
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
            .map_or(1, |(_, revision)| revision + 1);
        let outcome = match self.live.load(Arc::new(content), revision).await {
            Ok(loaded) => {
                let report = loaded.engine.load_report();
                match report.failed_globals.first() {
                    // A broken helper breaks every detection that imports it: that is a bad upload, not a bad rule.
                    Some((id, error)) => {
                        Err(format!("global {id} does not load: {}", error.message))
                    }
                    None => Ok(Arc::new(loaded)),
                }
            }
            Err(error) => return Err(error.into()),
        };
        Ok(Some(Built {
            version: request.version,
            user: request.user,
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
        let pending =
            Change::update(pack::TABLE, change::key(pack::PENDING)).set("version", &built.version);
        let changes = match &built.outcome {
            Ok(loaded) => {
                let live = Change::update(pack::TABLE, change::key(pack::LIVE))
                    .set("version", &built.version)
                    .set("object", pack::object_name(&built.version))
                    .set("lastModified", now)
                    .set("lastModifiedBy", &built.user)
                    .set("detections", loaded.pack.detections.len() as u64)
                    .add("revision", 1);
                // The engine that was proved here need not be started again.
                self.live.adopt(loaded.clone());
                vec![
                    live.done(),
                    pending.remove("error").set("state", "live").done(),
                ]
            }
            Err(reason) => vec![pending.set("error", reason).set("state", "failed").done()],
        };
        Ok(Plan {
            changes,
            sends: Vec::new(),
        })
    }
}
