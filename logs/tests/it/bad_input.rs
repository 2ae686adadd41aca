//! Bad input: each kind is reported with its reason, and does not affect its neighbours.

use std::io::{self, Read};

use panther_logs::{Defect, Filter, Limits, ObjectError, ObjectReader, Outcome};

use crate::{classifier, context, gzip, read, read_with, reasons, record, texts, zstd};

const GOOD: &str = r#"{"ts":1591367999.5,"uid":"C1","id.orig_h":"10.0.0.1","id.orig_p":1,"id.resp_h":"10.0.0.2","id.resp_p":53,"proto":"udp"}"#;

/// For each record of `bytes`, whether it becomes an event.
fn outcomes(bytes: &[u8], limits: Limits) -> (Vec<bool>, Vec<String>) {
    let mut classifier = classifier(&["Zeek.DNS"]);
    let (records, error) = read_with(bytes, limits);
    assert!(error.is_none(), "{error:?}");
    let mut why = Vec::new();
    let good = records
        .iter()
        .map(|record| match classifier.classify(record, &context()) {
            Outcome::Events(_) => true,
            outcome => {
                why.extend(reasons(outcome));
                false
            }
        })
        .collect();
    let tally = classifier.tally();
    assert_eq!(
        tally.records,
        tally.classified + tally.filtered + tally.unclassified
    );
    (good, why)
}

#[test]
fn an_empty_object() {
    assert!(matches!(read(b"").1, Some(ObjectError::Empty { .. })));
    assert!(matches!(
        read(&gzip(b"")).1,
        Some(ObjectError::Empty { .. })
    ));
}

#[test]
fn neither_gzip_nor_text() {
    let noise: Vec<u8> = (0..5_000u32)
        .map(|number| (number.wrapping_mul(2_654_435_761) >> 13) as u8)
        .collect();
    for (bytes, found) in [
        (noise.as_slice(), "binary data"),
        (b"PK\x03\x04rest", "zip"),
        (b"Obj\x01rest", "Avro"),
        (b"PAR1rest", "Parquet"),
        (
            "\u{feff}text"
                .encode_utf16()
                .flat_map(u16::to_le_bytes)
                .collect::<Vec<u8>>()
                .as_slice(),
            "UTF-16",
        ),
    ] {
        let (records, error) = read(bytes);
        assert!(records.is_empty());
        let error = error.unwrap();
        assert!(
            matches!(error, ObjectError::NotText { .. }) && error.to_string().contains(found),
            "{error}"
        );
    }
    let error = ObjectReader::new("logs.json.gz", noise.as_slice(), Limits::default())
        .next()
        .unwrap()
        .unwrap_err();
    assert!(
        error.to_string().contains("though its name ends in .gz"),
        "{error}"
    );
}

#[test]
fn a_truncated_stream_gives_its_whole_lines_and_one_record_that_says_so() {
    let lines: String = (0..20_000)
        .map(|number| format!("line {number} {}\n", number * 7_919 % 10_007))
        .collect();
    for bytes in [gzip(lines.as_bytes()), zstd(lines.as_bytes())] {
        for cut in [bytes.len() - 1, bytes.len() - 8, bytes.len() - 1_000] {
            let (records, error) = read(&bytes[..cut]);
            assert!(error.is_none(), "{error:?}");
            assert!(records.len() > 1_000, "{} of {cut}", records.len());
            let (last, whole) = records.split_last().unwrap();
            assert!(
                whole
                    .iter()
                    .zip(lines.lines())
                    .all(|(record, line)| record.raw == line.as_bytes() && record.defect.is_none())
            );
            assert!(
                matches!(&last.defect, Some(Defect::Unreadable { reason }) if reason.contains("is truncated")),
                "{:?}",
                last.defect
            );
        }
        let (records, error) = read(&bytes[..7]);
        assert!(
            records.is_empty() && matches!(error, Some(ObjectError::Truncated { .. })),
            "{error:?}"
        );
    }
}

#[test]
fn a_damaged_stream_is_told_from_a_truncated_one() {
    let text = "some text to compress\n".repeat(10_000);
    let mut bytes = gzip(text.as_bytes());
    let middle = bytes.len() / 2;
    bytes[middle..middle + 20].fill(0xff);
    let (records, error) = read(&bytes);
    assert!(error.is_none());
    assert!(
        matches!(&records.last().unwrap().defect, Some(Defect::Unreadable { reason }) if reason.contains("is damaged"))
    );
    let damaged_from_its_beginning: Vec<u8> = gzip(b"some text")
        .into_iter()
        .take(10)
        .chain([0xff; 30])
        .collect();
    assert!(matches!(
        read(&damaged_from_its_beginning).1,
        Some(ObjectError::Corrupt { .. })
    ));
}

#[test]
fn bytes_behind_the_end_of_a_stream_are_one_record() {
    let mut bytes = gzip(b"one\ntwo\n");
    bytes.extend([0; 100]);
    let (records, error) = read(&bytes);
    assert!(error.is_none());
    assert_eq!(texts(&records[..2]), ["one", "two"]);
    assert!(records.len() == 3 && matches!(records[2].defect, Some(Defect::Unreadable { .. })));
}

#[test]
fn a_gzip_bomb_is_stopped_by_its_ratio_and_by_its_size() {
    let bomb = gzip(&vec![b'a'; 20 << 20]);
    let ratio = Limits {
        ratio_from_bytes: 1 << 20,
        ratio: 100,
        ..Limits::default()
    };
    let (_, error) = read_with(&bomb, ratio);
    assert!(
        matches!(error, Some(ObjectError::Bomb { bytes, .. }) if bytes < 10 << 20),
        "{error:?}"
    );
    let size = Limits {
        object_bytes: 1 << 20,
        ..Limits::default()
    };
    let (_, error) = read_with(&bomb, size);
    assert!(
        matches!(error, Some(ObjectError::TooLarge { .. })),
        "{error:?}"
    );
}

#[test]
fn a_line_of_100_mb_is_passed_over_and_its_head_kept() {
    let line = "x".repeat(100 << 20);
    let bytes = format!("{GOOD}\n{line}\n{GOOD}\n");
    let (records, error) = read(bytes.as_bytes());
    assert!(error.is_none());
    assert_eq!(records.len(), 3);
    assert_eq!(
        records[1].defect,
        Some(Defect::TooLong {
            bytes: 100 << 20,
            limit: 4 << 20
        })
    );
    assert_eq!(records[1].raw.len(), 64 << 10);
    assert!(records[1].raw.capacity() <= 128 << 10);
    assert_eq!(texts(&records)[2], GOOD);
}

#[test]
fn elements_that_are_too_long_are_passed_over() {
    let limits = Limits {
        record_bytes: 1_000,
        head_bytes: 100,
        ..Limits::default()
    };
    let bytes = format!(
        "{{\"Records\":[{GOOD},{{\"a\":\"{}\"}},{GOOD}]}}",
        "x".repeat(200_000)
    );
    let (good, why) = outcomes(bytes.as_bytes(), limits);
    assert_eq!(good, [true, false, true]);
    assert!(why[0].contains("more than the limit of 1000"), "{why:?}");
}

#[test]
fn nul_bytes_and_wrong_utf8_harm_their_own_line() {
    let mut bytes = format!("{GOOD}\n{{\"uid\":\"a\0b\"}}\n").into_bytes();
    bytes.extend_from_slice(b"{\"uid\":\"\xff\xfe\"}\n");
    bytes.extend_from_slice(GOOD.as_bytes());
    let (good, why) = outcomes(&bytes, Limits::default());
    assert_eq!(good, [true, false, false, true]);
    assert!(
        why[0].contains("NUL byte at byte 9") && why[1].contains("not UTF-8 from byte 8"),
        "{why:?}"
    );
}

#[test]
fn json_10_000_deep_overflows_nothing() {
    let deep = format!("{{\"uid\":{}1{}}}", "[".repeat(10_000), "]".repeat(10_000));
    let bytes = format!("{GOOD}\n{deep}\n{{\"Records\":[{deep},{GOOD}]}}\n");
    let (good, why) = outcomes(bytes.as_bytes(), Limits::default());
    assert_eq!(good, [true, false, false, true]);
    assert!(
        why.iter().all(|why| why.contains("nested deeper than 128")),
        "{why:?}"
    );
}

#[test]
fn an_array_without_end_gives_its_records_and_a_cut_one() {
    let (records, error) = read(br#"{"Records":[{"a":1},{"b":2}"#);
    assert!(error.is_none());
    assert_eq!(
        texts(&records),
        [r#"{"a":1}"#, r#"{"b":2}"#, r#"{"Records":["#]
    );
    assert_eq!(records[2].defect, Some(Defect::Cut));
    let (records, error) = read(br#"{"Records":[{"a":1},{"b":"#);
    assert!(error.is_none());
    assert_eq!(texts(&records), [r#"{"a":1}"#, r#"{"b":"#]);
    assert_eq!(records[1].defect, Some(Defect::Cut));
}

#[test]
fn a_hole_of_nuls_is_one_record_and_the_lines_behind_it_are_read() {
    for hole in [16, 200, 4_096, 300_000] {
        let mut bytes = vec![0; hole];
        bytes.extend_from_slice(b"one\nhalf");
        bytes.extend(vec![0; hole]);
        bytes.extend_from_slice(b"two\n");
        let (records, error) = read(&bytes);
        assert!(error.is_none(), "{error:?}");
        assert_eq!(
            records
                .iter()
                .map(|record| record.length)
                .collect::<Vec<_>>(),
            [hole as u64, 3, 4, hole as u64, 3]
        );
        assert_eq!(records[0].defect, Some(Defect::Hole { bytes: hole as u64 }));
        assert_eq!(
            (&*records[1].raw, &*records[4].raw),
            (&b"one"[..], &b"two"[..])
        );
        assert_eq!(records[2].defect, Some(Defect::Cut));
    }
}

#[test]
fn brackets_that_nothing_opened_do_not_stop_the_reader() {
    for text in [
        "[{\"a\":1}}]]]\nnext\n",
        "{\"Records\":[}{\"a\":1}]}\nnext\n",
        "[{]\nnext",
        "}\n]\nnext",
    ] {
        let (records, _) = read(text.as_bytes());
        assert!(records.len() < 10, "{text}");
    }
}

#[test]
fn a_failing_store_is_no_fault_of_the_object() {
    struct Failing;
    impl Read for Failing {
        fn read(&mut self, _: &mut [u8]) -> io::Result<usize> {
            Err(io::Error::other("the store is away"))
        }
    }
    let good = gzip(b"one\n");
    let half = good[..good.len() / 2].chain(Failing);
    let error = ObjectReader::new("object", half, Limits::default())
        .last()
        .unwrap()
        .unwrap_err();
    assert!(error.is_read_failure(), "{error}");
    assert!(!read(&good[..5]).1.unwrap().is_read_failure());
}

#[test]
fn blank_lines_are_counted() {
    let mut classifier = classifier(&["Zeek.DNS"]);
    assert_eq!(
        classifier.classify(&record(1, "  \t"), &context()),
        Outcome::Skipped(Filter::Blank)
    );
    assert_eq!(classifier.tally().filtered, 1);
}

/// 64 MiB of line ends compress to about ten kilobytes: they must not become millions of records.
#[test]
fn a_run_of_blank_lines_is_one_record() {
    let mut text = b"first\n".to_vec();
    text.extend(std::iter::repeat_n(b" \r\n\n", 100_000).flatten());
    text.extend(b"\n  last \n \n{\n\"a\":\n\n1}\n\n");
    let (records, error) = read(&text);
    assert_eq!(error.map(|error| error.to_string()), None);
    let read: Vec<(u64, &[u8])> = records
        .iter()
        .map(|record| (record.number, record.raw.as_slice()))
        .collect();
    let expected: [(u64, &[u8]); 6] = [
        (1, b"first"),
        (2, b""),
        (3, b"  last "),
        (4, b""),
        (5, b"{\n\"a\":\n\n1}"),
        (6, b""),
    ];
    assert_eq!(read, expected);
}

#[test]
fn random_bytes_never_panic() {
    use proptest::prelude::*;
    let mut runner = proptest::test_runner::TestRunner::default();
    let bytes = prop_oneof![
        prop::collection::vec(any::<u8>(), 0..400),
        "[\\[\\]{}\",:\\\\ \nRecords1a]{0,200}".prop_map(String::into_bytes),
        "(\\{\"Records\":\\[)?[\\[\\]{}\",:\\\\ \n1a]{0,100}".prop_map(String::into_bytes),
    ];
    runner
        .run(&bytes, |bytes| {
            let mut classifier = classifier(&[
                "AWS.ALB",
                "AWS.CloudTrail",
                "AWS.S3ServerAccess",
                "AWS.VPCFlow",
                "GSuite.ActivityEvent",
                "Nginx.Access",
                "Syslog.RFC5424",
            ]);
            for bytes in [bytes.clone(), gzip(&bytes)] {
                let (records, _) = read(&bytes);
                prop_assert!(records.len() <= bytes.len() + 200);
                for record in records {
                    if let Outcome::Unclassified { reasons } =
                        classifier.classify(&record, &context())
                    {
                        prop_assert!(
                            reasons.iter().all(|rejection| !rejection
                                .reason
                                .contains("fault of the program"))
                        );
                    }
                }
            }
            Ok(())
        })
        .unwrap();
}
