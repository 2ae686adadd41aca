//! States of alarms as rows; each change is published once to `panther-alarms`, in the command that makes it.
//!
//! What is the same wherever it is looked at (dead letters, the age of a queue) is one row; what a node sees of itself (its disk, its actors) is a row for each node,
//! or one node that is well would clear what another has raised.

use std::collections::BTreeMap;
use std::fmt;
use std::sync::Arc;
use std::time::Duration;

use panther_cluster::door::change::{self, Change, RowExt};
use panther_cluster::door::{Door, DoorError};
use panther_cluster::state::read::Query;
use panther_proto::v1::{Key, Transact};
use parking_lot::Mutex;
use serde::Serialize;
use serde_json::{Value, json};
use tokio::io::AsyncWriteExt;
use tokio::sync::broadcast;

use crate::pause::Pause;

/// The table of alarm states.
pub const TABLE: &str = "panther-alarm-states";
/// The topic that hears of changes.
pub const TOPIC: &str = "panther-alarms";
/// How long the operator's command may take.
const COMMAND_TIME: Duration = Duration::from_secs(30);

/// An alarm as it is shown.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
pub struct Alarm {
    /// `component: metric`.
    pub name: String,
    /// The component.
    pub component: String,
    /// The node that it is of, if it is one node's.
    pub node: Option<u64>,
    /// `raised` or `ok`.
    pub state: String,
    /// Why.
    pub reason: String,
    /// When it came into this state.
    pub since_ms: u64,
    /// How often it was raised.
    pub times_raised: i64,
}

/// What an alarm is known by.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord)]
struct Name {
    component: String,
    metric: String,
    node: Option<u64>,
}

impl Name {
    fn new(component: &str, metric: &str, node: Option<u64>) -> Self {
        Self {
            component: component.to_owned(),
            metric: metric.to_owned(),
            node,
        }
    }

    fn text(&self) -> String {
        format!("{}: {}", self.component, self.metric)
    }

    fn key(&self) -> Key {
        let node = self.node.map(|node| node.to_string()).unwrap_or_default();
        change::key_range(self.text(), node)
    }

    fn as_json(&self, raised: Option<&str>) -> Value {
        let state = if raised.is_some() { "raised" } else { "ok" };
        json!({"alarm": self.text(), "component": self.component, "node": self.node, "state": state, "reason": raised.unwrap_or("")})
    }
}

impl fmt::Display for Name {
    fn fmt(&self, to: &mut fmt::Formatter<'_>) -> fmt::Result {
        to.write_str(&self.text())?;
        match self.node {
            Some(node) => write!(to, " (node {node})"),
            None => Ok(()),
        }
    }
}

/// Raises and clears alarms; clones share it.
#[derive(Clone)]
pub struct Alarms {
    door: Door,
    /// What this node last said of each alarm, so that nothing is proposed while nothing changes.
    said: Arc<Mutex<BTreeMap<Name, bool>>>,
    command: Option<Vec<String>>,
    pause: Pause,
    changes: broadcast::Sender<String>,
}

impl Alarms {
    /// With the operator's command, if there is one; it is not run while the cluster is paused.
    #[must_use]
    pub fn new(
        door: Door,
        command: Option<Vec<String>>,
        pause: Pause,
        changes: broadcast::Sender<String>,
    ) -> Self {
        Self {
            door,
            said: Arc::default(),
            command,
            pause,
            changes,
        }
    }

    /// Says that an alarm of the cluster is raised (with a reason) or clear. Nothing happens if that is its state already.
    pub async fn set(&self, component: &str, metric: &str, raised: Option<&str>) {
        self.say(&Name::new(component, metric, None), raised).await;
    }

    /// The same of one that is this node's own.
    pub async fn set_here(&self, component: &str, metric: &str, raised: Option<&str>) {
        let here = Some(self.door.node());
        self.say(&Name::new(component, metric, here), raised).await;
    }

    /// The same of another node, by whoever looks after it; asked at each change only, since who that is changes too.
    ///
    /// # Errors
    /// The cluster gives no answer.
    pub async fn set_of(
        &self,
        node: u64,
        component: &str,
        metric: &str,
        raised: Option<&str>,
    ) -> Result<(), DoorError> {
        let name = Name::new(component, metric, Some(node));
        if self.change(&name, raised).await? {
            self.tell(&name, raised).await;
        }
        Ok(())
    }

    async fn say(&self, name: &Name, raised: Option<&str>) {
        let known = self.said.lock().get(name).copied();
        if known == Some(raised.is_some()) {
            return;
        }
        match self.change(name, raised).await {
            Ok(changed) => {
                self.said.lock().insert(name.clone(), raised.is_some());
                if changed {
                    self.tell(name, raised).await;
                }
            }
            Err(error) => {
                // A node that cannot reach the cluster still shouts.
                tracing::error!(alarm = %name, raised = raised.is_some(), reason = raised.unwrap_or_default(), %error, "an alarm's change could not be written");
            }
        }
    }

    async fn change(&self, name: &Name, raised: Option<&str>) -> Result<bool, DoorError> {
        let key = name.key();
        let row = self.door.get(TABLE, &key).await?;
        if row.is_none() && raised.is_none() {
            return Ok(false);
        }
        let was = row.as_ref().and_then(|row| row.text("state")) == Some("raised");
        if was == raised.is_some() {
            return Ok(false);
        }
        let component = name.component.as_str();
        let now = self.door.now_ms();
        let state = if raised.is_some() { "raised" } else { "ok" };
        let mut change = Change::update(TABLE, key)
            .set("state", state)
            .set("component", component)
            .set("since", now)
            .set("reason", raised.unwrap_or(""));
        change = match row.as_ref().and_then(|row| row.text("state")) {
            Some(state) => change.if_equals("state", state),
            None => change.if_absent("state"),
        };
        if raised.is_some() {
            change = change.add("timesRaised", 1);
        }
        let mut body = name.as_json(raised);
        body["timeMs"] = now.into();
        let publish = change::to_topic(
            TOPIC,
            body.to_string(),
            BTreeMap::from([("component".to_owned(), component.to_owned())]),
        );
        match self
            .door
            .transact(Transact {
                changes: vec![change.done()],
                sends: vec![publish],
                ..Transact::default()
            })
            .await
        {
            Ok(_) => Ok(true),
            // Another node was first.
            Err(DoorError::Conflict(_)) => Ok(false),
            Err(error) => Err(error),
        }
    }

    async fn tell(&self, name: &Name, raised: Option<&str>) {
        let line = name.as_json(raised).to_string();
        match raised {
            Some(reason) => tracing::error!(alarm = %name, reason, "alarm raised"),
            None => tracing::info!(alarm = %name, "alarm cleared"),
        }
        let _ = self.changes.send(line.clone()); // nobody may be following
        if let Some(command) = self
            .command
            .clone()
            .filter(|_| self.pause.since().is_none())
        {
            tokio::spawn(async move {
                if let Err(error) = run(&command, &line).await {
                    tracing::error!(command = command.join(" "), %error, "the alarm command failed");
                }
            });
        }
    }

    /// All alarms that have ever been raised, or only those that are.
    ///
    /// # Errors
    /// There is no leader.
    pub async fn list(&self, all: bool) -> Result<Vec<Alarm>, DoorError> {
        let rows = self
            .door
            .query_all(Query {
                table: TABLE.to_owned(),
                ..Query::default()
            })
            .await?;
        let alarms = rows.into_iter().map(|(key, row)| Alarm {
            name: key.hash,
            node: key.range.parse().ok(),
            component: row.text("component").unwrap_or_default().to_owned(),
            state: row.text("state").unwrap_or("ok").to_owned(),
            reason: row.text("reason").unwrap_or_default().to_owned(),
            since_ms: row
                .int("since")
                .and_then(|since| u64::try_from(since).ok())
                .unwrap_or(0),
            times_raised: row.int("timesRaised").unwrap_or(0),
        });
        Ok(alarms
            .filter(|alarm| all || alarm.state == "raised")
            .collect())
    }
}

async fn run(command: &[String], line: &str) -> std::io::Result<()> {
    let Some((program, arguments)) = command.split_first() else {
        return Ok(());
    };
    let mut child = tokio::process::Command::new(program)
        .args(arguments)
        .stdin(std::process::Stdio::piped())
        .kill_on_drop(true)
        .spawn()?;
    if let Some(mut input) = child.stdin.take() {
        input.write_all(line.as_bytes()).await?;
    }
    let status = tokio::time::timeout(COMMAND_TIME, child.wait())
        .await
        .map_err(|_| {
            std::io::Error::new(std::io::ErrorKind::TimedOut, "it took longer than 30 s")
        })??;
    if status.success() {
        Ok(())
    } else {
        Err(std::io::Error::other(format!("it ended with {status}")))
    }
}
