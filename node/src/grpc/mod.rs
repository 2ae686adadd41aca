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

use std::time::Duration;

use axum::middleware::from_fn;
use panther_actors::system::System;
use panther_cluster::door::Door;
use panther_listen::deadline;
use panther_proto::v1::api_server::ApiServer;
use panther_proto::v1::doors_server::DoorsServer;
use tokio::sync::watch;
use tonic::service::Routes;

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
    let functions = api::Functions::new(system, door.clone(), origin, closed.clone());
    let api = ApiServer::new(functions)
        .max_decoding_message_size(CALL_BYTES)
        .max_encoding_message_size(CALL_BYTES);
    let doors = DoorsServer::new(doors::Gates::new(door, closed.clone()))
        .max_encoding_message_size(CALL_BYTES);
    let router = Routes::new(api)
        .add_service(doors)
        .prepare()
        .into_axum_router()
        .layer(from_fn(|request, next| {
            deadline::within(LONGEST, request, next)
        }));
    listeners.serve_admin(router, closed).await;
}

/// Ends when the listeners are to close.
async fn until(mut closed: watch::Receiver<bool>) {
    // A sender that is gone is an end too.
    let _ = closed.wait_for(|closed| *closed).await;
}
