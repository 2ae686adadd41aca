//! Functions and classes of the language and its library, where they are called.

use bumpalo::collections::Vec as ArenaVec;

use super::address::{self, Network};
use super::names::Builtin;
use super::pattern::{Pattern, Way, glob};
use super::program::{Comparison, Operator};
use super::run::Run;
use super::stop::{Stop, raise};
use super::text;
use super::times;
use super::value::{Done, Value, plain};
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
                    _ => Err(Stop::Hole(&"the length of an object")),
                },
            },
            (Builtin::Isinstance, [of, class], []) => self.is_instance(of, class).map(Value::Bool),
            (Builtin::Hasattr, [Value::Instance(of), Value::Text(name)], []) => of
                .knows(name)
                .map(Value::Bool)
                .ok_or(Stop::Hole(&"hasattr of an object")),
            (Builtin::Getattr, [Value::Instance(of), Value::Text(name), default @ ..], []) => {
                match (of.knows(name), default) {
                    (Some(false), [default]) => Ok(*default),
                    (Some(true), [] | [_]) => self.own_attribute(of, name),
                    _ => Err(Stop::Hole(&"getattr of an object")),
                }
            }
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
                    _ => Err(Stop::Hole(&"hasattr of an object")),
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
            // Live, what is printed or logged goes nowhere.
            (Builtin::Print, ..) if self.bounds.output_is_shown => {
                Err(Stop::Hole(&"what it prints is shown under test"))
            }
            (Builtin::Print, ..) => Ok(Value::None),
            _ if builtin.is_of_store() => self.stored(builtin, positional, named),
            (
                Builtin::FromIsoFormat
                | Builtin::Strptime
                | Builtin::DateParse
                | Builtin::Timedelta
                | Builtin::UtcNow,
                ..,
            ) => self.time(builtin, positional, named),
            (
                Builtin::Similarity
                | Builtin::Country
                | Builtin::Radians
                | Builtin::Sin
                | Builtin::Cos
                | Builtin::Sqrt
                | Builtin::Atan2,
                ..,
            ) => self.of_library(builtin, positional, named),
            (Builtin::Sorted, [of], named) => {
                let items = self.unordered(of)?;
                self.sorted(items, named)
            }
            (Builtin::Min | Builtin::Max, _, named) => self.extreme(builtin, positional, named),
            (Builtin::Sum, [of], []) => {
                let mut total = Value::Int(0);
                for one in self.unordered(of)? {
                    if one.number().is_none() {
                        return Err(Stop::Hole(&"a sum of other things"));
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
            // The rest could be asked for: then the next one is for Python, since it is gone through once.
            (Builtin::Next, [Value::Once(once)], []) => {
                if once.gone.replace(true) {
                    return Err(Stop::Hole(&"an iterator that is gone through again"));
                }
                once.items
                    .first()
                    .copied()
                    .ok_or_else(|| raise("StopIteration"))
            }
            (Builtin::Iter, [of], []) => {
                let items = self.ordered(of)?;
                Ok(Value::once(self.arena, items))
            }
            (Builtin::Abs, [Value::Int(value)], []) => value
                .checked_abs()
                .map(Value::Int)
                .ok_or(Stop::Hole(&"a big integer")),
            (Builtin::Divmod, [one, two], []) => {
                let quotient = self.binary(Operator::FloorDivide, *one, *two)?;
                let rest = self.binary(Operator::Modulo, *one, *two)?;
                Ok(Value::Tuple(self.arena.alloc([quotient, rest])))
            }
            (Builtin::Repr, [of], []) => self.text(|_, out| text::write_repr(out, of)),
            (Builtin::Fnmatch, [Value::Text(name), Value::Text(pattern)], []) => {
                self.step(name.len() / 64)?;
                glob(name, pattern)
                    .map(Value::Bool)
                    .ok_or(Stop::Hole(&"a class in a file name pattern"))
            }
            (Builtin::FnmatchFilter, [names, Value::Text(pattern)], []) => {
                let mut taken = ArenaVec::new_in(self.arena);
                for name in self.ordered(names)? {
                    let Value::Text(text) = name else {
                        return Err(Stop::Hole(&"a file name of another sort"));
                    };
                    if glob(text, pattern).ok_or(Stop::Hole(&"a class in a file name pattern"))? {
                        taken.push(*name);
                    }
                }
                Ok(Value::list(self.arena, taken))
            }
            (Builtin::Deepcopy, [of], []) => self.deep_copy(of, &mut Vec::new()),
            (Builtin::JsonDumps, [of], []) => self.text(|_, out| text::write_json(out, of, false)),
            (Builtin::JsonLoads, [Value::Text(of)], []) => {
                let node = read_value(self.arena, of).map_err(|_| {
                    let space = [' ', '\t', '\n', '\r'];
                    match of.trim_start_matches(space).chars().next() {
                        // What begins so may be JSON to Python.
                        Some(first) if "\"{[-0123456789tfnNI".contains(first) => {
                            Stop::Hole(&"JSON that is not read here")
                        }
                        _ => raise("json.decoder.JSONDecodeError"),
                    }
                })?;
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
                Ok(address) => Ok(Value::Address(self.arena.alloc(address))),
                Err(_) if of.is_ascii() && !of.contains('%') => Err(raise("ValueError")),
                Err(_) => Err(Stop::Hole(&"an address that is not read here")),
            },
            (Builtin::IpAddress, [Value::None], []) => Err(raise("ValueError")),
            (Builtin::IpNetwork, [Value::Text(of)], []) => Network::parse(of)
                .map(|network| Value::Network(self.arena.alloc(network)))
                .map_err(|_| Stop::Hole(&"a network that is not read here")),
            (Builtin::IpNetwork, [Value::Text(of)], [("strict", Value::Bool(false))]) => {
                Network::parse_loosely(of)
                    .map(|network| Value::Network(self.arena.alloc(network)))
                    .map_err(|_| Stop::Hole(&"a network that is not read here"))
            }
            _ => Err(Stop::Hole(&"a function of the library")),
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
                .ok_or(Stop::Hole(&"a regular expression")),
            _ => Err(Stop::Hole(&"a regular expression of another sort")),
        }
    }

    fn range(&mut self, bounds: &[Value<'e>]) -> Done<'e> {
        let (from, to) = match bounds {
            [Value::Int(to)] => (0, *to),
            [Value::Int(from), Value::Int(to)] => (*from, *to),
            _ => return Err(Stop::Hole(&"a range of another sort")),
        };
        let length = usize::try_from(to.saturating_sub(from).max(0)).unwrap_or(usize::MAX);
        self.step(length)?;
        let numbers = self.arena.alloc_slice_fill_with(length, |place| {
            Value::Int(from.saturating_add(i64::try_from(place).unwrap_or(i64::MAX)))
        });
        Ok(Value::Iterable(numbers))
    }

    pub(super) fn sorted(&mut self, items: &[Value<'e>], named: Named<'_, 'e>) -> Done<'e> {
        let (mut key, mut reverse) = (None, false);
        for (name, value) in named {
            match *name {
                "key" if !matches!(value, Value::None) => key = Some(*value),
                "reverse" => reverse = value.truthy()?,
                _ => return Err(Stop::Hole(&"an argument of sorted")),
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

    /// `copy.deepcopy`. `seen` are the containers that were copied: of one that comes twice the copies are one and the same, too.
    fn deep_copy(&mut self, of: &Value<'e>, seen: &mut Vec<*const ()>) -> Done<'e> {
        let mut first_look = |at: *const ()| {
            if seen.contains(&at) {
                return Err(Stop::Hole(&"a copy of what is in itself twice"));
            }
            seen.push(at);
            Ok(())
        };
        match of {
            Value::None | Value::Bool(_) | Value::Int(_) | Value::Float(_) | Value::Text(_) => {
                Ok(*of)
            }
            Value::List(items) => {
                first_look(std::ptr::from_ref(*items).cast())?;
                self.step(items.borrow().len() + seen.len())?;
                self.nest()?;
                let mut copied = ArenaVec::with_capacity_in(items.borrow().len(), self.arena);
                for item in items.borrow().iter() {
                    copied.push(self.deep_copy(item, seen)?);
                }
                self.leave();
                Ok(Value::list(self.arena, copied))
            }
            Value::Dict(pairs) => {
                first_look(std::ptr::from_ref(*pairs).cast())?;
                self.step(pairs.borrow().len() + seen.len())?;
                self.nest()?;
                let mut copied = ArenaVec::with_capacity_in(pairs.borrow().len(), self.arena);
                for (key, value) in pairs.borrow().iter() {
                    if key.as_text().is_none() {
                        return Err(Stop::Hole(&"a copy of a dict with other keys"));
                    }
                    copied.push((*key, self.deep_copy(value, seen)?));
                }
                self.leave();
                Ok(Value::dict(self.arena, copied))
            }
            _ => Err(Stop::Hole(&"a copy of something else")),
        }
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
                _ => return Err(Stop::Hole(&"an argument of min or max")),
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

    /// `of.name`, not called.
    pub(super) fn attribute(&mut self, of: &Value<'e>, name: &str) -> Done<'e> {
        if let Some(part) = times::part(of, name) {
            return Ok(Value::Int(part));
        }
        if matches!(of, Value::None) && !name.starts_with('_') {
            return Err(self.refuse_attribute(of, name));
        }
        let unclear = Stop::Hole(&"an address whose kind depends on the version");
        match (of, name) {
            (Value::Address(address), "is_private") => self
                .program
                .addresses
                .is_private(**address)
                .map(Value::Bool)
                .ok_or(unclear),
            (Value::Address(address), "is_global") => self
                .program
                .addresses
                .is_global(**address)
                .map(Value::Bool)
                .ok_or(unclear),
            (Value::Address(address), "version") => {
                Ok(Value::Int(if address.is_ipv4() { 4 } else { 6 }))
            }
            _ => Err(Stop::Hole(&"an attribute")),
        }
    }
}
