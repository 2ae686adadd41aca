//! The task that owns a template which has loaded a pack: it lets workers be forked, starts the template again if it has ended, and ends all of them.

use std::fs::File;
use std::os::fd::AsFd;
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::Duration;

use bytes::Bytes;
use futures::StreamExt;
use futures::future::BoxFuture;
use futures::stream::FuturesUnordered;
use rustix::fs::{MemfdFlags, SealFlags, fcntl_add_seals, ftruncate, memfd_create};
use tokio::net::UnixStream;
use tokio::sync::{mpsc, oneshot};
use tokio::task::JoinHandle;

use super::folder::Folder;
use super::interpreter::Interpreter;
use super::layer;
use super::settings::{EngineFault, EngineSettings};
use super::template::{Template, connection, greet};
use super::wire::{FromPython, Limits, Loaded, ToPython, Wire};
use super::worker::{PROGRESS_BYTES, Worker};

/// Time in which a forked worker must have connected.
const FORK_TIME: Duration = Duration::from_secs(30);
/// Time that the template has for ending by itself when told to.
const QUIT_TIME: Duration = Duration::from_secs(2);
/// Templates that may end one after the other while one worker is asked for.
const FORKS: u32 = 3;
/// Forks asked for and not yet answered.
const PENDING_FORKS: usize = 256;

/// Time that the owner has for ending in order; whatever it is at then is broken off.
const STOP_TIME: Duration = Duration::from_secs(10);
/// Exit code of a template that refuses a pack: its last words say why.
const REFUSED: i32 = 73;

/// A handle on the task that owns the template.
#[derive(Debug)]
pub(super) struct Host {
    requests: mpsc::Sender<Request>,
    task: parking_lot::Mutex<Option<JoinHandle<()>>>,
    generation: Arc<AtomicU64>,
    /// How long a fork may take: the template may have to be started again before.
    fork_time: Duration,
}

enum Request {
    Fork(oneshot::Sender<Result<Worker, EngineFault>>),
    /// Look whether the template still runs, so that [`Host::generation`] is up to date.
    Look(oneshot::Sender<()>),
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
            template,
        } = interpreter;
        folder.fill(content).await?;
        let (running, loaded, native) = Running::load(&settings, template, stream).await?;
        let (requests, inbox) = mpsc::channel(PENDING_FORKS);
        let generation = Arc::<AtomicU64>::default();
        let fork_time = FORK_TIME + settings.load_time;
        let owner = Owner {
            settings,
            folder,
            running: Some(running),
            inbox,
            next_worker: 0,
            generation: Arc::clone(&generation),
        };
        let host = Self {
            requests,
            task: parking_lot::Mutex::new(Some(tokio::spawn(owner.run()))),
            generation,
            fork_time,
        };
        Ok((host, loaded, native))
    }

    /// Forks a worker that has the pack loaded. If the template has ended, or ends meanwhile, it is started again for it.
    pub(super) async fn fork(&self) -> Result<Worker, EngineFault> {
        for _ in 0..FORKS {
            let generation = self.generation();
            match self.fork_once().await {
                Err(EngineFault::TemplateEnded { .. } | EngineFault::WorkersEnd { .. })
                    if self.ended(generation).await => {}
                outcome => return outcome,
            }
        }
        Err(EngineFault::TemplateEnded {
            output: String::new(),
        })
    }

    async fn fork_once(&self) -> Result<Worker, EngineFault> {
        let (answer, forked) = oneshot::channel();
        self.requests
            .send(Request::Fork(answer))
            .await
            .map_err(|_| EngineFault::Stopped)?;
        match tokio::time::timeout(self.fork_time, forked).await {
            Ok(Ok(outcome)) => outcome,
            Ok(Err(_)) => Err(EngineFault::TemplateEnded {
                output: String::new(),
            }),
            Err(_) => Err(EngineFault::WorkersEnd {
                count: 1,
                reason: format!(
                    "a forked worker did not connect within {:?}",
                    self.fork_time
                ),
            }),
        }
    }

    /// How many templates have ended: workers of an earlier one ended with it.
    pub(super) fn generation(&self) -> u64 {
        self.generation.load(Ordering::Acquire)
    }

    /// Whether the template of this generation has ended, as of now.
    pub(super) async fn ended(&self, generation: u64) -> bool {
        let (answer, looked) = oneshot::channel();
        if self.requests.send(Request::Look(answer)).await.is_ok() {
            let _ = looked.await;
        }
        self.generation() != generation
    }

    /// Ends the template and whatever still runs, and waits until it is gone.
    pub(super) async fn stop(&self) {
        let task = self.task.lock().take();
        let stop = async {
            let _ = self.requests.send(Request::Stop).await;
            if let Some(mut task) = task
                && tokio::time::timeout(STOP_TIME, &mut task).await.is_err()
            {
                task.abort();
            }
        };
        stop.await;
    }
}

impl Drop for Host {
    fn drop(&mut self) {
        // Dropping the owner closes the connection, which ends its processes, and removes its folder.
        if let Some(task) = self.task.lock().take() {
            task.abort();
        }
    }
}

/// A template that has loaded its pack.
struct Running {
    template: Template,
    wire: Wire,
}

impl Running {
    /// Has a template load the layer, which is there.
    async fn load(
        settings: &EngineSettings,
        mut template: Template,
        stream: UnixStream,
    ) -> Result<(Self, Loaded, Bytes), EngineFault> {
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
            () = tokio::time::sleep(settings.load_time) => Err(format!("the pack was not loaded within {:?}", settings.load_time)),
        };
        match outcome {
            Ok((wire, loaded, native)) => Ok((Self { template, wire }, loaded, native)),
            Err(reason) => {
                // Dropping `loads` has closed the connection.
                let (status, output) = template.end().await;
                if status.and_then(|status| status.code()) == Some(REFUSED) {
                    return Err(EngineFault::Refused { reason: output });
                }
                Err(EngineFault::Start { reason, output })
            }
        }
    }
}

/// What owns the template and its folder, for as long as the engine runs.
struct Owner {
    settings: EngineSettings,
    /// `None` once it has ended, until a worker is wanted again.
    running: Option<Running>,
    inbox: mpsc::Receiver<Request>,
    next_worker: u32,
    folder: Folder,
    generation: Arc<AtomicU64>,
}

impl Owner {
    async fn run(mut self) {
        let mut forks: FuturesUnordered<BoxFuture<'static, ()>> = FuturesUnordered::new();
        loop {
            let says = async {
                match &mut self.running {
                    // The template has nothing more to say: whatever comes, or the end, is its end.
                    Some(running) => drop(running.wire.receive::<FromPython>().await),
                    None => std::future::pending().await,
                }
            };
            tokio::select! {
                // An end that is there is noticed before what is asked for.
                biased;
                () = says => self.ended().await,
                request = self.inbox.recv() => match request {
                    Some(Request::Fork(answer)) => match self.fork().await {
                        Ok(worker) => forks.push(Box::pin(async move {
                            let _ = answer.send(worker.await);
                        })),
                        Err(fault) => drop(answer.send(Err(fault))),
                    },
                    Some(Request::Look(answer)) => drop(answer.send(())),
                    Some(Request::Stop) | None => break,
                },
                Some(()) = forks.next() => {}
            }
        }
        if let Some(Running { template, mut wire }) = self.running.take() {
            if wire.send(&ToPython::Quit).await.is_ok() {
                // It ends by itself and closes its connection.
                let _ = tokio::time::timeout(QUIT_TIME, wire.receive::<FromPython>()).await;
            }
            drop(wire);
            template.end().await;
        }
        self.folder.remove().await;
    }

    /// The template has ended, or has to.
    async fn ended(&mut self) {
        let Some(Running { template, wire }) = self.running.take() else {
            return;
        };
        drop(wire);
        let (status, output) = template.end().await;
        self.generation.fetch_add(1, Ordering::Release);
        let status = status.map(|status| status.to_string());
        tracing::error!(
            status,
            output,
            "the Python template ended; it is started again when it is needed"
        );
    }

    /// The template, started again if it has ended.
    async fn template(&mut self) -> Result<&mut Running, EngineFault> {
        let running = match self.running.take() {
            Some(running) => running,
            None => {
                let (template, stream) = Template::spawn(&self.settings, &self.folder)?;
                Running::load(&self.settings, template, stream).await?.0
            }
        };
        Ok(self.running.insert(running))
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
        let wire = &mut self.template().await?.wire;
        if wire.send_with_descriptors(&message, &with).await.is_err() {
            self.ended().await;
            return Err(EngineFault::TemplateEnded {
                output: String::new(),
            });
        }
        let (rule_time, generation) = (
            self.settings.rule_time,
            self.generation.load(Ordering::Acquire),
        );
        Ok(async move {
            // Only the worker has the other end now: its end is noticed.
            drop(theirs);
            match greet(ours).await {
                Ok((wire, pid)) => Worker::new(number, pid, wire, progress, rule_time, generation),
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
