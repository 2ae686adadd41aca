//! API functions by name: JSON in, JSON out.

use std::pin::Pin;
use std::time::Duration;

use panther_actors::api::ApiCall;
use panther_actors::system::System;
use panther_cluster::door::Door;
use panther_proto::v1::api_server::Api;
use panther_proto::v1::{
    BackupPiece, BackupRequest, InvokeRequest, InvokeResponse, TailLine, TailRequest,
};
use serde_json::Value;
use tokio::sync::watch;
use tokio_stream::wrappers::ReceiverStream;
use tokio_stream::{Stream, StreamExt};
use tonic::{Request, Response, Status};

use super::backup::{self, Origin};
use super::{status, until};

/// How long a call may take whose caller said nothing of it.
const DEADLINE: Duration = Duration::from_secs(60);

/// The service.
pub(super) struct Functions {
    system: System,
    door: Door,
    origin: Origin,
    closed: watch::Receiver<bool>,
}

impl Functions {
    /// Of this system, until `closed` says true.
    pub(super) fn new(
        system: System,
        door: Door,
        origin: Origin,
        closed: watch::Receiver<bool>,
    ) -> Self {
        Self {
            system,
            door,
            origin,
            closed,
        }
    }
}

#[tonic::async_trait]
impl Api for Functions {
    async fn invoke(
        &self,
        request: Request<InvokeRequest>,
    ) -> Result<Response<InvokeResponse>, Status> {
        let says_how_long = request.metadata().contains_key("grpc-timeout");
        let request = request.into_inner();
        let input = match request.input.as_str() {
            "" => Value::Object(serde_json::Map::new()),
            input => serde_json::from_str(input).map_err(|error| {
                Status::invalid_argument(format!("the input is no JSON: {error}"))
            })?,
        };
        if !input.is_object() {
            return Err(Status::invalid_argument("the input is no JSON object"));
        }
        let call = ApiCall {
            operation: request.operation,
            input,
            payload: request.payload,
            request: (!request.request_id.is_empty()).then_some((
                request.request_id,
                self.door.issued_ms(request.request_time_ms),
            )),
        };
        let invoked = self.system.invoke(&request.component, call);
        let result = if says_how_long {
            invoked.await
        } else {
            tokio::time::timeout(DEADLINE, invoked).await.map_err(|_| {
                Status::deadline_exceeded(format!(
                    "no answer within {} s; it may still take effect, so look before you repeat it",
                    DEADLINE.as_secs()
                ))
            })?
        };
        let output = result.map_err(|error| status::of_api(&error))?.to_string();
        Ok(Response::new(InvokeResponse { output }))
    }

    type BackupStream = ReceiverStream<Result<BackupPiece, Status>>;

    async fn backup(
        &self,
        _: Request<BackupRequest>,
    ) -> Result<Response<Self::BackupStream>, Status> {
        let pieces = backup::pieces(&self.door, &self.origin).await?;
        Ok(Response::new(ReceiverStream::new(pieces)))
    }

    type TailStream = Pin<Box<dyn Stream<Item = Result<TailLine, Status>> + Send>>;

    async fn tail(
        &self,
        request: Request<TailRequest>,
    ) -> Result<Response<Self::TailStream>, Status> {
        let mut lines = self
            .system
            .tail(&request.into_inner().what)
            .map_err(|error| status::of_api(&error))?;
        // Followers would keep a stopping node waiting: the stream ends with the listeners.
        let (to, from) = tokio::sync::mpsc::channel(16);
        let closed = self.closed.clone();
        tokio::spawn(async move {
            let ended = until(closed);
            tokio::pin!(ended);
            loop {
                let line = tokio::select! {
                    line = lines.recv() => line,
                    () = &mut ended => return,
                    () = to.closed() => return,
                };
                let Some(json) = line else { return };
                if to.send(TailLine { json }).await.is_err() {
                    return;
                }
            }
        });
        Ok(Response::new(Box::pin(ReceiverStream::new(from).map(Ok))))
    }
}
