//! Sources are found by label, token and prefix, and their totals are the sums of their ledgers.

use bytes::Bytes;
use panther_actors::components::objects::s3_event;
use panther_actors::components::sources::{LEDGER, TABLE};
use panther_actors::ingest::IngestError;
use panther_cluster::door::change::{self, Change, IntoValue, RowExt};
use panther_cluster::state::read::Query;
use panther_proto::v1::Transact;
use serde_json::{Value, json};

use crate::support::World;

const API: &str = "panther-source-api";
const LINE: &str =
    "192.0.2.1 - - [05/Mar/2026:14:00:00 +0000] \"GET / HTTP/1.1\" 200 12 \"-\" \"curl\"\n";
const COUNTS: [&str; 4] = ["received", "stored", "quarantined", "filtered"];

async fn change(world: &World, change: Change) {
    let transact = Transact {
        changes: vec![change.done()],
        ..Transact::default()
    };
    world.door.transact(transact).await.unwrap();
}

/// What `sources list` says of a source.
async fn listed(world: &World, id: &str) -> [u64; 4] {
    let listed = world.invoke(API, "listIntegrations", json!({}));
    let listed = listed.await.unwrap();
    let mut sources = listed["integrations"].as_array().unwrap().iter();
    let source = sources.find(|source| source["integrationId"] == id);
    let source = source.unwrap().clone();
    COUNTS.map(|name| source[name].as_u64().unwrap())
}

/// The sum of a source's hours.
async fn sum(world: &World, id: &str) -> [u64; 4] {
    let query = Query {
        table: LEDGER.to_owned(),
        hash: Some(id.into_value()),
        ..Query::default()
    };
    let rows = world.door.query_all(query).await.unwrap();
    COUNTS.map(|name| {
        let counts = rows.iter().map(|(_, row)| row.int(name).unwrap_or(0));
        u64::try_from(counts.sum::<i64>()).unwrap()
    })
}

#[tokio::test(flavor = "multi_thread")]
async fn the_totals_of_a_source_are_the_sum_of_its_ledger() {
    let world = World::start().await;
    let (id, token) = world.http_source("nginx", &["Nginx.Access"]).await;
    assert_eq!(listed(&world, &id).await, [0; 4]);
    // Two hours of the past.
    for (hour, count) in [("2026-03-05T13", 5_u64), ("2026-03-05T14", 7)] {
        let row = Change::put(LEDGER, change::key_range(&id, hour));
        let row = COUNTS[..2]
            .iter()
            .fold(row, |row, name| row.set(name, count));
        change(&world, row).await;
    }
    // As an older build leaves the row of a source.
    let old = Change::update(TABLE, change::key(&id));
    let old = COUNTS.iter().fold(old, |old, name| old.remove(name));
    change(&world, old).await;
    assert_eq!(listed(&world, &id).await, [12, 12, 0, 0]);
    let bodies =
        (0..8).map(|_| world.ingest(&id, &token, format!("{LINE}no line of nginx\n{LINE}")));
    futures::future::join_all(bodies).await;
    world.settle().await;
    let totals = listed(&world, &id).await;
    assert_eq!(totals, [12 + 24, 12 + 16, 8, 0]);
    assert_eq!(totals, sum(&world, &id).await);
    let row = world.door.get(TABLE, &change::key(&id)).await.unwrap();
    assert_eq!(
        row.unwrap().int("received"),
        Some(36),
        "the row holds the totals"
    );

    let replay = world.invoke("node", "quarantineReplay", json!({}));
    replay.await.unwrap();
    world.settle().await;
    let totals = listed(&world, &id).await;
    assert_eq!(totals, [36, 28, 8, 0]);
    assert_eq!(totals, sum(&world, &id).await);
    world.stop().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_change_of_a_source_counts_as_soon_as_it_is_acknowledged() {
    let world = World::start().await;
    let (id, token) = world.http_source("first", &["Nginx.Access"]).await;
    let admits =
        async |name: &str, token: &str| match world.system.intake().admit(name, token).await {
            Ok(admitted) => Some(admitted.id().to_owned()),
            Err(IngestError::Unknown) => None,
            Err(error) => panic!("{error}"),
        };
    for name in ["first", &id] {
        assert_eq!(admits(name, &token).await, Some(id.clone()));
    }
    let renamed = json!({"integrationId": id, "integrationLabel": "second", "integrationType": "http", "logTypes": ["Nginx.Access"]});
    let renamed = world.invoke(API, "updateIntegrationSettings", renamed);
    renamed.await.unwrap();
    assert_eq!(admits("first", &token).await, None);
    assert_eq!(admits("second", &token).await, Some(id.clone()));

    let rotated = world.invoke(API, "rotateToken", json!({"integrationId": id}));
    let new = rotated.await.unwrap()["token"].as_str().unwrap().to_owned();
    for name in ["second", &id] {
        assert_eq!(admits(name, &token).await, None);
        assert_eq!(admits(name, &new).await, Some(id.clone()));
    }
    let deleted = world.invoke(API, "deleteIntegration", json!({"integrationId": id}));
    deleted.await.unwrap();
    for name in ["second", &id] {
        assert_eq!(admits(name, &new).await, None);
    }
    let (other, token) = world.http_source("second", &["Nginx.Access"]).await;
    assert_eq!(admits("second", &token).await, Some(other));
    world.stop().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn of_sources_with_one_label_that_are_added_at_one_time_one_is_added() {
    let world = World::start().await;
    let source =
        json!({"integrationLabel": "one", "integrationType": "http", "logTypes": ["Nginx.Access"]});
    let calls = (0..8).map(|_| world.invoke(API, "putIntegration", source.clone()));
    let answers = futures::future::join_all(calls).await;
    let added = answers.iter().filter(|answer| answer.is_ok()).count();
    assert_eq!(added, 1, "{answers:?}");
    // Sources with other labels do not hinder each other.
    let calls = (0..8).map(|number| {
        let mut source = source.clone();
        source["integrationLabel"] = Value::from(format!("many {number}"));
        world.invoke(API, "putIntegration", source)
    });
    for answer in futures::future::join_all(calls).await {
        answer.unwrap();
    }
    world.stop().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn an_object_belongs_to_the_source_with_the_longest_prefix() {
    let world = World::start().await;
    let mut ids = Vec::new();
    for (label, prefix) in [("all", "drop/"), ("some", "drop/b/")] {
        let source = json!({"integrationLabel": label, "integrationType": "objects", "prefix": prefix, "logTypes": ["Nginx.Access"]});
        let put = world.invoke(API, "putIntegration", source).await.unwrap();
        ids.push(put["integrationId"].as_str().unwrap().to_owned());
    }
    for name in ["drop/a", "drop/b/c"] {
        let put = world.objects.put(name, Bytes::from_static(LINE.as_bytes()));
        put.await.unwrap();
        let body = s3_event(name, LINE.len() as u64).to_string();
        let transact = Transact {
            sends: vec![change::to_queue(
                "panther-input-data-notifications-queue",
                body,
            )],
            ..Transact::default()
        };
        world.door.transact(transact).await.unwrap();
    }
    world.settle().await;
    for id in &ids {
        assert_eq!(listed(&world, id).await, [1, 1, 0, 0]);
    }
    world.stop().await;
}
