//! Cluster time as state: what a leap holds back, and time that is set back.

use panther_cluster::door::change::{self, Change};
use panther_cluster::state::read;
use panther_cluster::state::time::{HOLD_MS, LEAP_MS};
use panther_proto::v1::{
    Code, Message, QueueCounts, RaiseFormat, SetTime, Transact, command, reply,
};
use proptest::prelude::*;

use crate::queues::World;

const DAY_MS: u64 = 24 * 3_600_000;
const MINUTE_MS: u64 = 60_000;

fn world() -> World {
    let mut world = World::new();
    world.format = 3;
    world.run(command::Kind::RaiseFormat(RaiseFormat { format: 3 }));
    world
}

fn counts(world: &World, queue: &str) -> QueueCounts {
    read::counts(&world.base, queue).unwrap()
}

fn ticks(world: &mut World) {
    for _ in 0..20 {
        world.tick();
    }
}

fn later(world: &mut World, ms: u64) {
    world.now += ms;
    ticks(world);
}

/// Runs a request that was issued at `time_ms`.
fn request(world: &mut World, id: &str, time_ms: u64) -> reply::Kind {
    world.run(command::Kind::Transact(Transact {
        sends: vec![change::to_queue("plain", id.as_bytes().to_vec())],
        request_id: id.into(),
        request_time_ms: time_ms,
        ..Transact::default()
    }))
}

fn code(reply: &reply::Kind) -> Option<Code> {
    match reply {
        reply::Kind::Refused(refused) => Code::try_from(refused.code).ok(),
        _ => None,
    }
}

fn set(world: &mut World, time_ms: u64) -> reply::Kind {
    let reply = world.run(command::Kind::SetTime(SetTime { time_ms }));
    if matches!(reply, reply::Kind::Done(_)) {
        world.now = time_ms;
        world.era += 1;
    }
    reply
}

/// A state with one timer of each kind.
fn with_one_of_each() -> (World, Message) {
    let mut world = world();
    world.send("dead", "a dead letter", |_| ());
    world.send("plain", "in flight", |_| ());
    let held = world.receive("plain", 11, 1).remove(0);
    world.send("plain", "waits", |_| ());
    world.send("dedup", "once", |send| send.dedup_id = "d".into());
    let expires = (world.now + 10 * MINUTE_MS) / 1_000;
    world.put(Change::put("rows", change::key("r")).set("expiresAt", expires));
    let issued = world.now;
    assert!(matches!(
        request(&mut world, "asked", issued),
        reply::Kind::Done(_)
    ));
    (world, held)
}

#[test]
fn nothing_expires_on_a_leap_nor_in_the_minute_after_it() {
    let (mut world, held) = with_one_of_each();
    let issued = world.now;
    for ms in [400 * DAY_MS, HOLD_MS / 2, HOLD_MS / 2] {
        later(&mut world, ms);
        assert_eq!(counts(&world, "dead").expired, 0);
        assert_eq!(counts(&world, "plain").expired, 0);
        assert_eq!(counts(&world, "plain").failures, 0, "the lease is held");
        assert_eq!(world.rows().len(), 1);
        let again = request(&mut world, "asked", issued);
        assert!(matches!(again, reply::Kind::Done(_)), "{again:?}");
        world.send("dedup", "twice", |send| send.dedup_id = "d".into());
        assert_eq!(
            counts(&world, "dedup").waiting,
            1,
            "it is a duplicate still"
        );
    }
    assert_eq!(counts(&world, "plain").accepted, 3, "no second effect");
    assert!(matches!(world.done(&held), reply::Kind::Done(_)));
}

#[test]
fn what_is_due_within_a_leap_becomes_due_step_by_step() {
    let (mut world, _) = with_one_of_each();
    later(&mut world, 400 * DAY_MS);
    later(&mut world, HOLD_MS + 30_000);
    assert_eq!(
        counts(&world, "plain").failures,
        1,
        "its visibility has run out now"
    );
    assert_eq!(world.rows().len(), 1);
    later(&mut world, 10 * MINUTE_MS);
    assert_eq!(world.rows().len(), 0);
    assert_eq!(counts(&world, "plain").expired, 0);
    for _ in 0..60 {
        later(&mut world, MINUTE_MS);
    }
    assert_ne!(counts(&world, "plain").expired, 0, "an hour of retention");
    // 14 days of retention take more than half a day, so there is time to set the clock right.
    for _ in 0..12 {
        later(&mut world, 60 * MINUTE_MS);
        assert_eq!(counts(&world, "dead").expired, 0);
    }
    for _ in 0..4 {
        later(&mut world, 60 * MINUTE_MS);
    }
    assert_eq!(counts(&world, "dead").expired, 1);
}

#[test]
fn what_is_stamped_after_a_leap_is_due_in_its_own_time() {
    let (mut world, _) = with_one_of_each();
    later(&mut world, 400 * DAY_MS);
    world.send("dedup", "other", |send| send.dedup_id = "e".into());
    world.send("plain", "delayed", |send| send.delay_ms = 5_000);
    assert_eq!(counts(&world, "plain").delayed, 1);
    later(&mut world, 5_000);
    assert_eq!(counts(&world, "plain").delayed, 0);
    world.send("dedup", "again", |send| send.dedup_id = "e".into());
    assert_eq!(counts(&world, "dedup").waiting, 3);
}

#[test]
fn an_hour_is_no_leap_and_in_the_first_format_none_is() {
    for (format, pass, expired) in [(2, LEAP_MS, 1), (2, LEAP_MS + 1, 0), (1, LEAP_MS + 1, 1)] {
        let mut world = World::new();
        world.run(command::Kind::RaiseFormat(RaiseFormat { format }));
        world.format = format;
        world.send("plain", "a", |_| ());
        later(&mut world, pass);
        assert_eq!(counts(&world, "plain").expired, expired, "{format} {pass}");
    }
}

#[test]
fn a_second_leap_holds_back_what_the_first_one_still_does() {
    let (mut world, _) = with_one_of_each();
    later(&mut world, 2 * DAY_MS);
    later(&mut world, 30_000);
    later(&mut world, 30 * DAY_MS);
    later(&mut world, HOLD_MS);
    assert_eq!(
        counts(&world, "dead").expired + counts(&world, "plain").expired,
        0
    );
    assert_eq!(counts(&world, "plain").failures, 0);
    assert_eq!(world.rows().len(), 1);
}

#[test]
fn time_that_was_led_ahead_is_set_back_with_all_that_was_stamped_meanwhile() {
    let (mut world, _) = with_one_of_each();
    let right = world.now;
    later(&mut world, 400 * DAY_MS);
    world.open(2, 22);
    world.send("plain", "sent ahead", |_| ());
    world.send("plain", "delayed ahead", |send| send.delay_ms = 60_000);
    world.send("dedup", "ahead", |send| send.dedup_id = "e".into());
    let ahead = world.now;
    assert!(matches!(
        set(&mut world, right + 5_000),
        reply::Kind::Done(_)
    ));
    let stale = world.era - 1;
    ticks(&mut world);
    let globals = read::globals(&world.base).unwrap();
    assert_eq!(globals.clock_ms, right + 5_000);
    assert!(!globals.moves_stamps(), "all are moved");
    // An entry that was stamped before the time was set does not move the clock.
    (world.era, world.now) = (stale, ahead + 1_000);
    world.tick();
    assert_eq!(read::globals(&world.base).unwrap().clock_ms, right + 5_000);
    (world.era, world.now) = (stale + 1, right + 5_000);
    assert_eq!(counts(&world, "dead").expired, 0);
    assert_eq!(world.rows().len(), 1);
    for message in read::peek(&world.base, "plain", 0, 10).unwrap() {
        assert!(message.sent_ms <= world.now, "{message:?}");
        assert!(
            message.visible_at_ms <= world.now + 15 * MINUTE_MS,
            "{message:?}"
        );
    }
    let (_, opened) = read::open_sessions(&world.base).unwrap()[&2];
    assert!(opened <= world.now);
    world.send("dedup", "too soon", |send| send.dedup_id = "e".into());
    assert_eq!(counts(&world, "dedup").waiting, 2);
    later(&mut world, 6_000);
    world.send("dedup", "late enough", |send| send.dedup_id = "e".into());
    assert_eq!(counts(&world, "dedup").waiting, 3);
    later(&mut world, 15 * MINUTE_MS);
    assert_eq!(counts(&world, "plain").delayed, 0);
    assert_eq!(world.rows().len(), 0, "its time has come");
}

#[test]
fn what_was_received_while_time_was_ahead_is_hidden_for_no_longer_than_was_asked() {
    const VISIBILITY_MS: u64 = 30_000;
    // Less than the longest visibility timeout.
    let by = 2 * 3_600_000;
    let mut world = world();
    world.send("plain", "before", |_| ());
    world.send("plain", "ahead", |_| ());
    assert_eq!(world.receive("plain", 11, 1).len(), 1);
    let right = world.now;
    later(&mut world, by);
    assert_eq!(world.receive("plain", 11, 1).len(), 1);
    assert!(matches!(set(&mut world, right), reply::Kind::Done(_)));
    ticks(&mut world);
    let most = world.now + VISIBILITY_MS;
    for message in read::peek(&world.base, "plain", 0, 10).unwrap() {
        assert!(message.visible_at_ms <= most, "{message:?}");
    }
    later(&mut world, VISIBILITY_MS + 1);
    assert_eq!(counts(&world, "plain").in_flight, 0);
    assert_eq!(world.receive("plain", 11, 2).len(), 2);
}

#[test]
fn a_request_in_the_right_time_is_done_after_time_was_set_back() {
    let (mut world, _) = with_one_of_each();
    let right = world.now;
    later(&mut world, 400 * DAY_MS);
    assert_eq!(code(&request(&mut world, "b", right)), None, "held back");
    later(&mut world, 30 * MINUTE_MS);
    assert_eq!(
        code(&request(&mut world, "c", right)),
        Some(Code::StaleRequest)
    );
    set(&mut world, right);
    assert!(matches!(
        request(&mut world, "c", right),
        reply::Kind::Done(_)
    ));
}

#[test]
fn setting_the_time_needs_the_format_that_knows_it() {
    let mut world = World::new();
    world.run(command::Kind::RaiseFormat(RaiseFormat { format: 1 }));
    let now = world.now;
    assert_eq!(code(&set(&mut world, now + 1)), Some(Code::BadFormat));
    world.run(command::Kind::RaiseFormat(RaiseFormat { format: 2 }));
    assert_eq!(code(&set(&mut world, 0)), Some(Code::Invalid));
    assert!(matches!(set(&mut world, now + 1), reply::Kind::Done(_)));
}

#[derive(Debug, Clone)]
enum Step {
    Pass(u64),
    Leap(u64),
    SetBack,
}

fn step() -> impl Strategy<Value = Step> {
    prop_oneof![
        4 => (1..30_000_u64).prop_map(Step::Pass),
        2 => (LEAP_MS + 1..900 * DAY_MS).prop_map(Step::Leap),
        1 => Just(Step::SetBack),
    ]
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(200))]

    /// Whatever leaps the clocks make, and however often time is set back: a message lives at least for its retention
    /// in true time.
    #[test]
    fn no_leap_ends_a_message_before_its_time(steps in prop::collection::vec(step(), 1..25)) {
        let mut world = world();
        let (mut lived, mut ahead) = (0, 0);
        world.send("plain", "a", |_| ());
        for step in steps {
            match step {
                Step::Pass(ms) => {
                    lived += ms;
                    later(&mut world, ms);
                }
                Step::Leap(ms) => {
                    ahead += ms;
                    later(&mut world, ms);
                }
                Step::SetBack => {
                    let to = world.now - ahead;
                    set(&mut world, to);
                    ahead = 0;
                    ticks(&mut world);
                }
            }
            prop_assert!(lived >= 3_600_000 || counts(&world, "plain").expired == 0);
        }
    }
}
