//! What a worker has done and is doing, for supervision, metrics and people.

use std::sync::atomic::{AtomicU64, Ordering};

use parking_lot::Mutex;
use serde::Serialize;

/// Counters of one component; they outlive a restart of its actor.
#[derive(Debug, Default)]
pub struct WorkerStatus {
    handled: AtomicU64,
    failed: AtomicU64,
    node_faults: AtomicU64,
    conflicts: AtomicU64,
    in_flight: AtomicU64,
    micros: AtomicU64,
    last_error: Mutex<Option<String>>,
}

/// The counters at one moment.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize)]
pub struct WorkerView {
    /// Messages or calls that ended well.
    pub handled: u64,
    /// Failures of messages or calls.
    pub failed: u64,
    /// Faults of the node that gave messages back uncounted.
    pub node_faults: u64,
    /// Plans that ran again.
    pub conflicts: u64,
    /// What is being handled now.
    pub in_flight: u64,
    /// Time spent handling, in microseconds.
    pub micros: u64,
    /// The last failure.
    pub last_error: Option<String>,
}

impl WorkerStatus {
    /// The counters now.
    #[must_use]
    pub fn view(&self) -> WorkerView {
        let load = |counter: &AtomicU64| counter.load(Ordering::Relaxed);
        WorkerView {
            handled: load(&self.handled),
            failed: load(&self.failed),
            node_faults: load(&self.node_faults),
            conflicts: load(&self.conflicts),
            in_flight: load(&self.in_flight),
            micros: load(&self.micros),
            last_error: self.last_error.lock().clone(),
        }
    }

    pub(crate) fn begin(&self) {
        self.in_flight.fetch_add(1, Ordering::Relaxed);
    }

    pub(crate) fn end(&self, took: std::time::Duration) {
        self.in_flight.fetch_sub(1, Ordering::Relaxed);
        self.micros.fetch_add(
            u64::try_from(took.as_micros()).unwrap_or(u64::MAX),
            Ordering::Relaxed,
        );
    }

    pub(crate) fn succeeded(&self) {
        self.handled.fetch_add(1, Ordering::Relaxed);
    }

    pub(crate) fn failed(&self, error: &str) {
        self.failed.fetch_add(1, Ordering::Relaxed);
        *self.last_error.lock() = Some(error.to_owned());
    }

    pub(crate) fn node_fault(&self, error: &str) {
        self.node_faults.fetch_add(1, Ordering::Relaxed);
        *self.last_error.lock() = Some(error.to_owned());
    }

    pub(crate) fn conflict(&self) {
        self.conflicts.fetch_add(1, Ordering::Relaxed);
    }
}
