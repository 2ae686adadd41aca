//! Sorted and unique indexes, written in the same batch as their rows. An index item is a key with an empty value:
//! table, index, tenant, hash value, range value (if the index has one), then hash and range key of the row.

use std::collections::BTreeSet;

use panther_proto::v1::{IndexSpec, Key, Row, TableSpec};

use crate::state::keys::{KeyBuilder, KeyReader, kind};
use crate::state::limits::COMMAND_ITEMS;
use crate::state::{Stop, Tx};

/// Common prefix of all items of an index for one tenant.
pub(crate) fn prefix(table: &str, index: &str, tenant: &str) -> KeyBuilder {
    KeyBuilder::new(kind::INDEX)
        .text(table)
        .text(index)
        .text(tenant)
}

/// The key of the row that an index item refers to; `None` if the item does not parse.
pub(crate) fn row_key(item: &[u8], index: &IndexSpec) -> Option<Key> {
    let mut reader = KeyReader::new(item);
    let (_, _, tenant) = (reader.text()?, reader.text()?, reader.text()?);
    reader.skip_value()?;
    if !index.range.is_empty() {
        reader.skip_value()?;
    }
    Some(Key {
        tenant,
        hash: reader.text()?,
        range: reader.text()?,
    })
}

/// Updates a table's indexes from the old image of a row to the new one.
pub(super) fn update(
    tx: &mut Tx<'_>,
    spec: &TableSpec,
    key: &Key,
    old: Option<&Row>,
    new: Option<&Row>,
) -> Result<(), Stop> {
    for index in &spec.indexes {
        let was: BTreeSet<Vec<u8>> = old
            .and_then(|row| item(spec, index, key, row))
            .into_iter()
            .collect();
        let will: BTreeSet<Vec<u8>> = new
            .and_then(|row| item(spec, index, key, row))
            .into_iter()
            .collect();
        for item in was.difference(&will) {
            tx.remove(item.clone());
        }
        for item in will.difference(&was) {
            tx.put(item.clone(), bytes::Bytes::new());
        }
    }
    Ok(())
}

fn hash_prefix(spec: &TableSpec, index: &IndexSpec, key: &Key, row: &Row) -> Option<KeyBuilder> {
    let mut builder = prefix(&spec.name, &index.name, &key.tenant);
    builder
        .value(super::attribute(row, &index.hash)?)
        .then_some(builder)
}

fn item(spec: &TableSpec, index: &IndexSpec, key: &Key, row: &Row) -> Option<Vec<u8>> {
    let mut builder = hash_prefix(spec, index, key, row)?;
    if !index.range.is_empty() && !builder.value(super::attribute(row, &index.range)?) {
        return None;
    }
    Some(builder.text(&key.hash).text(&key.range).done())
}

/// Keys of other rows with the same hash value. A unique index has few of them: at most those of one command.
pub(super) fn others(
    tx: &Tx<'_>,
    spec: &TableSpec,
    index: &IndexSpec,
    key: &Key,
    row: &Row,
) -> Result<Vec<Key>, Stop> {
    let Some(prefix) = hash_prefix(spec, index, key, row) else {
        return Ok(Vec::new());
    };
    Ok(tx
        .scan_prefix(&prefix.done(), COMMAND_ITEMS)?
        .iter()
        .filter_map(|(item, _)| row_key(item, index))
        .filter(|other| other != key)
        .collect())
}
