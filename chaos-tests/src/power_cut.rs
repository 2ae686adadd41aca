//! Power cut: the disk loses unsynced data; acknowledged data is kept.
//!
//! The data folder is on a separate ext4 file system. While writers post logs, send messages and set outputs, and each records what was
//! acknowledged, the file system is shut down without flushing its journal. A moment later the node is killed. Requests that it accepts and
//! acknowledges in that moment count too: it cannot have written them, so it must not acknowledge them. After each start everything that
//! was ever acknowledged must exist. Other requests are retried with the same key, and must exist exactly once in the end.
//!
//! A write in progress at the exact moment of the cut counts as not acknowledged, whatever its answer is: ext4 sometimes returns success
//! for an `fdatasync` that the shutdown overtakes (observed with a bare loop of write and `fdatasync` on Linux 6.18, once in 80 cuts). In a
//! real power failure such an answer does not reach a client.

use std::collections::{BTreeMap, BTreeSet};
use std::fmt;
use std::io::Read;
use std::sync::Arc;
use std::time::{Duration, Instant};

use flate2::read::MultiGzDecoder;
use parking_lot::Mutex;
use rand::rngs::StdRng;
use rand::{Rng, SeedableRng};
use serde_json::{Value, json};
use tokio::sync::watch;
use tokio::task::JoinHandle;

use crate::disk::Disk;
use crate::doors::{self, Posted};
use crate::node::{Binaries, Caller, Node, NodeSettings, Place, RequestId, count, items, text};
use crate::{During, Failure, Result, until};

/// A dead letter queue: it has no consumer, so its messages stay there to be counted.
const QUEUE: &str = "panther-alerts-queue-dlq";
/// The source to which logs are posted.
const SOURCE: &str = "posted";
/// Lines of one posted body.
const LINES: usize = 20;
/// Number of writers of each kind.
const WRITERS: usize = 3;
/// Size of the file system, in megabytes.
const MEGABYTES: u64 = 768;
/// Deadline of a start, and of the end.
const PATIENCE: Duration = Duration::from_secs(120);

/// Settings of a run.
#[derive(Debug, Clone)]
pub struct Settings {
    /// Seed of the cuts.
    pub seed: u64,
    /// Number of cuts.
    pub rounds: usize,
    /// After this time there are no further cuts, whatever their number.
    pub limit: Duration,
}

/// Results of a run.
#[derive(Debug, Default)]
pub struct Report {
    /// Number of cuts.
    pub cuts: usize,
    /// Number of acknowledged bodies.
    pub bodies: usize,
    /// Number of acknowledged messages.
    pub messages: usize,
    /// Number of acknowledged outputs.
    pub outputs: usize,
    /// How many of all these had no answer at first and were retried.
    pub again: usize,
}

impl fmt::Display for Report {
    fn fmt(&self, to: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(
            to,
            "{} power cuts: {} bodies of {LINES} lines, {} messages and {} outputs acknowledged, {} of them at a second try or later; none is gone, none is there twice",
            self.cuts, self.bodies, self.messages, self.outputs, self.again
        )
    }
}

/// Records of the writers.
#[derive(Debug, Default)]
struct Notes {
    /// Object and content of each acknowledged body, by key.
    bodies: BTreeMap<String, (String, Vec<u8>)>,
    /// Body and message id of each acknowledged message.
    messages: BTreeMap<String, String>,
    /// Names of acknowledged outputs.
    outputs: BTreeSet<String>,
    /// Keys of requests without an answer.
    again: BTreeSet<String>,
}

type Noted = Arc<Mutex<Notes>>;

/// Time of the power cut.
#[derive(Debug, Default, Clone, Copy)]
struct Cut {
    /// From this moment on the power may be off.
    going: Option<Instant>,
    /// From this moment on the power is off.
    gone: Option<Instant>,
}

impl Cut {
    /// True if the power went off during an operation that began at `began`.
    fn overtook(self, began: Instant) -> bool {
        self.going.is_some() && self.gone.is_none_or(|gone| began <= gone)
    }
}

/// State shared by the writers of all rounds.
#[derive(Clone)]
struct Writing {
    caller: Caller,
    http: reqwest::Client,
    url: String,
    token: String,
    notes: Noted,
    cut: Arc<Mutex<Cut>>,
    off: watch::Receiver<bool>,
}

/// Runs the test.
///
/// # Errors
/// Acknowledged data is missing, or this machine cannot create the fault.
pub async fn run(settings: &Settings) -> Result<Report> {
    let binaries = Binaries::find()?;
    let folder = tempfile::Builder::new()
        .prefix("panther-power-")
        .tempdir()
        .during("making a folder")?;
    let mut disk = Disk::ext4(folder.path(), MEGABYTES).await?;
    let mut node = Node::new(NodeSettings {
        binaries,
        folder: folder.path().join("node"),
        data: disk.place().join("data"),
        python: "python3".to_owned(),
        patience: PATIENCE,
        environment: Vec::new(),
        configuration: String::new(),
        place: Place::default(),
    })?;
    let ran = rounds(settings, &mut node, &mut disk).await;
    let killed = node.kill().await;
    let unmounted = disk.unmount().await;
    let report = ran.map_err(|failure| match failure {
        Failure::Broken(what) => Failure::Broken(format!(
            "{what}\nseed {}; the node's log ends with:\n{}",
            settings.seed,
            node.last_words()
        )),
        other => other,
    })?;
    killed.and(unmounted)?;
    Ok(report)
}

async fn rounds(settings: &Settings, node: &mut Node, disk: &mut Disk) -> Result<Report> {
    let mut random = StdRng::seed_from_u64(settings.seed);
    node.start()?;
    node.ready().await?;
    let pack = crate::samples().join("pack").display().to_string();
    let uploaded = node.ctl(&["detections", "upload", &pack]).await?;
    let source = node
        .ctl(&[
            "sources",
            "add",
            "http",
            SOURCE,
            "--log-types",
            "Nginx.Access",
        ])
        .await?;
    let notes = Noted::default();
    let mut plans: Vec<Plan> = (0..WRITERS)
        .flat_map(|writer| [Plan::new("body", writer), Plan::new("message", writer)])
        .collect();
    plans.push(Plan::new("output", 0));

    let began = Instant::now();
    let mut cuts = 0;
    while cuts < settings.rounds && began.elapsed() < settings.limit {
        let (off, off_seen) = watch::channel(false);
        let cut = Arc::new(Mutex::new(Cut::default()));
        let writing = Writing {
            caller: node.caller(),
            http: doors::client()?,
            url: text(&source, "ingestUrl"),
            token: text(&source, "token"),
            notes: notes.clone(),
            cut: cut.clone(),
            off: off_seen,
        };
        let writers: Vec<JoinHandle<Result<Plan>>> = plans
            .drain(..)
            .map(|plan| tokio::spawn(writing.clone().write(plan)))
            .collect();
        tokio::time::sleep(Duration::from_millis(random.random_range(100..1_500))).await;
        cut.lock().going = Some(Instant::now());
        disk.cut().await?;
        cut.lock().gone = Some(Instant::now());
        // If the node acknowledges data now that it cannot have written, the checks below find it.
        tokio::time::sleep(Duration::from_millis(random.random_range(0..300))).await;
        off.send_replace(true);
        // The node may have noticed the failed disk and ended, which is equivalent to the kill.
        let _ = node.kill().await;
        for writer in writers {
            plans.push(writer.await.during("writing")??);
        }
        disk.unmount().await?;
        disk.mount().await?;
        node.start()?;
        if random.random_ratio(1, 5) {
            // Some starts are interrupted too.
            tokio::time::sleep(Duration::from_millis(random.random_range(0..400))).await;
            disk.cut().await?;
            let _ = node.kill().await;
            disk.unmount().await?;
            disk.mount().await?;
            node.start()?;
        }
        node.ready().await?;
        let look = everything_is_there(node, &notes).await;
        look.map_err(|failure| Failure::Broken(format!("after cut {}: {failure}", cuts + 1)))?;
        cuts += 1;
    }

    // Open requests are retried until they are acknowledged, and then counted.
    let (_off, off_seen) = watch::channel(false);
    let writing = Writing {
        caller: node.caller(),
        http: doors::client()?,
        url: text(&source, "ingestUrl"),
        token: text(&source, "token"),
        notes: notes.clone(),
        cut: Arc::default(),
        off: off_seen,
    };
    for mut plan in plans {
        writing.once(&mut plan, PATIENCE).await?;
    }
    everything_is_there(node, &notes).await?;
    nothing_is_there_twice(node, &notes).await?;
    let live = node.ctl(&["status"]).await?;
    if live["pack"]["version"] != uploaded["version"] {
        return Err(Failure::Broken(format!(
            "the pack {} was acknowledged, and {} is live",
            uploaded["version"], live["pack"]
        )));
    }
    node.stop().await?;
    let notes = notes.lock();
    Ok(Report {
        cuts,
        bodies: notes.bodies.len(),
        messages: notes.messages.len(),
        outputs: notes.outputs.len(),
        again: notes.again.len(),
    })
}

/// The next write of a writer. The writer continues only after this write is acknowledged.
#[derive(Debug, Clone)]
struct Plan {
    kind: &'static str,
    writer: usize,
    number: u64,
    /// Request id of the open write. It stays the same for all retries.
    request: Option<RequestId>,
}

impl Plan {
    fn new(kind: &'static str, writer: usize) -> Self {
        Self {
            kind,
            writer,
            number: 0,
            request: None,
        }
    }

    fn key(&self) -> String {
        format!("{}-{}-{}", self.kind, self.writer, self.number)
    }

    /// Lines that are unique to this body and that match no rule.
    fn body(&self) -> Vec<u8> {
        let key = self.key();
        let lines = (0..LINES).map(|line| {
            format!("192.0.2.7 - - [05/Mar/2026:14:05:{line:02} +0000] \"GET /{key}/{line} HTTP/1.1\" 200 512 \"-\" \"chaos\"\n")
        });
        lines.collect::<String>().into_bytes()
    }
}

impl Writing {
    /// Writes until the power is off.
    async fn write(mut self, mut plan: Plan) -> Result<Plan> {
        while !*self.off.borrow_and_update() {
            self.once(&mut plan, Duration::from_secs(2)).await?;
        }
        Ok(plan)
    }

    /// Retries the open write until it is acknowledged, the power is off, or `patience` is over.
    async fn once(&self, plan: &mut Plan, patience: Duration) -> Result<()> {
        let key = plan.key();
        let request = plan
            .request
            .get_or_insert_with(|| RequestId::new(key.clone()))
            .clone();
        let began = Instant::now();
        loop {
            let unanswered = self.try_once(plan, &key, &request).await?;
            let Some(why) = unanswered else {
                plan.number += 1;
                plan.request = None;
                return Ok(());
            };
            self.notes.lock().again.insert(key.clone());
            if *self.off.borrow() {
                return Ok(());
            }
            if began.elapsed() > patience {
                // If the power is on and there is no answer, the next attempt belongs to the next round, unless this is the last round.
                return if patience == PATIENCE {
                    Err(Failure::Broken(format!(
                        "{key} is not acknowledged although the node is up: {why}"
                    )))
                } else {
                    Ok(())
                };
            }
            tokio::time::sleep(Duration::from_millis(20)).await;
        }
    }

    /// `None` if it is acknowledged, otherwise the reason why it is not.
    async fn try_once(
        &self,
        plan: &Plan,
        key: &str,
        request: &RequestId,
    ) -> Result<Option<String>> {
        let began = Instant::now();
        let answer = match self.answer(plan, key, request).await? {
            Ok(answer) => answer,
            Err(why) => return Ok(Some(why)),
        };
        if self.cut.lock().overtook(began) {
            // The same request would now be answered from memory, so it is not sent again before the power is back.
            let _ = self.off.clone().wait_for(|off| *off).await;
            return Ok(Some("the power went meanwhile".to_owned()));
        }
        let (key, mut notes) = (key.to_owned(), self.notes.lock());
        match plan.kind {
            "body" => {
                let body = (text(&answer, "object"), plan.body());
                notes.bodies.insert(key, body);
            }
            "message" => {
                notes.messages.insert(key, text(&answer, "id"));
            }
            _ => {
                notes.outputs.insert(key);
            }
        }
        Ok(None)
    }

    /// The node's answer, or the reason why there is no answer.
    async fn answer(
        &self,
        plan: &Plan,
        key: &str,
        request: &RequestId,
    ) -> Result<std::result::Result<Value, String>> {
        let (component, operation, input) = match plan.kind {
            "body" => {
                let posted =
                    doors::post_once(&self.http, &self.url, &self.token, key, plan.body()).await?;
                return Ok(match posted {
                    Posted::Taken(answer) => Ok(answer),
                    Posted::Busy(why) | Posted::Unknown(why) => Err(why),
                });
            }
            "message" => ("node", "send", json!({"queue": QUEUE, "body": key})),
            _ => (
                "panther-outputs-api",
                "addOutput",
                json!({"userId": "chaos", "displayName": key, "outputConfig": {"file": {"path": "/tmp/panther-chaos-unused.jsonl"}}, "defaultForSeverity": ["CRITICAL"]}),
            ),
        };
        let answer = self
            .caller
            .invoke(component, operation, &input, Some(request))
            .await;
        Ok(match answer {
            // The first attempt was written, and its answer was lost.
            Err(status) if plan.kind == "output" && status.code() == tonic::Code::AlreadyExists => {
                Ok(Value::Null)
            }
            // A node without its disk may report it with any status.
            other => other.map_err(|status| status.to_string()),
        })
    }
}

/// Checks that everything that was ever acknowledged exists.
async fn everything_is_there(node: &Node, notes: &Noted) -> Result<()> {
    let messages = messages(node).await?;
    let outputs = node.ctl(&["outputs", "list"]).await?;
    let outputs: BTreeSet<String> = items(&outputs, "outputs")
        .iter()
        .map(|output| text(output, "displayName"))
        .collect();
    let notes = notes.lock();
    let mut gone = Vec::new();
    for (key, (object, body)) in &notes.bodies {
        match std::fs::read(node.data().join("objects").join(object)) {
            Ok(content) if content == *body => {}
            Ok(content) => gone.push(format!(
                "the object {object} of {key} has {} bytes, and not what was posted",
                content.len()
            )),
            Err(error) => gone.push(format!("the object {object} of {key}: {error}")),
        }
    }
    for (key, id) in &notes.messages {
        if messages.get(id) != Some(key) {
            gone.push(format!("the message {id} of {key}"));
        }
    }
    gone.extend(
        notes
            .outputs
            .difference(&outputs)
            .map(|name| format!("the output {name}")),
    );
    if gone.is_empty() {
        return Ok(());
    }
    Err(Failure::Broken(format!(
        "acknowledged, and gone: {}",
        gone.join("; ")
    )))
}

/// Messages of the queue: body by id.
async fn messages(node: &Node) -> Result<BTreeMap<String, String>> {
    let mut found = BTreeMap::new();
    let mut after = 0;
    loop {
        let page = node
            .ctl(&[
                "queue",
                "peek",
                QUEUE,
                "--limit",
                "500",
                "--after",
                &after.to_string(),
            ])
            .await?;
        let page = items(&page, "messages");
        for message in page {
            found.insert(text(message, "id"), text(message, "body"));
            after = after.max(count(message, "seq"));
        }
        if page.is_empty() {
            return Ok(found);
        }
    }
}

/// Everything is acknowledged by now, so everything must exist exactly once: messages in their queue, and each line of each body among the
/// processed events.
async fn nothing_is_there_twice(node: &Node, notes: &Noted) -> Result<()> {
    let lines: BTreeSet<String> = notes
        .lock()
        .bodies
        .keys()
        .flat_map(|key| (0..LINES).map(move |line| format!("/{key}/{line}")))
        .collect();
    until("all lines are processed", PATIENCE, async || {
        let shown = node.ctl(&["sources", "show", SOURCE]).await?;
        let received = count(&shown, "received");
        Ok((received < lines.len() as u64).then(|| format!("{received} of {} are", lines.len())))
    })
    .await?;
    let mut wrong = Vec::new();
    let mut seen = BTreeSet::new();
    for row in node.rows("panther-objects").await? {
        let name = text(&row["key"], "hash");
        if !name.starts_with("logs/") {
            continue;
        }
        let content = std::fs::read(node.data().join("objects").join(&name))
            .during(format!("reading {name}"))?;
        let mut events = String::new();
        MultiGzDecoder::new(&content[..])
            .read_to_string(&mut events)
            .during(format!("unpacking {name}"))?;
        for event in events.lines() {
            let event: Value = serde_json::from_str(event).during(format!("reading {name}"))?;
            let line = ["requestUri", "request", "requestURI"]
                .iter()
                .find_map(|name| event[*name].as_str())
                .unwrap_or_default();
            let line = line
                .split(' ')
                .find(|word| word.starts_with('/'))
                .unwrap_or_default()
                .to_owned();
            if !lines.contains(&line) {
                wrong.push(format!("an event that nobody posted: {event}"));
            } else if !seen.insert(line.clone()) {
                wrong.push(format!("{line} is stored twice"));
            }
        }
    }
    wrong.extend(
        lines
            .difference(&seen)
            .map(|line| format!("{line} is not stored")),
    );
    let found = messages(node).await?;
    let mut bodies = BTreeSet::new();
    wrong.extend(
        found
            .values()
            .filter(|body| !bodies.insert(*body))
            .map(|body| format!("{body} was sent twice")),
    );
    if wrong.is_empty() {
        return Ok(());
    }
    wrong.truncate(20);
    Err(Failure::Broken(wrong.join("; ")))
}
