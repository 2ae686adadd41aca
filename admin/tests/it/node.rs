//! A node in this process that listens on a real socket and answers what a test tells it to; and the binary, run against it.

use std::{
    path::{Path, PathBuf},
    pin::Pin,
    process::Stdio,
    sync::{Arc, Mutex},
};

use axum::extract::State;
use bytes::Bytes;
use panther_proto::methods::Method;
use panther_proto::raw;
use panther_proto::v1::{
    BackupAbout, BackupPiece, BackupRequest, TailLine, TailRequest, backup_piece,
    node_streams_server::{NodeStreams, NodeStreamsServer},
};
use serde_json::{Value, json};
use tokio::net::UnixListener;
use tokio_stream::{Stream, wrappers::UnixListenerStream};
use tonic::{Request, Response, Status, service::Routes};

type Answers = dyn Fn(&str, &Value) -> Result<Value, Status> + Send + Sync;

/// A call as a script sees it.
#[derive(Debug, Clone)]
pub(crate) struct Called {
    pub(crate) component: String,
    pub(crate) operation: String,
    /// The request in JSON form, without the fields that nothing was given for.
    pub(crate) input: String,
    pub(crate) request_id: String,
    pub(crate) request_time_ms: u64,
}

/// A node. It ends with the test.
pub(crate) struct Node {
    folder: tempfile::TempDir,
    calls: Arc<Mutex<Vec<Called>>>,
    server: tokio::task::JoinHandle<()>,
}

#[derive(Clone)]
struct Scripted {
    answers: Arc<Answers>,
    calls: Arc<Mutex<Vec<Called>>>,
}

impl Scripted {
    async fn answer(&self, name: &str, call: Called) -> Result<Value, Status> {
        let input: Value = serde_json::from_str(&call.input).unwrap();
        self.calls.lock().unwrap().push(call);
        if name == "node.hang" || input["hang"] == true {
            std::future::pending::<()>().await;
        }
        let output = (self.answers)(name, &input)?;
        if output == "hang" {
            std::future::pending::<()>().await;
        }
        Ok(output)
    }

    /// A call of a typed method, in JSON form.
    async fn call(self, raw::Call { method, request }: raw::Call) -> Result<Bytes, Status> {
        let operation = spelled(method);
        let of = |name| {
            let value = request.metadata().get(name)?;
            value.to_str().ok().map(str::to_owned)
        };
        let call = Called {
            component: method.component.clone(),
            operation: operation.clone(),
            request_id: of(raw::REQUEST_ID).unwrap_or_default(),
            request_time_ms: of(raw::REQUEST_TIME).map_or(0, |time| time.parse().unwrap()),
            input: given(method.request_to_json(request.into_inner()).unwrap()).to_string(),
        };
        let name = format!("{}.{operation}", method.component);
        match self.answer(&name, call).await? {
            // Bytes that are not an answer of the method.
            Value::String(raw) => Ok(raw.into()),
            answer => Ok(method.answer_from_json(&answer).unwrap_or_else(|error| {
                panic!("the script's answer to {method} is not of its form: {error}")
            })),
        }
    }
}

/// The name of a method in scripts: the node's own are spelled as `table_get`.
fn spelled(method: &Method) -> String {
    if method.component != "node" {
        return method.operation.clone();
    }
    method
        .operation
        .chars()
        .flat_map(|letter| {
            let border = letter.is_uppercase().then_some('_');
            border.into_iter().chain(letter.to_lowercase())
        })
        .collect()
}

/// Serves the typed methods.
async fn serve(
    State(scripted): State<Scripted>,
    request: axum::extract::Request,
) -> axum::response::Response {
    let answered = raw::answer(request, 100 << 20, move |call| {
        let answer = scripted.clone().call(call);
        async move { answer.await.map(tonic::Response::new) }
    });
    answered.await.map(axum::body::Body::new)
}

/// A request without the fields that nothing was given for.
fn given(json: Value) -> Value {
    match json {
        Value::Object(fields) => fields
            .into_iter()
            .filter(|(_, value)| !value.is_null() && *value != json!([]) && *value != "")
            .map(|(name, value)| (name, given(value)))
            .collect(),
        other => other,
    }
}

#[tonic::async_trait]
impl NodeStreams for Scripted {
    type BackupStream = Pin<Box<dyn Stream<Item = Result<BackupPiece, Status>> + Send>>;

    /// What it says of itself, then pieces of text, as the script has them.
    async fn backup(
        &self,
        _: Request<BackupRequest>,
    ) -> Result<Response<Self::BackupStream>, Status> {
        let script = (self.answers)("backup", &Value::Null)?;
        let about = BackupAbout {
            cluster: "c1".to_owned(),
            bytes: script["bytes"].as_u64().unwrap(),
            sha256: script["sha256"].as_str().unwrap().to_owned(),
            time_ms: 1_772_719_200_000,
            ..BackupAbout::default()
        };
        let mut pieces = vec![backup_piece::Kind::About(about)];
        for text in script["pieces"].as_array().unwrap() {
            let text = text.as_str().unwrap().to_owned();
            pieces.push(backup_piece::Kind::Content(text.into()));
        }
        let pieces = pieces
            .into_iter()
            .map(|kind| Ok(BackupPiece { kind: Some(kind) }));
        Ok(Response::new(Box::pin(tokio_stream::iter(
            pieces.collect::<Vec<_>>(),
        ))))
    }

    type TailStream = Pin<Box<dyn Stream<Item = Result<TailLine, Status>> + Send>>;

    async fn tail(
        &self,
        request: Request<TailRequest>,
    ) -> Result<Response<Self::TailStream>, Status> {
        let what = request.into_inner().what;
        let lines = (self.answers)(&format!("tail.{what}"), &Value::Null)?;
        let lines: Vec<_> = lines
            .as_array()
            .unwrap()
            .iter()
            .map(|line| {
                Ok(TailLine {
                    json: line.to_string(),
                })
            })
            .collect();
        Ok(Response::new(Box::pin(tokio_stream::iter(lines))))
    }
}

impl Node {
    /// A node that answers `component.operation` with an input.
    pub(crate) fn answering(
        answers: impl Fn(&str, &Value) -> Result<Value, Status> + Send + Sync + 'static,
    ) -> Self {
        let folder = tempfile::tempdir().unwrap();
        let listener = UnixListener::bind(folder.path().join("pantherd.sock")).unwrap();
        let calls = Arc::new(Mutex::new(Vec::new()));
        let scripted = Scripted {
            answers: Arc::new(answers),
            calls: Arc::clone(&calls),
        };
        let api = NodeStreamsServer::new(scripted.clone());
        let typed = axum::Router::new().fallback(serve).with_state(scripted);
        let routes = Routes::new(api).into_axum_router().fallback_service(typed);
        let server = tokio::spawn(async move {
            tonic::transport::Server::builder()
                .add_routes(routes.into())
                .serve_with_incoming(UnixListenerStream::new(listener))
                .await
                .unwrap();
        });
        Self {
            folder,
            calls,
            server,
        }
    }

    /// A node that knows these operations and no others.
    pub(crate) fn with(answers: Value) -> Self {
        Self::answering(move |name, _| {
            answers
                .get(name)
                .cloned()
                .ok_or_else(|| Status::not_found(format!("{name} is not in the script")))
        })
    }

    pub(crate) fn socket(&self) -> PathBuf {
        self.folder.path().join("pantherd.sock")
    }

    /// Runs the binary against this node.
    pub(crate) async fn run(&self, arguments: &str) -> Ran {
        self.run_words(&arguments.split(' ').collect::<Vec<_>>())
            .await
    }

    pub(crate) async fn run_words(&self, arguments: &[&str]) -> Ran {
        run(Some(&self.socket()), arguments, "").await
    }

    /// Calls so far.
    pub(crate) fn calls(&self) -> Vec<Called> {
        self.calls.lock().unwrap().clone()
    }

    /// The inputs with which an operation was called.
    pub(crate) fn inputs(&self, name: &str) -> Vec<Value> {
        self.calls()
            .iter()
            .filter(|call| format!("{}.{}", call.component, call.operation) == name)
            .map(|call| serde_json::from_str(&call.input).unwrap())
            .collect()
    }
}

impl Drop for Node {
    fn drop(&mut self) {
        self.server.abort();
    }
}

/// How a run ended.
#[derive(Debug)]
pub(crate) struct Ran {
    pub(crate) code: i32,
    pub(crate) out: String,
    pub(crate) err: String,
}

impl Ran {
    /// The one JSON object that was printed.
    pub(crate) fn json(&self) -> Value {
        serde_json::from_str(&self.out).unwrap_or_else(|error| panic!("{error}: {self:?}"))
    }

    #[track_caller]
    pub(crate) fn says(&self, code: i32, parts: &[&str]) {
        assert_eq!(self.code, code, "{self:?}");
        for part in parts {
            assert!(
                self.out.contains(part) || self.err.contains(part),
                "{part:?} is not in\n{}\n{}",
                self.out,
                self.err
            );
        }
    }
}

/// Runs the binary.
pub(crate) async fn run(socket: Option<&Path>, arguments: &[&str], input: &str) -> Ran {
    use tokio::io::AsyncWriteExt;
    let mut command = tokio::process::Command::new(env!("CARGO_BIN_EXE_pantherctl"));
    for name in ["PANTHER_SOCKET", "PANTHER_PYTHON", "SUDO_USER", "NO_COLOR"] {
        command.env_remove(name);
    }
    command.env("PANTHER_USER", "alice");
    // What an earlier run kept is none of this one's business.
    let cache = tempfile::tempdir().unwrap();
    command.env("XDG_CACHE_HOME", cache.path());
    if let Some(socket) = socket {
        command.env("PANTHER_SOCKET", socket);
    }
    let mut child = command
        .args(arguments)
        .stdin(Stdio::piped())
        .stdout(Stdio::piped())
        .stderr(Stdio::piped())
        .kill_on_drop(true)
        .spawn()
        .unwrap();
    let mut stdin = child.stdin.take().unwrap();
    // A command that reads nothing may be gone already.
    let _ = stdin.write_all(input.as_bytes()).await;
    drop(stdin);
    let output = child.wait_with_output().await.unwrap();
    Ran {
        code: output.status.code().unwrap_or(-1),
        out: String::from_utf8(output.stdout).unwrap(),
        err: String::from_utf8(output.stderr).unwrap(),
    }
}

/// The repository's own file.
pub(crate) fn repository(path: &str) -> String {
    format!("{}/../{path}", env!("CARGO_MANIFEST_DIR"))
}

/// A queue as `node.queue` tells of it.
pub(crate) fn queue(name: &str, kind: &str, waiting: i64, dlq: Option<&str>) -> Value {
    json!({"name": name, "kind": kind, "waiting": waiting, "delayed": 0, "in_flight": 0, "accepted": 5, "done": 3, "failed": 0, "dlq": dlq})
}
