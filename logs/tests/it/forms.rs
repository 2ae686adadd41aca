//! Text forms that a schema names: key=value, CEF, LEEF, syslog, and a syslog header before other forms.

use panther_logs::{Classifier, LogTypes, Outcome};
use serde_json::{Value, json};

use crate::{context, events, reasons, record};

fn outcome(schema: &str, line: &str) -> Outcome {
    let known = LogTypes::default()
        .with_schema(&format!("schema: Custom.T\n{schema}"))
        .unwrap_or_else(|error| panic!("{error}"));
    Classifier::new(&known, &["Custom.T"])
        .unwrap()
        .classify(&record(1, line), &context())
}

fn event(schema: &str, line: &str) -> Value {
    events(outcome(schema, line)).remove(0)
}

const FIREWALL: &str = r#"
parser:
  header: syslog
  keyValue: {emptyValues: ["N/A"]}
fields:
  - {name: type, type: string, required: true}
  - {name: srcip, type: string, indicators: [ip]}
  - {name: sentbyte, type: bigint}
  - {name: eventtime, type: timestamp, timeFormat: unix_ns, isEventTime: true}
  - name: syslog
    type: object
    fields:
      - {name: hostname, type: string, indicators: [hostname]}
      - {name: timestamp, type: timestamp, timeFormat: "%b %e %H:%M:%S"}
"#;

#[test]
fn key_value_lines_with_and_without_a_syslog_header() {
    let line = r#"type="traffic" srcip=192.0.2.1 sentbyte=0120 eventtime=1767225600000000001 user=N/A msg="a b""#;
    let plain = event(FIREWALL, line);
    assert_eq!(plain["sentbyte"], 120);
    assert_eq!(plain["msg"], "a b");
    assert!(plain.get("user").is_none());
    assert_eq!(plain["p_event_time"], "2026-01-01 00:00:00.000000001");
    assert_eq!(plain["p_any_ip_addresses"], json!(["192.0.2.1"]));
    let headed = event(
        FIREWALL,
        &format!("<189>Dec 31 23:59:58 fw.example.com {line}"),
    );
    assert_eq!(
        headed["syslog"],
        json!({"priority": 189, "facility": 23, "severity": 5, "timestamp": "2025-12-31 23:59:58.000000000", "hostname": "fw.example.com"})
    );
    assert_eq!(headed["p_any_domain_names"], json!(["fw.example.com"]));
    let short = event(FIREWALL, &format!("<189>{line}"));
    assert_eq!(short["type"], "traffic");
    // an optional field of another shape costs no event
    let odd = event(
        FIREWALL,
        "type=traffic sentbyte=many srcip=10.0.0.1 a=1 eventtime=1767225600000000001",
    );
    assert_eq!(odd["sentbyte"], "many");
    assert_eq!(
        reasons(outcome(FIREWALL, "no pairs at all")),
        ["`no` is no key with a value"]
    );
    assert_eq!(
        reasons(outcome(FIREWALL, "a=1")),
        ["type: is required and missing"]
    );
}

#[test]
fn json_behind_a_syslog_header() {
    let schema = "parser: {header: syslog}\nfields: [{name: a, type: int, required: true}]";
    let made = event(
        schema,
        r#"<13>1 2026-01-01T00:00:00Z h app - - - {"a": 1, "b": {} }"#,
    );
    assert_eq!((&made["a"], &made["b"]), (&json!(1), &json!({})));
    assert_eq!(made["syslog"]["appname"], "app");
    let made = event(schema, r#"Mar  4 05:06:07 h app[5]: {"a":2}"#);
    assert_eq!(made["syslog"]["procid"], "5");
    assert_eq!(event(schema, r#"{"a":3}"#)["a"], 3);
    assert_eq!(
        reasons(outcome(schema, "<13>Mar  4 05:06:07 h app: text")),
        ["is no JSON object after its syslog header"]
    );
    assert!(!reasons(outcome(schema, "<13>{}}")).is_empty());
}

#[test]
fn cef_and_leef_with_their_types() {
    let cef = r#"
parser: {cef: {}}
fields:
  - {name: deviceVendor, type: string, validate: {allow: [Check Point]}, required: true}
  - name: extension
    type: object
    fields:
      - {name: src, type: string, indicators: [ip]}
      - {name: spt, type: int}
      - {name: rt, type: timestamp, timeFormats: [unix_ms, "%b %d %Y %H:%M:%S"], isEventTime: true}
  - name: syslog
    type: object
    fields: [{name: hostname, type: string, indicators: [hostname]}]
"#;
    let made = event(
        cef,
        r"<134>1 2026-01-01T00:00:00Z gw.example.com CEF 1 - CEF:0|Check Point|VPN-1|R81|Accept|a \| b|5|src=192.0.2.7 spt=443 rt=1767225600000 msg=two words",
    );
    assert_eq!(made["name"], "a | b");
    assert_eq!(made["extension"]["spt"], 443);
    assert_eq!(made["extension"]["msg"], "two words");
    assert_eq!(made["p_event_time"], "2026-01-01 00:00:00.000000000");
    assert_eq!(made["p_any_ip_addresses"], json!(["192.0.2.7"]));
    assert_eq!(made["p_any_domain_names"], json!(["gw.example.com"]));
    // a header of no known form is kept
    let made = event(
        cef,
        "agent-7: CEF:0|Check Point|VPN-1|R81|Accept|x|5|src=192.0.2.7",
    );
    assert_eq!(made["syslog"], json!({"message": "agent-7:"}));
    assert_eq!(
        reasons(outcome(
            cef,
            "CEF:0|Other|VPN-1|R81|Accept|x|5|src=192.0.2.7"
        )),
        ["deviceVendor: `Other` is not an allowed value"]
    );
    let leef = "parser: {leef: {}}\nfields: [{name: attributes, type: object, required: true, fields: [{name: src, type: string, indicators: [ip]}, {name: n, type: int}]}]";
    let made = event(leef, "LEEF:2.0|V|P|1|E|^|src=192.0.2.8^n=5");
    assert_eq!(made["attributes"], json!({"src": "192.0.2.8", "n": 5}));
    assert_eq!(made["p_any_ip_addresses"], json!(["192.0.2.8"]));
}

#[test]
fn syslog_of_both_standards() {
    let schema = r#"
parser: {syslog: {}}
fields:
  - {name: timestamp, type: timestamp, timeFormats: [rfc3339, "%b %e %H:%M:%S", "%b %e %Y %H:%M:%S"], isEventTime: true}
  - {name: hostname, type: string, indicators: [hostname]}
  - {name: appname, type: string}
  - {name: procid, type: int}
  - {name: message, type: string, indicators: [ips_in_text]}
"#;
    for (line, time) in [
        (
            "<34>Oct 11 22:14:15 mymachine su[7]: from 192.0.2.7",
            "2025-10-11 22:14:15.000000000",
        ),
        (
            "Jan  1 2024 00:00:01 mymachine su[7]: from 192.0.2.7",
            "2024-01-01 00:00:01.000000000",
        ),
        (
            "<34>1 2026-01-01T00:00:00Z mymachine su 7 - - from 192.0.2.7",
            "2026-01-01 00:00:00.000000000",
        ),
        (
            "2026-01-01T00:00:00+01:00 mymachine su[7]: from 192.0.2.7",
            "2025-12-31 23:00:00.000000000",
        ),
    ] {
        let made = event(schema, line);
        assert_eq!(made["p_event_time"], time, "{line}");
        assert_eq!(
            (
                &made["hostname"],
                &made["appname"],
                &made["procid"],
                &made["message"]
            ),
            (
                &json!("mymachine"),
                &json!("su"),
                &json!(7),
                &json!("from 192.0.2.7")
            ),
            "{line}"
        );
        assert_eq!(made["p_any_ip_addresses"], json!(["192.0.2.7"]));
    }
}

#[test]
fn a_field_can_have_a_form_too() {
    let schema = r#"
fields:
  - name: message
    type: object
    parse: keyValue
    fields: [{name: n, type: int}, {name: ip, type: string, indicators: [ip]}, {name: secret, type: string, mask: {type: redact}}]
  - {name: raw, type: json, parse: cef}
  - {name: user, type: string, copy: {from: message.user}, indicators: [username]}
"#;
    let made = event(
        schema,
        &json!({"message": "n=5 ip=192.0.2.1 secret=\"a b\" user=u", "raw": "CEF:0|a|b|c|d|e|f|g=h", "x": 1}).to_string(),
    );
    assert_eq!(
        made["message"],
        json!({"n": 5, "ip": "192.0.2.1", "secret": "REDACTED", "user": "u"})
    );
    assert_eq!(made["raw"]["extension"], json!({"g": "h"}));
    assert_eq!(made["p_any_ip_addresses"], json!(["192.0.2.1"]));
    assert_eq!(made["p_any_usernames"], json!(["u"]));
    let made = event(
        schema,
        &json!({"message": {"n": 1}, "raw": "other", "x": 1}).to_string(),
    );
    assert_eq!(
        (&made["message"], &made["raw"]),
        (&json!({"n": 1}), &json!("other"))
    );
}

#[test]
fn wrong_parsers_are_named() {
    for (yaml, expected) in [
        (
            "parser: {header: gelf}",
            "parser.header: `gelf` is no header: use syslog",
        ),
        (
            "parser: {header: syslog, csv: {columns: [a]}}",
            "parser.header: stands before",
        ),
        (
            "parser: {cef: {}, leef: {}}",
            "parser: must be exactly one of csv, fastmatch",
        ),
        (
            "parser: {keyValue: {keySeparator: ''}}",
            "parser.keyValue.keySeparator: must be a text without quotes",
        ),
        (
            "parser: {keyValue: {pairSeparator: '='}}",
            "parser.keyValue.pairSeparator: is the keySeparator too",
        ),
        ("parser: {cef: {a: 1}}", "cannot be read"),
    ] {
        let error = LogTypes::default()
            .with_schema(&format!(
                "schema: Custom.X\n{yaml}\nfields: [{{name: a, type: string}}]"
            ))
            .unwrap_err()
            .to_string();
        assert!(
            error.contains(expected),
            "{yaml}\n  gives {error}\n  not   {expected}"
        );
    }
    for (field, expected) in [
        (
            "{name: a, type: string, parse: json}",
            "fields.a.parse: only an object or json",
        ),
        (
            "{name: a, type: json, parse: asn1}",
            "fields.a.parse: `asn1` is no form of text",
        ),
        (
            "{name: a, type: json, parse: cef, isEmbeddedJSON: true}",
            "fields.a.parse: give this or isEmbeddedJSON",
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
