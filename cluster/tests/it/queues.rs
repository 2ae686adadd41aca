//! The state machine alone: queues, feeds, topics, sessions, time. The only clock is the one that the test moves.

use std::collections::BTreeMap;

use panther_cluster::door::change::{self, Change};
use panther_cluster::state::read::{self, KeyedRow, Query};
use panther_cluster::state::{Base, Machine, MemoryBase};
use panther_proto::v1::{
    Command, Declare, Entry, FeedRecord, FeedSpec, GiveBack, Message, OpenSession, Purge,
    QueueSpec, RaiseFormat, Receive, Requeue, Send, Subscription, TableSpec, TextSet, Tick,
    TopicSpec, Transact, command, reply,
};
use prost::Message as _;

pub(crate) struct World {
    pub(crate) base: MemoryBase,
    machine: Machine,
    pub(crate) now: u64,
    /// The format of entries, and the era with which they are stamped.
    pub(crate) format: u32,
    pub(crate) era: u64,
}

impl World {
    pub(crate) fn new() -> Self {
        let base = MemoryBase::default();
        let machine = Machine::open(&base).unwrap();
        let mut world = Self {
            base,
            machine,
            now: 1_000_000,
            format: 1,
            era: 0,
        };
        let queue = |name: &str, change: &dyn Fn(&mut QueueSpec)| {
            let mut spec = QueueSpec {
                name: name.into(),
                visibility_ms: 30_000,
                retention_ms: 3_600_000,
                max_receive_count: 3,
                dlq: "dead".into(),
                lonely_deaths: 3,
                ..QueueSpec::default()
            };
            change(&mut spec);
            spec
        };
        let dead = QueueSpec {
            name: "dead".into(),
            retention_ms: 1_209_600_000,
            dead_letter: true,
            ..QueueSpec::default()
        };
        let declare = Declare {
            version: 1,
            queues: vec![
                dead,
                queue("plain", &|_| ()),
                queue("fair", &|spec| spec.fair = true),
                queue("feed", &|_| ()),
                queue("dedup", &|spec| spec.dedup_window_ms = 5_000),
            ],
            tables: vec![TableSpec {
                name: "rows".into(),
                ttl_attribute: "expiresAt".into(),
                feeds: vec![FeedSpec {
                    queue: "feed".into(),
                    coalesce_by: vec!["alertCount".into()],
                }],
                ..TableSpec::default()
            }],
            topics: vec![TopicSpec {
                name: "news".into(),
                subscriptions: vec![
                    Subscription {
                        queue: "plain".into(),
                        filter: BTreeMap::from([(
                            "type".into(),
                            TextSet {
                                items: vec!["LogData".into()],
                            },
                        )]),
                    },
                    Subscription {
                        queue: "fair".into(),
                        filter: BTreeMap::new(),
                    },
                ],
            }],
        };
        world.run(command::Kind::Declare(declare));
        world.open(1, 11);
        world
    }

    pub(crate) fn run(&mut self, kind: command::Kind) -> reply::Kind {
        let entry = Entry {
            group: 1,
            format: self.format,
            time_ms: self.now,
            commands: vec![Command { kind: Some(kind) }],
            era: self.era,
        };
        let mut applied = self.machine.apply(&self.base, &entry).unwrap();
        self.base.store(&applied.writes);
        applied.replies.remove(0).kind.unwrap()
    }

    pub(crate) fn open(&mut self, node: u64, session: u64) {
        self.run(command::Kind::OpenSession(OpenSession { node, session }));
    }

    pub(crate) fn send(&mut self, queue: &str, body: &str, with: impl FnOnce(&mut Send)) -> String {
        let mut send = change::to_queue(queue, body.as_bytes().to_vec());
        with(&mut send);
        match self.run(command::Kind::Transact(Transact {
            sends: vec![send],
            ..Transact::default()
        })) {
            reply::Kind::Done(mut done) => done.message_ids.remove(0),
            other => panic!("{other:?}"),
        }
    }

    pub(crate) fn receive(&mut self, queue: &str, session: u64, max: u32) -> Vec<Message> {
        match self.run(command::Kind::Receive(Receive {
            queue: queue.into(),
            session,
            max,
            ..Receive::default()
        })) {
            reply::Kind::Received(received) => received.messages,
            other => panic!("{other:?}"),
        }
    }

    pub(crate) fn bodies(&mut self, queue: &str, max: u32) -> Vec<String> {
        self.receive(queue, 11, max)
            .iter()
            .map(|message| String::from_utf8(message.body.to_vec()).unwrap())
            .collect()
    }

    pub(crate) fn done(&mut self, message: &Message) -> reply::Kind {
        self.run(command::Kind::Transact(Transact {
            done: message.receipt.clone(),
            ..Transact::default()
        }))
    }

    pub(crate) fn give_back(&mut self, message: &Message, failed: bool, delay_ms: u64) {
        let give_back = GiveBack {
            receipt: message.receipt.clone(),
            failed,
            reason: "why".into(),
            delay_ms,
            component: String::new(),
            changes: Vec::new(),
        };
        assert!(matches!(
            self.run(command::Kind::GiveBack(give_back)),
            reply::Kind::Done(_)
        ));
    }

    pub(crate) fn put(&mut self, change: Change) {
        let reply = self.run(command::Kind::Transact(Transact {
            changes: vec![change.done()],
            ..Transact::default()
        }));
        assert!(matches!(reply, reply::Kind::Done(_)), "{reply:?}");
    }

    pub(crate) fn tick(&mut self) {
        self.run(command::Kind::Tick(Tick { max: 500 }));
    }

    pub(crate) fn rows(&self) -> Vec<KeyedRow> {
        read::query(
            &self.base,
            &Query {
                table: "rows".into(),
                limit: 100,
                ..Query::default()
            },
        )
        .unwrap()
        .rows
    }
}

#[test]
fn messages_come_in_order_of_arrival_and_one_given_back_keeps_its_place() {
    let mut world = World::new();
    for body in ["a", "b", "c"] {
        world.send("plain", body, |_| ());
    }
    let first = world.receive("plain", 11, 1).remove(0);
    world.give_back(&first, false, 0);
    assert_eq!(world.bodies("plain", 10), ["a", "b", "c"]);
}

#[test]
fn an_attempt_whose_answer_was_lost_hands_out_the_same_again_and_no_other_attempt_does() {
    let mut world = World::new();
    for body in ["a", "b", "c"] {
        world.send("plain", body, |_| ());
    }
    let mut attempt = |attempt, again| {
        let receive = Receive {
            queue: "plain".into(),
            session: 11,
            max: 2,
            attempt,
            again,
            ..Receive::default()
        };
        match world.run(command::Kind::Receive(receive)) {
            reply::Kind::Received(received) => received.messages,
            other => panic!("{other:?}"),
        }
    };
    let first = attempt(1, false);
    assert_eq!(first.len(), 2);
    assert_eq!(attempt(1, true), first);
    // An attempt that has received nothing before receives messages now.
    let other = attempt(2, true);
    assert_eq!((other.len(), &other[0].body[..]), (1, &b"c"[..]));
    assert!(attempt(3, true).is_empty());
    // A message that was completed meanwhile is not returned again.
    world.done(&first[0]);
    let receive = Receive {
        queue: "plain".into(),
        session: 11,
        max: 2,
        attempt: 1,
        again: true,
        ..Receive::default()
    };
    let again = world.run(command::Kind::Receive(receive));
    assert!(
        matches!(again, reply::Kind::Received(received) if received.messages == first[1..]),
        "only what is still held"
    );
}

#[test]
fn sources_take_turns_where_that_is_declared() {
    let mut world = World::new();
    for number in 0..4 {
        world.send("fair", &format!("loud {number}"), |send| {
            send.turn = "loud".into()
        });
    }
    world.send("fair", "quiet", |send| send.turn = "quiet".into());
    world.send("fair", "nameless", |_| ());
    assert_eq!(world.bodies("fair", 2), ["loud 0", "quiet"]);
    assert_eq!(
        world.bodies("fair", 10),
        ["nameless", "loud 1", "loud 2", "loud 3"]
    );
}

#[test]
fn a_session_holds_no_more_of_one_turn_than_it_asks_for() {
    let mut world = World::new();
    world.run(command::Kind::RaiseFormat(RaiseFormat { format: 3 }));
    let send = |world: &mut World, turn: &str, number: u32| {
        world.send("fair", &format!("{turn} {number}"), |send| {
            send.turn = turn.into()
        });
    };
    for number in 0..4 {
        send(&mut world, "loud", number);
    }
    let receive = |max| Receive {
        queue: "fair".into(),
        session: 11,
        max,
        turn_max: 2,
        ..Receive::default()
    };
    let bodies = |world: &mut World, max| {
        let reply::Kind::Received(received) = world.run(command::Kind::Receive(receive(max)))
        else {
            panic!("no answer to a receive");
        };
        let bodies = received.messages.iter();
        let bodies = bodies.map(|message| String::from_utf8(message.body.to_vec()).unwrap());
        (received.messages.clone(), bodies.collect::<Vec<_>>())
    };
    let (held, first) = bodies(&mut world, 3);
    assert_eq!(first, ["loud 0", "loud 1"]);
    assert!(!read::may_receive(&world.base, &receive(1)).unwrap());
    assert_eq!(bodies(&mut world, 1).1, [""; 0]);
    // Another source is served, and the first one continues once one of its messages has ended.
    send(&mut world, "quiet", 0);
    assert!(read::may_receive(&world.base, &receive(1)).unwrap());
    assert_eq!(bodies(&mut world, 3).1, ["quiet 0"]);
    world.done(&held[0]);
    assert!(read::may_receive(&world.base, &receive(1)).unwrap());
    assert_eq!(bodies(&mut world, 3).1, ["loud 2"]);
    // Messages held by another session do not count.
    world.open(2, 12);
    world.run(command::Kind::Receive(Receive {
        session: 12,
        ..receive(1)
    }));
    assert_eq!(world.bodies("fair", 3), [""; 0], "nothing is left");
}

#[test]
fn a_receipt_is_good_after_its_visibility_ran_out_until_the_message_is_received_again() {
    let mut world = World::new();
    world.send("plain", "a", |_| ());
    let first = world.receive("plain", 11, 1).remove(0);
    world.now += 30_001;
    let second = world.receive("plain", 11, 1).remove(0);
    assert_eq!((second.failures, second.receives), (1, 2));
    assert!(matches!(world.done(&first), reply::Kind::Refused(_)));
    world.now += 30_001;
    world.tick();
    assert!(matches!(world.done(&second), reply::Kind::Done(_)));
    assert_eq!(world.receive("plain", 11, 1), vec![]);
}

#[test]
fn only_failures_count_towards_the_dead_letter_queue() {
    let mut world = World::new();
    world.send("plain", "a", |_| ());
    for _ in 0..20 {
        let message = world.receive("plain", 11, 1).remove(0);
        world.give_back(&message, false, 0);
    }
    for _ in 0..2 {
        let message = world.receive("plain", 11, 1).remove(0);
        world.give_back(&message, true, 0);
    }
    assert_eq!(read::counts(&world.base, "dead").unwrap().waiting, 0);
    let message = world.receive("plain", 11, 1).remove(0);
    world.give_back(&message, true, 0);
    assert_eq!(read::counts(&world.base, "dead").unwrap().waiting, 1);
    assert_eq!(read::counts(&world.base, "plain").unwrap().dead_lettered, 1);
}

#[test]
fn a_delay_a_deduplication_window_and_a_retention_pass_by_the_clock_that_commands_carry() {
    let mut world = World::new();
    world.send("plain", "late", |send| send.delay_ms = 10_000);
    assert!(world.bodies("plain", 1).is_empty());
    world.now += 10_000;
    assert_eq!(world.bodies("plain", 1), ["late"]);
    world.send("dedup", "once", |send| send.dedup_id = "d".into());
    assert_eq!(
        world.send("dedup", "twice", |send| send.dedup_id = "d".into()),
        ""
    );
    world.now += 5_000;
    world.tick();
    assert_ne!(
        world.send("dedup", "again", |send| send.dedup_id = "d".into()),
        ""
    );
    world.now += 3_600_000;
    world.tick();
    assert_eq!(read::counts(&world.base, "dedup").unwrap().expired, 2);
}

#[test]
fn a_topic_reaches_the_queues_whose_filter_passes() {
    let mut world = World::new();
    let publish = |kind: &str| Transact {
        sends: vec![change::to_topic(
            "news",
            "x",
            BTreeMap::from([("type".into(), kind.into())]),
        )],
        ..Transact::default()
    };
    world.run(command::Kind::Transact(publish("LogData")));
    world.run(command::Kind::Transact(publish("RuleMatches")));
    assert_eq!(read::counts(&world.base, "plain").unwrap().waiting, 1);
    assert_eq!(read::counts(&world.base, "fair").unwrap().waiting, 2);
}

fn record(message: &Message) -> (Option<i64>, Option<i64>) {
    use panther_cluster::door::change::RowExt;
    let record = FeedRecord::decode(message.body.clone()).unwrap();
    (
        record.old.and_then(|row| row.int("n")),
        record.new.and_then(|row| row.int("n")),
    )
}

#[test]
fn a_feed_carries_each_row_in_order_one_at_a_time_and_coalesces_only_what_waits() {
    let mut world = World::new();
    let put = |n: i64, count: i64| {
        Change::update("rows", change::key("r"))
            .set("n", n)
            .set("alertCount", count)
    };
    world.put(put(1, 1));
    world.put(put(2, 1));
    world.put(put(3, 2));
    world.put(Change::update("rows", change::key("other")).set("n", 9_i64));
    let received = world.receive("feed", 11, 10);
    assert_eq!(
        received.iter().map(record).collect::<Vec<_>>(),
        [(None, Some(2)), (None, Some(9))]
    );
    world.put(put(4, 2));
    assert!(
        world.receive("feed", 11, 10).is_empty(),
        "one record of a row is in flight at a time"
    );
    world.done(&received[0]);
    assert_eq!(
        world
            .receive("feed", 11, 10)
            .iter()
            .map(record)
            .collect::<Vec<_>>(),
        [(Some(2), Some(4))]
    );
}

#[test]
fn an_expired_row_is_hidden_at_once_swept_later_and_can_be_written_anew() {
    let mut world = World::new();
    world.put(
        Change::update("rows", change::key("r"))
            .set("n", 1_i64)
            .set("expiresAt", 1_010_i64),
    );
    assert_eq!(world.rows().len(), 1);
    world.now = 1_010_000;
    world.send("plain", "moves the clock", |_| ());
    assert!(world.rows().is_empty());
    world.put(
        Change::update("rows", change::key("r"))
            .if_row_absent()
            .add("n", 5),
    );
    world.tick();
    use panther_cluster::door::change::RowExt;
    assert_eq!(world.rows()[0].1.int("n"), Some(5));
}

#[test]
fn a_session_that_ends_gives_back_suspects_which_run_alone_and_only_a_lonely_death_counts() {
    let mut world = World::new();
    world.send("plain", "innocent", |_| ());
    world.send("plain", "killer", |_| ());
    world.send("plain", "later", |_| ());
    assert_eq!(world.receive("plain", 11, 2).len(), 2);
    let mut session = 12;
    world.open(1, session);
    let alone = world.receive("plain", session, 10);
    assert_eq!(alone.len(), 1, "a suspect runs alone");
    assert!(world.receive("plain", session, 10).is_empty());
    world.done(&alone[0]);
    for death in 1..=3 {
        let killer = world.receive("plain", session, 10);
        assert_eq!(killer[0].body, "killer");
        session += 1;
        world.open(1, session);
        let dead = read::counts(&world.base, "dead").unwrap().waiting;
        assert_eq!(dead, u64::from(death == 3), "after {death} lonely deaths");
        world.now += 60_000;
        world.tick();
    }
    let later = world.receive("plain", session, 10);
    assert_eq!((later.len(), later[0].failures), (1, 0));
    assert_eq!(later[0].body, "later");
}

/// In steps, whatever limit was asked for: all other commands would wait for one that removes a million messages.
#[test]
fn a_purge_and_a_requeue_take_no_more_than_their_share_at_once_and_all_in_steps() {
    const MANY: u32 = 1_200;
    const SHARE: u32 = 500;
    let mut world = World::new();
    for number in 0..MANY {
        world.send("plain", &format!("{number}"), |_| ());
    }
    for purges in [false, true] {
        let (mut count, mut after) = (0, 0);
        loop {
            let step = if purges {
                command::Kind::Purge(Purge {
                    queue: "fair".into(),
                    max: u32::MAX,
                    after,
                    ..Purge::default()
                })
            } else {
                command::Kind::Requeue(Requeue {
                    from: "plain".into(),
                    to: "fair".into(),
                    max: u32::MAX,
                    after,
                    ..Requeue::default()
                })
            };
            let reply::Kind::Moved(moved) = world.run(step) else {
                panic!("it is refused");
            };
            assert!(moved.count <= SHARE, "{moved:?}");
            count += moved.count;
            after = moved.last;
            if moved.finished {
                break;
            }
        }
        assert_eq!(count, MANY);
    }
    assert!(world.receive("fair", 11, 1).is_empty());
}

#[test]
fn requeue_moves_what_was_there_at_its_start_and_nothing_that_comes_later() {
    let mut world = World::new();
    let mut ids: Vec<String> = (0..3)
        .map(|number| {
            world.send("dead", &number.to_string(), |send| {
                send.attributes = BTreeMap::from([("id".into(), "x".into())])
            })
        })
        .collect();
    let upto = read::counts(&world.base, "dead").unwrap().next_seq;
    world.send("dead", "late", |_| ());
    world.run(command::Kind::Requeue(panther_proto::v1::Requeue {
        from: "dead".into(),
        to: "plain".into(),
        upto,
        max: 500,
        message_id: String::new(),
        after: 0,
    }));
    let mut moved: Vec<String> = world
        .receive("plain", 11, 10)
        .iter()
        .map(|message| {
            assert_eq!(message.attributes["id"], "x");
            message.id.clone()
        })
        .collect();
    ids.sort_unstable();
    moved.sort_unstable();
    assert_eq!(moved, ids);
    assert_eq!(read::counts(&world.base, "dead").unwrap().waiting, 1);
    assert!(world.base.get(b"nothing").unwrap().is_none());
}
