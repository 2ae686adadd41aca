//! Evaluation: matches, batches, faults of the node, and processes.

use rustix::process::{Pid, Signal, kill_process};
use std::os::unix::fs::PermissionsExt;
use std::time::Duration;

use panther_detections::engine::{Engine, EngineFault, EngineSettings, EventInput};
use panther_detections::key_value::EmptyView;
use panther_detections::pack::Severity;
use panther_detections::verdict::Outcome;

use crate::support::{Files, NEIGHBOUR, event, now, numbered, settings};

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
async fn a_template_that_was_killed_is_started_again() {
    let work = tempfile::tempdir().unwrap();
    let running = Files::default()
        .rule("r", NEIGHBOUR)
        .engine_with(|settings| {
            settings.work_dir = work.path().to_owned();
            settings.native = false;
        })
        .await;
    let events = ["{\"n\":1}", "{\"n\":1}"];
    assert_eq!(
        running.matched(&running.evaluate(&events).await, "r"),
        [0, 1]
    );
    for process in processes_with(work.path().to_str().unwrap()) {
        let _ = kill_process(process, Signal::KILL);
    }
    for _ in 0..3 {
        assert_eq!(
            running.matched(&running.evaluate(&events).await, "r"),
            [0, 1]
        );
    }
    running.engine.stop().await;
    assert!(processes_with(work.path().to_str().unwrap()).is_empty());
}

/// Processes whose command line holds `text`, zombies included.
fn processes_with(text: &str) -> Vec<Pid> {
    let mut found = Vec::new();
    for entry in std::fs::read_dir("/proc").unwrap() {
        let path = entry.unwrap().path();
        let number = path
            .file_name()
            .and_then(|name| name.to_str()?.parse().ok());
        let command = std::fs::read(path.join("cmdline")).unwrap_or_default();
        if String::from_utf8_lossy(&command).contains(text) {
            found.extend(number.and_then(Pid::from_raw));
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
    assert!(processes_with(&text).len() >= 2);
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
    assert_eq!(processes_with(&text), []);
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
