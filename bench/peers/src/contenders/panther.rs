//! panther-cluster: doors over one stream a node, shared by its clients.

use std::collections::HashMap;
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Arc, Mutex};
use std::time::Duration;

use panther_proto::v1::doors_client::DoorsClient;
use panther_proto::v1::{
    DoorAnswer, DoorCall, DoorGet, DoorReceive, Key, RowChange, Send, Transact, Update, Value,
    door_answer, door_call, reply, send, update, value,
};
use tokio::sync::{mpsc, oneshot};
use tokio::task::JoinSet;
use tokio_stream::wrappers::ReceiverStream;

use super::Failure;
use crate::load::{self, Cell, Client, HELD, Kind, Measured, OnTheirWay, one_by_one};

/// A table in which rows of any kind may stand.
const TABLE: &str = "panther-kv-store";
/// A dead letter queue: no component receives from it.
const QUEUE: &str = "panther-alerts-queue-dlq";
/// Rows of one client.
const ROWS: usize = 100;

type Waiting = Arc<Mutex<HashMap<u64, oneshot::Sender<door_answer::Answer>>>>;

/// A stream of calls to one node.
#[derive(Clone)]
struct Stream {
    calls: mpsc::Sender<DoorCall>,
    waiting: Waiting,
    next: Arc<AtomicU64>,
}

impl Stream {
    async fn open(socket: &str) -> Result<Self, Failure> {
        let mut doors = DoorsClient::connect(format!("unix:{socket}")).await?;
        let (calls, receiver) = mpsc::channel(1_024);
        let mut answers = doors
            .converse(ReceiverStream::new(receiver))
            .await?
            .into_inner();
        let waiting = Waiting::default();
        let told = waiting.clone();
        tokio::spawn(async move {
            loop {
                match answers.message().await {
                    Ok(Some(DoorAnswer { number, answer })) => {
                        let caller = told.lock().ok().and_then(|mut told| told.remove(&number));
                        if let (Some(caller), Some(answer)) = (caller, answer) {
                            let _ = caller.send(answer);
                        }
                    }
                    Ok(None) => break,
                    Err(status) => {
                        eprintln!("a stream has ended: {status}");
                        break;
                    }
                }
            }
            // Whoever waits learns that nothing comes any more.
            if let Ok(mut told) = told.lock() {
                told.clear();
            }
        });
        Ok(Self {
            calls,
            waiting,
            next: Arc::default(),
        })
    }

    async fn call(&self, ask: door_call::Ask) -> Result<door_answer::Answer, Failure> {
        let number = self.next.fetch_add(1, Ordering::Relaxed);
        let (sender, receiver) = oneshot::channel();
        if let Ok(mut waiting) = self.waiting.lock() {
            waiting.insert(number, sender);
        }
        let call = DoorCall {
            number,
            ask: Some(ask),
        };
        self.calls.send(call).await?;
        match receiver.await? {
            door_answer::Answer::Failure(failure) => Err(failure.message.into()),
            answer => Ok(answer),
        }
    }

    async fn transact(&self, transact: Transact) -> Result<(), Failure> {
        match self.call(door_call::Ask::Transact(transact)).await? {
            door_answer::Answer::Reply(reply)
                if matches!(reply.kind, Some(reply::Kind::Done(_))) =>
            {
                Ok(())
            }
            other => Err(format!("{other:?}").into()),
        }
    }
}

struct One {
    stream: Stream,
    number: usize,
    cell: Cell,
    value: Vec<u8>,
}

impl Client for One {
    async fn once(&mut self, turn: usize) -> Result<(), Failure> {
        let key = Some(Key {
            hash: format!("row-{}-{}", self.number, turn % ROWS),
            ..Key::default()
        });
        if self.cell.kind == Kind::Write {
            let change = RowChange {
                table: TABLE.to_owned(),
                key,
                replace: true,
                updates: vec![Update {
                    attribute: "v".to_owned(),
                    change: Some(update::Change::Set(Value {
                        kind: Some(value::Kind::Blob(self.value.clone().into())),
                    })),
                }],
                ..RowChange::default()
            };
            return self
                .stream
                .transact(Transact {
                    changes: vec![change],
                    ..Transact::default()
                })
                .await;
        }
        let get = DoorGet {
            table: TABLE.to_owned(),
            key,
        };
        match self.stream.call(door_call::Ask::Get(get)).await? {
            door_answer::Answer::Row(_) => Ok(()),
            other => Err(format!("{other:?}").into()),
        }
    }
}

pub async fn run(endpoints: &[String], cell: Cell, time: Duration) -> Result<Measured, Failure> {
    let mut streams = Vec::new();
    for socket in endpoints {
        streams.push(Stream::open(socket).await?);
    }
    if cell.kind == Kind::Queue {
        return queue(&streams, cell, time).await;
    }
    one_by_one(cell.clients, time, |number| One {
        stream: streams[number % streams.len()].clone(),
        number,
        cell,
        value: vec![b'x'; cell.bytes],
    })
    .await
}

async fn queue(streams: &[Stream], cell: Cell, time: Duration) -> Result<Measured, Failure> {
    let way = OnTheirWay::new(cell.clients, time);
    let mut producers = JoinSet::new();
    for number in 0..cell.clients {
        let (stream, way) = (streams[number % streams.len()].clone(), way.clone());
        producers.spawn(async move {
            while let Some(body) = way.next(cell.bytes).await {
                stream
                    .transact(Transact {
                        sends: vec![Send {
                            to: Some(send::To::Queue(QUEUE.to_owned())),
                            body: body.into(),
                            ..Send::default()
                        }],
                        ..Transact::default()
                    })
                    .await?;
            }
            Ok::<_, Failure>(())
        });
    }
    let mut consumers = JoinSet::new();
    for number in 0..load::consumers(cell.clients) {
        let (stream, way) = (streams[number % streams.len()].clone(), way.clone());
        consumers.spawn(async move { consume(&stream, &way).await });
    }
    load::all(producers).await?;
    // What is on its way comes to its end, so that the next cell begins with an empty queue.
    load::all(consumers).await?;
    Ok(way.measured())
}

/// Receives and ends until nothing comes any more.
async fn consume(stream: &Stream, way: &OnTheirWay) -> Result<(), Failure> {
    let mut ends = JoinSet::new();
    loop {
        let receive = DoorReceive {
            queue: QUEUE.to_owned(),
            max: u32::try_from(HELD)?,
            wait_ms: 500,
        };
        let door_answer::Answer::Received(received) =
            stream.call(door_call::Ask::Receive(receive)).await?
        else {
            return Err("an answer of another kind".into());
        };
        if received.messages.is_empty() && std::time::Instant::now() > way.until {
            break;
        }
        for message in received.messages {
            let (stream, way) = (stream.clone(), way.clone());
            ends.spawn(async move {
                stream
                    .transact(Transact {
                        done: message.receipt,
                        ..Transact::default()
                    })
                    .await?;
                way.ended(&message.body);
                Ok::<_, Failure>(())
            });
        }
        while ends.len() > HELD {
            if let Some(ended) = ends.join_next().await {
                ended??;
            }
        }
    }
    load::all(ends).await
}
