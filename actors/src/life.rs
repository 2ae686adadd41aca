//! What a supervised loop is given: when to stop, and where it reports progress.

use std::sync::Arc;
use std::time::Duration;

use parking_lot::Mutex;
use tokio::sync::watch;
use tokio::time::Instant;

/// How often a loop reports progress while it waits for something that may take any time.
const WAITING: Duration = Duration::from_secs(1);

/// A fault that a drill or a test causes in a loop at its next report of progress.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Disturbance {
    /// The loop panics.
    Panic,
    /// The loop waits for ever.
    Hang,
}

/// Progress of one loop, shared with its supervisor.
#[derive(Debug)]
pub(crate) struct Progress {
    last: Mutex<Instant>,
    disturbance: Mutex<Option<Disturbance>>,
}

impl Progress {
    pub(crate) fn new() -> Self {
        Self {
            last: Mutex::new(Instant::now()),
            disturbance: Mutex::default(),
        }
    }

    /// The time since the loop last reported progress.
    pub(crate) fn silent(&self) -> Duration {
        self.last.lock().elapsed()
    }

    pub(crate) fn renew(&self) {
        *self.last.lock() = Instant::now();
    }

    pub(crate) fn disturb(&self, disturbance: Disturbance) {
        *self.disturbance.lock() = Some(disturbance);
    }
}

/// Given to a loop at each start; clones share the same progress.
///
/// A loop must call [`Life::beat`], or one of the methods that do, more often than its part's `stall` says. A loop that does not is taken to hang: it is
/// aborted and started again.
#[derive(Clone)]
pub struct Life {
    stop: watch::Receiver<bool>,
    progress: Arc<Progress>,
}

impl Life {
    pub(crate) fn new(stop: watch::Receiver<bool>, progress: Arc<Progress>) -> Self {
        progress.renew();
        Self { stop, progress }
    }

    /// The life of a loop that has no supervisor; it ends when `stop` becomes true.
    #[must_use]
    pub fn unsupervised(stop: watch::Receiver<bool>) -> Self {
        Self::new(stop, Arc::new(Progress::new()))
    }

    /// True once the loop must end.
    #[must_use]
    pub fn is_over(&self) -> bool {
        *self.stop.borrow()
    }

    /// Becomes true when the loop must end.
    #[must_use]
    pub fn stop(&self) -> watch::Receiver<bool> {
        self.stop.clone()
    }

    /// Returns once the loop must end.
    pub async fn over(&self) {
        let mut stop = self.stop.clone();
        // A sender that is gone will never say so: its owner has ended.
        let _ = stop.wait_for(|stop| *stop).await;
    }

    /// Reports progress.
    #[expect(clippy::panic, reason = "a drill asks for a panic")]
    pub async fn beat(&self) {
        self.progress.renew();
        let disturbance = self.progress.disturbance.lock().take();
        match disturbance {
            Some(Disturbance::Panic) => panic!("a drill asked for a panic"),
            Some(Disturbance::Hang) => std::future::pending().await,
            None => {}
        }
    }

    /// Waits for something that may take any time, such as work to do, and reports progress meanwhile. Returns `None` if the loop must end first.
    pub async fn wait<T>(&self, wanted: impl Future<Output = T>) -> Option<T> {
        tokio::pin!(wanted);
        loop {
            self.beat().await;
            tokio::select! {
                done = &mut wanted => return Some(done),
                () = self.over() => return None,
                () = tokio::time::sleep(WAITING) => {}
            }
        }
    }

    /// Moments at which a loop looks: now, and then once per period. A look that takes longer than a period delays the next ones.
    #[must_use]
    pub fn ticks(self, period: Duration) -> Ticks {
        let mut interval = tokio::time::interval(period);
        interval.set_missed_tick_behavior(tokio::time::MissedTickBehavior::Delay);
        Ticks {
            life: self,
            interval,
        }
    }
}

/// See [`Life::ticks`].
pub struct Ticks {
    life: Life,
    interval: tokio::time::Interval,
}

impl Ticks {
    /// Waits for the next moment, and reports progress. Returns false if the loop must end.
    pub async fn next(&mut self) -> bool {
        self.life.wait(self.interval.tick()).await.is_some()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[tokio::test(start_paused = true)]
    async fn a_wait_of_any_length_is_progress_and_ends_with_the_loop() {
        let (stop, stopped) = watch::channel(false);
        let life = Life::unsupervised(stopped);
        let waiting = life.clone();
        let wait = tokio::spawn(async move { waiting.wait(std::future::pending::<()>()).await });
        tokio::time::sleep(Duration::from_secs(3_600)).await;
        assert!(life.progress.silent() <= WAITING);
        stop.send_replace(true);
        assert_eq!(wait.await.unwrap(), None);
    }

    #[tokio::test(start_paused = true)]
    async fn a_look_that_hangs_is_no_progress() {
        let (_stop, stopped) = watch::channel(false);
        let life = Life::unsupervised(stopped);
        let looking = life.clone();
        tokio::spawn(async move {
            let mut ticks = looking.ticks(Duration::from_secs(1));
            while ticks.next().await {
                std::future::pending::<()>().await;
            }
        });
        tokio::time::sleep(Duration::from_secs(60)).await;
        assert!(life.progress.silent() > Duration::from_secs(50));
    }
}
