//! Every byte of an object is accounted for, and a bad line causes no loss of other lines.

use panther_logs::{Limits, ObjectError, ObjectReader};
use proptest::prelude::*;

use crate::{read, texts};

/// Building blocks of test objects, from valid to broken ones.
fn piece() -> impl Strategy<Value = String> {
    prop_oneof![
        Just("{\"Records\":[".to_owned()),
        Just("{\n".to_owned()),
        Just("[{\"a\":1},\n".to_owned()),
        Just("{\"a\":1}".to_owned()),
        Just("]}".to_owned()),
        Just("\n".to_owned()),
        Just("\0".repeat(20)),
        Just("\u{feff}".to_owned()),
        Just("1.2.3.4 - - [x] \"GET\"\n".to_owned()),
        "[\\[\\]{}\",:\\\\ \n\t\rt1a]{0,12}",
        "[ -~]{0,20}",
    ]
}

/// True for text that may separate records: white space, byte order marks, and the syntax around the records of an array.
fn is_structure(mut text: &[u8]) -> bool {
    while !text.is_empty() {
        let marks: [&[u8]; 4] = [b"\xef\xbb\xbf", b"\x1e", b"\"Records\"", b"\"records\""];
        if let Some(rest) = marks.iter().find_map(|mark| text.strip_prefix(*mark)) {
            text = rest;
        } else if b" \t\r\n\x0c{}[],:".contains(&text[0]) {
            text = &text[1..];
        } else {
            return false;
        }
    }
    true
}

fn good_line(kind: usize, number: usize) -> String {
    match kind {
        0 => format!(
            "198.51.100.{number} - - [02/Jan/2026:03:04:05 +0000] \"GET / HTTP/1.1\" 200 1 \"-\" \"x\""
        ),
        1 => format!("{{\"ts\":{number},\"l\":[{{\"a\":\"}}\"}}]}}"),
        2 => format!("\"{number}\",\"quoted\",\"csv\""),
        3 => format!("<34>1 2026-01-02T03:04:05Z host app - - - {number}"),
        _ => format!("2 123456789012 eni-{number} 10.0.0.1 10.0.0.2 1 2 6 1 1 1 2 ACCEPT OK"),
    }
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(2_000))]

    #[test]
    fn every_byte_is_of_one_record_or_structure(pieces in prop::collection::vec(piece(), 1..12)) {
        let text = pieces.concat();
        let small = Limits { record_bytes: 200, head_bytes: 20, ..Limits::default() };
        for limits in [Limits::default(), small] {
            let mut reader = ObjectReader::new("object", text.as_bytes(), limits);
            let mut owner = vec![0u64; text.len()];
            loop {
                let record = match reader.next_record() {
                    Ok(Some(record)) => record,
                    Ok(None) => break,
                    Err(ObjectError::Empty { .. } | ObjectError::NotText { .. }) => return Ok(()),
                    Err(error) => return Err(TestCaseError::fail(error.to_string())),
                };
                let (from, to) = (record.offset as usize, (record.offset + record.length) as usize);
                prop_assert!(to <= text.len(), "{:?}", record);
                for byte in &mut owner[from..to] {
                    prop_assert_eq!(*byte, 0, "a byte of two records: {:?}", record);
                    *byte = record.number;
                }
                if record.length == record.raw.len() as u64 {
                    prop_assert_eq!(&record.raw[..], &text.as_bytes()[from..to]);
                }
            }
            let free: Vec<u8> = text
                .bytes()
                .zip(&owner)
                .filter(|(_, owner)| **owner == 0)
                .map(|(byte, _)| byte)
                .collect();
            let count = reader.bytes();
            prop_assert_eq!(count.total, text.len() as u64);
            prop_assert_eq!(count.structure, free.len() as u64);
            prop_assert_eq!(count.records + count.structure, count.total);
            prop_assert!(is_structure(&free), "{:?} belongs to no record", String::from_utf8_lossy(&free));
        }
    }

    #[test]
    fn a_bad_line_costs_no_other_line(
        bad in prop::collection::vec((piece(), piece(), piece()), 1..4),
        kind in 0usize..5,
    ) {
        let good: Vec<String> = (0..3 * bad.len()).map(|number| good_line(kind, number)).collect();
        let mut text = String::new();
        for (number, (one, two, three)) in bad.iter().enumerate() {
            text.push_str(&format!("{}\n{}\n", good[3 * number], good[3 * number + 1]));
            // a line end within it would make two bad lines, and the second one could begin in any form
            let line = format!("{one}{two}{three}").replace(['\n', '\0'], "");
            text.push_str(&format!("{line}\n{}\n", good[3 * number + 2]));
        }
        let (records, error) = read(text.as_bytes());
        prop_assert!(error.is_none());
        let whole: Vec<&str> = records
            .iter()
            .filter(|record| record.defect.is_none())
            .map(|record| std::str::from_utf8(&record.raw).unwrap())
            .collect();
        for line in good {
            prop_assert_eq!(
                whole.iter().filter(|text| **text == line).count(),
                1,
                "{} of {:?}",
                line,
                texts(&records)
            );
        }
    }
}

#[test]
fn a_line_that_opens_a_wrapper_costs_nothing_behind_it() {
    for bad in [
        r#"{"Records":[{"a":1}]"#,
        r#"{"Records":[]"#,
        r#"{"Records":["#,
        r#"{"Records":[{"a":["#,
        r#"{"Records":[{"a":1}],"x":["#,
        "{",
        "[{",
        "[",
        r#"[{"a":1},"#,
        r#"{"Records":["\"#,
    ] {
        for kind in 0..5 {
            let good: Vec<String> = (0..100).map(|number| good_line(kind, number)).collect();
            let (records, error) = read(format!("{bad}\n{}\n", good.join("\n")).as_bytes());
            assert!(error.is_none());
            let texts = texts(&records);
            let whole = texts
                .iter()
                .filter(|text| good.iter().any(|line| line == *text))
                .count();
            assert_eq!(whole, 100, "{bad} before {}", good[0]);
            assert!(texts.len() > 100, "{bad} is counted");
        }
    }
}
