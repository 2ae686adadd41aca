//! Objects of every supported format are split into their records.

use panther_logs::{Defect, ObjectReader};

use crate::{gzip, read, texts, zstd};

#[test]
fn lines_with_either_line_end_and_without_a_last_one() {
    let (records, error) = read(b"one\r\n\ntwo\nthree");
    assert!(error.is_none());
    assert_eq!(texts(&records), ["one", "", "two", "three"]);
    assert_eq!(
        records
            .iter()
            .map(|record| record.number)
            .collect::<Vec<_>>(),
        [1, 2, 3, 4]
    );
}

#[test]
fn gzip_is_known_by_content_and_its_members_follow_each_other() {
    let mut bytes = gzip(b"one\ntw");
    bytes.extend(gzip(b"o\n"));
    let (records, error) = read(&bytes);
    assert!(error.is_none());
    assert_eq!(texts(&records), ["one", "two"]);
    let plain = ObjectReader::new("plain.gz", b"one\n".as_slice(), Default::default());
    assert_eq!(
        plain.map(|record| record.unwrap().raw).collect::<Vec<_>>(),
        [b"one"]
    );
}

#[test]
fn elements_of_arrays_and_of_records() {
    let elements = [r#"{"a":[1,{"b":"],}"}]}"#, r#"{"c":"\"]\\"}"#];
    for (text, what) in [
        (format!("[{},{}]", elements[0], elements[1]), "array"),
        (
            format!("[\n  {},\n  {}\n]\n", elements[0], elements[1]),
            "array over lines",
        ),
        (
            format!("{{\"Records\":[{},{}]}}", elements[0], elements[1]),
            "Records",
        ),
        (
            format!("{{\n\"records\": [{}\n,{}]\n}}", elements[0], elements[1]),
            "records over lines, a comma before the second",
        ),
        (
            format!(
                "\u{feff}{{\n\"Records\":\n[\n{},\n{}\n]\n}}\n",
                elements[0], elements[1]
            ),
            "Records over lines, behind a byte order mark",
        ),
    ] {
        let (records, error) = read(text.as_bytes());
        assert!(error.is_none(), "{what}");
        assert_eq!(texts(&records), elements, "{what}");
    }
}

#[test]
fn members_behind_an_array_are_a_record_too() {
    for (members, filtered) in [
        (r#","next":{"token":"t"},"n":[1,2],"x":null"#, true),
        (r#","event":{"a":1}"#, false),
        (r#","more":[{"a":1}]"#, false),
        (r#" "x": 1"#, false),
        (" text", false),
    ] {
        let text = format!("{{\"Records\":[{{\"a\":1}}]{members}}}\nnext");
        let (records, error) = read(text.as_bytes());
        assert!(error.is_none());
        assert_eq!(texts(&records), ["{\"a\":1}", members.trim(), "next"]);
        assert_eq!(records[1].filter.is_some(), filtered, "{members}");
        assert_eq!(records[1].defect.is_some(), !filtered, "{members}");
    }
}

#[test]
fn values_without_a_line_end_between_them() {
    let text = concat!(
        "{\"a\":1}{\"b\":\"}{\"} {\"c\":tru}{\"d\":4}\n",
        "{\"e\":5}{\n \"f\": 6\n}\n",
        "{\"Records\":[{\"g\":7}]}{\"Records\":[{\"h\":8}]}"
    );
    let (records, error) = read(text.as_bytes());
    assert!(error.is_none());
    assert_eq!(
        texts(&records),
        [
            r#"{"a":1}"#,
            r#"{"b":"}{"}"#,
            r#"{"c":tru}"#,
            r#"{"d":4}"#,
            r#"{"e":5}"#,
            "{\n \"f\": 6\n}",
            r#"{"g":7}"#,
            r#"{"h":8}"#
        ]
    );
    // text that only resembles concatenated JSON values is one record
    let (records, _) = read(b"{main}{worker} started\n{\"a\":1} trailing\n");
    assert_eq!(
        texts(&records),
        ["{main}{worker} started", "{\"a\":1} trailing"]
    );
    // concatenated values have no line end at all, in a delivery of any length
    let value = format!("{{\"a\":\"{}\"}}", "x".repeat(1_000));
    let (records, error) = read(value.repeat(10_000).as_bytes());
    assert!(error.is_none());
    assert_eq!(records.len(), 10_000);
    assert!(records.iter().all(|record| record.raw == value.as_bytes()));
}

#[test]
fn messages_of_a_log_subscription_are_records() {
    let text = concat!(
        r#"{"messageType":"CONTROL_MESSAGE","owner":"C","logGroup":"","logStream":"","subscriptionFilters":[],"#,
        r#""logEvents":[{"id":"","timestamp":1,"message":"CWL CONTROL MESSAGE"}]}"#,
        r#"{"messageType":"DATA_MESSAGE","owner":"1","logGroup":"g","logStream":"s","subscriptionFilters":["f"],"#,
        r#""logEvents":[{"id":"1","timestamp":1,"message":"{\"a\":\"\u00e9\"}\n"},{"id":"2","timestamp":2,"message":"plain"}]}"#
    );
    let (records, error) = read(text.as_bytes());
    assert!(error.is_none());
    assert!(records[0].filter.is_some());
    assert_eq!(texts(&records[1..]), ["{\"a\":\"\u{e9}\"}", "plain"]);
}

#[test]
fn a_page_of_a_list_gives_its_elements() {
    let text = concat!(
        "{\"kind\":\"admin#reports#activities\",\"etag\":\"e\",\"items\":[{\"a\":1},{\"b\":2}]}\n",
        "{\n  \"items\": [\n    {\"c\": 3}\n  ],\n  \"nextPageToken\": \"t\"\n}\n",
        "{\"items\":[{\"sku\":1}],\"customer\":\"c\"}\n"
    );
    let (records, error) = read(text.as_bytes());
    assert!(error.is_none());
    assert_eq!(
        texts(&records),
        [
            r#"{"a":1}"#,
            r#"{"b":2}"#,
            r#"{"c": 3}"#,
            r#"{"items":[{"sku":1}],"customer":"c"}"#
        ]
    );
}

#[test]
fn zstd_is_known_by_content_and_its_frames_follow_each_other() {
    let mut bytes = vec![0x50, 0x2a, 0x4d, 0x18, 3, 0, 0, 0, 1, 2, 3];
    bytes.extend(zstd(b"one\ntw"));
    bytes.extend(zstd(b"o\n"));
    let (records, error) = read(&bytes);
    assert!(error.is_none());
    assert_eq!(texts(&records), ["one", "two"]);
}

#[test]
fn arrays_and_lines_by_turns() {
    let (records, error) = read(
        b"{\"Records\":[{\"a\":1},{\"a\":2}]}\n{\"a\":3}\n[{\"a\":4}]\nline\n[2026-01-01] text\n",
    );
    assert!(error.is_none());
    assert_eq!(
        texts(&records),
        [
            r#"{"a":1}"#,
            r#"{"a":2}"#,
            r#"{"a":3}"#,
            r#"{"a":4}"#,
            "line",
            "[2026-01-01] text"
        ]
    );
    assert_eq!(records[5].number, 6);
}

#[test]
fn documents_over_several_lines() {
    let (records, error) =
        read(b"{\n  \"a\": {\n    \"b\": [1]\n  }\n}\n{\n  \"a\": 2\n}\nplain\n");
    assert!(error.is_none());
    assert_eq!(
        texts(&records),
        [
            "{\n  \"a\": {\n    \"b\": [1]\n  }\n}",
            "{\n  \"a\": 2\n}",
            "plain"
        ]
    );
}

#[test]
fn an_empty_array_has_no_records() {
    for text in ["[]", "[ ]\n", "{\"Records\":[]}", "{\"Records\": [ ] }\n"] {
        let (records, error) = read(text.as_bytes());
        assert!(records.is_empty() && error.is_none(), "{text}");
    }
}

#[test]
fn records_do_not_depend_on_how_the_bytes_arrive() {
    /// A reader that returns one byte at a time.
    struct Trickle<'a>(&'a [u8]);
    impl std::io::Read for Trickle<'_> {
        fn read(&mut self, buffer: &mut [u8]) -> std::io::Result<usize> {
            let count = self.0.len().min(buffer.len()).min(1);
            buffer[..count].copy_from_slice(&self.0[..count]);
            self.0 = &self.0[count..];
            Ok(count)
        }
    }
    let large = "x".repeat(100_000);
    let text = format!(
        "{{\"Records\":[{{\"a\":\"{large}\"}},{{\"b\":\"\\\"\"}}]}}\n{large}\n{{\n\"c\":\"{large}\"\n}}\nend"
    );
    let (whole, error) = read(text.as_bytes());
    assert!(error.is_none());
    assert_eq!(whole.len(), 5);
    let trickled: Vec<_> =
        ObjectReader::new("object", Trickle(text.as_bytes()), Default::default())
            .map(Result::unwrap)
            .collect();
    assert_eq!(whole, trickled);
}

#[test]
fn a_broken_document_leaves_its_neighbours_alone() {
    let (records, error) = read(b"{\n  \"a\": 1,\n{\"b\":2}\n{\"c\":\"open\n{\"d\":4}\n");
    assert!(error.is_none());
    assert_eq!(
        texts(&records),
        ["{\n  \"a\": 1,", "{\"b\":2}", "{\"c\":\"open", "{\"d\":4}"]
    );
    assert_eq!(records[0].defect, Some(Defect::Cut));
}

#[test]
fn an_element_that_is_no_object_leaves_its_neighbours_alone_wherever_it_stands() {
    for stray in ["null", "5", "\"text, with ] and ,\"", "true", "-1.5e3"] {
        for between in ["", "\n", "\n  ", "\r\n"] {
            for (head, tail) in [("[", "]"), ("{\"Records\":[", "]}")] {
                let text = [
                    head,
                    "{\"a\":1},",
                    stray,
                    ",{\"a\":2},{\"a\":3},",
                    stray,
                    tail,
                    "\n{\"a\":4}\n",
                ]
                .join(between);
                let (records, error) = read(text.as_bytes());
                assert!(error.is_none());
                let whole: Vec<&str> = texts(&records)
                    .into_iter()
                    .zip(&records)
                    .filter(|(_, record)| record.defect.is_none() && record.filter.is_none())
                    .map(|(text, _)| text.trim())
                    .filter(|text| !text.is_empty())
                    .collect();
                let expected = ["{\"a\":1}", "{\"a\":2}", "{\"a\":3}", "{\"a\":4}"];
                assert_eq!(whole, expected, "{text:?}");
                let strays = records.iter().filter(|record| record.defect.is_some());
                assert_eq!(strays.count(), 2, "{text:?}");
            }
        }
    }
    // A log line after an array that breaks off is not an element of the array.
    let (records, _) = read(b"[{\"a\":1},\nplain text line\n{\"a\":2}\n");
    assert_eq!(texts(&records).last(), Some(&"{\"a\":2}"));
    assert!(texts(&records).contains(&"plain text line"));
}

#[test]
fn a_missing_quote_in_an_array_ends_with_its_line() {
    let (records, error) = read(b"{\"Records\":[{\"a\":1},{\"b\":\"open},{\"c\":3}]}\n{\"d\":4}\n");
    assert!(error.is_none());
    assert_eq!(texts(&records)[0], "{\"a\":1}");
    assert_eq!(records[1].defect, Some(Defect::Cut));
    assert_eq!(texts(&records).last(), Some(&"{\"d\":4}"));
}
