//! What stands behind a key, an index or a slice.

use bumpalo::collections::Vec as ArenaVec;

use super::equality::{item, lookup};
use super::run::Run;
use super::stop::{Stop, raise};
use super::text;
use super::value::{Done, Value, wrap};
use crate::event::{Found, Map};

impl<'e> Run<'e> {
    /// `view.get(key, default)`.
    pub(super) fn get(&mut self, map: &'e Map<'e>, key: Value<'e>, default: Value<'e>) -> Done<'e> {
        let Value::Text(key) = key else {
            return Err(Stop::Hole(&"a key that is no text"));
        };
        match map.find(key) {
            Found::Yes(node) => wrap(node),
            Found::No => Ok(default),
            Found::Unknown => Err(Stop::Hole(&"a key outside ASCII")),
        }
    }

    pub(super) fn place(&self, place: i64, length: usize) -> Done<'e, usize> {
        let length = i64::try_from(length).unwrap_or(i64::MAX);
        let at = if place < 0 { place + length } else { place };
        if (0..length).contains(&at) {
            usize::try_from(at).map_err(|_| raise("IndexError"))
        } else {
            Err(raise("IndexError"))
        }
    }

    /// `of[key]`.
    pub(super) fn subscript(&mut self, of: &Value<'e>, key: &Value<'e>) -> Done<'e> {
        match of {
            Value::View(map, _) => {
                let Value::Text(key) = key else {
                    return Err(Stop::Hole(&"a key that is no text"));
                };
                match map.find(key) {
                    Found::Yes(node) => wrap(node),
                    Found::No => Err(raise("KeyError")),
                    Found::Unknown => Err(Stop::Hole(&"a key outside ASCII")),
                }
            }
            value if value.is_mapping() => {
                if !key.hashable()? {
                    return Err(raise("TypeError"));
                }
                lookup(of, key)?.ok_or_else(|| raise("KeyError"))
            }
            Value::Text(text) => match key {
                Value::Int(place) => {
                    let at = self.place(*place, of.length().unwrap_or(0))?;
                    Ok(Value::Text(text::characters(text, at, at + 1)))
                }
                _ => Err(raise("TypeError")),
            },
            Value::ListView(_) | Value::List(_) | Value::Tuple(_) | Value::Frozen(_)
                if !of.is_set() =>
            {
                match key {
                    Value::Int(place) => {
                        let at = self.place(*place, of.length().unwrap_or(0))?;
                        item(of, at)
                    }
                    Value::Text(_) | Value::None => Err(raise("TypeError")),
                    _ => Err(Stop::Hole(&"an index of another sort")),
                }
            }
            Value::Match(found) => match key {
                Value::Int(_) | Value::Text(_) => self.group(found, key),
                _ => Err(Stop::Hole(&"a group of another sort")),
            },
            Value::None | Value::Bool(_) | Value::Int(_) | Value::Float(_) | Value::Set(_) => {
                Err(raise("TypeError"))
            }
            _ => Err(Stop::Hole(&"an element of an object")),
        }
    }

    pub(super) fn slice(&mut self, of: &Value<'e>, bounds: [Option<i64>; 3]) -> Done<'e> {
        let [from, to, step] = bounds;
        let Some(length) = of.length().filter(|_| !of.is_mapping() && !of.is_set()) else {
            return match of {
                Value::None | Value::Bool(_) | Value::Int(_) | Value::Float(_) => {
                    Err(raise("TypeError"))
                }
                _ => Err(Stop::Hole(&"a slice of an object")),
            };
        };
        let whole = i64::try_from(length).unwrap_or(i64::MAX);
        let bound = |value: Option<i64>, default: i64| {
            let value = value.unwrap_or(default);
            let value = if value < 0 { value + whole } else { value };
            usize::try_from(value.clamp(0, whole)).unwrap_or(0)
        };
        match step {
            None | Some(1) => {}
            Some(-1) if from.is_none() && to.is_none() => {
                if let Value::Text(text) = of {
                    let reversed: String = text.chars().rev().collect();
                    return Ok(Value::Text(self.arena.alloc_str(&reversed)));
                }
                return Err(Stop::Hole(&"a slice with a step"));
            }
            _ => return Err(Stop::Hole(&"a slice with a step")),
        }
        let (from, to) = (bound(from, 0), bound(to, whole));
        let to = to.max(from);
        match of {
            Value::Text(text) => Ok(Value::Text(text::characters(text, from, to))),
            Value::ListView(nodes) => {
                let mut items = ArenaVec::new_in(self.arena);
                for node in &nodes[from..to] {
                    items.push(super::value::plain(self.arena, *node)?);
                }
                Ok(Value::Tuple(items.into_bump_slice()))
            }
            _ => {
                let mut items = ArenaVec::with_capacity_in(to - from, self.arena);
                for at in from..to {
                    items.push(item(of, at)?);
                }
                Ok(if of.is_list() {
                    Value::list(self.arena, items)
                } else {
                    Value::Tuple(items.into_bump_slice())
                })
            }
        }
    }
}
