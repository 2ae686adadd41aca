//! gRPC over a Unix socket: what pantherctl and workers call. Whoever may open the socket may do everything.
//!
//! * [`api`]: API functions by name
//! * [`backup`]: the whole state
//! * [`doors`]: queues and tables; [`converse`]: the same over one stream
//! * [`status`]: failures as gRPC names them

mod api;
pub(crate) mod backup;
mod converse;
mod doors;
mod status;

use std::io;
use std::sync::Arc;
use std::time::Duration;

use panther_actors::system::System;
use panther_cluster::door::Door;
use panther_detections::engine::is_of_an_engine;
use panther_proto::v1::api_server::ApiServer;
use panther_proto::v1::doors_server::DoorsServer;
use tokio::net::{UnixListener, UnixStream};
use tokio::sync::watch;
use tokio_stream::{Stream, StreamExt};
use tonic::transport::Server;

pub(crate) use self::status::of_api;
use crate::waiting::Incoming;

/// Bytes of one call: a pack of thousands of detections.
const CALL_BYTES: usize = 64 << 20;
/// What a caller may wait at most, whatever it asks for.
const LONGEST: Duration = Duration::from_secs(900);
/// Calls of one connection at one time.
const CALLS: usize = 256;

/// Serves until `closed` says true; calls under way are let end.
pub(crate) async fn serve(
    listener: Arc<UnixListener>,
    system: System,
    door: Door,
    origin: backup::Origin,
    closed: watch::Receiver<bool>,
) {
    let functions = api::Functions::new(system, door.clone(), origin, closed.clone());
    let api = ApiServer::new(functions)
        .max_decoding_message_size(CALL_BYTES)
        .max_encoding_message_size(CALL_BYTES);
    let doors = DoorsServer::new(doors::Gates::new(door, closed.clone()))
        .max_encoding_message_size(CALL_BYTES);
    let served = Server::builder()
        // tonic takes the shorter of this and what the caller sent as grpc-timeout.
        .timeout(LONGEST)
        .concurrency_limit_per_connection(CALLS)
        .http2_keepalive_interval(Some(Duration::from_secs(30)))
        .add_service(api)
        .add_service(doors)
        .serve_with_incoming_shutdown(callers(listener), until(closed))
        .await;
    if let Err(error) = served {
        tracing::error!(%error, "the Unix socket is no longer served");
    }
}

/// Connections of callers. Those of processes that run rules are closed at once, should nothing else have kept them from the socket: a rule acts for no
/// operator.
fn callers(listener: Arc<UnixListener>) -> impl Stream<Item = io::Result<UnixStream>> {
    Incoming(listener).filter(|stream| {
        let peer = stream
            .as_ref()
            .ok()
            .and_then(|stream| stream.peer_cred().ok());
        let process = peer.and_then(|peer| peer.pid());
        let of_an_engine = process.is_some_and(is_of_an_engine);
        if of_an_engine {
            tracing::error!(
                process,
                "a process that runs rules called the admin socket and was turned away"
            );
        }
        !of_an_engine
    })
}

/// Ends when the listeners are to close.
async fn until(mut closed: watch::Receiver<bool>) {
    // A sender that is gone is an end too.
    let _ = closed.wait_for(|closed| *closed).await;
}
