//! Queues and tables by gRPC, for workers outside the daemon; and what follows along until the node stops.

use std::time::Duration;

use panther_proto::v1::doors_client::DoorsClient;
use panther_proto::v1::node_streams_client::NodeStreamsClient;
use panther_proto::v1::{
    Code, DoorCall, DoorQuery, DoorReceive, GiveBack, Receipt, Send, TailRequest, Transact,
    door_answer, door_call, reply, send,
};
use rustix::process::Signal;

use crate::daemon::Daemon;

/// A queue that nobody in the daemon consumes.
const QUEUE: &str = "panther-input-data-notifications-queue-dlq";

fn sending(body: &str) -> Transact {
    Transact {
        sends: vec![Send {
            to: Some(send::To::Queue(QUEUE.to_owned())),
            body: body.as_bytes().to_vec().into(),
            ..Send::default()
        }],
        ..Transact::default()
    }
}

fn ending(receipt: Option<Receipt>) -> Transact {
    Transact {
        done: receipt,
        ..Transact::default()
    }
}

#[tokio::test]
async fn a_worker_outside_sends_receives_gives_back_and_ends_messages() {
    let home = tempfile::tempdir().unwrap();
    let daemon = Daemon::start(home.path(), &["--ingest", ""]);
    let mut doors = DoorsClient::connect(format!("unix:{}", daemon.socket.display()))
        .await
        .unwrap();
    let done = doors.transact(sending("one")).await.unwrap().into_inner();
    assert!(matches!(done.kind, Some(reply::Kind::Done(done)) if done.message_ids.len() == 1));
    let receive = DoorReceive {
        queue: QUEUE.to_owned(),
        max: 5,
        wait_ms: 5_000,
    };
    let received = doors.receive(receive.clone()).await.unwrap().into_inner();
    let message = &received.messages[0];
    assert_eq!(message.body, "one");
    let back = GiveBack {
        receipt: message.receipt.clone(),
        ..GiveBack::default()
    };
    let old = back.receipt.clone();
    doors.give_back(back).await.unwrap();
    let again = doors.receive(receive).await.unwrap().into_inner();
    // Its right is used up: an answer, not a failure of the call.
    let stale = doors.transact(ending(old)).await.unwrap().into_inner();
    assert!(
        matches!(stale.kind, Some(reply::Kind::Refused(refused)) if refused.code() == Code::StaleReceipt)
    );
    let receipt = again.messages[0].receipt.clone();
    doors.transact(ending(receipt)).await.unwrap();
    let receive = DoorReceive {
        queue: QUEUE.to_owned(),
        max: 10,
        wait_ms: 0,
    };
    let left = doors.receive(receive).await.unwrap().into_inner();
    assert!(left.messages.is_empty(), "{left:?}");
}

#[tokio::test]
async fn what_does_not_exist_is_not_found() {
    let home = tempfile::tempdir().unwrap();
    let daemon = Daemon::start(home.path(), &["--ingest", ""]);
    let mut doors = DoorsClient::connect(format!("unix:{}", daemon.socket.display()))
        .await
        .unwrap();
    let unknown = DoorReceive {
        queue: "no-such-queue".to_owned(),
        max: 1,
        wait_ms: 0,
    };
    let refused = doors.receive(unknown).await.unwrap_err();
    assert_eq!(refused.code(), tonic::Code::NotFound, "{refused}");
    let refused = doors.query(DoorQuery::default()).await.unwrap_err();
    assert_eq!(refused.code(), tonic::Code::InvalidArgument, "{refused}");
}

#[tokio::test]
async fn calls_over_one_stream_are_answered_as_they_are_done_and_a_stop_ends_it() {
    let home = tempfile::tempdir().unwrap();
    let mut daemon = Daemon::start(home.path(), &["--ingest", ""]);
    let mut doors = DoorsClient::connect(format!("unix:{}", daemon.socket.display()))
        .await
        .unwrap();
    let (calls, asked) = tokio::sync::mpsc::channel(8);
    let asked = tokio_stream::wrappers::ReceiverStream::new(asked);
    let mut answers = doors.converse(asked).await.unwrap().into_inner();
    let call = async |number, ask| {
        let call = DoorCall {
            number,
            ask: Some(ask),
        };
        calls.send(call).await.unwrap();
    };
    // It waits, and holds up none that come behind it.
    let receive = DoorReceive {
        queue: QUEUE.to_owned(),
        max: 1,
        wait_ms: 20_000,
    };
    call(1, door_call::Ask::Receive(receive.clone())).await;
    call(2, door_call::Ask::Query(DoorQuery::default())).await;
    let failed = answers.message().await.unwrap().unwrap();
    assert_eq!(failed.number, 2);
    assert!(
        matches!(failed.answer, Some(door_answer::Answer::Failure(failure)) if failure.code == tonic::Code::InvalidArgument as i32)
    );
    call(3, door_call::Ask::Transact(sending("one"))).await;
    let mut numbers = Vec::new();
    let mut body = None;
    for _ in 0..2 {
        let answer = answers.message().await.unwrap().unwrap();
        numbers.push(answer.number);
        if let Some(door_answer::Answer::Received(received)) = answer.answer {
            body = Some(received.messages[0].body.clone());
        }
    }
    numbers.sort_unstable();
    assert_eq!(numbers, [1, 3]);
    assert_eq!(body.unwrap(), "one");
    call(4, door_call::Ask::Receive(receive)).await;
    daemon.signal(Signal::TERM);
    let (status, took) = tokio::task::spawn_blocking(move || daemon.ended())
        .await
        .unwrap();
    assert!(status.success(), "{status}");
    assert!(took < Duration::from_secs(10), "{took:?}");
}

#[tokio::test]
async fn a_follower_and_a_waiting_receive_do_not_hold_a_stop_up() {
    let home = tempfile::tempdir().unwrap();
    let mut daemon = Daemon::start(home.path(), &["--ingest", ""]);
    let address = format!("unix:{}", daemon.socket.display());
    let mut streams = NodeStreamsClient::connect(address.clone()).await.unwrap();
    let what = "alarms".to_owned();
    let mut lines = streams
        .tail(TailRequest { what })
        .await
        .unwrap()
        .into_inner();
    let mut doors = DoorsClient::connect(address).await.unwrap();
    let waiting = tokio::spawn(async move {
        let receive = DoorReceive {
            queue: QUEUE.to_owned(),
            max: 1,
            wait_ms: 20_000,
        };
        doors.receive(receive).await
    });
    daemon.signal(Signal::TERM);
    let (status, took) = tokio::task::spawn_blocking(move || daemon.ended())
        .await
        .unwrap();
    assert_eq!(status.code(), Some(0));
    assert!(took < Duration::from_secs(9), "{took:?}");
    assert!(waiting.await.unwrap().is_err());
    while let Ok(Some(_)) = lines.message().await {}
}
