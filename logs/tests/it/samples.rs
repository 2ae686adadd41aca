//! A sample of each log type: a record in its vendor's format, with the event time and the indicators that must come of it. One file per log type,
//! in `tests/samples/`, named after it.

use std::path::Path;

use serde_json::{Map, Value};

use crate::{classifier, context, events, record};

/// A file in `tests/samples/`.
#[derive(serde::Deserialize)]
#[serde(deny_unknown_fields)]
struct Sample {
    record: String,
    event_time: String,
    indicators: Map<String, Value>,
}

#[test]
fn each_log_type_takes_its_vendors_form() {
    let folder = Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/samples");
    let mut seen = 0;
    for entry in std::fs::read_dir(folder).unwrap() {
        let path = entry.unwrap().path();
        let log_type = path.file_stem().unwrap().to_str().unwrap();
        let text = std::fs::read_to_string(&path).unwrap();
        let sample: Sample = serde_saphyr::from_str(&text).unwrap();
        let outcome = classifier(&[log_type]).classify(&record(1, &sample.record), &context());
        assert!(
            matches!(outcome, panther_logs::Outcome::Events(_)),
            "{log_type}: {outcome:?}"
        );
        let event = &events(outcome)[0];
        assert_eq!(event["p_event_time"], sample.event_time, "{log_type}");
        let found: Map<String, Value> = event
            .as_object()
            .unwrap()
            .iter()
            .filter(|(name, _)| name.starts_with("p_any_"))
            .map(|(name, list)| (name.clone(), list.clone()))
            .collect();
        assert_eq!(found, sample.indicators, "{log_type}");
        seen += 1;
    }
    assert!(seen >= 18, "{seen} samples");
}
