//! NATS JetStream: a stream of three replicas on files, work-queue retention, a durable pull consumer, acknowledgements that are acknowledged.

use std::time::Duration;

use async_nats::jetstream::{self, consumer, stream};
use futures::StreamExt;
use tokio::task::JoinSet;

use super::Failure;
use crate::load::{self, Cell, HELD, Measured, OnTheirWay};

pub async fn run(endpoints: &[String], cell: Cell, time: Duration) -> Result<Measured, Failure> {
    let mut contexts = Vec::new();
    for endpoint in endpoints {
        let client = async_nats::connect(endpoint.as_str()).await?;
        contexts.push(jetstream::new(client));
    }
    let config = stream::Config {
        name: "bench".to_owned(),
        subjects: vec!["bench".to_owned()],
        storage: stream::StorageType::File,
        num_replicas: 3,
        retention: stream::RetentionPolicy::WorkQueue,
        ..stream::Config::default()
    };
    let made = contexts[0].get_or_create_stream(config).await?;
    made.purge().await?;
    let durable = consumer::pull::Config {
        durable_name: Some("worker".to_owned()),
        ack_policy: consumer::AckPolicy::Explicit,
        max_ack_pending: 20_000,
        ..consumer::pull::Config::default()
    };
    made.get_or_create_consumer("worker", durable).await?;
    let way = OnTheirWay::new(cell.clients, time);
    let mut consumers = JoinSet::new();
    for number in 0..load::consumers(cell.clients) {
        let context = contexts[number % contexts.len()].clone();
        let way = way.clone();
        consumers.spawn(async move {
            let stream = context.get_stream("bench").await?;
            let consumer: consumer::PullConsumer = stream.get_consumer("worker").await?;
            let mut messages = consumer
                .stream()
                .max_messages_per_batch(HELD)
                .messages()
                .await?;
            let mut ends = JoinSet::new();
            loop {
                let wait = Duration::from_millis(500);
                match tokio::time::timeout(wait, messages.next()).await {
                    Ok(Some(message)) => {
                        let message = message?;
                        let way = way.clone();
                        ends.spawn(async move {
                            message.double_ack().await?;
                            way.ended(&message.payload);
                            Ok::<_, Failure>(())
                        });
                    }
                    Ok(None) => break,
                    Err(_) if std::time::Instant::now() > way.until => break,
                    Err(_) => {}
                }
                while ends.len() > HELD {
                    if let Some(ended) = ends.join_next().await {
                        ended??;
                    }
                }
            }
            load::all(ends).await
        });
    }
    let mut producers = JoinSet::new();
    for number in 0..cell.clients {
        let (context, way) = (contexts[number % contexts.len()].clone(), way.clone());
        producers.spawn(async move {
            while let Some(body) = way.next(cell.bytes).await {
                context.publish("bench", body.into()).await?.await?;
            }
            Ok::<_, Failure>(())
        });
    }
    load::all(producers).await?;
    load::all(consumers).await?;
    Ok(way.measured())
}
