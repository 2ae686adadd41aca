//! Functions that run once per period.

use std::time::Duration;

use panther_actors::schedules::{Schedule, TABLE};
use panther_cluster::door::change::{self, Change};
use panther_proto::v1::Transact;
use serde_json::json;

use crate::support::World;

#[tokio::test(flavor = "multi_thread")]
async fn a_period_has_one_run_whoever_looks_and_an_outage_of_many_periods_has_one() {
    let world = World::start().await;
    let door = &world.door;
    let schedule = Schedule {
        function: "test".into(),
        queue: "panther-deleted-messages".into(),
        period_ms: 3_600_000,
    };
    let looks = (0..8).map(|_| schedule.look(door));
    let sent = futures::future::join_all(looks).await;
    let sent = sent.into_iter().map(Result::unwrap).filter(|sent| *sent);
    assert_eq!(sent.count(), 1);
    assert!(
        !schedule.look(door).await.unwrap(),
        "the next period has not begun"
    );
    // As after an outage of three periods.
    let due = door.now_ms() - 3 * schedule.period_ms;
    let late = Change::update(TABLE, change::key("test")).set("due", due);
    let changes = vec![late.done()];
    let change = Transact {
        changes,
        ..Transact::default()
    };
    door.transact(change).await.unwrap();
    assert!(schedule.look(door).await.unwrap());
    assert!(!schedule.look(door).await.unwrap());
    let held = door
        .receive("panther-deleted-messages", 10, Duration::from_secs(1))
        .await
        .unwrap();
    assert_eq!(held.messages.len(), 2);
    world.stop().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_function_with_a_schedule_is_run() {
    let world = World::start().await;
    world
        .until("the collector has run", async || {
            let queue = json!({"name": "panther-storage-collector-runs"});
            let queue = world.invoke("node", "queue", queue).await.unwrap();
            queue["done"].as_u64() == Some(1)
        })
        .await;
    world.stop().await;
}
