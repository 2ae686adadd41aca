//! User-defined schemas: what they can express, and their error messages.

use panther_logs::{Classifier, Filter, LogTypes, Outcome};
use serde_json::json;

use crate::{context, events, reasons, record};

fn error(yaml: &str) -> String {
    LogTypes::builtin()
        .with_schema(yaml)
        .unwrap_err()
        .to_string()
}

fn classify(yaml: &str, lines: &[&str]) -> Outcome {
    let known = LogTypes::default()
        .with_schema(yaml)
        .unwrap_or_else(|error| panic!("{error}"));
    let names: Vec<String> = known.names().map(|name| name.to_string()).collect();
    let mut classifier = Classifier::new(&known, &names).unwrap();
    let (last, before) = lines.split_last().unwrap();
    for line in before {
        classifier.classify(&record(1, line), &context());
    }
    classifier.classify(&record(2, last), &context())
}

#[test]
fn every_type_takes_its_values_and_refuses_others() {
    let yaml = r#"
version: 0
schema: Custom.Types
description: All of them.
referenceURL: https://example.com
fieldDiscoveryEnabled: true
definitions:
  person:
    type: object
    fields:
      - name: email
        type: string
        required: true
        indicators: [email, username]
fields:
  - {name: s, type: string, validate: {deny: [bad]}}
  - {name: i, type: int}
  - {name: b, type: bigint}
  - {name: f, type: float}
  - {name: t, type: boolean}
  - {name: when, type: timestamp, timeFormat: "%d.%m.%Y %H:%M"}
  - {name: who, type: ref, target: person}
  - {name: all, type: array, element: {type: ref, target: person}}
  - {name: j, type: json}
"#;
    for good in [
        json!({"s": "x"}),
        json!({"s": 1}),
        json!({"s": null, "i": null, "who": null, "when": null}),
        json!({"i": 5, "b": "99999999999", "f": "1.5"}),
        json!({"i": 1e3, "f": 7}),
        json!({"t": true}),
        json!({"t": "FALSE"}),
        json!({"when": "24.11.2026 08:00"}),
        json!({"when": "", "i": ""}),
        json!({"who": {"email": "a@b", "more": 1}}),
        json!({"all": [{"email": "a@b"}, null]}),
        json!({"j": [1, {}]}),
        json!({"unknown": {"a": [1]}}),
        json!({}),
    ] {
        assert!(
            matches!(classify(yaml, &[&good.to_string()]), Outcome::Events(_)),
            "{good}"
        );
    }
    for (bad, reason) in [
        (json!({"s": "bad"}), "s: `bad` is not an allowed value"),
        (json!({"s": {}}), "s: expected a string, found object"),
        (json!({"i": 1.5}), "i: expected an integer, found `1.5`"),
        (json!({"i": "x"}), "i: expected an integer, found `x`"),
        (json!({"f": true}), "f: expected a number, found boolean"),
        (json!({"t": "maybe"}), "t: expected a boolean, found string"),
        (
            json!({"when": "2026-11-24"}),
            "when: `2026-11-24` is no timestamp of the declared format",
        ),
        (json!({"who": {}}), "who.email: is required and missing"),
        (json!({"who": []}), "who: expected an object, found array"),
        (
            json!({"all": [{}]}),
            "all[0].email: is required and missing",
        ),
        (json!({"all": {}}), "all: expected an array, found object"),
        (json!([]), "is no JSON object"),
    ] {
        assert_eq!(reasons(classify(yaml, &[&bad.to_string()])), [reason]);
    }
    let event = &events(classify(
        yaml,
        &[r#"{"who":{"email":"b@x"},"all":[{"email":"a@x"},{"email":"b@x"}]}"#],
    ))[0];
    assert_eq!(event["p_any_emails"], json!(["a@x", "b@x"]));
    assert_eq!(event["p_any_usernames"], json!(["a@x", "b@x"]));
}

#[test]
fn csv_in_its_ways() {
    let fields = "[{name: id, type: int, required: true}, {name: ok, type: boolean}, {name: data, type: json}, {name: both, type: string}]";
    let columns = format!(
        "{{schema: Custom.Csv, parser: {{csv: {{delimiter: ';', columns: [id, ok, data, extra, ''], emptyValues: ['-'], trimSpace: true, expandFields: {{both: '%{{id}}/%{{extra}}'}}}}}}, fields: {fields}}}"
    );
    let event = &events(classify(&columns, &[r#"007; true;"{""a"":1}";x;ignored"#]))[0];
    assert_eq!(
        (
            &event["id"],
            &event["ok"],
            &event["data"],
            &event["extra"],
            &event["both"]
        ),
        (
            &json!(7),
            &json!(true),
            &json!({"a": 1}),
            &json!("x"),
            &json!("007/x")
        )
    );
    assert!(event.get("").is_none());
    let event = &events(classify(&columns, &["1;-;[oops;-;"]))[0];
    assert!(event.get("ok").is_none() && event.get("extra").is_none());
    assert_eq!(event["data"], "[oops");
    assert_eq!(
        reasons(classify(&columns, &["1;2"])),
        ["has 2 columns, not 5"]
    );
    assert_eq!(
        reasons(classify(&columns, &["x;;;;"])),
        ["id: expected an integer, found `x`"]
    );

    let header = format!(
        "{{schema: Custom.Csv, parser: {{csv: {{hasHeader: true, skipPrefix: '#'}}}}, fields: {fields}}}"
    );
    let event = &events(classify(&header, &["# made by hand", "other,id", "x,3"]))[0];
    assert_eq!((&event["id"], &event["other"]), (&json!(3), &json!("x")));
    assert!(reasons(classify(&header, &["one,two"]))[0].contains("no header"));
    let again = classify(&header, &["other,id", "x,3", "other,id"]);
    assert_eq!(again, Outcome::Skipped(Filter::Header));

    let renamed = format!(
        "{{schema: Custom.Csv, parser: {{csv: {{hasHeader: true, columns: [id, ok]}}}}, fields: {fields}}}"
    );
    let event = &events(classify(&renamed, &["Number,Fine", "3,false"]))[0];
    assert_eq!((&event["id"], &event["ok"]), (&json!(3), &json!(false)));
}

#[test]
fn regex_with_patterns() {
    let yaml = r#"
schema: Custom.Regex
parser:
  regex:
    patternDefinitions:
      LEVEL: "INFO|WARN"
    match:
      - '^%{TIMESTAMP_ISO8601:time} \[%{LEVEL:level}\] '
      - '(?P<host>\S+) %{IP:client.ip}(?: took %{NUMBER:ms}ms)?$'
    emptyValues: [none]
fields:
  - {name: time, type: timestamp, timeFormat: rfc3339, isEventTime: true, required: true}
  - {name: level, type: string}
  - {name: client.ip, type: string, indicators: [ip]}
  - {name: ms, type: float}
"#;
    let event = &events(classify(
        yaml,
        &["2026-01-02T03:04:05Z [WARN] none 10.0.0.1 took 1.50ms"],
    ))[0];
    assert_eq!(
        (
            &event["time"],
            &event["level"],
            &event["client.ip"],
            &event["ms"]
        ),
        (
            &json!("2026-01-02 03:04:05.000000000"),
            &json!("WARN"),
            &json!("10.0.0.1"),
            // The digits keep their original form.
            &serde_json::from_str("1.50").unwrap()
        )
    );
    assert!(event.get("host").is_none());
    assert_eq!(event["p_any_ip_addresses"], json!(["10.0.0.1"]));
    assert!(
        events(classify(yaml, &["2026-01-02T03:04:05Z [INFO] h 10.0.0.1"]))[0]
            .get("ms")
            .is_none()
    );
    assert_eq!(
        reasons(classify(
            yaml,
            &["2026-01-02T03:04:05Z [INFO] h 10.0.0.1 and more"]
        )),
        ["does not fit the regular expression"]
    );
}

#[test]
fn fastmatch_tries_its_patterns_in_order() {
    let yaml = r#"{schema: Custom.Fast, parser: {fastmatch: {match: ["%{a}|%{b}|%{c}", "%{a}|%{b}"]}}, fields: [{name: a, type: string}]}"#;
    assert_eq!(events(classify(yaml, &["1|2|3"]))[0]["c"], "3");
    assert!(events(classify(yaml, &["1|2"]))[0].get("c").is_none());
    assert_eq!(
        reasons(classify(yaml, &["1"])),
        ["lacks the `|` after field `a`; lacks the `|` after field `a`"]
    );
}

#[test]
fn errors_name_the_field_and_the_remedy() {
    let one = |field: &str| format!("{{schema: Custom.X, fields: [{field}]}}");
    let deep: String = (0..40)
        .map(|number| {
            format!(
                "d{number}: {{type: array, element: {{type: array, element: {{type: ref, target: d{}}}}}}}, ",
                number + 1
            )
        })
        .collect();
    let chain: String = (0..5_000)
        .map(|number| format!("d{number}: {{type: ref, target: d{}}}, ", number + 1))
        .collect();
    for (yaml, expected) in [
        (
            format!("{{schema: Custom.X, definitions: {{{chain} d5000: {{type: string}}}}, fields: [{{name: a, type: ref, target: d0}}]}}"),
            "references go on over more than 64 definitions",
        ),
        (one("{name: a, type: strin}"), "schema Custom.X: fields.a.type: `strin` is no type"),
        (one("{name: a, type: timestamp}"), "fields.a.timeFormat: a timestamp needs one"),
        (one("{name: a, type: timestamp, timeFormat: iso}"), "fields.a.timeFormat: `iso` is no time format"),
        (one("{name: a, type: object, fields: [{name: b, type: array}]}"), "fields.a.fields.b.element: an array needs one"),
        (one("{name: a, type: object}"), "fields.a.fields: an object needs at least one"),
        (one("{name: a, type: string, indicators: [ipp]}"), "fields.a.indicators: `ipp` is not known"),
        (one("{name: a, type: int, indicators: [ip]}"), "fields.a.indicators: a field of type int has none"),
        (one("{name: a, type: string}, {name: A, type: string}"), "fields.A: the name differs from `a` at most in case"),
        (one("{name: p_row_id, type: string}"), "fields.p_row_id: the name is one of the standard fields"),
        (one("{name: a, type: ref, target: b}"), "fields.a.target: `b` is not among the definitions"),
        (one("{name: a, type: string, validate: {}}"), "fields.a.validate: give allow, deny, endsWith, ip or cidr"),
        (one("{name: a, type: string, validate: {ip: v4}}"), "fields.a.validate: `v4` is no kind of address: use any, ipv4 or ipv6"),
        (one("{name: a, type: string, isExpiration: true}"), "fields.a.isExpiration: a field of type string has none"),
        (one("{type: string}"), "fields: a field has no name"),
        (one(""), "fields: there must be at least one"),
        ("{schema: Custom.X, definitions: {a: {type: ref, target: b}, b: {type: ref, target: a}}, fields: [{name: x, type: ref, target: a}]}".into(), "refers to itself by way of a, b"),
        ("{schema: 'Custom X', fields: [{name: a, type: string}]}".into(), "schema: a log type's name is"),
        ("{schema: AWS.CloudTrail, fields: [{name: a, type: string}]}".into(), "belongs to a log type built in"),
        ("{version: 1, schema: Custom.X, fields: [{name: a, type: string}]}".into(), "version: version 1 is not known"),
        ("schema: Custom.X\nfields:\n  - name: a\n    type: string\n    requird: true\n".into(), "schema Custom.X: cannot be read:"),
        ("schema: Custom.X\nfields: [\n".into(), "cannot be read"),
        ("".into(), "schema ?: cannot be read"),
        ("{schema: Custom.X, parser: {}, fields: [{name: a, type: string}]}".into(), "parser: must be exactly one of"),
        ("{schema: Custom.X, parser: {csv: {}}, fields: [{name: a, type: string}]}".into(), "parser.csv.columns: needed"),
        ("{schema: Custom.X, parser: {csv: {delimiter: ab, hasHeader: true}}, fields: [{name: a, type: string}]}".into(), "parser.csv.delimiter: `ab` is not one character"),
        ("{schema: Custom.X, parser: {regex: {match: ['(']}}, fields: [{name: a, type: string}]}".into(), "parser.regex.match: is no regular expression"),
        ("{schema: Custom.X, parser: {regex: {match: ['%{NOPE:a}']}}, fields: [{name: a, type: string}]}".into(), "parser.regex.match: the pattern `NOPE` is not known"),
        ("{schema: Custom.X, parser: {regex: {match: ['(?P<b>.*)']}}, fields: [{name: a, type: string}]}".into(), "captures none of the schema's fields"),
        ("{schema: Custom.X, parser: {fastmatch: {match: ['%{a}%{b}']}}, fields: [{name: a, type: string}]}".into(), "parser.fastmatch.match: `%{a}%{b}`: nothing stands between"),
        ("{schema: Custom.X, parser: {native: {name: AWS.ALB}}, fields: [{name: a, type: string}]}".into(), "parser.native: only the log types built in"),
        (
            format!("{{schema: Custom.X, definitions: {{{deep} d40: {{type: string}}}}, fields: [{{name: a, type: ref, target: d0}}]}}"),
            "nested deeper than 64",
        ),
    ] {
        let error = error(&yaml);
        assert!(error.contains(expected), "{yaml}\n  gives {error}\n  not   {expected}");
    }
}

#[test]
fn definitions_that_double_each_other_do_not_grow() {
    let mut definitions = String::from("d60: {type: string}");
    for number in 0..60 {
        definitions.push_str(&format!(
            ", d{number}: {{type: object, fields: [{{name: a, type: ref, target: d{next}}}, {{name: b, type: ref, target: d{next}}}]}}",
            next = number + 1
        ));
    }
    let yaml = format!(
        "{{schema: Custom.Doubling, definitions: {{{definitions}}}, fields: [{{name: x, type: ref, target: d0}}]}}"
    );
    assert!(matches!(
        classify(&yaml, &[r#"{"x":{"a":{"b":{}}}}"#]),
        Outcome::Events(_)
    ));
}

#[test]
fn a_users_schema_can_be_replaced() {
    let first = LogTypes::builtin()
        .with_schema("{schema: Custom.X, fields: [{name: a, type: int}]}")
        .unwrap();
    let second = first
        .clone()
        .with_schema("{schema: Custom.X, fields: [{name: a, type: string}]}")
        .unwrap();
    let taken = |known: &LogTypes| {
        matches!(
            Classifier::new(known, &["Custom.X"])
                .unwrap()
                .classify(&record(1, r#"{"a":"x"}"#), &context()),
            Outcome::Events(_)
        )
    };
    assert!(!taken(&first) && taken(&second));
}

#[test]
fn thirty_levels_fit_and_a_thousand_are_refused() {
    let mut field = String::from("{name: a, type: string, indicators: [ip]}");
    let mut value = json!({"a": "10.0.0.1"});
    for _ in 0..30 {
        field = format!("{{name: a, type: object, fields: [{field}]}}");
        value = json!({"a": value});
    }
    let yaml = format!("{{schema: Custom.Deep, fields: [{field}]}}");
    let event = &events(classify(&yaml, &[&value.to_string()]))[0];
    assert_eq!(event["p_any_ip_addresses"], json!(["10.0.0.1"]));
    for _ in 0..1_000 {
        field = format!("{{name: a, type: object, fields: [{field}]}}");
    }
    assert!(error(&format!("{{schema: Custom.Deep, fields: [{field}]}}")).contains("Depth"));
}

#[test]
fn an_optional_field_of_another_shape_costs_no_event() {
    let yaml = r#"
schema: Custom.Login
fields:
  - {name: time, required: true, type: timestamp, timeFormat: rfc3339, isEventTime: true}
  - {name: user, required: true, type: string}
  - {name: kind, type: string, validate: {allow: [login]}}
  - {name: ip, type: string, indicators: [ip]}
  - {name: agents, type: array, element: {type: string}}
  - name: device
    type: object
    fields:
      - {name: id, type: int}
      - {name: seen, type: timestamp, timeFormat: rfc3339}
"#;
    let good = json!({"time": "2026-01-02T03:04:05Z", "user": "u", "kind": "login"});
    for (name, value, misfit) in [
        (
            "agents",
            json!("unknown"),
            "agents: expected an array, found string",
        ),
        (
            "agents",
            json!(["a", {"b": 1}, {}]),
            "agents[1]: expected a string, found object",
        ),
        (
            "ip",
            json!(["1.2.3.4"]),
            "ip: expected a string, found array",
        ),
        (
            "device",
            json!([]),
            "device: expected an object, found array",
        ),
        (
            "device",
            json!({"id": "x", "seen": "2026-01-02T03:04:05Z"}),
            "device.id: expected an integer, found `x`",
        ),
        (
            "device",
            json!({"id": 1, "seen": "soon"}),
            "device.seen: `soon` is no timestamp of the declared format",
        ),
    ] {
        let mut record = good.clone();
        record[name] = value.clone();
        let Outcome::Events(made) = classify(yaml, &[&record.to_string()]) else {
            panic!("{record} is refused");
        };
        assert_eq!(made[0].misfits, [misfit]);
        let event: serde_json::Value = serde_json::from_slice(&made[0].json).unwrap();
        if name == "device" && value.get("seen").is_some_and(|seen| seen != "soon") {
            assert_eq!(event["device"]["seen"], "2026-01-02 03:04:05.000000000");
        } else {
            assert_eq!(event[name], value);
        }
        assert_eq!(event["p_event_time"], "2026-01-02 03:04:05.000000000");
        if name == "ip" {
            assert_eq!(event["p_any_ip_addresses"], json!(["1.2.3.4"]));
        }
    }
    for (name, value) in [
        ("time", json!("soon")),
        ("user", json!({})),
        ("kind", json!("logout")),
    ] {
        let mut record = good.clone();
        record[name] = value;
        assert!(
            !reasons(classify(yaml, &[&record.to_string()])).is_empty(),
            "{record}"
        );
    }
}

#[test]
fn a_type_that_fits_is_preferred_to_one_with_misfits() {
    let schema = |name: &str, kind: &str| {
        format!(
            "schema: Custom.{name}\nfields:\n  - {{name: a, required: true, type: string}}\n  - {{name: b, required: true, type: string}}\n  - {{name: c, type: {kind}}}\n"
        )
    };
    let known = LogTypes::default()
        .with_schema(&schema("First", "int"))
        .unwrap()
        .with_schema(&schema("Second", "json"))
        .unwrap();
    let mut classifier = Classifier::new(&known, &["Custom.First", "Custom.Second"]).unwrap();
    for (c, expected) in [(json!({}), "Custom.Second"), (json!(1), "Custom.Second")] {
        let line = json!({"a": "x", "b": "y", "c": c}).to_string();
        let made = events(classifier.classify(&record(1, &line), &context()));
        assert_eq!(made[0]["p_log_type"], expected);
    }
    assert_eq!(classifier.tally().misfits, 0);
    let mut alone = Classifier::new(&known, &["Custom.First"]).unwrap();
    alone.classify(&record(1, r#"{"a":"x","b":"y","c":[]}"#), &context());
    assert_eq!(alone.tally().misfits, 1);
    // too few fields are valid
    assert!(!reasons(alone.classify(&record(2, r#"{"a":"x","c":[]}"#), &context())).is_empty());
}

#[test]
fn several_time_formats_are_tried_in_order() {
    let yaml = r#"
schema: Custom.Times
requiresOneOf: [one, other]
fields:
  - {name: one, type: timestamp, timeFormats: [unix_ms, rfc3339, "%d.%m.%Y"], isEventTime: true}
  - {name: other, type: string}
"#;
    for one in [
        json!(1_767_225_600_000_i64),
        json!("2026-01-01T00:00:00Z"),
        json!("01.01.2026"),
        json!("2026-01-01 00:00:00"),
    ] {
        let made = events(classify(yaml, &[&json!({"one": one}).to_string()]));
        assert_eq!(made[0]["one"], "2026-01-01 00:00:00.000000000");
    }
    assert_eq!(
        reasons(classify(yaml, &[r#"{"one":null,"x":1}"#])),
        ["has none of one, other"]
    );
    assert!(
        error("schema: A\nfields: [{name: a, type: timestamp, timeFormats: []}]")
            .contains("at least one")
    );
    assert!(
        error(
            "schema: A\nfields: [{name: a, type: timestamp, timeFormats: [unix], timeFormat: unix}]"
        )
        .contains("give these or timeFormat")
    );
    assert!(
        error("schema: A\nrequiresOneOf: [b]\nfields: [{name: a, type: string}]")
            .contains("`b` is not among")
    );
}

#[test]
fn validation_by_form_of_address() {
    let yaml = r#"
schema: Custom.Net
fields:
  - {name: ip, type: string, validate: {ip: ipv4}}
  - {name: net, type: string, validate: {cidr: any, deny: [0.0.0.0/0]}}
  - {name: until, type: timestamp, timeFormat: rfc3339, isExpiration: true}
"#;
    let good = json!({"ip": "192.0.2.1", "net": "10.0.0.0/8", "until": "2026-01-01T00:00:00Z"});
    assert_eq!(events(classify(yaml, &[&good.to_string()])).len(), 1);
    for (name, value) in [("ip", "::1"), ("net", "10.0.0.0"), ("net", "0.0.0.0/0")] {
        let mut record = good.clone();
        record[name] = json!(value);
        assert_eq!(
            reasons(classify(yaml, &[&record.to_string()])),
            [format!("{name}: `{value}` is not an allowed value")]
        );
    }
}

#[test]
fn a_time_without_year_is_read_relative_to_the_receive_time() {
    let yaml = r#"
schema: Custom.Syslog
parser: {regex: {match: ['%{SYSLOGTIMESTAMP:time} %{NOTSPACE:host} %{GREEDYDATA:message}']}}
fields:
  - {name: time, type: timestamp, timeFormat: "%b %e %H:%M:%S", isEventTime: true, required: true}
  - {name: message, type: string}
"#;
    // received at 2026-01-01 00:00:00
    for (line, expected) in [
        ("Dec 31 23:59:59 a b", "2025-12-31 23:59:59.000000000"),
        ("Jan  1 00:00:00 a b", "2026-01-01 00:00:00.000000000"),
        ("Jan  3 00:00:00 a b", "2025-01-03 00:00:00.000000000"),
    ] {
        let made = &events(classify(yaml, &[line]))[0];
        assert_eq!(
            (&made["time"], &made["p_event_time"]),
            (&json!(expected), &json!(expected))
        );
    }
}
