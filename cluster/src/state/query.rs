//! Queries: rows of one table by key or index, in bounds, page by page.

use std::io;

use panther_proto::v1::{IndexSpec, Key, Row, TableSpec, Value, value};

use super::keys::{self, KeyBuilder, KeyReader, kind};
use super::read::{KeyedRow, decode, globals, read, table};
use super::{Base, Globals, tables};

/// A query for rows of one table.
#[derive(Debug, Clone, Default)]
pub struct Query {
    /// The table.
    pub table: String,
    /// Tenant whose rows are read. Empty, without index and `hash`: all tenants.
    pub tenant: String,
    /// Index to use; empty = the primary key.
    pub index: String,
    /// Hash value of the index, or (as text) of the primary key; `None` = all rows.
    pub hash: Option<Value>,
    /// Lower bound of the hash key, inclusive; empty = the first one. Used only with the primary key and without `hash`.
    pub hash_from: String,
    /// Upper bound of the hash key, exclusive; empty = after the last one. Used only as `hash_from` is.
    pub hash_to: String,
    /// Lower bound of the range value, inclusive. With the primary key and without `hash` it applies to each hash key.
    pub from: Option<Value>,
    /// Upper bound of the range value, exclusive. With the primary key and without `hash` it applies to each hash key.
    pub to: Option<Value>,
    /// Maximum number of rows, 1 to 10,000.
    pub limit: usize,
    /// True for descending order, from the end of the range.
    pub descending: bool,
    /// Cursor: [`Page::next`] of the previous page.
    pub after: Option<Vec<u8>>,
}

/// One page of a query. It may hold fewer rows than the limit although more pages follow: expired rows are hidden, and a
/// query of a range below each hash key ends a page after so many hash keys as the limit says.
#[derive(Debug, Clone, Default)]
pub struct Page {
    /// The rows.
    pub rows: Vec<KeyedRow>,
    /// Cursor of the next page; `None` at the end.
    pub next: Option<Vec<u8>>,
}

fn invalid(what: impl Into<String>) -> io::Error {
    io::Error::new(io::ErrorKind::InvalidInput, what.into())
}

/// Most rows of a page.
const MOST_ROWS: usize = 10_000;

/// A page of rows; expired rows are hidden.
///
/// # Errors
/// The store cannot be read; there is no such table or index; a bound does not compare.
pub fn query(base: &dyn Base, query: &Query) -> io::Result<Page> {
    let spec = table(base, &query.table)?;
    let shown = Shown {
        spec: &spec,
        globals: globals(base)?,
    };
    let index = if query.index.is_empty() {
        None
    } else {
        Some(
            spec.indexes
                .iter()
                .find(|index| index.name == query.index)
                .ok_or_else(|| {
                    invalid(format!(
                        "table {} has no index {}",
                        query.table, query.index
                    ))
                })?,
        )
    };
    if query.hash.is_none() && index.is_none() && (query.from.is_some() || query.to.is_some()) {
        return below_each_hash(base, query, &shown);
    }
    let (mut low, mut high) = bounds(query, index)?;
    if let Some(after) = &query.after {
        if query.descending {
            high = after.clone().min(high);
        } else {
            low = next_key(after).max(low);
        }
    }
    let limit = query.limit.clamp(1, MOST_ROWS);
    let mut page = Page::default();
    let found = base.scan(&low, &high, limit, query.descending)?;
    if found.len() == limit {
        page.next = found.last().map(|(key, _)| key.to_vec());
    }
    for (key, value) in found {
        match index {
            Some(index) => {
                let Some(row_key) = tables::index::row_key(&key, index) else {
                    continue;
                };
                let Some(row) = read::<Row>(base, &keys::row(&query.table, &row_key))? else {
                    continue;
                };
                shown.push(&mut page, row_key, row);
            }
            None => {
                if let Some(row_key) = row_key(&key) {
                    shown.push(&mut page, row_key, decode(value)?);
                }
            }
        }
    }
    Ok(page)
}

/// Adds rows to pages, except expired ones.
struct Shown<'s> {
    spec: &'s TableSpec,
    globals: Globals,
}

impl Shown<'_> {
    fn push(&self, page: &mut Page, key: Key, row: Row) {
        if !tables::expired(self.spec, &row, &self.globals) {
            page.rows.push((key, row));
        }
    }
}

/// The row's key in a key of the store.
fn row_key(key: &[u8]) -> Option<Key> {
    let mut reader = KeyReader::new(key);
    reader.text()?;
    reader.row_key()
}

/// The first key after `key`.
fn next_key(key: &[u8]) -> Vec<u8> {
    let mut next = key.to_vec();
    next.push(0);
    next
}

/// A page of the rows in a range below each hash key. It reads one row per hash key, and the rows in the range: rows
/// outside of the range cost nothing.
fn below_each_hash(base: &dyn Base, query: &Query, shown: &Shown<'_>) -> io::Result<Page> {
    if query.descending {
        return Err(invalid(
            "a query of a range below each hash key must be ascending",
        ));
    }
    let (mut low, high) = bounds(
        &Query {
            from: None,
            to: None,
            ..query.clone()
        },
        None,
    )?;
    if let Some(after) = &query.after {
        low = next_key(after).max(low);
    }
    let limit = query.limit.clamp(1, MOST_ROWS);
    let mut page = Page::default();
    let mut taken = 0;
    for _ in 0..limit {
        let first = base.scan(&low, &high, 1, false)?;
        let Some(key) = first.first().and_then(|(key, _)| row_key(key)) else {
            return Ok(page);
        };
        let prefix = KeyBuilder::new(kind::ROW)
            .text(&query.table)
            .text(&key.tenant)
            .text(&key.hash);
        let (from, to) = range(query, None, &prefix)?;
        let found = base.scan(&low.max(from), &to, limit - taken, false)?;
        taken += found.len();
        let last = found.last().map(|(key, _)| key.to_vec());
        for (key, value) in found {
            if let Some(row_key) = row_key(&key) {
                shown.push(&mut page, row_key, decode(value)?);
            }
        }
        if taken == limit {
            page.next = last;
            return Ok(page);
        }
        low = keys::after(&prefix.done());
    }
    // Not the key of a row: the end of a hash key's rows.
    page.next = Some(low);
    Ok(page)
}

fn bounds(query: &Query, index: Option<&IndexSpec>) -> io::Result<(Vec<u8>, Vec<u8>)> {
    let mut prefix = match index {
        Some(index) => tables::index::prefix(&query.table, &index.name, &query.tenant),
        None => KeyBuilder::new(kind::ROW).text(&query.table),
    };
    let Some(hash) = &query.hash else {
        let (from, to) = (&query.hash_from, &query.hash_to);
        let is_bounded = !from.is_empty() || !to.is_empty();
        if index.is_none() && (is_bounded || !query.tenant.is_empty()) {
            prefix = prefix.text(&query.tenant);
        }
        let all = prefix.clone().done();
        let bound = |hash: &str| {
            (index.is_none() && !hash.is_empty()).then(|| prefix.clone().text(hash).done())
        };
        return Ok((
            bound(from).unwrap_or_else(|| all.clone()),
            bound(to).unwrap_or_else(|| keys::after(&all)),
        ));
    };
    if index.is_some() {
        if !prefix.value(hash) {
            return Err(invalid(
                "the hash value of a query must be a number, text or bytes",
            ));
        }
    } else {
        let Some(value::Kind::Text(text)) = &hash.kind else {
            return Err(invalid("the hash key of a table is text"));
        };
        prefix = prefix.text(&query.tenant).text(text);
    }
    range(query, index, &prefix)
}

/// The bounds of the range value below the prefix of one hash value.
fn range(
    query: &Query,
    index: Option<&IndexSpec>,
    prefix: &KeyBuilder,
) -> io::Result<(Vec<u8>, Vec<u8>)> {
    let bound = |value: &Option<Value>| -> io::Result<Option<Vec<u8>>> {
        let Some(value) = value else { return Ok(None) };
        let mut key = prefix.clone();
        match (&value.kind, index) {
            (Some(value::Kind::Text(text)), None) => key = key.text(text),
            (_, Some(index)) if !index.range.is_empty() && key.value(value) => {}
            _ => {
                return Err(invalid(
                    "a bound of a query does not compare with the range key",
                ));
            }
        }
        Ok(Some(key.done()))
    };
    let all = prefix.clone().done();
    Ok((
        bound(&query.from)?.unwrap_or_else(|| all.clone()),
        bound(&query.to)?.unwrap_or_else(|| keys::after(&all)),
    ))
}

#[cfg(test)]
mod tests {
    use std::sync::atomic::{AtomicUsize, Ordering};

    use bytes::Bytes;
    use panther_proto::v1::Row;
    use proptest::prelude::*;
    use prost::Message;

    use super::super::declare;
    use super::super::view::{MemoryBase, Pair};
    use super::*;

    const TABLE: &str = "rows";

    /// Counts the items that scans return.
    struct Counted {
        base: MemoryBase,
        read: AtomicUsize,
    }

    impl Base for Counted {
        fn get(&self, key: &[u8]) -> io::Result<Option<Bytes>> {
            self.base.get(key)
        }

        fn scan(
            &self,
            from: &[u8],
            to: &[u8],
            limit: usize,
            reverse: bool,
        ) -> io::Result<Vec<Pair>> {
            let found = self.base.scan(from, to, limit, reverse)?;
            self.read.fetch_add(found.len(), Ordering::Relaxed);
            Ok(found)
        }
    }

    fn base(keys: impl IntoIterator<Item = (String, String)>) -> Counted {
        let declared = KeyBuilder::new(kind::DECLARED)
            .byte(declare::TABLE)
            .text(TABLE)
            .done();
        let spec = TableSpec {
            name: TABLE.to_owned(),
            ..TableSpec::default()
        };
        let mut writes = super::super::Writes::new();
        writes.insert(declared, Some(spec.encode_to_vec().into()));
        for (hash, range) in keys {
            let key = Key {
                tenant: String::new(),
                hash,
                range,
            };
            let row = Row::default().encode_to_vec();
            writes.insert(keys::row(TABLE, &key), Some(row.into()));
        }
        let mut base = MemoryBase::default();
        base.store(&writes);
        Counted {
            base,
            read: AtomicUsize::new(0),
        }
    }

    /// The keys of all pages.
    fn found(base: &Counted, mut given: Query) -> Vec<(String, String)> {
        let mut found = Vec::new();
        loop {
            let page = query(base, &given).unwrap();
            found.extend(page.rows.into_iter().map(|(key, _)| (key.hash, key.range)));
            match page.next {
                Some(next) => given.after = Some(next),
                None => return found,
            }
        }
    }

    fn text(text: &str) -> Value {
        Value {
            kind: Some(value::Kind::Text(text.to_owned())),
        }
    }

    proptest! {
        #[test]
        fn bounds_of_both_keys_give_what_a_filter_of_all_rows_gives(
            keys in prop::collection::btree_set(("[a-d]{0,2}", "[0-5]{0,2}"), 0..40),
            (hash_from, hash_to) in ("[a-d]{0,2}", "[a-d]{0,2}"),
            (from, to) in (prop::option::of("[0-5]{0,2}"), prop::option::of("[0-5]{0,2}")),
            limit in 1_usize..7,
        ) {
            let base = base(keys.clone());
            let query = Query {
                table: TABLE.to_owned(),
                hash_from: hash_from.clone(),
                hash_to: hash_to.clone(),
                from: from.as_deref().map(text),
                to: to.as_deref().map(text),
                limit,
                ..Query::default()
            };
            let wanted = keys.into_iter().filter(|(hash, range)| {
                *hash >= hash_from
                    && (hash_to.is_empty() || *hash < hash_to)
                    && from.as_ref().is_none_or(|from| range >= from)
                    && to.as_ref().is_none_or(|to| range < to)
            });
            prop_assert_eq!(found(&base, query), wanted.collect::<Vec<_>>());
        }
    }

    #[test]
    fn a_range_below_each_hash_key_does_not_read_the_rows_outside_of_it() {
        let keys = (0..50).flat_map(|hash| {
            (0..720).map(move |range| (format!("s{hash:03}"), format!("{range:04}")))
        });
        let base = base(keys);
        let query = Query {
            table: TABLE.to_owned(),
            from: Some(text("0696")),
            limit: 1_000,
            ..Query::default()
        };
        assert_eq!(found(&base, query).len(), 50 * 24);
        // The rows, and less than two more for each hash key.
        let read = base.read.into_inner();
        assert!(read <= 50 * 26, "{read}");
    }
}
