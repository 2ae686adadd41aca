//! Methods of dicts, lists and sets.

use bumpalo::collections::Vec as ArenaVec;

use super::equality::lookup;
use super::names::Method;
use super::program::Operator;
use super::run::{CHANGED, Run};
use super::stop::{Stop, raise};
use super::value::{Done, Elements, Value};

impl<'e> Run<'e> {
    pub(super) fn dict_method(
        &mut self,
        of: &Value<'e>,
        method: Method,
        positional: &[Value<'e>],
    ) -> Done<'e> {
        match (method, positional) {
            (Method::Get, [key]) => self.dict_get(of, key, Value::None),
            (Method::Get, [key, default]) => self.dict_get(of, key, *default),
            (Method::Keys, []) => Ok(Value::Iterable(of.elements(self.arena)?.unwrap_or(&[]))),
            (Method::Values, []) => {
                let pairs = of.pairs(self.arena)?.unwrap_or(&[]);
                Ok(Value::Iterable(self.arena.alloc_slice_fill_iter(
                    pairs.iter().map(|(_, value)| *value),
                )))
            }
            (Method::Items, []) => {
                let pairs = of.pairs(self.arena)?.unwrap_or(&[]);
                let arena = self.arena;
                let pairs = pairs
                    .iter()
                    .map(|(key, value)| Value::Tuple(arena.alloc([*key, *value])));
                Ok(Value::Iterable(arena.alloc_slice_fill_iter(pairs)))
            }
            (Method::Copy, []) if !matches!(of, Value::Ordered(_)) => {
                let mut pairs = ArenaVec::new_in(self.arena);
                pairs.extend_from_slice(of.pairs(self.arena)?.unwrap_or(&[]));
                Ok(Value::dict(self.arena, pairs))
            }
            _ => match of {
                Value::Dict(pairs) | Value::Ordered(pairs) => match (method, positional) {
                    (Method::Update, [more]) if more.is_mapping() => {
                        for (key, value) in more.pairs(self.arena)?.unwrap_or(&[]) {
                            self.store(of, *key, *value)?;
                        }
                        Ok(Value::None)
                    }
                    (Method::Setdefault, [key, default]) => {
                        if let Some(value) = lookup(of, key)? {
                            return Ok(value);
                        }
                        self.store(of, *key, *default)?;
                        Ok(*default)
                    }
                    (Method::Pop, [key] | [key, _]) => {
                        if !key.hashable()? {
                            return Err(raise("TypeError"));
                        }
                        let mut place = None;
                        for (at, (name, _)) in pairs.borrow().iter().enumerate() {
                            if name.equals(key)? {
                                place = Some(at);
                                break;
                            }
                        }
                        match (place, positional) {
                            (Some(at), _) => Ok(pairs.borrow_mut().remove(at).1),
                            (None, [_, default]) => Ok(*default),
                            _ => Err(raise("KeyError")),
                        }
                    }
                    (Method::DeepGet | Method::DeepWalk | Method::Udm, _) => {
                        Err(raise("AttributeError"))
                    }
                    _ => Err(Stop::Hole(&"a method of a dict")),
                },
                _ => Err(Stop::Hole(&CHANGED)),
            },
        }
    }

    pub(super) fn dict_get(
        &mut self,
        of: &Value<'e>,
        key: &Value<'e>,
        default: Value<'e>,
    ) -> Done<'e> {
        if !key.hashable()? {
            return Err(raise("TypeError"));
        }
        Ok(lookup(of, key)?.unwrap_or(default))
    }

    pub(super) fn list_method(
        &mut self,
        of: &Value<'e>,
        method: Method,
        positional: &[Value<'e>],
    ) -> Done<'e> {
        if let (Method::Index | Method::Count, [wanted]) = (method, positional) {
            return self.index_or_count(of, method, wanted);
        }
        if let (Method::Copy, []) = (method, positional) {
            let mut items = ArenaVec::new_in(self.arena);
            items.extend_from_slice(self.ordered(of)?);
            return Ok(Value::list(self.arena, items));
        }
        let Value::List(items) = of else {
            return Err(Stop::Hole(&CHANGED));
        };
        match (method, positional) {
            (Method::Append, [value]) => {
                items.borrow_mut().push(*value);
                Ok(Value::None)
            }
            (Method::Extend, [more]) => {
                let more = self.ordered(more)?;
                items.borrow_mut().extend_from_slice(more);
                Ok(Value::None)
            }
            (Method::Insert, [Value::Int(0), value]) => {
                items.borrow_mut().insert(0, *value);
                Ok(Value::None)
            }
            (Method::Pop, []) => items.borrow_mut().pop().ok_or_else(|| raise("IndexError")),
            (Method::Pop, [Value::Int(0)]) => {
                if items.borrow().is_empty() {
                    return Err(raise("IndexError"));
                }
                Ok(items.borrow_mut().remove(0))
            }
            (Method::Sort, []) => self.sort(of, &[]),
            (Method::Remove, [value]) => {
                let mut place = None;
                for (at, item) in items.borrow().iter().enumerate() {
                    if item.equals(value)? {
                        place = Some(at);
                        break;
                    }
                }
                match place {
                    Some(at) => {
                        items.borrow_mut().remove(at);
                        Ok(Value::None)
                    }
                    None => Err(raise("ValueError")),
                }
            }
            _ => Err(Stop::Hole(&"a method of a list")),
        }
    }

    /// `list.sort(...)`.
    pub(super) fn sort(&mut self, of: &Value<'e>, named: &[(&'e str, Value<'e>)]) -> Done<'e> {
        let Value::List(items) = of else {
            return Err(Stop::Hole(&CHANGED));
        };
        // Whoever looks at it meanwhile sees it empty.
        let before = items.replace(ArenaVec::new_in(self.arena));
        let sorted = self.sorted(&before, named);
        if !items.replace(before).is_empty() {
            return Err(Stop::Hole(&"a list that is changed while it is sorted"));
        }
        if let Value::List(sorted) = sorted? {
            items.borrow_mut().copy_from_slice(&sorted.borrow());
        }
        Ok(Value::None)
    }

    pub(super) fn index_or_count(
        &mut self,
        of: &Value<'e>,
        method: Method,
        wanted: &Value<'e>,
    ) -> Done<'e> {
        let mut count = 0;
        for (place, item) in self.ordered(of)?.iter().enumerate() {
            if item.equals(wanted)? {
                if method == Method::Index {
                    return Ok(Value::Int(i64::try_from(place).unwrap_or(i64::MAX)));
                }
                count += 1;
            }
        }
        if method == Method::Index {
            return Err(raise("ValueError"));
        }
        Ok(Value::Int(count))
    }

    pub(super) fn set_method(
        &mut self,
        of: &Value<'e>,
        method: Method,
        positional: &[Value<'e>],
    ) -> Done<'e> {
        match (method, positional) {
            // Of several, Python alone knows which it gives.
            (Method::Pop, []) => match of {
                Value::Set(elements) if elements.items().len() <= 1 => {
                    elements.pop().ok_or_else(|| raise("KeyError"))
                }
                _ => Err(Stop::Hole(&"an element of a set")),
            },
            (
                Method::Intersection
                | Method::Union
                | Method::Difference
                | Method::Isdisjoint
                | Method::Issubset
                | Method::Issuperset,
                [other],
            ) => {
                let other = if other.is_set() {
                    *other
                } else {
                    let items = self.unordered(other)?;
                    self.new_set(items)?
                };
                let operator = match method {
                    Method::Union => Operator::Or,
                    Method::Difference | Method::Issubset => Operator::Subtract,
                    _ => Operator::And,
                };
                Ok(match method {
                    Method::Isdisjoint => {
                        Value::Bool(self.sets(operator, of, &other)?.length() == Some(0))
                    }
                    Method::Issubset => {
                        Value::Bool(self.sets(operator, of, &other)?.length() == Some(0))
                    }
                    Method::Issuperset => {
                        Value::Bool(self.sets(Operator::Subtract, &other, of)?.length() == Some(0))
                    }
                    _ => self.sets(operator, of, &other)?,
                })
            }
            (Method::Add, [value]) => self.add(changeable(of)?, *value),
            (Method::Update, [more]) => {
                let elements = changeable(of)?;
                for value in self.unordered(more)? {
                    self.add(elements, *value)?;
                }
                Ok(Value::None)
            }
            _ => Err(Stop::Hole(&"a method of a set")),
        }
    }

    /// `set.add(value)`.
    /// `elements.add(value)`.
    pub(super) fn add(&mut self, elements: &Elements<'e>, value: Value<'e>) -> Done<'e> {
        if !value.hashable()? {
            return Err(raise("TypeError"));
        }
        self.step(elements.looks(&value) / 16)?;
        elements.insert(value)?;
        Ok(Value::None)
    }
}

/// The elements of a set that is no constant of the pack.
fn changeable<'e>(set: &Value<'e>) -> Done<'e, &'e Elements<'e>> {
    match set {
        Value::Set(elements) => Ok(elements),
        _ => Err(Stop::Hole(&CHANGED)),
    }
}
