//! Unit tests in Rust: each gives what it gives in Python, function by function.

use panther_detections::verdict::Tested;

use crate::support::{Files, Running, now};

const TESTS: &str = "\
Tests:
  - {Name: one, ExpectedResult: true, Log: {n: 1, user: Ann, list: [1, {a: b}], p_log_type: T}}
  - {Name: two, ExpectedResult: false, Log: {n: 2, User: Bob, list: [], p_log_type: T}}
  - {Name: three, ExpectedResult: false, Log: {N: 1, user: é, nothing: null, p_log_type: Other}}
";

fn policy(files: Files, id: &str, python: &str) -> Files {
    let tests = TESTS.replace("Log:", "Resource:");
    let metadata = format!(
        "AnalysisType: policy\nPolicyID: {id}\nFilename: {id}.py\nResourceTypes: [T]\nSeverity: High\n{tests}"
    );
    files
        .file(&format!("{id}.yml"), &metadata)
        .file(&format!("{id}.py"), python)
}

fn scheduled(files: Files, id: &str, python: &str) -> Files {
    let metadata = format!(
        "AnalysisType: scheduled_rule\nRuleID: {id}\nFilename: {id}.py\nScheduledQueries: [q]\nSeverity: Low\n{TESTS}"
    );
    files
        .file(&format!("{id}.yml"), &metadata)
        .file(&format!("{id}.py"), python)
}

fn files() -> Files {
    let files = Files::default()
        .file(
            "model.yml",
            "AnalysisType: datamodel\nDataModelID: T.Model\nLogTypes: [T]\nEnabled: true\nMappings: [{Name: who, Path: user}]\n",
        )
        .rule_with(
            "everything",
            TESTS,
            "def rule(event):\n    return event.get('n') == 1\ndef title(event):\n    return f\"{event.get('user')} of {event.udm('who')}\"\ndef dedup(event):\n    return ''\ndef severity(event):\n    return 'default' if event.get('n') == 2 else 'low'\ndef destinations(event):\n    return [] if event.get('n') == 1 else ['slack', event.get('user', 'x')]\ndef alert_context(event):\n    return {'list': event.get('list'), 'é': 1.5}\ndef runbook(event):\n    return 'look'\n",
        )
        .rule_with("titled", TESTS, "def rule(event):\n    return False\ndef title(event):\n    return str(event.get('n'))\n")
        .rule_with("bare", TESTS, "def rule(event):\n    return bool(event.get('list'))\n")
        // It counts in its module: Rust cannot know how far it has come.
        .rule_with("counts", TESTS, "SEEN = []\ndef rule(event):\n    SEEN.append(1)\n    return len(SEEN) == 1\n")
        // The last test raises, in the second function.
        .rule_with("raises", TESTS, "def rule(event):\n    return event.get('n') == 1\ndef title(event):\n    return 'list of ' + str(len(event['list']))\n");
    let files = policy(
        files,
        "changes",
        "def policy(resource):\n    resource['seen'] = resource.get('seen', 0) + 1\n    resource.pop('n', None)\n    return isinstance(resource.get('list'), list) and resource.get('USER') is None\ndef title(resource):\n    return f\"{resource['seen']} {sorted(resource)} {isinstance(resource, dict)}\"\n",
    );
    scheduled(
        files,
        "queried",
        "def rule(event):\n    return event.deep_get('list', default=None) is not None\ndef title(event):\n    return str(event.deep_get('list', 'a', default=event.get('USER')))\n",
    )
}

async fn tested(running: &Running, index: usize) -> Vec<Tested> {
    let tests = &running.pack.detections[index].tests;
    let all = running.engine.test(&[(index, tests)], now()).await;
    let mut tested = all.unwrap().remove(0);
    // Where a file lies is each engine's own.
    for function in tested.iter_mut().flat_map(|of| of.functions.values_mut()) {
        if let Some(error) = &mut function.error {
            error.trace.clear();
        }
    }
    tested
}

#[tokio::test]
async fn tests_give_in_rust_what_they_give_in_python() {
    let files = files();
    // As under test: scheduled rules are loaded for it alone.
    let ours = files.engine_with(|settings| settings.load_disabled = true);
    let theirs = files.engine_with(|settings| {
        settings.load_disabled = true;
        settings.native = false;
    });
    let (ours, theirs) = (ours.await, theirs.await);
    let mut in_rust = Vec::new();
    for (index, detection) in ours.pack.detections.iter().enumerate() {
        assert_eq!(tested(&ours, index).await, tested(&theirs, index).await);
        let both = ours
            .engine
            .tests_both_ways(index, &detection.tests, now())
            .await
            .unwrap();
        assert_eq!(both.1, [], "{}", detection.id);
        in_rust.push((detection.id.as_str(), both.0));
    }
    // Nothing was proved of what Python had to evaluate.
    let expected = [
        ("bare", 3),
        ("changes", 3),
        ("counts", 0),
        ("everything", 3),
        ("queried", 3),
        ("raises", 2),
        ("titled", 3),
    ];
    assert_eq!(in_rust, expected, "{:?}", ours.left_to_python());
}

/// What a test leaves behind in a module the ones after it see, in whichever of the two they could be evaluated.
#[tokio::test]
async fn behind_a_test_for_python_all_are_evaluated_there() {
    let files = Files::default().rule_with(
        "leaves",
        "\
Tests:
  - {Name: one, ExpectedResult: false, Log: {n: 1}}
  - {Name: two, ExpectedResult: false, Log: {n: 2}}
  - {Name: three, ExpectedResult: true, Log: {n: 3}}
",
        // Rust does not know `id`, so it does not come to the line behind it.
        "SEEN = []\ndef note(value):\n    SEEN.insert(id(value) * 0, value)\ndef rule(event):\n    if event.get('n') == 2:\n        note(event.get('n'))\n        return False\n    return len(SEEN) == 1\n",
    );
    let running = files.engine().await;
    let verdicts: Vec<_> = tested(&running, 0)
        .await
        .into_iter()
        .map(|tested| tested.output)
        .collect();
    assert_eq!(verdicts, [Some(false), Some(false), Some(true)]);
}
