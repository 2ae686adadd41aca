//! What is asked of a node, and how its answers are shown.

use serde_json::json;
use tonic::Status;

use crate::node::{Node, queue, run};

#[tokio::test]
async fn health_is_an_exit_code() {
    for (health, code) in [("ok", 0), ("degraded", 1), ("failing", 1)] {
        let node =
            Node::with(json!({"node.status": {"health": health, "problems": ["a disk is full"]}}));
        node.run("health")
            .await
            .says(code, &[health, "a disk is full"]);
    }
}

#[tokio::test]
async fn json_is_the_answer_with_all_its_keys() {
    // JSON of any form stays as the node gave it, to the digit.
    let entry = r#"{"version":"0.1.0","unknown":[1.50,{"z":1,"a":2}]}"#;
    let answer: serde_json::Value = serde_json::from_str(entry).unwrap();
    let node = Node::answering(move |_, _| Ok(answer.clone()));
    let ran = node.run("describe x --json").await;
    assert_eq!(
        (ran.code, ran.out.as_str(), ran.err.as_str()),
        (0, &*format!("{entry}\n"), "")
    );
    let node = Node::with(
        json!({"node.status": {"health": "ok", "cluster": {"applied": 9_007_199_254_740_993_u64}}}),
    );
    let status = node.run("status --json").await.json();
    assert_eq!(status["cluster"]["applied"], 9_007_199_254_740_993_u64);
    assert!(status["cluster"]["leader"].is_null() && status["pack"].is_null());
    assert_eq!(status["problems"], json!([]));
}

#[tokio::test]
async fn an_answer_of_another_form_is_an_error_that_says_so() {
    let node = Node::answering(|_, _| Ok(json!("no message")));
    let ran = node.run("status").await;
    ran.says(1, &["makes no sense", "pantherctl version"]);
}

#[tokio::test]
async fn changes_carry_a_request_id_and_its_time_and_questions_none() {
    let node = Node::with(json!({"node.send": {"id": "m1"}, "node.queues": {"queues": []}}));
    let ran = node
        .run_words(&[
            "queue",
            "send",
            "q",
            "the body",
            "--attribute",
            "type=x",
            "--delay",
            "2",
        ])
        .await;
    assert_eq!((ran.code, ran.out.as_str()), (0, "m1\n"));
    assert_eq!(
        node.inputs("node.send"),
        [json!({"queue": "q", "body": "the body", "attributes": {"type": "x"}, "delay_ms": 2000})]
    );
    node.run("queue ls").await;
    let calls = node.calls();
    assert_eq!(calls[0].request_id.len(), 36);
    assert!(calls[0].request_time_ms > 1_700_000_000_000);
    assert_eq!(
        (calls[1].request_id.as_str(), calls[1].request_time_ms),
        ("", 0)
    );
}

#[tokio::test]
async fn a_message_can_come_from_standard_input() {
    let node = Node::with(json!({"node.send": {"id": "m1"}}));
    run(
        Some(&node.socket()),
        &["queue", "send", "q", "-"],
        "{\"a\":1}\n",
    )
    .await
    .says(0, &["m1"]);
    assert_eq!(node.inputs("node.send")[0]["body"], "{\"a\":1}");
}

#[tokio::test]
async fn a_retry_is_the_same_request() {
    let tries = std::sync::atomic::AtomicU32::new(0);
    let node = Node::answering(move |_, _| {
        if tries.fetch_add(1, std::sync::atomic::Ordering::SeqCst) < 2 {
            Err(Status::unavailable("there is no leader"))
        } else {
            Ok(json!({"id": "m1"}))
        }
    });
    node.run("queue send q b").await.says(0, &["m1"]);
    let calls = node.calls();
    assert_eq!(calls.len(), 3);
    assert!(
        calls
            .iter()
            .all(|call| call.request_id == calls[0].request_id
                && call.request_time_ms == calls[0].request_time_ms)
    );
}

#[tokio::test]
async fn queues_are_a_table() {
    let node = Node::with(
        json!({"node.queues": {"queues": [queue("q", "queue", 2, Some("q-dlq")), queue("q-dlq", "dlq", 1, None)]}}),
    );
    let ran = node.run("queue ls").await;
    let lines: Vec<Vec<&str>> = ran
        .out
        .lines()
        .map(|line| line.split_whitespace().collect())
        .collect();
    assert_eq!(&lines[0][..3], ["NAME", "KIND", "WAITING"]);
    assert_eq!(&lines[1][..3], ["q", "queue", "2"]);
    assert_eq!(&lines[2][..3], ["q-dlq", "dlq", "1"]);
    assert!(!ran.out.contains('\u{1b}'));
    let ran = node.run("queue ls --color always").await;
    assert!(ran.out.contains('\u{1b}'), "{ran:?}");
}

#[tokio::test]
async fn pages_of_alerts_are_one_list() {
    let node = Node::answering(|name, input| {
        assert_eq!(name, "panther-alerts-api.listAlerts");
        let start = input["exclusiveStartKey"]
            .as_str()
            .map_or(0, |key| key.parse().unwrap());
        let size = input["pageSize"].as_i64().unwrap();
        let alerts: Vec<_> = (start..start + size)
            .map(|n| json!({"alertId": format!("a{n}"), "severity": "HIGH", "creationTime": "2026-01-01T00:00:00Z"}))
            .collect();
        Ok(json!({"alertSummaries": alerts, "lastEvaluatedKey": (start + size).to_string()}))
    });
    let ran = node
        .run("alerts list --limit 120 --status open,triaged --severity high --json")
        .await;
    let ids = ran.json()["alertSummaries"].as_array().unwrap().len();
    assert_eq!((ran.code, ids), (0, 120));
    let inputs = node.inputs("panther-alerts-api.listAlerts");
    assert_eq!(
        inputs
            .iter()
            .map(|input| input["pageSize"].as_i64().unwrap())
            .collect::<Vec<_>>(),
        [50, 50, 20]
    );
    assert_eq!(inputs[0]["status"], json!(["OPEN", "TRIAGED"]));
    assert_eq!(inputs[0]["severity"], json!(["HIGH"]));
    assert!(inputs[0].get("ruleId").is_none());
}

#[tokio::test]
async fn alerts_are_settled_with_who_and_why() {
    let node = Node::with(
        json!({"panther-alerts-api.updateAlertStatus": {"summaries": [{"alertId": "a1", "status": "CLOSED"}]}}),
    );
    node.run_words(&[
        "alerts",
        "close",
        "a1",
        "a2",
        "--disposition",
        "false",
        "--reason",
        "a scanner",
    ])
    .await
    .says(0, &["a1", "CLOSED"]);
    node.run("alerts assign bob a1").await.says(0, &[]);
    assert_eq!(
        node.inputs("panther-alerts-api.updateAlertStatus"),
        [
            json!({"alertIds": ["a1", "a2"], "status": "CLOSED", "userId": "alice", "disposition": "false", "reason": "a scanner"}),
            json!({"alertIds": ["a1"], "userId": "alice", "assignee": "bob"}),
        ]
    );
}

#[tokio::test]
async fn outputs_are_added_with_their_secret_from_elsewhere_and_found_by_name() {
    let output = json!({"outputId": "o1", "displayName": "ops", "outputType": "customWebhook"});
    let node = Node::with(json!({
        "panther-outputs-api.addOutput": output,
        "panther-outputs-api.getOutputTypes": {"types": [{"name": "webhook", "key": "customWebhook", "outputType": "customwebhook", "about": "POST", "fields": [
            {"name": "webhookURL", "about": "the URL", "form": "OUTPUT_VALUE_TEXT", "required": true, "secret": true, "address": true}]}]},
        "panther-outputs-api.getOutputs": {"outputs": [output]},
        "panther-outputs-api.sendTestAlert": {"responses": [{"outputId": "o1", "success": false, "statusCode": 500, "message": "oh no"}]},
    }));
    run(
        Some(&node.socket()),
        &[
            "outputs",
            "add",
            "webhook",
            "ops",
            "-",
            "--severity",
            "high,critical",
        ],
        "https://example.com/x\n",
    )
    .await
    .says(0, &["o1"]);
    assert_eq!(
        node.inputs("panther-outputs-api.addOutput"),
        [
            json!({"userId": "alice", "displayName": "ops", "outputConfig": {"customWebhook": {"webhookURL": "https://example.com/x"}},
            "defaultForSeverity": ["HIGH", "CRITICAL"]})
        ]
    );
    node.run("outputs add pager x y").await.says(
        2,
        &[
            "there is no type of outputs \"pager\"",
            "the types are webhook",
        ],
    );
    node.run("outputs types").await.says(
        0,
        &["webhook", "webhookURL", "the URL (the address, secret)"],
    );
    node.run("outputs test ops")
        .await
        .says(1, &["failed", "500", "oh no"]);
    assert_eq!(
        node.inputs("panther-outputs-api.sendTestAlert"),
        [json!({"outputIds": ["o1"]})]
    );
    node.run("outputs test gone")
        .await
        .says(1, &["there is no output \"gone\"", "the outputs are ops"]);
}

#[tokio::test]
async fn sources_are_added_with_paths_that_mean_the_same_to_the_node() {
    let node = Node::with(
        json!({"panther-source-api.putIntegration": {"integrationId": "s1", "integrationLabel": "x",
        "integrationType": "http", "ingestUrl": "http://h/ingest/s1", "token": "secret"}}),
    );
    node.run("sources add http x --log-types A.B,C.D")
        .await
        .says(0, &["secret", "shown this once"]);
    node.run("sources add folder x logs --log-types A.B")
        .await
        .says(0, &[]);
    node.run("sources add objects x --prefix p/ --log-types A.B")
        .await
        .says(0, &[]);
    let inputs = node.inputs("panther-source-api.putIntegration");
    assert_eq!(
        inputs[0],
        json!({"userId": "alice", "integrationLabel": "x", "integrationType": "http", "logTypes": ["A.B", "C.D"]})
    );
    let path = inputs[1]["path"].as_str().unwrap();
    assert!(path.starts_with('/') && path.ends_with("/logs"), "{path}");
    assert_eq!(inputs[2]["prefix"], "p/");
}

#[tokio::test]
async fn the_ledger_fails_when_something_is_missing() {
    let row = |stored: i64| json!({"source": "s1", "hour": "2026-11-24T09", "received": 10, "stored": stored, "quarantined": 1, "filtered": 0});
    let node = Node::with(
        json!({"node.ledger": {"rows": [row(9)]}, "panther-source-api.getIntegration": {"integrationId": "s1"}}),
    );
    node.run("ledger label --hours 3")
        .await
        .says(0, &["together"]);
    assert_eq!(
        node.inputs("node.ledger"),
        [json!({"source": "s1", "hours": 3})]
    );
    let node = Node::with(json!({"node.ledger": {"rows": [row(9), row(8)]}}));
    node.run("ledger")
        .await
        .says(1, &["1 of 2 rows do not add up"]);
}

#[tokio::test]
async fn what_happens_is_followed() {
    let node = Node::with(json!({
        "tail.alerts": [{"alertId": "a1", "severity": "HIGH", "title": "t1"}, {"alertId": "a2"}],
        "tail.alarms": [{"alarm": "n", "state": "raised", "reason": "r"}],
    }));
    node.run("tail --limit 1").await.says(0, &["HIGH  a1  t1"]);
    let ran = node.run("tail alerts --limit 2 --json").await;
    assert_eq!(ran.out.lines().count(), 2);
    // The node hanging up is no success: what comes later is missed.
    node.run("tail alarms")
        .await
        .says(1, &["raised  n  r", "ended the stream"]);
}

#[tokio::test]
async fn versions_are_told_even_without_a_node() {
    let node = Node::with(json!({"node.status": {"version": "9.9.9"}}));
    node.run("version")
        .await
        .says(0, &["pantherctl 0.", "pantherd   9.9.9"]);
    run(
        Some(std::path::Path::new("/nonexistent/sock")),
        &["version"],
        "",
    )
    .await
    .says(0, &["pantherctl 0.", "cannot reach pantherd"]);
}

#[tokio::test]
async fn the_whole_of_an_alert_and_of_an_event_is_shown() {
    let node = Node::with(json!({
        "panther-alerts-api.getAlert": {"alertId": "a1", "title": "t", "eventsMatched": 1, "events": [{"p_row_id": "r1"}], "eventsLastEvaluatedKey": null,
            "deliveryResponses": [{"outputId": "o1", "success": true, "statusCode": 200, "message": "ok"}]},
        "node.trace": {"event": {"p_row_id": "r1"}, "raw": {"object": "raw/1", "record": 3}, "processed_object": "p/1", "source": "s1",
            "matches": [{"rule": "R", "alert_id": "a1"}], "steps": ["received", "stored"]},
        "node.quarantine": {"groups": [{"source": "s1", "source_label": "okta", "object": "raw/2", "count": 4, "reasons": ["no JSON"]}]},
        "node.describe": {"name": "panther-alarms", "kind": "topic", "function": "Tells.", "recovery": ["Restore."], "state": {"state": "running"}},
    }));
    node.run("alerts show a1")
        .await
        .says(0, &["delivered", "\"p_row_id\": \"r1\""]);
    node.run("trace r1")
        .await
        .says(0, &["raw/1", "1. received", "R     a1"]);
    node.run("quarantine")
        .await
        .says(0, &["okta", "raw/2", "no JSON"]);
    node.run("describe panther-alarms")
        .await
        .says(0, &["Tells.", "1. Restore.", "running"]);
}

#[tokio::test]
async fn a_changed_source_keeps_what_was_not_given() {
    let source = json!({"integrationId": "s1", "integrationLabel": "okta", "integrationType": "objects", "logTypes": ["A.B"], "path": "", "prefix": "p/"});
    let node = Node::with(
        json!({"panther-source-api.getIntegration": source, "panther-source-api.updateIntegrationSettings": source}),
    );
    node.run("sources update okta --log-types A.B,C.D")
        .await
        .says(0, &["okta"]);
    assert_eq!(
        node.inputs("panther-source-api.updateIntegrationSettings"),
        [
            json!({"userId": "alice", "integrationId": "s1", "integrationLabel": "okta", "integrationType": "objects",
            "logTypes": ["A.B", "C.D"], "prefix": "p/"})
        ]
    );
}

#[tokio::test]
async fn detections_are_suspended_with_who_and_why() {
    let node = Node::with(json!({"panther-analysis-api.setDetectionState": {}}));
    node.run("detections suspend A.Rule --reason noisy")
        .await
        .says(0, &["A.Rule is suspended"]);
    node.run("detections resume A.Rule")
        .await
        .says(0, &["A.Rule is live"]);
    assert_eq!(
        node.inputs("panther-analysis-api.setDetectionState"),
        [
            json!({"id": "A.Rule", "state": "suspended", "userId": "alice", "reason": "noisy"}),
            json!({"id": "A.Rule", "state": "live", "userId": "alice"}),
        ]
    );
}
