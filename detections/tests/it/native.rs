//! The native engine says what Python says, snippet by snippet of the language, and remembers no more of events than it may.

use std::collections::BTreeMap;

use serde_json::{Value, json};

use crate::both_ways::{MODEL, MODEL_CODE, events, first_difference, running, snippets};
use crate::support::Files;

/// Snippets that are left to Python for every event, and rightly so.
const LEFT: &[&str] = &[
    "raises_out",
    "adds_text_and_number",
    "an_iterator_twice",
    "not_an_address",
    // Its errors tell values.
    "raises_of_values",
    "errors_of_the_pack_that_show_themselves",
    // Only Python knows what is printable.
    "text_of_letters_outside_ascii",
];

#[tokio::test]
async fn every_snippet_gives_what_python_gives() {
    let rules = snippets();
    let events = events(120);
    let texts: Vec<&str> = events.iter().map(String::as_str).collect();
    let (native, python) = (running(true, &rules).await, running(false, &rules).await);
    let of_python = python.evaluate(&texts).await;
    // The second time, what Python said of errors is known.
    for _ in 0..2 {
        let of_native = native.evaluate(&texts).await;
        if let Some(difference) = first_difference(&native, &events, &of_native, &of_python) {
            panic!("{difference}");
        }
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
            count < 2 * events.len() as u64 || LEFT.contains(&name),
            "{name} was left to Python each time: {why}"
        );
    }
    native.engine.stop().await;
    python.engine.stop().await;
}

/// Functions of a match that raise what the event makes of it.
const RAISING: &str = "
def rule(event):
    return True
def title(event):
    return 'title ' + str(float(event.get('text')))
def description(event):
    return event.get('n').title()
def severity(event):
    raise ValueError('no severity of ' + str(event.get('n')))
def destinations(event):
    return [event.get('null').name] if event.get('flag') else [event.get('f').lower()]
def dedup(event):
    return str(int(event.get('text')))
def alert_context(event):
    return {'it': event.get('null').strip()}
";

#[tokio::test]
async fn what_a_function_of_a_match_raises_is_noted_and_its_default_stands() {
    let without_dedup = RAISING.replace("def dedup", "def other");
    let rules = BTreeMap::from([
        ("all", RAISING.to_owned()),
        ("without_dedup", without_dedup),
    ]);
    let events = events(60);
    let texts: Vec<&str> = events.iter().map(String::as_str).collect();
    let (native, python) = (running(true, &rules).await, running(false, &rules).await);
    let of_native = native.evaluate(&texts).await;
    let of_python = python.evaluate(&texts).await;
    if let Some(difference) = first_difference(&native, &events, &of_native, &of_python) {
        panic!("{difference}");
    }
    assert!(
        of_native.statistics.pairs_native > 20,
        "{:?}",
        of_native.statistics
    );
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

#[tokio::test]
async fn python_is_asked_once_for_the_text_of_an_error_that_says_nothing_of_the_event() {
    let rules = BTreeMap::from([
        (
            "kind",
            "def rule(event):\n    return event.get('a').startswith('x')\n".to_owned(),
        ),
        (
            "written",
            "def rule(event):\n    return event['missing'] == 1\n".to_owned(),
        ),
        (
            "drawn",
            "def rule(event):\n    return event[event['b']] == 1\n".to_owned(),
        ),
    ]);
    let running = running(true, &rules).await;
    let events: Vec<String> = (0..60)
        .map(|n| {
            json!({"a": if n % 3 == 0 { json!(null) } else { json!(n) }, "b": format!("key{n}")})
                .to_string()
        })
        .collect();
    let texts: Vec<&str> = events.iter().map(String::as_str).collect();
    // An event that Python is asked of and those of the same call do not know of each other.
    for text in &texts[..2] {
        running.evaluate(&[text]).await;
    }
    let evaluation = running.evaluate(&texts).await;
    let errors = |id: &str| -> Vec<String> {
        let errors = running.errors(&evaluation, id).into_iter();
        errors.map(|(_, error)| error.title).collect()
    };
    let kinds: Vec<String> = (0..60)
        .map(|n| if n % 3 == 0 { "NoneType" } else { "int" })
        .map(|kind| format!("AttributeError(\"'{kind}' object has no attribute 'startswith'\")"))
        .collect();
    assert_eq!(errors("kind"), kinds);
    assert_eq!(errors("written"), vec!["KeyError('missing')"; 60]);
    let drawn: Vec<String> = (0..60).map(|n| format!("KeyError('key{n}')")).collect();
    assert_eq!(errors("drawn"), drawn);
    let mut asked: BTreeMap<&str, u64> = BTreeMap::new();
    for (detection, _, count) in running.engine.left_to_python() {
        let id = running.pack.detections[detection].id.as_str();
        *asked.entry(id).or_default() += count;
    }
    // The first event is one that Python evaluates in any case, and is left to it all the same.
    assert_eq!(
        (asked["kind"], asked["written"], asked["drawn"]),
        (2, 1, 62),
        "{asked:?}"
    );
    running.engine.stop().await;
}
