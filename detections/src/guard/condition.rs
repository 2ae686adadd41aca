//! A guard as it is tested: fields by their slots, long lists of texts as tables.

use std::collections::{BTreeSet, HashMap, HashSet};

use foldhash::fast::RandomState;
use serde_json::Value;

use super::scan::{Found, Paths};
use super::{Guard, Test};

/// A guard with its paths replaced by slots.
#[derive(Debug)]
pub(super) enum Condition {
    Always,
    Never,
    All(Vec<Condition>),
    Any(Vec<Condition>),
    Field(usize, Check),
    NotField(usize, Check),
}

/// A test, and a table of the texts that it takes if they are many.
#[derive(Debug)]
pub(super) struct Check {
    test: Test,
    texts: Option<HashSet<Box<str>, RandomState>>,
}

/// Texts from which on a table is quicker than to compare one by one.
const MANY: usize = 6;

impl Check {
    fn new(test: &Test) -> Self {
        let texts = match test {
            Test::In(values) if values.len() >= MANY => {
                let texts = values.iter().map(|value| value.as_str().map(Into::into));
                texts.collect()
            }
            _ => None,
        };
        Self {
            test: test.clone(),
            texts,
        }
    }

    /// Whether what was found passes; `None` if only Python can tell.
    fn passes(&self, found: &Found<'_>) -> Option<bool> {
        match (&self.texts, found) {
            (Some(texts), Found::Text(text)) => Some(texts.contains(*text)),
            _ => found.passes(&self.test),
        }
    }
}

impl Condition {
    pub(super) fn new(guard: &Guard, paths: &mut Paths) -> Self {
        match guard {
            Guard::Always => Self::Always,
            Guard::Never => Self::Never,
            Guard::All(guards) => {
                Self::All(guards.iter().map(|guard| Self::new(guard, paths)).collect())
            }
            Guard::Any(guards) => {
                Self::Any(guards.iter().map(|guard| Self::new(guard, paths)).collect())
            }
            Guard::Field(path, test) => Self::Field(paths.slot(path), Check::new(test)),
            Guard::NotField(path, test) => Self::NotField(paths.slot(path), Check::new(test)),
        }
    }

    /// Given what the event has in each slot.
    pub(super) fn may_hold<'e>(&self, found: &impl Fn(usize) -> Found<'e>) -> bool {
        match self {
            Self::Always => true,
            Self::Never => false,
            Self::All(conditions) => conditions.iter().all(|condition| condition.may_hold(found)),
            Self::Any(conditions) => conditions.iter().any(|condition| condition.may_hold(found)),
            Self::Field(slot, check) => check.passes(&found(*slot)) != Some(false),
            Self::NotField(slot, check) => check.passes(&found(*slot)) != Some(true),
        }
    }

    /// Slots and texts of which at least one pair must be equal in the event for the condition to hold, if it has such.
    pub(super) fn anchor(&self, distinct: &HashMap<usize, usize>) -> Option<Vec<(usize, String)>> {
        match self {
            Self::Field(slot, check) => match &check.test {
                Test::In(values) => values
                    .iter()
                    .map(|value| Some((*slot, value.as_str()?.to_owned())))
                    .collect(),
                _ => None,
            },
            Self::Any(conditions) => {
                let anchors: Option<Vec<_>> = conditions
                    .iter()
                    .map(|condition| condition.anchor(distinct))
                    .collect();
                anchors.map(|anchors| anchors.concat())
            }
            // The field that takes most different values tells rules apart best.
            Self::All(conditions) => conditions
                .iter()
                .filter_map(|condition| condition.anchor(distinct))
                .max_by_key(|anchor| {
                    let weakest = anchor
                        .iter()
                        .map(|(slot, _)| distinct.get(slot).copied().unwrap_or(0))
                        .min();
                    (weakest, std::cmp::Reverse(anchor.len()))
                }),
            _ => None,
        }
    }

    pub(super) fn values<'a>(&'a self, values: &mut HashMap<usize, BTreeSet<&'a str>>) {
        match self {
            Self::All(conditions) | Self::Any(conditions) => conditions
                .iter()
                .for_each(|condition| condition.values(values)),
            Self::Field(slot, check) => {
                if let Test::In(texts) = &check.test {
                    let texts = texts.iter().filter_map(Value::as_str);
                    values.entry(*slot).or_default().extend(texts);
                }
            }
            _ => {}
        }
    }
}
