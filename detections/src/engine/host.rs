//! The task that owns a template which has loaded a pack: it lets workers be forked, and ends all of them.

use std::fs::File;
use std::os::fd::AsFd;
use std::time::Duration;

use bytes::Bytes;
use futures::StreamExt;
use futures::future::BoxFuture;
use futures::stream::FuturesUnordered;
use rustix::fs::{MemfdFlags, SealFlags, fcntl_add_seals, ftruncate, memfd_create};
use tokio::sync::{mpsc, oneshot};
use tokio::task::JoinHandle;

use super::folder::Folder;
use super::interpreter::Interpreter;
use super::layer;
use super::template::{Template, connection, greet};
use super::wire::{FromPython, Limits, Loaded, ToPython, Wire};
use super::worker::{PROGRESS_BYTES, Worker};
use super::{EngineFault, EngineSettings};

/// Time in which a forked worker must have connected.
const FORK_TIME: Duration = Duration::from_secs(30);
/// Time that the template has for ending by itself when told to.
const QUIT_TIME: Duration = Duration::from_secs(2);
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
    /// Has an interpreter load what a layer holds. Gives what came of it, and what Python tells of its code for [`crate::native`], as JSON.
    pub(super) async fn start(
        interpreter: Interpreter,
        content: layer::Content,
    ) -> Result<(Self, Loaded, Bytes), EngineFault> {
        let Interpreter {
            settings,
            folder,
            stream,
            mut template,
        } = interpreter;
        folder.fill(content).await?;
        let deadline = tokio::time::sleep(settings.load_time);
        tokio::pin!(deadline);
        let loads = async {
            let (mut wire, _) = greet(stream).await?;
            let told = wire.send(&ToPython::Load).await;
            told.map_err(|error| error.to_string())?;
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
            outcome = loads => outcome,
            status = template.ended() => Err(match status {
                Ok(status) => format!("{} ended with {status} before the pack was loaded", settings.python.display()),
                Err(error) => error.to_string(),
            }),
            () = &mut deadline => Err(format!("the pack was not loaded within {:?}", settings.load_time)),
        };
        let (wire, loaded, native) = match outcome {
            Ok(loaded) => loaded,
            Err(reason) => {
                // Dropping `loads` has closed the connection.
                let output = template.end().await;
                return Err(EngineFault::Start { reason, output });
            }
        };
        let (requests, inbox) = mpsc::channel(PENDING_FORKS);
        let owner = Owner {
            settings,
            folder,
            template,
            wire,
            inbox,
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

/// What owns the template, its socket and its folder, for as long as the engine runs.
struct Owner {
    settings: EngineSettings,
    template: Template,
    wire: Wire,
    inbox: mpsc::Receiver<Request>,
    next_worker: u32,
    folder: Folder,
}

impl Owner {
    async fn run(mut self) {
        let mut forks: FuturesUnordered<BoxFuture<'static, ()>> = FuturesUnordered::new();
        let quits = loop {
            tokio::select! {
                request = self.inbox.recv() => match request {
                    Some(Request::Fork(answer)) => match self.fork().await {
                        Ok(worker) => forks.push(Box::pin(async move {
                            let _ = answer.send(worker.await);
                        })),
                        Err(fault) => {
                            let ended = matches!(fault, EngineFault::TemplateEnded { .. });
                            let _ = answer.send(Err(fault));
                            if ended {
                                break false;
                            }
                        }
                    },
                    Some(Request::Stop) | None => break true,
                },
                Some(()) = forks.next() => {}
                // The template has nothing more to say: whatever comes, or the end, is its end.
                _ = self.wire.receive::<FromPython>() => break false,
            }
        };
        let Self {
            mut wire,
            template,
            mut folder,
            mut inbox,
            ..
        } = self;
        if quits && wire.send(&ToPython::Quit).await.is_ok() {
            // It ends by itself and closes its connection.
            let _ = tokio::time::timeout(QUIT_TIME, wire.receive::<FromPython>()).await;
        }
        drop(wire);
        let output = template.end().await;
        if !quits {
            tracing::error!(output, "the Python template ended");
        }
        drop(forks);
        folder.remove().await;
        if !quits {
            // Forks asked for from now on learn the same, until the engine is dropped.
            while let Some(Request::Fork(answer)) = inbox.recv().await {
                let _ = answer.send(Err(EngineFault::TemplateEnded {
                    output: output.clone(),
                }));
            }
        }
    }

    /// Asks for a worker, and gives what waits for its hello.
    async fn fork(
        &mut self,
    ) -> Result<impl Future<Output = Result<Worker, EngineFault>> + use<>, EngineFault> {
        let number = self.next_worker;
        self.next_worker = self.next_worker.wrapping_add(1);
        let progress = progress().map_err(EngineFault::io("making a worker's shared memory"))?;
        let (ours, theirs) = connection().map_err(EngineFault::io("making a pair of sockets"))?;
        let message = ToPython::Fork {
            worker: number,
            limits: Limits {
                memory_bytes: self.settings.memory_bytes,
                rule_ms: u64::try_from(self.settings.rule_time.as_millis()).unwrap_or(u64::MAX),
                cpu_seconds: None,
                files: self.settings.open_files,
                processes: 0,
            },
        };
        let with = [theirs.as_fd(), progress.as_fd()];
        let sent = self.wire.send_with_descriptors(&message, &with).await;
        if sent.is_err() {
            return Err(EngineFault::TemplateEnded {
                output: String::new(),
            });
        }
        let rule_time = self.settings.rule_time;
        Ok(async move {
            // Only the worker has the other end now: its end is noticed.
            drop(theirs);
            match greet(ours).await {
                Ok((wire, pid)) => Worker::new(number, pid, wire, progress, rule_time),
                Err(reason) => Err(EngineFault::WorkersEnd { count: 1, reason }),
            }
        })
    }
}

/// Memory that a worker notes in where it is. It can be neither cut nor extended.
fn progress() -> std::io::Result<File> {
    let flags = MemfdFlags::CLOEXEC | MemfdFlags::ALLOW_SEALING;
    let memory = memfd_create("progress", flags)?;
    ftruncate(&memory, PROGRESS_BYTES)?;
    fcntl_add_seals(
        &memory,
        SealFlags::SHRINK | SealFlags::GROW | SealFlags::SEAL,
    )?;
    Ok(memory.into())
}
