//! A destination whose secret does not open is that destination's fault alone: it is shown, mended and removed, and the others get their alerts.

use panther_cluster::door::change::{self, Change};
use panther_proto::v1::Transact;
use serde_json::{Value, json};

use crate::support::{World, samples};

const API: &str = "panther-outputs-api";

async fn add(world: &World, name: &str) -> (String, std::path::PathBuf) {
    let path = world.folder.path().join(format!("{name}.jsonl"));
    let output = json!({"displayName": name, "outputConfig": {"file": {"path": path}}, "defaultForSeverity": ["INFO", "LOW", "MEDIUM", "HIGH", "CRITICAL"]});
    let added = world.invoke(API, "addOutput", output).await.unwrap();
    (added["outputId"].as_str().unwrap().to_owned(), path)
}

async fn alarm(world: &World) -> Option<String> {
    let alarms = world.invoke("node", "alarms", json!({})).await.unwrap();
    let mut found = alarms["alarms"].as_array().unwrap().iter();
    let sealed = found.find(|alarm| alarm["name"] == "panther-outputs: sealed")?;
    Some(sealed["reason"].as_str().unwrap().to_owned())
}

async fn listed(world: &World) -> Vec<(String, bool)> {
    let outputs = world.invoke(API, "getOutputs", json!({})).await.unwrap();
    let outputs = outputs["outputs"].as_array().unwrap().iter();
    let mut outputs: Vec<(String, bool)> = outputs
        .map(|of| {
            (
                of["displayName"].as_str().unwrap().to_owned(),
                of["needsSecret"] == true,
            )
        })
        .collect();
    outputs.sort();
    outputs
}

#[tokio::test(flavor = "multi_thread")]
async fn a_secret_that_does_not_open_harms_no_other_destination() {
    let world = World::start().await;
    world.upload(&samples().join("pack")).await.unwrap();
    let mut files = Vec::new();
    for name in ["bad", "good"] {
        files.push(add(&world, name).await);
    }
    let [(bad, bad_path), (_, good_path)] = &files[..] else {
        panic!("two outputs");
    };
    // As after a restore without the sealing key.
    let change =
        Change::update("panther-outputs", change::key(bad)).set("encryptedConfig", vec![7_u8; 40]);
    let transact = Transact {
        changes: vec![change.done()],
        ..Transact::default()
    };
    world.door.transact(transact).await.unwrap();

    let expected = [("bad".to_owned(), true), ("good".to_owned(), false)];
    assert_eq!(listed(&world).await, expected);
    let shown = world
        .invoke(API, "getOutput", json!({"outputId": bad}))
        .await
        .unwrap();
    assert_eq!(shown["outputConfig"], Value::Null, "{shown}");
    let tested = world
        .invoke(
            API,
            "sendTestAlert",
            json!({"outputIds": [bad, files[1].0]}),
        )
        .await
        .unwrap();
    assert_eq!(tested["responses"][0]["success"], false, "{tested}");
    assert_eq!(tested["responses"][1]["success"], true, "{tested}");
    world
        .until("an alarm names the destination", async || {
            alarm(&world)
                .await
                .is_some_and(|reason| reason.contains("bad"))
        })
        .await;

    let (id, token) = world.http_source("nginx", &["Nginx.Access"]).await;
    for entry in std::fs::read_dir(samples().join("logs/nginx")).unwrap() {
        let content = std::fs::read(entry.unwrap().path()).unwrap();
        world.ingest(&id, &token, content).await;
    }
    let lines = |path: &std::path::Path| {
        std::fs::read_to_string(path).map_or(0, |text| text.lines().count())
    };
    let alerts = async || {
        let alerts = world.invoke("panther-alerts-api", "listAlerts", json!({}));
        alerts.await.unwrap()["alertSummaries"]
            .as_array()
            .unwrap()
            .clone()
    };
    world
        .until("the good destination has every alert", async || {
            let alerts = alerts().await;
            // one line is the test alert's
            !alerts.is_empty() && lines(good_path) == alerts.len() + 1
        })
        .await;
    world
        .until("the failed attempt stands on the alert", async || {
            let alerts = alerts().await;
            alerts.iter().all(|alert| {
                let tried = alert["deliveryResponses"].as_array().unwrap();
                tried
                    .iter()
                    .any(|attempt| attempt["outputId"] == **bad && attempt["success"] == false)
            })
        })
        .await;

    // The destination gets its address again.
    let update = json!({"outputId": bad, "displayName": "bad", "outputConfig": {"file": {"path": bad_path}}});
    let updated = world.invoke(API, "updateOutput", update).await.unwrap();
    assert_eq!(updated["needsSecret"], false, "{updated}");
    world
        .until("the alarm clears", async || alarm(&world).await.is_none())
        .await;
    for (id, _) in &files {
        let removed = world.invoke(API, "deleteOutput", json!({"outputId": id}));
        removed.await.unwrap();
    }
    assert!(listed(&world).await.is_empty());
    world.stop().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_destination_that_is_no_file_of_its_own_is_refused() {
    let world = World::start().await;
    let own = world.folder.path().join("group/x");
    for (config, reason) in [
        (json!({"file": {"path": own}}), "cannot be there"),
        (
            json!({"file": {"path": "/proc/self/mem"}}),
            "cannot be there",
        ),
        (json!({"file": {"path": "/dev/full"}}), "cannot be there"),
        (json!({"file": {"path": "/a/.."}}), "without `..`"),
        (
            json!({"customWebhook": {"webhookURL": "http:///x"}}),
            "http or https address",
        ),
    ] {
        let output = json!({"displayName": "x", "outputConfig": config});
        let error = world.invoke(API, "addOutput", output).await.unwrap_err();
        assert!(error.to_string().contains(reason), "{error}");
    }
    world.stop().await;
}
