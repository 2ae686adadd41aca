//! Finds sources by label and by the name of an object, without a scan of their table at each call.
//!
//! Each command that changes settings of a source also raises the revision of the table, a row. A node keeps the settings
//! of all sources as of a revision, and reads them again when the revision has changed. The revision is a linearizable
//! read, so a change counts as soon as it is acknowledged. A token is compared with the row of its source, which is read
//! at each call.

use std::collections::BTreeMap;
use std::io;
use std::ops::Bound;
use std::sync::Arc;

use panther_cluster::door::change::{self, Change, RowExt};
use panther_cluster::door::{Door, DoorError};
use panther_cluster::state::read::{self, Query};
use panther_cluster::storage::StateStore;
use panther_proto::v1::RowChange;
use parking_lot::Mutex;

use super::{Source, SourceKind, TABLE};

/// The row that holds the revision.
const REVISION: &str = "@revision";
/// How often a source is looked up again when the revision changes during the lookup.
const LOOKUPS: usize = 20;

/// The settings of all sources, as of a revision.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct SourceSet {
    revision: i64,
    /// In order of their labels.
    sources: Vec<Source>,
    labels: BTreeMap<String, usize>,
    prefixes: BTreeMap<String, usize>,
}

impl SourceSet {
    fn of(revision: i64, mut sources: Vec<Source>) -> Self {
        sources.sort_by(|left, right| left.label.cmp(&right.label));
        let places = |key: fn(&Source) -> Option<&String>| -> BTreeMap<String, usize> {
            let keys = sources.iter().enumerate().rev();
            keys.filter_map(|(place, source)| Some((key(source)?.clone(), place)))
                .collect()
        };
        Self {
            revision,
            labels: places(|source| Some(&source.label)),
            prefixes: places(|source| {
                (source.kind == SourceKind::Objects).then_some(&source.prefix)
            }),
            sources,
        }
    }

    /// All sources, in order of their labels.
    #[must_use]
    pub fn all(&self) -> &[Source] {
        &self.sources
    }

    /// The source of a label.
    #[must_use]
    pub fn labelled(&self, label: &str) -> Option<&Source> {
        self.sources.get(*self.labels.get(label)?)
    }

    /// The source with the longest prefix of an object's name.
    #[must_use]
    pub fn of_object(&self, name: &str) -> Option<&Source> {
        let mut upper = name;
        loop {
            let (prefix, place) = self
                .prefixes
                .range::<str, _>((Bound::Unbounded, Bound::Included(upper)))
                .next_back()?;
            if name.starts_with(prefix.as_str()) {
                return self.sources.get(*place);
            }
            // A shorter prefix of the name sorts before this one, and is no longer than what both have in common.
            let common = prefix.bytes().zip(name.bytes());
            let mut end = common.take_while(|(left, right)| left == right).count();
            while !name.is_char_boundary(end) {
                end -= 1;
            }
            upper = name.get(..end)?;
        }
    }

    /// The change that raises the revision, on the condition that this set is still the newest.
    #[must_use]
    pub fn next_revision(&self) -> RowChange {
        let change = raised();
        let change = if self.revision == 0 {
            change.if_absent("revision")
        } else {
            change.if_equals("revision", self.revision)
        };
        change.done()
    }
}

fn raised() -> Change {
    Change::update(TABLE, change::key(REVISION)).add("revision", 1)
}

/// The change that raises the revision. Each command that adds, changes or removes a source contains it.
#[must_use]
pub fn raised_revision() -> RowChange {
    raised().done()
}

/// Finds sources; clones share what they keep.
#[derive(Clone)]
pub struct SourceRegistry {
    door: Door,
    kept: Arc<Mutex<Arc<SourceSet>>>,
}

/// What a lookup by name gave.
enum Looked {
    Found(Option<Source>),
    /// What is kept is older than the state.
    Stale,
}

impl SourceRegistry {
    /// Behind this door.
    #[must_use]
    pub fn new(door: Door) -> Self {
        let empty = SourceSet {
            revision: -1,
            ..SourceSet::default()
        };
        Self {
            door,
            kept: Arc::new(Mutex::new(Arc::new(empty))),
        }
    }

    /// The settings of all sources as of now. Reads one row if no source has changed.
    ///
    /// # Errors
    /// There is no leader.
    pub async fn current(&self) -> Result<Arc<SourceSet>, DoorError> {
        let kept = self.kept();
        let since = kept.revision;
        let newer = self.door.read(move |store| newer(store, since)).await?;
        Ok(newer.map_or(kept, |newer| self.keep(newer)))
    }

    /// The source of an id or label. Reads one row for an id, and three for a label.
    ///
    /// # Errors
    /// There is no leader.
    pub async fn find(&self, name: &str) -> Result<Option<Source>, DoorError> {
        for _ in 0..LOOKUPS {
            let (kept, wanted) = (self.kept(), name.to_owned());
            let looked = self.door.read(move |store| look(store, &kept, &wanted));
            match looked.await? {
                Looked::Found(source) => return Ok(source),
                Looked::Stale => drop(self.current().await?),
            }
        }
        Ok(self.current().await?.labelled(name).cloned())
    }

    /// The source of an id or label by this node's own state, which may lag behind.
    ///
    /// # Errors
    /// The state cannot be read.
    pub(crate) async fn find_here(&self, name: &str) -> io::Result<Option<Source>> {
        let (kept, name) = (self.kept(), name.to_owned());
        let read = move |store: &StateStore| match look(store, &kept, &name)? {
            Looked::Found(source) => Ok((source, None)),
            Looked::Stale => {
                let set = load(store)?;
                Ok((set.labelled(&name).cloned(), Some(set)))
            }
        };
        let (source, newer) = self.door.local().read(read).await?;
        newer.map(|newer| self.keep(newer));
        Ok(source)
    }

    /// The source with the longest prefix of an object's name.
    ///
    /// # Errors
    /// There is no leader.
    pub async fn of_object(&self, name: &str) -> Result<Option<Source>, DoorError> {
        Ok(self.current().await?.of_object(name).cloned())
    }

    fn kept(&self) -> Arc<SourceSet> {
        self.kept.lock().clone()
    }

    /// Keeps a set, unless a newer one is kept. Returns the newer one.
    fn keep(&self, set: SourceSet) -> Arc<SourceSet> {
        let mut kept = self.kept.lock();
        if kept.revision < set.revision {
            *kept = Arc::new(set);
        }
        kept.clone()
    }
}

/// A row of this table, by an id or label. `kept` may be newer than the store, and its source may be gone there.
fn look(store: &StateStore, kept: &SourceSet, name: &str) -> io::Result<Looked> {
    let by_id = |id: &str| -> io::Result<Option<Source>> {
        let row = read::row(store, TABLE, &change::key(id))?;
        Ok(row.and_then(|row| Source::of(id, &row)))
    };
    if let Some(source) = by_id(name)? {
        return Ok(Looked::Found(Some(source)));
    }
    if kept.revision < revision(store)? {
        return Ok(Looked::Stale);
    }
    let source = match kept.labelled(name) {
        Some(source) => by_id(&source.id)?,
        None => None,
    };
    Ok(Looked::Found(source.filter(|source| source.label == name)))
}

fn revision(store: &StateStore) -> io::Result<i64> {
    let row = read::row(store, TABLE, &change::key(REVISION))?;
    Ok(row.and_then(|row| row.int("revision")).unwrap_or(0))
}

fn newer(store: &StateStore, since: i64) -> io::Result<Option<SourceSet>> {
    (revision(store)? > since).then(|| load(store)).transpose()
}

/// All sources of a store. The revision is read first: if a source changes meanwhile, the set counts as old.
fn load(store: &StateStore) -> io::Result<SourceSet> {
    let revision = revision(store)?;
    let mut query = Query {
        table: TABLE.to_owned(),
        limit: 1_000,
        ..Query::default()
    };
    let mut sources = Vec::new();
    loop {
        let page = read::query(store, &query)?;
        let rows = page.rows.iter();
        sources.extend(rows.filter_map(|(key, row)| Source::of(&key.hash, row)));
        match page.next {
            Some(next) => query.after = Some(next),
            None => return Ok(SourceSet::of(revision, sources)),
        }
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    fn source(id: &str, prefix: &str) -> Source {
        Source {
            id: id.to_owned(),
            label: id.to_owned(),
            kind: SourceKind::Objects,
            log_types: Vec::new(),
            path: String::new(),
            follow_links: false,
            prefix: prefix.to_owned(),
            token_hash: String::new(),
            created_at: String::new(),
            has_totals: true,
        }
    }

    proptest! {
        #[test]
        fn an_object_belongs_to_the_longest_prefix_of_its_name(
            prefixes in prop::collection::btree_set("[abé/]{1,4}", 0..12),
            name in "[abé/]{0,6}",
        ) {
            let sources = prefixes.iter().enumerate();
            let sources = sources.map(|(id, prefix)| source(&id.to_string(), prefix));
            let set = SourceSet::of(1, sources.collect());
            let longest = prefixes
                .iter()
                .filter(|prefix| name.starts_with(prefix.as_str()))
                .max_by_key(|prefix| prefix.len());
            prop_assert_eq!(set.of_object(&name).map(|source| &source.prefix), longest);
        }
    }
}
