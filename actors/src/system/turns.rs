//! Calls with one request id, one after the other: a retry may come while the first call is still under way.

use std::collections::BTreeMap;
use std::sync::Arc;

use parking_lot::Mutex;
use tokio::sync::OwnedMutexGuard;

type Waiting = Arc<Mutex<BTreeMap<String, Arc<tokio::sync::Mutex<()>>>>>;

/// The request ids of calls that are under way; clones share them.
#[derive(Clone, Default)]
pub(super) struct Turns {
    waiting: Waiting,
}

/// The right to carry out a call; it ends with the value.
pub(super) struct Turn {
    id: String,
    waiting: Waiting,
    guard: Option<OwnedMutexGuard<()>>,
}

impl Turns {
    /// Waits until no other call of this request id is under way.
    pub(super) async fn of(&self, id: &str) -> Turn {
        let lock = self
            .waiting
            .lock()
            .entry(id.to_owned())
            .or_default()
            .clone();
        Turn {
            id: id.to_owned(),
            waiting: self.waiting.clone(),
            guard: Some(lock.lock_owned().await),
        }
    }
}

impl Drop for Turn {
    fn drop(&mut self) {
        let mut waiting = self.waiting.lock();
        // The map and this call hold the lock; more holders are calls that wait.
        let is_last = waiting
            .get(&self.id)
            .is_some_and(|lock| Arc::strong_count(lock) <= 2);
        if is_last {
            waiting.remove(&self.id);
        }
        self.guard = None;
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[tokio::test]
    async fn a_retry_waits_for_the_call_that_is_under_way_and_nothing_is_kept_after_it() {
        let turns = Turns::default();
        let first = turns.of("a").await;
        let other = turns.of("b").await;
        let retry = turns.of("a");
        let mut retry = std::pin::pin!(retry);
        assert!(futures::poll!(retry.as_mut()).is_pending());
        drop(first);
        drop(retry.await);
        drop(other);
        assert!(turns.waiting.lock().is_empty());
    }
}
