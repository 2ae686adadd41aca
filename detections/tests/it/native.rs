//! The native engine says what Python says, snippet by snippet of the language.

use std::collections::BTreeMap;

use serde_json::json;

use crate::both_ways::{MODEL, MODEL_CODE, events, first_difference, running, snippets};
use crate::native_memory::DECIDING;
use crate::support::Files;

/// Snippets that are left to Python for every event, and rightly so.
const LEFT: &[&str] = &[
    "raises_out",
    "adds_text_and_number",
    "an_iterator_twice",
    "lists_that_change_in_their_loop",
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
    for (detection, why, count) in native.left_to_python() {
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
    // Rust does not see built-in names that a file makes for itself.
    let patched = "import builtins\n__builtins__ = {**vars(builtins), 'bool': lambda value: False}\ndef rule(event):\n    return bool(event.get('n') == 1)\n";
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
    for (detection, _, count) in running.left_to_python() {
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
