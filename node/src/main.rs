//! `pantherd`, the daemon: one node of panther-cluster.
//!
//! * [`config`]: how this node runs, from defaults, file, environment and flags
//! * [`data_dir`]: the node's folder, held by one daemon, with its identity and its sealing key
//! * [`keys`]: what the node shows of itself to other nodes; [`joining`]: how a machine becomes a node
//! * [`lineage`]: a new cluster with an old one's data
//! * [`daemon`]: everything started in order and stopped in order
//! * [`listeners`]: sockets, and how many callers each may have
//! * [`grpc`]: what tools and workers call, over a Unix socket
//! * [`http`]: ingest, health, metrics
//! * [`health`]: whether the node can do its work
//! * [`systemd`]: readiness, watchdog, more time to start
//! * [`telemetry`]: logs and traces

mod backup_seal;
mod config;
mod daemon;
mod data_dir;
mod grpc;
mod health;
mod http;
mod joining;
mod keys;
mod lineage;
mod listeners;
mod repeats;
mod socket;
mod systemd;
mod telemetry;
mod waiting;

use std::io::Write;
use std::path::PathBuf;
use std::process::ExitCode;

use clap::{Args, Parser, Subcommand};
use rustix::process::{DumpableBehavior, set_dumpable_behavior};

use crate::config::{Configuration, Flags, Surroundings};
use crate::lineage::Restore;

/// glibc's malloc keeps what the loading of a pack freed, in an arena for each thread. Set in `.cargo/config.toml`.
#[global_allocator]
static ALLOCATOR: tikv_jemallocator::Jemalloc = tikv_jemallocator::Jemalloc;

/// One node of panther-cluster.
///
/// With no configuration at all it starts and works. SIGTERM and SIGINT stop it in good order; a second one at once.
/// Exit codes: 0 stopped in good order, 1 failed, 3 bad configuration.
#[derive(Debug, Parser)]
#[command(name = "pantherd", version, max_term_width = 100)]
struct Cli {
    #[command(flatten)]
    flags: Flags,
    #[command(subcommand)]
    command: Option<Command>,
}

#[derive(Debug, Subcommand)]
enum Command {
    /// Look at the configuration without starting anything
    #[command(subcommand)]
    Config(ConfigCommand),
    /// Make this machine a node of the cluster that made the invitation (`pantherctl cluster invite`); start pantherd then
    Join {
        /// The invitation, one line; "-" reads it from standard input, where no list of processes shows it
        token: String,
    },
    /// Make this machine the first node of a new cluster with a backup's data (`pantherctl backup create`); start pantherd then
    Restore {
        /// The backup's folder
        backup: PathBuf,
        #[command(flatten)]
        key: SealingKey,
        /// The cluster that was backed up is gone for good: take its objects over
        #[arg(long)]
        take_over: bool,
        /// For a drill: deliver no alert and watch no folder until `pantherctl resume`
        #[arg(long)]
        paused: bool,
    },
    /// Make this node a cluster of its own with the data that it has: only when a majority is gone for good
    ForceNew {
        /// Do it; without this it only says what would be lost
        #[arg(long)]
        yes: bool,
    },
    /// Make a new sealing key where the old one is lost; secrets of destinations have to be entered again
    NewSealingKey {
        /// Do it; without this it only says what would be lost
        #[arg(long)]
        yes: bool,
    },
    /// Go on from the state that is left when the only voter has lost a part of its log, as a new cluster
    Salvage {
        /// Do it; without this it only says what is kept and what may be lost
        #[arg(long)]
        yes: bool,
    },
}

/// How secrets in a backup are opened.
#[derive(Debug, Args)]
#[group(required = true, multiple = false)]
struct SealingKey {
    /// The old cluster's sealing.key, from the data_dir of any of its nodes
    #[arg(long, value_name = "FILE")]
    sealing_key: Option<PathBuf>,
    /// It is lost: destinations have to be given their addresses and keys anew
    #[arg(long)]
    without_sealing_key: bool,
}

#[derive(Debug, Subcommand)]
enum ConfigCommand {
    /// Print every key with the value in force and where it comes from
    Show,
    /// Check the configuration: exit code 0, or 3 and all faults
    Check,
    /// Print a configuration file with every key, its default and its meaning
    Sample,
}

/// Why the daemon ended other than it should.
#[derive(Debug, thiserror::Error)]
enum Failure {
    /// Starting again would not mend it.
    #[error("{0}")]
    Configuration(String),
    /// Something failed that may pass.
    #[error("{0}")]
    Failed(String),
}

impl Failure {
    fn code(&self) -> ExitCode {
        ExitCode::from(match self {
            Self::Configuration(_) => 3,
            Self::Failed(_) => 1,
        })
    }
}

fn read_token(given: String) -> Result<String, Failure> {
    if given != "-" {
        return Ok(given);
    }
    let mut line = String::new();
    std::io::stdin()
        .read_line(&mut line)
        .map_err(|error| Failure::Failed(format!("standard input cannot be read: {error}")))?;
    Ok(line)
}

fn main() -> ExitCode {
    let cli = Cli::parse();
    if matches!(cli.command, Some(Command::Config(ConfigCommand::Sample))) {
        // Also where the present configuration has faults.
        let _ = std::io::stdout().write_all(config::sample().as_bytes());
        return ExitCode::SUCCESS;
    }
    let (configuration, effective) =
        match config::read(&cli.flags, &Surroundings::of_this_process()) {
            Ok(read) => read,
            Err(faults) => {
                let _ = writeln!(std::io::stderr(), "{faults}"); // nobody is left to tell
                return ExitCode::from(3);
            }
        };
    let say = |text: &str| {
        // A reader who has had enough is no failure.
        let _ = std::io::stdout().write_all(text.as_bytes());
        ExitCode::SUCCESS
    };
    let done = |what: &str, done: Result<String, Failure>| match done {
        Ok(said) => say(&said),
        Err(failure) => {
            let _ = writeln!(std::io::stderr(), "pantherd: {what}: {failure}"); // nobody is left to tell
            failure.code()
        }
    };
    match cli.command {
        Some(Command::Config(ConfigCommand::Show)) => say(&effective.to_string()),
        Some(Command::Config(ConfigCommand::Sample)) => ExitCode::SUCCESS, // printed above
        Some(Command::Config(ConfigCommand::Check)) => say("the configuration is right\n"),
        Some(Command::Join { token }) => {
            let joined = read_token(token).and_then(|token| joining::run(&configuration, &token));
            done("not joined", joined)
        }
        Some(Command::Restore {
            backup,
            key,
            take_over,
            paused,
        }) => {
            let given = Restore {
                backup: &backup,
                sealing_key: key.sealing_key.as_deref(),
                take_over,
                paused,
            };
            done("not restored", lineage::restore(&configuration, &given))
        }
        Some(Command::ForceNew { yes }) => {
            done("not done", lineage::force_new(&configuration, yes))
        }
        Some(Command::NewSealingKey { yes }) => {
            done("not made", lineage::new_sealing_key(&configuration, yes))
        }
        Some(Command::Salvage { yes }) => {
            done("not salvaged", lineage::salvage(&configuration, yes))
        }
        None => run(configuration),
    }
}

fn run(configuration: Configuration) -> ExitCode {
    telemetry::start(&configuration);
    // No process of the same user may read the keys that are in memory, or take this process over: neither by ptrace nor by /proc.
    if let Err(error) = set_dumpable_behavior(DumpableBehavior::NotDumpable) {
        tracing::warn!(%error, "processes of the same user can read this process's memory");
    }
    match daemon::run(configuration) {
        Ok(()) => ExitCode::SUCCESS,
        Err(failure) => {
            tracing::error!("{failure}");
            systemd::status(&format!("ended: {failure}"));
            failure.code()
        }
    }
}
