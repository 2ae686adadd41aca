//! A backup is whole, or it is none.

use serde_json::json;

use crate::node::{Node, run};

/// sha256 of "one two".
const HASH: &str = "8ab63e29a4ba14e4e1688f9c15e5af90895421358c945b0431f85d66977bd3d2";

fn node(pieces: &[&str]) -> Node {
    Node::with(json!({"backup": {"bytes": 7, "sha256": HASH, "pieces": pieces}}))
}

#[tokio::test]
async fn a_backup_is_written_with_what_it_is_and_found_whole_until_a_byte_changes() {
    let folder = tempfile::tempdir().unwrap();
    let place = folder.path().join("backup").display().to_string();
    let node = node(&["one ", "two"]);
    let ran = node.run(&format!("backup create {place}")).await;
    ran.says(0, &["c1", "2026-03-05T14:00:00Z", "sealing.key"]);
    let state = folder.path().join("backup/state.snapshot");
    assert_eq!(std::fs::read_to_string(&state).unwrap(), "one two");
    // No node is needed to look at one.
    let verify = ["backup", "verify", &place];
    run(None, &verify, "").await.says(0, &["c1", "whole"]);
    node.run(&format!("backup create {place}"))
        .await
        .says(1, &["not there yet"]);
    std::fs::write(&state, "one twO").unwrap();
    run(None, &verify, "").await.says(2, &["has changed"]);
    std::fs::write(&state, "one").unwrap();
    run(None, &verify, "")
        .await
        .says(2, &["3 bytes, and 7 were written"]);
}

#[tokio::test]
async fn what_breaks_off_or_comes_wrong_leaves_nothing_that_could_be_taken_for_a_backup() {
    for pieces in [&["one "][..], &["one ", "twO"]] {
        let folder = tempfile::tempdir().unwrap();
        let place = folder.path().join("backup");
        let ran = node(pieces)
            .run(&format!("backup create {}", place.display()))
            .await;
        ran.says(1, &["broke off"]);
        assert!(!place.exists());
    }
}
