//! Methods of events, texts, containers and matches.

use bumpalo::Bump;
use bumpalo::collections::Vec as ArenaVec;

use super::names::Method;
use super::pattern::{Match, Pattern, Way};
use super::program::{Mapping, Operator, Step};
use super::run::{CHANGED, LONGEST_TEXT, Run};
use super::value::{Done, Stop, Value, Whole, contains_item, lookup, plain, raise, wrap};
use crate::event::{Map, Node, Reads};

type Named<'n, 'e> = &'n [(&'e str, Value<'e>)];

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
            _ if !named.is_empty() => self.method_with_names(&of, method, positional, named),
            Value::Text(text) => self.text_method(text, method, positional),
            Value::Match(found) => match_method(self, found, method, positional),
            Value::Regex(pattern) => self.pattern_method(pattern, method, positional),
            Value::Moment(moment) => match (method, positional) {
                (Method::Timestamp, []) if self.program.in_utc => {
                    Ok(Value::Float(moment.timestamp()))
                }
                _ => Err(Stop::Hole("a method of a time")),
            },
            _ if of.is_mapping() => self.dict_method(&of, method, positional),
            _ if of.is_set() => self.set_method(&of, method, positional),
            _ if of.is_list() => self.list_method(&of, method, positional),
            Value::ListView(nodes) => match (method, positional) {
                (Method::Copy, []) => plain(self.arena, Node::List(nodes)),
                (Method::Index | Method::Count, [wanted]) => {
                    self.index_or_count(&of, method, wanted)
                }
                _ => Err(Stop::Hole("a method of a list")),
            },
            _ if of.is_tuple() => match (method, positional) {
                (Method::Index | Method::Count, [wanted]) => {
                    self.index_or_count(&of, method, wanted)
                }
                _ => Err(Stop::Hole("a method of a tuple")),
            },
            _ => Err(Stop::Hole("a method of an object")),
        }
    }

    fn method_with_names(
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
                _ => Err(Stop::Hole("a split by space a number of times")),
            },
            (Value::Dict(_), Method::Update, [], _) => {
                for (name, value) in named {
                    self.store(of, Value::Text(name), *value)?;
                }
                Ok(Value::None)
            }
            _ => Err(Stop::Hole("a method with named arguments")),
        }
    }

    // The event and its mappings.

    fn view_method(
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
                    .ok_or(Stop::Hole("a path without a data model"))?;
                Ok(model
                    .told
                    .get(*key)
                    .map_or(Value::None, |path| Value::Text(path)))
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
                Ok(Value::Iterable(items.into_bump_slice(), None))
            }
            (Method::Keys, []) if named.is_empty() => {
                let keys = Value::View(map, whole).elements(self.arena)?;
                Ok(Value::Iterable(keys.unwrap_or(&[]), None))
            }
            (Method::Values, []) if named.is_empty() => {
                let mut items = ArenaVec::with_capacity_in(map.members().len(), self.arena);
                for (_, node) in map.members() {
                    items.push(wrap(*node)?);
                }
                Ok(Value::Iterable(items.into_bump_slice(), None))
            }
            (Method::ToDict | Method::Copy, []) if named.is_empty() => {
                plain(self.arena, Node::Map(map))
            }
            (Method::DeepWalk | Method::Udm, _) if whole == Whole::No => {
                Err(raise("AttributeError"))
            }
            _ => Err(Stop::Hole("a method of a view")),
        }
    }

    /// `view.deep_get(*keys, default=...)`.
    fn deep_get(&mut self, map: &'e Map<'e>, keys: &[Value<'e>], default: Value<'e>) -> Done<'e> {
        // A missing key would go on in the default.
        if default.is_mapping() && default.length() != Some(0) {
            return Err(Stop::Hole("a default that is a mapping"));
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
            Value::View(..) if keys.is_empty() => return Err(Stop::Hole("deep_get without keys")),
            value => value,
        })
    }

    /// `event.udm(*keys, default=...)`.
    fn udm(&mut self, map: &'e Map<'e>, keys: &[Value<'e>], default: Value<'e>) -> Done<'e> {
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
            Some(Mapping::Unknown(what)) => return Err(Stop::Hole(what)),
            None => self.not_mapped(map, keys)?,
        };
        // What a rule may change is made anew for each, and so is what depends on what a rule has written.
        if !self.wrote
            && !matches!(
                found,
                Some(Value::Set(_) | Value::Ordered(_) | Value::Iterable(..))
            )
        {
            self.unified.push((key, found));
        }
        Ok(found.unwrap_or(default))
    }

    /// A field that no data model maps: from `p_udm`, else from the event itself, what is not true counting as missing.
    fn not_mapped(&mut self, map: &'e Map<'e>, keys: &[Value<'e>]) -> Done<'e, Option<Value<'e>>> {
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
    fn at_path(&mut self, map: &'e Map<'e>, steps: &'e [Step]) -> Done<'e, Option<Value<'e>>> {
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
            _ => Err(Stop::Hole("a path that leads to several values")),
        }
    }

    fn deep_walk(
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
                _ => return Err(Stop::Hole("an argument of deep_walk")),
            }
        }
        let mut texts = ArenaVec::with_capacity_in(keys.len(), self.arena);
        for key in keys {
            texts.push(key.as_text().ok_or(Stop::Hole("a key that is no text"))?);
        }
        let plain_default = matches!(
            default,
            Value::None | Value::Bool(_) | Value::Int(_) | Value::Text(_)
        ) || (default.is_list() && default.length() == Some(0));
        if !plain_default {
            return Err(Stop::Hole("a default of another sort"));
        }
        let found = self.walk(Node::Map(map), &texts, default, which)?;
        // A default that is a list of the pack is copied.
        Ok(match found {
            Value::Frozen(_) => Value::list(self.arena, ArenaVec::new_in(self.arena)),
            other => other,
        })
    }

    fn walk(
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

    // Texts.

    #[allow(clippy::too_many_lines)]
    fn text_method(&mut self, text: &'e str, method: Method, positional: &[Value<'e>]) -> Done<'e> {
        match (method, positional) {
            (Method::Lower | Method::Casefold, []) => self.cased(text, str::make_ascii_lowercase),
            (Method::Upper, []) => self.cased(text, str::make_ascii_uppercase),
            (Method::Title, []) if text.is_ascii() => {
                let mut titled =
                    bumpalo::collections::String::with_capacity_in(text.len(), self.arena);
                let mut inside = false;
                for letter in text.chars() {
                    titled.push(if inside {
                        letter.to_ascii_lowercase()
                    } else {
                        letter.to_ascii_uppercase()
                    });
                    inside = letter.is_ascii_alphabetic();
                }
                Ok(Value::Text(titled.into_bump_str()))
            }
            (Method::Capitalize, []) => self.cased(text, |text| {
                text.make_ascii_lowercase();
                if let Some(first) = text.get_mut(..1) {
                    first.make_ascii_uppercase();
                }
            }),
            (Method::Startswith | Method::Endswith, [what]) => {
                let holds = |part: &str| match method {
                    Method::Startswith => text.starts_with(part),
                    _ => text.ends_with(part),
                };
                if what.is_tuple() {
                    for one in self.ordered(what)? {
                        match one {
                            Value::Text(part) if holds(part) => return Ok(Value::Bool(true)),
                            Value::Text(_) => {}
                            _ => return Err(raise("TypeError")),
                        }
                    }
                    return Ok(Value::Bool(false));
                }
                match what {
                    Value::Text(part) => Ok(Value::Bool(holds(part))),
                    _ => Err(raise("TypeError")),
                }
            }
            (Method::Split | Method::Rsplit, [separator, Value::Int(most)]) => {
                self.split(text, method, separator, *most)
            }
            (Method::Split | Method::Rsplit, [separator]) => {
                self.split(text, method, separator, -1)
            }
            (Method::Split | Method::Rsplit, []) => self.split(text, method, &Value::None, -1),
            (Method::Splitlines, []) => {
                if !text.is_ascii()
                    || text
                        .bytes()
                        .any(|byte| matches!(byte, 0x0b | 0x0c | 0x1c..=0x1e | b'\r'))
                {
                    return Err(Stop::Hole("lines that end otherwise"));
                }
                let mut items = ArenaVec::new_in(self.arena);
                items.extend(text.lines().map(Value::Text));
                Ok(Value::list(self.arena, items))
            }
            (Method::Strip, []) => Ok(Value::Text(space_checked(text)?.trim_matches(is_space))),
            (Method::Lstrip, []) => Ok(Value::Text(
                space_checked(text)?.trim_start_matches(is_space),
            )),
            (Method::Rstrip, []) => {
                Ok(Value::Text(space_checked(text)?.trim_end_matches(is_space)))
            }
            (Method::Strip | Method::Lstrip | Method::Rstrip, [Value::Text(letters)]) => {
                let among = |letter: char| letters.contains(letter);
                Ok(Value::Text(match method {
                    Method::Strip => text.trim_matches(among),
                    Method::Lstrip => text.trim_start_matches(among),
                    _ => text.trim_end_matches(among),
                }))
            }
            (Method::Replace, [Value::Text(old), Value::Text(new)]) => {
                if old.is_empty()
                    || text.matches(old).count().saturating_mul(new.len()) > LONGEST_TEXT
                {
                    return Err(Stop::Hole("a replacement of nothing"));
                }
                if !text.contains(old) {
                    return Ok(Value::Text(text));
                }
                Ok(Value::Text(self.arena.alloc_str(&text.replace(old, new))))
            }
            (Method::Join, [parts]) => {
                let mut out = bumpalo::collections::String::new_in(self.arena);
                for (place, part) in self.ordered(parts)?.iter().enumerate() {
                    if place > 0 {
                        out.push_str(text);
                    }
                    match part {
                        Value::Text(part) => out.push_str(part),
                        _ => return Err(raise("TypeError")),
                    }
                    if out.len() > LONGEST_TEXT {
                        return Err(Stop::Hole("a very long text"));
                    }
                }
                Ok(Value::Text(out.into_bump_str()))
            }
            (Method::Find | Method::Rfind | Method::Index, [Value::Text(part)])
                if text.is_ascii() =>
            {
                let found = match method {
                    Method::Rfind => text.rfind(part),
                    _ => text.find(part),
                };
                match found {
                    Some(at) => Ok(Value::Int(i64::try_from(at).unwrap_or(i64::MAX))),
                    None if method == Method::Index => Err(raise("ValueError")),
                    None => Ok(Value::Int(-1)),
                }
            }
            (Method::Count, [Value::Text(part)]) if !part.is_empty() => Ok(Value::Int(
                i64::try_from(text.matches(part).count()).unwrap_or(i64::MAX),
            )),
            (Method::Partition | Method::Rpartition, [Value::Text(separator)])
                if !separator.is_empty() =>
            {
                let parts = if method == Method::Partition {
                    match text.split_once(separator) {
                        Some((before, after)) => [before, *separator, after],
                        None => [text, "", ""],
                    }
                } else {
                    match text.rsplit_once(separator) {
                        Some((before, after)) => [before, *separator, after],
                        None => ["", "", text],
                    }
                };
                Ok(Value::Tuple(self.arena.alloc(parts.map(Value::Text))))
            }
            (Method::Removeprefix, [Value::Text(part)]) => {
                Ok(Value::Text(text.strip_prefix(part).unwrap_or(text)))
            }
            (Method::Removesuffix, [Value::Text(part)]) => {
                Ok(Value::Text(text.strip_suffix(part).unwrap_or(text)))
            }
            (Method::Isascii, []) => Ok(Value::Bool(text.is_ascii())),
            (
                Method::Isdigit
                | Method::Isnumeric
                | Method::Isalpha
                | Method::Isalnum
                | Method::Isspace
                | Method::Isupper
                | Method::Islower,
                [],
            ) if text.is_ascii() => {
                let all =
                    |holds: fn(&u8) -> bool| !text.is_empty() && text.as_bytes().iter().all(holds);
                let has = |holds: fn(&u8) -> bool| text.as_bytes().iter().any(holds);
                Ok(Value::Bool(match method {
                    Method::Isdigit | Method::Isnumeric => all(u8::is_ascii_digit),
                    Method::Isalpha => all(u8::is_ascii_alphabetic),
                    Method::Isalnum => all(u8::is_ascii_alphanumeric),
                    Method::Isspace => all(|byte| is_space(char::from(*byte))),
                    Method::Isupper => has(u8::is_ascii_uppercase) && !has(u8::is_ascii_lowercase),
                    _ => has(u8::is_ascii_lowercase) && !has(u8::is_ascii_uppercase),
                }))
            }
            _ => Err(Stop::Hole("a method of a text")),
        }
    }

    fn cased(&mut self, text: &'e str, change: impl FnOnce(&mut str)) -> Done<'e> {
        if !text.is_ascii() {
            return Err(Stop::Hole("cases of letters outside ASCII"));
        }
        let copy = self.arena.alloc_str(text);
        change(copy);
        Ok(Value::Text(copy))
    }

    fn split(
        &mut self,
        text: &'e str,
        method: Method,
        separator: &Value<'e>,
        most: i64,
    ) -> Done<'e> {
        let mut items = ArenaVec::new_in(self.arena);
        let limit = usize::try_from(most).ok().map(|most| most + 1);
        match (separator, limit) {
            (Value::Text(""), _) => return Err(raise("ValueError")),
            (Value::Text(separator), None) => items.extend(text.split(separator).map(Value::Text)),
            (Value::Text(separator), Some(limit)) if method == Method::Split => {
                items.extend(text.splitn(limit, separator).map(Value::Text));
            }
            (Value::Text(separator), Some(limit)) => {
                items.extend(text.rsplitn(limit, separator).map(Value::Text));
                items.reverse();
            }
            (Value::None, None) => items.extend(
                space_checked(text)?
                    .split(is_space)
                    .filter(|part| !part.is_empty())
                    .map(Value::Text),
            ),
            (Value::None, Some(_)) => return Err(Stop::Hole("a split by space a number of times")),
            _ => return Err(raise("TypeError")),
        }
        self.step(items.len())?;
        Ok(Value::list(self.arena, items))
    }

    // Containers.

    fn dict_method(
        &mut self,
        of: &Value<'e>,
        method: Method,
        positional: &[Value<'e>],
    ) -> Done<'e> {
        match (method, positional) {
            (Method::Get, [key]) => self.dict_get(of, key, Value::None),
            (Method::Get, [key, default]) => self.dict_get(of, key, *default),
            (Method::Keys, []) => Ok(Value::Iterable(
                of.elements(self.arena)?.unwrap_or(&[]),
                None,
            )),
            (Method::Values, []) => {
                let pairs = of.pairs(self.arena)?.unwrap_or(&[]);
                Ok(Value::Iterable(
                    self.arena
                        .alloc_slice_fill_iter(pairs.iter().map(|(_, value)| *value)),
                    None,
                ))
            }
            (Method::Items, []) => {
                let pairs = of.pairs(self.arena)?.unwrap_or(&[]);
                let arena = self.arena;
                let pairs = pairs
                    .iter()
                    .map(|(key, value)| Value::Tuple(arena.alloc([*key, *value])));
                Ok(Value::Iterable(arena.alloc_slice_fill_iter(pairs), None))
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
                    _ => Err(Stop::Hole("a method of a dict")),
                },
                _ => Err(Stop::Hole(CHANGED)),
            },
        }
    }

    fn dict_get(&mut self, of: &Value<'e>, key: &Value<'e>, default: Value<'e>) -> Done<'e> {
        if !key.hashable()? {
            return Err(raise("TypeError"));
        }
        Ok(lookup(of, key)?.unwrap_or(default))
    }

    fn list_method(
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
            return Err(Stop::Hole(CHANGED));
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
            (Method::Pop, []) => items.borrow_mut().pop().ok_or(raise("IndexError")),
            (Method::Pop, [Value::Int(0)]) => {
                if items.borrow().is_empty() {
                    return Err(raise("IndexError"));
                }
                Ok(items.borrow_mut().remove(0))
            }
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
            _ => Err(Stop::Hole("a method of a list")),
        }
    }

    fn index_or_count(&mut self, of: &Value<'e>, method: Method, wanted: &Value<'e>) -> Done<'e> {
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

    fn set_method(&mut self, of: &Value<'e>, method: Method, positional: &[Value<'e>]) -> Done<'e> {
        match (method, positional) {
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
            (Method::Add, [value]) => {
                let Value::Set(items) = of else {
                    return Err(Stop::Hole(CHANGED));
                };
                if !value.hashable()? {
                    return Err(raise("TypeError"));
                }
                self.step(items.borrow().len() / 16)?;
                if !contains_item(of, value)? {
                    items.borrow_mut().push(*value);
                }
                Ok(Value::None)
            }
            _ => Err(Stop::Hole("a method of a set")),
        }
    }

    // Patterns.

    fn pattern_method(
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
            _ => Err(Stop::Hole("a method of a pattern")),
        }
    }

    pub(super) fn find(&mut self, pattern: &'e Pattern, way: Way, text: &Value<'e>) -> Done<'e> {
        let Value::Text(text) = text else {
            return Err(raise("TypeError"));
        };
        self.step(text.len() / 64)?;
        Ok(match pattern.find(self.arena, way, text)? {
            Some(found) => Value::Match(self.arena.alloc(found)),
            None => Value::None,
        })
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
                .ok_or(raise("IndexError"))?,
            _ => return Err(Stop::Hole("a group of another sort")),
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
        _ => Err(Stop::Hole("a method of a match")),
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
        return Err(Stop::Hole("a deep container from a data model's method"));
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
                let key = key.as_text().ok_or(Stop::Hole("a key that is no text"))?;
                odd_keys |= !key.is_ascii();
                members.push((key, node_of(arena, item, depth + 1)?));
            }
            Node::Map(arena.alloc(Map::new(
                members.into_bump_slice(),
                odd_keys,
                arena.alloc(Reads::new(arena)),
            )))
        }
        _ => return Err(Stop::Hole("a container from a data model's method")),
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

/// White space of Python within ASCII.
fn is_space(letter: char) -> bool {
    matches!(letter, ' ' | '\t'..='\r' | '\x1c'..='\x1f')
}

fn space_checked<'e>(text: &'e str) -> Done<'e, &'e str> {
    if text.is_ascii() {
        Ok(text)
    } else {
        Err(Stop::Hole("white space outside ASCII"))
    }
}
