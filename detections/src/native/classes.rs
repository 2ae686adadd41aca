//! Classes of the language and its library: what is one of them, and what they make when they are called.

use bumpalo::collections::Vec as ArenaVec;

use super::address;
use super::constants::FrozenKind;
use super::names::Class;
use super::program::Operator;
use super::run::Run;
use super::stop::{Stop, raise, raise_with};
use super::text;
use super::value::{Done, Value, Whole};

type Named<'n, 'e> = &'n [(&'e str, Value<'e>)];

impl<'e> Run<'e> {
    pub(super) fn is_instance(&mut self, of: &Value<'e>, class: &Value<'e>) -> Done<'e, bool> {
        if class.is_tuple() {
            for one in self.ordered(class)? {
                if one.is_tuple() {
                    return Err(Stop::Hole(&"classes inside classes"));
                }
                if self.is_instance(of, one)? {
                    return Ok(true);
                }
            }
            return Ok(false);
        }
        let Value::Class(class) = class else {
            return Err(Stop::Hole(&"an instance of another class"));
        };
        if matches!(
            of,
            Value::Iterable(_)
                | Value::Once(_)
                | Value::Unbound
                | Value::Function(_)
                | Value::Lambda(_)
                | Value::Builtin(_)
                | Value::Class(_)
                | Value::Kind(_)
                | Value::Instance(_)
        ) {
            // A mock in the place of a constant is the one thing that is asked of a function.
            return match (of, class) {
                (Value::Function(_), Class::MagicMock) => Ok(false),
                _ => Err(Stop::Hole(&"the class of an object")),
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
                return Err(Stop::Hole(&"whether a set is frozen"));
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
            _ => return Err(Stop::Hole(&"an instance of another class")),
        })
    }

    /// A text that should be a number and is none.
    fn no_number(&self, what: &str, text: &'e str) -> Stop<'e> {
        let mut out = what.to_owned();
        match text::write_repr(&mut out, &Value::Text(text)) {
            Ok(()) => raise_with(self.arena, "ValueError", self.arena.alloc_str(&out)),
            Err(_) => raise("ValueError"),
        }
    }

    /// A class that is called.
    pub(super) fn construct(
        &mut self,
        class: Class,
        positional: &[Value<'e>],
        named: Named<'_, 'e>,
    ) -> Done<'e> {
        if !named.is_empty() && class != Class::Dict {
            return Err(Stop::Hole(&"a class called with names"));
        }
        match (class, positional) {
            (Class::Str, []) => Ok(Value::Text("")),
            (Class::Str, [Value::Text(text)]) => Ok(Value::Text(text)),
            (Class::Str, [of]) => self.text(|_, out| text::write_str(out, of)),
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
                        .map_err(|_| Stop::Hole(&"an integer's text"))
                } else if text.is_ascii()
                    && text
                        .bytes()
                        .any(|byte| byte.is_ascii_graphic() && !b"0123456789+-_".contains(&byte))
                {
                    Err(self.no_number("invalid literal for int() with base 10: ", text))
                } else {
                    Err(Stop::Hole(&"an integer's text"))
                }
            }
            (Class::IpAddressV4 | Class::IpAddressV6, [Value::Text(text)]) => {
                match address::parse(text) {
                    Ok(address) if address.is_ipv4() == (class == Class::IpAddressV4) => {
                        Ok(Value::Address(self.arena.alloc(address)))
                    }
                    Err(_) if !text.is_ascii() || text.contains('%') => {
                        Err(Stop::Hole(&"an address that is not read here"))
                    }
                    _ => Err(raise("ipaddress.AddressValueError")),
                }
            }
            (Class::Int | Class::Float, [Value::None]) => Err(raise("TypeError")),
            (Class::Float, [Value::Float(value)]) => Ok(Value::Float(*value)),
            (Class::Float, [of]) if of.number().is_some() => {
                // Integers up to 2^53 are exact.
                self.binary(Operator::Multiply, *of, Value::Float(1.0))
            }
            (Class::Float, [Value::Text(text)]) => {
                // Of these letters Rust reads what Python reads.
                let plain = text
                    .bytes()
                    .all(|byte| byte.is_ascii_digit() || b".+-eE".contains(&byte));
                // Letters that are in no number, neither as an exponent nor as `infinity` or `nan`.
                let odd = text.is_ascii()
                    && text.bytes().any(|byte| {
                        byte.is_ascii_graphic() && !b"0123456789+-._eEinfatyINFATY".contains(&byte)
                    });
                match text.parse::<f64>() {
                    Ok(value) if plain && value.is_finite() => Ok(Value::Float(value)),
                    Err(_) if plain || odd => {
                        Err(self.no_number("could not convert string to float: ", text))
                    }
                    _ => Err(Stop::Hole(&"a float's text")),
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
                                _ => return Err(Stop::Hole(&"a dict of other things")),
                            }
                        }
                    }
                }
                Ok(dict)
            }
            _ => Err(Stop::Hole(&"a class of the library")),
        }
    }
}

fn is_frozen(of: &Value<'_>, kind: FrozenKind) -> bool {
    matches!(of, Value::Frozen(frozen) if frozen.kind == kind)
}
