//! How an engine is to run, and the faults that are the node's and not a rule's.

use std::collections::BTreeSet;
use std::path::PathBuf;
use std::time::Duration;

use crate::key_value::ViewError;

/// How an engine is to run.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct EngineSettings {
    /// The interpreter: a name looked up in `PATH`, or the path of a virtual environment's `python`. CPython 3.11 or newer.
    pub python: PathBuf,
    /// What pip is to install for the detections, as on its command line (`policyuniverse==1.5.1`). If there is anything, a virtual
    /// environment of `python` is made for it.
    pub packages: Vec<String>,
    /// Folder of such environments; they are kept.
    pub environments: PathBuf,
    /// Folder in which the engine makes a private folder for the pack's files, removed when it stops.
    pub work_dir: PathBuf,
    /// Worker processes. At least 1.
    pub workers: usize,
    /// Time that one function of a detection may take on one event. A function that passes it is
    /// interrupted; a pair that passes three times as much has its worker killed. It is wall time: a
    /// rule takes microseconds, so seconds mean a hang even on a node that is short of processors.
    pub rule_time: Duration,
    /// Time in which the whole pack must be loaded.
    pub load_time: Duration,
    /// Address space of a worker, in bytes.
    pub memory_bytes: u64,
    /// Open files of a worker.
    pub open_files: u64,
    /// Most events that a worker is given at once.
    pub batch_events: usize,
    /// Most bytes of events that a worker is given at once; a larger event goes by itself.
    pub batch_bytes: usize,
    /// How often a rule may end its worker or run out of time within one evaluation before the rest of the events are kept from it.
    pub strikes: u32,
    /// Whether the engine remembers which rules say no to which events, and does not call those rules for similar events. Without the
    /// memory the results are the same and come later: for comparing.
    pub memory: bool,
    /// Whether rules are evaluated in Rust where the result is that of Python. Without it the results are the same and come later.
    pub native: bool,
    /// Of how many events one is evaluated by Python as well, with all rules of its log type, to see whether both say the same; Python's word counts.
    /// 0: none.
    pub shadow_one_in: u32,
    /// Ids of detections that are not evaluated in Rust.
    pub python_only: BTreeSet<String>,
    /// Of how many events one is timed, rule by rule, for [`super::Engine::costs`]. To time one costs a tenth of a microsecond a rule. 0: none.
    pub profile_one_in: u32,
    /// Whether code of the pack is confined by the kernel. Without it, only for tests, a rule can harm every process of this user.
    pub confined: bool,
    /// Whether disabled and unevaluated detections are loaded as well, so that their tests can run. They never take part in an evaluation.
    pub load_disabled: bool,
}

impl Default for EngineSettings {
    fn default() -> Self {
        Self {
            python: PathBuf::from("python3"),
            packages: Vec::new(),
            environments: std::env::temp_dir().join("panther-environments"),
            work_dir: std::env::temp_dir(),
            workers: std::thread::available_parallelism().map_or(1, usize::from),
            rule_time: Duration::from_secs(5),
            load_time: Duration::from_secs(120),
            memory_bytes: 1 << 30,
            open_files: 64,
            batch_events: 256,
            batch_bytes: 4 << 20,
            strikes: 3,
            memory: true,
            native: true,
            shadow_one_in: 1000,
            python_only: BTreeSet::new(),
            profile_one_in: 0,
            confined: true,
            load_disabled: false,
        }
    }
}

/// A failure of the engine itself: a fault of the node, never of a message or rule. The same events may succeed later or elsewhere.
#[derive(Debug, thiserror::Error)]
pub enum EngineFault {
    /// The interpreter could not be run.
    #[error(
        "cannot run Python as {python}: {source}; install CPython 3.11 or newer, or set the path of the interpreter"
    )]
    Python {
        /// What was to be run.
        python: PathBuf,
        /// Why not.
        #[source]
        source: std::io::Error,
    },
    /// What the detections import could not be installed.
    #[error(
        "the packages {packages} cannot be installed: {reason}; mend python.packages, the way to the package index (pip.conf, PIP_INDEX_URL), or name an interpreter that has them (python.interpreter)"
    )]
    Packages {
        /// What was to be installed.
        packages: String,
        /// What Python or pip said.
        reason: String,
    },
    /// The template ended or kept silent before the pack was loaded.
    #[error("the Python side did not start: {reason}{}", said(.output))]
    Start {
        /// What happened.
        reason: String,
        /// The last lines that it wrote.
        output: String,
    },
    /// The pack cannot be loaded: files of it take down the process that loads them. It is the pack's fault and no other node can load it either.
    #[error("the pack is refused: {reason}")]
    Refused {
        /// The files, each with what it did.
        reason: String,
    },
    /// The part that evaluates in Rust broke down.
    #[error(
        "the native engine broke down: {reason}; engine.native = false evaluates everything in Python"
    )]
    Native {
        /// What happened.
        reason: String,
    },
    /// A file or socket of the engine's own.
    #[error("{doing}: {source}")]
    Io {
        /// What was being done.
        doing: String,
        /// Why it failed.
        #[source]
        source: std::io::Error,
    },
    /// The template ended while it was needed; it is started again for the next call.
    #[error("the Python template ended{}", said(.output))]
    TemplateEnded {
        /// The last lines that it wrote.
        output: String,
    },
    /// Workers end before any rule runs.
    #[error("{count} workers in a row ended without having begun: {reason}")]
    WorkersEnd {
        /// How many.
        count: u32,
        /// What the last one did.
        reason: String,
    },
    /// The key-value store could not be read.
    #[error("reading key {key:?} of the key-value store: {source}")]
    View {
        /// The key.
        key: String,
        /// Why not.
        #[source]
        source: ViewError,
    },
    /// The engine was told to stop.
    #[error("the engine has been stopped")]
    Stopped,
}

impl EngineFault {
    pub(super) fn io(doing: impl Into<String>) -> impl FnOnce(std::io::Error) -> Self {
        let doing = doing.into();
        |source| Self::Io { doing, source }
    }
}

fn said(output: &str) -> String {
    if output.trim().is_empty() {
        String::new()
    } else {
        format!("; it said: {}", output.trim())
    }
}
