//! Serves HTTP on one connection, with limits on time and on concurrent calls.

use std::convert::Infallible;
use std::pin::pin;
use std::sync::Arc;
use std::time::Duration;

use axum::Router;
use axum::body::Body;
use hyper::Request;
use hyper::body::Incoming;
use hyper::service::service_fn;
use hyper_util::rt::{TokioExecutor, TokioIo, TokioTimer};
use hyper_util::server::conn::auto::Builder;
use tokio::io::{AsyncRead, AsyncWrite};
use tokio::sync::{Notify, watch};
use tower::ServiceExt;

use crate::places::Place;

/// Maximum size of a request's headers, in bytes.
const HEADERS_BYTES: u32 = 16 << 10;
/// Maximum buffer of an HTTP/1.1 connection, in bytes: headers, or a piece of a body.
const BUFFER_BYTES: usize = 32 << 10;
/// Deadline for the peer's answer to a keep-alive ping.
const PONG: Duration = Duration::from_secs(20);

/// HTTP version and its limits.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Protocol {
    /// HTTP/1.1: requests are processed one after another.
    Http1 {
        /// Maximum time for the headers of a request, which is also the maximum idle time between requests.
        headers: Duration,
    },
    /// HTTP/2, which gRPC needs.
    Http2 {
        /// Maximum number of concurrent calls (streams).
        calls: u32,
        /// Flow control window of one call, in bytes: unread request data that the peer may send.
        call_window: u32,
        /// Flow control window of the whole connection, in bytes.
        connection_window: u32,
        /// Interval of keep-alive pings.
        ping: Duration,
    },
}

/// Limits under which a connection is served.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Http {
    /// HTTP version and its limits.
    pub protocol: Protocol,
    /// Maximum time until the first request begins.
    pub first: Duration,
    /// Maximum lifetime of the connection. At its end, calls in progress are cut off.
    pub life: Option<Duration>,
}

impl Http {
    /// Serves a connection until the peer closes it, until `closed` is true and the calls in progress have ended, or until a limit is
    /// reached. Each request carries the [`crate::PlaceHandle`] of the connection as an extension.
    pub async fn serve(
        &self,
        stream: impl AsyncRead + AsyncWrite + Send + Unpin + 'static,
        place: &Place,
        router: Router,
        mut closed: watch::Receiver<bool>,
    ) {
        let handle = place.handle();
        let begun = Arc::new(Notify::new());
        let begins = begun.clone();
        let service = service_fn(move |mut request: Request<Incoming>| {
            begins.notify_one();
            request.extensions_mut().insert(handle.clone());
            let (router, working) = (router.clone(), handle.work());
            async move {
                let _working = working;
                Ok::<_, Infallible>(infallible(router.oneshot(request.map(Body::new)).await))
            }
        });
        let builder = self.builder();
        let connection = builder.serve_connection(TokioIo::new(stream), service);
        let mut connection = pin!(connection);
        let mut first = pin!(async {
            tokio::select! {
                () = begun.notified() => std::future::pending().await,
                () = tokio::time::sleep(self.first) => {}
            }
        });
        let mut life = pin!(async {
            match self.life {
                Some(life) => tokio::time::sleep(life).await,
                None => std::future::pending().await,
            }
        });
        let mut closing = false;
        loop {
            tokio::select! {
                ended = connection.as_mut() => {
                    if let Err(error) = ended {
                        tracing::debug!(%error, "a connection ended early");
                    }
                    return;
                }
                () = place.evicted() => return,
                () = &mut first => {
                    place.note_late();
                    return;
                }
                () = &mut life => return,
                _ = closed.wait_for(|closed| *closed), if !closing => {
                    closing = true;
                    connection.as_mut().graceful_shutdown();
                }
            }
        }
    }

    fn builder(&self) -> Builder<TokioExecutor> {
        let builder = Builder::new(TokioExecutor::new());
        match self.protocol {
            Protocol::Http1 { headers } => {
                let mut builder = builder.http1_only();
                builder
                    .http1()
                    .timer(TokioTimer::new())
                    .max_buf_size(BUFFER_BYTES)
                    .header_read_timeout(headers);
                builder
            }
            Protocol::Http2 {
                calls,
                call_window,
                connection_window,
                ping,
            } => {
                let mut builder = builder.http2_only();
                builder
                    .http2()
                    .timer(TokioTimer::new())
                    .max_concurrent_streams(calls)
                    .initial_stream_window_size(call_window)
                    .initial_connection_window_size(connection_window)
                    .max_header_list_size(HEADERS_BYTES)
                    .keep_alive_interval(ping)
                    .keep_alive_timeout(PONG);
                builder
            }
        }
    }
}

fn infallible<T>(result: Result<T, Infallible>) -> T {
    match result {
        Ok(value) => value,
        Err(never) => match never {},
    }
}
