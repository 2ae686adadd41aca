//! The disk loses what was not synced; nothing acknowledged is gone.
//!
//! The data folder lies on an ext4 of its own. While writers post logs, send messages and set outputs, each noting what
//! was acknowledged, the file system is shut down without flushing its journal, and a moment later the node is killed:
//! what it takes and acknowledges in that moment counts too, for it cannot have written it. After each start everything
//! that was ever acknowledged must be there. What was not is tried again with the same key, and must in the end be
//! there once.
//!
//! A write that was under way at the very moment of the cut counts as not acknowledged, whatever its answer: ext4 lets
//! an `fdatasync` that the shutdown overtakes return success now and then (seen with a bare loop of write and
//! `fdatasync` on Linux 6.18, once in 80 cuts). When the power really fails, nobody is left to hear such an answer.

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

/// A dead letter queue: it has no consumer, so what is sent to it stays there to be counted.
const QUEUE: &str = "panther-alerts-queue-dlq";
/// The source that logs are posted to.
const SOURCE: &str = "posted";
/// Lines of one posted body.
const LINES: usize = 20;
/// Writers of each kind.
const WRITERS: usize = 3;
/// Size of the file system.
const MEGABYTES: u64 = 768;
/// How long a start, or the end, may take.
const PATIENCE: Duration = Duration::from_secs(120);

/// A run's settings.
#[derive(Debug, Clone)]
pub struct Settings {
    /// What the cuts are drawn from.
    pub seed: u64,
    /// Cuts.
    pub rounds: usize,
    /// After this time there are no further cuts, however many there were.
    pub limit: Duration,
}

/// What a run showed.
#[derive(Debug, Default)]
pub struct Report {
    /// Cuts.
    pub cuts: usize,
    /// Bodies that were acknowledged.
    pub bodies: usize,
    /// Messages that were acknowledged.
    pub messages: usize,
    /// Outputs that were acknowledged.
    pub outputs: usize,
    /// Of all these, what had no answer at first and was tried again.
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

/// What writers have noted.
#[derive(Debug, Default)]
struct Notes {
    /// Object and content of each acknowledged body, by key.
    bodies: BTreeMap<String, (String, Vec<u8>)>,
    /// Body and message id of each acknowledged message.
    messages: BTreeMap<String, String>,
    /// Names of acknowledged outputs.
    outputs: BTreeSet<String>,
    /// What had no answer, by key.
    again: BTreeSet<String>,
}

type Noted = Arc<Mutex<Notes>>;

/// When the power went.
#[derive(Debug, Default, Clone, Copy)]
struct Cut {
    /// From this moment on it may be off.
    going: Option<Instant>,
    /// From this moment on it is off.
    gone: Option<Instant>,
}

impl Cut {
    /// Whether the power went while something that began then was under way.
    fn overtook(self, began: Instant) -> bool {
        self.going.is_some() && self.gone.is_none_or(|gone| began <= gone)
    }
}

/// What the writers of all rounds share.
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

/// Runs it.
///
/// # Errors
/// Something acknowledged is gone, or this machine cannot make the fault.
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
        // A node that acknowledges now what it cannot have written is found out by the looks below.
        tokio::time::sleep(Duration::from_millis(random.random_range(0..300))).await;
        off.send_replace(true);
        // It may have seen the disk fail and ended; that is as good as the kill.
        let _ = node.kill().await;
        for writer in writers {
            plans.push(writer.await.during("writing")??);
        }
        disk.unmount().await?;
        disk.mount().await?;
        node.start()?;
        if random.random_ratio(1, 5) {
            // Some starts are cut off themselves.
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

    // What is left open is tried until it is acknowledged, and then counted.
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

/// What one writer writes next. It goes on only once that is acknowledged.
#[derive(Debug, Clone)]
struct Plan {
    kind: &'static str,
    writer: usize,
    number: u64,
    /// Of the write that is open: it stays the same from try to try.
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

    /// Lines that no other body has, and that no rule minds.
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

    /// Tries the open write until it is acknowledged, the power is off, or `patience` is over.
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
                // With the power on and no answer the next try is the next round's, unless there is none.
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

    /// `None` once it is acknowledged, else why it is not.
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
            // The same request would be answered from memory now, so it is not made again before the power is back.
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

    /// The node's answer, or why there is none.
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
            // Its first try was written, and its answer lost.
            Err(status) if plan.kind == "output" && status.code() == tonic::Code::AlreadyExists => {
                Ok(Value::Null)
            }
            // A node whose disk is gone may say so in any way.
            other => other.map_err(|status| status.to_string()),
        })
    }
}

/// Everything that was ever acknowledged.
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

/// Everything was acknowledged by now, so everything is there exactly once: messages in their queue, and each line of
/// each body among the processed events.
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
