//! A node as the simulation runs it: the substrate as it is shipped (door, openraft, gRPC with TLS, log, store), over a network, a disk and a clock that are not real.

use std::sync::Arc;
use std::sync::atomic::Ordering;
use std::time::Duration;

use futures::StreamExt;
use panther_cluster::door::{Among, Door, DoorError, DoorSettings};
use panther_cluster::net::{Connection, Connector, Listener, Peers};
use panther_cluster::raft::Membership;
use panther_proto::v1::{Declare, IndexSpec, QueueSpec, TableSpec, command};
use turmoil::net::{TcpListener, TcpStream};

use crate::clients;
use crate::tally::{BY_NAME, DLQ, MAX_FAILURES, QUEUE, TABLE};
use crate::world::{Clocks, Order, Place, World, elapsed};

const PORT: u16 = 7_000;
/// How often a node looks for orders.
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
            peers: Some(Peers::over(world.authority.issue(place.number)?, connector)),
            address: format!("{}:{PORT}", host(place.number)),
            joins: place.number != 1,
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
        door.group()
            .take_in(number, &format!("{}:{PORT}", host(number)))
            .await?;
    }
    door.group().set_voters([1, 2, 3].into()).await?;
    door.execute(command::Kind::Declare(declaration())).await?;
    Ok(())
}

/// Runs a node until it is told to stop, or dies.
pub(crate) async fn run(world: Arc<World>, place: Arc<Place>) -> turmoil::Result {
    let run = place.runs.fetch_add(1, Ordering::SeqCst) + 1;
    let (number, session) = (place.number, place.number * 1_000 + run);
    let among = among(&world, &place).await?;
    let door = match Door::open_among(&place.folder, number, session, settings(), among).await {
        Ok(door) => door,
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
    world.note(elapsed(), format_args!("n{number} is up, run {run}"));
    *place.door.lock() = Some(door.clone());
    if number == 1 && !world.ready.load(Ordering::SeqCst) {
        make_three(&door).await?;
        world.ready.store(true, Ordering::SeqCst);
    }
    while !world.ready.load(Ordering::SeqCst) {
        tokio::time::sleep(LOOK).await;
    }
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
