//! What detections remember between events: rows of `panther-kv-store`, read as they were before the message, changed by
//! the command that ends it. Increments add, sets unite, the rest is the last write.

use std::collections::BTreeMap;

use panther_cluster::door::Door;
use panther_cluster::door::change::{self, Change as RowBuilder, RowExt};
use panther_detections::engine::{Change, Effects, KeyValueRow, KeyValueView, ViewRead};
use panther_proto::v1::RowChange;

/// The table.
pub(super) const TABLE: &str = "panther-kv-store";

/// Reads the table for the engine.
pub struct KeyValueTable(pub Door);

impl KeyValueView for KeyValueTable {
    fn get<'a>(&'a self, key: &'a str) -> ViewRead<'a> {
        Box::pin(async move {
            if key.is_empty() {
                return Ok(None);
            }
            let row = self.0.get(TABLE, &change::key(key)).await?;
            Ok(row.map(|row| KeyValueRow {
                count: row.int("intCount"),
                set: Some(row.items("stringSet").iter().cloned().collect())
                    .filter(|set: &std::collections::BTreeSet<String>| !set.is_empty()),
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
            Change::Add { value } => row.add("intCount", *value),
            Change::SetCount { value } => row.set("intCount", *value),
            Change::ResetCount => row.remove("intCount"),
            Change::Union { values } => row.union("stringSet", values.iter().cloned()),
            Change::Remove { values } => row.difference("stringSet", values.iter().cloned()),
            Change::PutSet { values } => {
                row.set("stringSet", values.iter().cloned().collect::<Vec<_>>())
            }
            Change::ResetSet => row.remove("stringSet"),
            Change::PutDict { value } if value.is_null() => row.remove("dictionary"),
            Change::PutDict { value } => row.set("dictionary", change::json(value.to_string())),
            Change::Expire { at } => row.set("expiresAt", *at),
        };
        rows.insert(&change.key, row);
    }
    rows.into_values().map(RowBuilder::done).collect()
}
