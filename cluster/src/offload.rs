//! Work that blocks leaves the async threads: for a thread of the runtime's, or, in a simulation, which has one thread only, it is done at once.

use std::io;

/// Does work that blocks.
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

/// A thread on which everything runs that a simulation of several nodes does, in an order that its seed decides.
#[cfg(feature = "simulation")]
pub mod simulated {
    use std::cell::Cell;

    thread_local! {
        static ON: Cell<bool> = const { Cell::new(false) };
    }

    /// From now on this thread starts no others and waits for none: logs, stores and state machines opened on it work on it.
    pub fn begin() {
        ON.set(true);
    }

    /// Whether this thread is one.
    pub(crate) fn is_on() -> bool {
        ON.get()
    }
}
