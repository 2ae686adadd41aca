//! Clients of a cluster under faults. If a node does not answer, a client sends the same request to another node, until it is acknowledged.
//! The clients' records are compared with the final state.

use std::collections::BTreeSet;
use std::sync::Arc;
use std::time::{Duration, Instant};

use panther_proto::v1::doors_client::DoorsClient;
use panther_proto::v1::{
    DoorGet, DoorReceive, Key, Receipt, Reply, RowChange, Send, Transact, Update, reply, send,
    update, value,
};
use parking_lot::Mutex;
use tokio::sync::watch;
use tonic::transport::Channel;
use tonic::{Code, Status};

use crate::doors::{self, Posted};
use crate::node::{Caller, RequestId};
use crate::{During, Failure, Result};

/// A table without a fixed kind of rows.
pub const TABLE: &str = "panther-kv-store";
/// A dead letter queue: no component receives from it, so the receivers of this load are its only consumers.
pub const QUEUE: &str = "panther-alerts-queue-dlq";
/// Deadline of one call, after which the client goes to another node.
const CALL: Duration = Duration::from_secs(5);
/// Pause of a client before the next attempt.
const PAUSE: Duration = Duration::from_millis(10);
/// Deadline of one request over all nodes. When it is exceeded, the run has failed.
const PATIENCE: Duration = Duration::from_secs(90);
/// Lines of a body that match no rule.
const PLAIN: usize = 4;

/// The acknowledged requests of the clients.
#[derive(Debug, Default)]
pub struct Notes {
    /// Increments, by adder.
    pub sums: Vec<i64>,
    /// Ids of the messages that were sent.
    pub sent: BTreeSet<String>,
    /// Number of completed messages.
    pub done: usize,
    /// Number of posted bodies.
    pub bodies: usize,
    /// Number of requests that had to be retried.
    pub again: usize,
    /// The longest request.
    pub longest: Duration,
    /// Stale reads: reads that did not show writes acknowledged before they began.
    pub stale: Vec<String>,
}

/// A client's connections to the nodes.
#[derive(Clone)]
pub struct Client {
    callers: Vec<Caller>,
    channels: Vec<Option<DoorsClient<Channel>>>,
    at: usize,
    notes: Arc<Mutex<Notes>>,
    stop: watch::Receiver<bool>,
}

/// The addresses for posts, one per node.
#[derive(Debug, Clone)]
pub struct Ingest {
    /// The addresses.
    pub urls: Vec<String>,
    /// The source's token.
    pub token: String,
}

fn may_pass(status: &Status) -> bool {
    doors::may_pass(status) || status.code() == Code::Unknown
}

pub(crate) fn key(hash: String) -> Key {
    Key {
        hash,
        ..Key::default()
    }
}

/// Increments a row.
fn plus_one(hash: String) -> RowChange {
    RowChange {
        table: TABLE.to_owned(),
        key: Some(key(hash)),
        updates: vec![Update {
            attribute: "n".to_owned(),
            change: Some(update::Change::Add(1)),
        }],
        ..RowChange::default()
    }
}

impl Client {
    /// Creates a client that begins at one of the nodes.
    #[must_use]
    pub fn new(
        callers: Vec<Caller>,
        at: usize,
        notes: Arc<Mutex<Notes>>,
        stop: watch::Receiver<bool>,
    ) -> Self {
        Self {
            channels: vec![None; callers.len()],
            at: at % callers.len().max(1),
            callers,
            notes,
            stop,
        }
    }

    async fn channel(&mut self) -> std::result::Result<DoorsClient<Channel>, Status> {
        if let Some(Some(client)) = self.channels.get(self.at) {
            return Ok(client.clone());
        }
        let Some(caller) = self.callers.get(self.at) else {
            return Err(Status::unavailable("no nodes"));
        };
        let connected = DoorsClient::connect(format!("unix:{}", caller.socket.display())).await;
        let client = connected.map_err(|error| Status::unavailable(error.to_string()))?;
        if let Some(place) = self.channels.get_mut(self.at) {
            *place = Some(client.clone());
        }
        Ok(client)
    }

    /// Calls one node after another until one answers. A rejection is an answer.
    async fn call<T, Called>(
        &mut self,
        what: &str,
        mut call: impl FnMut(DoorsClient<Channel>) -> Called,
    ) -> Result<std::result::Result<T, Status>>
    where
        Called: Future<Output = std::result::Result<T, Status>>,
    {
        let began = Instant::now();
        loop {
            let tried = async {
                let client = self.channel().await?;
                call(client).await
            };
            let answer = tokio::time::timeout(CALL, tried)
                .await
                .unwrap_or_else(|_| Err(Status::deadline_exceeded("no answer in time")));
            match answer {
                Err(status) if may_pass(&status) => {
                    if began.elapsed() > PATIENCE {
                        return Err(Failure::Broken(format!(
                            "{what} has no answer after {} s: {status}",
                            PATIENCE.as_secs()
                        )));
                    }
                    self.notes.lock().again += 1;
                    if let Some(place) = self.channels.get_mut(self.at) {
                        *place = None;
                    }
                    self.at = (self.at + 1) % self.callers.len();
                    tokio::time::sleep(PAUSE).await;
                }
                answer => {
                    let mut notes = self.notes.lock();
                    notes.longest = notes.longest.max(began.elapsed());
                    return Ok(answer);
                }
            }
        }
    }

    /// Executes one change exactly once, with any number of retries. Returns the door's reply.
    ///
    /// # Errors
    /// No node answers before the deadline.
    pub async fn transact(
        &mut self,
        id: &str,
        mut transact: Transact,
    ) -> Result<std::result::Result<Reply, Status>> {
        let request = RequestId::new(id.to_owned());
        transact.request_id = request.id;
        transact.request_time_ms = request.time_ms;
        self.call(id, |mut client| {
            let transact = transact.clone();
            async move {
                let answer = client.transact(transact).await;
                answer.map(tonic::Response::into_inner)
            }
        })
        .await
    }

    /// Executes a change that must not be rejected.
    ///
    /// # Errors
    /// No node answers before the deadline, or the change is rejected.
    pub async fn done(&mut self, id: &str, transact: Transact) -> Result<()> {
        match self.transact(id, transact).await? {
            Ok(Reply {
                kind: Some(reply::Kind::Done(_)),
            }) => Ok(()),
            other => Err(Failure::Broken(format!("{id}: {other:?}"))),
        }
    }

    /// Increments a row, for a measurement. Returns after the acknowledgement.
    ///
    /// # Errors
    /// No node answers before the deadline.
    pub async fn probe(&mut self, id: &str) -> Result<()> {
        let change = Transact {
            changes: vec![plus_one("chaos-probe".to_owned())],
            ..Transact::default()
        };
        self.done(id, change).await
    }

    /// Reads the number in a row.
    ///
    /// # Errors
    /// No node answers before the deadline.
    pub async fn number(&mut self, hash: &str) -> Result<i64> {
        Ok(match self.attribute(hash, "n").await? {
            Some(value::Kind::Int(number)) => number,
            _ => 0,
        })
    }

    /// Reads an attribute of a row.
    ///
    /// # Errors
    /// No node answers before the deadline.
    pub async fn attribute(&mut self, hash: &str, name: &str) -> Result<Option<value::Kind>> {
        let get = DoorGet {
            table: TABLE.to_owned(),
            key: Some(key(hash.to_owned())),
        };
        let row = self
            .call(hash, |mut client| {
                let get = get.clone();
                async move { client.get(get).await.map(tonic::Response::into_inner) }
            })
            .await?
            .during(format!("reading {hash}"))?;
        let found = row.row.and_then(|row| row.attributes.get(name).cloned());
        Ok(found.and_then(|value| value.kind))
    }

    /// Increments a row of its own repeatedly, and reads it at another node. The row has no other writer, so the read must show exactly the
    /// acknowledged value.
    ///
    /// # Errors
    /// No node answers before the deadline, or a change is rejected.
    pub async fn add(mut self, adder: usize) -> Result<()> {
        let hash = format!("chaos-sum-{adder}");
        let mut reader = Self {
            at: (self.at + 1) % self.callers.len(),
            ..self.clone()
        };
        let mut sum = 0;
        while !*self.stop.borrow() {
            let change = Transact {
                changes: vec![plus_one(hash.clone())],
                ..Transact::default()
            };
            self.done(&format!("{hash}-{sum}"), change).await?;
            sum += 1;
            if let Some(noted) = self.notes.lock().sums.get_mut(adder) {
                *noted = sum;
            }
            let read = reader.number(&hash).await?;
            if read != sum {
                let stale = format!("{hash}: {sum} acknowledged, {read} read");
                self.notes.lock().stale.push(stale);
            }
        }
        Ok(())
    }

    /// Sends messages, each with a unique body.
    ///
    /// # Errors
    /// No node answers before the deadline, or a message is rejected.
    pub async fn send(mut self, sender: usize) -> Result<()> {
        let mut number = 0;
        while !*self.stop.borrow() {
            let id = format!("chaos-message-{sender}-{number}");
            let change = Transact {
                sends: vec![Send {
                    to: Some(send::To::Queue(QUEUE.to_owned())),
                    body: id.clone().into_bytes().into(),
                    ..Send::default()
                }],
                ..Transact::default()
            };
            self.done(&id, change).await?;
            self.notes.lock().sent.insert(id);
            number += 1;
            tokio::time::sleep(PAUSE).await;
        }
        Ok(())
    }

    /// Receives messages and completes each together with its effect: an increment of a row of its own. Returns when all sent messages are
    /// done.
    ///
    /// # Errors
    /// No node answers before the deadline.
    pub async fn receive(mut self, receiver: usize) -> Result<()> {
        let mut attempts = 0_u64;
        let receive = DoorReceive {
            queue: QUEUE.to_owned(),
            max: 10,
            wait_ms: 500,
        };
        loop {
            let received = self
                .call("a receive", |mut client| {
                    let receive = receive.clone();
                    async move {
                        client
                            .receive(receive)
                            .await
                            .map(tonic::Response::into_inner)
                    }
                })
                .await?
                .during("receiving")?;
            for message in received.messages {
                let body = String::from_utf8_lossy(&message.body).into_owned();
                attempts += 1;
                let request = format!("end-{receiver}-{attempts}-{body}");
                if self.end(&request, &body, message.receipt).await? {
                    self.notes.lock().done += 1;
                }
            }
            let notes = self.notes.lock();
            if *self.stop.borrow() && notes.done >= notes.sent.len() {
                return Ok(());
            }
        }
    }

    /// Completes a message. Returns false if the receipt was stale, so that another receiver completes the message.
    async fn end(&mut self, request: &str, body: &str, receipt: Option<Receipt>) -> Result<bool> {
        let change = Transact {
            done: receipt,
            changes: vec![plus_one(format!("done-{body}"))],
            ..Transact::default()
        };
        match self.transact(request, change).await? {
            Ok(Reply {
                kind: Some(reply::Kind::Done(_)),
            }) => Ok(true),
            Ok(Reply {
                kind: Some(reply::Kind::Refused(_)),
            }) => Ok(false),
            Err(status) if status.code() == Code::FailedPrecondition => Ok(false),
            other => Err(Failure::Broken(format!("{request}: {other:?}"))),
        }
    }

    /// Posts bodies of log lines. One line of each body causes an alert of its own.
    ///
    /// # Errors
    /// A body is rejected permanently.
    pub async fn post(self, ingest: Ingest, every: Duration) -> Result<()> {
        let http = doors::client()?;
        let mut at = self.at;
        while !*self.stop.borrow() {
            let number = self.notes.lock().bodies;
            let key = format!("chaos-body-{number}");
            let body = body(number);
            loop {
                let url = &ingest.urls[at % ingest.urls.len()];
                let sent = doors::post_once(&http, url, &ingest.token, &key, body.clone());
                match tokio::time::timeout(CALL, sent).await {
                    Ok(Ok(Posted::Taken(_))) => break,
                    Ok(Err(failure)) => return Err(failure),
                    _ => {
                        at += 1;
                        self.notes.lock().again += 1;
                        tokio::time::sleep(PAUSE).await;
                    }
                }
            }
            self.notes.lock().bodies = number + 1;
            at += 1;
            tokio::time::sleep(every).await;
        }
        Ok(())
    }
}

/// Lines of one body.
pub const LINES: usize = PLAIN + 1;

fn body(number: usize) -> Vec<u8> {
    let address = format!("10.{}.{}.{}", number >> 16, number >> 8 & 255, number & 255);
    let mut lines = format!(
        "{address} - - [05/Mar/2026:14:00:00 +0000] \"GET /body-{number}/.env HTTP/1.1\" 404 153 \"-\" \"curl/8.5.0\"\n"
    );
    for line in 0..PLAIN {
        lines.push_str(&format!(
            "192.0.2.7 - - [05/Mar/2026:14:05:{line:02} +0000] \"GET /body-{number}/{line} HTTP/1.1\" 200 512 \"-\" \"chaos\"\n"
        ));
    }
    lines.into_bytes()
}
