//! A changing call whose connection is cut after its commit is called again: one effect, and the answer of the first call.
//!
//! The calls are made from the table of methods: a method that changes something and has no call here fails the test.

use std::path::Path;

use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use panther_actors::api::{ApiError, RequestId};
use panther_actors::system::Caller;
use panther_cluster::door::change::{self, RowExt};
use panther_cluster::state::read::Query;
use panther_proto::methods::{Method, methods};
use panther_proto::v1::Transact;
use serde_json::{Value, json};

use crate::support::{World, samples, zip};

const QUEUE: &str = "panther-alerts-queue";
const DLQ: &str = "panther-alerts-queue-dlq";

/// Puts messages into a queue; the id of the first.
async fn send(world: &World, queue: &str, count: usize) -> String {
    let mut first = None;
    for number in 0..count {
        let transact = Transact {
            sends: vec![change::to_queue(queue, number.to_string())],
            ..Transact::default()
        };
        let done = world.door.transact(transact).await.unwrap();
        first = first.or(done.message_ids.into_iter().next());
    }
    first.unwrap()
}

async fn source(world: &World, label: &str, input: Value) -> String {
    let mut input = input;
    input["integrationLabel"] = label.into();
    input["logTypes"] = json!(["Nginx.Access"]);
    let made = world.invoke("panther-source-api", "putIntegration", input);
    made.await.unwrap()["integrationId"]
        .as_str()
        .unwrap()
        .to_owned()
}

async fn output(world: &World, name: &str) -> String {
    let path = world.folder.path().join(format!("{name}.jsonl"));
    let input = json!({"displayName": name, "outputConfig": {"file": {"path": path}}});
    let made = world.invoke("panther-outputs-api", "addOutput", input);
    made.await.unwrap()["outputId"].as_str().unwrap().to_owned()
}

/// An alert, written as the forwarder writes it.
async fn alert(world: &World, id: &str) -> String {
    let row = change::Change::put("panther-log-alert-info", change::key(id))
        .set("type", "RULE")
        .set("ruleId", "R")
        .set("severity", "LOW")
        .set("title", "t")
        .set("creationTime", "2026-03-05T10:00:00Z")
        .set("timePartition", "defaultPartition");
    let transact = Transact {
        changes: vec![row.done()],
        ..Transact::default()
    };
    world.door.transact(transact).await.unwrap();
    id.to_owned()
}

/// A request of a method, and what it needs in place; nothing for a method that this test does not know.
async fn request(world: &World, method: &Method) -> Option<Value> {
    let pack: &Path = &samples().join("pack");
    Some(match method.to_string().as_str() {
        "OutputsApi.AddOutput" => {
            let path = world.folder.path().join("added.jsonl");
            json!({"displayName": "added", "outputConfig": {"file": {"path": path}}})
        }
        "OutputsApi.UpdateOutput" => {
            json!({"outputId": output(world, "updated").await, "displayName": "other"})
        }
        "OutputsApi.DeleteOutput" => json!({"outputId": output(world, "deleted").await}),
        "OutputsApi.SendTestAlert" => json!({"outputIds": [output(world, "tested").await]}),
        "AlertsApi.UpdateAlertStatus" => {
            json!({"alertIds": [alert(world, "a1").await], "status": "CLOSED"})
        }
        "AlertsApi.DeliverAlert" => {
            json!({"alertId": alert(world, "a2").await, "outputIds": [output(world, "delivered").await]})
        }
        "SourceApi.PutIntegration" => {
            json!({"integrationLabel": "put", "integrationType": "http", "logTypes": ["Nginx.Access"]})
        }
        "SourceApi.UpdateIntegrationSettings" => {
            let http = json!({"integrationType": "http"});
            json!({"integrationId": source(world, "updated", http).await, "integrationLabel": "renamed", "integrationType": "http", "logTypes": ["Nginx.Access"]})
        }
        "SourceApi.DeleteIntegration" => {
            let http = json!({"integrationType": "http"});
            json!({"integrationId": source(world, "deleted", http).await})
        }
        "SourceApi.RotateToken" => {
            let http = json!({"integrationType": "http"});
            json!({"integrationId": source(world, "rotated", http).await})
        }
        "SourceApi.PutSchema" => {
            json!({"yaml": "schema: Custom.Retried\nfields:\n  - name: n\n    type: bigint\n    required: true\n"})
        }
        "SourceApi.Notify" => {
            let objects = json!({"integrationType": "objects", "prefix": "dropped/"});
            let id = source(world, "notified", objects).await;
            let content = bytes::Bytes::from_static(b"line\n");
            world.objects.put("dropped/one", content).await.unwrap();
            json!({"integrationId": id, "object": "dropped/one"})
        }
        "AnalysisApi.BulkUpload" => json!({"data": STANDARD.encode(zip(pack))}),
        "AnalysisApi.SetDetectionState" => {
            world.upload(pack).await.unwrap();
            let listed = world.invoke("panther-analysis-api", "listDetections", json!({}));
            let id = listed.await.unwrap()["detections"][0]["id"].clone();
            json!({"id": id, "state": "off"})
        }
        "NodeApi.Send" => json!({"queue": DLQ, "body": "sent"}),
        "NodeApi.Purge" => {
            send(world, DLQ, 3).await;
            json!({"queue": DLQ})
        }
        "NodeApi.Delete" => json!({"queue": DLQ, "message_id": send(world, DLQ, 1).await}),
        "NodeApi.Requeue" => {
            send(world, DLQ, 3).await;
            json!({"to": QUEUE})
        }
        "NodeApi.QuarantineReplay"
        | "NodeApi.StorageCollect"
        | "NodeApi.Resume"
        | "NodeApi.Snapshot" => json!({}),
        "NodeApi.StorageRetain" => json!({"kind": "events", "days": 7}),
        "NodeApi.ClusterDrain" => json!({"node": 1, "drained": false}),
        "NodeApi.ClusterVoters" => json!({"voters": 1}),
        "NodeApi.ClusterLead" | "NodeApi.ClusterRemove" => json!({"node": 1}),
        "NodeApi.ClusterInvite"
        | "NodeApi.ClusterRaiseFormat"
        | "NodeApi.ClusterRotateAuthority"
        | "NodeApi.ClusterAcceptTime"
        | "NodeApi.ClusterForceTime" => json!({}),
        _ => return None,
    })
}

/// Records of an operation in the audit table that say that it was carried out.
async fn records(world: &World, method: &Method) -> usize {
    let query = Query {
        table: "panther-audit".to_owned(),
        ..Query::default()
    };
    let rows = world.door.query_all(query).await.unwrap();
    let of = rows.iter().filter(|(_, row)| {
        let outcome = row.text("outcome").unwrap_or_default();
        row.text("operation") == Some(&method.operation) && ["begun", "done"].contains(&outcome)
    });
    of.count()
}

#[tokio::test(flavor = "multi_thread")]
async fn a_retried_change_is_one_effect_with_one_answer() {
    let world = World::start().await;
    let mut done = Vec::new();
    for method in methods().all().filter(|method| method.changes) {
        let request = request(&world, method)
            .await
            .unwrap_or_else(|| panic!("{method} changes something and no call of it is tried"));
        let before = records(&world, method).await;
        let call = async || -> Result<Value, ApiError> {
            let caller = Caller {
                user: "ann".to_owned(),
                request: Some(RequestId {
                    id: format!("retry-{method}"),
                    time_ms: world.door.now_ms(),
                }),
                ..Caller::default()
            };
            world.system.call_json(&method.path, caller, &request).await
        };
        // The caller hangs up as soon as the call is under way, and calls again.
        {
            let cut = call();
            let mut cut = std::pin::pin!(cut);
            assert!(futures::poll!(cut.as_mut()).is_pending(), "{method}");
        }
        let second = call().await;
        let third = call().await;
        match (second, third) {
            (Ok(second), Ok(third)) => {
                assert_eq!(second, third, "{method}");
                done.push(method.to_string());
            }
            // What this single node refuses, it refuses each time.
            (Err(second), Err(third)) => assert_eq!(second, third, "{method}"),
            (second, third) => panic!("{method} gave {second:?} first and {third:?} then"),
        }
        let now = records(&world, method).await;
        let effects = usize::from(done.last() == Some(&method.to_string()));
        assert_eq!(now - before, effects, "{method} left other records");
    }
    // A single node cannot invite, rotate, remove itself, or set its clock: everything else must have been done.
    let refused = methods()
        .all()
        .filter(|method| method.changes && !done.contains(&method.to_string()));
    let refused: Vec<&str> = refused.map(|method| method.name.as_str()).collect();
    for name in &refused {
        let may = [
            "ClusterAcceptTime",
            "ClusterForceTime",
            "ClusterInvite",
            "ClusterLead",
            "ClusterRaiseFormat",
            "ClusterRemove",
            "ClusterRotateAuthority",
        ];
        assert!(may.contains(name), "{refused:?} were refused");
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn a_retry_gets_the_first_answer_also_where_the_state_has_changed_meanwhile() {
    let world = World::start().await;
    let call = async |operation: &str, id: &str, input: Value| {
        let component = if operation.starts_with("put") {
            "panther-source-api"
        } else {
            "node"
        };
        let method = methods().by_operation(component, operation).unwrap();
        let caller = Caller {
            user: String::new(),
            request: Some(RequestId {
                id: id.to_owned(),
                time_ms: world.door.now_ms(),
            }),
            ..Caller::default()
        };
        world.system.call_json(&method.path, caller, &input).await
    };
    send(&world, DLQ, 3).await;
    let purge = json!({"queue": DLQ});
    assert_eq!(call("purge", "p", purge.clone()).await.unwrap()["count"], 3);
    send(&world, DLQ, 2).await;
    assert_eq!(call("purge", "p", purge.clone()).await.unwrap()["count"], 3);
    let left = world.door.counts(DLQ).await.unwrap().waiting;
    assert_eq!(left, 2, "a retry has purged what came after the first call");
    assert_eq!(call("purge", "q", purge).await.unwrap()["count"], 2);

    let source =
        json!({"integrationLabel": "one", "integrationType": "http", "logTypes": ["Nginx.Access"]});
    let first = call("putIntegration", "s", source.clone()).await.unwrap();
    let id = first["integrationId"].clone();
    let delete = world.invoke(
        "panther-source-api",
        "deleteIntegration",
        json!({"integrationId": id}),
    );
    delete.await.unwrap();
    assert_eq!(call("putIntegration", "s", source).await.unwrap(), first);
    // An id of one call is not an id of another.
    let other = call("purge", "s", json!({"queue": DLQ})).await;
    assert!(matches!(other, Err(ApiError::Invalid(_))), "{other:?}");
}
