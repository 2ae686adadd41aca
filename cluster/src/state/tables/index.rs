//! Sorted and unique indexes, written in the same batch as their rows. An item is a key without a value: index, tenant,
//! hash value, range value, then the row's own key.

use std::collections::BTreeSet;

use panther_proto::v1::{Code, IndexSpec, Key, Row, TableSpec};

use crate::state::keys::{KeyBuilder, KeyReader, kind};
use crate::state::limits::stop;
use crate::state::{Stop, Tx};

/// Start of all items of an index.
pub(crate) fn prefix(table: &str, index: &str, tenant: &str) -> KeyBuilder {
    KeyBuilder::new(kind::INDEX)
        .text(table)
        .text(index)
        .text(tenant)
}

/// The row's key of an index item.
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

/// Brings a table's indexes from one image of a row to the next.
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
            if index.unique {
                check_unique(tx, spec, index, key, new)?;
            }
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

fn check_unique(
    tx: &Tx<'_>,
    spec: &TableSpec,
    index: &IndexSpec,
    key: &Key,
    row: Option<&Row>,
) -> Result<(), Stop> {
    let Some(prefix) = row.and_then(|row| hash_prefix(spec, index, key, row)) else {
        return Ok(());
    };
    for (item, _) in tx.scan_prefix(&prefix.done(), 2)? {
        if row_key(&item, index).as_ref() != Some(key) {
            return Err(stop(
                Code::NotUnique,
                format!(
                    "table {}: another row has the same {}",
                    spec.name, index.hash
                ),
            ));
        }
    }
    Ok(())
}
