//! The promises made to clients, which are checked against the state at the end of a run.

use std::collections::{BTreeMap, BTreeSet};

use panther_cluster::door::change::{self, RowExt};
use panther_cluster::state::read::{self, Query};
use panther_cluster::storage::StateStore;

use crate::world::Broken;

/// The table of a run.
pub(crate) const TABLE: &str = "rows";
/// Its unique index of names.
pub(crate) const BY_NAME: &str = "by-name";
/// The queue of a run.
pub(crate) const QUEUE: &str = "work";
/// Its dead letter queue.
pub(crate) const DLQ: &str = "work-dlq";

/// Failures after which a message goes to the dead letter queue.
pub(crate) const MAX_FAILURES: u32 = 3;

/// Promises made to clients.
#[derive(Debug, Default)]
pub(crate) struct Tally {
    /// Number of acknowledged additions, by row.
    pub(crate) added: BTreeMap<String, i64>,
    /// Rows with an addition in progress when last observed. If its node died, the addition may or may not have taken
    /// effect.
    pub(crate) adding: BTreeSet<String>,
    /// Bodies of messages whose send was acknowledged.
    pub(crate) sent: BTreeSet<String>,
    /// Bodies of messages whose send was begun.
    pub(crate) begun: BTreeSet<String>,
    /// Rows that have claimed a name, by name.
    pub(crate) named: BTreeMap<String, String>,
    /// Broken promises observed during the run.
    pub(crate) broken: Vec<String>,
    /// Number of clients with a request to finish.
    pub(crate) busy: usize,
}

impl Tally {
    /// Checks the state at the end against the promises. Returns the number of completed messages.
    pub(crate) fn check(&self, store: &StateStore) -> Result<usize, Broken> {
        let unread = |error: std::io::Error| Broken(format!("the state cannot be read: {error}"));
        if let Some(broken) = self.broken.first() {
            return Err(Broken(broken.clone()));
        }
        for (key, added) in &self.added {
            let row = read::row(store, TABLE, &change::key(key)).map_err(unread)?;
            let held = row.and_then(|row| row.int("number")).unwrap_or(0);
            let may_hold = *added + i64::from(self.adding.contains(key));
            if held != *added && held != may_hold {
                return Err(Broken(format!(
                    "{added} additions to {key} were acknowledged, and it holds {held}"
                )));
            }
        }
        let mut done = BTreeMap::new();
        let mut names: BTreeMap<String, Vec<String>> = BTreeMap::new();
        let mut query = Query {
            table: TABLE.to_owned(),
            limit: 1_000,
            ..Query::default()
        };
        loop {
            let page = read::query(store, &query).map_err(unread)?;
            for (key, row) in page.rows {
                if let Some(body) = key.hash.strip_prefix("done-") {
                    done.insert(body.to_owned(), row.int("number").unwrap_or(0));
                }
                if let Some(name) = row.text("name") {
                    names.entry(name.to_owned()).or_default().push(key.hash);
                }
            }
            match page.next {
                Some(next) => query.after = Some(next),
                None => break,
            }
        }
        for body in &self.sent {
            if done.get(body) != Some(&1) {
                return Err(Broken(format!(
                    "message {body} was acknowledged, and its effect is there {} times",
                    done.get(body).copied().unwrap_or(0)
                )));
            }
        }
        for (body, times) in &done {
            if *times != 1 || !self.begun.contains(body) {
                return Err(Broken(format!(
                    "the effect of message {body} is there {times} times, and it was {}",
                    if self.begun.contains(body) {
                        "sent"
                    } else {
                        "never sent"
                    }
                )));
            }
        }
        for (name, rows) in &names {
            if rows.len() != 1 {
                return Err(Broken(format!(
                    "the unique name {name} is that of {rows:?}"
                )));
            }
        }
        for (name, row) in &self.named {
            if names
                .get(name)
                .is_none_or(|rows| rows.as_slice() != std::slice::from_ref(row))
            {
                return Err(Broken(format!(
                    "{row} was given the name {name}, and it is that of {:?}",
                    names.get(name)
                )));
            }
        }
        Ok(done.len())
    }
}
