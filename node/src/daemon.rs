//! Everything in order: data folder, log and state, listeners, components; and back.
//!
//! The group (log, apply, door) has a runtime of its own, so that a flood of requests never keeps an election or a flush
//! from its turn. Listeners and components share the other.

use std::io;
use std::net::SocketAddr;
use std::path::PathBuf;
use std::sync::Arc;
use std::time::Duration;

use panther_actors::callers::Callers;
use panther_actors::components::rules_engine::trial;
use panther_actors::egress::Egress;
use panther_actors::ingest::IntakeSettings;
use panther_actors::sealing_key::KeyError;
use panther_actors::system::{StartError, System, SystemSettings};
use panther_actors::views::Identity;
use panther_cluster::door::{Among, Door, DoorError, DoorSettings};
use panther_cluster::log::Loss;
use panther_cluster::membership::{self, Gate, KeyKeeper, Own};
use panther_cluster::net::{Authority, Peers, Removal};
use panther_cluster::objects::Objects;
use panther_cluster::objects::place::Place;
use panther_cluster::objects::proof::{self, ProofError};
use panther_cluster::raft::Membership;
use panther_detections::engine::EngineSettings;
use rustix::process::{Resource, Rlimit, getrlimit, setrlimit};
use tokio::net::TcpListener;
use tokio::runtime::{Builder, Handle, Runtime};
use tokio::signal::unix::{Signal, SignalKind, signal};
use tokio::sync::{oneshot, watch};
use tokio::task::JoinHandle;

use crate::config::Configuration;
use crate::data_dir::{DataDir, KEY_WAY_OUT};
use crate::grpc::backup::Origin;
use crate::keys::{Keeper, Keys};
use crate::listeners::{Listeners, listen_tcp};
use crate::waiting::Waiting;
use crate::{Failure, grpc, health, http, systemd};

/// Open files that a node wants: log, state, connections, workers.
const OPEN_FILES: u64 = 65_536;
/// Open files below which it may run out of them under load.
const FEW_FILES: u64 = 4_096;
/// How long calls that are under way may go on after the listeners closed. Waiting without end for connections to close
/// is known never to return now and then (hyperium/hyper#4170).
const CLOSING: Duration = Duration::from_secs(10);
/// Threads of the group's runtime.
const GROUP_THREADS: usize = 2;

/// Runs a node until it is told to stop.
///
/// # Errors
/// It cannot start, or what it has in memory does not reach the disk when it stops.
pub(crate) fn run(configuration: Configuration) -> Result<(), Failure> {
    raise_open_files();
    // Refused only where a provider is in place already, which is as good.
    let _ = rustls::crypto::ring::default_provider().install_default();
    let data = DataDir::open(&configuration)?;
    let sealing_key = data.sealing_key()?;
    let keys = configuration
        .cluster
        .listen
        .is_some()
        .then(|| data.keys())
        .transpose()?;
    let group = runtime("group", Some(GROUP_THREADS))?;
    let work = runtime("work", None)?;
    let ended = work.block_on(serve(
        &configuration,
        &data,
        sealing_key,
        keys,
        group.handle(),
    ));
    // What still runs now was given its time; a blocking call may be under way.
    work.shutdown_timeout(Duration::from_secs(2));
    group.shutdown_timeout(Duration::from_secs(2));
    ended
}

fn runtime(name: &'static str, threads: Option<usize>) -> Result<Runtime, Failure> {
    let mut builder = Builder::new_multi_thread();
    if let Some(threads) = threads {
        builder.worker_threads(threads);
    }
    builder
        .thread_name(name)
        .enable_all()
        .build()
        .map_err(|error| {
            Failure::Failed(format!(
                "the threads of the node cannot be started: {error}"
            ))
        })
}

/// Raises the soft limit of open files as far as the node wants and the hard one allows.
fn raise_open_files() {
    let limit = getrlimit(Resource::Nofile);
    let most = limit.maximum.unwrap_or(OPEN_FILES);
    let wanted = OPEN_FILES.min(most);
    if limit.current.is_some_and(|current| current < wanted) {
        let raised = Rlimit {
            current: Some(wanted),
            maximum: limit.maximum,
        };
        if let Err(error) = setrlimit(Resource::Nofile, raised) {
            tracing::warn!(%error, "the limit of open files cannot be raised to {wanted}");
        }
    }
    if wanted < FEW_FILES {
        tracing::warn!(
            open_files = wanted,
            "the limit of open files is low; LimitNOFILE={OPEN_FILES} in the unit raises it"
        );
    }
}

/// The signals that stop a node.
struct Stop {
    terminate: Signal,
    interrupt: Signal,
    hangup: Signal,
}

impl Stop {
    fn listen() -> io::Result<Self> {
        Ok(Self {
            terminate: signal(SignalKind::terminate())?,
            interrupt: signal(SignalKind::interrupt())?,
            hangup: signal(SignalKind::hangup())?,
        })
    }

    async fn told(&mut self) -> &'static str {
        loop {
            tokio::select! {
                _ = self.terminate.recv() => return "SIGTERM",
                _ = self.interrupt.recv() => return "SIGINT",
                // A closed terminal sends it too, and a node outlives its terminal.
                _ = self.hangup.recv() => {
                    tracing::warn!("SIGHUP does not reload: the configuration is read at a start; `systemctl restart pantherd` reads it again");
                }
            }
        }
    }
}

async fn serve(
    configuration: &Configuration,
    data: &DataDir,
    sealing_key: [u8; 32],
    keys: Option<Keys>,
    group: &Handle,
) -> Result<(), Failure> {
    let mut stop = Stop::listen()
        .map_err(|error| Failure::Failed(format!("signals cannot be listened to: {error}")))?;
    let node = tokio::select! {
        node = Node::start(configuration, data, sealing_key, keys, group) => match node {
            Ok(node) => node,
            Err(failure) => {
                let mut places = vec![data.folder()];
                if let Place::Folder(objects) = &configuration.objects {
                    places.push(objects);
                }
                tokio::select! { () = health::wait_for_room(&places) => {}, _ = stop.told() => {} }
                return Err(failure);
            }
        },
        signal = stop.told() => {
            tracing::info!(signal, "told to stop while starting; nothing was accepted yet");
            return Ok(());
        }
        () = systemd::ask_for_time() => return Ok(()),
    };
    let serving = node.say_ready(configuration, data);
    systemd::ready(&serving);
    let (door, system) = (node.door.clone(), node.system.clone());
    let watchdog = group.spawn(systemd::watchdog(door, system, Handle::current()));
    let signal = tokio::select! {
        signal = stop.told() => signal,
        removal = node.door.removed() => {
            systemd::stopping();
            crate::socket::remove(&node.socket).await;
            return Err(removed(data, &removal));
        }
        reason = health::differs(&node.door) => {
            systemd::stopping();
            crate::socket::remove(&node.socket).await;
            return Err(Failure::Configuration(format!(
                "this node is stopped (state-differs): {reason}. What it answers cannot be trusted, so it takes no part. `pantherctl cluster invite --replace {number}` at another node, then empty {folder} \
                 here and `pantherd join`; keep a copy of {folder}: it shows the cause. docs/recovery.md explains state-differs",
                number = data.node(),
                folder = data.folder().display(),
            )));
        }
        reason = health::outdated(&node.door) => {
            systemd::stopping();
            crate::socket::remove(&node.socket).await;
            return Err(Failure::Configuration(reason));
        }
        reason = health::broken(&node.door) => {
            if let Some(reason) = node.door.group().outdated() {
                return Err(Failure::Configuration(reason));
            }
            // Nothing can be given back or written in order any more; a start reads what is durable.
            systemd::stopping();
            crate::socket::remove(&node.socket).await;
            return Err(Failure::Failed(format!("{reason}; the node ends, so that a start mends it from what is on the disk")));
        }
    };
    tracing::info!(signal, "stopping; a second signal ends the node at once");
    systemd::stopping();
    tokio::spawn(async move {
        let signal = stop.told().await;
        tracing::warn!(
            signal,
            "ended at once; what was being handled is given out again at the next start"
        );
        std::process::exit(1);
    });
    let stopped = node.stop(configuration.node.drain_ms, group).await;
    watchdog.abort();
    stopped
}

/// A node that serves.
struct Node {
    door: Door,
    system: System,
    /// Told true when the listeners are to close.
    closing: watch::Sender<bool>,
    listeners: Vec<JoinHandle<()>>,
    socket: PathBuf,
    ingest_url: Option<String>,
}

impl Node {
    async fn start(
        configuration: &Configuration,
        data: &DataDir,
        sealing_key: [u8; 32],
        keys: Option<Keys>,
        group: &Handle,
    ) -> Result<Self, Failure> {
        crate::telemetry::name_node(data.node());
        // Listening first finds out cheaply what would be in the way; callers wait until they are served.
        let socket = crate::socket::listen(&configuration.paths.socket).await?;
        let (http, ingest_url) = match configuration.listen.ingest {
            Some(address) => {
                let (listener, address) = listen_http(address)?;
                (Some(listener), Some(format!("http://{address}")))
            }
            None => (None, None),
        };
        let sockets = Listeners::new(socket, http, configuration.ingest.max_connections);
        let callers = Callers::new(sockets.places());
        let (folder, number, session) = (data.group(), data.node(), rand::random::<u64>().max(1));
        let gate = Arc::new(Gate::default());
        let (mut among, authority) = among(configuration, data, keys, gate.clone(), group)?;
        let (early, local) = oneshot::channel();
        among.early = Some(early);
        let identity = Identity {
            version: env!("CARGO_PKG_VERSION").to_owned(),
            name: configuration.node.name.clone(),
            data_dir: data.folder().to_owned(),
            started: std::time::Instant::now(),
        };
        let waiting = Waiting::serve(&sockets, local, identity);
        let settings = door_settings(configuration);
        let open = group.spawn(async move {
            Door::open_among(&folder, number, session, settings, among).await
        });
        let door = open
            .await
            .map_err(|error| Failure::Failed(format!("opening log and state failed: {error}")))?
            .map_err(|error| match &error {
                DoorError::Store(why) if let Some(loss) = Loss::of(why) => lost(loss, data),
                // Starting again would not mend it.
                DoorError::Store(why) if why.kind() == io::ErrorKind::Unsupported => {
                    Failure::Configuration(why.to_string())
                }
                DoorError::Removed(removal) => removed(data, removal),
                _ => Failure::Failed(format!(
                    "log and state in {} cannot be opened: {error}",
                    data.group().display()
                )),
            })?;
        let objects = objects(&configuration.objects).await?;
        begin_anew(data, &door).await?;
        prove_objects(&objects, data, &door).await?;
        data.note_started();
        let settings = SystemSettings {
            version: env!("CARGO_PKG_VERSION").to_owned(),
            node_name: configuration.node.name.clone(),
            data_dir: data.folder().to_owned(),
            door: door.clone(),
            objects,
            engine: engine(configuration, data),
            trial: trial::Settings {
                each: configuration.engine.trial_events,
                seed: rand::random(),
                kept: data.folder().join("tried.json"),
            },
            sealing_key,
            replaces_sealing_key: data.replaces_sealing_key(),
            intake: IntakeSettings {
                batch_bytes: configuration.ingest.batch_bytes,
                batch_time: configuration.ingest.batch_ms,
                body_bytes: configuration.ingest.max_body_bytes,
                connections: configuration.ingest.max_connections,
            },
            alarm_command: Some(configuration.alarm.command.clone())
                .filter(|command| !command.is_empty()),
            loop_stall: panther_actors::system::LOOP_STALL,
            ingest_url: ingest_url.clone().unwrap_or_default(),
            alert_link: configuration.alerts.link.clone(),
            egress: Egress::without(configuration.alerts.denied_networks.clone()),
            own: Arc::new(Own {
                name: configuration.node.name.clone(),
                address: configuration.cluster.advertise.clone(),
                version: env!("CARGO_PKG_VERSION").to_owned(),
                keeper: authority.is_some().then(|| {
                    Arc::new(Keeper::new(data.folder(), &sealing_key)) as Arc<dyn KeyKeeper>
                }),
                authority: authority.map(Arc::new),
                sealing_key: sealing_key.to_vec(),
            }),
            gate,
            callers,
            paused: data.is_paused(),
        };
        others_know_the_key(data, &door)?;
        let system = System::start(settings).await.map_err(|error| match error {
            StartError::SealingKey(error @ KeyError::Other { .. }) => {
                Failure::Configuration(format!(
                    "{}: {error}. {KEY_WAY_OUT}",
                    data.folder().join("sealing.key").display()
                ))
            }
            error => Failure::Failed(format!("the components cannot be started: {error}")),
        })?;
        data.note_sealing_key(&sealing_key);
        waiting.end().await;
        // The cluster knows of the pause by now.
        data.forget_pause()?;
        let (closing, closed) = watch::channel(false);
        let mut listeners = vec![tokio::spawn(grpc::serve(
            sockets.clone(),
            system.clone(),
            door.clone(),
            Origin {
                cluster: data.cluster().to_owned(),
                sealing_key,
            },
            closed.clone(),
        ))];
        if sockets.has_http() {
            listeners.push(tokio::spawn(http::serve(
                sockets,
                system.clone(),
                door.clone(),
                closed,
            )));
        }
        Ok(Self {
            door,
            system,
            closing,
            listeners,
            socket: configuration.paths.socket.clone(),
            ingest_url,
        })
    }

    fn say_ready(&self, configuration: &Configuration, data: &DataDir) -> String {
        let ingest = self
            .ingest_url
            .as_ref()
            .map_or_else(|| "off".to_owned(), |url| format!("{url}/ingest/SOURCE"));
        tracing::info!(
            version = env!("CARGO_PKG_VERSION"),
            node = data.node(),
            name = configuration.node.name,
            cluster = data.cluster(),
            socket = %self.socket.display(),
            ingest,
            peers = &configuration.cluster.advertise,
            data = %data.folder().display(),
            objects = %configuration.objects,
            "ready"
        );
        if configuration
            .listen
            .ingest
            .is_some_and(|address| !address.ip().is_loopback())
        {
            tracing::warn!(
                "ingest takes plain HTTP from other machines: tokens and logs cross the network unencrypted unless a proxy with TLS stands before it"
            );
        }
        format!("ready; socket {}, ingest {ingest}", self.socket.display())
    }

    /// Listeners first, so that nothing new comes; then the components; the log last.
    async fn stop(self, drain: Duration, group: &Handle) -> Result<(), Failure> {
        self.closing.send_replace(true);
        let late = tokio::time::Instant::now() + CLOSING;
        for mut listener in self.listeners {
            if tokio::time::timeout_at(late, &mut listener).await.is_err() {
                tracing::warn!("calls under way did not end in time and are cut off");
                listener.abort();
            }
        }
        // A socket without a listener would be taken for a node that has crashed.
        crate::socket::remove(&self.socket).await;
        self.system.stop(drain).await;
        drop(self.system);
        let door = self.door;
        let closed = group.spawn(async move { door.close().await }).await;
        match closed {
            Ok(Ok(())) => {
                tracing::info!("stopped");
                Ok(())
            }
            Ok(Err(error)) => Err(Failure::Failed(format!(
                "the log was not closed in order: {error}"
            ))),
            Err(error) => Err(Failure::Failed(format!("closing the log failed: {error}"))),
        }
    }
}

fn removed(data: &DataDir, removal: &Removal) -> Failure {
    Failure::Configuration(health::removed(removal, data.node(), data.cluster()))
}

/// Among others a dead leader must be missed soon: with this heartbeat another is elected within a second or so. A node that is alone is
/// missed by nobody, and sleeps longer.
const HEARTBEAT: Duration = Duration::from_millis(100);

pub(crate) fn door_settings(configuration: &Configuration) -> DoorSettings {
    let mut settings = DoorSettings::default();
    if configuration.cluster.listen.is_some() {
        settings.group.heartbeat = HEARTBEAT;
    }
    settings
}

/// The node's place among others: none, if it listens to nobody and was not given one.
fn among(
    configuration: &Configuration,
    data: &DataDir,
    keys: Option<Keys>,
    gate: Arc<Gate>,
    group: &Handle,
) -> Result<(Among, Option<Authority>), Failure> {
    let (Some(listen), Some(keys)) = (configuration.cluster.listen, keys) else {
        if data.founded() {
            let among = Among {
                membership: Membership {
                    started: data.started(),
                    ..Membership::default()
                },
                ..Among::default()
            };
            return Ok((among, None));
        }
        return Err(Failure::Configuration(format!(
            "this is node {} of cluster {}, but cluster.listen is not set, so the other nodes cannot reach it: set it to the address and port that they know",
            data.node(),
            data.cluster()
        )));
    };
    let founded = data.founded();
    let Keys {
        authority,
        certificates,
    } = keys;
    let listener = listen_on(listen, group).map_err(|error| {
        Failure::Failed(format!(
            "other nodes cannot be listened to on {}: {error}; stop what uses the port, or set cluster.listen to another",
            listen
        ))
    })?;
    let among = Among {
        membership: Membership {
            peers: Some(Peers::new(certificates)),
            address: configuration.cluster.advertise.clone(),
            joins: !founded,
            started: data.started(),
        },
        listener: Some(listener.into()),
        gate: Some(gate),
        ..Among::default()
    };
    Ok((among, Some(authority)))
}

/// Of how many events one is timed rule by rule, for `pantherctl detections profile`: often enough to be told apart after minutes, and no load.
const PROFILE_ONE_IN: u32 = 16;

fn engine(configuration: &Configuration, data: &DataDir) -> EngineSettings {
    let defaults = EngineSettings::default();
    EngineSettings {
        work_dir: data.work_dir().unwrap_or_else(|error| {
            tracing::debug!(%error, "the engine works in the folder for temporary files");
            defaults.work_dir.clone()
        }),
        python: configuration.python.interpreter.clone(),
        packages: configuration.python.packages.clone(),
        environments: data.folder().join("environments"),
        workers: match configuration.python.workers {
            0 => defaults.workers,
            workers => workers,
        },
        rule_time: configuration.engine.rule_timeout_ms,
        native: configuration.engine.native,
        shadow_one_in: u32::try_from(configuration.engine.shadow_one_in).unwrap_or(u32::MAX),
        profile_one_in: PROFILE_ONE_IN,
        memory_bytes: u64::try_from(configuration.engine.memory_mb)
            .unwrap_or(u64::MAX)
            .saturating_mul(1_000_000),
        ..defaults
    }
}

/// What a node says that has lost what it vouched for: starting again would not mend it.
fn lost(loss: &Loss, data: &DataDir) -> Failure {
    let (node, folder) = (data.node(), data.folder().display());
    Failure::Configuration(format!(
        "the start is refused ({code}): {loss}. This node has acknowledged more than its disk holds; if it took part, the cluster could lose what was acknowledged or its nodes could \
         differ. Nothing in {group} was changed. If a disk or folder is not mounted, mount it and start again. If the cluster has other nodes that work: \
         `pantherctl cluster invite --replace {node}` at one of them, then empty {folder} here and `pantherd join`. If this is the only node that votes: `pantherd salvage` shows what can be \
         kept. docs/recovery.md explains {code}",
        code = loss.code(),
        group = data.group().display(),
    ))
}

/// A node that a new lineage began with takes leave of the old one's nodes.
async fn begin_anew(data: &DataDir, door: &Door) -> Result<(), Failure> {
    let Some(old) = data.came_from().filter(|_| !data.started()) else {
        return Ok(());
    };
    let removed = membership::begin_anew(door)
        .await
        .map_err(|error| Failure::Failed(format!("the new lineage cannot be begun: {error}")))?;
    tracing::warn!(
        from = old,
        ?removed,
        "this node goes on alone as a new cluster; the nodes of the old one are no longer of it"
    );
    Ok(())
}

/// Refuses a new sealing key where other nodes have the cluster's.
fn others_know_the_key(data: &DataDir, door: &Door) -> Result<(), Failure> {
    let others = door.group().status().members.len() > 1;
    if others && data.replaces_sealing_key() {
        return Err(Failure::Configuration(format!(
            "a new sealing key was made here, and the other nodes of the cluster have the one that its secrets are sealed with: copy sealing.key from the data_dir of one of them to {}, and remove the lines \
             sealing_key and new_sealing_key from {}",
            data.folder().display(),
            data.folder().join("identity").display()
        )));
    }
    Ok(())
}

/// That this node's objects are the cluster's.
async fn prove_objects(objects: &Objects, data: &DataDir, door: &Door) -> Result<(), Failure> {
    let (node, status) = (data.node(), door.group().status());
    let mut others: Vec<u64> = status.members.into_keys().collect();
    others.retain(|other| *other != node);
    // Of those that join only the ones that have caught up have written anything.
    others.retain(|other| status.voters.contains(other));
    let proved = proof::prove(objects, data.cluster(), node, &others, data.started()).await;
    proved.map_err(|error| match error {
        // A store may be back later, and a folder mounted; a node that has never worked and sees another store is set up wrongly.
        ProofError::Store(error) => Failure::Failed(format!(
            "{error}; is objects.url right, is the store up, and are its credentials in the environment (docs/objects.md)?"
        )),
        error if data.started() => Failure::Failed(error.to_string()),
        error => Failure::Configuration(error.to_string()),
    })
}

pub(crate) async fn objects(place: &Place) -> Result<Objects, Failure> {
    let at = place.clone();
    tokio::task::spawn_blocking(move || Objects::at(&at))
        .await
        .map_err(io::Error::other)
        .flatten()
        .map_err(|error| Failure::Failed(format!("objects at {place} cannot be used: {error}")))
}

/// A listener that a runtime of the caller's looks after.
fn listen_on(address: SocketAddr, runtime: &Handle) -> io::Result<TcpListener> {
    let _on = runtime.enter();
    listen_tcp(address).map(|(listener, _)| listener)
}

fn listen_http(address: SocketAddr) -> Result<(TcpListener, SocketAddr), Failure> {
    let listener = listen_tcp(address);
    listener.map_err(|error| {
        Failure::Failed(format!(
            "ingest cannot listen on {address}: {error}; stop what uses the port, or set listen.ingest (--ingest) to another, or to \"\" for none"
        ))
    })
}
