//! The actor of one component.

use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::{Duration, Instant};

use actix::prelude::*;
use bytes::Bytes;
use futures::future::BoxFuture;
use parking_lot::Mutex;
use serde::Serialize;
use tokio::runtime::Handle;
use tokio::sync::watch;
use tokio::task::AbortHandle;
use tracing::Instrument as _;

use super::policy::{Decision, Policy, RestartBudget};
use crate::api::{Api, ApiCall, ApiError};
use crate::life::{Life, Progress};
use crate::worker::{WorkerStatus, WorkerView, panic_text};

/// Starts a component's loop, which runs until its life is over and reports progress to it.
pub type RunFn = Arc<dyn Fn(Life) -> BoxFuture<'static, ()> + Send + Sync>;

/// What a component's actor is doing.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize)]
#[serde(rename_all = "lowercase")]
pub enum RunState {
    /// It runs.
    Running,
    /// It ended and waits to be started again.
    Restarting,
    /// It ended too often; its circuit is open.
    Open,
    /// It was told to stop.
    Stopped,
}

/// What a component looks like from outside.
#[derive(Debug, Clone, Serialize)]
pub struct ComponentState {
    /// What its actor is doing.
    pub state: RunState,
    /// Restarts since the node started.
    pub restarts: u64,
    /// Counters.
    #[serde(flatten)]
    pub work: WorkerView,
}

/// Shared between an actor, its successors and those who watch it.
pub(super) struct Shared {
    pub(super) identity: String,
    pub(super) status: Arc<WorkerStatus>,
    state: Mutex<RunState>,
    pub(super) restarts: AtomicU64,
    budget: Mutex<RestartBudget>,
    pub(super) progress: Arc<Progress>,
    /// Ends the loop that runs now.
    abort: Mutex<Option<AbortHandle>>,
}

impl Shared {
    pub(super) fn new(identity: String, status: Arc<WorkerStatus>) -> Self {
        Self {
            identity,
            status,
            state: Mutex::new(RunState::Stopped),
            restarts: AtomicU64::new(0),
            budget: Mutex::default(),
            progress: Arc::new(Progress::new()),
            abort: Mutex::default(),
        }
    }

    pub(super) fn view(&self) -> ComponentState {
        ComponentState {
            state: *self.state.lock(),
            restarts: self.restarts.load(Ordering::Relaxed),
            work: self.status.view(),
        }
    }

    pub(super) fn set(&self, state: RunState) {
        *self.state.lock() = state;
    }

    /// For how long a loop that should run has reported no progress.
    pub(super) fn silent(&self) -> Option<Duration> {
        let runs = *self.state.lock() == RunState::Running && self.abort.lock().is_some();
        runs.then(|| self.progress.silent())
    }

    /// Ends a loop that hangs. One that blocks its thread does not end by this.
    pub(super) fn abort(&self) {
        if let Some(abort) = &*self.abort.lock() {
            abort.abort();
        }
    }
}

pub(super) struct ComponentActor {
    pub(super) shared: Arc<Shared>,
    pub(super) run: Option<RunFn>,
    pub(super) api: Option<Arc<dyn Api>>,
    pub(super) policy: Policy,
    pub(super) runtime: Handle,
    pub(super) stop: watch::Receiver<bool>,
    pub(super) since: Instant,
    pub(super) deadline: Duration,
}

impl Actor for ComponentActor {
    type Context = Context<Self>;

    fn started(&mut self, context: &mut Self::Context) {
        context.set_mailbox_capacity(256);
        self.start_loop(context);
    }
}

impl ComponentActor {
    fn start_loop(&mut self, context: &mut Context<Self>) {
        self.shared.set(RunState::Running);
        let Some(run) = self.run.clone() else { return };
        let life = Life::new(self.stop.clone(), self.shared.progress.clone());
        // The call itself may panic as well, so it is inside the task.
        // Each line of the loop names its component.
        let component = self.shared.identity.split('/').next().unwrap_or_default();
        let span = tracing::info_span!("loop", component);
        let task = self
            .runtime
            .spawn(async move { run(life).await }.instrument(span));
        *self.shared.abort.lock() = Some(task.abort_handle());
        context.spawn(
            task.into_actor(self)
                .map(|ended, actor, context| actor.loop_ended(ended, context)),
        );
    }

    fn loop_ended(
        &mut self,
        ended: Result<(), tokio::task::JoinError>,
        context: &mut Context<Self>,
    ) {
        *self.shared.abort.lock() = None;
        if *self.stop.borrow() {
            self.shared.set(RunState::Stopped);
            return;
        }
        let why = match ended {
            Ok(()) => "its loop ended".to_owned(),
            Err(error) if error.is_panic() => {
                format!("it panicked: {}", panic_text(error.into_panic()))
            }
            Err(error) if error.is_cancelled() => format!(
                "it reported no progress for {} s and was ended",
                self.shared.progress.silent().as_secs()
            ),
            Err(error) => error.to_string(),
        };
        self.shared.status.failed(&why);
        self.shared.restarts.fetch_add(1, Ordering::Relaxed);
        let decision =
            self.shared
                .budget
                .lock()
                .decide(&self.policy, self.since.elapsed(), rand::random());
        let wait = match decision {
            Decision::Restart(wait) => {
                tracing::warn!(
                    component = self.shared.identity,
                    why,
                    ?wait,
                    "a component ended and is started again"
                );
                self.shared.set(RunState::Restarting);
                wait
            }
            Decision::Open(wait) => {
                tracing::error!(
                    component = self.shared.identity,
                    why,
                    ?wait,
                    "a component ended too often; its circuit is open and it receives nothing"
                );
                self.shared.set(RunState::Open);
                wait
            }
        };
        context.run_later(wait, |actor, context| actor.start_loop(context));
    }
}

/// A call of an API function.
pub(super) struct Call(pub(super) ApiCall);

impl Message for Call {
    type Result = Result<Bytes, ApiError>;
}

impl Handler<Call> for ComponentActor {
    type Result = ResponseFuture<Result<Bytes, ApiError>>;

    fn handle(&mut self, Call(call): Call, _: &mut Self::Context) -> Self::Result {
        let Some(api) = self.api.clone() else {
            let identity = self.shared.identity.clone();
            return Box::pin(async move {
                Err(ApiError::Invalid(format!("{identity} takes no calls")))
            });
        };
        let (runtime, status, deadline) = (
            self.runtime.clone(),
            self.shared.status.clone(),
            self.deadline,
        );
        Box::pin(async move {
            let started = Instant::now();
            status.begin();
            // In a task of its own: a panic is this call's failure and nothing else's.
            let task =
                runtime.spawn(async move { tokio::time::timeout(deadline, api.call(call)).await });
            let result = match task.await {
                Ok(Ok(result)) => result,
                Ok(Err(_)) => Err(ApiError::Internal(format!(
                    "no answer within {} s",
                    deadline.as_secs()
                ))),
                Err(error) if error.is_panic() => Err(ApiError::Internal(format!(
                    "a defect ended the call: {}",
                    panic_text(error.into_panic())
                ))),
                Err(error) => Err(ApiError::Unavailable(error.to_string())),
            };
            status.end(started.elapsed());
            match &result {
                Err(ApiError::Internal(reason)) => status.failed(reason),
                _ => status.succeeded(),
            }
            result
        })
    }
}
