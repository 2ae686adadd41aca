//! What a node answers before its door is open, which takes a leader: its health, what it knows by itself, and to everything else that it is starting.
//!
//! A node that lost its majority and was started again waits here, and its operator has to see how far its log goes.

use std::sync::Arc;

use axum::Router;
use axum::extract::State;
use axum::http::StatusCode;
use axum::http::header::RETRY_AFTER;
use axum::response::{IntoResponse, Response as HttpResponse};
use axum::routing::{any, get};
use bytes::Bytes;
use futures::future::BoxFuture;
use panther_actors::ingest::answer::json_answer;
use panther_actors::views::{self, Identity};
use panther_cluster::door::{FRESH, Local};
use serde_json::json;
use tokio::sync::{oneshot, watch};
use tokio::task::JoinHandle;
use tonic::Status;

use crate::grpc::apis::{Answers, Asked};
use crate::listeners::Listeners;
use crate::{grpc, health};

/// Seconds after which a sender may try again.
const RETRY_SECONDS: u64 = 2;

/// Serves a node's listeners until the door is open.
pub(crate) struct Waiting {
    over: watch::Sender<bool>,
    tasks: Vec<JoinHandle<()>>,
}

#[derive(Clone)]
struct Starting {
    identity: Arc<Identity>,
    /// Known once log and state are read.
    local: watch::Receiver<Option<Local>>,
    over: watch::Receiver<bool>,
}

impl Waiting {
    /// Serves both listeners; `local` is what the node knows, once it knows something.
    pub(crate) fn serve(
        listeners: &Listeners,
        local: oneshot::Receiver<Local>,
        identity: Identity,
    ) -> Self {
        let over = watch::Sender::new(false);
        let (known, knows) = watch::channel(None);
        let starting = Starting {
            identity: Arc::new(identity),
            local: knows,
            over: over.subscribe(),
        };
        let mut tasks = vec![tokio::spawn(async move {
            if let Ok(local) = local.await {
                known.send_replace(Some(local));
                known.closed().await;
            }
        })];
        let (socket, admins, closed) = (listeners.clone(), admins(&starting), over.subscribe());
        tasks.push(tokio::spawn(async move {
            socket.serve_admin(admins, closed).await;
        }));
        if listeners.has_http() {
            let router = Router::new()
                .route("/healthz", get(healthy))
                .fallback(not_yet)
                .with_state(starting);
            let (socket, closed) = (listeners.clone(), over.subscribe());
            tasks.push(tokio::spawn(async move {
                socket.serve_http(router, closed).await;
            }));
        }
        Self { over, tasks }
    }

    /// Ends it; callers that have waited for the node are answered that it can be asked again.
    pub(crate) async fn end(self) {
        self.over.send_replace(true);
        for mut task in self.tasks {
            if tokio::time::timeout(FRESH, &mut task).await.is_err() {
                task.abort();
            }
        }
    }
}

impl Starting {
    /// What this node knows by itself, and why it waits.
    fn known(&self) -> (Option<Local>, String) {
        let local = self.local.borrow().clone();
        let reason = match &local {
            None => "log and state are being read".to_owned(),
            Some(local) => local.without_leader().map_or_else(
                || "a leader is there, and its log is being followed".to_owned(),
                |(_, reason)| reason,
            ),
        };
        (local, reason)
    }

    async fn over(&self) {
        let mut over = self.over.clone();
        let _ = over.wait_for(|over| *over).await; // a sender that is gone is an end too
    }
}

impl Answers for Starting {
    fn answer(&self, asked: Asked) -> BoxFuture<'_, Result<Bytes, Status>> {
        Box::pin(async move {
            let again = || Status::unavailable("the node has just started: ask again");
            if !asked.method.without_leader {
                // The deadline of the caller ends the wait.
                self.over().await;
                return Err(again());
            }
            if tokio::time::timeout(FRESH, self.over()).await.is_ok() {
                return Err(again());
            }
            let (local, reason) = self.known();
            let local = local
                .ok_or_else(|| Status::unavailable(format!("the node is starting: {reason}")))?;
            let answer = views::of_waiting(&local, &self.identity, asked.method, &reason).await;
            answer.map_err(|error| grpc::of_api(&error))
        })
    }
}

/// What the admin socket answers until then.
fn admins(starting: &Starting) -> Router {
    let (fallback, streaming) = (starting.clone(), starting.clone());
    let others = move || {
        let starting = fallback.clone();
        async move {
            // A worker that waits for the queues of this node is let wait.
            starting.over().await;
            Status::unavailable("the node has just started: ask again")
                .into_http::<axum::body::Body>()
        }
    };
    let streams = move || {
        let reason = streaming.known().1;
        async move {
            Status::unavailable(format!("the node is starting: {reason}"))
                .into_http::<axum::body::Body>()
        }
    };
    let router = Router::new()
        .route("/panther.v1.NodeStreams/{*method}", any(streams))
        .fallback(others);
    grpc::apis::added_to(router, starting.clone())
}

async fn healthy(State(starting): State<Starting>) -> HttpResponse {
    let said = match starting.known() {
        (Some(local), _) => health::of_waiting(&local).said,
        (None, reason) => json!({"status": "failing", "local": true, "reason": reason}),
    };
    json_answer(StatusCode::SERVICE_UNAVAILABLE, &said)
}

async fn not_yet(State(starting): State<Starting>) -> HttpResponse {
    let error = json!({"error": format!("the node is starting: {}", starting.known().1)});
    let answer = json_answer(StatusCode::SERVICE_UNAVAILABLE, &error);
    ([(RETRY_AFTER, RETRY_SECONDS)], answer).into_response()
}
