//! The HTTP side: logs in, health and metrics out. Plain HTTP, meant for this machine or a proxy with TLS.
//!
//! * [`ingest`]: `POST /ingest/<source>`
//! * [`shares`]: one source or address does not take all places

mod ingest;
mod shares;

use std::net::IpAddr;
use std::sync::Arc;

use axum::Router;
use axum::extract::State;
use axum::http::StatusCode;
use axum::http::header::CONTENT_TYPE;
use axum::response::{IntoResponse, Response};
use axum::routing::{get, post};
use panther_actors::callers::Callers;
use panther_actors::system::System;
use panther_cluster::door::Door;
use serde_json::json;
use tokio::sync::{Semaphore, watch};

use self::shares::Shares;
use crate::health;
use crate::listeners::Listeners;

/// Bytes of bodies that are being read at one time, of all connections.
const READING_BYTES: usize = 256 << 20;

/// Bounds of what callers may do.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Limits {
    /// Bytes of one body.
    pub(crate) body_bytes: usize,
    /// Connections at one time.
    pub(crate) connections: usize,
}

#[derive(Clone)]
struct Shared {
    system: System,
    door: Door,
    limits: Limits,
    /// Room for bodies that are being read, a permit a byte.
    room: Arc<Semaphore>,
    of_source: Shares<String>,
    of_address: Shares<IpAddr>,
    callers: Callers,
}

/// Serves until `closed` says true; requests under way are let end.
pub(crate) async fn serve(
    listeners: Listeners,
    system: System,
    door: Door,
    limits: Limits,
    callers: Callers,
    closed: watch::Receiver<bool>,
) {
    let shared = Shared {
        system,
        door,
        limits,
        room: Arc::new(Semaphore::new(READING_BYTES)),
        of_source: Shares::new(limits.connections / 4),
        of_address: Shares::new(limits.connections / 2),
        callers,
    };
    let router = Router::new()
        .route("/ingest/{source}", post(ingest::take))
        .route("/healthz", get(healthy))
        .route("/metrics", get(metrics))
        .fallback(nothing)
        .with_state(shared);
    listeners.serve_http(router, closed).await;
}

/// Whether the node can do its work: a leader confirms its state.
async fn healthy(State(shared): State<Shared>) -> Response {
    let health = health::of(&shared.door).await;
    let status = match health.well {
        true => StatusCode::OK,
        false => StatusCode::SERVICE_UNAVAILABLE,
    };
    said(status, &health.said)
}

async fn metrics(State(shared): State<Shared>) -> Response {
    let text = shared.system.metrics().await;
    ([(CONTENT_TYPE, "text/plain; version=0.0.4")], text).into_response()
}

async fn nothing() -> Response {
    said(
        StatusCode::NOT_FOUND,
        &json!({"error": "there is nothing here; logs go to POST /ingest/SOURCE, and /healthz and /metrics can be read"}),
    )
}

/// An answer in JSON.
pub(crate) fn said(status: StatusCode, body: &serde_json::Value) -> Response {
    (
        status,
        [(CONTENT_TYPE, "application/json")],
        format!("{body}\n"),
    )
        .into_response()
}
