//! Faults of a cluster's nodes: their injection and healing, and the pause of writes at another node in that time.

use std::sync::Arc;
use std::time::{Duration, Instant};

use parking_lot::Mutex;
use rand::Rng;
use rand::rngs::StdRng;
use rand::seq::IndexedRandom;
use rustix::process::Signal;
use tokio::sync::watch;
use tokio::task::JoinHandle;

use crate::cluster::Cluster;
use crate::load::{Client, Notes};
use crate::{During, Failure, Result};

/// The kinds of faults.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, clap::ValueEnum)]
pub enum Fault {
    /// kill -9 of the leader, which is restarted a little later.
    KillLeader,
    /// kill -9 of another node, which is restarted a little later.
    KillFollower,
    /// The leader is paused (SIGSTOP) for a while.
    HoldLeader,
    /// Another node is paused (SIGSTOP) for a while.
    HoldFollower,
    /// Leadership is transferred by command.
    HandOver,
    /// A node is stopped gracefully and started again.
    Restart,
    /// The leader is partitioned from the others, in both directions.
    CutLeader,
    /// Another node is partitioned, in both directions.
    CutFollower,
    /// An inbound partition: a node sends, but receives nothing.
    Deafen,
    /// An outbound partition: a node receives, but nothing that it sends arrives.
    Silence,
    /// A third of a node's packets, in both directions, is lost.
    Lose,
    /// A node's clock is set up to an hour off, and then corrected.
    SetClock,
    /// A node is lost with its disk; an empty one replaces it.
    Replace,
    /// A node's disk is full for a while.
    FillDisk,
    /// A node's disk is frozen for a while: writes block.
    FreezeDisk,
    /// A node loses power: unsynced data of its disk is lost.
    CutPower,
}

impl Fault {
    /// Faults that every machine can create.
    pub const ANYWHERE: [Self; 7] = [
        Self::KillLeader,
        Self::KillFollower,
        Self::HoldLeader,
        Self::HoldFollower,
        Self::HandOver,
        Self::Restart,
        Self::Replace,
    ];
    /// Faults that need a network interface and a clock per node.
    pub const WITH_WIRES: [Self; 6] = [
        Self::CutLeader,
        Self::CutFollower,
        Self::Deafen,
        Self::Silence,
        Self::Lose,
        Self::SetClock,
    ];
    /// Faults that need a disk per node.
    pub const WITH_DISKS: [Self; 3] = [Self::FillDisk, Self::FreezeDisk, Self::CutPower];
}

/// Measurements of one fault.
#[derive(Debug, Clone, Copy)]
pub struct Seen {
    /// The kind of fault.
    pub fault: Fault,
    /// The longest write at another node during the fault.
    pub pause: Duration,
    /// Time from the healing until every node had acknowledged a write.
    pub resumed: Duration,
}

/// Maximum time until the flow resumes: at all nodes after a healing, and at unaffected nodes after a fault.
const RESUMES: Duration = Duration::from_secs(15);

/// Injects a fault and heals it.
///
/// # Errors
/// The fault cannot be created, or the node does not recover.
pub async fn make(
    fault: Fault,
    cluster: &mut Cluster,
    random: &mut StdRng,
    number: usize,
) -> Result<Seen> {
    let leader = cluster.leader().await?;
    let others: Vec<u64> = cluster
        .nodes
        .keys()
        .copied()
        .filter(|node| *node != leader)
        .collect();
    let other = *others
        .choose(random)
        .ok_or_else(|| Failure::broken("there are no others"))?;
    let victim = match fault {
        Fault::KillLeader | Fault::HoldLeader | Fault::CutLeader => leader,
        Fault::KillFollower | Fault::HoldFollower | Fault::CutFollower => other,
        Fault::HandOver
        | Fault::Restart
        | Fault::Deafen
        | Fault::Silence
        | Fault::Lose
        | Fault::SetClock
        | Fault::Replace
        | Fault::FillDisk
        | Fault::FreezeDisk
        | Fault::CutPower => *[leader, other].choose(random).unwrap_or(&leader),
    };
    // The probing client writes at an unaffected node.
    let asked = others
        .iter()
        .copied()
        .find(|node| *node != victim)
        .unwrap_or(leader);
    let (over, probing) = probe(cluster, asked, number)?;
    let mut still = None;
    match fault {
        Fault::KillLeader | Fault::KillFollower => cluster.at_mut(victim)?.kill().await?,
        Fault::HoldLeader | Fault::HoldFollower => cluster.at(victim)?.signal(Signal::STOP)?,
        Fault::HandOver => {
            let heir = other.to_string();
            let node = cluster.at(asked)?;
            node.ctl(&["cluster", "transfer-leader", &heir]).await?;
        }
        Fault::Restart => cluster.at_mut(victim)?.stop().await?,
        Fault::CutLeader | Fault::CutFollower => cluster.cut(victim, true, true)?,
        Fault::Deafen => cluster.cut(victim, true, false)?,
        Fault::Silence => cluster.cut(victim, false, true)?,
        Fault::Lose => cluster.lose(victim, 33)?,
        Fault::SetClock => cluster.set_clock(victim, random.random_range(-3_600..3_600))?,
        Fault::Replace => cluster.at_mut(victim)?.kill().await?,
        Fault::FillDisk => cluster.disk(victim)?.fill()?,
        Fault::FreezeDisk => still = Some(cluster.disk(victim)?.freeze().await?),
        Fault::CutPower => cluster.power_off(victim).await?,
    }
    over.send_replace(true);
    let pause = probing.await.during("probing")??;
    if pause > RESUMES {
        return Err(Failure::Broken(format!(
            "a write at node {asked} took {:.1} s after it was made to node {victim}",
            pause.as_secs_f64()
        )));
    }
    match fault {
        Fault::KillLeader | Fault::KillFollower | Fault::Restart => {
            if fault != Fault::Restart {
                tokio::time::sleep(Duration::from_millis(random.random_range(0..3_000))).await;
            }
            let node = cluster.at_mut(victim)?;
            node.start()?;
            node.ready().await?;
        }
        Fault::HoldLeader | Fault::HoldFollower => {
            // Some pauses are long enough that sessions end.
            let held = random.random_range(500..16_000);
            tokio::time::sleep(Duration::from_millis(held)).await;
            cluster.at(victim)?.signal(Signal::CONT)?;
        }
        Fault::CutLeader
        | Fault::CutFollower
        | Fault::Deafen
        | Fault::Silence
        | Fault::Lose
        | Fault::SetClock => {
            let while_ms = random.random_range(500..16_000);
            tokio::time::sleep(Duration::from_millis(while_ms)).await;
            cluster.mend()?;
        }
        Fault::Replace => cluster.replace(victim, asked).await?,
        Fault::FillDisk | Fault::FreezeDisk => {
            // Some faults last long enough that a leader has to transfer leadership.
            let while_ms = random.random_range(500..25_000);
            tokio::time::sleep(Duration::from_millis(while_ms)).await;
            match still {
                Some(still) => still.thaw().await?,
                None => cluster.disk(victim)?.free()?,
            }
        }
        Fault::CutPower => {
            tokio::time::sleep(Duration::from_millis(random.random_range(0..3_000))).await;
            cluster.power_on(victim).await?;
        }
        Fault::HandOver => {}
    }
    cluster.start_what_ended().await?;
    let resumed = flows(cluster, number).await?;
    Ok(Seen {
        fault,
        pause,
        resumed,
    })
}

/// Writes at every node. Returns the time until all writes were acknowledged.
async fn flows(cluster: &Cluster, number: usize) -> Result<Duration> {
    let healed = Instant::now();
    for (node, there) in &cluster.nodes {
        let (_stop, stopped) = watch::channel(false);
        let mut prober = Client::new(vec![there.caller()], 0, Arc::default(), stopped);
        prober.probe(&format!("resumed-{number}-{node}")).await?;
    }
    let resumed = healed.elapsed();
    if resumed > RESUMES {
        return Err(Failure::Broken(format!(
            "the flow went on {:.1} s after the healing",
            resumed.as_secs_f64()
        )));
    }
    Ok(resumed)
}

/// Writes sequentially at one node. Returns the longest write, up to one that began after the fault has ended.
fn probe(
    cluster: &Cluster,
    asked: u64,
    number: usize,
) -> Result<(watch::Sender<bool>, JoinHandle<Result<Duration>>)> {
    let (over, is_over) = watch::channel(false);
    let notes = Arc::new(Mutex::new(Notes::default()));
    let mut prober = Client::new(vec![cluster.at(asked)?.caller()], 0, notes, is_over.clone());
    let probing = tokio::spawn(async move {
        let mut longest = Duration::ZERO;
        for write in 0.. {
            let last = *is_over.borrow();
            let began = Instant::now();
            prober.probe(&format!("probe-{number}-{write}")).await?;
            longest = longest.max(began.elapsed());
            if last {
                break;
            }
        }
        Ok(longest)
    });
    Ok((over, probing))
}
