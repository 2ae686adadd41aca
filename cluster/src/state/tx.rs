//! Transaction of one command: it reads through the writes of earlier commands and buffers its own until it succeeds.

use std::collections::{BTreeMap, BTreeSet};
use std::io;
use std::sync::Arc;

use bytes::Bytes;
use panther_proto::v1::{
    Code, Conflict, Key, QueueCounts, QueueSpec, Refused, TableSpec, TopicSpec,
};
use prost::Message;

use super::machine::{Cache, Globals};
use super::view::{self, Base, Pair, Writes};
use super::{keys, limits};

/// Why a command ended without effect.
#[derive(Debug)]
pub enum Stop {
    /// The command is refused; code and reason are in the reply.
    Refused(Refused),
    /// A condition does not hold any more: the caller must read and plan again.
    Conflict(Box<Conflict>),
    /// The store cannot be read: a fault of this node, not of the command.
    Store(io::Error),
}

impl From<io::Error> for Stop {
    fn from(error: io::Error) -> Self {
        Self::Store(error)
    }
}

/// The first format in which feed records carry the trace of their command, and messages the span that sent them.
const TRACES_SINCE_FORMAT: u32 = 5;

/// The trace and the span that a command belongs to; empty and 0 if the command names no trace.
#[derive(Debug, Clone, Default)]
pub(super) struct Cause {
    pub(super) trace_id: String,
    pub(super) span_id: u64,
}

/// The transaction of one command.
pub struct Tx<'a> {
    base: &'a dyn Base,
    earlier: &'a Writes,
    cache: &'a Cache,
    cause: Cause,
    effects: Effects,
}

/// Effects of a command; discarded unless the command succeeds.
#[derive(Debug, Default)]
pub(super) struct Effects {
    /// Writes of the command.
    pub(super) own: Writes,
    /// Queue counters that the command changed, by queue.
    pub(super) counts: BTreeMap<String, QueueCounts>,
    /// Global state after the command.
    pub(super) globals: Globals,
    /// Queues in which something became receivable.
    pub(super) woke: BTreeSet<String>,
    /// True if declarations changed: the cache must be reloaded.
    pub(super) declared: bool,
}

impl<'a> Tx<'a> {
    pub(super) fn new(base: &'a dyn Base, earlier: &'a Writes, cache: &'a Cache) -> Self {
        Self {
            base,
            earlier,
            cache,
            cause: Cause::default(),
            effects: Effects {
                globals: cache.globals.clone(),
                ..Effects::default()
            },
        }
    }

    pub(super) fn into_effects(self) -> Effects {
        self.effects
    }

    /// Sets the trace and the span that the command belongs to.
    pub(super) fn caused_by(&mut self, trace_id: &str, span_id: u64) {
        self.cause = Cause {
            trace_id: trace_id.to_owned(),
            span_id,
        };
    }

    /// The trace and the span that the command belongs to.
    pub(super) fn cause(&self) -> &Cause {
        &self.cause
    }

    /// True if the format in force stores spans of messages, and traces of feed records.
    pub(super) fn traces(&self) -> bool {
        self.effects.globals.format >= TRACES_SINCE_FORMAT
    }

    /// Global state, for changes.
    pub(super) fn globals_mut(&mut self) -> &mut Globals {
        &mut self.effects.globals
    }

    /// Marks declarations as written: they take effect with the next command.
    pub(super) fn set_declared(&mut self) {
        self.effects.declared = true;
    }

    /// Global state, for reading.
    #[must_use]
    pub fn globals(&self) -> &Globals {
        &self.effects.globals
    }

    /// True if the time `at_ms` has passed for timers, see [`Globals::is_past`].
    #[must_use]
    pub fn is_past(&self, at_ms: u64) -> bool {
        self.effects.globals.is_past(at_ms)
    }

    /// Cluster time in milliseconds.
    #[must_use]
    pub fn now(&self) -> u64 {
        self.effects.globals.clock_ms
    }

    /// The value of a key.
    ///
    /// # Errors
    /// [`Stop::Store`].
    pub fn get(&self, key: &[u8]) -> Result<Option<Bytes>, Stop> {
        if let Some(value) = self.effects.own.get(key).or_else(|| self.earlier.get(key)) {
            return Ok(value.clone());
        }
        Ok(self.base.get(key)?)
    }

    /// The decoded message under a key.
    ///
    /// # Errors
    /// [`Stop::Store`], also for bytes that do not decode.
    pub fn read<M: Message + Default>(&self, key: &[u8]) -> Result<Option<M>, Stop> {
        match self.get(key)? {
            None => Ok(None),
            Some(bytes) => M::decode(bytes).map(Some).map_err(|error| {
                Stop::Store(io::Error::new(
                    io::ErrorKind::InvalidData,
                    format!(
                        "state under a key of kind {:?} does not decode: {error}",
                        key.first().map(|kind| *kind as char)
                    ),
                ))
            }),
        }
    }

    /// The first `limit` pairs with `from <= key < to`.
    ///
    /// # Errors
    /// [`Stop::Store`].
    pub fn scan(&self, from: &[u8], to: &[u8], limit: usize) -> Result<Vec<Pair>, Stop> {
        Ok(view::scan_layers(
            self.base,
            &[&self.effects.own, self.earlier],
            from,
            to,
            limit,
            false,
        )?)
    }

    /// The first `limit` pairs whose key starts with `prefix`.
    ///
    /// # Errors
    /// [`Stop::Store`].
    pub fn scan_prefix(&self, prefix: &[u8], limit: usize) -> Result<Vec<Pair>, Stop> {
        self.scan(prefix, &keys::after(prefix), limit)
    }

    /// Writes a value.
    pub fn put(&mut self, key: Vec<u8>, value: Bytes) {
        self.effects.own.insert(key, Some(value));
    }

    /// Writes an encoded message.
    pub fn write<M: Message>(&mut self, key: Vec<u8>, value: &M) {
        self.put(key, value.encode_to_vec().into());
    }

    /// Removes a key.
    pub fn remove(&mut self, key: Vec<u8>) {
        self.effects.own.insert(key, None);
    }

    /// A declared queue.
    ///
    /// # Errors
    /// [`Stop::Refused`] if no queue has that name.
    pub fn queue(&self, name: &str) -> Result<Arc<QueueSpec>, Stop> {
        self.cache
            .queues
            .get(name)
            .cloned()
            .ok_or_else(|| limits::stop(Code::UnknownName, format!("there is no queue {name}")))
    }

    /// A declared table.
    ///
    /// # Errors
    /// [`Stop::Refused`] if no table has that name.
    pub fn table(&self, name: &str) -> Result<Arc<TableSpec>, Stop> {
        self.cache
            .tables
            .get(name)
            .cloned()
            .ok_or_else(|| limits::stop(Code::UnknownName, format!("there is no table {name}")))
    }

    /// A declared topic.
    ///
    /// # Errors
    /// [`Stop::Refused`] if no topic has that name.
    pub fn topic(&self, name: &str) -> Result<Arc<TopicSpec>, Stop> {
        self.cache
            .topics
            .get(name)
            .cloned()
            .ok_or_else(|| limits::stop(Code::UnknownName, format!("there is no topic {name}")))
    }

    /// Names of all declared queues, in order.
    pub fn queue_names(&self) -> impl Iterator<Item = &'a String> + use<'a> {
        self.cache.queues.keys()
    }

    /// A queue's counters, for reading.
    #[must_use]
    pub fn counts(&self, queue: &str) -> QueueCounts {
        self.effects
            .counts
            .get(queue)
            .or_else(|| self.cache.counts.get(queue))
            .cloned()
            .unwrap_or_default()
    }

    /// True if a queue holds a waiting message.
    #[must_use]
    pub fn waits(&self, queue: &str) -> bool {
        self.effects
            .counts
            .get(queue)
            .or_else(|| self.cache.counts.get(queue))
            .is_some_and(|counts| counts.waiting > 0)
    }

    /// True if any queue holds a suspect that may be received.
    #[must_use]
    pub fn suspects_wait(&self) -> bool {
        self.cache.queues.keys().any(|name| {
            self.effects
                .counts
                .get(name)
                .or_else(|| self.cache.counts.get(name))
                .is_some_and(|counts| counts.suspects > 0)
        })
    }

    /// A queue's counters, for changes.
    pub fn counts_mut(&mut self, queue: &str) -> &mut QueueCounts {
        let cache = self.cache;
        self.effects
            .counts
            .entry(queue.to_owned())
            .or_insert_with(|| cache.counts.get(queue).cloned().unwrap_or_default())
    }

    /// Records that a message in this queue became receivable.
    pub fn wake(&mut self, queue: &str) {
        if !self.effects.woke.contains(queue) {
            self.effects.woke.insert(queue.to_owned());
        }
    }

    /// Issues the next message id: 16 hexadecimal digits.
    pub fn next_message_id(&mut self) -> String {
        self.effects.globals.messages += 1;
        format!("{:016x}", self.effects.globals.messages)
    }

    /// A conflict on a row.
    pub(super) fn conflict(
        table: &str,
        key: &Key,
        attribute: &str,
        what: impl Into<String>,
    ) -> Stop {
        Stop::Conflict(Box::new(Conflict {
            table: table.to_owned(),
            key: Some(key.clone()),
            attribute: attribute.to_owned(),
            what: what.into(),
        }))
    }
}
