//! Objects in a bucket: the guarantees of the store against a real S3-compatible server, and three nodes that share a bucket.

use std::collections::BTreeMap;
use std::io::Read;
use std::path::PathBuf;

use bytes::Bytes;
use panther_chaos_tests::bucket::Server;
use panther_chaos_tests::cluster::{Cluster, PATIENCE, Store};
use panther_chaos_tests::node::text;
use panther_chaos_tests::receiver::Receiver;
use panther_chaos_tests::{Failure, doors, samples, until};
use panther_cluster::objects::place::Place;
use panther_cluster::objects::proof::{self, ProofError};
use panther_cluster::objects::{Objects, ObjectsError};

use super::{built, fine, known};

/// The folder in which environments are kept, next to the build output.
fn place() -> PathBuf {
    let own = std::env::current_exe().unwrap();
    own.ancestors().nth(3).unwrap().to_owned()
}

fn open(store: &Store) -> Objects {
    let variables: BTreeMap<String, String> = store.environment.iter().cloned().collect();
    let place = Place::read(&store.url).unwrap();
    let place = place.with_variables(&variables);
    Objects::at(&place.with_endpoint(&store.endpoint)).unwrap()
}

#[tokio::test(flavor = "multi_thread")]
async fn a_bucket_keeps_the_promises_of_a_folder() {
    let Some(server) = known(Server::start(&place()).await) else {
        return;
    };
    let store = fine(server.bucket("logs", "a/b").await);
    let objects = open(&store);
    objects.put("raw/x/1", Bytes::from("one")).await.unwrap();
    // Writing the same content again is idempotent; other content is rejected.
    objects.put("raw/x/1", Bytes::from("one")).await.unwrap();
    let other = objects.put("raw/x/1", Bytes::from("other")).await;
    assert!(
        matches!(other, Err(ObjectsError::Store { .. })),
        "{other:?}"
    );
    assert_eq!(objects.get("raw/x/1").await.unwrap(), "one");
    assert_eq!(objects.head("raw/x/1").await.unwrap().bytes, 3);
    // More than one page of a list.
    for number in 0..1_005 {
        let name = format!("many/{number}");
        objects.put(&name, Bytes::from("x")).await.unwrap();
    }
    assert_eq!(objects.list("many").await.unwrap().len(), 1_005);
    assert_eq!(objects.list("raw").await.unwrap()[0].name, "raw/x/1");
    // Large objects are read piece by piece.
    let large = Bytes::from_iter((0..20_000_000_u32).map(|byte| byte as u8));
    objects.put("large", large.clone()).await.unwrap();
    let mut reader = objects.open("large").await.unwrap();
    let read = tokio::task::spawn_blocking(move || {
        let mut content = Vec::new();
        reader.read_to_end(&mut content).map(|_| content)
    });
    assert!(read.await.unwrap().unwrap() == large);
    objects.remove("raw/x/1").await.unwrap();
    objects.remove("raw/x/1").await.unwrap();
    assert!(matches!(
        objects.get("raw/x/1").await,
        Err(ObjectsError::NotFound(_))
    ));
    assert!(matches!(
        objects.open("raw/x/1").await.err(),
        Some(ObjectsError::NotFound(_))
    ));
    // Another folder of the bucket is a separate store.
    let beside = open(&fine(server.bucket("logs", "c").await));
    assert!(beside.list("many").await.unwrap().is_empty());
    proof::prove(&objects, "c1", 1, &[], false).await.unwrap();
    proof::prove(&open(&store), "c1", 2, &[1], false)
        .await
        .unwrap();
    assert!(matches!(
        proof::prove(&beside, "c1", 2, &[1], false).await,
        Err(ProofError::Unmarked { .. })
    ));
    proof::take_over(&objects, "c2").await.unwrap();
    assert!(matches!(
        proof::prove(&objects, "c1", 1, &[2], true).await,
        Err(ProofError::Foreign { .. })
    ));
    // A missing bucket and an unreachable server are faults, and the error names the location.
    let nowhere = open(&Store {
        url: "s3://nowhere/a".to_owned(),
        ..store.clone()
    });
    let put = nowhere.put("x", Bytes::from("x")).await.unwrap_err();
    assert!(put.to_string().contains("NoSuchBucket"), "{put}");
}

#[tokio::test(flavor = "multi_thread")]
async fn three_nodes_share_a_bucket_and_one_that_sees_another_is_refused() {
    built();
    let Some(server) = known(Server::start(&place()).await) else {
        return;
    };
    let folder = tempfile::tempdir().unwrap();
    let store = fine(server.bucket("logs", "panther").await);
    let mut cluster = fine(Cluster::three_with(folder.path().to_owned(), store).await);
    let receiver = fine(Receiver::start().await);
    let first = fine(cluster.at(1));
    let pack = samples().join("pack").display().to_string();
    fine(first.ctl(&["detections", "upload", &pack]).await);
    let url = receiver.url();
    fine(first.ctl(&["outputs", "add", "webhook", "one", &url]).await);
    let words = [
        "sources",
        "add",
        "http",
        "posted",
        "--log-types",
        "Nginx.Access",
    ];
    let token = text(&fine(first.ctl(&words).await), "token");
    // Any node may accept a log, and any node may process it: all nodes see the objects.
    for node in 1..=3_u32 {
        let address = fine(cluster.at(u64::from(node))).ingest();
        let line = format!(
            "10.9.0.{node} - - [05/Mar/2026:14:00:00 +0000] \"GET /{node}/.env HTTP/1.1\" 404 153 \"-\" \"curl/8.5.0\"\n"
        );
        let url = format!("http://{address}/ingest/posted");
        let http = fine(doors::client());
        let key = format!("line-{node}");
        fine(doors::post(&http, &url, &token, &key, line.into_bytes()).await);
    }
    let delivered = until("all alerts are delivered", PATIENCE, async || {
        let delivered = receiver.received().len();
        Ok((delivered < 3).then(|| format!("{delivered} are")))
    });
    fine(delivered.await);
    let elsewhere = fine(server.bucket("others", "panther").await);
    let machine = fine(cluster.machine_with("elsewhere", &elsewhere));
    let invited = fine(first.ctl(&["cluster", "invite"]).await);
    match machine.join(&text(&invited, "token")).await {
        Err(Failure::Broken(said)) => assert!(said.contains("shows nothing of cluster"), "{said}"),
        other => panic!("{other:?}"),
    }
    fine(cluster.stop().await);
}
