//! Forms of one log type that differ between the versions and configurations of its senders.

use serde_json::{Value, json};

use crate::{
    classifier, context,
    log_types::{made, refused},
    reasons, record,
};

#[test]
fn columns_of_older_and_newer_formats() {
    // S3 before 2019 ended with the version id, then with the host header
    let s3 = r#"79a5 bucket [06/Feb/2018:00:00:38 +0000] 192.0.2.3 - 3E57 REST.GET.VERSIONING - "GET /b?versioning HTTP/1.1" 200 - 113 - 7 - "-" "S3Console/0.4" -"#;
    for (tail, more) in [
        ("", None),
        (" s9lz= SigV2 - AuthHeader bucket.s3.amazonaws.com", None),
        (
            " s9lz= SigV4 - AuthHeader bucket.s3.amazonaws.com TLSv1.2",
            None,
        ),
        (
            " s9lz= SigV4 - AuthHeader bucket.s3.amazonaws.com TLSv1.2 arn:x Yes new",
            Some(json!(["arn:x", "Yes", "new"])),
        ),
    ] {
        let made = &made("AWS.S3ServerAccess", &[&format!("{s3}{tail}")])[0];
        assert_eq!(made["useragent"], "S3Console/0.4", "{tail}");
        assert_eq!(made.get("additionalFields").cloned(), more, "{tail}");
    }
    assert!(
        refused("AWS.S3ServerAccess", &format!("{s3} s9lz= SigV4"))
            .contains("not those of the format")
    );
    // load balancers
    let alb = r#"https 2017-07-02T22:23:00.186641Z app/lb/50dc 192.168.131.39:2817 10.0.0.1:80 0.086 0.048 0.037 200 200 0 57 "GET https://www.example.com:443/ HTTP/1.1" "curl/7.46.0" ECDHE-RSA TLSv1.2 arn:aws:elasticloadbalancing:us-east-2:123456789012:targetgroup/t/73 "Root=1-58""#;
    let named = r#" "www.example.com" "arn:aws:acm:us-east-2:123456789012:certificate/12" 1"#;
    let acted = r#" 2017-07-02T22:22:48.364000Z "authenticate,forward" "-""#;
    for (tail, domain, action) in [
        (String::new(), None, None),
        (named.into(), Some("www.example.com"), None),
        (
            format!("{named}{acted}"),
            Some("www.example.com"),
            Some("authenticate"),
        ),
        (
            format!(r#"{named}{acted} "-""#),
            Some("www.example.com"),
            Some("authenticate"),
        ),
        (
            format!(r#"{named}{acted} "-" "10.0.0.1:80" "200""#),
            Some("www.example.com"),
            Some("authenticate"),
        ),
        (
            format!(r#"{named}{acted} "-" "10.0.0.1:80" "200" "-" "-" TID_1 new"#),
            Some("www.example.com"),
            Some("authenticate"),
        ),
    ] {
        let made = &made("AWS.ALB", &[&format!("{alb}{tail}")])[0];
        assert_eq!(made["traceId"], "Root=1-58", "{tail}");
        assert_eq!(
            made.get("domainName").and_then(Value::as_str),
            domain,
            "{tail}"
        );
        assert_eq!(
            made["actionsExecuted"].get(0).and_then(Value::as_str),
            action,
            "{tail}"
        );
        assert_eq!(
            made["p_any_ip_addresses"],
            json!(["10.0.0.1", "192.168.131.39"])
        );
    }
}

#[test]
fn flows_without_a_header_are_known_by_their_columns() {
    let columns: Vec<String> = [
        "123456789010",
        "eni-1",
        "172.31.16.139",
        "203.0.113.12",
        "20641",
        "22",
        "6",
        "20",
        "4249",
        "1418530010",
        "1418530070",
        "REJECT",
        "OK",
        "vpc-1",
        "subnet-1",
        "i-01",
        "2",
        "IPv4",
        "172.31.16.140",
        "203.0.113.13",
        "us-east-1",
        "use1-az1",
        "-",
        "-",
        "-",
        "S3",
        "egress",
        "8",
    ]
    .into_iter()
    .map(String::from)
    .chain((0..10).map(|number| format!("ecs-{number}")))
    .chain(["BPA".into()])
    .collect();
    for (version, count, name, value) in [
        ("2", 14, "status", "OK"),
        ("3", 21, "pktDstAddr", "203.0.113.13"),
        ("4", 25, "azId", "use1-az1"),
        ("5", 29, "flowDirection", "egress"),
        ("7", 39, "ecsTaskId", "ecs-9"),
        ("8", 40, "rejectReason", "BPA"),
    ] {
        let line = format!("{version} {}", columns[..count - 1].join(" "));
        let made = &made("AWS.VPCFlow", &[&line])[0];
        assert_eq!(made[name], value, "{line}");
        assert!(
            refused(
                "AWS.VPCFlow",
                &format!("x {}", columns[..count - 1].join(" "))
            )
            .contains("no header line")
        );
    }
    // another order, with the newest columns, and few of them
    let made = &made(
        "AWS.VPCFlow",
        &[
            "reject-reason srcaddr ecs-task-arn",
            "BPA 192.0.2.1 arn:aws:ecs:us-east-1:123456789012:task/x",
        ],
    )[0];
    assert_eq!(
        (&made["rejectReason"], &made["p_any_aws_arns"]),
        (
            &json!("BPA"),
            &json!(["arn:aws:ecs:us-east-1:123456789012:task/x"])
        )
    );
}

#[test]
fn addresses_that_a_proxy_wrote_stand_in_the_place_of_the_client() {
    let rest = r#"[02/Jan/2026:03:04:05 +0000] "GET / HTTP/1.1" 200 612 "-" "curl""#;
    let nginx = &made(
        "Nginx.Access",
        &[&format!("10.0.0.2, 10.0.0.1,2001:db8::1 - ana {rest}")],
    )[0];
    assert_eq!(nginx["remoteAddr"], "10.0.0.2, 10.0.0.1,2001:db8::1");
    let apache = &made(
        "Apache.AccessCombined",
        &[&format!("10.0.0.2, 10.0.0.1,2001:db8::1 - ana {rest}")],
    )[0];
    assert_eq!(apache["request_user"], "ana");
    assert!(apache.get("virtual_host").is_none());
    for event in [nginx, apache] {
        assert_eq!(
            event["p_any_ip_addresses"],
            json!(["10.0.0.1", "10.0.0.2", "2001:db8::1"])
        );
    }
    for line in ["unknown, 10.0.0.1 - ana", "<script>, 10.0.0.1 - ana"] {
        assert!(
            refused("Nginx.Access", &format!("{line} {rest}"))
                .contains("neither an address nor a list")
        );
        let outcome = classifier(&["Apache.AccessCombined"])
            .classify(&record(1, &format!("{line} {rest}")), &context());
        if let panther_logs::Outcome::Events(made) = outcome {
            panic!("{made:?}");
        }
    }
}

#[test]
fn zeek_tables() {
    let dns = [
        "#separator \\x09",
        "#set_separator\t,",
        "#path\tdns",
        "#fields\tts\tuid\tid.orig_h\tid.orig_p\tid.resp_h\tid.resp_p\tproto\tquery\tAA\tanswers\tTTLs\trejected",
        "#types\ttime\tstring\taddr\tport\taddr\tport\tenum\tstring\tbool\tvector[string]\tvector[interval]\tbool",
    ];
    let row = "1709633472.597629\tCx1\t192.0.2.1\t63357\t192.0.2.2\t53\tudp\ta\\x2cb.example\tT\t192.0.2.9,x.example\t30.5,-\t-";
    let lines = |row: &'static str| [dns.as_slice(), &[row]].concat();
    let made_row = &made("Zeek.DNS", &lines(row))[0];
    let times: Value = serde_json::from_str("[30.5]").unwrap();
    assert_eq!(
        *made_row,
        json!({"ts": "2024-03-05 10:11:12.597629000", "uid": "Cx1", "id.orig_h": "192.0.2.1", "id.orig_p": 63357, "id.resp_h": "192.0.2.2",
            "id.resp_p": 53, "proto": "udp", "query": "a,b.example", "AA": true, "answers": ["192.0.2.9", "x.example"], "TTLs": times,
            "p_event_time": "2024-03-05 10:11:12.597629000", "p_any_ip_addresses": ["192.0.2.1", "192.0.2.2", "192.0.2.9"],
            "p_any_domain_names": ["x.example"]})
    );
    let empty =
        "1709633472.597629\tCx1\t192.0.2.1\t63357\t192.0.2.2\t53\tudp\t(empty)\tF\t(empty)\t-\tT";
    let made_row = &made("Zeek.DNS", &lines(empty))[0];
    assert_eq!(
        (
            &made_row["answers"],
            &made_row["query"],
            &made_row["rejected"]
        ),
        (&json!([]), &json!(""), &json!(true))
    );
    // a table of another log, and one without its names
    let mut other = classifier(&["Zeek.DNS"]);
    for line in ["#path\tconn", dns[3], dns[4]] {
        other.classify(&record(1, line), &context());
    }
    assert_eq!(
        reasons(other.classify(&record(2, row), &context())),
        ["is a row of another log: `#path` says so"]
    );
    assert!(refused("Zeek.DNS", row).contains("no `#fields` line came before"));
}
