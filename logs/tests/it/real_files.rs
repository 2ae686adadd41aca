//! Real CloudTrail files, from the folder that the environment variable `PANTHER_SAMPLES` names (`cloudtrail-stratus/*.json.gz`). Without
//! it the tests are skipped.

use std::{fs::File, path::PathBuf};

use panther_logs::{Limits, ObjectReader, Outcome};

use crate::{classifier, context};

#[test]
fn every_real_record_becomes_an_event() {
    let Some(folder) = std::env::var_os("PANTHER_SAMPLES") else {
        eprintln!("skipped: PANTHER_SAMPLES names no folder of samples");
        return;
    };
    let folder = PathBuf::from(folder).join("cloudtrail-stratus");
    let mut events = 0;
    let mut files = 0;
    for entry in std::fs::read_dir(&folder).unwrap() {
        let path = entry.unwrap().path();
        if path.extension().is_none_or(|extension| extension != "gz") {
            continue;
        }
        files += 1;
        let mut classifier = classifier(&["Okta.SystemLog", "AWS.CloudTrail", "AWS.VPCFlow"]);
        let mut whole: Vec<u8> = Vec::new();
        std::io::Read::read_to_end(
            &mut flate2::read::GzDecoder::new(File::open(&path).unwrap()),
            &mut whole,
        )
        .unwrap();
        let whole: serde_json::Value = serde_json::from_slice(&whole).unwrap();
        let originals = whole["Records"].as_array().unwrap();
        let mut read = 0;
        for record in ObjectReader::new(
            path.to_string_lossy(),
            File::open(&path).unwrap(),
            Limits::default(),
        ) {
            let record = record.unwrap();
            let Outcome::Events(made) = classifier.classify(&record, &context()) else {
                panic!("{}: record {} is no event", path.display(), record.number);
            };
            assert_eq!(made.len(), 1);
            assert_eq!(&*made[0].log_type, "AWS.CloudTrail");
            let mut event: serde_json::Value = serde_json::from_slice(&made[0].json).unwrap();
            let mut original = originals[read].clone();
            let object = event.as_object_mut().unwrap();
            object.retain(|name, _| !name.starts_with("p_"));
            // only declared timestamps are rewritten
            let time = object["eventTime"]
                .as_str()
                .unwrap()
                .replace(' ', "T")
                .replace(".000000000", "Z");
            object["eventTime"] = time.into();
            assert_eq!(event, original.take());
            read += 1;
        }
        assert_eq!(read, originals.len());
        events += read;
        let tally = classifier.tally();
        assert_eq!(
            (
                tally.records,
                tally.classified,
                tally.unclassified,
                tally.filtered
            ),
            (read as u64, read as u64, 0, 0)
        );
    }
    assert_eq!((files, events), (55, 2_900));
}
