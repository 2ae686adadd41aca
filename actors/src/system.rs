//! Everything that a node runs behind its doors, started and stopped together.

use std::path::PathBuf;
use std::time::Duration;

use bytes::Bytes;
use panther_cluster::door::Door;
use panther_cluster::objects::Objects;
use panther_detections::engine::EngineSettings;
use serde_json::Value;
use tokio::sync::mpsc;

use crate::api::{ApiCall, ApiError};

/// What a node gives its system.
#[derive(Clone)]
pub struct SystemSettings {
    /// The daemon's version.
    pub version: String,
    /// The node's name.
    pub node_name: String,
    /// Where the node keeps its data.
    pub data_dir: PathBuf,
    /// The door to queues and tables.
    pub door: Door,
    /// The object store.
    pub objects: Objects,
    /// How Python runs.
    pub engine: EngineSettings,
    /// The key that seals secrets.
    pub sealing_key: [u8; 32],
    /// Ingest: bytes after which a batch is closed.
    pub batch_bytes: usize,
    /// Ingest: time after which a batch is closed.
    pub batch_time: Duration,
    /// Run when an alarm changes, with the alarm as JSON on its standard input.
    pub alarm_command: Option<Vec<String>>,
    /// Under what address sources are told to post, for instance `http://127.0.0.1:8686`.
    pub ingest_url: String,
}

/// Why logs were not taken.
#[derive(Debug, thiserror::Error)]
pub enum IngestError {
    /// There is no such source, or the token is not its own; callers are not told which.
    #[error(
        "no source of this name takes this token; `pantherctl sources list` names the sources, `pantherctl sources rotate-token` gives a new token"
    )]
    Unknown,
    /// The body cannot be taken.
    #[error("{0}")]
    Invalid(String),
    /// Too large.
    #[error("{0}")]
    TooLarge(String),
    /// Try again later.
    #[error("{reason}")]
    Busy {
        /// Why.
        reason: String,
        /// When.
        retry_after: Duration,
    },
}

/// Where taken logs lie.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Ingested {
    /// The object that holds them.
    pub object: String,
    /// Bytes as they came.
    pub bytes: u64,
}

/// A running system; clones share it.
#[derive(Clone)]
pub struct System {
    settings: SystemSettings,
}

impl System {
    /// Declares the catalogue's queues and tables and starts every component that is built.
    ///
    /// # Errors
    /// What keeps it from starting.
    pub async fn start(settings: SystemSettings) -> Result<Self, ApiError> {
        Ok(Self { settings })
    }

    /// Calls an API function, or `node` for the node's own views.
    ///
    /// # Errors
    /// As [`ApiError`] says.
    pub async fn invoke(&self, component: &str, call: ApiCall) -> Result<Value, ApiError> {
        Err(ApiError::NotBuilt(format!(
            "{component} {} on {}",
            call.operation, self.settings.node_name
        )))
    }

    /// Takes logs for a source, once they are durable.
    ///
    /// # Errors
    /// As [`IngestError`] says.
    pub async fn ingest(
        &self,
        source: &str,
        token: &str,
        body: Bytes,
        idempotency_key: Option<&str>,
    ) -> Result<Ingested, IngestError> {
        let _ = (source, token, body, idempotency_key);
        Err(IngestError::Unknown)
    }

    /// Lines of JSON for what happens from now on: `alerts` or `alarms`.
    ///
    /// # Errors
    /// There is nothing of that name to follow.
    pub fn tail(&self, what: &str) -> Result<mpsc::Receiver<String>, ApiError> {
        Err(ApiError::Invalid(format!("{what} cannot be followed")))
    }

    /// Metrics in Prometheus' text form.
    pub async fn metrics(&self) -> String {
        String::new()
    }

    /// Stops receiving, lets what is being handled end within `drain`, and ends all components.
    pub async fn stop(&self, drain: Duration) {
        let _ = drain;
    }
}
