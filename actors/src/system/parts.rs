//! Which code runs each component that is built.

use std::sync::Arc;
use std::time::Duration;

use futures::FutureExt;
use panther_cluster::storage::room::Room;
use panther_logs::Limits;
use rand::Rng;
use tokio::sync::watch;

use super::SystemSettings;
use super::health::watch_component;
use crate::alarms::Alarms;
use crate::api::{Api, ApiError};
use crate::catalogue::{Built, Component, Kind, catalogue};
use crate::components::alert_delivery::{AlertDelivery, Files, Sender};
use crate::components::alerts_api::AlertsService;
use crate::components::analysis_api::AnalysisService;
use crate::components::layer_manager::LayerManager;
use crate::components::log_alert_forwarder::LogAlertForwarder;
use crate::components::log_processor::LogProcessor;
use crate::components::log_types::LogTypeRegistry;
use crate::components::outputs_api::{OutputCache, OutputsService};
use crate::components::pack::LivePack;
use crate::components::rules_engine::{Decisions, RulesEngine};
use crate::components::source_api::SourceService;
use crate::pause::Pause;
use crate::sealing::Sealer;
use crate::supervision::{Part, RunFn};
use crate::worker::{Handler, Worker, WorkerSettings, WorkerStatus};

/// Places of a function that takes its messages by turns which no single source gets: a source whose messages take long holds up no other, and
/// three of them do not either. The threads behind these places share the processors.
const PLACES_FOR_OTHERS: usize = 6;

/// A part for every component that is built, and for the internal queues.
pub(super) fn all(
    settings: &SystemSettings,
    alarms: &Alarms,
    live: &LivePack,
    disk: &Room,
    pause: &Pause,
) -> Result<Vec<Part>, ApiError> {
    let door = settings.door.clone();
    let sealer = Sealer::new(&settings.sealing_key);
    let outputs = OutputCache::new(door.clone(), sealer.clone());
    let files = Files::outside(&settings.own_folders());
    let sender = Sender::new(settings.alert_link.clone(), settings.egress.clone(), files).map_err(
        |error| ApiError::Internal(format!("the way to destinations cannot be set up: {error}")),
    )?;
    let log_types = LogTypeRegistry::new(door.clone());
    let objects = settings.objects.clone();
    let cores = std::thread::available_parallelism().map_or(2, usize::from);
    let mut parts = Vec::new();
    for component in catalogue()
        .all()
        .filter(|component| component.built != Built::No)
    {
        let status = Arc::new(WorkerStatus::default());
        let work = |concurrency| Work {
            component,
            concurrency,
            turn_concurrency: 0,
            settings,
            status: status.clone(),
        };
        let part = match (component.kind, component.name.as_str()) {
            (Kind::Function, "panther-log-processor") => work(cores + PLACES_FOR_OTHERS)
                .by_turns(PLACES_FOR_OTHERS)
                .worker(LogProcessor {
                    objects: objects.clone(),
                    log_types: log_types.clone(),
                    limits: Limits::default(),
                }),
            (Kind::Function, "panther-rules-engine") => work(cores.max(2)).worker(RulesEngine {
                objects: objects.clone(),
                live: live.clone(),
                outputs: outputs.clone(),
                decisions: Decisions {
                    objects: objects.clone(),
                    live: live.clone(),
                    alarms: alarms.clone(),
                },
            }),
            (Kind::Function, "panther-log-alert-forwarder") => work(8).worker(LogAlertForwarder),
            (Kind::Function, "panther-alert-delivery") => {
                let retry = Arc::new(|| Duration::from_secs(rand::rng().random_range(30..=300)));
                work(16).worker(AlertDelivery {
                    outputs: outputs.clone(),
                    sender: sender.clone(),
                    pause: pause.clone(),
                    retry,
                })
            }
            (Kind::Function, "panther-layer-manager") => {
                work(1).worker(LayerManager { live: live.clone() })
            }
            (Kind::Function, "panther-outputs-api") => work(0).api(OutputsService {
                door: door.clone(),
                sealer: sealer.clone(),
                outputs: outputs.clone(),
                sender: sender.clone(),
            }),
            (Kind::Function, "panther-source-api") => work(0).api(SourceService {
                door: door.clone(),
                objects: objects.clone(),
                disk: disk.clone(),
                log_types: log_types.clone(),
                ingest_url: settings.ingest_url.clone(),
                sealer: sealer.clone(),
            }),
            (Kind::Function, "panther-alerts-api") => work(0).api(AlertsService {
                door: door.clone(),
                objects: objects.clone(),
            }),
            (Kind::Function, "panther-analysis-api") => work(0).api(AnalysisService {
                door: door.clone(),
                objects: objects.clone(),
                live: live.clone(),
                alarms: alarms.clone(),
                log_types: log_types.clone(),
            }),
            (Kind::Queue | Kind::Dlq | Kind::Table | Kind::Topic, _) => {
                watched(component, settings, alarms, status)
            }
            (kind, name) => {
                return Err(ApiError::Internal(format!(
                    "the catalogue says that {name}/{} is built, but no code runs it",
                    kind.as_str()
                )));
            }
        };
        parts.push(part);
    }
    Ok(parts)
}

struct Work<'a> {
    component: &'a Component,
    concurrency: usize,
    turn_concurrency: usize,
    settings: &'a SystemSettings,
    status: Arc<WorkerStatus>,
}

impl Work<'_> {
    /// Of all places one turn gets no more than those that are not `kept`.
    fn by_turns(self, kept: usize) -> Self {
        Self {
            turn_concurrency: self.concurrency.saturating_sub(kept).max(1),
            ..self
        }
    }

    fn worker<H: Handler>(self, handler: H) -> Part {
        let attributes = self.component.work.clone().unwrap_or_default();
        let queue = attributes.source.unwrap_or_default();
        let visibility = catalogue()
            .find(&queue)
            .ok()
            .and_then(|queue| queue.queue.as_ref()?.visibility_seconds)
            .unwrap_or(30);
        let settings = WorkerSettings {
            component: self.component.name.clone(),
            queue,
            concurrency: self.concurrency,
            turn_concurrency: self.turn_concurrency,
            deadline: Duration::from_secs(attributes.timeout_seconds.max(1)),
            visibility: Duration::from_secs(visibility),
        };
        let worker = Worker::new(
            settings,
            self.settings.door.clone(),
            Arc::new(handler),
            self.status.clone(),
        );
        let run: RunFn = Arc::new(move |stop| worker.clone().run(stop).boxed());
        Part {
            identity: self.component.identity(),
            run: Some(run),
            api: None,
            status: self.status,
            deadline: Duration::from_secs(attributes.timeout_seconds.max(1)),
        }
    }

    fn api(self, api: impl Api) -> Part {
        let timeout = self
            .component
            .work
            .as_ref()
            .map_or(60, |work| work.timeout_seconds.max(1));
        Part {
            identity: self.component.identity(),
            run: None,
            api: Some(Arc::new(api)),
            status: self.status,
            deadline: Duration::from_secs(timeout),
        }
    }
}

/// A queue, table or topic: its actor measures it and raises its alarms.
fn watched(
    component: &'static Component,
    settings: &SystemSettings,
    alarms: &Alarms,
    status: Arc<WorkerStatus>,
) -> Part {
    let (door, alarms) = (settings.door.clone(), alarms.clone());
    let counting = status.clone();
    let run: RunFn = Arc::new(move |stop: watch::Receiver<bool>| {
        watch_component(
            component,
            door.clone(),
            alarms.clone(),
            counting.clone(),
            stop,
        )
        .boxed()
    });
    Part {
        identity: component.identity(),
        run: Some(run),
        api: None,
        status,
        deadline: Duration::from_secs(60),
    }
}
