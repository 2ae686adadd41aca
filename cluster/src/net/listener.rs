//! The source of peers' connections: a TCP socket, or connections that a simulation creates.

use std::future::Future;
use std::sync::Arc;

use panther_listen::accept::Tcp;
use panther_listen::{Place, Places};
use tokio::io::{AsyncRead, AsyncWrite};
use tokio::net::TcpListener;
use tokio::sync::watch;

/// The source of peers' connections.
pub enum Listener {
    /// A TCP socket.
    Tcp(TcpListener),
    /// Connections that a simulation creates.
    #[cfg(feature = "simulation")]
    Given(futures::stream::BoxStream<'static, std::io::Result<Connection>>),
}

impl From<TcpListener> for Listener {
    fn from(socket: TcpListener) -> Self {
        Self::Tcp(socket)
    }
}

/// Serves one connection. The call returns when the connection has ended.
pub(super) trait Entrance: Send + Sync + 'static {
    fn serve(
        self: Arc<Self>,
        stream: impl AsyncRead + AsyncWrite + Send + Unpin + 'static,
        place: Place,
    ) -> impl Future<Output = ()> + Send;
}

impl Listener {
    /// Serves connections until the future is dropped.
    pub(super) async fn serve(self, places: Places, entrance: Arc<impl Entrance>) {
        // Never set: the listener stops before the log, by the drop of this future, which also ends all calls of other nodes.
        let (_open, closed) = watch::channel(false);
        match self {
            Self::Tcp(socket) => {
                let socket = Tcp::new(Arc::new(socket));
                panther_listen::accept(socket, places, closed, |stream, place| {
                    entrance.clone().serve(stream, place)
                })
                .await;
            }
            #[cfg(feature = "simulation")]
            Self::Given(connections) => {
                let connections = simulated::Given(connections);
                panther_listen::accept(connections, places, closed, |stream, place| {
                    entrance.clone().serve(stream, place)
                })
                .await;
            }
        }
    }
}

#[cfg(feature = "simulation")]
pub use simulated::{Connection, Connector};

#[cfg(feature = "simulation")]
mod simulated {
    use std::io;
    use std::pin::Pin;
    use std::sync::Arc;
    use std::task::{Context, Poll};

    use futures::StreamExt;
    use futures::future::BoxFuture;
    use futures::stream::BoxStream;
    use panther_listen::{Accepted, Listen};
    use tokio::io::{AsyncRead, AsyncWrite, ReadBuf};

    /// Creates a connection to an address.
    pub type Connector =
        Arc<dyn Fn(String) -> BoxFuture<'static, io::Result<Connection>> + Send + Sync>;

    trait Bytes: AsyncRead + AsyncWrite + Send + Unpin {}
    impl<T: AsyncRead + AsyncWrite + Send + Unpin> Bytes for T {}

    /// A connection without a socket.
    pub struct Connection(Box<dyn Bytes>);

    impl Connection {
        /// Wraps a bidirectional byte stream.
        pub fn over(bytes: impl AsyncRead + AsyncWrite + Send + Unpin + 'static) -> Self {
            Self(Box::new(bytes))
        }
    }

    /// Connections that a simulation creates.
    pub(super) struct Given(pub(super) BoxStream<'static, io::Result<Connection>>);

    impl Listen for Given {
        type Stream = Connection;

        async fn next(&mut self) -> io::Result<Accepted<Connection>> {
            match self.0.next().await {
                Some(stream) => Ok(Accepted {
                    stream: stream?,
                    address: None,
                    descriptor: None,
                }),
                None => std::future::pending().await,
            }
        }
    }

    impl AsyncRead for Connection {
        fn poll_read(
            mut self: Pin<&mut Self>,
            context: &mut Context<'_>,
            into: &mut ReadBuf<'_>,
        ) -> Poll<io::Result<()>> {
            Pin::new(&mut self.0).poll_read(context, into)
        }
    }

    impl AsyncWrite for Connection {
        fn poll_write(
            mut self: Pin<&mut Self>,
            context: &mut Context<'_>,
            bytes: &[u8],
        ) -> Poll<io::Result<usize>> {
            Pin::new(&mut self.0).poll_write(context, bytes)
        }

        fn poll_flush(mut self: Pin<&mut Self>, context: &mut Context<'_>) -> Poll<io::Result<()>> {
            Pin::new(&mut self.0).poll_flush(context)
        }

        fn poll_shutdown(
            mut self: Pin<&mut Self>,
            context: &mut Context<'_>,
        ) -> Poll<io::Result<()>> {
            Pin::new(&mut self.0).poll_shutdown(context)
        }
    }
}
