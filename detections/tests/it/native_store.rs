//! The key-value store is to rules in Rust what it is to rules in Python.

use std::collections::BTreeMap;

use panther_detections::engine::EventInput;
use panther_detections::key_value::{KeyValueRow, KeyValueView, ViewRead};
use serde_json::{Value, json};

use crate::both_ways::{events, first_difference, running};

/// Rows as another call may have left them.
struct Left;

impl KeyValueView for Left {
    fn get<'a>(&'a self, key: &'a str) -> ViewRead<'a> {
        let set = |texts: &[&str]| Some(texts.iter().map(|text| (*text).to_owned()).collect());
        let row = match key {
            "old" => Some(KeyValueRow {
                count: Some(4),
                set: set(&["a", "b"]),
                dict: Some(json!({"k": 1})),
                expires: Some(1_600_000_000),
            }),
            "fresh" => Some(KeyValueRow {
                count: Some(4),
                set: set(&["a"]),
                dict: None,
                expires: Some(1_900_000_000),
            }),
            "counted" => Some(KeyValueRow {
                count: Some(9),
                ..KeyValueRow::default()
            }),
            _ => None,
        };
        Box::pin(std::future::ready(Ok(row)))
    }
}

#[tokio::test]
async fn rules_share_the_rows_of_the_store_event_by_event() {
    let head =
        "from panther_detection_helpers.caching import *\nimport datetime as dt\nSEEN = None\n";
    let title = "def title(event):\n    return str(SEEN)\n";
    let bodies = [
        ("counts", "SEEN = increment_counter(str(event.get('text')))"),
        (
            "counts_too",
            "SEEN = increment_counter(str(event.get('text')), 2, epoch_seconds=60)",
        ),
        (
            "reads",
            "SEEN = [get_counter(event.get('key', 'none')), get_counter(event.get('key', 'none'), True)]",
        ),
        (
            "reads_sets",
            "SEEN = [sorted(get_string_set(event.get('key', 'none'))), sorted(get_string_set(event.get('key', 'none'), force_ttl_check=True))]",
        ),
        (
            "puts",
            "put_string_set(event.get('key', 'none'), {str(item) for item in event.get('list', [])}, epoch_seconds=(None if event.get('flag') else 1_800_000_000))\n    SEEN = len(get_string_set(event.get('key', 'none')))",
        ),
        (
            "adds",
            "SEEN = sorted(add_to_string_set(event.get('key', 'none'), [str(event.get('text')), 'z']))",
        ),
        (
            "resets",
            "reset_counter('counted')\n    reset_string_set('fresh')\n    set_key_expiration('fresh', 5)\n    SEEN = get_counter('counted')",
        ),
        (
            "lives",
            "put_string_set('life', ['x'], epoch_seconds=int((dt.datetime.utcnow() + dt.timedelta(days=2)).timestamp()) // 1000)\n    SEEN = len(get_string_set('life'))",
        ),
        (
            "lives_by_text",
            "put_string_set('by_text', ['x'], (dt.datetime.fromisoformat('2030-01-02T03:04:05') + dt.timedelta(days=3)).strftime('%s'))\n    put_string_set('by_float', ['x'], event.event_time_epoch() + dt.timedelta(days=1).total_seconds())\n    SEEN = len(get_string_set('by_text'))",
        ),
        ("thresholds", "SEEN = evaluate_threshold('t', 3, 60)"),
        (
            "ages",
            "SEEN = [check_account_age(event.get('text')), check_account_age(event.get('n')), check_account_age('fresh')]",
        ),
        (
            "hours",
            "SEEN = dt.datetime.fromisoformat(event.get('time', '1970-01-01T00:00:00')).timestamp() // 3600 * 3600",
        ),
        (
            "raises_late",
            "count = increment_counter('late')\n    SEEN = [count, event['text'].upper()] if event.get('n') == 3 else event['nothing']",
        ),
    ];
    let rules: BTreeMap<&str, String> = bodies
        .iter()
        .map(|(name, body)| {
            let rule = format!("def rule(event):\n    global SEEN\n    {body}\n    return True\n");
            (*name, format!("{head}{rule}{title}"))
        })
        .collect();
    let keys = ["old", "fresh", "counted", "x"];
    let events: Vec<String> = events(60)
        .iter()
        .enumerate()
        .map(|(place, text)| {
            let mut event: Value = serde_json::from_str(text).unwrap();
            event["key"] = json!(keys[place % keys.len()]);
            event["time"] =
                json!(["2024-01-02T03:04:05", "2024-01-02 03:04:05.678", "x"][place % 7 % 3]);
            event.to_string()
        })
        .collect();
    let inputs: Vec<EventInput> = events
        .iter()
        .map(|text| crate::support::event(text))
        .collect();
    // All together, where one that raises leaves the rows to Python, and each by itself.
    let mut packs: Vec<BTreeMap<&str, String>> = vec![rules.clone()];
    packs.extend(
        rules
            .iter()
            .map(|(name, code)| BTreeMap::from([(*name, code.clone())])),
    );
    let mut native_pairs = 0;
    for rules in packs {
        let (native, python) = (running(true, &rules).await, running(false, &rules).await);
        // In two calls, so that the second begins with what is there and nothing of the first.
        for part in [&inputs[..], &inputs[..20]] {
            let now = crate::support::now();
            let of_native = native.engine.evaluate(part, now, &Left).await.unwrap();
            let of_python = python.engine.evaluate(part, now, &Left).await.unwrap();
            if let Some(difference) = first_difference(&native, &events, &of_native, &of_python) {
                panic!("{difference}");
            }
            assert_eq!(of_native.effects, of_python.effects);
            native_pairs += of_native.statistics.pairs_native;
        }
        native.engine.stop().await;
        python.engine.stop().await;
    }
    assert!(native_pairs > 400, "{native_pairs} pairs without Python");
}
