//! The template's process: a Python that is to load a pack, and every process forked from it.

use std::path::Path;
use std::process::{ExitStatus, Stdio};
use std::time::Duration;

use rustix::process::{Pid, Signal, kill_process_group};
use tokio::io::AsyncReadExt;
use tokio::net::{UnixListener, UnixStream};
use tokio::process::{Child, ChildStderr, Command};
use tokio::task::JoinHandle;

use super::folder::Folder;
use super::layer;
use super::wire::{FromPython, Hello, Role, Wire};
use super::{EngineFault, EngineSettings};

/// Time in which a process that connects must say who it is.
const HELLO_TIME: Duration = Duration::from_secs(10);
/// Time after the template's end in which its error output must be read.
const OUTPUT_TIME: Duration = Duration::from_secs(2);
/// Bytes kept of what the template writes to its error output.
const KEPT_OUTPUT: usize = 8 << 10;

/// Accepts connections until the template has said hello; others are turned away.
pub(super) async fn template_connection(
    listener: &UnixListener,
    token: &str,
) -> Result<Wire, String> {
    loop {
        let (stream, _) = listener.accept().await.map_err(|error| error.to_string())?;
        if let Some(Greeting { wire, hello, .. }) = greet(stream, token.to_owned()).await
            && hello.role == Role::Template
        {
            return Ok(wire);
        }
    }
}

/// What a process said that connected.
pub(super) struct Greeting {
    pub(super) wire: Wire,
    pub(super) hello: Hello,
    pub(super) pid: Pid,
}

/// Reads the hello of a process that connected. One that is silent, knows no token or belongs to another user is turned away.
pub(super) async fn greet(stream: UnixStream, token: String) -> Option<Greeting> {
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
#[derive(Debug)]
pub(super) struct Template {
    child: Child,
    group: ProcessGroup,
    output: JoinHandle<String>,
}

impl Template {
    pub(super) fn spawn(
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

    /// Waits until the template has ended.
    pub(super) async fn ended(&mut self) -> std::io::Result<ExitStatus> {
        self.child.wait().await
    }

    /// Kills what is left, reaps the template and gives its last words.
    pub(super) async fn end(mut self) -> String {
        self.group.kill();
        let _ = self.child.wait().await;
        tokio::time::timeout(OUTPUT_TIME, &mut self.output)
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
#[derive(Debug)]
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
