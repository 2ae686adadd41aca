//! The system as its design says it, in plain lists and maps: slow, and simple enough to be seen to be right.

use std::collections::{BTreeMap, BTreeSet};

use panther_proto::v1::{
    Code, Command, Condition, Declare, Extend, FeedRecord, GiveBack, Key, QueueSpec, Receipt,
    Receive, Requeue, Row, RowChange, Send, TableSpec, TopicSpec, Transact, Update, Value, command,
    condition, send, update, value,
};
use prost::Message as _;

/// How long a session that asked for a suspect is given nothing else.
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
    /// The one receipt that may end it.
    pub(super) good: Option<Receipt>,
}

/// What became of messages, by id.
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
    /// Deduplication ids and when they are forgotten.
    dedup: Vec<(String, u64)>,
    /// Coalescing key to the newest message that came with it, while that is here.
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
    /// A tick: how much it does at once is its own affair.
    Ticked,
}

/// Why nothing happens.
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

    /// Carries out a command at a time; all of it or nothing.
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

    /// A session that holds nothing any more is no longer alone.
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

    fn take_out(&mut self, queue: &str, id: &str) -> Letter {
        let line = self.line(queue);
        let at = line
            .letters
            .iter()
            .position(|letter| letter.id == id)
            .unwrap();
        let letter = line.letters.remove(at);
        if line.newest.get(&letter.coalesce_key) == Some(&letter.seq) {
            line.newest.remove(&letter.coalesce_key);
        }
        self.let_go();
        letter
    }

    fn put_in(&mut self, queue: &str, mut letter: Letter) {
        let now = self.now;
        let line = self.line(queue);
        line.seq += 1;
        letter.seq = line.seq;
        letter.sent = now;
        letter.good = None;
        letter.suspect = false;
        if !letter.coalesce_key.is_empty() && !line.spec.dead_letter {
            line.newest.insert(letter.coalesce_key.clone(), letter.seq);
        }
        line.letters.push(letter);
    }

    // ------------------------------------------------------------------------------------------------- time

    /// Hidden messages whose time has come, in order of time.
    fn due(&mut self) {
        let mut due = Vec::new();
        for (queue, line) in &self.lines {
            for letter in &line.letters {
                match letter.state {
                    State::Hidden { until } | State::InFlight { until, .. }
                        if until <= self.now =>
                    {
                        due.push((until, queue.clone(), letter.seq, letter.id.clone()));
                    }
                    _ => {}
                }
            }
        }
        due.sort();
        for (_, queue, _, id) in due {
            let letter = self.letter(&queue, &id);
            let was = std::mem::replace(&mut letter.state, State::Ready);
            if matches!(was, State::InFlight { .. }) {
                self.let_go();
                self.failed(&queue, &id);
            }
        }
    }

    fn expire(&mut self) {
        let now = self.now;
        for queue in self.lines.keys().cloned().collect::<Vec<_>>() {
            let line = self.line(&queue);
            let retention = line.spec.retention_ms;
            let old: Vec<String> = line
                .letters
                .iter()
                .filter(|letter| {
                    retention > 0
                        && letter.sent + retention <= now
                        && !matches!(letter.state, State::InFlight { .. })
                })
                .map(|letter| letter.id.clone())
                .collect();
            for id in old {
                self.take_out(&queue, &id);
                self.line(&queue).fates.expired.push(id);
            }
        }
    }

    fn letter(&mut self, queue: &str, id: &str) -> &mut Letter {
        self.line(queue)
            .letters
            .iter_mut()
            .find(|letter| letter.id == id)
            .unwrap()
    }

    /// Counts a failure; at the limit the message goes to the dead letter queue.
    fn failed(&mut self, queue: &str, id: &str) {
        let limit = self.line(queue).spec.max_receive_count;
        self.line(queue).fates.failures += 1;
        let letter = self.letter(queue, id);
        letter.failures += 1;
        if limit > 0 && letter.failures >= limit {
            self.bury(queue, id);
        }
    }

    fn bury(&mut self, queue: &str, id: &str) {
        let dlq = self.line(queue).spec.dlq.clone();
        let mut letter = self.take_out(queue, id);
        letter.origin = queue.to_owned();
        letter.state = State::Ready;
        self.line(queue).fates.dead.push(id.to_owned());
        self.line(&dlq).fates.accepted += 1;
        self.put_in(&dlq, letter);
    }

    // --------------------------------------------------------------------------------------------- messages

    fn send(&mut self, queue: &str, send: &Send, feed: bool, bounded: bool) -> Result<String, No> {
        let now = self.now;
        let line = self.line(queue);
        line.fates.accepted += 1;
        if !send.dedup_id.is_empty() && line.spec.dedup_window_ms > 0 {
            line.dedup.retain(|(_, until)| *until > now);
            if line.dedup.iter().any(|(id, _)| *id == send.dedup_id) {
                line.fates.deduplicated += 1;
                return Ok(String::new());
            }
            let until = now + line.spec.dedup_window_ms;
            line.dedup.push((send.dedup_id.clone(), until));
        }
        if let Some(&seq) = line.newest.get(&send.coalesce_key) {
            let last_of_group = line
                .letters
                .iter()
                .rfind(|letter| letter.group == send.group)
                .map(|letter| letter.seq);
            let letter = line
                .letters
                .iter_mut()
                .find(|letter| letter.seq == seq)
                .unwrap();
            let waits = !matches!(letter.state, State::InFlight { .. });
            let in_order = letter.group == send.group
                && (letter.group.is_empty() || last_of_group == Some(seq));
            if waits && in_order {
                letter.body = if feed {
                    let old = FeedRecord::decode(&letter.body[..]).unwrap().old;
                    let newer = FeedRecord::decode(&send.body[..]).unwrap();
                    FeedRecord { old, ..newer }.encode_to_vec()
                } else {
                    send.body.to_vec()
                };
                letter.attributes = send.attributes.clone();
                // Who received the old body cannot end the new one.
                letter.good = None;
                line.fates.coalesced += 1;
                return Ok(letter.id.clone());
            }
        }
        self.ids += 1;
        let letter = Letter {
            id: format!("{:016x}", self.ids),
            seq: 0,
            body: send.body.to_vec(),
            attributes: send.attributes.clone(),
            coalesce_key: send.coalesce_key.clone(),
            turn: send.turn.clone(),
            group: send.group.clone(),
            origin: String::new(),
            sent: 0,
            receives: 0,
            failures: 0,
            lonely: 0,
            suspect: false,
            state: match send.delay_ms {
                0 => State::Ready,
                delay => State::Hidden { until: now + delay },
            },
            good: None,
        };
        let id = letter.id.clone();
        // The one bounded queue takes three messages of this test's size.
        let line = self.line(queue);
        if bounded && line.spec.max_bytes > 0 && line.letters.len() >= 3 {
            return Err(No::Refused(Code::Full));
        }
        self.put_in(queue, letter);
        Ok(id)
    }

    /// True if no earlier message of its group is in the queue.
    fn first_of_group(line: &Line, letter: &Letter) -> bool {
        line.spec.dead_letter
            || letter.group.is_empty()
            || !line
                .letters
                .iter()
                .any(|other| other.group == letter.group && other.seq < letter.seq)
    }

    fn may_go(line: &Line, suspects: bool) -> Vec<Letter> {
        line.letters
            .iter()
            .filter(|letter| {
                letter.state == State::Ready
                    && letter.suspect == suspects
                    && Self::first_of_group(line, letter)
            })
            .cloned()
            .collect()
    }

    fn receive(&mut self, receive: &Receive) -> Result<Answer, No> {
        self.session(receive.session)?;
        self.due();
        let holds = self.holds(receive.session).len();
        let suspects_anywhere = self
            .lines
            .values()
            .any(|line| !Self::may_go(line, true).is_empty());
        let now = self.now;
        let line = self.line(&receive.queue).clone();
        if receive.again {
            let mut before: Vec<&Letter> = line.letters.iter().collect();
            before.retain(|letter| {
                matches!(letter.state, State::InFlight { session, attempt, .. }
                    if (session, attempt) == (receive.session, receive.attempt))
            });
            before.sort_by_key(|letter| letter.seq);
            if !before.is_empty() {
                let ids = before.into_iter().map(|letter| letter.id.clone());
                return Ok(Answer::Received(ids.collect()));
            }
        }
        let suspects = Self::may_go(&line, true);
        let session = self.session(receive.session)?;
        let chosen: Vec<Letter> = if session.alone {
            Vec::new()
        } else if let Some(suspect) = suspects.first() {
            if holds == 0 {
                session.alone = true;
                session.yields_until = 0;
                vec![suspect.clone()]
            } else {
                session.yields_until = now + YIELD_MS;
                Vec::new()
            }
        } else if suspects_anywhere && now < session.yields_until {
            Vec::new()
        } else {
            let max = receive.max.clamp(1, 100) as usize;
            let mut ready = Self::may_go(&line, false);
            if line.spec.fair {
                self.in_turn(&receive.queue, ready, max)
            } else {
                ready.truncate(max);
                ready
            }
        };
        let visibility = match receive.visibility_ms {
            0 => line.spec.visibility_ms,
            own => own,
        };
        for chosen in &chosen {
            let letter = self.letter(&receive.queue, &chosen.id);
            letter.state = State::InFlight {
                session: receive.session,
                attempt: receive.attempt,
                until: now + visibility,
            };
            letter.receives += 1;
            letter.good = None; // the harness fills in what was handed out
        }
        Ok(Answer::Received(
            chosen.into_iter().map(|letter| letter.id).collect(),
        ))
    }

    /// One of each turn after the other, beginning behind the one that was served last.
    fn in_turn(&mut self, queue: &str, mut ready: Vec<Letter>, max: usize) -> Vec<Letter> {
        let mut chosen = Vec::new();
        while chosen.len() < max && !ready.is_empty() {
            let turns: BTreeSet<String> = ready.iter().map(|letter| letter.turn.clone()).collect();
            let last = self.line(queue).last_turn.clone();
            let next = turns
                .iter()
                .find(|turn| **turn > last)
                .or(turns.first())
                .unwrap()
                .clone();
            let at = ready.iter().position(|letter| letter.turn == next).unwrap();
            chosen.push(ready.remove(at));
            self.line(queue).last_turn = next;
        }
        chosen
    }

    fn extend(&mut self, extend: &Extend) -> Result<Answer, No> {
        let now = self.now;
        let letter = self.held(extend.receipt.as_ref().unwrap())?;
        match &mut letter.state {
            State::InFlight { until, .. } => *until = now + extend.visibility_ms.max(1),
            _ => return Err(No::Refused(Code::StaleReceipt)),
        }
        Ok(Answer::Done(Vec::new()))
    }

    fn give_back(&mut self, give_back: &GiveBack) -> Result<Answer, No> {
        let receipt = give_back.receipt.as_ref().unwrap();
        let now = self.now;
        let letter = self.held(receipt)?;
        let was_held = matches!(letter.state, State::InFlight { .. });
        letter.good = None;
        letter.suspect = false;
        letter.lonely = 0;
        letter.state = match give_back.delay_ms {
            0 => State::Ready,
            delay => State::Hidden { until: now + delay },
        };
        let id = letter.id.clone();
        self.let_go();
        // A receive fails once: if its visibility ran out, that was the failure.
        if give_back.failed && was_held {
            self.failed(&receipt.queue, &id);
        }
        self.change_all(&give_back.changes)?;
        Ok(Answer::Done(Vec::new()))
    }

    /// Messages that nobody holds, up to a place; false if that was not all.
    fn loose(&mut self, queue: &str, upto: u64, max: u32, only: &str) -> (Vec<String>, bool) {
        let all: Vec<String> = self
            .line(queue)
            .letters
            .iter()
            .filter(|letter| {
                letter.seq <= upto
                    && !matches!(letter.state, State::InFlight { .. })
                    && (only.is_empty() || letter.id == only)
            })
            .map(|letter| letter.id.clone())
            .collect();
        let max = max.clamp(1, 500) as usize;
        (all.iter().take(max).cloned().collect(), all.len() <= max)
    }

    fn requeue(&mut self, requeue: &Requeue) -> Result<Answer, No> {
        if requeue.from == requeue.to {
            return Err(No::Refused(Code::Invalid));
        }
        let upto = if requeue.upto == 0 {
            u64::MAX
        } else {
            requeue.upto
        };
        let (ids, finished) = self.loose(&requeue.from, upto, requeue.max, &requeue.message_id);
        for id in &ids {
            let mut letter = self.take_out(&requeue.from, id);
            (letter.receives, letter.failures, letter.lonely) = (0, 0, 0);
            letter.state = State::Ready;
            self.line(&requeue.from).fates.moved.push(id.clone());
            self.line(&requeue.to).fates.accepted += 1;
            self.put_in(&requeue.to, letter);
        }
        Ok(Answer::Moved(ids.len() as u32, finished))
    }

    // --------------------------------------------------------------------------------------------- sessions

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
            return Err(No::Refused(Code::Invalid)); // another node's
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

    // ------------------------------------------------------------------------------------------------- rows

    pub(super) fn row(&self, table: &str, key: &RowKey) -> Option<&Row> {
        let table = &self.tables[table];
        table
            .rows
            .get(key)
            .filter(|row| !expired(&table.spec, row, self.now))
    }

    pub(super) fn rows(&self, table: &str) -> Vec<(RowKey, Row)> {
        self.tables[table]
            .rows
            .keys()
            .filter_map(|key| Some((key.clone(), self.row(table, key)?.clone())))
            .collect()
    }

    fn transact(&mut self, transact: &Transact) -> Result<Answer, No> {
        if !transact.request_id.is_empty() {
            if transact.request_time_ms + REQUEST_MS <= self.now {
                return Err(No::Refused(Code::StaleRequest));
            }
            if let Some(ids) = self.requests.get(&transact.request_id) {
                return Ok(Answer::Done(ids.clone()));
            }
        }
        if let Some(receipt) = &transact.done {
            let id = self.held(receipt)?.id.clone();
            self.take_out(&receipt.queue, &id);
            self.line(&receipt.queue).fates.done.push(id);
        }
        self.change_all(&transact.changes)?;
        let bounded = transact.done.is_none();
        let mut ids = Vec::new();
        for send in &transact.sends {
            ids.push(match send.to.as_ref().unwrap() {
                send::To::Queue(queue) => self.send(queue, send, false, bounded)?,
                send::To::Topic(topic) => {
                    let mut sent = Vec::new();
                    for subscription in self.topics[topic].subscriptions.clone() {
                        let passes = subscription.filter.iter().all(|(name, allowed)| {
                            send.attributes
                                .get(name)
                                .is_some_and(|value| allowed.items.contains(value))
                        });
                        if passes {
                            sent.push(self.send(&subscription.queue, send, false, bounded)?);
                        }
                    }
                    sent.retain(|id| !id.is_empty());
                    sent.join(",")
                }
            });
        }
        if !transact.request_id.is_empty() {
            self.requests
                .insert(transact.request_id.clone(), ids.clone());
        }
        Ok(Answer::Done(ids))
    }

    fn change_all(&mut self, changes: &[RowChange]) -> Result<(), No> {
        for change in changes {
            let row = self.row(&change.table, &row_key(change.key.as_ref().unwrap()));
            if !change
                .conditions
                .iter()
                .all(|condition| holds(condition, row))
            {
                return Err(No::Conflict);
            }
        }
        for change in changes {
            self.change(change)?;
        }
        for change in changes {
            for index in self.tables[&change.table].spec.indexes.clone() {
                let mut seen = BTreeSet::new();
                for ((tenant, ..), row) in self.rows(&change.table) {
                    let Some(place) = comparable(&row, &index.hash) else {
                        continue;
                    };
                    if index.unique && !seen.insert((tenant, format!("{place:?}"))) {
                        return Err(No::Refused(Code::NotUnique));
                    }
                }
            }
        }
        Ok(())
    }

    fn change(&mut self, change: &RowChange) -> Result<(), No> {
        let key = row_key(change.key.as_ref().unwrap());
        let old = self.row(&change.table, &key).cloned();
        if change.updates.is_empty() && !change.delete && !change.replace {
            return Ok(());
        }
        let new = if change.delete {
            None
        } else {
            let mut row = match change.replace {
                true => Row::default(),
                false => old.clone().unwrap_or_default(),
            };
            for update in &change.updates {
                carry_out(&mut row, update).ok_or(No::Refused(Code::Invalid))?;
            }
            Some(row)
        };
        let table = self.tables.get_mut(&change.table).unwrap();
        match &new {
            Some(row) => table.rows.insert(key.clone(), row.clone()),
            None => table.rows.remove(&key),
        };
        let Some(feed) = table.spec.feed.clone() else {
            return Ok(());
        };
        if old == new {
            return Ok(());
        }
        let image = new.as_ref().or(old.as_ref()).unwrap();
        let by: Vec<Option<Value>> = feed
            .coalesce_by
            .iter()
            .map(|attribute| comparable(image, attribute))
            .collect();
        let record = FeedRecord {
            table: change.table.clone(),
            key: change.key.clone(),
            old,
            new,
        };
        let send = Send {
            body: record.encode_to_vec().into(),
            group: format!("{key:?}"),
            coalesce_key: format!("{key:?} {by:?}"),
            ..Send::default()
        };
        self.send(&feed.queue, &send, true, false).map(drop)
    }
}

pub(super) fn row_key(key: &Key) -> RowKey {
    (key.tenant.clone(), key.hash.clone(), key.range.clone())
}

fn expired(spec: &TableSpec, row: &Row, now: u64) -> bool {
    matches!(
        row.attributes.get(&spec.ttl_attribute).and_then(|value| value.kind.as_ref()),
        Some(value::Kind::Int(seconds)) if *seconds >= 0 && *seconds as u64 * 1_000 <= now
    )
}

/// The attribute's value, if it is of a kind that compares.
pub(super) fn comparable(row: &Row, attribute: &str) -> Option<Value> {
    row.attributes.get(attribute).cloned().filter(|value| {
        matches!(
            value.kind,
            Some(value::Kind::Int(_) | value::Kind::Text(_) | value::Kind::Blob(_))
        )
    })
}

/// Numbers before texts before bytes, each in its own order.
pub(super) fn rank(value: &Value) -> (u8, i64, Vec<u8>) {
    match value.kind.as_ref().unwrap() {
        value::Kind::Int(int) => (1, *int, Vec::new()),
        value::Kind::Text(text) => (2, 0, text.as_bytes().to_vec()),
        value::Kind::Blob(blob) => (3, 0, blob.to_vec()),
        _ => panic!("it does not compare"),
    }
}

fn holds(condition: &Condition, row: Option<&Row>) -> bool {
    let value = row.and_then(|row| row.attributes.get(&condition.attribute));
    let there = match condition.attribute.as_str() {
        "" => row.is_some(),
        _ => value.is_some(),
    };
    match condition.test.as_ref().unwrap() {
        condition::Test::Absent(absent) => there != *absent,
        condition::Test::Equals(wanted) => value == Some(wanted),
        condition::Test::Less(bound) => {
            value.is_some_and(|value| match (&value.kind, &bound.kind) {
                (Some(value::Kind::Int(value)), Some(value::Kind::Int(bound))) => value < bound,
                (Some(value::Kind::Text(value)), Some(value::Kind::Text(bound))) => value < bound,
                _ => false,
            })
        }
    }
}

/// `None` if the change does not fit the kind of value that is there.
fn carry_out(row: &mut Row, update: &Update) -> Option<()> {
    let held = row
        .attributes
        .get(&update.attribute)
        .and_then(|value| value.kind.clone());
    let set_of = |held: Option<value::Kind>| match held {
        None => Some(BTreeSet::new()),
        Some(value::Kind::Set(set)) => Some(set.items.into_iter().collect::<BTreeSet<String>>()),
        Some(_) => None,
    };
    let set = |items: BTreeSet<String>| {
        value::Kind::Set(panther_proto::v1::TextSet {
            items: items.into_iter().collect(),
        })
    };
    let new = match update.change.clone()? {
        update::Change::Set(value) => value.kind,
        update::Change::Remove(_) => None,
        update::Change::Add(number) => match held {
            None => Some(value::Kind::Int(number)),
            Some(value::Kind::Int(held)) => Some(value::Kind::Int(held + number)),
            Some(_) => return None,
        },
        update::Change::Max(value) => match (held, value.kind) {
            (None, new) => new,
            (Some(value::Kind::Int(held)), Some(value::Kind::Int(new))) => {
                Some(value::Kind::Int(held.max(new)))
            }
            _ => return None,
        },
        update::Change::Union(more) => {
            let mut items = set_of(held)?;
            items.extend(more.items);
            Some(set(items))
        }
        update::Change::Difference(fewer) => {
            let mut items = set_of(held)?;
            items.retain(|item| !fewer.items.contains(item));
            (!items.is_empty()).then(|| set(items))
        }
        update::Change::Append(append) => {
            let mut list: Vec<i64> = match held {
                None => Vec::new(),
                Some(value::Kind::Json(json)) => serde_json::from_str(&json).unwrap(),
                Some(_) => return None,
            };
            match append.item?.kind? {
                value::Kind::Int(int) => list.push(int),
                _ => return None,
            }
            while list.len() > append.bound as usize {
                list.remove(0);
            }
            Some(value::Kind::Json(serde_json::to_string(&list).unwrap()))
        }
    };
    match new {
        Some(kind) => row
            .attributes
            .insert(update.attribute.clone(), Value { kind: Some(kind) }),
        None => row.attributes.remove(&update.attribute),
    };
    Some(())
}
