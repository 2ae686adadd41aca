//! Three nodes of one cluster, each a process with a data folder and ports of its own, and one folder of objects for all.

use std::collections::BTreeMap;
use std::net::TcpListener;
use std::path::{Path, PathBuf};
use std::time::Duration;

use serde_json::Value;

use crate::node::{Binaries, Caller, Node, NodeSettings, items, text};
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
    /// The nodes.
    pub nodes: BTreeMap<u64, Node>,
}

impl Cluster {
    /// Three voters, joined as an operator joins them.
    ///
    /// # Errors
    /// They do not come together.
    pub async fn three(folder: PathBuf) -> Result<Self> {
        let objects = folder.join("objects");
        std::fs::create_dir_all(&objects).during("making the folder of objects")?;
        Self::three_with(folder, Store::folder(&objects)).await
    }

    /// The same, with their objects elsewhere.
    ///
    /// # Errors
    /// They do not come together.
    pub async fn three_with(folder: PathBuf, store: Store) -> Result<Self> {
        let mut cluster = Self {
            folder,
            store,
            binaries: Binaries::find()?,
            machines: 1,
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
        Node::new(NodeSettings {
            binaries: self.binaries.clone(),
            data: folder.join("data"),
            folder,
            python: "python3".to_owned(),
            patience: PATIENCE,
            environment: store.environment.clone(),
            configuration: format!(
                "[cluster]\nlisten = \"127.0.0.1:{port}\"\n[objects]\nurl = \"{}\"\nendpoint = \"{}\"\n[node]\nname = \"{name}\"\n[python]\nworkers = 1\n",
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
