//! A `pantherd` in a folder of its own: started, killed, stopped, and asked through `pantherctl`.

use std::net::{Ipv4Addr, TcpListener};
use std::path::{Path, PathBuf};
use std::process::{ExitStatus, Stdio};
use std::time::Duration;

use panther_proto::methods::methods;
use panther_proto::raw;
use serde_json::Value;
use tokio::io::{AsyncBufReadExt, AsyncWriteExt, BufReader};
use tokio::process::{Child, Command};
use tokio::sync::watch;
use tonic::Status;
use tonic::transport::Endpoint;

use crate::{During, Failure, Result};

/// What `pantherctl` may take.
const CALL: Duration = Duration::from_secs(120);
/// What one direct call may take.
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
    /// From `PANTHERD` and `PANTHERCTL` in the environment, else from where this program itself was built to.
    ///
    /// # Errors
    /// They are not there.
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

/// How nodes of a run are set up.
#[derive(Debug, Clone)]
pub struct NodeSettings {
    /// The programs.
    pub binaries: Binaries,
    /// Log, socket and temporary files.
    pub folder: PathBuf,
    /// The data folder; it may be on a file system of its own.
    pub data: PathBuf,
    /// The Python that evaluates detections.
    pub python: String,
    /// How long a start may take.
    pub patience: Duration,
    /// Variables that the process is started with beside the usual ones.
    pub environment: Vec<(String, String)>,
    /// The configuration file, as TOML.
    pub configuration: String,
    /// Where on the network it is.
    pub place: Place,
}

/// A network card.
#[derive(Debug, Clone)]
pub struct Place {
    /// Its address.
    pub address: Ipv4Addr,
    /// The network namespace that it is in, if it is not this process's.
    pub space: Option<String>,
}

impl Default for Place {
    /// This machine's loopback.
    fn default() -> Self {
        Self {
            address: Ipv4Addr::LOCALHOST,
            space: None,
        }
    }
}

/// One node; its process is killed when this is dropped.
pub struct Node {
    settings: NodeSettings,
    socket: PathBuf,
    port: u16,
    running: Option<Running>,
    /// Processes that were started.
    pub starts: u64,
}

struct Running {
    child: Child,
    ready: watch::Receiver<bool>,
}

impl Node {
    /// Not started yet.
    ///
    /// # Errors
    /// Its folder cannot be made.
    pub fn new(settings: NodeSettings) -> Result<Self> {
        std::fs::create_dir_all(settings.folder.join("tmp")).during("making the node's folder")?;
        // What the machine's own configuration says is no part of the run.
        std::fs::write(
            settings.folder.join("pantherd.toml"),
            &settings.configuration,
        )
        .during("configuring the node")?;
        // Sources are told where to post to, so the port stays the same from start to start.
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

    /// The folder of everything but the data.
    #[must_use]
    pub fn folder(&self) -> &Path {
        &self.settings.folder
    }

    /// How to call the node from elsewhere.
    #[must_use]
    pub fn caller(&self) -> Caller {
        Caller {
            socket: self.socket.clone(),
        }
    }

    /// The daemon's program with the run's settings.
    fn command(&self) -> Command {
        let folder = &self.settings.folder;
        let pantherd = &self.settings.binaries.pantherd;
        let mut command = match &self.settings.place.space {
            None => Command::new(pantherd),
            // It becomes the program: the process's number is pantherd's.
            Some(space) => {
                let mut command = Command::new("nsenter");
                // `ip netns exec` would make a copy of all mounts too, which a disk that is unmounted lives on in.
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
            // A busy machine must not turn a slow rule into a rule error: results would differ for no fault of the node's.
            .env("PANTHER__ENGINE__RULE_TIMEOUT_MS", "60000")
            .envs(self.settings.environment.iter().cloned());
        command
    }

    /// Makes the node one of a cluster that has invited it.
    ///
    /// # Errors
    /// The cluster does not take it.
    pub async fn join(&self, token: &str) -> Result<()> {
        self.once(&["join", token]).await.map(drop)
    }

    /// Runs the daemon's program for something that it does at once, such as joining or restoring; what it said.
    ///
    /// # Errors
    /// It does not end, or says that it failed.
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

    /// Another build of the daemon, from its next start on.
    pub fn install(&mut self, pantherd: PathBuf) {
        self.settings.binaries.pantherd = pantherd;
    }

    /// The daemon that it is started with.
    #[must_use]
    pub fn installed(&self) -> &Path {
        &self.settings.binaries.pantherd
    }

    /// The address of its HTTP ingest.
    #[must_use]
    pub fn ingest(&self) -> String {
        format!("{}:{}", self.settings.place.address, self.port)
    }

    /// The process's number.
    ///
    /// # Errors
    /// It does not run.
    pub fn process(&self) -> Result<u32> {
        let running = self.running.as_ref();
        let process = running.and_then(|running| running.child.id());
        process.ok_or_else(|| Failure::broken("pantherd does not run"))
    }

    /// Sends the process a signal.
    ///
    /// # Errors
    /// It does not run, or the system does not let it.
    pub fn signal(&self, signal: rustix::process::Signal) -> Result<()> {
        let process = i32::try_from(self.process()?).ok();
        let process = process
            .and_then(rustix::process::Pid::from_raw)
            .ok_or_else(|| Failure::broken("pantherd does not run"))?;
        rustix::process::kill_process(process, signal).during("signalling pantherd")
    }

    /// Whether it was started and not ended by us.
    #[must_use]
    pub fn runs(&self) -> bool {
        self.running.is_some()
    }

    /// Starts the process and waits for nothing.
    ///
    /// # Errors
    /// It cannot be started at all.
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

    /// Waits until the node says that it is ready. One that ends with exit code 1 is started again, as its unit does: it may have come upon damage that
    /// only a start mends.
    ///
    /// # Errors
    /// It ends otherwise or again and again, or takes too long.
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

    /// Starts the process again if it has ended by itself, as its unit does; whether it had.
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

    /// Kills the process as a crash would.
    ///
    /// # Errors
    /// It had ended by itself before.
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

    /// Tells the process to stop, and waits for it.
    ///
    /// # Errors
    /// It does not end in time, or not with exit code 0.
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

    /// Runs `pantherctl --json` with these words.
    ///
    /// # Errors
    /// It fails, or says something that is no JSON.
    pub async fn ctl(&self, words: &[&str]) -> Result<Value> {
        // It runs on the node's machine, so it has the node's clock.
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
    /// As [`Node::ctl`].
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

    /// Processes of this node's that are still there although it is not, each with its command line.
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

/// Calls a node's operations over its socket, with request ids of the caller's choice.
#[derive(Debug, Clone)]
pub struct Caller {
    pub(crate) socket: PathBuf,
}

/// Makes a call that is tried again the same call.
#[derive(Debug, Clone)]
pub struct RequestId {
    /// Unique among all requests.
    pub id: String,
    /// When it was made, milliseconds since 1970.
    pub time_ms: u64,
}

impl RequestId {
    /// Made now.
    #[must_use]
    pub fn new(id: String) -> Self {
        let now = std::time::SystemTime::now().duration_since(std::time::UNIX_EPOCH);
        let time_ms = now.map_or(0, |now| u64::try_from(now.as_millis()).unwrap_or(u64::MAX));
        Self { id, time_ms }
    }
}

impl Caller {
    /// Calls once.
    ///
    /// # Errors
    /// The node's own, or what was in the way of reaching it.
    pub async fn invoke(
        &self,
        component: &str,
        operation: &str,
        input: &Value,
        request: Option<&RequestId>,
    ) -> std::result::Result<Value, Status> {
        let method = methods()
            .by_operation(component, operation)
            .ok_or_else(|| Status::not_found(format!("{component} has no method {operation}")))?;
        let request = request.map(|request| (request.id.as_str(), request.time_ms));
        let call = async {
            let channel = Endpoint::from_shared(format!("unix:{}", self.socket.display()))
                .map_err(|error| Status::invalid_argument(error.to_string()))?
                .connect()
                .await
                .map_err(|error| Status::unavailable(error.to_string()))?;
            raw::call_json(channel, method, input, request, 64 << 20).await
        };
        tokio::time::timeout(INVOKE, call)
            .await
            .map_err(|_| Status::deadline_exceeded("no answer in time"))?
    }
}

/// A field that is a list; an empty one if it is none.
#[must_use]
pub fn items<'a>(value: &'a Value, name: &str) -> &'a [Value] {
    value[name].as_array().map_or(&[], Vec::as_slice)
}

/// A field that is a count; 0 if it is none.
#[must_use]
pub fn count(value: &Value, name: &str) -> u64 {
    value[name].as_u64().unwrap_or(0)
}

/// A field that is a text; an empty one if it is none.
#[must_use]
pub fn text(value: &Value, name: &str) -> String {
    value[name].as_str().unwrap_or_default().to_owned()
}

/// Appends what the process says to the log, and tells when it is ready.
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
            // The log is for whoever looks into a failure; the run does not depend on it.
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
