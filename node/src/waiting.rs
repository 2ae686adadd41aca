//! What a node answers before its door is open, which takes a leader: its health, what it knows by itself, and to everything else that it is starting.
//!
//! A node that lost its majority and was started again waits here, and its operator has to see how far its log goes.

use std::io;
use std::pin::Pin;
use std::sync::Arc;
use std::task::{Context, Poll, ready};

use axum::Router;
use axum::extract::State;
use axum::http::StatusCode;
use axum::http::header::RETRY_AFTER;
use axum::response::{IntoResponse, Response as HttpResponse};
use axum::routing::get;
use panther_actors::api::ApiCall;
use panther_actors::views::{self, Identity};
use panther_cluster::door::{FRESH, Local};
use panther_detections::engine::is_of_an_engine;
use panther_proto::v1::api_server::{Api, ApiServer};
use panther_proto::v1::{
    BackupPiece, BackupRequest, InvokeRequest, InvokeResponse, TailLine, TailRequest,
};
use serde_json::{Value, json};
use tokio::net::{TcpListener, UnixListener, UnixStream};
use tokio::sync::{oneshot, watch};
use tokio::task::JoinHandle;
use tokio_stream::Stream;
use tokio_stream::wrappers::ReceiverStream;
use tonic::service::Routes;
use tonic::transport::Server;
use tonic::{Request, Response, Status};

use crate::{grpc, health, http};

/// Connections to the HTTP side at one time: nothing but health is answered.
const CONNECTIONS: usize = 64;
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

/// A Unix socket that another server goes on with. Connections of processes that run rules are closed at once, should nothing else have kept them from the
/// socket: a rule acts for no operator.
pub(crate) struct Incoming(pub(crate) Arc<UnixListener>);

impl Stream for Incoming {
    type Item = io::Result<UnixStream>;

    fn poll_next(self: Pin<&mut Self>, context: &mut Context<'_>) -> Poll<Option<Self::Item>> {
        loop {
            match ready!(self.0.poll_accept(context)) {
                Ok((stream, _)) if runs_rules(&stream) => {}
                accepted => return Poll::Ready(Some(accepted.map(|(stream, _)| stream))),
            }
        }
    }
}

/// Whether the caller descends from an engine of this daemon.
fn runs_rules(caller: &UnixStream) -> bool {
    let process = caller.peer_cred().ok().and_then(|peer| peer.pid());
    let refused = process.is_some_and(is_of_an_engine);
    if refused {
        tracing::error!(
            process,
            "a process that runs rules called the admin socket and was turned away"
        );
    }
    refused
}

impl Waiting {
    /// Serves both listeners; `local` is what the node knows, once it knows something.
    pub(crate) fn serve(
        socket: Arc<UnixListener>,
        ingest: Option<Arc<TcpListener>>,
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
        let mut tasks = vec![
            tokio::spawn(async move {
                if let Ok(local) = local.await {
                    known.send_replace(Some(local));
                    known.closed().await;
                }
            }),
            tokio::spawn(serve_socket(socket, starting.clone())),
        ];
        if let Some(listener) = ingest {
            let router = Router::new()
                .route("/healthz", get(healthy))
                .fallback(not_yet)
                .with_state(starting);
            let over = over.subscribe();
            tasks.push(tokio::spawn(http::run(listener, router, CONNECTIONS, over)));
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

async fn serve_socket(socket: Arc<UnixListener>, starting: Starting) {
    let over = starting.clone();
    let fallback = starting.clone();
    let router = Router::new()
        .route_service("/panther.v1.Api/{*method}", ApiServer::new(starting))
        .fallback(move || {
            let starting = fallback.clone();
            async move {
                // A worker that waits for the queues of this node is let wait.
                starting.over().await;
                Status::unavailable("the node has just started: ask again")
                    .into_http::<axum::body::Body>()
            }
        });
    let served = Server::builder()
        .add_routes(Routes::from(router))
        .serve_with_incoming_shutdown(Incoming(socket), async move { over.over().await })
        .await;
    if let Err(error) = served {
        tracing::error!(%error, "the Unix socket is not served");
    }
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

#[cfg(test)]
mod tests {
    use panther_detections::engine::{Engine, EngineSettings};
    use panther_detections::pack::Pack;
    use tokio_stream::StreamExt;

    use super::*;

    const CALLER: &str = "import socket\ncaller = socket.socket(socket.AF_UNIX)\ncaller.connect(PATH)\ncaller.settimeout(20)\nclosed = caller.recv(1) == b''\n";

    /// A pack with a rule that calls the socket while it is loaded.
    fn caller(folder: &std::path::Path, socket: &std::path::Path) -> Pack {
        let source = CALLER.replace("PATH", &format!("{socket:?}"));
        let rule = "AnalysisType: rule\nRuleID: r\nFilename: r.py\nLogTypes: [T]\nSeverity: Low\n";
        std::fs::write(folder.join("r.yml"), rule).unwrap();
        let checked = "if not closed:\n    raise RuntimeError('it was served')\ndef rule(event):\n    return True\n";
        std::fs::write(folder.join("r.py"), source + checked).unwrap();
        Pack::read(folder).unwrap()
    }

    #[tokio::test]
    async fn a_process_that_runs_rules_is_turned_away_and_others_are_served() {
        let folder = tempfile::tempdir().unwrap();
        let socket = folder.path().join("admin.sock");
        let listener = Arc::new(UnixListener::bind(&socket).unwrap());
        let served = tokio::spawn(Incoming(listener).next_one());
        std::fs::create_dir(folder.path().join("pack")).unwrap();
        let pack = caller(&folder.path().join("pack"), &socket);
        // As on a kernel that keeps no rule from anything.
        let settings = EngineSettings {
            confined: false,
            ..EngineSettings::default()
        };
        let engine = Engine::start(settings, &pack).await.unwrap();
        assert_eq!(engine.load_report().detections[0].error, None);
        assert!(!served.is_finished());
        let _own = UnixStream::connect(&socket).await.unwrap();
        served.await.unwrap().unwrap();
        engine.stop().await;
    }

    impl Incoming {
        async fn next_one(mut self) -> io::Result<UnixStream> {
            self.next().await.unwrap()
        }
    }
}
