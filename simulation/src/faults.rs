//! Fault injection: which faults happen to the nodes, and when, is drawn from the seed.

use std::sync::atomic::Ordering;
use std::time::Duration;

use panther_cluster::log::Harm;
use rand::rngs::StdRng;
use rand::seq::IndexedRandom;
use rand::{Rng, SeedableRng};
use serde::{Deserialize, Serialize};
use turmoil::Sim;

use crate::node::{Then, empty, host, lose_state};
use crate::world::{Order, Removal, Return, World};

/// Machine numbers of the nodes.
const NODES: [u64; 3] = [1, 2, 3];

/// Longest time until the leader knows the value of a clock that was set right: longer than any node is cut off.
const CLOCKS_HEARD: Duration = Duration::from_secs(20);

/// How often each kind of fault was made.
#[derive(Debug, Default, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
pub struct Made {
    /// Nodes that lost their power, and with it what they had not synced.
    pub power_cuts: u32,
    /// Power cuts of all nodes at once.
    pub blackouts: u32,
    /// Nodes that were stopped gracefully.
    pub stops: u32,
    /// Pairs of nodes that could not reach each other.
    pub partitions: u32,
    /// Pairs of nodes that were cut off in one direction.
    pub one_way: u32,
    /// Nodes that received nothing for a while, and then everything at once.
    pub held: u32,
    /// Periods of high message latency.
    pub slow: u32,
    /// Clocks that were set wrong.
    pub clocks: u32,
    /// Leadership transfers that were requested.
    pub hand_overs: u32,
    /// Snapshots that were requested.
    pub snapshots: u32,
    /// Logs that lost synced entries: all of them, or the end.
    pub lost_logs: u32,
    /// Logs that lost the last vote.
    pub lost_votes: u32,
    /// States that were lost while the log was kept.
    pub lost_states: u32,
    /// Machines that lost everything, their identity included.
    pub lost_machines: u32,
    /// Nodes that were removed, and whose machines joined again.
    pub removals: u32,
    /// Of these, machines that were restarted with the data of the removed node.
    pub old_data: u32,
    /// Of these, machines that were restarted empty, under the id of the removed node.
    pub old_numbers: u32,
    /// Of these, machines that joined as another node in the folder of the removed one.
    pub old_folders: u32,
    /// Leaps of one node's clock, by hours or days.
    pub node_leaps: u32,
    /// Equal leaps of all clocks, by hours or days, while the nodes ran.
    pub leaps: u32,
    /// Equal leaps of all clocks while all nodes were down.
    pub leaps_at_start: u32,
    /// Of the leaps of all clocks, those back.
    pub leaps_back: u32,
    /// Of the leaps of all clocks, those of clocks that reported to be synchronised.
    pub believed_leaps: u32,
}

impl std::ops::AddAssign for Made {
    fn add_assign(&mut self, other: Self) {
        self.power_cuts += other.power_cuts;
        self.blackouts += other.blackouts;
        self.stops += other.stops;
        self.partitions += other.partitions;
        self.one_way += other.one_way;
        self.held += other.held;
        self.slow += other.slow;
        self.clocks += other.clocks;
        self.hand_overs += other.hand_overs;
        self.snapshots += other.snapshots;
        self.lost_logs += other.lost_logs;
        self.lost_votes += other.lost_votes;
        self.lost_states += other.lost_states;
        self.lost_machines += other.lost_machines;
        self.removals += other.removals;
        self.old_data += other.old_data;
        self.old_numbers += other.old_numbers;
        self.old_folders += other.old_folders;
        self.node_leaps += other.node_leaps;
        self.leaps += other.leaps;
        self.leaps_at_start += other.leaps_at_start;
        self.leaps_back += other.leaps_back;
        self.believed_leaps += other.believed_leaps;
    }
}

/// The repair of a fault.
#[derive(Debug, Clone, Copy)]
enum Mend {
    Start(u64),
    Join(u64, u64),
    Release(u64),
    Fast,
    Clock(u64),
    AllClocks,
}

/// Draws faults, makes them and repairs them.
pub(crate) struct Faults {
    chance: StdRng,
    next: Duration,
    mends: Vec<(Duration, Mend)>,
    /// When a clock was last set right.
    clock_set: Option<Duration>,
    pub(crate) made: Made,
}

impl Faults {
    pub(crate) fn new(seed: u64) -> Self {
        Self {
            chance: StdRng::seed_from_u64(seed),
            next: Duration::from_secs(1),
            mends: Vec::new(),
            clock_set: None,
            made: Made::default(),
        }
    }

    fn ms(&mut self, least: u64, most: u64) -> Duration {
        Duration::from_millis(self.chance.random_range(least..most))
    }

    fn node(&mut self) -> u64 {
        NODES.choose(&mut self.chance).copied().unwrap_or(1)
    }

    fn pair(&mut self) -> (u64, u64) {
        let one = self.node();
        loop {
            let other = self.node();
            if other != one {
                return (one, other);
            }
        }
    }

    /// Makes the repairs that are due, and the next fault if it is due. No fault is made before `begun`.
    pub(crate) fn step(&mut self, sim: &mut Sim<'_>, world: &World, begun: Duration) {
        let now = sim.elapsed();
        while let Some(at) = self.mends.iter().position(|(due, _)| *due <= now) {
            let (_, mend) = self.mends.swap_remove(at);
            self.mend(sim, world, mend);
        }
        if now >= begun + self.next {
            self.make(sim, world);
            let pause = if self.chance.random_ratio(1, 6) {
                self.ms(3_000, 8_000) // time for the cluster to settle
            } else {
                self.ms(50, 2_000)
            };
            self.next = now + pause - begun;
        }
    }

    /// Repairs everything.
    pub(crate) fn heal(&mut self, sim: &mut Sim<'_>, world: &World) {
        for place in world.places.values() {
            place.orders.lock().clear();
        }
        for (_, mend) in std::mem::take(&mut self.mends) {
            self.mend(sim, world, mend);
        }
        world.note(sim.elapsed(), format_args!("all is mended"));
    }

    fn mend(&mut self, sim: &mut Sim<'_>, world: &World, mend: Mend) {
        world.note(sim.elapsed(), format_args!("mended: {mend:?}"));
        match mend {
            Mend::Start(node) => start(sim, node),
            Mend::Join(one, other) => sim.repair(host(one), host(other)),
            Mend::Release(node) => {
                for other in NODES {
                    if other != node {
                        sim.release(host(node), host(other));
                    }
                }
            }
            Mend::Fast => sim.set_max_message_latency(FAST),
            Mend::AllClocks => {
                world
                    .synchronised
                    .store(world.are_synchronised, Ordering::SeqCst);
                for place in world.places.values() {
                    place.off_ms.store(0, Ordering::SeqCst);
                }
            }
            Mend::Clock(node) => {
                self.clock_set = Some(sim.elapsed());
                world.places[&node].off_ms.store(0, Ordering::SeqCst);
            }
        }
    }

    fn make(&mut self, sim: &mut Sim<'_>, world: &World) {
        let now = sim.elapsed();
        let later = |faults: &mut Self, least, most, mend| {
            let due = now + faults.ms(least, most);
            faults.mends.push((due, mend));
        };
        match self.chance.random_range(0..100) {
            0..20 => {
                let node = self.leader_or_any(world);
                self.made.power_cuts += 1;
                self.cut(sim, world, node);
                match self.chance.random_range(0..12) {
                    0..4 => self.lose_log(sim, world, node),
                    4 => self.lose_machine(sim, world, node),
                    5 => self.lose_state(sim, world, node),
                    _ => {}
                }
                later(self, 0, 7_000, Mend::Start(node));
            }
            20..25 => {
                self.made.blackouts += 1;
                for node in NODES {
                    self.cut(sim, world, node);
                    later(self, 0, 4_000, Mend::Start(node));
                }
                if self.chance.random_bool(0.5) && world.clocks_are_right() {
                    self.leap(sim, world);
                    self.made.leaps_at_start += 1;
                    later(self, 5_000, 15_000, Mend::AllClocks);
                }
            }
            25..33 => {
                let node = self.leader_or_any(world);
                self.made.stops += 1;
                world.note(now, format_args!("n{node} is to stop"));
                world.places[&node].orders.lock().push_back(Order::Stop);
                later(self, 1_000, 6_000, Mend::Start(node));
            }
            33..46 => {
                // A node is cut off from one other node, or from both.
                let (node, other) = self.pair();
                let both = self.chance.random_bool(0.6);
                for to in NODES {
                    if to != node && (both || to == other) {
                        self.made.partitions += 1;
                        world.note(now, format_args!("n{node} and n{to} are apart"));
                        sim.partition(host(node), host(to));
                        later(self, 500, 9_000, Mend::Join(node, to));
                    }
                }
            }
            46..56 => {
                let (node, other) = self.pair();
                self.made.one_way += 1;
                world.note(now, format_args!("n{node} does not reach n{other}"));
                sim.partition_oneway(host(node), host(other));
                later(self, 500, 9_000, Mend::Join(node, other));
            }
            56..64 => {
                let node = self.leader_or_any(world);
                self.made.held += 1;
                world.note(now, format_args!("what n{node} says and hears is held"));
                for other in NODES {
                    if other != node {
                        sim.hold(host(node), host(other));
                    }
                }
                later(self, 300, 8_000, Mend::Release(node));
            }
            64..69 => {
                let most = self.ms(50, 600);
                self.made.slow += 1;
                world.note(now, format_args!("messages take up to {most:?}"));
                sim.set_max_message_latency(most);
                later(self, 500, 6_000, Mend::Fast);
            }
            69..77 => {
                // At most one at a time, so that a majority of the three clocks is right.
                let node = self.node();
                let leaps = self.chance.random_bool(0.5);
                let (off_ms, _) = if leaps {
                    self.far()
                } else {
                    (self.chance.random_range(-4_000_000..4_000_000), false)
                };
                let right = world
                    .places
                    .values()
                    .all(|place| place.off_ms.load(Ordering::SeqCst) == 0);
                // While a node is cut off, the leader knows only an older value of its clock.
                let known = self.clock_set.is_none_or(|at| now >= at + CLOCKS_HEARD);
                // A single voter has no other clock to compare with.
                if right && known && !world.is_replacing() {
                    self.made.clocks += 1;
                    self.made.node_leaps += u32::from(leaps);
                    world.note(now, format_args!("n{node}'s clock is {off_ms} ms off"));
                    world.places[&node].off_ms.store(off_ms, Ordering::SeqCst);
                    later(self, 2_000, 9_000, Mend::Clock(node));
                }
            }
            77..80 => {
                if world.clocks_are_right() {
                    self.leap(sim, world);
                    self.made.leaps += 1;
                    later(self, 3_000, 12_000, Mend::AllClocks);
                }
            }
            80..87 => {
                let node = self.node();
                if !world.is_replacing() && world.clocks_are_right() {
                    self.remove(sim, world, node);
                }
            }
            87..92 => {
                let to = self.node();
                self.made.hand_overs += 1;
                world.note(now, format_args!("n{to} is to lead"));
                for place in world.places.values() {
                    place.orders.lock().push_back(Order::HandOver(to));
                }
            }
            _ => {
                let node = self.node();
                self.made.snapshots += 1;
                world.places[&node].orders.lock().push_back(Order::Snapshot);
            }
        }
    }

    /// Draws the leader more often than another node: faults of the leader disturb the cluster most.
    fn leader_or_any(&mut self, world: &World) -> u64 {
        let leader = world.places.values().find(|place| {
            let door = place.door.lock();
            door.as_ref()
                .is_some_and(|door| door.group().status().leads)
        });
        match leader {
            Some(place) if self.chance.random_bool(0.6) => place.number,
            _ => self.node(),
        }
    }

    /// Cuts a node's power: what was not synced is lost, except possibly the first bytes of a write (a torn write).
    fn cut(&mut self, sim: &mut Sim<'_>, world: &World, node: u64) {
        world.note(sim.elapsed(), format_args!("n{node} loses its power"));
        let place = &world.places[&node];
        *place.door.lock() = None;
        place.orders.lock().clear();
        sim.crash(host(node));
        let torn = if self.chance.random_bool(0.5) {
            self.chance.random_range(0..400)
        } else {
            0
        };
        place.files.lose_power(torn);
    }
}

impl Faults {
    /// Draws how far a clock leaps, in ms, by hours or days; the second value is true if the leap is forward.
    fn far(&mut self) -> (i64, bool) {
        let days = self.chance.random_bool(0.5);
        let hours = self
            .chance
            .random_range(2..if days { 24 * 900 } else { 48 });
        let ahead = self.chance.random_bool(0.7);
        (hours * 3_600_000 * if ahead { 1 } else { -1 }, ahead)
    }

    /// Removes a node that runs or is down. Its machine joins again, and may first try a return that must be refused.
    fn remove(&mut self, sim: &Sim<'_>, world: &World, node: u64) {
        let place = &world.places[&node];
        let number = place.node.load(Ordering::SeqCst);
        let returns = match self.chance.random_range(0..4) {
            0 => Return::Emptied,
            1 => Return::OldData,
            2 => Return::OldNumber,
            _ => Return::OldFolder,
        };
        self.made.removals += 1;
        match returns {
            Return::Emptied => {}
            Return::OldData => self.made.old_data += 1,
            Return::OldNumber => self.made.old_numbers += 1,
            Return::OldFolder => self.made.old_folders += 1,
        }
        world.note(
            sim.elapsed(),
            format_args!("n{node} is to be removed as node {number}; then: {returns:?}"),
        );
        *place.returns.lock() = Some(returns);
        *world.removal.lock() = Some(Removal {
            node: number,
            asked: false,
        });
    }

    /// A node that is down loses its state and keeps its log.
    fn lose_state(&mut self, sim: &Sim<'_>, world: &World, node: u64) {
        let place = &world.places[&node];
        let took_part = place.started.load(Ordering::SeqCst);
        if !took_part || world.is_replacing() || lose_state(place).is_err() {
            return;
        }
        self.made.lost_states += 1;
        place.state_lost.store(true, Ordering::SeqCst);
        world.note(sim.elapsed(), format_args!("n{node} loses its state"));
    }

    /// Sets all clocks wrong by the same amount: hours or days, forward or back.
    fn leap(&mut self, sim: &Sim<'_>, world: &World) {
        let (off_ms, ahead) = self.far();
        let believed = ahead && self.chance.random_bool(0.3);
        self.made.leaps_back += u32::from(!ahead);
        self.made.believed_leaps += u32::from(believed);
        world.note(
            sim.elapsed(),
            format_args!("all clocks are {off_ms} ms off, synchronised: {believed}"),
        );
        for place in world.places.values() {
            place.off_ms.store(off_ms, Ordering::SeqCst);
        }
        world.synchronised.store(believed, Ordering::SeqCst);
        if believed {
            world.led_ahead.store(true, Ordering::SeqCst);
        }
    }

    /// A node that is down loses everything, its identity included. Its machine replaces it as another node.
    fn lose_machine(&mut self, sim: &Sim<'_>, world: &World, node: u64) {
        let place = &world.places[&node];
        let number = place.node.load(Ordering::SeqCst);
        if world.is_replacing() || empty(place, Some(number)).is_err() {
            return;
        }
        self.made.lost_machines += 1;
        world.note(
            sim.elapsed(),
            format_args!("n{node} loses all that it was as node {number}"),
        );
    }

    /// A node that is down loses a synced part of its log and keeps its state. At most one at a time: what a majority
    /// has lost cannot be recovered.
    fn lose_log(&mut self, sim: &Sim<'_>, world: &World, node: u64) {
        let place = &world.places[&node];
        let kinds = [
            Harm::Emptied,
            Harm::Forgotten,
            Harm::NewestGone,
            Harm::MiddleGone,
            Harm::NewestZeroed,
            Harm::CutShort,
            Harm::CutShort,
            Harm::VoteLost,
            Harm::VoteLost,
        ];
        let harm = kinds.choose(&mut self.chance).copied();
        let (chance, took_part) = (self.chance.random(), place.started.load(Ordering::SeqCst));
        let Some(harm) = harm.filter(|_| took_part && !world.is_replacing()) else {
            return;
        };
        if !place.files.harm(harm, chance).unwrap_or(false) {
            return;
        }
        world.note(
            sim.elapsed(),
            format_args!("n{node} loses its log: {harm:?}"),
        );
        world.harms.fetch_add(1, Ordering::SeqCst);
        *place.harmed.lock() = Some(harm);
        match harm {
            Harm::VoteLost => self.made.lost_votes += 1,
            _ => self.made.lost_logs += 1,
        }
    }
}

/// Highest message latency of an undisturbed network.
pub(crate) const FAST: Duration = Duration::from_millis(6);

/// Starts all nodes that do not run.
pub(crate) fn start_all(sim: &mut Sim<'_>) {
    for node in NODES {
        start(sim, node);
    }
}

/// Starts machines whose node was refused or removed: they continue as another node.
pub(crate) fn start_others(sim: &mut Sim<'_>, world: &World) {
    for place in world.places.values() {
        let ended = matches!(*place.then.lock(), Then::Ended);
        if !ended {
            start(sim, place.number);
        }
    }
}

/// Starts a node if it does not run.
pub(crate) fn start(sim: &mut Sim<'_>, node: u64) {
    if !sim.is_host_running(host(node)) {
        sim.bounce(host(node));
    }
}
