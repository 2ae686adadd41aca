//! The HTTP side: logs in, health and metrics out. Plain HTTP, meant for this machine or a proxy with TLS.
//!
//! The routes for logs belong to the doors in [`panther_actors::ingest`].

use axum::Router;
use axum::extract::State;
use axum::http::StatusCode;
use axum::http::header::CONTENT_TYPE;
use axum::response::{IntoResponse, Response};
use axum::routing::get;
use panther_actors::ingest::{self, answer::json_answer};
use panther_actors::system::System;
use panther_cluster::door::Door;
use serde_json::json;
use tokio::sync::watch;

use crate::health;
use crate::listeners::Listeners;

#[derive(Clone)]
struct Shared {
    system: System,
    door: Door,
}

/// Serves until `closed` says true; requests under way are let end.
pub(crate) async fn serve(
    listeners: Listeners,
    system: System,
    door: Door,
    closed: watch::Receiver<bool>,
) {
    let logs = ingest::routes(system.intake());
    let router = Router::new()
        .route("/healthz", get(healthy))
        .route("/metrics", get(metrics))
        .fallback(nothing)
        .with_state(Shared { system, door })
        .merge(logs);
    listeners.serve_http(router, closed).await;
}

/// Whether the node can do its work: a leader confirms its state.
async fn healthy(State(shared): State<Shared>) -> Response {
    let health = health::of(&shared.door).await;
    let status = match health.well {
        true => StatusCode::OK,
        false => StatusCode::SERVICE_UNAVAILABLE,
    };
    json_answer(status, &health.said)
}

async fn metrics(State(shared): State<Shared>) -> Response {
    let text = shared.system.metrics().await;
    ([(CONTENT_TYPE, "text/plain; version=0.0.4")], text).into_response()
}

async fn nothing() -> Response {
    json_answer(
        StatusCode::NOT_FOUND,
        &json!({"error": "there is nothing here; logs go to POST /ingest/SOURCE, and /healthz and /metrics can be read"}),
    )
}
