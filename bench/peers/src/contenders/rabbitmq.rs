//! RabbitMQ: a durable quorum queue of three members, publisher confirms, acknowledgements by hand (which have no answer).

use std::time::Duration;

use futures::StreamExt;
use lapin::options::{
    BasicAckOptions, BasicConsumeOptions, BasicPublishOptions, BasicQosOptions,
    ConfirmSelectOptions, QueueDeclareOptions, QueuePurgeOptions,
};
use lapin::types::{AMQPValue, FieldTable};
use lapin::{BasicProperties, Connection, ConnectionProperties};
use tokio::task::JoinSet;

use super::Failure;
use crate::load::{self, Cell, HELD, Measured, OnTheirWay};

const QUEUE: &str = "bench";

pub async fn run(endpoints: &[String], cell: Cell, time: Duration) -> Result<Measured, Failure> {
    let mut connections = Vec::new();
    for endpoint in endpoints {
        let address = format!("{endpoint}/%2f");
        connections.push(Connection::connect(&address, ConnectionProperties::default()).await?);
    }
    let declaring = connections[0].create_channel().await?;
    let mut arguments = FieldTable::default();
    arguments.insert(
        "x-queue-type".into(),
        AMQPValue::LongString("quorum".into()),
    );
    arguments.insert("x-quorum-initial-group-size".into(), AMQPValue::LongInt(3));
    let durable = QueueDeclareOptions {
        durable: true,
        ..QueueDeclareOptions::default()
    };
    declaring
        .queue_declare(QUEUE.into(), durable, arguments)
        .await?;
    declaring
        .queue_purge(QUEUE.into(), QueuePurgeOptions::default())
        .await?;
    let way = OnTheirWay::new(cell.clients, time);
    let mut consumers = JoinSet::new();
    for number in 0..load::consumers(cell.clients) {
        let channel = connections[number % connections.len()]
            .create_channel()
            .await?;
        channel
            .basic_qos(u16::try_from(HELD)?, BasicQosOptions::default())
            .await?;
        let mut deliveries = channel
            .basic_consume(
                QUEUE.into(),
                format!("consumer-{number}").into(),
                BasicConsumeOptions::default(),
                FieldTable::default(),
            )
            .await?;
        let way = way.clone();
        consumers.spawn(async move {
            let _channel = channel;
            loop {
                let wait = Duration::from_millis(500);
                match tokio::time::timeout(wait, deliveries.next()).await {
                    Ok(Some(delivery)) => {
                        let delivery = delivery?;
                        delivery.ack(BasicAckOptions::default()).await?;
                        way.ended(&delivery.data);
                    }
                    Ok(None) => return Ok(()),
                    Err(_) if std::time::Instant::now() > way.until => return Ok::<_, Failure>(()),
                    Err(_) => {}
                }
            }
        });
    }
    let mut producers = JoinSet::new();
    for number in 0..cell.clients {
        let channel = connections[number % connections.len()]
            .create_channel()
            .await?;
        channel
            .confirm_select(ConfirmSelectOptions::default())
            .await?;
        let way = way.clone();
        producers.spawn(async move {
            while let Some(body) = way.next(cell.bytes).await {
                channel
                    .basic_publish(
                        "".into(),
                        QUEUE.into(),
                        BasicPublishOptions::default(),
                        &body,
                        BasicProperties::default().with_delivery_mode(2),
                    )
                    .await?
                    .await?;
            }
            Ok::<_, Failure>(())
        });
    }
    load::all(producers).await?;
    load::all(consumers).await?;
    Ok(way.measured())
}
