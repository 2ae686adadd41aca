//! Three nodes of one cluster, each a process with a data folder and ports of its own, and one folder of objects for all.

use std::collections::BTreeMap;
use std::net::{Ipv4Addr, TcpListener};
use std::path::{Path, PathBuf};
use std::time::Duration;

use serde_json::Value;

use crate::clocks::Clock;
use crate::node::{Binaries, Caller, Node, NodeSettings, Place, items, text};
use crate::wires::Wires;
use crate::{During, Failure, Result, until};

/// How long a start, a join or a healing may take.
pub const PATIENCE: Duration = Duration::from_secs(120);

/// Where a cluster's objects lie, as its nodes' configuration says it.
#[derive(Debug, Clone)]
pub struct Store {
    /// `objects.url`.
    pub url: String,
    /// `objects.endpoint`; empty for none.
    pub endpoint: String,
    /// Variables that the nodes are started with.
    pub environment: Vec<(String, String)>,
}

impl Store {
    /// A folder for a run's objects, made below the run's own.
    fn within(run: &Path) -> Result<Self> {
        let objects = run.join("objects");
        std::fs::create_dir_all(&objects).during("making the folder of objects")?;
        Ok(Self::folder(&objects))
    }

    /// A folder that all nodes see.
    #[must_use]
    pub fn folder(folder: &Path) -> Self {
        Self {
            url: format!("file://{}", folder.display()),
            endpoint: String::new(),
            environment: Vec::new(),
        }
    }
}

/// The nodes by number.
pub struct Cluster {
    folder: PathBuf,
    store: Store,
    binaries: Binaries,
    /// Machines so far, each with a folder of its own.
    machines: usize,
    /// Cards of the machines' own, and their clocks.
    wires: Option<Wires>,
    clocks: BTreeMap<u64, Clock>,
    /// The nodes.
    pub nodes: BTreeMap<u64, Node>,
}

impl Cluster {
    /// Three voters, joined as an operator joins them.
    ///
    /// # Errors
    /// They do not come together.
    pub async fn three(folder: PathBuf) -> Result<Self> {
        let store = Store::within(&folder)?;
        Self::make(folder, store, None).await
    }

    /// The same, with their objects elsewhere.
    ///
    /// # Errors
    /// They do not come together.
    pub async fn three_with(folder: PathBuf, store: Store) -> Result<Self> {
        Self::make(folder, store, None).await
    }

    /// The same, each with a network card and a clock of its own.
    ///
    /// # Errors
    /// They do not come together, or this machine has no clocks that can be set.
    pub async fn three_on(folder: PathBuf, wires: Wires) -> Result<Self> {
        let store = Store::within(&folder)?;
        Self::make(folder, store, Some(wires)).await
    }

    async fn make(folder: PathBuf, store: Store, wires: Option<Wires>) -> Result<Self> {
        let mut clocks = BTreeMap::new();
        if wires.is_some() {
            for node in 1..=3 {
                clocks.insert(node, Clock::right(&folder.join(format!("clock-{node}")))?);
            }
        }
        let mut cluster = Self {
            folder,
            store,
            binaries: Binaries::find()?,
            machines: 1,
            wires,
            clocks,
            nodes: BTreeMap::new(),
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

    /// One more machine, with the cluster's objects; it is no node yet.
    ///
    /// # Errors
    /// Its folder cannot be made.
    pub fn machine(&self, name: &str) -> Result<Node> {
        self.machine_with(name, &self.store)
    }

    /// One more machine, with objects of its own.
    ///
    /// # Errors
    /// Its folder cannot be made.
    pub fn machine_with(&self, name: &str, store: &Store) -> Result<Node> {
        let port = TcpListener::bind("127.0.0.1:0")
            .and_then(|listener| listener.local_addr())
            .during("looking for a free port")?
            .port();
        let folder = self.folder.join(name);
        let number = u8::try_from(self.machines).during("numbering a machine")?;
        let place = self
            .wires
            .as_ref()
            .map_or_else(Place::default, |wires| Place {
                address: wires.address(number),
                space: Some(wires.space(number)),
            });
        let mut environment = store.environment.clone();
        if let Some(clock) = self.clocks.get(&u64::from(number)) {
            environment.extend(clock.environment());
        }
        let address = place.address;
        Node::new(NodeSettings {
            binaries: self.binaries.clone(),
            data: folder.join("data"),
            folder,
            python: "python3".to_owned(),
            patience: PATIENCE,
            environment,
            place,
            configuration: format!(
                "[cluster]\nlisten = \"{address}:{port}\"\n[objects]\nurl = \"{}\"\nendpoint = \"{}\"\n[node]\nname = \"{name}\"\n[python]\nworkers = 1\n",
                store.url, store.endpoint
            ),
        })
    }

    /// One more node, invited by `host`; its number.
    ///
    /// # Errors
    /// It is not taken in.
    pub async fn join(&mut self, host: u64, options: &[&str]) -> Result<u64> {
        let words = [&["cluster", "invite"], options].concat();
        let invited = self.at(host)?.ctl(&words).await?;
        self.machines += 1;
        let mut node = self.machine(&format!("joined-{}", self.machines))?;
        node.join(&text(&invited, "token")).await?;
        node.start()?;
        node.ready().await?;
        let number = node.ctl(&["cluster", "status"]).await?["node"]
            .as_u64()
            .ok_or_else(|| Failure::broken("a node does not know its number"))?;
        self.nodes.insert(number, node);
        Ok(number)
    }

    /// The address of this process, as the nodes reach it.
    #[must_use]
    pub fn outside(&self) -> Ipv4Addr {
        self.wires.as_ref().map_or(Ipv4Addr::LOCALHOST, Wires::own)
    }

    fn wires(&self) -> Result<&Wires> {
        let wires = self.wires.as_ref();
        wires.ok_or_else(|| Failure::broken("the nodes have no cards of their own"))
    }

    /// The machine of a node: the first three are numbered alike.
    fn machine_of(node: u64) -> Result<u8> {
        u8::try_from(node).during("numbering a machine")
    }

    /// A node no longer hears the others, or is no longer heard by them, or both.
    ///
    /// # Errors
    /// The nodes have no cards of their own.
    pub fn cut(&self, node: u64, deaf: bool, silent: bool) -> Result<()> {
        let wires = self.wires()?;
        let one = Self::machine_of(node)?;
        for other in self.nodes.keys().filter(|other| **other != node) {
            let other = Self::machine_of(*other)?;
            if deaf {
                wires.cut(other, one)?;
            }
            if silent {
                wires.cut(one, other)?;
            }
        }
        Ok(())
    }

    /// Of what a node sends and is sent a part gets lost.
    ///
    /// # Errors
    /// The nodes have no cards of their own.
    pub fn lose(&self, node: u64, percent: u8) -> Result<()> {
        let wires = self.wires()?;
        let one = Self::machine_of(node)?;
        for other in self.nodes.keys().filter(|other| **other != node) {
            let other = Self::machine_of(*other)?;
            wires.lose(percent, other, one)?;
            wires.lose(percent, one, other)?;
        }
        Ok(())
    }

    /// Sets a node's clock so many seconds off.
    ///
    /// # Errors
    /// It has none of its own.
    pub fn set_clock(&self, node: u64, off_s: i64) -> Result<()> {
        let clock = self.clocks.get(&node);
        clock
            .ok_or_else(|| Failure::broken("the node has no clock of its own"))?
            .set(off_s)
    }

    /// All hear each other again, and all clocks are right.
    ///
    /// # Errors
    /// The nodes have no cards of their own.
    pub fn mend(&self) -> Result<()> {
        self.wires()?.mend()?;
        self.clocks.values().try_for_each(|clock| clock.set(0))
    }

    /// A node by its number.
    ///
    /// # Errors
    /// There is none.
    pub fn at(&self, number: u64) -> Result<&Node> {
        self.nodes
            .get(&number)
            .ok_or_else(|| Failure::Broken(format!("there is no node {number}")))
    }

    /// The same, to be changed.
    ///
    /// # Errors
    /// There is none.
    pub fn at_mut(&mut self, number: u64) -> Result<&mut Node> {
        self.nodes
            .get_mut(&number)
            .ok_or_else(|| Failure::Broken(format!("there is no node {number}")))
    }

    /// How to call each.
    #[must_use]
    pub fn callers(&self) -> Vec<Caller> {
        self.nodes.values().map(Node::caller).collect()
    }

    /// Who leads, as the nodes that run say alike.
    ///
    /// # Errors
    /// They do not agree in time.
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

    /// Waits until so many vote.
    ///
    /// # Errors
    /// They do not, in time.
    pub async fn voters(&self, wanted: usize) -> Result<()> {
        until("enough nodes vote", PATIENCE, async || {
            let status = self.any()?.ctl(&["cluster", "status"]).await?;
            let voters = items(&status, "voters").len();
            Ok((voters != wanted).then(|| format!("{voters} of {wanted} do")))
        })
        .await
    }

    /// A node that runs.
    ///
    /// # Errors
    /// None does.
    pub fn any(&self) -> Result<&Node> {
        self.nodes
            .values()
            .find(|node| node.runs())
            .ok_or_else(|| Failure::broken("no node runs"))
    }

    /// All nodes alive, with the same state.
    ///
    /// # Errors
    /// They are not, in time.
    pub async fn equal(&self) -> Result<()> {
        until("all nodes hold the same", PATIENCE, async || {
            let status = self.any()?.ctl(&["cluster", "status"]).await?;
            let nodes: Vec<&Value> = items(&status, "nodes")
                .iter()
                .filter(|node| node["standing"] == "member")
                .collect();
            let alike = |name: &str| nodes.iter().all(|node| node[name] == nodes[0][name]);
            let fine = nodes.len() == self.nodes.len()
                && nodes.iter().all(|node| node["alive"] == true)
                && alike("applied")
                && alike("hash");
            Ok((!fine).then(|| status.to_string()))
        })
        .await
    }

    /// Stops all in good order.
    ///
    /// # Errors
    /// One does not stop, or not in good order.
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
