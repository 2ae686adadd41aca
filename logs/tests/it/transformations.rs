//! Transformations of user-defined schemas: rename, copy, concat, split, mask and embedded JSON.

use panther_logs::{Classifier, LogTypes, Outcome};
use proptest::prelude::*;
use serde_json::{Value, json};

use crate::{context, events, reasons, record};

fn outcome(fields: &str, value: &str) -> Outcome {
    with_parser("", fields, value)
}

fn with_parser(parser: &str, fields: &str, line: &str) -> Outcome {
    let known = LogTypes::default()
        .with_schema(&format!("schema: Custom.T\n{parser}\nfields:\n{fields}"))
        .unwrap_or_else(|error| panic!("{error}"));
    Classifier::new(&known, &["Custom.T"])
        .unwrap()
        .classify(&record(1, line), &context())
}

/// The event of a JSON record, without the fields that every event gets.
fn event(fields: &str, value: &Value) -> Value {
    let mut event = events(outcome(fields, &value.to_string())).remove(0);
    let members = event.as_object_mut().unwrap();
    members.retain(|name, _| !name.starts_with("p_") || name.starts_with("p_any_"));
    event
}

#[test]
fn a_renamed_field_loses_its_former_name() {
    let fields = "
  - {name: userId, type: string, required: true, rename: {from: PIN}, indicators: [username]}
  - name: actor
    type: object
    fields:
      - {name: ip, type: string, rename: {from: id.orig_h}, indicators: [ip]}
  - {name: all, type: array, element: {type: object, fields: [{name: a, type: int, rename: {from: '@a'}}]}}";
    assert_eq!(
        event(
            fields,
            &json!({"PIN": "x", "actor": {"id.orig_h": "192.0.2.1", "b": 1}, "all": [{"@a": 1}, {"a": 2}, null, 3], "more": [1]})
        ),
        json!({"userId": "x", "actor": {"ip": "192.0.2.1", "b": 1}, "all": [{"a": 1}, {"a": 2}, null, 3], "more": [1],
            "p_any_ip_addresses": ["192.0.2.1"], "p_any_usernames": ["x"]})
    );
    // both names: nothing is lost
    for record in [
        json!({"PIN": "x", "userId": "y"}),
        json!({"userId": "y", "PIN": "x"}),
    ] {
        assert_eq!(
            event(fields, &record),
            json!({"userId": "y", "PIN": "x", "p_any_usernames": ["y"]})
        );
    }
    for record in [
        r#"{"PIN":"x","userId":null}"#,
        r#"{"userId":null,"PIN":"x"}"#,
    ] {
        assert_eq!(events(outcome(fields, record))[0]["userId"], "x");
    }
    assert_eq!(
        reasons(outcome(fields, r#"{"PIN":null}"#)),
        ["userId: is required and missing"]
    );
}

#[test]
fn copies_come_from_any_depth() {
    let fields = "
  - {name: user, type: string, copy: {from: actor.user.name}, indicators: [username]}
  - {name: port, type: int, copy: {from: conn.id.orig_p}}
  - {name: whole, type: json, copy: {from: actor}}
  - name: inner
    type: object
    fields:
      - {name: near, type: string, copy: {from: n.x}}
      - {name: far, type: string, copy: {from: actor.user.name}}";
    assert_eq!(
        event(
            fields,
            &json!({"actor": {"user": {"name": "u"}}, "conn": {"id.orig_p": 5}, "inner": {"n": {"x": "1"}}})
        ),
        json!({"actor": {"user": {"name": "u"}}, "conn": {"id.orig_p": 5},
            "inner": {"n": {"x": "1"}, "near": "1", "far": "u"},
            "user": "u", "port": 5, "whole": {"user": {"name": "u"}}, "p_any_usernames": ["u"]})
    );
    // a value of its own stays, a path that leads nowhere makes no field
    assert_eq!(
        event(fields, &json!({"user": "own", "actor": {"user": "text"}})),
        json!({"user": "own", "actor": {"user": "text"}, "whole": {"user": "text"}, "p_any_usernames": ["own"]})
    );
    assert_eq!(
        event(fields, &json!({"user": null, "x": 1})),
        json!({"user": null, "x": 1})
    );
}

#[test]
fn texts_are_joined_and_taken_apart() {
    let fields = "
  - {name: address, type: string, concat: {paths: [source.ip, source.port], separator: ':'}, indicators: [net_addr]}
  - {name: service, type: string, split: {from: name, separator: '/', index: 1}}
  - {name: count, type: int, split: {from: name, separator: '/', index: 2}}
  - {name: tags, type: array, element: {type: string}, split: {from: labels, separator: ','}}
  - {name: level, type: string, split: {from: level, separator: ' ', index: 1}}
  - {name: full, type: string, concat: {paths: [first, last], separator: ' '}}
  - {name: first, type: string, rename: {from: given}}
  - {name: last, type: string, copy: {from: family.name}}
  - {name: initial, type: string, split: {from: full, separator: ' ', index: 0}}";
    assert_eq!(
        event(
            fields,
            &json!({"source": {"ip": "192.0.2.1", "port": 22}, "name": "a/b/7", "labels": "x,y,", "level": "is WARN", "given": "A", "family": {"name": "B"}})
        ),
        json!({"source": {"ip": "192.0.2.1", "port": 22}, "name": "a/b/7", "labels": "x,y,", "first": "A", "family": {"name": "B"},
            "address": "192.0.2.1:22", "service": "b", "count": 7, "tags": ["x", "y", ""], "level": "WARN",
            "full": "A B", "last": "B", "initial": "A", "p_any_ip_addresses": ["192.0.2.1"]})
    );
    // parts that are not there
    assert_eq!(
        event(
            fields,
            &json!({"source": {"ip": "192.0.2.1"}, "name": "a", "labels": 5, "level": "INFO"})
        ),
        json!({"source": {"ip": "192.0.2.1"}, "name": "a", "labels": 5, "level": "INFO", "address": "192.0.2.1", "tags": ["5"],
            "p_any_ip_addresses": ["192.0.2.1"]})
    );
}

#[test]
fn a_masked_value_appears_nowhere() {
    let fields = "
  - {name: pin, type: string, rename: {from: PIN}, mask: {type: redact, to: '***'}, indicators: [username]}
  - {name: key, type: string, mask: {type: redact}}
  - {name: mail, type: string, mask: {type: sha256, salt: s}, indicators: [email, sha256]}
  - {name: names, type: array, element: {type: string, mask: {type: md5}}}
  - {name: parts, type: array, element: {type: string, mask: {type: redact, to: x}}, split: {from: open, separator: ' '}}
  - {name: both, type: string, concat: {paths: [open, open]}, mask: {type: sha1}}";
    let made = event(
        fields,
        &json!({"PIN": "secret1", "key": {"a": "secret2"}, "mail": "secret3@example.com", "names": ["secret4", 5], "open": "a b"}),
    );
    assert!(!made.to_string().contains("secret"), "{made}");
    assert_eq!(made["pin"], "***");
    assert_eq!(made["key"], "REDACTED");
    // printf 'ssecret3@example.com' | sha256sum
    assert_eq!(
        made["mail"],
        "b162f32bc355d45ed874c11595b2ebe80bbfc1f8f51ec8c63dff149c7184e87b"
    );
    assert_eq!(made["p_any_usernames"], json!(["***"]));
    assert_eq!(made["p_any_sha256_hashes"], json!([made["mail"]]));
    assert!(made.get("p_any_emails").is_none());
    assert_eq!(made["names"][1], "e4da3b7fbbce2345d7772b0674a318d5");
    assert_eq!(made["parts"], json!(["x", "x"]));
    assert_eq!(made["both"].as_str().unwrap().len(), 40);
    // where both names are there, both are masked
    let made = event(fields, &json!({"PIN": "secret1", "pin": "secret2", "x": 1}));
    assert_eq!(
        made,
        json!({"PIN": "***", "pin": "***", "x": 1, "p_any_usernames": ["***"]})
    );
}

#[test]
fn json_within_a_text_becomes_json() {
    let fields = r#"
  - {name: message, type: object, isEmbeddedJSON: true, required: true, fields: [{name: foo, type: string, indicators: [ip]}, {name: deep, type: array, isEmbeddedJSON: true, element: {type: int}}]}
  - {name: any, type: json, isEmbeddedJSON: true}
  - {name: list, type: array, element: {type: object, isEmbeddedJSON: true, fields: [{name: t, type: timestamp, timeFormat: unix}]}}
  - {name: copied, type: string, copy: {from: message.foo}}"#;
    assert_eq!(
        event(
            fields,
            &json!({"message": r#"{"foo":"192.0.2.1","deep":"[1, 2]","x":"[3]"}"#, "any": " [1,\"\\u00e9\"] ", "list": ["{\"t\":5}", {"t": 6}, "no"]})
        ),
        json!({"message": {"foo": "192.0.2.1", "deep": [1, 2], "x": "[3]"}, "any": [1, "\u{e9}"],
            "list": [{"t": "1970-01-01 00:00:05.000000000"}, {"t": "1970-01-01 00:00:06.000000000"}, "no"],
            "copied": "192.0.2.1", "p_any_ip_addresses": ["192.0.2.1"]})
    );
    // what is JSON already is taken too; what is no JSON stays as it came
    assert_eq!(
        event(
            fields,
            &json!({"message": {"foo": "x"}, "any": "{", "b": 1})
        ),
        json!({"message": {"foo": "x"}, "any": "{", "b": 1, "copied": "x"})
    );
    assert_eq!(
        reasons(outcome(fields, r#"{"message":"no JSON"}"#)),
        ["message: expected an object, found string"]
    );
    let deep = format!("{}1{}", "[".repeat(200), "]".repeat(200));
    let made = event(
        fields,
        &json!({"message": {"foo": "x"}, "any": deep, "b": 1}),
    );
    assert_eq!(made["any"], json!(deep));
}

#[test]
fn text_formats_have_transformations_too() {
    let made = events(with_parser(
        "parser: {csv: {delimiter: ',', columns: [when, who, port, data]}}",
        "
  - {name: user, type: string, rename: {from: who}, mask: {type: redact}}
  - {name: data, type: object, isEmbeddedJSON: true, fields: [{name: a, type: int}]}
  - {name: port, type: int}
  - {name: day, type: int, split: {from: when, separator: '-', index: 2}}",
        r#"2026-01-05,root,22,"{""a"":1}""#,
    ))
    .remove(0);
    assert_eq!(
        (&made["user"], &made["data"], &made["port"], &made["day"]),
        (&json!("REDACTED"), &json!({"a": 1}), &json!(22), &json!(5))
    );
    assert!(made.get("who").is_none());
}

#[test]
fn a_copy_within_each_element_is_bounded() {
    let fields = "
  - {name: big, type: string}
  - {name: list, type: array, element: {type: object, fields: [{name: again, type: string, copy: {from: big}}]}}";
    let record = json!({"big": "x".repeat(10_000), "list": vec![json!({}); 1000]}).to_string();
    assert_eq!(
        reasons(outcome(fields, &record)),
        ["the transformations of the schema add more than 1048576 bytes to it"]
    );
}

#[test]
fn wrong_transformations_are_named() {
    for (field, expected) in [
        (
            "{name: a, type: string, rename: {from: a}}",
            "fields.a.rename: `from` is the name of the field itself",
        ),
        (
            "{name: a, type: string, rename: {from: ''}}",
            "fields.a.rename: a path is empty",
        ),
        (
            "{name: a, type: string, rename: {from: c}}, {name: b, type: string, rename: {from: c}}",
            "fields.b.rename: another field takes over `c` too",
        ),
        ("{name: a, type: string, copy: b}", "cannot be read"),
        (
            "{name: a, type: string, concat: {paths: []}}",
            "fields.a.concat: needs 1 to 64 paths",
        ),
        (
            "{name: a, type: string, split: {from: b, separator: '', index: 0}}",
            "fields.a.split: the separator is empty",
        ),
        (
            "{name: a, type: string, split: {from: b, separator: x}}",
            "fields.a.split: without an index",
        ),
        (
            "{name: a, type: array, element: {type: string}, split: {from: b, separator: x, index: 0}}",
            "fields.a.split: one part",
        ),
        (
            "{name: a, type: string, mask: {type: rot13}}",
            "fields.a.mask: `rot13` is no type of mask: use redact, md5, sha1, sha256 or sha512",
        ),
        (
            "{name: a, type: string, mask: {type: md5, to: x}}",
            "fields.a.mask: `to` belongs to the type redact",
        ),
        (
            "{name: a, type: string, mask: {type: redact, salt: x}}",
            "fields.a.mask: `redact` takes no salt",
        ),
        (
            "{name: a, type: int, mask: {type: md5}}",
            "fields.a.mask: a field of type int has none",
        ),
        (
            "{name: a, type: string, isEmbeddedJSON: true}",
            "fields.a.isEmbeddedJSON: only an object or json can have one",
        ),
        (
            "{name: a, type: array, element: {type: string, copy: {from: b}}}",
            "fields.a.element.copy: only a field of an object can have one",
        ),
    ] {
        let error = LogTypes::default()
            .with_schema(&format!("{{schema: Custom.X, fields: [{field}]}}"))
            .unwrap_err()
            .to_string();
        assert!(
            error.contains(expected),
            "{field}\n  gives {error}\n  not   {expected}"
        );
    }
}

proptest! {
    /// Whatever the record: no panic, valid JSON, and a masked text is in no event.
    #[test]
    fn any_record_is_transformed_or_refused(text in "[\\[\\]{}:,\"\\\\ab.0-9 ]{0,24}", key in "[ab.]{1,4}", other in "[ab.]{1,4}") {
        let fields = "
  - {name: a, type: string, rename: {from: b}, split: {from: a, separator: a, index: 1}}
  - {name: b.a, type: object, isEmbeddedJSON: true, copy: {from: a.b}, fields: [{name: a, type: json, isEmbeddedJSON: true, concat: {paths: [b, a.b, b.a], separator: b}}]}
  - {name: m, type: string, concat: {paths: [n, a]}, mask: {type: redact, to: x}}
  - {name: n, type: string, mask: {type: sha1}}";
        let record = json!({key: text, other: {"a": text, "b": [text]}, "n": "SECRET"}).to_string();
        if let Outcome::Events(made) = outcome(fields, &record) {
            let json = String::from_utf8(made[0].json.clone()).unwrap();
            prop_assert!(serde_json::from_str::<Value>(&json).is_ok());
            prop_assert!(!json.contains("SECRET"));
        }
    }
}
