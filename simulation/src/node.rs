//! A node as the simulation runs it: the substrate as it is shipped (door, openraft, gRPC with TLS, log, store), over a network, a disk and a clock that are not real.

use std::collections::BTreeSet;
use std::sync::Arc;
use std::sync::atomic::Ordering;
use std::time::Duration;

use futures::StreamExt;
use panther_cluster::door::{Among, Door, DoorError, DoorSettings};
use panther_cluster::log::Loss;
use panther_cluster::net::{Connection, Connector, Listener, Peers};
use panther_cluster::raft::Membership;
use panther_proto::v1::{Declare, IndexSpec, QueueSpec, TableSpec, command};
use turmoil::net::{TcpListener, TcpStream};

use crate::clients;
use crate::tally::{BY_NAME, DLQ, MAX_FAILURES, QUEUE, TABLE};
use crate::world::{Clocks, Order, Place, Replacement, World, elapsed};

const PORT: u16 = 7_000;
/// How often a node looks for orders.
const LOOK: Duration = Duration::from_millis(20);

pub(crate) fn host(number: u64) -> String {
    format!("n{number}")
}

fn address(number: u64) -> String {
    format!("{}:{PORT}", host(number))
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
        // Whoever lets it run out has failed; here only those do that forget a message.
        visibility_ms: 30_000,
        retention_ms: 86_400_000,
        max_receive_count: if dlq.is_empty() { 0 } else { MAX_FAILURES },
        dlq: dlq.into(),
        dedup_window_ms: 300_000,
        // Nodes die here all the time, and none of it is a message's fault.
        lonely_deaths: 1_000,
        dead_letter: dlq.is_empty(),
        ..QueueSpec::default()
    };
    Declare {
        version: 1,
        tables: vec![TableSpec {
            name: TABLE.into(),
            indexes: vec![IndexSpec {
                name: BY_NAME.into(),
                hash: "name".into(),
                range: String::new(),
                unique: true,
            }],
            ..TableSpec::default()
        }],
        queues: vec![queue(DLQ, ""), queue(QUEUE, DLQ)],
        topics: vec![],
    }
}

async fn among(world: &World, place: &Place) -> Result<Among, Box<dyn std::error::Error>> {
    let socket = TcpListener::bind(("0.0.0.0", PORT)).await?;
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
            address: address(place.number),
            joins: place.node.load(Ordering::SeqCst) != 1,
            started: place.started.load(Ordering::SeqCst),
        },
        listener: Some(Listener::Given(connections.boxed())),
        log_files: Some(Arc::new(place.files.clone())),
        time: Arc::new(Clocks::new(place.off_ms.clone())),
        ..Among::default()
    })
}

/// The first node makes three of one.
async fn make_three(door: &Door) -> Result<(), Box<dyn std::error::Error>> {
    for number in [2, 3] {
        door.group().take_in(number, &address(number)).await?;
    }
    door.group().set_voters([1, 2, 3].into()).await?;
    door.execute(command::Kind::Declare(declaration())).await?;
    Ok(())
}

struct AbortOnDrop(tokio::task::JoinHandle<()>);

impl Drop for AbortOnDrop {
    fn drop(&mut self) {
        self.0.abort();
    }
}

/// As an operator does with a node that has lost its log: its folder is emptied, and the machine joins as another node.
fn replace(world: &World, place: &Place, loss: &Loss) -> turmoil::Result {
    let (number, old) = (place.number, place.node.load(Ordering::SeqCst));
    world.note(
        elapsed(),
        format_args!("n{number} is refused as node {old}: {loss}"),
    );
    if !place.harmed.swap(false, Ordering::SeqCst) {
        return Err(format!("node {old} is refused and has lost nothing: {loss}").into());
    }
    *world.refused.lock().entry(loss.code()).or_default() += 1;
    place.started.store(false, Ordering::SeqCst);
    place.files.lose_all();
    std::fs::remove_dir_all(&place.folder)?;
    let new = old + 10;
    place.node.store(new, Ordering::SeqCst);
    *world.replacement.lock() = Some(Replacement {
        place: number,
        old,
        new,
    });
    Ok(())
}

/// The leader replaces a node, a step at a time; what fails is tried again, by the node that leads then.
async fn let_replace(world: Arc<World>, door: Door) {
    loop {
        tokio::time::sleep(LOOK * 5).await;
        let Some(replacement) = *world.replacement.lock() else {
            continue;
        };
        let Replacement { place, old, new } = replacement;
        let (group, status) = (door.group(), door.group().status());
        if !status.leads {
            continue;
        }
        let mut voters: BTreeSet<u64> = status.voters.iter().copied().collect();
        let step = if !status.members.contains_key(&new) {
            group.let_follow(new, &address(place)).await
        } else if voters.remove(&old) {
            voters.insert(new);
            group.set_voters(voters).await
        } else if status.members.contains_key(&old) {
            group.let_go(old).await
        } else {
            *world.replacement.lock() = None;
            world.note(
                elapsed(),
                format_args!("node {new} has replaced node {old}"),
            );
            continue;
        };
        if let Err(error) = step {
            world.note(
                elapsed(),
                format_args!("node {new} does not replace node {old} yet: {error}"),
            );
        }
    }
}

/// Runs a node until it is told to stop, or dies.
pub(crate) async fn run(world: Arc<World>, place: Arc<Place>) -> turmoil::Result {
    let run = place.runs.fetch_add(1, Ordering::SeqCst) + 1;
    let (number, node) = (place.number, place.node.load(Ordering::SeqCst));
    let session = node * 1_000 + run;
    let among = among(&world, &place).await?;
    let door = match Door::open_among(&place.folder, node, session, settings(), among).await {
        Ok(door) => door,
        Err(DoorError::Store(error)) if let Some(loss) = Loss::of(&error).cloned() => {
            replace(&world, &place, &loss)?;
            return Box::pin(self::run(world, place)).await;
        }
        // A daemon ends then, and is started again.
        Err(
            error @ (DoorError::Unavailable(_)
            | DoorError::Deadline { .. }
            | DoorError::Busy { .. }),
        ) => {
            world.note(elapsed(), format_args!("n{number} does not start: {error}"));
            return Ok(());
        }
        Err(error) => return Err(format!("node {number} cannot be opened: {error}").into()),
    };
    if place.harmed.load(Ordering::SeqCst) {
        return Err(format!("node {node} has lost a part of its log, and takes part").into());
    }
    world.note(
        elapsed(),
        format_args!("n{number} is up as node {node}, run {run}"),
    );
    place.started.store(true, Ordering::SeqCst);
    *place.door.lock() = Some(door.clone());
    if node == 1 && !world.ready.load(Ordering::SeqCst) {
        make_three(&door).await?;
        world.ready.store(true, Ordering::SeqCst);
    }
    while !world.ready.load(Ordering::SeqCst) {
        tokio::time::sleep(LOOK).await;
    }
    let _replacing = AbortOnDrop(tokio::task::spawn_local(let_replace(
        world.clone(),
        door.clone(),
    )));
    let mut clients = clients::at(&world, number, run, &door);
    loop {
        let order = place.orders.lock().pop_front();
        match order {
            Some(Order::HandOver(to)) => {
                let _ = door.group().hand_over(to).await; // whoever does not lead hands nothing over
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
                return Ok(());
            }
            None => {
                if number == 1 && world.is_mended() {
                    let _ = door.requeue(DLQ, QUEUE, "", None).await; // the next look tries again
                }
                tokio::time::sleep(LOOK).await;
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
