//! Evaluation: matches, errors, state, and rules that do their worst.

use std::collections::BTreeSet;
use std::os::unix::fs::PermissionsExt;
use std::sync::Mutex;
use std::time::Duration;

use panther_detections::engine::{
    Change, EmptyView, Engine, EngineFault, EngineSettings, EventInput, KeyValueRow, KeyValueView,
    Outcome, ViewRead,
};
use panther_detections::pack::Severity;

use crate::support::{Files, Running, event, now, settings};

/// A rule that takes each event, to see that a neighbour is unharmed.
const NEIGHBOUR: &str = "def rule(event):\n    return event.get('n') is not None\n";

fn numbered(count: usize) -> Vec<String> {
    (0..count).map(|n| format!("{{\"n\":{n}}}")).collect()
}

/// The rule `bad` beside a good one over three events: the good one matches all of them, `bad` is as `check` says.
async fn beside_a_neighbour(
    python: &str,
    check: impl FnOnce(&Running, &panther_detections::engine::Evaluation),
) {
    let running = Files::default()
        .rule("bad", python)
        .rule("a_neighbour", NEIGHBOUR)
        .rule("z_neighbour", NEIGHBOUR)
        .engine()
        .await;
    let events = numbered(3);
    let events: Vec<&str> = events.iter().map(String::as_str).collect();
    let evaluation = running.evaluate(&events).await;
    assert_eq!(running.matched(&evaluation, "a_neighbour"), [0, 1, 2]);
    assert_eq!(running.matched(&evaluation, "z_neighbour"), [0, 1, 2]);
    check(&running, &evaluation);
    // And again: the engine is as good as before.
    let again = running.evaluate(&events).await;
    assert_eq!(running.matched(&again, "z_neighbour"), [0, 1, 2]);
    running.engine.stop().await;
}

/// `python`, which does its harm on event 1 only, gives exactly that event an error.
async fn fails_on_event_one(python: &str, kind: &str) {
    beside_a_neighbour(python, |running, evaluation| {
        let errors = running.errors(evaluation, "bad");
        assert_eq!(
            errors.iter().map(|(event, _)| *event).collect::<Vec<_>>(),
            [1],
            "{errors:?}"
        );
        assert_eq!(errors[0].1.kind, kind, "{errors:?}");
        assert_eq!(running.matched(evaluation, "bad"), [0, 2]);
    })
    .await;
}

#[tokio::test]
async fn a_match_carries_what_its_functions_gave() {
    let full = "\
def rule(event):
    return event.get('n') == 1
def title(event):
    return f\"title {event.get('n')}\"
def dedup(event):
    return 'dedup'
def severity(event):
    return 'critical'
def description(event):
    return 'd'
def reference(event):
    return 'ref'
def runbook(event):
    return 'run'
def destinations(event):
    return ['one']
def alert_context(event):
    return {'n': event.get('n')}
";
    let running = Files::default()
        .rule("full", full)
        .rule(
            "plain",
            "def rule(event):\n    return event.get('n') == 1\n",
        )
        .engine()
        .await;
    let evaluation = running.evaluate(&["{\"n\":0}", "{\"n\":1}"]).await;
    let (event, outputs) = running.outputs(&evaluation, "full").remove(0);
    assert_eq!(event, 1);
    assert_eq!(
        (outputs.title.as_deref(), outputs.dedup.as_str()),
        (Some("title 1"), "dedup")
    );
    assert_eq!(outputs.severity, Severity::Critical);
    assert_eq!(outputs.destinations, Some(vec!["one".to_owned()]));
    assert_eq!(outputs.context.as_deref(), Some("{\"n\": 1}"));
    let (_, plain) = running.outputs(&evaluation, "plain").remove(0);
    assert_eq!(
        (plain.title, plain.dedup.as_str(), plain.severity),
        (None, "defaultDedupString:plain", Severity::Medium)
    );
    assert_eq!(evaluation.verdicts.len(), 2);
    assert_eq!(
        (
            evaluation.statistics.pairs,
            evaluation.statistics.workers_lost
        ),
        (4, 0)
    );
    running.engine.stop().await;
}

#[tokio::test]
async fn globals_data_models_and_simple_detections_work() {
    let simple = "AnalysisType: rule\nRuleID: simple\nLogTypes: [T]\nSeverity: Low\nDetection:\n  - KeyPath: user\n    Condition: Equals\n    Value: alice\n";
    let running = Files::default()
        .file("helper.yml", "AnalysisType: global\nGlobalID: my_helper\nFilename: my_helper.py\n")
        .file("my_helper.py", "def is_alice(name):\n    return name == 'alice'\n")
        .file("model.yml", "AnalysisType: datamodel\nDataModelID: M\nLogTypes: [T]\nFilename: model.py\nMappings:\n  - {Name: actor_user, Path: user}\n  - {Name: source_ip, Method: get_ip}\n")
        .file("model.py", "def get_ip(event):\n    return event.get('ip', '') + '!'\n")
        .rule("uses", "from my_helper import is_alice\ndef rule(event):\n    return is_alice(event.udm('actor_user'))\ndef title(event):\n    return event.udm('source_ip')\n")
        .file("simple.yml", simple)
        .rule_with(
            "filtered",
            "InlineFilters:\n  - KeyPath: user\n    Condition: StartsWith\n    Value: bo\n",
            "def rule(event):\n    return True\n",
        )
        .engine()
        .await;
    let evaluation = running
        .evaluate(&["{\"user\":\"alice\",\"ip\":\"1\"}", "{\"user\":\"bob\"}"])
        .await;
    assert_eq!(
        running.outputs(&evaluation, "uses")[0].1.title.as_deref(),
        Some("1!")
    );
    assert_eq!(running.matched(&evaluation, "simple"), [0]);
    assert_eq!(running.matched(&evaluation, "filtered"), [1]);
    running.engine.stop().await;
}

#[tokio::test]
async fn a_rule_that_raises_fails_for_that_event() {
    fails_on_event_one(
        "def rule(event):\n    return event['n'] != 1 or event['gone']\n",
        "KeyError",
    )
    .await;
}

#[tokio::test]
async fn a_rule_that_gives_no_bool_fails() {
    fails_on_event_one(
        "def rule(event):\n    return 1 if event['n'] == 1 else True\n",
        "FunctionReturnTypeError",
    )
    .await;
}

#[tokio::test]
async fn a_rule_that_loops_is_interrupted() {
    fails_on_event_one(
        "def rule(event):\n    while event['n'] == 1:\n        pass\n    return True\n",
        "DetectionTimeout",
    )
    .await;
}

#[tokio::test]
async fn a_rule_that_cannot_be_interrupted_has_its_worker_killed() {
    // One call into C that never returns to the interpreter: a regular expression with catastrophic backtracking. With flags it is for Python.
    let python = "import re\ndef rule(event):\n    return event['n'] != 1 or bool(re.match('(a+)+b', 'a' * 60, re.ASCII))\n";
    beside_a_neighbour(python, |running, evaluation| {
        let errors = running.errors(evaluation, "bad");
        assert_eq!(errors.len(), 1);
        assert_eq!(
            (errors[0].0, errors[0].1.kind.as_str()),
            (1, "DetectionTimeout"),
            "{errors:?}"
        );
    })
    .await;
}

#[tokio::test]
async fn a_rule_that_exits_fails_for_that_event() {
    fails_on_event_one("import sys\ndef rule(event):\n    if event['n'] == 1:\n        sys.exit(3)\n    return True\n", "SystemExit").await;
}

#[tokio::test]
async fn a_rule_that_ends_its_process_fails_for_that_event() {
    fails_on_event_one("import os\ndef rule(event):\n    if event['n'] == 1:\n        os._exit(3)\n    return True\n", "WorkerDied").await;
}

#[tokio::test]
async fn a_rule_that_is_killed_fails_for_that_event() {
    fails_on_event_one(
        "import os, signal\ndef rule(event):\n    if event['n'] == 1:\n        os.kill(os.getpid(), signal.SIGKILL)\n    return True\n",
        "WorkerDied",
    )
    .await;
}

#[tokio::test]
async fn a_rule_may_not_fork() {
    fails_on_event_one("import os\ndef rule(event):\n    if event['n'] == 1:\n        os.fork()\n    return True\n", "DetectionForbidden").await;
}

#[tokio::test]
async fn a_rule_that_floods_the_output_disturbs_nobody() {
    let python = "import os, sys\ndef rule(event):\n    for _ in range(2000):\n        print('x' * 1000)\n        sys.stderr.write('y' * 1000)\n        os.write(1, b'z' * 1000)\n        os.write(2, b'z' * 1000)\n    return True\n";
    beside_a_neighbour(python, |running, evaluation| {
        assert_eq!(running.matched(evaluation, "bad"), [0, 1, 2])
    })
    .await;
}

#[tokio::test]
async fn a_rule_that_takes_two_gigabytes_fails_for_that_event() {
    fails_on_event_one(
        "def rule(event):\n    return event['n'] != 1 or len(bytearray(2 << 30)) > 0\n",
        "MemoryError",
    )
    .await;
}

#[tokio::test]
async fn a_rule_that_is_out_of_stack_fails_for_that_event() {
    fails_on_event_one(
        "def f(n):\n    return f(n + 1)\ndef rule(event):\n    return event['n'] != 1 or f(0)\n",
        "RecursionError",
    )
    .await;
}

#[tokio::test]
async fn what_the_store_could_not_keep_fails_for_that_event() {
    for (key, kind) in [
        ("'\\ud800'", "UnicodeEncodeError"),
        ("'k' * 2049", "ValueError"),
        ("'k', 2 ** 63", "OverflowError"),
    ] {
        let python = format!(
            "from panther_detection_helpers.caching import increment_counter\ndef rule(event):\n    return event['n'] != 1 or increment_counter({key}) > 0\n"
        );
        fails_on_event_one(&python, kind).await;
    }
}

#[tokio::test]
async fn a_context_that_is_too_large_is_replaced_by_a_note() {
    let python = "def rule(event):\n    return event['n'] == 1\ndef alert_context(event):\n    return {'x': 'y' * 300_000}\n";
    beside_a_neighbour(python, |running, evaluation| {
        let outputs = running.outputs(evaluation, "bad");
        let context = outputs[0].1.context.as_deref().unwrap();
        assert!(
            context.contains("_error") && context.len() < 1000,
            "{context}"
        );
    })
    .await;
}

#[tokio::test]
async fn a_rule_that_does_not_compile_fails_on_each_of_its_events() {
    beside_a_neighbour("def rule(event:\n", |running, evaluation| {
        let errors = running.errors(evaluation, "bad");
        assert_eq!(errors.len(), 3);
        assert_eq!(errors[0].1.kind, "SyntaxError");
        let loaded = &running.engine.load_report().detections[running.index("bad")];
        assert_eq!(loaded.error.as_ref().unwrap().kind, "SyntaxError");
    })
    .await;
}

#[tokio::test]
async fn a_rule_that_imports_what_is_not_there_fails_on_each_of_its_events() {
    beside_a_neighbour(
        "import not_a_module\ndef rule(event):\n    return True\n",
        |running, evaluation| {
            assert_eq!(
                running.errors(evaluation, "bad")[2].1.kind,
                "ModuleNotFoundError"
            );
        },
    )
    .await;
}

#[tokio::test]
async fn a_module_that_ends_the_process_while_it_is_loaded_harms_itself_only() {
    // Whatever it says of itself by its exit, and however.
    for end in ["os._exit(1)", "os._exit(0)", "os.kill(os.getpid(), 9)"] {
        beside_a_neighbour(&format!("import os\n{end}\n"), |running, evaluation| {
            let errors = running.errors(evaluation, "bad");
            assert_eq!(errors.len(), 3);
            assert_eq!(errors[0].1.kind, "LoadDied");
        })
        .await;
    }
}

#[tokio::test]
async fn many_modules_that_end_the_process_are_all_left_out() {
    let mut files = Files::default().rule("neighbour", NEIGHBOUR);
    let ends: Vec<String> = (0..12).map(|number| format!("bad{number}")).collect();
    for id in &ends {
        files = files.rule(id, "import os\nos._exit(0)\n");
    }
    let running = files.engine().await;
    let evaluation = running.evaluate(&["{\"n\":1}"]).await;
    for id in &ends {
        assert_eq!(
            running.errors(&evaluation, id)[0].1.kind,
            "LoadDied",
            "{id}"
        );
    }
    assert_eq!(running.matched(&evaluation, "neighbour").len(), 1);
    running.engine.stop().await;
}

#[tokio::test]
async fn a_rule_that_insists_is_left_out_of_the_rest() {
    let running = Files::default()
        .rule("bad", "import os\ndef rule(event):\n    os._exit(1)\n")
        .rule("neighbour", NEIGHBOUR)
        .engine_with(|settings| settings.strikes = 3)
        .await;
    let events = numbered(40);
    let events: Vec<&str> = events.iter().map(String::as_str).collect();
    let evaluation = running.evaluate(&events).await;
    assert_eq!(running.matched(&evaluation, "neighbour").len(), 40);
    let errors = running.errors(&evaluation, "bad");
    // Every pair has its error: none is silently left out.
    assert_eq!(errors.len(), 40);
    assert_eq!(
        errors
            .iter()
            .filter(|(_, error)| error.kind == "WorkerDied")
            .count(),
        3
    );
    assert_eq!(evaluation.suspended, [running.index("bad")]);
    assert_eq!(evaluation.statistics.workers_lost, 3);
    running.engine.stop().await;
}

#[tokio::test]
async fn time_outs_of_a_whole_batch_do_not_add_up() {
    let running = Files::default()
        .rule("bad", "def rule(event):\n    while True:\n        pass\n")
        .rule("neighbour", NEIGHBOUR)
        .engine_with(|settings| {
            settings.strikes = 2;
            settings.rule_time = Duration::from_millis(100);
        })
        .await;
    let events = numbered(200);
    let events: Vec<&str> = events.iter().map(String::as_str).collect();
    let evaluation = running.evaluate(&events).await;
    assert_eq!(running.matched(&evaluation, "neighbour").len(), 200);
    let errors = running.errors(&evaluation, "bad");
    let of = |kind: &str| {
        errors
            .iter()
            .filter(|(_, error)| error.kind == kind)
            .count()
    };
    // Each that was waited for took its time; the others were told at once.
    assert_eq!((of("DetectionTimeout"), of("DetectionSuspended")), (2, 198));
    // Nor was it run to its last step again and again without Python.
    let left = running.engine.left_to_python();
    let exhausted: u64 = left
        .iter()
        .filter(|(_, why, _)| why == "many steps")
        .map(|(_, _, count)| count)
        .sum();
    assert!(exhausted <= 3, "{left:?}");
    running.engine.stop().await;
}

#[tokio::test]
async fn an_event_that_is_no_json_gives_each_rule_an_error() {
    let running = Files::default().rule("r", NEIGHBOUR).engine().await;
    let evaluation = running
        .evaluate(&["{\"n\":1}", "{broken", "{\"n\":2}"])
        .await;
    assert_eq!(running.matched(&evaluation, "r"), [0, 2]);
    assert_eq!(running.errors(&evaluation, "r")[0].0, 1);
    running.engine.stop().await;
}

#[tokio::test]
async fn batches_of_any_size_give_the_same() {
    let files = Files::default()
        .rule("even", "def rule(event):\n    return event['n'] % 2 == 0\n")
        .rule("all", NEIGHBOUR);
    let events = numbered(101);
    let events: Vec<&str> = events.iter().map(String::as_str).collect();
    let mut results = Vec::new();
    for (batch_events, batch_bytes, workers) in [
        (1, 1 << 20, 1),
        (7, 1 << 20, 2),
        (256, 20, 2),
        (256, 1 << 20, 1),
    ] {
        let running = files
            .engine_with(|settings| {
                settings.batch_events = batch_events;
                settings.batch_bytes = batch_bytes;
                settings.workers = workers;
            })
            .await;
        results.push(running.evaluate(&events).await.verdicts);
        running.engine.stop().await;
    }
    assert!(results.windows(2).all(|pair| pair[0] == pair[1]));
    assert_eq!(results[0].len(), 101 + 51);
}

#[tokio::test]
async fn disabled_rules_and_other_log_types_are_left_alone() {
    let running = Files::default()
        .rule_with(
            "off",
            "Enabled: false\n",
            "def rule(event):\n    return True\n",
        )
        .rule("on", "def rule(event):\n    return True\n")
        .engine()
        .await;
    let other = EventInput {
        log_type: "Other".to_owned(),
        json: "{}".into(),
    };
    let evaluation = running
        .engine
        .evaluate(&[other, event("{}")], now(), &EmptyView)
        .await
        .unwrap();
    assert_eq!(evaluation.verdicts.len(), 1);
    assert_eq!(running.matched(&evaluation, "on"), [1]);
    assert!(
        running
            .engine
            .load_report()
            .detections
            .iter()
            .all(|loaded| loaded.index == running.index("on"))
    );
    running.engine.stop().await;
}

/// A view with one row, which counts its reads.
struct OneRow {
    key: &'static str,
    row: KeyValueRow,
    reads: Mutex<u32>,
}

impl KeyValueView for OneRow {
    fn get<'a>(&'a self, key: &'a str) -> ViewRead<'a> {
        *self.reads.lock().unwrap() += 1;
        let row = (key == self.key).then(|| self.row.clone());
        Box::pin(async move { Ok(row) })
    }
}

#[tokio::test]
async fn a_rule_sees_the_store_and_its_own_writes() {
    let python = "\
from panther_detection_helpers.caching import increment_counter, add_to_string_set, get_string_set
def rule(event):
    seen = get_string_set('names')
    add_to_string_set('names', [event['name']])
    return increment_counter('count') >= 12 and event['name'] in seen
";
    let running = Files::default().rule("stateful", python).engine().await;
    let view = OneRow {
        key: "count",
        row: KeyValueRow {
            count: Some(10),
            ..KeyValueRow::default()
        },
        reads: Mutex::new(0),
    };
    let events = [
        event("{\"name\":\"a\"}"),
        event("{\"name\":\"a\"}"),
        event("{\"name\":\"b\"}"),
    ];
    let evaluation = running
        .engine
        .evaluate(&events, now(), &view)
        .await
        .unwrap();
    assert_eq!(running.matched(&evaluation, "stateful"), [1]);
    assert_eq!(*view.reads.lock().unwrap(), 2, "one read a key and batch");
    let changes: Vec<_> = evaluation
        .effects
        .iter()
        .map(|effects| (effects.event, &effects.changes))
        .collect();
    assert_eq!(changes.len(), 3);
    let additions = changes
        .iter()
        .flat_map(|(_, changes)| changes.iter())
        .filter(|change| change.change == Change::Add { value: 1 })
        .count();
    assert_eq!(additions, 3);
    let names = BTreeSet::from(["b".to_owned()]);
    assert!(changes[2].1.iter().any(|change| change.key == "names"
        && change.change
            == Change::Union {
                values: names.clone()
            }));
    running.engine.stop().await;
}

#[tokio::test]
async fn writes_before_a_lost_worker_are_seen_after_it() {
    let python = "\
import os
from panther_detection_helpers.caching import increment_counter
def rule(event):
    if event['n'] == 2:
        os._exit(1)
    return increment_counter('count') == 3
";
    let running = Files::default().rule("stateful", python).engine().await;
    let evaluation = running
        .evaluate(&["{\"n\":0}", "{\"n\":1}", "{\"n\":2}", "{\"n\":3}"])
        .await;
    assert_eq!(running.matched(&evaluation, "stateful"), [3]);
    assert_eq!(evaluation.effects.len(), 3);
    running.engine.stop().await;
}

#[tokio::test]
async fn writes_of_an_earlier_batch_of_the_same_call_are_seen_by_the_later_ones() {
    let python = "\
from panther_detection_helpers.caching import increment_counter
def rule(event):
    return increment_counter('count') == 5
";
    let running = Files::default()
        .rule("stateful", python)
        .engine_with(|settings| {
            settings.workers = 2;
            settings.batch_events = 1;
        })
        .await;
    let evaluation = running.evaluate(&["{\"n\":0}"; 6]).await;
    assert_eq!(running.matched(&evaluation, "stateful"), [4]);
    running.engine.stop().await;
}

/// A view that is never ready, or that fails.
struct Sick {
    answers: bool,
}

impl KeyValueView for Sick {
    fn get<'a>(&'a self, _key: &'a str) -> ViewRead<'a> {
        if self.answers {
            Box::pin(async { Err("the table is away".into()) })
        } else {
            Box::pin(std::future::pending())
        }
    }
}

#[tokio::test]
async fn a_store_that_fails_is_a_fault_and_no_rule_error() {
    let python = "from panther_detection_helpers.caching import get_counter\ndef rule(event):\n    return get_counter('x') == 0\n";
    let running = Files::default().rule("stateful", python).engine().await;
    for answers in [true, false] {
        let outcome = running
            .engine
            .evaluate(&[event("{}")], now(), &Sick { answers })
            .await;
        assert!(
            matches!(outcome, Err(EngineFault::View { .. })),
            "{outcome:?}"
        );
    }
    // The engine itself is well.
    assert_eq!(
        running.matched(&running.evaluate(&["{}"]).await, "stateful"),
        [0]
    );
    running.engine.stop().await;
}

#[tokio::test]
async fn faults_of_the_node_are_said() {
    let pack = Files::default().rule("r", NEIGHBOUR).pack();
    let missing = EngineSettings {
        python: "/nonexistent/python3".into(),
        ..settings()
    };
    let fault = Engine::start(missing, &pack).await.unwrap_err();
    assert!(
        matches!(fault, EngineFault::Python { .. })
            && fault.to_string().contains("/nonexistent/python3"),
        "{fault}"
    );
    let not_python = EngineSettings {
        python: "/bin/false".into(),
        ..settings()
    };
    let fault = Engine::start(not_python, &pack).await.unwrap_err();
    assert!(matches!(fault, EngineFault::Start { .. }), "{fault}");
    let no_folder = EngineSettings {
        work_dir: "/nonexistent".into(),
        ..settings()
    };
    assert!(matches!(
        Engine::start(no_folder, &pack).await.unwrap_err(),
        EngineFault::Io { .. }
    ));
    let silent = EngineSettings {
        load_time: Duration::from_millis(1),
        ..settings()
    };
    assert!(matches!(
        Engine::start(silent, &pack).await.unwrap_err(),
        EngineFault::Start { .. }
    ));
}

#[tokio::test]
async fn a_dead_template_is_a_fault() {
    let killer = "import os, signal\ndef rule(event):\n    os.kill(os.getppid(), signal.SIGKILL)\n    os._exit(1)\n";
    let running = Files::default().rule("killer", killer).engine().await;
    let outcome = running
        .engine
        .evaluate(&[event("{}"), event("{}")], now(), &EmptyView)
        .await;
    assert!(
        matches!(outcome, Err(EngineFault::TemplateEnded { .. })),
        "{outcome:?}"
    );
    running.engine.stop().await;
}

/// Processes whose command line holds `text`, zombies included.
fn processes_with(text: &str) -> usize {
    let mut found = 0;
    for entry in std::fs::read_dir("/proc").unwrap() {
        let path = entry.unwrap().path();
        let command = std::fs::read(path.join("cmdline")).unwrap_or_default();
        if String::from_utf8_lossy(&command).contains(text) {
            found += 1;
        }
    }
    found
}

#[tokio::test]
async fn nothing_is_left_behind() {
    let work = tempfile::tempdir().unwrap();
    let text = work.path().to_str().unwrap().to_owned();
    let running = Files::default()
        .rule("r", NEIGHBOUR)
        .engine_with(|settings| {
            settings.work_dir = work.path().to_owned();
            settings.workers = 2;
        })
        .await;
    running.evaluate(&["{\"n\":1}", "{\"n\":1}"]).await;
    assert!(processes_with(&text) >= 2);
    let private = std::fs::read_dir(work.path())
        .unwrap()
        .next()
        .unwrap()
        .unwrap();
    assert_eq!(
        private.metadata().unwrap().permissions().mode() & 0o777,
        0o700
    );
    running.engine.stop().await;
    assert_eq!(processes_with(&text), 0);
    assert_eq!(std::fs::read_dir(work.path()).unwrap().count(), 0);
    let outcome = running
        .engine
        .evaluate(&[event("{\"n\":1}")], now(), &EmptyView)
        .await;
    assert!(matches!(outcome, Err(EngineFault::Stopped)));
}

#[tokio::test]
async fn an_abandoned_evaluation_leaves_the_engine_well() {
    let running = Files::default()
        .rule("slow", "import time\ndef rule(event):\n    if event['n'] == 0:\n        time.sleep(0.3)\n    return True\n")
        .engine()
        .await;
    let events = [event("{\"n\":0}"), event("{\"n\":0}"), event("{\"n\":0}")];
    let abandoned = tokio::time::timeout(
        Duration::from_millis(100),
        running.engine.evaluate(&events, now(), &EmptyView),
    )
    .await;
    assert!(abandoned.is_err());
    assert_eq!(
        running.matched(&running.evaluate(&["{\"n\":1}"]).await, "slow"),
        [0]
    );
    running.engine.stop().await;
}

#[tokio::test]
async fn evaluations_share_the_workers() {
    let running = Files::default()
        .rule("r", NEIGHBOUR)
        .engine_with(|settings| settings.workers = 2)
        .await;
    let calls = (0..20).map(|call| {
        let engine = running.engine.clone();
        tokio::spawn(async move {
            let events: Vec<EventInput> = (0..10)
                .map(|n| event(&format!("{{\"n\":{}}}", n + call)))
                .collect();
            engine
                .evaluate(&events, now(), &EmptyView)
                .await
                .unwrap()
                .verdicts
        })
    });
    for call in calls.collect::<Vec<_>>() {
        let verdicts = call.await.unwrap();
        assert_eq!(verdicts.len(), 10);
        assert!(
            verdicts
                .iter()
                .all(|verdict| matches!(verdict.outcome, Outcome::Matched(_)))
        );
    }
    running.engine.stop().await;
}
