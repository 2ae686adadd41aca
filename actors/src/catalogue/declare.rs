//! The queues, tables and topics that the catalogue declares to the cluster.

use panther_proto::v1::{
    Declare, FeedSpec, IndexSpec, QueueSpec, Subscription, TableSpec, TextSet, TopicSpec,
};

use super::{Built, Catalogue, Component, Kind};

/// Window in which a deduplication id counts, as in the original's queues.
const DEDUP_WINDOW_MS: u64 = 5 * 60 * 1000;
/// Sessions lost with a message alone before it is a dead letter.
const LONELY_DEATHS: u32 = 3;
/// Bytes that one queue may hold.
const QUEUE_BYTES: u64 = 20 << 30;

/// The version of a build's declarations, from its version `major.minor.patch`. A newer build's declarations replace those of an older one.
#[must_use]
pub fn version(build: &str) -> u64 {
    let numbers = build.split('-').next().unwrap_or_default();
    let mut numbers = numbers
        .split('.')
        .map(|part| part.parse::<u64>().unwrap_or(0).min(999));
    let mut next = || numbers.next().unwrap_or(0);
    (next() * 1_000 + next()) * 1_000 + next()
}

/// The declarations of a build of this version.
#[must_use]
pub fn declarations(catalogue: &Catalogue, build: &str) -> Declare {
    let of_kind = |kind| {
        catalogue
            .all()
            .filter(move |component: &&Component| component.kind == kind)
    };
    Declare {
        version: version(build),
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
        feeds: attributes
            .feeds
            .into_iter()
            .map(|feed| FeedSpec {
                queue: feed.queue,
                coalesce_by: feed.coalesce_by,
            })
            .collect(),
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
        fair: attributes.fair,
        lonely_deaths: if dead_letter { 0 } else { LONELY_DEATHS },
        dead_letter,
        max_bytes: QUEUE_BYTES,
    }
}

fn topic(catalogue: &Catalogue, component: &Component) -> TopicSpec {
    let queues = catalogue
        .all()
        .filter_map(|subscriber| Some((&subscriber.name, subscriber.queue.as_ref()?)));
    let subscriptions = queues
        .flat_map(|(name, queue)| queue.subscribes.iter().map(move |filter| (name, filter)))
        .filter(|(_, filter)| filter.topic == component.name)
        // A queue whose consumer is not built is not subscribed: its messages would pile up.
        .filter(|(name, _)| {
            catalogue
                .consumer_of(name)
                .is_some_and(|consumer| consumer.built != Built::No)
        })
        .map(|(name, filter)| Subscription {
            queue: name.clone(),
            filter: filter
                .wanted
                .iter()
                .map(|(attribute, values)| {
                    let items = values.clone();
                    (attribute.clone(), TextSet { items })
                })
                .collect(),
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
    fn a_newer_build_has_a_higher_version_and_all_are_above_the_numbers_counted_by_hand() {
        let versions = ["0.1.0", "0.1.1", "0.2.0-rc.1", "0.12.3", "1.0.0", "12.0.0"];
        let numbers: Vec<u64> = versions.into_iter().map(version).collect();
        assert!(numbers.is_sorted(), "{numbers:?}");
        assert!(numbers[0] > 4, "earlier builds declared versions up to 4");
    }
}
