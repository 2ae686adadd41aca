//! One pass over an event's JSON text that keeps the values at a few paths and skips the rest.

use std::borrow::Cow;
use std::fmt;

use serde::de::{DeserializeSeed, Deserializer, IgnoredAny, MapAccess, SeqAccess, Visitor};
use serde_json::Value;

use super::{JsonType, Test};

/// What an event has at a path.
#[derive(Debug, Clone, PartialEq)]
pub(super) enum Found<'e> {
    /// The path leads nowhere.
    Missing,
    Null,
    Bool(bool),
    Integer(i128),
    Float(f64),
    Text(Cow<'e, str>),
    List {
        empty: bool,
    },
    Mapping {
        empty: bool,
    },
    /// Something that only Python can tell: a step through a value that is no mapping, a number beyond exact comparison.
    Odd,
}

impl Found<'_> {
    /// Whether the value passes the test; `None` if only Python can tell.
    pub(super) fn passes(&self, test: &Test) -> Option<bool> {
        if *self == Found::Odd {
            return None;
        }
        let text = match self {
            Found::Text(text) => Some(text.as_ref()),
            _ => None,
        };
        let any = |parts: &[String], holds: fn(&str, &str) -> bool| {
            Some(text.is_some_and(|text| parts.iter().any(|part| holds(text, part))))
        };
        match test {
            Test::In(values) => Some(values.iter().any(|value| self.equals(value))),
            Test::Truthy => Some(self.truthy()),
            // Which lower case a letter outside ASCII has depends on the Unicode version.
            Test::LowerIn(_) if text.is_some_and(|text| !text.is_ascii()) => None,
            Test::LowerIn(values) => any(values, |text, value| {
                text.len() == value.len()
                    && text
                        .bytes()
                        .map(|byte| byte.to_ascii_lowercase())
                        .eq(value.bytes())
            }),
            Test::Prefix(parts) => any(parts, |text, part| text.starts_with(part)),
            Test::Suffix(parts) => any(parts, |text, part| text.ends_with(part)),
            Test::Contains(parts) => any(parts, |text, part| text.contains(part)),
            Test::OfType(types) => Some(types.iter().any(|of| self.is_a(*of))),
        }
    }

    fn truthy(&self) -> bool {
        match self {
            Found::Missing | Found::Null => false,
            Found::Bool(value) => *value,
            Found::Integer(value) => *value != 0,
            Found::Float(value) => *value != 0.0,
            Found::Text(text) => !text.is_empty(),
            Found::List { empty } | Found::Mapping { empty } => !empty,
            Found::Odd => true,
        }
    }

    fn is_a(&self, of: JsonType) -> bool {
        let own = match self {
            Found::Missing => JsonType::Missing,
            Found::Null => JsonType::Null,
            Found::Bool(_) => JsonType::Bool,
            Found::Integer(_) | Found::Float(_) => JsonType::Number,
            Found::Text(_) => JsonType::Text,
            Found::List { .. } => JsonType::List,
            Found::Mapping { .. } => JsonType::Mapping,
            Found::Odd => return true,
        };
        own == of
    }

    /// Python's `==` between a value of JSON and a scalar.
    fn equals(&self, value: &Value) -> bool {
        match (self, value) {
            (Found::Missing | Found::Null, Value::Null) => true,
            (Found::Text(text), Value::String(other)) => text == other,
            (Found::Bool(found), Value::Bool(other)) => found == other,
            (Found::Bool(found), Value::Number(_)) => {
                Found::Integer(i128::from(*found)).equals(value)
            }
            (Found::Integer(_) | Found::Float(_), Value::Bool(other)) => {
                self.equals(&Value::from(u8::from(*other)))
            }
            (Found::Integer(found), Value::Number(other)) => {
                if let Some(other) = other.as_i64() {
                    *found == i128::from(other)
                } else if let Some(other) = other.as_u64() {
                    *found == i128::from(other)
                } else {
                    // Whole doubles up to 2^53 are exact; beyond them nothing is compared.
                    other.as_f64().is_some_and(|other| {
                        #[allow(clippy::cast_possible_truncation)]
                        let whole = other as i128;
                        other.fract() == 0.0 && whole == *found
                    })
                }
            }
            (Found::Float(found), Value::Number(other)) => {
                other.as_f64().is_some_and(|other| *found == other)
            }
            _ => false,
        }
    }
}

/// The paths that are wanted, as a tree of lower-case keys.
///
/// Lookup in an event does not regard case where no key is exactly equal. As long as an event has only one key per lower-case spelling, every
/// spelling of a path leads to the same value; where it has two, [`Paths::scan`] gives up on the event.
#[derive(Debug, Default)]
pub(super) struct Paths {
    nodes: Vec<Node>,
    slots: usize,
}

#[derive(Debug, Default)]
struct Node {
    /// Where the value of a path that ends here goes.
    slot: Option<usize>,
    children: Vec<(String, usize)>,
    /// Bit `n` is set if some child's key has `n` bytes (the last bit: that many or more), for ASCII keys a cheap first refusal.
    lengths: u64,
}

impl Paths {
    /// The slot in which [`Paths::scan`] leaves the value at `path`.
    pub(super) fn slot(&mut self, path: &[String]) -> usize {
        if self.nodes.is_empty() {
            self.nodes.push(Node::default());
        }
        let mut node = 0;
        for key in path {
            let key = key.to_lowercase();
            node = match self.nodes[node]
                .children
                .iter()
                .find(|(child, _)| *child == key)
            {
                Some((_, child)) => *child,
                None => {
                    let child = self.nodes.len();
                    self.nodes.push(Node::default());
                    self.nodes[node].lengths |= length_bit(&key);
                    self.nodes[node].children.push((key, child));
                    child
                }
            };
        }
        match self.nodes[node].slot {
            Some(slot) => slot,
            None => {
                let slot = self.slots;
                self.slots += 1;
                self.nodes[node].slot = Some(slot);
                slot
            }
        }
    }

    /// The values at all wanted paths; `None` if the text is not JSON as serde takes it or has keys that differ by case alone where it matters.
    pub(super) fn scan<'e>(&self, json: &'e [u8]) -> Option<Vec<Found<'e>>> {
        let mut found = vec![Found::Missing; self.slots];
        if self.nodes.is_empty() {
            return Some(found);
        }
        let mut deserializer = serde_json::Deserializer::from_slice(json);
        let mut clear = true;
        let seed = At {
            paths: self,
            node: 0,
            found: &mut found,
            clear: &mut clear,
        };
        seed.deserialize(&mut deserializer).ok()?;
        deserializer.end().ok()?;
        clear.then_some(found)
    }

    fn child(&self, node: usize, key: &str) -> Option<usize> {
        let node = &self.nodes[node];
        if key.is_ascii() {
            if node.lengths & length_bit(key) == 0 {
                return None;
            }
            let same = |child: &&(String, usize)| child.0.eq_ignore_ascii_case(key);
            return node.children.iter().find(same).map(|(_, child)| *child);
        }
        let lower = key.to_lowercase();
        node.children
            .iter()
            .find(|(child, _)| *child == lower)
            .map(|(_, child)| *child)
    }

    /// Everything below a value that is no mapping is beyond telling.
    fn odd_below(&self, node: usize, found: &mut [Found<'_>]) {
        for (_, child) in &self.nodes[node].children {
            if let Some(slot) = self.nodes[*child].slot {
                found[slot] = Found::Odd;
            }
            self.odd_below(*child, found);
        }
    }
}

fn length_bit(key: &str) -> u64 {
    1 << key.len().min(63)
}

/// The value at one node of the tree.
struct At<'a, 'e> {
    paths: &'a Paths,
    node: usize,
    found: &'a mut Vec<Found<'e>>,
    clear: &'a mut bool,
}

impl<'e> At<'_, 'e> {
    fn keep<E>(self, value: Found<'e>) -> Result<(), E> {
        if value != Found::Null {
            self.paths.odd_below(self.node, self.found);
        }
        if let Some(slot) = self.paths.nodes[self.node].slot {
            self.found[slot] = value;
        }
        Ok(())
    }
}

impl<'de> DeserializeSeed<'de> for At<'_, 'de> {
    type Value = ();

    fn deserialize<D: Deserializer<'de>>(self, deserializer: D) -> Result<(), D::Error> {
        deserializer.deserialize_any(self)
    }
}

/// Integers beyond this are not told apart by a double.
const EXACT: f64 = 9_007_199_254_740_992.0;

impl<'de> Visitor<'de> for At<'_, 'de> {
    type Value = ();

    fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("any JSON value")
    }

    fn visit_unit<E>(self) -> Result<(), E> {
        self.keep(Found::Null)
    }

    fn visit_bool<E>(self, value: bool) -> Result<(), E> {
        self.keep(Found::Bool(value))
    }

    fn visit_i64<E>(self, value: i64) -> Result<(), E> {
        self.keep(Found::Integer(i128::from(value)))
    }

    fn visit_u64<E>(self, value: u64) -> Result<(), E> {
        self.keep(Found::Integer(i128::from(value)))
    }

    fn visit_f64<E>(self, value: f64) -> Result<(), E> {
        self.keep(if value.abs() < EXACT {
            Found::Float(value)
        } else {
            Found::Odd
        })
    }

    fn visit_borrowed_str<E>(self, value: &'de str) -> Result<(), E> {
        self.keep(Found::Text(Cow::Borrowed(value)))
    }

    fn visit_str<E>(self, value: &str) -> Result<(), E> {
        self.keep(Found::Text(Cow::Owned(value.to_owned())))
    }

    fn visit_seq<A: SeqAccess<'de>>(self, mut items: A) -> Result<(), A::Error> {
        let mut empty = true;
        while items.next_element::<IgnoredAny>()?.is_some() {
            empty = false;
        }
        self.keep(Found::List { empty })
    }

    fn visit_map<A: MapAccess<'de>>(self, mut map: A) -> Result<(), A::Error> {
        let At {
            paths,
            node,
            found,
            clear,
        } = self;
        let mut empty = true;
        let mut seen: Vec<usize> = Vec::new();
        while let Some(child) = map.next_key_seed(Key { paths, node })? {
            empty = false;
            match child {
                None => {
                    map.next_value::<IgnoredAny>()?;
                }
                Some(child) => {
                    if seen.contains(&child) {
                        *clear = false;
                    }
                    seen.push(child);
                    map.next_value_seed(At {
                        paths,
                        node: child,
                        found: &mut *found,
                        clear: &mut *clear,
                    })?;
                }
            }
        }
        if let Some(slot) = paths.nodes[node].slot {
            found[slot] = Found::Mapping { empty };
        }
        Ok(())
    }
}

/// The child that a key leads to.
struct Key<'a> {
    paths: &'a Paths,
    node: usize,
}

impl<'de> DeserializeSeed<'de> for Key<'_> {
    type Value = Option<usize>;

    fn deserialize<D: Deserializer<'de>>(self, deserializer: D) -> Result<Self::Value, D::Error> {
        deserializer.deserialize_str(self)
    }
}

impl Visitor<'_> for Key<'_> {
    type Value = Option<usize>;

    fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("a key")
    }

    fn visit_str<E>(self, key: &str) -> Result<Self::Value, E> {
        Ok(self.paths.child(self.node, key))
    }
}
