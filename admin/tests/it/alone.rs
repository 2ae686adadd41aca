//! What works without a node: packs and schemas.

use std::path::Path;

use crate::node::{Ran, repository, run};

async fn alone(words: &[&str]) -> Ran {
    run(Some(Path::new("/nonexistent/sock")), words, "").await
}

#[tokio::test]
async fn the_sample_pack_passes_its_tests() {
    let pack = repository("samples/pack");
    let ran = alone(&["detections", "test", &pack]).await;
    ran.says(0, &["Detections: 15 (15 passed, 0 failed", " 0 failed"]);
    assert!(
        ran.out.lines().count() < 10 && !ran.out.contains('\u{1b}'),
        "when all pass, a summary is all: {ran:?}"
    );
    let ran = alone(&["detections", "test", &pack, "--all"]).await;
    ran.says(0, &["Sample.AWS.Root.Activity", "[PASS] [rule] true"]);
    let ran = alone(&[
        "detections",
        "test",
        &pack,
        "--json",
        "--filter",
        "AnalysisType=rule",
    ])
    .await;
    let report = ran.json();
    assert_eq!(
        (
            ran.code,
            &report["passed"],
            &report["summary"]["detections"]
        ),
        (0, &true.into(), &14.into())
    );
    let ran = alone(&["detections", "test", &pack, "--filter", "RuleID=None.Such"]).await;
    ran.says(
        1,
        &[
            "nothing was tested",
            "none of its 15 detections passes the filters",
        ],
    );
    let ran = alone(&[
        "detections",
        "test",
        &pack,
        "--filter",
        "Severity=High",
        "--minimum-tests",
        "50",
    ])
    .await;
    ran.says(1, &["at least 50 are required"]);
}

#[tokio::test]
async fn a_failing_test_a_bad_file_and_a_missing_python_are_told_apart() {
    let folder = tempfile::tempdir().unwrap();
    let write = |name: &str, text: &str| std::fs::write(folder.path().join(name), text).unwrap();
    write(
        "a.yml",
        "AnalysisType: rule\nRuleID: A\nFilename: a.py\nLogTypes: [T]\nSeverity: Low\nEnabled: true\nTests:\n  - {Name: it fires, ExpectedResult: true, Log: {n: 1}}\n",
    );
    write("a.py", "def rule(event):\n    return False\n");
    let path = folder.path().to_str().unwrap();
    alone(&["detections", "test", path])
        .await
        .says(1, &["[FAIL] it fires", "expected true, got false"]);
    alone(&[
        "detections",
        "test",
        path,
        "--python",
        "/nonexistent/python",
    ])
    .await
    .says(
        3,
        &["cannot run Python as /nonexistent/python", "--python PATH"],
    );
    write("b.yml", "AnalysisType: rule\nRuleID: B\nSeverity: Huge\n");
    let ran = alone(&["detections", "test", path]).await;
    ran.says(2, &["the pack is not valid", "b.yml\n"]);
    assert!(ran.out.is_empty(), "{ran:?}");
    let ran = alone(&["detections", "check", path, "--json"]).await;
    assert_eq!(
        (ran.code, &ran.json()["problems"][0]["file"]),
        (2, &"b.yml".into())
    );
    alone(&["detections", "check", "/nonexistent/pack"])
        .await
        .says(2, &["/nonexistent/pack", "cannot be opened"]);
}

#[tokio::test]
async fn a_rule_that_raises_is_explained_up_to_the_line_that_raised() {
    let folder = tempfile::tempdir().unwrap();
    let write = |name: &str, text: &str| std::fs::write(folder.path().join(name), text).unwrap();
    write(
        "a.yml",
        "AnalysisType: rule\nRuleID: A\nFilename: mine.py\nLogTypes: [T]\nSeverity: Low\nEnabled: true\nTests:\n  - {Name: it raises, ExpectedResult: true, Log: {n: 1}}\n",
    );
    write(
        "mine.py",
        "def rule(event):\n    n = event.get('n')\n    print('looking at', n)\n    return event['gone'] == n\n",
    );
    let path = folder.path().to_str().unwrap();
    let ran = alone(&["detections", "explain", path, "A", "--test", "it raises"]).await;
    ran.says(
        1,
        &[
            "KeyError: 'gone': mine.py, line 4, column 12, in rule",
            "line    2  n = event.get('n') -> 1",
            "line    4  return event['gone'] == n raises KeyError: 'gone'",
            "printed\n  looking at 1\n",
        ],
    );
    let ran = alone(&["detections", "test", path]).await;
    ran.says(
        1,
        &[
            "KeyError: 'gone': mine.py, line 4, column 12, in rule",
            "printed:\n\t\t\tlooking at 1\n",
        ],
    );
}

#[tokio::test]
async fn a_check_finds_what_the_yaml_does_not_show() {
    let folder = tempfile::tempdir().unwrap();
    let write = |name: &str, text: &str| std::fs::write(folder.path().join(name), text).unwrap();
    let rule = |id: &str, log_type: &str| {
        format!(
            "AnalysisType: rule\nRuleID: {id}\nFilename: {id}.py\nLogTypes: [{log_type}]\nSeverity: Low\nEnabled: true\n"
        )
    };
    let path = folder.path().to_str().unwrap();
    write("ok.yml", &rule("ok", "AWS.CloudTrial"));
    write(
        "ok.py",
        "import json\n\ndef rule(event):\n    return True\n",
    );
    // A log type may be one of a node's own: it is said, and no fault.
    alone(&["detections", "check", path]).await.says(
        0,
        &["unknown log type: AWS.CloudTrial in ok.yml, which is not built in; did you mean AWS.CloudTrail?"],
    );
    write("syntax.yml", &rule("syntax", "T"));
    write("syntax.py", "def rule(event)\n    return True\n");
    write("module.yml", &rule("module", "T"));
    write(
        "module.py",
        "import json\nimport nosuchmodule\ndef rule(event):\n    return True\n",
    );
    write("function.yml", &rule("function", "T"));
    write("function.py", "def rul(event):\n    return True\n");
    write(
        "simple.yml",
        "AnalysisType: rule\nRuleID: simple\nLogTypes: [T]\nSeverity: Low\nEnabled: true\nDetection: [{Key: a, Condition: IsHuge, Value: 1}]\n",
    );
    write(
        "pack.yml",
        "AnalysisType: pack\nPackID: P\nPackDefinition: {IDs: [okay]}\n",
    );
    let ran = alone(&["detections", "check", path]).await;
    ran.says(
        2,
        &[
            "syntax.py\n  line 1, column 16: it does not parse",
            "module.py\n  line 2, column 1: there is no module nosuchmodule: not in the pack",
            "function.py\n  function needs a function rule, and the file has none; did you mean rul?",
            "simple.yml\n  Detection[0].Condition: unknown condition IsHuge",
            "pack.yml\n  PackDefinition.IDs: nothing in the pack has the id okay",
            "5 problems in 5 files",
        ],
    );
    let ran = alone(&["detections", "check", path, "--python", "/nonexistent"]).await;
    ran.says(2, &["modules were not looked up", "4 problems in 4 files"]);
}

#[tokio::test]
async fn the_sample_pack_is_valid() {
    let pack = repository("samples/pack");
    let ran = alone(&["detections", "check", &pack]).await;
    ran.says(
        0,
        &["is valid: 14 rules, 1 policy, 2 globals, 2 data models, 1 pack definition"],
    );
}

#[tokio::test]
async fn a_log_type_is_tried_on_files() {
    let log = repository("samples/logs/nginx/access.log");
    let ran = alone(&["schemas", "test", "Nginx.Access", &log, "--events", "1"]).await;
    ran.says(
        0,
        &[
            "\"p_log_type\":\"Nginx.Access\"",
            "254 records: 254 events, 0 unclassified",
        ],
    );
    let ran = alone(&[
        "schemas",
        "test",
        "Okta.SystemLog",
        &log,
        "--unclassified",
        "1",
    ])
    .await;
    ran.says(
        1,
        &[
            "record 1 is not taken",
            "254 unclassified",
            "253 records not taken",
        ],
    );
    let broken = repository(
        "samples/broken/111122223333_CloudTrail_us-east-1_20260305T1415Z_9NAhvCK6PBD4zrJ2.json.gz",
    );
    let ran = alone(&["schemas", "test", "AWS.CloudTrail", &broken]).await;
    ran.says(1, &["cannot be read to its end", "truncated"]);
}

#[tokio::test]
async fn log_types_are_listed_and_shown_from_the_program() {
    let ran = alone(&["schemas", "list"]).await;
    ran.says(0, &["AWS.CloudTrail", "Zeek.DNS"]);
    assert!(ran.err.contains("no node was reached"), "{ran:?}");
    let ran = alone(&["schemas", "show", "AWS.ALB"]).await;
    ran.says(0, &["schema: AWS.ALB", "- name: clientIp"]);
    for words in [
        ["schemas", "show", "AWS.Albb"].as_slice(),
        &["schemas", "test", "AWS.Albb", "x"],
    ] {
        alone(words)
            .await
            .says(2, &["no log type AWS.Albb", "did you mean AWS.ALB?"]);
    }
}

#[tokio::test]
async fn fields_of_another_shape_are_told() {
    let folder = tempfile::tempdir().unwrap();
    let log = folder.path().join("l.ndjson");
    std::fs::write(
        &log,
        "{\"action\":\"a\",\"isotimestamp\":\"2026-03-05T14:00:00Z\",\"username\":\"u\",\"timestamp\":1,\"object\":[]}\n",
    )
    .unwrap();
    let ran = alone(&[
        "schemas",
        "test",
        "Duo.Administrator",
        log.to_str().unwrap(),
    ])
    .await;
    ran.says(
        0,
        &[
            "1 event with fields of another shape",
            "object: expected a string, found array",
        ],
    );
}

#[tokio::test]
async fn a_schema_of_ones_own_is_tried_on_files() {
    let folder = tempfile::tempdir().unwrap();
    let schema = folder.path().join("s.yml");
    let log = folder.path().join("l.ndjson");
    std::fs::write(
        &schema,
        "schema: Custom.Door\nfields:\n  - {name: door, type: string, required: true}\n  - {name: at, type: timestamp, timeFormat: rfc3339, isEventTime: true}\n",
    )
    .unwrap();
    std::fs::write(
        &log,
        "{\"door\":\"a\",\"at\":\"2026-03-05T14:00:00Z\"}\n{\"window\":\"b\"}\n",
    )
    .unwrap();
    let (schema, log) = (schema.to_str().unwrap(), log.to_str().unwrap());
    let ran = alone(&["schemas", "test", schema, log, "--json"]).await;
    let answer = ran.json();
    assert_eq!(
        (ran.code, answer["logType"].as_str()),
        (1, Some("Custom.Door"))
    );
    assert_eq!(answer["files"][0]["events"][0]["door"], "a");
    assert_eq!(answer["files"][0]["unclassified"][0]["record"], 2);
    std::fs::write(schema, "schema: Custom.Door\nfields: 5\n").unwrap();
    alone(&["schemas", "test", schema, log])
        .await
        .says(2, &["the schema is wrong"]);
    alone(&["schemas", "test", schema, "/nonexistent/log"])
        .await
        .says(2, &[]);
}

#[tokio::test]
async fn a_verdict_is_explained_by_the_condition_that_decided() {
    let pack = repository("samples/pack");
    let rule = "Sample.AWS.Root.Activity";
    let shown = alone(&["detections", "explain", &pack, rule, "--test", "none"]).await;
    shown.says(2, &["has no test of that name", "its tests are: "]);
    let tests = shown.err.split("its tests are: ").nth(1).unwrap();
    let first = tests.split("; ").next().unwrap().trim().to_owned();
    let ran = alone(&["detections", "explain", &pack, rule, "--test", &first]).await;
    ran.says(0, &[rule, "decided by line", "step by step", "event."]);
    let ran = alone(&[
        "detections",
        "explain",
        &pack,
        "root.activity",
        "--test",
        "x",
    ])
    .await;
    ran.says(2, &["did you mean Sample.AWS.Root.Activity"]);
}
