//! The naive model: the system as designed, in plain lists and maps. It is slow, but simple enough to be evidently
//! correct.

mod queues;
mod rows;

use std::collections::BTreeMap;

use panther_proto::v1::{
    Code, Command, Declare, QueueSpec, Receipt, Row, TableSpec, TopicSpec, command,
};

pub(super) use rows::{comparable, rank, row_key};

/// How long a session that asked for a suspect receives nothing else, in ms.
const YIELD_MS: u64 = 10_000;
const REQUEST_MS: u64 = 600_000;
const BACK_OFF_MS: [u64; 3] = [1_000, 10_000, 60_000];

#[derive(Debug, Clone, PartialEq)]
pub(super) enum State {
    Ready,
    /// Delayed or backing off.
    Hidden {
        until: u64,
    },
    InFlight {
        session: u64,
        attempt: u64,
        until: u64,
    },
}

#[derive(Debug, Clone)]
pub(super) struct Letter {
    pub(super) id: String,
    pub(super) seq: u64,
    pub(super) body: Vec<u8>,
    pub(super) attributes: BTreeMap<String, String>,
    pub(super) coalesce_key: String,
    pub(super) turn: String,
    pub(super) group: String,
    pub(super) origin: String,
    pub(super) sent: u64,
    pub(super) receives: u32,
    pub(super) failures: u32,
    pub(super) lonely: u32,
    pub(super) suspect: bool,
    pub(super) state: State,
    /// The only receipt that may end the message.
    pub(super) good: Option<Receipt>,
}

/// Fates of messages, by id.
#[derive(Debug, Clone, Default)]
pub(super) struct Fates {
    pub(super) done: Vec<String>,
    pub(super) expired: Vec<String>,
    pub(super) purged: Vec<String>,
    pub(super) moved: Vec<String>,
    pub(super) dead: Vec<String>,
    pub(super) accepted: u64,
    pub(super) coalesced: u64,
    pub(super) deduplicated: u64,
    pub(super) failures: u64,
}

#[derive(Debug, Clone, Default)]
pub(super) struct Line {
    pub(super) spec: QueueSpec,
    pub(super) letters: Vec<Letter>,
    pub(super) seq: u64,
    pub(super) fates: Fates,
    last_turn: String,
    /// Deduplication ids with their expiry times.
    dedup: Vec<(String, u64)>,
    /// By coalescing key, the newest message with that key, while it is in the queue.
    newest: BTreeMap<String, u64>,
}

#[derive(Debug, Clone)]
pub(super) struct Session {
    pub(super) node: u64,
    pub(super) number: u64,
    alone: bool,
    yields_until: u64,
}

pub(super) type RowKey = (String, String, String);

#[derive(Debug, Clone, Default)]
pub(super) struct Table {
    pub(super) spec: TableSpec,
    rows: BTreeMap<RowKey, Row>,
}

#[derive(Debug, Clone, PartialEq)]
pub(super) enum Answer {
    Done(Vec<String>),
    Conflict,
    Refused(Code),
    /// Ids in the order in which they are handed out.
    Received(Vec<String>),
    Moved(u32, bool),
    /// A tick. How much one tick does is not specified.
    Ticked,
}

/// Why a command has no effect.
enum No {
    Conflict,
    Refused(Code),
}

#[derive(Debug, Clone, Default)]
pub(super) struct Naive {
    pub(super) now: u64,
    pub(super) ids: u64,
    pub(super) lines: BTreeMap<String, Line>,
    pub(super) tables: BTreeMap<String, Table>,
    topics: BTreeMap<String, TopicSpec>,
    pub(super) sessions: Vec<Session>,
    requests: BTreeMap<String, Vec<String>>,
}

impl Naive {
    pub(super) fn declare(&mut self, declare: &Declare) {
        for spec in &declare.queues {
            self.lines.entry(spec.name.clone()).or_default().spec = spec.clone();
        }
        for spec in &declare.tables {
            self.tables.entry(spec.name.clone()).or_default().spec = spec.clone();
        }
        for spec in &declare.topics {
            self.topics.insert(spec.name.clone(), spec.clone());
        }
    }

    /// Executes a command at a time, atomically.
    pub(super) fn run(&mut self, time: u64, command: &Command) -> Answer {
        self.now = self.now.max(time);
        let before = self.clone();
        let outcome = match command.kind.as_ref().unwrap() {
            command::Kind::Transact(transact) => self.transact(transact),
            command::Kind::Receive(receive) => self.receive(receive),
            command::Kind::Extend(extend) => self.extend(extend),
            command::Kind::GiveBack(give_back) => self.give_back(give_back),
            command::Kind::OpenSession(open) => self.open(open.node, open.session),
            command::Kind::EndSession(end) => {
                let runs = self
                    .sessions
                    .iter()
                    .any(|session| (session.node, session.number) == (end.node, end.session));
                let count = if runs { self.end(end.session) } else { 0 };
                Ok(Answer::Moved(count, true))
            }
            command::Kind::Purge(purge) => {
                let upto = if purge.upto == 0 {
                    u64::MAX
                } else {
                    purge.upto
                };
                let (ids, finished) = self.loose(&purge.queue, upto, purge.max, "");
                for id in &ids {
                    self.take_out(&purge.queue, id);
                }
                let count = ids.len() as u32;
                self.line(&purge.queue).fates.purged.extend(ids);
                Ok(Answer::Moved(count, finished))
            }
            command::Kind::Requeue(requeue) => self.requeue(requeue),
            command::Kind::Tick(_) => {
                self.due();
                self.expire();
                Ok(Answer::Ticked)
            }
            other => panic!("not modelled: {other:?}"),
        };
        match outcome {
            Ok(answer) => answer,
            Err(no) => {
                *self = before;
                match no {
                    No::Conflict => Answer::Conflict,
                    No::Refused(code) => Answer::Refused(code),
                }
            }
        }
    }

    fn line(&mut self, queue: &str) -> &mut Line {
        self.lines.get_mut(queue).unwrap()
    }

    fn session(&mut self, number: u64) -> Result<&mut Session, No> {
        self.sessions
            .iter_mut()
            .find(|session| session.number == number)
            .ok_or(No::Refused(Code::StaleSession))
    }

    fn holds(&self, number: u64) -> Vec<(String, String)> {
        let mut held = Vec::new();
        for (queue, line) in &self.lines {
            for letter in &line.letters {
                if matches!(letter.state, State::InFlight { session, .. } if session == number) {
                    held.push((queue.clone(), letter.id.clone()));
                }
            }
        }
        held
    }

    /// The message that a receipt may end.
    fn held(&mut self, receipt: &Receipt) -> Result<&mut Letter, No> {
        self.session(receipt.session)?;
        self.line(&receipt.queue)
            .letters
            .iter_mut()
            .find(|letter| letter.good.as_ref() == Some(receipt))
            .ok_or(No::Refused(Code::StaleReceipt))
    }

    /// A session that holds nothing any more may receive other messages again.
    fn let_go(&mut self) {
        for number in self
            .sessions
            .iter()
            .map(|session| session.number)
            .collect::<Vec<_>>()
        {
            if self.holds(number).is_empty()
                && let Ok(session) = self.session(number)
            {
                session.alone = false;
            }
        }
    }

    fn open(&mut self, node: u64, number: u64) -> Result<Answer, No> {
        let old = self
            .sessions
            .iter()
            .find(|session| session.node == node)
            .map(|session| session.number);
        if old == Some(number) {
            return Ok(Answer::Moved(0, true));
        }
        if self.session(number).is_ok() {
            return Err(No::Refused(Code::Invalid)); // it belongs to another node
        }
        let count = old.map_or(0, |old| self.end(old));
        self.sessions.push(Session {
            node,
            number,
            alone: false,
            yields_until: 0,
        });
        Ok(Answer::Moved(count, true))
    }

    fn end(&mut self, number: u64) -> u32 {
        let held = self.holds(number);
        for (queue, id) in &held {
            let limit = self.line(queue).spec.lonely_deaths;
            let now = self.now;
            let letter = self.letter(queue, id);
            letter.state = State::Ready;
            letter.good = None;
            if held.len() == 1 && letter.suspect {
                letter.lonely += 1;
                if limit > 0 && letter.lonely >= limit {
                    self.bury(queue, id);
                } else {
                    let wait = BACK_OFF_MS[(letter.lonely as usize - 1).min(2)];
                    letter.state = State::Hidden { until: now + wait };
                }
                continue;
            }
            letter.suspect = true;
        }
        self.sessions.retain(|session| session.number != number);
        for line in self.lines.values_mut() {
            for letter in &mut line.letters {
                if letter
                    .good
                    .as_ref()
                    .is_some_and(|good| good.session == number)
                {
                    letter.good = None;
                }
            }
        }
        held.len() as u32
    }
}
