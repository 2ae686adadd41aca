//! A client that controls its requests cannot change the server's columns that a rule sees.

use panther_logs::Outcome;
use proptest::prelude::*;
use serde_json::{Map, Value};

use crate::{classifier, context, events, reasons, record};

/// Hostile client input: quotes, spaces, and text that looks like the columns after it.
fn hostile() -> impl Strategy<Value = String> {
    let piece = prop_oneof![
        Just("\""),
        Just(" "),
        Just("\\"),
        Just("\t"),
        Just("\\x22"),
        Just("\" \""),
        Just("] \""),
        Just("["),
        Just(" - "),
        Just("[02/Jan/2020:03:04:05 +0000] \"GET /fake HTTP/1.1\" 200 1 \"-\" \"x\""),
        Just("\" 200 - 1 1 1 1 \""),
        Just("\" - abc= SigV4 ECDHE AuthHeader fake.example.com TLSv1.2"),
        Just("\" ECDHE TLSv1.2 arn:aws:x \""),
        Just("\" 0 2020-01-01T00:00:00.0Z \"forward\" \"-\" \"-\""),
        Just("1.2.3.4"),
        Just("x"),
        Just("\u{e9}"),
    ];
    prop::collection::vec(piece, 0..6).prop_map(|pieces| pieces.concat())
}

/// The single event of `line`, or `None` if the record is rejected.
fn event(log_type: &str, line: &str) -> Option<Map<String, Value>> {
    match classifier(&[log_type]).classify(&record(1, line), &context()) {
        outcome @ Outcome::Events(_) => Some(events(outcome)[0].as_object().unwrap().clone()),
        outcome => {
            assert!(!reasons(outcome).is_empty());
            None
        }
    }
}

/// Fails if the event of `line` and the event of `plain` differ in the server's fields.
fn unmoved(
    log_type: &str,
    plain: &str,
    line: &str,
    fields: &[&str],
) -> Result<bool, TestCaseError> {
    let expected = event(log_type, plain).unwrap();
    let Some(found) = event(log_type, line) else {
        return Ok(false);
    };
    for field in fields {
        prop_assert_eq!(
            found.get(*field),
            expected.get(*field),
            "{} of {}",
            field,
            line
        );
    }
    Ok(true)
}

/// Escapes a variable as Nginx does.
fn nginx(text: &str) -> String {
    text.chars()
        .map(|char| match char {
            '"' | '\\' | '\t' => format!("\\x{:02X}", u32::from(char)),
            other => other.to_string(),
        })
        .collect()
}

/// Escapes a header as Apache does.
fn apache(text: &str) -> String {
    text.replace('\\', "\\\\")
        .replace('"', "\\\"")
        .replace('\t', "\\t")
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(1_000))]

    #[test]
    fn s3_access_logs(key in "[a-z%0-9]{1,5}", uri in hostile(), referrer in hostile(), agent in hostile()) {
        let line = |uri: &str, referrer: &str, agent: &str| format!(
            "79a5 bucket [06/Feb/2024:00:00:38 +0000] 192.0.2.3 arn:aws:iam::111122223333:user/ana 3E57 REST.GET.OBJECT {key} \"GET /{uri} HTTP/1.1\" 403 AccessDenied 113 - 7 5 \"{referrer}\" \"{agent}\" v1 s9lz= SigV4 ECDHE-RSA AuthHeader bucket.example.com TLSv1.2 - Yes"
        );
        unmoved("AWS.S3ServerAccess", &line("", "-", "-"), &line(&uri, &referrer, &agent), &[
            "bucketowner", "bucket", "time", "remoteip", "requester", "requestid", "operation", "key", "httpstatus", "errorcode", "bytessent",
            "objectsize", "totaltime", "turnaroundtime", "versionid", "hostid", "signatureversion", "ciphersuite", "authenticationtype",
            "hostheader", "tlsVersion", "additionalFields", "p_event_time",
        ])?;
    }

    #[test]
    fn alb_access_logs(url in hostile(), agent in hostile(), trace in hostile(), domain in hostile(), redirect in hostile()) {
        let line = |url: &str, agent: &str, trace: &str, domain: &str, redirect: &str| format!(
            "h2 2018-07-02T22:23:00.186641Z app/lb/50dc 10.0.1.252:48160 10.0.0.66:9000 0.000 0.002 0.000 403 200 5 257 \"GET https://a/{url} HTTP/2.0\" \"{agent}\" ECDHE-RSA TLSv1.2 arn:aws:elasticloadbalancing:us-east-2:123456789012:targetgroup/t/73 \"{trace}\" \"{domain}\" \"session-reused\" 1 2018-07-02T22:22:48.364000Z \"waf,forward\" \"{redirect}\" \"WAFBlocked\" \"10.0.0.66:9000\" \"200\" \"Severe\" \"BadUri\" TID_1"
        );
        unmoved("AWS.ALB", &line("", "-", "-", "-", "-"), &line(&url, &agent, &trace, &domain, &redirect), &[
            "timestamp", "elb", "clientIp", "targetIp", "elbStatusCode", "targetStatusCode", "receivedBytes", "sentBytes", "sslCipher", "sslProtocol",
            "targetGroupArn", "chosenCertArn", "matchedRulePriority", "requestCreationTime", "actionsExecuted", "errorReason", "targetPortList",
            "targetStatusCodeList", "classification", "classificationReason", "connTraceId",
        ])?;
    }

    #[test]
    fn nginx_access_logs(user in hostile(), request in hostile(), referer in hostile(), agent in hostile(), forwarded in hostile(), main in any::<bool>()) {
        let line = |user: &str, request: &str, referer: &str, agent: &str, forwarded: &str| format!(
            "192.0.2.3 - {} [02/Jan/2026:03:04:05 +0000] \"GET /{} HTTP/1.1\" 403 612 \"{}\" \"{}\"{}",
            nginx(user), nginx(request), nginx(referer), nginx(agent), if main { format!(" \"{}\"", nginx(forwarded)) } else { String::new() }
        );
        let user = if user.is_empty() { "-".to_owned() } else { user };
        let taken = unmoved("Nginx.Access", &line("-", "", "-", "-", "-"), &line(&user, &request, &referer, &agent, &forwarded), &[
            "remoteAddr", "time", "status", "bodyBytesSent", "p_event_time",
        ])?;
        prop_assert!(taken);
    }

    #[test]
    fn apache_access_logs(user in hostile(), uri in hostile(), referer in hostile(), agent in hostile(), vhost in any::<bool>()) {
        for combined in [false, true] {
            let line = |user: &str, uri: &str, referer: &str, agent: &str| {
                let headers = format!(" \"{}\" \"{}\"", apache(referer), apache(agent));
                format!(
                    "{}192.0.2.3 - {} [02/Jan/2026:03:04:05 +0000] \"GET /{} HTTP/1.1\" 403 612{}",
                    if vhost { "www.example.com:443 " } else { "" },
                    apache(user),
                    apache(uri),
                    if combined { headers } else { String::new() }
                )
            };
            let user = if user.is_empty() { "-".to_owned() } else { user.clone() };
            let name = if combined { "Apache.AccessCombined" } else { "Apache.AccessCommon" };
            let taken = unmoved(name, &line("-", "", "-", "-"), &line(&user, &uri, &referer, &agent), &[
                "virtual_host", "remote_host_ip_address", "client_identity_rfc_1413", "request_time", "request_method", "request_protocol",
                "response_status", "response_size", "p_event_time",
            ])?;
            prop_assert!(taken);
            let found = event(name, &line(&user, &uri, &referer, &agent)).unwrap();
            if !uri.contains('\t') {
                prop_assert_eq!(&found["request_uri"], &Value::from(format!("/{uri}")));
            }
        }
    }

    #[test]
    fn csv_rows(note in "[a-z\", \n]{0,20}", forged in any::<bool>()) {
        let yaml = "schema: Custom.Rows\nparser:\n  csv: { columns: [src, user, note] }\nfields:\n  - { name: src, type: string }\n  - { name: user, type: string }\n  - { name: note, type: string }\n";
        let known = panther_logs::LogTypes::default().with_schema(yaml).unwrap();
        let note = if forged { format!("{note}\n10.0.0.1,root,login\n") } else { note };
        let text = format!("192.0.2.1,ana,\"{}\"\n192.0.2.2,bob,plain\n", note.replace('"', "\"\""));
        let mut classifier = panther_logs::Classifier::new(&known, &["Custom.Rows"]).unwrap();
        let mut rows = Vec::new();
        let mut reader = panther_logs::ObjectReader::new("object", text.as_bytes(), panther_logs::Limits::default());
        while let Some(one) = {
            reader.set_within_event(classifier.is_within_event());
            reader.next_record().unwrap()
        } {
            if let outcome @ (Outcome::Events(_) | Outcome::Joined(_)) = classifier.classify(&one, &context()) {
                rows.extend(events(outcome));
            }
        }
        let rows: Vec<(&str, &str, Option<&str>)> = rows
            .iter()
            .map(|row| (row["src"].as_str().unwrap(), row["user"].as_str().unwrap(), row["note"].as_str()))
            .collect();
        prop_assert_eq!(rows, [("192.0.2.1", "ana", Some(&*note)), ("192.0.2.2", "bob", Some("plain"))]);
    }
}

#[test]
fn quotes_of_a_client_stay_where_they_are() {
    let s3 = |request: &str, referrer: &str, agent: &str| {
        format!(
            "79a5 b [06/Feb/2024:00:00:38 +0000] 192.0.2.3 - 3E57 REST.GET.OBJECT k \"{request}\" 200 - 113 113 7 5 \"{referrer}\" \"{agent}\" - s9lz= SigV4 ECDHE AuthHeader b.example.com TLSV1.2 - -"
        )
    };
    let found = event(
        "AWS.S3ServerAccess",
        &s3("GET /\" HTTP/1.1", "foo \"bar\" baz", "x \"y z\" w"),
    )
    .unwrap();
    assert_eq!(found["requesturi"], "GET /\" HTTP/1.1");
    assert_eq!(found["referrer"], "foo \"bar\" baz");
    assert_eq!(found["useragent"], "x \"y z\" w");
    assert_eq!(found["tlsVersion"], "TLSV1.2");
    // an ambiguous position leads to rejection
    let imitated = s3("GET / HTTP/1.1", "-", "x\" 404 - 1 1 1 1 \"y");
    assert!(event("AWS.S3ServerAccess", &imitated).is_none());
    // an internal operation, without a client request
    let none = "79a5 b [06/Feb/2024:00:00:38 +0000] - svc:s3.amazonaws.com 3E57 S3.EXPIRE.OBJECT k - - - - 113 - - - - v1 s9lz= - - - - - -";
    assert_eq!(
        event("AWS.S3ServerAccess", none).unwrap()["versionid"],
        "v1"
    );
}

#[test]
fn other_forms_of_web_access_logs() {
    let at = "[02/Feb/2019:05:38:45 +0100]";
    let common = "Apache.AccessCommon";
    let found = event(common, &format!("127.0.0.1 - - {at} \"-\" 408 152")).unwrap();
    assert_eq!(
        (
            found["response_status"].as_i64(),
            found.get("request_method")
        ),
        (Some(408), None)
    );
    let found = event(
        common,
        &format!("127.0.0.1 - - {at} \"\\x16\\x03\\x01\" 400 226"),
    )
    .unwrap();
    assert_eq!(found["request_uri"], "\\x16\\x03\\x01");
    let found = event(
        common,
        &format!("www.example.com:80 192.168.33.2 - a b {at} \"GET /c d HTTP/1.1\" 200 -"),
    )
    .unwrap();
    assert_eq!(found["virtual_host"], "www.example.com:80");
    assert_eq!(found["remote_host_ip_address"], "192.168.33.2");
    assert_eq!(found["request_user"], "a b");
    assert_eq!(found["request_uri"], "/c d");
    assert!(
        event(
            "Nginx.Access",
            &format!("10.0.0.2\\x22, 10.0.0.1 - - {at} \"GET / HTTP/1.1\" 200 1 \"-\" \"x\"")
        )
        .is_none()
    );
    assert!(
        event(
            "Nginx.Access",
            &format!("10.0.0.2 - - {at} \"GET / HTTP/1.1\" 200 1 \"-\" \"x\" \"-\" 0.01")
        )
        .is_none()
    );
    let found = event(
        "Nginx.Access",
        &format!(
            "10.0.0.2 - - {at} \"GET / HTTP/1.1\" 200 1 \"-\" \"x\" \"203.0.113.1, 10.1.1.1\""
        ),
    )
    .unwrap();
    assert_eq!(
        found["p_any_ip_addresses"],
        serde_json::json!(["10.0.0.2", "10.1.1.1", "203.0.113.1"])
    );
}

#[test]
fn repeated_names_of_structured_data_keep_all_values() {
    let data = |text: &str| {
        event("Syslog.RFC5424", &format!("<13>1 - h a 1 - {text}")).unwrap()["structured_data"]
            .clone()
    };
    assert_eq!(
        data("[origin ip=\"192.0.2.1\" x=\"1\" ip=\"198.51.100.9\"] m"),
        serde_json::json!({"origin": {"ip": ["192.0.2.1", "198.51.100.9"], "x": "1"}})
    );
    assert_eq!(
        data("[a t=\"1\"][b][a u=\"2\"] m"),
        serde_json::json!({"a": [{"t": "1"}, {"u": "2"}], "b": {}})
    );
}
