//! A new lineage with one node: from a backup, or from the data of a node that has lost its majority.

use panther_cluster::door::Door;
use panther_cluster::door::change::{self, RowExt};
use panther_cluster::net::Authority;
use panther_cluster::raft::lineage;
use panther_cluster::state::read;

use super::three::{Nodes, PATIENCE, put, send, settings};

const ROWS: i64 = 20;

async fn number(door: &Door, key: &str) -> Option<i64> {
    let row = door.get("alerts", &change::key(key)).await.unwrap();
    row.and_then(|row| row.int("number"))
}

async fn holds_all(door: &Door) {
    for row in 0..ROWS {
        assert_eq!(number(door, &format!("k{row}")).await, Some(row));
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn one_that_is_left_goes_on_alone_with_all_that_it_has() {
    let mut nodes = Nodes::three().await;
    let leader = nodes.leader().await;
    let left = nodes.follower_of(leader);
    for row in 0..ROWS {
        let put = put(&format!("k{row}"), row);
        nodes.doors[&left].transact(put).await.unwrap();
    }
    nodes.doors[&leader].transact(send("held")).await.unwrap();
    let held = nodes.doors[&leader].receive("work", 1, PATIENCE).await;
    assert_eq!(held.unwrap().messages.len(), 1);
    // This node has applied the receive as well: a linearizable read waits for that.
    nodes.doors[&left].counts("work").await.unwrap();
    for node in [1, 2, 3] {
        nodes.kill(node).await;
    }
    let folder = nodes.path(left);
    let forced = lineage::force_new(&folder, left, "127.0.0.1:1", settings().group);
    let forced = forced.await.unwrap();
    assert!(forced.last.index > ROWS.unsigned_abs(), "{forced:?}");
    nodes.authority = Authority::create("anew").unwrap();
    for _ in 0..2 {
        let door = nodes.open(left, false).await.unwrap().unwrap();
        assert_eq!(door.group().status().voters, [left]);
        holds_all(&door).await;
        door.end_other_sessions().await.unwrap();
        let again = door.receive("work", 1, PATIENCE).await.unwrap();
        assert_eq!(&again.messages[0].body[..], b"held");
        door.transact(put("later", 1)).await.unwrap();
        nodes.doors.insert(left, door);
        nodes.kill(left).await;
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn a_backup_taken_at_any_node_becomes_a_group_of_one_with_the_state_of_that_moment() {
    let mut nodes = Nodes::three().await;
    let leader = nodes.leader().await;
    let taker = nodes.follower_of(leader);
    for row in 0..ROWS {
        let put = put(&format!("k{row}"), row);
        nodes.doors[&leader].transact(put).await.unwrap();
    }
    nodes.doors[&taker].read(|_| Ok(())).await.unwrap();
    let store = nodes.doors[&taker].group().store().clone();
    let file = tokio::task::spawn_blocking(move || store.take_snapshot());
    let file = file.await.unwrap().unwrap();
    let backup = nodes.folder.path().join("backup");
    std::fs::copy(&file.path, &backup).unwrap();
    nodes.doors[&leader]
        .transact(put("later", 1))
        .await
        .unwrap();
    for node in [1, 2, 3] {
        nodes.kill(node).await;
    }
    let (new, folder) = (9, nodes.path(9));
    std::fs::create_dir(&folder).unwrap();
    let restored = lineage::restore(&folder, &backup, new, "127.0.0.1:1", settings().group);
    assert_eq!(Some(restored.await.unwrap()), file.header.last);
    nodes.authority = Authority::create("anew").unwrap();
    for _ in 0..2 {
        let door = nodes.open(new, false).await.unwrap().unwrap();
        assert_eq!(door.group().status().voters, [new]);
        holds_all(&door).await;
        assert_eq!(number(&door, "later").await, None);
        door.transact(put("mine", 1)).await.unwrap();
        nodes.doors.insert(new, door);
        nodes.kill(new).await;
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn a_backup_with_a_wrong_byte_is_refused() {
    let mut nodes = Nodes::three().await;
    let store = nodes.doors[&1].group().store().clone();
    let hash = read::globals(&store).unwrap().hash;
    assert_ne!(hash, 0);
    let file = tokio::task::spawn_blocking(move || store.take_snapshot());
    let mut bytes = std::fs::read(file.await.unwrap().unwrap().path).unwrap();
    for node in [1, 2, 3] {
        nodes.kill(node).await;
    }
    let middle = bytes.len() / 3;
    bytes[middle] ^= 1;
    let backup = nodes.folder.path().join("backup");
    std::fs::write(&backup, bytes).unwrap();
    let folder = nodes.path(9);
    std::fs::create_dir(&folder).unwrap();
    let refused = lineage::restore(&folder, &backup, 9, "127.0.0.1:1", settings().group).await;
    let refused = refused.unwrap_err().to_string();
    assert!(refused.contains("damaged"), "{refused}");
}
