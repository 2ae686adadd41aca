//! Nodes of a cluster of three are killed, stopped, partitioned and paused while clients write, read, send, receive and post. In the end
//! every acknowledged change exists exactly once. Measures the pauses of writes.

use std::fmt;
use std::time::{Duration, Instant};

use rand::SeedableRng;
use rand::rngs::StdRng;
use rand::seq::IndexedRandom;

use crate::cluster::{Cluster, Machines};
pub use crate::faults::Fault;
use crate::faults::{Seen, make};
use crate::under_load::{Account, Load};
use crate::{During, Failure, Result};

/// Settings of a run.
#[derive(Debug, Clone)]
pub struct Settings {
    /// Seed of the faults.
    pub seed: u64,
    /// Faults in this order first; then random ones, as long as there is time.
    pub first: Vec<Fault>,
    /// Duration of the random faults.
    pub drawn: Duration,
    /// Kinds of random faults; if empty, all kinds that this machine can create.
    pub kinds: Vec<Fault>,
    /// Each node has a network interface and a clock, so that it can be partitioned and its clock set.
    pub wires: bool,
    /// Each node has its own disk, which can be full, be frozen, or lose unsynced data.
    pub disks: bool,
}

/// Results of a run.
#[derive(Debug, Default)]
pub struct Report {
    /// Measurements of each fault.
    pub seen: Vec<Seen>,
    /// Totals of the load.
    pub account: Account,
}

impl fmt::Display for Report {
    fn fmt(&self, to: &mut fmt::Formatter<'_>) -> fmt::Result {
        writeln!(to, "{}", self.account)?;
        let all = [&Fault::ANYWHERE[..], &Fault::WITH_WIRES, &Fault::WITH_DISKS];
        for fault in all.concat() {
            let of = |what: fn(&Seen) -> Duration| {
                let seen = self.seen.iter().filter(|seen| seen.fault == fault);
                let mut times: Vec<f64> = seen.map(|seen| what(seen).as_secs_f64()).collect();
                times.sort_unstable_by(f64::total_cmp);
                times
            };
            let (pauses, resumed) = (of(|seen| seen.pause), of(|seen| seen.resumed));
            if let (Some(middle), Some(longest), Some(last)) =
                (pauses.get(pauses.len() / 2), pauses.last(), resumed.last())
            {
                writeln!(
                    to,
                    "  {:<14} {:>3} times; the longest write meanwhile {middle:.3} s in the middle, {longest:.3} s at most; written at all nodes {last:.3} s after the healing at most",
                    format!("{fault:?}"),
                    pauses.len(),
                )?;
            }
        }
        Ok(())
    }
}

/// Runs the test.
///
/// # Errors
/// Acknowledged data is lost or duplicated, or the cluster does not recover.
pub async fn run(settings: &Settings) -> Result<Report> {
    let folder = tempfile::Builder::new()
        .prefix("panther-three-")
        .tempdir()
        .during("making a folder")?;
    let machines = Machines {
        wires: settings.wires,
        disks: settings.disks,
    };
    let mut cluster = Cluster::three_on(folder.path().to_owned(), machines).await?;
    let ran = faults_under_load(settings, &mut cluster).await;
    ran.map_err(|failure| {
        failure.with_words(|| format!("seed {}; {}", settings.seed, cluster.last_words()))
    })
}

async fn faults_under_load(settings: &Settings, cluster: &mut Cluster) -> Result<Report> {
    let mut load = Load::begin(cluster).await?;
    let mut report = Report::default();
    let mut random = StdRng::seed_from_u64(settings.seed);
    let mut first = settings.first.iter().copied();
    let mut kinds = settings.kinds.clone();
    if kinds.is_empty() {
        kinds.extend(Fault::ANYWHERE);
        if settings.wires {
            kinds.extend(Fault::WITH_WIRES);
        }
        if settings.disks {
            kinds.extend(Fault::WITH_DISKS);
        }
    }
    let mut drawn_since = None;
    loop {
        let fault = match first.next() {
            Some(fault) => fault,
            None => {
                let since = *drawn_since.get_or_insert_with(Instant::now);
                if since.elapsed() >= settings.drawn {
                    break;
                }
                kinds
                    .choose(&mut random)
                    .copied()
                    .unwrap_or(Fault::HandOver)
            }
        };
        cluster.start_what_ended().await?;
        let seen = make(fault, cluster, &mut random, report.seen.len()).await;
        let before = report.seen.last().map(|seen| seen.fault);
        let seen = seen.map_err(|failure| {
            Failure::Broken(format!("{fault:?}, after {before:?}: {failure}"))
        })?;
        report.seen.push(seen);
        load.goes_on().await?;
    }
    report.account = load.end(cluster).await?;
    cluster.stop().await?;
    Ok(report)
}
