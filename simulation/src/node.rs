//! A simulated node: the shipped substrate (door, openraft, gRPC with TLS, log, store) on a simulated network, disk and
//! clock.

use std::path::Path;
use std::sync::Arc;
use std::sync::atomic::Ordering;
use std::time::Duration;

use futures::StreamExt;
use panther_cluster::door::change::{self, Change};
use panther_cluster::door::{Among, Door, DoorError, DoorSettings};
use panther_cluster::log::{Harm, Loss};
use panther_cluster::membership::{self, Gate, Members, Own};
use panther_cluster::net::{Authority, Connection, Connector, Listener, Peers};
use panther_cluster::raft::Membership;
use panther_proto::v1::{Declare, IndexSpec, QueueSpec, TableSpec, Transact, command};
use turmoil::net::{TcpListener, TcpStream};

use crate::clients;
use crate::operator;
use crate::tally::{BY_NAME, DLQ, MAX_FAILURES, QUEUE, TABLE};
use crate::world::{Clocks, Order, Place, Return, World, elapsed};

/// Interval at which a node checks for orders.
const LOOK: Duration = Duration::from_millis(20);

pub(crate) fn host(number: u64) -> String {
    format!("n{number}")
}

fn settings() -> DoorSettings {
    let mut settings = DoorSettings {
        silence: Duration::from_secs(4),
        ..DoorSettings::default()
    };
    settings.group.log.segment_bytes = 64 << 10;
    settings.group.log.cache_bytes = 32 << 10;
    settings.group.snapshot_log_bytes = 96 << 10;
    settings.group.snapshot_check = Duration::from_millis(700);
    settings.group.store.layer_bytes = 48 << 10;
    settings.group.store.cache_bytes = 1 << 20;
    settings
}

fn declaration() -> Declare {
    let queue = |name: &str, dlq: &str| QueueSpec {
        name: name.into(),
        // A visibility timeout counts as a failure; here only abandoned messages time out.
        visibility_ms: 30_000,
        retention_ms: 86_400_000,
        max_receive_count: if dlq.is_empty() { 0 } else { MAX_FAILURES },
        dlq: dlq.into(),
        dedup_window_ms: 300_000,
        // Nodes die here all the time, and a message is never the cause.
        lonely_deaths: 1_000,
        dead_letter: dlq.is_empty(),
        ..QueueSpec::default()
    };
    let of_names = TableSpec {
        name: TABLE.into(),
        indexes: vec![IndexSpec {
            name: BY_NAME.into(),
            hash: "name".into(),
            range: String::new(),
            unique: true,
        }],
        ..TableSpec::default()
    };
    Declare {
        version: 1,
        tables: [vec![of_names], membership::tables()].concat(),
        queues: vec![queue(DLQ, ""), queue(QUEUE, DLQ)],
        topics: vec![],
    }
}

async fn among(
    world: &World,
    place: &Place,
    gate: Arc<Gate>,
) -> Result<Among, Box<dyn std::error::Error>> {
    let socket = TcpListener::bind(("0.0.0.0", place.port.load(Ordering::SeqCst))).await?;
    let connections = futures::stream::unfold(socket, |socket| async {
        let connection = socket
            .accept()
            .await
            .map(|(stream, _)| Connection::over(stream));
        Some((connection, socket))
    });
    let connector: Connector = Arc::new(|address: String| {
        Box::pin(async move { TcpStream::connect(address).await.map(Connection::over) })
    });
    Ok(Among {
        membership: Membership {
            peers: Some(Peers::over(
                world.authority.issue(place.node.load(Ordering::SeqCst))?,
                connector,
            )),
            address: place.address(),
            joins: place.node.load(Ordering::SeqCst) != 1 || world.ready.load(Ordering::SeqCst),
            started: place.started.load(Ordering::SeqCst),
        },
        listener: Some(Listener::Given(connections.boxed())),
        log_files: Some(Arc::new(place.files.clone())),
        time: Arc::new(Clocks::new(
            place.off_ms.clone(),
            world.synchronised.clone(),
        )),
        gate: Some(gate),
        ..Among::default()
    })
}

/// The cluster's certificate authority, as each node holds it.
fn authority(world: &World) -> Result<Authority, Box<dyn std::error::Error>> {
    let own = &world.authority;
    Ok(Authority::open(
        own.cluster(),
        &own.key(),
        own.certificate(),
    )?)
}

struct AbortOnDrop(tokio::task::JoinHandle<()>);

impl Drop for AbortOnDrop {
    fn drop(&mut self) {
        self.0.abort();
    }
}

/// Replaces a node that was refused because of a loss: its machine is emptied and joins as another node. Fails if the
/// reported loss does not match the damage.
fn replace(world: &World, place: &Place, loss: &Loss) -> turmoil::Result {
    let (number, old) = (place.number, place.node.load(Ordering::SeqCst));
    world.note(
        elapsed(),
        format_args!("n{number} is refused as node {old}: {loss}"),
    );
    let code = loss.code();
    let harm = place.harmed.lock().take();
    let state_lost = place.state_lost.swap(false, Ordering::SeqCst);
    let is_right = match harm {
        Some(harm) => tells(harm, code),
        None => state_lost && code == "state-lost",
    };
    if !is_right {
        return Err(format!("node {old} has lost {harm:?}, and is refused so: {loss}").into());
    }
    *world.refused.lock().entry(code.to_owned()).or_default() += 1;
    empty(place, Some(old))?;
    Ok(())
}

/// True if a refusal's code matches the damage to the log.
fn tells(harm: Harm, code: &str) -> bool {
    let codes: &[&str] = match harm {
        Harm::Emptied => &["log-empty"],
        Harm::Forgotten => &["log-empty", "state-ahead-of-log"],
        Harm::NewestGone => &["log-segment-missing", "log-empty"],
        Harm::MiddleGone => &["log-segment-missing"],
        Harm::NewestZeroed => &["log-cut"],
        Harm::CutShort | Harm::VoteLost => &["log-cut", "vote-forgotten"],
    };
    codes.contains(&code)
}

/// Prepares the machine of a removed node for its next run.
fn go_on(world: &World, place: &Place) -> std::io::Result<()> {
    let returns = place.returns.lock().take().unwrap_or(Return::Emptied);
    world.note(elapsed(), format_args!("n{}: {returns:?}", place.number));
    match returns {
        Return::Emptied => empty(place, None),
        Return::OldData => Ok(()),
        Return::OldNumber => {
            world.harms.fetch_add(1, Ordering::SeqCst);
            *place.harmed.lock() = Some(Harm::Forgotten);
            place.files.lose_all();
            remove(&place.folder)
        }
        Return::OldFolder => {
            place.node.store(0, Ordering::SeqCst);
            place.started.store(false, Ordering::SeqCst);
            Ok(())
        }
    }
}

fn remove(folder: &Path) -> std::io::Result<()> {
    match std::fs::remove_dir_all(folder) {
        Err(error) if error.kind() != std::io::ErrorKind::NotFound => Err(error),
        _ => Ok(()),
    }
}

/// Deletes a node's state but not its log.
pub(crate) fn lose_state(place: &Place) -> std::io::Result<()> {
    remove(&place.folder.join("state"))
}

/// Deletes everything of a node from its machine.
pub(crate) fn empty(place: &Place, replaces: Option<u64>) -> std::io::Result<()> {
    *place.replaces.lock() = replaces;
    place.node.store(0, Ordering::SeqCst);
    *place.returns.lock() = None;
    place.started.store(false, Ordering::SeqCst);
    place.files.lose_all();
    remove(&place.folder)
}

/// What follows a run of a node.
pub(crate) enum Then {
    /// The daemon ended.
    Ended,
    /// The start was refused because of a loss.
    Refused(Loss),
    /// The node was removed.
    Removed,
}

/// Runs a machine until its daemon ends. The end is handled before the next run, when nothing of this run exists any
/// more.
pub(crate) async fn run(world: Arc<World>, place: Arc<Place>) -> turmoil::Result {
    let then = std::mem::replace(&mut *place.then.lock(), Then::Ended);
    match then {
        Then::Ended => {}
        Then::Refused(loss) => replace(&world, &place, &loss)?,
        Then::Removed => go_on(&world, &place)?,
    }
    let then = run_node(&world, &place).await?;
    *place.then.lock() = then;
    Ok(())
}

async fn run_node(
    world: &Arc<World>,
    place: &Arc<Place>,
) -> Result<Then, Box<dyn std::error::Error>> {
    let run = place.runs.fetch_add(1, Ordering::SeqCst) + 1;
    while place.node.load(Ordering::SeqCst) == 0 {
        tokio::time::sleep(LOOK).await; // not invited yet
    }
    let (number, node) = (place.number, place.node.load(Ordering::SeqCst));
    if place.started.load(Ordering::SeqCst) && !world.is_replacing() && rand::random_ratio(1, 12) {
        let port = place.port.fetch_add(1, Ordering::SeqCst) + 1;
        world.moves.fetch_add(1, Ordering::SeqCst);
        world.note(elapsed(), format_args!("n{number} moves to port {port}"));
    }
    world.used.lock().insert(node);
    let session = node * 1_000 + run;
    let gate = Arc::new(Gate::default());
    let among = among(world, place, gate.clone()).await?;
    let door = match Door::open_among(&place.folder, node, session, settings(), among).await {
        Ok(door) => door,
        Err(DoorError::Store(error)) if let Some(loss) = Loss::of(&error).cloned() => {
            return Ok(Then::Refused(loss));
        }
        Err(DoorError::Removed(_)) => {
            world.note(
                elapsed(),
                format_args!("n{number} was removed as node {node}"),
            );
            return Ok(Then::Removed);
        }
        // A daemon exits here, and is restarted.
        Err(
            error @ (DoorError::Unavailable(_)
            | DoorError::Deadline { .. }
            | DoorError::Busy { .. }),
        ) => {
            world.note(elapsed(), format_args!("n{number} does not start: {error}"));
            return Ok(Then::Ended);
        }
        Err(error) => return Err(format!("node {number} cannot be opened: {error}").into()),
    };
    if let Some(harm) = *place.harmed.lock() {
        return Err(
            format!("node {node} has lost a part of its log ({harm:?}), and takes part").into(),
        );
    }
    place.state_lost.store(false, Ordering::SeqCst);
    world.note(
        elapsed(),
        format_args!("n{number} is up as node {node}, run {run}"),
    );
    place.started.store(true, Ordering::SeqCst);
    if node == 1 && !world.ready.load(Ordering::SeqCst) {
        door.execute(command::Kind::Declare(declaration())).await?;
    }
    let own = Own {
        name: host(number),
        address: place.address(),
        version: "simulated".to_owned(),
        authority: Some(Arc::new(authority(world)?)),
        keeper: None,
        sealing_key: vec![0; 32],
    };
    let members = match Members::start(door.clone(), Arc::new(own), &gate).await {
        Ok(members) => members,
        Err(error) => {
            world.note(elapsed(), format_args!("n{number} does not start: {error}"));
            return Ok(Then::Ended);
        }
    };
    *place.door.lock() = Some(door.clone());
    let _operator = AbortOnDrop(tokio::task::spawn_local(operator::run(
        world.clone(),
        door.clone(),
        members,
        gate,
    )));
    while !world.ready.load(Ordering::SeqCst) {
        if world.stands_as_wanted() {
            world.ready.store(true, Ordering::SeqCst);
        }
        tokio::time::sleep(LOOK).await;
    }
    let mut clients = clients::at(world, number, run, &door);
    let removed = door.removed();
    tokio::pin!(removed);
    loop {
        let order = place.orders.lock().pop_front();
        match order {
            Some(Order::HandOver(to)) => {
                let _ = door.group().hand_over(to).await; // no effect on a node that does not lead
            }
            Some(Order::Snapshot) => {
                let _ = door.group().snapshot().await;
            }
            Some(Order::Stop) => {
                clients.shutdown().await;
                *place.door.lock() = None;
                let stopped = door.close().await;
                world.note(
                    elapsed(),
                    format_args!("n{number} has stopped: {stopped:?}"),
                );
                return Ok(Then::Ended);
            }
            None => {
                if number == 1 && world.is_mended() {
                    let _ = door.requeue(DLQ, QUEUE, "", None).await; // the next iteration retries
                }
                if world.is_mended() && !world.wrote.lock().contains(&number) {
                    let put = Transact {
                        changes: vec![
                            Change::put(TABLE, change::key(format!("last-{number}")))
                                .set("number", 1_i64)
                                .done(),
                        ],
                        ..Transact::default()
                    };
                    if door.transact(put).await.is_ok() {
                        world.wrote.lock().insert(number);
                    }
                }
                tokio::select! {
                    () = tokio::time::sleep(LOOK) => {}
                    _ = &mut removed => {
                        world.note(elapsed(), format_args!("n{number} is removed as node {node}"));
                        clients.shutdown().await;
                        *place.door.lock() = None;
                        let _ = door.close().await; // no other node answers it any more
                        return Ok(Then::Removed);
                    }
                }
            }
        }
        if let Some(Err(ended)) = clients.try_join_next()
            && ended.is_panic()
        {
            return Err(format!("a client of node {number} panicked: {ended}").into());
        }
        if let Some(fault) = door.group().status().fault {
            return Err(format!("node {number} takes no part any more: {fault}").into());
        }
    }
}
