//! What a message costs from send to done, beside what the disk gives: clients that send, receive and complete through
//! the door, and threads that hand the same bytes to one writer which writes and syncs what has gathered.
//!
//! A cycle is three durable steps, each waited for before the next, in both. Criterion tells the time of a cycle; the
//! table at the end tells cycles per second and their ratio.

#![allow(clippy::unwrap_used, clippy::expect_used, missing_docs)]

use std::fs::File;
use std::io::Write;
use std::path::Path;
use std::sync::Mutex;
use std::sync::mpsc::{Receiver, SyncSender, sync_channel};
use std::time::{Duration, Instant};

use criterion::{BenchmarkId, Criterion};
use panther_cluster::door::{Door, DoorSettings, change};
use panther_proto::v1::{Command, Declare, QueueSpec, Receipt, Receive, Transact, command};
use prost::Message as _;

/// As in pantherd.
#[global_allocator]
static ALLOCATOR: tikv_jemallocator::Jemalloc = tikv_jemallocator::Jemalloc;

const CLIENTS: [usize; 4] = [1, 16, 64, 256];
const BODY_BYTES: usize = 256;
const QUEUE: &str = "work";

fn send() -> Transact {
    Transact {
        sends: vec![change::to_queue(QUEUE, vec![b'x'; BODY_BYTES])],
        ..Transact::default()
    }
}

/// Bytes of the three commands of a cycle, as they lie in the log.
fn step_bytes() -> [usize; 3] {
    let bytes = |kind| Command { kind: Some(kind) }.encoded_len();
    let receipt = Receipt {
        queue: QUEUE.into(),
        seq: 100_000,
        receive: 1,
        session: 7,
    };
    [
        bytes(command::Kind::Transact(send())),
        bytes(command::Kind::Receive(Receive {
            queue: QUEUE.into(),
            session: 7,
            max: 1,
            ..Receive::default()
        })),
        bytes(command::Kind::Transact(Transact {
            done: Some(receipt),
            ..Transact::default()
        })),
    ]
}

async fn cycle(door: &Door) {
    door.transact(send()).await.unwrap();
    let received = loop {
        let received = door
            .receive(QUEUE, 1, Duration::from_secs(5))
            .await
            .unwrap();
        if !received.messages.is_empty() {
            break received;
        }
    };
    door.transact(Transact {
        done: received.messages[0].receipt.clone(),
        ..Transact::default()
    })
    .await
    .unwrap();
}

/// So many cycles of so many clients.
async fn through_the_door(door: &Door, clients: usize, cycles: u64) -> Duration {
    let start = Instant::now();
    let tasks: Vec<_> = shares(clients, cycles)
        .map(|share| {
            let door = door.clone();
            tokio::spawn(async move {
                for _ in 0..share {
                    cycle(&door).await;
                }
            })
        })
        .collect();
    for task in tasks {
        task.await.unwrap();
    }
    start.elapsed()
}

fn shares(clients: usize, cycles: u64) -> impl Iterator<Item = u64> {
    let clients = clients as u64;
    (0..clients).map(move |client| cycles / clients + u64::from(client < cycles % clients))
}

type Handed = (Vec<u8>, SyncSender<()>);

/// Writes and syncs whatever has gathered, then tells all whose bytes it was.
fn write_batches(mut file: File, handed: &Receiver<Handed>) {
    while let Ok((mut bytes, told)) = handed.recv() {
        let mut tell = vec![told];
        while let Ok((more, told)) = handed.try_recv() {
            bytes.extend(more);
            tell.push(told);
        }
        file.write_all(&bytes).unwrap();
        file.sync_data().unwrap();
        for told in tell {
            told.send(()).unwrap();
        }
    }
}

fn raw(folder: &Path, clients: usize, cycles: u64) -> Duration {
    let file = File::create(folder.join("raw")).unwrap();
    let (hand_over, handed) = sync_channel::<Handed>(1_024);
    let elapsed = std::thread::scope(|scope| {
        scope.spawn(move || write_batches(file, &handed));
        let start = Instant::now();
        let threads: Vec<_> = shares(clients, cycles)
            .map(|share| {
                let hand_over = hand_over.clone();
                scope.spawn(move || {
                    let (told, is_told) = sync_channel(1);
                    for _ in 0..share {
                        for bytes in step_bytes() {
                            hand_over.send((vec![b'x'; bytes], told.clone())).unwrap();
                            is_told.recv().unwrap();
                        }
                    }
                })
            })
            .collect();
        for thread in threads {
            thread.join().unwrap();
        }
        drop(hand_over);
        start.elapsed()
    });
    std::fs::remove_file(folder.join("raw")).unwrap();
    elapsed
}

#[derive(Default)]
struct Total {
    cycles: u64,
    time: Duration,
}

impl Total {
    fn per_second(&self) -> f64 {
        self.cycles as f64 / self.time.as_secs_f64()
    }
}

fn main() {
    let mut criterion = Criterion::default()
        .sample_size(10)
        .warm_up_time(Duration::from_secs(1))
        .measurement_time(Duration::from_secs(4))
        .configure_from_args();
    let folder = tempfile::tempdir_in(env!("CARGO_TARGET_TMPDIR")).unwrap();
    let runtime = tokio::runtime::Builder::new_multi_thread()
        .enable_all()
        .build()
        .unwrap();
    let door = runtime.block_on(async {
        let door = Door::open(&folder.path().join("node"), 1, 7, DoorSettings::default())
            .await
            .unwrap();
        let declare = Declare {
            version: 1,
            queues: vec![QueueSpec {
                name: QUEUE.into(),
                visibility_ms: 60_000,
                retention_ms: 3_600_000,
                ..QueueSpec::default()
            }],
            ..Declare::default()
        };
        door.execute(command::Kind::Declare(declare)).await.unwrap();
        door
    });
    let mut lines = Vec::new();
    let mut group = criterion.benchmark_group("send, receive, complete");
    for clients in CLIENTS {
        let totals: [Mutex<Total>; 2] = Default::default();
        let mut measure = |name: &str, total: &Mutex<Total>, run: &dyn Fn(u64) -> Duration| {
            group.bench_function(BenchmarkId::new(name, clients), |bencher| {
                bencher.iter_custom(|cycles| {
                    let time = run(cycles);
                    let mut total = total.lock().unwrap();
                    total.cycles += cycles;
                    total.time += time;
                    time
                });
            });
        };
        measure("door", &totals[0], &|cycles| {
            // Fewer cycles than clients would measure fewer clients.
            let times = (clients as u64).div_ceil(cycles).max(1);
            let time = runtime.block_on(through_the_door(&door, clients, cycles * times));
            time / u32::try_from(times).unwrap()
        });
        measure("raw", &totals[1], &|cycles| {
            let times = (clients as u64).div_ceil(cycles).max(1);
            raw(folder.path(), clients, cycles * times) / u32::try_from(times).unwrap()
        });
        let [door, raw] = totals.map(|total| total.into_inner().unwrap().per_second());
        lines.push(format!(
            "{clients:>7}  {door:>12.0}  {raw:>12.0}  {:>5.0} %",
            100.0 * door / raw
        ));
    }
    group.finish();
    println!("\nclients  door cycles/s  raw cycles/s  door/raw");
    for line in lines {
        println!("{line}");
    }
    runtime.block_on(door.close()).unwrap();
    criterion.final_summary();
}
