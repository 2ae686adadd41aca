//! State of a run that outlives the nodes: their disks and clocks, the answers that clients got, and outside
//! observations.

use std::collections::{BTreeMap, BTreeSet, VecDeque};
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicI64, AtomicU16, AtomicU32, AtomicU64, Ordering};
use std::time::Duration;

use panther_cluster::door::Door;
use panther_cluster::door::change::RowExt;
use panther_cluster::door::clock::TimeSource;
use panther_cluster::log::{Harm, MemoryFiles};
use panther_cluster::membership::MEMBERS;
use panther_cluster::net::Authority;
use panther_cluster::state::read::{self, Query};
use panther_cluster::storage::StateStore;
use parking_lot::Mutex;
use xxhash_rust::xxh3::Xxh3;

use crate::Settings;
use crate::history::History;
use crate::node::Then;
use crate::tally::Tally;

/// Simulated time at the start of a run, in milliseconds since 1970.
pub(crate) const DAWN_MS: u64 = 1_800_000_000_000;

/// The port on which a node listens until it moves to another address.
pub(crate) const PORT: u16 = 7_000;

/// An order to a node from outside.
#[derive(Debug, Clone, Copy)]
pub(crate) enum Order {
    /// If it leads, it transfers leadership to this node.
    HandOver(u64),
    /// It takes a snapshot and truncates the log.
    Snapshot,
    /// It stops gracefully.
    Stop,
}

/// What the machine of a removed node does before it joins again as another node.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Return {
    /// It is emptied.
    Emptied,
    /// It is started once more with all its old data.
    OldData,
    /// It is emptied, and started once more under the id of the removed node.
    OldNumber,
    /// It joins as another node, and keeps the folder of the removed one.
    OldFolder,
}

/// A machine: the part of a node that exists while the node does not run.
pub(crate) struct Place {
    pub(crate) number: u64,
    /// Id of the machine's node. It changes when the node is replaced; 0: the machine is empty and waits to be
    /// admitted.
    pub(crate) node: AtomicU64,
    /// The node that it replaces once it is admitted.
    pub(crate) replaces: Mutex<Option<u64>>,
    /// True if it has run as that node.
    pub(crate) started: AtomicBool,
    /// Damage to its log, because of which the next start must be refused.
    pub(crate) harmed: Mutex<Option<Harm>>,
    /// True if it has lost its state but not its log: the next start rebuilds the state, or is refused.
    pub(crate) state_lost: AtomicBool,
    /// What follows its last run.
    pub(crate) then: Mutex<Then>,
    /// What it does when its node has been removed.
    pub(crate) returns: Mutex<Option<Return>>,
    /// The port at which other nodes reach it.
    pub(crate) port: AtomicU16,
    pub(crate) files: MemoryFiles,
    pub(crate) folder: PathBuf,
    /// Its wall clock minus the true time, in ms.
    pub(crate) off_ms: Arc<AtomicI64>,
    pub(crate) runs: AtomicU64,
    /// The node's door while it is open.
    pub(crate) door: Mutex<Option<Door>>,
    pub(crate) orders: Mutex<VecDeque<Order>>,
}

/// Removal of a node.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Removal {
    pub(crate) node: u64,
    /// True once the cluster has recorded the removal.
    pub(crate) asked: bool,
}

/// Everything that belongs to one run.
pub(crate) struct World {
    pub(crate) places: BTreeMap<u64, Arc<Place>>,
    pub(crate) authority: Authority,
    /// True once the three nodes form one cluster: clients may start.
    pub(crate) ready: AtomicBool,
    /// True while clients start nothing new.
    pub(crate) draining: AtomicBool,
    /// Machines whose nodes got a write acknowledged after the last fault.
    pub(crate) wrote: Mutex<BTreeSet<u64>>,
    /// True once all failures are repaired: bad messages count as good.
    pub(crate) mended: AtomicBool,
    /// Number of logs that were damaged.
    pub(crate) harms: AtomicU32,
    /// Number of refused starts, by the code of the loss.
    pub(crate) refused: Mutex<BTreeMap<String, u32>>,
    /// Number of address changes of nodes.
    pub(crate) moves: AtomicU32,
    /// The node that is to be removed; its machine joins again as another node.
    pub(crate) removal: Mutex<Option<Removal>>,
    /// Node ids that were used.
    pub(crate) used: Mutex<BTreeSet<u64>>,
    /// True if the clocks of this run report that they are synchronised while they are right.
    pub(crate) are_synchronised: bool,
    /// True if the clocks report that they are synchronised now.
    pub(crate) synchronised: Arc<AtomicBool>,
    /// True if wrong clocks that reported to be synchronised may have moved cluster time ahead.
    pub(crate) led_ahead: AtomicBool,
    pub(crate) history: Mutex<History>,
    pub(crate) tally: Mutex<Tally>,
    trace: Mutex<Xxh3>,
    spoken: bool,
}

/// A broken promise: the failure of a run.
#[derive(Debug, thiserror::Error)]
#[error("{0}")]
pub struct Broken(pub String);

impl World {
    pub(crate) fn new(folder: &Path, settings: Settings) -> Result<Self, Broken> {
        let place = |number: u64| {
            let place = Place {
                number,
                node: AtomicU64::new(u64::from(number == 1)), // the first one creates the cluster
                replaces: Mutex::default(),
                started: AtomicBool::new(false),
                harmed: Mutex::default(),
                state_lost: AtomicBool::new(false),
                then: Mutex::new(Then::Ended),
                returns: Mutex::default(),
                port: AtomicU16::new(PORT),
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
            harms: AtomicU32::new(0),
            refused: Mutex::default(),
            moves: AtomicU32::new(0),
            wrote: Mutex::default(),
            removal: Mutex::default(),
            used: Mutex::default(),
            synchronised: Arc::new(AtomicBool::new(settings.seed.is_multiple_of(2))),
            are_synchronised: settings.seed.is_multiple_of(2),
            led_ahead: AtomicBool::new(false),
            history: Mutex::default(),
            tally: Mutex::default(),
            trace: Mutex::new(Xxh3::new()),
            spoken: settings.spoken,
        })
    }

    /// Records an event in the trace. Two runs of one seed record the same events.
    pub(crate) fn note(&self, at: Duration, what: std::fmt::Arguments<'_>) {
        let line = format!("{:>9.3} {what}", at.as_secs_f64());
        self.trace.lock().update(line.as_bytes());
        if self.spoken {
            println!("{line}");
        }
    }

    /// Adds a node's status to the trace hash.
    pub(crate) fn saw(&self, what: [u64; 5]) {
        let mut trace = self.trace.lock();
        for number in what {
            trace.update(&number.to_le_bytes());
        }
    }

    /// The hash of everything that was recorded.
    pub(crate) fn trace(&self) -> u64 {
        self.trace.lock().digest()
    }

    /// Ends a removal once the machine of the removed node runs as another node.
    pub(crate) fn end_removal(&self) {
        let mut removal = self.removal.lock();
        let is = |place: &Arc<Place>, node| place.node.load(Ordering::SeqCst) == node;
        if removal.is_some_and(|of| !self.places.values().any(|place| is(place, of.node))) {
            *removal = None;
        }
    }

    /// True while a node is damaged or being removed, and not yet replaced: nothing else may be lost meanwhile.
    pub(crate) fn is_replacing(&self) -> bool {
        let harmed = |place: &Arc<Place>| {
            place.harmed.lock().is_some() || place.state_lost.load(Ordering::SeqCst)
        };
        self.removal.lock().is_some()
            || self.places.values().any(harmed)
            || !self.stands_as_wanted()
    }

    /// True if, as far as a running node knows, exactly the nodes of the three machines are members, vote, and are
    /// recorded at their present addresses.
    pub(crate) fn stands_as_wanted(&self) -> bool {
        let nodes: BTreeMap<u64, String> = self
            .places
            .values()
            .map(|place| (place.node.load(Ordering::SeqCst), place.address()))
            .collect();
        let mut up = self
            .places
            .values()
            .filter_map(|place| place.door.lock().clone());
        up.any(|door| {
            let store = door.group().store();
            door.group().status().in_contact && decide(store, &nodes) && are_members(store, &nodes)
        })
    }

    /// True if all clocks are right.
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

/// True if exactly these nodes vote under the membership in force in a state. The membership at the end of the log may
/// still be undone, and during a change a majority of the old voters has to agree as well.
fn decide(store: &StateStore, nodes: &BTreeMap<u64, String>) -> bool {
    let Some(membership) = store.applied().membership else {
        return false;
    };
    let [voters] = membership.configs.as_slice() else {
        return false;
    };
    let addresses = membership.nodes.iter();
    let reached: BTreeMap<u64, String> = addresses
        .map(|(node, at)| (*node, at.address.clone()))
        .collect();
    let voters: BTreeSet<u64> = voters.ids.iter().copied().collect();
    reached == *nodes && voters.iter().eq(nodes.keys())
}

/// True if exactly these nodes are members in a state, apart from removed ones.
fn are_members(store: &StateStore, nodes: &BTreeMap<u64, String>) -> bool {
    let query = Query {
        table: MEMBERS.to_owned(),
        limit: 1_000,
        ..Query::default()
    };
    let Ok(found) = read::query(store, &query) else {
        return false;
    };
    let standings: BTreeMap<u64, Option<&str>> = found
        .rows
        .iter()
        .filter_map(|(key, row)| Some((key.hash.parse().ok()?, row.text("standing"))))
        .filter(|(_, standing)| *standing != Some("removed"))
        .collect();
    let are_members = standings
        .values()
        .all(|standing| standing.is_none_or(|standing| standing == "member"));
    are_members && standings.keys().eq(nodes.keys())
}

impl Place {
    /// The address at which other nodes reach it.
    pub(crate) fn address(&self) -> String {
        format!("n{}:{}", self.number, self.port.load(Ordering::SeqCst))
    }
}

/// Simulated time since the start of the run. The same on all nodes.
pub(crate) fn elapsed() -> Duration {
    turmoil::sim_elapsed().unwrap_or_default()
}

/// The true simulated time, in milliseconds since 1970.
pub(crate) fn true_ms(now: Duration) -> u64 {
    DAWN_MS + u64::try_from(now.as_millis()).unwrap_or(0)
}

/// A node's clocks: the simulation's time, with the node's error added to the wall clock.
pub(crate) struct Clocks {
    off_ms: Arc<AtomicI64>,
    synchronised: Arc<AtomicBool>,
    /// turmoil's time runs ahead within a step, and is set back to the step's end afterwards. This keeps it monotonic.
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
