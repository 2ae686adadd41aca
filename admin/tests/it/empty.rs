//! A command that finds nothing says what it looked at and why nothing matched.

use serde_json::json;

use crate::node::{Node, queue};

#[tokio::test]
async fn nothing_found_is_explained() {
    let ledger = json!({"rows": [{"received": 10, "stored": 9, "quarantined": 0, "filtered": 1}]});
    let node = Node::with(json!({
        "node.queues": {"queues": [queue("q", "queue", 0, None)]},
        "node.queue": queue("q", "queue", 0, None),
        "node.peek": {"messages": []},
        "node.alarms": {"alarms": []},
        "node.status": {"pack": {"version": "v", "rules": 14, "policies": 1}},
        "node.ledger": ledger,
        "node.quarantine": {"groups": []},
        "node.quarantine_show": {"lines": []},
        "node.table_get": {"row": null},
        "node.table_scan": {"rows": []},
        "node.trace": {"event": null, "steps": ["looked in the processed object p/1"], "matches": []},
        "node.components": {"components": [{"name": "panther-alarms"}]},
        "panther-alerts-api.listAlerts": {"alertSummaries": []},
        "panther-analysis-api.listDetections": {"detections": [], "paging": {"thisPage": 1, "totalPages": 1, "totalItems": 15}},
        "panther-analysis-api.profileDetections": {"node": 1, "version": null, "oneIn": null, "detections": []},
        "panther-outputs-api.getOutputs": {"outputs": []},
        "panther-source-api.listIntegrations": {"integrations": []},
    }));
    for (line, code, said) in [
        (
            "queue ls --filled",
            0,
            "looked at 1 queue; none holds anything",
        ),
        ("queue ls zzz", 0, "none with \"zzz\" in its name"),
        (
            "queue peek q",
            0,
            "no message in q: 0 waiting; since it was made: 5 accepted, 3 done",
        ),
        ("alarms", 0, "no alarm is raised, and none ever was"),
        (
            "alerts list --severity HIGH",
            0,
            "no alert at all: 14 rules are live; of 10 records received in the last 24 hours, 9 were stored",
        ),
        (
            "quarantine",
            0,
            "nothing is in quarantine; of 10 records received",
        ),
        ("quarantine show x", 1, "x has no record in quarantine"),
        (
            "table get t k",
            1,
            "no row in t under hash key \"k\" and no range key",
        ),
        ("table scan t", 0, "t has no rows"),
        ("trace r", 1, "looked in the processed object p/1"),
        ("components zzz", 0, "looked at 1 component"),
        (
            "detections list zzz --severity high",
            0,
            "looked at 15 detections; none with name zzz, severity HIGH",
        ),
        (
            "detections profile",
            0,
            "has evaluated nothing in Rust since the pack was loaded",
        ),
        ("outputs list", 0, "outputs add webhook"),
        ("sources list", 0, "sources add folder"),
    ] {
        let ran = node.run(line).await;
        assert!(
            ran.code == code && format!("{}{}", ran.out, ran.err).contains(said),
            "{line}: {ran:?}"
        );
    }
    let node = Node::with(
        json!({"node.ledger": {"rows": []}, "panther-source-api.listIntegrations": {"integrations": [{}, {}]}}),
    );
    node.run("ledger").await.says(0, &["from any of 2 sources"]);
}
