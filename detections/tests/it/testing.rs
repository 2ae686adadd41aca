//! The unit tests of a pack.

use panther_detections::testing::{self, Detail, Interpreters, Kept, Options};

use crate::support::{Files, now, settings};

const TESTS: &str = "\
Tests:
  - Name: it matches
    ExpectedResult: true
    Log: {n: 1}
  - Name: it does not match
    ExpectedResult: false
    Log: {n: 2}
";

async fn report(files: &Files, options: &Options) -> testing::Report {
    testing::run(&files.pack(), settings(), options, now(), None)
        .await
        .unwrap()
}

#[tokio::test]
async fn a_test_passes_if_the_rule_says_what_it_expects_and_nothing_fails() {
    let files = Files::default()
        .rule_with("good", TESTS, "def rule(event):\n    return event['n'] == 1\ndef title(event):\n    return 'a title'\n")
        .rule_with("wrong", TESTS, "def rule(event):\n    return False\n")
        // Its title fails for the event that it takes, and for the other one, where it does not matter.
        .rule_with("title", TESTS, "def rule(event):\n    return event['n'] == 1\ndef title(event):\n    return 1\n")
        .rule_with("dies", TESTS, "import os\ndef rule(event):\n    if event['n'] == 1:\n        os._exit(1)\n    return False\n")
        .rule_with("broken", TESTS, "def rule(event:\n");
    let report = report(&files, &Options::default()).await;
    let passed = |id: &str| {
        let detection = report
            .detections
            .iter()
            .find(|detection| detection.id == id)
            .unwrap();
        detection
            .tests
            .iter()
            .map(|test| test.passed)
            .collect::<Vec<_>>()
    };
    assert_eq!(passed("good"), [true, true]);
    assert_eq!(passed("wrong"), [false, true]);
    assert_eq!(passed("title"), [false, true]);
    assert_eq!(passed("dies"), [false, true]);
    assert_eq!(passed("broken"), [false, false]);
    let summary = report.summary();
    assert_eq!(
        (
            summary.tests_passed,
            summary.tests_failed,
            summary.passed,
            summary.failed
        ),
        (5, 5, 1, 4)
    );
    let shown = report.shown(Detail::All).to_string();
    for line in [
        "good (good.yml)\n\t[PASS] it matches\n\t\t[PASS] [rule] true\n",
        "\t\t[PASS] [title] a title\n",
        "wrong (wrong.yml)\n\t[FAIL] it matches\n\t\t[FAIL] [rule] expected true, got false\n",
        "Tests: 5 passed, 5 failed",
        "did not load: SyntaxError: '(' was never closed: broken.py, line 1, column 9",
        "WorkerDied",
    ] {
        assert!(shown.contains(line), "{line:?} is not in\n{shown}");
    }
    // Failures stand before what passed, the summary behind all.
    let at = |text: &str| shown.find(text).unwrap();
    assert!(at("wrong (") < at("good (") && at("good (") < at("Test Summary"));
    let failures: Vec<(String, String)> = report
        .failures()
        .into_iter()
        .map(|failed| (failed.id, failed.reason))
        .collect();
    let of = |id: &str| &failures.iter().find(|(of, _)| of == id).unwrap().1;
    assert_eq!(failures.len(), 4, "{failures:?}");
    assert_eq!(of("wrong"), "test it matches: expected true, got false");
    assert!(of("broken").starts_with("does not load: SyntaxError"));
    let short = report.shown(Detail::Failures).to_string();
    assert!(
        !short.contains("good (") && !short.contains("[PASS] it does not match"),
        "{short}"
    );
}

#[tokio::test]
async fn what_a_rule_prints_is_shown_under_its_test() {
    let files = Files::default()
        .rule_with(
            "prints",
            TESTS,
            "def rule(event):\n    print('n is', event['n'])\n    return event['n'] == 1\n",
        )
        .rule_with(
            "quiet",
            TESTS,
            "def rule(event):\n    return event['n'] == 1\n",
        );
    let report = report(&files, &Options::default()).await;
    assert!(report.passed(), "{}", report.shown(Detail::All));
    let printed: Vec<&str> = report.detections[0]
        .tests
        .iter()
        .map(|test| test.tested.printed.as_str())
        .collect();
    assert_eq!(printed, ["n is 1\n", "n is 2\n"]);
    let short = report.shown(Detail::Short).to_string();
    assert!(short.contains("[PASS] it matches\n\t\t[PASS] [rule] true\n\t\t[PASS] [dedup] defaultDedupString:prints\n\t\tprinted:\n\t\t\tn is 1\n"), "{short}");
    assert!(!short.contains("quiet"), "{short}");
}

#[tokio::test]
async fn mocks_hold_for_their_test_only_and_the_log_type_chooses_the_model() {
    let tests = "\
Tests:
  - Name: mocked
    ExpectedResult: true
    Mocks: [{objectName: lookup, returnValue: alice}]
    Log: {user: alice}
  - Name: not mocked
    ExpectedResult: false
    Log: {user: alice}
  - Name: with its model
    ExpectedResult: true
    Mocks: [{objectName: lookup, returnValue: bob}]
    Log: {name: bob, p_log_type: T}
";
    let files = Files::default()
        .file("model.yml", "AnalysisType: datamodel\nDataModelID: M\nLogTypes: [T]\nMappings: [{Name: user, Path: name}]\n")
        .rule_with("mocks", tests, "def lookup():\n    return 'nobody'\ndef rule(event):\n    return event.udm('user') == lookup()\n");
    let report = report(&files, &Options::default()).await;
    assert!(report.passed(), "{}", report.shown(Detail::All));
}

#[tokio::test]
async fn filters_and_the_minimum_of_tests_are_kept() {
    let one = "Tests: [{Name: t, ExpectedResult: true, Log: {n: 1}}]\n";
    let files = Files::default()
        .rule_with(
            "one",
            &format!("{one}Tags: [x]\n"),
            "def rule(event):\n    return True\n",
        )
        .rule_with(
            "two",
            &format!("{TESTS}Enabled: false\n"),
            "def rule(event):\n    return event['n'] == 1\n",
        );
    let options = Options {
        minimum_tests: 2,
        ..Options::default()
    };
    let all = report(&files, &options).await;
    assert_eq!(
        all.detections[0].lacking.as_deref(),
        Some("1 tests; at least 2 are required")
    );
    assert!(all.detections[1].passed());
    for (filter, expected) in [
        ("Tags=x", vec!["one"]),
        ("Tags!=x", vec!["two"]),
        ("RuleID=one,two", vec!["one", "two"]),
        ("Enabled=false", vec!["two"]),
    ] {
        let options = Options {
            filters: vec![filter.parse().unwrap()],
            ..Options::default()
        };
        let report = report(&files, &options).await;
        let ids: Vec<_> = report
            .detections
            .iter()
            .map(|detection| detection.id.as_str())
            .collect();
        assert_eq!(ids, expected, "{filter}");
        assert_eq!(report.left_out, 2 - expected.len());
    }
}

#[tokio::test]
async fn interpreters_that_were_started_ahead_run_the_tests_and_those_too_many_end() {
    let files = Files::default()
        .rule_with(
            "good",
            TESTS,
            "def rule(event):\n    return event['n'] == 1\n",
        )
        // Evaluated before the other one, and behind it in the report.
        .rule_with("in_python", TESTS, "def rule(event):\n    return False\n");
    let folder = tempfile::tempdir().unwrap();
    let own = panther_detections::engine::EngineSettings {
        work_dir: folder.path().to_owned(),
        workers: 2,
        python_only: ["in_python".to_owned()].into(),
        ..settings()
    };
    let running = || std::fs::read_dir(folder.path()).unwrap().count();
    let ahead = Interpreters::ahead(own.clone(), 5).await;
    assert_eq!(running(), 2);
    let options = Options::default();
    let report = testing::run(&files.pack(), ahead, &options, now(), None)
        .await
        .unwrap();
    let passed = |of: &testing::DetectionReport| {
        let tests = of.tests.iter().map(|test| test.passed);
        (of.id.clone(), tests.collect())
    };
    let passed: Vec<(String, Vec<bool>)> = report.detections.iter().map(passed).collect();
    let expected = [("good", vec![true, true]), ("in_python", vec![false, true])];
    assert_eq!(passed, expected.map(|(id, tests)| (id.to_owned(), tests)));
    // Of a Python that is not there it is told when it is needed.
    let none = panther_detections::engine::EngineSettings {
        python: "/nonexistent/python3".into(),
        ..own
    };
    let ahead = Interpreters::ahead(none, 1).await;
    let fault = testing::run(&files.pack(), ahead, &options, now(), None).await;
    let fault = fault.unwrap_err().to_string();
    assert!(fault.contains("/nonexistent/python3"), "{fault}");
    // Folders are removed in the background.
    tokio::time::timeout(std::time::Duration::from_secs(20), async {
        while running() > 0 {
            tokio::task::yield_now().await;
        }
    })
    .await
    .unwrap();
}

#[tokio::test]
async fn what_passed_and_has_not_changed_is_not_run_again() {
    let matches =
        |n: u8| format!("import helper\ndef rule(event):\n    return event['n'] == {n}\n");
    let pack = |good: u8, helper: &str| {
        Files::default()
            .file(
                "helper.yml",
                "AnalysisType: global\nGlobalID: helper\nFilename: helper.py\n",
            )
            .file("helper.py", helper)
            .rule_with("good", TESTS, &matches(good))
            .rule_with("other", TESTS, &matches(1))
            .rule_with("wrong", TESTS, "def rule(event):\n    return False\n")
            .pack()
    };
    let folder = tempfile::tempdir().unwrap();
    let place = folder.path().join("kept.json");
    // How many were not run, and which failed.
    let run = async |pack: &panther_detections::pack::Pack, python: &str| {
        let mut kept = Kept::read(&place, pack, python);
        let options = Options::default();
        let report = testing::run(pack, settings(), &options, now(), Some(&mut kept))
            .await
            .unwrap();
        kept.write(&place).unwrap();
        let failed = report.detections.iter().filter(|of| !of.passed());
        let failed: Vec<String> = failed.map(|of| of.id.clone()).collect();
        assert_eq!(report.detections.len(), 3);
        (report.unchanged, failed)
    };
    let wrong = vec!["wrong".to_owned()];
    let one = pack(1, "");
    assert_eq!(run(&one, "a").await, (0, wrong.clone()));
    // What failed is run again: the reason may have been elsewhere.
    assert_eq!(run(&one, "a").await, (2, wrong.clone()));
    let changed = pack(2, "");
    let both = vec!["good".to_owned(), "wrong".to_owned()];
    assert_eq!(run(&changed, "a").await, (1, both));
    // Whatever they share may have changed what they say.
    assert_eq!(run(&one, "b").await, (0, wrong.clone()));
    assert_eq!(run(&pack(1, "X = 1\n"), "b").await, (0, wrong.clone()));
    // A file that is damaged is none.
    std::fs::write(&place, "{").unwrap();
    assert_eq!(run(&one, "b").await, (0, wrong));
}

#[tokio::test]
async fn a_pack_on_trial_shows_where_rust_and_python_do_not_agree() {
    let tests = TESTS.replace("{n: 1}", "{n: 1, actor: {name: root, roles: [a, b]}}");
    // Rust does not see built-in names that a file makes for itself.
    let patched = "import builtins\n__builtins__ = {**vars(builtins), 'bool': lambda value: False}\ndef rule(event):\n    return bool(event.get('n') == 1)\n";
    let stores = "from panther_detection_helpers.caching import increment_counter\ndef rule(event):\n    return increment_counter(str(event['n'])) > 3\n";
    let files = Files::default()
        .rule_with("patched", &tests, patched)
        .rule_with("honest", &tests, "def rule(event):\n    return event['n'] == 1\ndef title(event):\n    return event['actor']['name'].upper()\n")
        .rule_with("stores", &tests, stores)
        .rule_with("python", &tests, "import base64\ndef rule(event):\n    return base64.b64encode(b'x') == event['n']\n");
    let running = files
        .engine_with(|settings| settings.python_only = ["python".to_owned()].into())
        .await;
    let mut tried = std::collections::BTreeMap::new();
    let told = |detection: &panther_detections::pack::Detection, trial| {
        tried.insert(detection.id.clone(), trial);
    };
    testing::trials(&running.engine, &running.pack, 50, 7, 2, now(), told)
        .await
        .unwrap();
    let names: Vec<&str> = tried.keys().map(String::as_str).collect();
    assert_eq!(names, ["honest", "patched", "stores"]);
    for name in ["honest", "stores"] {
        let of = &tried[name];
        assert_eq!((of.events, &of.differences[..]), (102, &[][..]), "{name}");
        // The others raised what only Python can put into words.
        assert!(of.compared > 70, "{name}: {}", of.compared);
    }
    let differing = &tried["patched"].differences[0];
    assert_eq!(differing.difference.python, "no match");
    assert!(
        differing.difference.native.contains("Matched"),
        "{differing:?}"
    );
    assert!(differing.event.starts_with(b"{\"n\":1"), "{differing:?}");
    // What was found counts at once, and the store that was tried with is not the one of real events.
    assert!(!running.engine.is_native(running.index("patched")));
    let evaluation = running.evaluate(&["{\"n\":1}"; 4]).await;
    assert!(running.matched(&evaluation, "patched").is_empty());
    assert_eq!(running.matched(&evaluation, "stores"), [3]);
    running.engine.stop().await;
}

#[tokio::test]
async fn what_a_rule_leaves_behind_on_trial_reaches_no_real_event() {
    // Nothing tells that this rule counts: it is evaluated here as if it did not.
    let counts = "import os\nos.environ.pop('COUNTED', None)\ndef rule(event):\n    if event['n'] == 3:\n        return os.environ.get('COUNTED') is not None\n    os.environ['COUNTED'] = 'yes'\n    return False\n";
    let running = Files::default()
        .rule_with("counts", TESTS, counts)
        .engine()
        .await;
    let index = running.index("counts");
    let detection = running.pack.detection("counts").unwrap();
    testing::trial(&running.engine, index, detection, 20, 1, now())
        .await
        .unwrap();
    let evaluation = running.evaluate(&["{\"n\":3}"]).await;
    assert!(running.matched(&evaluation, "counts").is_empty());
    running.engine.stop().await;
}
