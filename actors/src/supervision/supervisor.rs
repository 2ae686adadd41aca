//! Starts, watches and stops the actors of all components that are built.

use std::collections::BTreeMap;
use std::io;
use std::sync::Arc;
use std::sync::mpsc::sync_channel;
use std::thread::JoinHandle;
use std::time::{Duration, Instant};

use actix::prelude::*;
use parking_lot::{Mutex, RwLock};
use serde_json::Value;
use tokio::runtime::Handle;
use tokio::sync::{Semaphore, watch};

use super::actor::{Call, ComponentActor, ComponentState, RunFn, RunState, Shared};
use super::policy::Policy;
use crate::api::{Api, ApiCall, ApiError};
use crate::life::Disturbance;
use crate::worker::WorkerStatus;

/// Calls that one component may have waiting.
const CALLS: usize = 64;
/// How often it is looked whether an actor's mailbox has closed.
const WATCH: Duration = Duration::from_millis(500);

/// A component to be run.
pub struct Part {
    /// `name/kind`.
    pub identity: String,
    /// Its loop, if it has one.
    pub run: Option<RunFn>,
    /// Its calls, if it takes some.
    pub api: Option<Arc<dyn Api>>,
    /// Its counters.
    pub status: Arc<WorkerStatus>,
    /// Deadline of a call.
    pub deadline: Duration,
    /// The longest time in which its loop may report no progress; a loop that is silent for longer is ended and started again.
    pub stall: Duration,
}

impl Part {
    /// A loop that belongs to no component of the run book, such as the one that raises alarms.
    #[must_use]
    pub fn of_loop(name: &str, stall: Duration, run: RunFn) -> Self {
        Self {
            identity: format!("{name}/loop"),
            run: Some(run),
            api: None,
            status: Arc::default(),
            deadline: stall,
            stall,
        }
    }
}

struct Supervised {
    part: Part,
    shared: Arc<Shared>,
    /// Addresses go stale when an actor dies; callers look here.
    address: RwLock<Option<Addr<ComponentActor>>>,
    calls: Semaphore,
}

/// All actors of a node.
pub struct Supervisor {
    parts: BTreeMap<String, Arc<Supervised>>,
    stop: watch::Sender<bool>,
    system: System,
    thread: Mutex<Option<JoinHandle<()>>>,
    watch: Mutex<Option<tokio::task::JoinHandle<()>>>,
}

impl Supervisor {
    /// Starts an actor for each part. Their work runs on `runtime`, the actors themselves on a thread of their own.
    ///
    /// # Errors
    /// The thread cannot be started.
    pub fn start(parts: Vec<Part>, policy: Policy, runtime: &Handle) -> io::Result<Self> {
        let (sender, receiver) = sync_channel(1);
        let thread = std::thread::Builder::new()
            .name("actors".into())
            .spawn(move || {
                let runner = System::new();
                let _ = sender.send(System::current()); // the starter waits for it
                if let Err(error) = runner.run() {
                    tracing::error!(%error, "the actors' system ended abnormally");
                }
            })?;
        let system = receiver
            .recv()
            .map_err(|_| io::Error::other("the actors' thread ended at once"))?;
        let (stop, stopped) = watch::channel(false);
        let since = Instant::now();
        let parts: BTreeMap<String, Arc<Supervised>> = parts
            .into_iter()
            .map(|part| {
                let shared = Arc::new(Shared::new(part.identity.clone(), part.status.clone()));
                (
                    part.identity.clone(),
                    Arc::new(Supervised {
                        part,
                        shared,
                        address: RwLock::default(),
                        calls: Semaphore::new(CALLS),
                    }),
                )
            })
            .collect();
        let launch = {
            let (runtime, arbiter) = (runtime.clone(), system.arbiter().clone());
            move |supervised: &Supervised| {
                let actor = ComponentActor {
                    shared: supervised.shared.clone(),
                    run: supervised.part.run.clone(),
                    api: supervised.part.api.clone(),
                    policy,
                    runtime: runtime.clone(),
                    stop: stopped.clone(),
                    since,
                    deadline: supervised.part.deadline,
                };
                *supervised.address.write() = Some(Actor::start_in_arbiter(&arbiter, |_| actor));
            }
        };
        parts.values().for_each(|supervised| launch(supervised));
        let watch = {
            let parts: Vec<Arc<Supervised>> = parts.values().cloned().collect();
            let stop = stop.subscribe();
            runtime.spawn(async move {
                let mut ticks = tokio::time::interval(WATCH);
                while !*stop.borrow() {
                    ticks.tick().await;
                    for supervised in &parts {
                        let stall = supervised.part.stall;
                        let silent = supervised.shared.silent();
                        if silent.is_some_and(|silent| silent > stall) {
                            tracing::error!(
                                component = supervised.shared.identity,
                                ?silent,
                                "a loop reports no progress; it is ended and started again"
                            );
                            supervised.shared.abort();
                        }
                        let dead = supervised
                            .address
                            .read()
                            .as_ref()
                            .is_some_and(|address| !address.connected());
                        if dead && !*stop.borrow() {
                            tracing::error!(
                                component = supervised.shared.identity,
                                "an actor has died; it is started anew"
                            );
                            supervised
                                .shared
                                .restarts
                                .fetch_add(1, std::sync::atomic::Ordering::Relaxed);
                            launch(supervised);
                        }
                    }
                }
            })
        };
        Ok(Self {
            parts,
            stop,
            system,
            thread: Mutex::new(Some(thread)),
            watch: Mutex::new(Some(watch)),
        })
    }

    /// Calls a component's API.
    ///
    /// # Errors
    /// It takes no calls, is full or ends; or as the call itself says.
    pub async fn call(&self, identity: &str, call: ApiCall) -> Result<Value, ApiError> {
        let supervised = self
            .parts
            .get(identity)
            .ok_or_else(|| ApiError::NotFound(format!("{identity} does not run on this node")))?;
        let _admitted = supervised.calls.try_acquire().map_err(|_| {
            ApiError::Busy(format!(
                "{identity} has {CALLS} calls waiting; try again in a moment"
            ))
        })?;
        let address = supervised
            .address
            .read()
            .clone()
            .ok_or_else(|| ApiError::Unavailable(format!("{identity} is not started")))?;
        address.send(Call(call)).await.map_err(|error| {
            ApiError::Unavailable(format!(
                "{identity} is being restarted ({error}); try again in a moment"
            ))
        })?
    }

    /// Causes a fault in a loop, for drills and tests.
    ///
    /// # Errors
    /// No loop of this identity runs on this node.
    pub fn disturb(&self, identity: &str, disturbance: Disturbance) -> Result<(), ApiError> {
        let supervised = self.parts.get(identity);
        let supervised = supervised.filter(|supervised| supervised.part.run.is_some());
        let supervised = supervised
            .ok_or_else(|| ApiError::NotFound(format!("no loop {identity} runs on this node")))?;
        supervised.shared.progress.disturb(disturbance);
        Ok(())
    }

    /// Returns once the thread of the actors has answered, if no loop hangs that could not be ended.
    ///
    /// # Errors
    /// The thread has ended, or a loop blocks its thread: it was silent for twice the time after which it is ended.
    pub async fn goes_round(&self) -> Result<(), ApiError> {
        let stuck = self.parts.values().find_map(|supervised| {
            let silent = supervised.shared.silent()?;
            (silent > supervised.part.stall * 2).then(|| {
                ApiError::Internal(format!(
                    "{} has reported no progress for {} s and does not end",
                    supervised.shared.identity,
                    silent.as_secs()
                ))
            })
        });
        if let Some(stuck) = stuck {
            return Err(stuck);
        }
        let gone = || ApiError::Internal("the actors' thread has ended".to_owned());
        let (answer, answered) = tokio::sync::oneshot::channel();
        let asked = self.system.arbiter().spawn_fn(move || {
            let _ = answer.send(()); // it may have been given up
        });
        if !asked {
            return Err(gone());
        }
        answered.await.map_err(|_| gone())
    }

    /// What each component is doing.
    #[must_use]
    pub fn states(&self) -> BTreeMap<String, ComponentState> {
        self.parts
            .iter()
            .map(|(identity, supervised)| (identity.clone(), supervised.shared.view()))
            .collect()
    }

    /// Tells all components to stop and waits for them, up to `drain`.
    pub async fn stop(&self, drain: Duration) {
        self.stop.send_replace(true);
        let until = tokio::time::Instant::now() + drain;
        let busy = || {
            self.parts.values().any(|supervised| {
                supervised.part.run.is_some()
                    && !matches!(
                        supervised.shared.view().state,
                        RunState::Stopped | RunState::Open | RunState::Restarting
                    )
            })
        };
        while busy() && tokio::time::Instant::now() < until {
            tokio::time::sleep(Duration::from_millis(20)).await;
        }
        let left: Vec<&String> = self
            .parts
            .iter()
            .filter(|(_, supervised)| {
                supervised.part.run.is_some() && supervised.shared.view().state == RunState::Running
            })
            .map(|(identity, _)| identity)
            .collect();
        if !left.is_empty() {
            tracing::warn!(
                ?left,
                "components did not end in time; what they hold is given back when the session ends"
            );
        }
        if let Some(watch) = self.watch.lock().take() {
            watch.abort();
        }
        self.system.stop();
        let thread = self.thread.lock().take();
        if let Some(thread) = thread {
            let _ = tokio::task::spawn_blocking(move || thread.join()).await;
        }
    }
}
