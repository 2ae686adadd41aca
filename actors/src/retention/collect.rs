//! Finds what is older than its retention, and removes its rows. What a message still names stays until the message is done.

use std::collections::{BTreeMap, BTreeSet};
use std::fmt;

use panther_cluster::door::change::{Change, RowExt};
use panther_cluster::door::{Door, DoorError};
use panther_cluster::state::read::{self, KeyedRow, Query};
use panther_proto::v1::{Key, RowChange, Transact};
use serde::Serialize;
use serde_json::Value;

use super::{DELETED, Kept, Periods};
use crate::components::alerts_api::EVENTS;
use crate::components::log_alert_forwarder::ALERTS;
use crate::components::log_processor::QUARANTINE;
use crate::components::objects;
use crate::ingest::commit::KEYS;

const DAY_MS: u64 = 24 * 3600 * 1000;
/// Rows removed by one command.
const AT_ONCE: usize = 200;
/// Messages looked at in one go.
const PAGE: usize = 500;

/// What is kept of one kind, or is to be removed.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Serialize)]
pub struct Amount {
    /// Objects, or alerts.
    pub count: u64,
    /// Bytes of the objects.
    pub bytes: u64,
    /// When the oldest was written; 0 if there is nothing.
    pub oldest_ms: u64,
}

impl Amount {
    fn add(&mut self, bytes: u64, at_ms: u64) {
        self.oldest_ms = match self.count {
            0 => at_ms,
            _ => self.oldest_ms.min(at_ms),
        };
        self.count += 1;
        self.bytes += bytes;
    }
}

/// Amounts by kind and by the folder below it.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Amounts(pub BTreeMap<(Kept, String), Amount>);

impl Amounts {
    fn add(&mut self, kind: Kept, folder: &str, bytes: u64, at_ms: u64) {
        let key = (kind, folder.to_owned());
        self.0.entry(key).or_default().add(bytes, at_ms);
    }

    /// Whether there is nothing.
    #[must_use]
    pub fn is_empty(&self) -> bool {
        self.0.is_empty()
    }
}

impl fmt::Display for Amounts {
    fn fmt(&self, to: &mut fmt::Formatter<'_>) -> fmt::Result {
        let mut separator = "";
        for ((kind, folder), amount) in &self.0 {
            let (kind, count) = (kind.as_str(), amount.count);
            write!(to, "{separator}{kind} {folder}: {count}")?;
            separator = ", ";
        }
        Ok(())
    }
}

/// What there is, and what of it is too old.
#[derive(Debug, Default)]
pub struct Survey {
    /// All that is kept.
    pub kept: Amounts,
    /// What is older than its retention and is named by no message.
    pub expired: Amounts,
    /// Objects that are too old and stay, because a message names them.
    pub in_use: u64,
    /// The rows of what is expired, by table.
    rows: Vec<(&'static str, Key)>,
}

/// Looks at all rows of objects and alerts.
///
/// # Errors
/// There is no leader.
pub async fn survey(door: &Door) -> Result<Survey, DoorError> {
    let periods = Periods::read(door).await?;
    let now = door.now_ms();
    let globals = door.read(|store| read::globals(store)).await?;
    let is_expired = |kind, folder: &str, at_ms: u64| {
        let days = periods.days(kind, folder);
        days.is_some_and(|days| globals.is_past(at_ms.saturating_add(u64::from(days) * DAY_MS)))
    };
    // Before the objects, so that the object of each of these rows is seen.
    let of_alerts = all(door, EVENTS).await?;
    // Twice, so that a message that moves from one queue to another meanwhile is seen.
    let mut named = BTreeSet::new();
    if !periods.keep_everything() {
        named = named_by_messages(door).await?;
        named.append(&mut named_by_messages(door).await?);
    }
    let mut survey = Survey::default();
    let (mut removed, mut stay) = (BTreeSet::new(), BTreeSet::new());
    for (key, row) in all(door, objects::TABLE).await? {
        let Some((kind, folder)) = Kept::of_object(&key.hash) else {
            continue;
        };
        let number = |name: &str| row.int(name).and_then(|int| u64::try_from(int).ok());
        let (bytes, at_ms) = (
            number("bytes").unwrap_or(0),
            number("namedAt").unwrap_or(now),
        );
        survey.kept.add(kind, folder, bytes, at_ms);
        let is_old = is_expired(kind, folder, at_ms);
        if !is_old || named.contains(&key.hash) {
            survey.in_use += u64::from(is_old);
            stay.insert(key.hash);
            continue;
        }
        survey.expired.add(kind, folder, bytes, at_ms);
        removed.insert(key.hash.clone());
        survey.rows.push((objects::TABLE, key));
    }
    for (key, _) in all(door, QUARANTINE).await? {
        if removed.contains(&key.range) {
            survey.rows.push((QUARANTINE, key));
        }
    }
    for (key, row) in all(door, KEYS).await? {
        if row
            .text("object")
            .is_some_and(|object| removed.contains(object))
        {
            survey.rows.push((KEYS, key));
        }
    }
    let (mut gone, mut alerts) = (BTreeSet::new(), BTreeSet::new());
    for (key, row) in all(door, ALERTS).await? {
        // An alert to which events still come is not old.
        let times = ["creationTime", "updateTime"].into_iter();
        let times = times.filter_map(|name| row.text(name).and_then(millis));
        let at_ms = times.max().unwrap_or(now);
        survey.kept.add(Kept::Alerts, "", 0, at_ms);
        if is_expired(Kept::Alerts, "", at_ms) {
            survey.expired.add(Kept::Alerts, "", 0, at_ms);
            gone.insert(key.hash.clone());
            survey.rows.push((ALERTS, key));
        } else {
            alerts.insert(key.hash);
        }
    }
    for (key, _) in of_alerts {
        // Matches below their rule's threshold have no alert, and go with their object.
        let is_useless = !alerts.contains(&key.hash) && !stay.contains(&key.range);
        if gone.contains(&key.hash) || is_useless {
            survey.rows.push((EVENTS, key));
        }
    }
    Ok(survey)
}

/// Removes the rows of what is too old; its objects are swept thereafter.
///
/// # Errors
/// There is no leader. What was removed until then stays removed.
pub async fn collect(door: &Door) -> Result<Amounts, DoorError> {
    let survey = survey(door).await?;
    for rows in survey.rows.chunks(AT_ONCE) {
        let deleted = rows
            .iter()
            .map(|(table, key)| Change::delete(table, key.clone()).done());
        let changes: Vec<RowChange> = deleted.collect();
        door.transact(Transact {
            changes,
            ..Transact::default()
        })
        .await?;
    }
    Ok(survey.expired)
}

async fn all(door: &Door, table: &str) -> Result<Vec<KeyedRow>, DoorError> {
    door.query_all(Query {
        table: table.to_owned(),
        ..Query::default()
    })
    .await
}

/// The objects that messages of any queue name, dead letters among them.
async fn named_by_messages(door: &Door) -> Result<BTreeSet<String>, DoorError> {
    let mut named = BTreeSet::new();
    let queues = door.all_counts().await?.into_keys();
    for queue in queues.filter(|queue| queue != DELETED) {
        let mut after = 0;
        loop {
            let messages = door.peek(&queue, after, PAGE).await?;
            let Some(last) = messages.last() else { break };
            after = last.seq;
            for message in &messages {
                if let Ok(body) = serde_json::from_slice(&message.body) {
                    texts(&body, &mut named);
                }
            }
        }
    }
    Ok(named)
}

/// Collects every text of a body that can be the name of an object.
fn texts(value: &Value, named: &mut BTreeSet<String>) {
    match value {
        Value::String(text) if Kept::of_object(text).is_some() => {
            named.insert(text.clone());
        }
        // A topic wraps its message as a text.
        Value::String(text) if text.starts_with('{') => {
            if let Ok(inner) = serde_json::from_str(text) {
                texts(&inner, named);
            }
        }
        Value::Array(items) => items.iter().for_each(|item| texts(item, named)),
        Value::Object(fields) => fields.values().for_each(|field| texts(field, named)),
        _ => {}
    }
}

fn millis(time: &str) -> Option<u64> {
    let time = chrono::DateTime::parse_from_rfc3339(time).ok()?;
    u64::try_from(time.timestamp_millis()).ok()
}
