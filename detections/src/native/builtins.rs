//! Functions and classes of the language and its library, where they are called.

use bumpalo::collections::Vec as ArenaVec;

use super::address::{self, Network};
use super::names::{Builtin, Class};
use super::pattern::{Pattern, Way, glob};
use super::program::{Comparison, Operator};
use super::run::Run;
use super::text;
use super::times;
use super::value::{Done, FrozenKind, Stop, Value, Whole, plain, raise};
use crate::event::read_value;

type Named<'n, 'e> = &'n [(&'e str, Value<'e>)];

impl<'e> Run<'e> {
    #[allow(clippy::too_many_lines)]
    pub(super) fn builtin(
        &mut self,
        builtin: Builtin,
        positional: &[Value<'e>],
        named: Named<'_, 'e>,
    ) -> Done<'e> {
        match (builtin, positional, named) {
            (Builtin::Len, [of], []) => match of.length() {
                Some(length) => Ok(Value::Int(i64::try_from(length).unwrap_or(i64::MAX))),
                None => match of {
                    Value::None | Value::Bool(_) | Value::Int(_) | Value::Float(_) => {
                        Err(raise("TypeError"))
                    }
                    _ => Err(Stop::Hole("the length of an object")),
                },
            },
            (Builtin::Isinstance, [of, class], []) => self.is_instance(of, class).map(Value::Bool),
            // What rules ask is whether it is a mapping.
            (Builtin::Hasattr, [of, Value::Text("get" | "keys" | "items" | "values")], []) => {
                match of {
                    _ if of.is_mapping() => Ok(Value::Bool(true)),
                    _ if of.sequence_kind().is_some() => Ok(Value::Bool(false)),
                    Value::None
                    | Value::Bool(_)
                    | Value::Int(_)
                    | Value::Float(_)
                    | Value::Text(_) => Ok(Value::Bool(false)),
                    _ => Err(Stop::Hole("hasattr of an object")),
                }
            }
            (Builtin::Any | Builtin::All, [of], []) => {
                let wanted = builtin == Builtin::Any;
                for one in self.unordered(of)? {
                    if one.truthy()? == wanted {
                        return Ok(Value::Bool(wanted));
                    }
                }
                Ok(Value::Bool(!wanted))
            }
            (Builtin::Print, ..) => Ok(Value::None),
            _ if builtin.is_of_store() => self.stored(builtin, positional, named),
            (Builtin::FromIsoFormat | Builtin::Strptime | Builtin::Timedelta, ..) => {
                self.time(builtin, positional, named)
            }
            (Builtin::Sorted, [of], named) => {
                let items = self.unordered(of)?;
                self.sorted(items, named)
            }
            (Builtin::Min | Builtin::Max, _, named) => self.extreme(builtin, positional, named),
            (Builtin::Sum, [of], []) => {
                let mut total = Value::Int(0);
                for one in self.unordered(of)? {
                    if one.number().is_none() {
                        return Err(Stop::Hole("a sum of other things"));
                    }
                    total = self.binary(Operator::Add, total, *one)?;
                }
                Ok(total)
            }
            (Builtin::Enumerate, [of], []) => {
                let items = self.ordered(of)?;
                let arena = self.arena;
                Ok(Value::once(
                    arena,
                    arena.alloc_slice_fill_iter(items.iter().enumerate().map(|(place, item)| {
                        let place = Value::Int(i64::try_from(place).unwrap_or(i64::MAX));
                        Value::Tuple(arena.alloc([place, *item]))
                    })),
                ))
            }
            (Builtin::Zip, [one, two], []) => {
                let (one, two) = (self.ordered(one)?, self.ordered(two)?);
                let arena = self.arena;
                let mut pairs = ArenaVec::new_in(arena);
                for (one, two) in one.iter().zip(two) {
                    pairs.push(Value::Tuple(arena.alloc([*one, *two])));
                }
                Ok(Value::once(self.arena, pairs.into_bump_slice()))
            }
            (Builtin::Reversed, [of], []) if of.is_list() || of.is_tuple() => {
                let items = self.ordered(of)?;
                Ok(Value::once(
                    self.arena,
                    self.arena
                        .alloc_slice_fill_iter(items.iter().rev().copied()),
                ))
            }
            (Builtin::Range, bounds, []) => self.range(bounds),
            (Builtin::Map, [function, of], []) => {
                let items = self.ordered(of)?;
                let mut mapped = ArenaVec::with_capacity_in(items.len(), self.arena);
                for item in items {
                    mapped.push(self.call(*function, &[*item], &[])?);
                }
                Ok(Value::once(self.arena, mapped.into_bump_slice()))
            }
            (Builtin::Filter, [function, of], []) => {
                let items = self.ordered(of)?;
                let mut kept = ArenaVec::new_in(self.arena);
                for item in items {
                    let value = match function {
                        Value::None => *item,
                        function => self.call(*function, &[*item], &[])?,
                    };
                    if value.truthy()? {
                        kept.push(*item);
                    }
                }
                Ok(Value::once(self.arena, kept.into_bump_slice()))
            }
            (Builtin::Reduce, [function, of, first], []) => {
                let mut value = *first;
                for item in self.ordered(of)? {
                    value = self.call(*function, &[value, *item], &[])?;
                }
                Ok(value)
            }
            (Builtin::Iter, [of], []) => {
                let items = self.ordered(of)?;
                Ok(Value::once(self.arena, items))
            }
            (Builtin::Abs, [Value::Int(value)], []) => value
                .checked_abs()
                .map(Value::Int)
                .ok_or(Stop::Hole("a big integer")),
            (Builtin::Divmod, [one, two], []) => {
                let quotient = self.binary(Operator::FloorDivide, *one, *two)?;
                let rest = self.binary(Operator::Modulo, *one, *two)?;
                Ok(Value::Tuple(self.arena.alloc([quotient, rest])))
            }
            (Builtin::Repr, [of], []) => {
                let mut out = bumpalo::collections::String::new_in(self.arena);
                text::write_repr(&mut out, of)?;
                Ok(Value::Text(out.into_bump_str()))
            }
            (Builtin::Fnmatch, [Value::Text(name), Value::Text(pattern)], []) => {
                self.step(name.len() / 64)?;
                glob(name, pattern)
                    .map(Value::Bool)
                    .ok_or(Stop::Hole("a class in a file name pattern"))
            }
            (Builtin::JsonDumps, [of], []) => {
                let mut out = bumpalo::collections::String::new_in(self.arena);
                text::write_json(&mut out, of, false)?;
                Ok(Value::Text(out.into_bump_str()))
            }
            (Builtin::JsonLoads, [Value::Text(of)], []) => {
                let node = read_value(self.arena, of)
                    .map_err(|_| Stop::Hole("JSON that is not read here"))?;
                self.step(of.len() / 64)?;
                plain(self.arena, node)
            }
            (
                Builtin::ReSearch | Builtin::ReMatch | Builtin::ReFullmatch | Builtin::ReFindall,
                [pattern, of],
                [],
            ) => {
                let pattern = self.pattern(pattern)?;
                match builtin {
                    Builtin::ReSearch => self.find(pattern, Way::Search, of),
                    Builtin::ReMatch => self.find(pattern, Way::Start, of),
                    Builtin::ReFullmatch => self.find(pattern, Way::Whole, of),
                    _ => self.find_all(pattern, of),
                }
            }
            (Builtin::ReSub, [pattern, Value::Text(by), Value::Text(of)], []) => {
                let replaced = self.pattern(pattern)?.replace(of, by)?;
                Ok(Value::Text(self.arena.alloc_str(&replaced)))
            }
            (Builtin::IpAddress, [Value::Text(of)], []) => match address::parse(of) {
                Ok(address) => Ok(Value::Address(address)),
                Err(_) if of.is_ascii() && !of.contains('%') => Err(raise("ValueError")),
                Err(_) => Err(Stop::Hole("an address that is not read here")),
            },
            (Builtin::IpNetwork, [Value::Text(of)], []) => Network::parse(of)
                .map(Value::Network)
                .map_err(|_| Stop::Hole("a network that is not read here")),
            (Builtin::IpNetwork, [Value::Text(of)], [("strict", Value::Bool(false))]) => {
                Network::parse_loosely(of)
                    .map(Value::Network)
                    .map_err(|_| Stop::Hole("a network that is not read here"))
            }
            _ => Err(Stop::Hole("a function of the library")),
        }
    }

    /// A pattern given as text is compiled by Python's cache once; here it must have been compiled with the pack.
    fn pattern(&mut self, of: &Value<'e>) -> Done<'e, &'e Pattern> {
        match of {
            Value::Regex(pattern) => Ok(pattern),
            Value::Text(text) => self
                .program
                .patterns
                .get(*text)
                .ok_or(Stop::Hole("a regular expression")),
            _ => Err(Stop::Hole("a regular expression of another sort")),
        }
    }

    fn range(&mut self, bounds: &[Value<'e>]) -> Done<'e> {
        let (from, to) = match bounds {
            [Value::Int(to)] => (0, *to),
            [Value::Int(from), Value::Int(to)] => (*from, *to),
            _ => return Err(Stop::Hole("a range of another sort")),
        };
        let length = usize::try_from(to.saturating_sub(from).max(0)).unwrap_or(usize::MAX);
        self.step(length)?;
        let numbers = self.arena.alloc_slice_fill_with(length, |place| {
            Value::Int(from.saturating_add(i64::try_from(place).unwrap_or(i64::MAX)))
        });
        Ok(Value::Iterable(numbers, None))
    }

    fn sorted(&mut self, items: &[Value<'e>], named: Named<'_, 'e>) -> Done<'e> {
        let (mut key, mut reverse) = (None, false);
        for (name, value) in named {
            match *name {
                "key" if !matches!(value, Value::None) => key = Some(*value),
                "reverse" => reverse = value.truthy()?,
                _ => return Err(Stop::Hole("an argument of sorted")),
            }
        }
        let mut keyed: Vec<(Value<'e>, Value<'e>)> = Vec::with_capacity(items.len());
        for item in items {
            let by = match key {
                Some(key) => self.call(key, &[*item], &[])?,
                None => *item,
            };
            keyed.push((by, *item));
        }
        // Insertion keeps equal elements in their order and can stop at what cannot be compared.
        self.step(keyed.len() * keyed.len() / 16)?;
        let mut sorted: Vec<(Value<'e>, Value<'e>)> = Vec::with_capacity(keyed.len());
        for (by, item) in keyed {
            let mut place = sorted.len();
            while place > 0 {
                let before = if reverse {
                    self.order(&sorted[place - 1].0, &by)? == Some(std::cmp::Ordering::Less)
                } else {
                    self.order(&by, &sorted[place - 1].0)? == Some(std::cmp::Ordering::Less)
                };
                if !before {
                    break;
                }
                place -= 1;
            }
            sorted.insert(place, (by, item));
        }
        let mut items = ArenaVec::with_capacity_in(sorted.len(), self.arena);
        items.extend(sorted.into_iter().map(|(_, item)| item));
        Ok(Value::list(self.arena, items))
    }

    fn extreme(
        &mut self,
        builtin: Builtin,
        positional: &[Value<'e>],
        named: Named<'_, 'e>,
    ) -> Done<'e> {
        let (mut key, mut default) = (None, None);
        for (name, value) in named {
            match *name {
                "key" if !matches!(value, Value::None) => key = Some(*value),
                "default" => default = Some(*value),
                _ => return Err(Stop::Hole("an argument of min or max")),
            }
        }
        let items = match positional {
            // Of equal ones the first counts.
            [only] if key.is_some() => self.ordered(only)?,
            [only] => self.unordered(only)?,
            [] => return Err(raise("TypeError")),
            several => several,
        };
        let mut best: Option<(Value<'e>, Value<'e>)> = None;
        for item in items {
            let by = match key {
                Some(key) => self.call(key, &[*item], &[])?,
                None => *item,
            };
            let better = match &best {
                None => true,
                Some((known, _)) if builtin == Builtin::Min => {
                    self.compare(Comparison::Less, &by, known)?
                }
                Some((known, _)) => self.compare(Comparison::Greater, &by, known)?,
            };
            if better {
                best = Some((by, *item));
            }
        }
        match (best, default) {
            (Some((_, item)), _) => Ok(item),
            (None, Some(default)) => Ok(default),
            (None, None) => Err(raise("ValueError")),
        }
    }

    fn is_instance(&mut self, of: &Value<'e>, class: &Value<'e>) -> Done<'e, bool> {
        if class.is_tuple() {
            for one in self.ordered(class)? {
                if one.is_tuple() {
                    return Err(Stop::Hole("classes inside classes"));
                }
                if self.is_instance(of, one)? {
                    return Ok(true);
                }
            }
            return Ok(false);
        }
        let Value::Class(class) = class else {
            return Err(Stop::Hole("an instance of another class"));
        };
        if matches!(
            of,
            Value::Iterable(..)
                | Value::Unbound
                | Value::Function(_)
                | Value::Lambda(..)
                | Value::Builtin(_)
                | Value::Class(_)
                | Value::Kind(_)
                | Value::Instance(_)
        ) {
            // A mock in the place of a constant is the one thing that is asked of a function.
            return match (of, class) {
                (Value::Function(_), Class::MagicMock) => Ok(false),
                _ => Err(Stop::Hole("the class of an object")),
            };
        }
        let scalar = matches!(
            of,
            Value::None | Value::Bool(_) | Value::Int(_) | Value::Float(_)
        );
        Ok(match class {
            Class::Str => matches!(of, Value::Text(_)),
            Class::Bool => matches!(of, Value::Bool(_)),
            Class::Int => matches!(of, Value::Bool(_) | Value::Int(_)),
            Class::Float => matches!(of, Value::Float(_)),
            Class::Bytes | Class::MagicMock => false,
            Class::List => of.is_list(),
            Class::Tuple => of.is_tuple(),
            Class::Dict => {
                matches!(of, Value::Dict(_) | Value::Ordered(_)) || is_frozen(of, FrozenKind::Dict)
            }
            Class::Set if matches!(of, Value::Frozen(_)) && of.is_set() => {
                return Err(Stop::Hole("whether a set is frozen"));
            }
            Class::Set => of.is_set(),
            Class::Mapping => of.is_mapping(),
            Class::Sequence => {
                of.is_list() || of.is_tuple() || matches!(of, Value::Text(_) | Value::ListView(_))
            }
            Class::Iterable if scalar => false,
            Class::Iterable if of.length().is_some() => true,
            Class::PantherEvent => matches!(of, Value::View(_, Whole::Yes)),
            Class::ImmutableDict => matches!(of, Value::View(..)),
            Class::ImmutableList => matches!(of, Value::ListView(_)),
            Class::IpAddressV4 => matches!(of, Value::Address(std::net::IpAddr::V4(_))),
            Class::IpAddressV6 => matches!(of, Value::Address(std::net::IpAddr::V6(_))),
            _ => return Err(Stop::Hole("an instance of another class")),
        })
    }

    /// A class that is called.
    pub(super) fn construct(
        &mut self,
        class: Class,
        positional: &[Value<'e>],
        named: Named<'_, 'e>,
    ) -> Done<'e> {
        if !named.is_empty() && class != Class::Dict {
            return Err(Stop::Hole("a class called with names"));
        }
        match (class, positional) {
            (Class::Str, []) => Ok(Value::Text("")),
            (Class::Str, [Value::Text(text)]) => Ok(Value::Text(text)),
            (Class::Str, [of]) => {
                let mut out = bumpalo::collections::String::new_in(self.arena);
                text::write_str(&mut out, of)?;
                Ok(Value::Text(out.into_bump_str()))
            }
            (Class::Bool, []) => Ok(Value::Bool(false)),
            (Class::Bool, [of]) => of.truthy().map(Value::Bool),
            (Class::Int, [Value::Int(value)]) => Ok(Value::Int(*value)),
            (Class::Int, [Value::Bool(value)]) => Ok(Value::Int(i64::from(*value))),
            #[allow(clippy::cast_possible_truncation)]
            (Class::Int, [Value::Float(value)]) if value.abs() < 9e15 => {
                Ok(Value::Int(value.trunc() as i64))
            }
            (Class::Int, [Value::Text(text)]) => {
                let digits = text.strip_prefix(['-', '+']).unwrap_or(text);
                let plain = !digits.is_empty()
                    && digits.len() < 18
                    && digits.bytes().all(|byte| byte.is_ascii_digit());
                if plain {
                    text.parse()
                        .map(Value::Int)
                        .map_err(|_| Stop::Hole("an integer's text"))
                } else if text.is_ascii()
                    && text
                        .bytes()
                        .any(|byte| byte.is_ascii_graphic() && !b"0123456789+-_".contains(&byte))
                {
                    Err(raise("ValueError"))
                } else {
                    Err(Stop::Hole("an integer's text"))
                }
            }
            (Class::Int | Class::Float, [Value::None]) => Err(raise("TypeError")),
            (Class::Float, [Value::Float(value)]) => Ok(Value::Float(*value)),
            (Class::Float, [of]) if of.number().is_some() => {
                // Integers up to 2^53 are exact.
                self.binary(Operator::Multiply, *of, Value::Float(1.0))
            }
            (Class::Float, [Value::Text(text)]) => {
                let plain = !text.is_empty()
                    && text
                        .bytes()
                        .all(|byte| byte.is_ascii_digit() || byte == b'.')
                    && text.bytes().any(|byte| byte.is_ascii_digit());
                match text.parse::<f64>() {
                    Ok(value) if plain && value.is_finite() => Ok(Value::Float(value)),
                    _ => Err(Stop::Hole("a float's text")),
                }
            }
            (Class::List, []) => Ok(Value::list(self.arena, ArenaVec::new_in(self.arena))),
            (Class::List, [of]) => {
                let mut items = ArenaVec::new_in(self.arena);
                items.extend_from_slice(self.ordered(of)?);
                Ok(Value::list(self.arena, items))
            }
            (Class::Tuple, []) => Ok(Value::Tuple(&[])),
            (Class::Tuple, [of]) => Ok(Value::Tuple(self.ordered(of)?)),
            (Class::Set, []) => self.new_set(&[]),
            (Class::Set, [of]) => {
                let items = self.unordered(of)?;
                self.new_set(items)
            }
            (Class::OrderedDict, []) => match Value::dict(self.arena, ArenaVec::new_in(self.arena))
            {
                Value::Dict(pairs) => Ok(Value::Ordered(pairs)),
                other => Ok(other),
            },
            (Class::Dict, []) => {
                let dict = Value::dict(self.arena, ArenaVec::new_in(self.arena));
                for (name, value) in named {
                    self.store(&dict, Value::Text(name), *value)?;
                }
                Ok(dict)
            }
            (Class::Dict, [of]) if named.is_empty() => {
                let dict = Value::dict(self.arena, ArenaVec::new_in(self.arena));
                match of.pairs(self.arena)? {
                    Some(pairs) => {
                        for (key, value) in pairs {
                            self.store(&dict, *key, *value)?;
                        }
                    }
                    None => {
                        for pair in self.ordered(of)? {
                            match self.ordered(pair)? {
                                [key, value] if pair.is_tuple() || pair.is_list() => {
                                    self.store(&dict, *key, *value)?;
                                }
                                _ => return Err(Stop::Hole("a dict of other things")),
                            }
                        }
                    }
                }
                Ok(dict)
            }
            _ => Err(Stop::Hole("a class of the library")),
        }
    }

    /// `of.name`, not called.
    pub(super) fn attribute(&mut self, of: &Value<'e>, name: &str) -> Done<'e> {
        if let Some(part) = times::part(of, name) {
            return Ok(Value::Int(part));
        }
        let unclear = Stop::Hole("an address whose kind depends on the version");
        match (of, name) {
            (Value::Address(address), "is_private") => self
                .program
                .addresses
                .is_private(*address)
                .map(Value::Bool)
                .ok_or(unclear),
            (Value::Address(address), "is_global") => self
                .program
                .addresses
                .is_global(*address)
                .map(Value::Bool)
                .ok_or(unclear),
            (Value::Address(address), "version") => {
                Ok(Value::Int(if address.is_ipv4() { 4 } else { 6 }))
            }
            _ => Err(Stop::Hole("an attribute")),
        }
    }
}

fn is_frozen(of: &Value<'_>, kind: FrozenKind) -> bool {
    matches!(of, Value::Frozen(frozen) if frozen.kind == kind)
}
