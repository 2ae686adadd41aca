//! openraft's state machine interface. One thread applies all entries, so that async threads never block and entries keep their order.

use std::collections::BTreeSet;
use std::io;
use std::sync::mpsc::{Receiver, SyncSender, sync_channel};
use std::sync::{Arc, OnceLock};
use std::time::Instant;

use futures::{Stream, StreamExt};
use openraft::EntryPayload;
use openraft::alias::{SnapshotMetaOf, SnapshotOf};
use openraft::storage::{
    ApplyResponder, EntryResponder, RaftSnapshotBuilder, RaftStateMachine, Snapshot, SnapshotMeta,
};
use panther_proto::v1::Entry;
use prost::Message;
use tokio::sync::oneshot;

use super::hashes::Hashes;
use super::log_store::durable;
use super::types::{self, LogId, RaftEntry, Replies, StoredMembership, Types};
use crate::log::{Log, Pace};
use crate::offload::offload;
use crate::state::{Machine, require_format};
use crate::storage::{AppliedAt, SnapshotFile, StateStore};

/// Callback after each entry, with the names of the queues in which messages became receivable.
pub type AfterApply = Arc<dyn Fn(&BTreeSet<String>) + Send + Sync>;

/// Largest number of entries in one job of the apply thread.
const CHUNK: usize = 64;

type Answers = io::Result<Vec<Replies>>;

enum Job {
    Apply(Vec<RaftEntry>, oneshot::Sender<Answers>),
    Install(SnapshotFile, oneshot::Sender<io::Result<()>>),
}

#[derive(Clone)]
pub(crate) struct StateMachine {
    store: StateStore,
    log: Log,
    prepared: Arc<parking_lot::Mutex<Option<SnapshotFile>>>,
    newest: u32,
    jobs: Jobs,
    pace: Arc<Pace>,
    outdated: Arc<OnceLock<String>>,
    hashes: Arc<Hashes>,
}

impl StateMachine {
    /// Starts the apply thread for entries up to the format `newest`. From now on the state is written to disk only after the log.
    pub(crate) fn start(
        store: StateStore,
        log: Log,
        newest: u32,
        after: AfterApply,
    ) -> io::Result<Self> {
        store.behind(log.clone());
        let machine = Machine::open_up_to(&store, newest)?;
        let outdated = Arc::new(OnceLock::new());
        let hashes = Arc::new(Hashes::default());
        hashes.note(index_of(&store), machine.globals());
        let pace = Arc::new(Pace::default());
        let worker = Worker {
            store: store.clone(),
            machine,
            after,
            newest,
            pace: pace.clone(),
            outdated: outdated.clone(),
            hashes: hashes.clone(),
        };
        Ok(Self {
            store,
            log,
            prepared: Arc::default(),
            newest,
            jobs: Jobs::done_by(worker)?,
            pace,
            outdated,
            hashes,
        })
    }

    /// Why this build can apply no further entries, if it has found an entry or a snapshot of a newer format.
    pub(crate) fn outdated(&self) -> &Arc<OnceLock<String>> {
        &self.outdated
    }

    /// Takes the snapshot that openraft's next request returns. A disk error then fails this call only; inside openraft it would stop the group.
    pub(crate) async fn prepare_snapshot(&self) -> io::Result<()> {
        // Outside of a simulation the snapshot waits for the log itself, on a thread of its own.
        #[cfg(feature = "simulation")]
        while crate::simulated::is_on() && !self.store.is_logged() {
            durable(|told| self.log.settled(told)).await?;
        }
        let store = self.store.clone();
        let file = offload(move || store.take_snapshot()).await??;
        tracing::info!(path = %file.path.display(), items = file.header.items, "snapshot taken");
        *self.prepared.lock() = Some(file);
        Ok(())
    }

    /// The running hashes of the state after each of the newest applied entries.
    pub(crate) fn hashes(&self) -> &Arc<Hashes> {
        &self.hashes
    }

    /// Latency of applying a chunk of entries.
    pub(crate) fn pace(&self) -> &Arc<Pace> {
        &self.pace
    }

    async fn hand_over<T>(
        &self,
        job: impl FnOnce(oneshot::Sender<io::Result<T>>) -> Job,
    ) -> io::Result<T> {
        let ended = || io::Error::other("the thread that applies entries has ended");
        let (sender, receiver) = oneshot::channel();
        self.jobs.hand_over(job(sender)).ok_or_else(ended)?;
        receiver.await.map_err(|_| ended())?
    }
}

/// Executor of the jobs: a thread; in a simulation, the task that submits the job.
#[derive(Clone)]
enum Jobs {
    Thread(SyncSender<Job>),
    #[cfg(feature = "simulation")]
    Here(Arc<parking_lot::Mutex<Worker>>),
}

impl Jobs {
    fn done_by(worker: Worker) -> io::Result<Self> {
        #[cfg(feature = "simulation")]
        if crate::simulated::is_on() {
            return Ok(Self::Here(Arc::new(parking_lot::Mutex::new(worker))));
        }
        let (jobs, receiver) = sync_channel(4);
        std::thread::Builder::new()
            .name("apply".into())
            .spawn(move || worker.run(&receiver))?;
        Ok(Self::Thread(jobs))
    }

    /// Submits a job. `None` if the queue is full or the thread has ended.
    fn hand_over(&self, job: Job) -> Option<()> {
        match self {
            Self::Thread(jobs) => jobs.try_send(job).ok(),
            #[cfg(feature = "simulation")]
            Self::Here(worker) => {
                worker.lock().carry_out(job);
                Some(())
            }
        }
    }
}

struct Worker {
    store: StateStore,
    machine: Machine,
    after: AfterApply,
    newest: u32,
    pace: Arc<Pace>,
    outdated: Arc<OnceLock<String>>,
    hashes: Arc<Hashes>,
}

fn index_of(store: &StateStore) -> u64 {
    store.applied().last.map_or(0, |at| at.index)
}

/// Records the first error that says that this build is too old.
fn note<T>(outdated: &OnceLock<String>, result: &io::Result<T>) {
    if let Err(error) = result
        && error.kind() == io::ErrorKind::Unsupported
    {
        let _ = outdated.set(error.to_string()); // only the first error is kept: it is the reason
    }
}

impl Worker {
    fn install(&mut self, file: &SnapshotFile) -> io::Result<()> {
        self.store.install(file)?;
        self.machine = Machine::open_up_to(&self.store, self.newest)?;
        self.hashes
            .note(index_of(&self.store), self.machine.globals());
        Ok(())
    }

    fn run(mut self, jobs: &Receiver<Job>) {
        while let Ok(job) = jobs.recv() {
            self.carry_out(job);
        }
    }

    fn carry_out(&mut self, job: Job) {
        match job {
            Job::Apply(entries, answer) => {
                self.pace.begin(Instant::now());
                let result = entries.into_iter().map(|entry| self.apply(entry)).collect();
                self.pace.end(Instant::now());
                note(&self.outdated, &result);
                let _ = answer.send(result); // the receiver is gone if openraft is shutting down
            }
            Job::Install(file, answer) => {
                let result = self.install(&file);
                note(&self.outdated, &result);
                let _ = answer.send(result);
            }
        }
    }

    fn apply(&mut self, entry: RaftEntry) -> io::Result<Replies> {
        let at = types::position(&entry.log_id);
        let mut applied = AppliedAt {
            last: Some(at),
            ..self.store.applied()
        };
        let mut replies = Replies::default();
        let mut writes = crate::state::Writes::new();
        match entry.payload {
            EntryPayload::Blank => {}
            EntryPayload::Membership(membership) => {
                applied.membership = Some(types::proto_membership(Some(at), &membership))
            }
            EntryPayload::Normal(proposal) => {
                let commands = Entry::decode(proposal.0).map_err(|error| {
                    io::Error::new(
                        io::ErrorKind::InvalidData,
                        format!("log entry {} does not decode: {error}", at.index),
                    )
                })?;
                let done = self.machine.apply(&self.store, &commands)?;
                (replies.0, writes) = (done.replies, done.writes);
                self.store.store(writes, applied);
                self.hashes.note(at.index, self.machine.globals());
                if !done.woke.is_empty() {
                    (self.after)(&done.woke);
                }
                return Ok(replies);
            }
        }
        self.store.store(std::mem::take(&mut writes), applied);
        self.hashes.note(at.index, self.machine.globals());
        Ok(replies)
    }
}

pub(super) fn meta(file: &SnapshotFile) -> io::Result<SnapshotMetaOf<Types>> {
    Ok(SnapshotMeta {
        last_log_id: file.header.last.as_ref().map(types::log_id),
        last_membership: types::membership(file.header.membership.as_ref())?,
    })
}

impl RaftSnapshotBuilder<Types> for StateMachine {
    type SnapshotData = SnapshotFile;

    async fn build_snapshot(&mut self) -> io::Result<SnapshotOf<Types, SnapshotFile>> {
        let taken = || self.prepared.lock().take();
        let file = match taken().filter(|file| file.path.exists()) {
            Some(file) => file,
            None => {
                self.prepare_snapshot().await?;
                taken().ok_or_else(|| io::Error::other("another snapshot is being taken"))?
            }
        };
        Ok(Snapshot {
            meta: meta(&file)?,
            snapshot: file,
        })
    }
}

impl RaftStateMachine<Types> for StateMachine {
    type SnapshotData = SnapshotFile;
    type SnapshotBuilder = Self;

    async fn applied_state(&mut self) -> io::Result<(Option<LogId>, StoredMembership)> {
        let applied = self.store.applied();
        Ok((
            applied.last.as_ref().map(types::log_id),
            types::membership(applied.membership.as_ref())?,
        ))
    }

    async fn apply<S>(&mut self, entries: S) -> io::Result<()>
    where
        S: Stream<Item = io::Result<EntryResponder<Types>>> + Unpin + Send,
    {
        let mut chunks = entries.ready_chunks(CHUNK);
        while let Some(chunk) = chunks.next().await {
            let mut batch = Vec::with_capacity(chunk.len());
            let mut responders: Vec<Option<ApplyResponder<Types>>> =
                Vec::with_capacity(chunk.len());
            for item in chunk {
                let (entry, responder) = item?;
                batch.push(entry);
                responders.push(responder);
            }
            let answers = self.hand_over(|answer| Job::Apply(batch, answer)).await?;
            for (responder, replies) in responders.into_iter().zip(answers) {
                if let Some(responder) = responder {
                    responder.send(replies);
                }
            }
        }
        Ok(())
    }

    async fn get_snapshot_builder(&mut self) -> Self {
        self.clone()
    }

    async fn install_snapshot(
        &mut self,
        _meta: &SnapshotMetaOf<Types>,
        snapshot: SnapshotFile,
    ) -> io::Result<()> {
        let known = require_format(snapshot.header.format, self.newest, "a snapshot");
        note(&self.outdated, &known);
        known?;
        // The order is: keep the file, purge the log, install the state. After a crash at any step the state is not ahead of the log and can be
        // rebuilt.
        let store = self.store.clone();
        let snapshot = offload(move || store.keep(&snapshot)).await??;
        if let Some(last) = snapshot.header.last {
            durable(|told| self.log.purge(last, told)).await?;
        }
        self.hand_over(|answer| Job::Install(snapshot, answer))
            .await
    }

    async fn get_current_snapshot(
        &mut self,
    ) -> io::Result<Option<SnapshotOf<Types, SnapshotFile>>> {
        let root = self.store.root().to_owned();
        let newest = offload(move || SnapshotFile::newest(&root)).await??;
        // A state that has lost its newest writes catches up from the log. With a newer snapshot, openraft would install it and purge the log that it
        // has just read.
        let applied = index_of(&self.store);
        newest
            .filter(|file| file.header.last.is_some_and(|last| last.index <= applied))
            .map(|file| {
                Ok(Snapshot {
                    meta: meta(&file)?,
                    snapshot: file,
                })
            })
            .transpose()
    }
}
