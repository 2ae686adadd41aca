//! The native engine says what Python says, snippet by snippet of the language, over events that are changed at random.

use std::collections::BTreeMap;

use panther_detections::engine::{
    Evaluation, EventInput, KeyValueRow, KeyValueView, Outcome, ViewRead,
};
use serde_json::{Value, json};

use crate::support::{Files, Running};

const SNIPPETS: &str = include_str!("snippets.py");

/// What every snippet may use.
const HEAD: &str = r#"
import json
import re
from collections import OrderedDict
from collections.abc import Mapping, Sequence
from fnmatch import fnmatch
from functools import reduce
from ipaddress import ip_address, ip_network

SOME_SET = {"a-b-c", "x", "y"}
SOME_DICT = {"k": "v", "a-b-c": ["found"]}
SOME_LIST = ["p", "q"]
A_PATTERN = re.compile(r"B-", re.IGNORECASE)
STATE = ""


class OwnError(LookupError):
    pass


def helper_with_defaults(a, b="B", c=("C",)):
    return [a, b, c]


def reads_state():
    return STATE + "?"


def rule(event):
    return True


def title(event):
    return str(work(event))


def alert_context(event):
    return {"result": work(event)}
"#;

const MODEL: &str = "AnalysisType: datamodel\nDataModelID: M\nLogTypes: [T]\nFilename: model.py\nMappings:\n  - {Name: user, Path: text}\n  - {Name: address, Path: $.a.b.c}\n  - {Name: place, Path: '$.list[1]'}\n  - {Name: each, Method: each}\n";
const MODEL_CODE: &str =
    "def each(event):\n    return [item for item in event.get('list', []) if item]\n";

/// Snippets that are left to Python for every event, and rightly so.
const LEFT: &[&str] = &[
    "raises_out",
    "adds_text_and_number",
    "an_iterator_twice",
    "not_an_address",
];

fn event() -> Value {
    json!({
        "eventName": "Create", "text": "a-b-c", "n": 3, "f": 2.5, "flag": true, "null": null, "word": "straße", "big": 9_007_199_254_740_993_i64,
        "a": {"b": {"c": "deep"}}, "list": ["x", "n", "y"], "one": ["only"], "empty": [[], []],
        "items": [{"k": "one"}, {"k": "two"}, {"k": "one"}, {"z": 1}], "nested": [{"x": [{"y": 1}, {"y": [2, 1]}]}],
        "odd": {"it's": "q\"q", "n\n": [1.0, null]},
    })
}

fn instead() -> Vec<Value> {
    vec![
        json!(null),
        json!(true),
        json!(0),
        json!(1),
        json!(-7),
        json!(2.0),
        json!(1e17),
        json!(1e-7),
        json!(""),
        json!("x"),
        json!("a-b-c"),
        json!("A-B"),
        json!("it's \"q\""),
        json!("line\nend\n"),
        json!("\u{7f}\u{1c}"),
        json!("é"),
        json!("10.0.0.1"),
        json!([]),
        json!(["x", 1, null]),
        json!([["x"]]),
        json!({}),
        json!({"b": {"C": 1}}),
        json!({"k": "v", "K": "w"}),
        json!([{"k": "three"}]),
        json!(u64::MAX),
    ]
}

/// Numbers that look drawn, the same each time.
struct Draw(u64);

impl Draw {
    fn below(&mut self, bound: usize) -> usize {
        self.0 ^= self.0 << 13;
        self.0 ^= self.0 >> 7;
        self.0 ^= self.0 << 17;
        usize::try_from(self.0 % bound as u64).unwrap()
    }
}

/// Changes one value somewhere inside.
fn change(value: &mut Value, draw: &mut Draw) {
    let replacements = instead();
    let children = match value {
        Value::Object(map) => map.len(),
        Value::Array(items) => items.len(),
        _ => 0,
    };
    if children == 0 || draw.below(6) == 0 {
        *value = replacements[draw.below(replacements.len())].clone();
        return;
    }
    let place = draw.below(children);
    match value {
        Value::Object(map) => {
            let key = map.keys().nth(place).unwrap().clone();
            match draw.below(6) {
                0 => drop(map.remove(&key)),
                1 => {
                    let moved = map.remove(&key).unwrap();
                    map.insert(key.to_uppercase(), moved);
                }
                _ => change(map.get_mut(&key).unwrap(), draw),
            }
        }
        Value::Array(items) => change(&mut items[place], draw),
        _ => {}
    }
}

fn events(count: usize) -> Vec<String> {
    let mut draw = Draw(0x9E37_79B9_7F4A_7C15);
    let mut events = vec![event().to_string()];
    while events.len() < count {
        let mut changed = event();
        for _ in 0..=draw.below(3) {
            change(&mut changed, &mut draw);
        }
        if changed.is_object() {
            events.push(changed.to_string());
        }
    }
    events
}

fn snippets() -> BTreeMap<&'static str, String> {
    SNIPPETS
        .split("#: ")
        .filter_map(|part| part.split_once('\n'))
        .map(|(name, body)| {
            let body: String = body
                .trim_end()
                .lines()
                .map(|line| format!("    {line}\n"))
                .collect();
            (name, format!("{HEAD}\n\ndef work(event):\n{body}"))
        })
        .collect()
}

async fn running(native: bool, rules: &BTreeMap<&str, String>) -> Running {
    let mut files = Files::default()
        .file("model.yml", MODEL)
        .file("model.py", MODEL_CODE);
    for (name, code) in rules {
        files = files.rule(name, code);
    }
    files.engine_with(|settings| settings.native = native).await
}

fn first_difference(
    running: &Running,
    events: &[String],
    native: &Evaluation,
    python: &Evaluation,
) -> Option<String> {
    let said = |evaluation: &Evaluation| -> BTreeMap<(usize, usize), String> {
        evaluation
            .verdicts
            .iter()
            .map(|verdict| {
                let said = match &verdict.outcome {
                    // Its trace names the engine's own folder.
                    Outcome::Failed(error) => format!("{} {}", error.title, error.message),
                    matched @ Outcome::Matched(_) => format!("{matched:#?}"),
                };
                ((verdict.event, verdict.detection), said)
            })
            .collect()
    };
    let (native, python) = (said(native), said(python));
    python.keys().chain(native.keys()).find_map(|pair| {
        (native.get(pair) != python.get(pair)).then(|| {
            format!(
                "{} on {}\nnative {}\npython {}",
                running.pack.detections[pair.1].id,
                events[pair.0],
                native.get(pair).map_or("nothing", String::as_str),
                python.get(pair).map_or("nothing", String::as_str)
            )
        })
    })
}

#[tokio::test]
async fn every_snippet_gives_what_python_gives() {
    let rules = snippets();
    let events = events(120);
    let texts: Vec<&str> = events.iter().map(String::as_str).collect();
    let (native, python) = (running(true, &rules).await, running(false, &rules).await);
    let (of_native, of_python) = (native.evaluate(&texts).await, python.evaluate(&texts).await);
    if let Some(difference) = first_difference(&native, &events, &of_native, &of_python) {
        panic!("{difference}");
    }
    // A snippet that Python evaluates each time would be equal to itself.
    let mut left: BTreeMap<usize, (u64, String)> = BTreeMap::new();
    for (detection, why, count) in native.engine.left_to_python() {
        let of = left.entry(detection).or_default();
        of.0 += count;
        of.1.push_str(&format!("{why} ({count}); "));
    }
    for (detection, (count, why)) in left {
        let name = native.pack.detections[detection].id.as_str();
        assert!(
            count < events.len() as u64 || LEFT.contains(&name),
            "{name} was left to Python each time: {why}"
        );
    }
    native.engine.stop().await;
    python.engine.stop().await;
}

#[tokio::test]
async fn a_rule_that_keeps_state_between_events_is_left_to_python() {
    let counts = "SEEN = []\ndef rule(event):\n    SEEN.append(1)\n    return len(SEEN) > 2\n";
    let alias = "SEEN = {}\ndef seen():\n    return SEEN\ndef rule(event):\n    seen().update({event.get('n'): 1})\n    return len(SEEN) > 2\n";
    let last = "LAST = None\ndef rule(event):\n    global LAST\n    before = LAST\n    LAST = event.get('n')\n    return before == 1\n";
    let rules = BTreeMap::from([
        ("counts", counts.to_owned()),
        ("alias", alias.to_owned()),
        ("last", last.to_owned()),
    ]);
    let running = running(true, &rules).await;
    let evaluation = running
        .evaluate(&["{\"n\":0}", "{\"n\":1}", "{\"n\":2}", "{\"n\":3}"])
        .await;
    assert_eq!(running.matched(&evaluation, "counts"), [2, 3]);
    assert_eq!(running.matched(&evaluation, "alias"), [2, 3]);
    assert_eq!(running.matched(&evaluation, "last"), [2]);
    assert_eq!(evaluation.statistics.pairs_native, 0);
    running.engine.stop().await;
}

#[tokio::test]
async fn events_that_are_hard_to_read_are_read_as_python_reads_them() {
    let rules = BTreeMap::from([(
        "r",
        "def rule(event):\n    return True\ndef title(event):\n    return str(event.to_dict())\n"
            .to_owned(),
    )]);
    let deep = format!("{{\"a\":{}1{}}}", "[".repeat(300), "]".repeat(300));
    let wide = format!(
        "{{{}}}",
        (0..2000)
            .map(|n| format!("\"k{n}\":{n}"))
            .collect::<Vec<_>>()
            .join(",")
    );
    let digits = format!("{{\"a\":{}}}", "7".repeat(4000));
    let events = [
        r#"{"a":1,"b":2,"a":3}"#,
        r#"{"a":NaN}"#,
        r#"{"a":"\ud800"}"#,
        r#"{"a":"\ud83d\ude00","b":"\u00e9\/\b"}"#,
        r#"{ "a" : [ 1 , -0 , -0.0 , 1E5 , 1e400 , 0.1 ] }"#,
        r#"{"a":123456789012345678901234567890}"#,
        r#"{"A":1,"a":2}"#,
        r#"{"ключ":"значение"}"#,
        &deep,
        &wide,
        &digits,
        r"[1]",
        r"{",
    ];
    let (native, python) = (running(true, &rules).await, running(false, &rules).await);
    let (of_native, of_python) = (
        native.evaluate(&events).await,
        python.evaluate(&events).await,
    );
    let written: Vec<String> = events.iter().map(|&text| text.to_owned()).collect();
    if let Some(difference) = first_difference(&native, &written, &of_native, &of_python) {
        panic!("{difference}");
    }
    assert!(
        of_native.statistics.pairs_native >= 2,
        "{:?}",
        of_native.statistics
    );
    native.engine.stop().await;
    python.engine.stop().await;
}

/// Rules that mostly say no, by fields alone, by more than fields, and by what looks like a field.
const DECIDING: &[(&str, &str)] = &[
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
            "return event.get('eventName') == 'Create' and len(event) == 6",
        ),
        (
            "mapping",
            "return 'q' in [value for value in event.get('a', {}).values()]",
        ),
        ("mapping_as_text", "return \"'q'\" in str(event.get('a'))"),
        ("truth", "return not event.get('a')"),
        ("below", "return event.deep_get('a', 'b') == 'q'"),
        ("spelt", "return event.get('EVENTNAME') == 'q'"),
        ("walked", "return event.deep_walk('items', 'k') == 'q'"),
        ("unified", "return event.udm('user') == 'q'"),
    ])
    .into_iter()
    .map(|(name, body)| (name, format!("def rule(event):\n    {body}\n")))
    .collect();
    let usual = |id: usize| json!({"eventName": "Create", "id": format!("id {id}"), "list": ["x"], "a": {"b": "c"}, "items": [{"k": "v"}]});
    let mut events: Vec<String> = (0..600).map(|id| usual(id).to_string()).collect();
    // Each looks like the usual ones to all rules but one or two.
    let unusual: [(&str, Value); 8] = [
        ("eventName", json!("Other")),
        ("id", json!("special")),
        ("list", json!(["x", "q"])),
        ("extra", json!(1)),
        ("a", json!({"b": "q"})),
        ("a", json!({"b": "c", "d": "q"})),
        ("a", json!({})),
        ("items", json!([{"k": "q"}])),
    ];
    for (key, value) in unusual {
        let mut event = usual(1);
        event[key] = value;
        events.push(event.to_string());
    }
    let mut respelt = usual(1);
    respelt["text"] = json!("q");
    respelt["EVENTNAME"] = json!("q");
    events.push(respelt.to_string());
    let texts: Vec<&str> = events.iter().map(String::as_str).collect();
    let (native, python) = (running(true, &rules).await, running(false, &rules).await);
    let (of_native, of_python) = (native.evaluate(&texts).await, python.evaluate(&texts).await);
    if let Some(difference) = first_difference(&native, &events, &of_native, &of_python) {
        panic!("{difference}");
    }
    // The usual ones are known by now, and spare some of the rules.
    let again = native.evaluate(&texts[..600]).await.statistics;
    assert!(
        again.pairs_native + again.pairs_called < 600 * rules.len() as u64 * 3 / 4,
        "{again:?}"
    );
    native.engine.stop().await;
    python.engine.stop().await;
}

#[tokio::test]
async fn what_is_nested_without_end_harms_nobody() {
    let nested = |body: &str| {
        format!(
            "def rule(event):\n    {body}\n    return True\ndef title(event):\n    return 'title'\n"
        )
    };
    let long = (0..400)
        .map(|n| format!("'{n}'"))
        .collect::<Vec<_>>()
        .join(" + ");
    let branches: String = (0..300)
        .map(|n| format!("    elif event.get('n') == {n}:\n        name = '{n}'\n"))
        .collect();
    let levels: String = (1..60)
        .map(|level| format!("{}if n:\n", "    ".repeat(level)))
        .collect();
    let deep_everywhere = format!(
        "def down(n):\n{levels}{}return {}down(n - 1){}\n    return 0\ndef rule(event):\n    return down(38) != 0\n",
        "    ".repeat(60),
        "(0 + ".repeat(40),
        ")".repeat(40),
    );
    let parentheses = format!("{}event{}.get('n')", "(".repeat(80), ")".repeat(80));
    let rules = BTreeMap::from([
        ("in_itself", nested("x = []\n    x.append(x)\n    y = []\n    y.append(y)\n    x == x")),
        ("deep_lists", nested("x = y = []\n    for n in range(5000):\n        x, y = [x], [y]\n    x == y")),
        ("deep_tuples", nested("x = ()\n    for n in range(5000):\n        x = (x,)\n    {x: 1}")),
        ("deep_text", nested("x = []\n    for n in range(5000):\n        x = [x]\n    str(x)")),
        ("deep_classes", nested("x = (str,)\n    for n in range(5000):\n        x = (x,)\n    isinstance(event, x)")),
        ("deep_calls", "def down(n):\n    return 0 if n == 0 else 1 + down(n - 1)\ndef rule(event):\n    return down(600) == 600\n".to_owned()),
        ("large_texts", nested("x = 'x' + 'y'\n    for n in range(18):\n        x = x + x\n    for n in range(300):\n        x = x[1:] + 'z'")),
        ("many_copies", nested("for n in range(20000):\n        event.to_dict()")),
        ("deep_everywhere", deep_everywhere),
        ("long_sum", nested(&format!("x = {long}"))),
        ("many_branches", format!("def rule(event):\n    if event.get('n') is None:\n        name = ''\n{branches}    return name == '1'\n")),
        ("parentheses", format!("def rule(event):\n    return {parentheses} == 1\n")),
        ("neighbour", "def rule(event):\n    return event.get('n') == 1\n".to_owned()),
    ]);
    let (native, python) = (running(true, &rules).await, running(false, &rules).await);
    let events = ["{\"n\":1}", "{\"n\":2}"];
    let (of_native, of_python) = (
        native.evaluate(&events).await,
        python.evaluate(&events).await,
    );
    let written: Vec<String> = events.iter().map(|&text| text.to_owned()).collect();
    if let Some(difference) = first_difference(&native, &written, &of_native, &of_python) {
        panic!("{difference}");
    }
    assert_eq!(native.matched(&of_native, "neighbour"), [0]);
    assert_eq!(native.matched(&of_native, "many_branches"), [0]);
    native.engine.stop().await;
    python.engine.stop().await;
}

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

#[tokio::test]
async fn a_rule_on_which_python_does_not_agree_is_left_to_it() {
    // Changing a class of the engine's own is beyond what is told of a pack.
    let patched = "from panther_core import PantherEvent\nPantherEvent.get = lambda self, key, default=None: 'patched'\ndef rule(event):\n    return event.get('n') == 1\n";
    let honest = "def rule(event):\n    return event['n'] == 1\n";
    let files = Files::default()
        .rule("patched", patched)
        .rule("honest", honest);
    let running = files
        .engine_with(|settings| settings.shadow_one_in = 2)
        .await;
    // The first event is looked at both ways, the second is not.
    let evaluation = running.evaluate(&["{\"n\":1}", "{\"n\":1}"]).await;
    assert_eq!(evaluation.statistics.events_shadowed, 1);
    let differing: Vec<(usize, usize)> = evaluation
        .differences
        .iter()
        .map(|difference| (difference.event, difference.detection))
        .collect();
    assert_eq!(differing, [(0, running.index("patched"))]);
    assert_eq!(running.matched(&evaluation, "honest"), [0, 1]);
    assert_eq!(running.matched(&evaluation, "patched"), [1]);
    let after = running.evaluate(&["{\"n\":1}", "{\"n\":1}"]).await;
    assert!(after.differences.is_empty(), "{:?}", after.differences);
    assert!(running.matched(&after, "patched").is_empty());
    assert_eq!(running.matched(&after, "honest"), [0, 1]);
    running.engine.stop().await;

    let running = files
        .engine_with(|settings| {
            settings.shadow_one_in = 0;
            settings.python_only = ["patched".to_owned()].into();
        })
        .await;
    let evaluation = running.evaluate(&["{\"n\":1}"]).await;
    assert!(running.matched(&evaluation, "patched").is_empty());
    assert_eq!(evaluation.statistics.events_shadowed, 0);
    running.engine.stop().await;
}

#[tokio::test]
async fn looking_at_every_event_both_ways_finds_nothing() {
    let mut rules = snippets();
    rules.extend(
        DECIDING
            .iter()
            .map(|(name, body)| (*name, format!("def rule(event):\n    {body}\n"))),
    );
    let mut files = Files::default()
        .file("model.yml", MODEL)
        .file("model.py", MODEL_CODE);
    for (name, code) in &rules {
        files = files.rule(name, code);
    }
    let running = files
        .engine_with(|settings| settings.shadow_one_in = 1)
        .await;
    let events = events(500);
    let texts: Vec<&str> = events.iter().map(String::as_str).collect();
    let evaluation = running.evaluate(&texts).await;
    assert_eq!(evaluation.statistics.events_shadowed, 500);
    assert_eq!(evaluation.differences, []);
    running.engine.stop().await;
}
