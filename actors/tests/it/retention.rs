//! What is older than its retention goes; what is younger, has no retention, or is named by a message stays.

use panther_actors::components::objects::s3_event;
use panther_actors::retention::collect;
use panther_cluster::door::change::{self, Change};
use panther_cluster::state::read::Query;
use panther_proto::v1::Transact;
use serde_json::{Value, json};

use crate::support::{World, samples};

const DAY_MS: u64 = 24 * 3600 * 1000;

async fn names(world: &World, table: &str) -> Vec<String> {
    let query = Query {
        table: table.to_owned(),
        ..Query::default()
    };
    let rows = world.door.query_all(query).await.unwrap();
    rows.into_iter().map(|(key, _)| key.hash).collect()
}

/// Makes rows 40 days older.
async fn age(world: &World, table: &str, attribute: &str, keys: &[String]) {
    let at = world.door.now_ms() - 40 * DAY_MS;
    for key in keys {
        let change = Change::update(table, change::key(key));
        let change = if attribute == "namedAt" {
            change.set(attribute, at)
        } else {
            let text = panther_actors::dates::rfc3339(at);
            change.set("updateTime", text.clone()).set(attribute, text)
        };
        let transact = Transact {
            changes: vec![change.done()],
            ..Transact::default()
        };
        world.door.transact(transact).await.unwrap();
    }
}

async fn retain(world: &World, kind: &str, log_type: &str, days: Value) {
    let input = json!({"kind": kind, "logType": log_type, "days": days});
    world.invoke("node", "storage_retain", input).await.unwrap();
}

#[tokio::test(flavor = "multi_thread")]
async fn only_what_is_too_old_and_named_by_no_message_goes() {
    let world = World::start().await;
    world.upload(&samples().join("pack")).await.unwrap();
    let (id, token) = world.http_source("nginx", &["Nginx.Access"]).await;
    for entry in std::fs::read_dir(samples().join("logs/nginx")).unwrap() {
        let content = std::fs::read(entry.unwrap().path()).unwrap();
        world.ingest(&id, &token, content).await;
        world.settle().await;
    }
    world.ingest(&id, &token, "no log line\n").await;
    world.settle().await;
    let objects = names(&world, "panther-objects").await;
    let of = |folder: &str| -> Vec<String> {
        let of = objects.iter().filter(|name| name.starts_with(folder));
        of.cloned().collect()
    };
    let (raw, events) = (of("raw/"), of("logs/"));
    let (matches, quarantined) = (of("rules/"), of("quarantine/"));
    assert!(raw.len() > 1 && !matches.is_empty() && quarantined.len() == 1);
    age(&world, "panther-objects", "namedAt", &objects).await;
    let alerts = names(&world, "panther-log-alert-info").await;
    age(
        &world,
        "panther-log-alert-info",
        "creationTime",
        &alerts[1..],
    )
    .await;

    // Without a setting nothing goes, however old.
    assert!(collect::collect(&world.door).await.unwrap().is_empty());

    // One raw object is named by a message that waits.
    let held = &raw[0];
    let mut send = change::to_queue(
        "panther-input-data-notifications-queue-dlq",
        s3_event(held, 1).to_string(),
    );
    send.attributes.insert("sourceId".to_owned(), id.clone());
    let transact = Transact {
        sends: vec![send],
        ..Transact::default()
    };
    world.door.transact(transact).await.unwrap();

    retain(&world, "raw", "", json!(30)).await;
    retain(&world, "events", "", json!(1)).await;
    retain(&world, "events", "Nginx.Access", Value::Null).await;
    retain(&world, "matches", "Nginx.Access", json!(39)).await;
    retain(&world, "quarantine", "", json!(41)).await;
    retain(&world, "alerts", "", json!(30)).await;
    let shown = world.invoke("node", "storage", json!({})).await.unwrap();
    assert_eq!(shown["in_use"], 1, "{shown}");
    let before = world
        .invoke("node", "storage_collect", json!({"dryRun": true}))
        .await
        .unwrap();
    let expired = raw.len() - 1 + matches.len() + alerts.len() - 1;
    assert_eq!(before["count"], expired, "{before}");
    assert_eq!(names(&world, "panther-objects").await, objects);

    world
        .invoke("node", "storage_collect", json!({}))
        .await
        .unwrap();
    let left = names(&world, "panther-objects").await;
    let stay =
        |name: &&String| !name.starts_with("raw/") && !name.starts_with("rules/") || *name == held;
    let expected: Vec<String> = objects.iter().filter(stay).cloned().collect();
    assert_eq!(left, expected);
    assert!(events.iter().all(|name| left.contains(name)));
    assert!(left.contains(&quarantined[0]));
    assert_eq!(names(&world, "panther-log-alert-info").await, alerts[..1]);
    let of_alerts = names(&world, "panther-alert-events").await;
    assert!(of_alerts.iter().all(|alert| *alert == alerts[0]));
    world.stop().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_retention_that_cannot_be_meant_is_refused() {
    let world = World::start().await;
    for (input, reason) in [
        (json!({"kind": "raw", "days": 0}), "days must be"),
        (
            json!({"kind": "raw", "logType": "AWS.ALB", "days": 1}),
            "have no log type",
        ),
        (
            json!({"kind": "events", "logType": "AWS.Nope", "days": 1}),
            "no log type AWS.Nope",
        ),
        (json!({"kind": "everything", "days": 1}), "everything"),
    ] {
        let error = world.invoke("node", "storage_retain", input).await;
        let error = error.unwrap_err().to_string();
        assert!(error.contains(reason), "{error}");
    }
    world.stop().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn an_event_is_traced_to_its_record_and_an_object_is_read_in_pieces() {
    let world = World::start().await;
    let (id, token) = world.http_source("nginx", &["Nginx.Access"]).await;
    let entry = std::fs::read_dir(samples().join("logs/nginx"))
        .unwrap()
        .next();
    let content = std::fs::read(entry.unwrap().unwrap().path()).unwrap();
    world.ingest(&id, &token, content.clone()).await;
    world.settle().await;
    let objects = names(&world, "panther-objects").await;
    let events = objects
        .iter()
        .find(|name| name.starts_with("logs/"))
        .unwrap();
    let stored = world.objects.get(events).await.unwrap();
    let lines = panther_actors::components::objects::unpack(&stored).unwrap();
    let first = lines.split(|&byte| byte == b'\n').next().unwrap();
    let event: Value = serde_json::from_slice(first).unwrap();
    let traced = world
        .invoke("node", "trace", json!({"event": event["p_row_id"]}))
        .await
        .unwrap();
    let text = traced["raw"]["text"].as_str().unwrap();
    assert!(String::from_utf8_lossy(&content).contains(text), "{traced}");
    assert!(
        text.contains(event["remoteAddr"].as_str().unwrap()),
        "{traced}"
    );

    let large = vec![7; (1 << 20) + 5];
    world
        .objects
        .put("raw/x/large", large.into())
        .await
        .unwrap();
    let mut sizes = Vec::new();
    for from in [0, 1 << 20] {
        let input = json!({"name": "raw/x/large", "from": from});
        let piece = world.invoke("node", "object_get", input).await.unwrap();
        sizes.push((piece["bytes"].clone(), piece["last"].clone()));
    }
    assert_eq!(
        sizes,
        [(json!(1 << 20), json!(false)), (json!(5), json!(true))]
    );
    let gone = world.invoke("node", "object_get", json!({"name": "raw/x/gone"}));
    assert!(
        gone.await
            .unwrap_err()
            .to_string()
            .contains("there is no object")
    );
    world.stop().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn one_dead_letter_is_deleted_and_can_be_put_back() {
    let world = World::start().await;
    let (id, token) = world.http_source("nginx", &["Nginx.Access"]).await;
    let dlq = "panther-input-data-notifications-queue-dlq";
    let letters = async || {
        let peeked = world.invoke("node", "peek", json!({"queue": dlq}));
        let peeked = peeked.await.unwrap();
        peeked["messages"].as_array().unwrap().clone()
    };
    for _ in 0..2 {
        // A gzip header alone: nothing of it can be read.
        world
            .ingest(&id, &token, vec![0x1f, 0x8b, 8, 0, 0, 0, 0, 0, 0, 3])
            .await;
    }
    world
        .until("there are two dead letters", async || {
            letters().await.len() == 2
        })
        .await;
    let [first, second] = &letters().await[..] else {
        panic!("two letters");
    };
    let reason = first["last_error"].as_str().unwrap();
    assert!(reason.contains("have it sent again"), "{reason}");
    let delete = json!({"queue": dlq, "message_id": first["id"]});
    world
        .invoke("node", "delete", delete.clone())
        .await
        .unwrap();
    assert_eq!(letters().await, std::slice::from_ref(second));
    assert!(world.invoke("node", "delete", delete).await.is_err());
    let alive = json!({"queue": "panther-alerts-queue", "message_id": "x"});
    assert!(world.invoke("node", "delete", alive).await.is_err());
    let back = json!({"to": "panther-input-data-notifications-queue", "from": "panther-deleted-messages", "message_id": first["id"]});
    let back = world.invoke("node", "requeue", back).await.unwrap();
    assert_eq!(back["count"], 1, "{back}");
    world
        .until("it is a dead letter again", async || {
            letters().await.len() == 2
        })
        .await;
    world.stop().await;
}
