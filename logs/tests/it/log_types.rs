//! Built-in log types: a record in its vendor's format, and the resulting event.

use panther_logs::LogTypes;
use serde_json::{Value, json};

use crate::{classifier, context, events, reasons, record};

/// The events of `lines`, without the fields that are the same for every event. All lines but the last may be headers.
fn made(log_type: &str, lines: &[&str]) -> Vec<Value> {
    let mut classifier = classifier(&[log_type]);
    let (last, before) = lines.split_last().unwrap();
    for line in before {
        classifier.classify(&record(1, line), &context());
    }
    let mut events = events(classifier.classify(&record(2, last), &context()));
    for event in &mut events {
        let event = event.as_object_mut().unwrap();
        assert_eq!(event.remove("p_log_type"), Some(log_type.into()));
        assert_eq!(
            event.remove("p_parse_time"),
            Some("2026-01-01 00:00:00.000000000".into())
        );
        assert_eq!(event.remove("p_source_id"), Some("source-1".into()));
        assert_eq!(event.remove("p_source_label"), Some("Source One".into()));
        assert!(event.remove("p_row_id").is_some());
    }
    events
}

fn refused(log_type: &str, line: &str) -> String {
    reasons(classifier(&[log_type]).classify(&record(1, line), &context())).join("; ")
}

#[test]
fn aws_cloudtrail() {
    let line = r#"{"eventVersion":"1.08","userIdentity":{"type":"AssumedRole","arn":"arn:aws:sts::123456789012:assumed-role/dev/al","accountId":"123456789012",
        "sessionContext":{"sessionIssuer":{"arn":"arn:aws:iam::123456789012:role/dev","accountId":"123456789012"},"attributes":{"creationDate":"2026-01-01T00:00:00Z"}}},
        "eventTime":"2026-01-01T10:20:30Z","eventSource":"ec2.amazonaws.com","eventName":"RunInstances","awsRegion":"eu-west-1","sourceIPAddress":"198.51.100.7",
        "requestParameters":{"instanceType":"t3.micro","minCount":1,"ratio":1.0,"big":12345678901234567890123},"responseElements":{"instancesSet":{"items":[{"instanceId":"i-0abc",
        "privateIpAddress":"10.0.0.9","tagSet":{}}]},"ownerId":"999999999999"},"errorCode":null,"additionalEventData":{},"eventID":"e1","eventType":"AwsApiCall",
        "resources":[{"ARN":"arn:aws:s3:::bucket","accountId":"210987654321","type":"AWS::S3::Bucket"}],"recipientAccountId":"123456789012","newField":[]}"#;
    let events = made("AWS.CloudTrail", &[line]);
    let mut expected: Value = serde_json::from_str(line).unwrap();
    expected["eventTime"] = "2026-01-01 10:20:30.000000000".into();
    expected["p_event_time"] = "2026-01-01 10:20:30.000000000".into();
    expected["p_any_ip_addresses"] = json!(["10.0.0.9", "198.51.100.7"]);
    expected["p_any_aws_arns"] = json!([
        "arn:aws:iam::123456789012:role/dev",
        "arn:aws:s3:::bucket",
        "arn:aws:sts::123456789012:assumed-role/dev/al"
    ]);
    expected["p_any_aws_account_ids"] = json!(["123456789012", "210987654321"]);
    expected["p_any_aws_instance_ids"] = json!(["i-0abc"]);
    assert_eq!(events, [expected]);
    assert_eq!(
        refused("AWS.CloudTrail", r#"{"eventVersion":"1.08"}"#),
        "awsRegion: is required and missing"
    );
    assert_eq!(
        refused(
            "AWS.CloudTrail",
            r#"{"eventVersion":"1.08","userIdentity":[]}"#
        ),
        "userIdentity: expected an object, found array"
    );
}

#[test]
fn aws_vpc_flow() {
    let header = "version account-id interface-id srcaddr dstaddr srcport dstport protocol packets bytes start end action log-status vpc-id new-column";
    let line = "3 123456789010 eni-1 172.31.16.139 203.0.113.12 20641 22 6 20 4249 1418530010 1418530070 ACCEPT OK vpc-1 x";
    let expected = json!({
        "version": 3, "account": "123456789010", "interfaceId": "eni-1", "srcAddr": "172.31.16.139", "dstAddr": "203.0.113.12", "srcPort": 20641,
        "dstPort": 22, "protocol": 6, "packets": 20, "bytes": 4249, "start": "2014-12-14 04:06:50.000000000", "end": "2014-12-14 04:07:50.000000000",
        "action": "ACCEPT", "status": "OK", "vpcId": "vpc-1", "new-column": "x", "p_event_time": "2014-12-14 04:06:50.000000000",
        "p_any_ip_addresses": ["172.31.16.139", "203.0.113.12"], "p_any_aws_account_ids": ["123456789010"]
    });
    assert_eq!(made("AWS.VPCFlow", &[header, line]), [expected]);
    let no_data = "2 123456789010 eni-1 - - - - - - - 1431280876 1431280934 - NODATA";
    let expected = json!({
        "version": 2, "account": "123456789010", "interfaceId": "eni-1", "start": "2015-05-10 18:01:16.000000000",
        "end": "2015-05-10 18:02:14.000000000", "status": "NODATA", "p_event_time": "2015-05-10 18:01:16.000000000",
        "p_any_aws_account_ids": ["123456789010"]
    });
    assert_eq!(made("AWS.VPCFlow", &[no_data]), [expected]);
    assert!(refused("AWS.VPCFlow", line).contains("no header line"));
}

#[test]
fn aws_s3_server_access() {
    let line = concat!(
        r#"79a59df900b949e5 awsexamplebucket1 [06/Feb/2019:00:00:38 +0000] 192.0.2.3 arn:aws:iam::123456789012:user/al 3E57427F3EXAMPLE REST.GET.OBJECT "#,
        r#"a%20key "GET /awsexamplebucket1/a%20key?q="x"y HTTP/1.1" 200 - 113 - 7 - "-" "S3Console/0.4" - s9lzHYrFp76= SigV4 ECDHE-RSA-AES128-GCM-SHA256 "#,
        r#"AuthHeader awsexamplebucket1.s3.us-west-1.amazonaws.com TLSV1.2 - Yes"#
    );
    let expected = json!({
        "bucketowner": "79a59df900b949e5", "bucket": "awsexamplebucket1", "time": "2019-02-06 00:00:38.000000000", "remoteip": "192.0.2.3",
        "requester": "arn:aws:iam::123456789012:user/al", "requestid": "3E57427F3EXAMPLE", "operation": "REST.GET.OBJECT", "key": "a%20key",
        "requesturi": "GET /awsexamplebucket1/a%20key?q=\"x\"y HTTP/1.1", "httpstatus": 200, "bytessent": 113, "totaltime": 7,
        "useragent": "S3Console/0.4", "hostid": "s9lzHYrFp76=", "signatureversion": "SigV4", "ciphersuite": "ECDHE-RSA-AES128-GCM-SHA256",
        "authenticationtype": "AuthHeader", "hostheader": "awsexamplebucket1.s3.us-west-1.amazonaws.com", "tlsVersion": "TLSV1.2",
        "additionalFields": ["-", "Yes"], "p_event_time": "2019-02-06 00:00:38.000000000", "p_any_ip_addresses": ["192.0.2.3"],
        "p_any_aws_arns": ["arn:aws:iam::123456789012:user/al"], "p_any_aws_account_ids": ["123456789012"]
    });
    assert_eq!(made("AWS.S3ServerAccess", &[line]), [expected]);
    assert!(refused("AWS.S3ServerAccess", "a b c d").contains("fewer than 25"));
}

#[test]
fn aws_alb() {
    let line = concat!(
        r#"h2 2018-07-02T22:23:00.186641Z app/my-loadbalancer/50dc6c495c0c9188 10.0.1.252:48160 10.0.0.66:9000 0.000 0.002 0.000 200 200 5 257 "#,
        r#""GET https://10.0.2.105:773/ HTTP/2.0" "curl/7.46.0" ECDHE-RSA-AES128-GCM-SHA256 TLSv1.2 "#,
        r#"arn:aws:elasticloadbalancing:us-east-2:123456789012:targetgroup/my-targets/73e2d6bc24d8a067 "Root=1-58337327-72bd00b0343d75b906739c42" "www.example.com" "#,
        r#""arn:aws:acm:us-east-2:123456789012:certificate/12345678" 1 2018-07-02T22:22:48.364000Z "waf,redirect" "https://example.com:80/" "-" "10.0.0.66:9000" "200" "-" "-" TID_1"#
    );
    // The digits keep their original form.
    let none: Value = serde_json::from_str("0.000").unwrap();
    let expected = json!({
        "type": "h2", "timestamp": "2018-07-02 22:23:00.186641000", "elb": "app/my-loadbalancer/50dc6c495c0c9188", "clientIp": "10.0.1.252",
        "clientPort": 48160, "targetIp": "10.0.0.66", "targetPort": 9000, "requestProcessingTime": none, "targetProcessingTime": 0.002,
        "responseProcessingTime": none, "elbStatusCode": 200, "targetStatusCode": 200, "receivedBytes": 5, "sentBytes": 257,
        "requestHttpMethod": "GET", "requestUrl": "https://10.0.2.105:773/", "requestHttpVersion": "HTTP/2.0", "userAgent": "curl/7.46.0",
        "sslCipher": "ECDHE-RSA-AES128-GCM-SHA256", "sslProtocol": "TLSv1.2",
        "targetGroupArn": "arn:aws:elasticloadbalancing:us-east-2:123456789012:targetgroup/my-targets/73e2d6bc24d8a067",
        "traceId": "Root=1-58337327-72bd00b0343d75b906739c42", "domainName": "www.example.com",
        "chosenCertArn": "arn:aws:acm:us-east-2:123456789012:certificate/12345678", "matchedRulePriority": 1,
        "requestCreationTime": "2018-07-02 22:22:48.364000000", "actionsExecuted": ["waf", "redirect"], "redirectUrl": "https://example.com:80/",
        "targetPortList": "10.0.0.66:9000", "targetStatusCodeList": "200", "connTraceId": "TID_1",
        "p_event_time": "2018-07-02 22:23:00.186641000", "p_any_ip_addresses": ["10.0.0.66", "10.0.1.252"], "p_any_domain_names": ["www.example.com"],
        "p_any_aws_arns": [
            "arn:aws:acm:us-east-2:123456789012:certificate/12345678",
            "arn:aws:elasticloadbalancing:us-east-2:123456789012:targetgroup/my-targets/73e2d6bc24d8a067"
        ],
        "p_any_aws_account_ids": ["123456789012"]
    });
    assert_eq!(made("AWS.ALB", &[line]), [expected]);
    assert!(
        refused("AWS.ALB", &line.replacen("h2", "gopher", 1))
            .contains("type: `gopher` is not an allowed value")
    );
}

#[test]
fn aws_guard_duty() {
    let line = r#"{"schemaVersion":"2.0","accountId":"123456789012","region":"us-west-2","partition":"aws","id":"f1","arn":"arn:aws:guardduty:us-west-2:123456789012:detector/d/finding/f1",
        "type":"Recon:EC2/PortProbe","resource":{"resourceType":"Instance","instanceDetails":{"instanceId":"i-99","networkInterfaces":[{"publicIp":"198.51.100.1","publicDnsName":"ec2.example.com"}],
        "tags":[{"key":"env","value":"prod"}]}},"severity":2,"createdAt":"2026-01-01T00:00:00.5Z","updatedAt":"2026-01-02T00:00:00Z","title":"t","description":"d",
        "service":{"serviceName":"guardduty","detectorId":"d","action":{"networkConnectionAction":{"remoteIpDetails":{"ipAddressV4":"203.0.113.9"}}},"eventFirstSeen":"2026-01-01T00:00:00Z","count":3}}"#;
    let events = made("AWS.GuardDuty", &[line]);
    let mut expected: Value = serde_json::from_str(line).unwrap();
    expected["createdAt"] = "2026-01-01 00:00:00.500000000".into();
    expected["updatedAt"] = "2026-01-02 00:00:00.000000000".into();
    expected["service"]["eventFirstSeen"] = "2026-01-01 00:00:00.000000000".into();
    expected["p_event_time"] = "2026-01-02 00:00:00.000000000".into();
    expected["p_any_ip_addresses"] = json!(["198.51.100.1", "203.0.113.9"]);
    expected["p_any_domain_names"] = json!(["ec2.example.com"]);
    expected["p_any_aws_arns"] =
        json!(["arn:aws:guardduty:us-west-2:123456789012:detector/d/finding/f1"]);
    expected["p_any_aws_account_ids"] = json!(["123456789012"]);
    expected["p_any_aws_instance_ids"] = json!(["i-99"]);
    expected["p_any_aws_tags"] = json!(["env:prod"]);
    assert_eq!(events, [expected]);
}

#[test]
fn okta_system_log() {
    let line = r#"{"uuid":"u1","published":"2026-01-01T01:02:03.456Z","eventType":"user.session.start","version":"0","severity":"INFO","legacyEventType":null,
        "actor":{"id":"00u1","type":"User","alternateId":"al@example.com","displayName":"Al","detailEntry":null},
        "client":{"ipAddress":"198.51.100.5","geographicalContext":{"geolocation":{"lat":37.7,"lon":-122.4}},"userAgent":{"os":"Mac OS X"}},
        "request":{"ipChain":[{"ip":"198.51.100.5","version":"V4"},{"ip":"10.1.1.1"}]},"outcome":{"result":"FAILURE","reason":"INVALID"},
        "target":[{"id":"0oa1","type":"AppInstance","alternateId":"Console"}],"debugContext":{"debugData":{"requestUri":"/x"}},
        "securityContext":{"asNumber":7018,"domain":"example.net","isProxy":false}}"#;
    let events = made("Okta.SystemLog", &[line]);
    let mut expected: Value = serde_json::from_str(line).unwrap();
    expected["published"] = "2026-01-01 01:02:03.456000000".into();
    expected["p_event_time"] = "2026-01-01 01:02:03.456000000".into();
    expected["p_any_ip_addresses"] = json!(["10.1.1.1", "198.51.100.5"]);
    expected["p_any_domain_names"] = json!(["example.net"]);
    expected["p_any_emails"] = json!(["al@example.com"]);
    expected["p_any_actor_ids"] = json!(["00u1"]);
    assert_eq!(events, [expected]);
}

#[test]
fn gcp_audit_log() {
    let line = r#"{"logName":"projects/p/logs/cloudaudit.googleapis.com%2Factivity","insertId":"i1","resource":{"type":"project","labels":{"project_id":"p"}},
        "timestamp":"2026-01-01T00:00:01.123456789Z","receiveTimestamp":"2026-01-01T00:00:02Z","severity":"NOTICE",
        "protoPayload":{"@type":"type.googleapis.com/google.cloud.audit.AuditLog","serviceName":"iam.googleapis.com","methodName":"SetIamPolicy",
        "authenticationInfo":{"principalEmail":"al@example.com"},"requestMetadata":{"callerIp":"203.0.113.4","callerSuppliedUserAgent":"gcloud"},
        "authorizationInfo":[{"permission":"x","granted":true}],"numResponseItems":"5"}}"#;
    let events = made("GCP.AuditLog", &[line]);
    let mut expected: Value = serde_json::from_str(line).unwrap();
    expected["timestamp"] = "2026-01-01 00:00:01.123456789".into();
    expected["receiveTimestamp"] = "2026-01-01 00:00:02.000000000".into();
    expected["p_event_time"] = "2026-01-01 00:00:01.123456789".into();
    expected["p_any_ip_addresses"] = json!(["203.0.113.4"]);
    expected["p_any_emails"] = json!(["al@example.com"]);
    assert_eq!(events, [expected]);
    let other = line.replace("%2Factivity", "%2Fother");
    assert!(
        refused("GCP.AuditLog", &other).contains(
            "logName: `projects/p/logs/cloudaudit.googleapis.co…` is not an allowed value"
        )
    );
    let received_only = line.replace("\"timestamp\":\"2026-01-01T00:00:01.123456789Z\",", "");
    assert_eq!(
        made("GCP.AuditLog", &[&received_only])[0]["p_event_time"],
        "2026-01-01 00:00:02.000000000"
    );
}

#[test]
fn gsuite_activity_event() {
    let line = r#"{"kind":"admin#reports#activity","id":{"time":"2026-01-01T00:00:00.123Z","uniqueQualifier":"-77","applicationName":"drive","customerId":"C1"},
        "actor":{"email":"al@example.com","profileId":"11"},"ownerDomain":"example.com","ipAddress":"203.0.113.4",
        "events":[{"type":"acl_change","name":"change_user_access","parameters":[{"name":"doc_id","value":"d1"},{"name":"billable","boolValue":true},
        {"name":"old_value","multiValue":["none"]},{"name":"count","intValue":"12"},{"name":"empty"},
        {"name":"info","messageValue":{"parameter":[{"name":"inner","intValue":"-1"}]}}]},{"type":"access","name":"view"}]}"#;
    let common = json!({
        "kind": "admin#reports#activity",
        "id": {"time": "2026-01-01 00:00:00.123000000", "uniqueQualifier": "-77", "applicationName": "drive", "customerId": "C1"},
        "actor": {"email": "al@example.com", "profileId": "11"}, "ownerDomain": "example.com", "ipAddress": "203.0.113.4",
        "p_event_time": "2026-01-01 00:00:00.123000000", "p_any_ip_addresses": ["203.0.113.4"], "p_any_domain_names": ["example.com"],
        "p_any_emails": ["al@example.com"], "p_any_actor_ids": ["11"]
    });
    let mut first = common.clone();
    first["type"] = "acl_change".into();
    first["name"] = "change_user_access".into();
    first["parameters"] = json!({"doc_id": "d1", "billable": true, "old_value": ["none"], "count": 12, "empty": null, "info": {"inner": -1}});
    let mut second = common;
    second["type"] = "access".into();
    second["name"] = "view".into();
    assert_eq!(
        made("GSuite.ActivityEvent", &[line]),
        [first.clone(), second]
    );
    let mut again = first.clone();
    again
        .as_object_mut()
        .unwrap()
        .retain(|name, _| !name.starts_with("p_"));
    again["id"]["time"] = "2026-01-01T00:00:00.123Z".into();
    assert_eq!(made("GSuite.ActivityEvent", &[&again.to_string()]), [first]);
}

#[test]
fn crowdstrike_fdr_event() {
    let line = r#"{"event_simpleName":"DnsRequest","name":"DnsRequestV4","aid":"a1","aip":"203.0.113.8","cid":"c1","timestamp":"1767225600123",
        "ContextTimeStamp":"1767225600.001","DomainName":"www.example.com.","IP4Records":"198.51.100.1;198.51.100.2;"}"#;
    let events = made("Crowdstrike.FDREvent", &[line]);
    let record: Value = serde_json::from_str(line).unwrap();
    let expected = json!({
        "fdr_event_type": "DnsRequest", "event_simpleName": "DnsRequest", "name": "DnsRequestV4", "aid": "a1", "aip": "203.0.113.8", "cid": "c1",
        "timestamp": "2026-01-01 00:00:00.123000000", "ContextTimeStamp": "2026-01-01 00:00:00.001000000", "event": record,
        "p_event_time": "2026-01-01 00:00:00.001000000", "p_any_ip_addresses": ["198.51.100.1", "198.51.100.2", "203.0.113.8"],
        "p_any_domain_names": ["www.example.com"], "p_any_trace_ids": ["a1", "c1"]
    });
    assert_eq!(events, std::slice::from_ref(&expected));
    // an event is its own record
    let mut again = expected.clone();
    let is_own = |name: &str| !name.starts_with("p_");
    again
        .as_object_mut()
        .unwrap()
        .retain(|name, _| is_own(name));
    assert_eq!(
        made("Crowdstrike.FDREvent", &[&again.to_string()]),
        [expected]
    );
    // events of the console have other names in their header
    let line = r#"{"eid":118,"EventType":"Event_ExternalApiEvent","ExternalApiType":"Event_RemoteResponseSessionStartEvent","AgentIdString":"a1",
        "CustomerIdString":"c1","cid":"","HostnameField":"host-1","timestamp":"2026-01-01T00:00:00Z"}"#;
    let event = &made("Crowdstrike.FDREvent", &[line])[0];
    assert_eq!(
        event["fdr_event_type"],
        "Event_RemoteResponseSessionStartEvent"
    );
    assert_eq!(
        (&event["aid"], &event["cid"], &event["Hostname"]),
        (&json!("a1"), &json!("c1"), &json!("host-1"))
    );
    assert_eq!(event["event"]["cid"], "");
    assert_eq!(event["p_event_time"], "2026-01-01 00:00:00.000000000");
    assert_eq!(
        refused(
            "Crowdstrike.FDREvent",
            r#"{"aid":"a1","cid":"c1","ComputerName":"host-1"}"#
        ),
        "has neither event_simpleName nor ExternalApiType"
    );
}

#[test]
fn github_audit() {
    let line = r#"{"@timestamp":1623971719091,"_document_id":"abCD","action":"git.push","actor":"al","actor_id":123,"actor_ip":"203.0.113.8","actor_location":{"country_code":"US"},
        "created_at":1623971719091,"org":"my-org","repo":"my-org/my-repo","transport_protocol":2,"user":"","business":"","external_identity_nameid":"al@example.com"}"#;
    let events = made("GitHub.Audit", &[line]);
    let mut expected: Value = serde_json::from_str(line).unwrap();
    expected["@timestamp"] = "2021-06-17 23:15:19.091000000".into();
    expected["created_at"] = "2021-06-17 23:15:19.091000000".into();
    expected["p_event_time"] = "2021-06-17 23:15:19.091000000".into();
    expected["p_any_ip_addresses"] = json!(["203.0.113.8"]);
    expected["p_any_emails"] = json!(["al@example.com"]);
    expected["p_any_usernames"] = json!(["al"]);
    expected["p_any_actor_ids"] = json!(["123"]);
    assert_eq!(events, [expected]);
}

#[test]
fn nginx_access() {
    let line = r#"198.51.100.7 - al [02/Jan/2026:03:04:05 +0100] "GET /x?q=\"y\" HTTP/1.1" 404 153 "-" "Mozilla/5.0 (\\x)""#;
    let expected = json!({
        "remoteAddr": "198.51.100.7", "remoteUser": "al", "time": "2026-01-02 02:04:05.000000000", "request": "GET /x?q=\"y\" HTTP/1.1",
        "status": 404, "bodyBytesSent": 153, "httpUserAgent": "Mozilla/5.0 (\\x)", "p_event_time": "2026-01-02 02:04:05.000000000",
        "p_any_ip_addresses": ["198.51.100.7"]
    });
    assert_eq!(made("Nginx.Access", &[line]), [expected]);
    assert!(refused("Nginx.Access", &line.replace("404", "4o4")).contains("`4o4` is no status"));
}

#[test]
fn syslog_rfc5424() {
    let line = r#"<165>1 2026-01-11T22:14:15.003Z mail.example.com evntslog - ID47 [exampleSDID@32473 iut="3" eventSource="App \"x\" \]"][other] from 10.0.0.1 port 22"#;
    let expected = json!({
        "priority": 165, "facility": 20, "severity": 5, "version": 1, "timestamp": "2026-01-11 22:14:15.003000000", "hostname": "mail.example.com",
        "appname": "evntslog", "msgid": "ID47", "structured_data": {"exampleSDID@32473": {"iut": "3", "eventSource": "App \"x\" ]"}, "other": {}},
        "message": "from 10.0.0.1 port 22", "p_event_time": "2026-01-11 22:14:15.003000000", "p_any_ip_addresses": ["10.0.0.1"],
        "p_any_domain_names": ["mail.example.com"]
    });
    assert_eq!(made("Syslog.RFC5424", &[line]), [expected]);
    let bare = json!({"priority": 0, "facility": 0, "severity": 0, "version": 1, "p_event_time": "2026-01-01 00:00:00.000000000"});
    assert_eq!(made("Syslog.RFC5424", &["<0>1 - - - - - -"]), [bare]);
    for line in [
        "<192>1 - - - - - -",
        "<1>1 - -",
        "<1>1 - - - - - [x",
        "<1>1 - - - - - [x a=\"b]",
        "plain",
    ] {
        assert!(!refused("Syslog.RFC5424", line).is_empty());
    }
}

#[test]
fn zeek_dns() {
    let line = r#"{"ts":1591367999.305988,"uid":"CMdzit1AMNsmfAIiQc","id.orig_h":"192.168.4.76","id.orig_p":36844,"id.resp_h":"192.168.4.1","id.resp_p":53,"proto":"udp",
        "query":"testmyids.com","qtype":1,"AA":false,"Z":0,"answers":["31.3.245.133","xn--bcher-kva.example"],"TTLs":[3600.0],"rejected":false}"#;
    let events = made("Zeek.DNS", &[line]);
    let mut expected: Value = serde_json::from_str(line).unwrap();
    expected["ts"] = "2020-06-05 14:39:59.305988000".into();
    expected["p_event_time"] = "2020-06-05 14:39:59.305988000".into();
    expected["p_any_ip_addresses"] = json!(["192.168.4.1", "192.168.4.76", "31.3.245.133"]);
    expected["p_any_domain_names"] = json!(["b\u{fc}cher.example", "testmyids.com"]);
    assert_eq!(events, [expected]);
}

#[test]
fn names_are_those_asked_for() {
    let known = LogTypes::builtin();
    for name in [
        "AWS.ALB",
        "AWS.CloudTrail",
        "AWS.GuardDuty",
        "AWS.S3ServerAccess",
        "AWS.VPCFlow",
        "GCP.AuditLog",
        "GSuite.ActivityEvent",
        "GitHub.Audit",
        "Nginx.Access",
        "Okta.SystemLog",
        "Syslog.RFC5424",
        "Zeek.DNS",
    ] {
        let log_type = known.get(name).unwrap();
        assert!(
            log_type.is_builtin()
                && !log_type.description().is_empty()
                && log_type.reference().starts_with("https://")
        );
    }
}
