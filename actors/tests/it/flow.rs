use std::collections::BTreeMap;

use serde_json::{Value, json};

use crate::support::{World, samples};

fn files() -> Vec<(&'static str, Vec<u8>)> {
    let mut files = Vec::new();
    for (folder, source) in [
        ("cloudtrail", "cloudtrail"),
        ("okta", "okta"),
        ("nginx", "nginx"),
    ] {
        for entry in std::fs::read_dir(samples().join("logs").join(folder)).unwrap() {
            files.push((source, std::fs::read(entry.unwrap().path()).unwrap()));
        }
    }
    files
}

#[tokio::test(flavor = "multi_thread")]
async fn the_sample_files_give_the_alerts_that_their_table_says_and_each_is_delivered_once() {
    let expected: Value =
        serde_json::from_slice(&std::fs::read(samples().join("expected.json")).unwrap()).unwrap();
    let world = World::start().await;
    let uploaded = world.upload(&samples().join("pack")).await.unwrap();
    assert_eq!(uploaded["rules"], 14, "{uploaded}");
    let delivered = world.folder.path().join("delivered.ndjson");
    let output = json!({"displayName": "file", "outputConfig": {"file": {"path": delivered}}, "defaultForSeverity": ["INFO", "LOW", "MEDIUM", "HIGH", "CRITICAL"]});
    world
        .invoke("panther-outputs-api", "addOutput", output)
        .await
        .unwrap();
    let mut sources = BTreeMap::new();
    for (label, log_type) in [
        ("cloudtrail", "AWS.CloudTrail"),
        ("okta", "Okta.SystemLog"),
        ("nginx", "Nginx.Access"),
    ] {
        sources.insert(label, world.http_source(label, &[log_type]).await);
    }
    let files = files();
    let feeding = files.iter().map(|(source, content)| {
        let (id, token) = &sources[source];
        world.ingest(id, token, content.clone())
    });
    futures::future::join_all(feeding).await;
    world.settle().await;
    let alerts = world
        .invoke("panther-alerts-api", "listAlerts", json!({"pageSize": 200}))
        .await
        .unwrap();
    let alerts = alerts["alertSummaries"].as_array().unwrap().clone();
    let mut by_rule: BTreeMap<String, u64> = BTreeMap::new();
    for alert in &alerts {
        *by_rule
            .entry(alert["ruleId"].as_str().unwrap().to_owned())
            .or_default() += 1;
        assert_eq!(
            alert["deliveryResponses"].as_array().unwrap().len(),
            1,
            "{alert}"
        );
        assert_eq!(alert["type"], "RULE", "{alert}");
    }
    let rules = expected["rules"].as_object().unwrap();
    let wanted: BTreeMap<String, u64> = rules
        .iter()
        .map(|(rule, of)| (rule.clone(), of["alerts"].as_u64().unwrap()))
        .filter(|(_, alerts)| *alerts > 0)
        .collect();
    assert_eq!(by_rule, wanted);
    let lines = std::fs::read_to_string(&delivered).unwrap();
    assert_eq!(lines.lines().count(), alerts.len());
    let integrations = world
        .invoke("panther-source-api", "listIntegrations", json!({}))
        .await
        .unwrap();
    for source in integrations["integrations"].as_array().unwrap() {
        let count = |name: &str| source[name].as_u64().unwrap();
        assert_eq!(
            count("received"),
            count("stored") + count("quarantined") + count("filtered"),
            "{source}"
        );
        assert_eq!(count("quarantined"), 0, "{source}");
    }
    // Matched events can be read with their alert, and traced back.
    let alert = world
        .invoke(
            "panther-alerts-api",
            "getAlert",
            json!({"alertId": alerts[0]["alertId"], "eventsPageSize": 50}),
        )
        .await
        .unwrap();
    let event = &alert["events"][0];
    let trace = world
        .invoke("node", "trace", json!({"event": event["p_row_id"]}))
        .await
        .unwrap();
    assert!(
        trace["matches"]
            .as_array()
            .unwrap()
            .iter()
            .any(|found| found["alert_id"] == alerts[0]["alertId"]),
        "{trace}"
    );
    let world = world.restart(2).await;
    let again = world
        .invoke("panther-alerts-api", "listAlerts", json!({"pageSize": 200}))
        .await
        .unwrap();
    assert_eq!(
        again["alertSummaries"].as_array().unwrap().len(),
        alerts.len()
    );
    world.stop().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_line_that_no_type_takes_is_kept_with_its_reasons_and_comes_through_after_a_schema_is_added()
 {
    let world = World::start().await;
    let (id, token) = world.http_source("app", &["Nginx.Access"]).await;
    world
        .ingest(
            &id,
            &token,
            "{\"app\": \"x\", \"when\": \"2026-01-02T03:04:05Z\"}\n",
        )
        .await;
    world.settle().await;
    let groups = world.invoke("node", "quarantine", json!({})).await.unwrap();
    let object = groups["groups"][0]["object"].as_str().unwrap().to_owned();
    let lines = world
        .invoke("node", "quarantine_show", json!({"object": object}))
        .await
        .unwrap();
    assert_eq!(lines["lines"][0]["reasons"][0]["log_type"], "Nginx.Access");
    assert!(
        lines["lines"][0]["text"]
            .as_str()
            .unwrap()
            .contains("\"app\"")
    );
    let schema = "schema: Custom.App\nfields:\n  - name: app\n    type: string\n    required: true\n  - name: when\n    type: timestamp\n    timeFormat: rfc3339\n    isEventTime: true\n";
    world
        .invoke("panther-source-api", "putSchema", json!({"yaml": schema}))
        .await
        .unwrap();
    let update = json!({"integrationId": id, "integrationLabel": "app", "integrationType": "http", "logTypes": ["Nginx.Access", "Custom.App"]});
    world
        .invoke("panther-source-api", "updateIntegrationSettings", update)
        .await
        .unwrap();
    world
        .invoke("node", "quarantine_replay", json!({}))
        .await
        .unwrap();
    world.settle().await;
    let source = world
        .invoke(
            "panther-source-api",
            "getIntegration",
            json!({"integrationId": id}),
        )
        .await
        .unwrap();
    assert_eq!(
        (
            &source["received"],
            &source["stored"],
            &source["quarantined"]
        ),
        (&json!(1), &json!(1), &json!(0)),
        "{source}"
    );
    assert_eq!(
        world.invoke("node", "quarantine", json!({})).await.unwrap()["groups"]
            .as_array()
            .unwrap()
            .len(),
        0
    );
    world.stop().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn an_alert_and_the_pack_are_shown_where_their_objects_are_gone() {
    let world = World::start().await;
    world.upload(&samples().join("pack")).await.unwrap();
    let (id, token) = world.http_source("nginx", &["Nginx.Access"]).await;
    for (source, content) in files() {
        if source == "nginx" {
            world.ingest(&id, &token, content).await;
        }
    }
    world.settle().await;
    let listed = world
        .invoke("panther-alerts-api", "listAlerts", json!({}))
        .await
        .unwrap();
    let alert = &listed["alertSummaries"][0];
    let objects = world.folder.path().join("objects");
    for folder in ["rules", "packs"] {
        std::fs::remove_dir_all(objects.join(folder)).unwrap();
    }
    let world = world.restart(2).await;
    let get = json!({"alertId": alert["alertId"]});
    let shown = world
        .invoke("panther-alerts-api", "getAlert", get)
        .await
        .unwrap();
    assert_eq!(shown["title"], alert["title"], "{shown}");
    assert_eq!(shown["events"], json!([]), "{shown}");
    let reason = &shown["eventsUnreadable"][0]["reason"];
    assert_eq!(reason, "the object does not exist", "{shown}");
    let status = world.invoke("node", "status", json!({})).await.unwrap();
    assert_eq!(status["pack"]["loaded"], false, "{status}");
    world
        .until("an alarm names the pack that is gone", async || {
            let alarms = world.invoke("node", "alarms", json!({})).await.unwrap();
            alarms.to_string().contains("pack not loaded")
        })
        .await;
    world.stop().await;
}
