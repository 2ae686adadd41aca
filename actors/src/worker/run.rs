//! The worker loop.

use std::sync::Arc;
use std::time::Duration;

use panther_cluster::door::{Door, DoorError, INSIST, INSIST_EVERY};
use panther_cluster::objects::Objects;
use panther_proto::trace::TraceContext;
use panther_proto::v1::{Code, GiveBack, Message, RowChange, Send, Transact, send};
use tokio::sync::{OwnedSemaphorePermit, Semaphore};
use tokio::task::JoinSet;
use tokio::time::Instant;
use tracing::Instrument;

use super::returned::Returned;
use super::{Context, Failure, Handler, Plan, PlanContext, WorkerStatus};
use crate::life::Life;
use crate::traces::{Hop, Traces};

/// How long a receive waits for a first message before it asks again.
const RECEIVE_WAIT: Duration = Duration::from_secs(20);
/// Plans that may run against each other before the message is given back.
const CONFLICTS: u32 = 20;
/// Wait before a message that failed is tried again, for the first, second, … failure.
const RETRY: [Duration; 4] = [
    Duration::from_secs(1),
    Duration::from_secs(5),
    Duration::from_secs(20),
    Duration::from_secs(60),
];
/// How often a worker that cannot receive looks whether a leader is back.
const LEADERLESS: Duration = Duration::from_millis(250);
/// Longest pause after faults of the node.
const LONGEST_PAUSE: Duration = Duration::from_secs(30);

/// How a worker runs.
#[derive(Debug, Clone)]
pub struct WorkerSettings {
    /// The component.
    pub component: String,
    /// Where messages come from.
    pub queue: String,
    /// Messages handled at the same time.
    pub concurrency: usize,
    /// Of these, messages of one turn of a fair queue; 0 = any number.
    pub turn_concurrency: usize,
    /// Time in which a message must be handled.
    pub deadline: Duration,
    /// The queue's visibility: extended while a message is handled.
    pub visibility: Duration,
}

/// A handler and the loop around it.
pub struct Worker<H: Handler> {
    settings: WorkerSettings,
    door: Door,
    traces: Traces,
    objects: Objects,
    handler: Arc<H>,
    status: Arc<WorkerStatus>,
    returned: Arc<Returned>,
}

impl<H: Handler> Clone for Worker<H> {
    fn clone(&self) -> Self {
        Self {
            settings: self.settings.clone(),
            door: self.door.clone(),
            traces: self.traces.clone(),
            objects: self.objects.clone(),
            handler: self.handler.clone(),
            status: self.status.clone(),
            returned: self.returned.clone(),
        }
    }
}

impl<H: Handler> Worker<H> {
    /// A worker that is not running yet.
    pub fn new(
        settings: WorkerSettings,
        door: Door,
        objects: Objects,
        handler: Arc<H>,
        status: Arc<WorkerStatus>,
    ) -> Self {
        Self {
            settings,
            traces: Traces::new(door.clone()),
            door,
            objects,
            handler,
            status,
            returned: Arc::default(),
        }
    }

    /// Receives and handles until `stop` is true, then lets what is being handled end.
    pub async fn run(self, life: Life) {
        let mut stop = life.stop();
        let places = Arc::new(Semaphore::new(self.settings.concurrency));
        let mut tasks: JoinSet<bool> = JoinSet::new();
        let mut pause = Duration::ZERO;
        while !life.is_over() {
            if !pause.is_zero() && life.wait(tokio::time::sleep(pause)).await.is_none() {
                break;
            }
            life.beat().await;
            while let Some(ended) = tasks.try_join_next() {
                pause = next_pause(pause, ended.unwrap_or(false));
            }
            let place = tokio::select! { place = places.clone().acquire_owned() => place, _ = stop.changed() => break };
            let Ok(place) = place else { break };
            let Some(ready) = life.wait(self.handler.ready()).await else {
                break;
            };
            if let Err(failure) = ready {
                if self.leader_is_back(&life).await {
                    continue;
                }
                tracing::warn!(component = self.settings.component, %failure, "not ready to receive; trying again");
                self.status.node_fault(&failure.to_string());
                pause = next_pause(pause, true);
                continue;
            }
            let free = places.available_permits() + 1;
            let max = u32::try_from(free.min(10)).unwrap_or(1);
            let turn_max = u32::try_from(self.settings.turn_concurrency).unwrap_or(0);
            // A receive that is under way is not dropped at a stop: what it received would wait for the session's end.
            let wait = if tasks.is_empty() {
                RECEIVE_WAIT
            } else {
                Duration::from_secs(1)
            };
            let received = {
                let door = self.door.clone();
                let queue = self.settings.queue.clone();
                let mut receiving = tokio::spawn(async move {
                    door.receive_by_turns(&queue, max, turn_max, wait).await
                });
                tokio::select! {
                    received = &mut receiving => received,
                    _ = stop.changed() => {
                        // Nothing is there, or it comes at once.
                        match tokio::time::timeout(Duration::from_millis(200), &mut receiving).await {
                            Ok(received) => received,
                            Err(_) => { receiving.abort(); break }
                        }
                    }
                }
            };
            match received {
                Ok(Ok(received)) => {
                    let mut place = Some(place);
                    for message in received.messages {
                        let Some(place) = place
                            .take()
                            .or_else(|| places.clone().try_acquire_owned().ok())
                        else {
                            // More came than there are places: cannot happen, as `max` was the number of free ones.
                            self.return_uncounted(&message, "no place free", Duration::ZERO)
                                .await;
                            continue;
                        };
                        self.start(&mut tasks, message, received.time_ms, place);
                    }
                }
                Ok(Err(error)) => {
                    if self.leader_is_back(&life).await {
                        continue;
                    }
                    tracing::warn!(component = self.settings.component, %error, "cannot receive; trying again");
                    self.status.node_fault(&error.to_string());
                    pause = next_pause(pause, true);
                }
                Err(error) => {
                    tracing::error!(component = self.settings.component, %error, "the receive ended abnormally")
                }
            }
        }
        while tasks.join_next().await.is_some() {}
    }

    /// If there is no leader, waits until there is one or the node stops, and says true: nothing can be received meanwhile, which is the node's
    /// alarm and no failure of this component.
    async fn leader_is_back(&self, life: &Life) -> bool {
        let local = self.door.local();
        if local.without_leader().is_none() {
            return false;
        }
        while local.without_leader().is_some() && !life.is_over() {
            life.wait(tokio::time::sleep(LEADERLESS)).await;
        }
        true
    }

    fn start(
        &self,
        tasks: &mut JoinSet<bool>,
        message: Message,
        received_ms: u64,
        place: OwnedSemaphorePermit,
    ) {
        let worker = self.clone();
        // A message that was sent without a trace is the root of one.
        let cause = TraceContext::of(&message.trace_id, message.span_id)
            .or_else(|| TraceContext::of(&message.id, 0))
            .unwrap_or_else(TraceContext::mint);
        let trace = cause.child();
        let span = tracing::info_span!("message", component = %self.settings.component, id = %message.id, trace_id = trace.trace_id(), span_id = trace.span_id(), parent_span_id = cause.span_id());
        tasks.spawn(
            async move {
                let _place = place;
                let started = Instant::now();
                worker.status.begin();
                let node_fault = worker.handle(message, received_ms, trace).await;
                worker.status.end(started.elapsed());
                node_fault
            }
            .instrument(span),
        );
    }

    /// Handles one message to its end; true if the node was at fault.
    async fn handle(&self, message: Message, received_ms: u64, trace: TraceContext) -> bool {
        let began = Instant::now();
        let context = Context {
            door: self.door.clone(),
            received_ms,
            attempt: format!("{}-{}", message.id, message.receives),
            trace,
        };
        // In a task of its own, so that a panic is this message's failure and nothing else's.
        let handling = tokio::spawn(
            self.clone()
                .attempt(message.clone(), context, began)
                .in_current_span(),
        );
        let abort = handling.abort_handle();
        let outcome = tokio::select! {
            outcome = handling => match outcome {
                Ok(outcome) => outcome,
                Err(error) if error.is_panic() => Err(Failure::message(format!("the handler panicked: {}", panic_text(error.into_panic())))),
                Err(error) => Err(Failure::Node(error.to_string())),
            },
            () = tokio::time::sleep(self.settings.deadline) => {
                abort.abort();
                Err(Failure::message(format!("its deadline of {} s passed", self.settings.deadline.as_secs())))
            }
            gone = self.keep_visible(&message) => { abort.abort(); Err(gone) }
        };
        match outcome {
            Ok(()) => {
                self.status.succeeded();
                self.returned.passed(&message.id);
                false
            }
            Err(Failure::Message {
                reason,
                retry_after,
                record,
            }) => {
                self.returned.forget(&message.id);
                self.fail(&message, reason, retry_after, record, (trace, began))
                    .await;
                false
            }
            Err(Failure::Node(reason)) => {
                if let Some(reason) = self.returned.again(&message.id, &reason) {
                    self.fail(&message, reason, None, Vec::new(), (trace, began))
                        .await;
                    return false;
                }
                tracing::warn!(
                    reason,
                    "the node could not handle a message; it is given back uncounted"
                );
                self.status.node_fault(&reason);
                self.return_uncounted(&message, &reason, Duration::from_secs(1))
                    .await;
                true
            }
            Err(Failure::Conflict(reason)) => {
                self.return_uncounted(&message, &reason, Duration::from_millis(200))
                    .await;
                false
            }
        }
    }

    /// Counts a failure against a message.
    async fn fail(
        &self,
        message: &Message,
        reason: String,
        retry_after: Option<Duration>,
        mut record: Vec<RowChange>,
        (trace, began): (TraceContext, Instant),
    ) {
        tracing::warn!(reason, failures = message.failures + 1, "a message failed");
        self.status.failed(&reason);
        let soon = RETRY[(message.failures as usize).min(RETRY.len() - 1)];
        let delay = retry_after.unwrap_or(soon);
        let mut hop = self.hop(message, trace, began);
        hop.what = format!(
            "failed, for the {} time: {reason}",
            nth(message.failures + 1)
        );
        hop.has_failed = true;
        hop.note_changes(&record);
        record.extend(self.traces.row(hop).await);
        self.give_back(GiveBack {
            receipt: message.receipt.clone(),
            failed: true,
            reason,
            delay_ms: u64::try_from(delay.as_millis()).unwrap_or(0),
            component: self.settings.component.clone(),
            changes: record,
        })
        .await;
    }

    /// Runs the phases of one receive.
    async fn attempt(
        self,
        message: Message,
        context: Context,
        began: Instant,
    ) -> Result<(), Failure> {
        let trace = context.trace;
        let work = self.handler.work(&message, &context).await?;
        let context = PlanContext::from(&context);
        let mut last = String::new();
        for _ in 0..CONFLICTS {
            let Plan {
                objects,
                mut changes,
                sends,
                what,
            } = match H::plan(&work, &message, &context).await {
                Ok(plan) => plan,
                Err(Failure::Conflict(reason)) => {
                    self.status.conflict();
                    last = reason;
                    continue;
                }
                Err(failure) => return Err(failure),
            };
            // Durable before a command names them.
            for object in objects {
                self.objects.put(&object.name, object.content).await?;
            }
            let mut hop = self.hop(&message, trace, began);
            hop.what = if what.is_empty() { words(&sends) } else { what };
            hop.note_changes(&changes);
            changes.extend(self.traces.row(hop).await);
            let complete = Transact {
                done: message.receipt.clone(),
                changes,
                sends: sends.into_iter().map(|send| within(trace, send)).collect(),
                trace_id: trace.trace_id(),
                span_id: trace.span_id(),
                ..Transact::default()
            };
            match insist(|| self.door.transact(complete.clone())).await {
                Ok(_) => {
                    self.handler.committed(work, &complete);
                    return Ok(());
                }
                Err(DoorError::Conflict(conflict)) => {
                    self.status.conflict();
                    last = format!(
                        "{} {}: {}",
                        conflict.table, conflict.attribute, conflict.what
                    );
                }
                // It was ended elsewhere, or belongs to another by now: there is nothing left to do.
                Err(error)
                    if matches!(error.code(), Some(Code::StaleReceipt | Code::StaleSession)) =>
                {
                    tracing::info!(%error, "the message is no longer this worker's");
                    return Ok(());
                }
                Err(error) => return Err(error.into()),
            }
        }
        Err(Failure::Conflict(last))
    }

    /// The hop of a handling that began then and ends now.
    fn hop(&self, message: &Message, trace: TraceContext, began: Instant) -> Hop {
        Hop {
            trace_id: trace.trace_id(),
            span_id: trace.span_id(),
            parent_span_id: message.span_id,
            time_ms: self.door.now_ms(),
            took_ms: u64::try_from(began.elapsed().as_millis()).unwrap_or(u64::MAX),
            component: self.settings.component.clone(),
            message: message.id.clone(),
            ..Hop::default()
        }
    }

    /// Extends the visibility while a message is handled; returns only when that is no longer possible.
    async fn keep_visible(&self, message: &Message) -> Failure {
        let every = (self.settings.visibility / 3).max(Duration::from_millis(100));
        let mut refused = 0;
        loop {
            tokio::time::sleep(every).await;
            let Some(receipt) = message.receipt.clone() else {
                return Failure::Node("a message without receipt".to_owned());
            };
            match self.door.extend(receipt, self.settings.visibility).await {
                Ok(()) => refused = 0,
                Err(error) if !error.is_fault_of_node() => {
                    return Failure::Conflict(format!(
                        "the message is no longer this worker's: {error}"
                    ));
                }
                Err(error) => {
                    refused += 1;
                    tracing::warn!(%error, refused, "a message's visibility could not be extended");
                }
            }
        }
    }

    async fn return_uncounted(&self, message: &Message, reason: &str, delay: Duration) {
        self.give_back(GiveBack {
            receipt: message.receipt.clone(),
            failed: false,
            reason: reason.to_owned(),
            delay_ms: u64::try_from(delay.as_millis()).unwrap_or(0),
            component: self.settings.component.clone(),
            changes: Vec::new(),
        })
        .await;
    }

    async fn give_back(&self, give_back: GiveBack) {
        // If this fails as well the visibility runs out, or the session ends: it is received again either way.
        match insist(|| self.door.give_back(give_back.clone())).await {
            Ok(()) => {}
            Err(error) if matches!(error.code(), Some(Code::StaleReceipt | Code::StaleSession)) => {
                tracing::debug!(%error, "the message has been given back already");
            }
            Err(error) => {
                tracing::warn!(%error, "a message could not be given back; it returns when its visibility runs out");
            }
        }
    }
}

/// Tries what ends a receive again while no answer comes: a leader that goes takes with it the answer to what it has done, and a message that is
/// neither ended nor given back would be hidden until its visibility runs out. A second time does no harm: a receipt is good for one end.
async fn insist<T, Ended>(mut end: impl FnMut() -> Ended) -> Result<T, DoorError>
where
    Ended: Future<Output = Result<T, DoorError>>,
{
    let until = Instant::now() + INSIST;
    loop {
        match end().await {
            Err(error) if error.has_no_answer() && Instant::now() < until => {
                tracing::debug!(%error, "the end of a message had no answer; trying again");
                tokio::time::sleep(INSIST_EVERY).await;
            }
            answer => return answer,
        }
    }
}

/// A message that is sent without a trace belongs to that of the message which causes it.
fn within(trace: TraceContext, mut send: Send) -> Send {
    if send.trace_id.is_empty() {
        send.trace_id = trace.trace_id();
        send.span_id = trace.span_id();
    }
    send
}

/// What is sent, in words.
fn words(sends: &[Send]) -> String {
    let mut names: Vec<&str> = sends
        .iter()
        .filter_map(|send| match send.to.as_ref()? {
            send::To::Queue(name) | send::To::Topic(name) => Some(name.as_str()),
        })
        .collect();
    names.dedup();
    match names.as_slice() {
        [] => "done; nothing follows".to_owned(),
        names => format!("{} message(s) to {}", sends.len(), names.join(", ")),
    }
}

/// 1st, 2nd, 3rd, 4th …
fn nth(number: u32) -> String {
    let ending = match (number % 10, number % 100) {
        (1, hundred) if hundred != 11 => "st",
        (2, hundred) if hundred != 12 => "nd",
        (3, hundred) if hundred != 13 => "rd",
        _ => "th",
    };
    format!("{number}{ending}")
}

fn next_pause(pause: Duration, fault: bool) -> Duration {
    if fault {
        (pause * 2).clamp(Duration::from_millis(250), LONGEST_PAUSE)
    } else {
        Duration::ZERO
    }
}

/// What a panic said.
pub(crate) fn panic_text(panic: Box<dyn std::any::Any + std::marker::Send>) -> String {
    panic
        .downcast_ref::<&str>()
        .map(|text| (*text).to_owned())
        .or_else(|| panic.downcast_ref::<String>().cloned())
        .unwrap_or_else(|| "without a word".to_owned())
}
