//! Shares of the bodies that are read at one time: one source, or one address, does not take all places from the others.

use std::collections::BTreeMap;
use std::sync::Arc;

use parking_lot::Mutex;

/// Counts what is under way for each key, up to a limit; clones share the counts.
pub(super) struct Shares<K: Ord + Clone> {
    limit: usize,
    under_way: Arc<Mutex<BTreeMap<K, usize>>>,
}

/// One that is under way, until it is dropped.
pub(super) struct Share<K: Ord + Clone> {
    key: K,
    under_way: Arc<Mutex<BTreeMap<K, usize>>>,
}

impl<K: Ord + Clone> Clone for Shares<K> {
    fn clone(&self) -> Self {
        Self {
            limit: self.limit,
            under_way: self.under_way.clone(),
        }
    }
}

impl<K: Ord + Clone> Shares<K> {
    /// With so many for each key, at least one.
    pub(super) fn new(limit: usize) -> Self {
        Self {
            limit: limit.max(1),
            under_way: Arc::default(),
        }
    }

    /// One more for a key; `None` if it has its share.
    pub(super) fn take(&self, key: &K) -> Option<Share<K>> {
        let mut under_way = self.under_way.lock();
        let count = under_way.entry(key.clone()).or_default();
        if *count >= self.limit {
            return None;
        }
        *count += 1;
        Some(Share {
            key: key.clone(),
            under_way: self.under_way.clone(),
        })
    }
}

impl<K: Ord + Clone> Drop for Share<K> {
    fn drop(&mut self) {
        let mut under_way = self.under_way.lock();
        if let Some(count) = under_way.get_mut(&self.key) {
            *count -= 1;
            if *count == 0 {
                under_way.remove(&self.key);
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_key_has_its_share_and_others_have_theirs_and_nothing_is_kept_afterwards() {
        let shares = Shares::new(2);
        let (one, two) = (shares.take(&"a"), shares.take(&"a"));
        assert!(one.is_some() && two.is_some());
        assert!(shares.take(&"a").is_none());
        assert!(shares.take(&"b").is_some());
        drop(one);
        assert!(shares.take(&"a").is_some());
        drop(two);
        assert!(shares.under_way.lock().is_empty());
    }
}
