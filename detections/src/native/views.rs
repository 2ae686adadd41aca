//! Methods of the event and of the mappings inside it.

use bumpalo::Bump;
use bumpalo::collections::Vec as ArenaVec;

use super::methods::Named;
use super::names::Method;
use super::program::{Mapping, Step};
use super::run::Run;
use super::stop::{Stop, raise};
use super::strptime::No;
use super::value::{Done, Value, Whole, plain, wrap};
use crate::event::{Map, Node, Reads};

impl<'e> Run<'e> {
    pub(super) fn view_method(
        &mut self,
        map: &'e Map<'e>,
        whole: Whole,
        method: Method,
        positional: &[Value<'e>],
        named: Named<'_, 'e>,
    ) -> Done<'e> {
        let default = match named {
            [] => Some(Value::None),
            [("default", value)] => Some(*value),
            _ => None,
        };
        match (method, positional) {
            (Method::Get, [key]) => match default {
                Some(default) => self.get(map, *key, default),
                None => Err(raise("TypeError")),
            },
            (Method::Get, [key, default]) if named.is_empty() => self.get(map, *key, *default),
            (Method::DeepGet, keys) => match default {
                Some(default) => self.deep_get(map, keys, default),
                None => Err(raise("TypeError")),
            },
            (Method::DeepWalk, keys) if whole == Whole::Yes => self.deep_walk(map, keys, named),
            (Method::UdmPath, [Value::Text(key)]) if whole == Whole::Yes && named.is_empty() => {
                let model = self
                    .model
                    .ok_or(Stop::Hole(&"a path without a data model"))?;
                Ok(model
                    .told
                    .get(*key)
                    .map_or(Value::None, |path| Value::Text(path)))
            }
            (Method::EventTimeEpoch, []) if whole == Whole::Yes && named.is_empty() => {
                self.event_time_epoch(map)
            }
            (Method::Udm, keys) if whole == Whole::Yes => match default {
                Some(default) => self.udm(map, keys, default),
                None => Err(raise("TypeError")),
            },
            (Method::Items, []) if named.is_empty() => {
                let mut items = ArenaVec::with_capacity_in(map.members().len(), self.arena);
                for (key, node) in map.members() {
                    let pair = [Value::Text(key), wrap(*node)?];
                    items.push(Value::Tuple(self.arena.alloc(pair)));
                }
                Ok(Value::Iterable(items.into_bump_slice()))
            }
            (Method::Keys, []) if named.is_empty() => {
                let keys = Value::View(map, whole).elements(self.arena)?;
                Ok(Value::Iterable(keys.unwrap_or(&[])))
            }
            (Method::Values, []) if named.is_empty() => {
                let mut items = ArenaVec::with_capacity_in(map.members().len(), self.arena);
                for (_, node) in map.members() {
                    items.push(wrap(*node)?);
                }
                Ok(Value::Iterable(items.into_bump_slice()))
            }
            (Method::ToDict | Method::Copy, []) if named.is_empty() => {
                plain(self.arena, Node::Map(map))
            }
            (Method::DeepWalk | Method::Udm, _) if whole == Whole::No => {
                Err(raise("AttributeError"))
            }
            _ => Err(Stop::Hole(&"a method of a view")),
        }
    }

    /// `event.event_time_epoch()`: `p_event_time` in whole seconds, 0 if it is missing or in another layout.
    fn event_time_epoch(&mut self, map: &'e Map<'e>) -> Done<'e> {
        let text = match self.get(map, Value::Text("p_event_time"), Value::None)? {
            Value::None => return Ok(Value::Int(0)),
            Value::Text(text) => text.split('.').next().unwrap_or_default(),
            _ => return Err(raise("TypeError")),
        };
        self.step(text.len() / 64)?;
        for layout in ["%Y-%m-%d %H:%M:%S", "%Y-%m-%dT%H:%M:%S"] {
            match self.program.times.read(text, layout) {
                Ok(moment) => return Ok(Value::Int(moment.seconds())),
                Err(No::Refused) => {}
                Err(No::Unclear) => return Err(Stop::Hole(&"a time in another format")),
            }
        }
        Ok(Value::Int(0))
    }

    /// `view.deep_get(*keys, default=...)`.
    pub(super) fn deep_get(
        &mut self,
        map: &'e Map<'e>,
        keys: &[Value<'e>],
        default: Value<'e>,
    ) -> Done<'e> {
        // A missing key would go on in the default.
        if default.is_mapping() && default.length() != Some(0) {
            return Err(Stop::Hole(&"a default that is a mapping"));
        }
        let mut value = Value::View(map, Whole::No);
        for key in keys {
            value = match value {
                Value::View(map, _) => self.get(map, *key, Value::None)?,
                _ => return Ok(default),
            };
        }
        Ok(match value {
            Value::None => default,
            // Without keys it is the event itself.
            Value::View(..) if keys.is_empty() => return Err(Stop::Hole(&"deep_get without keys")),
            value => value,
        })
    }

    /// `event.udm(*keys, default=...)`.
    pub(super) fn udm(
        &mut self,
        map: &'e Map<'e>,
        keys: &[Value<'e>],
        default: Value<'e>,
    ) -> Done<'e> {
        let [Value::Text(key)] = keys else {
            return Ok(match keys {
                [] => default,
                keys => self.not_mapped(map, keys)?.unwrap_or(default),
            });
        };
        // While look-ups are noted, what another rule has looked up does not count.
        let alone = map.reads().are_kept();
        if !alone && let Some((_, known)) = self.unified.iter().find(|(known, _)| known == key) {
            return Ok(known.unwrap_or(default));
        }
        let found = match self.model.and_then(|model| model.fields.get(*key)) {
            Some(Mapping::Path(steps)) => self.at_path(map, steps)?,
            Some(Mapping::Method(function)) => {
                let value = self.call_place(*function, &[Value::View(map, Whole::No)], &[])?;
                Some(rewrapped(self.arena, value)?)
            }
            Some(Mapping::Unknown(what)) => return Err(Stop::NoForm(what)),
            None => self.not_mapped(map, keys)?,
        };
        // What a rule may change is made anew for each, and so is what hangs on what a rule has written or on the order of a set.
        if !self.wrote
            && self.as_loaded.is_empty()
            && !self.loose
            && !matches!(
                found,
                Some(Value::Set(_) | Value::Ordered(_) | Value::Iterable(_) | Value::Once(_))
            )
        {
            self.unified.push((key, found));
        }
        Ok(found.unwrap_or(default))
    }

    /// A field that no data model maps: from `p_udm`, else from the event itself, what is not true counting as missing.
    pub(super) fn not_mapped(
        &mut self,
        map: &'e Map<'e>,
        keys: &[Value<'e>],
    ) -> Done<'e, Option<Value<'e>>> {
        let mut unified = ArenaVec::with_capacity_in(keys.len() + 1, self.arena);
        unified.push(Value::Text("p_udm"));
        unified.extend_from_slice(keys);
        let found = self.deep_get(map, &unified, Value::None)?;
        if found.truthy()? {
            return Ok(Some(found));
        }
        let found = self.deep_get(map, keys, Value::None)?;
        Ok(found.truthy()?.then_some(found))
    }

    /// What a data model's path leads to.
    pub(super) fn at_path(
        &mut self,
        map: &'e Map<'e>,
        steps: &'e [Step],
    ) -> Done<'e, Option<Value<'e>>> {
        let mut nodes: ArenaVec<'e, Node<'e>> = bumpalo::vec![in self.arena; Node::Map(map)];
        for step in steps {
            let mut inner = ArenaVec::new_in(self.arena);
            for node in &nodes {
                match (step, node) {
                    (Step::Key(key), Node::Map(map)) => inner.extend(map.exact(key)),
                    (Step::Each, Node::List(items)) => inner.extend_from_slice(items),
                    (Step::Each, other) => inner.push(*other),
                    (Step::Place(place), Node::List(items)) => {
                        let length = i64::try_from(items.len()).unwrap_or(i64::MAX);
                        let at = if *place < 0 { place + length } else { *place };
                        inner.extend(
                            usize::try_from(at)
                                .ok()
                                .and_then(|at| items.get(at))
                                .copied(),
                        );
                    }
                    _ => {}
                }
            }
            nodes = inner;
        }
        match nodes.as_slice() {
            [] => Ok(None),
            [only] => wrap(*only).map(Some),
            _ => Err(Stop::Hole(&"a path that leads to several values")),
        }
    }

    pub(super) fn deep_walk(
        &mut self,
        map: &'e Map<'e>,
        keys: &[Value<'e>],
        named: Named<'_, 'e>,
    ) -> Done<'e> {
        let (mut default, mut which) = (Value::None, "all");
        for (name, value) in named {
            match (*name, value) {
                ("default", value) => default = *value,
                ("return_val", Value::Text(text)) => which = text,
                _ => return Err(Stop::Hole(&"an argument of deep_walk")),
            }
        }
        let mut texts = ArenaVec::with_capacity_in(keys.len(), self.arena);
        for key in keys {
            texts.push(key.as_text().ok_or(Stop::Hole(&"a key that is no text"))?);
        }
        let plain_default = matches!(
            default,
            Value::None | Value::Bool(_) | Value::Int(_) | Value::Text(_)
        ) || (default.is_list() && default.length() == Some(0));
        if !plain_default {
            return Err(Stop::Hole(&"a default of another sort"));
        }
        let found = self.walk(Node::Map(map), &texts, default, which)?;
        // A default that is a list of the pack is copied.
        Ok(match found {
            Value::Frozen(_) => Value::list(self.arena, ArenaVec::new_in(self.arena)),
            other => other,
        })
    }

    pub(super) fn walk(
        &mut self,
        node: Node<'e>,
        keys: &[&'e str],
        default: Value<'e>,
        which: &str,
    ) -> Done<'e> {
        self.step(1)?;
        let Some((key, rest)) = keys.split_first() else {
            return if hollow(&node) {
                Ok(default)
            } else {
                plain(self.arena, node)
            };
        };
        match node {
            Node::Map(map) => match map.exact(key) {
                None | Some(Node::Null) => Ok(default),
                Some(inner) => self.walk(inner, rest, default, which),
            },
            Node::List(items) => {
                let mut found: ArenaVec<'e, Value<'e>> = ArenaVec::new_in(self.arena);
                for item in items {
                    let inner = self.walk(*item, keys, default, which)?;
                    if matches!(inner, Value::None) {
                        continue;
                    }
                    let one = [inner];
                    let several = if inner.is_list() || inner.is_tuple() {
                        self.ordered(&inner)?
                    } else {
                        &one
                    };
                    for value in several {
                        if !value.hashable()? {
                            return Err(raise("TypeError"));
                        }
                        self.step(found.len() / 16)?;
                        let mut known = false;
                        for other in &found {
                            if other.equals(value)? {
                                known = true;
                                break;
                            }
                        }
                        if !known {
                            found.push(*value);
                        }
                    }
                }
                Ok(match (found.as_slice(), which) {
                    ([], _) => default,
                    ([first, ..], "first") => *first,
                    ([.., last], "last") => *last,
                    ([only], "all") => *only,
                    (_, "all") => Value::list(self.arena, found),
                    _ => Value::Text("all"),
                })
            }
            _ => Ok(default),
        }
    }
}

/// What a data model's method gave, as `udm` hands it on: plain containers behind views.
fn rewrapped<'e>(arena: &'e Bump, value: Value<'e>) -> Done<'e> {
    if value.is_list() || (value.is_mapping() && !matches!(value, Value::View(..))) {
        return wrap(node_of(arena, &value, 0)?);
    }
    Ok(value)
}

/// A plain value as what an event consists of.
fn node_of<'e>(arena: &'e Bump, value: &Value<'e>, depth: u32) -> Done<'e, Node<'e>> {
    if depth > DEEPEST {
        return Err(Stop::Hole(&"a deep container from a data model's method"));
    }
    Ok(match value {
        Value::None => Node::Null,
        Value::Bool(value) => Node::Bool(*value),
        Value::Int(value) => Node::Int(*value),
        Value::Float(value) => Node::Float(*value),
        Value::Text(text) => Node::Text(text),
        value if value.is_list() => {
            let mut nodes = ArenaVec::new_in(arena);
            for item in value.elements(arena)?.unwrap_or(&[]) {
                nodes.push(node_of(arena, item, depth + 1)?);
            }
            Node::List(nodes.into_bump_slice())
        }
        Value::Dict(_) | Value::Frozen(_) if value.is_mapping() => {
            let mut members = ArenaVec::new_in(arena);
            let mut odd_keys = false;
            for (key, item) in value.pairs(arena)?.unwrap_or(&[]) {
                let key = key.as_text().ok_or(Stop::Hole(&"a key that is no text"))?;
                odd_keys |= !key.is_ascii();
                members.push((key, node_of(arena, item, depth + 1)?));
            }
            Node::Map(arena.alloc(Map::new(
                members.into_bump_slice(),
                odd_keys,
                arena.alloc(Reads::new(arena)),
            )))
        }
        _ => return Err(Stop::Hole(&"a container from a data model's method")),
    })
}

/// Containers inside containers that a data model's method may give.
const DEEPEST: u32 = 20;

fn hollow(node: &Node<'_>) -> bool {
    match node {
        Node::List(items) => items.iter().all(hollow),
        _ => false,
    }
}
