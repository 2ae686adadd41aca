//! What clients were promised, to be held against what is there at the end.

use std::collections::{BTreeMap, BTreeSet};

use panther_cluster::door::change::{self, RowExt};
use panther_cluster::state::read::{self, Query};
use panther_cluster::storage::StateStore;

use crate::world::Broken;

/// The tables and queues of a run.
pub(crate) const TABLE: &str = "rows";
/// Unique names.
pub(crate) const BY_NAME: &str = "by-name";
/// Where messages go.
pub(crate) const QUEUE: &str = "work";
/// Where those end that fail too often.
pub(crate) const DLQ: &str = "work-dlq";

/// Failures of its own after which a message does.
pub(crate) const MAX_FAILURES: u32 = 3;

/// What clients were promised.
#[derive(Debug, Default)]
pub(crate) struct Tally {
    /// Additions acknowledged, per row.
    pub(crate) added: BTreeMap<String, i64>,
    /// Rows to which an addition was under way when it was last looked: one that its node took with it may be there.
    pub(crate) adding: BTreeSet<String>,
    /// Bodies that were sent and acknowledged.
    pub(crate) sent: BTreeSet<String>,
    /// Bodies whose sending was begun.
    pub(crate) begun: BTreeSet<String>,
    /// Rows that were given a name.
    pub(crate) named: BTreeMap<String, String>,
    /// Promises that were seen broken while the run went on.
    pub(crate) broken: Vec<String>,
    /// Clients that are in the middle of something.
    pub(crate) busy: usize,
}

impl Tally {
    /// Holds what is there at the end against what was promised. How many messages were done.
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
