//! What outlives the nodes of a run: their disks, their clocks, what clients were told, and what was seen of the nodes from outside.

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

/// When a simulated day begins, in milliseconds since 1970.
pub(crate) const DAWN_MS: u64 = 1_800_000_000_000;

/// Where a node listens, until it moves.
pub(crate) const PORT: u16 = 7_000;

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

/// What the machine of a removed node does before it joins again as another node.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Return {
    /// It is emptied.
    Emptied,
    /// It is started once more with all that it has.
    OldData,
    /// It is emptied, and started once more under the number of the removed node.
    OldNumber,
    /// It joins as another node, and keeps the folder of the removed one.
    OldFolder,
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
    /// What was done to its log, so that a start must be refused.
    pub(crate) harmed: Mutex<Option<Harm>>,
    /// It has lost its state and not its log: a start rebuilds the state, or is refused.
    pub(crate) state_lost: AtomicBool,
    /// What comes of its last run.
    pub(crate) then: Mutex<Then>,
    /// What it does when its node has been removed.
    pub(crate) returns: Mutex<Option<Return>>,
    /// Where the other nodes reach it.
    pub(crate) port: AtomicU16,
    pub(crate) files: MemoryFiles,
    pub(crate) folder: PathBuf,
    /// How far its wall clock is off.
    pub(crate) off_ms: Arc<AtomicI64>,
    pub(crate) runs: AtomicU64,
    /// The node's door while it is open.
    pub(crate) door: Mutex<Option<Door>>,
    pub(crate) orders: Mutex<VecDeque<Order>>,
}

/// A node is removed.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Removal {
    pub(crate) node: u64,
    /// The cluster has written down that it leaves.
    pub(crate) asked: bool,
}

/// A run.
pub(crate) struct World {
    pub(crate) places: BTreeMap<u64, Arc<Place>>,
    pub(crate) authority: Authority,
    /// The three are one cluster, and clients may come.
    pub(crate) ready: AtomicBool,
    /// Clients begin nothing new.
    pub(crate) draining: AtomicBool,
    /// Machines whose nodes had a write acknowledged after the last fault.
    pub(crate) wrote: Mutex<BTreeSet<u64>>,
    /// What failed before is mended: messages that were bad are good.
    pub(crate) mended: AtomicBool,
    /// Logs that were harmed.
    pub(crate) harms: AtomicU32,
    /// Starts that were refused, by the code of the loss.
    pub(crate) refused: Mutex<BTreeMap<String, u32>>,
    /// Addresses that nodes have left for others.
    pub(crate) moves: AtomicU32,
    /// A node that is to be removed; its machine joins again as another one.
    pub(crate) removal: Mutex<Option<Removal>>,
    /// Numbers of nodes that were used.
    pub(crate) used: Mutex<BTreeSet<u64>>,
    /// The clocks say that they are synchronised while they are right.
    pub(crate) are_synchronised: bool,
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
    pub(crate) fn new(folder: &Path, settings: Settings) -> Result<Self, Broken> {
        let place = |number: u64| {
            let place = Place {
                number,
                node: AtomicU64::new(u64::from(number == 1)), // the first makes the cluster
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

    /// Notes what has happened: two runs of one seed note the same.
    pub(crate) fn note(&self, at: Duration, what: std::fmt::Arguments<'_>) {
        let line = format!("{:>9.3} {what}", at.as_secs_f64());
        self.trace.lock().update(line.as_bytes());
        if self.spoken {
            println!("{line}");
        }
    }

    /// Takes what a node is at into what stands for everything that happened.
    pub(crate) fn saw(&self, what: [u64; 5]) {
        let mut trace = self.trace.lock();
        for number in what {
            trace.update(&number.to_le_bytes());
        }
    }

    /// What stands for everything that was noted.
    pub(crate) fn trace(&self) -> u64 {
        self.trace.lock().digest()
    }

    /// A removal is over once the machine of the removed node is no longer that node.
    pub(crate) fn end_removal(&self) {
        let mut removal = self.removal.lock();
        let is = |place: &Arc<Place>, node| place.node.load(Ordering::SeqCst) == node;
        if removal.is_some_and(|of| !self.places.values().any(|place| is(place, of.node))) {
            *removal = None;
        }
    }

    /// A machine was harmed or is to be removed, and another node has not yet taken its place: nothing else may be lost meanwhile.
    pub(crate) fn is_replacing(&self) -> bool {
        let harmed = |place: &Arc<Place>| {
            place.harmed.lock().is_some() || place.state_lost.load(Ordering::SeqCst)
        };
        self.removal.lock().is_some()
            || self.places.values().any(harmed)
            || !self.stands_as_wanted()
    }

    /// Whether the nodes of the three machines are the members, vote, and are reached where they are, as far as one that is up knows; and no other node does.
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

/// Whether these nodes decide by the membership that is in force in a state. What the log ends with may be undone, and of a change under way
/// a majority of those before has to agree as well.
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

/// Whether a state has these nodes as members, and no other node but removed ones.
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
    /// Where the other nodes reach it.
    pub(crate) fn address(&self) -> String {
        format!("n{}:{}", self.number, self.port.load(Ordering::SeqCst))
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
