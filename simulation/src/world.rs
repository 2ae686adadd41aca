//! What outlives the nodes of a run: their disks, their clocks, what clients were told, and what was seen of the nodes from outside.

use std::collections::{BTreeMap, BTreeSet, VecDeque};
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicI64, AtomicU64, Ordering};
use std::time::Duration;

use panther_cluster::door::Door;
use panther_cluster::door::clock::TimeSource;
use panther_cluster::log::MemoryFiles;
use panther_cluster::net::Authority;
use parking_lot::Mutex;
use xxhash_rust::xxh3::Xxh3;

use crate::history::History;
use crate::tally::Tally;

/// When a simulated day begins, in milliseconds since 1970.
pub(crate) const DAWN_MS: u64 = 1_800_000_000_000;

/// What a node is told from outside.
#[derive(Debug, Clone, Copy)]
pub(crate) enum Order {
    /// Lets another lead, if it does.
    HandOver(u64),
    /// Takes a snapshot and cuts the log.
    Snapshot,
    /// Stops in order.
    Stop,
}

/// A machine: what of a node is there while it does not run.
pub(crate) struct Place {
    pub(crate) number: u64,
    /// The node that it is: another one after it was replaced; 0: it is empty, and waits to be admitted.
    pub(crate) node: AtomicU64,
    /// The node whose place it takes once it is admitted.
    pub(crate) replaces: Mutex<Option<u64>>,
    /// It has taken part as that node.
    pub(crate) started: AtomicBool,
    /// Its log was harmed, and a start must be refused.
    pub(crate) harmed: AtomicBool,
    pub(crate) files: MemoryFiles,
    pub(crate) folder: PathBuf,
    /// How far its wall clock is off.
    pub(crate) off_ms: Arc<AtomicI64>,
    pub(crate) runs: AtomicU64,
    /// The node's door while it is open.
    pub(crate) door: Mutex<Option<Door>>,
    pub(crate) orders: Mutex<VecDeque<Order>>,
}

/// A run.
pub(crate) struct World {
    pub(crate) places: BTreeMap<u64, Arc<Place>>,
    pub(crate) authority: Authority,
    /// The three are one cluster, and clients may come.
    pub(crate) ready: AtomicBool,
    /// Clients begin nothing new.
    pub(crate) draining: AtomicBool,
    /// What failed before is mended: messages that were bad are good.
    pub(crate) mended: AtomicBool,
    /// Starts that were refused, by the code of the loss.
    pub(crate) refused: Mutex<BTreeMap<&'static str, u32>>,
    /// A node that is to be removed; its machine joins again as another one.
    pub(crate) removal: Mutex<Option<u64>>,
    /// Numbers of nodes that were used.
    pub(crate) used: Mutex<BTreeSet<u64>>,
    /// The clocks say that they are synchronised.
    pub(crate) synchronised: Arc<AtomicBool>,
    /// Clocks that said so may have led cluster time ahead.
    pub(crate) led_ahead: AtomicBool,
    pub(crate) history: Mutex<History>,
    pub(crate) tally: Mutex<Tally>,
    trace: Mutex<Xxh3>,
    spoken: bool,
}

/// What a promise that was not kept looks like.
#[derive(Debug, thiserror::Error)]
#[error("{0}")]
pub struct Broken(pub String);

impl World {
    pub(crate) fn new(folder: &Path, spoken: bool) -> Result<Self, Broken> {
        let place = |number: u64| {
            let place = Place {
                number,
                node: AtomicU64::new(u64::from(number == 1)), // the first makes the cluster
                replaces: Mutex::default(),
                started: AtomicBool::new(false),
                harmed: AtomicBool::new(false),
                files: MemoryFiles::default(),
                folder: folder.join(number.to_string()),
                off_ms: Arc::default(),
                runs: AtomicU64::new(0),
                door: Mutex::default(),
                orders: Mutex::default(),
            };
            (number, Arc::new(place))
        };
        Ok(Self {
            places: [1, 2, 3].map(place).into(),
            authority: Authority::create("simulated").map_err(|error| Broken(error.to_string()))?,
            ready: AtomicBool::new(false),
            draining: AtomicBool::new(false),
            mended: AtomicBool::new(false),
            refused: Mutex::default(),
            removal: Mutex::default(),
            used: Mutex::default(),
            synchronised: Arc::default(),
            led_ahead: AtomicBool::new(false),
            history: Mutex::default(),
            tally: Mutex::default(),
            trace: Mutex::new(Xxh3::new()),
            spoken,
        })
    }

    /// Notes what has happened: two runs of one seed note the same.
    pub(crate) fn note(&self, at: Duration, what: std::fmt::Arguments<'_>) {
        let line = format!("{:>9.3} {what}", at.as_secs_f64());
        self.trace.lock().update(line.as_bytes());
        if self.spoken {
            println!("{line}");
        }
    }

    /// What stands for everything that was noted.
    pub(crate) fn trace(&self) -> u64 {
        self.trace.lock().digest()
    }

    /// A machine was harmed or is to be removed, and another node has not yet taken its place: nothing else may be lost meanwhile.
    pub(crate) fn is_replacing(&self) -> bool {
        let harmed = |place: &Arc<Place>| place.harmed.load(Ordering::SeqCst);
        self.removal.lock().is_some()
            || self.places.values().any(harmed)
            || !self.stands_as_wanted()
    }

    /// Whether the nodes of the three machines are the members, and vote, as far as one that is up knows; and no other node does.
    pub(crate) fn stands_as_wanted(&self) -> bool {
        let nodes: BTreeSet<u64> = self
            .places
            .values()
            .map(|place| place.node.load(Ordering::SeqCst))
            .collect();
        let mut up = self
            .places
            .values()
            .filter_map(|place| place.door.lock().clone());
        up.any(|door| {
            let status = door.group().status();
            let voters: BTreeSet<u64> = status.voters.iter().copied().collect();
            let raft: BTreeSet<u64> = status.members.keys().copied().collect();
            status.in_contact && voters == nodes && raft == nodes
        })
    }

    /// Whether all clocks are right.
    pub(crate) fn clocks_are_right(&self) -> bool {
        let right = |place: &Arc<Place>| place.off_ms.load(Ordering::SeqCst) == 0;
        self.places.values().all(right)
    }

    pub(crate) fn is_draining(&self) -> bool {
        self.draining.load(Ordering::SeqCst)
    }

    pub(crate) fn is_mended(&self) -> bool {
        self.mended.load(Ordering::SeqCst)
    }
}

/// The time since the run began, on whichever node.
pub(crate) fn elapsed() -> Duration {
    turmoil::sim_elapsed().unwrap_or_default()
}

/// The true time, in milliseconds since 1970.
pub(crate) fn true_ms(now: Duration) -> u64 {
    DAWN_MS + u64::try_from(now.as_millis()).unwrap_or(0)
}

/// A node's clocks: the simulation's, and as far off as was said.
pub(crate) struct Clocks {
    off_ms: Arc<AtomicI64>,
    synchronised: Arc<AtomicBool>,
    /// turmoil's time runs ahead within a step, and is set back to the step's end behind it.
    latest_us: AtomicU64,
}

impl Clocks {
    pub(crate) fn new(off_ms: Arc<AtomicI64>, synchronised: Arc<AtomicBool>) -> Self {
        Self {
            off_ms,
            synchronised,
            latest_us: AtomicU64::new(0),
        }
    }
}

impl TimeSource for Clocks {
    fn wall_ms(&self) -> u64 {
        let now = DAWN_MS + u64::try_from(self.monotonic().as_millis()).unwrap_or(0);
        now.saturating_add_signed(self.off_ms.load(Ordering::SeqCst))
    }

    fn is_synchronised(&self) -> bool {
        self.synchronised.load(Ordering::SeqCst)
    }

    fn monotonic(&self) -> Duration {
        let now = u64::try_from(elapsed().as_micros()).unwrap_or(u64::MAX);
        Duration::from_micros(self.latest_us.fetch_max(now, Ordering::SeqCst).max(now))
    }
}
