//! `datetime.strptime`: a text read by a format, as CPython's `_strptime` does.
//!
//! Python makes a regular expression of the format and matches the text with it, in any letter case, then makes a time of what its groups hold. So this
//! tries for each directive what that expression tries, in its order, and goes back where it would.

use std::collections::HashMap;

use super::moment::{Moment, Shown};

/// Why there is no time.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum No {
    /// Python raises `ValueError`.
    Refused,
    /// Only Python can tell.
    Unclear,
}

/// The expressions of directives that are read here (CPython 3.11, Lib/_strptime.py). A directive that the running interpreter reads by another one is not.
const KNOWN: [(u8, &str); 13] = [
    (b'd', r"(?P<d>3[0-1]|[1-2]\d|0[1-9]|[1-9]| [1-9])"),
    (b'f', r"(?P<f>[0-9]{1,6})"),
    (b'H', r"(?P<H>2[0-3]|[0-1]\d|\d)"),
    (b'I', r"(?P<I>1[0-2]|0[1-9]|[1-9])"),
    (b'm', r"(?P<m>1[0-2]|0[1-9]|[1-9])"),
    (b'M', r"(?P<M>[0-5]\d|\d)"),
    (b'p', r"(?P<p>am|pm)"),
    (b'S', r"(?P<S>6[0-1]|[0-5]\d|\d)"),
    (b'y', r"(?P<y>\d\d)"),
    (b'Y', r"(?P<Y>\d\d\d\d)"),
    (
        b'z',
        r"(?P<z>[+-]\d\d:?[0-5]\d(:?[0-5]\d(\.\d{1,6})?)?|(?-i:Z))",
    ),
    (b'a', r"(?P<a>mon|tue|wed|thu|fri|sat|sun)"),
    (
        b'b',
        r"(?P<b>jan|feb|mar|apr|may|jun|jul|aug|sep|oct|nov|dec)",
    ),
];

const MONTHS: [&[u8]; 12] = [
    b"jan", b"feb", b"mar", b"apr", b"may", b"jun", b"jul", b"aug", b"sep", b"oct", b"nov", b"dec",
];
const DAYS: [&[u8]; 7] = [b"mon", b"tue", b"wed", b"thu", b"fri", b"sat", b"sun"];

/// The directives that the running interpreter reads as this does, in the order of [`KNOWN`].
#[derive(Debug, Default)]
pub(super) struct Directives([bool; KNOWN.len()]);

impl Directives {
    /// Of what Python told: each directive's expression.
    pub(super) fn told(expressions: &HashMap<&str, &str>) -> Self {
        Self(KNOWN.map(|(directive, known)| {
            expressions.get(char::from(directive).to_string().as_str()) == Some(&known)
        }))
    }

    /// `strptime(text, format)`.
    pub(super) fn read(&self, text: &str, format: &str) -> Result<Moment, No> {
        if !text.is_ascii() || !format.is_ascii() {
            return Err(No::Unclear);
        }
        let mut reading = Reading {
            known: &self.0,
            text: text.as_bytes(),
            given: [None; KNOWN.len()],
        };
        let end = reading.matches(format.as_bytes(), 0)?.ok_or(No::Refused)?;
        if end < text.len() {
            return Err(No::Refused);
        }
        reading.moment()
    }
}

struct Reading<'t> {
    known: &'t [bool; KNOWN.len()],
    text: &'t [u8],
    /// What each directive took: from and to.
    given: [Option<(usize, usize)>; KNOWN.len()],
}

/// Where a directive is among the known ones.
fn place(directive: u8) -> Option<usize> {
    KNOWN.iter().position(|(known, _)| *known == directive)
}

impl Reading<'_> {
    /// Where the match of `format` that begins at `at` ends, if there is one.
    fn matches(&mut self, format: &[u8], at: usize) -> Result<Option<usize>, No> {
        let Some((&first, rest)) = format.split_first() else {
            return Ok(Some(at));
        };
        if is_space(first) {
            let rest = &rest[rest.iter().take_while(|byte| is_space(**byte)).count()..];
            let spaces = self.text[at..].iter().take_while(|byte| is_space(**byte));
            for length in (1..=spaces.count()).rev() {
                if let Some(end) = self.matches(rest, at + length)? {
                    return Ok(Some(end));
                }
            }
            return Ok(None);
        }
        if first != b'%' {
            let same = self
                .text
                .get(at)
                .is_some_and(|byte| byte.eq_ignore_ascii_case(&first));
            return if same {
                self.matches(rest, at + 1)
            } else {
                Ok(None)
            };
        }
        let Some((&directive, rest)) = rest.split_first() else {
            return Err(No::Unclear);
        };
        let place =
            place(directive).filter(|place| self.known[*place] && self.given[*place].is_none());
        let place = place.ok_or(No::Unclear)?;
        for length in lengths(directive, &self.text[at..])?.into_iter().flatten() {
            self.given[place] = Some((at, at + length));
            if let Some(end) = self.matches(rest, at + length)? {
                return Ok(Some(end));
            }
        }
        self.given[place] = None;
        Ok(None)
    }

    fn taken(&self, directive: u8) -> Option<&[u8]> {
        let (from, to) = self.given[place(directive)?]?;
        self.text.get(from..to)
    }

    fn number(&self, directive: u8) -> Option<i64> {
        let digits = self.taken(directive)?.iter().filter(|byte| **byte != b' ');
        Some(digits.fold(0, |value, digit| value * 10 + i64::from(digit - b'0')))
    }

    fn moment(&self) -> Result<Moment, No> {
        let named = |directive: u8, names: &[&[u8]]| {
            let taken = self.taken(directive)?;
            let place = names
                .iter()
                .position(|name| taken.eq_ignore_ascii_case(name));
            place.and_then(|place| i64::try_from(place).ok())
        };
        let both = |one: u8, two: u8| self.taken(one).is_some() && self.taken(two).is_some();
        // The one that stands last counts.
        if both(b'y', b'Y') || both(b'm', b'b') || both(b'H', b'I') {
            return Err(No::Unclear);
        }
        let short = self
            .number(b'y')
            .map(|year| year + if year <= 68 { 2000 } else { 1900 });
        let hour = match self.number(b'I') {
            Some(hour) => {
                let afternoon = self
                    .taken(b'p')
                    .is_some_and(|half| half.eq_ignore_ascii_case(b"pm"));
                hour % 12 + if afternoon { 12 } else { 0 }
            }
            None => self.number(b'H').unwrap_or(0),
        };
        let fraction = self.taken(b'f').map_or(0, |digits| {
            let padded = digits.iter().chain(std::iter::repeat(&b'0')).take(6);
            padded.fold(0, |value, digit| value * 10 + i64::from(digit - b'0'))
        });
        let shown = Shown {
            year: short.or(self.number(b'Y')).unwrap_or(1900),
            month: named(b'b', &MONTHS)
                .map(|month| month + 1)
                .or(self.number(b'm'))
                .unwrap_or(1),
            day: self.number(b'd').unwrap_or(1),
            hour,
            minute: self.number(b'M').unwrap_or(0),
            second: self.number(b'S').unwrap_or(0),
            microsecond: fraction,
        };
        let ahead = self.taken(b'z').map(zone).transpose()?;
        Moment::of(&shown, ahead).ok_or(No::Refused)
    }
}

/// `+HH:MM`, `+HHMM` or `Z`, in seconds.
fn zone(taken: &[u8]) -> Result<i32, No> {
    let digits: Vec<i32> = taken
        .iter()
        .filter(|byte| byte.is_ascii_digit())
        .map(|byte| i32::from(byte - b'0'))
        .collect();
    let ahead = match digits.as_slice() {
        [] => 0,
        [ten, one, tens, ones] => ((ten * 10 + one) * 60 + tens * 10 + ones) * 60,
        _ => return Err(No::Unclear),
    };
    // A zone of a day or more is refused.
    if ahead >= 86_400 {
        return Err(No::Refused);
    }
    Ok(if taken.first() == Some(&b'-') {
        -ahead
    } else {
        ahead
    })
}

fn is_space(byte: u8) -> bool {
    matches!(byte, b' ' | b'\t'..=b'\r' | 0x1c..=0x1f)
}

/// How many bytes a directive may take, in the order in which they are tried.
fn lengths(directive: u8, text: &[u8]) -> Result<[Option<usize>; 6], No> {
    let is = |place: usize, low: u8, high: u8| {
        text.get(place)
            .is_some_and(|byte| (low..=high).contains(byte))
    };
    let digit = |place: usize| is(place, b'0', b'9');
    let mut found = [None; 6];
    let mut count = 0;
    let mut try_one = |holds: bool, length: usize| {
        if holds {
            found[count] = Some(length);
            count += 1;
        }
    };
    match directive {
        b'd' => {
            try_one(is(0, b'3', b'3') && is(1, b'0', b'1'), 2);
            try_one(is(0, b'1', b'2') && digit(1), 2);
            try_one(is(0, b'0', b'0') && is(1, b'1', b'9'), 2);
            try_one(is(0, b'1', b'9'), 1);
            try_one(is(0, b' ', b' ') && is(1, b'1', b'9'), 2);
        }
        b'I' | b'm' => {
            try_one(is(0, b'1', b'1') && is(1, b'0', b'2'), 2);
            try_one(is(0, b'0', b'0') && is(1, b'1', b'9'), 2);
            try_one(is(0, b'1', b'9'), 1);
        }
        b'H' => {
            try_one(is(0, b'2', b'2') && is(1, b'0', b'3'), 2);
            try_one(is(0, b'0', b'1') && digit(1), 2);
            try_one(digit(0), 1);
        }
        b'M' => {
            try_one(is(0, b'0', b'5') && digit(1), 2);
            try_one(digit(0), 1);
        }
        b'S' => {
            try_one(is(0, b'6', b'6') && is(1, b'0', b'1'), 2);
            try_one(is(0, b'0', b'5') && digit(1), 2);
            try_one(digit(0), 1);
        }
        b'y' => try_one(digit(0) && digit(1), 2),
        b'Y' => try_one((0..4).all(digit), 4),
        b'f' => {
            let digits = (0..6).take_while(|place| digit(*place)).count();
            for length in (1..=digits).rev() {
                try_one(true, length);
            }
        }
        b'p' => try_one(
            text.get(..2).is_some_and(|half| {
                [b"am", b"pm"]
                    .iter()
                    .any(|one| half.eq_ignore_ascii_case(*one))
            }),
            2,
        ),
        b'a' | b'b' => {
            let names: &[&[u8]] = if directive == b'a' { &DAYS } else { &MONTHS };
            let named = text
                .get(..3)
                .is_some_and(|name| names.iter().any(|one| name.eq_ignore_ascii_case(one)));
            try_one(named, 3);
        }
        b'z' => {
            let minutes = if is(3, b':', b':') { 4 } else { 3 };
            let signed = text.first().is_some_and(|sign| matches!(sign, b'+' | b'-'));
            if signed && digit(1) && digit(2) && is(minutes, b'0', b'5') && digit(minutes + 1) {
                let end = minutes + 2;
                let seconds = if is(end, b':', b':') { end + 1 } else { end };
                if is(seconds, b'0', b'5') && digit(seconds + 1) {
                    return Err(No::Unclear);
                }
                try_one(true, end);
            }
            try_one(is(0, b'Z', b'Z'), 1);
        }
        _ => return Err(No::Unclear),
    }
    Ok(found)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn read(text: &str, format: &str) -> Result<String, No> {
        let names: Vec<String> = KNOWN
            .iter()
            .map(|(directive, _)| char::from(*directive).to_string())
            .collect();
        let told = names
            .iter()
            .zip(&KNOWN)
            .map(|(name, (_, expression))| (name.as_str(), *expression))
            .collect();
        let moment = Directives::told(&told).read(text, format)?;
        let mut out = String::new();
        moment.write(&mut out, ' ').map_err(|_| No::Unclear)?;
        Ok(out)
    }

    #[test]
    fn texts_are_read_as_python_reads_them() {
        // What CPython 3.11 gives.
        for (text, format, time) in [
            (
                "2024-05-06 07:08:09",
                "%Y-%m-%d %H:%M:%S",
                "2024-05-06 07:08:09",
            ),
            ("2024-5-6 7:8:9", "%Y-%m-%d %H:%M:%S", "2024-05-06 07:08:09"),
            (
                "2024-05-06t07:08:09z",
                "%Y-%m-%dT%H:%M:%SZ",
                "2024-05-06 07:08:09",
            ),
            (
                "2024-05-06T07:08:09.12Z",
                "%Y-%m-%dT%H:%M:%S.%fZ",
                "2024-05-06 07:08:09.120000",
            ),
            (
                "2024-05-06T07:08:09+02:30",
                "%Y-%m-%dT%H:%M:%S%z",
                "2024-05-06 07:08:09+02:30",
            ),
            (
                "2024-05-06T07:08:09-0230",
                "%Y-%m-%dT%H:%M:%S%z",
                "2024-05-06 07:08:09-02:30",
            ),
            (
                "2024-05-06T07:08:09Z",
                "%Y-%m-%dT%H:%M:%S%z",
                "2024-05-06 07:08:09+00:00",
            ),
            ("May  6 07:08:09", "%b %d %H:%M:%S", "1900-05-06 07:08:09"),
            (
                "Mon MAY 06  07:08:09 2024",
                "%a %b %d %H:%M:%S %Y",
                "2024-05-06 07:08:09",
            ),
            (
                "05/06/24 12:08:09 AM",
                "%m/%d/%y %I:%M:%S %p",
                "2024-05-06 00:08:09",
            ),
            (
                "05/06/69 12:08:09 pm",
                "%m/%d/%y %I:%M:%S %p",
                "1969-05-06 12:08:09",
            ),
            ("240506 07:08:09", "%y%m%d %H:%M:%S", "2024-05-06 07:08:09"),
            ("1112 07", "%m%d %H", "1900-11-12 07:00:00"),
            ("111", "%d%m", "1900-01-11 00:00:00"),
            ("07:08:09,5", "%H:%M:%S,%f", "1900-01-01 07:08:09.500000"),
        ] {
            assert_eq!(read(text, format).as_deref(), Ok(time), "{text} {format}");
        }
        for (text, format) in [
            ("2024-05-06 07:08:09 ", "%Y-%m-%d %H:%M:%S"),
            ("2024-02-30 07:08:09", "%Y-%m-%d %H:%M:%S"),
            ("0000-02-03 07:08:09", "%Y-%m-%d %H:%M:%S"),
            ("2024-05-06 07:08:60", "%Y-%m-%d %H:%M:%S"),
            ("2024-05-06 24:08:09", "%Y-%m-%d %H:%M:%S"),
            ("2024-05-06T07:08:09z", "%Y-%m-%dT%H:%M:%S%z"),
            ("Feb 29", "%b %d"),
            ("", "%Y"),
            ("x", ""),
            ("2024-05-06T07:08:09+24:00", "%Y-%m-%dT%H:%M:%S%z"),
        ] {
            assert_eq!(read(text, format), Err(No::Refused), "{text} {format}");
        }
        for (text, format) in [
            ("2024 utc", "%Y %Z"),
            ("2024-05-06T07:08:09+02:30:15", "%Y-%m-%dT%H:%M:%S%z"),
            ("２024", "%Y"),
            ("1 1", "%d %d"),
            ("2024 24", "%Y %y"),
        ] {
            assert_eq!(read(text, format), Err(No::Unclear), "{text} {format}");
        }
    }
}
