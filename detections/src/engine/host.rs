//! The task that owns a template which has loaded a pack: it lets workers be forked, and ends all of them.

use std::collections::HashMap;
use std::time::Duration;

use bytes::Bytes;
use futures::StreamExt;
use futures::future::BoxFuture;
use futures::stream::FuturesUnordered;
use tokio::net::UnixListener;
use tokio::sync::{mpsc, oneshot};
use tokio::task::JoinHandle;

use super::folder::Folder;
use super::interpreter::Interpreter;
use super::layer;
use super::template::{Greeting, Template, greet, template_connection};
use super::wire::{FromPython, Limits, Loaded, Role, ToPython, Wire};
use super::worker::Worker;
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
            listener,
            token,
            mut template,
        } = interpreter;
        folder.fill(content).await?;
        let deadline = tokio::time::sleep(settings.load_time);
        tokio::pin!(deadline);
        let loads = async {
            let mut wire = template_connection(&listener, &token).await?;
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
                let output = template.end().await;
                return Err(EngineFault::Start { reason, output });
            }
        };
        let (requests, inbox) = mpsc::channel(PENDING_FORKS);
        let owner = Owner {
            settings,
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
