//! Workers at rest, and how many may work at once.

use std::sync::Arc;

use parking_lot::Mutex;
use tokio::sync::{Semaphore, SemaphorePermit};

use super::EngineFault;
use super::host::Host;
use super::worker::{Afterwards, Worker};

/// Forks workers as they are needed, up to a number, and keeps them for the next batch.
#[derive(Debug)]
pub(super) struct Pool {
    host: Arc<Host>,
    permits: Semaphore,
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
            idle: Mutex::new(Vec::with_capacity(size)),
        }
    }

    /// One worker beside the others, that ends with what this gives: what rules leave behind in it reaches nobody else.
    pub(super) fn aside(&self) -> Self {
        Self {
            host: Arc::clone(&self.host),
            permits: Semaphore::new(1),
            idle: Mutex::new(Vec::with_capacity(1)),
        }
    }

    /// Forks one worker and keeps it.
    pub(super) async fn prove(&self) -> Result<(), EngineFault> {
        self.lease().await?.give_back();
        Ok(())
    }

    pub(super) async fn lease(&self) -> Result<Lease<'_>, EngineFault> {
        let permit = self
            .permits
            .acquire()
            .await
            .map_err(|_| EngineFault::Stopped)?;
        let idle = self.idle.lock().pop();
        let worker = match idle {
            Some(worker) => worker,
            None => self.host.fork().await?,
        };
        Ok(Lease {
            pool: self,
            worker,
            _permit: permit,
        })
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
