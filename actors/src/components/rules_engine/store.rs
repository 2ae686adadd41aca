//! What detections remember between events: rows of `panther-kv-store`, read as they were before the message, changed by
//! the command that ends it. Increments add, sets unite, the rest is the last write.

use std::collections::{BTreeMap, BTreeSet};

use panther_cluster::door::Door;
use panther_cluster::door::change::{self, Change as RowBuilder, RowExt};
use panther_detections::engine::Effects;
use panther_detections::key_value::{KeyValueRow, KeyValueView, ValueChange, ViewRead};
use panther_proto::v1::RowChange;
use parking_lot::Mutex;

/// The table.
pub(super) const TABLE: &str = "panther-kv-store";

/// Reads the table for the engine, and remembers the sets that it read.
pub struct KeyValueTable {
    door: Door,
    read: Mutex<BTreeMap<String, BTreeSet<String>>>,
}

impl KeyValueTable {
    /// For one message.
    #[must_use]
    pub fn new(door: Door) -> Self {
        Self {
            door,
            read: Mutex::default(),
        }
    }

    /// A set that is written as a whole, and only grew since it was read, is written as what it grew by: another message
    /// that adds to it at the same time is not undone.
    pub(super) fn widen(&self, effects: &mut [Effects]) {
        let read = self.read.lock();
        for change in effects.iter_mut().flat_map(|effects| &mut effects.changes) {
            widen(&mut change.change, read.get(&change.key));
        }
    }
}

fn widen(change: &mut ValueChange, read: Option<&BTreeSet<String>>) {
    if let ValueChange::PutSet { values } = change
        && read.is_some_and(|read| read.is_subset(values))
    {
        let values = std::mem::take(values);
        *change = ValueChange::Union { values };
    }
}

impl KeyValueView for KeyValueTable {
    fn get<'a>(&'a self, key: &'a str) -> ViewRead<'a> {
        Box::pin(async move {
            if key.is_empty() {
                return Ok(None);
            }
            let row = self.door.get(TABLE, &change::key(key)).await?;
            let held = row
                .as_ref()
                .map(|row| row.items("stringSet").iter().cloned().collect());
            self.read
                .lock()
                .insert(key.to_owned(), held.unwrap_or_default());
            Ok(row.map(|row| KeyValueRow {
                count: row.int("intCount"),
                set: Some(row.items("stringSet").iter().cloned().collect())
                    .filter(|set: &BTreeSet<String>| !set.is_empty()),
                dict: row
                    .json("dictionary")
                    .and_then(|json| serde_json::from_str(json).ok()),
                expires: row.int("expiresAt"),
            }))
        })
    }
}

/// The changes of rows that an evaluation's effects are, one row once.
#[must_use]
pub(super) fn changes(effects: &[Effects]) -> Vec<RowChange> {
    let mut rows: BTreeMap<&str, RowBuilder> = BTreeMap::new();
    for change in effects
        .iter()
        .flat_map(|effects| &effects.changes)
        .filter(|change| !change.key.is_empty())
    {
        let row = rows
            .remove(change.key.as_str())
            .unwrap_or_else(|| RowBuilder::update(TABLE, change::key(&change.key)));
        let row = match &change.change {
            ValueChange::Add { value } => row.add("intCount", *value),
            ValueChange::SetCount { value } => row.set("intCount", *value),
            ValueChange::ResetCount => row.remove("intCount"),
            ValueChange::Union { values } => row.union("stringSet", values.iter().cloned()),
            ValueChange::Remove { values } => row.difference("stringSet", values.iter().cloned()),
            ValueChange::PutSet { values } => {
                row.set("stringSet", values.iter().cloned().collect::<Vec<_>>())
            }
            ValueChange::ResetSet => row.remove("stringSet"),
            ValueChange::PutDict { value } if value.is_null() => row.remove("dictionary"),
            ValueChange::PutDict { value } => {
                row.set("dictionary", change::json(value.to_string()))
            }
            ValueChange::Expire { at } => row.set("expiresAt", *at),
        };
        rows.insert(&change.key, row);
    }
    rows.into_values().map(RowBuilder::done).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    fn set(items: &[&str]) -> BTreeSet<String> {
        items.iter().map(|item| (*item).to_owned()).collect()
    }

    #[test]
    fn a_set_that_only_grew_is_united_and_one_that_lost_an_item_is_put() {
        let put = |items: &[&str]| ValueChange::PutSet { values: set(items) };
        for (written, read, united) in [
            (put(&["a", "b"]), Some(set(&["a"])), true),
            (put(&["b"]), Some(set(&["a"])), false),
            (put(&["a"]), Some(set(&[])), true),
            // What was never read may hold anything.
            (put(&["a"]), None, false),
        ] {
            let mut change = written;
            widen(&mut change, read.as_ref());
            assert_eq!(
                matches!(change, ValueChange::Union { .. }),
                united,
                "{change:?}"
            );
        }
    }
}
