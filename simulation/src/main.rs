//! `simulate`: runs many seeds, or one seed again that failed.

use std::collections::BTreeMap;
use std::num::NonZero;
use std::process::{Command, ExitCode};
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::{Duration, Instant};

use clap::Parser;
use panther_simulation::{Made, Report, Settings, run};
use parking_lot::Mutex;

/// Simulates three nodes on one thread, by a seed: power cuts, partitions, slow networks, wrong clocks.
///
/// Exit codes: 0 all promises held, 1 a promise was broken. The seed is printed, and `--seed` repeats its run.
#[derive(Debug, Parser)]
#[command(name = "simulate", version, max_term_width = 100)]
struct Cli {
    /// Runs only this seed, and prints all its events
    #[arg(long)]
    seed: Option<u64>,
    /// Number of seeds
    #[arg(long, default_value_t = 200)]
    seeds: u64,
    /// First seed
    #[arg(long, default_value_t = 1)]
    from: u64,
    /// For how many simulated seconds faults are made
    #[arg(long, default_value_t = 30)]
    seconds: u64,
    /// Prints only the result of one seed, as JSON
    #[arg(long)]
    brief: bool,
    /// Number of parallel runs; by default the number of processors
    #[arg(long)]
    jobs: Option<usize>,
}

fn main() -> ExitCode {
    let cli = Cli::parse();
    match cli.seed {
        Some(seed) => one(&cli, seed),
        None => many(&cli),
    }
}

fn one(cli: &Cli, seed: u64) -> ExitCode {
    if std::env::var_os("RUST_LOG").is_some() {
        tracing_subscriber::fmt()
            .with_env_filter(tracing_subscriber::EnvFilter::from_default_env())
            .without_time()
            .init();
    }
    let settings = Settings {
        seed,
        faults_for: Duration::from_secs(cli.seconds),
        spoken: !cli.brief,
    };
    let said = match run(settings) {
        Ok(report) if cli.brief => serde_json::to_string(&report).unwrap_or_default(),
        Ok(report) => format!("{report:#?}"),
        Err(broken) => {
            println!("seed {seed}: {broken}");
            return ExitCode::FAILURE;
        }
    };
    println!("{said}");
    ExitCode::SUCCESS
}

/// Runs one seed in a process of its own, with `--seed`: tokio and other crates keep counters in static variables, so
/// only the first run of a process is reproducible.
fn apart(cli: &Cli, seed: u64) -> Result<Report, String> {
    let program = std::env::current_exe().map_err(|error| error.to_string())?;
    let (seed, seconds) = (seed.to_string(), cli.seconds.to_string());
    let done = Command::new(program)
        .args(["--seed", &seed, "--seconds", &seconds, "--brief"])
        .output()
        .map_err(|error| error.to_string())?;
    let said = String::from_utf8_lossy(&done.stdout);
    let last = said.lines().last().unwrap_or_default();
    if done.status.success() {
        return serde_json::from_str(last).map_err(|error| format!("seed {seed}: {error}: {last}"));
    }
    let errors = String::from_utf8_lossy(&done.stderr);
    Err(format!("{last}{} ({})", errors.trim_end(), done.status))
}

#[derive(Default)]
struct Sum {
    made: Made,
    refused: BTreeMap<String, u32>,
    moves: u32,
    messages: usize,
    calls: usize,
    undecided: usize,
    settled: Duration,
    failed: Vec<u64>,
}

fn many(cli: &Cli) -> ExitCode {
    let began = Instant::now();
    let jobs = cli
        .jobs
        .unwrap_or_else(|| std::thread::available_parallelism().map_or(1, NonZero::get));
    let next = AtomicU64::new(cli.from);
    let sum = Mutex::new(Sum::default());
    std::thread::scope(|scope| {
        for _ in 0..jobs {
            scope.spawn(|| {
                loop {
                    let seed = next.fetch_add(1, Ordering::Relaxed);
                    if seed >= cli.from + cli.seeds {
                        return;
                    }
                    let ran = apart(cli, seed);
                    let mut sum = sum.lock();
                    match ran {
                        Ok(report) => {
                            sum.made += report.made;
                            for (code, count) in report.refused {
                                *sum.refused.entry(code).or_default() += count;
                            }
                            sum.moves += report.moves;
                            sum.messages += report.messages;
                            sum.calls += report.calls;
                            sum.undecided += report.undecided;
                            sum.settled = sum.settled.max(report.settled);
                        }
                        Err(broken) => {
                            println!("{broken}");
                            sum.failed.push(seed);
                        }
                    }
                }
            });
        }
    });
    let sum = sum.into_inner();
    println!(
        "{} seeds in {:.0?}: {} failed; {} messages done once, {} calls explained ({} keys undecided), all done {:.1?} after the last fault at most",
        cli.seeds,
        began.elapsed(),
        sum.failed.len(),
        sum.messages,
        sum.calls,
        sum.undecided,
        sum.settled
    );
    println!("{:?}", sum.made);
    println!(
        "nodes that moved: {}; refused starts: {:?}",
        sum.moves, sum.refused
    );
    match sum.failed.first() {
        None => ExitCode::SUCCESS,
        Some(seed) => {
            println!("again: simulate --seconds {} --seed {seed}", cli.seconds);
            ExitCode::FAILURE
        }
    }
}
