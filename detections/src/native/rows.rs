//! Rows of the key-value store as an evaluation sees them.
//!
//! A row that has not been fetched stops the evaluation with [`Stop::Missing`]; the evaluation has had no effect and is begun again once it is there.

use std::cell::{Cell, RefCell};
use std::collections::{BTreeSet, HashMap};

use super::stop::Stop;
use crate::key_value::{KeyValueChange, KeyValueRow, ValueChange};

/// Rows that are fetched before they are needed, at most.
const MOST_WANTED: usize = 10_000;

/// Rows as an evaluation sees them, and what it has changed.
#[derive(Debug, Default)]
pub(crate) struct Rows {
    known: HashMap<String, KeyValueRow>,
    /// Changes of the pair that is being evaluated, in their order.
    changes: Vec<KeyValueChange>,
    /// What rules take for the present, in Unix seconds.
    pub(super) now: i64,
    /// Where no row has been fetched, and all are taken to be empty.
    guessed: Option<Guessed>,
}

/// Rows that were asked for and are not known.
#[derive(Debug, Default)]
struct Guessed {
    keys: RefCell<BTreeSet<String>>,
    /// Whether the pair that is being evaluated has asked for one.
    asked: Cell<bool>,
}

impl Rows {
    pub(crate) fn new(now: i64) -> Self {
        Self {
            now,
            ..Self::default()
        }
    }

    /// Whether the pair that is being evaluated has changed something.
    pub(super) fn has_changes(&self) -> bool {
        !self.changes.is_empty()
    }

    /// What rules take for the present, in Unix seconds. Where rows are guessed, a pair that has asked for none has no business with the store: its
    /// present is Python's.
    pub(super) fn now(&self) -> Option<i64> {
        let asks = self.guessed.as_ref().is_none_or(|of| of.asked.get());
        asks.then_some(self.now)
    }

    /// Rows that are all taken to be empty, to find out what evaluations ask for; what they say holds if those rows are.
    pub(crate) fn guessed(now: i64) -> Self {
        Self {
            now,
            guessed: Some(Guessed::default()),
            ..Self::default()
        }
    }

    /// Where they were guessed: what was asked for; `None` if it was too much to keep.
    pub(crate) fn wanted(self) -> Option<BTreeSet<String>> {
        let keys = self.guessed.map(|guessed| guessed.keys.into_inner());
        keys.filter(|keys| keys.len() < MOST_WANTED)
    }

    /// Whether what the pair that is being evaluated says hangs on a guess.
    pub(super) fn is_guess(&self) -> bool {
        self.guessed.as_ref().is_some_and(|of| of.asked.get())
    }

    /// Ends a pair that may have guessed: what it has changed if it did.
    pub(super) fn end_guess(&mut self, happened: bool) -> Option<Vec<KeyValueChange>> {
        let guessed = self.guessed.as_ref().is_some_and(|of| of.asked.take());
        guessed.then(|| self.end_pair(happened))
    }

    pub(crate) fn fetched(&mut self, key: &str, row: Option<KeyValueRow>) {
        self.known.insert(key.to_owned(), row.unwrap_or_default());
    }

    /// A change that was made elsewhere. A row that has not been fetched will have it when it is.
    pub(crate) fn changed(&mut self, change: &KeyValueChange) {
        if let Some(row) = self.known.get_mut(&change.key) {
            row.apply(&change.change);
        }
    }

    /// Makes the changes of a pair part of the rows, or forgets them.
    pub(crate) fn end_pair(&mut self, happened: bool) -> Vec<KeyValueChange> {
        let changes = std::mem::take(&mut self.changes);
        if !happened {
            return Vec::new();
        }
        for KeyValueChange { key, change } in &changes {
            self.known.entry(key.clone()).or_default().apply(change);
        }
        changes
    }

    /// The row with the pair's own changes over it.
    pub(super) fn row<'e>(&self, key: &'e &'e str) -> Result<KeyValueRow, Stop<'e>> {
        if let Some(guessed) = &self.guessed {
            guessed.asked.set(true);
        }
        let mut row = match (self.known.get(*key), &self.guessed) {
            (Some(row), _) => row.clone(),
            (None, Some(guessed)) => {
                let mut keys = guessed.keys.borrow_mut();
                if keys.len() < MOST_WANTED {
                    keys.insert((*key).to_owned());
                }
                KeyValueRow::default()
            }
            (None, None) => return Err(Stop::Missing(key)),
        };
        for KeyValueChange { change, .. } in
            self.changes.iter().filter(|change| change.key == **key)
        {
            row.apply(change);
        }
        Ok(row)
    }

    pub(super) fn expired(&self, row: &KeyValueRow) -> bool {
        row.expires.is_some_and(|expires| expires < self.now)
    }

    pub(super) fn note(&mut self, key: &str, change: ValueChange) {
        self.changes.push(KeyValueChange {
            key: key.to_owned(),
            change,
        });
    }

    /// Removes what a row holds but for its set, if that is to stay.
    pub(super) fn clear(&mut self, key: &str, row: &KeyValueRow, keep_set: bool) {
        if row.count.is_some() {
            self.note(key, ValueChange::ResetCount);
        }
        if row.set.is_some() && !keep_set {
            self.note(key, ValueChange::ResetSet);
        }
        if row.dict.is_some() {
            let value = serde_json::Value::Null;
            self.note(key, ValueChange::PutDict { value });
        }
    }

    /// Called before an addition to a row: an expired row starts empty.
    pub(super) fn renewed<'e>(&mut self, key: &'e &'e str) -> Result<KeyValueRow, Stop<'e>> {
        let row = self.row(key)?;
        if self.expired(&row) {
            self.clear(key, &row, false);
            return Ok(KeyValueRow::default());
        }
        Ok(row)
    }
}
