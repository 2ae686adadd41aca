//! Tests of the library's public interface.
#![allow(missing_docs, clippy::unwrap_used, clippy::panic)]

mod accounting;
mod bad_input;
mod classification;
mod forms;
mod hostile;
mod log_types;
mod objects;
mod real_files;
mod samples;
mod schemas;
mod transformations;

use panther_logs::{
    Classifier, EventContext, Limits, LogTypes, ObjectReader, Outcome, Record, Timestamp,
};
use serde_json::Value;

/// 2026-01-01 00:00:00.
pub const PARSE_TIME: i64 = 1_767_225_600;

pub fn context() -> EventContext {
    EventContext::new(
        "source-1",
        "Source One",
        "object-1",
        Timestamp::from_unix(PARSE_TIME, 0).unwrap(),
    )
}

pub fn classifier(log_types: &[&str]) -> Classifier {
    Classifier::new(&LogTypes::builtin(), log_types).unwrap()
}

pub fn record(number: u64, text: &str) -> Record {
    Record {
        number,
        offset: 0,
        length: text.len() as u64,
        raw: text.as_bytes().to_vec(),
        defect: None,
        filter: None,
    }
}

/// The records of an object, and the error that ended the iteration.
pub fn read(bytes: &[u8]) -> (Vec<Record>, Option<panther_logs::ObjectError>) {
    read_with(bytes, Limits::default())
}

pub fn read_with(bytes: &[u8], limits: Limits) -> (Vec<Record>, Option<panther_logs::ObjectError>) {
    let mut records = Vec::new();
    for result in ObjectReader::new("object", bytes, limits) {
        match result {
            Ok(record) => records.push(record),
            Err(error) => return (records, Some(error)),
        }
    }
    (records, None)
}

pub fn texts(records: &[Record]) -> Vec<&str> {
    records
        .iter()
        .map(|record| std::str::from_utf8(&record.raw).unwrap())
        .collect()
}

/// The events of `outcome`. Fails if there is no event.
pub fn events(outcome: Outcome) -> Vec<Value> {
    match outcome {
        Outcome::Events(events) | Outcome::Joined(events) => events
            .iter()
            .map(|event| serde_json::from_slice(&event.json).unwrap())
            .collect(),
        other => panic!("no events: {other:?}"),
    }
}

/// The reasons of `outcome`. Fails if there is no reason.
pub fn reasons(outcome: Outcome) -> Vec<String> {
    match outcome {
        Outcome::Unclassified { reasons } => reasons
            .into_iter()
            .map(|rejection| rejection.reason)
            .collect(),
        other => panic!("not unclassified: {other:?}"),
    }
}

pub fn gzip(bytes: &[u8]) -> Vec<u8> {
    use std::io::Write;
    let mut encoder = flate2::write::GzEncoder::new(Vec::new(), flate2::Compression::fast());
    encoder.write_all(bytes).unwrap();
    encoder.finish().unwrap()
}

pub fn zstd(bytes: &[u8]) -> Vec<u8> {
    ruzstd::encoding::compress_to_vec(bytes, ruzstd::encoding::CompressionLevel::Fastest)
}
