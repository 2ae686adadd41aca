//! With `PANTHER_PACK=<panther-analysis folder>` (and `PANTHER_PYTHON=<interpreter with the packages that it imports>`): the public pack.

use std::path::Path;
use std::time::Instant;

use panther_detections::engine::{Engine, EngineSettings, EventInput, Verdict};
use panther_detections::key_value::EmptyView;
use panther_detections::pack::{DetectionKind, Pack};
use panther_detections::testing::{self, Options};
use panther_detections::verdict::Outcome;

fn python() -> std::path::PathBuf {
    std::env::var_os("PANTHER_PYTHON")
        .unwrap_or_else(|| "python3".into())
        .into()
}

#[tokio::test(flavor = "multi_thread")]
async fn the_public_packs_tests_pass() {
    let Some(folder) = std::env::var_os("PANTHER_PACK") else {
        return;
    };
    let begun = Instant::now();
    let pack = Pack::read(Path::new(&folder)).unwrap();
    let read = begun.elapsed();
    let settings = EngineSettings {
        python: python(),
        ..EngineSettings::default()
    };
    let report = testing::run(
        &pack,
        settings,
        &Options::default(),
        std::time::SystemTime::now(),
        None,
    )
    .await
    .unwrap();
    let text = report.shown(testing::Detail::All).to_string();
    let summary = report.summary();
    println!("{}", &text[text.find("--------").unwrap_or(0)..]);
    println!(
        "read in {read:?}, all in {:?}, {summary:?}",
        begun.elapsed()
    );
    assert_eq!(summary.tests_failed, 0);
}

#[tokio::test(flavor = "multi_thread")]
async fn the_public_packs_tests_give_in_rust_what_they_give_in_python() {
    let Some(folder) = std::env::var_os("PANTHER_PACK") else {
        return;
    };
    let pack = Pack::read(Path::new(&folder)).unwrap();
    let settings = EngineSettings {
        python: python(),
        load_disabled: true,
        rule_time: std::time::Duration::from_secs(20),
        ..EngineSettings::default()
    };
    let engine = Engine::start(settings, &pack).await.unwrap();
    let (mut tests, mut in_rust) = (0, 0);
    for (index, detection) in pack.detections.iter().enumerate() {
        let now = std::time::SystemTime::now();
        let compared = engine.tests_both_ways(index, &detection.tests, now).await;
        let (compared, differences) = compared.unwrap();
        assert_eq!(differences, [], "{}", detection.id);
        tests += detection.tests.len();
        in_rust += compared;
    }
    println!("{in_rust} of {tests} tests were evaluated in Rust");
    let mut why = std::collections::BTreeMap::<String, u64>::new();
    for cost in engine.costs() {
        for (reason, count) in cost.left_to_python {
            println!("{}: {reason}, {count}", pack.detections[cost.detection].id);
            *why.entry(reason).or_default() += count;
        }
    }
    let mut why: Vec<_> = why.into_iter().collect();
    why.sort_by_key(|(_, count)| std::cmp::Reverse(*count));
    println!("{why:#?}");
    assert!(in_rust * 10 > tests as u64 * 8);
}

/// The tests' events, each as every log type of its rule, and each without each of its top-level keys.
fn events(pack: &Pack) -> Vec<EventInput> {
    let mut events = Vec::new();
    for detection in pack
        .detections
        .iter()
        .filter(|detection| detection.kind == DetectionKind::Rule)
    {
        for test in &detection.tests {
            let whole = test.input.as_object().unwrap();
            let mut variants = vec![test.input.clone()];
            for key in whole.keys().take(12) {
                let mut without = whole.clone();
                without.remove(key);
                variants.push(without.into());
                let mut null = whole.clone();
                null.insert(key.clone(), serde_json::Value::Null);
                variants.push(null.into());
            }
            for log_type in detection.log_types.iter().take(2) {
                events.extend(variants.iter().map(|variant| EventInput {
                    log_type: log_type.clone(),
                    json: variant.to_string().into(),
                }));
            }
        }
    }
    events
}

/// What of a verdict does not depend on time, chance or another event.
fn gist(verdict: &Verdict) -> (usize, usize, String) {
    let what = match &verdict.outcome {
        Outcome::Matched(outputs) => format!("{:?}", outputs.severity),
        Outcome::Failed(error) => error.kind.clone(),
    };
    (verdict.event, verdict.detection, what)
}

#[tokio::test(flavor = "multi_thread")]
async fn the_memory_changes_no_verdict() {
    let Some(folder) = std::env::var_os("PANTHER_PACK") else {
        return;
    };
    let mut pack = Pack::read(Path::new(&folder)).unwrap();
    for detection in &mut pack.detections {
        detection.enabled = true;
    }
    let events = events(&pack);
    let mut verdicts = Vec::new();
    for memory in [true, false] {
        let settings = EngineSettings {
            python: python(),
            memory,
            ..EngineSettings::default()
        };
        let engine = Engine::start(settings, &pack).await.unwrap();
        let begun = Instant::now();
        let evaluation = engine
            .evaluate(&events, std::time::SystemTime::now(), &EmptyView)
            .await
            .unwrap();
        println!(
            "memory {memory}: {} events in {:?}, {} verdicts, {:?}",
            events.len(),
            begun.elapsed(),
            evaluation.verdicts.len(),
            evaluation.statistics
        );
        verdicts.push(
            evaluation
                .verdicts
                .iter()
                .map(gist)
                .collect::<std::collections::BTreeSet<_>>(),
        );
        engine.stop().await;
    }
    for (event, detection, what) in verdicts[0].symmetric_difference(&verdicts[1]).take(20) {
        println!(
            "{} {what} {}",
            pack.detections[*detection].id,
            String::from_utf8_lossy(&events[*event].json)
        );
    }
    assert!(verdicts[0] == verdicts[1]);
}
