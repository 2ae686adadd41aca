//! Methods: who has which, and those of patterns and what they found.

use bumpalo::collections::Vec as ArenaVec;

use super::names::Method;
use super::pattern::{Match, Pattern, Way};
use super::run::{Run, Search};
use super::stop::{Stop, raise};
use super::value::{Done, Value, plain};
use crate::event::Node;

pub(super) type Named<'n, 'e> = &'n [(&'e str, Value<'e>)];

/// Searches of an event that are remembered: they are gone through one by one.
const MOST_SEARCHES: usize = 16;

impl<'e> Run<'e> {
    /// `of.method(...)`. `of` is no plain number, boolean or None.
    pub(super) fn method(
        &mut self,
        of: Value<'e>,
        method: Method,
        positional: &[Value<'e>],
        named: Named<'_, 'e>,
    ) -> Done<'e> {
        match of {
            Value::View(map, whole) => self.view_method(map, whole, method, positional, named),
            Value::Instance(instance) => {
                self.own_method(instance, method.text(), positional, named)
            }
            _ if !named.is_empty() => self.method_with_names(&of, method, positional, named),
            Value::Text(text) => self.text_method(text, method, positional),
            Value::Match(found) => match_method(self, found, method, positional),
            Value::Regex(pattern) => self.pattern_method(pattern, method, positional),
            Value::Moment(moment) => self.moment_method(moment, method, positional),
            Value::Span(span) => match (method, positional) {
                (Method::TotalSeconds, []) => span
                    .total_seconds()
                    .map(Value::Float)
                    .ok_or(Stop::Hole(&"a very long span of time")),
                _ => Err(Stop::Hole(&"a method of a span of time")),
            },
            _ if of.is_mapping() => self.dict_method(&of, method, positional),
            _ if of.is_set() => self.set_method(&of, method, positional),
            _ if of.is_list() => self.list_method(&of, method, positional),
            Value::ListView(nodes) => match (method, positional) {
                (Method::Copy, []) => plain(self.arena, Node::List(nodes)),
                (Method::Index | Method::Count, [wanted]) => {
                    self.index_or_count(&of, method, wanted)
                }
                _ => Err(Stop::Hole(&"a method of a list")),
            },
            _ if of.is_tuple() => match (method, positional) {
                (Method::Index | Method::Count, [wanted]) => {
                    self.index_or_count(&of, method, wanted)
                }
                _ => Err(Stop::Hole(&"a method of a tuple")),
            },
            _ => Err(Stop::Hole(&"a method of an object")),
        }
    }

    pub(super) fn method_with_names(
        &mut self,
        of: &Value<'e>,
        method: Method,
        positional: &[Value<'e>],
        named: Named<'_, 'e>,
    ) -> Done<'e> {
        match (of, method, positional, named) {
            (
                Value::Text(text),
                Method::Split | Method::Rsplit,
                _,
                [("maxsplit", Value::Int(most))],
            ) => match positional {
                [separator] => self.split(text, method, separator, *most),
                _ => Err(Stop::Hole(&"a split by space a number of times")),
            },
            (Value::Text(text), Method::Format, _, _) => self.formatted(text, positional, named),
            (Value::List(_), Method::Sort, [], _) => self.sort(of, named),
            (Value::Dict(_), Method::Update, [], _) => {
                for (name, value) in named {
                    self.store(of, Value::Text(name), *value)?;
                }
                Ok(Value::None)
            }
            _ => Err(Stop::Hole(&"a method with named arguments")),
        }
    }

    pub(super) fn pattern_method(
        &mut self,
        pattern: &'e Pattern,
        method: Method,
        positional: &[Value<'e>],
    ) -> Done<'e> {
        match (method, positional) {
            (Method::Search, [text]) => self.find(pattern, Way::Search, text),
            (Method::Match, [text]) => self.find(pattern, Way::Start, text),
            (Method::Fullmatch, [text]) => self.find(pattern, Way::Whole, text),
            (Method::Findall, [text]) => self.find_all(pattern, text),
            (Method::Sub, [Value::Text(by), Value::Text(text)]) => {
                let replaced = pattern.replace(text, by)?;
                Ok(Value::Text(self.arena.alloc_str(&replaced)))
            }
            _ => Err(Stop::Hole(&"a method of a pattern")),
        }
    }

    pub(super) fn find(&mut self, pattern: &'e Pattern, way: Way, text: &Value<'e>) -> Done<'e> {
        let Value::Text(text) = text else {
            return Err(raise("TypeError"));
        };
        let is_same = |one: &&Search<'e>| {
            std::ptr::eq(one.pattern, pattern) && one.way == way && std::ptr::eq(one.text, *text)
        };
        if let Some(before) = self.searches.iter().find(is_same) {
            return Ok(before.found);
        }
        self.step(text.len() / 64)?;
        let found = match pattern.find(self.arena, way, text)? {
            Some(found) => Value::Match(self.arena.alloc(found)),
            None => Value::None,
        };
        if self.searches.len() < MOST_SEARCHES {
            self.searches.push(Search {
                pattern,
                way,
                text,
                found,
            });
        }
        Ok(found)
    }

    pub(super) fn find_all(&mut self, pattern: &'e Pattern, text: &Value<'e>) -> Done<'e> {
        let Value::Text(text) = text else {
            return Err(raise("TypeError"));
        };
        let mut items = ArenaVec::new_in(self.arena);
        for groups in pattern.find_all(text)? {
            items.push(match groups.as_slice() {
                [] => Value::None,
                [whole] => Value::Text(whole),
                [_, only] => Value::Text(only),
                [_, groups @ ..] => Value::Tuple(
                    self.arena
                        .alloc_slice_fill_iter(groups.iter().map(|group| Value::Text(group))),
                ),
            });
        }
        self.step(items.len())?;
        Ok(Value::list(self.arena, items))
    }

    pub(super) fn group(&mut self, found: &'e Match<'e>, which: &Value<'e>) -> Done<'e> {
        let place = match which {
            Value::Int(place) => usize::try_from(*place).map_err(|_| raise("IndexError"))?,
            Value::Text(name) => found
                .names
                .iter()
                .find(|(known, _)| known == name)
                .map(|(_, place)| *place)
                .ok_or_else(|| raise("IndexError"))?,
            _ => return Err(Stop::Hole(&"a group of another sort")),
        };
        match found.groups.get(place) {
            Some(group) => Ok(group.map_or(Value::None, Value::Text)),
            None => Err(raise("IndexError")),
        }
    }
}

fn match_method<'e>(
    run: &mut Run<'e>,
    found: &'e Match<'e>,
    method: Method,
    positional: &[Value<'e>],
) -> Done<'e> {
    match (method, positional) {
        (Method::Group, []) => run.group(found, &Value::Int(0)),
        (Method::Group, [which]) => run.group(found, which),
        (Method::Groups, []) => {
            let groups = found.groups.get(1..).unwrap_or(&[]);
            Ok(Value::Tuple(
                run.arena.alloc_slice_fill_iter(
                    groups
                        .iter()
                        .map(|group| group.map_or(Value::None, Value::Text)),
                ),
            ))
        }
        _ => Err(Stop::Hole(&"a method of a match")),
    }
}
