//! The pack of detections that is live, and the engine on this node that runs it.
//!
//! One row points to the live version; its content is an object. What operators or the engine decide about a detection
//! (suspended, off, left to Python) is a row of its own, and counts at once: the engine is started anew with it in mind.

pub mod proof;
pub mod status;
pub mod version;
pub mod watch;

use std::collections::BTreeMap;
use std::sync::Arc;

use panther_cluster::door::change::{self, Change, RowExt};
use panther_cluster::door::{Door, DoorError};
use panther_cluster::objects::{Objects, ObjectsError};
use panther_cluster::state::read::{self, Query};
use panther_cluster::storage::StateStore;
use panther_detections::engine::{Engine, EngineFault, EngineSettings};
use panther_detections::pack::{Pack, Problem};
use panther_proto::v1::{Row, RowChange, Transact};
use serde::{Deserialize, Serialize};

use super::log_types::LogTypeRegistry;
use super::sources::SourceRegistry;
use crate::worker::Failure;
use proof::Proof;
use status::Circumstances;
use version::Stored;

/// The table of detections.
pub const TABLE: &str = "panther-analysis";
/// The row that points to the live version.
pub const LIVE: &str = "@live";
/// The row that tells of the version that is being built.
pub const PENDING: &str = "@pending";

/// Whether a detection runs.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum DetectionState {
    /// It runs if its pack enables it.
    Live,
    /// It was stopped because it kept failing.
    Suspended,
    /// An operator stopped it.
    Off,
    /// It runs, evaluated by Python alone, because Rust said something else of an event.
    Python,
}

impl DetectionState {
    /// As rows hold it.
    #[must_use]
    pub const fn as_str(self) -> &'static str {
        match self {
            Self::Live => "live",
            Self::Suspended => "suspended",
            Self::Off => "off",
            Self::Python => "python",
        }
    }

    fn of(text: &str) -> Self {
        match text {
            "suspended" => Self::Suspended,
            "off" => Self::Off,
            "python" => Self::Python,
            _ => Self::Live,
        }
    }
}

/// What was decided about one detection.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Decided {
    /// Whether it runs.
    pub state: DetectionState,
    /// Why.
    pub reason: String,
    /// The detection's version that this was decided of; a newer one runs again after a suspension.
    pub version: String,
}

/// A pack and the engine that runs it.
pub struct Loaded {
    /// The pack as it was uploaded.
    pub pack: Arc<Pack>,
    /// Its engine, without what is suspended or off.
    pub engine: Engine,
    /// What was decided, by detection.
    pub decided: BTreeMap<String, Decided>,
    revision: i64,
}

/// Why there is no engine.
#[derive(Debug, thiserror::Error)]
pub enum PackError {
    /// There is no leader.
    #[error(transparent)]
    Door(#[from] DoorError),
    /// The pack's object cannot be read.
    #[error(transparent)]
    Objects(#[from] ObjectsError),
    /// The pack's object is damaged.
    #[error("the pack's object {object} is damaged: {reason}; upload the pack again")]
    Damaged {
        /// The object.
        object: String,
        /// What is wrong.
        reason: String,
    },
    /// Python does not run.
    #[error(transparent)]
    Engine(#[from] EngineFault),
}

impl From<PackError> for Failure {
    fn from(error: PackError) -> Self {
        // Whatever it is, it says nothing of the message that waits for the engine.
        Self::Node(error.to_string())
    }
}

/// The live pack on this node; clones share it.
#[derive(Clone)]
pub struct LivePack {
    door: Door,
    objects: Objects,
    settings: EngineSettings,
    sources: SourceRegistry,
    loaded: Arc<parking_lot::Mutex<Option<Arc<Loaded>>>>,
    /// Held by the one that starts an engine. Apart from `loaded`, so that nobody who only looks waits the seconds that it takes.
    loading: Arc<tokio::sync::Mutex<()>>,
    /// The pack that was proved last, by its version: what is planned is uploaded next.
    proved: Arc<parking_lot::Mutex<Option<(String, Proof)>>>,
    /// How many detections had each status at the last look.
    counted: Arc<parking_lot::Mutex<BTreeMap<&'static str, u64>>>,
    /// What this node's kernel does not keep rules from, once that is known.
    unenforced: Arc<tokio::sync::OnceCell<Vec<String>>>,
}

/// The version that is live.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Pointer {
    /// The pack's version.
    pub version: String,
    /// The object that holds it.
    pub object: String,
    /// Grows with every pack and every decision, so that nodes see that theirs are old.
    pub revision: i64,
    /// Number of the version.
    pub number: u64,
}

impl Pointer {
    fn of(row: &Row) -> Option<Self> {
        let number = row
            .int("number")
            .and_then(|number| u64::try_from(number).ok());
        Some(Self {
            version: row.text("version")?.to_owned(),
            object: row.text("object")?.to_owned(),
            revision: row.int("revision").unwrap_or(0),
            number: number.unwrap_or(0),
        })
    }
}

impl LivePack {
    /// With these engine settings; nothing is loaded yet.
    #[must_use]
    pub fn new(
        door: Door,
        objects: Objects,
        settings: EngineSettings,
        sources: SourceRegistry,
    ) -> Self {
        Self {
            door,
            objects,
            settings,
            sources,
            loaded: Arc::default(),
            loading: Arc::default(),
            proved: Arc::default(),
            counted: Arc::default(),
            unenforced: Arc::default(),
        }
    }

    /// Makes what an engine needs on this node before it starts: the virtual environment with the packages of the settings.
    ///
    /// # Errors
    /// Python does not run, or the packages cannot be had.
    pub async fn prepare(&self) -> Result<(), PackError> {
        Engine::prepare(&self.settings).await?;
        // A node without Python learns of that when there is something to build.
        if let Err(fault) = self.unenforced.get_or_try_init(|| self.look()).await {
            tracing::debug!(%fault, "it is not known yet what this node does not enforce");
        }
        Ok(())
    }

    /// Starts a Python that loads nothing, to learn what this node's kernel does not keep rules from.
    async fn look(&self) -> Result<Vec<String>, EngineFault> {
        let engine = Engine::start(self.settings.clone(), &Pack::default()).await?;
        let unenforced = engine.load_report().unenforced.clone();
        engine.stop().await;
        for sentence in &unenforced {
            tracing::warn!("not enforced on this node: {sentence}");
        }
        Ok(unenforced)
    }

    /// What this node's kernel does not keep rules from, a sentence each; `None` until Python has been started once.
    #[must_use]
    pub fn unenforced(&self) -> Option<&[String]> {
        self.unenforced.get().map(Vec::as_slice)
    }

    /// Reads a version from its object.
    ///
    /// # Errors
    /// As [`PackError`] says.
    pub async fn read(&self, object: &str) -> Result<Stored, PackError> {
        let content = self.objects.get(object).await?;
        let parsed = tokio::task::spawn_blocking(move || Stored::decode(&content))
            .await
            .unwrap_or_else(|error| Err(error.to_string()));
        let object = object.to_owned();
        parsed.map_err(|reason| PackError::Damaged { object, reason })
    }

    /// Loads all of a pack and runs its unit tests, as it would run here.
    ///
    /// # Errors
    /// Python does not run.
    pub async fn prove(&self, pack: &Pack) -> Result<Proof, PackError> {
        if let Some((version, proof)) = &*self.proved.lock()
            && *version == pack.version
        {
            return Ok(proof.clone());
        }
        let proof = proof::prove(pack, &self.settings).await?;
        // What failed is proved again: the cause may have been this moment's load.
        if proof.failures.is_empty() {
            *self.proved.lock() = Some((pack.version.clone(), proof.clone()));
        }
        Ok(proof)
    }

    /// What is wrong with a pack for which no engine could be started, if it is the pack that is at fault.
    ///
    /// # Errors
    /// The error, if it is the node's.
    pub async fn refusal(&self, error: PackError) -> Result<Problem, PackError> {
        match error {
            PackError::Engine(fault) => Ok(proof::refusal(fault, &self.settings).await?),
            other => Err(other),
        }
    }

    /// What is live, if a pack ever was.
    ///
    /// # Errors
    /// There is no leader.
    pub async fn pointer(&self) -> Result<Option<Pointer>, DoorError> {
        let row = self.door.get(TABLE, &change::key(LIVE)).await?;
        Ok(row.as_ref().and_then(Pointer::of))
    }

    /// The same as far as this node knows.
    ///
    /// # Errors
    /// The state cannot be read.
    pub async fn pointer_here(&self) -> std::io::Result<Option<Pointer>> {
        let read = |store: &StateStore| match read::row(store, TABLE, &change::key(LIVE)) {
            // Before the table is declared there is no pack.
            Err(error) if error.kind() == std::io::ErrorKind::NotFound => Ok(None),
            row => row,
        };
        let row = self.door.local().read(read).await?;
        Ok(row.as_ref().and_then(Pointer::of))
    }

    /// What was decided about detections.
    ///
    /// # Errors
    /// There is no leader.
    pub async fn decided(&self) -> Result<BTreeMap<String, Decided>, DoorError> {
        let mut rows = Vec::new();
        // All keys except those that begin with `@`: the pointer, the upload and the versions.
        for (from, to) in [("", "@"), ("A", "")] {
            let query = Query {
                table: TABLE.to_owned(),
                hash_from: from.to_owned(),
                hash_to: to.to_owned(),
                ..Query::default()
            };
            rows.extend(self.door.query_all(query).await?);
        }
        let decided = rows.into_iter().filter_map(|(key, row)| {
            let state = DetectionState::of(row.text("state")?);
            Some((
                key.hash,
                Decided {
                    state,
                    reason: row.text("stateReason").unwrap_or_default().to_owned(),
                    version: row.text("stateVersion").unwrap_or_default().to_owned(),
                },
            ))
        });
        Ok(decided.collect())
    }

    /// What the statuses of detections depend on, as of now. What did not load is known of the pack that runs here.
    ///
    /// # Errors
    /// There is no leader.
    pub async fn circumstances(
        &self,
        log_types: &LogTypeRegistry,
    ) -> Result<Circumstances, DoorError> {
        let known = log_types.current().await?;
        let sources = self.sources.current().await?;
        let load_errors = self.running().map(|running| {
            let report = running.engine.load_report();
            let failed = report.detections.iter().filter_map(|loaded| {
                let detection = running.pack.detections.get(loaded.index)?;
                let error = loaded.error.as_ref()?;
                Some((
                    detection.id.clone(),
                    format!("{}: {}", error.kind, error.message),
                ))
            });
            failed.collect()
        });
        Ok(Circumstances {
            log_types: known.names().map(ToString::to_string).collect(),
            sent: sources
                .all()
                .iter()
                .flat_map(|source| source.log_types.iter().cloned())
                .collect(),
            decided: self.decided().await?,
            load_errors: load_errors.unwrap_or_default(),
        })
    }

    /// Keeps how many detections have each status.
    pub fn count(&self, counts: BTreeMap<&'static str, u64>) {
        *self.counted.lock() = counts;
    }

    /// How many detections had each status at the last look; empty before the first.
    #[must_use]
    pub fn counted(&self) -> BTreeMap<&'static str, u64> {
        self.counted.lock().clone()
    }

    /// The live pack with its engine, started anew if the pack or a decision has changed. `None` before the first upload.
    ///
    /// # Errors
    /// As [`PackError`] says.
    pub async fn current(&self) -> Result<Option<Arc<Loaded>>, PackError> {
        let Some(Pointer {
            version,
            object,
            revision,
            ..
        }) = self.pointer().await?
        else {
            return Ok(None);
        };
        let fits = |loaded: &Loaded| loaded.pack.version == version && loaded.revision == revision;
        if let Some(current) = self.running().filter(|current| fits(current)) {
            return Ok(Some(current));
        }
        // One starts the engine, the others wait for it.
        let _one_at_a_time = self.loading.lock().await;
        let running = self.running();
        if let Some(current) = running.as_ref().filter(|current| fits(current)) {
            return Ok(Some(current.clone()));
        }
        let pack = match &running {
            Some(current) if current.pack.version == version => current.pack.clone(),
            _ => Arc::new(self.read(&object).await?.pack),
        };
        let fresh = Arc::new(self.load(pack, revision).await?);
        self.adopt(fresh.clone());
        Ok(Some(fresh))
    }

    /// Starts an engine for a pack, without what is suspended or off.
    ///
    /// # Errors
    /// Python does not run, or there is no leader.
    pub async fn load(&self, pack: Arc<Pack>, revision: i64) -> Result<Loaded, PackError> {
        let decided = self.decided().await?;
        let mut effective = Pack::clone(&pack);
        let mut settings = self.settings.clone();
        for detection in &mut effective.detections {
            if let Some(decision) = decided.get(&detection.id) {
                let same = decision.version == detection.version;
                if decision.state == DetectionState::Python && same {
                    settings.python_only.insert(detection.id.clone());
                }
                let stays = match decision.state {
                    DetectionState::Live | DetectionState::Python => true,
                    DetectionState::Off => false,
                    DetectionState::Suspended => !same,
                };
                detection.enabled &= stays;
            }
        }
        let started = std::time::Instant::now();
        let engine = Engine::start(settings, &effective).await?;
        tracing::info!(
            version = pack.version,
            detections = pack.detections.len(),
            python = engine.load_report().python,
            took_ms = started.elapsed().as_millis(),
            "detections loaded"
        );
        Ok(Loaded {
            pack,
            engine,
            decided,
            revision,
        })
    }

    /// The engine that is running now, if one is.
    #[must_use]
    pub fn running(&self) -> Option<Arc<Loaded>> {
        self.loaded.lock().clone()
    }

    /// Takes over an engine that was started for a version that has just become live.
    pub fn adopt(&self, loaded: Arc<Loaded>) {
        *self.loaded.lock() = Some(loaded);
    }

    /// Changes whether a detection runs, as part of `request`.
    ///
    /// # Errors
    /// There is no leader.
    pub async fn decide(
        &self,
        id: &str,
        version: &str,
        state: DetectionState,
        reason: &str,
        mut request: Transact,
    ) -> Result<(), DoorError> {
        request.changes.extend(decision(id, version, state, reason));
        self.door.transact(request).await?;
        Ok(())
    }

    /// Ends the engine.
    pub async fn stop(&self) {
        let loaded = self.loaded.lock().take();
        if let Some(loaded) = loaded {
            loaded.engine.stop().await;
        }
    }
}

/// The changes that decide about a detection: its row, and the revision that makes every node look.
#[must_use]
pub fn decision(id: &str, version: &str, state: DetectionState, reason: &str) -> Vec<RowChange> {
    vec![
        Change::update(TABLE, change::key(id))
            .set("state", state.as_str())
            .set("stateReason", reason)
            .set("stateVersion", version)
            .done(),
        Change::update(TABLE, change::key(LIVE))
            .if_row_present()
            .add("revision", 1)
            .done(),
    ]
}
