//! Bad input gives a clear reason in the right place and harms nothing else.

use std::io::{Read, Write};
use std::path::Path;
use std::time::{Duration, Instant};

use flate2::Compression;
use flate2::write::GzEncoder;
use serde_json::{Value, json};

use crate::support::World;

const QUEUE: &str = "panther-input-data-notifications-queue";
const GOOD: &str =
    "192.0.2.1 - - [05/Mar/2026:14:00:00 +0000] \"GET / HTTP/1.1\" 200 12 \"-\" \"curl\"\n";

fn gzip(content: &[u8]) -> Vec<u8> {
    let mut encoder = GzEncoder::new(Vec::new(), Compression::best());
    encoder.write_all(content).unwrap();
    encoder.finish().unwrap()
}

async fn source(world: &World, id: &str) -> (u64, u64, u64, u64) {
    let source = world
        .invoke(
            "panther-source-api",
            "getIntegration",
            json!({"integrationId": id}),
        )
        .await
        .unwrap();
    let count = |name: &str| source[name].as_u64().unwrap();
    (
        count("received"),
        count("stored"),
        count("quarantined"),
        count("filtered"),
    )
}

async fn dead_letters(world: &World, count: usize) -> Vec<Value> {
    let started = Instant::now();
    loop {
        let peek = world
            .invoke(
                "node",
                "peek",
                json!({"queue": format!("{QUEUE}-dlq"), "limit": 100}),
            )
            .await
            .unwrap();
        let letters = peek["messages"].as_array().unwrap().clone();
        if letters.len() >= count {
            return letters;
        }
        assert!(
            started.elapsed() < Duration::from_secs(60),
            "{} of {count} dead letters after a minute",
            letters.len()
        );
        tokio::time::sleep(Duration::from_millis(50)).await;
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn a_bad_line_is_quarantined_with_its_reason_and_its_neighbours_are_stored() {
    let world = World::start().await;
    let (id, token) = world
        .http_source("nginx", &["Nginx.Access", "Okta.SystemLog"])
        .await;
    let deep = format!("{{\"deep\":{}1{}}}", "[".repeat(10_000), "]".repeat(10_000));
    let bad: [(&[u8], &str); 4] = [
        (b"nul \0 byte", "NUL"),
        (b"\xff\xfe no text", "UTF-8"),
        (deep.as_bytes(), "nested"),
        (b"just words", "Nginx.Access"),
    ];
    for (line, _) in bad {
        let mut body = GOOD.as_bytes().to_vec();
        body.extend_from_slice(line);
        body.push(b'\n');
        body.extend_from_slice(GOOD.as_bytes());
        // Packed, so that each is an object of its own.
        world.ingest(&id, &token, gzip(&body)).await;
    }
    world.settle().await;
    assert_eq!(source(&world, &id).await, (12, 8, 4, 0));
    let groups = world.invoke("node", "quarantine", json!({})).await.unwrap();
    let reasons: Vec<String> = groups["groups"]
        .as_array()
        .unwrap()
        .iter()
        .map(|group| group["reasons"].to_string())
        .collect();
    for (_, word) in bad {
        assert!(
            reasons.iter().any(|reason| reason.contains(word)),
            "{word} is in none of {reasons:?}"
        );
    }
    world.stop().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_line_of_100_megabytes_is_skipped_with_its_head_kept() {
    let world = World::start().await;
    let (id, token) = world.http_source("nginx", &["Nginx.Access"]).await;
    let mut body = GOOD.as_bytes().to_vec();
    body.extend(std::iter::repeat_n(b"all of one line ".as_slice(), (100 << 20) / 16).flatten());
    body.push(b'\n');
    body.extend_from_slice(GOOD.as_bytes());
    world.ingest(&id, &token, body).await;
    world.settle().await;
    assert_eq!(source(&world, &id).await, (3, 2, 1, 0));
    world.stop().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn an_object_that_cannot_be_read_is_a_dead_letter_with_its_reason_and_requeue_brings_it_through_once_it_is_mended()
 {
    let world = World::start().await;
    let made = world.invoke("panther-source-api", "putIntegration", json!({"integrationLabel": "bucket", "integrationType": "objects", "prefix": "in/", "logTypes": ["Nginx.Access"]})).await.unwrap();
    let id = made["integrationId"].as_str().unwrap().to_owned();
    let whole = gzip(GOOD.repeat(2_000).as_bytes());
    // Cut before anything can be unpacked.
    let truncated = whole[..16].to_vec();
    // 300 MB of one byte: far above any log's ratio.
    let bomb = gzip(&vec![b'x'; 300 << 20]);
    let bad = [
        ("in/truncated", truncated, "truncated"),
        ("in/bomb", bomb, "gzip"),
        (
            "in/picture",
            b"\x89PNG\r\n\x1a\n\0\0\0".to_vec(),
            "nor text",
        ),
    ];
    for (name, content, _) in &bad {
        world
            .objects
            .put(name, content.clone().into())
            .await
            .unwrap();
        world
            .invoke(
                "panther-source-api",
                "notify",
                json!({"integrationId": id, "object": name}),
            )
            .await
            .unwrap();
    }
    world
        .objects
        .put("in/good", whole.clone().into())
        .await
        .unwrap();
    world
        .invoke(
            "panther-source-api",
            "notify",
            json!({"integrationId": id, "object": "in/good"}),
        )
        .await
        .unwrap();
    let letters = dead_letters(&world, bad.len()).await;
    for (name, _, word) in &bad {
        let letter = letters
            .iter()
            .find(|letter| letter["body"].as_str().unwrap().contains(name))
            .unwrap();
        let reason = letter["last_error"].as_str().unwrap();
        assert!(
            reason.contains(word) && reason.contains("panther-log-processor"),
            "{name}: {reason}"
        );
        assert_eq!(letter["failures"], 4, "{letter}");
    }
    assert_eq!(
        source(&world, &id).await,
        (2_000, 2_000, 0, 0),
        "the good neighbour came through, of the others nothing was counted"
    );
    // A whole file takes the place of the truncated one.
    std::fs::write(world.folder.path().join("objects/in/truncated"), &whole).unwrap();
    let letter = letters
        .iter()
        .find(|letter| letter["body"].as_str().unwrap().contains("in/truncated"))
        .unwrap();
    let moved = world
        .invoke(
            "node",
            "requeue",
            json!({"to": QUEUE, "message_id": letter["id"]}),
        )
        .await
        .unwrap();
    assert_eq!(moved["count"], 1);
    world.settle().await;
    assert_eq!(source(&world, &id).await, (4_000, 4_000, 0, 0));
    world.stop().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn of_an_object_that_breaks_off_the_whole_lines_are_stored_and_the_rest_is_quarantined() {
    let world = World::start().await;
    let (id, token) = world.http_source("nginx", &["Nginx.Access"]).await;
    let lines: String = (0..2_000_u32)
        .map(|number| {
            let agent = number.wrapping_mul(2_654_435_761);
            GOOD.replace("curl", &format!("curl-{agent:x}"))
        })
        .collect();
    let whole = gzip(lines.as_bytes());
    world
        .ingest(&id, &token, whole[..whole.len() / 2].to_vec())
        .await;
    world.settle().await;
    let (received, stored, quarantined, filtered) = source(&world, &id).await;
    assert!(stored > 100, "{stored}");
    assert_eq!((quarantined, filtered), (1, 0));
    assert_eq!(received, stored + 1);
    let groups = world.invoke("node", "quarantine", json!({})).await.unwrap();
    assert!(groups.to_string().contains("truncated"), "{groups}");
    world.stop().await;
}

/// Bodies that reach a source within a second become one object; each must be read as if it had come alone.
#[tokio::test(flavor = "multi_thread")]
async fn bodies_of_one_second_say_nothing_about_each_other() {
    let world = World::start().await;
    let (id, token) = world
        .http_source("mixed", &["AWS.VPCFlow", "Nginx.Access"])
        .await;
    let header = "version account-id interface-id dstaddr srcaddr srcport dstport protocol packets bytes start end action log-status\n2 111122223333 eni-1 10.0.0.5 198.51.100.7 40000 22 6 1 40 1709633472 1709633532 ACCEPT OK\n";
    let plain = "2 111122223333 eni-2 198.51.100.8 10.0.0.9 40001 22 6 1 40 1709633472 1709633532 ACCEPT OK\n";
    let bodies: Vec<Vec<u8>> = vec![
        header.into(),
        plain.into(),
        b"[{\"a\":1},\n".to_vec(),
        b"{\"Records\":[{\"a\":1}]".to_vec(),
        b"{\n \"a\": 1,\n".to_vec(),
        b"PK\x03\x04\x14\0\x08\x08".to_vec(),
        vec![0; 300_000],
        [b"\xef\xbb\xbf", GOOD.as_bytes()].concat(),
        gzip(GOOD.as_bytes()),
        GOOD.trim_end().as_bytes().to_vec(),
        GOOD.into(),
    ];
    let posts = bodies
        .into_iter()
        .map(|body| world.ingest(&id, &token, body));
    futures::future::join_all(posts).await;
    world.settle().await;
    let (received, stored, quarantined, filtered) = source(&world, &id).await;
    // Two flow records and four lines of nginx; of each bad body at least one record; the header is no event.
    assert_eq!((stored, filtered), (6, 1));
    assert!(quarantined >= 5, "{quarantined}");
    assert_eq!(received, stored + quarantined + filtered);
    world.stop().await;
}

/// A header names the columns of its own body only.
#[tokio::test(flavor = "multi_thread")]
async fn the_columns_that_one_body_names_are_not_those_of_the_next() {
    let world = World::start().await;
    let made = world.invoke("panther-source-api", "putIntegration", json!({"integrationLabel": "bucket", "integrationType": "objects", "prefix": "in/", "logTypes": ["AWS.VPCFlow"]})).await.unwrap();
    let id = made["integrationId"].as_str().unwrap().to_owned();
    let mut bodies = panther_logs::PartsWriter::default();
    bodies.body("", b"version account-id interface-id dstaddr srcaddr srcport dstport protocol packets bytes start end action log-status\n2 111122223333 eni-1 10.0.0.5 198.51.100.7 40000 22 6 1 40 1709633472 1709633532 ACCEPT OK\n");
    bodies.body("", b"2 111122223333 eni-2 198.51.100.8 10.0.0.9 40001 22 6 1 40 1709633472 1709633532 ACCEPT OK\n");
    let name = panther_logs::PartsWriter::name("in/batch");
    world
        .objects
        .put(&name, bodies.finish().into())
        .await
        .unwrap();
    world
        .invoke(
            "panther-source-api",
            "notify",
            json!({"integrationId": id, "object": name}),
        )
        .await
        .unwrap();
    world.settle().await;
    assert_eq!(source(&world, &id).await, (3, 2, 0, 1));
    let mut flows = Vec::new();
    for object in world.objects.list("logs").await.unwrap() {
        let content = world.objects.get(&object.name).await.unwrap();
        let mut text = String::new();
        flate2::read::GzDecoder::new(&content[..])
            .read_to_string(&mut text)
            .unwrap();
        flows.extend(text.lines().map(|line| {
            let event: Value = serde_json::from_str(line).unwrap();
            ["interfaceId", "srcAddr", "dstAddr"].map(|name| event[name].clone())
        }));
    }
    flows.sort_by_key(|flow| flow[0].to_string());
    assert_eq!(
        flows,
        [
            ["eni-1", "198.51.100.7", "10.0.0.5"].map(Value::from),
            ["eni-2", "198.51.100.8", "10.0.0.9"].map(Value::from),
        ]
    );
    world.stop().await;
}

/// What is kept of some records is not the record: a replay leaves them where they are, with their reasons.
#[tokio::test(flavor = "multi_thread")]
async fn a_replay_leaves_records_in_quarantine_whose_text_is_not_what_was_received() {
    let world = World::start().await;
    let (id, token) = world.http_source("syslog", &["AWS.ALB"]).await;
    let line = "<34>1 2026-01-02T03:04:05Z host app - - - ";
    let long = format!("{line}{}\n", "x".repeat(70_000));
    let no_utf8 = [line.as_bytes(), b"\xff\n"].concat();
    let body = [
        format!("{line}good\n").as_bytes(),
        long.as_bytes(),
        &no_utf8,
    ]
    .concat();
    world.ingest(&id, &token, body).await;
    // The end of a compressed body that breaks off stands for what is missing, and has no text.
    let packed = gzip(format!("{line}one\n{line}two\n").as_bytes());
    world
        .ingest(&id, &token, packed[..packed.len() - 8].to_vec())
        .await;
    world.settle().await;
    assert_eq!(source(&world, &id).await, (6, 0, 6, 0));
    world
        .invoke("panther-source-api", "updateIntegrationSettings", json!({"integrationId": id, "integrationLabel": "syslog", "integrationType": "http", "logTypes": ["Syslog.RFC5424"]}))
        .await
        .unwrap();
    for _ in 0..2 {
        let answer = world
            .invoke("node", "quarantine_replay", json!({}))
            .await
            .unwrap();
        assert_eq!(answer["stay"], 3, "{answer}");
        world.settle().await;
        assert_eq!(source(&world, &id).await, (6, 3, 3, 0));
    }
    let groups = world.invoke("node", "quarantine", json!({})).await.unwrap();
    let counts: u64 = groups["groups"]
        .as_array()
        .unwrap()
        .iter()
        .map(|group| group["count"].as_u64().unwrap())
        .sum();
    assert_eq!(counts, 3, "{groups}");
    assert!(groups.to_string().contains("is truncated"), "{groups}");
    assert!(groups.to_string().contains("is not UTF-8"), "{groups}");
    world.stop().await;
}

/// Whatever is replayed, twice or after its source is gone, `received` never falls and stays the sum of the others.
#[tokio::test(flavor = "multi_thread")]
async fn the_ledger_holds_through_replays() {
    let world = World::start().await;
    let (id, token) = world.http_source("nginx", &["Nginx.Access"]).await;
    let flow = "2 111122223333 eni-2 198.51.100.8 10.0.0.9 40001 22 6 1 40 1709633472 1709633532 ACCEPT OK\n";
    world
        .ingest(&id, &token, format!("{GOOD}{flow}words\n"))
        .await;
    world.settle().await;
    assert_eq!(source(&world, &id).await, (3, 1, 2, 0));
    world
        .invoke("panther-source-api", "updateIntegrationSettings", json!({"integrationId": id, "integrationLabel": "nginx", "integrationType": "http", "logTypes": ["Nginx.Access", "AWS.VPCFlow"]}))
        .await
        .unwrap();
    for _ in 0..2 {
        world
            .invoke("node", "quarantine_replay", json!({}))
            .await
            .unwrap();
        world
            .invoke("node", "quarantine_replay", json!({}))
            .await
            .unwrap();
        world.settle().await;
        assert_eq!(source(&world, &id).await, (3, 2, 1, 0));
    }
    world
        .invoke(
            "panther-source-api",
            "deleteIntegration",
            json!({"integrationId": id}),
        )
        .await
        .unwrap();
    world
        .invoke("node", "quarantine_replay", json!({}))
        .await
        .unwrap();
    dead_letters(&world, 1).await;
    let purge = json!({"queue": format!("{QUEUE}-dlq")});
    world.invoke("node", "purge", purge).await.unwrap();
    let ledger = world.invoke("node", "ledger", json!({})).await.unwrap();
    let row = &ledger["rows"][0];
    let counts =
        ["received", "stored", "quarantined", "filtered"].map(|name| row[name].as_u64().unwrap());
    assert_eq!(counts, [3, 2, 1, 0]);
    assert_eq!(
        row["source_label"], "nginx",
        "the ledger outlives its source"
    );
    // The record is still where it was counted.
    let groups = world.invoke("node", "quarantine", json!({})).await.unwrap();
    assert_eq!(groups["groups"][0]["count"], 1);
    world.stop().await;
}

/// Of a notification each record stands for itself, and one writing of an object is counted once.
#[tokio::test(flavor = "multi_thread")]
async fn a_notification_harms_no_neighbour_and_an_object_told_twice_is_counted_once() {
    let world = World::start().await;
    let made = world.invoke("panther-source-api", "putIntegration", json!({"integrationLabel": "bucket", "integrationType": "objects", "prefix": "in/", "logTypes": ["Nginx.Access"]})).await.unwrap();
    let id = made["integrationId"].as_str().unwrap().to_owned();
    for name in ["in/a", "in/b"] {
        world.objects.put(name, GOOD.into()).await.unwrap();
    }
    let record = |event: &str, key: &str| json!({"eventName": event, "s3": {"bucket": {"name": "logs"}, "object": {"key": key, "size": 90, "eTag": "e", "sequencer": "1"}}});
    let event = json!({"Records": [record("ObjectCreated:Put", "in/a"), record("ObjectCreated:Put", "in/gone"), record("ObjectRemoved:Delete", "in/gone"), record("ObjectCreated:Put", "in/b"), record("ObjectCreated:Put", "in/a")]});
    for _ in 0..2 {
        world
            .invoke(
                "node",
                "send",
                json!({"queue": QUEUE, "body": event.to_string()}),
            )
            .await
            .unwrap();
    }
    let letters = dead_letters(&world, 2).await;
    assert!(
        letters
            .iter()
            .all(|letter| letter["last_error"].as_str().unwrap().contains("in/gone"))
    );
    world.settle().await;
    assert_eq!(source(&world, &id).await, (2, 2, 0, 0));
    assert_eq!(dead_letters(&world, 2).await.len(), 2);
    world.stop().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn what_is_no_notification_or_names_no_source_says_so_in_its_dead_letter() {
    let world = World::start().await;
    for body in [
        "not json",
        "{\"Type\":\"Notification\",\"Message\":\"{}\"}",
        "{\"Records\":[{\"s3\":{\"bucket\":{\"name\":\"b\"},\"object\":{\"key\":\"nobody/takes/this\",\"size\":3}}}]}",
    ] {
        world
            .invoke("node", "send", json!({"queue": QUEUE, "body": body}))
            .await
            .unwrap();
    }
    let letters = dead_letters(&world, 3).await;
    let reasons: String = letters
        .iter()
        .map(|letter| letter["last_error"].as_str().unwrap())
        .collect();
    for word in [
        "no JSON",
        "neither Records",
        "no source takes nobody/takes/this",
    ] {
        assert!(reasons.contains(word), "{word}: {reasons}");
    }
    world.stop().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_pack_that_does_not_hold_together_is_refused_as_a_whole_and_the_old_one_stays_live() {
    let world = World::start().await;
    let good = world
        .upload(&crate::support::samples().join("pack"))
        .await
        .unwrap();
    let folder = tempfile::tempdir().unwrap();
    std::fs::write(folder.path().join("a.yml"), "AnalysisType: rule\nRuleID: A\nFilename: a.py\nSeverity: Loud\nLogTypes: [Nginx.Access]\nEnabled: true\n").unwrap();
    std::fs::write(
        folder.path().join("a.py"),
        "def rule(event):\n    return True\n",
    )
    .unwrap();
    let refused = world.upload(folder.path()).await.unwrap_err().to_string();
    assert!(
        refused.contains("a.yml") && refused.contains("Severity"),
        "{refused}"
    );
    let listed = world
        .invoke("panther-analysis-api", "listDetections", json!({}))
        .await
        .unwrap();
    assert_eq!(listed["version"], good["version"]);
    world.stop().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_rule_that_hangs_is_suspended_with_an_alarm_and_its_neighbour_goes_on() {
    let world = World::start().await;
    let folder = tempfile::tempdir().unwrap();
    for (id, body) in [
        ("Hangs", "def rule(event):\n    while True:\n        pass\n"),
        (
            "Works",
            "def rule(event):\n    return True\n\n\ndef dedup(event):\n    return 'one'\n",
        ),
    ] {
        std::fs::write(folder.path().join(format!("{id}.yml")), format!("AnalysisType: rule\nRuleID: {id}\nFilename: {id}.py\nSeverity: Info\nLogTypes: [Nginx.Access]\nEnabled: true\n")).unwrap();
        std::fs::write(folder.path().join(format!("{id}.py")), body).unwrap();
    }
    world.upload(folder.path()).await.unwrap();
    let (id, token) = world.http_source("nginx", &["Nginx.Access"]).await;
    world.ingest(&id, &token, GOOD.repeat(20)).await;
    world.settle().await;
    let alerts = world
        .invoke("panther-alerts-api", "listAlerts", json!({}))
        .await
        .unwrap();
    let counts: Vec<(Value, Value, Value)> = alerts["alertSummaries"]
        .as_array()
        .unwrap()
        .iter()
        .map(|alert| {
            (
                alert["ruleId"].clone(),
                alert["type"].clone(),
                alert["eventsMatched"].clone(),
            )
        })
        .collect();
    assert!(
        counts.contains(&(json!("Works"), json!("RULE"), json!(20))),
        "{counts:?}"
    );
    assert!(
        counts
            .iter()
            .any(|(rule, kind, _)| *rule == json!("Hangs") && *kind == json!("RULE_ERROR")),
        "{counts:?}"
    );
    let detection = detection(&world, "Hangs").await;
    assert_eq!(detection["state"], "suspended");
    let alarms = world.invoke("node", "alarms", json!({})).await.unwrap();
    assert!(
        alarms["alarms"]
            .to_string()
            .contains("rule suspended Hangs"),
        "{alarms}"
    );
    world.stop().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn what_each_rule_has_cost_can_be_asked_for() {
    let world = World::start().await;
    let folder = tempfile::tempdir().unwrap();
    let long = "def rule(event):\n    for n in range(300_000):\n        pass\n    return False\n";
    for (id, body) in [
        ("Works", "def rule(event):\n    return True\n"),
        ("Long", long),
    ] {
        let metadata = format!(
            "AnalysisType: rule\nRuleID: {id}\nFilename: {id}.py\nSeverity: Info\nLogTypes: [Nginx.Access]\nEnabled: true\n"
        );
        std::fs::write(folder.path().join(format!("{id}.yml")), metadata).unwrap();
        std::fs::write(folder.path().join(format!("{id}.py")), body).unwrap();
    }
    world.upload(folder.path()).await.unwrap();
    let (id, token) = world.http_source("nginx", &["Nginx.Access"]).await;
    world.ingest(&id, &token, GOOD.repeat(20)).await;
    world.settle().await;
    let profile = world
        .invoke("panther-analysis-api", "profileDetections", json!({}))
        .await
        .unwrap();
    let costs = profile["detections"].as_array().unwrap();
    let of = |id: &str| costs.iter().find(|cost| cost["id"] == id).unwrap();
    assert!(of("Works")["matches"].as_u64().unwrap() >= 20, "{profile}");
    assert!(
        of("Long")["reasons"].to_string().contains("many steps"),
        "{profile}"
    );
    world.stop().await;
}

/// The one detection whose name holds this.
async fn detection(world: &World, name: &str) -> Value {
    let request = json!({"nameContains": name});
    let listed = world
        .invoke("panther-analysis-api", "listDetections", request)
        .await
        .unwrap();
    listed["detections"][0].clone()
}

/// Writes a pack with one rule, `Differs`: built-in names of a file's own are not seen in Rust.
fn differing(folder: &Path, tests: &str) {
    let body = "import builtins\n__builtins__ = {**vars(builtins), 'bool': lambda value: False}\n\n\ndef rule(event):\n    return bool(event.get('remoteAddr') is not None)\n";
    let metadata = format!(
        "AnalysisType: rule\nRuleID: Differs\nFilename: differs.py\nSeverity: Info\nLogTypes: [Nginx.Access]\nEnabled: true\n{tests}"
    );
    std::fs::write(folder.join("differs.yml"), metadata).unwrap();
    std::fs::write(folder.join("differs.py"), body).unwrap();
}

#[tokio::test(flavor = "multi_thread")]
async fn a_pack_is_tried_before_an_event_needs_it() {
    let world = World::start().await;
    let folder = tempfile::tempdir().unwrap();
    let test = "Tests: [{Name: one, ExpectedResult: true, Log: {remoteAddr: 10.0.0.1}}]\n";
    differing(folder.path(), test);
    world.upload(folder.path()).await.unwrap();
    world.http_source("nginx", &["Nginx.Access"]).await;
    world
        .until("the rule is left to Python", async || {
            let alarms = world.invoke("node", "alarms", json!({})).await.unwrap();
            alarms.to_string().contains("rule differs Differs")
        })
        .await;
    let detection = detection(&world, "Differs").await;
    assert_eq!(detection["state"], "python", "{detection}");
    world.stop().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_rule_of_which_python_says_something_else_is_left_to_it_with_an_alarm() {
    let world = World::start().await;
    let folder = tempfile::tempdir().unwrap();
    differing(folder.path(), "");
    world.upload(folder.path()).await.unwrap();
    let (id, token) = world.http_source("nginx", &["Nginx.Access"]).await;
    // The first event after a start is evaluated both ways.
    world.ingest(&id, &token, GOOD.to_owned()).await;
    world.settle().await;
    let detection = detection(&world, "Differs").await;
    assert_eq!(detection["state"], "python");
    assert!(
        detection["stateReason"]
            .as_str()
            .unwrap()
            .contains("in Python: no match"),
        "{detection}"
    );
    // What it was about is kept.
    let reason = detection["stateReason"].as_str().unwrap();
    let object = reason.rsplit(' ').next().unwrap();
    let evidence = world.objects.get(object).await.unwrap();
    let evidence: Value = serde_json::from_slice(&evidence).unwrap();
    assert_eq!(evidence["rule"], "Differs");
    assert!(evidence["event"]["remoteAddr"].is_string(), "{evidence}");
    let alarms = world.invoke("node", "alarms", json!({})).await.unwrap();
    assert!(
        alarms["alarms"]
            .to_string()
            .contains("rule differs Differs"),
        "{alarms}"
    );
    // From now on its verdict is Python's.
    world.ingest(&id, &token, GOOD.repeat(20)).await;
    world.settle().await;
    let alerts = world
        .invoke("panther-alerts-api", "listAlerts", json!({}))
        .await
        .unwrap();
    assert_eq!(alerts["alertSummaries"], json!([]));
    world.stop().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_replay_reads_a_row_under_the_header_of_its_input() {
    let world = World::start().await;
    let (id, token) = world.http_source("flows", &["Nginx.Access"]).await;
    let header = "version account-id interface-id dstaddr srcaddr dstport srcport protocol packets bytes start end action log-status";
    let row = "2 111122223333 eni-1 10.0.0.5 198.51.100.7 22 40000 6 1 100 1709600000 1709600060 ACCEPT OK";
    world
        .ingest(&id, &token, format!("{header}\n{row}\n"))
        .await;
    world.settle().await;
    let update = json!({"integrationId": id, "integrationLabel": "flows", "integrationType": "http", "logTypes": ["Nginx.Access", "AWS.VPCFlow"]});
    world
        .invoke("panther-source-api", "updateIntegrationSettings", update)
        .await
        .unwrap();
    world
        .invoke("node", "quarantine_replay", json!({"source": "flows"}))
        .await
        .unwrap();
    world.settle().await;
    let objects = world.objects.list("logs").await.unwrap();
    let [stored] = &objects[..] else {
        panic!("one object of events: {objects:?}");
    };
    let content = world.objects.get(&stored.name).await.unwrap();
    let lines = panther_actors::components::objects::unpack(&content).unwrap();
    let event: Value = serde_json::from_slice(lines.trim_ascii()).unwrap();
    assert_eq!(event["srcAddr"], "198.51.100.7", "{event}");
    assert_eq!(event["dstAddr"], "10.0.0.5", "{event}");
    assert_eq!(event["dstPort"], 22, "{event}");
    world.stop().await;
}
