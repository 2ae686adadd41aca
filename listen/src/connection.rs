//! HTTP over one connection, within bounds of time and of calls at one time.

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

/// Bytes of a request's headers.
const HEADERS_BYTES: u32 = 16 << 10;
/// How long a caller that is asked whether it is there may take for the answer.
const PONG: Duration = Duration::from_secs(20);

/// The form of HTTP.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Protocol {
    /// HTTP/1.1: one request after the other.
    Http1 {
        /// How long the headers of a request may take, and how long the connection may wait for its next request.
        headers: Duration,
    },
    /// HTTP/2, as gRPC needs it.
    Http2 {
        /// Calls at one time.
        calls: u32,
        /// Bytes of one call's request that may come before they are read.
        call_window: u32,
        /// The same for all calls of the connection.
        connection_window: u32,
        /// How often a caller is asked whether it is there.
        ping: Duration,
    },
}

/// How a connection is served.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Http {
    /// The form.
    pub protocol: Protocol,
    /// How long the first request may take to begin.
    pub first: Duration,
    /// How long the connection may last in all; calls under way are cut off then.
    pub life: Option<Duration>,
}

impl Http {
    /// Serves a connection until its caller closes it, `closed` says true and the calls under way have ended, or a bound is reached. Each request carries
    /// the [`crate::PlaceHandle`] of the connection as an extension.
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
            let router = router.clone();
            async move { Ok::<_, Infallible>(infallible(router.oneshot(request.map(Body::new)).await)) }
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
