//! gRPC over a Unix socket: what pantherctl and workers call. Whoever may open the socket may do everything.
//!
//! * [`apis`]: the methods of all APIs; [`api`]: those of a running system, and what it sends piece by piece
//! * [`backup`]: the whole state
//! * [`doors`]: queues and tables; [`converse`]: the same over one stream
//! * [`status`]: failures as gRPC names them

mod api;
pub(crate) mod apis;
pub(crate) mod backup;
mod converse;
mod doors;
mod status;

use std::time::Duration;

use axum::middleware::from_fn;
use panther_actors::system::System;
use panther_cluster::door::Door;
use panther_listen::deadline;
use panther_proto::v1::doors_server::DoorsServer;
use panther_proto::v1::node_streams_server::NodeStreamsServer;
use tokio::sync::watch;
use tonic::service::Routes;
use tonic_reflection::server::v1::{ServerReflection, ServerReflectionServer};

pub(crate) use self::status::of_api;
use crate::listeners::Listeners;

/// Bytes of one call: a pack of thousands of detections.
const CALL_BYTES: usize = 64 << 20;
/// What a caller may wait at most, whatever it asks for.
const LONGEST: Duration = Duration::from_secs(900);

/// Serves until `closed` says true; calls under way are let end.
pub(crate) async fn serve(
    listeners: Listeners,
    system: System,
    door: Door,
    origin: backup::Origin,
    closed: watch::Receiver<bool>,
) {
    let running = api::Running {
        system: system.clone(),
        door: door.clone(),
    };
    let functions = api::Functions::new(system, door.clone(), origin, closed.clone());
    let api = NodeStreamsServer::new(functions).max_encoding_message_size(CALL_BYTES);
    let doors = DoorsServer::new(doors::Gates::new(door, closed.clone()))
        .max_encoding_message_size(CALL_BYTES);
    let (_, healthy) = tonic_health::server::health_reporter();
    let mut routes = Routes::new(api).add_service(doors).add_service(healthy);
    match reflection() {
        Ok(service) => routes = routes.add_service(service),
        Err(error) => tracing::error!(%error, "the services cannot be described to callers"),
    }
    let named = routes.prepare().into_axum_router();
    let router = apis::added_to(named, running).layer(from_fn(|request, next| {
        deadline::within(LONGEST, request, next)
    }));
    listeners.serve_admin(router, closed).await;
}

/// Describes all services to tools such as grpcurl.
fn reflection()
-> Result<ServerReflectionServer<impl ServerReflection>, tonic_reflection::server::Error> {
    tonic_reflection::server::Builder::configure()
        .register_encoded_file_descriptor_set(panther_proto::DESCRIPTORS)
        .register_encoded_file_descriptor_set(tonic_health::pb::FILE_DESCRIPTOR_SET)
        .build_v1()
}

/// Ends when the listeners are to close.
async fn until(mut closed: watch::Receiver<bool>) {
    // A sender that is gone is an end too.
    let _ = closed.wait_for(|closed| *closed).await;
}
