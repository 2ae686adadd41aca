//! Simple detections, condition by condition: what is written of them in Python means the same in Rust.

use std::collections::BTreeMap;

use panther_detections::engine::Evaluation;
use serde_json::{Value, json};

use crate::both_ways::{MODEL, MODEL_CODE, events, first_difference};
use crate::support::{Files, Running};

/// Name, and what the detection demands.
fn conditions() -> Vec<(String, Value)> {
    let one = |key: &str, condition: &str, value: Value| {
        let name = if value.is_array() { "Values" } else { "Value" };
        json!({"KeyPath": key, "Condition": condition, name: value})
    };
    let plain = |key: &str, condition: &str| json!({"KeyPath": key, "Condition": condition});
    let mut cases: Vec<(String, Value)> = Vec::new();
    for condition in [
        "Exists",
        "DoesNotExist",
        "IsNull",
        "IsNotNull",
        "IsNullOrEmpty",
        "IsNotNullOrEmpty",
        "IsIPAddress",
        "IsIPv4Address",
        "IsIPv6Address",
        "IsIPAddressPublic",
        "IsIPAddressPrivate",
    ] {
        for key in ["text", "a.b", "list[1]", "nothing", "items[*].k"] {
            cases.push((format!("{condition} {key}"), plain(key, condition)));
        }
    }
    for condition in [
        "Equals",
        "DoesNotEqual",
        "IEquals",
        "StartsWith",
        "DoesNotStartWith",
        "IStartsWith",
        "EndsWith",
        "Contains",
        "DoesNotContain",
        "IContains",
        "IsIn",
        "IsNotIn",
    ] {
        for (key, value) in [
            ("text", json!("a-B-c")),
            ("text", json!(["x", "a-b-c"])),
            ("list", json!(["x", 3, null])),
            ("n", json!([3, true, 2.0])),
            ("a.b.c", json!("deep")),
            ("nested[0].x[*].y", json!([1, "x"])),
        ] {
            let value = if condition.starts_with("IsIn") || condition == "IsNotIn" {
                json!([value.clone(), "deep"])
            } else {
                value
            };
            cases.push((
                format!("{condition} {key} {}", cases.len()),
                one(key, condition, value),
            ));
        }
    }
    for condition in [
        "IsGreaterThan",
        "IsGreaterThanOrEquals",
        "IsLessThan",
        "IsLessThanOrEquals",
    ] {
        for (key, value) in [("n", json!(2)), ("f", json!(2.5)), ("text", json!("b"))] {
            cases.push((format!("{condition} {key}"), one(key, condition, value)));
        }
    }
    for condition in ["IsIPAddressInCIDR", "IsIPAddressNotInCIDR"] {
        let networks = json!(["192.168.0.0/16", "10.0.0.7/8", "fe80::/10"]);
        cases.push((condition.to_owned(), one("text", condition, networks)));
    }
    for condition in ["AnyElement", "AllElements", "OnlyOneElement", "NoElement"] {
        cases.push((
            condition.to_owned(),
            json!({"Key": "items", "Condition": condition, "Expressions": [{"Key": "k", "Condition": "Equals", "Value": "one"}]}),
        ));
        cases.push((
            format!("{condition} itself"),
            json!({"Key": "list", "Condition": condition, "Expressions": [{"Condition": "Equals", "Value": "x"}]}),
        ));
    }
    for combined in ["All", "Any", "OnlyOne", "None"] {
        let tests = [
            one("text", "Equals", json!("a-b-c")),
            one("n", "IsGreaterThan", json!(2)),
        ];
        cases.push((combined.to_owned(), json!({combined: tests})));
        cases.push((format!("{combined} of nothing"), json!({combined: []})));
    }
    for condition in ["Equals", "IContains", "IsLessThan"] {
        cases.push((
            format!("{condition} between keys"),
            json!({"Condition": condition, "Values": [{"KeyPath": "text"}, {"DeepKey": ["a", "b", "c"]}]}),
        ));
    }
    cases
}

async fn running(native: bool) -> Running {
    let mut files = Files::default()
        .file("model.yml", MODEL)
        .file("model.py", MODEL_CODE);
    for (place, (_, detection)) in conditions().into_iter().enumerate() {
        let yaml = json!({
            "AnalysisType": "rule", "RuleID": format!("simple-{place}"), "LogTypes": ["T"], "Severity": "Low", "Enabled": true, "Detection": [detection],
            "AlertTitle": "{eventName} of {a.b} and {nothing}", "GroupBy": [{"Key": "n"}, {"KeyPath": "list[0]"}],
            "AlertContext": [{"KeyName": "who", "KeyValue": {"Key": "a"}}, {"KeyName": "gone", "KeyValue": {"KeyPath": "z.z"}}],
            "DynamicSeverities": [{"ChangeTo": "HIGH", "Conditions": [{"Key": "flag", "Condition": "Equals", "Value": true}]}],
        });
        files = files.file(&format!("simple-{place}.yml"), &yaml.to_string());
    }
    files.engine_with(|settings| settings.native = native).await
}

#[tokio::test]
async fn every_condition_says_what_it_says_in_python() {
    let events = events(80);
    let texts: Vec<&str> = events.iter().map(String::as_str).collect();
    let (native, python) = (running(true).await, running(false).await);
    let (of_native, of_python): (Evaluation, Evaluation) =
        (native.evaluate(&texts).await, python.evaluate(&texts).await);
    if let Some(difference) = first_difference(&native, &events, &of_native, &of_python) {
        panic!("{difference}");
    }
    let conditions = conditions();
    assert!(of_python.verdicts.len() > conditions.len());
    let mut left: BTreeMap<usize, (u64, String)> = BTreeMap::new();
    for (detection, why, count) in native.left_to_python() {
        let of = left.entry(detection).or_default();
        of.0 += count;
        of.1.push_str(&format!("{why} ({count}); "));
    }
    for (detection, (count, why)) in left {
        let id = &native.pack.detections[detection].id;
        assert!(
            count < texts.len() as u64,
            "{id} ({}) was left to Python each time: {why}",
            conditions[id.trim_start_matches("simple-").parse::<usize>().unwrap()].0
        );
    }
    native.engine.stop().await;
    python.engine.stop().await;
}
