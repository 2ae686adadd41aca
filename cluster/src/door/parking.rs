//! Receivers that wait at an empty queue (long polling). The apply that makes a message receivable wakes them.

use std::collections::{BTreeMap, BTreeSet};
use std::sync::Arc;

use parking_lot::Mutex;
use tokio::sync::Notify;

#[derive(Default)]
pub(super) struct Parking {
    queues: Mutex<BTreeMap<String, Arc<Notify>>>,
}

impl Parking {
    /// Returns what to wait on for a queue. A wake between this call and the wait is not lost.
    pub(super) fn park(&self, queue: &str) -> Arc<Notify> {
        self.queues
            .lock()
            .entry(queue.to_owned())
            .or_default()
            .clone()
    }

    /// Wakes one receiver of each queue. If more messages are ready, its receive wakes the next one.
    pub(super) fn wake(&self, woke: &BTreeSet<String>) {
        let queues = self.queues.lock();
        for queue in woke {
            if let Some(notify) = queues.get(queue) {
                notify.notify_one();
            }
        }
    }
}
