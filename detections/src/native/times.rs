//! What rules do with times: read them, compare them, take one from another.

use std::cmp::Ordering;

use super::moment::{Moment, Span};
use super::names::{Builtin, Method};
use super::program::Operator;
use super::run::Run;
use super::stop::{Stop, raise};
use super::strptime::No;
use super::value::{Done, Value};

impl<'e> Run<'e> {
    /// Functions and classes of `datetime`.
    pub(super) fn time(
        &mut self,
        builtin: Builtin,
        positional: &[Value<'e>],
        named: &[(&'e str, Value<'e>)],
    ) -> Done<'e> {
        match (builtin, positional, named) {
            (Builtin::FromIsoFormat, [Value::Text(text)], []) => Moment::parse(text)
                .or_else(|| {
                    let with_zone = self.program.iso_zones;
                    with_zone.then(|| Moment::parse_in_full(text)).flatten()
                })
                .map(Value::Moment)
                .ok_or(Stop::Hole(&"a time in another layout")),
            (Builtin::Strptime, [Value::Text(text), Value::Text(format)], []) => {
                self.step(text.len() / 64)?;
                match self.program.times.read(text, format) {
                    Ok(moment) => Ok(Value::Moment(moment)),
                    Err(No::Refused) => Err(raise("ValueError")),
                    Err(No::Unclear) => Err(Stop::Hole(&"a time in another format")),
                }
            }
            (
                Builtin::Strptime,
                [
                    Value::None | Value::Bool(_) | Value::Int(_) | Value::Float(_),
                    Value::Text(_),
                ],
                [],
            ) => Err(raise("TypeError")),
            (Builtin::DateParse, [Value::Text(text)], []) => {
                if names_no_time(text) {
                    return Err(raise("dateutil.parser._parser.ParserError"));
                }
                Moment::parse_in_full(text)
                    .map(Value::Moment)
                    .ok_or(Stop::Hole(&"a time in words"))
            }
            // The clock is the evaluation's, where it has one.
            (Builtin::UtcNow, [], []) => {
                let now = self.rows.and_then(|rows| rows.borrow().now());
                let now = now.ok_or(Stop::Hole(&"the present"))?;
                self.loose = true;
                Ok(Value::Moment(Moment::at(now)))
            }
            (Builtin::Timedelta, [], named) => {
                let mut span = Span(0);
                for (unit, count) in named {
                    let Value::Int(count) = count else {
                        return Err(Stop::Hole(&"a part of a time unit"));
                    };
                    span = Span::of(unit, *count)
                        .and_then(|more| span.plus(more))
                        .ok_or(Stop::Hole(&"a span of another sort"))?;
                }
                Ok(Value::Span(span))
            }
            (Builtin::Timedelta, [Value::Int(days)], []) => Span::of("days", *days)
                .map(Value::Span)
                .ok_or(Stop::Hole(&"a span of another sort")),
            _ => Err(Stop::Hole(&"a function of datetime")),
        }
    }

    pub(super) fn moment_method(
        &mut self,
        moment: Moment,
        method: Method,
        positional: &[Value<'e>],
    ) -> Done<'e> {
        match (method, positional) {
            (Method::Timestamp, []) if self.program.in_utc || moment.is_aware() => moment
                .timestamp()
                .map(Value::Float)
                .ok_or(Stop::Hole(&"a time far away")),
            // Seconds by the machine's clock, whatever zone the time is of.
            (Method::Strftime, [Value::Text("%s")]) if self.program.in_utc => {
                let seconds = bumpalo::format!(in self.arena, "{}", moment.seconds());
                Ok(Value::Text(seconds.into_bump_str()))
            }
            (Method::Isoformat, []) => self.text(|_, out| {
                let _ = moment.write(out, 'T');
                Ok(())
            }),
            _ => Err(Stop::Hole(&"a method of a time")),
        }
    }
}

/// Words that `dateutil` takes for a part of a time, of four letters and more (dateutil 2.9, parser/_parser.py, `parserinfo`).
const OF_TIMES: &[&str] = &[
    "january",
    "february",
    "march",
    "april",
    "june",
    "july",
    "august",
    "sept",
    "september",
    "october",
    "november",
    "december",
    "monday",
    "tuesday",
    "wednesday",
    "thursday",
    "friday",
    "saturday",
    "sunday",
    "hour",
    "hours",
    "minute",
    "minutes",
    "second",
    "seconds",
];

/// Whether a text is one word that `dateutil` refuses.
fn names_no_time(text: &str) -> bool {
    text.len() >= 4
        && text.bytes().all(|byte| byte.is_ascii_alphabetic())
        && !OF_TIMES.iter().any(|word| word.eq_ignore_ascii_case(text))
}

/// An attribute of a time or a span that is a number.
pub(super) fn part(of: &Value<'_>, name: &str) -> Option<i64> {
    match of {
        Value::Moment(moment) => {
            let shown = moment.shown();
            Some(match name {
                "year" => shown.year,
                "month" => shown.month,
                "day" => shown.day,
                "hour" => shown.hour,
                "minute" => shown.minute,
                "second" => shown.second,
                "microsecond" => shown.microsecond,
                _ => return None,
            })
        }
        Value::Span(span) => Some(match name {
            "days" => span.days(),
            "seconds" => span.seconds(),
            "microseconds" => span.microseconds(),
            _ => return None,
        }),
        _ => None,
    }
}

/// Which of two times or spans comes first.
pub(super) fn order<'e>(left: &Value<'e>, right: &Value<'e>) -> Done<'e, Option<Ordering>> {
    match (left, right) {
        (Value::Moment(one), Value::Moment(two)) => one
            .compare(*two)
            .map(Some)
            .ok_or_else(|| raise("TypeError")),
        (Value::Span(one), Value::Span(two)) => Ok(Some(one.cmp(two))),
        _ => Err(Stop::Hole(&"an order of times and others")),
    }
}

/// `+` and `-` with times and spans.
pub(super) fn binary<'e>(operator: Operator, left: &Value<'e>, right: &Value<'e>) -> Done<'e> {
    let far = Stop::Hole(&"a time beyond all years");
    match (operator, left, right) {
        (Operator::Subtract, Value::Moment(one), Value::Moment(two)) => one
            .since(*two)
            .map(Value::Span)
            .ok_or_else(|| raise("TypeError")),
        (Operator::Add, Value::Moment(moment), Value::Span(span))
        | (Operator::Add, Value::Span(span), Value::Moment(moment)) => {
            moment.after(*span).map(Value::Moment).ok_or(far)
        }
        (Operator::Subtract, Value::Moment(moment), Value::Span(span)) => {
            moment.after(span.negated()).map(Value::Moment).ok_or(far)
        }
        (Operator::Add, Value::Span(one), Value::Span(two)) => {
            one.plus(*two).map(Value::Span).ok_or(far)
        }
        (Operator::Subtract, Value::Span(one), Value::Span(two)) => {
            one.plus(two.negated()).map(Value::Span).ok_or(far)
        }
        (
            Operator::Add | Operator::Subtract,
            Value::None | Value::Bool(_) | Value::Int(_) | Value::Float(_) | Value::Text(_),
            _,
        )
        | (
            Operator::Add | Operator::Subtract,
            _,
            Value::None | Value::Bool(_) | Value::Int(_) | Value::Float(_) | Value::Text(_),
        ) => Err(raise("TypeError")),
        _ => Err(Stop::Hole(&"an operator on times")),
    }
}
