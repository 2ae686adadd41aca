//! How this one node runs. Every key is optional; without any key a node starts and works.
//!
//! The layers, where a later one wins: defaults, a TOML file, the environment (`PANTHER__SECTION__KEY`), flags.
//!
//! * [`sections`]: one struct for each section, with keys, defaults and docs
//! * [`values`]: what values may be
//! * [`layers`]: reads sections from the layers, and notes every fault
//! * [`sample`]: the sample file, made from the sections

mod layers;
mod sample;
mod sections;
#[cfg(test)]
mod tests;
mod values;

use std::collections::BTreeMap;
use std::path::{Path, PathBuf};

use clap::Args;
use panther_cluster::objects::place::Place;

use layers::Layers;
pub(crate) use layers::{Effective, Faults};
pub(crate) use sample::sample;
pub(crate) use sections::LogFormat;
use sections::{
    Alarm, Alerts, Cluster, Engine, Ingest, Listen, Log, Node, Objects, Paths, Python, Traces,
};

/// Where the file is looked for if nothing names one.
const FILE: &str = "/etc/panther/pantherd.toml";
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
    fn data_dir(&self) -> (PathBuf, &'static str) {
        if let Some(folder) = self.folder("STATE_DIRECTORY") {
            return (folder.into(), "$STATE_DIRECTORY");
        }
        if let Some(folder) = self.variable("XDG_DATA_HOME") {
            return (Path::new(folder).join("panther"), "$XDG_DATA_HOME/panther");
        }
        let home = self.variable("HOME").map(Path::new);
        let folder = home.map(|home| home.join(".local/share/panther"));
        (folder.unwrap_or_default(), "~/.local/share/panther")
    }
}

/// A configuration without faults.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct Configuration {
    /// Where this node keeps and finds what is its own.
    pub(crate) paths: Paths,
    /// The node itself.
    pub(crate) node: Node,
    /// Listeners for programs.
    pub(crate) listen: Listen,
    /// How other nodes reach this one.
    pub(crate) cluster: Cluster,
    /// Logs that come over HTTP.
    pub(crate) ingest: Ingest,
    /// Where objects lie, with the credentials of the environment.
    pub(crate) objects: Place,
    /// The interpreter of detections.
    pub(crate) python: Python,
    /// The evaluation of detections.
    pub(crate) engine: Engine,
    /// The log of the process.
    pub(crate) log: Log,
    /// Traces of inputs and calls.
    pub(crate) traces: Traces,
    /// Alerts on their way out.
    pub(crate) alerts: Alerts,
    /// Alarms that a node raises by itself.
    pub(crate) alarm: Alarm,
}

/// Reads all layers.
///
/// # Errors
/// All faults.
pub(crate) fn read(
    flags: &Flags,
    surroundings: &Surroundings,
) -> Result<(Configuration, Effective), Faults> {
    let default = Some(&surroundings.file).filter(|file| file.exists());
    let file = flags.config.as_ref().or(default);
    let mut layers = Layers::gather(file.map(PathBuf::as_path), surroundings, flags.keys());
    let paths = paths(&mut layers, surroundings);
    let mut node = Node::default();
    if !surroundings.host.is_empty() {
        node.name.clone_from(&surroundings.host);
    }
    let node = layers.section(&node, &[("name", "host name")]);
    let listen = layers.section(&Listen::default(), &[]);
    let cluster = cluster(&mut layers);
    let ingest = layers.section(&Ingest::default(), &[]);
    let objects = Objects {
        // Without a folder for data this is no second fault.
        url: Place::Folder(Path::new("/").join(&paths.data_dir).join("objects")),
        ..Objects::default()
    };
    let objects = layers.section(&objects, &[("url", "in data_dir")]);
    let python = layers.section(&Python::default(), &[("workers", "one per core")]);
    let engine = layers.section(&Engine::default(), &[]);
    let mut log = Log::default();
    let mut origins = Vec::new();
    if surroundings.variable("JOURNAL_STREAM").is_some() {
        log.format = LogFormat::Json;
        origins.push(("format", "standard error is the journal"));
    }
    let log = layers.section(&log, &origins);
    let alerts = layers.section(&Alerts::default(), &[]);
    let traces = layers.section(&Traces::default(), &[]);
    let alarm = layers.section(&Alarm::default(), &[]);
    let effective = layers.finish()?;
    let configuration = Configuration {
        paths,
        node,
        listen,
        cluster,
        ingest,
        objects: objects.place(&surroundings.variables),
        python,
        engine,
        log,
        traces,
        alerts,
        alarm,
    };
    Ok((configuration, effective))
}

fn paths(layers: &mut Layers, surroundings: &Surroundings) -> Paths {
    let (data_dir, why_data_dir) = surroundings.data_dir();
    let given = layers.peek("data_dir");
    let given = given.as_ref().and_then(serde_json::Value::as_str);
    let folder = given.map_or_else(|| data_dir.clone(), PathBuf::from);
    let (socket, why_socket) = match surroundings.folder("RUNTIME_DIRECTORY") {
        Some(folder) => (
            Path::new(folder).join("pantherd.sock"),
            "$RUNTIME_DIRECTORY",
        ),
        None => (folder.join("pantherd.sock"), "in data_dir"),
    };
    let mut origins = vec![("data_dir", why_data_dir), ("socket", why_socket)];
    let identity = surroundings.folder("CONFIGURATION_DIRECTORY");
    let identity = identity.map(|folder| Path::new(folder).join("identity"));
    if identity.is_some() {
        origins.push(("identity", "$CONFIGURATION_DIRECTORY"));
    }
    let base = Paths {
        data_dir,
        socket,
        identity,
    };
    let paths = layers.section(&base, &origins);
    let inside = paths.identity.as_ref().filter(|identity| {
        identity.starts_with(&paths.data_dir) && !paths.data_dir.as_os_str().is_empty()
    });
    if let Some(identity) = inside {
        let what = format!(
            "{} is in data_dir, and this file shows that the data are lost; name a path outside",
            identity.display()
        );
        layers.contradiction("identity", what);
    }
    paths
}

fn cluster(layers: &mut Layers) -> Cluster {
    let listen = layers.peek("cluster.listen");
    let listen = listen.and_then(|listen| values::address_of(&listen).ok()?);
    let mut base = Cluster::default();
    let mut origins = Vec::new();
    if let Some(address) = listen.filter(|address| !address.ip().is_unspecified()) {
        base.advertise = address.to_string();
        origins.push(("advertise", "cluster.listen"));
    }
    let cluster = layers.section(&base, &origins);
    match cluster.listen {
        None if !cluster.advertise.is_empty() => {
            let what = "it has no effect without cluster.listen; set that too, or leave this out";
            layers.contradiction("cluster.advertise", what.to_owned());
        }
        Some(listen) if cluster.advertise.is_empty() => {
            let what = format!(
                "cluster.listen is {listen}, which does not say where this node is; write the name or address and the port by which the other nodes reach it, such as \"10.0.0.2:{}\"",
                listen.port()
            );
            layers.contradiction("cluster.advertise", what);
        }
        _ => {}
    }
    cluster
}
