//! The key-value store as rules in Python see it: what is there, what they have written, and what comes of a store that fails.

use std::collections::BTreeSet;
use std::sync::Mutex;

use panther_detections::engine::EngineFault;
use panther_detections::key_value::{KeyValueRow, KeyValueView, ValueChange, ViewRead};

use crate::support::{Files, event, now};

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
        .filter(|change| change.change == ValueChange::Add { value: 1 })
        .count();
    assert_eq!(additions, 3);
    let names = BTreeSet::from(["b".to_owned()]);
    assert!(changes[2].1.iter().any(|change| change.key == "names"
        && change.change
            == ValueChange::Union {
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
