use std::path::Path;
use std::time::Duration;

use panther_cluster::door::change::{self, Change, RowExt};
use panther_cluster::door::{Door, DoorError, DoorSettings};
use panther_cluster::state::read::Query;
use panther_proto::v1::{
    Code, Declare, GiveBack, IndexSpec, QueueSpec, TableSpec, Transact, command,
};

pub(crate) fn declaration() -> Declare {
    let queue = |name: &str, dlq: &str| QueueSpec {
        name: name.into(),
        visibility_ms: 60_000,
        retention_ms: 86_400_000,
        max_receive_count: if dlq.is_empty() { 0 } else { 3 },
        dlq: dlq.into(),
        dedup_window_ms: 300_000,
        lonely_deaths: 3,
        dead_letter: dlq.is_empty(),
        ..QueueSpec::default()
    };
    let index = |name: &str, hash: &str, range: &str, unique| IndexSpec {
        name: name.into(),
        hash: hash.into(),
        range: range.into(),
        unique,
    };
    Declare {
        version: 1,
        tables: vec![TableSpec {
            name: "alerts".into(),
            indexes: vec![
                index("by-rule", "rule", "time", false),
                index("by-name", "name", "", true),
            ],
            ttl_attribute: "expiresAt".into(),
            feeds: Vec::new(),
        }],
        queues: vec![queue("work-dlq", ""), queue("work", "work-dlq")],
        topics: vec![],
    }
}

pub(crate) async fn open(folder: &Path, session: u64) -> Door {
    let door = Door::open(folder, 1, session, DoorSettings::default())
        .await
        .unwrap();
    door.execute(command::Kind::Declare(declaration()))
        .await
        .unwrap();
    door
}

fn send(body: &str) -> Transact {
    Transact {
        sends: vec![change::to_queue("work", body.as_bytes().to_vec())],
        ..Transact::default()
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn a_message_is_done_together_with_its_effects_or_not_at_all() {
    let folder = tempfile::tempdir().unwrap();
    let door = open(folder.path(), 7).await;
    door.transact(send("first")).await.unwrap();
    let received = door
        .receive("work", 10, Duration::from_secs(5))
        .await
        .unwrap();
    let receipt = received.messages[0].receipt.clone().unwrap();
    let effect = |expected: i64| Transact {
        done: Some(receipt.clone()),
        changes: vec![
            Change::update("alerts", change::key("a"))
                .if_equals("count", expected)
                .add("count", 1)
                .done(),
        ],
        ..Transact::default()
    };
    assert!(matches!(
        door.transact(effect(5)).await,
        Err(DoorError::Conflict(_))
    ));
    assert_eq!(door.counts("work").await.unwrap().in_flight, 1);
    let mut good = effect(0);
    good.changes[0].conditions.clear();
    door.transact(good.clone()).await.unwrap();
    let again = door.transact(good).await.unwrap_err();
    assert_eq!(again.code(), Some(Code::StaleReceipt));
    assert_eq!(
        door.get("alerts", &change::key("a"))
            .await
            .unwrap()
            .unwrap()
            .int("count"),
        Some(1)
    );
    let counts = door.counts("work").await.unwrap();
    assert_eq!((counts.done, counts.waiting, counts.in_flight), (1, 0, 0));
    door.close().await.unwrap();
}

#[tokio::test(flavor = "multi_thread")]
async fn everything_acknowledged_is_there_after_a_restart_and_what_was_held_is_received_again() {
    let folder = tempfile::tempdir().unwrap();
    let door = open(folder.path(), 7).await;
    for number in 0..200 {
        door.transact(send(&format!("message {number}")))
            .await
            .unwrap();
    }
    let held = door
        .receive("work", 1, Duration::from_secs(5))
        .await
        .unwrap()
        .messages;
    let hash = door.group().store().applied();
    door.close().await.unwrap();
    drop(door);
    let door = open(folder.path(), 8).await;
    assert!(door.group().store().applied().last.unwrap().index >= hash.last.unwrap().index);
    let mut bodies = Vec::new();
    while bodies.len() < 200 {
        for message in door
            .receive("work", 50, Duration::from_secs(5))
            .await
            .unwrap()
            .messages
        {
            bodies.push(String::from_utf8(message.body.to_vec()).unwrap());
            door.transact(Transact {
                done: message.receipt,
                ..Transact::default()
            })
            .await
            .unwrap();
        }
    }
    bodies.sort_unstable();
    bodies.dedup();
    assert_eq!(bodies.len(), 200);
    let stale = Transact {
        done: held[0].receipt.clone(),
        ..Transact::default()
    };
    assert_eq!(
        door.transact(stale).await.unwrap_err().code(),
        Some(Code::StaleSession)
    );
    door.close().await.unwrap();
}

#[tokio::test(flavor = "multi_thread")]
async fn a_snapshot_cuts_the_log_and_state_comes_back_from_it_when_the_database_is_damaged() {
    let folder = tempfile::tempdir().unwrap();
    let door = open(folder.path(), 7).await;
    for number in 0..50_i64 {
        let change = Change::update("alerts", change::key(format!("row {number}")))
            .set("rule", "r")
            .set("time", number)
            .set("text", "x".repeat(20_000));
        door.transact(Transact {
            changes: vec![change.done()],
            ..Transact::default()
        })
        .await
        .unwrap();
    }
    door.group().snapshot().await.unwrap();
    while door.group().status().snapshot.is_none() {
        tokio::task::yield_now().await;
    }
    door.close().await.unwrap();
    drop(door);
    let database = folder.path().join("state/state-1/db");
    assert!(
        std::fs::read_dir(folder.path().join("state/state-1/blobs"))
            .unwrap()
            .next()
            .is_none(),
        "values are cut, so no blob is made"
    );
    let mut bytes = std::fs::read(&database).unwrap();
    for at in (0..bytes.len()).step_by(97) {
        bytes[at] ^= 0x5A;
    }
    std::fs::write(&database, bytes).unwrap();
    let door = open(folder.path(), 8).await;
    let query = Query {
        table: "alerts".into(),
        index: "by-rule".into(),
        hash: Some(change::IntoValue::into_value("r")),
        ..Query::default()
    };
    let rows = door.query_all(query).await.unwrap();
    assert_eq!(
        rows.iter()
            .map(|(_, row)| row.int("time").unwrap())
            .collect::<Vec<_>>(),
        (0..50).collect::<Vec<_>>()
    );
    assert_eq!(rows[49].1.text("text").unwrap().len(), 20_000);
    door.close().await.unwrap();
}

#[tokio::test(flavor = "multi_thread")]
async fn a_retried_request_has_one_effect_and_an_old_one_is_refused() {
    let folder = tempfile::tempdir().unwrap();
    let door = open(folder.path(), 7).await;
    let request = Transact {
        changes: vec![
            Change::update("alerts", change::key("a"))
                .add("count", 1)
                .done(),
        ],
        request_id: "r-1".into(),
        request_time_ms: door.now_ms(),
        ..Transact::default()
    };
    for _ in 0..3 {
        door.transact(request.clone()).await.unwrap();
    }
    assert_eq!(
        door.get("alerts", &change::key("a"))
            .await
            .unwrap()
            .unwrap()
            .int("count"),
        Some(1)
    );
    let old = Transact {
        request_id: "r-2".into(),
        request_time_ms: door.now_ms() - 601_000,
        ..request
    };
    assert_eq!(
        door.transact(old).await.unwrap_err().code(),
        Some(Code::StaleRequest)
    );
    door.close().await.unwrap();
}

#[tokio::test(flavor = "multi_thread")]
async fn a_unique_name_stays_unique_and_too_large_a_command_is_turned_away_at_the_door() {
    let folder = tempfile::tempdir().unwrap();
    let door = open(folder.path(), 7).await;
    let named = |key: &str| Transact {
        changes: vec![
            Change::put("alerts", change::key(key))
                .set("name", "one")
                .done(),
        ],
        ..Transact::default()
    };
    door.transact(named("a")).await.unwrap();
    door.transact(named("a")).await.unwrap();
    assert_eq!(
        door.transact(named("b")).await.unwrap_err().code(),
        Some(Code::NotUnique)
    );
    assert_eq!(door.get("alerts", &change::key("b")).await.unwrap(), None);
    let error = door
        .transact(send(&"x".repeat(300 << 10)))
        .await
        .unwrap_err();
    assert_eq!(error.code(), Some(Code::TooLarge));
    assert!(error.to_string().contains("object store"), "{error}");
    door.close().await.unwrap();
}

#[tokio::test(flavor = "multi_thread")]
async fn a_message_that_keeps_failing_ends_in_the_dead_letter_queue_with_its_reason_and_requeue_brings_it_back()
 {
    let folder = tempfile::tempdir().unwrap();
    let door = open(folder.path(), 7).await;
    let id = door
        .transact(send("poison"))
        .await
        .unwrap()
        .message_ids
        .remove(0);
    for _ in 0..3 {
        let message = door
            .receive("work", 1, Duration::from_secs(5))
            .await
            .unwrap()
            .messages
            .remove(0);
        door.give_back(GiveBack {
            receipt: message.receipt,
            failed: true,
            reason: "not gzip".into(),
            delay_ms: 0,
            component: "panther-log-processor".into(),
            changes: Vec::new(),
        })
        .await
        .unwrap();
    }
    let dead = door.peek("work-dlq", 0, 10).await.unwrap();
    assert_eq!(dead[0].id, id);
    assert_eq!((dead[0].failures, dead[0].origin.as_str()), (3, "work"));
    assert!(
        dead[0]
            .last_error
            .contains("panther-log-processor: not gzip")
    );
    assert_eq!(door.requeue("work-dlq", "work", "", None).await.unwrap(), 1);
    let message = door
        .receive("work", 1, Duration::from_secs(5))
        .await
        .unwrap()
        .messages
        .remove(0);
    assert_eq!((message.id, message.failures, message.receives), (id, 0, 1));
    door.close().await.unwrap();
}

/// A caller that polls until something changes would otherwise keep a thread busy for ever.
#[tokio::test(flavor = "multi_thread")]
async fn waiting_for_a_change_of_a_group_that_has_stopped_takes_the_time_that_it_may_take() {
    const AT_MOST: Duration = Duration::from_millis(50);
    let folder = tempfile::tempdir().unwrap();
    let door = open(folder.path(), 7).await;
    let mut changes = door.group().changes();
    door.close().await.unwrap();
    drop(door);
    changes.next(AT_MOST).await; // skip changes up to now
    let began = std::time::Instant::now();
    for _ in 0..3 {
        changes.next(AT_MOST).await;
    }
    assert!(began.elapsed() >= AT_MOST * 2, "{:?}", began.elapsed());
}
