//! Encoding of openraft's messages on the wire.

use std::io;

use openraft::raft::{
    AppendEntriesRequest, AppendEntriesResponse, TransferLeaderRequest, VoteRequest, VoteResponse,
};
use panther_proto::v1::{
    AppendAnswer, AppendCall, Between, HandOverCall, LogPosition, PeerEntry, StoredVote,
    VoteAnswer, VoteCall, append_answer,
};

use super::types::{self, Types};

fn lacks(what: &str) -> io::Error {
    io::Error::new(io::ErrorKind::InvalidData, format!("a call without {what}"))
}

fn vote(stored: Option<&StoredVote>) -> io::Result<types::RaftVoteType> {
    stored.map(types::vote).ok_or_else(|| lacks("a vote"))
}

fn log_id(at: Option<&LogPosition>) -> Option<types::LogId> {
    at.map(types::log_id)
}

pub(super) fn append_call(
    request: AppendEntriesRequest<Types>,
    between: Option<Between>,
) -> AppendCall {
    let entries = request.entries.iter().map(|entry| PeerEntry {
        at: Some(types::position(&entry.log_id)),
        payload: types::encode_payload(&entry.payload),
    });
    AppendCall {
        between,
        vote: Some(types::stored_vote(&request.vote)),
        previous: request.prev_log_id.as_ref().map(types::position),
        entries: entries.collect(),
        committed: request.leader_commit.as_ref().map(types::position),
    }
}

pub(super) fn append_request(call: &AppendCall) -> io::Result<AppendEntriesRequest<Types>> {
    let entries = call.entries.iter().map(|entry| {
        let at = entry.at.as_ref().ok_or_else(|| lacks("an entry's place"))?;
        types::decode_entry(at, &entry.payload)
    });
    Ok(AppendEntriesRequest {
        vote: vote(call.vote.as_ref())?,
        prev_log_id: log_id(call.previous.as_ref()),
        entries: entries.collect::<io::Result<_>>()?,
        leader_commit: log_id(call.committed.as_ref()),
    })
}

pub(super) fn append_answer(response: AppendEntriesResponse<Types>) -> AppendAnswer {
    use append_answer::Kind;
    let kind = match response {
        AppendEntriesResponse::Success => Kind::Success(true),
        // `None` (before the first entry) is sent as the default position.
        AppendEntriesResponse::PartialSuccess(upto) => {
            Kind::Partly(upto.as_ref().map(types::position).unwrap_or_default())
        }
        AppendEntriesResponse::Conflict => Kind::Conflict(true),
        AppendEntriesResponse::HigherVote(vote) => Kind::HigherVote(types::stored_vote(&vote)),
    };
    AppendAnswer { kind: Some(kind) }
}

pub(super) fn append_response(answer: &AppendAnswer) -> io::Result<AppendEntriesResponse<Types>> {
    use append_answer::Kind;
    Ok(match &answer.kind {
        Some(Kind::Success(_)) => AppendEntriesResponse::Success,
        Some(Kind::Partly(upto)) if *upto == LogPosition::default() => {
            AppendEntriesResponse::PartialSuccess(None)
        }
        Some(Kind::Partly(upto)) => {
            AppendEntriesResponse::PartialSuccess(Some(types::log_id(upto)))
        }
        Some(Kind::Conflict(_)) => AppendEntriesResponse::Conflict,
        Some(Kind::HigherVote(vote)) => AppendEntriesResponse::HigherVote(types::vote(vote)),
        None => return Err(lacks("an answer that this build knows")),
    })
}

pub(super) fn vote_call(
    request: &VoteRequest<Types>,
    pre_vote: bool,
    between: Option<Between>,
) -> VoteCall {
    VoteCall {
        between,
        vote: Some(types::stored_vote(&request.vote)),
        last: request.last_log_id.as_ref().map(types::position),
        hand_over: request.leadership_transfer,
        pre_vote,
    }
}

pub(super) fn vote_request(call: &VoteCall) -> io::Result<VoteRequest<Types>> {
    let mut request = VoteRequest::new(vote(call.vote.as_ref())?, log_id(call.last.as_ref()));
    request.leadership_transfer = call.hand_over;
    Ok(request)
}

pub(super) fn vote_answer(response: &VoteResponse<Types>) -> VoteAnswer {
    VoteAnswer {
        vote: Some(types::stored_vote(&response.vote)),
        granted: response.vote_granted,
        last: response.last_log_id.as_ref().map(types::position),
    }
}

pub(super) fn vote_response(answer: &VoteAnswer) -> io::Result<VoteResponse<Types>> {
    Ok(VoteResponse::new(
        vote(answer.vote.as_ref())?,
        log_id(answer.last.as_ref()),
        answer.granted,
    ))
}

pub(super) fn hand_over_call(
    request: &TransferLeaderRequest<Types>,
    between: Option<Between>,
) -> HandOverCall {
    HandOverCall {
        between,
        vote: Some(types::stored_vote(request.from_leader())),
        last: request.last_log_id().map(types::position),
        heir: *request.to_node_id(),
    }
}

pub(super) fn hand_over_request(call: &HandOverCall) -> io::Result<TransferLeaderRequest<Types>> {
    Ok(TransferLeaderRequest::new(
        vote(call.vote.as_ref())?,
        call.heir,
        log_id(call.last.as_ref()),
    ))
}

#[cfg(test)]
mod tests {
    #[test]
    fn a_hand_over_names_its_heir_to_all() {
        let request = TransferLeaderRequest::new(types::RaftVoteType::new_committed(3, 1), 2, None);
        let told = hand_over_request(&hand_over_call(&request, None)).unwrap();
        assert_eq!(told.to_node_id(), &2);
        assert_eq!(told.from_leader(), request.from_leader());
    }

    use bytes::Bytes;
    use openraft::{EntryPayload, Vote};
    use proptest::prelude::*;

    use super::*;
    use crate::raft::types::{Proposal, RaftEntry};

    fn position() -> impl Strategy<Value = LogPosition> {
        (1..9_u64, 1..4_u64, 0..99_u64).prop_map(|(term, node, index)| LogPosition {
            term,
            node,
            index,
        })
    }

    proptest! {
        #[test]
        fn an_append_comes_as_it_was_sent(
            term in 1..9_u64,
            committed in any::<bool>(),
            previous in proptest::option::of(position()),
            upto in proptest::option::of(position()),
            bodies in prop::collection::vec(prop::collection::vec(any::<u8>(), 0..40), 0..5),
        ) {
            let entries = bodies.iter().enumerate().map(|(place, body)| RaftEntry {
                log_id: types::log_id(&LogPosition { term, node: 2, index: 100 + place as u64 }),
                payload: if body.is_empty() { EntryPayload::Blank } else { EntryPayload::Normal(Proposal(Bytes::from(body.clone()))) },
            });
            let request = AppendEntriesRequest::<Types> {
                vote: if committed { Vote::new_committed(term, 2) } else { Vote::new(term, 2) },
                prev_log_id: log_id(previous.as_ref()),
                entries: entries.collect(),
                leader_commit: log_id(upto.as_ref()),
            };
            let came = append_request(&append_call(request.clone(), None)).unwrap();
            prop_assert_eq!(format!("{came:?}"), format!("{request:?}"));
        }

        #[test]
        fn answers_come_as_they_were_given(at in proptest::option::of(position()), granted in any::<bool>()) {
            for response in [
                AppendEntriesResponse::<Types>::Success,
                AppendEntriesResponse::PartialSuccess(log_id(at.as_ref())),
                AppendEntriesResponse::Conflict,
                AppendEntriesResponse::HigherVote(Vote::new(7, 3)),
            ] {
                prop_assert_eq!(append_response(&append_answer(response.clone())).unwrap(), response);
            }
            let response = VoteResponse::<Types>::new(Vote::new(3, 1), log_id(at.as_ref()), granted);
            prop_assert_eq!(vote_response(&vote_answer(&response)).unwrap(), response);
        }
    }
}
