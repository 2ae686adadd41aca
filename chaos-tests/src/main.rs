//! `chaos`: the long versions of the fault tests, and the way to reproduce a failure of a short one.

use std::io::Write;
use std::path::PathBuf;
use std::process::ExitCode;
use std::time::Duration;

use clap::{Args, Parser, Subcommand};
use panther_chaos_tests::crash_loop::{self, Settings};
use panther_chaos_tests::three_nodes::{self, Fault};
use panther_chaos_tests::{Failure, catch_up, full_disk, lineage, power_cut, slow_disk, upgrade};

/// Injects faults into real pantherd processes and verifies the results.
///
/// Exit codes: 0 all guarantees were kept, 1 a guarantee was broken, 2 this machine cannot create the fault.
#[derive(Debug, Parser)]
#[command(name = "chaos", version, max_term_width = 100)]
struct Cli {
    #[command(subcommand)]
    command: Command,
}

#[derive(Debug, Subcommand)]
enum Command {
    /// Repeated kill -9 while logs arrive; the totals equal those of an undisturbed run
    CrashLoop(CrashLoop),
    /// The disk loses unsynced data; acknowledged data is kept
    PowerCut(PowerCut),
    /// The disk is full; new logs are rejected, accepted ones are kept
    FullDisk,
    /// Nodes of a cluster of three are killed, stopped and paused under load; acknowledged data is neither lost nor duplicated
    ThreeNodes(ThreeNodes),
    /// Rolling upgrade of three nodes to a release with the next format, under load
    Upgrade {
        /// The newer daemon, built with --features next-format
        #[arg(long, value_name = "PANTHERD")]
        next: PathBuf,
    },
    /// The leader's disk is frozen, and leadership moves to another node
    SlowDisk,
    /// Two of three machines are lost for good and one continues alone; a backup becomes a cluster
    Lineage,
    /// A node with an empty disk replaces a lost one while the state is large; times and memory are measured
    CatchUp {
        /// Size of the state, in megabytes
        #[arg(long, default_value_t = 2_000)]
        megabytes: u64,
    },
}

#[derive(Debug, Args)]
struct ThreeNodes {
    /// Seed of the faults; by default the current time
    #[arg(long)]
    seed: Option<u64>,
    /// Number of kills of the leader at the beginning
    #[arg(long, default_value_t = 0)]
    kills: usize,
    /// Number of leadership transfers after that
    #[arg(long, default_value_t = 0)]
    hand_overs: usize,
    /// Number of restarts of a node after that
    #[arg(long, default_value_t = 0)]
    restarts: usize,
    /// Number of minutes with random faults of all kinds after that
    #[arg(long, default_value_t = 0)]
    minutes: u64,
    /// Kinds of random faults; by default all
    #[arg(long, value_enum, value_delimiter = ',')]
    only: Vec<Fault>,
    /// Each node has a network interface and a clock, so that it can be partitioned and its clock set; needs root, iproute2, nftables and
    /// libfaketime
    #[arg(long)]
    wires: bool,
    /// Each node has its own disk, which can be full, be frozen, or lose unsynced data; needs root and loop devices
    #[arg(long)]
    disks: bool,
}

#[derive(Debug, Args)]
struct CrashLoop {
    /// Seed of the kills; by default the current time
    #[arg(long)]
    seed: Option<u64>,
    /// Number of kills
    #[arg(long, default_value_t = 200)]
    rounds: usize,
    /// Maximum number of minutes with kills, even if there were fewer kills
    #[arg(long, default_value_t = 60)]
    minutes: u64,
    /// Minimum time between kills, in milliseconds
    #[arg(long, default_value_t = 500)]
    min_ms: u64,
    /// Maximum time between kills, in milliseconds
    #[arg(long, default_value_t = 10_000)]
    max_ms: u64,
    /// A pack of detections; by default the pack of samples/
    #[arg(long)]
    pack: Option<PathBuf>,
    /// A folder of log files; by default the logs of samples/
    #[arg(long)]
    logs: Option<PathBuf>,
    /// The log types of the files
    #[arg(long)]
    log_types: Option<String>,
    /// A rule whose matches depend on the order of events, so that its results are not compared; may be repeated
    #[arg(long, value_name = "RULE")]
    order_dependent: Vec<String>,
    /// The Python interpreter for the pack, with the packages that the pack imports
    #[arg(long, default_value = "python3")]
    python: String,
    /// Deadline of everything after the last kill, in seconds
    #[arg(long, default_value_t = 300)]
    patience_s: u64,
}

#[derive(Debug, Args)]
struct PowerCut {
    /// Seed of the power cuts; by default the current time
    #[arg(long)]
    seed: Option<u64>,
    /// Number of power cuts
    #[arg(long, default_value_t = 50)]
    rounds: usize,
    /// Maximum number of minutes with power cuts, even if there were fewer cuts
    #[arg(long, default_value_t = 60)]
    minutes: u64,
}

fn main() -> ExitCode {
    let cli = Cli::parse();
    let runtime = match tokio::runtime::Runtime::new() {
        Ok(runtime) => runtime,
        Err(error) => {
            say(&format!("the runtime cannot be started: {error}"));
            return ExitCode::FAILURE;
        }
    };
    let ended = runtime.block_on(async {
        match cli.command {
            Command::CrashLoop(arguments) => crash_loop(arguments).await,
            Command::CatchUp { megabytes } => {
                say(&catch_up::run(megabytes).await?.to_string());
                Ok(())
            }
            Command::PowerCut(arguments) => {
                let settings = power_cut::Settings {
                    seed: seed(arguments.seed),
                    rounds: arguments.rounds,
                    limit: Duration::from_secs(60 * arguments.minutes),
                };
                say(&format!(
                    "power cut: seed {}, {} rounds",
                    settings.seed, settings.rounds
                ));
                say(&power_cut::run(&settings).await?.to_string());
                Ok(())
            }
            Command::ThreeNodes(arguments) => {
                let first = [
                    (Fault::KillLeader, arguments.kills),
                    (Fault::HandOver, arguments.hand_overs),
                    (Fault::Restart, arguments.restarts),
                ];
                let settings = three_nodes::Settings {
                    seed: seed(arguments.seed),
                    first: first
                        .into_iter()
                        .flat_map(|(fault, times)| std::iter::repeat_n(fault, times))
                        .collect(),
                    drawn: Duration::from_secs(60 * arguments.minutes),
                    kinds: arguments.only,
                    wires: arguments.wires,
                    disks: arguments.disks,
                };
                say(&format!("three nodes: seed {}", settings.seed));
                say(&three_nodes::run(&settings).await?.to_string());
                Ok(())
            }
            Command::Upgrade { next } => {
                say(&upgrade::run(&next).await?.to_string());
                Ok(())
            }
            Command::SlowDisk => {
                say(&slow_disk::run().await?.to_string());
                Ok(())
            }
            Command::Lineage => {
                lineage::run().await?;
                say("one of three went on alone; a backup became a cluster");
                Ok(())
            }
            Command::FullDisk => {
                say(&full_disk::run().await?.to_string());
                Ok(())
            }
        }
    });
    match ended {
        Ok(()) => ExitCode::SUCCESS,
        Err(failure) => {
            say(&failure.to_string());
            ExitCode::from(match failure {
                Failure::Broken(_) => 1,
                Failure::CannotRun(_) => 2,
            })
        }
    }
}

async fn crash_loop(arguments: CrashLoop) -> Result<(), Failure> {
    let mut settings = Settings::on_samples(seed(arguments.seed));
    settings.rounds = arguments.rounds;
    settings.limit = Duration::from_secs(60 * arguments.minutes);
    settings.min = Duration::from_millis(arguments.min_ms);
    settings.max = Duration::from_millis(arguments.max_ms.max(arguments.min_ms));
    settings.patience = Duration::from_secs(arguments.patience_s);
    // The node runs in another working folder, so the path must be absolute.
    settings.python = match std::path::absolute(&arguments.python) {
        Ok(path) if arguments.python.contains('/') => path.display().to_string(),
        _ => arguments.python,
    };
    settings.order_dependent = arguments.order_dependent;
    if let Some(pack) = arguments.pack {
        settings.pack = pack;
    }
    if let Some(logs) = arguments.logs {
        settings.logs = logs;
    }
    if let Some(log_types) = arguments.log_types {
        settings.log_types = log_types;
    }
    say(&format!(
        "crash loop: seed {}, {} kills {} to {} ms apart",
        settings.seed,
        settings.rounds,
        settings.min.as_millis(),
        settings.max.as_millis()
    ));
    let report = crash_loop::run(&settings).await?;
    say(&report.to_string());
    if report.differences.is_empty() {
        return Ok(());
    }
    Err(Failure::Broken(format!(
        "{}\n--seed {} with the same settings draws the same kills again",
        report.differences.join("\n"),
        settings.seed
    )))
}

/// The given seed, or one from the clock. The seed is printed.
fn seed(given: Option<u64>) -> u64 {
    given.unwrap_or_else(|| {
        let now = std::time::SystemTime::now().duration_since(std::time::UNIX_EPOCH);
        now.map_or(0, |now| now.as_secs())
    })
}

fn say(text: &str) {
    let _ = writeln!(std::io::stdout(), "{text}"); // a failed write to stdout cannot be reported
}
