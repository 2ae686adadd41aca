//! Objects come apart into the records that they hold, whatever their form.

use panther_logs::{Defect, ObjectReader};

use crate::{gzip, read, texts};

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
            format!(
                "{{ \"Records\" : [ {} , {} ] , \"x\": {{\"y\":[\"]\"]}} }}\n",
                elements[0], elements[1]
            ),
            "Records with more behind",
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
    /// Gives one byte at a time.
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
fn a_missing_quote_in_an_array_ends_with_its_line() {
    let (records, error) = read(b"{\"Records\":[{\"a\":1},{\"b\":\"open},{\"c\":3}]}\n{\"d\":4}\n");
    assert!(error.is_none());
    assert_eq!(texts(&records)[0], "{\"a\":1}");
    assert_eq!(records[1].defect, Some(Defect::Cut));
    assert_eq!(texts(&records).last(), Some(&"{\"d\":4}"));
}
