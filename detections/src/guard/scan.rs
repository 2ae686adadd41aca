//! One pass over an event that keeps the values at a few paths and skips the rest.

use serde_json::Value;

use super::{JsonType, Test};
use crate::event::Map;

/// What an event has at a path.
#[derive(Debug, Clone, Copy, PartialEq)]
pub(super) enum Found<'e> {
    /// The path leads nowhere.
    Missing,
    Null,
    Bool(bool),
    Integer(i128),
    Float(f64),
    Text(&'e str),
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
            Found::Text(text) => Some(*text),
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
/// spelling of a path leads to the same value; where it has two, [`Paths::look`] gives up on the event.
#[derive(Debug, Default)]
pub(super) struct Paths {
    nodes: Vec<Node>,
    slots: usize,
    /// By slot: the path's keys in lower case; `None` if only a whole [`Paths::look`] tells what is there.
    keys: Vec<Option<Vec<String>>>,
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
    /// The slot in which [`Paths::look`] leaves the value at `path`.
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
                let ascii = path.iter().all(|key| key.is_ascii());
                let lower = path.iter().map(|key| key.to_ascii_lowercase()).collect();
                self.keys.push(ascii.then_some(lower));
                self.nodes[node].slot = Some(slot);
                slot
            }
        }
    }

    /// The values at all wanted paths; `None` if the event has keys that differ by case alone where it matters.
    pub(super) fn look<'e>(&self, event: &Map<'e>) -> Option<Vec<Found<'e>>> {
        let mut found = vec![Found::Missing; self.slots];
        if self.nodes.is_empty() {
            return Some(found);
        }
        self.look_in(0, event, &mut found).then_some(found)
    }

    /// The value of one slot alone, for when few are wanted. Where two keys differ by case alone it is beyond telling.
    pub(super) fn look_at<'e>(&self, slot: usize, event: &Map<'e>) -> Found<'e> {
        let Some(Some(keys)) = self.keys.get(slot) else {
            return Found::Odd;
        };
        let mut map = event;
        for (depth, key) in keys.iter().enumerate() {
            let value = match map.only(key) {
                Ok(Some(value)) => value,
                Ok(None) => return Found::Missing,
                Err(()) => return Found::Odd,
            };
            if depth + 1 == keys.len() {
                return Found::of(&value);
            }
            match value {
                crate::event::Node::Map(inner) => map = inner,
                crate::event::Node::Null => return Found::Missing,
                _ => return Found::Odd,
            }
        }
        Found::Odd
    }

    /// False if two keys of a mapping lead to one path.
    fn look_in<'e>(&self, node: usize, map: &Map<'e>, found: &mut [Found<'e>]) -> bool {
        // Children that a key has led to, by their place among their parent's.
        let mut seen = [0_u64; 8];
        for (key, value) in map.members() {
            let Some((place, child)) = self.child(node, key) else {
                continue;
            };
            let Some(bits) = seen.get_mut(place / 64) else {
                return false;
            };
            let bit = 1 << (place % 64);
            if *bits & bit != 0 {
                return false;
            }
            *bits |= bit;
            if let Some(slot) = self.nodes[child].slot {
                found[slot] = Found::of(value);
            }
            match value {
                crate::event::Node::Map(inner) => {
                    if !self.look_in(child, inner, found) {
                        return false;
                    }
                }
                crate::event::Node::Null => {}
                _ => self.odd_below(child, found),
            }
        }
        true
    }

    /// The child that a key leads to, and its place among its parent's.
    fn child(&self, node: usize, key: &str) -> Option<(usize, usize)> {
        let node = &self.nodes[node];
        if key.is_ascii() {
            if node.lengths & length_bit(key) == 0 {
                return None;
            }
            let same = |child: &(String, usize)| child.0.eq_ignore_ascii_case(key);
            let place = node.children.iter().position(same)?;
            return Some((place, node.children[place].1));
        }
        let lower = key.to_lowercase();
        let place = node
            .children
            .iter()
            .position(|(child, _)| *child == lower)?;
        Some((place, node.children[place].1))
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

/// Integers beyond this are not told apart by a double.
const EXACT: f64 = 9_007_199_254_740_992.0;

impl<'e> Found<'e> {
    fn of(value: &crate::event::Node<'e>) -> Self {
        use crate::event::Node;
        match value {
            Node::Null => Self::Null,
            Node::Bool(value) => Self::Bool(*value),
            Node::Int(value) => Self::Integer(i128::from(*value)),
            Node::Float(value) if value.abs() < EXACT => Self::Float(*value),
            Node::Float(_) | Node::Big => Self::Odd,
            Node::Text(text) => Self::Text(text),
            Node::List(items) => Self::List {
                empty: items.is_empty(),
            },
            Node::Map(map) => Self::Mapping {
                empty: map.members().is_empty(),
            },
        }
    }
}
