//! Verbs that cannot be taken back show what they will do, and do it only when told to.

use serde_json::json;
use tonic::Status;

use crate::node::{Node, queue};

fn queues() -> Node {
    Node::answering(
        |name, input| match (name, input["name"].as_str().unwrap_or_default()) {
            ("node.queue", "q") => Ok(queue("q", "queue", 4, Some("other-dlq"))),
            ("node.queue", "other-dlq") => Ok(queue("other-dlq", "dlq", 3, None)),
            ("node.queue", "empty") => Ok(queue("empty", "queue", 0, Some("empty-dlq"))),
            ("node.queue", "empty-dlq") => Ok(queue("empty-dlq", "dlq", 0, None)),
            ("node.queue", "bare") => Ok(queue("bare", "queue", 0, None)),
            ("node.queues", _) => {
                Ok(json!({"queues": [queue("q", "queue", 4, Some("other-dlq"))]}))
            }
            ("node.peek", _) => Ok(json!({"messages": [
            {"id": "m1", "last_error": "truncated"}, {"id": "m2", "last_error": "truncated"}, {"id": "m3", "last_error": "no JSON"}]})),
            ("node.requeue", _) => {
                Ok(json!({"from": input["from"], "to": input["to"], "count": 3}))
            }
            ("node.purge", _) => Ok(json!({"count": 4})),
            _ => Err(Status::not_found("no such queue")),
        },
    )
}

#[tokio::test]
async fn dead_letters_go_back_from_the_queue_that_the_node_names() {
    let node = queues();
    let ran = node.run("requeue q --yes").await;
    ran.says(
        0,
        &[
            "requeue 3 messages",
            "from  other-dlq",
            "2 × truncated",
            "1 × no JSON",
            "3 messages moved from other-dlq to q",
        ],
    );
    assert_eq!(
        node.inputs("node.requeue"),
        [json!({"to": "q", "from": "other-dlq"})]
    );
    assert!(
        node.calls()
            .iter()
            .any(|call| call.operation == "requeue" && !call.request_id.is_empty())
    );
    let ran = node
        .run("requeue q --limit 2 --from other-dlq --yes --json")
        .await;
    assert_eq!(ran.json()["count"], 3);
    let ran = node.run("requeue q --message m2 -y").await;
    ran.says(0, &["requeue message m2"]);
    assert_eq!(
        node.inputs("node.requeue")[1..],
        [
            json!({"to": "q", "from": "other-dlq", "limit": 2}),
            json!({"to": "q", "from": "other-dlq", "message_id": "m2"})
        ]
    );
}

#[tokio::test]
async fn a_dry_run_moves_nothing() {
    let node = queues();
    let ran = node.run("requeue q --dry-run").await;
    assert!(
        ran.code == 0 && ran.out.contains("requeue 3 messages"),
        "{ran:?}"
    );
    let ran = node.run("requeue q --dry-run --json --limit 2").await;
    assert_eq!(
        ran.json(),
        json!({"from": "other-dlq", "to": "q", "count": 2, "dryRun": true})
    );
    assert!(node.inputs("node.requeue").is_empty());
}

#[tokio::test]
async fn an_empty_queue_is_not_purged() {
    let node = queues();
    node.run("queue purge empty")
        .await
        .says(0, &["nothing to purge: empty holds 0 waiting"]);
    assert!(node.inputs("node.purge").is_empty());
}

#[tokio::test]
async fn without_a_terminal_and_yes_nothing_is_done() {
    let node = Node::answering(|name, _| match name {
        "node.queue" => Ok(queue("q", "queue", 4, Some("q"))),
        "node.peek" => Ok(json!({"messages": []})),
        "panther-outputs-api.getOutputs" => {
            Ok(json!({"outputs": [{"outputId": "o1", "displayName": "ops"}]}))
        }
        "panther-source-api.getIntegration" => {
            Ok(json!({"integrationId": "s1", "integrationLabel": "okta"}))
        }
        _ => Ok(json!({})),
    });
    for (line, plan) in [
        ("queue purge q", "purge q: 4 messages"),
        ("requeue q", "requeue 4 messages"),
        ("outputs remove ops", "remove output ops"),
        ("sources remove okta", "remove source okta"),
    ] {
        node.run(line)
            .await
            .says(2, &[plan, "no terminal", "--yes"]);
    }
    assert!(node.calls().iter().all(|call| call.request_id.is_empty()));
    for line in [
        "queue purge q --yes",
        "outputs remove ops --yes",
        "sources remove okta --yes",
    ] {
        node.run(line).await.says(0, &[]);
    }
    let changes: Vec<String> = node
        .calls()
        .iter()
        .filter(|call| !call.request_id.is_empty())
        .map(|call| format!("{} {}", call.operation, call.input))
        .collect();
    assert_eq!(
        changes,
        [
            r#"purge {"queue":"q"}"#,
            r#"deleteOutput {"outputId":"o1"}"#,
            r#"deleteIntegration {"integrationId":"s1"}"#
        ]
    );
}

#[tokio::test]
async fn slips_in_requeue_are_explained() {
    let node = queues();
    node.run("requeue other-dlq --yes").await.says(
        2,
        &["is a dead letter queue itself", "pantherctl requeue q"],
    );
    node.run("requeue bare --yes")
        .await
        .says(2, &["has no dead letter queue", "--from"]);
    node.run("requeue gone --yes")
        .await
        .says(1, &["pantherctl queue ls"]);
    node.run("requeue empty --yes")
        .await
        .says(0, &["nothing to requeue: empty-dlq holds 0 waiting"]);
    assert!(node.inputs("node.requeue").is_empty());
}
