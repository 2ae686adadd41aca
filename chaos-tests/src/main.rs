//! `chaos`: the long runs, and how a failure of a short one is repeated.

use std::io::Write;
use std::path::PathBuf;
use std::process::ExitCode;
use std::time::Duration;

use clap::{Args, Parser, Subcommand};
use panther_chaos_tests::crash_loop::{self, Settings};
use panther_chaos_tests::three_nodes::{self, Fault};
use panther_chaos_tests::{Failure, catch_up, full_disk, lineage, power_cut, slow_disk, upgrade};

/// Faults for real pantherd processes, and a look at what is left.
///
/// Exit codes: 0 all promises held, 1 one did not, 2 this machine cannot make the fault.
#[derive(Debug, Parser)]
#[command(name = "chaos", version, max_term_width = 100)]
struct Cli {
    #[command(subcommand)]
    command: Command,
}

#[derive(Debug, Subcommand)]
enum Command {
    /// kill -9 again and again while logs come in; the counts equal an undisturbed run's
    CrashLoop(CrashLoop),
    /// The disk loses what was not synced; nothing acknowledged is gone
    PowerCut(PowerCut),
    /// No room is left on the disk; new logs are refused, accepted ones are kept
    FullDisk,
    /// Nodes of a cluster of three are killed, stopped and held still under load; nothing acknowledged is gone or doubled
    ThreeNodes(ThreeNodes),
    /// Three nodes are upgraded one by one to a release with the next format, under load
    Upgrade {
        /// The newer daemon: built with --features next-format
        #[arg(long, value_name = "PANTHERD")]
        next: PathBuf,
    },
    /// The leader's disk stands still, and another leads
    SlowDisk,
    /// Two of three machines are gone for good and one goes on alone; a backup becomes a cluster
    Lineage,
    /// A node with an empty disk takes the place of a lost one while the state is large; times and memory are measured
    CatchUp {
        /// The state's size
        #[arg(long, default_value_t = 2_000)]
        megabytes: u64,
    },
}

#[derive(Debug, Args)]
struct ThreeNodes {
    /// What the faults are drawn from; by default the time
    #[arg(long)]
    seed: Option<u64>,
    /// How many times the leader is killed first
    #[arg(long, default_value_t = 0)]
    kills: usize,
    /// How many times the lead is handed over then
    #[arg(long, default_value_t = 0)]
    hand_overs: usize,
    /// How many times a node is stopped and started again then
    #[arg(long, default_value_t = 0)]
    restarts: usize,
    /// For how many minutes faults of all kinds are drawn then
    #[arg(long, default_value_t = 0)]
    minutes: u64,
    /// The kinds of faults that are drawn; by default all
    #[arg(long, value_enum, value_delimiter = ',')]
    only: Vec<Fault>,
    /// Each node has a network card and a clock of its own, so that it can be cut off and its clock set; as root, with iproute2, nftables and libfaketime
    #[arg(long)]
    wires: bool,
    /// Each node has a disk of its own, so that it can be full, stand still, or lose what was not synced; as root, with loop devices
    #[arg(long)]
    disks: bool,
}

#[derive(Debug, Args)]
struct CrashLoop {
    /// What the kills are drawn from; by default the time
    #[arg(long)]
    seed: Option<u64>,
    /// How many kills
    #[arg(long, default_value_t = 200)]
    rounds: usize,
    /// Stop killing after so many minutes, even if there were fewer kills
    #[arg(long, default_value_t = 60)]
    minutes: u64,
    /// Shortest time from kill to kill
    #[arg(long, default_value_t = 500)]
    min_ms: u64,
    /// Longest time from kill to kill
    #[arg(long, default_value_t = 10_000)]
    max_ms: u64,
    /// A pack of detections; by default that of samples/
    #[arg(long)]
    pack: Option<PathBuf>,
    /// A folder of log files; by default that of samples/
    #[arg(long)]
    logs: Option<PathBuf>,
    /// The log types in it
    #[arg(long)]
    log_types: Option<String>,
    /// A rule whose matches depend on the order of events, and so are not compared; may be given again
    #[arg(long, value_name = "RULE")]
    order_dependent: Vec<String>,
    /// The Python that evaluates the pack, with whatever it imports
    #[arg(long, default_value = "python3")]
    python: String,
    /// How long everything after the last kill may take
    #[arg(long, default_value_t = 300)]
    patience_s: u64,
}

#[derive(Debug, Args)]
struct PowerCut {
    /// What the cuts are drawn from; by default the time
    #[arg(long)]
    seed: Option<u64>,
    /// How many cuts
    #[arg(long, default_value_t = 50)]
    rounds: usize,
    /// Stop cutting after so many minutes, even if there were fewer cuts
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
    // The node runs in a folder of its own.
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

/// The seed given, or one from the clock: which one it was is said.
fn seed(given: Option<u64>) -> u64 {
    given.unwrap_or_else(|| {
        let now = std::time::SystemTime::now().duration_since(std::time::UNIX_EPOCH);
        now.map_or(0, |now| now.as_secs())
    })
}

fn say(text: &str) {
    let _ = writeln!(std::io::stdout(), "{text}"); // nobody is left to tell
}
