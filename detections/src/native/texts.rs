//! Methods of texts.

use bumpalo::collections::Vec as ArenaVec;

use super::names::Method;
use super::run::{LONGEST_TEXT, Run};
use super::stop::{Stop, raise};
use super::value::{Done, Value};

impl<'e> Run<'e> {
    #[allow(clippy::too_many_lines)]
    pub(super) fn text_method(
        &mut self,
        text: &'e str,
        method: Method,
        positional: &[Value<'e>],
    ) -> Done<'e> {
        match (method, positional) {
            (Method::Lower | Method::Casefold, []) => self.cased(text, str::make_ascii_lowercase),
            (Method::Upper, []) => self.cased(text, str::make_ascii_uppercase),
            (Method::Title, []) if text.is_ascii() => self.text(|_, titled| {
                let mut inside = false;
                for letter in text.chars() {
                    titled.push(if inside {
                        letter.to_ascii_lowercase()
                    } else {
                        letter.to_ascii_uppercase()
                    });
                    inside = letter.is_ascii_alphabetic();
                }
                Ok(())
            }),
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
                    return Err(Stop::Hole(&"lines that end otherwise"));
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
                    return Err(Stop::Hole(&"a replacement of nothing"));
                }
                if !text.contains(old) {
                    return Ok(Value::Text(text));
                }
                Ok(Value::Text(self.arena.alloc_str(&text.replace(old, new))))
            }
            (Method::Format, _) => self.formatted(text, positional, &[]),
            (Method::Join, [parts]) => {
                let parts = self.ordered(parts)?;
                self.text(|_, out| {
                    for (place, part) in parts.iter().enumerate() {
                        if place > 0 {
                            out.push_str(text);
                        }
                        match part {
                            Value::Text(part) => out.push_str(part),
                            _ => return Err(raise("TypeError")),
                        }
                        if out.len() > LONGEST_TEXT {
                            return Err(Stop::Hole(&"a very long text"));
                        }
                    }
                    Ok(())
                })
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
            _ => Err(Stop::Hole(&"a method of a text")),
        }
    }

    pub(super) fn cased(&mut self, text: &'e str, change: impl FnOnce(&mut str)) -> Done<'e> {
        if !text.is_ascii() {
            return Err(Stop::Hole(&"cases of letters outside ASCII"));
        }
        let copy = self.arena.alloc_str(text);
        change(copy);
        Ok(Value::Text(copy))
    }

    pub(super) fn split(
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
            (Value::None, Some(_)) => {
                return Err(Stop::Hole(&"a split by space a number of times"));
            }
            _ => return Err(raise("TypeError")),
        }
        self.step(items.len())?;
        Ok(Value::list(self.arena, items))
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
        Err(Stop::Hole(&"white space outside ASCII"))
    }
}
