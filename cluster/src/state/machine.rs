//! Applies entries: runs each command, catches panics, then merges and hashes the writes of each successful command.

use std::any::Any;
use std::collections::{BTreeMap, BTreeSet};
use std::io;
use std::panic::{AssertUnwindSafe, catch_unwind};
use std::sync::Arc;

use panther_proto::v1::{
    Code, Command, Entry, QueueCounts, QueueSpec, Reply, TableSpec, TopicSpec, command, reply,
};
use prost::Message;
use xxhash_rust::xxh3::Xxh3;

use super::limits::{self, refused};
use super::tx::{Effects, Stop, Tx};
use super::view::{Base, Writes};
use super::{FORMAT, declare, due, keys, queues, sessions, time, transact};

/// Global state: everything that belongs to no single table, queue or session.
#[derive(Clone, PartialEq, prost::Message)]
pub struct Globals {
    /// Cluster time, ms since the Unix epoch. It never goes back, except when an operator sets it.
    #[prost(uint64, tag = "1")]
    pub clock_ms: u64,
    /// The format in force.
    #[prost(uint32, tag = "2")]
    pub format: u32,
    /// Number of message ids that were issued.
    #[prost(uint64, tag = "3")]
    pub messages: u64,
    /// Version of the declarations in force.
    #[prost(uint64, tag = "4")]
    pub declared: u64,
    /// Running hash of all writes: equal on replicas that applied the same commands.
    #[prost(uint64, tag = "5")]
    pub hash: u64,
    /// Start of the last leap in cluster time, ms, see [`time`]; 0: no leap.
    #[prost(uint64, tag = "6")]
    pub leap_from_ms: u64,
    /// End of the last leap in cluster time, ms; 0: no leap.
    #[prost(uint64, tag = "7")]
    pub leap_to_ms: u64,
    /// How often an operator has set cluster time.
    #[prost(uint64, tag = "8")]
    pub era: u64,
    /// By how many ms the remaining stamps must be moved back; 0: no move is in progress.
    #[prost(uint64, tag = "9")]
    pub back_by_ms: u64,
    /// Cursor of that move: the key at which the next step continues.
    #[prost(bytes = "vec", tag = "10")]
    pub back_at: Vec<u8>,
}

/// Decoded part of the state that nearly every command reads. It can always be derived from the store.
#[derive(Debug, Default)]
pub(super) struct Cache {
    pub(super) globals: Globals,
    pub(super) tables: BTreeMap<String, Arc<TableSpec>>,
    pub(super) queues: BTreeMap<String, Arc<QueueSpec>>,
    pub(super) topics: BTreeMap<String, Arc<TopicSpec>>,
    pub(super) counts: BTreeMap<String, QueueCounts>,
}

impl Cache {
    fn load(base: &dyn Base, over: &Writes) -> io::Result<Self> {
        let scan = |prefix: &[u8]| {
            super::view::scan_layers(
                base,
                &[over],
                prefix,
                &keys::after(prefix),
                usize::MAX,
                false,
            )
        };
        let decode_error = |error| {
            io::Error::new(
                io::ErrorKind::InvalidData,
                format!("stored declarations do not decode: {error}"),
            )
        };
        let mut cache = Self::default();
        for (_, value) in scan(&keys::globals())? {
            cache.globals = Globals::decode(value).map_err(decode_error)?;
        }
        for (_, value) in scan(&declare::prefix(declare::TABLE))? {
            let spec = TableSpec::decode(value).map_err(decode_error)?;
            cache.tables.insert(spec.name.clone(), Arc::new(spec));
        }
        for (_, value) in scan(&declare::prefix(declare::QUEUE))? {
            let spec = QueueSpec::decode(value).map_err(decode_error)?;
            cache.queues.insert(spec.name.clone(), Arc::new(spec));
        }
        for (_, value) in scan(&declare::prefix(declare::TOPIC))? {
            let spec = TopicSpec::decode(value).map_err(decode_error)?;
            cache.topics.insert(spec.name.clone(), Arc::new(spec));
        }
        for name in cache.queues.keys() {
            for (_, value) in scan(&keys::counts(name))? {
                cache.counts.insert(
                    name.clone(),
                    QueueCounts::decode(value).map_err(decode_error)?,
                );
            }
        }
        Ok(cache)
    }
}

/// Result of applying one entry.
#[derive(Debug)]
pub struct Applied {
    /// One reply per command, in their order.
    pub replies: Vec<Reply>,
    /// Writes that the caller must store.
    pub writes: Writes,
    /// Queues in which a message became receivable.
    pub woke: BTreeSet<String>,
}

/// The state machine. It caches a part of the state; the state itself is in the store.
pub struct Machine {
    cache: Cache,
    /// The newest format that this machine applies.
    newest: u32,
}

impl Machine {
    /// The running hash of all writes so far.
    #[must_use]
    pub fn hash(&self) -> u64 {
        self.cache.globals.hash
    }

    /// Opens the state machine on the state that a store holds.
    ///
    /// # Errors
    /// The store cannot be read or holds state that this build does not understand.
    pub fn open(base: &dyn Base) -> io::Result<Self> {
        Self::open_up_to(base, FORMAT)
    }

    /// As [`Machine::open`], for a build whose newest format is `newest`.
    ///
    /// # Errors
    /// As [`Machine::open`]; [`io::ErrorKind::Unsupported`] if the state is of a newer format.
    pub fn open_up_to(base: &dyn Base, newest: u32) -> io::Result<Self> {
        let cache = Cache::load(base, &Writes::new())?;
        require_format(cache.globals.format, newest, "the state")?;
        Ok(Self { cache, newest })
    }

    /// Clock, format and hash as of the last entry.
    #[must_use]
    pub fn globals(&self) -> &Globals {
        &self.cache.globals
    }

    /// Applies one entry. The caller stores the writes before it applies the next.
    ///
    /// # Errors
    /// The store cannot be read, or the entry needs a newer format. Either is a fault of this node. The machine must be
    /// reopened afterwards, because its cache may hold effects of the failed entry.
    pub fn apply(&mut self, base: &dyn Base, entry: &Entry) -> io::Result<Applied> {
        require_format(entry.format, self.newest, "an entry of the log")?;
        let mut applied = Applied {
            replies: Vec::with_capacity(entry.commands.len()),
            writes: Writes::new(),
            woke: BTreeSet::new(),
        };
        let mut globals = self.cache.globals.clone();
        globals.pass(entry);
        if globals != self.cache.globals {
            self.commit(
                base,
                &mut applied,
                Effects {
                    globals,
                    ..Effects::default()
                },
            )?;
        }
        for command in &entry.commands {
            let reply = self.command(base, &mut applied, command)?;
            applied.replies.push(reply);
        }
        Ok(applied)
    }

    fn command(
        &mut self,
        base: &dyn Base,
        applied: &mut Applied,
        command: &Command,
    ) -> io::Result<Reply> {
        let mut tx = Tx::new(base, &applied.writes, &self.cache);
        // A panic in apply is deterministic: it occurs on every replica alike. The command is refused, without effect.
        let outcome = catch_unwind(AssertUnwindSafe(|| run(&mut tx, command)));
        let kind = match outcome {
            Ok(Ok(kind)) => {
                let effects = tx.into_effects();
                self.commit(base, applied, effects)?;
                kind
            }
            Ok(Err(Stop::Refused(refused))) => reply::Kind::Refused(refused),
            Ok(Err(Stop::Conflict(conflict))) => reply::Kind::Conflict(*conflict),
            Ok(Err(Stop::Store(error))) => return Err(error),
            Err(panic) => {
                let what = panic_text(panic.as_ref());
                tracing::error!(what, "apply panicked; the command is refused");
                reply::Kind::Refused(refused(
                    Code::Fault,
                    format!("a defect in apply refused the command: {what}"),
                ))
            }
        };
        Ok(Reply { kind: Some(kind) })
    }

    /// Adds a command's effects to the entry: merges its writes, updates the hash, and shows them to the next command.
    fn commit(
        &mut self,
        base: &dyn Base,
        applied: &mut Applied,
        mut effects: Effects,
    ) -> io::Result<()> {
        for (name, counts) in &effects.counts {
            effects
                .own
                .insert(keys::counts(name), Some(counts.encode_to_vec().into()));
        }
        let mut hash = Xxh3::with_seed(self.cache.globals.hash);
        for (key, value) in &effects.own {
            hash.update(&(key.len() as u64).to_le_bytes());
            hash.update(key);
            let value = value.as_deref();
            hash.update(
                &value
                    .map_or(u64::MAX, |value| value.len() as u64)
                    .to_le_bytes(),
            );
            hash.update(value.unwrap_or_default());
        }
        if effects.own.is_empty() && effects.globals == self.cache.globals {
            return Ok(());
        }
        effects.globals.hash = 0;
        hash.update(&effects.globals.encode_to_vec());
        effects.globals.hash = hash.digest();
        effects.own.insert(
            keys::globals(),
            Some(effects.globals.encode_to_vec().into()),
        );
        // Not `append`: it would rebuild the whole map for every command of an entry.
        applied.writes.extend(effects.own);
        applied.woke.extend(effects.woke);
        if effects.declared {
            self.cache = Cache::load(base, &applied.writes)?;
        } else {
            self.cache.globals = effects.globals;
            self.cache.counts.extend(effects.counts);
        }
        Ok(())
    }
}

/// The message of a panic; empty if the payload is not text.
pub(crate) fn panic_text(panic: &(dyn Any + Send)) -> String {
    let text = panic.downcast_ref::<&str>().map(|text| (*text).to_owned());
    text.or_else(|| panic.downcast_ref::<String>().cloned())
        .unwrap_or_default()
}

/// Checks that this build knows a format. By older rules this node would compute another state than the other replicas.
///
/// `what` names the object in the error text. The error is [`io::ErrorKind::Unsupported`].
pub(crate) fn require_format(format: u32, newest: u32, what: &str) -> io::Result<()> {
    if format <= newest {
        return Ok(());
    }
    Err(io::Error::new(
        io::ErrorKind::Unsupported,
        format!(
            "{what} is of format {format}, and this build knows formats up to {newest}: upgrade this node"
        ),
    ))
}

fn run(tx: &mut Tx<'_>, command: &Command) -> Result<reply::Kind, Stop> {
    limits::check(command).map_err(Stop::Refused)?;
    match &command.kind {
        Some(command::Kind::Transact(transact)) => transact::run(tx, transact),
        Some(command::Kind::Receive(receive)) => queues::receive::run(tx, receive),
        Some(command::Kind::Extend(extend)) => queues::finish::extend(tx, extend),
        Some(command::Kind::GiveBack(give_back)) => queues::finish::give_back(tx, give_back),
        Some(command::Kind::OpenSession(open)) => sessions::open(tx, open),
        Some(command::Kind::EndSession(end)) => sessions::end(tx, end),
        Some(command::Kind::Purge(purge)) => queues::redrive::purge(tx, purge),
        Some(command::Kind::Requeue(requeue)) => queues::redrive::requeue(tx, requeue),
        Some(command::Kind::Tick(tick)) => due::tick(tx, tick.max),
        Some(command::Kind::Declare(declare)) => declare::run(tx, declare),
        Some(command::Kind::RaiseFormat(raise)) => Ok(declare::raise_format(tx, raise.format)),
        Some(command::Kind::SetTime(set)) => time::set(tx, set),
        None => Err(limits::stop(
            Code::BadFormat,
            "the command is of a kind that this build does not know",
        )),
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use bytes::Bytes;
    use panther_proto::v1::OpenSession;

    use crate::state::view::{MemoryBase, Pair};

    #[test]
    fn an_entry_of_a_newer_format_stops_the_node_and_is_not_skipped() {
        let base = MemoryBase::default();
        let mut machine = Machine::open(&base).unwrap();
        let error = machine
            .apply(
                &base,
                &Entry {
                    format: FORMAT + 1,
                    ..Entry::default()
                },
            )
            .unwrap_err();
        assert!(error.to_string().contains("upgrade this node"), "{error}");
    }

    /// A store in which every read panics.
    struct Defect;

    impl Base for Defect {
        fn get(&self, _: &[u8]) -> io::Result<Option<Bytes>> {
            panic!("a defect")
        }

        fn scan(&self, _: &[u8], _: &[u8], _: usize, _: bool) -> io::Result<Vec<Pair>> {
            panic!("a defect")
        }
    }

    #[test]
    fn a_defect_in_one_command_refuses_that_command_and_stops_nothing() {
        let mut machine = Machine::open(&MemoryBase::default()).unwrap();
        let open = Command {
            kind: Some(command::Kind::OpenSession(OpenSession {
                node: 1,
                session: 1,
            })),
        };
        let entry = Entry {
            commands: vec![open],
            ..Entry::default()
        };
        let applied = machine.apply(&Defect, &entry).unwrap();
        let Some(reply::Kind::Refused(refused)) = &applied.replies[0].kind else {
            panic!("{:?}", applied.replies);
        };
        assert_eq!(refused.code(), Code::Fault);
        assert!(applied.writes.is_empty());
    }

    #[test]
    fn cluster_time_never_goes_back_and_is_kept_even_if_nothing_else_happens() {
        let mut base = MemoryBase::default();
        let mut machine = Machine::open(&base).unwrap();
        for (time, expected) in [(50, 50), (20, 50), (60, 60)] {
            let applied = machine
                .apply(
                    &base,
                    &Entry {
                        time_ms: time,
                        ..Entry::default()
                    },
                )
                .unwrap();
            base.store(&applied.writes);
            assert_eq!(machine.globals().clock_ms, expected);
            assert_eq!(Machine::open(&base).unwrap().globals(), machine.globals());
        }
    }

    #[test]
    fn a_refused_command_leaves_nothing_behind() {
        let base = MemoryBase::default();
        let mut machine = Machine::open(&base).unwrap();
        let applied = machine
            .apply(
                &base,
                &Entry {
                    commands: vec![Command { kind: None }],
                    ..Entry::default()
                },
            )
            .unwrap();
        assert!(matches!(
            applied.replies[0].kind,
            Some(reply::Kind::Refused(_))
        ));
        assert!(applied.writes.is_empty());
    }
}
