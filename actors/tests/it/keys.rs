//! An idempotency key has one effect, for as long as its object is kept.

use panther_actors::ingest::IngestError;
use serde_json::json;

use crate::support::World;

const LINE: &str =
    r#"203.0.113.9 - - [05/Mar/2026:14:00:01 +0000] "GET /a HTTP/1.1" 200 612 "-" "curl""#;

async fn post(
    world: &World,
    of: &(String, String),
    key: &str,
    body: &str,
) -> Result<String, IngestError> {
    let intake = world.system.intake();
    let admitted = intake.admit(&of.0, &of.1).await.unwrap();
    let body = intake.budget().hold(body.to_owned().into()).unwrap();
    let taken = intake.take(&admitted, body, Some(key), None).await;
    taken.map(|ingested| ingested.object)
}

async fn received(world: &World) -> u64 {
    world.settle().await;
    let listed = world.invoke("panther-source-api", "listIntegrations", json!({}));
    let listed = listed.await.unwrap();
    let sources = listed["integrations"].as_array().unwrap().iter();
    sources.map(|of| of["received"].as_u64().unwrap()).sum()
}

#[tokio::test(flavor = "multi_thread")]
async fn a_key_has_one_effect_and_takes_no_other_body() {
    let world = World::start().await;
    let nginx = world.http_source("nginx", &["Nginx.Access"]).await;
    let other = world.http_source("other", &["Nginx.Access"]).await;
    let (one, two) = (
        format!("{LINE}\n"),
        format!("{}\n", LINE.replace("/a", "/b")),
    );
    assert_eq!(one.len(), two.len());
    let (first, again) = tokio::join!(
        post(&world, &nginx, "k", &one),
        post(&world, &nginx, "k", &one)
    );
    let first = first.unwrap();
    assert_eq!(first, again.unwrap());
    let refused = post(&world, &nginx, "k", &two).await;
    assert!(matches!(refused, Err(IngestError::Conflict)), "{refused:?}");
    assert_eq!(received(&world).await, 1);
    // Another source has keys of its own, and the refused body goes under another key.
    post(&world, &other, "k", &two).await.unwrap();
    post(&world, &nginx, "k2", &two).await.unwrap();
    assert_eq!(received(&world).await, 3);

    // No memory of requests is left after a start; the key's row is.
    let world = world.restart(2).await;
    assert_eq!(post(&world, &nginx, "k", &one).await.unwrap(), first);
    let refused = post(&world, &nginx, "k", "another\n").await;
    assert!(matches!(refused, Err(IngestError::Conflict)), "{refused:?}");
    assert_eq!(received(&world).await, 3);
    world.stop().await;
}
