//! An upload shows its plan, asks before it deletes, and sends nothing that the node refuses.

use serde_json::{Value, json};
use tonic::Status;

use crate::node::{Node, repository};

const PLAN: &str = "panther-analysis-api.getUploadPlan";
const UPLOAD: &str = "panther-analysis-api.bulkUpload";

fn plan(deleted: &[&str], failures: Value) -> Value {
    let deleted: Vec<Value> = deleted
        .iter()
        .map(|id| json!({"kind": "rule", "id": id}))
        .collect();
    json!({
        "version": "abc", "live": 3, "new": 1, "modified": 1, "unchanged": 2, "deleted": deleted.len(),
        "rules": 4, "policies": 0, "globals": 1, "dataModels": 1,
        "changes": {"new": [{"kind": "rule", "id": "New.Rule"}], "changed": [{"kind": "global", "id": "helpers", "parts": ["text"]}],
            "deleted": deleted, "unchanged": 2},
        "tests": {"tests_passed": 5, "tests_failed": 0}, "failures": failures,
        "unevaluated": [{"id": "U", "kind": "rule", "reason": "uses unique"}], "problems": [],
    })
}

fn node(plan: Value) -> Node {
    Node::answering(move |name, _| match name {
        PLAN => Ok(plan.clone()),
        UPLOAD => {
            let mut done = plan.clone();
            done["number"] = 4.into();
            Ok(done)
        }
        _ => Err(Status::not_found("not in the script")),
    })
}

fn words<'w>(pack: &'w str, more: &[&'w str]) -> Vec<&'w str> {
    [&["detections", "upload", pack], more].concat()
}

#[tokio::test]
async fn a_plan_is_shown_and_what_deletes_nothing_goes_on() {
    let node = node(plan(&[], json!([])));
    let pack = repository("samples/pack");
    let ran = node
        .run_words(&words(&pack, &["--add", "--filter", "Severity=High"]))
        .await;
    ran.says(
        0,
        &[
            "against version 3",
            "new      rule New.Rule",
            "changed  global helpers: text",
            "1 new, 1 changed, 0 deleted, 2 unchanged",
            "5 tests passed",
            "version 4 is live: pack abc",
            "4 rules, 0 policies",
            "not evaluated: rule U: uses unique",
        ],
    );
    let call = node.calls().pop().unwrap();
    let input: serde_json::Value = serde_json::from_str(&call.input).unwrap();
    // A zip in base64.
    assert!(input["data"].as_str().unwrap().starts_with("UEsD") && call.request_id.len() == 36);
    let mut input = input;
    input.as_object_mut().unwrap().remove("data");
    let expected = json!({"userId": "alice", "add": true, "filters": ["Severity=High"], "force": false, "planned": 3});
    assert_eq!(input, expected);
}

#[tokio::test]
async fn deletions_are_named_and_need_a_yes() {
    let node = node(plan(&["Gone.Rule", "Gone.Too"], json!([])));
    let pack = repository("samples/pack");
    let ran = node.run_words(&words(&pack, &[])).await;
    ran.says(
        2,
        &[
            "deleted  rule Gone.Rule",
            "deleted  rule Gone.Too",
            "was not confirmed",
            "--yes",
        ],
    );
    assert!(node.inputs(UPLOAD).is_empty(), "nothing was sent");
    node.run_words(&words(&pack, &["--yes"]))
        .await
        .says(0, &["version 4 is live"]);
    assert_eq!(node.inputs(UPLOAD).len(), 1);
    let ran = node.run_words(&["detections", "rollback", "2"]).await;
    ran.says(2, &["deleted  rule Gone.Rule", "was not confirmed"]);
    assert_eq!(node.inputs(UPLOAD).len(), 1);
    node.run_words(&["detections", "rollback", "2", "--yes"])
        .await
        .says(0, &["is live"]);
    assert_eq!(node.inputs(UPLOAD)[1]["version"], "2");
}

#[tokio::test]
async fn a_dry_run_uploads_nothing() {
    let node = node(plan(&["Gone.Rule"], json!([])));
    let pack = repository("samples/pack");
    let ran = node.run_words(&words(&pack, &["--dry-run"])).await;
    ran.says(
        0,
        &["deleted  rule Gone.Rule", "1 new, 1 changed, 1 deleted"],
    );
    assert!(node.inputs(UPLOAD).is_empty());
}

#[tokio::test]
async fn what_fails_is_named_rule_by_rule_and_uploaded_only_if_forced() {
    let failures = json!([{"file": "b.yml", "key": "B", "reason": "test it matches: expected true, got false"}]);
    let node = node(plan(&[], failures));
    let pack = repository("samples/pack");
    for more in [&[][..], &["--yes"], &["--dry-run"]] {
        let ran = node.run_words(&words(&pack, more)).await;
        ran.says(
            2,
            &["b.yml\n  B: test it matches: expected true, got false"],
        );
        assert!(node.inputs(UPLOAD).is_empty(), "{more:?}");
    }
    let ran = node.run_words(&words(&pack, &["--json"])).await;
    assert_eq!(ran.json()["problems"][0]["key"], "B");
    node.run_words(&words(&pack, &["--force"]))
        .await
        .says(0, &["is live"]);
    assert_eq!(node.inputs(UPLOAD)[0]["force"], true);
}

#[tokio::test]
async fn a_filter_that_is_none_is_said_before_anything_is_sent() {
    let node = node(plan(&[], json!([])));
    let pack = repository("samples/pack");
    let ran = node
        .run_words(&words(&pack, &["--filter", "Owner=me"]))
        .await;
    ran.says(2, &["no key to filter by"]);
    assert!(node.calls().is_empty());
}

#[tokio::test]
async fn versions_are_listed_compared_and_written_to_a_folder() {
    let version = |number: u64, action: &str| {
        json!({"number": number, "version": "abc", "object": "o", "time": "2026-03-01T10:00:00.000Z", "user": "alice", "action": action,
            "detections": 5, "new": 1, "changed": 0, "deleted": 0})
    };
    let node = Node::with(json!({
        "panther-analysis-api.listVersions": {"versions": [version(2, "rollback to 1"), version(1, "upload")], "live": 2},
        "panther-analysis-api.getDifference": {"from": version(1, ""), "to": version(2, ""),
            "changes": {"new": [], "changed": [{"kind": "rule", "id": "A", "parts": ["source"]}], "deleted": [], "unchanged": 1},
            "files": [{"path": "a.py", "from": "x\ny\n", "to": "x\nz\n"}]},
        "panther-analysis-api.getVersion": {"version": version(1, "upload"), "files": {"rules/a.yml": "text\n"}},
    }));
    node.run("detections history")
        .await
        .says(0, &["rollback to 1", "live"]);
    node.run("detections diff 1 2").await.says(
        0,
        &[
            "from version 1 to 2",
            "changed  rule A: source",
            "a.py\n  x\n- y\n+ z\n",
        ],
    );
    let folder = tempfile::tempdir().unwrap();
    let into = folder.path().join("new");
    let ran = node
        .run_words(&["detections", "download", "1", into.to_str().unwrap()])
        .await;
    ran.says(0, &["version 1: 1 file"]);
    assert_eq!(
        std::fs::read_to_string(into.join("rules/a.yml")).unwrap(),
        "text\n"
    );
    let ran = node
        .run_words(&["detections", "download", into.to_str().unwrap()])
        .await;
    ran.says(2, &["is not empty"]);
    assert_eq!(node.inputs("panther-analysis-api.getVersion")[1], json!({}));
}
