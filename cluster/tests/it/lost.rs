//! A node that has lost synced data does not take part, and its state stays unchanged.

use std::path::Path;

use panther_cluster::door::change::{self, RowExt};
use panther_cluster::door::{Door, DoorError};
use panther_cluster::log::Loss;
use panther_cluster::net::Authority;
use panther_cluster::raft::lineage;
use panther_cluster::state::{keys, read};
use panther_cluster::storage::{StateStore, StoreSettings};
use prost::Message;

use super::three::{Nodes, put, settings, until};

fn loss(opened: Result<Door, DoorError>) -> Loss {
    match opened.err().expect("refused") {
        DoorError::Store(error) => Loss::of(&error).expect("a loss").clone(),
        other => panic!("{other}"),
    }
}

fn empty(folder: &Path) {
    for file in std::fs::read_dir(folder).unwrap() {
        std::fs::remove_file(file.unwrap().path()).unwrap();
    }
}

async fn number(door: &Door, key: &str) -> Option<i64> {
    let row = door.get("alerts", &change::key(key)).await.unwrap();
    row.and_then(|row| row.int("number"))
}

#[tokio::test(flavor = "multi_thread")]
async fn a_voter_without_its_log_elects_nobody_so_that_what_was_acknowledged_stays() {
    let mut nodes = Nodes::three().await;
    nodes.kill(3).await;
    let leader = nodes.leader().await;
    nodes.doors[&leader]
        .transact(put("by-1-and-2", 7))
        .await
        .unwrap();
    // Applied on both nodes.
    for node in [1, 2] {
        assert_eq!(number(&nodes.doors[&node], "by-1-and-2").await, Some(7));
    }
    nodes.kill(1).await;
    nodes.kill(2).await;
    empty(&nodes.path(2).join("log"));
    let found = loss(nodes.open(2, true).await.unwrap());
    assert_eq!(found.code(), "log-empty", "{found}");
    nodes.end_runtime(2).await;
    let states = std::fs::read_dir(nodes.path(2).join("state")).unwrap();
    let states: Vec<String> = states
        .map(|entry| entry.unwrap().file_name().into_string().unwrap())
        .filter(|name| name.starts_with("state-"))
        .collect();
    assert!(
        states.len() == 1 && !states[0].ends_with(".aside"),
        "{states:?}"
    );
    // The two intact nodes continue.
    let (one, three) = (nodes.open(1, false), nodes.open(3, true));
    nodes.doors.insert(1, one.await.unwrap().unwrap());
    nodes.doors.insert(3, three.await.unwrap().unwrap());
    for node in [1, 3] {
        assert_eq!(number(&nodes.doors[&node], "by-1-and-2").await, Some(7));
    }
    nodes.kill(1).await;
    nodes.kill(3).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn the_only_voter_goes_on_from_its_state_when_its_log_is_lost() {
    let mut nodes = Nodes::three().await;
    for node in [1, 2, 3] {
        nodes.kill(node).await;
    }
    // A group with one node.
    let door = nodes.open(9, false).await.unwrap().unwrap();
    door.execute(panther_proto::v1::command::Kind::Declare(
        super::door::declaration(),
    ))
    .await
    .unwrap();
    for row in 0..20 {
        door.transact(put(&format!("k{row}"), row)).await.unwrap();
    }
    door.close().await.unwrap();
    drop(door);
    nodes.end_runtime(9).await;
    let folder = nodes.path(9);
    let whole = lineage::remains(&folder, settings().group).await.unwrap();
    assert_eq!(whole.loss, None);
    empty(&folder.join("log"));
    let found = loss(nodes.open(9, false).await.unwrap());
    assert_eq!(found.code(), "log-empty", "{found}");
    nodes.end_runtime(9).await;
    // Without the mark, the state proves the loss.
    std::fs::remove_file(folder.join("log.mark")).unwrap();
    let found = loss(nodes.open(9, false).await.unwrap());
    assert_eq!(found.code(), "state-ahead-of-log", "{found}");
    nodes.end_runtime(9).await;
    let remains = lineage::remains(&folder, settings().group).await.unwrap();
    assert_eq!(remains.loss.as_ref().map(Loss::code), Some("log-empty"));
    assert_eq!(remains.applied, whole.applied);
    assert!(remains.time_ms > 0);
    assert_eq!(remains.voters, [9].into());
    let into = nodes.path(10);
    std::fs::create_dir(&into).unwrap();
    let address = "127.0.0.1:1";
    let salvaged = lineage::salvage(&folder, &into, &remains, 10, address, settings().group).await;
    assert_eq!(salvaged.unwrap(), remains.applied);
    nodes.authority = Authority::create("anew").unwrap();
    for _ in 0..2 {
        let door = nodes.open(10, false).await.unwrap().unwrap();
        assert_eq!(door.group().status().voters, [10]);
        for row in 0..20 {
            assert_eq!(number(&door, &format!("k{row}")).await, Some(row));
        }
        door.transact(put("later", 1)).await.unwrap();
        nodes.doors.insert(10, door);
        nodes.kill(10).await;
    }
    // What remains is left unchanged.
    let again = lineage::remains(&folder, settings().group).await.unwrap();
    assert_eq!(again, remains);
}

#[tokio::test(flavor = "multi_thread")]
async fn a_node_that_has_taken_part_does_not_begin_with_nothing() {
    let folder = tempfile::tempdir().unwrap();
    let among = panther_cluster::door::Among {
        membership: panther_cluster::raft::Membership {
            started: true,
            ..Default::default()
        },
        ..Default::default()
    };
    let opened = Door::open_among(folder.path(), 1, 1, settings(), among).await;
    assert_eq!(loss(opened).code(), "log-empty");
}

#[tokio::test(flavor = "multi_thread")]
async fn a_replica_whose_state_differs_is_found_and_told_so() {
    let mut nodes = Nodes::three().await;
    let leader = nodes.leader().await;
    let off = nodes.follower_of(leader);
    nodes.doors[&leader].transact(put("k", 1)).await.unwrap();
    nodes.doors[&off].counts("work").await.unwrap(); // it has applied that write
    let store = nodes.doors[&off].group().store().clone();
    tokio::task::spawn_blocking(move || store.close().unwrap())
        .await
        .unwrap();
    nodes.kill(off).await;
    let root = nodes.path(off).join("state");
    let wrong = tokio::task::spawn_blocking(move || {
        let store = StateStore::open_alone(&root, StoreSettings::default()).unwrap();
        let mut globals = read::globals(&store).unwrap();
        globals.hash ^= 1;
        let writes = [(keys::globals(), Some(globals.encode_to_vec().into()))];
        store.store(writes.into(), store.applied());
        store.close().unwrap();
    });
    wrong.await.unwrap();
    let opening = nodes.open(off, off != 1);
    nodes.doors.insert(off, opening.await.unwrap().unwrap());
    let said = until("the node is told that it differs", async || {
        nodes.doors[&off].differs()
    })
    .await;
    assert!(said.contains("majority") && said.contains("hash"), "{said}");
    let leader = nodes.leader().await;
    assert_ne!(leader, off, "it was told by another");
    let heard = nodes.doors[&leader].heard().await.unwrap();
    for (node, heard) in heard {
        assert_eq!(heard.differs.is_some(), node == off, "{node}: {heard:?}");
    }
    for node in [1, 2, 3] {
        assert_eq!(nodes.doors[&node].differs().is_some(), node == off);
        nodes.kill(node).await;
    }
}
