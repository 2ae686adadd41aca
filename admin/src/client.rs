//! Calls of a node's operations over its Unix socket.
//!
//! Every call has a deadline. One that found no node to answer is tried again until then; one that changes something carries a request id, so
//! that the second try is not a second effect.

use std::{
    error::Error,
    io,
    path::{Path, PathBuf},
    time::{Duration, SystemTime, UNIX_EPOCH},
};

use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use bytes::Bytes;
use panther_proto::json::JsonError;
use panther_proto::methods::{ApiRequest, Method, methods};
use panther_proto::raw;
use panther_proto::v1::{
    BackupPiece, BackupRequest, TailLine, TailRequest, node_streams_client::NodeStreamsClient,
};
use panther_retry::Retry;
use serde_json::Value;
use tokio::sync::OnceCell;
use tonic::{
    Code, Request, Status, Streaming,
    metadata::MetadataValue,
    transport::{Channel, Endpoint},
};
use uuid::Uuid;

use crate::{
    answer::{Answer, Reply},
    failure::{Exit, Failure},
};

/// What an upload or a change in many steps may take at least.
const LONG: Duration = Duration::from_secs(300);
/// Retries where no node could answer, such as while a leader is elected.
const UNTIL_ANSWERED: Retry =
    Retry::new(Duration::from_millis(100), Duration::from_secs(2)).within(Duration::from_secs(3));
/// Bytes of one answer at most: far above a page of alerts with their events.
const ANSWER_BYTES: usize = 64 << 20;

/// One operation to be called.
#[derive(Debug, Clone)]
pub(crate) struct Call {
    component: &'static str,
    operation: &'static str,
    input: Value,
    payload: Vec<u8>,
    changes: bool,
}

impl Call {
    /// A question.
    pub(crate) fn read(component: &'static str, operation: &'static str, input: Value) -> Self {
        Self {
            component,
            operation,
            input,
            payload: Vec::new(),
            changes: false,
        }
    }

    /// A change.
    pub(crate) fn change(component: &'static str, operation: &'static str, input: Value) -> Self {
        Self {
            changes: true,
            ..Self::read(component, operation, input)
        }
    }

    /// Bytes that go with it.
    pub(crate) fn payload(self, payload: Vec<u8>) -> Self {
        Self { payload, ..self }
    }

    /// A typed method, for what is said of a call that failed.
    fn of(method: &'static Method) -> Self {
        Self {
            changes: method.changes,
            ..Self::read(&method.component, &method.operation, Value::Null)
        }
    }

    fn name(&self) -> String {
        format!("{}.{}", self.component, self.operation)
    }
}

/// Why a call gave no answer.
#[derive(Debug, Clone)]
pub(crate) struct CallError {
    /// What the node said, if it was reached.
    pub(crate) code: Option<Code>,
    /// Its words.
    pub(crate) message: String,
    failure: Failure,
}

impl CallError {
    /// What was asked for does not exist.
    pub(crate) fn is_not_found(&self) -> bool {
        self.code == Some(Code::NotFound)
    }

    /// Adds something to do next.
    pub(crate) fn next(mut self, next: impl Into<String>) -> Self {
        self.failure = self.failure.next(next);
        self
    }
}

impl From<CallError> for Failure {
    fn from(error: CallError) -> Self {
        error.failure
    }
}

impl From<Failure> for CallError {
    fn from(failure: Failure) -> Self {
        Self {
            code: None,
            message: String::new(),
            failure,
        }
    }
}

/// A node, reached once it is needed.
#[derive(Debug)]
pub(crate) struct Client {
    socket: PathBuf,
    timeout: Duration,
    /// Who calls.
    user: String,
    connected: OnceCell<Channel>,
}

impl Client {
    /// The node that listens on `socket`; a call may take `timeout`, and is made by `user`.
    pub(crate) fn new(socket: PathBuf, timeout: Duration, user: String) -> Self {
        Self {
            socket,
            timeout,
            user,
            connected: OnceCell::new(),
        }
    }

    /// Calls a typed method.
    ///
    /// # Errors
    /// The node cannot be reached, refuses, or does not answer in time.
    pub(crate) async fn call<R: ApiRequest>(
        &self,
        request: R,
    ) -> Result<Reply<R::Answer>, CallError> {
        let method = R::method().ok_or_else(|| {
            Failure::new("this pantherctl does not know its own methods").tried(R::PATH)
        })?;
        let answer = self.carry(method, request.encode_to_vec().into()).await?;
        Reply::read(method, answer).map_err(|error| nonsense(&Call::of(method), &error).into())
    }

    /// Calls a method with an encoded request.
    async fn carry(&self, method: &'static Method, request: Bytes) -> Result<Bytes, CallError> {
        let call = Call::of(method);
        let limit = if method.long {
            self.timeout.max(LONG)
        } else {
            self.timeout
        };
        let metadata = self.metadata(method);
        let attempt = async || {
            let mut message = Request::new(request.clone());
            *message.metadata_mut() = metadata.clone();
            message.set_timeout(limit);
            let channel = self.connect().await?;
            let answer = raw::call(channel, &method.path, message, ANSWER_BYTES).await;
            answer.map_err(Unanswered::Refused)
        };
        match tokio::time::timeout(limit, persist(attempt)).await {
            Ok(Ok(answer)) => Ok(answer.into_inner()),
            Ok(Err(Unanswered::Unreachable(failure))) => Err((*failure).into()),
            Ok(Err(Unanswered::Refused(status))) if !ran_out(&status) => {
                Err(refusal(&call, &status))
            }
            Ok(Err(Unanswered::Refused(_))) | Err(_) => Err(late(&call, limit).into()),
        }
    }

    /// What goes with a call beside its request.
    fn metadata(&self, method: &Method) -> tonic::metadata::MetadataMap {
        let mut metadata = tonic::metadata::MetadataMap::new();
        metadata.insert_bin(raw::USER, MetadataValue::from_bytes(self.user.as_bytes()));
        if method.changes {
            // A retry carries the same id: it is one effect with one answer.
            if let Ok(id) = Uuid::new_v4().to_string().parse() {
                metadata.insert(raw::REQUEST_ID, id);
            }
            metadata.insert(raw::REQUEST_TIME, since_1970().into());
        }
        metadata
    }

    /// Calls an operation.
    ///
    /// # Errors
    /// The node cannot be reached, refuses, or does not answer in time.
    pub(crate) async fn invoke(&self, call: Call) -> Result<Answer, CallError> {
        if let Some(method) = methods().by_operation(call.component, call.operation) {
            let wrong = |error: JsonError| {
                Failure::input("the input is not of the method's form")
                    .tried(method.to_string())
                    .why(error.to_string())
            };
            let mut input = call.input;
            if !call.payload.is_empty() {
                input["data"] = STANDARD.encode(&call.payload).into();
            }
            let request = method.request_from_json(&input).map_err(wrong)?;
            let answer = self.carry(method, request).await?;
            let value = method
                .answer_to_json(answer)
                .map_err(|error| nonsense(&Call::of(method), &error))?;
            return Ok(Answer::of(value));
        }
        Err(
            Failure::new("this pantherctl does not know its own methods")
                .tried(call.name())
                .into(),
        )
    }

    /// Follows what happens from now on.
    ///
    /// # Errors
    /// The node cannot be reached or refuses.
    pub(crate) async fn tail(&self, what: &str) -> Result<Streaming<TailLine>, Failure> {
        let call = Call::read("node", "tail", Value::Null);
        let start = async {
            let mut client = self.streams().await?;
            let request = TailRequest {
                what: what.to_owned(),
            };
            client.tail(request).await.map_err(Unanswered::Refused)
        };
        match tokio::time::timeout(self.timeout, start).await {
            Ok(Ok(response)) => Ok(response.into_inner()),
            Ok(Err(Unanswered::Unreachable(failure))) => Err(*failure),
            Ok(Err(Unanswered::Refused(status))) => Err(refusal(&call, &status).into()),
            Err(_) => Err(late(&call, self.timeout)),
        }
    }

    /// The whole state as of now. The first piece may take a while: a snapshot is made and checked first.
    ///
    /// # Errors
    /// The node cannot be reached or refuses.
    pub(crate) async fn backup(&self) -> Result<Streaming<BackupPiece>, Failure> {
        let call = Call::read("node", "backup", Value::Null);
        let limit = self.timeout.max(LONG);
        let start = async {
            let mut client = self.streams().await?;
            let begun = client.backup(BackupRequest {}).await;
            begun.map_err(Unanswered::Refused)
        };
        match tokio::time::timeout(limit, start).await {
            Ok(Ok(response)) => Ok(response.into_inner()),
            Ok(Err(Unanswered::Unreachable(failure))) => Err(*failure),
            Ok(Err(Unanswered::Refused(status))) => Err(refusal(&call, &status).into()),
            Err(_) => Err(late(&call, limit)),
        }
    }

    async fn streams(&self) -> Result<NodeStreamsClient<Channel>, Unanswered> {
        let client = NodeStreamsClient::new(self.connect().await?);
        Ok(client.max_decoding_message_size(ANSWER_BYTES))
    }

    async fn connect(&self) -> Result<Channel, Unanswered> {
        let client = self.connected.get_or_try_init(|| async {
            let path = self.socket.to_str().ok_or_else(|| {
                Failure::input("the socket's path is not UTF-8")
                    .tried(self.socket.display().to_string())
            })?;
            Endpoint::from_shared(format!("unix:{path}"))
                .map_err(|error| unreachable(&self.socket, &error))?
                .connect()
                .await
                .map_err(|error| unreachable(&self.socket, &error))
        });
        client
            .await
            .cloned()
            .map_err(|failure: Failure| Unanswered::Unreachable(Box::new(failure)))
    }
}

/// Tries until a node answers, or a further try cannot help.
async fn persist<T>(attempt: impl AsyncFn() -> Result<T, Unanswered>) -> Result<T, Unanswered> {
    let is_transient = |unanswered: &Unanswered| match unanswered {
        Unanswered::Refused(status) => may_pass(status),
        Unanswered::Unreachable(_) => false,
    };
    UNTIL_ANSWERED.run(is_transient, || attempt()).await
}

enum Unanswered {
    Unreachable(Box<Failure>),
    Refused(Status),
}

/// Whether the same call may succeed in a moment: there was no leader, the node is stopping, or the connection broke.
fn may_pass(status: &Status) -> bool {
    let broken = status.code() == Code::Unknown && status.source().is_some();
    status.code() == Code::Unavailable || broken
}

/// Whether the deadline that went with the call passed: tonic, on either side, calls that cancelled.
fn ran_out(status: &Status) -> bool {
    matches!(status.code(), Code::DeadlineExceeded | Code::Cancelled)
}

fn since_1970() -> u64 {
    SystemTime::now()
        .duration_since(UNIX_EPOCH)
        .ok()
        .and_then(|time| u64::try_from(time.as_millis()).ok())
        .unwrap_or_default()
}

/// The node's socket does not take us.
fn unreachable(socket: &Path, error: &(dyn Error + 'static)) -> Failure {
    let failure = Failure::new("cannot reach pantherd").tried(format!(
        "connect to the Unix socket {} (--socket, or PANTHER_SOCKET in the environment, names another)",
        socket.display()
    ))
    .exiting(Exit::Unreachable);
    let is_other = socket
        .metadata()
        .is_ok_and(|what| what.is_file() || what.is_dir());
    if is_other {
        return failure.why("it is a file or a folder, and no socket").next(
            "`socket` in pantherd's configuration says where it listens; give that as --socket",
        );
    }
    let mut cause = Some(error);
    let mut system = None;
    let mut innermost = error.to_string();
    while let Some(error) = cause {
        innermost = error.to_string();
        system = system.or_else(|| error.downcast_ref::<io::Error>());
        cause = error.source();
    }
    match system.map(io::Error::kind) {
        Some(io::ErrorKind::NotFound) => failure
            .why("there is no such file: pantherd does not run, or has its socket elsewhere")
            .next("`systemctl status pantherd` tells whether it runs; `journalctl -u pantherd` why not")
            .next("if it runs: `socket` in its configuration says where it listens; give that as --socket"),
        Some(io::ErrorKind::PermissionDenied) => failure
            .why("you have no right to it: who may open it is an administrator of the node, and you are none")
            .next("have yourself added to the group panther (`usermod -aG panther NAME`) and log in again, or use sudo"),
        Some(io::ErrorKind::ConnectionRefused) => failure
            .why("the socket is there, but nobody listens: pantherd has ended without removing it")
            .next("`systemctl status pantherd` tells whether it runs; `journalctl -u pantherd` why it ended"),
        _ => failure
            .why(innermost)
            .next("is this the socket of a pantherd? `systemctl status pantherd` tells whether it runs"),
    }
}

/// The answer is not of the form that the call has.
fn nonsense(call: &Call, error: &dyn Error) -> Failure {
    Failure::new("the answer makes no sense")
        .tried(call.name())
        .why(error.to_string())
        .next("`pantherctl version` tells whether pantherctl and pantherd fit together")
}

fn late(call: &Call, limit: Duration) -> Failure {
    let failure = Failure::new("pantherd did not answer in time")
        .tried(call.name())
        .why(format!("no answer within {} s", limit.as_secs_f64()))
        .exiting(Exit::Unreachable);
    let failure = if call.changes {
        failure.next("it may or may not have been done: look before you repeat it")
    } else {
        failure
    };
    look_at_the_node(failure, call).next("--timeout SECONDS gives it longer")
}

/// Names the command that shows how the node is; what the failed command itself asked is not proposed again.
fn look_at_the_node(failure: Failure, call: &Call) -> Failure {
    let of_the_node = call.component == "node"
        && matches!(call.operation, "status" | "alarms" | "cluster" | "tail");
    if of_the_node {
        return failure.next("`journalctl -u pantherd` has the node's log; `systemctl status pantherd` tells whether it runs");
    }
    failure.next(
        "`pantherctl status` tells who leads and what is wrong; it answers without a leader too",
    )
}

/// The node was reached and said no.
fn refusal(call: &Call, status: &Status) -> CallError {
    let message = if status.message().is_empty() {
        format!("the node says {:?} and no more", status.code())
    } else {
        status.message().to_owned()
    };
    let failure = |what: &str| Failure::new(what).tried(call.name()).why(message.clone());
    let failure = match status.code() {
        Code::NotFound => failure("there is no such thing"),
        Code::InvalidArgument | Code::OutOfRange => {
            failure("the input was refused").exiting(Exit::BadInput)
        }
        Code::AlreadyExists => failure("it exists already"),
        Code::FailedPrecondition | Code::Aborted => failure("it cannot be done as things stand"),
        Code::ResourceExhausted => {
            failure("the node is busy, or a limit is reached").next("try again later")
        }
        Code::PermissionDenied | Code::Unauthenticated => failure("you have no right to do this"),
        Code::Unavailable => look_at_the_node(failure("the node cannot answer now"), call),
        Code::Unimplemented => failure("this node cannot do that")
            .next("`pantherctl components` says what is built; `pantherctl version` whether pantherctl and pantherd fit together"),
        _ => failure("the node failed on it").next("`journalctl -u pantherd` has the details"),
    };
    CallError {
        code: Some(status.code()),
        message: status.message().to_owned(),
        failure,
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::output::Palette;

    #[test]
    fn a_socket_that_does_not_take_us_is_explained() {
        for (kind, remedy) in [
            (io::ErrorKind::NotFound, "systemctl status pantherd"),
            (io::ErrorKind::PermissionDenied, "group panther"),
            (io::ErrorKind::ConnectionRefused, "nobody listens"),
        ] {
            let shown = unreachable(Path::new("/run/x.sock"), &io::Error::from(kind))
                .render(Palette::PLAIN);
            assert!(
                shown.contains("/run/x.sock") && shown.contains(remedy),
                "{shown}"
            );
        }
    }

    #[test]
    fn a_change_without_an_answer_is_not_called_undone() {
        let call = Call::change("node", "purge", Value::Null);
        let shown = late(&call, Duration::from_millis(500)).render(Palette::PLAIN);
        assert!(
            shown.contains("may or may not") && shown.contains("0.5 s"),
            "{shown}"
        );
    }

    #[test]
    fn what_failed_is_not_proposed_as_the_next_step() {
        let slow = Duration::from_secs(1);
        for operation in ["status", "alarms", "cluster"] {
            let call = Call::read("node", operation, Value::Null);
            let refused = Failure::from(refusal(&call, &Status::unavailable("no leader")));
            for failure in [late(&call, slow), refused] {
                let shown = failure.render(Palette::PLAIN);
                assert!(!shown.contains("pantherctl status"), "{shown}");
                assert!(shown.contains("journalctl"), "{shown}");
            }
        }
        let call = Call::read("node", "queues", Value::Null);
        let shown = late(&call, slow).render(Palette::PLAIN);
        assert!(shown.contains("`pantherctl status`"), "{shown}");
    }

    #[test]
    fn only_wrong_input_is_bad_input() {
        let call = Call::read("node", "queue", Value::Null);
        for (code, exit) in [
            (Code::InvalidArgument, Exit::BadInput),
            (Code::NotFound, Exit::Findings),
            (Code::Internal, Exit::Findings),
        ] {
            let failure = Failure::from(refusal(&call, &Status::new(code, "x")));
            assert_eq!(failure.exit(), exit, "{code:?}");
        }
    }
}
