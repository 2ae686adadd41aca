//! Workers at rest, and how many may work at once.

use std::sync::Arc;

use parking_lot::Mutex;
use tokio::sync::{Semaphore, SemaphorePermit};

use super::host::Host;
use super::settings::EngineFault;
use super::worker::{Afterwards, Worker};

/// Forks workers as they are needed, up to a number, and keeps them for the next batch.
#[derive(Debug)]
pub(super) struct Pool {
    host: Arc<Host>,
    permits: Semaphore,
    size: u32,
    idle: Mutex<Vec<Worker>>,
}

/// The right to use one worker. Dropped without [`Lease::give_back`], it kills the worker: what was in the middle of a batch cannot be used again.
pub(super) struct Lease<'a> {
    pool: &'a Pool,
    worker: Worker,
    _permit: SemaphorePermit<'a>,
}

impl Pool {
    pub(super) fn new(host: Host, size: usize) -> Self {
        Self {
            host: Arc::new(host),
            permits: Semaphore::new(size),
            size: u32::try_from(size).unwrap_or(u32::MAX),
            idle: Mutex::new(Vec::with_capacity(size)),
        }
    }

    /// One worker beside the others, that ends with what this gives: what rules leave behind in it reaches nobody else.
    pub(super) fn aside(&self) -> Self {
        Self {
            host: Arc::clone(&self.host),
            permits: Semaphore::new(1),
            size: 1,
            idle: Mutex::new(Vec::with_capacity(1)),
        }
    }

    /// Forks one worker and keeps it.
    pub(super) async fn prove(&self) -> Result<(), EngineFault> {
        self.lease().await?.give_back();
        Ok(())
    }

    pub(super) async fn lease(&self) -> Result<Lease<'_>, EngineFault> {
        self.lease_of(1).await
    }

    /// A worker while no other one of the pool is at work: whatever happens, it was this one.
    pub(super) async fn lease_alone(&self) -> Result<Lease<'_>, EngineFault> {
        self.lease_of(self.size).await
    }

    async fn lease_of(&self, places: u32) -> Result<Lease<'_>, EngineFault> {
        let permit = self
            .permits
            .acquire_many(places)
            .await
            .map_err(|_| EngineFault::Stopped)?;
        let worker = match self.idle() {
            Some(worker) => worker,
            None => self.host.fork().await?,
        };
        Ok(Lease {
            pool: self,
            worker,
            _permit: permit,
        })
    }

    /// A worker at rest whose template has not ended, as far as that is known.
    fn idle(&self) -> Option<Worker> {
        let generation = self.host.generation();
        let mut idle = self.idle.lock();
        std::iter::from_fn(|| idle.pop()).find(|worker| worker.generation() == generation)
    }

    /// Whether the template that a worker was forked from has ended, and the worker with it.
    pub(super) async fn template_ended(&self, generation: u64) -> bool {
        self.host.ended(generation).await
    }

    /// Whether the engine has not been stopped.
    pub(super) fn open(&self) -> Result<(), EngineFault> {
        if self.permits.is_closed() {
            return Err(EngineFault::Stopped);
        }
        Ok(())
    }

    pub(super) async fn stop(&self) {
        self.permits.close();
        self.idle.lock().clear();
        self.host.stop().await;
    }
}

impl Lease<'_> {
    pub(super) fn worker(&mut self) -> &mut Worker {
        &mut self.worker
    }

    /// Gives it back if it may be used again.
    pub(super) fn leave(self, afterwards: Afterwards) {
        if afterwards == Afterwards::Reusable {
            self.give_back();
        }
    }

    pub(super) fn give_back(self) {
        if !self.pool.permits.is_closed() {
            self.pool.idle.lock().push(self.worker);
        }
    }
}
