//! Parsing benchmarks. The baseline is `serde_json::Value` on the same bytes in the same run.
//!
//! `events` measures the whole path of a record: reading, classification among three log types, validation, standard fields, indicators,
//! encoding. `objects` measures the same path from the bytes of a gzip file. The records come from the CloudTrail files (`*.json.gz`) in
//! the folder that the environment variable `SAMPLES` names, or are generated if it is not set.
#![allow(missing_docs, clippy::unwrap_used)]

use std::{hint::black_box, io::Read, path::PathBuf};

use criterion::{Criterion, Throughput, criterion_group, criterion_main};
use panther_logs::{
    Classifier, EventContext, Limits, LogTypes, ObjectReader, Outcome, Record, Timestamp,
};

const LOG_TYPES: [&str; 3] = ["AWS.CloudTrail", "AWS.GuardDuty", "AWS.VPCFlow"];

fn cloudtrail_files() -> Vec<Vec<u8>> {
    if let Some(folder) = std::env::var_os("SAMPLES") {
        let folder = std::fs::read_dir(PathBuf::from(folder)).unwrap();
        let paths = folder
            .map(|entry| entry.unwrap().path())
            .filter(|path| path.extension().is_some_and(|extension| extension == "gz"));
        return paths.map(|path| std::fs::read(path).unwrap()).collect();
    }
    let records: Vec<String> = (0..500)
        .map(|number| {
            format!(
                concat!(
                    r#"{{"eventVersion":"1.08","userIdentity":{{"type":"AssumedRole","principalId":"AROA{number}:session","#,
                    r#""arn":"arn:aws:sts::123456789012:assumed-role/role-{number}/session","accountId":"123456789012","accessKeyId":"ASIA{number}","#,
                    r#""sessionContext":{{"sessionIssuer":{{"type":"Role","principalId":"AROA{number}","arn":"arn:aws:iam::123456789012:role/role-{number}","#,
                    r#""accountId":"123456789012","userName":"role-{number}"}},"attributes":{{"creationDate":"2026-01-01T00:00:00Z","mfaAuthenticated":"false"}}}}}},"#,
                    r#""eventTime":"2026-01-01T00:00:{second:02}Z","eventSource":"ec2.amazonaws.com","eventName":"DescribeInstances","awsRegion":"us-east-1","#,
                    r#""sourceIPAddress":"198.51.100.{second}","userAgent":"aws-cli/2.0 Python/3.11","requestParameters":{{"instancesSet":{{"items":[{{"instanceId":"i-{number:08x}"}}]}},"filterSet":{{}}}},"#,
                    r#""responseElements":null,"requestID":"r-{number}","eventID":"e-{number}","readOnly":true,"eventType":"AwsApiCall","managementEvent":true,"recipientAccountId":"123456789012","eventCategory":"Management"}}"#
                ),
                number = number,
                second = number % 60
            )
        })
        .collect();
    vec![gzip(
        format!("{{\"Records\":[{}]}}", records.join(",")).as_bytes(),
    )]
}

fn gzip(bytes: &[u8]) -> Vec<u8> {
    let mut compressed = Vec::new();
    flate2::read::GzEncoder::new(bytes, flate2::Compression::default())
        .read_to_end(&mut compressed)
        .unwrap();
    compressed
}

fn nginx_lines() -> Vec<Record> {
    (0..2_000u64)
        .map(|number| Record {
            number,
            offset: 0,
            length: 0,
            filter: None,
            raw: format!(
                r#"198.51.100.{} - - [02/Jan/2026:03:04:{:02} +0000] "GET /index.html?q={number} HTTP/1.1" 200 {} "https://example.com/" "Mozilla/5.0 (X11; Linux x86_64)""#,
                number % 250,
                number % 60,
                number * 7
            )
            .into_bytes(),
            defect: None,
        })
        .collect()
}

fn classify_all(
    known: &LogTypes,
    log_types: &[&str],
    records: &[Record],
    context: &EventContext,
) -> usize {
    let mut classifier = Classifier::new(known, log_types).unwrap();
    records
        .iter()
        .map(|record| match classifier.classify(record, context) {
            Outcome::Events(events) => events.iter().map(|event| event.json.len()).sum(),
            _ => 0,
        })
        .sum()
}

fn parse(criterion: &mut Criterion) {
    let known = LogTypes::builtin();
    let context = EventContext::new(
        "source",
        "Source",
        "object",
        Timestamp::from_unix(1_767_225_600, 0).unwrap(),
    );
    let files = cloudtrail_files();
    let records: Vec<Record> = files
        .iter()
        .flat_map(|file| {
            ObjectReader::new("object", file.as_slice(), Limits::default())
                .map(|record| record.unwrap())
        })
        .collect();
    let bytes: usize = records.iter().map(|record| record.raw.len()).sum();

    let mut group = criterion.benchmark_group("cloudtrail");
    group.throughput(Throughput::Bytes(bytes as u64));
    group.bench_function("serde_json::Value", |bencher| {
        bencher.iter(|| {
            for record in &records {
                black_box(serde_json::from_slice::<serde_json::Value>(&record.raw).unwrap());
            }
        });
    });
    group.bench_function("events", |bencher| {
        bencher.iter(|| black_box(classify_all(&known, &LOG_TYPES, &records, &context)))
    });
    group.bench_function("objects", |bencher| {
        bencher.iter(|| {
            for file in &files {
                let mut classifier = Classifier::new(&known, &LOG_TYPES).unwrap();
                for record in ObjectReader::new("object", file.as_slice(), Limits::default()) {
                    black_box(classifier.classify(&record.unwrap(), &context));
                }
            }
        });
    });
    group.bench_function("objects, gunzip only", |bencher| {
        bencher.iter(|| {
            for file in &files {
                let mut bytes = Vec::new();
                flate2::read::MultiGzDecoder::new(file.as_slice())
                    .read_to_end(&mut bytes)
                    .unwrap();
                black_box(bytes);
            }
        });
    });
    group.finish();

    let lines = nginx_lines();
    let mut group = criterion.benchmark_group("nginx");
    group.throughput(Throughput::Bytes(
        lines.iter().map(|record| record.raw.len() as u64).sum(),
    ));
    group.bench_function("events", |bencher| {
        bencher.iter(|| black_box(classify_all(&known, &["Nginx.Access"], &lines, &context)))
    });
    group.finish();
}

criterion_group!(benches, parse);
criterion_main!(benches);
