//! One `pantherd` in its own folder: starts, kills and stops it, and queries it through `pantherctl`.

use std::net::{Ipv4Addr, TcpListener};
use std::path::{Path, PathBuf};
use std::process::{ExitStatus, Stdio};
use std::time::Duration;

use panther_proto::v1::InvokeRequest;
use panther_proto::v1::api_client::ApiClient;
use serde_json::Value;
use tokio::io::{AsyncBufReadExt, AsyncWriteExt, BufReader};
use tokio::process::{Child, Command};
use tokio::sync::watch;
use tonic::Status;

use crate::{During, Failure, Result};

/// Deadline of a `pantherctl` call.
const CALL: Duration = Duration::from_secs(120);
/// Deadline of a direct call.
const INVOKE: Duration = Duration::from_secs(20);

/// The two programs.
#[derive(Debug, Clone)]
pub struct Binaries {
    /// The daemon.
    pub pantherd: PathBuf,
    /// The admin tool.
    pub pantherctl: PathBuf,
}

impl Binaries {
    /// Finds the programs: `PANTHERD` and `PANTHERCTL` in the environment, or the folder of this program itself.
    ///
    /// # Errors
    /// The programs do not exist.
    pub fn find() -> Result<Self> {
        let own = std::env::current_exe().during("looking for this program's own place")?;
        let mut folder = own.parent().unwrap_or(Path::new(".")).to_owned();
        if folder.ends_with("deps") {
            folder.pop();
        }
        let place = |variable: &str, name: &str| {
            let path = std::env::var_os(variable).map_or_else(|| folder.join(name), PathBuf::from);
            if path.is_file() {
                return Ok(path);
            }
            Err(Failure::CannotRun(format!(
                "there is no {}; `cargo build -p pantherd -p pantherctl` makes it (with the profile of this program), or name one in {variable}",
                path.display()
            )))
        };
        Ok(Self {
            pantherd: place("PANTHERD", "pantherd")?,
            pantherctl: place("PANTHERCTL", "pantherctl")?,
        })
    }
}

/// Settings of a run's nodes.
#[derive(Debug, Clone)]
pub struct NodeSettings {
    /// The programs.
    pub binaries: Binaries,
    /// Folder for log, socket and temporary files.
    pub folder: PathBuf,
    /// The data folder. It may be on a separate file system.
    pub data: PathBuf,
    /// The Python interpreter for detections.
    pub python: String,
    /// Deadline of a start.
    pub patience: Duration,
    /// Environment variables of the process, in addition to the usual ones.
    pub environment: Vec<(String, String)>,
    /// The configuration file, as TOML.
    pub configuration: String,
    /// The network interface of the node.
    pub place: Place,
}

/// A network interface.
#[derive(Debug, Clone)]
pub struct Place {
    /// The IP address.
    pub address: Ipv4Addr,
    /// The network namespace, if it is not that of this process.
    pub space: Option<String>,
}

impl Default for Place {
    /// The loopback interface of this machine.
    fn default() -> Self {
        Self {
            address: Ipv4Addr::LOCALHOST,
            space: None,
        }
    }
}

/// One node. Dropping it kills its process.
pub struct Node {
    settings: NodeSettings,
    socket: PathBuf,
    port: u16,
    running: Option<Running>,
    /// Number of started processes.
    pub starts: u64,
}

struct Running {
    child: Child,
    ready: watch::Receiver<bool>,
}

impl Node {
    /// Creates a node without starting it.
    ///
    /// # Errors
    /// Its folder cannot be created.
    pub fn new(settings: NodeSettings) -> Result<Self> {
        std::fs::create_dir_all(settings.folder.join("tmp")).during("making the node's folder")?;
        // The machine's own configuration must not affect the run.
        std::fs::write(
            settings.folder.join("pantherd.toml"),
            &settings.configuration,
        )
        .during("configuring the node")?;
        // Senders use a fixed URL, so the port must stay the same from start to start.
        let port = TcpListener::bind("127.0.0.1:0")
            .and_then(|listener| listener.local_addr())
            .during("looking for a free port")?
            .port();
        Ok(Self {
            socket: settings.folder.join("pantherd.sock"),
            settings,
            port,
            running: None,
            starts: 0,
        })
    }

    /// The data folder.
    #[must_use]
    pub fn data(&self) -> &Path {
        &self.settings.data
    }

    /// The folder of all other files.
    #[must_use]
    pub fn folder(&self) -> &Path {
        &self.settings.folder
    }

    /// A client of the node, which other tasks can use.
    #[must_use]
    pub fn caller(&self) -> Caller {
        Caller {
            socket: self.socket.clone(),
        }
    }

    /// The daemon's command with the settings of the run.
    fn command(&self) -> Command {
        let folder = &self.settings.folder;
        let pantherd = &self.settings.binaries.pantherd;
        let mut command = match &self.settings.place.space {
            None => Command::new(pantherd),
            // The tool executes the program in place of itself, so the process id is that of pantherd.
            Some(space) => {
                let mut command = Command::new("nsenter");
                // `ip netns exec` would also copy all mounts, and an unmounted disk would stay mounted in the copy.
                command
                    .arg(format!("--net=/run/netns/{space}"))
                    .arg(pantherd);
                command
            }
        };
        command
            .arg("--config")
            .arg(folder.join("pantherd.toml"))
            .arg("--data-dir")
            .arg(&self.settings.data)
            .arg("--socket")
            .arg(&self.socket)
            .args(["--ingest", &self.ingest()])
            .args(["--log-format", "json"])
            .env_clear()
            .env("PATH", std::env::var_os("PATH").unwrap_or_default())
            .env("HOME", folder)
            .env("TMPDIR", folder.join("tmp"))
            .env("PANTHER__PYTHON__INTERPRETER", &self.settings.python)
            // On a busy machine a slow rule must not become a rule error: results would differ without a fault of the node.
            .env("PANTHER__ENGINE__RULE_TIMEOUT_MS", "60000")
            .envs(self.settings.environment.iter().cloned());
        command
    }

    /// Joins a cluster that has invited this node.
    ///
    /// # Errors
    /// The cluster rejects the node.
    pub async fn join(&self, token: &str) -> Result<()> {
        self.once(&["join", token]).await.map(drop)
    }

    /// Runs the daemon's program for a one-time task, such as a join or a restore. Returns its output.
    ///
    /// # Errors
    /// The program does not end, or it fails.
    pub async fn once(&self, words: &[&str]) -> Result<String> {
        let name = words.first().copied().unwrap_or_default();
        let running = self
            .command()
            .args(words)
            .stdin(Stdio::null())
            .kill_on_drop(true)
            .output();
        let output = tokio::time::timeout(CALL, running)
            .await
            .map_err(|_| Failure::Broken(format!("pantherd {name} does not end")))?
            .during(format!("running pantherd {name}"))?;
        if output.status.success() {
            return Ok(String::from_utf8_lossy(&output.stdout).into_owned());
        }
        Err(Failure::Broken(format!(
            "pantherd {name} ended with {}: {}",
            output.status,
            String::from_utf8_lossy(&output.stderr)
        )))
    }

    /// Uses another build of the daemon from the next start on.
    pub fn install(&mut self, pantherd: PathBuf) {
        self.settings.binaries.pantherd = pantherd;
    }

    /// The path of the daemon.
    #[must_use]
    pub fn installed(&self) -> &Path {
        &self.settings.binaries.pantherd
    }

    /// The URL of its HTTP ingest.
    #[must_use]
    pub fn ingest(&self) -> String {
        format!("{}:{}", self.settings.place.address, self.port)
    }

    /// The process id.
    ///
    /// # Errors
    /// The node does not run.
    pub fn process(&self) -> Result<u32> {
        let running = self.running.as_ref();
        let process = running.and_then(|running| running.child.id());
        process.ok_or_else(|| Failure::broken("pantherd does not run"))
    }

    /// Sends the process a signal.
    ///
    /// # Errors
    /// The node does not run, or the operating system rejects the call.
    pub fn signal(&self, signal: rustix::process::Signal) -> Result<()> {
        let process = i32::try_from(self.process()?).ok();
        let process = process
            .and_then(rustix::process::Pid::from_raw)
            .ok_or_else(|| Failure::broken("pantherd does not run"))?;
        rustix::process::kill_process(process, signal).during("signalling pantherd")
    }

    /// True if the process was started and has not been ended by this test.
    #[must_use]
    pub fn runs(&self) -> bool {
        self.running.is_some()
    }

    /// Starts the process without waiting.
    ///
    /// # Errors
    /// The process cannot be started.
    pub fn start(&mut self) -> Result<()> {
        let mut child = self
            .command()
            .stdin(Stdio::null())
            .stdout(Stdio::null())
            .stderr(Stdio::piped())
            .kill_on_drop(true)
            .spawn()
            .during(format!(
                "starting {}",
                self.settings.binaries.pantherd.display()
            ))?;
        let (to, ready) = watch::channel(false);
        if let Some(stderr) = child.stderr.take() {
            tokio::spawn(keep_log(stderr, self.log(), to));
        }
        self.running = Some(Running { child, ready });
        self.starts += 1;
        Ok(())
    }

    /// Waits until the node reports that it is ready. A process that ends with exit code 1 is restarted, as its systemd unit would do: it
    /// may have found damage that only a restart repairs.
    ///
    /// # Errors
    /// The process ends with another exit code, ends repeatedly, or exceeds the deadline.
    pub async fn ready(&mut self) -> Result<()> {
        const STARTS: usize = 3;
        let (log, patience) = (self.log(), self.settings.patience);
        let until = tokio::time::Instant::now() + patience;
        let mut starts = 0;
        loop {
            let Some(running) = &mut self.running else {
                return Err(Failure::broken("pantherd is not running"));
            };
            let said = tokio::time::timeout_at(until, running.ready.wait_for(|ready| *ready)).await;
            let said = said.map(|said| said.map(drop));
            match said {
                Ok(Ok(_)) => return Ok(()),
                Ok(Err(_)) => {
                    let status = running.child.wait().await.during("waiting for pantherd")?;
                    starts += 1;
                    if status.code() != Some(1) || starts > STARTS {
                        return Err(Failure::Broken(format!(
                            "pantherd ended while it started ({status}); its log ends with:\n{}",
                            last_lines(&log)
                        )));
                    }
                    self.start()?;
                }
                Err(_) => {
                    return Err(Failure::Broken(format!(
                        "pantherd was not ready within {} s; its log ends with:\n{}",
                        patience.as_secs(),
                        last_lines(&log)
                    )));
                }
            }
        }
    }

    /// Restarts the process if it has ended by itself, as its systemd unit would do. Returns true if it had ended.
    ///
    /// # Errors
    /// It cannot be started.
    pub fn start_if_ended(&mut self) -> Result<bool> {
        let ended = match &mut self.running {
            Some(running) => running
                .child
                .try_wait()
                .during("looking after pantherd")?
                .is_some(),
            None => true,
        };
        if ended {
            self.start()?;
        }
        Ok(ended)
    }

    /// Kills the process with SIGKILL, like a crash.
    ///
    /// # Errors
    /// The process had already ended by itself.
    pub async fn kill(&mut self) -> Result<()> {
        let Some(mut running) = self.running.take() else {
            return Ok(());
        };
        if let Some(status) = running.child.try_wait().during("looking after pantherd")? {
            return Err(Failure::Broken(format!(
                "pantherd ended by itself ({status}); its log ends with:\n{}",
                last_lines(&self.log())
            )));
        }
        running.child.kill().await.during("killing pantherd")
    }

    /// Stops the process gracefully, and waits for its end.
    ///
    /// # Errors
    /// It does not end before the deadline, or not with exit code 0.
    pub async fn stop(&mut self) -> Result<()> {
        let Some(mut running) = self.running.take() else {
            return Ok(());
        };
        if let Some(process) = running
            .child
            .id()
            .and_then(|id| i32::try_from(id).ok())
            .and_then(rustix::process::Pid::from_raw)
        {
            rustix::process::kill_process(process, rustix::process::Signal::TERM)
                .during("stopping pantherd")?;
        }
        let ended = tokio::time::timeout(self.settings.patience, running.child.wait()).await;
        let status: ExitStatus = ended
            .map_err(|_| Failure::broken("pantherd does not stop"))?
            .during("waiting for pantherd")?;
        if status.success() {
            return Ok(());
        }
        Err(Failure::Broken(format!(
            "pantherd did not stop in good order ({status}); its log ends with:\n{}",
            last_lines(&self.log())
        )))
    }

    /// Runs `pantherctl --json` with these arguments.
    ///
    /// # Errors
    /// The command fails, or its output is not JSON.
    pub async fn ctl(&self, words: &[&str]) -> Result<Value> {
        // It runs on the node's machine, so it uses the node's clock.
        let command = Command::new(&self.settings.binaries.pantherctl)
            .envs(self.settings.environment.iter().cloned())
            .arg("--json")
            .arg("--socket")
            .arg(&self.socket)
            .args(["--timeout", &CALL.as_secs().to_string()])
            .args(["--user", "chaos"])
            .args(words)
            .stdin(Stdio::null())
            .kill_on_drop(true)
            .output();
        let words = words.join(" ");
        let output = tokio::time::timeout(CALL * 3, command)
            .await
            .map_err(|_| Failure::Broken(format!("pantherctl {words} does not end")))?
            .during(format!("running pantherctl {words}"))?;
        if !output.status.success() {
            return Err(Failure::Broken(format!(
                "pantherctl {words} ended with {}: {}{}",
                output.status,
                String::from_utf8_lossy(&output.stdout),
                String::from_utf8_lossy(&output.stderr)
            )));
        }
        serde_json::from_slice(&output.stdout)
            .during(format!("reading what pantherctl {words} said"))
    }

    /// All rows of a table.
    ///
    /// # Errors
    /// See [`Node::ctl`].
    pub async fn rows(&self, table: &str) -> Result<Vec<Value>> {
        let mut rows = Vec::new();
        let mut cursor: Option<String> = None;
        loop {
            let mut words = vec!["table", "scan", table, "--limit", "1000"];
            if let Some(cursor) = &cursor {
                words.extend(["--cursor", cursor]);
            }
            let page = self.ctl(&words).await?;
            rows.extend(items(&page, "rows").iter().cloned());
            match page["cursor"].as_str() {
                Some(next) => cursor = Some(next.to_owned()),
                None => return Ok(rows),
            }
        }
    }

    /// The last lines of the log, for a report.
    #[must_use]
    pub fn last_words(&self) -> String {
        last_lines(&self.log())
    }

    /// Processes of this node that still run after its end, each with its command line.
    #[must_use]
    pub fn left_behind(&self) -> Vec<String> {
        // Engines are started on files below the data folder.
        let marks =
            [&self.settings.folder, &self.settings.data].map(|folder| folder.display().to_string());
        let Ok(processes) = std::fs::read_dir("/proc") else {
            return Vec::new();
        };
        let lines = processes.flatten().filter_map(|process| {
            let id = process.file_name().to_string_lossy().parse::<u32>().ok()?;
            let line = std::fs::read(process.path().join("cmdline")).ok()?;
            let line = String::from_utf8_lossy(&line).replace('\0', " ");
            marks
                .iter()
                .any(|mark| line.contains(mark))
                .then(|| format!("{id}: {line}"))
        });
        lines.collect()
    }

    fn log(&self) -> PathBuf {
        self.settings.folder.join("pantherd.log")
    }
}

/// Calls a node's operations over its socket, with request ids chosen by the caller.
#[derive(Debug, Clone)]
pub struct Caller {
    pub(crate) socket: PathBuf,
}

/// The identity of a call, which makes retries idempotent.
#[derive(Debug, Clone)]
pub struct RequestId {
    /// Unique among all requests.
    pub id: String,
    /// Time of the first attempt, in milliseconds since 1970.
    pub time_ms: u64,
}

impl RequestId {
    /// A new request id with the current time.
    #[must_use]
    pub fn new(id: String) -> Self {
        let now = std::time::SystemTime::now().duration_since(std::time::UNIX_EPOCH);
        let time_ms = now.map_or(0, |now| u64::try_from(now.as_millis()).unwrap_or(u64::MAX));
        Self { id, time_ms }
    }
}

impl Caller {
    /// Makes one call without a retry.
    ///
    /// # Errors
    /// The error of the node, or the error of the connection.
    pub async fn invoke(
        &self,
        component: &str,
        operation: &str,
        input: &Value,
        request: Option<&RequestId>,
    ) -> std::result::Result<Value, Status> {
        let message = InvokeRequest {
            component: component.to_owned(),
            operation: operation.to_owned(),
            input: input.to_string(),
            request_id: request
                .map(|request| request.id.clone())
                .unwrap_or_default(),
            request_time_ms: request.map_or(0, |request| request.time_ms),
            ..InvokeRequest::default()
        };
        let call = async {
            let mut client = ApiClient::connect(format!("unix:{}", self.socket.display()))
                .await
                .map_err(|error| Status::unavailable(error.to_string()))?
                .max_decoding_message_size(64 << 20);
            client.invoke(message).await
        };
        let answer = tokio::time::timeout(INVOKE, call)
            .await
            .map_err(|_| Status::deadline_exceeded("no answer in time"))??;
        serde_json::from_str(&answer.into_inner().output)
            .map_err(|error| Status::data_loss(error.to_string()))
    }
}

/// A field that is a list; empty if it is not a list.
#[must_use]
pub fn items<'a>(value: &'a Value, name: &str) -> &'a [Value] {
    value[name].as_array().map_or(&[], Vec::as_slice)
}

/// A field that is a count; 0 if it is not a number.
#[must_use]
pub fn count(value: &Value, name: &str) -> u64 {
    value[name].as_u64().unwrap_or(0)
}

/// A field that is a text; empty if it is not a text.
#[must_use]
pub fn text(value: &Value, name: &str) -> String {
    value[name].as_str().unwrap_or_default().to_owned()
}

/// Appends the output of the process to the log, and signals when the node is ready.
async fn keep_log(stderr: tokio::process::ChildStderr, log: PathBuf, ready: watch::Sender<bool>) {
    let opened = tokio::fs::OpenOptions::new()
        .create(true)
        .append(true)
        .open(log)
        .await;
    let mut file = opened.ok();
    let mut lines = BufReader::new(stderr).lines();
    while let Ok(Some(line)) = lines.next_line().await {
        let entry: Value = serde_json::from_str(&line).unwrap_or_default();
        if entry["message"] == "ready" || entry["fields"]["message"] == "ready" {
            ready.send_replace(true);
        }
        if let Some(file) = &mut file {
            // The log is only for the analysis of a failure; the run does not depend on it.
            let _ = file.write_all(format!("{line}\n").as_bytes()).await;
            let _ = file.flush().await;
        }
    }
}

fn last_lines(log: &Path) -> String {
    let text = std::fs::read(log).unwrap_or_default();
    let text = String::from_utf8_lossy(&text);
    let lines: Vec<&str> = text.lines().collect();
    lines[lines.len().saturating_sub(15)..].join("\n")
}
