//! Clients. Each calls the door of its node, and continues its work when the node is back after a restart.

use std::sync::Arc;
use std::time::Duration;

use panther_cluster::door::change::{self, Change, RowExt};
use panther_cluster::door::{Door, DoorError, UNTIL_ANSWERED};
use panther_proto::v1::{Code, GiveBack, Message, Transact};
use rand::Rng;
use tokio::task::JoinSet;
use tokio::time::Instant;

use crate::history::{Answer, Asked};
use crate::tally::{QUEUE, TABLE};
use crate::world::{World, elapsed};

/// How long the keys of registers are in use, in seconds. Linearizability is checked key by key, so short histories are
/// cheap.
const EPOCH: u64 = 4;

/// A request whose time is further ahead of cluster time than this, in ms, is refused.
const DATED_AHEAD_MS: u64 = 600_000;

/// Visibility timeout of a message that its receiver abandons.
const FORGOTTEN: Duration = Duration::from_secs(2);

/// Context of a client.
#[derive(Clone)]
struct Client {
    world: Arc<World>,
    node: u64,
    run: u64,
    door: Door,
}

/// Counts a client as busy while it has a request to finish.
struct Busy(Arc<World>);

impl Busy {
    fn with(world: &Arc<World>) -> Self {
        world.tally.lock().busy += 1;
        Self(world.clone())
    }
}

impl Drop for Busy {
    fn drop(&mut self) {
        self.0.tally.lock().busy -= 1;
    }
}

/// Starts the clients of a node.
pub(crate) fn at(world: &Arc<World>, node: u64, run: u64, door: &Door) -> JoinSet<()> {
    let client = Client {
        world: world.clone(),
        node,
        run,
        door: door.clone(),
    };
    let mut all = JoinSet::new();
    all.spawn_local(client.clone().add());
    all.spawn_local(client.clone().send());
    all.spawn_local(client.clone().name());
    for _ in 0..2 {
        all.spawn_local(client.clone().register());
        all.spawn_local(client.clone().work());
    }
    all
}

async fn pause(least_ms: u64, most_ms: u64) {
    let ms = rand::rng().random_range(least_ms..most_ms);
    tokio::time::sleep(Duration::from_millis(ms)).await;
}

impl Client {
    fn broken(&self, what: String) {
        self.world.note(elapsed(), format_args!("BROKEN: {what}"));
        self.world.tally.lock().broken.push(what);
    }

    /// Retries a request until it has an answer. Its request id makes the retries idempotent.
    async fn insist(&self, mut request: Transact, id: String) -> Result<(), DoorError> {
        request.request_id = id;
        let issued = Instant::now();
        loop {
            // The request's age counts, whatever happens to the clocks.
            let age_ms = u64::try_from(issued.elapsed().as_millis()).unwrap_or(u64::MAX);
            request.request_time_ms = self.door.now_ms().saturating_sub(age_ms);
            match self.door.transact(request.clone()).await {
                Ok(_) => return Ok(()),
                Err(error) if error.is_fault_of_node() => pause(20, 200).await,
                // Cluster time was set back after the request had got its time.
                Err(_) if request.request_time_ms > self.door.now_ms() + DATED_AHEAD_MS => {
                    pause(20, 200).await;
                }
                Err(error) => return Err(error),
            }
        }
    }

    /// Adds one to a row repeatedly, and reads the row. No other client writes to it, so its value is known.
    async fn add(self) {
        // One row per run: the outcome of the last addition of a killed run is unknown.
        let key = format!("sum-{}-{}", self.node, self.run);
        let mut number = 0_u64;
        while !self.world.is_draining() {
            number += 1;
            let add = Transact {
                changes: vec![
                    Change::update(TABLE, change::key(&key))
                        .add("number", 1)
                        .done(),
                ],
                ..Transact::default()
            };
            let busy = Busy::with(&self.world);
            self.world.tally.lock().adding.insert(key.clone());
            match self.insist(add, format!("{key}-{number}")).await {
                Ok(()) => {
                    let mut tally = self.world.tally.lock();
                    *tally.added.entry(key.clone()).or_default() += 1;
                    tally.adding.remove(&key);
                }
                Err(error) => self.broken(format!("an addition was refused: {error}")),
            }
            drop(busy);
            if let Ok(row) = self.door.get(TABLE, &change::key(&key)).await {
                let held = row.and_then(|row| row.int("number")).unwrap_or(0);
                if u64::try_from(held) != Ok(number) {
                    self.broken(format!("{key} holds {held} after {number} additions"));
                }
            }
            pause(10, 150).await;
        }
    }

    async fn send(self) {
        let mut number = 0_u64;
        while !self.world.is_draining() {
            number += 1;
            let kind = if rand::rng().random_ratio(1, 12) {
                "bad"
            } else {
                "good"
            };
            let body = format!("{kind}-{}-{}-{number}", self.node, self.run);
            let send = Transact {
                sends: vec![change::to_queue(QUEUE, body.as_bytes().to_vec())],
                ..Transact::default()
            };
            self.world.tally.lock().begun.insert(body.clone());
            let busy = Busy::with(&self.world);
            match self.insist(send, format!("send-{body}")).await {
                Ok(()) => {
                    self.world.tally.lock().sent.insert(body);
                }
                Err(error) => self.broken(format!("a message was refused: {error}")),
            }
            drop(busy);
            pause(10, 150).await;
        }
    }

    /// Claims unique names that other clients claim at the same time.
    async fn name(self) {
        let mut number = 0_u64;
        while !self.world.is_draining() {
            number += 1;
            let (name, row) = (
                format!("name-{}", elapsed().as_millis() / 300),
                format!("row-{}-{}-{number}", self.node, self.run),
            );
            let change = Transact {
                changes: vec![
                    Change::put(TABLE, change::key(&row))
                        .set("name", name.clone())
                        .done(),
                ],
                ..Transact::default()
            };
            let given = self.door.transact(change).await;
            if given.is_ok() {
                let before = self
                    .world
                    .tally
                    .lock()
                    .named
                    .insert(name.clone(), row.clone());
                if let Some(before) = before {
                    self.broken(format!("{name} was given to {before} and to {row}"));
                }
            }
            pause(100, 500).await;
        }
    }

    /// Reads, writes and swaps registers that other clients use too. Each value is written only once.
    async fn register(self) {
        while !self.world.is_draining() {
            let key = format!(
                "register-{}-{}",
                elapsed().as_secs() / EPOCH,
                rand::rng().random_range(0..2)
            );
            let to = i64::from(rand::random::<u32>());
            let draw = rand::rng().random_range(0..10);
            match draw {
                0..5 => {
                    self.read(&key).await;
                }
                5..8 => self.write(&key, Asked::Write(to)).await,
                _ => {
                    if let Some(from) = self.read(&key).await {
                        self.write(&key, Asked::Swap { from, to }).await;
                    }
                }
            }
            pause(5, 120).await;
        }
    }

    async fn read(&self, key: &str) -> Option<i64> {
        let begun = self.world.history.lock().begin(key, Asked::Read);
        let row = self.door.get(TABLE, &change::key(key)).await.ok()?;
        let held = row.and_then(|row| row.int("number"));
        self.world.history.lock().end(&begun, Answer::Holds(held));
        held
    }

    async fn write(&self, key: &str, asked: Asked) {
        let update = Change::update(TABLE, change::key(key));
        let change = match asked {
            Asked::Swap { from, to } => update.if_equals("number", from).set("number", to),
            Asked::Write(to) => update.set("number", to),
            Asked::Read => return,
        };
        let transact = Transact {
            changes: vec![change.done()],
            ..Transact::default()
        };
        let begun = self.world.history.lock().begin(key, asked);
        let answer = match self.door.transact(transact).await {
            Ok(_) => Answer::Done,
            Err(DoorError::Conflict(_)) => Answer::Differs,
            Err(_) => return, // the outcome is unknown
        };
        self.world.history.lock().end(&begun, answer);
    }

    /// Receives messages, and completes, fails, delays, releases or abandons them.
    async fn work(self) {
        loop {
            let received = match self.door.receive(QUEUE, 3, Duration::from_secs(2)).await {
                Ok(received) => received.messages,
                Err(_) => {
                    pause(50, 200).await;
                    continue;
                }
            };
            for message in received {
                self.handle(message).await;
            }
        }
    }

    async fn handle(&self, message: Message) {
        let body = String::from_utf8_lossy(&message.body).into_owned();
        let bad = body.starts_with("bad-") && !self.world.is_mended();
        let draw = if self.world.is_draining() || message.failures > 0 {
            0
        } else {
            rand::rng().random_range(0..100)
        };
        match draw {
            _ if bad => {
                let back = GiveBack {
                    receipt: message.receipt,
                    failed: true,
                    reason: "it is bad".to_owned(),
                    component: "simulated".to_owned(),
                    ..GiveBack::default()
                };
                self.until_answered(async || self.door.give_back(back.clone()).await)
                    .await;
                return;
            }
            0..70 => {}
            70..85 => pause(10, 4_000).await,
            85..95 => {
                let back = GiveBack {
                    receipt: message.receipt,
                    delay_ms: rand::rng().random_range(0..1_000),
                    ..GiveBack::default()
                };
                self.until_answered(async || self.door.give_back(back.clone()).await)
                    .await;
                return;
            }
            _ => {
                // Abandoned: it comes back after its visibility timeout.
                if let Some(receipt) = message.receipt {
                    let _ = self.door.extend(receipt, FORGOTTEN).await;
                }
                return;
            }
        }
        let done = Transact {
            done: message.receipt,
            changes: vec![
                Change::update(TABLE, change::key(format!("done-{body}")))
                    .add("number", 1)
                    .done(),
            ],
            ..Transact::default()
        };
        self.until_answered(async || self.door.transact(done.clone()).await.map(drop))
            .await;
    }

    /// Retries an idempotent command until its retry deadline, as the worker loop does.
    async fn until_answered(&self, act: impl AsyncFn() -> Result<(), DoorError>) {
        let is_stale = |error: &DoorError| {
            matches!(error.code(), Some(Code::StaleReceipt | Code::StaleSession))
        };
        let is_transient = |error: &DoorError| error.is_fault_of_node() && !is_stale(error);
        if let Err(error) = UNTIL_ANSWERED.run(is_transient, || act()).await
            && !error.is_fault_of_node()
            && !is_stale(&error)
        {
            self.broken(format!("a message's end was refused: {error}"));
        }
    }
}
