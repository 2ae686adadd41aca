//! Nodes of a cluster of three are killed, stopped and held still while clients write, read, send, receive and post; whatever was acknowledged is there
//! in the end, and nothing is there twice. Measures for how long writes pause.

use std::collections::BTreeMap;
use std::fmt;
use std::sync::Arc;
use std::time::{Duration, Instant};

use parking_lot::Mutex;
use rand::rngs::StdRng;
use rand::seq::IndexedRandom;
use rand::{Rng, SeedableRng};
use rustix::process::Signal;
use tokio::sync::watch;
use tokio::task::JoinHandle;

use crate::cluster::{Cluster, PATIENCE};
use crate::load::{Client, Ingest, LINES, Notes, TABLE};
use crate::node::{count, items, text};
use crate::receiver::Receiver;
use crate::wires::Wires;
use crate::{During, Failure, Result, until};

/// The source that logs are posted to.
const SOURCE: &str = "posted";
/// Adders, senders and receivers, each.
const CLIENTS: usize = 3;
/// How often a body is posted: each is an alert, with Python, on machines that have little of it to give.
const POST_EVERY: Duration = Duration::from_millis(250);

/// What is done to the nodes.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub enum Fault {
    /// kill -9 of the leader; started again a little later.
    KillLeader,
    /// The same of another node.
    KillFollower,
    /// The leader is held still (SIGSTOP) for a while.
    HoldLeader,
    /// Another node is held still.
    HoldFollower,
    /// The lead is handed over by command.
    HandOver,
    /// A node is stopped in good order and started again.
    Restart,
    /// The leader and the others no longer hear each other.
    CutLeader,
    /// Another node hears nobody and is heard by nobody.
    CutFollower,
    /// A node is heard and hears nobody.
    Deafen,
    /// A node hears the others and is not heard.
    Silence,
    /// A third of what a node sends and is sent gets lost.
    Lose,
    /// A node's clock is set up to an hour off, and right again.
    SetClock,
}

impl Fault {
    /// Those that every machine can make.
    const ANYWHERE: [Self; 6] = [
        Self::KillLeader,
        Self::KillFollower,
        Self::HoldLeader,
        Self::HoldFollower,
        Self::HandOver,
        Self::Restart,
    ];
    /// Those that need cards and clocks of the nodes' own.
    const WITH_WIRES: [Self; 6] = [
        Self::CutLeader,
        Self::CutFollower,
        Self::Deafen,
        Self::Silence,
        Self::Lose,
        Self::SetClock,
    ];
}

/// A run's settings.
#[derive(Debug, Clone)]
pub struct Settings {
    /// What faults are drawn from.
    pub seed: u64,
    /// Faults in this order first; then, as long as there is time, drawn ones.
    pub first: Vec<Fault>,
    /// How long faults are drawn.
    pub drawn: Duration,
    /// Each node has a network card and a clock of its own, so that it can be cut off and its clock set.
    pub wires: bool,
}

/// What a run showed.
#[derive(Debug, Default)]
pub struct Report {
    /// The longest that a write took during each fault, at a node that was not its victim.
    pub pauses: Vec<(Fault, Duration)>,
    /// Additions, messages, bodies that were acknowledged.
    pub acknowledged: [usize; 3],
    /// Requests that were tried again.
    pub again: usize,
    /// The longest that one request of the load took.
    pub longest: Duration,
    /// Alerts, each one once.
    pub alerts: usize,
    /// From the last acknowledgement to the last alert, with nothing left in any queue.
    pub settled: Duration,
}

impl fmt::Display for Report {
    fn fmt(&self, to: &mut fmt::Formatter<'_>) -> fmt::Result {
        let [additions, messages, bodies] = self.acknowledged;
        writeln!(
            to,
            "{additions} additions, {messages} messages and {bodies} bodies of {LINES} lines acknowledged, {} tries without an answer, {} alerts: none is gone, none is there twice; the longest request took {:.2} s, all was done {:.1} s after the last",
            self.again,
            self.alerts,
            self.longest.as_secs_f64(),
            self.settled.as_secs_f64()
        )?;
        for fault in Fault::ANYWHERE.into_iter().chain(Fault::WITH_WIRES) {
            let mut pauses: Vec<Duration> = self
                .pauses
                .iter()
                .filter(|(of, _)| *of == fault)
                .map(|(_, pause)| *pause)
                .collect();
            pauses.sort_unstable();
            if let (Some(middle), Some(longest)) = (pauses.get(pauses.len() / 2), pauses.last()) {
                writeln!(
                    to,
                    "  {:<14} {:>3} times; the longest write meanwhile {:.3} s in the middle, {:.3} s at most",
                    format!("{fault:?}"),
                    pauses.len(),
                    middle.as_secs_f64(),
                    longest.as_secs_f64()
                )?;
            }
        }
        Ok(())
    }
}

/// Runs it.
///
/// # Errors
/// Something acknowledged is gone or doubled, or the cluster does not heal.
pub async fn run(settings: &Settings) -> Result<Report> {
    let folder = tempfile::Builder::new()
        .prefix("panther-three-")
        .tempdir()
        .during("making a folder")?;
    let mut cluster = if settings.wires {
        Cluster::three_on(folder.path().to_owned(), Wires::lay()?).await?
    } else {
        Cluster::three(folder.path().to_owned()).await?
    };
    let ran = faults_under_load(settings, &mut cluster).await;
    ran.map_err(|failure| {
        failure.with_words(|| format!("seed {}; {}", settings.seed, cluster.last_words()))
    })
}

async fn faults_under_load(settings: &Settings, cluster: &mut Cluster) -> Result<Report> {
    let receiver = Receiver::at(cluster.outside()).await?;
    let first = cluster.at(1)?;
    let pack = crate::samples().join("pack").display().to_string();
    first.ctl(&["detections", "upload", &pack]).await?;
    first
        .ctl(&["outputs", "add", "webhook", "chaos", &receiver.url()])
        .await?;
    let source = first
        .ctl(&[
            "sources",
            "add",
            "http",
            SOURCE,
            "--log-types",
            "Nginx.Access",
        ])
        .await?;
    let urls = cluster
        .nodes
        .values()
        .map(|node| format!("http://{}/ingest/{SOURCE}", node.ingest()));
    let ingest = Ingest {
        urls: urls.collect(),
        token: text(&source, "token"),
    };
    let notes = Arc::new(Mutex::new(Notes {
        sums: vec![0; CLIENTS],
        ..Notes::default()
    }));
    let (stop, stopped) = watch::channel(false);
    let client = |at| Client::new(cluster.callers(), at, notes.clone(), stopped.clone());
    let mut load: Vec<JoinHandle<Result<()>>> = Vec::new();
    for at in 0..CLIENTS {
        load.push(tokio::spawn(client(at).add(at)));
        load.push(tokio::spawn(client(at).send(at)));
        load.push(tokio::spawn(client(at).receive(at)));
    }
    load.push(tokio::spawn(client(0).post(ingest, POST_EVERY)));

    let mut report = Report::default();
    let mut random = StdRng::seed_from_u64(settings.seed);
    let mut first = settings.first.iter().copied();
    let mut drawn_since = None;
    loop {
        let fault = match first.next() {
            Some(fault) => fault,
            None => {
                let since = *drawn_since.get_or_insert_with(Instant::now);
                if since.elapsed() >= settings.drawn {
                    break;
                }
                let wires: &[Fault] = if settings.wires {
                    &Fault::WITH_WIRES
                } else {
                    &[]
                };
                let all = [&Fault::ANYWHERE, wires].concat();
                all.choose(&mut random).copied().unwrap_or(Fault::HandOver)
            }
        };
        let pause = make(fault, cluster, &mut random, report.pauses.len()).await;
        let pause = pause.map_err(|failure| Failure::Broken(format!("{fault:?}: {failure}")))?;
        report.pauses.push((fault, pause));
        if let Some(ended) = load.iter().position(JoinHandle::is_finished) {
            load.swap_remove(ended).await.during("the load")??;
        }
    }
    stop.send_replace(true);
    let ending = Instant::now();
    for client in load {
        client.await.during("the load")??;
    }
    look(cluster, &receiver, &notes, ending, &mut report).await?;
    cluster.stop().await?;
    Ok(report)
}

/// Makes a fault and heals it; the longest that a write at another node took meanwhile.
async fn make(
    fault: Fault,
    cluster: &mut Cluster,
    random: &mut StdRng,
    number: usize,
) -> Result<Duration> {
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
        | Fault::SetClock => *[leader, other].choose(random).unwrap_or(&leader),
    };
    // Whoever writes is at a node that nothing is done to.
    let asked = others
        .iter()
        .copied()
        .find(|node| *node != victim)
        .unwrap_or(leader);
    let (over, probing) = probe(cluster, asked, number)?;
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
    }
    over.send_replace(true);
    let pause = probing.await.during("probing")??;
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
            // Some are held for so long that their sessions end.
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
        Fault::HandOver => {}
    }
    Ok(pause)
}

/// Writes one after the other at one node; the longest that one took, up to one that began after it is said to be over.
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

/// What was acknowledged beside what is there.
async fn look(
    cluster: &Cluster,
    receiver: &Receiver,
    notes: &Arc<Mutex<Notes>>,
    ending: Instant,
    report: &mut Report,
) -> Result<()> {
    let (_stop, stopped) = watch::channel(false);
    let mut reader = Client::new(cluster.callers(), 0, notes.clone(), stopped);
    let mut wrong = Vec::new();
    let (sums, sent, bodies) = {
        let mut notes = notes.lock();
        wrong.append(&mut notes.stale);
        report.again = notes.again;
        report.longest = notes.longest;
        (notes.sums.clone(), notes.sent.clone(), notes.bodies)
    };
    let node = cluster.any()?;
    let lines = (bodies * LINES) as u64;
    until(
        "all lines are processed and all alerts are there",
        PATIENCE,
        async || {
            let shown = node.ctl(&["sources", "show", SOURCE]).await?;
            let received = count(&shown, "received");
            let alerts = node.rows("panther-log-alert-info").await?.len();
            let queues = node.ctl(&["queue", "ls"]).await?;
            let busy = items(&queues, "queues").iter().any(|queue| {
                count(queue, "waiting") + count(queue, "in_flight") + count(queue, "delayed") > 0
            });
            Ok((received < lines || alerts < bodies || busy)
                .then(|| format!("{received} of {lines} lines, {alerts} of {bodies} alerts")))
        },
    )
    .await?;
    report.settled = ending.elapsed();
    for (adder, sum) in sums.iter().enumerate() {
        let there = reader.number(&format!("chaos-sum-{adder}")).await?;
        if there != *sum {
            wrong.push(format!("adder {adder}: {sum} acknowledged, {there} there"));
        }
    }
    // Page by page: there may be a hundred thousand.
    let ended: BTreeMap<String, u64> = node
        .rows(TABLE)
        .await?
        .iter()
        .map(|row| (text(&row["key"], "hash"), count(&row["row"], "n")))
        .collect();
    for message in &sent {
        let times = ended.get(&format!("done-{message}")).copied().unwrap_or(0);
        if times != 1 {
            wrong.push(format!("{message} was ended {times} times"));
        }
    }
    let effects = ended.keys().filter(|key| key.starts_with("done-"));
    if effects.clone().count() != sent.len() {
        let unknown = effects.filter(|key| !sent.contains(key.trim_start_matches("done-")));
        let unknown: Vec<&String> = unknown.take(5).collect();
        wrong.push(format!("effects of messages that nobody sent: {unknown:?}"));
    }
    let shown = node.ctl(&["sources", "show", SOURCE]).await?;
    let (received, stored) = (count(&shown, "received"), count(&shown, "stored"));
    if (received, stored) != (lines, lines) {
        wrong.push(format!(
            "{lines} lines were acknowledged, {received} received, {stored} stored"
        ));
    }
    let alerts = node.rows("panther-log-alert-info").await?;
    if alerts.len() != bodies {
        wrong.push(format!("{bodies} alerts are right, {} there", alerts.len()));
    }
    let delivered = receiver.received();
    let missing = alerts
        .iter()
        .filter(|alert| !delivered.contains_key(&text(&alert["key"], "hash")))
        .count();
    if missing > 0 {
        wrong.push(format!("{missing} alerts were never delivered"));
    }
    report.alerts = alerts.len();
    report.acknowledged = [
        usize::try_from(sums.iter().sum::<i64>()).unwrap_or(0),
        sent.len(),
        bodies,
    ];
    cluster.equal().await?;
    if wrong.is_empty() {
        return Ok(());
    }
    wrong.truncate(20);
    Err(Failure::Broken(wrong.join("; ")))
}
