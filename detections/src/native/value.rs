//! Python's values as the native engine holds them while it evaluates one event: copies of a few words into the event's arena and the pack's constants.

use std::cell::{Cell, RefCell};

use bumpalo::Bump;
use bumpalo::collections::Vec as ArenaVec;
use foldhash::fast::RandomState;
use hashbrown::HashTable;

use super::constants::{Constant, Frozen, FrozenKind, Kind};
use super::names::{Builtin, Class};
use super::number::Number;
use super::program::Lambda;
use super::stop::{Classes, Raised, Stop};
use crate::event::{Map, Node};

pub(super) type Done<'e, T = Value<'e>> = Result<T, Stop<'e>>;

/// A list that may change.
pub(super) type Items<'e> = RefCell<ArenaVec<'e, Value<'e>>>;
/// A dict that may change, in its order.
pub(super) type Pairs<'e> = RefCell<ArenaVec<'e, (Value<'e>, Value<'e>)>>;

/// A value.
///
/// Three whole words: a value whose fields begin inside its first word is copied in pieces that do not match how it was written, and then each copy waits for
/// the memory (a tenth of an evaluation's time). So what is longer, or no word, is behind a reference.
#[derive(Debug, Clone, Copy)]
#[repr(u64)]
pub(super) enum Value<'e> {
    /// A local name without a value.
    Unbound,
    None,
    Bool(bool),
    Int(i64),
    Float(f64),
    Text(&'e str),
    /// A read-only view of a mapping of the event, keys found in any case.
    View(&'e Map<'e>, Whole),
    /// A read-only view of a list of the event; no `list`.
    ListView(&'e [Node<'e>]),
    List(&'e Items<'e>),
    Tuple(&'e [Value<'e>]),
    Dict(&'e Pairs<'e>),
    Set(&'e Elements<'e>),
    /// An `OrderedDict`, which compares and prints otherwise than a dict.
    Ordered(&'e Pairs<'e>),
    /// A container of the pack. Nothing may change it.
    Frozen(&'e Frozen),
    /// What can be gone through and nothing else: `items()`.
    Iterable(&'e [Value<'e>]),
    /// The same, but once only: `zip`, `map`, a generator that has run.
    Once(&'e Once<'e>),
    Function(usize),
    Lambda(&'e Closure<'e>),
    Builtin(Builtin),
    Class(Class),
    /// An exception's class, or an exception that was caught.
    ErrorClass(Classes<'e>),
    Error(&'e Raised<'e>),
    Regex(&'e super::pattern::Pattern),
    Match(&'e super::pattern::Match<'e>),
    Network(&'e super::address::Network),
    Address(&'e std::net::IpAddr),
    Moment(super::moment::Moment),
    Span(super::moment::Span),
    /// A class of the pack, and an instance of one.
    Kind(&'e Kind),
    Instance(&'e Instance<'e>),
}

/// What can be gone through once.
#[derive(Debug)]
pub(super) struct Once<'e> {
    pub(super) items: &'e [Value<'e>],
    /// Whether it has been.
    pub(super) gone: Cell<bool>,
}

/// An instance of a class of the pack. It lives no longer than the pair that made it.
#[derive(Debug)]
pub(super) struct Instance<'e> {
    pub(super) kind: &'e Kind,
    pub(super) attributes: RefCell<ArenaVec<'e, (&'e str, Value<'e>)>>,
}

/// Where a text is.
#[derive(Debug, Clone, Copy)]
pub(super) struct Place {
    /// Half of the text's hash: most texts differ in it, so that they need not be looked at, and an index that grows finds its places by it.
    pub(super) hash: u32,
    /// Its place among the items.
    pub(super) item: u32,
}

/// What a set holds, each once.
#[derive(Debug)]
pub(super) struct Elements<'e> {
    pub(super) items: RefCell<ArenaVec<'e, Value<'e>>>,
    /// The texts among the items, all or none.
    pub(super) index: RefCell<HashTable<Place, &'e Bump>>,
    /// Drawn for each set: events cannot be made to collide.
    pub(super) hashes: RandomState,
}

/// A function that is defined inside another, with what it reads of the other's names.
#[derive(Debug)]
pub(super) struct Closure<'e> {
    pub(super) lambda: &'e Lambda,
    pub(super) captured: &'e [Value<'e>],
}

/// Whether a view is of the whole event, which has more methods.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Whole {
    Yes,
    No,
}

/// A value of the event as a detection sees it.
pub(super) fn wrap<'e>(node: Node<'e>) -> Done<'e> {
    Ok(match node {
        Node::Null => Value::None,
        Node::Bool(value) => Value::Bool(value),
        Node::Int(value) => Value::Int(value),
        Node::Float(value) => Value::Float(value),
        Node::Text(text) => Value::Text(text),
        Node::List(items) => Value::ListView(items),
        Node::Map(map) => Value::View(map, Whole::No),
        Node::Big => return Err(Stop::Hole(&"a number beyond 64 bits")),
    })
}

/// A value of the event as a plain copy: lists and dicts of its own.
pub(super) fn plain<'e>(arena: &'e Bump, node: Node<'e>) -> Done<'e> {
    Ok(match node {
        Node::List(items) => {
            let mut list = ArenaVec::with_capacity_in(items.len(), arena);
            for item in items {
                list.push(plain(arena, *item)?);
            }
            Value::List(arena.alloc(RefCell::new(list)))
        }
        Node::Map(map) => {
            let mut pairs = ArenaVec::with_capacity_in(map.members().len(), arena);
            for (key, item) in map.members() {
                pairs.push((Value::Text(key), plain(arena, *item)?));
            }
            Value::Dict(arena.alloc(RefCell::new(pairs)))
        }
        scalar => return wrap(scalar),
    })
}

impl<'e> Value<'e> {
    pub(super) fn list(arena: &'e Bump, items: ArenaVec<'e, Value<'e>>) -> Self {
        Value::List(arena.alloc(RefCell::new(items)))
    }

    /// A set of what can be in one.
    pub(super) fn set(arena: &'e Bump, items: &[Value<'e>]) -> Done<'e> {
        let set = Elements::new(arena);
        for item in items {
            set.insert(*item)?;
        }
        Ok(Value::Set(arena.alloc(set)))
    }

    pub(super) fn dict(arena: &'e Bump, pairs: ArenaVec<'e, (Value<'e>, Value<'e>)>) -> Self {
        Value::Dict(arena.alloc(RefCell::new(pairs)))
    }

    /// What can be gone through once.
    pub(super) fn once(arena: &'e Bump, items: &'e [Value<'e>]) -> Self {
        let gone = Cell::new(false);
        Value::Once(arena.alloc(Once { items, gone }))
    }

    /// What Python's `bool()` says.
    pub(super) fn truthy(&self) -> Done<'e, bool> {
        Ok(match self {
            Value::None => false,
            Value::Bool(value) => *value,
            Value::Int(value) => *value != 0,
            Value::Float(value) => *value != 0.0,
            Value::Text(text) => !text.is_empty(),
            Value::View(map, Whole::No) => !map.is_empty(),
            // No look-up has found the event itself.
            Value::View(map, Whole::Yes) => !map.members().is_empty(),
            Value::ListView(items) => !items.is_empty(),
            Value::List(items) => !items.borrow().is_empty(),
            Value::Set(elements) => !elements.items().is_empty(),
            Value::Tuple(items) => !items.is_empty(),
            Value::Dict(pairs) | Value::Ordered(pairs) => !pairs.borrow().is_empty(),
            Value::Frozen(frozen) => !frozen.items.is_empty(),
            Value::Function(_)
            | Value::Lambda(_)
            | Value::Builtin(_)
            | Value::Class(_)
            | Value::ErrorClass(_)
            | Value::Error(_)
            | Value::Regex(_)
            | Value::Match(_)
            | Value::Network(_)
            | Value::Address(_)
            | Value::Moment(_)
            | Value::Kind(_)
            | Value::Instance(_) => true,
            Value::Span(span) => span.0 != 0,
            Value::Iterable(_) | Value::Once(_) => return Err(Stop::Hole(&"truth of an iterator")),
            Value::Unbound => return Err(Stop::Hole(&"an unbound name")),
        })
    }

    pub(super) fn is_mapping(&self) -> bool {
        match self {
            Value::View(..) | Value::Dict(_) | Value::Ordered(_) => true,
            Value::Frozen(frozen) => frozen.kind == FrozenKind::Dict,
            _ => false,
        }
    }

    pub(super) fn as_text(&self) -> Option<&'e str> {
        match self {
            Value::Text(text) => Some(text),
            _ => None,
        }
    }

    /// As a number: an integer, or a float.
    pub(super) fn number(&self) -> Option<Number> {
        match self {
            Value::Bool(value) => Some(Number::Int(i64::from(*value))),
            Value::Int(value) => Some(Number::Int(*value)),
            Value::Float(value) => Some(Number::Float(*value)),
            _ => None,
        }
    }

    pub(super) fn sequence_kind(&self) -> Option<Sequence> {
        match self {
            Value::ListView(_) => Some(Sequence::View),
            Value::List(_) => Some(Sequence::List),
            Value::Tuple(_) => Some(Sequence::Tuple),
            Value::Set(_) => Some(Sequence::Set),
            Value::Frozen(frozen) => match frozen.kind {
                FrozenKind::List => Some(Sequence::List),
                FrozenKind::Tuple => Some(Sequence::Tuple),
                FrozenKind::Set => Some(Sequence::Set),
                FrozenKind::Dict => None,
            },
            _ => None,
        }
    }

    pub(super) fn is_set(&self) -> bool {
        self.sequence_kind() == Some(Sequence::Set)
    }

    pub(super) fn is_list(&self) -> bool {
        self.sequence_kind() == Some(Sequence::List)
    }

    pub(super) fn is_tuple(&self) -> bool {
        self.sequence_kind() == Some(Sequence::Tuple)
    }

    /// How many elements a container has; `None` if it has no length, characters for a text.
    pub(super) fn length(&self) -> Option<usize> {
        Some(match self {
            Value::Text(text) => {
                if text.is_ascii() {
                    text.len()
                } else {
                    text.chars().count()
                }
            }
            Value::View(map, _) => map.members().len(),
            Value::ListView(items) => items.len(),
            Value::List(items) => items.borrow().len(),
            Value::Set(elements) => elements.items().len(),
            Value::Tuple(items) => items.len(),
            Value::Dict(pairs) | Value::Ordered(pairs) => pairs.borrow().len(),
            Value::Frozen(frozen) => frozen.items.len(),
            _ => return None,
        })
    }

    /// What a loop over it gives, in its order; mappings give their keys. `None` if it cannot be gone through.
    pub(super) fn elements(&self, arena: &'e Bump) -> Done<'e, Option<&'e [Value<'e>]>> {
        if self.length().is_some_and(|length| length > LONGEST) {
            return Err(Stop::Hole(&"a very long sequence"));
        }
        Ok(Some(match self {
            Value::Tuple(items) | Value::Iterable(items) => items,
            Value::Once(once) => {
                if once.gone.replace(true) {
                    return Err(Stop::Hole(&"an iterator that is gone through again"));
                }
                once.items
            }
            Value::List(items) => arena.alloc_slice_copy(&items.borrow()),
            Value::Set(elements) => arena.alloc_slice_copy(&elements.items()),
            Value::ListView(nodes) => {
                let mut items = ArenaVec::with_capacity_in(nodes.len(), arena);
                for node in *nodes {
                    items.push(wrap(*node)?);
                }
                items.into_bump_slice()
            }
            Value::View(map, _) => {
                arena.alloc_slice_fill_iter(map.members().iter().map(|(key, _)| Value::Text(key)))
            }
            Value::Dict(pairs) | Value::Ordered(pairs) => {
                arena.alloc_slice_fill_iter(pairs.borrow().iter().map(|(key, _)| *key))
            }
            Value::Frozen(frozen) => {
                let mut items = ArenaVec::with_capacity_in(frozen.items.len(), arena);
                for item in &frozen.items {
                    items.push(item.value()?);
                }
                items.into_bump_slice()
            }
            Value::Text(text) => {
                let mut items = ArenaVec::with_capacity_in(text.len(), arena);
                for (at, letter) in text.char_indices() {
                    items.push(Value::Text(&text[at..at + letter.len_utf8()]));
                }
                items.into_bump_slice()
            }
            _ => return Ok(None),
        }))
    }

    /// Whether the order of its elements follows from their values in a way that only Python knows.
    ///
    /// The order of texts in a set is drawn anew for each process of Python, so any is as good; the one of a set of the pack is what this one drew.
    pub(super) fn unordered(&self) -> bool {
        match self {
            Value::Set(elements) => {
                let items = elements.items();
                items.len() > 1 && !items.iter().all(|item| matches!(item, Value::Text(_)))
            }
            _ => false,
        }
    }

    /// Keys and values of a mapping.
    pub(super) fn pairs(&self, arena: &'e Bump) -> Done<'e, Option<&'e [(Value<'e>, Value<'e>)]>> {
        Ok(Some(match self {
            Value::View(map, _) => {
                let mut pairs = ArenaVec::with_capacity_in(map.members().len(), arena);
                for (key, node) in map.members() {
                    pairs.push((Value::Text(key), wrap(*node)?));
                }
                pairs.into_bump_slice()
            }
            Value::Dict(pairs) | Value::Ordered(pairs) => arena.alloc_slice_copy(&pairs.borrow()),
            Value::Frozen(frozen) if frozen.kind == FrozenKind::Dict => {
                let mut pairs = ArenaVec::with_capacity_in(frozen.items.len(), arena);
                for (key, value) in frozen.items.iter().zip(&frozen.values) {
                    pairs.push((key.value()?, value.value()?));
                }
                pairs.into_bump_slice()
            }
            _ => return Ok(None),
        }))
    }

    /// Whether it may be a key or in a set; others raise `TypeError`.
    pub(super) fn hashable(&self) -> Done<'e, bool> {
        self.hashable_at(0)
    }

    fn hashable_at(&self, depth: u32) -> Done<'e, bool> {
        if depth > DEEPEST {
            return Err(Stop::Hole(&"a deep value"));
        }
        Ok(match self {
            Value::View(..)
            | Value::ListView(_)
            | Value::List(_)
            | Value::Dict(_)
            | Value::Ordered(_)
            | Value::Set(_) => false,
            Value::Tuple(items) => {
                for item in *items {
                    if !item.hashable_at(depth + 1)? {
                        return Ok(false);
                    }
                }
                true
            }
            Value::Frozen(frozen) => match frozen.kind {
                FrozenKind::List | FrozenKind::Dict => false,
                // A set of the pack may have been a frozenset.
                FrozenKind::Set => return Err(Stop::Hole(&"hash of a set")),
                FrozenKind::Tuple => {
                    for item in &frozen.items {
                        if !item.value()?.hashable_at(depth + 1)? {
                            return Ok(false);
                        }
                    }
                    true
                }
            },
            Value::Iterable(_) | Value::Once(_) | Value::Unbound => {
                return Err(Stop::Hole(&"hash of an iterator"));
            }
            _ => true,
        })
    }
}

impl Constant {
    pub(super) fn value(&self) -> Done<'_> {
        Ok(match self {
            Self::None => Value::None,
            Self::Bool(value) => Value::Bool(*value),
            Self::Int(value) => Value::Int(*value),
            Self::Float(value) => Value::Float(*value),
            Self::Text(text) => Value::Text(text),
            Self::Frozen(frozen) => Value::Frozen(frozen),
            Self::Table(table) => Value::Frozen(table),
            Self::Function(place) => Value::Function(*place),
            Self::Builtin(builtin) => Value::Builtin(*builtin),
            Self::Class(class) => Value::Class(*class),
            Self::ErrorClass(classes) => Value::ErrorClass(Classes::OfPack(classes)),
            Self::KnownErrorClass(classes) => Value::ErrorClass(Classes::Known(classes)),
            Self::Regex(pattern) => Value::Regex(pattern),
            Self::Span(span) => Value::Span(*span),
            Self::Kind(kind) => Value::Kind(kind),
            Self::Unknown(what) => return Err(Stop::NoForm(what)),
        })
    }
}

/// Values inside values that are compared or hashed.
pub(super) const DEEPEST: u32 = 60;

/// What is longer is gone through by Python, whose memory and time are bounded from outside.
pub(super) const LONGEST: usize = 100_000;

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Sequence {
    View,
    List,
    Tuple,
    Set,
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_value_takes_three_words() {
        assert_eq!(size_of::<Value<'_>>(), 24);
        assert_eq!(size_of::<Stop<'_>>(), 16);
        assert_eq!(size_of::<Done<'_>>(), 24);
    }
}
