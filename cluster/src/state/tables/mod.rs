//! Rows under a hash key and optional range key: conditions, updates, indexes in the same batch, expiry (TTL).

mod conditions;
pub(super) mod index;
mod updates;

use panther_proto::v1::{Code, Key, Row, RowChange, TableSpec, Value, value};
use prost::Message;

use super::limits::{ROW_BYTES, stop};
use super::{Globals, Stop, Tx, due, feeds, keys};

/// Applies a command's row changes. All conditions are tested on the state before the changes, all unique indexes on
/// the state after them, so the order of changes of different rows does not matter.
pub(super) fn change_all(tx: &mut Tx<'_>, changes: &[RowChange]) -> Result<(), Stop> {
    for change in changes {
        check(tx, change)?;
    }
    for change in changes {
        self::change(tx, change)?;
    }
    for change in changes {
        require_unique(tx, change)?;
    }
    Ok(())
}

fn check(tx: &Tx<'_>, change: &RowChange) -> Result<(), Stop> {
    let spec = tx.table(&change.table)?;
    let key = key_of(change)?;
    let row = live(tx, &spec, key)?;
    for condition in &change.conditions {
        if let Some(what) = conditions::broken(condition, row.as_ref()) {
            return Err(Tx::conflict(&change.table, key, &condition.attribute, what));
        }
    }
    Ok(())
}

/// Refuses a change if another row holds the same value of a unique index. An expired row does not count: it is
/// removed.
fn require_unique(tx: &mut Tx<'_>, change: &RowChange) -> Result<(), Stop> {
    let spec = tx.table(&change.table)?;
    if change.delete || !spec.indexes.iter().any(|index| index.unique) {
        return Ok(());
    }
    let key = key_of(change)?;
    let Some(row) = live(tx, &spec, key)? else {
        return Ok(());
    };
    for index in spec.indexes.iter().filter(|index| index.unique) {
        for other in index::others(tx, &spec, index, key, &row)? {
            if live(tx, &spec, &other)?.is_some() {
                return Err(stop(
                    Code::NotUnique,
                    format!(
                        "table {}: another row has the same {}",
                        spec.name, index.hash
                    ),
                ));
            }
            expire(tx, &spec.name, &other)?;
        }
    }
    Ok(())
}

/// Applies one change: row, indexes, expiry timer and feed record.
fn change(tx: &mut Tx<'_>, change: &RowChange) -> Result<(), Stop> {
    if change.updates.is_empty() && !change.delete && !change.replace {
        return Ok(()); // only conditions
    }
    let spec = tx.table(&change.table)?;
    let key = key_of(change)?;
    let stored = tx.read::<Row>(&keys::row(&spec.name, key))?;
    let old = stored
        .as_ref()
        .filter(|row| !expired(&spec, row, tx.globals()));
    let new = if change.delete {
        None
    } else {
        let mut row = if change.replace {
            Row::default()
        } else {
            old.cloned().unwrap_or_default()
        };
        for update in &change.updates {
            updates::carry_out(&mut row, update).map_err(|reason| {
                stop(
                    Code::Invalid,
                    format!(
                        "table {}, attribute {}: {reason}",
                        spec.name, update.attribute
                    ),
                )
            })?;
        }
        Some(row)
    };
    if new.as_ref() == old && stored.is_some() == old.is_some() {
        return Ok(()); // no change: neither an index nor a feed is affected
    }
    store(tx, &spec, key, stored.as_ref(), new.as_ref())?;
    if old != new.as_ref() && !spec.feeds.is_empty() {
        let old = old.cloned();
        for feed in &spec.feeds {
            feeds::record(tx, feed, &spec.name, key, old.as_ref(), new.as_ref())?;
        }
    }
    Ok(())
}

/// Removes a row if it has expired. It may not have: an update can have moved its expiry.
pub(super) fn expire(tx: &mut Tx<'_>, table: &str, key: &Key) -> Result<(), Stop> {
    let Ok(spec) = tx.table(table) else {
        return Ok(());
    };
    if let Some(row) = tx.read::<Row>(&keys::row(table, key))?
        && expired(&spec, &row, tx.globals())
    {
        store(tx, &spec, key, Some(&row), None)?;
    }
    Ok(())
}

/// True if a row's expiry time has passed. The row is hidden at once and removed later.
#[must_use]
pub fn expired(spec: &TableSpec, row: &Row, globals: &Globals) -> bool {
    expiry(spec, row).is_some_and(|at| globals.is_past(at))
}

fn expiry(spec: &TableSpec, row: &Row) -> Option<u64> {
    if spec.ttl_attribute.is_empty() {
        return None;
    }
    match row.attributes.get(&spec.ttl_attribute)?.kind.as_ref()? {
        value::Kind::Int(seconds) => u64::try_from(*seconds)
            .ok()
            .map(|seconds| seconds.saturating_mul(1000)),
        _ => None,
    }
}

fn live(tx: &Tx<'_>, spec: &TableSpec, key: &Key) -> Result<Option<Row>, Stop> {
    let row = tx.read::<Row>(&keys::row(&spec.name, key))?;
    Ok(row.filter(|row| !expired(spec, row, tx.globals())))
}

fn key_of(change: &RowChange) -> Result<&Key, Stop> {
    change.key.as_ref().ok_or_else(|| {
        stop(
            Code::Invalid,
            format!("a change of table {} names no key", change.table),
        )
    })
}

fn store(
    tx: &mut Tx<'_>,
    spec: &TableSpec,
    key: &Key,
    old: Option<&Row>,
    new: Option<&Row>,
) -> Result<(), Stop> {
    index::update(tx, spec, key, old, new)?;
    let due_key = |at| {
        due::key(at, due::Kind::Row)
            .text(&spec.name)
            .row_key(key)
            .done()
    };
    let (was, will) = (
        old.and_then(|row| expiry(spec, row)),
        new.and_then(|row| expiry(spec, row)),
    );
    if was != will {
        if let Some(at) = was {
            tx.remove(due_key(at));
        }
        if let Some(at) = will {
            tx.put(due_key(at), bytes::Bytes::new());
        }
    }
    match new {
        None => tx.remove(keys::row(&spec.name, key)),
        Some(row) => {
            let bytes = row.encode_to_vec();
            if bytes.len() > ROW_BYTES {
                return Err(stop(
                    Code::TooLarge,
                    format!(
                        "a row of table {} would have {} bytes; at most {ROW_BYTES} are allowed",
                        spec.name,
                        bytes.len()
                    ),
                ));
            }
            tx.put(keys::row(&spec.name, key), bytes.into());
        }
    }
    Ok(())
}

/// The value of an attribute; `None` if the attribute is absent or its value is of no kind.
pub(super) fn attribute<'a>(row: &'a Row, name: &str) -> Option<&'a Value> {
    row.attributes
        .get(name)
        .filter(|value| value.kind.is_some())
}
