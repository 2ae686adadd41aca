//! Many calls of doors over one stream: each is done on its own, and answered when it is done.

use std::pin::Pin;
use std::sync::Arc;

use panther_proto::v1::doors_server::Doors;
use panther_proto::v1::{DoorAnswer, DoorCall, DoorFailure, door_answer, door_call};
use tokio::sync::{Semaphore, mpsc};
use tokio_stream::wrappers::ReceiverStream;
use tokio_stream::{Stream, StreamExt};
use tonic::{Request, Status, Streaming};

use super::doors::Gates;
use super::until;

/// Calls of one stream that are under way; the next is read when one of them is done.
const UNDER_WAY: usize = 4_096;
/// Answers that wait for their reader.
const ANSWERS: usize = 1_024;

/// Answers, as gRPC takes them.
pub(super) type Answers = Pin<Box<dyn Stream<Item = Result<DoorAnswer, Status>> + Send>>;

/// Serves a stream until the caller ends it or is gone.
pub(super) fn converse(gates: &Gates, mut calls: Streaming<DoorCall>) -> Answers {
    let (answers, receiver) = mpsc::channel(ANSWERS);
    let places = Arc::new(Semaphore::new(UNDER_WAY));
    let gates = gates.clone();
    // It ends with the stream of calls or the node, and what is under way when nobody reads answers any more.
    tokio::spawn(async move {
        let mut stopping = std::pin::pin!(until(gates.closed()));
        loop {
            let call = tokio::select! {
                call = calls.next() => call,
                () = &mut stopping => return,
            };
            let Some(Ok(call)) = call else { return };
            let Ok(place) = places.clone().acquire_owned().await else {
                return;
            };
            let (gates, answers) = (gates.clone(), answers.clone());
            tokio::spawn(async move {
                let number = call.number;
                tokio::select! {
                    answer = answer(&gates, call) => {
                        let answer = DoorAnswer { number, answer: Some(answer) };
                        let _ = answers.send(Ok(answer)).await; // the caller may be gone
                    }
                    () = answers.closed() => {}
                }
                drop(place);
            });
        }
    });
    Box::pin(ReceiverStream::new(receiver))
}

async fn answer(gates: &Gates, call: DoorCall) -> door_answer::Answer {
    use door_answer::Answer;
    let answer = match call.ask {
        Some(door_call::Ask::Transact(transact)) => gates
            .transact(Request::new(transact))
            .await
            .map(|reply| Answer::Reply(reply.into_inner())),
        Some(door_call::Ask::Receive(receive)) => gates
            .receive(Request::new(receive))
            .await
            .map(|received| Answer::Received(received.into_inner())),
        Some(door_call::Ask::Extend(extend)) => gates
            .extend(Request::new(extend))
            .await
            .map(|reply| Answer::Reply(reply.into_inner())),
        Some(door_call::Ask::GiveBack(give_back)) => gates
            .give_back(Request::new(give_back))
            .await
            .map(|reply| Answer::Reply(reply.into_inner())),
        Some(door_call::Ask::Get(get)) => gates
            .get(Request::new(get))
            .await
            .map(|row| Answer::Row(row.into_inner())),
        Some(door_call::Ask::Query(query)) => gates
            .query(Request::new(query))
            .await
            .map(|rows| Answer::Rows(rows.into_inner())),
        None => Err(Status::invalid_argument(
            "the call asks nothing that this build knows",
        )),
    };
    answer.unwrap_or_else(|status| {
        Answer::Failure(DoorFailure {
            code: status.code().into(),
            message: status.message().to_owned(),
        })
    })
}
