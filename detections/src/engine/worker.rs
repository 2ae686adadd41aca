//! One worker process, and what becomes of a batch that is given to it.

use std::collections::HashMap;
use std::fs::File;
use std::os::fd::OwnedFd;
use std::os::unix::fs::FileExt;
use std::time::{Duration, Instant};

use bytes::Bytes;
use rustix::process::{Pid, PidfdFlags, Signal, pidfd_open, pidfd_send_signal};

use super::evaluation::EventInput;
use super::settings::EngineFault;
use super::wire::{
    BatchEvent, BatchTest, Body, EventResults, Explanation, FromPython, ToPython, Wire, WireError,
};
use crate::key_value::{KeyValueRow, KeyValueView, ValueChange};
use crate::pack::Test;
use crate::verdict::Tested;

/// How many times its time a pair of event and rule may take before its worker is killed; the worker itself interrupts a function at once its time.
const PATIENCE: u32 = 3;
/// Bytes in which a worker notes where it is: batch, event, rule and state, 32 bits each.
pub(super) const PROGRESS_BYTES: u64 = 16;
/// Time in which a worker must have taken up a batch that was sent, and closed it after its last event.
const OVERHEAD_TIME: Duration = Duration::from_secs(20);

/// One event as a worker gets it.
#[derive(Debug, Clone)]
pub(super) struct Job {
    /// Place of the event in the evaluation's input.
    pub(super) event: usize,
    pub(super) log_type: String,
    pub(super) json: Bytes,
    /// Detections to run, never empty.
    pub(super) rules: Vec<u32>,
}

impl Job {
    pub(super) fn of(event: usize, input: &EventInput, rules: Vec<u32>) -> Self {
        Self {
            event,
            log_type: input.log_type.clone(),
            json: input.json.clone(),
            rules,
        }
    }
}

/// Why a worker did not finish what it was given.
#[derive(Debug)]
pub(super) enum Ended {
    /// It died, hung or broke the protocol.
    Lost(Loss),
    /// The caller wants to plan the rest again.
    Cut,
    /// A rule changed what all rules share, at an event up to this one of the batch. Which rule it was, is found by running these events carefully.
    Spoilt { up_to: u32, reason: String },
    /// A fault of the node.
    Fault(EngineFault),
}

/// Where a worker was when it was lost.
#[derive(Debug)]
pub(super) struct Loss {
    /// Number in the batch of the event or test, if it had begun one.
    pub(super) at: Option<u32>,
    /// The detection, unless the event was still being read.
    pub(super) rule: Option<u32>,
    /// How.
    pub(super) how: Lost,
    /// What happened to it.
    pub(super) reason: String,
}

/// How a worker was lost.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Lost {
    /// It ended or broke the protocol.
    Died,
    /// It passed its time.
    TimedOut,
    /// Its rule changed what all rules share, so that no other one may run in it.
    Spoilt,
}

/// Whether the worker is to go on with the batch.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Continue {
    Yes,
    No,
}

/// What a worker is good for after its last work.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Afterwards {
    Reusable,
    /// A detection changed what all share.
    Spoilt,
}

impl Afterwards {
    fn of(spoilt: bool) -> Self {
        if spoilt { Self::Spoilt } else { Self::Reusable }
    }
}

/// A running worker. Dropping it kills the process.
#[derive(Debug)]
pub(super) struct Worker {
    wire: Wire,
    process: OwnedFd,
    progress: File,
    rule_time: Duration,
    /// Which template it was forked from: see [`super::host::Host::generation`].
    generation: u64,
    last_batch: u32,
}

impl Drop for Worker {
    fn drop(&mut self) {
        // A file descriptor of the process, not its number: it cannot hit another process.
        let _ = pidfd_send_signal(&self.process, Signal::KILL);
    }
}

impl Worker {
    pub(super) fn new(
        number: u32,
        pid: Pid,
        wire: Wire,
        progress: File,
        rule_time: Duration,
        generation: u64,
    ) -> Result<Self, EngineFault> {
        let process = pidfd_open(pid, PidfdFlags::empty()).map_err(|error| EngineFault::Io {
            doing: format!("opening worker {number}"),
            source: error.into(),
        })?;
        Ok(Self {
            wire,
            process,
            progress,
            rule_time,
            generation,
            last_batch: 0,
        })
    }

    pub(super) fn generation(&self) -> u64 {
        self.generation
    }

    /// Runs a batch. `take` gets what came of each event that matched, failed or changed the store, in order. Gives the worker's own time in
    /// microseconds.
    ///
    /// For the first `careful` events the worker looks after each rule whether it has changed what all share.
    ///
    /// After any [`Ended`] the worker is not to be used again.
    pub(super) async fn batch(
        &mut self,
        jobs: &[Job],
        careful: u32,
        now: f64,
        store: &mut Store<'_>,
        mut take: impl FnMut(EventResults) -> Continue + Send,
    ) -> Result<u64, Ended> {
        let id = self.next_batch();
        let mut body = Body::with_capacity(jobs.iter().map(|job| job.json.len()).sum());
        let mut events = Vec::with_capacity(jobs.len());
        for job in jobs {
            body.push(&job.json);
            events.push(BatchEvent {
                log_type: &job.log_type,
                len: job.json.len(),
                rules: &job.rules,
            });
        }
        let batch = ToPython::Batch {
            id,
            now,
            careful,
            events,
        };
        self.deliver(id, &batch, body).await?;
        let mut watch = Watch::new(self.rule_time);
        loop {
            match self.next(id, &mut watch).await? {
                FromPython::Events { batch, events }
                    if batch == id
                        && events.iter().all(|event| (event.i as usize) < jobs.len()) =>
                {
                    let mut proceed = Continue::Yes;
                    for results in events {
                        for change in &results.kv {
                            store.note(&change.key, change.change.clone());
                        }
                        // All of them have happened, whatever is to become of the rest.
                        if take(results) == Continue::No {
                            proceed = Continue::No;
                        }
                    }
                    if proceed == Continue::No {
                        return Err(Ended::Cut);
                    }
                }
                FromPython::Done { batch, micros } if batch == id => return Ok(micros),
                FromPython::Changed {
                    batch,
                    i,
                    rule,
                    what,
                } if batch == id => {
                    let reason = format!("it changed {what}, which all detections share");
                    return Err(match rule {
                        None => Ended::Spoilt { up_to: i, reason },
                        rule => Ended::Lost(Loss {
                            at: Some(i),
                            rule,
                            how: Lost::Spoilt,
                            reason,
                        }),
                    });
                }
                FromPython::KvGet { key } => {
                    self.answer(id, &key, store).await?;
                    watch.restart();
                }
                other => {
                    return Err(self.lost(
                        id,
                        Lost::Died,
                        format!("it broke the protocol by sending {}", name(&other)),
                    ));
                }
            }
        }
    }

    /// Runs tests of one detection in their order.
    pub(super) async fn tests(
        &mut self,
        detection: u32,
        tests: &[&Test],
        now: f64,
        store: &mut Store<'_>,
    ) -> Result<(Vec<Tested>, Afterwards), Ended> {
        let id = self.next_batch();
        let inputs: Vec<String> = tests.iter().map(|test| test.input.to_string()).collect();
        let mut body = Body::with_capacity(inputs.iter().map(String::len).sum());
        let mut entries = Vec::with_capacity(tests.len());
        for (test, input) in tests.iter().zip(&inputs) {
            body.push(input.as_bytes());
            entries.push(BatchTest {
                name: &test.name,
                mocks: &test.mocks,
                len: input.len(),
            });
        }
        let message = ToPython::Test {
            id,
            detection,
            now,
            tests: entries,
        };
        self.deliver(id, &message, body).await?;
        // A test runs every function, each within its time.
        let mut watch = Watch::new(self.rule_time * 4);
        loop {
            match self.next(id, &mut watch).await? {
                FromPython::Tested {
                    id: tested,
                    results,
                    spoilt,
                } if tested == id && results.len() == tests.len() => {
                    return Ok((results, Afterwards::of(spoilt)));
                }
                FromPython::KvGet { key } => {
                    self.answer(id, &key, store).await?;
                    watch.restart();
                }
                other => {
                    return Err(self.lost(
                        id,
                        Lost::Died,
                        format!("it broke the protocol by sending {}", name(&other)),
                    ));
                }
            }
        }
    }

    /// Evaluates one detection over one event, step by step.
    pub(super) async fn explain(
        &mut self,
        detection: u32,
        event: &EventInput,
        now: f64,
        store: &mut Store<'_>,
    ) -> Result<(Explanation, Afterwards), Ended> {
        let id = self.next_batch();
        let mut body = Body::with_capacity(event.json.len());
        body.push(&event.json);
        let message = ToPython::Explain {
            id,
            detection,
            now,
            log_type: &event.log_type,
        };
        self.deliver(id, &message, body).await?;
        let mut watch = Watch::new(self.rule_time * 4);
        loop {
            match self.next(id, &mut watch).await? {
                FromPython::Explained {
                    id: explained,
                    explanation,
                    spoilt,
                } if explained == id => return Ok((*explanation, Afterwards::of(spoilt))),
                FromPython::KvGet { key } => {
                    self.answer(id, &key, store).await?;
                    watch.restart();
                }
                other => {
                    let broken = format!("it broke the protocol by sending {}", name(&other));
                    return Err(self.lost(id, Lost::Died, broken));
                }
            }
        }
    }

    fn next_batch(&mut self) -> u32 {
        self.last_batch = self.last_batch.wrapping_add(1);
        self.last_batch
    }

    async fn deliver(&mut self, id: u32, message: &ToPython<'_>, body: Body) -> Result<(), Ended> {
        match tokio::time::timeout(OVERHEAD_TIME, self.wire.send_with(message, body)).await {
            Ok(Ok(())) => Ok(()),
            Ok(Err(error)) => Err(self.lost(id, Lost::Died, error.to_string())),
            Err(_) => Err(self.lost(
                id,
                Lost::Died,
                format!("it took no batch for {OVERHEAD_TIME:?}"),
            )),
        }
    }

    /// The next message, while the worker's progress is watched.
    async fn next(&mut self, id: u32, watch: &mut Watch) -> Result<FromPython, Ended> {
        loop {
            tokio::select! {
                message = self.wire.receive() => return message.map_err(|error| {
                    let reason = match error {
                        WireError::Closed => "it ended its worker process".to_owned(),
                        other => other.to_string(),
                    };
                    self.lost(id, Lost::Died, reason)
                }),
                () = tokio::time::sleep(watch.interval()) => {
                    if let Some(passed) = watch.passed(self.progress(id)) {
                        return Err(self.lost(id, Lost::TimedOut, format!("still running after {} ms, so its worker was killed", passed.as_millis())));
                    }
                }
            }
        }
    }

    async fn answer(&mut self, id: u32, key: &str, store: &mut Store<'_>) -> Result<(), Ended> {
        let row = store.read(key).await.map_err(Ended::Fault)?;
        match self.wire.send(&ToPython::Kv { key, row }).await {
            Ok(()) => Ok(()),
            Err(error) => Err(self.lost(id, Lost::Died, error.to_string())),
        }
    }

    fn lost(&self, id: u32, how: Lost, reason: String) -> Ended {
        let at = self.progress(id);
        Ended::Lost(Loss {
            at: at.map(|progress| progress.event),
            rule: at
                .filter(|progress| progress.state != Progress::LOADING)
                .map(|progress| progress.rule),
            how,
            reason,
        })
    }

    /// Where the worker is in this batch; `None` if it is not inside an event of it.
    fn progress(&self, id: u32) -> Option<Progress> {
        let mut bytes = [0; 16];
        // Sixteen bytes that are always in the page cache: this does not wait for a disk.
        self.progress.read_exact_at(&mut bytes, 0).ok()?;
        let (cells, _) = bytes.as_chunks::<4>();
        let [batch, event, rule, state] = [0, 1, 2, 3].map(|cell| u32::from_le_bytes(cells[cell]));
        (batch == id && state != Progress::IDLE).then_some(Progress { event, rule, state })
    }
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
struct Progress {
    event: u32,
    rule: u32,
    state: u32,
}

impl Progress {
    const IDLE: u32 = 0;
    const LOADING: u32 = 1;
}

/// Notices that a worker has stayed too long at one place.
struct Watch {
    limit: Duration,
    seen: Option<(u32, u32)>,
    since: Instant,
}

impl Watch {
    fn new(rule_time: Duration) -> Self {
        Self {
            limit: rule_time * PATIENCE,
            seen: None,
            since: Instant::now(),
        }
    }

    fn interval(&self) -> Duration {
        (self.limit / 6).clamp(Duration::from_millis(10), Duration::from_secs(1))
    }

    fn restart(&mut self) {
        self.since = Instant::now();
    }

    fn passed(&mut self, progress: Option<Progress>) -> Option<Duration> {
        let place = progress.map(|progress| (progress.event, progress.rule));
        if place != self.seen {
            self.seen = place;
            self.restart();
        }
        let passed = self.since.elapsed();
        let limit = if place.is_some() {
            self.limit
        } else {
            self.limit.max(OVERHEAD_TIME)
        };
        (passed >= limit).then_some(passed)
    }
}

fn name(message: &FromPython) -> &'static str {
    match message {
        FromPython::Hello => "hello",
        FromPython::Changed { .. } => "a change in another batch",
        FromPython::Loaded(_) => "loaded",
        FromPython::Events { .. } => "events of no batch",
        FromPython::Done { .. } => "done for another batch",
        FromPython::Tested { .. } => "results of other tests",
        FromPython::Explained { .. } => "another explanation",
        FromPython::KvGet { .. } => "kv_get",
    }
}

/// The key-value store as a chunk of events sees it: the caller's view with the chunk's own changes laid over it.
pub(super) struct Store<'a> {
    view: &'a dyn KeyValueView,
    changes: HashMap<String, Vec<ValueChange>>,
    time: Duration,
}

impl<'a> Store<'a> {
    /// A read that takes longer than half a rule's time is a fault of the store: the rule would be blamed for it otherwise.
    pub(super) fn new(view: &'a dyn KeyValueView, rule_time: Duration) -> Self {
        Self {
            view,
            changes: HashMap::new(),
            time: rule_time / 2,
        }
    }

    pub(super) fn note(&mut self, key: &str, change: ValueChange) {
        self.changes.entry(key.to_owned()).or_default().push(change);
    }

    pub(super) async fn read(&self, key: &str) -> Result<Option<KeyValueRow>, EngineFault> {
        let fault = |source| EngineFault::View {
            key: key.to_owned(),
            source,
        };
        let row = match tokio::time::timeout(self.time, self.view.get(key)).await {
            Ok(row) => row.map_err(fault)?,
            Err(_) => return Err(fault(format!("no answer within {:?}", self.time).into())),
        };
        let Some(changes) = self.changes.get(key) else {
            return Ok(row);
        };
        let mut row = row.unwrap_or_default();
        for change in changes {
            row.apply(change);
        }
        Ok(Some(row))
    }
}
