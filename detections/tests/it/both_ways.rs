//! Rules that are evaluated in Rust and in Python, over events that are changed at random, and what the two do not agree on.

use std::collections::BTreeMap;

use panther_detections::engine::Evaluation;
use panther_detections::verdict::Outcome;
use serde_json::{Value, json};

use crate::support::{Files, Running};

const SNIPPETS: &str = include_str!("snippets.py");

/// What every snippet may use.
const HEAD: &str = r#"
import copy
import json
import logging
import re
from collections import OrderedDict, namedtuple
from collections.abc import Mapping, Sequence
from datetime import datetime, timedelta
from difflib import SequenceMatcher
from fnmatch import filter as fnmatch_filter
from fnmatch import fnmatch
from functools import reduce
from ipaddress import AddressValueError, IPv4Address, IPv6Address, ip_address, ip_network
from math import atan2, cos, radians, sin, sqrt

try:
    from dateutil import parser
except ImportError:
    parser = None
try:
    import pycountry
except ImportError:
    pycountry = None
try:
    from policyuniverse.policy import Policy
except ImportError:
    Policy = None

SOME_SET = {"a-b-c", "x", "y"}
SOME_DICT = {"k": "v", "a-b-c": ["found"]}
SOME_LIST = ["p", "q"]
A_PATTERN = re.compile(r"B-", re.IGNORECASE)
STATE = ""
A_SPAN = timedelta(days=1, hours=2, microseconds=7)


LOADED = ["kept", "a-b-c"]
LOG = logging.getLogger(__name__)
Pair = namedtuple("Pair", "left right")


class OwnError(LookupError):
    pass


class ShownError(ValueError):
    def __str__(self):
        return "shown otherwise"


class Base:
    label = "base"

    def __init__(self, name):
        self.name = name
        self.found = None

    def first(self):
        return self.name, self.found, self.values("z")

    @property
    def known(self):
        return self.found is not None

    def values(self, prefix):
        return [prefix + str(self.found)]


class Looks(Base):
    label = "looks"

    def __init__(self, event, name, count=1):
        super().__init__(name)
        self.count = count
        self.found = event.get(name)

    def values(self, prefix):
        return [*super().values(prefix), self.label]

    def get(self, key, default="none"):
        return {"k": self.name}.get(key, default)


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

pub(crate) const MODEL: &str = "AnalysisType: datamodel\nDataModelID: M\nLogTypes: [T]\nFilename: model.py\nMappings:\n  - {Name: user, Path: text}\n  - {Name: address, Path: $.a.b.c}\n  - {Name: place, Path: '$.list[1]'}\n  - {Name: each, Method: each}\n";
pub(crate) const MODEL_CODE: &str =
    "def each(event):\n    return [item for item in event.get('list', []) if item]\n";

fn event() -> Value {
    json!({
        "eventName": "Create", "p_event_time": "2024-02-03 04:05:06.789", "text": "a-b-c", "n": 3, "f": 2.5, "flag": true, "null": null, "word": "straße", "big": 9_007_199_254_740_993_i64,
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

pub(crate) fn events(count: usize) -> Vec<String> {
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

pub(crate) fn snippets() -> BTreeMap<&'static str, String> {
    SNIPPETS
        .split("#: ")
        .filter_map(|part| part.split_once('\n'))
        .map(|(name, body)| {
            let body: String = body
                .trim_end()
                .lines()
                .map(|line| format!("    {line}\n"))
                .collect();
            // What raises does so in rule(), where it is an error of the rule.
            let rule = if name.starts_with("raises") {
                "\n\ndef rule(event):\n    return work(event) is not None\n"
            } else {
                ""
            };
            (name, format!("{HEAD}\n\ndef work(event):\n{body}{rule}"))
        })
        .collect()
}

pub(crate) async fn running(native: bool, rules: &BTreeMap<&str, String>) -> Running {
    let mut files = Files::default()
        .file("model.yml", MODEL)
        .file("model.py", MODEL_CODE);
    for (name, code) in rules {
        files = files.rule(name, code);
    }
    files.engine_with(|settings| settings.native = native).await
}

pub(crate) fn first_difference(
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
