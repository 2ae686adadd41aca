//! An upload is planned, proved and kept as a version; what does not load or fails its tests does not become live.

use std::path::Path;

use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use panther_actors::api::ApiError;
use serde_json::{Value, json};

use crate::support::{World, zip};

const API: &str = "panther-analysis-api";
const GOOD: &str = "def rule(event):\n    return event.get('n') == 1\n";

/// A folder of rules by id and Python; each has a test that expects a match of `{n: 1}`.
fn pack(rules: &[(&str, &str)]) -> tempfile::TempDir {
    let folder = tempfile::tempdir().unwrap();
    for (id, body) in rules {
        let metadata = format!(
            "AnalysisType: rule\nRuleID: {id}\nFilename: {id}.py\nSeverity: Info\nLogTypes: [Nginx.Access]\nEnabled: true\nTests:\n  - {{Name: it matches, ExpectedResult: true, Log: {{n: 1}}}}\n"
        );
        std::fs::write(folder.path().join(format!("{id}.yml")), metadata).unwrap();
        std::fs::write(folder.path().join(format!("{id}.py")), body).unwrap();
    }
    folder
}

async fn call(
    world: &World,
    operation: &str,
    folder: &Path,
    input: Value,
) -> Result<Value, ApiError> {
    let mut input = input;
    input["data"] = STANDARD.encode(zip(folder)).into();
    world.invoke(API, operation, input).await
}

async fn live(world: &World) -> Vec<String> {
    let listed = world
        .invoke(API, "listDetections", json!({}))
        .await
        .unwrap();
    let detections = listed["detections"].as_array().unwrap().iter();
    detections
        .map(|detection| detection["id"].as_str().unwrap().to_owned())
        .collect()
}

#[tokio::test(flavor = "multi_thread")]
async fn what_does_not_load_or_fails_its_tests_does_not_become_live_unless_it_is_forced() {
    let world = World::start().await;
    world.upload(pack(&[("A", GOOD)]).path()).await.unwrap();
    for (body, reason) in [
        (
            "def rule(event)\n    return True\n",
            "SyntaxError: expected ':': B.py, line 1, column 16",
        ),
        (
            "import nosuch\ndef rule(event):\n    return True\n",
            "No module named 'nosuch': B.py, line 1",
        ),
        ("def rul(event):\n    return True\n", "named 'rule'"),
        (
            "def rule(event):\n    return False\n",
            "test it matches: expected true, got false",
        ),
    ] {
        let folder = pack(&[("A", GOOD), ("B", body)]);
        let error = world.upload(folder.path()).await.unwrap_err().to_string();
        assert!(error.contains(reason) && error.contains("\"B\""), "{error}");
        assert_eq!(live(&world).await, ["A"]);
        let plan = call(&world, "getUploadPlan", folder.path(), json!({})).await;
        assert!(plan.unwrap()["failures"].to_string().contains("\"B\""));
    }
    let folder = pack(&[("A", GOOD), ("B", "def rule(event)\n    return True\n")]);
    call(&world, "bulkUpload", folder.path(), json!({"force": true}))
        .await
        .unwrap();
    assert_eq!(live(&world).await, ["A", "B"]);
    let versions = world.invoke(API, "listVersions", json!({})).await.unwrap();
    assert_eq!(versions["versions"][0]["action"], "upload --force");
    // What is live is built again as it is, forced or not.
    let send = json!({"queue": "panther-layer-manager-queue", "body": "GLOBAL"});
    world.invoke("node", "send", send).await.unwrap();
    world.settle().await;
    assert_eq!(live(&world).await, ["A", "B"]);
    world.stop().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_plan_names_what_changes_and_changes_nothing() {
    let world = World::start().await;
    world
        .upload(pack(&[("A", GOOD), ("B", GOOD)]).path())
        .await
        .unwrap();
    let next = pack(&[("B", &format!("{GOOD}# changed\n")), ("C", GOOD)]);
    let plan = call(&world, "getUploadPlan", next.path(), json!({}))
        .await
        .unwrap();
    let names = |of: &str| -> Vec<Value> {
        let items = plan["changes"][of].as_array().unwrap().iter();
        items.map(|item| item["id"].clone()).collect()
    };
    assert_eq!(
        (names("new"), names("changed"), names("deleted")),
        (vec![json!("C")], vec![json!("B")], vec![json!("A")])
    );
    assert_eq!(plan["changes"]["changed"][0]["parts"], json!(["source"]));
    assert_eq!(
        (&plan["tests"]["tests_passed"], &plan["live"]),
        (&json!(2), &json!(1))
    );
    assert_eq!(live(&world).await, ["A", "B"]);
    // With --add nothing is deleted; a filter takes a part.
    let add = json!({"add": true, "filters": ["RuleID=C"]});
    let plan = call(&world, "getUploadPlan", next.path(), add.clone())
        .await
        .unwrap();
    assert_eq!(plan["changes"]["deleted"], json!([]), "{plan}");
    assert_eq!(plan["changes"]["changed"], json!([]), "{plan}");
    call(&world, "bulkUpload", next.path(), add).await.unwrap();
    assert_eq!(live(&world).await, ["A", "B", "C"]);
    // A plan that was made before does not hold any more.
    let late = call(&world, "bulkUpload", next.path(), json!({"planned": 1})).await;
    assert!(matches!(late, Err(ApiError::Conflict(_))), "{late:?}");
    let wrong = call(
        &world,
        "getUploadPlan",
        next.path(),
        json!({"filters": ["Owner=me"]}),
    )
    .await;
    assert!(matches!(wrong, Err(ApiError::Invalid(_))), "{wrong:?}");
    world.stop().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn versions_are_kept_and_an_earlier_one_can_be_live_again() {
    let world = World::start().await;
    let first = pack(&[("A", GOOD), ("B", GOOD)]);
    world.upload(first.path()).await.unwrap();
    world.upload(pack(&[("A", GOOD)]).path()).await.unwrap();
    // The same once more is no version.
    world.upload(pack(&[("A", GOOD)]).path()).await.unwrap();
    let rollback = json!({"version": "1", "userId": "eve"});
    let done = world.invoke(API, "bulkUpload", rollback).await.unwrap();
    assert_eq!(done["number"], 3, "{done}");
    assert_eq!(live(&world).await, ["A", "B"]);
    let versions = world.invoke(API, "listVersions", json!({})).await.unwrap();
    let told: Vec<(Value, Value, Value)> = versions["versions"]
        .as_array()
        .unwrap()
        .iter()
        .map(|of| {
            (
                of["number"].clone(),
                of["action"].clone(),
                of["user"].clone(),
            )
        })
        .collect();
    assert_eq!(
        told,
        [
            (json!(3), json!("rollback to 1"), json!("eve")),
            (json!(2), json!("upload"), json!("test")),
            (json!(1), json!("upload"), json!("test")),
        ]
    );
    let difference = world
        .invoke(API, "getDifference", json!({"from": "2", "to": "3"}))
        .await
        .unwrap();
    assert_eq!(difference["changes"]["new"][0]["id"], "B");
    assert_eq!(difference["files"][0]["path"], "B.py");
    // Its files come back as they were written.
    let version = world
        .invoke(API, "getVersion", json!({"version": "1"}))
        .await
        .unwrap();
    let text = std::fs::read_to_string(first.path().join("A.yml")).unwrap();
    assert_eq!(version["files"]["A.yml"], text);
    let gone = world
        .invoke(API, "bulkUpload", json!({"version": "9"}))
        .await;
    assert!(matches!(gone, Err(ApiError::NotFound(_))), "{gone:?}");
    world.stop().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_file_that_is_no_detection_keeps_no_pack_from_being_uploaded() {
    let world = World::start().await;
    let folder = pack(&[("A", GOOD)]);
    world.upload(folder.path()).await.unwrap();
    for text in ["a: 1\n", "services: [\n", ""] {
        std::fs::write(folder.path().join("docker-compose.yml"), text).unwrap();
        world.upload(folder.path()).await.unwrap();
    }
    std::fs::remove_file(folder.path().join("docker-compose.yml")).unwrap();
    world.upload(folder.path()).await.unwrap();
    assert_eq!(live(&world).await, ["A"]);
    world.stop().await;
}
