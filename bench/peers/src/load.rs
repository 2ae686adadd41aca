//! The load, the same for all: operations until the time is up, and how long each took.

use std::future::Future;
use std::sync::Arc;
use std::time::{Duration, Instant};

use hdrhistogram::Histogram;
use tokio::task::JoinSet;

use crate::contenders::Failure;

/// What is measured.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub enum Kind {
    /// A row is written.
    Write,
    /// A row is read, linearizably.
    Read,
    /// A message is sent, received and ended.
    Queue,
}

impl Kind {
    pub fn name(self) -> &'static str {
        match self {
            Self::Write => "table write",
            Self::Read => "linearizable read",
            Self::Queue => "send + receive + end",
        }
    }
}

/// One cell of the table.
#[derive(Debug, Clone, Copy)]
pub struct Cell {
    pub kind: Kind,
    pub bytes: usize,
    pub clients: usize,
}

/// What it came to.
pub struct Measured {
    /// Microseconds of each operation.
    took: Histogram<u64>,
    elapsed: Duration,
    pub cpu: Duration,
}

impl Measured {
    pub fn new(took: Histogram<u64>, elapsed: Duration) -> Self {
        Self {
            took,
            elapsed,
            cpu: Duration::ZERO,
        }
    }

    pub fn rate(&self) -> f64 {
        self.took.len() as f64 / self.elapsed.as_secs_f64()
    }

    pub fn ms(&self, quantile: f64) -> f64 {
        self.took.value_at_quantile(quantile) as f64 / 1_000.0
    }

    pub fn cpu_us(&self) -> f64 {
        self.cpu.as_micros() as f64 / self.took.len().max(1) as f64
    }

    pub fn line(&self, cell: Cell) -> String {
        format!(
            "{:<22} {:>5} B {:>4} clients {:>9.0}/s  p50 {:>8.2} ms  p99 {:>8.2} ms  cpu {:>6.0} us",
            cell.kind.name(),
            cell.bytes,
            cell.clients,
            self.rate(),
            self.ms(0.5),
            self.ms(0.99),
            self.cpu_us()
        )
    }
}

pub fn histogram() -> Histogram<u64> {
    Histogram::new_with_bounds(1, 60_000_000, 3).unwrap_or_else(|_| std::process::abort())
}

/// Each client does one operation after the other.
pub async fn one_by_one<F, R>(clients: usize, time: Duration, make: F) -> Result<Measured, Failure>
where
    F: Fn(usize) -> R,
    R: Client + 'static,
{
    let began = Instant::now();
    let until = began + time;
    let mut tasks = JoinSet::new();
    for number in 0..clients {
        let mut client = make(number);
        tasks.spawn(async move {
            let mut took = histogram();
            let mut turn = 0;
            while Instant::now() < until {
                let began = Instant::now();
                client.once(turn).await?;
                let us = u64::try_from(began.elapsed().as_micros()).unwrap_or(u64::MAX);
                took.saturating_record(us.max(1));
                turn += 1;
            }
            Ok::<_, Failure>(took)
        });
    }
    let mut all = histogram();
    while let Some(ended) = tasks.join_next().await {
        all.add(ended??)?;
    }
    Ok(Measured::new(all, began.elapsed()))
}

/// What does one operation after the other.
pub trait Client: Send {
    fn once(&mut self, turn: usize) -> impl Future<Output = Result<(), Failure>> + Send;
}

/// Waits until all have ended; the first failure ends the others.
pub async fn all(mut tasks: JoinSet<Result<(), Failure>>) -> Result<(), Failure> {
    while let Some(ended) = tasks.join_next().await {
        ended??;
    }
    Ok(())
}

/// How many consumers share the messages of so many clients.
pub fn consumers(clients: usize) -> usize {
    clients.div_ceil(8)
}

/// Messages that a consumer may hold.
pub const HELD: usize = 16;

/// Places of messages on their way, and how long each was.
#[derive(Clone)]
pub struct OnTheirWay {
    places: Arc<tokio::sync::Semaphore>,
    took: Arc<std::sync::Mutex<Histogram<u64>>>,
    began: Instant,
    pub until: Instant,
}

impl OnTheirWay {
    pub fn new(clients: usize, time: Duration) -> Self {
        let began = Instant::now();
        Self {
            places: Arc::new(tokio::sync::Semaphore::new(clients)),
            took: Arc::new(std::sync::Mutex::new(histogram())),
            began,
            until: began + time,
        }
    }

    /// The next message's body, once there is a place for it; `None` when the time is up.
    pub async fn next(&self, bytes: usize) -> Option<Vec<u8>> {
        let place = tokio::time::timeout_at(self.until.into(), self.places.acquire()).await;
        place.ok()?.ok()?.forget();
        // A place that is free at once is given even when the time is up.
        if Instant::now() >= self.until {
            return None;
        }
        let mut body = vec![b'x'; bytes];
        let now = u64::try_from(self.began.elapsed().as_micros()).unwrap_or(u64::MAX);
        body[..8].copy_from_slice(&now.to_be_bytes());
        Some(body)
    }

    /// A message was ended.
    pub fn ended(&self, body: &[u8]) {
        let mut sent = [0; 8];
        sent.copy_from_slice(&body[..8]);
        let now = u64::try_from(self.began.elapsed().as_micros()).unwrap_or(u64::MAX);
        if Instant::now() <= self.until
            && let Ok(mut took) = self.took.lock()
        {
            took.saturating_record(now.saturating_sub(u64::from_be_bytes(sent)).max(1));
        }
        self.places.add_permits(1);
    }

    pub fn measured(&self) -> Measured {
        let took = self
            .took
            .lock()
            .map_or_else(|_| histogram(), |took| took.clone());
        Measured::new(took, self.until - self.began)
    }
}
