//! How this one node runs. Every key is optional; with none at all a node starts and works.
//!
//! Layers, the later one wins: defaults, a TOML file, the environment (`PANTHER__SECTION__KEY`), flags. What the keys
//! mean stands in `deploy/pantherd.toml`, which a test keeps true.
//!
//! * [`given`]: the layers, taken key by key, every fault noted
//! * [`kinds`]: what values may be

mod given;
mod kinds;
#[cfg(test)]
mod tests;

use std::collections::BTreeMap;
use std::net::SocketAddr;
use std::path::{Path, PathBuf};
use std::time::Duration;

use clap::Args;
use config::{Value, ValueKind};
use ipnet::IpNet;
use panther_cluster::objects::place::Place;

use given::Given;
pub(crate) use given::{Effective, Faults};

/// Where the file is looked for if nothing names one.
const FILE: &str = "/etc/panther/pantherd.toml";
/// Networks to which no alert is sent unless the operator says otherwise: the addresses at which clouds give out the credentials of a machine.
const DENIED: [&str; 3] = ["169.254.0.0/16", "fe80::/10", "fd00:ec2::254/128"];

/// What the command line may say; each flag is a key of the file.
#[derive(Debug, Clone, Default, Args)]
pub(crate) struct Flags {
    /// The configuration file; by default /etc/panther/pantherd.toml if there is one
    #[arg(long, global = true, env = "PANTHER_CONFIG", value_name = "FILE")]
    pub(crate) config: Option<PathBuf>,
    /// Where this node keeps log, state and objects (key data_dir)
    #[arg(long, global = true, value_name = "FOLDER")]
    pub(crate) data_dir: Option<String>,
    /// The Unix socket that pantherctl speaks to (key socket)
    #[arg(long, global = true, value_name = "PATH")]
    pub(crate) socket: Option<String>,
    /// Address and port of HTTP ingest, "" for none (key listen.ingest)
    #[arg(long, global = true, value_name = "ADDRESS:PORT")]
    pub(crate) ingest: Option<String>,
    /// What is logged (key log.level)
    #[arg(long, global = true, value_name = "LEVEL")]
    pub(crate) log_level: Option<String>,
    /// text or json (key log.format)
    #[arg(long, global = true, value_name = "FORMAT")]
    pub(crate) log_format: Option<String>,
}

impl Flags {
    fn keys(&self) -> Vec<(&'static str, String)> {
        [
            ("data_dir", &self.data_dir),
            ("socket", &self.socket),
            ("listen.ingest", &self.ingest),
            ("log.level", &self.log_level),
            ("log.format", &self.log_format),
        ]
        .into_iter()
        .filter_map(|(key, value)| Some((key, value.clone()?)))
        .collect()
    }
}

/// What a configuration depends on beside itself.
#[derive(Debug, Clone, Default)]
pub(crate) struct Surroundings {
    /// The environment.
    pub(crate) variables: BTreeMap<String, String>,
    /// The machine's name.
    pub(crate) host: String,
    /// The file that is read if there is one and no other is named.
    pub(crate) file: PathBuf,
}

impl Surroundings {
    /// As this process finds them.
    pub(crate) fn of_this_process() -> Self {
        Self {
            variables: std::env::vars_os()
                .filter_map(|(name, value)| {
                    Some((name.into_string().ok()?, value.into_string().ok()?))
                })
                .collect(),
            host: rustix::system::uname()
                .nodename()
                .to_string_lossy()
                .into_owned(),
            file: PathBuf::from(FILE),
        }
    }

    /// A variable that is set and not empty.
    fn variable(&self, name: &str) -> Option<&str> {
        self.variables
            .get(name)
            .map(String::as_str)
            .filter(|value| !value.is_empty())
    }

    /// A folder that systemd made for the unit; the first, where it made several.
    fn folder(&self, name: &str) -> Option<&str> {
        self.variable(name)?.split(':').next()
    }

    /// Where data go by default, and why there.
    fn data_dir(&self) -> (Option<String>, &'static str) {
        if let Some(folder) = self.folder("STATE_DIRECTORY") {
            return (Some(folder.to_owned()), " ($STATE_DIRECTORY)");
        }
        if let Some(folder) = self.variable("XDG_DATA_HOME") {
            return (
                Some(format!("{folder}/panther")),
                " ($XDG_DATA_HOME/panther)",
            );
        }
        let home = self.variable("HOME");
        (
            home.map(|home| format!("{home}/.local/share/panther")),
            " (~/.local/share/panther)",
        )
    }
}

/// The form of log lines.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub(crate) enum LogFormat {
    /// For people.
    #[default]
    Text,
    /// For machines: one object a line.
    Json,
}

/// A configuration without faults.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct Configuration {
    /// Log, state, objects.
    pub(crate) data_dir: PathBuf,
    /// Where pantherctl is listened to.
    pub(crate) socket: PathBuf,
    /// The file, outside the data folder, that says which cluster this node is of.
    pub(crate) identity: Option<PathBuf>,
    /// The name in lists and logs.
    pub(crate) node_name: String,
    /// How long handlers may go on once the node is told to stop.
    pub(crate) drain: Duration,
    /// Where logs are posted to.
    pub(crate) ingest: Option<SocketAddr>,
    /// How other nodes reach this one; `None` if they do not.
    pub(crate) cluster: Option<Cluster>,
    /// Bytes that close a batch.
    pub(crate) batch_bytes: usize,
    /// Time that closes a batch.
    pub(crate) batch_time: Duration,
    /// Bytes of one posted body at most.
    pub(crate) body_bytes: usize,
    /// HTTP connections at one time.
    pub(crate) connections: usize,
    /// Where objects lie.
    pub(crate) objects: Place,
    /// The interpreter.
    pub(crate) python: PathBuf,
    /// What pip installs for the detections.
    pub(crate) packages: Vec<String>,
    /// Worker processes; 0 = one per core.
    pub(crate) workers: usize,
    /// Time of one function of one rule for one event.
    pub(crate) rule_time: Duration,
    /// Whether rules are evaluated in Rust where that is the same.
    pub(crate) native: bool,
    /// Of how many events one is evaluated in Python as well; 0: none.
    pub(crate) shadow_one_in: u32,
    /// Events that are made of each unit test to try a pack; 0: none.
    pub(crate) trial_events: usize,
    /// Address space of a worker.
    pub(crate) memory_bytes: u64,
    /// Level or directives.
    pub(crate) log_level: String,
    /// Form of lines.
    pub(crate) log_format: LogFormat,
    /// What is run on alarms.
    pub(crate) alarm_command: Option<Vec<String>>,
    /// What the address of an alert's page begins with.
    pub(crate) alert_link: Option<String>,
    /// Networks to which no alert is sent.
    pub(crate) denied_networks: Vec<IpNet>,
}

/// How other nodes reach a node.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct Cluster {
    /// Where they are listened to.
    pub(crate) listen: SocketAddr,
    /// The address and port that they are told.
    pub(crate) advertise: String,
}

impl Configuration {
    /// The address that other nodes are told; empty if they do not reach this one.
    pub(crate) fn advertised(&self) -> &str {
        self.cluster
            .as_ref()
            .map_or("", |cluster| &cluster.advertise)
    }
}

/// Reads all layers.
///
/// # Errors
/// All that is wrong with them.
pub(crate) fn read(
    flags: &Flags,
    surroundings: &Surroundings,
) -> Result<(Configuration, Effective), Faults> {
    let default = Some(&surroundings.file).filter(|file| file.exists());
    let file = flags.config.as_ref().or(default);
    let mut given = Given::gather(file.map(PathBuf::as_path), surroundings, flags.keys());

    let (folder, why) = surroundings.data_dir();
    let data_dir = given.take("data_dir", folder, why, kinds::folder);
    let (socket, why) = match surroundings.folder("RUNTIME_DIRECTORY") {
        Some(folder) => (
            Path::new(folder).join("pantherd.sock"),
            " ($RUNTIME_DIRECTORY)",
        ),
        None => (data_dir.join("pantherd.sock"), " (in data_dir)"),
    };
    let socket = given.take("socket", text(&socket), why, kinds::socket);
    let (identity, why) = match surroundings.folder("CONFIGURATION_DIRECTORY") {
        Some(folder) => (
            text(&Path::new(folder).join("identity")),
            " ($CONFIGURATION_DIRECTORY)",
        ),
        None => (String::new(), ""),
    };
    let identity = given.take("identity", identity, why, |value| {
        kinds::outside(value, &data_dir)
    });
    let host = if surroundings.host.is_empty() {
        "panther"
    } else {
        &surroundings.host
    };
    let node_name = given.take("node.name", host, " (host name)", kinds::name);
    let drain = given.take(
        "node.drain_ms",
        30_000,
        "",
        kinds::milliseconds(0..=600_000),
    );
    let ingest = given.take("listen.ingest", "127.0.0.1:8686", "", kinds::address);
    given.take("listen.grpc", "", "", kinds::no_grpc);
    let cluster = given.take("cluster.listen", "", "", kinds::address);
    let (advertised, why) = match cluster {
        Some(address) if !address.ip().is_unspecified() => {
            (address.to_string(), " (cluster.listen)")
        }
        _ => (String::new(), ""),
    };
    let advertise = given.take("cluster.advertise", advertised, why, |value| {
        kinds::advertised(value, cluster)
    });
    let batch_bytes = kinds::whole(1_000..=100_000_000, "bytes");
    let batch_bytes = given.take("ingest.batch_bytes", 5_000_000, "", batch_bytes);
    let batch_time = given.take(
        "ingest.batch_ms",
        1_000,
        "",
        kinds::milliseconds(1..=60_000),
    );
    let body_bytes = kinds::whole(1_000..=256_000_000, "bytes");
    let body_bytes = given.take("ingest.max_body_bytes", 64_000_000, "", body_bytes);
    let connections = kinds::whole(1..=100_000, "connections");
    let connections = given.take("ingest.max_connections", 512, "", connections);
    let objects = format!("file://{}", data_dir.join("objects").display());
    let objects = given.take("objects.url", objects, " (in data_dir)", kinds::objects);
    let objects = objects.with_variables(&surroundings.variables);
    let objects = match given.take("objects.endpoint", "", "", kinds::endpoint) {
        Some(endpoint) => objects.with_endpoint(&endpoint),
        None => objects,
    };
    let objects = match given.take("objects.region", "", "", kinds::optional) {
        Some(region) => objects.with_region(&region),
        None => objects,
    };
    let python = given.take("python.interpreter", "python3", "", kinds::program);
    let none = || ValueKind::Array(Vec::new());
    let packages = given.take("python.packages", none(), "", kinds::packages);
    let workers = kinds::whole(0..=1_024, "processes");
    let workers = given.take("python.workers", 0, " (one per core)", workers);
    let rule_time = kinds::milliseconds(1..=600_000);
    let rule_time = given.take("engine.rule_timeout_ms", 5_000, "", rule_time);
    let native = given.take("engine.native", true, "", kinds::switch);
    let shadow = kinds::whole(0..=1_000_000_000, "events");
    let shadow = given.take("engine.shadow_one_in", 1_000, "", shadow);
    let trial = kinds::whole(0..=100_000, "events");
    let trial = given.take("engine.trial_events", 200, "", trial);
    let memory = kinds::whole(128..=1_000_000, "megabytes");
    let memory = given.take("engine.memory_mb", 1_000, "", memory);
    let log_level = given.take("log.level", "info", "", kinds::level);
    let (format, why) = match surroundings.variable("JOURNAL_STREAM") {
        Some(_) => ("json", " (standard error is the journal)"),
        None => ("text", ""),
    };
    let log_format = given.take("log.format", format, why, kinds::format);
    let alarm_command = given.take("alarm.command", none(), "", kinds::command);
    let alert_link = given.take("alerts.link", "", "", kinds::link);
    let denied = ValueKind::Array(DENIED.map(|net| Value::new(None, net)).to_vec());
    let denied = given.take("alerts.denied_networks", denied, "", kinds::networks);

    let effective = given.finish()?;
    let configuration = Configuration {
        data_dir,
        socket,
        identity,
        node_name,
        drain,
        ingest,
        cluster: cluster.map(|listen| Cluster { listen, advertise }),
        batch_bytes,
        batch_time,
        body_bytes,
        connections,
        objects,
        python,
        packages,
        workers,
        rule_time,
        native,
        shadow_one_in: u32::try_from(shadow).unwrap_or(u32::MAX),
        trial_events: trial,
        memory_bytes: u64::try_from(memory)
            .unwrap_or(u64::MAX)
            .saturating_mul(1_000_000),
        log_level,
        log_format,
        alarm_command,
        alert_link,
        denied_networks: denied,
    };
    Ok((configuration, effective))
}

fn text(path: &Path) -> String {
    path.display().to_string()
}
