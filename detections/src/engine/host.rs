//! The template process and the task that owns it: it starts Python, lets workers be forked, and ends all of them.

use std::collections::HashMap;
use std::path::Path;
use std::process::Stdio;
use std::time::Duration;

use bytes::Bytes;
use futures::StreamExt;
use futures::future::BoxFuture;
use futures::stream::FuturesUnordered;
use rustix::process::{Pid, Signal, kill_process_group};
use tokio::io::AsyncReadExt;
use tokio::net::{UnixListener, UnixStream};
use tokio::process::{Child, ChildStderr, Command};
use tokio::sync::{mpsc, oneshot};
use tokio::task::JoinHandle;

use super::folder::Folder;
use super::layer;
use super::wire::{FromPython, Hello, Limits, Loaded, Role, ToPython, Wire};
use super::worker::Worker;
use super::{EngineFault, EngineSettings};

/// Time in which a process that connects must say who it is.
const HELLO_TIME: Duration = Duration::from_secs(10);
/// Time in which a forked worker must have connected.
const FORK_TIME: Duration = Duration::from_secs(30);
/// Time that the template has for ending by itself when told to.
const QUIT_TIME: Duration = Duration::from_secs(2);
/// Bytes kept of what the template writes to its error output.
const KEPT_OUTPUT: usize = 8 << 10;
/// Forks asked for and not yet answered.
const PENDING_FORKS: usize = 256;

/// A handle on the task that owns the template.
#[derive(Debug)]
pub(super) struct Host {
    requests: mpsc::Sender<Request>,
    task: parking_lot::Mutex<Option<JoinHandle<()>>>,
}

enum Request {
    Fork(oneshot::Sender<Result<Worker, EngineFault>>),
    Stop,
}

impl Host {
    /// Writes the layer, starts the template and waits until it has loaded the pack. Gives what came of it, and what Python tells of its code for
    /// [`crate::native`], as JSON.
    pub(super) async fn start(
        settings: &EngineSettings,
        content: layer::Content,
    ) -> Result<(Self, Loaded, Bytes), EngineFault> {
        let folder = Folder::new(settings.work_dir.clone(), content).await?;
        let socket = folder.path().join("engine.sock");
        let listener = UnixListener::bind(&socket).map_err(EngineFault::io(format!(
            "listening on {} (the work folder's path may be too long for a socket)",
            socket.display()
        )))?;
        let token = format!("{:032x}", rand::random::<u128>());
        let mut template = Template::spawn(settings, &folder, &socket, &token)?;
        let deadline = tokio::time::sleep(settings.load_time);
        tokio::pin!(deadline);
        let started = async {
            let mut wire = template_connection(&listener, &token).await?;
            match wire.receive().await {
                Ok(FromPython::Loaded(loaded)) => match wire.receive_body().await {
                    Ok(native) => Ok((wire, *loaded, native)),
                    Err(error) => Err(error.to_string()),
                },
                Ok(other) => Err(format!("instead of what it loaded it sent {other:?}")),
                Err(error) => Err(error.to_string()),
            }
        };
        let outcome = tokio::select! {
            outcome = started => outcome,
            status = template.child.wait() => Err(match status {
                Ok(status) => format!("{} ended with {status} before the pack was loaded", settings.python.display()),
                Err(error) => error.to_string(),
            }),
            () = &mut deadline => Err(format!("the pack was not loaded within {:?}", settings.load_time)),
        };
        let (wire, loaded, native) = match outcome {
            Ok(loaded) => loaded,
            Err(reason) => {
                let output = template.end().await;
                return Err(EngineFault::Start { reason, output });
            }
        };
        let (requests, inbox) = mpsc::channel(PENDING_FORKS);
        let owner = Owner {
            settings: settings.clone(),
            folder,
            listener,
            token,
            template,
            wire,
            inbox,
            waiting: HashMap::new(),
            next_worker: 0,
        };
        let task = tokio::spawn(owner.run());
        let host = Self {
            requests,
            task: parking_lot::Mutex::new(Some(task)),
        };
        Ok((host, loaded, native))
    }

    /// Forks a worker that has the pack loaded.
    pub(super) async fn fork(&self) -> Result<Worker, EngineFault> {
        let (answer, forked) = oneshot::channel();
        self.requests
            .send(Request::Fork(answer))
            .await
            .map_err(|_| EngineFault::Stopped)?;
        match tokio::time::timeout(FORK_TIME, forked).await {
            Ok(Ok(outcome)) => outcome,
            Ok(Err(_)) => Err(EngineFault::TemplateEnded {
                output: String::new(),
            }),
            Err(_) => Err(EngineFault::WorkersEnd {
                count: 1,
                reason: format!("a forked worker did not connect within {FORK_TIME:?}"),
            }),
        }
    }

    /// Ends the template and whatever still runs, and waits until it is gone.
    pub(super) async fn stop(&self) {
        let _ = self.requests.send(Request::Stop).await;
        let task = self.task.lock().take();
        if let Some(task) = task {
            let _ = task.await;
        }
    }
}

impl Drop for Host {
    fn drop(&mut self) {
        // Dropping the owner kills its processes and removes its folder.
        if let Some(task) = self.task.lock().take() {
            task.abort();
        }
    }
}

/// Accepts connections until the template has said hello; others are turned away.
async fn template_connection(listener: &UnixListener, token: &str) -> Result<Wire, String> {
    loop {
        let (stream, _) = listener.accept().await.map_err(|error| error.to_string())?;
        if let Some(Greeting { wire, hello, .. }) = greet(stream, token.to_owned()).await
            && hello.role == Role::Template
        {
            return Ok(wire);
        }
    }
}

struct Greeting {
    wire: Wire,
    hello: Hello,
    pid: Pid,
}

/// Reads the hello of a process that connected. One that is silent, knows no token or belongs to another user is turned away.
async fn greet(stream: UnixStream, token: String) -> Option<Greeting> {
    let peer = stream.peer_cred().ok()?;
    let pid = peer.pid().and_then(Pid::from_raw)?;
    if peer.uid() != rustix::process::getuid().as_raw() {
        tracing::warn!(
            uid = peer.uid(),
            "a process of another user connected to the engine's socket"
        );
        return None;
    }
    let mut wire = Wire::new(stream);
    match tokio::time::timeout(HELLO_TIME, wire.receive()).await {
        Ok(Ok(FromPython::Hello(hello))) if hello.token == token => {
            Some(Greeting { wire, hello, pid })
        }
        other => {
            tracing::warn!(%pid, said = ?other.map(|said| said.map(|_| "no valid hello")), "a process connected to the engine's socket and was turned away");
            None
        }
    }
}

/// The running template and every process forked from it.
struct Template {
    child: Child,
    group: ProcessGroup,
    output: JoinHandle<String>,
}

impl Template {
    fn spawn(
        settings: &EngineSettings,
        folder: &Folder,
        socket: &Path,
        token: &str,
    ) -> Result<Self, EngineFault> {
        let layer = folder.layer();
        let python = |source| EngineFault::Python {
            python: settings.python.clone(),
            source,
        };
        let mut child = Command::new(&settings.python)
            .args(["-I", "-B"])
            .arg(layer::entry(&layer))
            .arg("--socket")
            .arg(socket)
            .arg("--layer")
            .arg(&layer)
            .arg("--token")
            .arg(token)
            .args(settings.native.then_some("--tell"))
            .args(settings.guards.then_some("--guards"))
            .env_clear()
            .envs([
                ("PATH", "/usr/local/bin:/usr/bin:/bin"),
                ("LANG", "C.UTF-8"),
                ("TZ", "UTC"),
            ])
            .current_dir(&layer)
            .stdin(Stdio::null())
            .stdout(Stdio::null())
            .stderr(Stdio::piped())
            // A group of its own: one signal reaches the template and all workers, and no terminal's does.
            .process_group(0)
            .kill_on_drop(true)
            .spawn()
            .map_err(python)?;
        let pid = child
            .id()
            .and_then(|id| i32::try_from(id).ok())
            .and_then(Pid::from_raw);
        let stderr = child.stderr.take();
        let (Some(pid), Some(stderr)) = (pid, stderr) else {
            return Err(python(std::io::Error::other("it ended at once")));
        };
        Ok(Self {
            child,
            group: ProcessGroup(Some(pid)),
            output: tokio::spawn(last_output(stderr)),
        })
    }

    /// Kills what is left, reaps the template and gives its last words.
    async fn end(mut self) -> String {
        self.group.kill();
        let _ = self.child.wait().await;
        tokio::time::timeout(QUIT_TIME, &mut self.output)
            .await
            .ok()
            .and_then(Result::ok)
            .unwrap_or_default()
    }
}

impl Drop for Template {
    fn drop(&mut self) {
        self.output.abort();
    }
}

/// The end of what the process writes. Reading all of it keeps the process from blocking on a full pipe.
async fn last_output(mut stderr: ChildStderr) -> String {
    let mut kept = Vec::new();
    let mut piece = [0; 4096];
    while let Ok(count @ 1..) = stderr.read(&mut piece).await {
        kept.extend_from_slice(&piece[..count]);
        if kept.len() > 2 * KEPT_OUTPUT {
            kept.drain(..kept.len() - KEPT_OUTPUT);
        }
    }
    String::from_utf8_lossy(&kept[kept.len().saturating_sub(KEPT_OUTPUT)..]).into_owned()
}

/// Kills a process group once. The group's leader must not have been waited for before, so that its number is still its own.
struct ProcessGroup(Option<Pid>);

impl ProcessGroup {
    fn kill(&mut self) {
        if let Some(group) = self.0.take() {
            let _ = kill_process_group(group, Signal::KILL);
        }
    }
}

impl Drop for ProcessGroup {
    fn drop(&mut self) {
        self.kill();
    }
}

/// What owns the template, its socket and its folder, for as long as the engine runs.
struct Owner {
    settings: EngineSettings,
    template: Template,
    wire: Wire,
    listener: UnixListener,
    token: String,
    inbox: mpsc::Receiver<Request>,
    waiting: HashMap<u32, oneshot::Sender<Result<Worker, EngineFault>>>,
    next_worker: u32,
    folder: Folder,
}

impl Owner {
    async fn run(mut self) {
        let mut greetings: FuturesUnordered<BoxFuture<'static, Option<Greeting>>> =
            FuturesUnordered::new();
        let quits = loop {
            tokio::select! {
                request = self.inbox.recv() => match request {
                    Some(Request::Fork(answer)) => {
                        if !self.fork(answer).await {
                            break false;
                        }
                    }
                    Some(Request::Stop) | None => break true,
                },
                Ok((stream, _)) = self.listener.accept() => {
                    greetings.push(Box::pin(greet(stream, self.token.clone())));
                }
                Some(greeting) = greetings.next() => {
                    if let Some(greeting) = greeting {
                        self.connected(greeting);
                    }
                }
                // The template has nothing more to say: whatever comes, or the end, is its end.
                _ = self.wire.receive::<FromPython>() => break false,
            }
        };
        if quits && self.wire.send(&ToPython::Quit).await.is_ok() {
            // It ends by itself and closes its connection; what does not is killed below.
            let _ = tokio::time::timeout(QUIT_TIME, self.wire.receive::<FromPython>()).await;
        }
        let output = self.template.end().await;
        if !quits {
            tracing::error!(output, "the Python template ended");
        }
        for (_, answer) in self.waiting.drain() {
            let _ = answer.send(Err(EngineFault::TemplateEnded {
                output: output.clone(),
            }));
        }
        self.folder.remove().await;
        if !quits {
            // Forks asked for from now on learn the same, until the engine is dropped.
            while let Some(Request::Fork(answer)) = self.inbox.recv().await {
                let _ = answer.send(Err(EngineFault::TemplateEnded {
                    output: output.clone(),
                }));
            }
        }
    }

    /// Asks for a worker; false if the template is gone.
    async fn fork(&mut self, answer: oneshot::Sender<Result<Worker, EngineFault>>) -> bool {
        // Forget those that gave up waiting.
        self.waiting.retain(|_, answer| !answer.is_closed());
        let number = self.next_worker;
        self.next_worker = self.next_worker.wrapping_add(1);
        let progress = self.folder.progress(number);
        if let Err(source) = tokio::fs::write(&progress, [0; 16]).await {
            let _ = answer.send(Err(EngineFault::Io {
                doing: format!("writing {}", progress.display()),
                source,
            }));
            return true;
        }
        let message = ToPython::Fork {
            worker: number,
            progress: &progress.to_string_lossy(),
            limits: Limits {
                memory_bytes: self.settings.memory_bytes,
                rule_ms: u64::try_from(self.settings.rule_time.as_millis()).unwrap_or(u64::MAX),
                cpu_seconds: None,
                files: self.settings.open_files,
                processes: 0,
            },
        };
        self.waiting.insert(number, answer);
        self.wire.send(&message).await.is_ok()
    }

    fn connected(&mut self, Greeting { wire, hello, pid }: Greeting) {
        let answer = hello
            .worker
            .filter(|_| hello.role == Role::Worker)
            .and_then(|number| Some((number, self.waiting.remove(&number)?)));
        let Some((number, answer)) = answer else {
            tracing::warn!(%pid, "a process connected as a worker that was not asked for");
            return;
        };
        let worker = Worker::new(
            number,
            pid,
            wire,
            &self.folder.progress(number),
            &self.settings,
        );
        let _ = answer.send(worker);
    }
}
