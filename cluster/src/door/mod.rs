//! What callers use: commands, receives that wait, linearizable reads. A door checks sizes, admits no more than it can
//! hold, merges commands into entries, and says `Busy` with a time instead of growing.
//!
//! * [`admission`]: bounds in commands and bytes
//! * [`route`]: to this node's part in the group, or to the node that leads
//! * [`alive`]: sessions that are kept alive, and those that fell silent
//! * [`among`]: a door that other nodes call too
//! * [`clock`]: the leader's cluster time
//! * [`local`]: what one node knows by itself
//! * [`merge`]: many callers' commands into few entries
//! * [`parking`]: receivers that wait at an empty queue cost nothing
//! * [`queues`]: messages; [`change`]: how callers write changes and conditions
//! * [`set_time`]: an operator sets cluster time; [`uptime`]: it goes on by the machine's uptime
//! * [`error`]: why there is no answer

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
use uptime::UptimeMark;

/// How long a command may take from the door to its answer.
pub const DEADLINE: Duration = Duration::from_secs(10);

/// How long a look at the node waits for a leader before it shows what the node knows by itself.
pub const FRESH: Duration = Duration::from_millis(500);

/// How a door runs.
#[derive(Debug, Clone)]
pub struct DoorSettings {
    /// The group behind it.
    pub group: GroupSettings,
    /// Commands that may wait for an answer.
    pub max_commands: usize,
    /// Bytes of commands that may wait.
    pub max_bytes: usize,
    /// How often the leader looks for what is due.
    pub tick: Duration,
    /// After this silence of a node its session ends. It says five times as often that it is alive.
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

/// A door to the cluster; clones share it.
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
    /// Attempts to receive, so that each has a number of its own.
    attempts: AtomicU64,
    renewing: tokio::sync::Mutex<()>,
    node: u64,
    /// Whether this node receives messages.
    receives: watch::Sender<bool>,
    compared: Compared,
    differs: OnceLock<String>,
    tasks: parking_lot::Mutex<AbortOnDrop>,
}

/// Tasks that end with their owner.
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

/// How long a node that stops tries to say so.
const FAREWELL: Duration = Duration::from_secs(2);
/// How long a start waits for what was committed before, if it depends on nobody else.
const READY: Duration = Duration::from_secs(60);

/// Waits until some node leads and this node has applied what was committed before.
async fn wait_ready(route: &Route) -> Result<(), DoorError> {
    let until = Instant::now() + READY;
    loop {
        match route.caught_up().await {
            Ok(()) => return Ok(()),
            Err(error) if route.group.status().fault.is_some() => return Err(error),
            Err(error) if route.group.store().broken().is_some() => return Err(error),
            // The others may be started later, or have to take this one in first.
            Err(error) if Instant::now() >= until && route.peers.is_none() => return Err(error),
            Err(error) => {
                let others = route.peers.as_ref().map(Peers::failures);
                tracing::info!(%error, others = others.unwrap_or_default(), "waiting for a leader");
            }
        }
    }
}

impl Door {
    /// Opens the data below `folder`, takes part in its group, and opens this run's session, which gives back what an
    /// earlier run of the node held.
    ///
    /// # Errors
    /// The data cannot be read, or no leader was found in time.
    pub async fn open(
        folder: &std::path::Path,
        node: u64,
        session: u64,
        settings: DoorSettings,
    ) -> Result<Self, DoorError> {
        Self::open_among(folder, node, session, settings, Among::default()).await
    }

    /// The same among other nodes.
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
            let _ = early.send(local.clone()); // there may be no listener any more
        }
        // Others may call before this node is ready: it becomes so by their calls.
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
            clock.trust(Trust::Agreed, clock.offset_ms()); // with nobody who could disagree
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
            // First, so that a leap of cluster time at this start is noted as one.
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

    /// A group whose only voter is this node writes the newest format that this build knows.
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

    /// Stops: the session ends, so that what is held can be received elsewhere; then the group stops.
    ///
    /// # Errors
    /// The disk does not take what is in memory.
    pub async fn close(&self) -> Result<(), DoorError> {
        lead::hand_over(&self.inner).await;
        let session = self.inner.session.load(Ordering::Relaxed);
        let ending = self.moved(command::Kind::EndSession(EndSession {
            node: self.inner.node,
            session,
        }));
        // The last of several nodes to stop has no majority any more.
        let ended = tokio::time::timeout(FAREWELL, ending)
            .await
            .unwrap_or(Err(DoorError::Deadline { after: FAREWELL }));
        if let Err(error) = ended {
            tracing::warn!(%error, "the session could not be ended; it ends when the node opens its next one, or by its silence");
        }
        *self.inner.tasks.lock() = AbortOnDrop::default();
        Ok(self.inner.group.stop().await?)
    }

    /// This node's number.
    #[must_use]
    pub fn node(&self) -> u64 {
        self.inner.node
    }

    /// This run's session.
    #[must_use]
    pub fn session(&self) -> u64 {
        self.inner.session.load(Ordering::Relaxed)
    }

    /// What this node knows by itself.
    #[must_use]
    pub fn local(&self) -> &Local {
        &self.inner.local
    }

    /// The way to the other nodes; `None` on a node that listens to no other.
    pub(crate) fn peers(&self) -> Option<&Peers> {
        self.inner.route.peers.as_ref()
    }

    /// The group behind the door.
    #[must_use]
    pub fn group(&self) -> &Group {
        &self.inner.group
    }

    /// Cluster time now, as the leader would stamp it.
    #[must_use]
    pub fn now_ms(&self) -> u64 {
        self.inner.clock.now_ms()
    }

    /// Says whether receivers at this door get messages; those of one that is drained wait.
    pub fn receives(&self, allowed: bool) {
        self.inner
            .receives
            .send_if_modified(|now| std::mem::replace(now, allowed) != allowed);
    }

    /// Whether receivers at this door get messages.
    #[must_use]
    pub fn does_receive(&self) -> bool {
        *self.inner.receives.borrow()
    }

    /// What is wrong with this node's clock, if something is.
    #[must_use]
    pub fn clock_fault(&self) -> Option<String> {
        self.inner.clock.fault()
    }

    /// What is slow on this node, if something is: a leader that stays so hands over.
    #[must_use]
    pub fn slow(&self) -> Option<String> {
        self.inner.slow()
    }

    /// Hands in one command and waits for its answer.
    ///
    /// # Errors
    /// The door is full, there is no leader, or no answer came in time. A refusal or conflict is an answer.
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

    /// Carries out conditions, changes and sends together; with a receipt, that message is done.
    ///
    /// # Errors
    /// As [`DoorError`] says.
    pub async fn transact(&self, transact: Transact) -> Result<Done, DoorError> {
        match self.execute(command::Kind::Transact(transact)).await? {
            reply::Kind::Done(done) => Ok(done),
            other => Err(unexpected(other)),
        }
    }

    /// One row, as of a moment after this call began.
    ///
    /// # Errors
    /// There is no leader, or the state cannot be read.
    pub async fn get(&self, table: &str, key: &Key) -> Result<Option<Row>, DoorError> {
        let (table, key) = (table.to_owned(), key.clone());
        self.read(move |store| read::row(store, &table, &key)).await
    }

    /// A page of rows.
    ///
    /// # Errors
    /// There is no leader, no such table or index, or the state cannot be read.
    pub async fn query(&self, query: Query) -> Result<Page, DoorError> {
        self.read(move |store| read::query(store, &query)).await
    }

    /// All rows of a query, page by page. For tables that are small by nature (sources, outputs, detections).
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

    /// Waits a moment until the state here holds everything that was acknowledged before this call; the reason, if it may not hold it. What is read here
    /// afterwards by [`Local::read`] is as good as [`Door::read`] in the first case, and may be behind in the other.
    ///
    /// # Errors
    /// No leader confirms it in [`FRESH`].
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

    /// Reads the state as of a moment after this call began, off the async threads.
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

/// Ticks, each of bounded size, until nothing more is due: as much may fall due between two looks as was sent between
/// two others.
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

/// The leader's tick: proposed only if something is due.
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
