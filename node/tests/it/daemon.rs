//! A daemon of a test: started in a folder of its own, killed if the test ends early.

use std::io::{BufRead, BufReader, Read, Write};
use std::net::TcpStream;
use std::path::{Path, PathBuf};
use std::process::{Child, Command, ExitStatus, Stdio};
use std::sync::mpsc;
use std::time::{Duration, Instant};

use panther_proto::methods::methods;
use panther_proto::raw;
use serde_json::Value;
use tonic::transport::Endpoint;

/// Nothing of these tests takes longer on a machine that is not broken.
pub(crate) const PATIENCE: Duration = Duration::from_secs(60);

pub(crate) struct Daemon {
    child: Child,
    lines: mpsc::Receiver<String>,
    pub(crate) socket: PathBuf,
    pub(crate) address: String,
}

/// The program with nothing of this environment that could configure it.
pub(crate) fn pantherd(home: &Path) -> Command {
    let mut command = Command::new(env!("CARGO_BIN_EXE_pantherd"));
    command
        .env_clear()
        .env("PATH", std::env::var_os("PATH").unwrap_or_default())
        .env("HOME", home)
        .stdin(Stdio::null())
        .stdout(Stdio::piped())
        .stderr(Stdio::piped());
    command
}

impl Daemon {
    /// Started with these arguments, and ready.
    pub(crate) fn start(home: &Path, arguments: &[&str]) -> Self {
        let mut daemon = Self::begin(pantherd(home).args(arguments));
        daemon.is_ready();
        daemon
    }

    /// Started, and perhaps not ready yet.
    pub(crate) fn begin(command: &mut Command) -> Self {
        let mut child = command.args(["--log-format", "json"]).spawn().unwrap();
        let (to, lines) = mpsc::channel();
        let stderr = BufReader::new(child.stderr.take().unwrap());
        std::thread::spawn(move || {
            for line in stderr.lines().map_while(Result::ok) {
                if to.send(line).is_err() {
                    return;
                }
            }
        });
        Self {
            child,
            lines,
            socket: PathBuf::new(),
            address: String::new(),
        }
    }

    /// Returns once it is ready.
    pub(crate) fn is_ready(&mut self) {
        let ready = self.line("ready");
        self.socket = PathBuf::from(ready["socket"].as_str().unwrap());
        let ingest = ready["ingest"].as_str().unwrap();
        self.address = ingest
            .strip_prefix("http://")
            .and_then(|rest| rest.strip_suffix("/ingest/SOURCE"))
            .unwrap_or_default()
            .to_owned();
    }

    /// The lines of its log that were not asked for yet.
    pub(crate) fn lines(&mut self) -> Vec<Value> {
        let lines = self.lines.try_iter();
        lines
            .filter_map(|line| serde_json::from_str(&line).ok())
            .collect()
    }

    /// The log line of that message, once it comes.
    pub(crate) fn line(&mut self, message: &str) -> Value {
        let until = Instant::now() + PATIENCE;
        let mut seen = Vec::new();
        loop {
            let left = until.saturating_duration_since(Instant::now());
            let Ok(line) = self.lines.recv_timeout(left) else {
                panic!("no line {message:?} came: {seen:#?}");
            };
            match serde_json::from_str::<Value>(&line) {
                Ok(value) if value["message"] == message => return value,
                _ => seen.push(line),
            }
        }
    }

    pub(crate) fn signal(&self, signal: rustix::process::Signal) {
        let process = rustix::process::Pid::from_child(&self.child);
        rustix::process::kill_process(process, signal).unwrap();
    }

    /// How it ended, and how long that took.
    pub(crate) fn ended(&mut self) -> (ExitStatus, Duration) {
        let started = Instant::now();
        loop {
            if let Some(status) = self.child.try_wait().unwrap() {
                return (status, started.elapsed());
            }
            assert!(started.elapsed() < PATIENCE, "the daemon does not end");
            std::thread::sleep(Duration::from_millis(10));
        }
    }

    /// Calls an operation on the socket.
    pub(crate) fn invoke(
        &self,
        component: &str,
        operation: &str,
        input: &Value,
    ) -> Result<Value, tonic::Status> {
        let method = methods()
            .by_operation(component, operation)
            .unwrap_or_else(|| panic!("{component} has no method {operation}"));
        let address = format!("unix:{}", self.socket.display());
        let runtime = tokio::runtime::Builder::new_current_thread()
            .enable_all()
            .build()
            .unwrap();
        runtime.block_on(async {
            let channel = Endpoint::from_shared(address).unwrap();
            let channel = channel.connect().await.unwrap();
            raw::call_json(channel, method, input, None, 64 << 20).await
        })
    }

    /// One HTTP request, as bytes; status and body.
    pub(crate) fn http(&self, head: &str, body: &[u8]) -> (u16, String) {
        let mut stream = TcpStream::connect(&self.address).unwrap();
        stream.set_read_timeout(Some(PATIENCE)).unwrap();
        let head = format!(
            "{head}\r\nHost: x\r\nConnection: close\r\nContent-Length: {}\r\n\r\n",
            body.len()
        );
        stream.write_all(head.as_bytes()).unwrap();
        // A server that has turned us away may close before it has read all.
        let _ = stream.write_all(body);
        let mut answer = String::new();
        let _ = stream.read_to_string(&mut answer);
        let status = answer.split(' ').nth(1).and_then(|code| code.parse().ok());
        let body = answer
            .split_once("\r\n\r\n")
            .map(|(_, body)| body.to_owned());
        (status.unwrap_or_default(), body.unwrap_or_default())
    }
}

impl Drop for Daemon {
    fn drop(&mut self) {
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
}
