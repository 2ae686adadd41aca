//! Queues and tables for workers outside the daemon. They receive under the node's own session: should the node end, what
//! they hold is given out again.

use std::time::Duration;

use panther_cluster::door::{Door, DoorError};
use panther_cluster::state::read::{self, Query};
use panther_proto::v1::doors_server::Doors;
use panther_proto::v1::{
    DoorCall, DoorGet, DoorQuery, DoorReceive, DoorRow, DoorRows, Extend, GiveBack, Received,
    Reply, Transact, command, reply,
};
use tokio::sync::watch;
use tonic::{Request, Response, Status, Streaming};

use super::{status, until};

/// Messages of one receive at most.
const MESSAGES: u32 = 1_000;
/// Rows of one page at most; also what a caller gets who names no number.
const ROWS: u32 = 1_000;
/// Longest wait of one receive: long enough to cost nothing, short enough to notice a caller who is gone.
const WAIT_MS: u64 = 20_000;

/// The service.
#[derive(Clone)]
pub(super) struct Gates {
    door: Door,
    closed: watch::Receiver<bool>,
}

impl Gates {
    /// Of this door, until `closed` says true.
    pub(super) fn new(door: Door, closed: watch::Receiver<bool>) -> Self {
        Self { door, closed }
    }

    /// True once the node stops.
    pub(super) fn closed(&self) -> watch::Receiver<bool> {
        self.closed.clone()
    }

    /// A queue by its name: what is said of one that does not exist would be true, and mislead.
    async fn queue(&self, name: String) -> Result<String, Status> {
        let name = named(name, "the queue")?;
        let queues = self.door.read(|store| read::queues(store)).await;
        let queues = queues.map_err(|error| status::of_door(&error))?;
        if queues.iter().any(|queue| queue.name == name) {
            Ok(name)
        } else {
            Err(Status::not_found(format!(
                "there is no queue {name}; `pantherctl queue ls` lists them all"
            )))
        }
    }

    /// A command whose refusal or conflict is an answer.
    async fn execute(&self, kind: command::Kind) -> Result<Response<Reply>, Status> {
        let kind = match self.door.execute(kind).await {
            Ok(kind) => kind,
            Err(DoorError::Refused(refused)) => reply::Kind::Refused(refused),
            Err(DoorError::Conflict(conflict)) => reply::Kind::Conflict(*conflict),
            Err(error) => return Err(status::of_door(&error)),
        };
        Ok(Response::new(Reply { kind: Some(kind) }))
    }
}

fn named(name: String, what: &str) -> Result<String, Status> {
    if name.is_empty() {
        Err(Status::invalid_argument(format!("{what} is not named")))
    } else {
        Ok(name)
    }
}

#[tonic::async_trait]
impl Doors for Gates {
    type ConverseStream = super::converse::Answers;

    async fn converse(
        &self,
        request: Request<Streaming<DoorCall>>,
    ) -> Result<Response<Self::ConverseStream>, Status> {
        let answers = super::converse::converse(self, request.into_inner());
        Ok(Response::new(answers))
    }

    async fn transact(&self, request: Request<Transact>) -> Result<Response<Reply>, Status> {
        let mut transact = request.into_inner();
        transact.request_time_ms = self.door.issued_ms(transact.request_time_ms);
        self.execute(command::Kind::Transact(transact)).await
    }

    async fn receive(&self, request: Request<DoorReceive>) -> Result<Response<Received>, Status> {
        let DoorReceive {
            queue,
            max,
            wait_ms,
        } = request.into_inner();
        let queue = named(queue, "the queue")?;
        let wait = Duration::from_millis(wait_ms.min(WAIT_MS));
        let received = tokio::select! {
            received = self.door.receive(&queue, max.clamp(1, MESSAGES), wait) => received,
            () = until(self.closed.clone()) => {
                return Err(Status::unavailable("the node is stopping"));
            }
        };
        let received = received.map_err(|error| status::of_door(&error))?;
        if received.messages.is_empty() {
            self.queue(queue).await?;
        }
        Ok(Response::new(received))
    }

    async fn extend(&self, request: Request<Extend>) -> Result<Response<Reply>, Status> {
        self.execute(command::Kind::Extend(request.into_inner()))
            .await
    }

    async fn give_back(&self, request: Request<GiveBack>) -> Result<Response<Reply>, Status> {
        self.execute(command::Kind::GiveBack(request.into_inner()))
            .await
    }

    async fn get(&self, request: Request<DoorGet>) -> Result<Response<DoorRow>, Status> {
        let DoorGet { table, key } = request.into_inner();
        let table = named(table, "the table")?;
        let key = key.ok_or_else(|| Status::invalid_argument("the key is missing"))?;
        let row = self
            .door
            .get(&table, &key)
            .await
            .map_err(|error| status::of_door(&error))?;
        Ok(Response::new(DoorRow {
            key: Some(key),
            row,
        }))
    }

    async fn query(&self, request: Request<DoorQuery>) -> Result<Response<DoorRows>, Status> {
        let asked = request.into_inner();
        let limit = match asked.limit {
            0 => ROWS,
            limit => limit.min(ROWS),
        };
        let query = Query {
            table: named(asked.table, "the table")?,
            tenant: asked.tenant,
            index: asked.index,
            hash: asked.hash,
            from: asked.from,
            to: asked.to,
            limit: usize::try_from(limit).unwrap_or(usize::MAX),
            descending: asked.descending,
            after: (!asked.after.is_empty()).then(|| asked.after.to_vec()),
            ..Query::default()
        };
        let page = self
            .door
            .query(query)
            .await
            .map_err(|error| status::of_door(&error))?;
        let row = |(key, row)| DoorRow {
            key: Some(key),
            row: Some(row),
        };
        Ok(Response::new(DoorRows {
            rows: page.rows.into_iter().map(row).collect(),
            next: page.next.unwrap_or_default().into(),
        }))
    }
}
