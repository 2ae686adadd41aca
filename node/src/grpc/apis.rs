//! The methods of all APIs, by one handler: they differ in their messages alone, which it does not decode.

use std::collections::BTreeSet;
use std::time::Duration;

use axum::Router;
use axum::body::Body;
use axum::extract::{Request, State};
use axum::routing::any;
use bytes::Bytes;
use futures::future::BoxFuture;
use panther_actors::api::RequestId;
use panther_actors::system::Caller;
use panther_proto::methods::{Method, methods};
use panther_proto::raw;
use panther_proto::trace::{TRACEPARENT, TraceContext};
use tonic::metadata::MetadataMap;
use tonic::{Response, Status};
use tracing::Instrument as _;

use super::CALL_BYTES;

/// How long a call may take whose caller set no deadline.
const DEADLINE: Duration = Duration::from_secs(60);
/// Bytes of a request id at most.
const ID_BYTES: usize = 128;

/// A call of a method.
pub(crate) struct Asked {
    /// The method.
    pub(crate) method: &'static Method,
    /// Who calls.
    pub(crate) caller: Caller,
    /// The encoded request.
    pub(crate) request: Bytes,
}

/// What answers the methods.
pub(crate) trait Answers: Clone + Send + Sync + 'static {
    /// Answers a call.
    fn answer(&self, asked: Asked) -> BoxFuture<'_, Result<Bytes, Status>>;
}

/// Adds the methods of all APIs to a router.
pub(crate) fn added_to<A: Answers>(router: Router, answers: A) -> Router {
    let services: BTreeSet<&str> = methods()
        .all()
        .map(|method| method.service.as_str())
        .collect();
    services.into_iter().fold(router, |router, service| {
        let path = format!("/panther.v1.{service}/{{*method}}");
        router.route(&path, any(serve::<A>).with_state(answers.clone()))
    })
}

async fn serve<A: Answers>(State(answers): State<A>, request: Request) -> axum::response::Response {
    let answered = raw::answer(request, CALL_BYTES, move |call| {
        let answers = answers.clone();
        async move { traced(&answers, call).await }
    });
    answered.await.map(Body::new)
}

/// Answers a call in a span of its trace, which the answer names.
async fn traced<A: Answers>(answers: &A, call: raw::Call) -> Result<Response<Bytes>, Status> {
    let cause = brought(call.request.metadata());
    let trace = cause.map_or_else(TraceContext::mint, TraceContext::child);
    let span = tracing::info_span!(
        "call",
        component = %call.method.component,
        method = %call.method,
        trace_id = trace.trace_id(),
        span_id = trace.span_id(),
        parent_span_id = cause.map_or(0, TraceContext::span_id),
    );
    let mut answer = within(answers, call, trace)
        .instrument(span)
        .await
        .map(Response::new);
    let metadata = match &mut answer {
        Ok(answer) => answer.metadata_mut(),
        Err(status) => status.metadata_mut(),
    };
    if let Ok(traceparent) = trace.to_string().parse() {
        metadata.insert(TRACEPARENT, traceparent);
    }
    answer
}

/// The trace that the caller brought. A `traceparent` that is wrong counts as absent, as W3C Trace Context asks.
fn brought(metadata: &MetadataMap) -> Option<TraceContext> {
    metadata.get(TRACEPARENT)?.to_str().ok()?.parse().ok()
}

/// Answers a call within its deadline.
async fn within<A: Answers>(
    answers: &A,
    call: raw::Call,
    trace: TraceContext,
) -> Result<Bytes, Status> {
    let mut caller = caller(call.request.metadata())?;
    caller.trace = Some(trace);
    let has_deadline = call.request.metadata().contains_key("grpc-timeout");
    let answer = answers.answer(Asked {
        method: call.method,
        caller,
        request: call.request.into_inner(),
    });
    if has_deadline {
        return answer.await;
    }
    tokio::time::timeout(DEADLINE, answer).await.map_err(|_| {
        Status::deadline_exceeded(format!(
            "no answer within {} s; it may still take effect, so look before you repeat it",
            DEADLINE.as_secs()
        ))
    })?
}

/// Who calls, as the call's metadata say.
fn caller(metadata: &MetadataMap) -> Result<Caller, Status> {
    let wrong = |name: &str| Status::invalid_argument(format!("the metadata {name} is not valid"));
    let user = match metadata.get_bin(raw::USER) {
        Some(user) => {
            let user = user.to_bytes().map_err(|_| wrong(raw::USER))?;
            String::from_utf8(user.to_vec()).map_err(|_| wrong(raw::USER))?
        }
        None => String::new(),
    };
    let text = |name| match metadata.get(name) {
        Some(value) => value.to_str().map(Some).map_err(|_| wrong(name)),
        None => Ok(None),
    };
    let request = match text(raw::REQUEST_ID)? {
        None | Some("") => None,
        Some(id) if id.len() > ID_BYTES => return Err(wrong(raw::REQUEST_ID)),
        Some(id) => {
            let time = text(raw::REQUEST_TIME)?.unwrap_or("0");
            Some(RequestId {
                id: id.to_owned(),
                time_ms: time.parse().map_err(|_| wrong(raw::REQUEST_TIME))?,
            })
        }
    };
    Ok(Caller {
        user,
        request,
        trace: None,
    })
}

#[cfg(test)]
mod tests {
    use super::*;
    use tonic::metadata::MetadataValue;

    #[test]
    fn a_caller_is_read_from_metadata_and_wrong_metadata_are_refused() {
        let mut metadata = MetadataMap::new();
        assert!(caller(&metadata).unwrap().request.is_none());
        metadata.insert_bin(raw::USER, MetadataValue::from_bytes("Jürgen".as_bytes()));
        metadata.insert(raw::REQUEST_ID, "7f".parse().unwrap());
        metadata.insert(raw::REQUEST_TIME, "1700000000000".parse().unwrap());
        let read = caller(&metadata).unwrap();
        let request = read.request.unwrap();
        assert_eq!((read.user.as_str(), request.id.as_str()), ("Jürgen", "7f"));
        assert_eq!(request.time_ms, 1_700_000_000_000);

        metadata.insert(raw::REQUEST_TIME, "soon".parse().unwrap());
        assert!(caller(&metadata).is_err());
        metadata.insert(raw::REQUEST_TIME, "1".parse().unwrap());
        metadata.insert(raw::REQUEST_ID, "x".repeat(200).parse().unwrap());
        assert!(caller(&metadata).is_err());
    }
}
