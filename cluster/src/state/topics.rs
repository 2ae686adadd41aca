//! Fan-out: a published message is sent to every subscribed queue whose filter it passes.

use std::collections::BTreeMap;

use panther_proto::v1::{Send, Subscription};

use super::queues::send::{self, Source};
use super::{Stop, Tx};

/// Sends to each matching subscriber. Returns the message ids, joined by commas; duplicates have no id.
pub(super) fn publish(
    tx: &mut Tx<'_>,
    topic: &str,
    send: &Send,
    source: Source,
) -> Result<String, Stop> {
    let spec = tx.topic(topic)?;
    let mut ids = Vec::new();
    for subscription in spec
        .subscriptions
        .iter()
        .filter(|subscription| passes(subscription, &send.attributes))
    {
        let id = send::run(tx, &subscription.queue, send, source)?;
        if !id.is_empty() {
            ids.push(id);
        }
    }
    Ok(ids.join(","))
}

fn passes(subscription: &Subscription, attributes: &BTreeMap<String, String>) -> bool {
    subscription.filter.iter().all(|(name, values)| {
        attributes
            .get(name)
            .is_some_and(|value| values.items.contains(value))
    })
}

#[cfg(test)]
mod tests {
    use panther_proto::v1::TextSet;

    use super::*;

    #[test]
    fn a_filter_needs_every_named_attribute_to_have_one_of_its_values() {
        let filter = BTreeMap::from([
            (
                "type".to_owned(),
                TextSet {
                    items: vec!["LogData".into(), "CloudSecurity".into()],
                },
            ),
            (
                "id".to_owned(),
                TextSet {
                    items: vec!["AWS.CloudTrail".into()],
                },
            ),
        ]);
        let subscription = Subscription {
            queue: "q".into(),
            filter,
        };
        let attributes = |pairs: &[(&str, &str)]| {
            pairs
                .iter()
                .map(|(name, value)| ((*name).to_owned(), (*value).to_owned()))
                .collect()
        };
        assert!(passes(
            &subscription,
            &attributes(&[
                ("type", "LogData"),
                ("id", "AWS.CloudTrail"),
                ("other", "x")
            ])
        ));
        assert!(!passes(&subscription, &attributes(&[("type", "LogData")])));
        assert!(!passes(
            &subscription,
            &attributes(&[("type", "RuleMatches"), ("id", "AWS.CloudTrail")])
        ));
    }
}
