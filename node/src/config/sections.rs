//! The sections of the configuration: one struct each, with its keys, their defaults and what they mean.
//!
//! The docs of the fields are the text of the sample file (`pantherd config sample`), so they are written for operators.

use std::collections::BTreeMap;
use std::net::SocketAddr;
use std::path::PathBuf;
use std::time::Duration;

use documented::DocumentedFields;
use ipnet::IpNet;
use panther_cluster::objects::place::Place;
use serde::de::DeserializeOwned;
use serde::{Deserialize, Serialize};

use super::values;

/// A section of the file.
pub(crate) trait Section: Serialize + DeserializeOwned + Default + DocumentedFields {
    /// Its name; "" for the keys that stand before all sections.
    const NAME: &'static str;
}

/// Where a node keeps and finds what is its own.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize, DocumentedFields)]
#[serde(default, deny_unknown_fields)]
pub(crate) struct Paths {
    /// The folder in which this node keeps its log, its state and, if `objects.url` names no other place, its objects. It must be on a local disk
    /// whose fsync can be trusted. Each node needs a folder of its own. Default without systemd: ~/.local/share/panther.
    #[serde(deserialize_with = "values::folder")]
    pub(crate) data_dir: PathBuf,
    /// The Unix socket of pantherctl (mode 0660). A user who may open it may do everything, so the group of its folder is the list of this node's
    /// administrators. Default without systemd: pantherd.sock in data_dir.
    #[serde(deserialize_with = "values::socket")]
    pub(crate) socket: PathBuf,
    /// A file outside `data_dir` that notes the cluster of which this machine is a node. If it names a cluster and `data_dir` is empty (lost, or on a
    /// disk that is not mounted), the node refuses to start: it would start a new, empty cluster. "" for no such file, which is the default without
    /// systemd.
    #[serde(
        deserialize_with = "values::file",
        serialize_with = "values::or_empty_path"
    )]
    pub(crate) identity: Option<PathBuf>,
}

impl Section for Paths {
    const NAME: &'static str = "";
}

/// The node itself.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, DocumentedFields)]
#[serde(default, deny_unknown_fields)]
pub(crate) struct Node {
    /// The name of this node in lists and logs. Default: the host name of the machine.
    #[serde(deserialize_with = "values::name")]
    pub(crate) name: String,
    /// How long running work may go on after the node was asked to stop, in milliseconds. `TimeoutStopSec` of the unit must be 30 s longer.
    #[serde(
        deserialize_with = "values::milliseconds::<0, 600_000, _>",
        serialize_with = "values::in_milliseconds"
    )]
    pub(crate) drain_ms: Duration,
}

impl Default for Node {
    fn default() -> Self {
        Self {
            name: "panther".to_owned(),
            drain_ms: Duration::from_secs(30),
        }
    }
}

impl Section for Node {
    const NAME: &'static str = "node";
}

/// Listeners for programs.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, DocumentedFields)]
#[serde(default, deny_unknown_fields)]
pub(crate) struct Listen {
    /// Address and port of HTTP ingest: POST /ingest/SOURCE. It is plain HTTP with one token per source. For senders on other machines, put a proxy
    /// with TLS in front. "" switches it off.
    #[serde(
        deserialize_with = "values::address",
        serialize_with = "values::or_empty"
    )]
    pub(crate) ingest: Option<SocketAddr>,
    /// Address and port of gRPC (queues, tables, administration) for programs. gRPC over TCP, also on loopback, needs certificates, which this version
    /// cannot check: only "" is accepted. Programs on this machine use the Unix socket.
    #[serde(deserialize_with = "values::no_grpc")]
    pub(crate) grpc: String,
}

impl Default for Listen {
    fn default() -> Self {
        Self {
            ingest: Some(SocketAddr::from(([127, 0, 0, 1], 8686))),
            grpc: String::new(),
        }
    }
}

impl Section for Listen {
    const NAME: &'static str = "listen";
}

/// How other nodes reach this one.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize, DocumentedFields)]
#[serde(default, deny_unknown_fields)]
pub(crate) struct Cluster {
    /// Address and port on which this node listens to the other nodes of its cluster. "" for a node that is and stays alone. Calls are encrypted, and
    /// both sides are authenticated by certificates of the cluster's own certificate authority. A machine that is not a node can only present an
    /// invitation there (docs/cluster.md). The documents use port 8687.
    #[serde(
        deserialize_with = "values::address",
        serialize_with = "values::or_empty"
    )]
    pub(crate) listen: Option<SocketAddr>,
    /// The host name or address, and the port, at which the other nodes reach this one. Default: `cluster.listen`, unless that is any address
    /// (0.0.0.0).
    #[serde(deserialize_with = "values::host_and_port")]
    pub(crate) advertise: String,
}

impl Section for Cluster {
    const NAME: &'static str = "cluster";
}

/// Logs that come over HTTP.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, DocumentedFields)]
#[serde(default, deny_unknown_fields)]
pub(crate) struct Ingest {
    /// Events that come over HTTP are gathered into one object per source. A batch is closed at so many bytes (before compression) ...
    #[serde(deserialize_with = "values::whole::<1_000, 100_000_000, _>")]
    pub(crate) batch_bytes: usize,
    /// ... or so many milliseconds after its first event. A request is answered once its object is durable, so this is also the least latency of a
    /// single request.
    #[serde(
        deserialize_with = "values::milliseconds::<1, 60_000, _>",
        serialize_with = "values::in_milliseconds"
    )]
    pub(crate) batch_ms: Duration,
    /// The largest body, in bytes as it comes (before it is unpacked). At most 256000000.
    #[serde(deserialize_with = "values::whole::<1_000, 256_000_000, _>")]
    pub(crate) max_body_bytes: usize,
    /// How many HTTP connections may be open at one time. A further connection takes the place of an idle one; if all are busy, it waits.
    #[serde(deserialize_with = "values::whole::<1, 100_000, _>")]
    pub(crate) max_connections: usize,
}

impl Default for Ingest {
    fn default() -> Self {
        Self {
            batch_bytes: 5_000_000,
            batch_ms: Duration::from_secs(1),
            max_body_bytes: 64_000_000,
            max_connections: 512,
        }
    }
}

impl Section for Ingest {
    const NAME: &'static str = "ingest";
}

/// The object store.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, DocumentedFields)]
#[serde(default, deny_unknown_fields)]
pub(crate) struct Objects {
    /// Where raw files, processed events, matches and layers are kept. Default: the folder "objects" in `data_dir`, which is right for one node.
    /// Several nodes need one place that all of them see: a folder that all mount ("file:///mnt/panther"), or a bucket of S3 or of a server with its
    /// protocol ("s3://bucket/folder"), of Google Cloud ("gs://bucket/folder") or of Azure ("az://container/folder"). Credentials come in the
    /// environment, under the names of each cloud's own tools: AWS_ACCESS_KEY_ID and AWS_SECRET_ACCESS_KEY, GOOGLE_APPLICATION_CREDENTIALS,
    /// AZURE_STORAGE_ACCOUNT_NAME and AZURE_STORAGE_ACCOUNT_KEY (for the unit: `EnvironmentFile=`), or from the machine's role (docs/objects.md).
    #[serde(deserialize_with = "values::place", serialize_with = "values::as_text")]
    pub(crate) url: Place,
    /// The address of a server that speaks S3's protocol, such as "https://garage.example:3900". "" for the cloud's own.
    #[serde(
        deserialize_with = "values::endpoint",
        serialize_with = "values::or_empty"
    )]
    pub(crate) endpoint: Option<String>,
    /// The region of the bucket, where its server has regions. "" for the region of the environment (AWS_REGION), or us-east-1.
    #[serde(
        deserialize_with = "values::optional",
        serialize_with = "values::or_empty"
    )]
    pub(crate) region: Option<String>,
}

impl Default for Objects {
    fn default() -> Self {
        Self {
            url: Place::Folder(PathBuf::new()),
            endpoint: None,
            region: None,
        }
    }
}

impl Objects {
    /// The place, with the credentials of the environment.
    pub(crate) fn place(&self, variables: &BTreeMap<String, String>) -> Place {
        let mut place = self.url.clone().with_variables(variables);
        if let Some(endpoint) = &self.endpoint {
            place = place.with_endpoint(endpoint);
        }
        if let Some(region) = &self.region {
            place = place.with_region(region);
        }
        place
    }
}

impl Section for Objects {
    const NAME: &'static str = "objects";
}

/// The interpreter of detections.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, DocumentedFields)]
#[serde(default, deny_unknown_fields)]
pub(crate) struct Python {
    /// The Python that evaluates detections: a path, or a name that is looked up in PATH. panther-analysis is written for 3.11.
    #[serde(deserialize_with = "values::program")]
    pub(crate) interpreter: PathBuf,
    /// What the detections import besides the standard library, as pip takes it. With a version for each (name==1.2.3) all nodes are alike. If the list
    /// is not empty, the node once makes a virtual environment of the interpreter in `data_dir`, with pip and from the index that pip is configured
    /// for. The public pack needs: ["boto3", "jsonlines", "policyuniverse", "pycountry", "python-dateutil", "requests"]
    #[serde(deserialize_with = "values::packages")]
    pub(crate) packages: Vec<String>,
    /// How many worker processes evaluate detections at the same time. 0 = one per processor core.
    #[serde(deserialize_with = "values::whole::<0, 1_024, _>")]
    pub(crate) workers: usize,
}

impl Default for Python {
    fn default() -> Self {
        Self {
            interpreter: PathBuf::from("python3"),
            packages: Vec::new(),
            workers: 0,
        }
    }
}

impl Section for Python {
    const NAME: &'static str = "python";
}

/// The evaluation of detections.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, DocumentedFields)]
#[serde(default, deny_unknown_fields)]
pub(crate) struct Engine {
    /// How long one function of one rule may take for one event, in milliseconds of wall-clock time: on a busy machine an honest rule takes longer too.
    /// A rule that takes longer gets a rule error for that event, and evaluation continues after it.
    #[serde(
        deserialize_with = "values::milliseconds::<1, 600_000, _>",
        serialize_with = "values::in_milliseconds"
    )]
    pub(crate) rule_timeout_ms: Duration,
    /// Whether rules are evaluated in Rust where the result equals that of Python; Python evaluates all others. With false Python evaluates
    /// everything, many times slower: for comparison.
    #[serde(deserialize_with = "values::switch")]
    pub(crate) native: bool,
    /// One of so many events is evaluated both ways, with all rules of its log type. A rule whose two results differ is left to Python on all nodes and
    /// raises an alarm. 1 = each event, 0 = none.
    #[serde(deserialize_with = "values::whole::<0, 1_000_000_000, _>")]
    pub(crate) shadow_one_in: usize,
    /// New rules of a pack are tried in the background: each rule both ways, over the events of its unit tests and so many events derived from each of
    /// them. A rule whose two results differ is left to Python. A trial takes up to one core for half of the time: some minutes for the public pack,
    /// once. 0 = none.
    #[serde(deserialize_with = "values::whole::<0, 100_000, _>")]
    pub(crate) trial_events: usize,
    /// How much memory one worker process may use, in megabytes (10^6 bytes). A rule that needs more gets a rule error.
    #[serde(deserialize_with = "values::whole::<128, 1_000_000, _>")]
    pub(crate) memory_mb: usize,
}

impl Default for Engine {
    fn default() -> Self {
        Self {
            rule_timeout_ms: Duration::from_secs(5),
            native: true,
            shadow_one_in: 1_000,
            trial_events: 200,
            memory_mb: 1_000,
        }
    }
}

impl Section for Engine {
    const NAME: &'static str = "engine";
}

/// The form of log lines.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Serialize)]
#[serde(rename_all = "lowercase")]
pub(crate) enum LogFormat {
    /// For people.
    #[default]
    Text,
    /// For machines: one object per line.
    Json,
}

/// The log of the process.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, DocumentedFields)]
#[serde(default, deny_unknown_fields)]
pub(crate) struct Log {
    /// The least severe level that is logged: error, warn, info, debug or trace; also per module, as in `"info,panther_cluster=debug"`.
    #[serde(deserialize_with = "values::level")]
    pub(crate) level: String,
    /// "text" for people, "json" for machines: one object per line. Both go to standard error, hence to the journal under systemd, where "json" is the
    /// default.
    #[serde(deserialize_with = "values::format")]
    pub(crate) format: LogFormat,
}

impl Default for Log {
    fn default() -> Self {
        Self {
            level: "info".to_owned(),
            format: LogFormat::Text,
        }
    }
}

impl Section for Log {
    const NAME: &'static str = "log";
}

/// Traces of inputs and calls. `pantherctl trace` needs no setting: it shows the hops that the cluster keeps.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, DocumentedFields)]
#[serde(default, deny_unknown_fields)]
pub(crate) struct Traces {
    /// The address of an OpenTelemetry collector that takes OTLP over gRPC, for instance "http://127.0.0.1:4317". The spans of all traces go there.
    /// Each node needs the setting. "": no spans are exported.
    #[serde(deserialize_with = "values::link", serialize_with = "values::or_empty")]
    pub(crate) otlp_endpoint: Option<String>,
    /// How many of 100 traces are exported. All nodes choose the same traces.
    #[serde(deserialize_with = "values::percent")]
    pub(crate) sampled_percent: u8,
}

impl Default for Traces {
    fn default() -> Self {
        Self {
            otlp_endpoint: None,
            sampled_percent: 100,
        }
    }
}

impl Section for Traces {
    const NAME: &'static str = "traces";
}

/// Alerts on their way out.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, DocumentedFields)]
#[serde(default, deny_unknown_fields)]
pub(crate) struct Alerts {
    /// The beginning of the address of an alert's page, for instance that of a ticket system that shows alerts by their id. Notifications then hold the
    /// link `THIS/log-analysis/alerts/ALERT`. "": they hold no link.
    #[serde(deserialize_with = "values::link", serialize_with = "values::or_empty")]
    pub(crate) link: Option<String>,
    /// Networks to which no alert is posted, whatever an output says. The default are the addresses at which clouds give out the credentials of a
    /// machine. Add networks that the daemon reaches and the users of outputs should not, for instance "127.0.0.0/8".
    #[serde(deserialize_with = "values::networks")]
    pub(crate) denied_networks: Vec<IpNet>,
}

/// The addresses at which clouds give out the credentials of a machine.
const DENIED: [&str; 3] = ["169.254.0.0/16", "fe80::/10", "fd00:ec2::254/128"];

impl Default for Alerts {
    fn default() -> Self {
        Self {
            link: None,
            denied_networks: DENIED
                .into_iter()
                .filter_map(|net| net.parse().ok())
                .collect(),
        }
    }
}

impl Section for Alerts {
    const NAME: &'static str = "alerts";
}

/// Alarms that a node raises by itself.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize, DocumentedFields)]
#[serde(default, deny_unknown_fields)]
pub(crate) struct Alarm {
    /// A command that this node runs by itself when an alarm changes, also when the cluster may not be able to tell: no leader, disk full, clock off,
    /// crash loop. It is a program and its arguments, such as `["/usr/local/bin/page-team", "--team", "security"]`. The alarm comes as one JSON object
    /// on its standard input. Empty: the log only.
    #[serde(deserialize_with = "values::command")]
    pub(crate) command: Vec<String>,
}

impl Section for Alarm {
    const NAME: &'static str = "alarm";
}
