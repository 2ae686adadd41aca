//! Everything that a node runs behind its doors, started and stopped together.

mod calls;
mod followers;
mod health;
mod loops;
mod metrics;
mod parts;
mod turns;

use std::collections::BTreeMap;
use std::path::{Path, PathBuf};
use std::sync::{Arc, OnceLock, Weak};
use std::time::{Duration, Instant};

use panther_cluster::door::{Door, DoorError};
use panther_cluster::membership::{Gate, Members, Own};
use panther_cluster::objects::Objects;
use panther_cluster::storage::room::Room;
use panther_detections::engine::EngineSettings;
use panther_proto::v1::{command, reply};
use tokio::runtime::Handle;
use tokio::sync::{broadcast, mpsc, watch};

use crate::alarms::Alarms;
use crate::api::ApiError;
use crate::callers::Callers;
use crate::catalogue::declarations;
use crate::component::Deps;
use crate::components::catalogue;
use crate::components::pack::LivePack;
use crate::components::rules_engine::trial;
use crate::egress::Egress;
use crate::ingest::{Intake, IntakeSettings};
use crate::life::Disturbance;
use crate::pause::Pause;
use crate::sealing::Sealer;
use crate::sealing_key::{self, KeyError};
use crate::supervision::{ComponentState, Policy, Supervisor};
use crate::views::Identity;

pub use calls::Caller;

/// As [`SystemSettings::loop_stall`] should be: longer than all calls of one look with their deadlines.
pub const LOOP_STALL: Duration = Duration::from_secs(180);

/// What a node gives its system.
#[derive(Clone)]
pub struct SystemSettings {
    /// The daemon's version.
    pub version: String,
    /// The node's name.
    pub node_name: String,
    /// Where the node keeps its data.
    pub data_dir: PathBuf,
    /// The door to queues and tables.
    pub door: Door,
    /// The object store.
    pub objects: Objects,
    /// How Python runs.
    pub engine: EngineSettings,
    /// How packs are tried in the background.
    pub trial: trial::Settings,
    /// The key that seals secrets.
    pub sealing_key: [u8; 32],
    /// This key takes the place of the one that the cluster's secrets were sealed with.
    pub replaces_sealing_key: bool,
    /// Bounds of what senders of logs may do.
    pub intake: IntakeSettings,
    /// Run when an alarm changes, with the alarm as JSON on its standard input.
    pub alarm_command: Option<Vec<String>>,
    /// The node was restored for a drill: it does nothing outside until an operator resumes.
    pub paused: bool,
    /// What the node is to the others, and what it gives to one that joins.
    pub own: Arc<Own>,
    /// Where machines ask to be taken in; opened once the node is of its cluster.
    pub gate: Arc<Gate>,
    /// The longest time in which a background loop may report no progress; one that is silent for longer is ended and started again.
    pub loop_stall: Duration,
    /// Callers that this node's listeners turn away.
    pub callers: Callers,
    /// Under what address sources are told to post, for instance `http://127.0.0.1:8686`.
    pub ingest_url: String,
    /// What the address of an alert's page begins with; `None`: notifications hold no link.
    pub alert_link: Option<String>,
    /// Where alerts may go.
    pub egress: Egress,
}

impl SystemSettings {
    /// The folders in which this node keeps what is its own.
    pub(crate) fn own_folders(&self) -> Vec<PathBuf> {
        std::iter::once(self.data_dir.clone())
            .chain(self.objects.folder().map(Path::to_owned))
            .collect()
    }
}

/// A running system; clones share it.
#[derive(Clone)]
pub struct System {
    inner: Arc<Inner>,
}

/// The system, once it is there: loops are started before it is.
type Late = Arc<OnceLock<Weak<Inner>>>;

struct Inner {
    settings: SystemSettings,
    deps: Deps,
    supervisor: Supervisor,
    alarms: Alarms,
    members: Members,
    live: LivePack,
    intake: Intake,
    pause: Pause,
    disk: Room,
    identity: Identity,
    turns: turns::Turns,
    followed: broadcast::Sender<String>,
    alerts: broadcast::Sender<String>,
    stop: watch::Sender<bool>,
}

/// Why the components do not start.
#[derive(Debug, thiserror::Error)]
pub enum StartError {
    /// The node's sealing key is not the cluster's.
    #[error(transparent)]
    SealingKey(#[from] KeyError),
    /// One of them, or what they need, fails.
    #[error(transparent)]
    Components(#[from] ApiError),
}

impl From<DoorError> for StartError {
    fn from(error: DoorError) -> Self {
        Self::Components(error.into())
    }
}

impl System {
    /// Declares the catalogue's queues and tables and starts every component that is built.
    ///
    /// # Errors
    /// What keeps it from starting.
    pub async fn start(settings: SystemSettings) -> Result<Self, StartError> {
        let door = settings.door.clone();
        let declared = declarations(catalogue(), env!("CARGO_PKG_VERSION"));
        match door.execute(command::Kind::Declare(declared)).await? {
            reply::Kind::Done(done) if done.kept.is_empty() => {}
            reply::Kind::Done(done) => tracing::warn!(
                kept = done.kept.join(", "),
                "these tables and queues keep their old indexes, expiry or order of turns, because they are not empty; the next start tries again"
            ),
            // A newer node has declared more; what this one needs is among it.
            reply::Kind::Refused(refused) => tracing::warn!(
                reason = refused.reason,
                "this build's declarations are not in force"
            ),
            other => {
                return Err(StartError::Components(ApiError::Internal(format!(
                    "the declarations were answered by {other:?}"
                ))));
            }
        }
        sealing_key::check(&door, &settings.sealing_key, settings.replaces_sealing_key).await?;
        let members = Members::start(door.clone(), settings.own.clone(), &settings.gate)
            .await
            .map_err(|error| ApiError::Unavailable(error.to_string()))?;
        let (stop, _) = watch::channel(false);
        let (pause, pausing) = Pause::read(&door, settings.paused).await?;
        let (followed, _) = broadcast::channel(256);
        let (alerts, _) = broadcast::channel(256);
        let alarms = Alarms::new(
            door.clone(),
            settings.alarm_command.clone(),
            pause.clone(),
            followed.clone(),
        );
        let live = LivePack::new(
            door.clone(),
            settings.objects.clone(),
            settings.engine.clone(),
        );
        let disk = Room::of(settings.own_folders());
        let deps = Deps {
            door: door.clone(),
            objects: settings.objects.clone(),
            sealer: Sealer::new(&settings.sealing_key),
            live: live.clone(),
            alarms: alarms.clone(),
            disk: disk.clone(),
            pause: pause.clone(),
            own_folders: settings.own_folders(),
            ingest_url: settings.ingest_url.clone(),
            alert_link: settings.alert_link.clone(),
            egress: settings.egress.clone(),
        };
        let intake = Intake::new(
            door.clone(),
            settings.objects.clone(),
            disk.clone(),
            settings.callers.clone(),
            settings.intake,
        );
        let late: Late = Arc::default();
        let mut parts = parts::all(&deps)?;
        parts.extend(loops::all(&deps, &settings, &late, &intake, pausing));
        let supervisor =
            Supervisor::start(parts, Policy::default(), &Handle::current()).map_err(|error| {
                ApiError::Internal(format!("the actors cannot be started: {error}"))
            })?;
        let identity = Identity {
            version: settings.version.clone(),
            name: settings.node_name.clone(),
            data_dir: settings.data_dir.clone(),
            started: Instant::now(),
        };
        let inner = Arc::new(Inner {
            settings,
            deps,
            supervisor,
            alarms,
            members,
            live,
            intake,
            pause: pause.clone(),
            disk: disk.clone(),
            identity,
            turns: turns::Turns::default(),
            followed,
            alerts,
            stop,
        });
        // The loops find the system by this; before, there is nothing for them to look at.
        let _ = late.set(Arc::downgrade(&inner));
        Ok(Self { inner })
    }

    /// What the functions of this node are made of.
    #[must_use]
    pub fn deps(&self) -> &Deps {
        &self.inner.deps
    }

    /// Where the doors take logs.
    #[must_use]
    pub fn intake(&self) -> &Intake {
        &self.inner.intake
    }

    /// Lines of JSON for what happens from now on: `alerts` or `alarms`.
    ///
    /// # Errors
    /// There is nothing of that name to follow.
    pub fn tail(&self, what: &str) -> Result<mpsc::Receiver<String>, ApiError> {
        let mut from = match what {
            "alerts" => self.inner.alerts.subscribe(),
            "alarms" => self.inner.followed.subscribe(),
            other => {
                return Err(ApiError::Invalid(format!(
                    "{other} cannot be followed; alerts and alarms can"
                )));
            }
        };
        let (to, receiver) = mpsc::channel(64);
        let mut stopped = self.inner.stop.subscribe();
        tokio::spawn(async move {
            loop {
                let line = tokio::select! {
                    line = from.recv() => line,
                    () = to.closed() => return,
                    _ = stopped.changed() => return,
                };
                let line = match line {
                    Ok(line) => line,
                    Err(broadcast::error::RecvError::Lagged(missed)) => {
                        serde_json::json!({"missed": missed}).to_string()
                    }
                    Err(broadcast::error::RecvError::Closed) => return,
                };
                if to.send(line).await.is_err() {
                    return;
                }
            }
        });
        Ok(receiver)
    }

    /// Returns once the actors' thread has answered.
    ///
    /// # Errors
    /// It has ended.
    pub async fn goes_round(&self) -> Result<(), ApiError> {
        self.inner.supervisor.goes_round().await
    }

    /// What each component and each background loop is doing, by `name/kind` and `name/loop`.
    #[must_use]
    pub fn states(&self) -> BTreeMap<String, ComponentState> {
        self.inner.supervisor.states()
    }

    /// Causes a fault in a component's loop or a background loop, for drills and tests.
    ///
    /// # Errors
    /// No loop of this identity runs on this node.
    pub fn disturb(&self, identity: &str, disturbance: Disturbance) -> Result<(), ApiError> {
        self.inner.supervisor.disturb(identity, disturbance)
    }

    /// Metrics in Prometheus' text form.
    pub async fn metrics(&self) -> String {
        let Inner {
            settings,
            supervisor,
            ..
        } = &*self.inner;
        metrics::text(&settings.door, supervisor, &settings.callers).await
    }

    /// Stops receiving, lets what is being handled end within `drain`, and ends all components.
    pub async fn stop(&self, drain: Duration) {
        self.inner.stop.send_replace(true);
        self.inner.intake.drain().await;
        self.inner.supervisor.stop(drain).await;
        self.inner.live.stop().await;
    }
}
