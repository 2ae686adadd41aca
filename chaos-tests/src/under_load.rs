//! A cluster under load: clients write, read, send, receive and post until they are stopped; then the acknowledged results are compared
//! with the state.

use std::collections::BTreeMap;
use std::sync::Arc;
use std::time::{Duration, Instant};

use parking_lot::Mutex;
use tokio::sync::watch;
use tokio::task::JoinHandle;

use crate::cluster::{Cluster, PATIENCE};
use crate::load::{Client, Ingest, LINES, Notes, TABLE};
use crate::node::{count, items, text};
use crate::receiver::Receiver;
use crate::{During, Failure, Result, until};

/// The source to which logs are posted.
const SOURCE: &str = "posted";
/// Number of adders, of senders and of receivers.
const CLIENTS: usize = 3;
/// Interval of posts. Each body is an alert that needs Python, on machines with little processor time.
const POST_EVERY: Duration = Duration::from_millis(250);

/// Totals of the load, all of them verified.
#[derive(Debug, Default)]
pub struct Account {
    /// Acknowledged increments, messages and bodies.
    pub acknowledged: [usize; 3],
    /// Number of retried requests.
    pub again: usize,
    /// The longest request of the load.
    pub longest: Duration,
    /// Number of alerts, each counted once.
    pub alerts: usize,
    /// Time from the last acknowledgement to the last alert, with all queues empty.
    pub settled: Duration,
}

impl std::fmt::Display for Account {
    fn fmt(&self, to: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        let [additions, messages, bodies] = self.acknowledged;
        write!(
            to,
            "{additions} additions, {messages} messages and {bodies} bodies of {LINES} lines acknowledged, {} tries without an answer, {} alerts: none is gone, none is there twice; the longest request took {:.2} s, all was done {:.1} s after the last",
            self.again,
            self.alerts,
            self.longest.as_secs_f64(),
            self.settled.as_secs_f64()
        )
    }
}

/// The load of one run.
pub struct Load {
    receiver: Receiver,
    notes: Arc<Mutex<Notes>>,
    stop: watch::Sender<bool>,
    clients: Vec<JoinHandle<Result<()>>>,
}

impl Load {
    /// Starts the load.
    ///
    /// # Errors
    /// The cluster rejects a pack, a destination or a source.
    pub async fn begin(cluster: &Cluster) -> Result<Self> {
        let receiver = Receiver::at(cluster.outside()).await?;
        let first = cluster.any()?;
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
        let mut clients: Vec<JoinHandle<Result<()>>> = Vec::new();
        for at in 0..CLIENTS {
            clients.push(tokio::spawn(client(at).add(at)));
            clients.push(tokio::spawn(client(at).send(at)));
            clients.push(tokio::spawn(client(at).receive(at)));
        }
        clients.push(tokio::spawn(client(0).post(ingest, POST_EVERY)));
        Ok(Self {
            receiver,
            notes,
            stop,
            clients,
        })
    }

    /// Checks that all clients still run.
    ///
    /// # Errors
    /// A client has ended; the error gives the reason.
    pub async fn goes_on(&mut self) -> Result<()> {
        if let Some(ended) = self.clients.iter().position(JoinHandle::is_finished) {
            self.clients.swap_remove(ended).await.during("the load")??;
        }
        Ok(())
    }

    /// Stops the load, waits until everything is processed, and verifies the state.
    ///
    /// # Errors
    /// Acknowledged data is lost or duplicated, a client failed, or the deadline is exceeded.
    pub async fn end(self, cluster: &Cluster) -> Result<Account> {
        self.stop.send_replace(true);
        let ending = Instant::now();
        for client in self.clients {
            client.await.during("the load")??;
        }
        look(cluster, &self.receiver, &self.notes, ending).await
    }
}

/// Compares the acknowledged results with the state.
async fn look(
    cluster: &Cluster,
    receiver: &Receiver,
    notes: &Arc<Mutex<Notes>>,
    ending: Instant,
) -> Result<Account> {
    let mut account = Account::default();
    let (_stop, stopped) = watch::channel(false);
    let mut reader = Client::new(cluster.callers(), 0, notes.clone(), stopped);
    let mut wrong = Vec::new();
    let (sums, sent, bodies) = {
        let mut notes = notes.lock();
        wrong.append(&mut notes.stale);
        account.again = notes.again;
        account.longest = notes.longest;
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
    account.settled = ending.elapsed();
    for (adder, sum) in sums.iter().enumerate() {
        let there = reader.number(&format!("chaos-sum-{adder}")).await?;
        if there != *sum {
            wrong.push(format!("adder {adder}: {sum} acknowledged, {there} there"));
        }
    }
    // Page by page: there may be a hundred thousand rows.
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
    account.alerts = alerts.len();
    account.acknowledged = [
        usize::try_from(sums.iter().sum::<i64>()).unwrap_or(0),
        sent.len(),
        bodies,
    ];
    match cluster.equal().await {
        Err(Failure::Broken(why)) => wrong.push(why),
        other => other?,
    }
    if wrong.is_empty() {
        return Ok(account);
    }
    wrong.truncate(20);
    Err(Failure::Broken(wrong.join("; ")))
}
