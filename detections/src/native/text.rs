//! Values as texts: `str()`, `repr()` and JSON, letter by letter as Python writes them.

use std::fmt::Write as _;

use super::constants::FrozenKind;
use super::run::LONGEST_TEXT;
use super::stop::{Raised, Stop, raise};
use super::value::{Done, Value, Whole, wrap};
use crate::event::Node;

/// Containers inside containers that are written.
const DEEPEST: u32 = 60;

/// The characters from one place to another.
pub(super) fn characters(text: &str, from: usize, to: usize) -> &str {
    if text.is_ascii() {
        return &text[from.min(text.len())..to.min(text.len())];
    }
    let at = |place: usize| {
        text.char_indices()
            .nth(place)
            .map_or(text.len(), |(at, _)| at)
    };
    &text[at(from)..at(to)]
}

/// `str(value)`.
pub(super) fn write_str<'e>(out: &mut String, value: &Value<'e>) -> Done<'e, ()> {
    match value {
        Value::Text(text) => out.push_str(text),
        Value::Address(address) => write_address(out, **address)?,
        Value::Moment(moment) => {
            let _ = moment.write(out, ' ');
        }
        Value::Error(Raised {
            classes,
            text: Some(text),
        }) if !classes.include("KeyError") && classes.shown().is_some() => out.push_str(text),
        other => write_repr(out, other)?,
    }
    Ok(())
}

fn write_address<'e>(out: &mut String, address: std::net::IpAddr) -> Done<'e, ()> {
    match address {
        std::net::IpAddr::V4(four) => {
            let _ = write!(out, "{four}");
            Ok(())
        }
        std::net::IpAddr::V6(_) => Err(Stop::Hole(&"an address of IPv6 as text")),
    }
}

/// `repr` of an exception, if its arguments are known.
pub(super) fn error<'e>(
    arena: &'e bumpalo::Bump,
    raised: &Raised<'e>,
) -> Done<'e, Option<&'e str>> {
    let (Some(name), Some(text)) = (raised.classes.shown(), raised.text) else {
        return Ok(None);
    };
    let mut out = String::new();
    out.push_str(name);
    out.push('(');
    quoted(&mut out, text)?;
    out.push(')');
    Ok(Some(arena.alloc_str(&out)))
}

/// `repr(value)`.
pub(super) fn write_repr<'e>(out: &mut String, value: &Value<'e>) -> Done<'e, ()> {
    repr(out, value, 0)
}

fn repr<'e>(out: &mut String, value: &Value<'e>, depth: u32) -> Done<'e, ()> {
    if depth > DEEPEST || out.len() > LONGEST_TEXT {
        return Err(Stop::Hole(&"a deep or long value as text"));
    }
    match value {
        Value::None => out.push_str("None"),
        Value::Bool(true) => out.push_str("True"),
        Value::Bool(false) => out.push_str("False"),
        Value::Int(value) => {
            let _ = write!(out, "{value}");
        }
        Value::Float(value) => float(out, *value),
        Value::Text(text) => quoted(out, text)?,
        Value::View(map, whole) => {
            out.push_str(match whole {
                Whole::Yes => "PantherEvent(",
                Whole::No => "ImmutableCaseInsensitiveDict(",
            });
            node(out, &Node::Map(map), depth + 1)?;
            out.push(')');
        }
        Value::ListView(nodes) => {
            out.push_str("ImmutableList((");
            for (place, one) in nodes.iter().enumerate() {
                if place > 0 {
                    out.push_str(", ");
                }
                node(out, one, depth + 1)?;
            }
            out.push_str(if nodes.len() == 1 { ",))" } else { "))" });
        }
        Value::List(items) => sequence(out, &items.borrow(), "[", "]", depth)?,
        Value::Tuple(items) => {
            let end = if items.len() == 1 { ",)" } else { ")" };
            sequence(out, items, "(", end, depth)?;
        }
        Value::Dict(pairs) => {
            out.push('{');
            for (place, (key, value)) in pairs.borrow().iter().enumerate() {
                if place > 0 {
                    out.push_str(", ");
                }
                repr(out, key, depth + 1)?;
                out.push_str(": ");
                repr(out, value, depth + 1)?;
            }
            out.push('}');
        }
        Value::Set(elements) => match elements.items().as_slice() {
            [] => out.push_str("set()"),
            [only] => {
                out.push('{');
                repr(out, only, depth + 1)?;
                out.push('}');
            }
            _ => return Err(Stop::Hole(&"a set as text")),
        },
        Value::Frozen(frozen) => {
            let (begin, end) = match frozen.kind {
                FrozenKind::List => ("[", "]"),
                FrozenKind::Tuple if frozen.items.len() == 1 => ("(", ",)"),
                FrozenKind::Tuple => ("(", ")"),
                FrozenKind::Dict => ("{", "}"),
                FrozenKind::Set => return Err(Stop::Hole(&"a set as text")),
            };
            out.push_str(begin);
            for (place, item) in frozen.items.iter().enumerate() {
                if place > 0 {
                    out.push_str(", ");
                }
                repr(out, &item.value()?, depth + 1)?;
                if let Some(value) = frozen.values.get(place) {
                    out.push_str(": ");
                    repr(out, &value.value()?, depth + 1)?;
                }
            }
            out.push_str(end);
        }
        _ => return Err(Stop::Hole(&"an object as text")),
    }
    Ok(())
}

fn sequence<'e>(
    out: &mut String,
    items: &[Value<'e>],
    begin: &str,
    end: &str,
    depth: u32,
) -> Done<'e, ()> {
    out.push_str(begin);
    for (place, item) in items.iter().enumerate() {
        if place > 0 {
            out.push_str(", ");
        }
        repr(out, item, depth + 1)?;
    }
    out.push_str(end);
    Ok(())
}

/// What is inside a view prints as plain lists and dicts.
fn node<'e>(out: &mut String, of: &Node<'e>, depth: u32) -> Done<'e, ()> {
    if depth > DEEPEST || out.len() > LONGEST_TEXT {
        return Err(Stop::Hole(&"a deep or long value as text"));
    }
    match of {
        Node::List(items) => {
            out.push('[');
            for (place, item) in items.iter().enumerate() {
                if place > 0 {
                    out.push_str(", ");
                }
                node(out, item, depth + 1)?;
            }
            out.push(']');
        }
        Node::Map(map) => {
            out.push('{');
            for (place, (key, value)) in map.members().iter().enumerate() {
                if place > 0 {
                    out.push_str(", ");
                }
                quoted(out, key)?;
                out.push_str(": ");
                node(out, value, depth + 1)?;
            }
            out.push('}');
        }
        scalar => repr(out, &wrap(*scalar)?, depth)?,
    }
    Ok(())
}

fn quoted<'e>(out: &mut String, text: &str) -> Done<'e, ()> {
    if !text.is_ascii() {
        return Err(Stop::Hole(&"what is printable outside ASCII"));
    }
    let quote = if text.contains('\'') && !text.contains('"') {
        '"'
    } else {
        '\''
    };
    out.push(quote);
    for letter in text.chars() {
        match letter {
            '\\' => out.push_str("\\\\"),
            '\n' => out.push_str("\\n"),
            '\r' => out.push_str("\\r"),
            '\t' => out.push_str("\\t"),
            '\0'..='\u{1f}' | '\u{7f}' => {
                let _ = write!(out, "\\x{:02x}", u32::from(letter));
            }
            _ if letter == quote => {
                out.push('\\');
                out.push(letter);
            }
            _ => out.push(letter),
        }
    }
    out.push(quote);
    Ok(())
}

/// A finite float as `repr` has it: the shortest digits, an exponent below 1e-4 and from 1e16 on.
fn float(out: &mut String, value: f64) {
    let shortest = format!("{value:e}");
    let (digits, exponent) = shortest.split_once('e').unwrap_or((&shortest, "0"));
    let exponent: i32 = exponent.parse().unwrap_or(0);
    if (-4..16).contains(&exponent) {
        let plain = format!("{value}");
        out.push_str(&plain);
        if !plain.contains('.') {
            out.push_str(".0");
        }
        return;
    }
    let sign = if exponent < 0 { '-' } else { '+' };
    let _ = write!(out, "{digits}e{sign}{:02}", exponent.abs());
}

/// `json.dumps(value)`. Views are taken if `views` says so, else they raise `TypeError` like any object.
pub(super) fn write_json<'e>(out: &mut String, value: &Value<'e>, views: bool) -> Done<'e, ()> {
    json(out, value, views, 0)
}

fn json<'e>(out: &mut String, value: &Value<'e>, views: bool, depth: u32) -> Done<'e, ()> {
    if depth > DEEPEST || out.len() > LONGEST_TEXT {
        return Err(Stop::Hole(&"a deep or long value as JSON"));
    }
    match value {
        Value::None => out.push_str("null"),
        Value::Bool(true) => out.push_str("true"),
        Value::Bool(false) => out.push_str("false"),
        Value::Int(value) => {
            let _ = write!(out, "{value}");
        }
        Value::Float(value) => float(out, *value),
        Value::Text(text) => json_text(out, text),
        Value::View(map, _) if views => json_node(out, &Node::Map(map), depth + 1)?,
        Value::ListView(nodes) if views => json_node(out, &Node::List(nodes), depth + 1)?,
        Value::View(..) | Value::ListView(_) | Value::Set(_) => return Err(raise("TypeError")),
        Value::List(items) => json_items(out, &items.borrow(), views, depth)?,
        Value::Tuple(items) => json_items(out, items, views, depth)?,
        Value::Dict(pairs) | Value::Ordered(pairs) => {
            out.push('{');
            for (place, (key, value)) in pairs.borrow().iter().enumerate() {
                if place > 0 {
                    out.push_str(", ");
                }
                json_key(out, key)?;
                out.push_str(": ");
                json(out, value, views, depth + 1)?;
            }
            out.push('}');
        }
        Value::Frozen(frozen) => match frozen.kind {
            FrozenKind::List | FrozenKind::Tuple => {
                out.push('[');
                for (place, item) in frozen.items.iter().enumerate() {
                    if place > 0 {
                        out.push_str(", ");
                    }
                    json(out, &item.value()?, views, depth + 1)?;
                }
                out.push(']');
            }
            FrozenKind::Dict => {
                out.push('{');
                for (place, (key, value)) in frozen.items.iter().zip(&frozen.values).enumerate() {
                    if place > 0 {
                        out.push_str(", ");
                    }
                    json_key(out, &key.value()?)?;
                    out.push_str(": ");
                    json(out, &value.value()?, views, depth + 1)?;
                }
                out.push('}');
            }
            FrozenKind::Set => return Err(raise("TypeError")),
        },
        _ => return Err(Stop::Hole(&"an object as JSON")),
    }
    Ok(())
}

fn json_items<'e>(out: &mut String, items: &[Value<'e>], views: bool, depth: u32) -> Done<'e, ()> {
    out.push('[');
    for (place, item) in items.iter().enumerate() {
        if place > 0 {
            out.push_str(", ");
        }
        json(out, item, views, depth + 1)?;
    }
    out.push(']');
    Ok(())
}

fn json_key<'e>(out: &mut String, key: &Value<'e>) -> Done<'e, ()> {
    match key {
        Value::Text(text) => json_text(out, text),
        Value::Bool(_) | Value::None | Value::Int(_) => {
            out.push('"');
            json(out, key, false, 0)?;
            out.push('"');
        }
        Value::Tuple(_) => return Err(raise("TypeError")),
        _ => return Err(Stop::Hole(&"a key of another sort as JSON")),
    }
    Ok(())
}

fn json_node<'e>(out: &mut String, of: &Node<'e>, depth: u32) -> Done<'e, ()> {
    if depth > DEEPEST || out.len() > LONGEST_TEXT {
        return Err(Stop::Hole(&"a deep or long value as JSON"));
    }
    match of {
        Node::Text(text) => json_text(out, text),
        Node::List(items) => {
            out.push('[');
            for (place, item) in items.iter().enumerate() {
                if place > 0 {
                    out.push_str(", ");
                }
                json_node(out, item, depth + 1)?;
            }
            out.push(']');
        }
        Node::Map(map) => {
            out.push('{');
            for (place, (key, value)) in map.members().iter().enumerate() {
                if place > 0 {
                    out.push_str(", ");
                }
                json_text(out, key);
                out.push_str(": ");
                json_node(out, value, depth + 1)?;
            }
            out.push('}');
        }
        scalar => json(out, &wrap(*scalar)?, false, depth)?,
    }
    Ok(())
}

/// A text in quotes, ASCII only.
fn json_text(out: &mut String, text: &str) {
    out.push('"');
    let mut plain = 0;
    for (at, letter) in text.char_indices() {
        if (' '..='~').contains(&letter) && letter != '"' && letter != '\\' {
            continue;
        }
        out.push_str(&text[plain..at]);
        plain = at + letter.len_utf8();
        match letter {
            '"' => out.push_str("\\\""),
            '\\' => out.push_str("\\\\"),
            '\n' => out.push_str("\\n"),
            '\r' => out.push_str("\\r"),
            '\t' => out.push_str("\\t"),
            '\u{8}' => out.push_str("\\b"),
            '\u{c}' => out.push_str("\\f"),
            _ => {
                for unit in letter.encode_utf16(&mut [0; 2]) {
                    let _ = write!(out, "\\u{unit:04x}");
                }
            }
        }
    }
    out.push_str(&text[plain..]);
    out.push('"');
}
