//! What a component of the run book is to the program: the file that describes it, and the code that runs it.
//!
//! A folder under `components/` holds both. `component.toml` describes a function with its queue, dead letter queue, tables and topics; `build` in its
//! `mod.rs` makes the function's [`Part`]. One line in `components/mod.rs` makes the component exist.

use std::path::PathBuf;
use std::sync::Arc;
use std::time::Duration;

use futures::FutureExt;
use panther_cluster::door::Door;
use panther_cluster::objects::Objects;
use panther_cluster::storage::room::Room;

use crate::alarms::Alarms;
use crate::api::{Api, ApiError};
use crate::catalogue::{Catalogue, Component, WorkAttributes};
use crate::destinations::Sender;
use crate::egress::Egress;
use crate::pause::Pause;
use crate::sealing::Sealer;
use crate::supervision::{Part, RunFn};
use crate::worker::{Handler, Worker, WorkerSettings, WorkerStatus};

/// A component as the list in `components/mod.rs` names it.
#[derive(Debug, Clone, Copy)]
pub struct Registration {
    /// Where its file lies, below `components/`.
    pub file: &'static str,
    /// The text of its file.
    pub text: &'static str,
    /// Makes its function's part; `None` if it has no function, or the function is not built.
    pub build: Option<Build>,
}

/// Makes the part of a function.
///
/// # Errors
/// What the function needs cannot be set up; the error names it.
pub type Build = fn(&Deps, Place<'_>) -> Result<Part, ApiError>;

/// How much longer than a message's deadline a function's loop may report no progress: for so long it can wait for a place.
const STALL: Duration = Duration::from_secs(60);

/// What functions are made of; clones share it.
#[derive(Clone)]
pub struct Deps {
    /// To queues and tables.
    pub door: Door,
    /// The object store.
    pub objects: Objects,
    /// Seals secrets.
    pub sealer: Sealer,
    /// The live pack and its engine.
    pub live: crate::components::pack::LivePack,
    /// Finds log sources.
    pub sources: crate::components::sources::SourceRegistry,
    /// Raises and clears alarms.
    pub alarms: Alarms,
    /// The room on the disks of this node.
    pub disk: Room,
    /// Whether the cluster is paused.
    pub pause: Pause,
    /// Folders that are the node's own: nothing is delivered into them, and nothing in them is read as logs.
    pub own_folders: Vec<PathBuf>,
    /// Under what address sources are told to post.
    pub ingest_url: String,
    /// What the address of an alert's page begins with; `None`: notifications hold no link.
    pub alert_link: Option<String>,
    /// Where alerts may go.
    pub egress: Egress,
}

impl Deps {
    /// What sends alerts to destinations.
    ///
    /// # Errors
    /// The TLS set-up of the machine cannot be used.
    pub(crate) fn sender(&self) -> Result<Sender, ApiError> {
        let (link, egress) = (self.alert_link.clone(), self.egress.clone());
        Sender::new(link, egress, &self.own_folders).map_err(|error| {
            ApiError::Internal(format!(
                "the HTTP client for destinations cannot be set up: {error}"
            ))
        })
    }
}

/// Where a function is run: its attributes and its counters.
pub struct Place<'a> {
    component: &'a Component,
    catalogue: &'a Catalogue,
    status: Arc<WorkerStatus>,
}

impl<'a> Place<'a> {
    /// For a component of the catalogue.
    #[must_use]
    pub fn new(
        component: &'a Component,
        catalogue: &'a Catalogue,
        status: Arc<WorkerStatus>,
    ) -> Self {
        Self {
            component,
            catalogue,
            status,
        }
    }

    fn work(&self) -> WorkAttributes {
        self.component.work.clone().unwrap_or_default()
    }

    fn deadline(&self) -> Duration {
        Duration::from_secs(self.work().deadline_seconds.max(1))
    }

    /// A function that handles the messages of its queue.
    #[must_use]
    pub fn worker<H: Handler>(self, deps: &Deps, handler: H) -> Part {
        let attributes = self.work();
        let queue = attributes.source.unwrap_or_default();
        let visibility = self.catalogue.queue(&queue);
        let visibility = visibility.and_then(|queue| queue.visibility_seconds);
        let processors = std::thread::available_parallelism().map_or(2, usize::from);
        let concurrency = attributes.concurrency.unwrap_or_default();
        let concurrency = concurrency.places(processors);
        let turn_concurrency = attributes
            .kept_for_other_turns
            .map_or(0, |kept| concurrency.saturating_sub(kept).max(1));
        let settings = WorkerSettings {
            component: self.component.name.clone(),
            queue,
            concurrency,
            turn_concurrency,
            deadline: self.deadline(),
            visibility: Duration::from_secs(visibility.unwrap_or(30)),
        };
        let status = self.status.clone();
        let worker = Worker::new(
            settings,
            deps.door.clone(),
            deps.objects.clone(),
            Arc::new(handler),
            status,
        );
        let run: RunFn = Arc::new(move |life| worker.clone().run(life).boxed());
        Part {
            identity: self.component.identity(),
            run: Some(run),
            api: None,
            deadline: self.deadline(),
            stall: self.deadline() + STALL,
            status: self.status,
        }
    }

    /// A function that answers calls.
    #[must_use]
    pub fn api(self, api: impl Api) -> Part {
        Part {
            identity: self.component.identity(),
            run: None,
            api: Some(Arc::new(api)),
            deadline: self.deadline(),
            stall: self.deadline() + STALL,
            status: self.status,
        }
    }
}
