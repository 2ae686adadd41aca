//! The native engine remembers no more of events than it may, and enough to spare most rules most events.

use std::collections::BTreeMap;

use serde_json::{Value, json};

use crate::both_ways::{events, first_difference, running};
use crate::support::Files;

/// Rules that mostly say no, by fields alone, by more than fields, and by what looks like a field.
pub(crate) const DECIDING: &[(&str, &str)] = &[
    (
        "by_name",
        "return event.get('eventName') == 'Create' and event.get('n') == 3",
    ),
    ("by_spelling", "return event.get('EVENTNAME') == 'Create'"),
    (
        "by_absence",
        "return event.deep_get('a', 'b', 'c') is None and event.get('flag') is True",
    ),
    (
        "by_kind",
        "return isinstance(event.get('a'), str) or isinstance(event.get('list'), str)",
    ),
    (
        "by_truth_of_a_mapping",
        "return event.get('eventName') != 'Create' or not event.get('a')",
    ),
    (
        "by_elements",
        "return event.get('n') == 4 or 'q' in event.get('list', [])",
    ),
    ("by_all_keys", "return 'TEXT' in list(event.keys())"),
    ("by_length", "return event.get('n') == 4 or len(event) < 10"),
    ("by_text_of_all", "return 'None' in str(event.get('odd'))"),
    (
        "by_model",
        "return event.udm('user') == 'x' or event.udm('address') == 'DEEP'",
    ),
    (
        "by_walking",
        "return event.deep_walk('items', 'k') == 'three'",
    ),
    (
        "by_exact_walk",
        "return event.deep_walk('N') == 3 or event.deep_walk('a', 'B', 'c') == 1",
    ),
    ("raises_sometimes", "return event['text'].startswith('x')"),
    (
        "by_number",
        "return event.get('f') > 100 if event.get('f') is not None else False",
    ),
];

#[tokio::test]
async fn what_is_remembered_of_events_changes_no_verdict() {
    let rules: BTreeMap<&str, String> = DECIDING
        .iter()
        .map(|(name, body)| (*name, format!("def rule(event):\n    {body}\n")))
        .collect();
    let events = events(2500);
    let texts: Vec<&str> = events.iter().map(String::as_str).collect();
    let (native, python) = (running(true, &rules).await, running(false, &rules).await);
    let (of_native, of_python) = (native.evaluate(&texts).await, python.evaluate(&texts).await);
    if let Some(difference) = first_difference(&native, &events, &of_native, &of_python) {
        panic!("{difference}");
    }
    // A second time, when most of them are known.
    let again = native.evaluate(&texts).await;
    if let Some(difference) = first_difference(&native, &events, &again, &of_python) {
        panic!("{difference}");
    }
    let all = (events.len() * rules.len()) as u64;
    let looked = again.statistics.pairs_native + again.statistics.pairs_called;
    assert!(
        looked * 4 < all * 3,
        "{looked} of {all} pairs were looked at"
    );
    native.engine.stop().await;
    python.engine.stop().await;
}

#[tokio::test]
async fn what_is_remembered_is_no_more_than_what_was_looked_up() {
    let rules = BTreeMap::from([
        ("field", "return event.get('eventName') == 'Other'"),
        (
            "unlike_field",
            "return event.get('eventName') == 'Create' and event.get('id') == 'special'",
        ),
        (
            "elements",
            "return event.get('eventName') == 'Create' and 'q' in event.get('list', [])",
        ),
        ("list_as_text", "return \"'q'\" in f\"{event.get('list')}\""),
        (
            "keys",
            "return event.get('eventName') == 'Create' and len(event) == 7",
        ),
        (
            "mapping",
            "return 'q' in [value for value in event.get('a', {}).values()]",
        ),
        ("mapping_as_text", "return \"'q'\" in str(event.get('a'))"),
        ("truth", "return not event.get('a')"),
        (
            "truth_and_below",
            "return not event.get('a') or event.deep_get('a', 'b') == 'q'",
        ),
        ("truth_below", "return not event.deep_get('e', 'f')"),
        ("truth_of_all", "return not event"),
        ("below", "return event.deep_get('a', 'b') == 'q'"),
        ("spelt", "return event.get('EVENTNAME') == 'q'"),
        ("walked", "return event.deep_walk('items', 'k') == 'q'"),
        ("unified", "return event.udm('user') == 'q'"),
    ])
    .into_iter()
    .map(|(name, body)| (name, format!("def rule(event):\n    {body}\n")))
    .collect();
    let usual = |id: usize| json!({"eventName": "Create", "id": format!("id {id}"), "list": ["x"], "a": {"b": "c"}, "e": {"f": {"g": 1}}, "items": [{"k": "v"}]});
    // Each looks like the usual ones to all rules but one or two.
    let unusual: [(&str, Value); 10] = [
        ("eventName", json!("Other")),
        ("id", json!("special")),
        ("list", json!(["x", "q"])),
        ("extra", json!(1)),
        ("a", json!({"b": "q"})),
        ("a", json!({"b": "c", "d": "q"})),
        ("a", json!({})),
        ("e", json!({})),
        ("e", json!({"f": {}})),
        ("items", json!([{"k": "q"}])),
    ];
    let mut unusual: Vec<Value> = unusual
        .into_iter()
        .map(|(key, value)| {
            let mut event = usual(1);
            event[key] = value;
            event
        })
        .collect();
    let mut respelt = usual(1);
    respelt["text"] = json!("q");
    respelt["EVENTNAME"] = json!("q");
    unusual.push(respelt);
    unusual.push(json!({}));
    usual_ones_are_known_and_no_others(&rules, usual, &unusual).await;
}

#[tokio::test]
async fn a_key_in_another_spelling_is_remembered_as_both_kinds_of_look_up_see_it() {
    let rules = BTreeMap::from([
        ("spelt", "return event.get('eventName') == 'Other'"),
        ("exact", "return event.deep_walk('eventName') == 'Create'"),
        (
            "two_ways",
            "return event.deep_get('AB', 'c') == 'q' or event.deep_get('aB', 'c') == 'q'",
        ),
        ("below", "return event.deep_get('dd', 'ee') == 'q'"),
        (
            "exact_below",
            "return event.deep_walk('dd', 'ee') == 'x' or event.deep_walk('dd') is not None",
        ),
        ("elements", "return 'q' in event.get('list', [])"),
        ("long", "return event.get('long', '').startswith('y')"),
    ])
    .into_iter()
    .map(|(name, body)| (name, format!("def rule(event):\n    {body}\n")))
    .collect();
    let usual = |id: usize| {
        let long = "x".repeat(100);
        json!({"eventname": "Create", "id": id, "aB": {"c": "c"}, "DD": {"ee": "x"}, "list": [], "long": long})
    };
    let other = |change: &str| {
        let mut event = usual(1).to_string();
        let (from, to) = change.split_once(" -> ").unwrap();
        event = event.replace(from, to);
        serde_json::from_str(&event).unwrap()
    };
    let unusual: Vec<Value> = [
        r#""Create" -> "Other""#,
        r#""eventname" -> "eventName""#,
        r#""eventname" -> "none""#,
        r#""aB":{"c":"c"} -> "Ab":{"c":"c"},"aB":{"c":"q"}"#,
        r#""aB":{"c":"c"} -> "Ab":{"c":"q"},"aB":{"c":"c"}"#,
        r#"{"ee":"x"} -> {"ee":"q"}"#,
        r#""DD":{"ee":"x"} -> "dd":{"EE":"x"}"#,
        r#""DD":{"ee":"x"} -> "dd":{"ee":"x"}"#,
        r#""list":[] -> "list":["q"]"#,
        r#""list":[] -> "list":{"q":1}"#,
        r#""long":"x -> "long":"yx"#,
        r#""list" -> "\u00e9""#,
    ]
    .into_iter()
    .map(other)
    .collect();
    usual_ones_are_known_and_no_others(&rules, usual, &unusual).await;
}

/// Shows the engine enough usual events to know them, and then the others: it has to say of each what Python says, and to have spared rules the usual ones.
async fn usual_ones_are_known_and_no_others(
    rules: &BTreeMap<&str, String>,
    usual: impl Fn(usize) -> Value,
    unusual: &[Value],
) {
    let usual: Vec<String> = (0..600).map(|id| usual(id).to_string()).collect();
    let mut events = usual.clone();
    events.extend(unusual.iter().map(Value::to_string));
    let texts: Vec<&str> = events.iter().map(String::as_str).collect();
    let (native, python) = (running(true, rules).await, running(false, rules).await);
    let (of_native, of_python) = (native.evaluate(&texts).await, python.evaluate(&texts).await);
    if let Some(difference) = first_difference(&native, &events, &of_native, &of_python) {
        panic!("{difference}");
    }
    let again = native.evaluate(&texts[..usual.len()]).await.statistics;
    assert!(
        again.pairs_native + again.pairs_called < (usual.len() * rules.len()) as u64 * 3 / 4,
        "{again:?}"
    );
    native.engine.stop().await;
    python.engine.stop().await;
}

#[tokio::test]
async fn truth_of_mappings_and_state_as_loaded_are_remembered_until_the_state_is_written() {
    let running = Files::default()
        .rule("truth", "def rule(event):\n    return not event.get('a')\n")
        .rule(
            "state",
            "STATE = []\ndef rule(event):\n    global STATE\n    if event.get('write'):\n        STATE = ['x']\n    return len(STATE) > 1\n",
        )
        .engine_with(|settings| {
            settings.shadow_one_in = 0;
        })
        .await;
    let usual = json!({"write": false, "a": {"b": "c"}}).to_string();
    let events = vec![usual.as_str(); 600];
    running.evaluate(&events).await;
    let known = running.evaluate(&events).await.statistics;
    assert_eq!(known.pairs_native + known.pairs_called, 0, "{known:?}");
    // What the rule holds is for Python from here on: the memory may not answer for it.
    let write = json!({"write": true, "a": {"b": "c"}}).to_string();
    assert!(running.engine.is_native(0) && running.engine.is_native(1));
    let after = running.evaluate(&[&write, &usual]).await;
    assert!(after.statistics.pairs_called > 0, "{:?}", after.statistics);
    let native: Vec<&str> = running
        .pack
        .detections
        .iter()
        .enumerate()
        .filter(|(place, _)| running.engine.is_native(*place))
        .map(|(_, detection)| detection.id.as_str())
        .collect();
    assert_eq!(native, ["truth"]);
    running.engine.stop().await;
}
