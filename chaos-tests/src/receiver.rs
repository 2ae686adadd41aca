//! The destination of alerts: an HTTP server in this process that notes whose alert was posted to it.

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

/// Listens until it is dropped.
pub struct Receiver {
    address: SocketAddr,
    received: Received,
    serving: JoinHandle<()>,
}

impl Receiver {
    /// On a free port of this machine.
    ///
    /// # Errors
    /// There is none.
    pub async fn start() -> Result<Self> {
        Self::at(Ipv4Addr::LOCALHOST).await
    }

    /// The same at another address of it.
    ///
    /// # Errors
    /// There is none.
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
            let _ = axum::serve(listener, router).await; // it ends with this receiver
        });
        Ok(Self {
            address,
            received,
            serving,
        })
    }

    /// Where alerts are to be posted.
    #[must_use]
    pub fn url(&self) -> String {
        format!("http://{}/alerts", self.address)
    }

    /// How often each alert came, by its id.
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
