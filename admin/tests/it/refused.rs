//! A node that cannot be reached, refuses, or is silent: what was tried, why it failed, what to do next.

use std::{os::unix::net::UnixListener, path::Path};

use serde_json::json;
use tonic::Status;

use crate::node::{Node, repository, run};

#[tokio::test]
async fn a_node_that_cannot_be_reached_is_explained() {
    let folder = tempfile::tempdir().unwrap();
    let absent = folder.path().join("absent.sock");
    run(Some(&absent), &["status"], "").await.says(
        4,
        &[
            "error: cannot reach pantherd",
            "absent.sock",
            "no such file",
            "systemctl status pantherd",
        ],
    );
    let left = folder.path().join("left.sock");
    drop(UnixListener::bind(&left).unwrap());
    run(Some(&left), &["status"], "")
        .await
        .says(4, &["left.sock", "nobody listens"]);
    run(None, &["--socket", absent.to_str().unwrap(), "health"], "")
        .await
        .says(4, &["absent.sock"]);
    // Without any word from the person the default is tried, and said.
    if !Path::new("/run/panther/pantherd.sock").exists() {
        run(None, &["status"], "")
            .await
            .says(4, &["/run/panther/pantherd.sock", "--socket"]);
    }
}

#[tokio::test]
async fn refusals_keep_the_words_of_the_node() {
    for (status, code, words) in [
        (
            Status::not_found("no queue \"x\"; did you mean y?"),
            1,
            "did you mean y?",
        ),
        (
            Status::invalid_argument("limit must be above 0"),
            2,
            "limit must be above 0",
        ),
        (
            Status::resource_exhausted("busy until 12:00"),
            1,
            "busy until 12:00",
        ),
        (
            Status::unimplemented("comes with cloud security"),
            1,
            "comes with cloud security",
        ),
        (Status::internal("bad\u{1b}[2J"), 1, "bad\\u{1b}[2J"),
    ] {
        let node = Node::answering(move |_, _| Err(status.clone()));
        let ran = node.run("queue show x").await;
        ran.says(code, &["error:", "tried  node.queue", words]);
        assert!(ran.out.is_empty() && !ran.err.contains('\u{1b}'), "{ran:?}");
    }
}

#[tokio::test]
async fn a_silent_node_is_waited_for_only_so_long() {
    let node = Node::answering(|_, _| Ok(json!("hang")));
    node.run("--timeout 0.2 status")
        .await
        .says(4, &["did not answer in time", "0.2 s"]);
    let ran = node.run("--timeout 0.2 queue send q b").await;
    ran.says(4, &["may or may not have been done"]);
}

#[tokio::test]
async fn an_answer_that_is_no_json_is_said() {
    let node = Node::answering(|_, _| Ok(json!("oops")));
    node.run("status")
        .await
        .says(1, &["the answer makes no sense", "node.status"]);
}

#[tokio::test]
async fn a_refused_pack_is_told_file_by_file() {
    let node = Node::answering(|_, _| {
        Err(Status::invalid_argument(
            json!({"problems": [{"file": "a.yml", "key": "RuleID", "reason": "is missing"}]})
                .to_string(),
        ))
    });
    let pack = repository("samples/pack");
    node.run_words(&["detections", "upload", &pack]).await.says(
        2,
        &[
            "stays live: 1 problem in 1 file",
            "a.yml\n  RuleID: is missing",
        ],
    );
    let ran = node
        .run_words(&["detections", "upload", &pack, "--json"])
        .await;
    assert_eq!(ran.json()["problems"][0]["file"], "a.yml");
}

#[tokio::test]
async fn slips_on_the_command_line_are_exit_code_2() {
    for words in [
        &["frobnicate"][..],
        &["queue", "send"],
        &["sources", "add", "http", "x"],
    ] {
        let ran = run(None, words, "").await;
        assert_eq!(ran.code, 2, "{ran:?}");
    }
}
