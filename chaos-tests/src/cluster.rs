//! A cluster of three nodes. Each node is a process with its own data folder and ports; all share one folder of objects.

use std::collections::BTreeMap;
use std::net::{Ipv4Addr, TcpListener};
use std::path::{Path, PathBuf};
use std::time::Duration;

use serde_json::Value;

use crate::clocks::Clock;
use crate::disk::Disk;
use crate::node::{Binaries, Caller, Node, NodeSettings, Place, count, items, text};
use crate::wires::Wires;
use crate::{During, Failure, Result, until};

/// Deadline of a start, a join or a healing.
pub const PATIENCE: Duration = Duration::from_secs(120);

/// Object store of a cluster, as configured on its nodes.
#[derive(Debug, Clone)]
pub struct Store {
    /// `objects.url`.
    pub url: String,
    /// `objects.endpoint`; empty if it is not set.
    pub endpoint: String,
    /// Environment variables of the nodes.
    pub environment: Vec<(String, String)>,
}

impl Store {
    /// A folder for the objects of a run, created in the run's folder.
    fn within(run: &Path) -> Result<Self> {
        let objects = run.join("objects");
        std::fs::create_dir_all(&objects).during("making the folder of objects")?;
        Ok(Self::folder(&objects))
    }

    /// A folder that all nodes share.
    #[must_use]
    pub fn folder(folder: &Path) -> Self {
        Self {
            url: format!("file://{}", folder.display()),
            endpoint: String::new(),
            environment: Vec::new(),
        }
    }
}

/// What each machine has in addition to a folder.
#[derive(Debug, Clone, Copy, Default)]
pub struct Machines {
    /// A network interface and a wall clock, so that a node can be partitioned and its clock set.
    pub wires: bool,
    /// A file system of its own.
    pub disks: bool,
}

/// Size of a machine's disk. The image is sparse, so unwritten space takes no room.
const DISK_MEGABYTES: u64 = 6_000;

/// The nodes by node id.
pub struct Cluster {
    folder: PathBuf,
    store: Store,
    binaries: Binaries,
    /// Number of machines so far. Each has a folder of its own.
    machines: u8,
    /// The nodes. They are dropped before the resources of their machines.
    pub nodes: BTreeMap<u64, Node>,
    /// The machine of each node, also of nodes that no longer run.
    machine_of: BTreeMap<u64, u8>,
    wires: Option<Wires>,
    clocks: BTreeMap<u8, Clock>,
    disks: BTreeMap<u8, Disk>,
    /// Deadline for a node to be ready, and for the nodes to converge: [`PATIENCE`], unless the state is large.
    pub patience: Duration,
}

impl Cluster {
    /// Creates a cluster of three voters, joined in the same way as an operator joins them.
    ///
    /// # Errors
    /// The nodes do not form a cluster.
    pub async fn three(folder: PathBuf) -> Result<Self> {
        let store = Store::within(&folder)?;
        Self::make(folder, store, Machines::default()).await
    }

    /// Like [`Cluster::three`], with another object store.
    ///
    /// # Errors
    /// The nodes do not form a cluster.
    pub async fn three_with(folder: PathBuf, store: Store) -> Result<Self> {
        Self::make(folder, store, Machines::default()).await
    }

    /// Like [`Cluster::three`], on machines with further resources.
    ///
    /// # Errors
    /// The nodes do not form a cluster, or this machine cannot provide settable clocks or disks.
    pub async fn three_on(folder: PathBuf, machines: Machines) -> Result<Self> {
        let store = Store::within(&folder)?;
        Self::make(folder, store, machines).await
    }

    async fn make(folder: PathBuf, store: Store, own: Machines) -> Result<Self> {
        let (mut clocks, mut disks) = (BTreeMap::new(), BTreeMap::new());
        let wires = own.wires.then(Wires::lay).transpose()?;
        for machine in 1..=3 {
            if own.wires {
                let folder = folder.join(format!("clock-{machine}"));
                clocks.insert(machine, Clock::right(&folder)?);
            }
            if own.disks {
                let folder = folder.join(format!("disk-{machine}"));
                std::fs::create_dir_all(&folder).during("making a disk's folder")?;
                disks.insert(machine, Disk::ext4(&folder, DISK_MEGABYTES).await?);
            }
        }
        let mut cluster = Self {
            folder,
            store,
            binaries: Binaries::find()?,
            machines: 1,
            nodes: BTreeMap::new(),
            machine_of: BTreeMap::from([(1, 1)]),
            wires,
            clocks,
            disks,
            patience: PATIENCE,
        };
        let mut first = cluster.machine("first")?;
        first.start()?;
        first.ready().await?;
        cluster.nodes.insert(1, first);
        for _ in 0..2 {
            cluster.join(1, &[]).await?;
        }
        cluster.voters(3).await?;
        Ok(cluster)
    }

    /// Adds a machine with the cluster's object store. It is not a node yet.
    ///
    /// # Errors
    /// Its folder cannot be created.
    pub fn machine(&self, name: &str) -> Result<Node> {
        self.machine_with(name, &self.store)
    }

    /// Adds a machine with another object store.
    ///
    /// # Errors
    /// Its folder cannot be created.
    pub fn machine_with(&self, name: &str, store: &Store) -> Result<Node> {
        let port = TcpListener::bind("127.0.0.1:0")
            .and_then(|listener| listener.local_addr())
            .during("looking for a free port")?
            .port();
        let folder = self.folder.join(name);
        let number = self.machines;
        let place = self
            .wires
            .as_ref()
            .map_or_else(Place::default, |wires| Place {
                address: wires.address(number),
                space: Some(wires.space(number)),
            });
        let mut environment = store.environment.clone();
        if let Some(clock) = self.clocks.get(&number) {
            environment.extend(clock.environment());
        }
        let address = place.address;
        Node::new(NodeSettings {
            binaries: self.binaries.clone(),
            data: self
                .disks
                .get(&number)
                .map_or(folder.as_path(), Disk::place)
                .join("data"),
            folder,
            python: "python3".to_owned(),
            patience: self.patience,
            environment,
            place,
            configuration: format!(
                "[cluster]\nlisten = \"{address}:{port}\"\n[objects]\nurl = \"{}\"\nendpoint = \"{}\"\n[node]\nname = \"{name}\"\n[python]\nworkers = 1\n",
                store.url, store.endpoint
            ),
        })
    }

    /// Adds a node, invited by `host`. Returns its node id.
    ///
    /// # Errors
    /// The join is rejected.
    pub async fn join(&mut self, host: u64, options: &[&str]) -> Result<u64> {
        let words = [&["cluster", "invite"], options].concat();
        let invited = self.at(host)?.ctl(&words).await?;
        self.machines += 1;
        let node = self.machine(&format!("joined-{}", self.machines))?;
        self.take_in(node, self.machines, &text(&invited, "token"))
            .await
    }

    async fn take_in(&mut self, mut node: Node, machine: u8, token: &str) -> Result<u64> {
        node.join(token).await?;
        node.start()?;
        node.ready().await?;
        let number = node.ctl(&["cluster", "status"]).await?["node"]
            .as_u64()
            .ok_or_else(|| Failure::broken("a node does not know its number"))?;
        self.nodes.insert(number, node);
        self.machine_of.insert(number, machine);
        Ok(number)
    }

    /// Gives the machine of a killed node an empty disk, and lets it replace the lost node as a new node.
    ///
    /// # Errors
    /// The join is rejected, or the node does not become a member.
    pub async fn replace(&mut self, lost: u64, host: u64) -> Result<()> {
        let machine = self.machine_of(lost)?;
        let node = self.nodes.remove(&lost);
        let node = node.ok_or_else(|| Failure::Broken(format!("there is no node {lost}")))?;
        std::fs::remove_dir_all(node.data()).during("emptying a disk")?;
        let old = lost.to_string();
        let words = ["cluster", "invite", "--replace", &old];
        let invited = self.at(host)?.ctl(&words).await?;
        let number = self
            .take_in(node, machine, &text(&invited, "token"))
            .await?;
        until("the new node is a member", self.patience, async || {
            let status = self.at(host)?.ctl(&["cluster", "status"]).await?;
            let member = |node: &Value| node["node"] == number && node["standing"] == "member";
            let voters = items(&status, "voters");
            let fine = items(&status, "nodes").iter().any(member)
                && voters.contains(&Value::from(number))
                && voters.len() == self.nodes.len();
            Ok((!fine).then(|| status.to_string()))
        })
        .await
    }

    /// The disk of a node.
    ///
    /// # Errors
    /// The node has no disk of its own.
    pub fn disk(&self, node: u64) -> Result<&Disk> {
        let disk = self.disks.get(&self.machine_of(node)?);
        disk.ok_or_else(|| Failure::broken("the node has no disk of its own"))
    }

    /// Simulates a power failure of a node: its process is killed, and unsynced writes are lost.
    ///
    /// # Errors
    /// The process had already ended, or this machine cannot create the fault.
    pub async fn power_off(&mut self, node: u64) -> Result<()> {
        // Kill the process first: otherwise it could acknowledge writes after the disk is gone, which does not happen in a power cut.
        self.at_mut(node)?.kill().await?;
        self.disk(node)?.cut().await
    }

    /// Restores the power: mounts the disk and starts the node.
    ///
    /// # Errors
    /// The disk does not mount, or the node does not start.
    pub async fn power_on(&mut self, node: u64) -> Result<()> {
        let machine = self.machine_of(node)?;
        let disk = self.disks.get_mut(&machine);
        let disk = disk.ok_or_else(|| Failure::broken("the node has no disk of its own"))?;
        disk.unmount().await?;
        disk.mount().await?;
        let node = self.at_mut(node)?;
        node.start()?;
        node.ready().await
    }

    /// The address of this process, as seen from the nodes.
    #[must_use]
    pub fn outside(&self) -> Ipv4Addr {
        self.wires.as_ref().map_or(Ipv4Addr::LOCALHOST, Wires::own)
    }

    fn wires(&self) -> Result<&Wires> {
        let wires = self.wires.as_ref();
        wires.ok_or_else(|| Failure::broken("the nodes have no cards of their own"))
    }

    fn machine_of(&self, node: u64) -> Result<u8> {
        let machine = self.machine_of.get(&node).copied();
        machine.ok_or_else(|| Failure::Broken(format!("there is no node {node}")))
    }

    /// Partitions a node: with `deaf` it receives nothing from the others, with `silent` the others receive nothing from it.
    ///
    /// # Errors
    /// The nodes have no network interfaces of their own.
    pub fn cut(&self, node: u64, deaf: bool, silent: bool) -> Result<()> {
        let wires = self.wires()?;
        let one = self.machine_of(node)?;
        for other in self.nodes.keys().filter(|other| **other != node) {
            let other = self.machine_of(*other)?;
            if deaf {
                wires.cut(other, one)?;
            }
            if silent {
                wires.cut(one, other)?;
            }
        }
        Ok(())
    }

    /// Drops a percentage of a node's packets, in both directions.
    ///
    /// # Errors
    /// The nodes have no network interfaces of their own.
    pub fn lose(&self, node: u64, percent: u8) -> Result<()> {
        let wires = self.wires()?;
        let one = self.machine_of(node)?;
        for other in self.nodes.keys().filter(|other| **other != node) {
            let other = self.machine_of(*other)?;
            wires.lose(percent, other, one)?;
            wires.lose(percent, one, other)?;
        }
        Ok(())
    }

    /// Sets the offset of a node's clock, in seconds.
    ///
    /// # Errors
    /// The node has no clock of its own.
    pub fn set_clock(&self, node: u64, off_s: i64) -> Result<()> {
        let clock = self.clocks.get(&self.machine_of(node)?);
        clock
            .ok_or_else(|| Failure::broken("the node has no clock of its own"))?
            .set(off_s)
    }

    /// Heals all partitions and corrects all clocks.
    ///
    /// # Errors
    /// The nodes have no network interfaces of their own.
    pub fn mend(&self) -> Result<()> {
        self.wires()?.mend()?;
        self.clocks.values().try_for_each(|clock| clock.set(0))
    }

    /// A node by its node id.
    ///
    /// # Errors
    /// There is no such node.
    pub fn at(&self, number: u64) -> Result<&Node> {
        self.nodes
            .get(&number)
            .ok_or_else(|| Failure::Broken(format!("there is no node {number}")))
    }

    /// Mutable access to a node by its node id.
    ///
    /// # Errors
    /// There is no such node.
    pub fn at_mut(&mut self, number: u64) -> Result<&mut Node> {
        self.nodes
            .get_mut(&number)
            .ok_or_else(|| Failure::Broken(format!("there is no node {number}")))
    }

    /// A client of each node.
    #[must_use]
    pub fn callers(&self) -> Vec<Caller> {
        self.nodes.values().map(Node::caller).collect()
    }

    /// The leader, when all running nodes agree on it.
    ///
    /// # Errors
    /// The nodes do not agree before the deadline.
    pub async fn leader(&self) -> Result<u64> {
        let mut found = None;
        until("a leader is known", PATIENCE, async || {
            let mut said = Vec::new();
            for (number, node) in &self.nodes {
                if node.runs() {
                    let status = node.ctl(&["cluster", "status"]).await?;
                    said.push((*number, status["leader"].as_u64()));
                }
            }
            let first = said.first().and_then(|(_, leader)| *leader);
            let alike = said.iter().all(|(_, leader)| *leader == first);
            found = first.filter(|leader| alike && self.nodes.get(leader).is_some_and(Node::runs));
            Ok(found.is_none().then(|| format!("{said:?}")))
        })
        .await?;
        found.ok_or_else(|| Failure::broken("no leader"))
    }

    /// Waits until there are `wanted` voters.
    ///
    /// # Errors
    /// The deadline is exceeded.
    pub async fn voters(&self, wanted: usize) -> Result<()> {
        until("enough nodes vote", self.patience, async || {
            let status = self.any()?.ctl(&["cluster", "status"]).await?;
            let voters = items(&status, "voters").len();
            Ok((voters != wanted).then(|| format!("{voters} of {wanted} do")))
        })
        .await
    }

    /// Any running node.
    ///
    /// # Errors
    /// No node runs.
    pub fn any(&self) -> Result<&Node> {
        self.nodes
            .values()
            .find(|node| node.runs())
            .ok_or_else(|| Failure::broken("no node runs"))
    }

    /// Waits until all nodes are alive and each has the leader's state at some entry from now on.
    ///
    /// After a load the state keeps changing, because remembered answers expire one after another, four times a second. The leader's
    /// knowledge of the other nodes is up to two seconds old, so the hash of a node is compared with the leader's own hash at the same
    /// entry. States that have diverged never have the same hash again.
    ///
    /// # Errors
    /// The deadline is exceeded.
    pub async fn equal(&self) -> Result<()> {
        let mut hashes: BTreeMap<u64, BTreeMap<u64, String>> = BTreeMap::new();
        until("all nodes hold the same", self.patience, async || {
            let mut status = Value::Null;
            for node in self.nodes.values() {
                status = node.ctl(&["cluster", "status"]).await?;
                for line in members(&status) {
                    if let Some(applied) = line["applied"].as_u64() {
                        let seen = hashes.entry(applied).or_default();
                        seen.insert(count(line, "node"), text(line, "hash"));
                    }
                }
            }
            let members = members(&status);
            let whole = members.len() == self.nodes.len()
                && members.iter().all(|node| node["alive"] == true);
            let leader = members.iter().find(|node| node["role"] == "leader");
            let like_the_leader = |node: &Value| {
                hashes.values().any(|seen| {
                    let there = |node: &Value| seen.get(&count(node, "node"));
                    leader
                        .and_then(|leader| there(leader))
                        .is_some_and(|hash| there(node) == Some(hash))
                })
            };
            let fine = whole && members.iter().all(|node| like_the_leader(node));
            Ok((!fine).then(|| status.to_string()))
        })
        .await
    }

    /// Restarts nodes that have ended by themselves, as their systemd units would do.
    ///
    /// # Errors
    /// A node does not start.
    pub async fn start_what_ended(&mut self) -> Result<()> {
        for node in self.nodes.values_mut() {
            if node.start_if_ended()? {
                node.ready().await?;
            }
        }
        Ok(())
    }

    /// Stops all nodes gracefully.
    ///
    /// # Errors
    /// A node does not stop, or not with a graceful shutdown.
    pub async fn stop(&mut self) -> Result<()> {
        for node in self.nodes.values_mut() {
            node.stop().await?;
        }
        Ok(())
    }

    /// The last lines of all logs, for a report.
    #[must_use]
    pub fn last_words(&self) -> String {
        let logs = self
            .nodes
            .iter()
            .map(|(number, node)| format!("node {number}'s log ends with:\n{}", node.last_words()));
        logs.collect::<Vec<_>>().join("\n")
    }
}

/// The rows of a status that describe members of the cluster.
fn members(status: &Value) -> Vec<&Value> {
    items(status, "nodes")
        .iter()
        .filter(|node| node["standing"] == "member")
        .collect()
}
