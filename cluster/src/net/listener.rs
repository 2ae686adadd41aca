//! What peers connect to: a socket, or, in a simulation, connections that it makes.

use tokio::net::TcpListener;
use tonic::transport::Error;
use tonic::transport::server::{Router, TcpIncoming};

/// What peers connect to.
pub enum Listener {
    /// A socket.
    Tcp(TcpListener),
    /// Connections that somebody else makes.
    #[cfg(feature = "simulation")]
    Given(futures::stream::BoxStream<'static, std::io::Result<Connection>>),
}

impl From<TcpListener> for Listener {
    fn from(socket: TcpListener) -> Self {
        Self::Tcp(socket)
    }
}

impl Listener {
    /// Serves whoever connects.
    pub(super) async fn serve(self, router: Router) -> Result<(), Error> {
        match self {
            Self::Tcp(socket) => {
                // What the server is told of its sockets counts for those alone that it opens itself; and an answer that waits for an acknowledgement of its
                // first half takes 40 ms.
                let connections = TcpIncoming::from(socket).with_nodelay(Some(true));
                router.serve_with_incoming(connections).await
            }
            #[cfg(feature = "simulation")]
            Self::Given(connections) => router.serve_with_incoming(connections).await,
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

    use futures::future::BoxFuture;
    use tokio::io::{AsyncRead, AsyncWrite, ReadBuf};
    use tonic::transport::server::{Connected, TcpConnectInfo};

    /// Makes a connection to an address.
    pub type Connector =
        Arc<dyn Fn(String) -> BoxFuture<'static, io::Result<Connection>> + Send + Sync>;

    trait Bytes: AsyncRead + AsyncWrite + Send + Unpin {}
    impl<T: AsyncRead + AsyncWrite + Send + Unpin> Bytes for T {}

    /// A connection that is no socket.
    pub struct Connection(Box<dyn Bytes>);

    impl Connection {
        /// Over whatever carries bytes both ways.
        pub fn over(bytes: impl AsyncRead + AsyncWrite + Send + Unpin + 'static) -> Self {
            Self(Box::new(bytes))
        }
    }

    impl Connected for Connection {
        type ConnectInfo = TcpConnectInfo;

        fn connect_info(&self) -> TcpConnectInfo {
            TcpConnectInfo {
                local_addr: None,
                remote_addr: None,
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
