//! The state of a detection says whether it runs, and an alarm is raised where one that ran no longer does.

use std::collections::BTreeMap;

use serde_json::{Value, json};

use crate::support::World;

const API: &str = "panther-analysis-api";

/// Uploads rules by id and log types, and a few items that are not evaluated. What comes of each.
async fn upload(world: &World, rules: &[(&str, &str)]) -> Value {
    let folder = tempfile::tempdir().unwrap();
    let write = |name: &str, text: &str| std::fs::write(folder.path().join(name), text).unwrap();
    for (id, log_types) in rules {
        write(
            &format!("{id}.yml"),
            &format!(
                "AnalysisType: rule\nRuleID: {id}\nFilename: rule.py\nSeverity: Info\nLogTypes: [{log_types}]\nEnabled: true\n"
            ),
        );
    }
    write("rule.py", "def rule(event):\n    return True\n");
    write(
        "p.yml",
        "AnalysisType: policy\nPolicyID: Policy\nFilename: p.py\nSeverity: Info\nEnabled: true\n",
    );
    write("p.py", "def policy(resource):\n    return True\n");
    write(
        "c.yml",
        "AnalysisType: correlation_rule\nRuleID: Correlates\nSeverity: Info\nDetection: []\n",
    );
    world.upload(folder.path()).await.unwrap()
}

async fn states(world: &World, input: Value) -> BTreeMap<String, (String, String)> {
    let listed = world.invoke(API, "listDetections", input).await.unwrap();
    let text = |of: &Value| of.as_str().unwrap_or_default().to_owned();
    let detections = listed["detections"].as_array().unwrap().iter();
    detections
        .map(|of| {
            (
                text(&of["id"]),
                (text(&of["state"]), text(&of["stateReason"])),
            )
        })
        .collect()
}

async fn alarmed(world: &World) -> Option<String> {
    let alarms = world.invoke("node", "alarms", json!({})).await.unwrap();
    let found = alarms["alarms"].as_array().unwrap().iter();
    found
        .filter(|alarm| alarm["name"] == "panther-rules-engine: detections stopped")
        .map(|alarm| alarm["reason"].as_str().unwrap().to_owned())
        .next()
}

#[tokio::test(flavor = "multi_thread")]
async fn a_detection_is_live_only_where_events_reach_it() {
    let world = World::start().await;
    world.http_source("nginx", &["Nginx.Access"]).await;
    let rules = [
        ("Live", "Nginx.Access"),
        ("Typo", "AWS.CloudTrial"),
        ("Silent", "Okta.SystemLog"),
    ];
    let uploaded = upload(&world, &rules).await;
    let counts = json!({"live": 1, "no-log-type": 1, "no-source": 1, "not-evaluated": 2});
    assert_eq!(uploaded["states"], counts, "{uploaded}");
    assert_eq!(uploaded["notRunning"].as_array().unwrap().len(), 2);
    let all = states(&world, json!({})).await;
    let state = |id: &str| all[id].0.as_str();
    assert_eq!(
        (
            state("Live"),
            state("Typo"),
            state("Silent"),
            state("Policy"),
            state("Correlates")
        ),
        (
            "live",
            "no-log-type",
            "no-source",
            "not-evaluated",
            "not-evaluated"
        )
    );
    assert!(
        all["Typo"].1.contains("did you mean AWS.CloudTrail?"),
        "{all:?}"
    );
    let some = states(&world, json!({"states": ["no-source", "no-log-type"]})).await;
    assert_eq!(some.keys().collect::<Vec<_>>(), ["Silent", "Typo"]);
    world
        .until("the status counts them", async || {
            let status = world.invoke("node", "status", json!({})).await.unwrap();
            status["detections"] == counts
        })
        .await;
    assert_eq!(
        alarmed(&world).await,
        None,
        "what never ran has not stopped"
    );
    world.stop().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn what_ran_and_lost_its_source_or_log_type_raises_an_alarm_until_somebody_decides() {
    let world = World::start().await;
    let (source, _) = world.http_source("nginx", &["Nginx.Access"]).await;
    upload(&world, &[("Mine", "Nginx.Access")]).await;
    world
        .until("it is seen to run", async || {
            let status = world.invoke("node", "status", json!({})).await.unwrap();
            status["detections"]["live"] == 1
        })
        .await;
    world
        .invoke(
            "panther-source-api",
            "deleteIntegration",
            json!({"integrationId": source}),
        )
        .await
        .unwrap();
    world
        .until("the alarm is raised", async || {
            alarmed(&world).await.is_some()
        })
        .await;
    let reason = alarmed(&world).await.unwrap();
    assert!(
        reason.contains("Mine (no source sends Nginx.Access)"),
        "{reason}"
    );
    let suspend = json!({"id": "Mine", "state": "suspended"});
    world
        .invoke(API, "setDetectionState", suspend)
        .await
        .unwrap();
    world
        .until("the alarm clears", async || alarmed(&world).await.is_none())
        .await;
    // An upload that takes the log type away is reported as well.
    world.http_source("nginx", &["Nginx.Access"]).await;
    let resume = json!({"id": "Mine", "state": "live"});
    world
        .invoke(API, "setDetectionState", resume)
        .await
        .unwrap();
    world
        .until("it is seen to run again", async || {
            let status = world.invoke("node", "status", json!({})).await.unwrap();
            status["detections"]["live"] == 1
        })
        .await;
    upload(&world, &[("Mine", "Nginx.Acces")]).await;
    world
        .until("the alarm is raised", async || {
            alarmed(&world).await.is_some()
        })
        .await;
    assert!(
        alarmed(&world)
            .await
            .unwrap()
            .contains("did you mean Nginx.Access?")
    );
    world.stop().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_source_that_cannot_be_read_or_understood_raises_an_alarm_until_it_can() {
    let world = World::start().await;
    let logs = tempfile::tempdir().unwrap();
    let missing = logs.path().join("missing");
    let source = json!({"integrationLabel": "folder", "integrationType": "folder", "logTypes": ["Nginx.Access"], "path": missing});
    world
        .invoke("panther-source-api", "putIntegration", source)
        .await
        .unwrap();
    let (id, token) = world.http_source("lines", &["Nginx.Access"]).await;
    world.ingest(&id, &token, "no log line\n".repeat(20)).await;
    let raised = async || {
        let alarms = world.invoke("node", "alarms", json!({})).await.unwrap();
        let alarms = alarms["alarms"].as_array().unwrap().iter();
        let names = alarms.map(|alarm| alarm["name"].as_str().unwrap().to_owned());
        names
            .filter(|name| name.starts_with("panther-source-api"))
            .collect::<Vec<_>>()
    };
    let expected = [
        "panther-source-api: source folder is troubled",
        "panther-source-api: source lines has records in quarantine",
    ];
    world
        .until("both alarms are raised", async || {
            raised().await == expected
        })
        .await;
    std::fs::create_dir(&missing).unwrap();
    let removed = world.invoke(
        "panther-source-api",
        "deleteIntegration",
        json!({"integrationId": id}),
    );
    removed.await.unwrap();
    world
        .until("both alarms clear", async || raised().await.is_empty())
        .await;
    world.stop().await;
}
