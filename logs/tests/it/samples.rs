//! A sample of each log type: a record in its vendor's format, with the event time and the indicators that must come of it. One file per log type,
//! in `tests/samples/`, named after it.

use std::{collections::BTreeMap, path::Path};

use panther_logs::{LogTypes, Outcome};
use serde_json::{Map, Value};

use crate::{classifier, context, events, record};

/// A file in `tests/samples/`.
#[derive(serde::Deserialize)]
#[serde(deny_unknown_fields)]
struct Sample {
    /// The line before the record that names its columns.
    header: Option<String>,
    record: String,
    event_time: String,
    indicators: Map<String, Value>,
}

impl Sample {
    /// What a source with these log types makes of the record.
    fn classified_by(&self, log_types: &[&str]) -> Outcome {
        let mut classifier = classifier(log_types);
        if let Some(header) = &self.header {
            classifier.classify(&record(0, header), &context());
        }
        classifier.classify(&record(1, &self.record), &context())
    }
}

/// The samples, by log type.
fn samples() -> BTreeMap<String, Sample> {
    let folder = Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/samples");
    std::fs::read_dir(folder)
        .unwrap()
        .map(|entry| {
            let path = entry.unwrap().path();
            let log_type = path.file_stem().unwrap().to_str().unwrap();
            let text = std::fs::read_to_string(&path).unwrap();
            let sample =
                serde_saphyr::from_str(&text).unwrap_or_else(|error| panic!("{log_type}: {error}"));
            (log_type.to_string(), sample)
        })
        .collect()
}

/// A log type, and another one that also takes its records: both read one format of the vendor, and a source lists the one that its rules need.
const SHARED: [(&str, &str); 3] = [
    ("Apache.AccessCombined", "Nginx.Access"),
    ("GSuite.Reports", "GSuite.ActivityEvent"),
    // A group has the events of its organisations too.
    ("Snyk.OrgAudit", "Snyk.GroupAudit"),
];

/// True if `other` also takes the records of `log_type`, and should.
fn is_shared(log_type: &str, other: &str) -> bool {
    // FDREvent has the events of all other log types of the Falcon Data Replicator.
    let falcon =
        |name: &str| name.starts_with("Crowdstrike.") && name != "Crowdstrike.EventStreams";
    let all = "Crowdstrike.FDREvent";
    SHARED.contains(&(log_type, other))
        || (other != log_type
            && falcon(log_type)
            && falcon(other)
            && (log_type == all || other == all))
}

/// A source can have log types of several vendors, so a log type must not match records of another one.
#[test]
fn no_log_type_takes_the_records_of_another() {
    let known = LogTypes::builtin();
    let mut wrong = Vec::new();
    for (log_type, sample) in samples() {
        let mut names: Vec<&str> = known
            .names()
            .map(|name| &**name)
            .filter(|name| !is_shared(&log_type, name))
            .collect();
        for other in names.iter().filter(|name| **name != log_type) {
            if let Outcome::Events(_) = sample.classified_by(&[other]) {
                wrong.push(format!("{other} takes the record of {log_type}"));
            }
        }
        for _ in 0..2 {
            let chosen = &events(sample.classified_by(&names))[0]["p_log_type"];
            if *chosen != *log_type {
                wrong.push(format!("{chosen} is preferred to {log_type}"));
            }
            names.reverse();
        }
    }
    assert!(wrong.is_empty(), "{}", wrong.join("\n"));
}

#[test]
fn each_log_type_takes_its_vendors_form() {
    let samples = samples();
    for (log_type, sample) in &samples {
        let outcome = sample.classified_by(&[log_type]);
        assert!(
            matches!(outcome, Outcome::Events(_)),
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
    }
    assert!(samples.len() >= 18, "{} samples", samples.len());
}
