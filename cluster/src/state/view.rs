//! The storage interface of apply: an ordered key space, read through the writes that are not stored yet.

use std::collections::BTreeMap;
use std::io;
use std::ops::Bound;

use bytes::Bytes;

/// A key and its value.
pub type Pair = (Bytes, Bytes);

/// Pending writes by key; `None` removes the key.
pub type Writes = BTreeMap<Vec<u8>, Option<Bytes>>;

/// An ordered key-value store, read as of the last stored write.
///
/// Keys are ordered by their bytes. The caller of apply is the only writer, and it writes only between two entries, so
/// all reads of one apply see the same state. Other readers may see a newer entry from one call to the next.
pub trait Base: Send + Sync {
    /// The value of a key; `None` if the key is absent.
    ///
    /// # Errors
    /// The store cannot be read.
    fn get(&self, key: &[u8]) -> io::Result<Option<Bytes>>;

    /// Up to `limit` pairs with `from <= key < to`, in key order (the last pairs, in descending order, if `reverse`).
    /// Empty if `from >= to`.
    ///
    /// # Errors
    /// The store cannot be read.
    fn scan(&self, from: &[u8], to: &[u8], limit: usize, reverse: bool) -> io::Result<Vec<Pair>>;
}

/// A store in memory, for tests and simulation.
#[derive(Debug, Default, Clone)]
pub struct MemoryBase {
    items: BTreeMap<Vec<u8>, Bytes>,
}

impl MemoryBase {
    /// Stores an entry's writes.
    pub fn store(&mut self, writes: &Writes) {
        for (key, value) in writes {
            match value {
                Some(value) => self.items.insert(key.clone(), value.clone()),
                None => self.items.remove(key),
            };
        }
    }

    /// All pairs in key order.
    pub fn iter(&self) -> impl Iterator<Item = (&Vec<u8>, &Bytes)> {
        self.items.iter()
    }
}

impl Base for MemoryBase {
    fn get(&self, key: &[u8]) -> io::Result<Option<Bytes>> {
        Ok(self.items.get(key).cloned())
    }

    fn scan(&self, from: &[u8], to: &[u8], limit: usize, reverse: bool) -> io::Result<Vec<Pair>> {
        if from >= to {
            return Ok(Vec::new());
        }
        let range = self
            .items
            .range::<[u8], _>((Bound::Included(from), Bound::Excluded(to)));
        let pair = |(key, value): (&Vec<u8>, &Bytes)| (Bytes::copy_from_slice(key), value.clone());
        Ok(if reverse {
            range.rev().take(limit).map(pair).collect()
        } else {
            range.take(limit).map(pair).collect()
        })
    }
}

/// Scans `base` overlaid with pending writes. `layers` are ordered from newest to oldest.
///
/// # Errors
/// The store cannot be read.
pub fn scan_layers(
    base: &dyn Base,
    layers: &[&Writes],
    from: &[u8],
    to: &[u8],
    limit: usize,
    reverse: bool,
) -> io::Result<Vec<Pair>> {
    if from >= to || limit == 0 {
        return Ok(Vec::new());
    }
    let bounds = (Bound::Included(from), Bound::Excluded(to));
    if layers
        .iter()
        .all(|layer| layer.range::<[u8], _>(bounds).next().is_none())
    {
        return base.scan(from, to, limit, reverse);
    }
    let mut out: Vec<Pair> = Vec::new();
    let (mut low, mut high) = (from.to_vec(), to.to_vec());
    loop {
        let below = base.scan(&low, &high, limit, reverse)?;
        let complete = below.len() < limit;
        // The range that this round covers: up to the last pair that the base returned, or all that is left.
        let (start, end) = match below.last() {
            Some((last, _)) if !complete && reverse => (last.to_vec(), high.clone()),
            Some((last, _)) if !complete => {
                let mut end = last.to_vec();
                end.push(0);
                (low.clone(), end)
            }
            _ => (low.clone(), high.clone()),
        };
        let mut merged: BTreeMap<Bytes, Option<Bytes>> = below
            .into_iter()
            .map(|(key, value)| (key, Some(value)))
            .collect();
        for layer in layers.iter().rev() {
            let range = layer.range::<[u8], _>((
                Bound::Included(start.as_slice()),
                Bound::Excluded(end.as_slice()),
            ));
            for (key, value) in range {
                merged.insert(Bytes::copy_from_slice(key), value.clone());
            }
        }
        let alive = merged
            .into_iter()
            .filter_map(|(key, value)| value.map(|value| (key, value)));
        let room = limit - out.len();
        if reverse {
            out.extend(alive.rev().take(room));
        } else {
            out.extend(alive.take(room));
        }
        if complete || out.len() >= limit {
            return Ok(out);
        }
        if reverse {
            high = start;
        } else {
            low = end;
        }
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    fn key() -> impl Strategy<Value = Vec<u8>> {
        prop::collection::vec(0_u8..4, 1..3)
    }

    fn layer() -> impl Strategy<Value = Writes> {
        prop::collection::btree_map(
            key(),
            prop::option::of(any::<u8>().prop_map(|byte| Bytes::from(vec![byte]))),
            0..12,
        )
    }

    proptest! {
        #[test]
        fn layers_read_as_if_they_were_stored(below in layer(), middle in layer(), top in layer(), from in key(), to in key(), limit in 1_usize..6, reverse: bool) {
            let mut base = MemoryBase::default();
            base.store(&below);
            let mut stored = base.clone();
            stored.store(&middle);
            stored.store(&top);
            let seen = scan_layers(&base, &[&top, &middle], &from, &to, limit, reverse).unwrap();
            prop_assert_eq!(seen, stored.scan(&from, &to, limit, reverse).unwrap());
        }
    }
}
