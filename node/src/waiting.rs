//! What a node answers before its door is open, which takes a leader: its health, what it knows by itself, and to everything else that it is starting.
//!
//! A node that lost its majority and was started again waits here, and its operator has to see how far its log goes.

use std::sync::Arc;

use axum::Router;
use axum::extract::State;
use axum::http::StatusCode;
use axum::http::header::RETRY_AFTER;
use axum::response::{IntoResponse, Response as HttpResponse};
use axum::routing::get;
use panther_actors::api::ApiCall;
use panther_actors::views::{self, Identity};
use panther_cluster::door::{FRESH, Local};
use panther_proto::v1::api_server::{Api, ApiServer};
use panther_proto::v1::{
    BackupPiece, BackupRequest, InvokeRequest, InvokeResponse, TailLine, TailRequest,
};
use serde_json::{Value, json};
use tokio::sync::{oneshot, watch};
use tokio::task::JoinHandle;
use tokio_stream::wrappers::ReceiverStream;
use tonic::{Request, Response, Status};

use crate::listeners::Listeners;
use crate::{grpc, health, http};

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

    async fn answer(&self, request: InvokeRequest) -> Result<Value, Status> {
        let again = || Status::unavailable("the node has just started: ask again");
        let by_itself = request.component == "node"
            && views::WITHOUT_LEADER.contains(&request.operation.as_str());
        if !by_itself {
            // As long as the caller likes.
            self.over().await;
            return Err(again());
        }
        if tokio::time::timeout(FRESH, self.over()).await.is_ok() {
            return Err(again());
        }
        let (local, reason) = self.known();
        let local =
            local.ok_or_else(|| Status::unavailable(format!("the node is starting: {reason}")))?;
        let call = ApiCall {
            operation: request.operation,
            ..ApiCall::default()
        };
        let answer = views::of_waiting(&local, &self.identity, &call, &reason).await;
        answer.map_err(|error| grpc::of_api(&error))
    }
}

#[tonic::async_trait]
impl Api for Starting {
    async fn invoke(
        &self,
        request: Request<InvokeRequest>,
    ) -> Result<Response<InvokeResponse>, Status> {
        let output = self.answer(request.into_inner()).await?.to_string();
        Ok(Response::new(InvokeResponse { output }))
    }

    type TailStream = ReceiverStream<Result<TailLine, Status>>;

    async fn tail(&self, _: Request<TailRequest>) -> Result<Response<Self::TailStream>, Status> {
        Err(Status::unavailable(format!(
            "the node is starting: {}",
            self.known().1
        )))
    }

    type BackupStream = ReceiverStream<Result<BackupPiece, Status>>;

    async fn backup(
        &self,
        _: Request<BackupRequest>,
    ) -> Result<Response<Self::BackupStream>, Status> {
        Err(Status::unavailable(format!(
            "the node is starting: {}",
            self.known().1
        )))
    }
}

/// What the admin socket answers until then.
fn admins(starting: &Starting) -> Router {
    let fallback = starting.clone();
    Router::new()
        .route_service(
            "/panther.v1.Api/{*method}",
            ApiServer::new(starting.clone()),
        )
        .fallback(move || {
            let starting = fallback.clone();
            async move {
                // A worker that waits for the queues of this node is let wait.
                starting.over().await;
                Status::unavailable("the node has just started: ask again")
                    .into_http::<axum::body::Body>()
            }
        })
}

async fn healthy(State(starting): State<Starting>) -> HttpResponse {
    let said = match starting.known() {
        (Some(local), _) => health::of_waiting(&local).said,
        (None, reason) => json!({"status": "failing", "local": true, "reason": reason}),
    };
    http::said(StatusCode::SERVICE_UNAVAILABLE, &said)
}

async fn not_yet(State(starting): State<Starting>) -> HttpResponse {
    let error = json!({"error": format!("the node is starting: {}", starting.known().1)});
    let answer = http::said(StatusCode::SERVICE_UNAVAILABLE, &error);
    ([(RETRY_AFTER, RETRY_SECONDS)], answer).into_response()
}
