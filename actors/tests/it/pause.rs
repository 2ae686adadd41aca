//! A paused cluster evaluates, and does nothing outside until it is resumed, over restarts too.

use std::path::Path;

use serde_json::{Value, json};

use crate::support::{World, samples};

async fn status(world: &World) -> Value {
    world.invoke("node", "status", json!({})).await.unwrap()
}

async fn watched(world: &World) -> u64 {
    let listed = world.invoke("panther-source-api", "listIntegrations", json!({}));
    let listed = listed.await.unwrap();
    let mut sources = listed["integrations"].as_array().unwrap().iter();
    let folder = sources
        .find(|of| of["integrationLabel"] == "folder")
        .unwrap();
    folder["received"].as_u64().unwrap()
}

#[tokio::test(flavor = "multi_thread")]
async fn nothing_is_delivered_and_no_folder_is_watched_until_the_pause_ends() {
    let world = World::start_paused().await;
    world.upload(&samples().join("pack")).await.unwrap();
    let delivered = world.folder.path().join("delivered.ndjson");
    let output = json!({"displayName": "file", "outputConfig": {"file": {"path": delivered}}, "defaultForSeverity": ["INFO", "LOW", "MEDIUM", "HIGH", "CRITICAL"]});
    world
        .invoke("panther-outputs-api", "addOutput", output)
        .await
        .unwrap();
    let logs = tempfile::tempdir().unwrap();
    std::fs::copy(
        samples()
            .join("logs/nginx")
            .read_dir()
            .unwrap()
            .next()
            .unwrap()
            .unwrap()
            .path(),
        logs.path().join("a.log"),
    )
    .unwrap();
    let source = json!({"integrationLabel": "folder", "integrationType": "folder", "logTypes": ["Nginx.Access"], "path": logs.path()});
    world
        .invoke("panther-source-api", "putIntegration", source)
        .await
        .unwrap();
    let (id, token) = world.http_source("nginx", &["Nginx.Access"]).await;
    for entry in std::fs::read_dir(samples().join("logs/nginx")).unwrap() {
        let content = std::fs::read(entry.unwrap().path()).unwrap();
        world.ingest(&id, &token, content).await;
    }
    let alerts = async |world: &World| {
        let listed = world.invoke("panther-alerts-api", "listAlerts", json!({"pageSize": 200}));
        listed.await.unwrap()["alertSummaries"]
            .as_array()
            .unwrap()
            .len()
    };
    world
        .until("there are alerts", async || alerts(&world).await > 0)
        .await;
    assert!(status(&world).await["paused_since_ms"].is_u64());

    let world = world.restart(2).await;
    assert!(status(&world).await["paused_since_ms"].is_u64());
    let waiting = async || {
        let queues = world.invoke("node", "queue", json!({"name": "panther-alerts-queue"}));
        queues.await.unwrap().to_string()
    };
    assert!(!delivered.exists(), "{}", waiting().await);
    assert_eq!(watched(&world).await, 0);

    let resumed = world.invoke("node", "resume", json!({})).await.unwrap();
    assert_eq!(resumed["was_paused"], true);
    let lines = |path: &Path| std::fs::read_to_string(path).map_or(0, |text| text.lines().count());
    world
        .until("the folder is read", async || watched(&world).await > 0)
        .await;
    world.settle().await;
    assert_eq!(lines(&delivered), alerts(&world).await);
    assert!(status(&world).await["paused_since_ms"].is_null());
    let again = world.invoke("node", "resume", json!({})).await.unwrap();
    assert_eq!(again["was_paused"], false);
    world.stop().await;
}
