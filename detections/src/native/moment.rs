//! Dates, times and the spans between them, as Python's `datetime` has them.

use std::fmt::{self, Write};

/// Microseconds of a second and of a day.
const SECOND: i64 = 1_000_000;
const DAY: i64 = 86_400 * SECOND;
/// The first and the last microsecond of years with four digits, from 1970 on.
const FIRST: i64 = -62_135_596_800 * SECOND;
const LAST: i64 = 253_402_300_800 * SECOND - 1;
/// Beyond this, a count of microseconds has no exact double.
const EXACT: u64 = 1 << 53;

/// A date and time: what clock and calendar show, in microseconds since 1970, and how far they are ahead of UTC in seconds, if that is known.
#[derive(Debug, Clone, Copy)]
pub(super) struct Moment {
    shown: i64,
    ahead: Option<i32>,
}

/// A span of time, in microseconds.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub(super) struct Span(pub(super) i64);

/// What a calendar and a clock show.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) struct Shown {
    pub(super) year: i64,
    pub(super) month: i64,
    pub(super) day: i64,
    pub(super) hour: i64,
    pub(super) minute: i64,
    pub(super) second: i64,
    pub(super) microsecond: i64,
}

impl Moment {
    /// `None` if there is no such day or time.
    pub(super) fn of(shown: &Shown, ahead: Option<i32>) -> Option<Self> {
        let Shown {
            year,
            month,
            day,
            hour,
            minute,
            second,
            microsecond,
        } = *shown;
        let leap = year % 4 == 0 && (year % 100 != 0 || year % 400 == 0);
        let days = match month {
            2 => 28 + i64::from(leap),
            4 | 6 | 9 | 11 => 30,
            1..=12 => 31,
            _ => return None,
        };
        let fine = (1..=9999).contains(&year)
            && (1..=days).contains(&day)
            && (0..24).contains(&hour)
            && (0..60).contains(&minute)
            && (0..60).contains(&second);
        let of_day = ((hour * 60 + minute) * 60 + second) * SECOND + microsecond;
        fine.then(|| Self {
            shown: days_since_1970(year, month, day) * DAY + of_day,
            ahead,
        })
    }

    /// A time of UTC without a zone, so many seconds after 1970.
    pub(super) fn at(seconds: i64) -> Self {
        Self {
            shown: seconds.saturating_mul(SECOND).clamp(FIRST, LAST),
            ahead: None,
        }
    }

    /// Reads `YYYY-MM-DD`, with `HH:MM:SS` behind a `T` or space if wanted, and with three or six digits of a second. `None` for all else, which
    /// Python may read or refuse.
    pub(super) fn parse(text: &str) -> Option<Self> {
        let bytes = text.as_bytes();
        let number = |from: usize, to: usize| -> Option<i64> {
            let digits = bytes.get(from..to)?;
            digits.iter().try_fold(0, |value, digit| {
                digit
                    .is_ascii_digit()
                    .then(|| value * 10 + i64::from(digit - b'0'))
            })
        };
        let is =
            |place: usize, among: &[u8]| bytes.get(place).is_some_and(|byte| among.contains(byte));
        let mut shown = Shown {
            year: number(0, 4)?,
            month: number(5, 7)?,
            day: number(8, 10)?,
            hour: 0,
            minute: 0,
            second: 0,
            microsecond: 0,
        };
        if !is(4, b"-") || !is(7, b"-") {
            return None;
        }
        if bytes.len() > 10 {
            shown.hour = number(11, 13)?;
            shown.minute = number(14, 16)?;
            shown.second = number(17, 19)?;
            if !is(10, b"T ") || !is(13, b":") || !is(16, b":") {
                return None;
            }
            shown.microsecond = match bytes.len() {
                19 => 0,
                23 if is(19, b".") => number(20, 23)? * 1000,
                26 if is(19, b".") => number(20, 26)?,
                _ => return None,
            };
        }
        Self::of(&shown, None)
    }

    /// Reads a whole date and time with any number of digits of a second, cut to six, and with `Z` or `+HH:MM` behind it if wanted: as `dateutil.parser.parse`
    /// does. `None` for all else, which that may read or refuse.
    pub(super) fn parse_in_full(text: &str) -> Option<Self> {
        let (time, rest) = text.split_at_checked(19)?;
        let mut shown = Self::parse(time)?.shown();
        let digits = rest.strip_prefix('.').map_or(0, |digits| {
            digits.bytes().take_while(u8::is_ascii_digit).count()
        });
        let zone = if digits > 0 {
            let (fraction, zone) = rest[1..].split_at(digits);
            let padded = fraction.bytes().chain(std::iter::repeat(b'0')).take(6);
            shown.microsecond = padded.fold(0, |value, digit| value * 10 + i64::from(digit - b'0'));
            zone
        } else {
            rest
        };
        let ahead = match zone.as_bytes() {
            [] => None,
            [b'Z'] => Some(0),
            [
                sign @ (b'+' | b'-'),
                a @ b'0'..=b'1',
                b @ b'0'..=b'9',
                b':',
                c @ b'0'..=b'5',
                d @ b'0'..=b'9',
            ] => {
                let number =
                    |tens: &u8, ones: &u8| i32::from(tens - b'0') * 10 + i32::from(ones - b'0');
                let ahead = (number(a, b) * 60 + number(c, d)) * 60;
                Some(if *sign == b'-' { -ahead } else { ahead })
            }
            _ => return None,
        };
        Self::of(&shown, ahead)
    }

    /// What calendar and clock show.
    pub(super) fn shown(self) -> Shown {
        let (days, of_day) = (self.shown.div_euclid(DAY), self.shown.rem_euclid(DAY));
        let (year, month, day) = date(days);
        let seconds = of_day / SECOND;
        Shown {
            year,
            month,
            day,
            hour: seconds / 3600,
            minute: seconds / 60 % 60,
            second: seconds % 60,
            microsecond: of_day % SECOND,
        }
    }

    /// Microseconds since 1970 in UTC, if that can be known.
    fn utc(self) -> Option<i64> {
        self.ahead
            .map(|ahead| self.shown - i64::from(ahead) * SECOND)
    }

    /// `timestamp()`; one without a zone is taken for UTC.
    #[allow(clippy::cast_precision_loss)]
    pub(super) fn timestamp(self) -> Option<f64> {
        match self.utc() {
            // Seconds of four-digit years are exact, and so is what Python adds to them.
            None => Some(
                self.shown.div_euclid(SECOND) as f64 + self.shown.rem_euclid(SECOND) as f64 / 1e6,
            ),
            Some(micros) => Span(micros).total_seconds(),
        }
    }

    /// Whole seconds since 1970, of what calendar and clock show.
    pub(super) fn seconds(self) -> i64 {
        self.shown.div_euclid(SECOND)
    }

    /// Whether it has a zone.
    pub(super) fn is_aware(self) -> bool {
        self.ahead.is_some()
    }

    /// The one before the other; `None` if only one of them has a zone, which for `-` and `<` is a `TypeError`.
    pub(super) fn compare(self, other: Self) -> Option<std::cmp::Ordering> {
        self.since(other).map(|span| span.0.cmp(&0))
    }

    /// `self - other`.
    pub(super) fn since(self, other: Self) -> Option<Span> {
        match (self.utc(), other.utc()) {
            (Some(one), Some(two)) => Some(Span(one - two)),
            (None, None) => Some(Span(self.shown - other.shown)),
            _ => None,
        }
    }

    /// `self + span`; `None` beyond the years that there are.
    pub(super) fn after(self, span: Span) -> Option<Self> {
        let shown = self.shown.checked_add(span.0)?;
        (FIRST..=LAST).contains(&shown).then_some(Self {
            shown,
            ahead: self.ahead,
        })
    }

    /// `isoformat()`, with this between date and time.
    pub(super) fn write(self, out: &mut impl Write, between: char) -> fmt::Result {
        let Shown {
            year,
            month,
            day,
            hour,
            minute,
            second,
            microsecond,
        } = self.shown();
        write!(
            out,
            "{year:04}-{month:02}-{day:02}{between}{hour:02}:{minute:02}:{second:02}"
        )?;
        if microsecond > 0 {
            write!(out, ".{microsecond:06}")?;
        }
        if let Some(ahead) = self.ahead {
            let (sign, off) = (if ahead < 0 { '-' } else { '+' }, ahead.unsigned_abs());
            write!(out, "{sign}{:02}:{:02}", off / 3600, off / 60 % 60)?;
            if off % 60 > 0 {
                write!(out, ":{:02}", off % 60)?;
            }
        }
        Ok(())
    }
}

impl Span {
    /// `days`, which may be below 0; the rest is not.
    pub(super) fn days(self) -> i64 {
        self.0.div_euclid(DAY)
    }

    /// `seconds`, of the last day.
    pub(super) fn seconds(self) -> i64 {
        self.0.rem_euclid(DAY) / SECOND
    }

    /// `microseconds`, of the last second.
    pub(super) fn microseconds(self) -> i64 {
        self.0.rem_euclid(SECOND)
    }

    /// `total_seconds()`; `None` where it would have to be rounded twice.
    #[allow(clippy::cast_precision_loss)]
    pub(super) fn total_seconds(self) -> Option<f64> {
        (self.0.unsigned_abs() <= EXACT).then(|| self.0 as f64 / 1e6)
    }

    /// So many of the named unit.
    pub(super) fn of(unit: &str, count: i64) -> Option<Self> {
        let micros = match unit {
            "weeks" => 7 * DAY,
            "days" => DAY,
            "hours" => 3600 * SECOND,
            "minutes" => 60 * SECOND,
            "seconds" => SECOND,
            "milliseconds" => 1000,
            "microseconds" => 1,
            _ => return None,
        };
        count
            .checked_mul(micros)
            .map(Self)
            .filter(|span| span.is_usual())
    }

    /// `self + other`.
    pub(super) fn plus(self, other: Self) -> Option<Self> {
        let sum = self.0.checked_add(other.0).map(Self);
        sum.filter(|span| span.is_usual())
    }

    /// `-self`.
    pub(super) fn negated(self) -> Self {
        Self(-self.0)
    }

    /// Shorter than ten thousand years, so that no sum of a few overflows.
    fn is_usual(self) -> bool {
        self.0.unsigned_abs() < LAST.unsigned_abs() * 2
    }
}

/// Days from 1970-01-01 to a date of the Gregorian calendar, counted in years that begin with March.
fn days_since_1970(year: i64, month: i64, day: i64) -> i64 {
    let (year, month) = if month > 2 {
        (year, month - 3)
    } else {
        (year - 1, month + 9)
    };
    let of_year = (153 * month + 2) / 5 + day - 1;
    year * 365 + year.div_euclid(4) - year.div_euclid(100) + year.div_euclid(400) + of_year
        - 719_468
}

/// The date so many days from 1970-01-01: the same calendar, backwards, in cycles of 400 years.
fn date(days: i64) -> (i64, i64, i64) {
    let days = days + 719_468;
    let (cycle, of_cycle) = (days.div_euclid(146_097), days.rem_euclid(146_097));
    let year = (of_cycle - of_cycle / 1_460 + of_cycle / 36_524 - of_cycle / 146_096) / 365;
    let of_year = of_cycle - (365 * year + year / 4 - year / 100);
    let month = (5 * of_year + 2) / 153;
    let day = of_year - (153 * month + 2) / 5 + 1;
    let (year, month) = if month < 10 {
        (year, month + 3)
    } else {
        (year + 1, month - 9)
    };
    (cycle * 400 + year, month, day)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    #[allow(clippy::float_cmp)]
    fn times_are_read_as_python_reads_them() {
        let timestamp = |text: &str| Moment::parse(text).and_then(Moment::timestamp);
        // What CPython 3.11 gives with TZ=UTC.
        assert_eq!(timestamp("1970-01-01"), Some(0.0));
        assert_eq!(timestamp("1970-01-01T00:00:00"), Some(0.0));
        assert_eq!(
            timestamp("2024-02-29 12:34:56.789"),
            Some(1_709_210_096.789)
        );
        assert_eq!(timestamp("1969-12-31T23:59:59.500000"), Some(-0.5));
        assert_eq!(timestamp("0001-01-01T00:00:00"), Some(-62_135_596_800.0));
        assert_eq!(timestamp("9999-12-31T23:59:59"), Some(253_402_300_799.0));
        for other in [
            "2023-02-29",
            "2024-13-01",
            "2024-1-01",
            "2024-01-01T24:00:00",
            "2024-01-01T00:00",
            "2024-01-01T00:00:00Z",
            "2024-01-01T00:00:00.12",
            "",
            "x",
            "２024-01-01",
            "2024-01-01T00:00:60",
        ] {
            assert_eq!(timestamp(other), None, "{other}");
        }
    }

    #[test]
    fn a_date_is_shown_as_it_was_given() {
        for days in (-719_162..2_932_896).step_by(97) {
            let (year, month, day) = date(days);
            assert_eq!(days_since_1970(year, month, day), days);
        }
        let shown = |text: &str| {
            let mut out = String::new();
            Moment::parse(text).unwrap().write(&mut out, 'T').unwrap();
            out
        };
        for text in [
            "0001-01-01T00:00:00",
            "2024-02-29T23:59:59.000001",
            "9999-12-31T12:00:00",
        ] {
            assert_eq!(shown(text), text);
        }
    }

    #[test]
    fn spans_are_counted_in_days_that_may_be_below_zero() {
        let (one, two) = (
            Moment::parse("2024-03-01T00:00:00").unwrap(),
            Moment::parse("2024-02-28T23:59:58.5").is_none(),
        );
        assert!(two);
        let back = Moment::parse("2024-02-28T23:59:58.500")
            .unwrap()
            .since(one)
            .unwrap();
        assert_eq!(
            (back.days(), back.seconds(), back.microseconds()),
            (-2, 86_398, 500_000)
        );
        assert_eq!(back.total_seconds(), Some(-86_401.5));
        assert_eq!(
            one.after(Span::of("days", 3_000_000).unwrap())
                .map(Moment::shown),
            None
        );
    }
}
