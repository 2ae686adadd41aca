//! A worker at a fair queue: one source whose messages take long holds up no other.

use std::sync::Arc;
use std::time::Duration;

use panther_actors::worker::{
    Context, Failure, Handler, Plan, PlanContext, Worker, WorkerSettings,
};
use panther_cluster::door::{Door, DoorSettings, change};
use panther_cluster::objects::Objects;
use panther_proto::v1::{Declare, Message, QueueSpec, Transact, command};
use tokio::sync::{Semaphore, mpsc, watch};

const QUEUE: &str = "fair";

/// Says which message it has begun with, and lets one of `slow` end only once it may.
struct Gated {
    began: mpsc::UnboundedSender<String>,
    gate: Semaphore,
}

impl Handler for Gated {
    type Work = ();

    async fn work(&self, message: &Message, _: &Context) -> Result<(), Failure> {
        let body = String::from_utf8_lossy(&message.body).into_owned();
        let _ = self.began.send(body);
        if message.turn == "slow" {
            self.gate.acquire().await.unwrap().forget();
        }
        Ok(())
    }

    async fn plan((): &(), _: &Message, _: &PlanContext) -> Result<Plan, Failure> {
        Ok(Plan::default())
    }
}

async fn send(door: &Door, turn: &str, body: &str) {
    let mut send = change::to_queue(QUEUE, body.as_bytes().to_vec());
    send.turn = turn.into();
    let sends = vec![send];
    let transact = Transact {
        sends,
        ..Transact::default()
    };
    door.transact(transact).await.unwrap();
}

#[tokio::test(flavor = "multi_thread")]
async fn a_slow_source_leaves_a_place_for_the_others() {
    let _ = rustls::crypto::ring::default_provider().install_default();
    let folder = tempfile::tempdir().unwrap();
    let door = Door::open(folder.path(), 1, 1, DoorSettings::default())
        .await
        .unwrap();
    let queue = QueueSpec {
        name: QUEUE.into(),
        visibility_ms: 30_000,
        retention_ms: 3_600_000,
        fair: true,
        ..QueueSpec::default()
    };
    let declare = Declare {
        version: 1,
        queues: vec![queue],
        ..Declare::default()
    };
    door.execute(command::Kind::Declare(declare)).await.unwrap();
    for number in 1..=4 {
        send(&door, "slow", &format!("slow {number}")).await;
    }

    let (began, mut begun) = mpsc::unbounded_channel();
    let handler = Arc::new(Gated {
        began,
        gate: Semaphore::new(0),
    });
    let settings = WorkerSettings {
        component: "component".into(),
        queue: QUEUE.into(),
        concurrency: 3,
        turn_concurrency: 2,
        deadline: Duration::from_secs(60),
        visibility: Duration::from_secs(30),
    };
    let objects = Objects::local(&folder.path().join("objects")).unwrap();
    let worker = Worker::new(
        settings,
        door.clone(),
        objects,
        handler.clone(),
        Arc::default(),
    );
    let (stop, stopped) = watch::channel(false);
    let running = tokio::spawn(worker.run(panther_actors::life::Life::unsupervised(stopped)));
    let mut next = async || {
        let next = tokio::time::timeout(Duration::from_secs(20), begun.recv());
        next.await
            .unwrap_or_else(|_| Some("nothing".into()))
            .unwrap()
    };

    let mut first = [next().await, next().await];
    first.sort();
    assert_eq!(first, ["slow 1", "slow 2"]);
    // The slow source has all the places that it may have; the others go through the one that is left.
    for number in 1..=3 {
        let quick = format!("quick {number}");
        send(&door, "quick", &quick).await;
        assert_eq!(next().await, quick);
    }
    // What has ended makes room for the same source.
    handler.gate.add_permits(1);
    assert_eq!(next().await, "slow 3");
    handler.gate.add_permits(3);
    assert_eq!(next().await, "slow 4");
    stop.send_replace(true);
    running.await.unwrap();
    door.close().await.unwrap();
}
