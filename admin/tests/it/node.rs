//! A node in this process that listens on a real socket and answers what a test tells it to; and the binary, run against it.

use std::{
    path::{Path, PathBuf},
    pin::Pin,
    process::Stdio,
    sync::{Arc, Mutex},
};

use panther_proto::v1::{
    BackupAbout, BackupPiece, BackupRequest, InvokeRequest, InvokeResponse, TailLine, TailRequest,
    api_server::{Api, ApiServer},
    backup_piece,
};
use serde_json::{Value, json};
use tokio::net::UnixListener;
use tokio_stream::{Stream, wrappers::UnixListenerStream};
use tonic::{Request, Response, Status};

type Answers = dyn Fn(&str, &Value) -> Result<Value, Status> + Send + Sync;

/// A node. It ends with the test.
pub(crate) struct Node {
    folder: tempfile::TempDir,
    calls: Arc<Mutex<Vec<InvokeRequest>>>,
    server: tokio::task::JoinHandle<()>,
}

struct Scripted {
    answers: Box<Answers>,
    calls: Arc<Mutex<Vec<InvokeRequest>>>,
}

#[tonic::async_trait]
impl Api for Scripted {
    async fn invoke(
        &self,
        request: Request<InvokeRequest>,
    ) -> Result<Response<InvokeResponse>, Status> {
        let request = request.into_inner();
        let name = format!("{}.{}", request.component, request.operation);
        let input: Value = serde_json::from_str(&request.input).unwrap();
        self.calls.lock().unwrap().push(request);
        if name == "node.hang" || input["hang"] == true {
            std::future::pending::<()>().await;
        }
        let output = (self.answers)(&name, &input)?;
        if output == "hang" {
            std::future::pending::<()>().await;
        }
        let output = match output {
            Value::String(raw) => raw,
            other => other.to_string(),
        };
        Ok(Response::new(InvokeResponse { output }))
    }

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
        let api = ApiServer::new(Scripted {
            answers: Box::new(answers),
            calls: Arc::clone(&calls),
        })
        .max_decoding_message_size(100 << 20);
        let server = tokio::spawn(async move {
            tonic::transport::Server::builder()
                .add_service(api)
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
    pub(crate) fn calls(&self) -> Vec<InvokeRequest> {
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
