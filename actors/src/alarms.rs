//! States of alarms as rows; each change is published once to `panther-alarms`, in the command that makes it.
//!
//! What is the same wherever it is looked at (dead letters, the age of a queue) is one row; what a node sees of itself (its disk, its actors) is a row for each node,
//! or one node that is well would clear what another has raised.

use std::collections::BTreeMap;
use std::fmt;
use std::sync::Arc;
use std::time::Duration;

use panther_cluster::door::change::{self, Change, RowExt};
use panther_cluster::door::{Door, DoorError, Local};
use panther_cluster::state::read::{self, Query};
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

impl Alarm {
    /// What is measured: the second half of its name.
    #[must_use]
    pub fn metric(&self) -> &str {
        self.name.split_once(": ").map_or("", |(_, metric)| metric)
    }
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
        json!({"alarm": self.text(), "component": self.component, "node": self.node, "state": state(raised), "reason": raised.unwrap_or("")})
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

/// What this node last said of an alarm.
#[derive(Debug, Clone, PartialEq, Eq)]
struct Said {
    raised: Option<String>,
    since_ms: u64,
    times_raised: i64,
    written: Written,
}

/// Whether the cluster knows what this node has said.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Written {
    Yes,
    /// There was no leader; it is written once there is one.
    NotYet,
    /// It is for this node alone.
    Never,
}

/// Raises and clears alarms; clones share it.
#[derive(Clone)]
pub struct Alarms {
    door: Door,
    /// What this node last said of each alarm, so that nothing is proposed while nothing changes.
    said: Arc<Mutex<BTreeMap<Name, Said>>>,
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

    /// Says that an alarm is raised or clear that only this node can know of, such as that it hears no leader: it is listed here, and written nowhere.
    pub async fn set_alone(&self, component: &str, metric: &str, raised: Option<&str>) {
        let name = Name::new(component, metric, Some(self.door.node()));
        if self.note(&name, raised, Written::Never) {
            self.tell(&name, raised).await;
        }
    }

    async fn say(&self, name: &Name, raised: Option<&str>) {
        let known = self.said.lock().get(name).cloned();
        let same = known
            .as_ref()
            .is_some_and(|said| said.raised.is_some() == raised.is_some());
        let written = known.as_ref().map(|said| said.written);
        if same && written != Some(Written::NotYet) {
            return;
        }
        let reachable = self.door.local().without_leader().is_none();
        if !reachable && known.is_none() && raised.is_none() {
            return; // whether it was raised before is written down, and cannot be asked for now
        }
        let change = match reachable {
            true => self.change(name, raised).await,
            false => Err(DoorError::Unavailable("there is no leader".to_owned())),
        };
        match change {
            Ok(changed) => {
                self.note(name, raised, Written::Yes);
                if changed && !same {
                    self.tell(name, raised).await;
                }
            }
            // A node that cannot reach the cluster still shouts, once; the cluster hears it later.
            Err(error) => {
                tracing::debug!(alarm = %name, %error, "an alarm's change is not written yet");
                if self.note(name, raised, Written::NotYet) {
                    self.tell(name, raised).await;
                }
            }
        }
    }

    /// Keeps what is said; true if it is another state than before.
    fn note(&self, name: &Name, raised: Option<&str>, written: Written) -> bool {
        let mut said = self.said.lock();
        let before = said.get(name);
        let was = before.is_some_and(|said| said.raised.is_some());
        let times = before.map_or(0, |said| said.times_raised);
        let changes = was != raised.is_some();
        if before.is_none() && raised.is_none() && written == Written::Never {
            return false; // it never was raised, and is not listed
        }
        let since_ms = match before {
            Some(said) if !changes => said.since_ms,
            _ => self.door.now_ms(),
        };
        let now = Said {
            raised: raised.map(str::to_owned),
            since_ms,
            times_raised: times + i64::from(changes && raised.is_some()),
            written,
        };
        said.insert(name.clone(), now);
        changes
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
        let mut change = Change::update(TABLE, key)
            .set("state", state(raised))
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
        self.door.read(|_| Ok(())).await?;
        Ok(self.list_here(all).await?)
    }

    /// The same by what this node knows: the rows as it has them, and what it has said itself and could not write yet.
    ///
    /// # Errors
    /// The state cannot be read.
    pub async fn list_here(&self, all: bool) -> std::io::Result<Vec<Alarm>> {
        let mut alarms = written(self.door.local()).await?;
        let said = self.said.lock().clone();
        for (name, said) in said {
            if said.written == Written::Yes {
                continue;
            }
            let times = |alarm: &Alarm| match said.written {
                Written::Never => said.times_raised,
                _ => alarm.times_raised + said.times_raised,
            };
            let known = alarms
                .iter()
                .position(|alarm| alarm.name == name.text() && alarm.node == name.node);
            let mut alarm = Alarm {
                name: name.text(),
                component: name.component,
                node: name.node,
                state: state(said.raised.as_deref()).to_owned(),
                reason: said.raised.clone().unwrap_or_default(),
                since_ms: said.since_ms,
                times_raised: 0,
            };
            match known {
                Some(known) => {
                    alarm.times_raised = times(&alarms[known]);
                    alarms[known] = alarm;
                }
                None => {
                    alarm.times_raised = said.times_raised;
                    alarms.push(alarm);
                }
            }
        }
        alarms.retain(|alarm| all || alarm.state == "raised");
        Ok(alarms)
    }
}

fn state(raised: Option<&str>) -> &'static str {
    match raised {
        Some(_) => "raised",
        None => "ok",
    }
}

/// Alarms as they are written down, as far as a node has them.
///
/// # Errors
/// The state cannot be read.
pub async fn written(local: &Local) -> std::io::Result<Vec<Alarm>> {
    let rows = local.read(|store| {
        let mut query = Query {
            table: TABLE.to_owned(),
            limit: 1_000,
            ..Query::default()
        };
        let mut rows = Vec::new();
        loop {
            let page = match read::query(store, &query) {
                Ok(page) => page,
                // Before the table is declared there is no alarm.
                Err(error) if error.kind() == std::io::ErrorKind::NotFound => return Ok(rows),
                Err(error) => return Err(error),
            };
            rows.extend(page.rows);
            match page.next {
                Some(next) => query.after = Some(next),
                None => return Ok(rows),
            }
        }
    });
    let alarms = rows.await?.into_iter().map(|(key, row)| Alarm {
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
    Ok(alarms.collect())
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
