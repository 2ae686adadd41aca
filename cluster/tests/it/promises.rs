//! Regression tests for faults that random histories have found: receipts, counts, limits, order.

use panther_cluster::door::change::{self, Change, RowExt};
use panther_cluster::state::read;
use panther_proto::v1::{
    Code, Declare, FeedRecord, FeedSpec, GiveBack, IndexSpec, Message, OpenSession, QueueSpec,
    RaiseFormat, Receipt, Requeue, Send, TableSpec, Transact, command, reply,
};
use prost::Message as _;

use crate::queues::World;

fn code(reply: &reply::Kind) -> Option<Code> {
    match reply {
        reply::Kind::Refused(refused) => Code::try_from(refused.code).ok(),
        _ => None,
    }
}

fn failed(message: &Message) -> command::Kind {
    command::Kind::GiveBack(GiveBack {
        receipt: message.receipt.clone(),
        failed: true,
        ..GiveBack::default()
    })
}

fn failures(world: &World, queue: &str) -> u32 {
    read::peek(&world.base, queue, 0, 1).unwrap()[0].failures
}

fn redeclare(world: &mut World, queues: Vec<QueueSpec>, tables: Vec<TableSpec>) -> reply::Kind {
    let version = read::globals(&world.base).unwrap().declared + 1;
    world.run(command::Kind::Declare(Declare {
        version,
        queues,
        tables,
        topics: Vec::new(),
    }))
}

fn spec(world: &World, queue: &str) -> QueueSpec {
    let specs = read::queues(&world.base).unwrap();
    specs.into_iter().find(|spec| spec.name == queue).unwrap()
}

#[test]
fn one_receive_fails_once_however_often_it_is_given_back() {
    let mut world = World::new();
    world.send("plain", "a", |_| ());
    let first = world.receive("plain", 11, 1).remove(0);
    world.run(failed(&first));
    assert_eq!(code(&world.run(failed(&first))), Some(Code::StaleReceipt));
    assert_eq!(failures(&world, "plain"), 1);
    let second = world.receive("plain", 11, 1).remove(0);
    world.now += 30_001;
    world.tick();
    assert!(matches!(world.run(failed(&second)), reply::Kind::Done(_)));
    assert_eq!(
        failures(&world, "plain"),
        2,
        "its visibility ran out: that was the failure"
    );
}

#[test]
fn who_received_an_old_body_cannot_end_the_newer_one_laid_over_it() {
    let mut world = World::new();
    world.send("plain", "old", |send| send.coalesce_key = "k".into());
    let old = world.receive("plain", 11, 1).remove(0);
    world.now += 30_001;
    world.tick();
    world.send("plain", "new", |send| send.coalesce_key = "k".into());
    assert_eq!(code(&world.done(&old)), Some(Code::StaleReceipt));
    assert_eq!(world.bodies("plain", 10), ["new"]);
}

#[test]
fn a_record_is_not_laid_over_one_that_another_record_of_its_row_has_passed() {
    let mut world = World::new();
    for (n, count) in [(1, 1), (2, 2), (3, 1)] {
        world.put(
            Change::update("rows", change::key("r"))
                .set("n", n as i64)
                .set("alertCount", count as i64),
        );
    }
    let mut seen = Vec::new();
    while let Some(message) = world.receive("feed", 11, 10).pop() {
        let record = FeedRecord::decode(message.body.clone()).unwrap();
        seen.push(record.new.unwrap().int("n").unwrap());
        world.done(&message);
    }
    assert_eq!(seen, [1, 2, 3]);
}

#[test]
fn a_body_is_merged_in_feeds_only() {
    let mut world = World::new();
    let body = FeedRecord {
        table: "mine".into(),
        old: Some(panther_proto::v1::Row::default()),
        ..FeedRecord::default()
    };
    for body in [body.encode_to_vec(), b"".to_vec()] {
        let mut send = change::to_queue("plain", body);
        (send.coalesce_key, send.group) = ("k".into(), "g".into());
        world.run(command::Kind::Transact(Transact {
            sends: vec![send],
            ..Transact::default()
        }));
    }
    assert_eq!(world.bodies("plain", 10), [""]);
}

#[test]
fn a_dead_letter_keeps_its_group_for_the_way_back() {
    let mut world = World::new();
    for body in ["a", "b"] {
        world.send("plain", body, |send| send.group = "g".into());
    }
    for _ in 0..3 {
        let message = world.receive("plain", 11, 1).remove(0);
        world.give_back(&message, true, 0);
    }
    let requeue = Requeue {
        from: "dead".into(),
        to: "plain".into(),
        max: 10,
        ..Requeue::default()
    };
    world.run(command::Kind::Requeue(requeue));
    assert_eq!(world.bodies("plain", 10), ["b"], "one of a group at a time");
}

#[test]
fn no_bound_keeps_a_dead_letter_or_what_a_handler_sends_from_its_queue() {
    let mut world = World::new();
    let full = |world: &World, name: &str| QueueSpec {
        max_bytes: 1,
        ..spec(world, name)
    };
    world.send("plain", "a", |_| ());
    world.send("fair", "b", |_| ());
    let specs = vec![full(&world, "dead"), full(&world, "dedup")];
    redeclare(&mut world, specs, Vec::new());
    for _ in 0..3 {
        let message = world.receive("plain", 11, 1).remove(0);
        world.give_back(&message, true, 0);
    }
    assert_eq!(read::counts(&world.base, "dead").unwrap().waiting, 1);
    let new_work = Transact {
        sends: vec![change::to_queue("dedup", b"x".to_vec())],
        ..Transact::default()
    };
    let reply = world.run(command::Kind::Transact(new_work.clone()));
    assert_eq!(code(&reply), Some(Code::Full));
    let done = Transact {
        done: world.receive("fair", 11, 1)[0].receipt.clone(),
        ..new_work
    };
    assert!(matches!(
        world.run(command::Kind::Transact(done)),
        reply::Kind::Done(_)
    ));
}

#[test]
fn unique_values_are_judged_after_all_changes_and_an_expired_row_holds_none() {
    let mut world = World::new();
    let names = TableSpec {
        name: "names".into(),
        indexes: vec![IndexSpec {
            name: "by-name".into(),
            hash: "name".into(),
            range: String::new(),
            unique: true,
        }],
        ttl_attribute: "expiresAt".into(),
        feeds: Vec::new(),
    };
    redeclare(&mut world, Vec::new(), vec![names]);
    let row = |key: &str, name: &str| Change::update("names", change::key(key)).set("name", name);
    world.put(row("x", "a").set("expiresAt", 1_010_i64));
    world.put(row("y", "b").set("expiresAt", 1_010_i64));
    let swap = Transact {
        changes: vec![row("x", "b").done(), row("y", "a").done()],
        ..Transact::default()
    };
    let reply = world.run(command::Kind::Transact(swap));
    assert!(matches!(reply, reply::Kind::Done(_)), "{reply:?}");
    let taken = Transact {
        changes: vec![row("z", "a").done()],
        ..Transact::default()
    };
    let reply = world.run(command::Kind::Transact(taken.clone()));
    assert_eq!(code(&reply), Some(Code::NotUnique));
    world.now = 1_010_000;
    let reply = world.run(command::Kind::Transact(taken));
    assert!(matches!(reply, reply::Kind::Done(_)), "{reply:?}");
}

#[test]
fn a_deduplication_window_ends_by_the_clock_and_not_by_the_sweep() {
    let mut world = World::new();
    world.send("dedup", "a", |send| send.dedup_id = "d".into());
    world.now += 5_000;
    assert_ne!(
        world.send("dedup", "b", |send| send.dedup_id = "d".into()),
        ""
    );
    world.tick();
    assert_eq!(
        world.send("dedup", "c", |send| send.dedup_id = "d".into()),
        ""
    );
}

#[test]
fn a_session_that_lost_a_message_to_time_runs_empty_and_is_given_suspects() {
    let mut world = World::new();
    world.send("plain", "slow", |_| ());
    world.receive("plain", 11, 1);
    world.now += 30_001;
    let again = world.receive("plain", 11, 1).remove(0);
    world.done(&again);
    world.open(2, 21);
    world.send("plain", "suspect", |_| ());
    world.receive("plain", 21, 1);
    world.open(2, 22);
    assert_eq!(world.bodies("plain", 1), ["suspect"]);
}

#[test]
fn a_suspect_that_nobody_asks_for_stops_no_other_queue() {
    let mut world = World::new();
    world.open(2, 21);
    world.send("plain", "suspect", |_| ());
    world.receive("plain", 21, 1);
    world.open(2, 22);
    for body in ["a", "b"] {
        world.send("fair", body, |_| ());
    }
    assert_eq!(world.bodies("fair", 1), ["a"]);
    assert!(
        world.bodies("plain", 1).is_empty(),
        "not beside another message"
    );
    assert!(
        world.bodies("fair", 1).is_empty(),
        "it was asked for: run empty"
    );
    world.now += 10_000;
    assert_eq!(world.bodies("fair", 1), ["b"], "but not for ever");
}

#[test]
fn taking_out_a_later_one_of_a_group_counts_its_first_suspect_once() {
    let mut world = World::new();
    world.send("plain", "a", |send| send.group = "g".into());
    let second = world.send("plain", "b", |send| send.group = "g".into());
    world.receive("plain", 11, 1);
    world.open(1, 12);
    let requeue = Requeue {
        from: "plain".into(),
        to: "fair".into(),
        message_id: second,
        max: 1,
        ..Requeue::default()
    };
    world.run(command::Kind::Requeue(requeue));
    assert_eq!(read::counts(&world.base, "plain").unwrap().suspects, 1);
}

#[test]
fn a_message_far_behind_others_is_found_by_its_id() {
    let mut world = World::new();
    let mut last = String::new();
    for number in 0..2_100 {
        last = world.send("plain", &number.to_string(), |_| ());
    }
    let (mut after, mut moved_in_all) = (0, 0);
    loop {
        let requeue = Requeue {
            from: "plain".into(),
            to: "fair".into(),
            message_id: last.clone(),
            max: 500,
            after,
            ..Requeue::default()
        };
        let reply::Kind::Moved(moved) = world.run(command::Kind::Requeue(requeue)) else {
            panic!("a requeue answers how much it moved");
        };
        moved_in_all += moved.count;
        after = moved.last;
        if moved.finished {
            break;
        }
    }
    assert_eq!((moved_in_all, after), (1, 2_100));
}

#[test]
fn a_session_number_is_one_nodes_and_a_receipt_is_its_holders() {
    let mut world = World::new();
    world.open(2, 21);
    let stolen = world.run(command::Kind::OpenSession(OpenSession {
        node: 2,
        session: 11,
    }));
    assert_eq!(code(&stolen), Some(Code::Invalid));
    world.send("plain", "a", |_| ());
    let message = world.receive("plain", 11, 1).remove(0);
    let forged = Receipt {
        session: 21,
        ..message.receipt.clone().unwrap()
    };
    let reply = world.run(command::Kind::Transact(Transact {
        done: Some(forged),
        ..Transact::default()
    }));
    assert_eq!(code(&reply), Some(Code::StaleReceipt));
}

#[test]
fn what_decides_where_a_message_is_found_does_not_change_under_it() {
    let mut world = World::new();
    world.send("plain", "a", |_| ());
    let fair = QueueSpec {
        fair: true,
        ..spec(&world, "plain")
    };
    let reply = redeclare(&mut world, vec![fair.clone()], Vec::new());
    assert_eq!(code(&reply), Some(Code::Invalid));
    assert_eq!(world.bodies("plain", 1), ["a"]);
}

/// Declares with the version that is in force.
fn declare_again(world: &mut World, queues: Vec<QueueSpec>, tables: Vec<TableSpec>) -> reply::Kind {
    let version = read::globals(&world.base).unwrap().declared;
    world.run(command::Kind::Declare(Declare {
        version,
        queues,
        tables,
        topics: Vec::new(),
    }))
}

#[test]
fn other_declarations_of_the_same_version_take_effect_and_what_cannot_change_is_named() {
    let mut world = World::new();
    let longer = |world: &World, queue: &str| QueueSpec {
        fair: true,
        retention_ms: 1_000,
        ..spec(world, queue)
    };
    let plain = longer(&world, "plain");
    declare_again(&mut world, vec![plain.clone()], Vec::new());
    assert!(
        !spec(&world, "plain").fair,
        "an older format does not compare"
    );
    world.run(command::Kind::RaiseFormat(RaiseFormat { format: 4 }));
    world.send("plain", "a", |_| ());
    let dedup = longer(&world, "dedup");
    let reply = declare_again(&mut world, vec![plain, dedup], Vec::new());
    let reply::Kind::Done(done) = reply else {
        panic!("{reply:?}");
    };
    assert_eq!(done.kept, ["plain"]);
    let plain = spec(&world, "plain");
    assert_eq!((plain.fair, plain.retention_ms), (false, 1_000));
    assert!(spec(&world, "dedup").fair);
    assert_eq!(world.bodies("plain", 1), ["a"]);
}

#[test]
fn each_feed_of_a_table_gets_a_record_of_each_change() {
    let mut world = World::new();
    let feed = |queue: &str| FeedSpec {
        queue: queue.into(),
        coalesce_by: Vec::new(),
    };
    let table = TableSpec {
        name: "fed".into(),
        feeds: vec![feed("feed"), feed("dedup")],
        ..TableSpec::default()
    };
    let reply = redeclare(&mut world, Vec::new(), vec![table.clone()]);
    assert_eq!(
        code(&reply),
        Some(Code::Invalid),
        "an older format knows one"
    );
    world.run(command::Kind::RaiseFormat(RaiseFormat { format: 4 }));
    redeclare(&mut world, Vec::new(), vec![table]);
    world.put(Change::update("fed", change::key("x")).set("name", "a"));
    for queue in ["feed", "dedup"] {
        let message = world.receive(queue, 11, 1).remove(0);
        let record = FeedRecord::decode(message.body).unwrap();
        let image = record.new.unwrap();
        assert_eq!(image.text("name"), Some("a"), "{queue}");
    }
}

#[test]
fn records_and_messages_carry_the_trace_of_their_command_from_format_5_on() {
    let mut world = World::new();
    let traced = |world: &mut World, row: &str| {
        world.run(command::Kind::Transact(Transact {
            changes: vec![
                Change::update("fed", change::key(row))
                    .set("name", "a")
                    .done(),
            ],
            sends: vec![
                change::to_queue("plain", "inherits"),
                Send {
                    trace_id: "0b".into(),
                    span_id: 11,
                    ..change::to_queue("plain", "own")
                },
            ],
            trace_id: "0a".into(),
            span_id: 10,
            ..Transact::default()
        }));
        let mut messages = world.receive("feed", 11, 1);
        messages.extend(world.receive("plain", 11, 2));
        let trace = |message: Message| (message.trace_id, message.span_id);
        messages.into_iter().map(trace).collect::<Vec<_>>()
    };
    let feed = FeedSpec {
        queue: "feed".into(),
        coalesce_by: Vec::new(),
    };
    let table = TableSpec {
        name: "fed".into(),
        feeds: vec![feed],
        ..TableSpec::default()
    };
    world.run(command::Kind::RaiseFormat(RaiseFormat { format: 4 }));
    redeclare(&mut world, Vec::new(), vec![table]);
    let (empty, own) = ((String::new(), 0), ("0b".to_owned(), 0));
    assert_eq!(traced(&mut world, "x"), [empty.clone(), empty, own]);
    world.run(command::Kind::RaiseFormat(RaiseFormat { format: 5 }));
    let (command, own) = (("0a".to_owned(), 10), ("0b".to_owned(), 11));
    assert_eq!(
        traced(&mut world, "y"),
        [command.clone(), command, own],
        "feed record, message without a trace, message with its own"
    );
}

#[test]
fn a_request_from_the_future_is_refused_and_an_old_one_is_never_run() {
    let mut world = World::new();
    let request = |time: u64| {
        command::Kind::Transact(Transact {
            request_id: "r".into(),
            request_time_ms: time,
            ..Transact::default()
        })
    };
    let now = world.now;
    assert_eq!(
        code(&world.run(request(now + 600_001))),
        Some(Code::Invalid)
    );
    assert!(matches!(world.run(request(now)), reply::Kind::Done(_)));
    world.now += 600_000;
    assert_eq!(code(&world.run(request(now))), Some(Code::StaleRequest));
}
