//! Further log types: a record in its vendor's format, its event time, and its indicators.

use serde_json::{Value, json};

use crate::{classifier, context, events, record};

#[test]
fn each_takes_its_vendors_form() {
    let samples: &[(&str, &str, &str, Value)] = &[
        (
            "AWS.CloudTrailInsight",
            r#"{"eventVersion":"1.07","eventTime":"2026-01-01T00:00:00Z","awsRegion":"us-east-1","eventID":"e","eventType":"AwsCloudTrailInsight","recipientAccountId":"123456789012",
            "sharedEventID":"sh-1","insightDetails":{"state":"Start","eventSource":"autoscaling.amazonaws.com","eventName":"CompleteLifecycleAction","insightType":"ApiCallRateInsight",
            "insightContext":{"statistics":{"baseline":{"average":0.0017},"insight":{"average":5.0},"insightDuration":1}}},"eventCategory":"Insight"}"#,
            "2026-01-01 00:00:00.000000000",
            json!({"p_any_aws_account_ids": ["123456789012"], "p_any_trace_ids": ["sh-1"]}),
        ),
        (
            "AWS.CloudWatchEvents",
            r#"{"version":"0","id":"i","detail-type":"EC2 Instance State-change Notification","source":"aws.ec2","account":"111122223333","time":"2017-12-22T18:43:48Z","region":"us-west-1",
            "resources":["arn:aws:ec2:us-west-1:123456789012:instance/i-1234567890abcdef0"],"detail":{"instance-id":"i-0a","state":"terminated"}}"#,
            "2017-12-22 18:43:48.000000000",
            json!({"p_any_aws_account_ids": ["111122223333", "123456789012"], "p_any_aws_instance_ids": ["i-0a", "i-1234567890abcdef0"],
                "p_any_aws_arns": ["arn:aws:ec2:us-west-1:123456789012:instance/i-1234567890abcdef0"]}),
        ),
        (
            "AWS.VPCDns",
            r#"{"version":"1.100000","account_id":"111122223333","region":"us-west-1","vpc_id":"vpc-1","query_timestamp":"2020-02-04T17:51:55Z","query_name":"example.com.","query_type":"A",
            "query_class":"IN","rcode":"NOERROR","answers":[{"Rdata":"203.0.113.9","Type":"A","Class":"IN"}],"srcaddr":"4.5.64.102","srcport":"56067","transport":"UDP","srcids":{"instance":"i-0d"}}"#,
            "2020-02-04 17:51:55.000000000",
            json!({"p_any_ip_addresses": ["203.0.113.9", "4.5.64.102"], "p_any_domain_names": ["example.com"], "p_any_aws_account_ids": ["111122223333"], "p_any_aws_instance_ids": ["i-0d"]}),
        ),
        (
            "AWS.WAFWebACL",
            r#"{"timestamp":1576280412771,"formatVersion":1,"webaclId":"arn:aws:wafv2:ap-southeast-2:111122223333:regional/webacl/W/1","terminatingRuleId":"R","terminatingRuleType":"REGULAR",
            "action":"BLOCK","terminatingRuleMatchDetails":[{"conditionType":"SQL_INJECTION","location":"HEADER","matchedData":["10","AND","1"]}],"httpSourceName":"-","httpSourceId":"-",
            "ruleGroupList":[],"rateBasedRuleList":[{"rateBasedRuleId":"x","limitKey":"IP","maxRateAllowed":100}],"nonTerminatingMatchingRules":[],
            "httpRequest":{"clientIp":"203.0.113.7","country":"AU","headers":[{"name":"Host","value":"localhost"}],"uri":"/myUri","args":"","httpVersion":"HTTP/1.1","httpMethod":"GET","requestId":"rid"}}"#,
            "2019-12-13 23:40:12.771000000",
            json!({"p_any_ip_addresses": ["203.0.113.7"], "p_any_trace_ids": ["rid"]}),
        ),
        (
            "Apache.AccessCombined",
            r#"203.0.113.5 - al [10/Oct/2000:13:55:36 -0700] "GET /apache_pb.gif HTTP/1.0" 200 2326 "http://www.example.com/start.html" "Mozilla/4.08 [en] (Win98; I ;Nav)""#,
            "2000-10-10 20:55:36.000000000",
            json!({"p_any_ip_addresses": ["203.0.113.5"]}),
        ),
        (
            "Apache.AccessCommon",
            r#"host.example.com - - [10/Oct/2000:13:55:36 -0700] "GET /apache_pb.gif HTTP/1.0" 304 -"#,
            "2000-10-10 20:55:36.000000000",
            json!({"p_any_domain_names": ["host.example.com"]}),
        ),
        (
            "Box.Event",
            r#"{"source":{"type":"user","id":"1","name":"Al"},"created_by":{"type":"user","id":"1","name":"Al","login":"al@example.com"},"created_at":"2019-12-20T11:38:56-08:00",
            "event_id":"f82c","event_type":"DELETE","ip_address":"203.0.113.8","type":"event","session_id":null,"additional_details":null}"#,
            "2019-12-20 19:38:56.000000000",
            json!({"p_any_ip_addresses": ["203.0.113.8"]}),
        ),
        (
            "Cloudflare.HttpRequest",
            r#"{"EdgeStartTimestamp":"2026-01-01T00:00:00Z","EdgeEndTimestamp":1767225601000000000,"ClientIP":"203.0.113.9","ClientRequestHost":"example.com:8080","ClientRequestReferer":"https://ref.example/x",
            "ClientRequestMethod":"GET","EdgeResponseStatus":200,"RayID":"ray1"}"#,
            "2026-01-01 00:00:00.000000000",
            json!({"p_any_ip_addresses": ["203.0.113.9"], "p_any_domain_names": ["ref.example"], "p_any_trace_ids": ["ray1"]}),
        ),
        (
            "Duo.Administrator",
            r#"{"action":"user_update","description":"{}","isotimestamp":"2020-01-24T15:09:42+00:00","object":"jsmith","timestamp":1579878582,"username":"admin"}"#,
            "2020-01-24 15:09:42.000000000",
            json!({"p_any_usernames": ["admin"]}),
        ),
        (
            "Duo.Authentication",
            r#"{"access_device":{"browser":"Chrome","hostname":null,"ip":"169.232.89.219","is_encryption_enabled":"true"},"alias":"","application":{"key":"D","name":"Console"},
            "auth_device":{"ip":"192.168.225.254","name":"My iPhone"},"email":"al@example.com","event_type":"authentication","factor":"duo_push","isotimestamp":"2020-02-13T18:56:20.351346+00:00",
            "result":"success","timestamp":1581620180,"txid":"340a","user":{"groups":["Duo Users"],"key":"DU","name":"al"}}"#,
            "2020-02-13 18:56:20.351346000",
            json!({"p_any_ip_addresses": ["169.232.89.219", "192.168.225.254"], "p_any_trace_ids": ["340a"], "p_any_emails": ["al@example.com"], "p_any_usernames": ["al"]}),
        ),
        (
            "GitLab.API",
            r#"{"time":"2018-10-29T12:49:42.123Z","severity":"INFO","duration_s":0.70908,"db":14.59,"view":694.49,"status":200,"method":"GET","path":"/api/v4/projects","params":[{"key":"action","value":"git"}],
            "host":"localhost","route":"/api/:version/projects","remote_ip":"10.0.0.1","username":"root","meta.user":"al","correlation_id":"c1"}"#,
            "2018-10-29 12:49:42.123000000",
            json!({"p_any_ip_addresses": ["10.0.0.1"], "p_any_domain_names": ["localhost"], "p_any_trace_ids": ["c1"], "p_any_usernames": ["al", "root"]}),
        ),
        (
            "Gravitational.TeleportAudit",
            r#"{"addr.local":"10.0.0.1:3022","addr.remote":"[2001:db8::1]:50000","code":"T2000I","ei":0,"event":"session.start","login":"root","server_id":"s","sid":"sid1","time":"2026-01-01T00:00:00Z","uid":"u","user":"al"}"#,
            "2026-01-01 00:00:00.000000000",
            json!({"p_any_ip_addresses": ["10.0.0.1", "2001:db8::1"], "p_any_trace_ids": ["sid1"]}),
        ),
        (
            "GSuite.Reports",
            r#"{"kind":"admin#reports#activity","id":{"time":"2026-01-01T00:00:00Z","applicationName":"login"},"actor":{"email":"al@example.com"},"ipAddress":"2001:db8::2","ownerDomain":"example.com",
            "events":[{"type":"login","name":"login_success","parameters":[{"name":"is_suspicious","boolValue":false},{"name":"n","intValue":"7"}]}]}"#,
            "2026-01-01 00:00:00.000000000",
            json!({"p_any_ip_addresses": ["2001:db8::2"], "p_any_domain_names": ["example.com"], "p_any_emails": ["al@example.com"]}),
        ),
        (
            "OneLogin.Events",
            r#"{"uuid":"u","account_id":123,"event_timestamp":"2020-06-05 14:39:59 UTC","error_description":"","user_name":"Al","actor_user_name":"Bo","ipaddr":"203.0.113.1","event_type_id":6}"#,
            "2020-06-05 14:39:59.000000000",
            json!({"p_any_ip_addresses": ["203.0.113.1"], "p_any_usernames": ["Al", "Bo"]}),
        ),
        (
            "Osquery.Differential",
            r#"{"action":"added","calendarTime":"Mon Nov  5 06:18:49 2018 UTC","columns":{"remote_address":"203.0.113.2","name":"x","pid":"1"},"counter":"255","decorations":{"host_uuid":"h"},"epoch":"0",
            "hostIdentifier":"host.lan","name":"process_events","unixTime":"1541398729"}"#,
            "2018-11-05 06:18:49.000000000",
            json!({"p_any_ip_addresses": ["203.0.113.2"], "p_any_domain_names": ["host.lan"]}),
        ),
        (
            "Slack.AccessLogs",
            r#"{"user_id":"U1","username":"al","date_first":1422922864,"date_last":1422922865,"count":1,"ip":"203.0.113.3","user_agent":"SlackWeb","isp":"I","country":"US","region":"CA"}"#,
            "2015-02-03 00:21:05.000000000",
            json!({"p_any_ip_addresses": ["203.0.113.3"], "p_any_usernames": ["al"]}),
        ),
        (
            "Slack.AuditLogs",
            r#"{"id":"0123a45b","date_create":1521214343,"action":"user_login","actor":{"type":"user","user":{"id":"W1","name":"Al","email":"al@example.com"}},
            "entity":{"type":"user","user":{"id":"W2","name":"Bo","email":"bo@example.com"}},"context":{"location":{"type":"enterprise","id":"E1"},"ua":"x","ip_address":"203.0.113.4"}}"#,
            "2018-03-16 15:32:23.000000000",
            json!({"p_any_ip_addresses": ["203.0.113.4"], "p_any_emails": ["al@example.com", "bo@example.com"], "p_any_usernames": ["Al", "Bo"]}),
        ),
        (
            "Suricata.DNS",
            r#"{"timestamp":"2015-10-22T06:31:06.520370+0000","flow_id":188564141437106,"event_type":"dns","src_ip":"192.168.1.1","src_port":53,"dest_ip":"192.168.1.2","dest_port":60935,"proto":"UDP",
            "dns":{"version":2,"type":"answer","id":1,"rrname":"example.com","rcode":"NOERROR","answers":[{"rrname":"example.com","rrtype":"A","ttl":900,"rdata":"203.0.113.6"}],"grouped":{"CNAME":["c.example"]}}}"#,
            "2015-10-22 06:31:06.520370000",
            json!({"p_any_ip_addresses": ["192.168.1.1", "192.168.1.2", "203.0.113.6"], "p_any_domain_names": ["c.example", "example.com"]}),
        ),
    ];
    for (log_type, line, time, indicators) in samples {
        let outcome = classifier(&[log_type]).classify(&record(1, line), &context());
        assert!(
            matches!(outcome, panther_logs::Outcome::Events(_)),
            "{log_type}: {outcome:?}"
        );
        let event = &events(outcome)[0];
        assert_eq!(event["p_event_time"], *time, "{log_type}");
        let found: serde_json::Map<String, Value> = event
            .as_object()
            .unwrap()
            .iter()
            .filter(|(name, _)| name.starts_with("p_any_"))
            .map(|(name, list)| (name.clone(), list.clone()))
            .collect();
        assert_eq!(Value::Object(found), *indicators, "{log_type}");
    }
}
