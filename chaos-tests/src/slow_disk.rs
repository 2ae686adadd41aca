//! The leader's disk is frozen (`fsfreeze`). Its heartbeats continue, so the followers start no election, and the leader has to detect by
//! itself that it must not lead. Writes continue, acknowledged data is kept, and the node follows again when its disk is back.

use std::fmt;
use std::sync::Arc;
use std::time::{Duration, Instant};

use parking_lot::Mutex;
use tokio::sync::watch;

use crate::cluster::{Cluster, PATIENCE};
use crate::disk::Disk;
use crate::load::{Client, Notes};
use crate::node::{items, text};
use crate::{During, Failure, Result, until};

const MEGABYTES: u64 = 400;
/// Deadline for another leader: a disk counts as slow after two seconds, and ten slow seconds are too many. Any other mechanism that would
/// end the pause takes longer.
const LATEST: Duration = Duration::from_secs(25);
/// How long the disk stays frozen after another node leads.
const STILL: Duration = Duration::from_secs(5);

/// Interval of writes. It is long enough that the leader's log does not fill its queue of waiting writes, because a full queue would
/// silence the leader earlier.
const EVERY: Duration = Duration::from_millis(50);

/// Results of a run.
#[derive(Debug)]
pub struct Report {
    /// Time from the freeze until another node leads.
    pub handed_over: Duration,
    /// The longest write at another node in that time.
    pub longest: Duration,
    /// Acknowledged writes, all of which exist.
    pub writes: i64,
}

impl fmt::Display for Report {
    fn fmt(&self, to: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(
            to,
            "the leader's disk stood still: another led {:.1} s later; {} writes, the longest took {:.2} s, none is gone",
            self.handed_over.as_secs_f64(),
            self.writes,
            self.longest.as_secs_f64()
        )
    }
}

/// Runs the test.
///
/// # Errors
/// A guarantee was broken, or this machine cannot create the fault.
pub async fn run() -> Result<Report> {
    let folder = tempfile::Builder::new()
        .prefix("panther-slow-")
        .tempdir()
        .during("making a folder")?;
    // The data of the first node is on a separate disk.
    let (first, place) = (folder.path().join("first"), folder.path().join("disk"));
    for folder in [&first, &place] {
        std::fs::create_dir_all(folder).during("making a folder")?;
    }
    let disk = Disk::ext4(&place, MEGABYTES).await?;
    let data = disk.place().join("data");
    std::fs::create_dir(&data).during("making a folder")?;
    std::os::unix::fs::symlink(&data, first.join("data")).during("making a link")?;
    let mut cluster = Cluster::three(folder.path().to_owned()).await?;
    let ran = frozen(&cluster, &disk).await;
    let ended = match &ran {
        Ok(_) => cluster.stop().await,
        Err(_) => Ok(()),
    };
    let words = cluster.last_words();
    drop(cluster);
    drop(disk);
    ended?;
    ran.map_err(|failure| failure.with_words(|| words))
}

async fn frozen(cluster: &Cluster, disk: &Disk) -> Result<Report> {
    let other = cluster.at(2)?;
    if cluster.leader().await? != 1 {
        other.ctl(&["cluster", "transfer-leader", "1"]).await?;
    }
    let (stop, stopped) = watch::channel(false);
    let notes = Arc::new(Mutex::new(Notes::default()));
    let mut writer = Client::new(vec![other.caller()], 0, notes, stopped.clone());
    let writing = tokio::spawn(async move {
        let (mut longest, mut writes) = (Duration::ZERO, 0);
        while !*stopped.borrow() {
            let began = Instant::now();
            writer.probe(&format!("write-{writes}")).await?;
            longest = longest.max(began.elapsed());
            writes += 1;
            tokio::time::sleep(EVERY).await;
        }
        let there = writer.number("chaos-probe").await?;
        if there != writes {
            return Err(Failure::Broken(format!(
                "{writes} writes were acknowledged, {there} are there"
            )));
        }
        Ok((longest, writes))
    });
    let still = disk.freeze().await?;
    let began = Instant::now();
    until("another leads", LATEST, async || {
        let status = other.ctl(&["cluster", "status"]).await?;
        let leader = status["leader"].as_u64();
        Ok((leader.is_none() || leader == Some(1)).then(|| format!("{leader:?} does")))
    })
    .await?;
    let handed_over = began.elapsed();
    tokio::time::sleep(STILL).await;
    still.thaw().await?;
    stop.send_replace(true);
    let (longest, writes) = writing.await.during("writing")??;
    cluster.equal().await?;
    until("no alarm is left", PATIENCE, async || {
        let alarms = other.ctl(&["alarms"]).await?;
        let raised = items(&alarms, "alarms").iter();
        let slow = raised.filter(|alarm| text(alarm, "alarm").contains("slow"));
        let left: Vec<String> = slow.map(|alarm| alarm.to_string()).collect();
        Ok((!left.is_empty()).then(|| left.join(", ")))
    })
    .await?;
    Ok(Report {
        handed_over,
        longest,
        writes,
    })
}
