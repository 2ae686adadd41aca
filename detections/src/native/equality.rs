//! Equality, and finding an equal element or key.

use super::stop::Stop;
use super::value::{DEEPEST, Done, Sequence, Value, wrap};

impl<'e> Value<'e> {
    /// Whether two names mean the same object; `None` where that cannot be told.
    pub(super) fn is(&self, other: &Self) -> Option<bool> {
        match (self, other) {
            (Value::None, Value::None) => Some(true),
            (Value::Bool(one), Value::Bool(other)) => Some(one == other),
            (Value::None | Value::Bool(_), _) | (_, Value::None | Value::Bool(_)) => Some(false),
            _ => None,
        }
    }

    /// Python's `==`.
    pub(super) fn equals(&self, other: &Self) -> Done<'e, bool> {
        self.equals_at(other, 0)
    }

    /// At this depth inside the values that are compared: they may be made to hold themselves.
    fn equals_at(&self, other: &Self, depth: u32) -> Done<'e, bool> {
        if depth > DEEPEST {
            return Err(Stop::Hole(&"a deep value"));
        }
        match (self, other) {
            (Value::Text(one), Value::Text(other)) => Ok(one == other),
            (Value::None, Value::None) => Ok(true),
            (Value::Unbound | Value::Iterable(_) | Value::Once(_) | Value::Ordered(_), _)
            | (_, Value::Unbound | Value::Iterable(_) | Value::Once(_) | Value::Ordered(_)) => {
                Err(Stop::Hole(&"equality of iterators"))
            }
            (Value::None | Value::Text(_), _) | (_, Value::None | Value::Text(_)) => Ok(false),
            _ => self.equals_more(other, depth),
        }
    }

    fn equals_more(&self, other: &Self, depth: u32) -> Done<'e, bool> {
        if let (Some(one), Some(two)) = (self.number(), other.number()) {
            return one.equals(two);
        }
        if self.number().is_some() || other.number().is_some() {
            return Ok(false);
        }
        if self.is_mapping() && other.is_mapping() {
            return same_mappings(self, other, depth + 1);
        }
        match (self.sequence_kind(), other.sequence_kind()) {
            (Some(one), Some(two)) => {
                if one == two
                    || (one == Sequence::View && two == Sequence::List)
                    || (one == Sequence::List && two == Sequence::View)
                {
                    return same_sequences(self, other, depth + 1);
                }
                if one == Sequence::Set
                    || two == Sequence::Set
                    || (one == Sequence::Tuple && two == Sequence::List)
                    || (one == Sequence::List && two == Sequence::Tuple)
                {
                    return Ok(false);
                }
                Err(Stop::Hole(&"a view compared with a tuple"))
            }
            (Some(_), None) | (None, Some(_)) if self.is_mapping() || other.is_mapping() => {
                Ok(false)
            }
            _ => match (self, other) {
                (Value::Address(one), Value::Address(two)) => Ok(one == two),
                (Value::Network(one), Value::Network(two)) => Ok(one == two),
                (Value::Moment(one), Value::Moment(two)) => {
                    Ok(one.compare(*two) == Some(std::cmp::Ordering::Equal))
                }
                (Value::Span(one), Value::Span(two)) => Ok(one == two),
                _ => Err(Stop::Hole(&"equality of objects")),
            },
        }
    }
}

fn same_sequences<'e>(one: &Value<'e>, other: &Value<'e>, depth: u32) -> Done<'e, bool> {
    if one.length() != other.length() {
        return Ok(false);
    }
    let length = one.length().unwrap_or(0);
    if one.is_set() {
        for place in 0..length {
            if !contains_item(other, &item(one, place)?)? {
                return Ok(false);
            }
        }
        return Ok(true);
    }
    for place in 0..length {
        if !item(one, place)?.equals_at(&item(other, place)?, depth)? {
            return Ok(false);
        }
    }
    Ok(true)
}

/// The element at a place that is known to be there.
pub(super) fn item<'e>(of: &Value<'e>, place: usize) -> Done<'e> {
    match of {
        Value::ListView(nodes) => wrap(nodes[place]),
        Value::List(items) => Ok(items.borrow()[place]),
        Value::Set(elements) => Ok(elements.items()[place]),
        Value::Tuple(items) => Ok(items[place]),
        Value::Frozen(frozen) => frozen.items[place].value(),
        _ => Err(Stop::Hole(&"an element of something else")),
    }
}

/// How many elements have to be looked at to find one that is like `wanted`.
pub(super) fn looks<'e>(of: &Value<'e>, wanted: &Value<'e>) -> usize {
    match (of, wanted) {
        (Value::Set(elements), _) => elements.looks(wanted),
        (Value::Frozen(frozen), Value::Text(_)) if frozen.only_texts => 1,
        _ => of.length().unwrap_or(0),
    }
}

/// Whether a sequence or set has an equal element.
pub(super) fn contains_item<'e>(of: &Value<'e>, wanted: &Value<'e>) -> Done<'e, bool> {
    if let Value::Set(elements) = of {
        return elements.contains(wanted);
    }
    if let (Value::Frozen(frozen), Value::Text(text)) = (of, wanted) {
        if frozen.texts.contains_key(*text) {
            return Ok(true);
        }
        if frozen.only_texts {
            return Ok(false);
        }
    }
    for place in 0..of.length().unwrap_or(0) {
        if item(of, place)?.equals(wanted)? {
            return Ok(true);
        }
    }
    Ok(false)
}

/// The value under an equal key of a plain dict.
pub(super) fn lookup<'e>(of: &Value<'e>, key: &Value<'e>) -> Done<'e, Option<Value<'e>>> {
    match of {
        Value::Dict(pairs) | Value::Ordered(pairs) => {
            for (name, value) in pairs.borrow().iter() {
                if name.equals(key)? {
                    return Ok(Some(*value));
                }
            }
            Ok(None)
        }
        Value::Frozen(frozen) => {
            if let Value::Text(text) = key {
                if let Some(place) = frozen.texts.get(*text) {
                    return frozen.values[*place].value().map(Some);
                }
                if frozen.only_texts {
                    return Ok(None);
                }
            }
            for (name, value) in frozen.items.iter().zip(&frozen.values) {
                if name.value()?.equals(key)? {
                    return value.value().map(Some);
                }
            }
            Ok(None)
        }
        Value::View(map, _) => match key.as_text() {
            Some(key) => map.exact(key).map(wrap).transpose(),
            None => Ok(None),
        },
        _ => Err(Stop::Hole(&"a look-up in something else")),
    }
}

/// Mappings are equal by what they hold, key by exact key.
fn same_mappings<'e>(one: &Value<'e>, other: &Value<'e>, depth: u32) -> Done<'e, bool> {
    if one.length() != other.length() {
        return Ok(false);
    }
    let compare = |key: &Value<'e>, value: &Value<'e>| -> Done<'e, bool> {
        match lookup(other, key)? {
            Some(found) => value.equals_at(&found, depth),
            None => Ok(false),
        }
    };
    match one {
        Value::Dict(pairs) => {
            for (key, value) in pairs.borrow().iter() {
                if !compare(key, value)? {
                    return Ok(false);
                }
            }
        }
        Value::Frozen(frozen) => {
            for (key, value) in frozen.items.iter().zip(&frozen.values) {
                if !compare(&key.value()?, &value.value()?)? {
                    return Ok(false);
                }
            }
        }
        Value::View(map, _) => {
            for (key, node) in map.members() {
                if !compare(&Value::Text(key), &wrap(*node)?)? {
                    return Ok(false);
                }
            }
        }
        _ => return Err(Stop::Hole(&"a mapping of another sort")),
    }
    Ok(true)
}
