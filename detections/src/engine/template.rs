//! The template's process: a Python that is to load a pack, and every process forked from it.

use std::collections::BTreeSet;
use std::io::IoSliceMut;
use std::mem::MaybeUninit;
use std::os::fd::OwnedFd;
use std::process::{ExitStatus, Stdio};
use std::time::Duration;

use parking_lot::Mutex;
use rustix::net::sockopt::set_socket_passcred;
use rustix::net::{RecvAncillaryBuffer, RecvAncillaryMessage, RecvFlags, recvmsg};
use rustix::process::{Pid, Signal, kill_process_group};
use tokio::io::{AsyncReadExt, Interest};
use tokio::net::UnixStream;
use tokio::process::{Child, ChildStderr, ChildStdout, Command};
use tokio::task::JoinHandle;

use super::folder::Folder;
use super::layer;
use super::settings::{EngineFault, EngineSettings};
use super::wire::{FromPython, Wire};

/// Time in which a process that connects must say who it is.
const HELLO_TIME: Duration = Duration::from_secs(10);
/// Time that the template's processes have for ending after the connection is closed.
const END_TIME: Duration = Duration::from_secs(5);
/// Time after the template's end in which its error output must be read.
const OUTPUT_TIME: Duration = Duration::from_secs(2);
/// Parents that are looked at above a process.
const MOST_LEVELS: usize = 64;
/// Bytes kept of what the template writes to its error output.
const KEPT_OUTPUT: usize = 8 << 10;

/// Our end of a new connection, and the end for a process.
pub(super) fn connection() -> std::io::Result<(UnixStream, OwnedFd)> {
    let (ours, theirs) = std::os::unix::net::UnixStream::pair()?;
    ours.set_nonblocking(true)?;
    // Before the other end is anywhere: the kernel notes the sender of what is sent from now on.
    set_socket_passcred(&ours, true)?;
    Ok((UnixStream::from_std(ours)?, theirs.into()))
}

/// Waits for the hello of the process that a connection was made for, and gives its number as the kernel knows it.
pub(super) async fn greet(stream: UnixStream) -> Result<(Wire, Pid), String> {
    let hello = async {
        let mut byte = [0];
        let mut space = [MaybeUninit::uninit(); rustix::cmsg_space!(ScmCredentials(1))];
        let sender = stream.async_io(Interest::READABLE, || {
            let mut ancillary = RecvAncillaryBuffer::new(&mut space);
            let mut into = [IoSliceMut::new(&mut byte)];
            let received = recvmsg(&stream, &mut into, &mut ancillary, RecvFlags::PEEK)?;
            Ok(ancillary.drain().find_map(|message| match message {
                RecvAncillaryMessage::ScmCredentials(sender) if received.bytes > 0 => {
                    Some(sender.pid)
                }
                _ => None,
            }))
        });
        let sender = sender.await?;
        set_socket_passcred(&stream, false)?;
        Ok::<_, std::io::Error>(sender)
    };
    let pid = match tokio::time::timeout(HELLO_TIME, hello).await {
        Ok(Ok(Some(pid))) => pid,
        Ok(Ok(None)) => return Err("it ended before it said hello".to_owned()),
        Ok(Err(error)) => return Err(error.to_string()),
        Err(_) => return Err(format!("it did not say hello within {HELLO_TIME:?}")),
    };
    let mut wire = Wire::new(stream);
    match tokio::time::timeout(HELLO_TIME, wire.receive()).await {
        Ok(Ok(FromPython::Hello)) => Ok((wire, pid)),
        Ok(Ok(_)) => Err("it said something else than hello".to_owned()),
        Ok(Err(error)) => Err(error.to_string()),
        Err(_) => Err(format!("it did not say hello within {HELLO_TIME:?}")),
    }
}

/// Numbers of the templates of this process's engines that run.
static TEMPLATES: Mutex<BTreeSet<i32>> = Mutex::new(BTreeSet::new());

/// Whether a process descends from an engine of this process: it runs code of a pack, or may do so. What a rule has detached is adopted by its engine's
/// template, so it counts as well. A process of which nothing can be read has ended.
#[must_use]
pub fn is_of_an_engine(process: i32) -> bool {
    let mut at = process;
    // A chain of parents is no longer than there are levels of the tree, and ends at 0.
    for _ in 0..MOST_LEVELS {
        if TEMPLATES.lock().contains(&at) {
            return true;
        }
        let status = std::fs::read_to_string(format!("/proc/{at}/status")).unwrap_or_default();
        let parent = status.lines().find_map(|line| line.strip_prefix("PPid:"));
        match parent.and_then(|parent| parent.trim().parse().ok()) {
            Some(parent) if parent > 0 => at = parent,
            _ => return false,
        }
    }
    false
}

/// The running template and every process forked from it.
#[derive(Debug)]
pub(super) struct Template {
    child: Child,
    number: i32,
    /// A pipe from it, never read: its end tells the process behind the template that all is over, whatever the template does.
    lifeline: Option<ChildStdout>,
    group: ProcessGroup,
    output: JoinHandle<String>,
}

impl Template {
    /// Starts it, with a connection to it as its stdin.
    pub(super) fn spawn(
        settings: &EngineSettings,
        folder: &Folder,
    ) -> Result<(Self, UnixStream), EngineFault> {
        let layer = folder.layer();
        let (ours, theirs) = connection().map_err(EngineFault::io("making a pair of sockets"))?;
        let python = |source| EngineFault::Python {
            python: settings.python.clone(),
            source,
        };
        let mut child = Command::new(&settings.python)
            .args(["-I", "-B"])
            .arg(layer::entry(&layer))
            .arg("--layer")
            .arg(&layer)
            .args((!settings.confined).then_some("--unconfined"))
            .args(settings.native.then_some("--tell"))
            .env_clear()
            .envs([
                ("PATH", "/usr/local/bin:/usr/bin:/bin"),
                ("LANG", "C.UTF-8"),
                ("TZ", "UTC"),
            ])
            .current_dir(&layer)
            .stdin(Stdio::from(theirs))
            .stdout(Stdio::piped())
            .stderr(Stdio::piped())
            // A group of its own: no terminal's signal reaches it.
            .process_group(0)
            .spawn()
            .map_err(python)?;
        let pid = child
            .id()
            .and_then(|id| i32::try_from(id).ok())
            .and_then(Pid::from_raw);
        let (lifeline, stderr) = (child.stdout.take(), child.stderr.take());
        let (Some(pid), Some(stderr)) = (pid, stderr) else {
            return Err(python(std::io::Error::other("it ended at once")));
        };
        TEMPLATES.lock().insert(pid.as_raw_pid());
        let template = Self {
            child,
            number: pid.as_raw_pid(),
            lifeline,
            group: ProcessGroup(Some(pid)),
            output: tokio::spawn(last_output(stderr)),
        };
        Ok((template, ours))
    }

    /// Waits until the template has ended.
    pub(super) async fn ended(&mut self) -> std::io::Result<ExitStatus> {
        self.child.wait().await
    }

    /// Reaps the template, once the connection to it is closed, and gives its last words. The process that stands behind it ends all that descends from it,
    /// and is killed itself if it has not ended in time.
    pub(super) async fn end(mut self) -> (Option<ExitStatus>, String) {
        self.lifeline = None;
        let status = match tokio::time::timeout(END_TIME, self.child.wait()).await {
            Ok(status) => status,
            Err(_) => {
                tracing::warn!("the template's processes did not end in time and are killed");
                self.group.kill();
                self.child.wait().await
            }
        };
        let output = tokio::time::timeout(OUTPUT_TIME, &mut self.output)
            .await
            .ok()
            .and_then(Result::ok)
            .unwrap_or_default();
        (status.ok(), output)
    }
}

impl Drop for Template {
    fn drop(&mut self) {
        TEMPLATES.lock().remove(&self.number);
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

/// A process group. Its leader must not have been waited for when it is killed, so that its number is still its own.
#[derive(Debug)]
struct ProcessGroup(Option<Pid>);

impl ProcessGroup {
    fn kill(&mut self) {
        if let Some(group) = self.0.take() {
            let _ = kill_process_group(group, Signal::KILL);
        }
    }
}
