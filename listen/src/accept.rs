//! Accept loop: accepts connections and serves each one in a task of its own.

use std::future::Future;
use std::io;
use std::net::IpAddr;
use std::os::fd::AsRawFd;
use std::sync::Arc;
use std::time::Duration;

use tokio::io::{AsyncRead, AsyncWrite};
use tokio::net::{TcpListener, TcpStream};
use tokio::sync::watch;
use tokio::task::{JoinError, JoinSet};

use crate::places::{Place, Places};

/// Delay after an accept error, such as the error for too many open files.
const BREATH: Duration = Duration::from_millis(100);
/// Rate limit of the log line for accept errors: one line per interval, with the number of errors.
const SAY_AGAIN: Duration = Duration::from_secs(10);

/// An accepted connection.
pub struct Accepted<S> {
    /// The byte stream of the connection.
    pub stream: S,
    /// The peer's address; `None` for a connection without a network, such as a Unix socket.
    pub address: Option<IpAddr>,
    /// The file descriptor, and the highest descriptor that a connection of this listener may have; `None` for a stream without a
    /// descriptor.
    pub descriptor: Option<(i64, i64)>,
}

/// A source of connections: a listening socket, or a channel in tests.
pub trait Listen: Send + 'static {
    /// The byte stream of a connection.
    type Stream: AsyncRead + AsyncWrite + Send + Unpin + 'static;

    /// Waits for the next connection. Cancellation safe: dropping the future loses no connection.
    ///
    /// # Errors
    /// The operating system cannot accept a connection now. The accept loop retries.
    fn next(&mut self) -> impl Future<Output = io::Result<Accepted<Self::Stream>>> + Send;
}

/// A TCP listener, and the highest file descriptor that its connections may have.
pub struct Tcp {
    listener: Arc<TcpListener>,
    ceiling: i64,
}

impl Tcp {
    /// Creates a listener for callers on other machines. It leaves file descriptors free for the node itself: see
    /// [`crate::descriptors::OTHERS`].
    #[must_use]
    pub fn new(listener: Arc<TcpListener>) -> Self {
        Self {
            listener,
            ceiling: crate::descriptors::ceiling(crate::descriptors::OTHERS),
        }
    }
}

impl Listen for Tcp {
    type Stream = TcpStream;

    async fn next(&mut self) -> io::Result<Accepted<TcpStream>> {
        let (stream, from) = self.listener.accept().await?;
        // Disable Nagle's algorithm: an answer is one small write, and buffering only delays it. The call fails only if the peer has
        // already disconnected.
        let _ = stream.set_nodelay(true);
        Ok(Accepted {
            descriptor: Some((i64::from(stream.as_raw_fd()), self.ceiling)),
            stream,
            address: Some(from.ip()),
        })
    }
}

/// Serves every connection until `closed` is true. Then it stops accepting and returns after all tasks have ended. Dropping the future
/// aborts all tasks.
pub async fn accept<L, F>(
    mut listener: L,
    places: Places,
    mut closed: watch::Receiver<bool>,
    serve: impl Fn(L::Stream, Place) -> F,
) where
    L: Listen,
    F: Future<Output = ()> + Send + 'static,
{
    let mut served = JoinSet::new();
    let mut faults = Faults::default();
    loop {
        let accepted = tokio::select! {
            accepted = listener.next() => accepted,
            Some(ended) = served.join_next() => {
                say_panic(ended);
                continue;
            }
            _ = closed.wait_for(|closed| *closed) => break,
        };
        let accepted = match accepted {
            Ok(accepted) => accepted,
            Err(error) => {
                faults.say(&error);
                tokio::time::sleep(BREATH).await;
                continue;
            }
        };
        if let Some((descriptor, ceiling)) = accepted.descriptor
            && descriptor > ceiling
        {
            places.refuse();
            faults.say(&io::Error::other(
                "too few open files are left: connections are closed at once (LimitNOFILE)",
            ));
            continue;
        }
        let place = tokio::select! {
            place = places.enter(accepted.address) => place,
            _ = closed.wait_for(|closed| *closed) => break,
        };
        if let Some(place) = place {
            served.spawn(serve(accepted.stream, place));
        }
    }
    drop(listener);
    while let Some(ended) = served.join_next().await {
        say_panic(ended);
    }
}

fn say_panic(ended: Result<(), JoinError>) {
    if let Err(error) = ended
        && error.is_panic()
    {
        tracing::error!(%error, "serving a connection ended in a panic");
    }
}

/// Rate-limited log of errors that may occur thousands of times a second.
#[derive(Default)]
struct Faults {
    said: Option<tokio::time::Instant>,
    since: u64,
}

impl Faults {
    fn say(&mut self, error: &io::Error) {
        self.since += 1;
        if self.said.is_some_and(|said| said.elapsed() < SAY_AGAIN) {
            return;
        }
        tracing::warn!(%error, times = self.since, "a connection could not be taken");
        (self.said, self.since) = (Some(tokio::time::Instant::now()), 0);
    }
}

#[cfg(test)]
mod tests {
    use tokio::io::DuplexStream;
    use tokio::sync::mpsc;

    use super::*;
    use crate::places::PlaceLimits;

    /// Connections with the descriptors that the test chooses.
    struct Given(mpsc::Receiver<(i64, DuplexStream)>);

    impl Listen for Given {
        type Stream = DuplexStream;

        async fn next(&mut self) -> io::Result<Accepted<DuplexStream>> {
            let Some((descriptor, stream)) = self.0.recv().await else {
                return std::future::pending().await;
            };
            Ok(Accepted {
                stream,
                address: None,
                descriptor: Some((descriptor, 100)),
            })
        }
    }

    #[tokio::test]
    async fn a_connection_above_the_ceiling_is_closed_at_once() {
        let places = Places::new(PlaceLimits {
            total: 10,
            per_address: 10,
            grace: Duration::ZERO,
        });
        let (give, given) = mpsc::channel(3);
        let (say, mut served) = mpsc::channel(3);
        for descriptor in [99, 101, 100] {
            give.send((descriptor, tokio::io::duplex(1).0))
                .await
                .unwrap();
        }
        let (close, closed) = watch::channel(false);
        let serving = accept(Given(given), places.clone(), closed, move |_, place| {
            let say = say.clone();
            async move {
                let _ = say.send(place).await;
            }
        });
        let serving = tokio::spawn(serving);
        // The last connection is served, so the accept loop has already handled the one before it.
        let held = [served.recv().await.unwrap(), served.recv().await.unwrap()];
        let counts = places.counts();
        assert_eq!((counts.open, counts.accepted, counts.refused), (2, 2, 1));
        drop(held);
        close.send_replace(true);
        serving.await.unwrap();
    }
}
