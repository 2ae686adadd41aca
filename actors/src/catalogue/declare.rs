//! The queues, tables and topics that the catalogue declares to the cluster.

use std::collections::BTreeMap;

use panther_proto::v1::{
    Declare, FeedSpec, IndexSpec, QueueSpec, Subscription, TableSpec, TextSet, TopicSpec,
};

use super::{Built, Catalogue, Component, Kind, catalogue};

/// Version of the declarations: raised whenever what [`declarations`] gives changes (a test tells when).
pub const DECLARATIONS: u64 = 5;

/// Window in which a deduplication id counts, as in the original's queues.
const DEDUP_WINDOW_MS: u64 = 5 * 60 * 1000;
/// Sessions lost with a message alone before it is a dead letter.
const LONELY_DEATHS: u32 = 3;
/// Bytes that one queue may hold.
const QUEUE_BYTES: u64 = 20 << 30;
/// The queue whose sources take turns.
const FAIR: &str = "panther-input-data-notifications-queue";

/// What this build declares to the cluster.
#[must_use]
pub fn declarations() -> Declare {
    let catalogue = catalogue();
    let of_kind = |kind| {
        catalogue
            .all()
            .filter(move |component: &&Component| component.kind == kind)
    };
    Declare {
        version: DECLARATIONS,
        tables: of_kind(Kind::Table).map(table).collect(),
        // Dead letter queues first: a queue names one.
        queues: of_kind(Kind::Dlq)
            .map(queue)
            .chain(of_kind(Kind::Queue).map(queue))
            .collect(),
        topics: of_kind(Kind::Topic)
            .map(|component| topic(catalogue, component))
            .collect(),
    }
}

fn table(component: &Component) -> TableSpec {
    let attributes = component.table.clone().unwrap_or_default();
    TableSpec {
        name: component.name.clone(),
        indexes: attributes
            .indexes
            .into_iter()
            .map(|index| IndexSpec {
                name: index.name,
                hash: index.hash,
                range: index.range,
                unique: index.unique,
            })
            .collect(),
        ttl_attribute: attributes.ttl_attribute,
        // The count of alerts that a row has opened tells one alert's records from the next one's.
        feed: (!attributes.feed.is_empty()).then(|| FeedSpec {
            queue: attributes.feed,
            coalesce_by: vec!["alertCount".to_owned()],
        }),
    }
}

fn queue(component: &Component) -> QueueSpec {
    let attributes = component.queue.clone().unwrap_or_default();
    let dead_letter = component.kind == Kind::Dlq;
    QueueSpec {
        name: component.name.clone(),
        visibility_ms: attributes.visibility_seconds.unwrap_or(30) * 1000,
        retention_ms: attributes.retention_seconds * 1000,
        max_receive_count: attributes.max_receive_count.unwrap_or(0),
        dlq: attributes.dlq.unwrap_or_default(),
        dedup_window_ms: if dead_letter { 0 } else { DEDUP_WINDOW_MS },
        fair: component.name == FAIR,
        lonely_deaths: if dead_letter { 0 } else { LONELY_DEATHS },
        dead_letter,
        max_bytes: QUEUE_BYTES,
    }
}

fn topic(catalogue: &Catalogue, component: &Component) -> TopicSpec {
    let filters = component.topic.clone().unwrap_or_default().filters;
    let subscriptions = filters
        .into_iter()
        // A queue whose consumer is not built is not subscribed: nothing would ever empty it.
        .filter(|filter| {
            catalogue
                .consumer_of(&filter.queue)
                .is_some_and(|consumer| consumer.built != Built::No)
        })
        .map(|filter| {
            let mut wanted = BTreeMap::new();
            for (name, values) in [("type", filter.kinds), ("id", filter.ids)] {
                if !values.is_empty() {
                    wanted.insert(name.to_owned(), TextSet { items: values });
                }
            }
            Subscription {
                queue: filter.queue,
                filter: wanted,
            }
        })
        .collect();
    TopicSpec {
        name: component.name.clone(),
        subscriptions,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_version_rises_when_declarations_change() {
        use sha2::{Digest, Sha256};
        // When this fails: raise DECLARATIONS and write the new digest here, or running clusters never see the change.
        let digest = Sha256::digest(prost::Message::encode_to_vec(&declarations()));
        let digest: String = digest
            .iter()
            .take(8)
            .map(|byte| format!("{byte:02x}"))
            .collect();
        assert_eq!((DECLARATIONS, digest.as_str()), (5, "347dd1d38704a5a3"));
    }

    #[test]
    fn only_queues_with_a_built_consumer_are_subscribed() {
        let topics = declarations().topics;
        let processed = topics
            .iter()
            .find(|topic| topic.name == "panther-processed-data-notifications")
            .unwrap();
        let queues: Vec<&str> = processed
            .subscriptions
            .iter()
            .map(|subscription| subscription.queue.as_str())
            .collect();
        assert_eq!(queues, ["panther-rules-engine-queue"]);
    }
}
