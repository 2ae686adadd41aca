//! Blocking work is moved off the async threads to the runtime's blocking threads. A simulation has one thread only and does the work at once.

use std::io;

/// Runs blocking work and waits for it.
///
/// # Errors
/// The runtime is stopping, or the work panicked.
pub(crate) async fn offload<T: Send + 'static>(
    work: impl FnOnce() -> T + Send + 'static,
) -> io::Result<T> {
    #[cfg(feature = "simulation")]
    if simulated::is_on() {
        return Ok(work());
    }
    tokio::task::spawn_blocking(work)
        .await
        .map_err(io::Error::other)
}

/// Marks the single thread of a simulation of several nodes. Everything runs on it, in an order that the simulation's seed determines.
#[cfg(feature = "simulation")]
pub mod simulated {
    use std::cell::Cell;

    thread_local! {
        static ON: Cell<bool> = const { Cell::new(false) };
    }

    /// Marks this thread: logs, stores and state machines opened on it start no threads and wait for none.
    pub fn begin() {
        ON.set(true);
    }

    /// True if this thread runs a simulation.
    pub(crate) fn is_on() -> bool {
        ON.get()
    }
}
