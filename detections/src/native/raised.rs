//! Exceptions whose text is known from an event like this one.
//!
//! A rule that asks `event.get("action").startswith(..)` of events without an action raises the same `AttributeError` each time: its text and its traceback hang on the
//! place in the code and on the kinds of the operands, and on nothing else. So Python is asked once for each such place; after that the error is at hand. Only
//! exceptions of which that is certain are kept: where the language itself refuses an operand by its kind, or misses a key that is written in the code.

use std::collections::HashMap;
use std::sync::Arc;

use parking_lot::RwLock;

use super::constants::FrozenKind;
use super::run::Run;
use super::stop::{Stop, raise, raise_with};
use super::trail::{PLAIN, Site};
use super::value::{Done, Value};
use crate::verdict::RuleError;

/// Errors that are kept, over all rules.
const MOST: usize = 1024;
/// Errors by rule and place.
#[derive(Debug, Default)]
pub(super) struct Errors {
    known: RwLock<HashMap<(u32, Site), Arc<RuleError>>>,
}

impl Errors {
    pub(super) fn at(&self, rule: u32, site: &Site) -> Option<Arc<RuleError>> {
        // The key has to be whole: a map of maps by rule would spare the copy, and is not worth it on this road.
        self.known.read().get(&(rule, site.clone())).cloned()
    }

    /// Keeps what Python said of a rule that raised at a place.
    pub(super) fn learn(&self, rule: u32, site: Site, error: &RuleError) {
        let mut known = self.known.write();
        if PLAIN.contains(&error.kind.as_str()) && known.len() < MOST {
            known.insert((rule, site), Arc::new(error.clone()));
        }
    }
}

impl<'e> Run<'e> {
    /// Raises what the language raises where it refuses operands of such kinds.
    #[cold]
    pub(super) fn refuse(&mut self, name: &str, operands: &[&Value<'e>]) -> Stop<'e> {
        self.trail.begin(kinds(operands));
        raise(name)
    }

    /// Raises what `of.name` raises of a plain value that has no such attribute.
    #[cold]
    pub(super) fn refuse_attribute(&mut self, of: &Value<'e>, name: &str) -> Stop<'e> {
        self.trail.begin(kinds(&[of]));
        let class = match of {
            Value::None => "NoneType",
            Value::Bool(_) => "bool",
            Value::Int(_) => "int",
            Value::Float(_) => "float",
            _ => return raise("AttributeError"),
        };
        let text =
            bumpalo::format!(in self.arena, "'{}' object has no attribute '{}'", class, name);
        raise_with(self.arena, "AttributeError", text.into_bump_str())
    }

    /// The same, where the refusal has been made already.
    pub(super) fn refused<T>(&mut self, done: Done<'e, T>, operands: &[&Value<'e>]) -> Done<'e, T> {
        if let Err(Stop::Raise(_)) = &done {
            self.trail.begin(kinds(operands));
        }
        done
    }

    /// The same of `of[key]`, where a missing key tells itself; `written` says whether it is a constant of the code.
    pub(super) fn refused_key(
        &mut self,
        done: Done<'e>,
        of: &Value<'e>,
        key: &Value<'e>,
        written: bool,
    ) -> Done<'e> {
        if let Err(Stop::Raise(raised)) = &done {
            let plain = raised.classes.name() != "KeyError" || written;
            self.trail.begin(kinds(&[of, key]).filter(|_| plain));
        }
        done
    }
}

/// The kinds of values in one number, each of which Python's texts name alike; `None` for those of which they may not.
fn kinds(values: &[&Value<'_>]) -> Option<u32> {
    values.iter().try_fold(0, |all, value| {
        let kind = match value {
            Value::None => 1,
            Value::Bool(_) => 2,
            Value::Int(_) => 3,
            Value::Float(_) => 4,
            Value::Text(_) => 5,
            Value::View(..) => 6,
            Value::ListView(_) => 7,
            Value::List(_) => 8,
            Value::Tuple(_) => 9,
            Value::Dict(_) => 10,
            Value::Moment(_) => 11,
            Value::Span(_) => 12,
            Value::Frozen(frozen) => match frozen.kind {
                FrozenKind::List => 8,
                FrozenKind::Tuple => 9,
                FrozenKind::Dict => 10,
                FrozenKind::Set => return None,
            },
            _ => return None,
        };
        Some(all * 16 + kind)
    })
}
