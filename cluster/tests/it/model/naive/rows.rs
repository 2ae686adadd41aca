//! Tables: rows, conditions on their changes, and the feed records of the changes.

use std::collections::BTreeSet;

use panther_proto::v1::{
    Code, Condition, FeedRecord, FeedSpec, Key, Row, RowChange, Send, TableSpec, Transact, Update,
    Value, condition, send, update, value,
};
use prost::Message as _;

use super::{Answer, Naive, No, REQUEST_MS, RowKey};

impl Naive {
    pub(in crate::model) fn row(&self, table: &str, key: &RowKey) -> Option<&Row> {
        let table = &self.tables[table];
        table
            .rows
            .get(key)
            .filter(|row| !expired(&table.spec, row, self.now))
    }

    pub(in crate::model) fn rows(&self, table: &str) -> Vec<(RowKey, Row)> {
        self.tables[table]
            .rows
            .keys()
            .filter_map(|key| Some((key.clone(), self.row(table, key)?.clone())))
            .collect()
    }

    pub(super) fn transact(&mut self, transact: &Transact) -> Result<Answer, No> {
        if !transact.request_id.is_empty() {
            if transact.request_time_ms + REQUEST_MS <= self.now {
                return Err(No::Refused(Code::StaleRequest));
            }
            if let Some(ids) = self.requests.get(&transact.request_id) {
                return Ok(Answer::Done(ids.clone()));
            }
        }
        if let Some(receipt) = &transact.done {
            let id = self.held(receipt)?.id.clone();
            self.take_out(&receipt.queue, &id);
            self.line(&receipt.queue).fates.done.push(id);
        }
        self.change_all(&transact.changes)?;
        let bounded = transact.done.is_none();
        let mut ids = Vec::new();
        for send in &transact.sends {
            ids.push(match send.to.as_ref().unwrap() {
                send::To::Queue(queue) => self.send(queue, send, false, bounded)?,
                send::To::Topic(topic) => {
                    let mut sent = Vec::new();
                    for subscription in self.topics[topic].subscriptions.clone() {
                        let passes = subscription.filter.iter().all(|(name, allowed)| {
                            send.attributes
                                .get(name)
                                .is_some_and(|value| allowed.items.contains(value))
                        });
                        if passes {
                            sent.push(self.send(&subscription.queue, send, false, bounded)?);
                        }
                    }
                    sent.retain(|id| !id.is_empty());
                    sent.join(",")
                }
            });
        }
        if !transact.request_id.is_empty() {
            self.requests
                .insert(transact.request_id.clone(), ids.clone());
        }
        Ok(Answer::Done(ids))
    }

    pub(super) fn change_all(&mut self, changes: &[RowChange]) -> Result<(), No> {
        for change in changes {
            let row = self.row(&change.table, &row_key(change.key.as_ref().unwrap()));
            if !change
                .conditions
                .iter()
                .all(|condition| holds(condition, row))
            {
                return Err(No::Conflict);
            }
        }
        for change in changes {
            self.change(change)?;
        }
        for change in changes {
            for index in self.tables[&change.table].spec.indexes.clone() {
                let mut seen = BTreeSet::new();
                for ((tenant, ..), row) in self.rows(&change.table) {
                    let Some(place) = comparable(&row, &index.hash) else {
                        continue;
                    };
                    if index.unique && !seen.insert((tenant, format!("{place:?}"))) {
                        return Err(No::Refused(Code::NotUnique));
                    }
                }
            }
        }
        Ok(())
    }

    pub(super) fn change(&mut self, change: &RowChange) -> Result<(), No> {
        let key = row_key(change.key.as_ref().unwrap());
        let old = self.row(&change.table, &key).cloned();
        if change.updates.is_empty() && !change.delete && !change.replace {
            return Ok(());
        }
        let new = if change.delete {
            None
        } else {
            let mut row = match change.replace {
                true => Row::default(),
                false => old.clone().unwrap_or_default(),
            };
            for update in &change.updates {
                carry_out(&mut row, update).ok_or(No::Refused(Code::Invalid))?;
            }
            Some(row)
        };
        let table = self.tables.get_mut(&change.table).unwrap();
        match &new {
            Some(row) => table.rows.insert(key.clone(), row.clone()),
            None => table.rows.remove(&key),
        };
        if old == new {
            return Ok(());
        }
        for feed in table.spec.feeds.clone() {
            self.feed(&feed, change, &key, old.as_ref(), new.as_ref())?;
        }
        Ok(())
    }

    /// A record of a row's change.
    fn feed(
        &mut self,
        feed: &FeedSpec,
        change: &RowChange,
        key: &RowKey,
        old: Option<&Row>,
        new: Option<&Row>,
    ) -> Result<(), No> {
        let image = new.or(old).unwrap();
        let by: Vec<Option<Value>> = feed
            .coalesce_by
            .iter()
            .map(|attribute| comparable(image, attribute))
            .collect();
        let record = FeedRecord {
            table: change.table.clone(),
            key: change.key.clone(),
            old: old.cloned(),
            new: new.cloned(),
        };
        let send = Send {
            body: record.encode_to_vec().into(),
            group: format!("{key:?}"),
            coalesce_key: format!("{key:?} {by:?}"),
            ..Send::default()
        };
        self.send(&feed.queue, &send, true, false).map(drop)
    }
}

pub(in crate::model) fn row_key(key: &Key) -> RowKey {
    (key.tenant.clone(), key.hash.clone(), key.range.clone())
}

fn expired(spec: &TableSpec, row: &Row, now: u64) -> bool {
    matches!(
        row.attributes.get(&spec.ttl_attribute).and_then(|value| value.kind.as_ref()),
        Some(value::Kind::Int(seconds)) if *seconds >= 0 && *seconds as u64 * 1_000 <= now
    )
}

/// The attribute's value, if it is of a kind that compares.
pub(in crate::model) fn comparable(row: &Row, attribute: &str) -> Option<Value> {
    row.attributes.get(attribute).cloned().filter(|value| {
        matches!(
            value.kind,
            Some(value::Kind::Int(_) | value::Kind::Text(_) | value::Kind::Blob(_))
        )
    })
}

/// Sort key of values: numbers before texts before bytes, each in its natural order.
pub(in crate::model) fn rank(value: &Value) -> (u8, i64, Vec<u8>) {
    match value.kind.as_ref().unwrap() {
        value::Kind::Int(int) => (1, *int, Vec::new()),
        value::Kind::Text(text) => (2, 0, text.as_bytes().to_vec()),
        value::Kind::Blob(blob) => (3, 0, blob.to_vec()),
        _ => panic!("it does not compare"),
    }
}

fn holds(condition: &Condition, row: Option<&Row>) -> bool {
    let value = row.and_then(|row| row.attributes.get(&condition.attribute));
    let there = match condition.attribute.as_str() {
        "" => row.is_some(),
        _ => value.is_some(),
    };
    match condition.test.as_ref().unwrap() {
        condition::Test::Absent(absent) => there != *absent,
        condition::Test::Equals(wanted) => value == Some(wanted),
        condition::Test::Less(bound) => {
            value.is_some_and(|value| match (&value.kind, &bound.kind) {
                (Some(value::Kind::Int(value)), Some(value::Kind::Int(bound))) => value < bound,
                (Some(value::Kind::Text(value)), Some(value::Kind::Text(bound))) => value < bound,
                _ => false,
            })
        }
    }
}

/// `None` if the change does not fit the kind of the present value.
fn carry_out(row: &mut Row, update: &Update) -> Option<()> {
    let held = row
        .attributes
        .get(&update.attribute)
        .and_then(|value| value.kind.clone());
    let set_of = |held: Option<value::Kind>| match held {
        None => Some(BTreeSet::new()),
        Some(value::Kind::Set(set)) => Some(set.items.into_iter().collect::<BTreeSet<String>>()),
        Some(_) => None,
    };
    let set = |items: BTreeSet<String>| {
        value::Kind::Set(panther_proto::v1::TextSet {
            items: items.into_iter().collect(),
        })
    };
    let new = match update.change.clone()? {
        update::Change::Set(value) => value.kind,
        update::Change::Remove(_) => None,
        update::Change::Add(number) => match held {
            None => Some(value::Kind::Int(number)),
            Some(value::Kind::Int(held)) => Some(value::Kind::Int(held + number)),
            Some(_) => return None,
        },
        update::Change::Max(value) => match (held, value.kind) {
            (None, new) => new,
            (Some(value::Kind::Int(held)), Some(value::Kind::Int(new))) => {
                Some(value::Kind::Int(held.max(new)))
            }
            _ => return None,
        },
        update::Change::Union(more) => {
            let mut items = set_of(held)?;
            items.extend(more.items);
            Some(set(items))
        }
        update::Change::Difference(fewer) => {
            let mut items = set_of(held)?;
            items.retain(|item| !fewer.items.contains(item));
            (!items.is_empty()).then(|| set(items))
        }
        update::Change::Append(append) => {
            let mut list: Vec<i64> = match held {
                None => Vec::new(),
                Some(value::Kind::Json(json)) => serde_json::from_str(&json).unwrap(),
                Some(_) => return None,
            };
            match append.item?.kind? {
                value::Kind::Int(int) => list.push(int),
                _ => return None,
            }
            while list.len() > append.bound as usize {
                list.remove(0);
            }
            Some(value::Kind::Json(serde_json::to_string(&list).unwrap()))
        }
    };
    match new {
        Some(kind) => row
            .attributes
            .insert(update.attribute.clone(), Value { kind: Some(kind) }),
        None => row.attributes.remove(&update.attribute),
    };
    Some(())
}
