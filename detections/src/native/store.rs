//! The key-value store as rules use it, over rows that have been fetched: the functions of `panther_detection_helpers.caching`.

use std::collections::BTreeSet;

use bumpalo::collections::Vec as ArenaVec;

use super::names::Builtin;
use super::run::Run;
use super::stop::{Stop, raise};
use super::value::{Done, Value};
use crate::key_value::ValueChange;

/// How long a row lives unless told otherwise, in seconds.
const LIFE: i64 = 90 * 24 * 3600;
/// A time from here on is a moment, one below counts from now.
const FIRST_MOMENT: i64 = 1_000_000_000;
/// Bytes of a key; beyond them the store's functions raise.
const MOST_KEY_BYTES: usize = 2048;
/// Bytes of a set, from which on Python judges whether it is too much.
const LARGE_SET: usize = 300_000;

/// Arguments by name or place.
struct Given<'a, 'e> {
    positional: &'a [Value<'e>],
    named: &'a [(&'e str, Value<'e>)],
}

impl<'e> Given<'_, 'e> {
    fn take(&self, place: usize, name: &str) -> Option<Value<'e>> {
        self.positional.get(place).copied().or_else(|| {
            self.named
                .iter()
                .find(|(known, _)| *known == name)
                .map(|(_, value)| *value)
        })
    }

    /// Whether there is nothing but these.
    fn fits(&self, names: &[&str]) -> bool {
        self.positional.len() <= names.len()
            && self.named.iter().all(|(name, _)| {
                names
                    .iter()
                    .skip(self.positional.len())
                    .any(|known| known == name)
            })
    }
}

impl<'e> Run<'e> {
    /// A function of the store.
    pub(super) fn stored(
        &mut self,
        function: Builtin,
        positional: &[Value<'e>],
        named: &[(&'e str, Value<'e>)],
    ) -> Done<'e> {
        let Some(rows) = self.rows else {
            return Err(Stop::Hole(&super::run::STORE));
        };
        let given = Given { positional, named };
        let names: &[&str] = match function {
            Builtin::GetStringSet | Builtin::GetCounter => &["key", "force_ttl_check"],
            Builtin::CheckAccountAge | Builtin::ResetCounter | Builtin::ResetStringSet => &["key"],
            Builtin::SetKeyExpiration => &["key", "epoch_seconds"],
            Builtin::EvaluateThreshold => &["key", "threshold", "expiry_seconds"],
            _ => &["key", "val", "epoch_seconds"],
        };
        if !given.fits(names) {
            return Err(Stop::Hole(&"arguments of a function of the store"));
        }
        let key = match given.take(0, "key") {
            Some(Value::Text(key)) if !key.is_empty() => key,
            Some(_) if function == Builtin::CheckAccountAge => return Ok(Value::Bool(false)),
            _ => return Err(raise("TypeError")),
        };
        if key.len() > MOST_KEY_BYTES {
            return Err(raise("ValueError"));
        }
        let key = &*self.arena.alloc(key);
        let mut rows = rows.borrow_mut();
        match function {
            Builtin::GetStringSet | Builtin::GetCounter => {
                let checked = match given.take(1, "force_ttl_check") {
                    Some(value) => value.truthy()?,
                    None => false,
                };
                let row = rows.row(key)?;
                let gone = checked && rows.expired(&row);
                if function == Builtin::GetCounter {
                    return Ok(Value::Int(row.count.filter(|_| !gone).unwrap_or(0)));
                }
                self.texts(row.set.filter(|_| !gone).unwrap_or_default())
            }
            Builtin::CheckAccountAge => {
                let row = rows.row(key)?;
                Ok(Value::Bool(row.set.is_some_and(|set| !set.is_empty())))
            }
            Builtin::ResetCounter | Builtin::ResetStringSet => {
                rows.row(key)?;
                rows.note(
                    key,
                    match function {
                        Builtin::ResetCounter => ValueChange::ResetCount,
                        _ => ValueChange::ResetSet,
                    },
                );
                Ok(Value::None)
            }
            Builtin::SetKeyExpiration => {
                let at = moment(rows.now, given.take(1, "epoch_seconds"))?;
                rows.row(key)?;
                rows.note(key, ValueChange::Expire { at });
                Ok(Value::None)
            }
            Builtin::PutStringSet => {
                let values = self.members(given.take(1, "val"), false)?;
                small(values.iter())?;
                let row = rows.row(key)?;
                if values.is_empty() {
                    rows.note(key, ValueChange::ResetSet);
                    return Ok(Value::None);
                }
                let at = moment(rows.now, given.take(2, "epoch_seconds"))?;
                rows.clear(key, &row, true);
                rows.note(key, ValueChange::PutSet { values });
                rows.note(key, ValueChange::Expire { at });
                Ok(Value::None)
            }
            Builtin::AddToStringSet => {
                let values = self.members(given.take(1, "val"), true)?;
                if values.is_empty() {
                    let row = rows.row(key)?;
                    return self.texts(row.set.unwrap_or_default());
                }
                let at = moment(rows.now, given.take(2, "epoch_seconds"))?;
                let mut all = rows.renewed(key)?.set.unwrap_or_default();
                all.extend(values.iter().cloned());
                small(all.iter())?;
                rows.note(key, ValueChange::Union { values });
                rows.note(key, ValueChange::Expire { at });
                self.texts(all)
            }
            Builtin::IncrementCounter | Builtin::EvaluateThreshold => {
                let number = |place, name, default| match given.take(place, name) {
                    None => Ok(default),
                    Some(Value::Int(value)) => Ok(value),
                    Some(_) => Err(Stop::Hole(&"a number of the store")),
                };
                let (add, life) = if function == Builtin::IncrementCounter {
                    let life = given.take(2, "epoch_seconds");
                    (number(1, "val", 1)?, life)
                } else {
                    (1, Some(Value::Int(number(2, "expiry_seconds", 3600)?)))
                };
                let at = moment(rows.now, life)?;
                let count = rows.renewed(key)?.count.unwrap_or(0);
                let count = count.checked_add(add).ok_or(Stop::Hole(&"a big integer"))?;
                rows.note(key, ValueChange::Add { value: add });
                rows.note(key, ValueChange::Expire { at });
                if function == Builtin::IncrementCounter {
                    return Ok(Value::Int(count));
                }
                let reached = count >= number(1, "threshold", 10)?;
                if reached {
                    rows.note(key, ValueChange::ResetCount);
                }
                Ok(Value::Bool(reached))
            }
            _ => Err(Stop::Hole(&"a function of the store")),
        }
    }

    fn texts(&mut self, texts: BTreeSet<String>) -> Done<'e> {
        self.step(texts.len())?;
        let mut items = ArenaVec::with_capacity_in(texts.len(), self.arena);
        for text in texts {
            items.push(Value::Text(self.arena.alloc_str(&text)));
        }
        Value::set(self.arena, &items)
    }

    /// The members of a set that is stored; a single text may stand for itself.
    fn members(&mut self, given: Option<Value<'e>>, single: bool) -> Done<'e, BTreeSet<String>> {
        let Some(given) = given else {
            return Err(raise("TypeError"));
        };
        if let (Value::Text(text), true) = (given, single) {
            return Ok([text.to_owned()].into());
        }
        self.unordered(&given)?
            .iter()
            .map(|one| match one {
                Value::Text(text) => Ok((*text).to_owned()),
                _ => Err(raise("TypeError")),
            })
            .collect()
    }
}

fn small<'e, 's>(texts: impl Iterator<Item = &'s String>) -> Done<'e, ()> {
    if texts.map(String::len).sum::<usize>() > LARGE_SET {
        return Err(Stop::Hole(&"a large set of the store"));
    }
    Ok(())
}

fn moment<'e>(now: i64, given: Option<Value<'e>>) -> Done<'e, i64> {
    let seconds = match given {
        None | Some(Value::None) => LIFE,
        Some(Value::Int(seconds)) => seconds,
        #[allow(clippy::cast_possible_truncation)]
        Some(Value::Float(seconds)) if seconds.abs() < 9e15 => seconds.trunc() as i64,
        Some(Value::Text(digits))
            if digits.len() < 16 && digits.bytes().all(|byte| byte.is_ascii_digit()) =>
        {
            digits.parse().map_err(|_| raise("ValueError"))?
        }
        Some(_) => return Err(Stop::Hole(&"a time of the store")),
    };
    Ok(if seconds >= FIRST_MOMENT {
        seconds
    } else {
        now + seconds
    })
}
