//! Executes steps on the machine and on the model, and compares replies and contents after each step.

use std::collections::BTreeMap;

use panther_cluster::door::change;
use panther_cluster::state::read::{self, Query};
use panther_cluster::state::{FORMAT, Machine, MemoryBase};
use panther_proto::v1::{
    Code, Command, EndSession, Entry, Extend, FeedRecord, GiveBack, Message, OpenSession, Purge,
    RaiseFormat, Receipt, Receive, Reply, Requeue, Row, RowChange, Send, Tick, Transact, Value,
    command, reply, send, value,
};
use prost::Message as _;

use super::naive::{self, Answer, Naive, RowKey, State};
use super::steps::{QUEUES, START_MS, Sending, Step, TABLES, declaration};
use super::structure;

pub(super) struct World {
    pub(super) base: MemoryBase,
    machine: Machine,
    model: Naive,
    now: u64,
    /// Everything that was proposed, with its time.
    pub(super) script: Vec<(u64, Command)>,
    receipts: Vec<Receipt>,
    /// The session in force of each node.
    sessions: BTreeMap<u64, u64>,
    next_session: u64,
    /// Counter of receive attempts.
    attempts: u64,
    bodies: u32,
    /// By row, the new image of the feed record that was handled last.
    handled: BTreeMap<(String, RowKey), Option<Row>>,
}

impl World {
    pub(super) fn new() -> Self {
        let base = MemoryBase::default();
        let machine = Machine::open(&base).unwrap();
        let mut world = Self {
            base,
            machine,
            model: Naive::default(),
            now: START_MS,
            script: Vec::new(),
            receipts: Vec::new(),
            sessions: BTreeMap::new(),
            next_session: 100,
            attempts: 0,
            bodies: 0,
            handled: BTreeMap::new(),
        };
        world.model.declare(&declaration());
        world.model.now = world.now;
        world.machine_alone(START_MS, command::Kind::Declare(declaration()));
        let format = FORMAT;
        world.machine_alone(START_MS, command::Kind::RaiseFormat(RaiseFormat { format }));
        for node in 1..=2 {
            world.open(node);
        }
        world
    }

    pub(super) fn hash(&self) -> u64 {
        self.machine.globals().hash
    }

    fn machine_alone(&mut self, time: u64, kind: command::Kind) -> reply::Kind {
        let command = Command { kind: Some(kind) };
        self.script.push((time, command.clone()));
        let entry = Entry {
            group: 1,
            format: 1,
            time_ms: time,
            commands: vec![command],
            era: 0,
        };
        let mut applied = self.machine.apply(&self.base, &entry).unwrap();
        self.base.store(&applied.writes);
        let Reply { kind } = applied.replies.remove(0);
        kind.unwrap()
    }

    /// Runs a command on both and compares the replies.
    fn both(&mut self, kind: command::Kind) -> reply::Kind {
        self.both_at(self.now, kind)
    }

    fn both_at(&mut self, time: u64, kind: command::Kind) -> reply::Kind {
        let answer = self.model.run(
            time,
            &Command {
                kind: Some(kind.clone()),
            },
        );
        let reply = self.machine_alone(time, kind.clone());
        match (&answer, &reply) {
            (Answer::Done(ids), reply::Kind::Done(done)) => {
                let expected: &[String] = match kind {
                    command::Kind::Transact(_) => ids,
                    _ => &[],
                };
                assert_eq!(done.message_ids, expected, "{kind:?}");
            }
            (Answer::Conflict, reply::Kind::Conflict(_))
            | (Answer::Ticked, reply::Kind::Moved(_)) => {}
            (Answer::Refused(code), reply::Kind::Refused(refused)) => {
                assert_eq!(
                    Code::try_from(refused.code).unwrap(),
                    *code,
                    "{kind:?}: {}",
                    refused.reason
                );
            }
            (Answer::Received(ids), reply::Kind::Received(received)) => {
                let got: Vec<&String> = received.messages.iter().map(|one| &one.id).collect();
                assert_eq!(got, ids.iter().collect::<Vec<_>>(), "{kind:?}");
                for message in &received.messages {
                    self.handed_out(message);
                }
            }
            (Answer::Moved(count, finished), reply::Kind::Moved(moved)) => {
                assert_eq!(
                    (moved.count, moved.finished),
                    (*count, *finished),
                    "{kind:?}"
                );
            }
            _ => panic!("{kind:?}: the model says {answer:?}, the machine {reply:?}"),
        }
        reply
    }

    fn handed_out(&mut self, message: &Message) {
        let receipt = message.receipt.clone().unwrap();
        let line = self.model.lines.get_mut(&message.queue).unwrap();
        let letter = line
            .letters
            .iter_mut()
            .find(|letter| letter.id == message.id)
            .unwrap();
        letter.good = Some(receipt.clone());
        self.receipts.push(receipt);
    }

    fn open(&mut self, node: u64) {
        self.next_session += 1;
        let session = self.next_session;
        self.both(command::Kind::OpenSession(OpenSession { node, session }));
        self.sessions.insert(node, session);
    }

    fn receipt(&self, back: usize) -> Option<Receipt> {
        let at = self.receipts.len().checked_sub(back + 1)?;
        self.receipts.get(at).cloned()
    }

    fn sends(&mut self, sendings: &[Sending]) -> Vec<Send> {
        sendings.iter().map(|sending| self.send(sending)).collect()
    }

    fn send(&mut self, sending: &Sending) -> Send {
        self.bodies += 1;
        let body = if sending.odd_body {
            FeedRecord {
                table: "rows".into(),
                ..FeedRecord::default()
            }
            .encode_to_vec()
        } else {
            format!("{:08}", self.bodies).into_bytes()
        };
        let named = |prefix: &str, number: u8| match number {
            0 => String::new(),
            number => format!("{prefix}{number}"),
        };
        let Some(queue) = QUEUES.get(sending.to) else {
            let kind = ["LogData", "Other", "Else"][sending.kind as usize];
            return change::to_topic(
                "news",
                body,
                BTreeMap::from([("type".to_owned(), kind.to_owned())]),
            );
        };
        if *queue == "tight" {
            let body = format!("{:08}", self.bodies).into_bytes();
            return change::to_queue(queue, body);
        }
        Send {
            to: Some(send::To::Queue((*queue).to_owned())),
            body: body.into(),
            attributes: BTreeMap::from([("id".to_owned(), sending.kind.to_string())]),
            delay_ms: sending.delay_ms,
            dedup_id: named("d", sending.dedup),
            coalesce_key: named("k", sending.coalesce),
            turn: named("turn", sending.turn),
            group: named("g", sending.group),
            trace_id: format!("trace {}", self.bodies),
            span_id: self.bodies.into(),
        }
    }

    pub(super) fn take(&mut self, step: &Step) {
        self.act(step);
        self.compare();
    }

    fn transact(&mut self, transact: Transact) -> reply::Kind {
        self.both(command::Kind::Transact(transact))
    }

    /// Executes a step without a check of the contents.
    pub(super) fn act(&mut self, step: &Step) {
        match step {
            Step::Send(sendings) => {
                let sends = self.sends(sendings);
                self.transact(Transact {
                    sends,
                    ..Transact::default()
                });
            }
            Step::Change(changes) => {
                let changes = changes.clone();
                self.transact(Transact {
                    changes,
                    ..Transact::default()
                });
            }
            Step::Request {
                id,
                age_ms,
                sends,
                changes,
            } => {
                let sends = self.sends(sends);
                self.transact(Transact {
                    sends,
                    changes: changes.clone(),
                    request_id: format!("r{id}"),
                    request_time_ms: self.now - age_ms,
                    ..Transact::default()
                });
            }
            Step::Done {
                receipt,
                sends,
                changes,
            } => {
                let Some(receipt) = self.receipt(*receipt) else {
                    return;
                };
                let sends = self.sends(sends);
                self.done(receipt, sends, changes.clone());
            }
            Step::Forged { receipt, node } => {
                let Some(mut receipt) = self.receipt(*receipt) else {
                    return;
                };
                let Some(session) = self.sessions.get(node) else {
                    return;
                };
                if receipt.session == *session {
                    return;
                }
                receipt.session = *session;
                let held = self.model.lines[&receipt.queue]
                    .letters
                    .iter()
                    .any(|letter| {
                        letter.seq == receipt.seq && matches!(letter.state, State::InFlight { .. })
                    });
                if held {
                    self.done(receipt, Vec::new(), Vec::new());
                }
            }
            Step::Receive {
                queue,
                node,
                max,
                visibility_ms,
                again,
                turn_max,
            } => {
                let Some(session) = self.sessions.get(node).copied() else {
                    return;
                };
                self.attempts += u64::from(!again);
                self.settle_much();
                self.both(command::Kind::Receive(Receive {
                    queue: QUEUES[*queue].into(),
                    session,
                    max: *max,
                    visibility_ms: *visibility_ms,
                    attempt: self.attempts,
                    again: *again,
                    turn_max: *turn_max,
                }));
            }
            Step::Extend {
                receipt,
                visibility_ms,
            } => {
                let Some(receipt) = self.receipt(*receipt) else {
                    return;
                };
                self.both(command::Kind::Extend(Extend {
                    receipt: Some(receipt),
                    visibility_ms: *visibility_ms,
                }));
            }
            Step::GiveBack {
                receipt,
                failed,
                delay_ms,
                changes,
            } => {
                let Some(receipt) = self.receipt(*receipt) else {
                    return;
                };
                self.both(command::Kind::GiveBack(GiveBack {
                    receipt: Some(receipt),
                    failed: *failed,
                    reason: "why".into(),
                    delay_ms: *delay_ms,
                    component: "part".into(),
                    changes: changes.clone(),
                }));
            }
            Step::Open { node, again: false } => self.open(*node),
            Step::Open { node, again: true } => {
                let Some(session) = self.sessions.get(node).copied() else {
                    return;
                };
                self.both(command::Kind::OpenSession(OpenSession {
                    node: *node,
                    session,
                }));
            }
            Step::Steal { node } => {
                let Some(session) = self.sessions.get(&(3 - node)).copied() else {
                    return;
                };
                self.both(command::Kind::OpenSession(OpenSession {
                    node: *node,
                    session,
                }));
            }
            Step::End { node } => {
                let Some(session) = self.sessions.remove(node) else {
                    return;
                };
                self.both(command::Kind::EndSession(EndSession {
                    node: *node,
                    session,
                }));
                self.open(*node);
            }
            Step::Purge { queue, half, max } => {
                let upto = self.upto(QUEUES[*queue], *half);
                self.both(command::Kind::Purge(Purge {
                    queue: QUEUES[*queue].into(),
                    upto,
                    max: *max,
                    ..Purge::default()
                }));
            }
            Step::Requeue {
                from,
                to,
                half,
                max,
                only,
            } => {
                let upto = self.upto(QUEUES[*from], *half);
                let message_id = only
                    .and_then(|at| self.model.lines[QUEUES[*from]].letters.get(at))
                    .map(|letter| letter.id.clone())
                    .unwrap_or_default();
                self.both(command::Kind::Requeue(Requeue {
                    from: QUEUES[*from].into(),
                    to: QUEUES[*to].into(),
                    upto,
                    max: *max,
                    message_id,
                    ..Requeue::default()
                }));
            }
            Step::Tick { max } => self.tick(*max),
            Step::Pass { ms } => self.now += ms,
            Step::Back { ms } => {
                let time = self.now - ms;
                let sends = vec![change::to_queue("plain", b"from the past".to_vec())];
                self.both_at(
                    time,
                    command::Kind::Transact(Transact {
                        sends,
                        ..Transact::default()
                    }),
                );
            }
        }
    }

    /// Ticks until nothing is left to do. The model does it all at once.
    fn tick(&mut self, max: u32) {
        for _ in 0..1_000 {
            if let reply::Kind::Moved(moved) = self.both(command::Kind::Tick(Tick { max }))
                && moved.finished
            {
                return;
            }
        }
        panic!("ticks never finish");
    }

    /// A receive fires a limited number of timers. If more are due, they are settled before.
    fn settle_much(&mut self) {
        let due = self
            .base
            .iter()
            .filter(|(key, _)| key[0] == panther_cluster::state::keys::kind::DUE)
            .count();
        if due > 16 {
            self.tick(500);
        }
    }

    fn upto(&self, queue: &str, half: bool) -> u64 {
        let line = &self.model.lines[queue];
        if half { line.seq / 2 } else { line.seq }
    }

    fn done(&mut self, receipt: Receipt, sends: Vec<Send>, changes: Vec<RowChange>) {
        let message = read::peek(&self.base, &receipt.queue, receipt.seq.saturating_sub(1), 1)
            .unwrap()
            .into_iter()
            .find(|message| message.seq == receipt.seq);
        let queue = receipt.queue.clone();
        let reply = self.transact(Transact {
            done: Some(receipt),
            sends,
            changes,
            ..Transact::default()
        });
        if let (reply::Kind::Done(_), "feed", Some(message)) = (reply, queue.as_str(), message) {
            self.record_handled(&message);
        }
    }

    /// Records of a row are handled in order and without a gap: each starts where the previous one ended.
    fn record_handled(&mut self, message: &Message) {
        // An operator may have moved other messages into the feed.
        let Ok(record) = FeedRecord::decode(message.body.clone()) else {
            return;
        };
        let Some(key) = &record.key else { return };
        let fates = &self.model.lines["feed"].fates;
        // Records that were expired, purged, moved or dead-lettered are not handled here.
        let complete = [&fates.dead, &fates.expired, &fates.purged, &fates.moved]
            .iter()
            .all(|ids| ids.is_empty());
        let key = (record.table.clone(), naive::row_key(key));
        // An expired row leaves no record; the next record then starts without an old image.
        if complete
            && record.old.is_some()
            && let Some(last) = self.handled.get(&key)
        {
            assert_eq!(
                *last, record.old,
                "a change of {key:?} was passed over or came late"
            );
        }
        self.handled.insert(key, record.new);
    }

    fn compare(&mut self) {
        structure::check(&self.base).unwrap_or_else(|what| panic!("{what}"));
        let mut places = Vec::new();
        for (queue, line) in &self.model.lines {
            let found = read::peek(&self.base, queue, 0, 1_000).unwrap();
            places.extend(found.iter().map(|message| message.id.clone()));
            let seen: Vec<String> = found.iter().map(show).collect();
            let wanted: Vec<String> = line
                .letters
                .iter()
                .map(|letter| {
                    let (session, until) = match letter.state {
                        State::Ready => (0, 0),
                        State::Hidden { until } => (0, until),
                        State::InFlight { session, until, .. } => (session, until),
                    };
                    let group = group(&letter.group);
                    format!(
                        "{} at {} {:?} {:?} turn {:?} group {group:?} from {:?} sent {} receives {} failures {} deaths {} suspect {} held by {session} until {until}",
                        letter.id,
                        letter.seq,
                        String::from_utf8_lossy(&letter.body),
                        letter.attributes,
                        letter.turn,
                        letter.origin,
                        letter.sent,
                        letter.receives,
                        letter.failures,
                        letter.lonely,
                        letter.suspect,
                    )
                })
                .collect();
            assert_eq!(seen, wanted, "{queue}");
            let counts = read::counts(&self.base, queue).unwrap();
            let fates = &line.fates;
            assert_eq!(
                [
                    counts.accepted,
                    counts.done,
                    counts.dead_lettered,
                    counts.expired,
                    counts.purged,
                    counts.moved_out,
                    counts.coalesced,
                    counts.deduplicated,
                    counts.failures,
                ],
                [
                    fates.accepted,
                    fates.done.len() as u64,
                    fates.dead.len() as u64,
                    fates.expired.len() as u64,
                    fates.purged.len() as u64,
                    fates.moved.len() as u64,
                    fates.coalesced,
                    fates.deduplicated,
                    fates.failures,
                ],
                "{queue}: accepted, done, dead, expired, purged, moved, coalesced, deduplicated, failures"
            );
            places.extend(
                fates
                    .done
                    .iter()
                    .chain(&fates.expired)
                    .chain(&fates.purged)
                    .cloned(),
            );
        }
        // Every id that was ever issued is in exactly one place.
        places.sort_unstable();
        let all: Vec<String> = (1..=self.model.ids)
            .map(|id| format!("{id:016x}"))
            .collect();
        assert_eq!(places, all, "each id in exactly one place");
        for table in TABLES {
            self.compare_table(table);
        }
    }

    fn compare_table(&self, table: &str) {
        // Rows that have expired by the state's clock are hidden. The model's clock is equal.
        let rows = self.model.rows(table);
        let query = |query: Query| -> Vec<(RowKey, Row)> {
            let mut query = Query {
                table: table.to_owned(),
                limit: 2,
                ..query
            };
            let mut found = Vec::new();
            loop {
                let page = read::query(&self.base, &query).unwrap();
                found.extend(
                    page.rows
                        .into_iter()
                        .map(|(key, row)| (naive::row_key(&key), row)),
                );
                match page.next {
                    Some(next) => query.after = Some(next),
                    None => return found,
                }
            }
        };
        assert_eq!(query(Query::default()), rows, "all rows of {table}");
        let mut backwards = query(Query {
            descending: true,
            ..Query::default()
        });
        backwards.reverse();
        assert_eq!(backwards, rows);
        for (key, row) in &rows {
            let key = panther_proto::v1::Key {
                tenant: key.0.clone(),
                hash: key.1.clone(),
                range: key.2.clone(),
            };
            assert_eq!(
                read::row(&self.base, table, &key).unwrap().as_ref(),
                Some(row)
            );
        }
        for tenant in ["", "t"] {
            for (index, hash_attribute, range_attribute) in
                [("by-name", "name", ""), ("by-rule", "rule", "n")]
            {
                let mut hashes: Vec<Value> = rows
                    .iter()
                    .filter_map(|(_, row)| naive::comparable(row, hash_attribute))
                    .collect();
                hashes.push(Value {
                    kind: Some(value::Kind::Text("r".into())),
                });
                for hash in hashes {
                    for (from, to) in [(None, None), (Some(1), Some(4))] {
                        if range_attribute.is_empty() && from.is_some() {
                            continue;
                        }
                        let bound = |bound: Option<i64>| {
                            bound.map(|int| Value {
                                kind: Some(value::Kind::Int(int)),
                            })
                        };
                        let mut wanted: Vec<_> = rows
                            .iter()
                            .filter(|(key, row)| {
                                key.0 == tenant
                                    && naive::comparable(row, hash_attribute).as_ref()
                                        == Some(&hash)
                            })
                            .filter_map(|(key, row)| {
                                let rank = match range_attribute {
                                    "" => (0, 0, Vec::new()),
                                    attribute => naive::rank(&naive::comparable(row, attribute)?),
                                };
                                Some((rank, key.clone(), row.clone()))
                            })
                            .filter(|(rank, ..)| {
                                bound(from).is_none_or(|from| *rank >= naive::rank(&from))
                                    && bound(to).is_none_or(|to| *rank < naive::rank(&to))
                            })
                            .collect();
                        wanted.sort_by(|left, right| (&left.0, &left.1).cmp(&(&right.0, &right.1)));
                        let wanted: Vec<_> =
                            wanted.into_iter().map(|(_, key, row)| (key, row)).collect();
                        for descending in [false, true] {
                            let mut found = query(Query {
                                tenant: tenant.to_owned(),
                                index: index.to_owned(),
                                hash: Some(hash.clone()),
                                from: bound(from),
                                to: bound(to),
                                descending,
                                ..Query::default()
                            });
                            if descending {
                                found.reverse();
                            }
                            assert_eq!(found, wanted, "{table}, {index}, {hash:?}");
                        }
                    }
                }
            }
        }
    }
}

/// The group if a caller chose it; feeds use groups that the machine chooses.
fn group(name: &str) -> &str {
    if name.starts_with('g') { name } else { "" }
}

fn show(message: &Message) -> String {
    let group = group(&message.group);
    format!(
        "{} at {} {:?} {:?} turn {:?} group {group:?} from {:?} sent {} receives {} failures {} deaths {} suspect {} held by {} until {}",
        message.id,
        message.seq,
        String::from_utf8_lossy(&message.body),
        message.attributes,
        message.turn,
        message.origin,
        message.sent_ms,
        message.receives,
        message.failures,
        message.lonely_deaths,
        message.suspect,
        message
            .receipt
            .as_ref()
            .map_or(0, |receipt| receipt.session),
        message.visible_at_ms,
    )
}
