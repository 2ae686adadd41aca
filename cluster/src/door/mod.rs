//! The client interface of the cluster: commands, long-poll receives, linearizable reads. A door checks sizes, admits a
//! bounded number of commands, merges commands into entries, and answers `Busy` with a retry time when it is full.
//!
//! * [`admission`]: limits in commands and bytes
//! * [`route`]: routes commands and reads to this node's group member, or to the leader
//! * [`alive`]: heartbeats of sessions, and detection of silent nodes
//! * [`among`]: a door that serves other nodes too
//! * [`clock`]: the leader's cluster time
//! * [`local`]: the local view of one node, for times without a leader
//! * [`merge`]: merges the commands of many callers into few entries
//! * [`parking`]: waiting receivers at an empty queue, which cost nothing
//! * [`queues`]: messages; [`change`]: builders for row changes and conditions
//! * [`set_time`]: an operator sets cluster time; [`uptime`]: cluster time advances by the machine's uptime
//! * [`tables`]: read-only access to tables
//! * [`error`]: error types

mod admission;
mod alive;
mod among;
pub mod change;
pub mod clock;
mod compare;
mod error;
mod lead;
mod local;
mod merge;
mod parking;
mod queues;
mod route;
mod set_time;
mod tables;
mod uptime;

use std::io;
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Arc, OnceLock};
use std::time::Duration;

use panther_proto::v1::{
    Command, Done, EndSession, Key, Moved, OpenSession, RaiseFormat, Reply, Row, Tick, Transact,
    command, reply,
};
use tokio::sync::watch;
use tokio::time::Instant;

use crate::net::Peers;
use crate::offload::offload;
use crate::raft::{AfterApply, Group, GroupSettings};
use crate::state::limits;
use crate::state::read::{self, Page, Query};
use crate::storage::StateStore;
use admission::Admission;
use alive::Heard;
pub use alive::HeardNode;
pub use among::Among;
use among::Backstage;
use clock::{ClusterClock, Stamp, Trust};
use compare::Compared;
pub use error::DoorError;
use error::unexpected;
pub(crate) use lead::UNAPPLIED;
pub use local::{LastHeard, Local};
use merge::Merger;
use parking::Parking;
pub use queues::{INSIST, INSIST_EVERY};
use route::{Reads, Route};
pub use set_time::TimeSet;
pub use tables::TableReader;
use uptime::UptimeMark;

/// Deadline of a command, from the door to its answer.
pub const DEADLINE: Duration = Duration::from_secs(10);

/// How long a status request waits for a leader before it falls back to what the node knows by itself.
pub const FRESH: Duration = Duration::from_millis(500);

/// Settings of a door.
#[derive(Debug, Clone)]
pub struct DoorSettings {
    /// Settings of the Raft group behind the door.
    pub group: GroupSettings,
    /// Maximum number of commands that wait for an answer.
    pub max_commands: usize,
    /// Maximum bytes of commands that wait for an answer.
    pub max_bytes: usize,
    /// Interval at which the leader checks for due timers.
    pub tick: Duration,
    /// Session timeout: a node without a heartbeat for this long loses its session. The heartbeat interval is a fifth
    /// of it.
    pub silence: Duration,
}

impl Default for DoorSettings {
    fn default() -> Self {
        Self {
            group: GroupSettings::default(),
            max_commands: 10_000,
            max_bytes: 64 << 20,
            tick: Duration::from_millis(250),
            silence: Duration::from_secs(10),
        }
    }
}

/// A door to the cluster. Clones share one door.
#[derive(Clone)]
pub struct Door {
    inner: Arc<Inner>,
}

struct Inner {
    group: Group,
    route: Route,
    merger: Merger,
    reads: Reads,
    heard: Heard,
    local: Local,
    admission: Admission,
    parking: Arc<Parking>,
    clock: Arc<ClusterClock>,
    session: AtomicU64,
    /// Counter of receive attempts: each attempt has a unique number within the session.
    attempts: AtomicU64,
    renewing: tokio::sync::Mutex<()>,
    node: u64,
    /// True if this node receives messages.
    receives: watch::Sender<bool>,
    compared: Compared,
    differs: OnceLock<String>,
    tasks: parking_lot::Mutex<AbortOnDrop>,
}

/// Tasks that are aborted when their owner is dropped.
#[derive(Default)]
struct AbortOnDrop(Vec<tokio::task::JoinHandle<()>>);

impl AbortOnDrop {
    fn push(&mut self, task: tokio::task::JoinHandle<()>) {
        self.0.push(task);
    }
}

impl Drop for AbortOnDrop {
    fn drop(&mut self) {
        for task in &self.0 {
            task.abort();
        }
    }
}

/// How long a stopping node tries to end its session.
const FAREWELL: Duration = Duration::from_secs(2);
/// How long the start of a node without peers waits until it has applied what was committed before.
const READY: Duration = Duration::from_secs(60);

/// Waits until a node leads and this node has applied everything that was committed before.
async fn wait_ready(route: &Route) -> Result<(), DoorError> {
    let until = Instant::now() + READY;
    loop {
        match route.caught_up().await {
            Ok(()) => return Ok(()),
            Err(error) if route.group.status().fault.is_some() => return Err(error),
            Err(error) if route.group.store().broken().is_some() => return Err(error),
            // The other nodes may start later, or must add this node to the cluster first.
            Err(error) if Instant::now() >= until && route.peers.is_none() => return Err(error),
            Err(error) => {
                let others = route.peers.as_ref().map(Peers::failures);
                tracing::info!(%error, others = others.unwrap_or_default(), "waiting for a leader");
            }
        }
    }
}

impl Door {
    /// Opens the data below `folder`, joins its Raft group, and opens this run's session. That ends the session of the
    /// node's earlier run and releases the messages it held.
    ///
    /// # Errors
    /// The data cannot be read, the node was removed, or no leader was found in time.
    pub async fn open(
        folder: &std::path::Path,
        node: u64,
        session: u64,
        settings: DoorSettings,
    ) -> Result<Self, DoorError> {
        Self::open_among(folder, node, session, settings, Among::default()).await
    }

    /// As [`Door::open`], as a member of a cluster.
    ///
    /// # Errors
    /// As [`Door::open`].
    pub async fn open_among(
        folder: &std::path::Path,
        node: u64,
        session: u64,
        settings: DoorSettings,
        among: Among,
    ) -> Result<Self, DoorError> {
        let parking = Arc::new(Parking::default());
        let after: AfterApply = {
            let parking = parking.clone();
            Arc::new(move |woke| parking.wake(woke))
        };
        let Among {
            membership,
            listener,
            gate,
            log_files,
            time,
            early,
        } = among;
        let (peers, address) = (membership.peers.clone(), membership.address.clone());
        let group = Group::start(
            folder,
            node,
            membership,
            settings.group.clone(),
            log_files,
            after,
        )
        .await?;
        let local = Local::of(group.clone(), peers.clone(), address);
        if let Some(early) = early {
            let _ = early.send(local.clone()); // the receiver may be gone
        }
        // Serve other nodes before this node is ready: it becomes ready through their calls.
        let backstage = Arc::new(Backstage::of(group.clone()));
        let mut tasks = AbortOnDrop::default();
        tasks.push(tokio::spawn(local::greet(local.clone())));
        if let (Some(listener), Some(peers)) = (listener, &peers) {
            tasks.push(tokio::spawn(crate::net::serve(
                listener,
                peers.clone(),
                group.clone(),
                backstage.clone(),
                gate,
            )));
        }
        let uptime = UptimeMark::at(folder, time.clone());
        let state = uptime.go_on(Stamp::from(&read::globals(group.store())?));
        let clock = Arc::new(match &peers {
            None => ClusterClock::starting_at(state, time),
            Some(_) => ClusterClock::among_others(state, time),
        });
        let route = Route {
            group: group.clone(),
            peers,
            clock: clock.clone(),
        };
        tokio::select! {
            ready = wait_ready(&route) => ready?,
            removal = local.removed() => return Err(DoorError::Removed(removal)),
        }
        clock.follow(Stamp::from(&read::globals(group.store())?));
        if group.status().voters == [node] {
            clock.trust(Trust::Agreed, clock.offset_ms()); // no other voter can disagree
        }
        let (merger, merging) = Merger::start(route.clone());
        let (reads, reading) = Reads::start(route.clone());
        tasks.push(merging);
        tasks.push(reading);
        let inner = Inner {
            group,
            route,
            merger,
            reads,
            heard: Heard::new(settings.silence),
            local: local.clone(),
            admission: Admission::new(settings.max_commands, settings.max_bytes),
            parking,
            clock,
            session: AtomicU64::new(session),
            attempts: AtomicU64::new(1),
            renewing: tokio::sync::Mutex::default(),
            node,
            receives: watch::Sender::new(true),
            compared: Compared::default(),
            differs: OnceLock::new(),
            tasks: parking_lot::Mutex::new(tasks),
        };
        let door = Self {
            inner: Arc::new(inner),
        };
        backstage.open(&door.inner);
        let opened = async {
            // First, so that a leap of cluster time at this start is recorded as a leap.
            door.raise_format().await?;
            door.open_session(session).await
        };
        if let Err(error) = opened.await {
            return Err(match door.inner.group.outdated() {
                Some(reason) => io::Error::new(io::ErrorKind::Unsupported, reason).into(),
                None => error,
            });
        }
        let ticking = tokio::spawn(tick(Arc::downgrade(&door.inner), uptime, settings.tick));
        let living = tokio::spawn(among::stay_alive(
            Arc::downgrade(&door.inner),
            settings.silence / 5,
        ));
        let pacing = tokio::spawn(lead::watch_pace(Arc::downgrade(&door.inner)));
        let mut tasks = door.inner.tasks.lock();
        tasks.push(ticking);
        tasks.push(pacing);
        tasks.push(living);
        drop(tasks);
        Ok(door)
    }

    /// If this node is the only voter of its group, raises the format to the newest one of this build.
    async fn raise_format(&self) -> Result<(), DoorError> {
        let alone = self.inner.group.status().voters == [self.inner.node];
        let format = self.inner.group.newest_format();
        if alone && read::globals(self.store())?.format < format {
            self.execute(command::Kind::RaiseFormat(RaiseFormat { format }))
                .await?;
        }
        Ok(())
    }

    async fn open_session(&self, session: u64) -> Result<(), DoorError> {
        loop {
            let moved = self
                .moved(command::Kind::OpenSession(OpenSession {
                    node: self.inner.node,
                    session,
                }))
                .await?;
            if moved.count > 0 {
                tracing::info!(
                    count = moved.count,
                    "messages that the node's last run held were given back"
                );
            }
            if moved.finished {
                return Ok(());
            }
        }
    }

    /// Stops the node: transfers leadership, ends the session so that its messages can be received elsewhere, stops the
    /// group.
    ///
    /// # Errors
    /// What is in memory cannot be written to disk.
    pub async fn close(&self) -> Result<(), DoorError> {
        lead::hand_over(&self.inner).await;
        let session = self.inner.session.load(Ordering::Relaxed);
        let ending = self.moved(command::Kind::EndSession(EndSession {
            node: self.inner.node,
            session,
        }));
        // The last of several nodes to stop has no quorum any more.
        let ended = tokio::time::timeout(FAREWELL, ending)
            .await
            .unwrap_or(Err(DoorError::Deadline { after: FAREWELL }));
        if let Err(error) = ended {
            tracing::warn!(%error, "the session could not be ended; it ends when the node opens its next one, or by its silence");
        }
        *self.inner.tasks.lock() = AbortOnDrop::default();
        Ok(self.inner.group.stop().await?)
    }

    /// This node's id.
    #[must_use]
    pub fn node(&self) -> u64 {
        self.inner.node
    }

    /// The session of this run.
    #[must_use]
    pub fn session(&self) -> u64 {
        self.inner.session.load(Ordering::Relaxed)
    }

    /// The local view of this node.
    #[must_use]
    pub fn local(&self) -> &Local {
        &self.inner.local
    }

    /// Connections to the other nodes; `None` on a node without a cluster port.
    pub(crate) fn peers(&self) -> Option<&Peers> {
        self.inner.route.peers.as_ref()
    }

    /// The Raft group behind the door.
    #[must_use]
    pub fn group(&self) -> &Group {
        &self.inner.group
    }

    /// Cluster time now in milliseconds since 1970, as the leader would stamp it.
    #[must_use]
    pub fn now_ms(&self) -> u64 {
        self.inner.clock.now_ms()
    }

    /// Allows or forbids that receivers at this door get messages. On a drained node they are forbidden: its receivers
    /// wait.
    pub fn receives(&self, allowed: bool) {
        self.inner
            .receives
            .send_if_modified(|now| std::mem::replace(now, allowed) != allowed);
    }

    /// True if receivers at this door get messages.
    #[must_use]
    pub fn does_receive(&self) -> bool {
        *self.inner.receives.borrow()
    }

    /// The fault of this node's clock, if there is one.
    #[must_use]
    pub fn clock_fault(&self) -> Option<String> {
        self.inner.clock.fault()
    }

    /// What is slow on this node, if anything is. A leader that stays slow transfers leadership.
    #[must_use]
    pub fn slow(&self) -> Option<String> {
        self.inner.slow()
    }

    /// Executes one command and waits for its reply.
    ///
    /// # Errors
    /// The door is full, there is no leader, or the deadline passed. A refusal or a conflict is a reply, not an error.
    pub async fn execute(&self, kind: command::Kind) -> Result<reply::Kind, DoorError> {
        let command = Command { kind: Some(kind) };
        limits::check(&command).map_err(DoorError::Refused)?;
        let _admitted = self.inner.admission.admit(&command)?;
        let Reply { kind } = tokio::time::timeout(DEADLINE, self.inner.merger.submit(command))
            .await
            .map_err(|_| DoorError::Deadline { after: DEADLINE })??;
        kind.ok_or_else(|| {
            DoorError::Unavailable(
                "the answer is of a kind that this build does not know".to_owned(),
            )
        })
    }

    async fn moved(&self, kind: command::Kind) -> Result<Moved, DoorError> {
        match self.execute(kind).await? {
            reply::Kind::Moved(moved) => Ok(moved),
            other => Err(unexpected(other)),
        }
    }

    /// Executes conditions, changes and sends atomically. With a receipt it also completes that message.
    ///
    /// # Errors
    /// See [`DoorError`].
    pub async fn transact(&self, transact: Transact) -> Result<Done, DoorError> {
        match self.execute(command::Kind::Transact(transact)).await? {
            reply::Kind::Done(done) => Ok(done),
            other => Err(unexpected(other)),
        }
    }

    /// One row (linearizable read).
    ///
    /// # Errors
    /// There is no leader, or the state cannot be read.
    pub async fn get(&self, table: &str, key: &Key) -> Result<Option<Row>, DoorError> {
        let (table, key) = (table.to_owned(), key.clone());
        self.read(move |store| read::row(store, &table, &key)).await
    }

    /// A page of rows (linearizable read).
    ///
    /// # Errors
    /// There is no leader, no such table or index, or the state cannot be read.
    pub async fn query(&self, query: Query) -> Result<Page, DoorError> {
        self.read(move |store| read::query(store, &query)).await
    }

    /// All rows of a query, page by page. Only for tables that are small by nature (sources, outputs, detections).
    ///
    /// # Errors
    /// As [`Door::query`].
    pub async fn query_all(&self, mut query: Query) -> Result<Vec<read::KeyedRow>, DoorError> {
        query.limit = 1_000;
        let mut rows = Vec::new();
        loop {
            let page = self.query(query.clone()).await?;
            rows.extend(page.rows);
            match page.next {
                Some(next) => query.after = Some(next),
                None => return Ok(rows),
            }
        }
    }

    /// Waits, up to [`FRESH`], until the local state holds everything that was acknowledged before this call. On
    /// success [`Local::read`] is as current as [`Door::read`]; on an error it may return older state.
    ///
    /// # Errors
    /// The reason, if no leader confirms it within [`FRESH`].
    pub async fn fresh(&self) -> Result<(), String> {
        let asked = tokio::time::timeout(FRESH, self.inner.reads.caught_up()).await;
        match asked {
            Ok(Ok(())) => return Ok(()),
            Ok(Err(error)) if self.inner.local.without_leader().is_none() => {
                return Err(error.to_string());
            }
            _ => {}
        }
        Err(match self.inner.local.without_leader() {
            Some((_, reason)) => reason,
            None => format!(
                "the leader did not confirm within {} ms that this node's state is up to date",
                FRESH.as_millis()
            ),
        })
    }

    /// Reads the state (linearizable), on a blocking thread.
    ///
    /// # Errors
    /// There is no leader, or `read` fails.
    pub async fn read<T: Send + 'static>(
        &self,
        read: impl FnOnce(&StateStore) -> io::Result<T> + Send + 'static,
    ) -> Result<T, DoorError> {
        tokio::time::timeout(DEADLINE, self.inner.reads.caught_up())
            .await
            .map_err(|_| DoorError::Deadline { after: DEADLINE })??;
        let store = self.store().clone();
        Ok(offload(move || read(&store)).await??)
    }

    fn store(&self) -> &StateStore {
        self.inner.group.store()
    }
}

/// Submits ticks of bounded size until nothing more is due: one interval between ticks can make as much due as was sent
/// in an earlier interval.
async fn settle(merger: &Merger) -> Result<(), DoorError> {
    const MAX: u32 = 200;
    loop {
        let Reply { kind } = merger
            .submit(Command {
                kind: Some(command::Kind::Tick(Tick { max: MAX })),
            })
            .await?;
        match kind {
            Some(reply::Kind::Moved(moved)) if !moved.finished && moved.count > 0 => {}
            _ => return Ok(()),
        }
    }
}

/// The tick task. The leader proposes a tick only if something is due.
async fn tick(inner: std::sync::Weak<Inner>, uptime: UptimeMark, every: Duration) {
    let uptime = Arc::new(uptime);
    let mut ticks = tokio::time::interval(every);
    ticks.set_missed_tick_behavior(tokio::time::MissedTickBehavior::Delay);
    loop {
        ticks.tick().await;
        let Some(inner) = inner.upgrade() else { return };
        let store = inner.group.store().clone();
        let (clock, uptime) = (inner.clock.clone(), uptime.clone());
        let noted = offload(move || {
            clock.follow(Stamp::from(&read::globals(&store)?));
            uptime.note(clock.stamp());
            Ok::<_, io::Error>(())
        });
        match noted.await {
            Ok(Ok(())) => {}
            Ok(Err(error)) => tracing::warn!(%error, "cluster time cannot be read"),
            Err(_) => return, // the node is stopping
        }
        let leads = inner.group.status().leads;
        inner.heard.leads(leads);
        if !leads {
            inner.compared.forget();
            continue;
        }
        inner.clock.lead();
        if inner.route.peers.is_some() {
            lead::compare_clocks(&inner).await;
            among::end_silent_sessions(&inner).await;
        }
        let store = inner.group.store().clone();
        let now = inner.clock.now_ms();
        let due = offload(move || read::anything_due(&store, now)).await;
        match due {
            Ok(Ok(true)) => {
                if let Err(error) = settle(&inner.merger).await {
                    tracing::debug!(%error, "a tick was not applied; the next one tries again");
                }
            }
            Ok(Ok(false)) => {}
            Ok(Err(error)) => tracing::warn!(%error, "what is due cannot be read"),
            Err(_) => return,
        }
    }
}
