//! `str.format` and the formats of f-strings, as far as they are plain: a fill of zeros, a width, digits behind the point.

use std::fmt::Write;

use super::run::{LONGEST_TEXT, Run};
use super::stop::{Stop, raise};
use super::text;
use super::value::{Done, Value};

impl<'e> Run<'e> {
    /// `template.format(*positional, **named)`.
    pub(super) fn formatted(
        &mut self,
        template: &'e str,
        positional: &[Value<'e>],
        named: &[(&'e str, Value<'e>)],
    ) -> Done<'e> {
        self.text(|run, out| run.format_into(out, template, positional, named))
    }

    fn format_into(
        &mut self,
        out: &mut String,
        template: &'e str,
        positional: &[Value<'e>],
        named: &[(&'e str, Value<'e>)],
    ) -> Done<'e, ()> {
        let (mut rest, mut next) = (template, 0);
        let odd = Stop::Hole(&"a template of another sort");
        let is_brace = |byte: u8| matches!(byte, b'{' | b'}');
        while let Some(at) = rest.bytes().position(is_brace) {
            out.push_str(&rest[..at]);
            let brace = &rest[at..=at];
            rest = &rest[at + 1..];
            if let Some(after) = rest.strip_prefix(brace) {
                out.push_str(brace);
                rest = after;
                continue;
            }
            if brace == "}" {
                return Err(odd);
            }
            let end = rest.bytes().position(is_brace).ok_or(odd)?;
            if !rest[end..].starts_with('}') {
                return Err(odd);
            }
            let (field, format) = rest[..end].split_once(':').unwrap_or((&rest[..end], ""));
            rest = &rest[end + 1..];
            let value = if field.is_empty() {
                next += 1;
                positional
                    .get(next - 1)
                    .copied()
                    .ok_or_else(|| raise("IndexError"))
            } else if field.bytes().all(|byte| byte.is_ascii_digit()) {
                // With `{}` beside it Python refuses.
                let place: usize = field.parse().map_err(|_| odd)?;
                if next > 0 || template.contains("{}") {
                    return Err(odd);
                }
                positional
                    .get(place)
                    .copied()
                    .ok_or_else(|| raise("IndexError"))
            } else if field
                .bytes()
                .all(|byte| byte.is_ascii_alphanumeric() || byte == b'_')
            {
                let given = named.iter().find(|(name, _)| *name == field);
                given
                    .map(|(_, value)| *value)
                    .ok_or_else(|| raise("KeyError"))
            } else {
                Err(odd)
            }?;
            write_formatted(out, &value, format)?;
            if out.len() > LONGEST_TEXT {
                return Err(Stop::Hole(&"a very long text"));
            }
        }
        out.push_str(rest);
        Ok(())
    }
}

/// `format(value, format)`.
pub(super) fn write_formatted<'e>(
    out: &mut String,
    value: &Value<'e>,
    format: &str,
) -> Done<'e, ()> {
    if format.is_empty() {
        return text::write_str(out, value);
    }
    let unknown = Stop::Hole(&"a format of another sort");
    let digits = |text: &str| text.bytes().take_while(u8::is_ascii_digit).count();
    let number = |text: &str| -> Done<'e, usize> {
        match text.len() {
            0 => Ok(0),
            1..=3 => text.parse().map_err(|_| unknown),
            _ => Err(unknown),
        }
    };
    let (zeros, rest) = match format.strip_prefix('0') {
        Some(rest) => (true, rest),
        None => (false, format),
    };
    let (width, rest) = rest.split_at(digits(rest));
    let width = number(width)?;
    let (precision, kind) = match rest.strip_prefix('.') {
        Some(rest) if digits(rest) > 0 => {
            let (precision, kind) = rest.split_at(digits(rest));
            (Some(number(precision)?), kind)
        }
        Some(_) => return Err(unknown),
        None => (None, rest),
    };
    match (value, kind) {
        (Value::Float(_) | Value::Int(_), "f") => {
            let value = value.number().ok_or(unknown)?.float()?;
            if !value.is_finite() {
                return Err(unknown);
            }
            let precision = precision.unwrap_or(6);
            let _ = if zeros {
                write!(out, "{value:0width$.precision$}")
            } else {
                write!(out, "{value:width$.precision$}")
            };
            Ok(())
        }
        (Value::Int(value), "" | "d") if precision.is_none() => {
            let _ = if zeros {
                write!(out, "{value:0width$}")
            } else {
                write!(out, "{value:width$}")
            };
            Ok(())
        }
        _ => Err(unknown),
    }
}
