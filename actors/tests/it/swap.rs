//! A new version of a pack takes over while events flow.

use std::collections::BTreeMap;
use std::sync::atomic::{AtomicBool, Ordering};

use serde_json::json;

use crate::support::World;

const LINE: &str =
    "192.0.2.1 - - [05/Mar/2026:14:00:00 +0000] \"GET / HTTP/1.1\" 200 12 \"-\" \"curl\"\n";
/// Lines of a body, which is evaluated at once.
const LINES: u64 = 5;
/// Bodies after which the flow is waited for.
const AT_ONCE: u64 = 20;

#[tokio::test(flavor = "multi_thread")]
async fn each_event_is_evaluated_once_by_one_version_while_versions_take_over() {
    let world = World::start().await;
    let upload = async |version: u32| {
        let folder = tempfile::tempdir().unwrap();
        // Three rules, the third of which Python evaluates, that say which version they are of.
        for (id, head) in [
            ("A", ""),
            ("B", ""),
            ("InPython", "STATE = open('/dev/null')\n"),
        ] {
            let metadata = format!(
                "AnalysisType: rule\nRuleID: {id}\nFilename: {id}.py\nSeverity: Info\nLogTypes: [Nginx.Access]\nEnabled: true\n"
            );
            let looks = if head.is_empty() {
                "True"
            } else {
                "STATE is not None"
            };
            let body = format!(
                "{head}def rule(event):\n    return {looks}\n\n\ndef title(event):\n    return 'version {version}'\n"
            );
            std::fs::write(folder.path().join(format!("{id}.yml")), metadata).unwrap();
            std::fs::write(folder.path().join(format!("{id}.py")), body).unwrap();
        }
        world.upload(folder.path()).await.unwrap();
    };
    upload(1).await;
    let (id, token) = world.http_source("nginx", &["Nginx.Access"]).await;
    let all_live = AtomicBool::new(false);
    let posting = async {
        let mut bodies = 0;
        while !all_live.load(Ordering::Relaxed) {
            for _ in 0..AT_ONCE {
                world
                    .ingest(&id, &token, LINE.repeat(usize::try_from(LINES).unwrap()))
                    .await;
            }
            bodies += AT_ONCE;
            world.settle().await;
        }
        bodies
    };
    let uploading = async {
        for version in 2..=4 {
            upload(version).await;
        }
        all_live.store(true, Ordering::Relaxed);
    };
    let (bodies, ()) = tokio::join!(posting, uploading);
    world.settle().await;
    let alerts = world
        .invoke("panther-alerts-api", "listAlerts", json!({"pageSize": 200}))
        .await
        .unwrap();
    let mut events: BTreeMap<String, BTreeMap<String, u64>> = BTreeMap::new();
    for alert in alerts["alertSummaries"].as_array().unwrap() {
        let rule = alert["ruleId"].as_str().unwrap().to_owned();
        let version = alert["title"].as_str().unwrap().to_owned();
        *events.entry(rule).or_default().entry(version).or_default() +=
            alert["eventsMatched"].as_u64().unwrap();
    }
    assert_eq!(events.len(), 3, "{events:?}");
    for of_rule in events.values() {
        assert_eq!(of_rule, &events["A"], "{events:?}");
        assert_eq!(of_rule.values().sum::<u64>(), bodies * LINES, "{events:?}");
        assert!(of_rule.len() > 1, "{events:?}");
    }
    world.stop().await;
}
