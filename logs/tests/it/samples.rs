//! A sample of each log type: a record in its vendor's format, with the event time and the indicators that must come of it. One file per log type,
//! in `tests/samples/`, named after it.

use std::path::Path;

use panther_logs::LogTypes;
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

/// All samples, with the names of their log types.
fn samples() -> Vec<(String, Sample)> {
    let folder = Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/samples");
    let entries = std::fs::read_dir(folder).unwrap();
    let paths = entries.map(|entry| entry.unwrap().path());
    paths
        .map(|path| {
            let text = std::fs::read_to_string(&path).unwrap();
            (
                path.file_stem().unwrap().to_str().unwrap().into(),
                serde_saphyr::from_str(&text).unwrap(),
            )
        })
        .collect()
}

#[test]
fn each_log_type_takes_its_vendors_form() {
    let mut seen = 0;
    for (log_type, sample) in samples() {
        let log_type = log_type.as_str();
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

/// Log types that take the sample of another one without a misfit, because both describe the same records. A source lists one of them.
const SAME_RECORDS: &[(&str, &str)] = &[
    // the combined format of Apache is the default format of nginx
    ("Nginx.Access", "Apache.AccessCombined"),
    // one gives an event for each activity, the other for each event of an activity
    ("GSuite.ActivityEvent", "GSuite.Reports"),
    // a group has the events of its organisations too
    ("Snyk.GroupAudit", "Snyk.OrgAudit"),
];

#[test]
fn no_other_log_type_is_preferred_for_a_vendors_form() {
    let known = LogTypes::builtin();
    let mut wrong = Vec::new();
    for (own, sample) in samples() {
        for other in known.names().filter(|name| ***name != *own) {
            // the first of two equal log types wins, so the other one stands first
            let outcome =
                classifier(&[&**other, &own]).classify(&record(1, &sample.record), &context());
            let preferred = events(outcome)[0]["p_log_type"].clone();
            let is_same = SAME_RECORDS.contains(&(&**other, &own));
            if (preferred != *own) != is_same {
                wrong.push(format!("{own}: {preferred} of {other}"));
            }
        }
    }
    assert!(wrong.is_empty(), "{wrong:#?}");
}
