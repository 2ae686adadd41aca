//! Full disk: new logs are rejected with a reason and a retry time, the node reports that it is unhealthy, accepted data is kept, and the
//! node recovers when there is free space.

use std::fmt;
use std::time::{Duration, Instant};

use crate::disk::Disk;
use crate::doors::{self, Posted};
use crate::node::{Binaries, Node, NodeSettings, Place, count, items, text};
use crate::{During, Failure, Result, until};

/// Size of the file system, in megabytes.
const MEGABYTES: u64 = 192;
/// Lines of one posted body.
const LINES: u64 = 500;
/// Deadline of each step.
const PATIENCE: Duration = Duration::from_secs(60);

/// Results of a run.
#[derive(Debug)]
pub struct Report {
    /// Bodies that were acknowledged before and after the disk was full.
    pub acknowledged: [usize; 2],
    /// Bodies that were rejected while the disk was full.
    pub refused: usize,
    /// The text of the rejection.
    pub refusal: String,
    /// The problems that the node reported while the disk was full.
    pub problems: String,
    /// How often the node ended by itself and was restarted, after there was free space.
    pub starts: usize,
    /// Time from free space until the first accepted body.
    pub resumed: Duration,
}

impl fmt::Display for Report {
    fn fmt(&self, to: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Self {
            acknowledged: [before, after],
            refused,
            refusal,
            problems,
            starts,
            resumed,
        } = self;
        writeln!(
            to,
            "full disk: {before} bodies acknowledged before, {refused} refused, {after} afterwards; none of the acknowledged is lost"
        )?;
        writeln!(to, "a refusal: {refusal}")?;
        writeln!(to, "the node of itself: {problems}")?;
        write!(
            to,
            "it went on {:.1} s after there was room, and ended {starts} times to be started again",
            resumed.as_secs_f64()
        )
    }
}

/// Name of the alarm of a full disk.
const DISK: &str = "node: disk_full";

/// Runs the test.
///
/// # Errors
/// A guarantee was broken, or this machine cannot create the fault.
pub async fn run() -> Result<Report> {
    let binaries = Binaries::find()?;
    let folder = tempfile::Builder::new()
        .prefix("panther-full-")
        .tempdir()
        .during("making a folder")?;
    let mut disk = Disk::in_memory(folder.path(), MEGABYTES).await?;
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
    let ran = fill_and_free(&mut node, &disk).await;
    let _ = node.kill().await; // it may have ended by itself, which the run has then reported
    disk.unmount().await?;
    ran.map_err(|failure| {
        failure.with_words(|| format!("the node's log ends with:\n{}", node.last_words()))
    })
}

async fn fill_and_free(node: &mut Node, disk: &Disk) -> Result<Report> {
    node.start()?;
    node.ready().await?;
    let source = node
        .ctl(&[
            "sources",
            "add",
            "http",
            "posted",
            "--log-types",
            "Nginx.Access",
        ])
        .await?;
    let (url, token, http) = (
        text(&source, "ingestUrl"),
        text(&source, "token"),
        doors::client()?,
    );
    let mut number = 0;
    let post = async |number: &mut usize| {
        *number += 1;
        doors::post_once(
            &http,
            &url,
            &token,
            &format!("body-{number}"),
            body(*number),
        )
        .await
    };

    let mut acknowledged = Vec::new();
    for _ in 0..20 {
        match post(&mut number).await? {
            Posted::Taken(answer) => acknowledged.push((number, text(&answer, "object"))),
            other => {
                return Err(Failure::Broken(format!(
                    "a body is not taken although there is room: {other:?}"
                )));
            }
        }
    }
    let before = acknowledged.len();

    disk.fill()?;
    let (mut refused, mut refusal) = (0, String::new());
    // The remaining allocated space in open files may accept one or two bodies.
    for _ in 0..20 {
        match post(&mut number).await? {
            Posted::Taken(answer) => acknowledged.push((number, text(&answer, "object"))),
            Posted::Busy(why) => {
                refused += 1;
                refusal = why;
            }
            Posted::Unknown(why) => {
                return Err(Failure::Broken(format!(
                    "a full disk is answered with a broken connection: {why}"
                )));
            }
        }
    }
    if refused == 0 {
        return Err(Failure::broken("the disk is full, and every body is taken"));
    }
    let mut problems = String::new();
    let said = until(
        "the node says that its disk is full",
        PATIENCE,
        async || {
            let status = node.ctl(&["status"]).await?;
            problems = format!("{}: {}", text(&status, "health"), status["problems"]);
            Ok((!problems.contains(DISK)).then(|| problems.clone()))
        },
    )
    .await;

    disk.free()?;
    let room = Instant::now();
    let mut starts = 0;
    until("bodies are taken again", PATIENCE, async || {
        // A node that can no longer write its log or state ends when there is free space, so that a restart repairs it.
        starts += usize::from(node.start_if_ended()?);
        Ok(match post(&mut number).await? {
            Posted::Taken(answer) => {
                acknowledged.push((number, text(&answer, "object")));
                None
            }
            Posted::Busy(why) | Posted::Unknown(why) => Some(why),
        })
    })
    .await?;
    let resumed = room.elapsed();
    said?;

    let expected = acknowledged.len() as u64 * LINES;
    until("what was acknowledged is processed", PATIENCE, async || {
        let shown = node.ctl(&["sources", "show", "posted"]).await?;
        let stored = count(&shown, "stored");
        if stored > expected {
            // The rejection may have come after the write: the sender was asked to retry, so the lines may exist.
            return Ok(None);
        }
        Ok((stored < expected).then(|| format!("{stored} of {expected} lines are")))
    })
    .await?;
    for (number, object) in &acknowledged {
        let content = std::fs::read(node.data().join("objects").join(object))
            .during(format!("reading {object}"))?;
        if content != body(*number) {
            return Err(Failure::Broken(format!(
                "the object {object} was acknowledged, and is not what was posted"
            )));
        }
    }
    let queues = node.ctl(&["queue", "ls"]).await?;
    if let Some(letters) = items(&queues, "queues")
        .iter()
        .find(|queue| queue["kind"] == "dlq" && count(queue, "waiting") > 0)
    {
        return Err(Failure::Broken(format!(
            "the full disk was counted against messages: {letters}"
        )));
    }
    // The alarm for errors of a component stays for five minutes after the last error; no other alarm may be raised.
    until("the node is well again", PATIENCE, async || {
        if node.start_if_ended()? {
            starts += 1;
            node.ready().await?;
        }
        let status = node.ctl(&["status"]).await?;
        let left = items(&status, "problems").iter().find(|problem| {
            !problem
                .as_str()
                .unwrap_or_default()
                .contains(": execution_errors: ")
        });
        Ok(left.map(ToString::to_string))
    })
    .await?;
    // A bad write while the disk was full would show at a restart.
    node.stop().await?;
    node.start()?;
    node.ready().await?;
    let status = node.ctl(&["status"]).await?;
    if status["health"] == "failing" {
        return Err(Failure::Broken(format!(
            "the node does not come up well: {status}"
        )));
    }
    Ok(Report {
        acknowledged: [before, acknowledged.len() - before],
        refused,
        refusal,
        problems,
        starts,
        resumed,
    })
}

fn body(number: usize) -> Vec<u8> {
    let lines = (0..LINES).map(|line| {
        format!("192.0.2.7 - - [05/Mar/2026:14:05:07 +0000] \"GET /{number}/{line} HTTP/1.1\" 200 512 \"-\" \"chaos\"\n")
    });
    lines.collect::<String>().into_bytes()
}
