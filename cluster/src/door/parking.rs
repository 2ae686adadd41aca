//! Receivers that wait at an empty queue. They are woken by the apply that makes something receivable.

use std::collections::{BTreeMap, BTreeSet};
use std::sync::Arc;

use parking_lot::Mutex;
use tokio::sync::Notify;

#[derive(Default)]
pub(super) struct Parking {
    queues: Mutex<BTreeMap<String, Arc<Notify>>>,
}

impl Parking {
    /// Where to wait for a queue; a wake between this call and the wait is not lost.
    pub(super) fn park(&self, queue: &str) -> Arc<Notify> {
        self.queues
            .lock()
            .entry(queue.to_owned())
            .or_default()
            .clone()
    }

    /// Wakes one receiver of each queue; it wakes the next by receiving, if more is there.
    pub(super) fn wake(&self, woke: &BTreeSet<String>) {
        let queues = self.queues.lock();
        for queue in woke {
            if let Some(notify) = queues.get(queue) {
                notify.notify_one();
            }
        }
    }
}
