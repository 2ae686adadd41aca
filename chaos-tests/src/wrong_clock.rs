//! A node is started with a clock that is more than a year ahead. The node does not follow it. When an operator accepts the time by
//! mistake, nothing expires and changes are still possible, and the time can be set back.

use std::time::Duration;

use serde_json::Value;

use crate::clocks::Clock;
use crate::node::{Binaries, Node, NodeSettings, Place, count, items, text};
use crate::{During, Failure, Result, until};

/// A dead letter queue: it has no consumer, and keeps messages for 14 days.
const QUEUE: &str = "panther-alerts-queue-dlq";
const LETTERS: u64 = 5;
const AHEAD_S: i64 = 400 * 86_400;
const PATIENCE: Duration = Duration::from_secs(60);

fn must(fine: bool, what: impl std::fmt::Display) -> Result<()> {
    match fine {
        true => Ok(()),
        false => Err(Failure::Broken(what.to_string())),
    }
}

/// Checks that all dead letters exist.
async fn kept(node: &Node) -> Result<()> {
    let queue = node.ctl(&["queue", "show", QUEUE]).await?;
    must(
        count(&queue, "waiting") == LETTERS,
        format!("of {LETTERS} dead letters these are left: {queue}"),
    )
}

async fn clock_alarm(node: &Node) -> Result<Option<String>> {
    let alarms = node.ctl(&["alarms"]).await?;
    let raised = items(&alarms, "alarms")
        .iter()
        .find(|alarm| text(alarm, "name") == "node: clock" && text(alarm, "state") == "raised");
    Ok(raised.map(|alarm| text(alarm, "reason")))
}

/// Checks that the alarm of the clock contains this text, or that there is no such alarm.
async fn says(node: &Node, words: Option<&str>) -> Result<()> {
    until("the alarm of the clock", PATIENCE, async || {
        let said = clock_alarm(node).await?;
        let is_as_wanted = match (&said, words) {
            (Some(said), Some(words)) => said.contains(words),
            (None, None) => true,
            _ => false,
        };
        Ok((!is_as_wanted).then(|| format!("{said:?}")))
    })
    .await
}

async fn add_source(node: &Node, name: &str) -> Result<Value> {
    let words = [
        "sources",
        "add",
        "http",
        name,
        "--log-types",
        "Nginx.Access",
    ];
    node.ctl(&words).await
}

/// Runs the test in its own folder.
///
/// # Errors
/// A guarantee was broken, or this machine lacks libfaketime.
pub async fn run() -> Result<()> {
    let folder = tempfile::tempdir().during("making a folder")?;
    let clock = Clock::right(folder.path())?;
    let mut node = Node::new(NodeSettings {
        binaries: Binaries::find()?,
        folder: folder.path().to_owned(),
        data: folder.path().join("data"),
        python: "python3".to_owned(),
        patience: PATIENCE,
        environment: clock.environment(),
        configuration: String::new(),
        place: Place::default(),
    })?;
    node.start()?;
    node.ready().await?;
    for letter in 0..LETTERS {
        let body = format!("{{\"letter\": {letter}}}");
        node.ctl(&["queue", "send", QUEUE, &body]).await?;
    }
    node.stop().await?;
    clock.set(AHEAD_S)?;
    node.start()?;
    node.ready().await?;
    says(&node, Some("accept-time")).await?;
    kept(&node).await?;
    add_source(&node, "while-ahead").await?;
    node.ctl(&["cluster", "accept-time", "--yes"]).await?;
    says(&node, None).await?;
    add_source(&node, "after-accepted").await?;
    kept(&node).await?;
    node.stop().await?;
    clock.set(0)?;
    node.start()?;
    node.ready().await?;
    says(&node, Some("force-time")).await?;
    kept(&node).await?;
    add_source(&node, "while-behind").await?;
    node.ctl(&["cluster", "force-time", "--yes"]).await?;
    says(&node, None).await?;
    add_source(&node, "after-set-back").await?;
    kept(&node).await?;
    node.stop().await
}
