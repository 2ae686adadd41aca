//! The destination of alerts: an HTTP server in this process that records the posted alerts.

use std::collections::BTreeMap;
use std::net::{Ipv4Addr, SocketAddr};
use std::sync::Arc;

use axum::extract::State;
use axum::routing::post;
use axum::{Json, Router};
use parking_lot::Mutex;
use serde_json::Value;
use tokio::task::JoinHandle;

use crate::{During, Result};

type Received = Arc<Mutex<BTreeMap<String, u64>>>;

/// An HTTP server that runs until this value is dropped.
pub struct Receiver {
    address: SocketAddr,
    received: Received,
    serving: JoinHandle<()>,
}

impl Receiver {
    /// Starts a server on a free port of the loopback interface.
    ///
    /// # Errors
    /// There is no free port.
    pub async fn start() -> Result<Self> {
        Self::at(Ipv4Addr::LOCALHOST).await
    }

    /// Starts a server at another address of this machine.
    ///
    /// # Errors
    /// There is no free port.
    pub async fn at(address: Ipv4Addr) -> Result<Self> {
        let listener = tokio::net::TcpListener::bind((address, 0))
            .await
            .during("listening for alerts")?;
        let address = listener.local_addr().during("listening for alerts")?;
        let received = Received::default();
        let router = Router::new()
            .route("/alerts", post(take))
            .with_state(received.clone());
        let serving = tokio::spawn(async move {
            let _ = axum::serve(listener, router).await; // the task ends with this receiver
        });
        Ok(Self {
            address,
            received,
            serving,
        })
    }

    /// The URL for posts of alerts.
    #[must_use]
    pub fn url(&self) -> String {
        format!("http://{}/alerts", self.address)
    }

    /// The number of posts of each alert, by alert id.
    #[must_use]
    pub fn received(&self) -> BTreeMap<String, u64> {
        self.received.lock().clone()
    }
}

impl Drop for Receiver {
    fn drop(&mut self) {
        self.serving.abort();
    }
}

async fn take(State(received): State<Received>, Json(alert): Json<Value>) {
    let id = alert["alertId"].as_str().unwrap_or_default().to_owned();
    *received.lock().entry(id).or_default() += 1;
}
