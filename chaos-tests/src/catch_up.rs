//! Behaviour of a cluster with a large state: a node with an empty disk replaces a lost one while clients write, and a killed node opens
//! its state. Times and memory are measured without a limit; acknowledged data must exist.

use std::fmt;
use std::path::Path;
use std::sync::Arc;
use std::time::{Duration, Instant};

use panther_proto::v1::{RowChange, Transact, Update, Value, update, value};
use parking_lot::Mutex;
use tokio::sync::watch;

use crate::cluster::Cluster;
use crate::load::{Client, Notes, TABLE, key};
use crate::{During, Failure, Result, until};

/// Size of one row, in bytes.
const ROW: usize = 200 << 10;
/// Number of clients that fill the state.
const FILLERS: usize = 8;
/// Deadline of the long steps.
const LONG: Duration = Duration::from_secs(1_800);

/// Results of a run.
#[derive(Debug, Default)]
pub struct Report {
    /// Size of all rows, in bytes.
    pub bytes: u64,
    /// Time for writing the rows.
    pub filled: Duration,
    /// Time from the new node's first start until it has the whole state of the others.
    pub caught_up: Duration,
    /// The leader's peak memory during the catch-up, and before it, in kilobytes.
    pub leader_kb: [u64; 2],
    /// The new node's peak memory, in kilobytes.
    pub newcomer_kb: u64,
    /// The longest write during the catch-up.
    pub longest_write: Duration,
    /// Time from the start of a killed node until it is ready.
    pub opened: Duration,
    /// Peak memory of that start, in kilobytes.
    pub opened_kb: u64,
}

impl fmt::Display for Report {
    fn fmt(&self, to: &mut fmt::Formatter<'_>) -> fmt::Result {
        let megabytes = |kilobytes: u64| kilobytes >> 10;
        writeln!(
            to,
            "{} MB of rows, written in {:.0} s",
            self.bytes >> 20,
            self.filled.as_secs_f64()
        )?;
        writeln!(
            to,
            "a node with an empty disk held all of it {:.1} s after its start; the leader's memory peaked at {} MB ({} MB before), its own at {} MB; the longest write meanwhile took {:.2} s",
            self.caught_up.as_secs_f64(),
            megabytes(self.leader_kb[1]),
            megabytes(self.leader_kb[0]),
            megabytes(self.newcomer_kb),
            self.longest_write.as_secs_f64()
        )?;
        writeln!(
            to,
            "a node that was killed was ready {:.1} s after its start, with {} MB at most",
            self.opened.as_secs_f64(),
            megabytes(self.opened_kb)
        )
    }
}

/// Fills a cluster with `megabytes` of rows and runs the test.
///
/// # Errors
/// Acknowledged data is missing, or the nodes do not converge.
pub async fn run(megabytes: u64) -> Result<Report> {
    let folder = tempfile::Builder::new()
        .prefix("panther-catch-up-")
        .tempdir()
        .during("making a folder")?;
    let mut cluster = Cluster::three(folder.path().to_owned()).await?;
    cluster.patience = LONG;
    let ran = measured(&mut cluster, megabytes << 20).await;
    ran.map_err(|failure| failure.with_words(|| cluster.last_words()))
}

/// Peak memory of a process, in kilobytes (`VmHWM`). With `reset`, the peak is counted from now on.
fn peak_kb(process: u32, reset: bool) -> Result<u64> {
    let folder = Path::new("/proc").join(process.to_string());
    let status = std::fs::read_to_string(folder.join("status")).during("reading VmHWM")?;
    let line = status.lines().find_map(|line| line.strip_prefix("VmHWM:"));
    let peak = line
        .and_then(|line| line.trim().trim_end_matches(" kB").parse().ok())
        .ok_or_else(|| Failure::broken("no VmHWM"))?;
    if reset {
        // 5 resets the peak (Linux, fs/proc/task_mmu.c).
        std::fs::write(folder.join("clear_refs"), "5").during("resetting VmHWM")?;
    }
    Ok(peak)
}

/// A row of random bytes, because compressible data would take less space than its size.
fn row(number: u64) -> RowChange {
    let mut noise = number.wrapping_mul(0x9E37_79B9_7F4A_7C15) | 1;
    let content: Vec<u8> = std::iter::repeat_with(|| {
        noise ^= noise << 13;
        noise ^= noise >> 7;
        noise ^= noise << 17;
        noise.to_le_bytes()
    })
    .take(ROW / 8)
    .flatten()
    .collect();
    RowChange {
        table: TABLE.to_owned(),
        key: Some(key(format!("bulk-{number}"))),
        updates: vec![Update {
            attribute: "content".to_owned(),
            change: Some(update::Change::Set(Value {
                kind: Some(value::Kind::Blob(content.into())),
            })),
        }],
        ..RowChange::default()
    }
}

async fn measured(cluster: &mut Cluster, bytes: u64) -> Result<Report> {
    let rows = bytes.div_ceil(ROW as u64);
    let mut report = Report {
        bytes: rows * ROW as u64,
        ..Report::default()
    };
    let (stop, stopped) = watch::channel(false);
    let notes = Arc::new(Mutex::new(Notes::default()));
    let began = Instant::now();
    let mut filling = Vec::new();
    for filler in 0..FILLERS {
        let mut client = Client::new(cluster.callers(), filler, notes.clone(), stopped.clone());
        filling.push(tokio::spawn(async move {
            for number in (filler as u64..rows).step_by(FILLERS) {
                let change = Transact {
                    changes: vec![row(number)],
                    ..Transact::default()
                };
                client.done(&format!("bulk-{number}"), change).await?;
            }
            Result::Ok(())
        }));
    }
    for filling in filling {
        filling.await.during("filling")??;
    }
    report.filled = began.elapsed();
    cluster.equal().await?;

    let leader = cluster.leader().await?;
    let lost = *cluster
        .nodes
        .keys()
        .find(|node| **node != leader)
        .ok_or_else(|| Failure::broken("no other node"))?;
    let process = cluster.at(leader)?.process()?;
    report.leader_kb[0] = peak_kb(process, true)?;
    let mut writer = Client::new(
        vec![cluster.at(leader)?.caller()],
        0,
        notes,
        stopped.clone(),
    );
    let writing = tokio::spawn(async move {
        let (mut longest, mut number) = (Duration::ZERO, 0);
        while !*stopped.borrow() {
            let began = Instant::now();
            writer.probe(&format!("meanwhile-{number}")).await?;
            longest = longest.max(began.elapsed());
            number += 1;
            tokio::time::sleep(Duration::from_millis(10)).await;
        }
        Result::Ok(longest)
    });
    let mut gone = cluster
        .nodes
        .remove(&lost)
        .ok_or_else(|| Failure::broken("it is gone already"))?;
    gone.kill().await?;
    let began = Instant::now();
    let newcomer = cluster
        .join(leader, &["--replace", &lost.to_string()])
        .await?;
    let host = cluster.at(leader)?;
    until("the new node is a member", LONG, async || {
        let status = host.ctl(&["cluster", "status"]).await?;
        let mut nodes = crate::node::items(&status, "nodes").iter();
        let joined = nodes.any(|node| node["node"] == newcomer && node["standing"] == "member");
        Ok((!joined).then(|| status.to_string()))
    })
    .await?;
    report.caught_up = began.elapsed();
    report.leader_kb[1] = peak_kb(process, false)?;
    report.newcomer_kb = peak_kb(cluster.at(newcomer)?.process()?, false)?;
    stop.send_replace(true);
    report.longest_write = writing.await.during("writing")??;
    cluster.voters(3).await?;
    cluster.equal().await?;

    let node = cluster.at_mut(newcomer)?;
    node.kill().await?;
    let began = Instant::now();
    node.start()?;
    node.ready().await?;
    report.opened = began.elapsed();
    report.opened_kb = peak_kb(node.process()?, false)?;
    until("it is one of them again", LONG, async || {
        let status = node.ctl(&["cluster", "status"]).await?;
        Ok(status["leader"].is_null().then(|| status.to_string()))
    })
    .await?;
    cluster.equal().await?;
    // All nodes have the same state; one row in a hundred is checked.
    let (_stop, stopped) = watch::channel(false);
    let caller = cluster.at(newcomer)?.caller();
    let mut reader = Client::new(vec![caller], 0, Arc::default(), stopped);
    for number in (0..rows).step_by(100) {
        let found = reader
            .attribute(&format!("bulk-{number}"), "content")
            .await?;
        if !matches!(found, Some(value::Kind::Blob(content)) if content.len() == ROW) {
            return Err(Failure::Broken(format!("row {number} is gone or short")));
        }
    }
    cluster.stop().await?;
    Ok(report)
}
