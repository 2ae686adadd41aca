//! The methods of the APIs of a running system, and what it sends piece by piece.

use std::pin::Pin;

use bytes::Bytes;
use futures::future::BoxFuture;
use panther_actors::system::System;
use panther_cluster::door::Door;
use panther_proto::v1::node_streams_server::NodeStreams;
use panther_proto::v1::{BackupPiece, BackupRequest, TailLine, TailRequest};
use tokio::sync::watch;
use tokio_stream::wrappers::ReceiverStream;
use tokio_stream::{Stream, StreamExt};
use tonic::{Request, Response, Status};

use super::apis::{Answers, Asked};
use super::backup::{self, Origin};
use super::{status, until};

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

/// Answers the typed methods by a running system.
#[derive(Clone)]
pub(super) struct Running {
    pub(super) system: System,
    pub(super) door: Door,
}

impl Answers for Running {
    fn answer(&self, asked: Asked) -> BoxFuture<'_, Result<Bytes, Status>> {
        Box::pin(async move {
            let Asked {
                method,
                mut caller,
                request,
            } = asked;
            if let Some(request) = &mut caller.request {
                request.time_ms = self.door.issued_ms(request.time_ms);
            }
            let answer = self.system.call(method, caller, request).await;
            answer.map_err(|error| status::of_api(&error))
        })
    }
}

#[tonic::async_trait]
impl NodeStreams for Functions {
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
