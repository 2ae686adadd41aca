//! Traces: the way of one input through the system, hop by hop.
//!
//! A hop is a row of the table of traces: which component did what, on which node, when, in which span, and which objects and alerts came of
//! it. The row is part of the command that ends the work, so a hop is there exactly if its effect is. The first 24 digits of a trace id are the
//! hash key: they are also the first 24 digits of the row ids of the events of the input ([`of_object`]), so that an event leads to its trace
//! without an index. An input whose sender brought a trace of its own has a link from the one to the other.

use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};

use panther_cluster::door::change::{self, Change, IntoValue, RowExt};
use panther_cluster::door::{Door, DoorError};
use panther_cluster::state::read::Query;
use panther_proto::trace::TraceContext;
use panther_proto::v1::{Key, Row, RowChange};

use crate::components::log_alert_forwarder::ALERTS;
use crate::components::objects;
use crate::sealing::token_hash;

/// The table of hops and links.
pub const TRACES: &str = "panther-traces";
/// How long a hop is kept, in milliseconds.
const KEPT_MS: u64 = 7 * 24 * 3_600 * 1_000;
/// Digits of a trace id, and of an event's row id, under which hops lie.
const PREFIX: usize = 24;
/// Characters of a hop's text at most.
const TEXT: usize = 400;
/// Names of objects and alerts that one hop holds at most; its text says how many there were.
const NAMES: usize = 50;
/// Links that are followed from one id.
const LINKS: usize = 8;

/// The trace of what is read from a raw object, unless its sender brought one: it begins with the same digits as the row ids of its events.
#[must_use]
pub fn of_object(name: &str) -> TraceContext {
    let hash = token_hash(name);
    // A hash is hexadecimal; 32 zeros are as good as impossible.
    TraceContext::of(&hash[..32], 0).unwrap_or_else(TraceContext::mint)
}

/// One step of a trace.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Hop {
    /// The trace.
    pub trace_id: String,
    /// The span of the step, and the span that caused it; 0: unknown.
    pub span_id: u64,
    /// See [`Hop::span_id`].
    pub parent_span_id: u64,
    /// Cluster time at the end of the step, in milliseconds since 1970.
    pub time_ms: u64,
    /// How long the step took, in milliseconds.
    pub took_ms: u64,
    /// The node.
    pub node: u64,
    /// The component.
    pub component: String,
    /// The message that was handled; empty for a door.
    pub message: String,
    /// What was done, in words.
    pub what: String,
    /// True if the step failed; the message is tried again, or is a dead letter.
    pub has_failed: bool,
    /// Objects that were written.
    pub objects: Vec<String>,
    /// Alerts that were changed.
    pub alerts: Vec<String>,
}

impl Hop {
    /// The row of this hop. Two hops of one span and one time are one.
    fn row(&self) -> RowChange {
        let what: String = self.what.chars().take(TEXT).collect();
        let mut row = Change::put(TRACES, key(&self.trace_id, self.time_ms, self.span_id))
            .set("node", self.node)
            .set("component", &self.component)
            .set("what", what)
            .set("tookMs", self.took_ms)
            .set("expiresAt", (self.time_ms + KEPT_MS) / 1_000);
        if !self.message.is_empty() {
            row = row.set("message", &self.message);
        }
        if self.parent_span_id != 0 {
            row = row.set("parent", format!("{:016x}", self.parent_span_id));
        }
        if self.has_failed {
            row = row.set("failed", true);
        }
        for (name, list) in [("objects", &self.objects), ("alerts", &self.alerts)] {
            if !list.is_empty() {
                let names: Vec<String> = list.iter().take(NAMES).cloned().collect();
                row = row.set(name, names);
            }
        }
        row.done()
    }

    fn of(range: &str, row: &Row) -> Option<Self> {
        let mut parts = range.split(' ');
        let (trace_id, time, span) = (parts.next()?, parts.next()?, parts.next()?);
        let number = |name: &str| row.int(name).and_then(|number| u64::try_from(number).ok());
        let text = |name: &str| row.text(name).unwrap_or_default().to_owned();
        Some(Self {
            trace_id: trace_id.to_owned(),
            span_id: u64::from_str_radix(span, 16).ok()?,
            parent_span_id: u64::from_str_radix(&text("parent"), 16).unwrap_or(0),
            time_ms: time.parse().ok()?,
            took_ms: number("tookMs").unwrap_or(0),
            node: number("node").unwrap_or(0),
            component: text("component"),
            message: text("message"),
            what: text("what"),
            has_failed: row.flag("failed").unwrap_or(false),
            objects: row.items("objects").to_vec(),
            alerts: row.items("alerts").to_vec(),
        })
    }

    /// Takes note of what a command changes: the objects that it names, and the alerts.
    pub(crate) fn note_changes(&mut self, changes: &[RowChange]) {
        for change in changes.iter().filter(|change| !change.delete) {
            let Some(key) = &change.key else { continue };
            if change.table == objects::TABLE {
                self.objects.push(key.hash.clone());
            } else if change.table == ALERTS {
                self.alerts.push(key.hash.clone());
            }
        }
    }
}

fn key(trace_id: &str, time_ms: u64, span_id: u64) -> Key {
    let prefix = trace_id.get(..PREFIX).unwrap_or(trace_id);
    change::key_range(prefix, format!("{trace_id} {time_ms:013} {span_id:016x}"))
}

/// Writes and reads hops. Clones share it.
#[derive(Clone)]
pub struct Traces {
    inner: Arc<Inner>,
}

struct Inner {
    door: Door,
    /// True once the table is known to be there. After an upgrade from a release without it, a cluster of several nodes declares it when all nodes
    /// run the new release; until then work is done without hops.
    is_declared: AtomicBool,
}

impl Traces {
    /// Of this cluster.
    #[must_use]
    pub fn new(door: Door) -> Self {
        let is_declared = AtomicBool::new(false);
        Self {
            inner: Arc::new(Inner { door, is_declared }),
        }
    }

    /// The row that writes a hop, for the command that ends its work; `None` while the cluster has no table of traces.
    pub async fn row(&self, mut hop: Hop) -> Option<RowChange> {
        if !self.is_declared().await {
            return None;
        }
        hop.node = self.inner.door.node();
        Some(hop.row())
    }

    /// The row that leads from an id to the trace that holds what it names; `None` if their first digits are the same, or there is no table.
    pub async fn link(&self, from: &str, to: &TraceContext) -> Option<RowChange> {
        let (from, to) = (from.get(..PREFIX)?, to.trace_id());
        if to.starts_with(from) || !self.is_declared().await {
            return None;
        }
        let expires = (self.inner.door.now_ms() + KEPT_MS) / 1_000;
        let row = Change::put(TRACES, change::key_range(from, format!("> {to}")));
        Some(row.set("expiresAt", expires).done())
    }

    async fn is_declared(&self) -> bool {
        let inner = &self.inner;
        if !inner.is_declared.load(Ordering::Relaxed) {
            let read = inner.door.get(TRACES, &change::key("")).await;
            inner.is_declared.store(read.is_ok(), Ordering::Relaxed);
        }
        inner.is_declared.load(Ordering::Relaxed)
    }

    /// The hops of a trace, in the order of time; of an event's row id, the hops of what it was read from.
    ///
    /// # Errors
    /// There is no leader.
    pub async fn find(&self, id: &str) -> Result<Vec<Hop>, DoorError> {
        let mut ids = vec![id.to_owned()];
        let mut hops = Vec::new();
        let mut at = 0;
        while let Some(id) = ids.get(at).cloned() {
            at += 1;
            for (key, row) in self.rows(&id).await? {
                match key.range.strip_prefix("> ") {
                    Some(linked) if ids.len() <= LINKS && !ids.iter().any(|id| id == linked) => {
                        ids.push(linked.to_owned());
                    }
                    Some(_) => {}
                    None => hops.extend(Hop::of(&key.range, &row)),
                }
            }
        }
        hops.sort_by_key(|hop| (hop.time_ms, hop.span_id));
        Ok(hops)
    }

    /// The rows under an id; of a whole trace id, its own hops alone.
    async fn rows(
        &self,
        id: &str,
    ) -> Result<Vec<panther_cluster::state::read::KeyedRow>, DoorError> {
        let Some(prefix) = id.get(..PREFIX) else {
            return Ok(Vec::new());
        };
        let read = self.inner.door.query_all(Query {
            table: TRACES.to_owned(),
            hash: Some(prefix.into_value()),
            ..Query::default()
        });
        let rows = match read.await {
            Err(DoorError::Store(error)) if error.kind() == std::io::ErrorKind::NotFound => {
                Vec::new()
            }
            rows => rows?,
        };
        let is_trace = id.len() == 32;
        let is_own = |range: &str| !is_trace || range.starts_with('>') || range.starts_with(id);
        Ok(rows
            .into_iter()
            .filter(|(key, _)| is_own(&key.range))
            .collect())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_trace_of_an_object_begins_as_the_row_ids_of_its_events() {
        let trace = of_object("raw/a/b").trace_id();
        assert_eq!(trace[..24], token_hash("raw/a/b")[..24]);
        assert_eq!(trace.len(), 32);
    }

    #[test]
    fn a_hop_is_read_as_it_was_written() {
        let hop = Hop {
            trace_id: of_object("raw/a").trace_id(),
            span_id: 7,
            parent_span_id: 6,
            time_ms: 1_700_000_000_000,
            took_ms: 3,
            node: 2,
            component: "panther-log-processor".into(),
            message: "00a".into(),
            what: "stored".into(),
            has_failed: true,
            objects: vec!["logs/a".into(), "raw/a".into()],
            alerts: vec!["5".into()],
        };
        let change = hop.row();
        let mut row = Row::default();
        for update in change.updates {
            let value = match update.change {
                Some(panther_proto::v1::update::Change::Set(value)) => value,
                other => panic!("{other:?}"),
            };
            row.attributes.insert(update.attribute, value);
        }
        let key = change.key.unwrap();
        assert_eq!(key.hash, hop.trace_id[..24]);
        assert_eq!(Hop::of(&key.range, &row), Some(hop));
    }
}
