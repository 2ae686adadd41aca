//! Time patterns: strftime patterns and Go reference layouts, both compiled to one list of parts.

use super::{Timestamp, calendar, format};

/// A compiled time pattern.
#[derive(Debug, Clone, PartialEq)]
pub(crate) struct Layout {
    parts: Vec<Part>,
}

#[derive(Debug, Clone, Copy, PartialEq)]
enum Part {
    Literal(char),
    /// A run of white space; may be empty.
    Space,
    Year,
    ShortYear,
    /// One or two digits, with optional space padding.
    Month,
    MonthName,
    Day,
    DayOfYear,
    Weekday,
    Hour,
    Hour12,
    Minute,
    Second,
    /// `.` or `,` and digits; optional. Seconds may have a fraction even if the pattern does not declare it.
    Fraction,
    /// Digits of a fraction. An earlier part has matched the decimal point.
    FractionDigits,
    HalfDay,
    /// `Z`, `+hh`, `+hhmm` or `+hh:mm`.
    Offset,
    /// `UTC`, `GMT`, `Z` or a zone name from RFC 2822.
    ZoneName,
    UnixSeconds,
}

/// How far after the receive time a time without a year may be, in seconds. A clock may be fast, and a local time without a zone may be up
/// to 14 hours ahead of UTC.
const AHEAD: i64 = 86_400;

const MONTHS: [&str; 12] = [
    "january",
    "february",
    "march",
    "april",
    "may",
    "june",
    "july",
    "august",
    "september",
    "october",
    "november",
    "december",
];
const WEEKDAYS: [&str; 7] = [
    "monday",
    "tuesday",
    "wednesday",
    "thursday",
    "friday",
    "saturday",
    "sunday",
];

/// Go's names of the parts. A longer name comes before its prefixes.
const GO_PARTS: [(&str, Part); 37] = [
    ("January", Part::MonthName),
    ("Jan", Part::MonthName),
    ("Monday", Part::Weekday),
    ("Mon", Part::Weekday),
    ("MST", Part::ZoneName),
    ("2006", Part::Year),
    ("__2", Part::DayOfYear),
    ("_2", Part::Day),
    ("002", Part::DayOfYear),
    ("01", Part::Month),
    ("02", Part::Day),
    ("03", Part::Hour12),
    ("04", Part::Minute),
    ("05", Part::Second),
    ("06", Part::ShortYear),
    ("15", Part::Hour),
    ("PM", Part::HalfDay),
    ("pm", Part::HalfDay),
    ("Z07:00:00", Part::Offset),
    ("Z07:00", Part::Offset),
    ("Z0700", Part::Offset),
    ("Z07", Part::Offset),
    ("-07:00:00", Part::Offset),
    ("-07:00", Part::Offset),
    ("-0700", Part::Offset),
    ("-07", Part::Offset),
    (".000000000", Part::Fraction),
    (".999999999", Part::Fraction),
    (".000000", Part::Fraction),
    (".999999", Part::Fraction),
    (".000", Part::Fraction),
    (".999", Part::Fraction),
    ("1", Part::Month),
    ("2", Part::Day),
    ("3", Part::Hour12),
    ("4", Part::Minute),
    ("5", Part::Second),
];

impl Layout {
    /// Compiles a Go layout such as `02/Jan/2006:15:04:05 -0700`.
    pub(super) fn go(layout: &str) -> Result<Self, String> {
        let mut parts = Vec::new();
        let mut rest = layout;
        while let Some(first) = rest.chars().next() {
            let (part, length) = GO_PARTS
                .iter()
                .find(|(name, _)| rest.starts_with(name))
                .map_or((literal(first), first.len_utf8()), |(name, part)| {
                    (*part, name.len())
                });
            parts.push(part);
            rest = rest.get(length..).unwrap_or_default();
        }
        Self::checked(parts, layout)
    }

    /// Compiles a strftime pattern such as `%d/%b/%Y:%H:%M:%S %z`.
    pub(super) fn strftime(pattern: &str) -> Result<Self, String> {
        let mut parts = Vec::new();
        let mut chars = pattern.chars().peekable();
        while let Some(first) = chars.next() {
            if first != '%' {
                parts.push(literal(first));
                continue;
            }
            // padding flags have no effect on parsing
            while chars
                .next_if(|flag| matches!(flag, '-' | '_' | '0'))
                .is_some()
            {}
            match chars.next() {
                Some('Y') => parts.push(Part::Year),
                Some('y') => parts.push(Part::ShortYear),
                Some('m') => parts.push(Part::Month),
                Some('b' | 'B' | 'h') => parts.push(Part::MonthName),
                Some('d' | 'e') => parts.push(Part::Day),
                Some('j') => parts.push(Part::DayOfYear),
                Some('a' | 'A') => parts.push(Part::Weekday),
                Some('H' | 'k') => parts.push(Part::Hour),
                Some('I' | 'l') => parts.push(Part::Hour12),
                Some('M') => parts.push(Part::Minute),
                Some('S') => parts.push(Part::Second),
                Some('f' | 'L' | 'N') => parts.push(Part::FractionDigits),
                Some('p' | 'P') => parts.push(Part::HalfDay),
                Some('z') => parts.push(Part::Offset),
                Some('Z') => parts.push(Part::ZoneName),
                Some('s') => parts.push(Part::UnixSeconds),
                Some('n' | 't') => parts.push(Part::Space),
                Some('%') => parts.push(Part::Literal('%')),
                Some('T') => parts.extend([
                    Part::Hour,
                    Part::Literal(':'),
                    Part::Minute,
                    Part::Literal(':'),
                    Part::Second,
                ]),
                Some('R') => parts.extend([Part::Hour, Part::Literal(':'), Part::Minute]),
                Some('F') => parts.extend([
                    Part::Year,
                    Part::Literal('-'),
                    Part::Month,
                    Part::Literal('-'),
                    Part::Day,
                ]),
                Some('D') => parts.extend([
                    Part::Month,
                    Part::Literal('/'),
                    Part::Day,
                    Part::Literal('/'),
                    Part::ShortYear,
                ]),
                Some(other) => {
                    return Err(format!(
                        "`%{other}` in the time format `{pattern}` is not known"
                    ));
                }
                None => return Err(format!("the time format `{pattern}` ends with a lone `%`")),
            }
        }
        Self::checked(parts, pattern)
    }

    fn checked(parts: Vec<Part>, pattern: &str) -> Result<Self, String> {
        let has = |part: Part| parts.contains(&part);
        let date =
            has(Part::DayOfYear) || has(Part::Day) && (has(Part::Month) || has(Part::MonthName));
        if date || has(Part::UnixSeconds) {
            Ok(Self { parts })
        } else {
            Err(format!(
                "the time format `{pattern}` lacks month or day, without which it names no point in time"
            ))
        }
    }

    /// Parses the whole of `text`. Without a zone the time is UTC. Without a year, the time is the latest one that is at most
    /// [`AHEAD`] after `received`.
    pub(super) fn parse(&self, text: &str, received: Timestamp) -> Option<Timestamp> {
        let mut rest = Rest { text };
        let (mut year, mut month, mut day, mut day_of_year) = (None, 1u32, 1u32, None);
        let (mut hour, mut minute, mut second, mut nanos) = (0u32, 0u32, 0u32, 0u32);
        let (mut afternoon, mut offset, mut unix) = (None, 0i64, None);
        for (index, part) in self.parts.iter().enumerate() {
            match part {
                Part::Literal(char) => rest.literal(*char)?,
                Part::Space => rest.space(),
                Part::Year => year = Some(i64::from(rest.number(4, 4)?)),
                Part::ShortYear => {
                    let short = i64::from(rest.number(2, 2)?);
                    year = Some(if short < 69 {
                        2000 + short
                    } else {
                        1900 + short
                    });
                }
                Part::Month => month = rest.number(1, 2)?,
                Part::MonthName => month = rest.name(&MONTHS)?,
                Part::Day => {
                    rest.space();
                    day = rest.number(1, 2)?;
                }
                Part::DayOfYear => {
                    rest.space();
                    day_of_year = Some(rest.number(1, 3)?);
                }
                Part::Weekday => {
                    rest.name(&WEEKDAYS)?;
                }
                Part::Hour => {
                    rest.space();
                    hour = rest.number(1, 2)?;
                }
                Part::Hour12 => {
                    rest.space();
                    hour = rest.number(1, 2).filter(|hour| (1..=12).contains(hour))?;
                    afternoon = afternoon.or(Some(false));
                }
                Part::Minute => minute = rest.number(1, 2)?,
                Part::Second => {
                    second = rest.number(1, 2)?;
                    let fraction_follows = matches!(
                        (self.parts.get(index + 1), self.parts.get(index + 2)),
                        (Some(Part::Literal(_)), Some(Part::FractionDigits))
                            | (Some(Part::FractionDigits | Part::Fraction), _)
                    );
                    if !fraction_follows {
                        nanos = rest.fraction()?.unwrap_or(nanos);
                    }
                }
                Part::Fraction => nanos = rest.fraction()?.unwrap_or(nanos),
                Part::FractionDigits => nanos = format::fraction(rest.digits().as_bytes())?,
                Part::HalfDay => afternoon = Some(rest.half_day()?),
                Part::Offset => offset = rest.offset()?,
                Part::ZoneName => offset = rest.zone()?,
                Part::UnixSeconds => unix = Some(rest.digits().parse::<i64>().ok()?),
            }
        }
        if !rest.text.is_empty() {
            return None;
        }
        if let Some(seconds) = unix {
            return Timestamp::from_unix(seconds, nanos);
        }
        if let Some(afternoon) = afternoon {
            hour = hour % 12 + if afternoon { 12 } else { 0 };
        }
        let of_year = |year: i64| {
            let days = match day_of_year {
                Some(day) => {
                    let days = calendar::days(year, 1, 1)? + i64::from(day) - 1;
                    (day > 0 && calendar::date(days).0 == year).then_some(days)?
                }
                None => calendar::days(year, month, day)?,
            };
            format::instant(days, hour, minute, second, nanos, offset)
        };
        if let Some(year) = year {
            return of_year(year);
        }
        let latest = received.unix_seconds() + AHEAD;
        let (year, _, _) = calendar::date(latest.div_euclid(86_400));
        // the zone can move the time into the year before or after; 29 February can be missing for up to seven years
        (year - 9..=year + 1)
            .rev()
            .filter_map(of_year)
            .find(|time| time.unix_seconds() <= latest)
    }
}

fn literal(char: char) -> Part {
    if char == ' ' {
        Part::Space
    } else {
        Part::Literal(char)
    }
}

/// The unparsed rest of the text.
struct Rest<'a> {
    text: &'a str,
}

impl<'a> Rest<'a> {
    fn take(&mut self, length: usize) -> Option<&'a str> {
        let taken = self.text.get(..length)?;
        self.text = self.text.get(length..)?;
        Some(taken)
    }

    fn literal(&mut self, char: char) -> Option<()> {
        self.text = self.text.strip_prefix(char)?;
        Some(())
    }

    fn space(&mut self) {
        self.text = self.text.trim_start_matches(' ');
    }

    fn digits(&mut self) -> &'a str {
        let length = self.text.bytes().take_while(u8::is_ascii_digit).count();
        self.take(length).unwrap_or_default()
    }

    fn number(&mut self, least: usize, most: usize) -> Option<u32> {
        let length = self
            .text
            .bytes()
            .take(most)
            .take_while(u8::is_ascii_digit)
            .count();
        if length < least {
            return None;
        }
        self.take(length)?.parse().ok()
    }

    /// Parses a name, in full or as its first three letters. Returns its number, from 1.
    fn name(&mut self, names: &[&str]) -> Option<u32> {
        let begins = |name: &str| {
            self.text
                .get(..name.len())
                .is_some_and(|head| head.eq_ignore_ascii_case(name))
        };
        let (index, length) = names.iter().enumerate().find_map(|(index, name)| {
            let short = name.get(..3)?;
            if begins(name) {
                Some((index, name.len()))
            } else if begins(short) {
                Some((index, 3))
            } else {
                None
            }
        })?;
        self.take(length)?;
        Some(index as u32 + 1)
    }

    fn half_day(&mut self) -> Option<bool> {
        match self.take(2)?.to_ascii_lowercase().as_str() {
            "am" => Some(false),
            "pm" => Some(true),
            _ => None,
        }
    }

    fn fraction(&mut self) -> Option<Option<u32>> {
        match self.text.strip_prefix(['.', ',']) {
            Some(rest) if rest.starts_with(|char: char| char.is_ascii_digit()) => {
                self.text = rest;
                Some(Some(format::fraction(self.digits().as_bytes())?))
            }
            _ => Some(None),
        }
    }

    fn offset(&mut self) -> Option<i64> {
        if let Some(rest) = self.text.strip_prefix(['Z', 'z']) {
            self.text = rest;
            return Some(0);
        }
        let east = match self.take(1)? {
            "+" => 1,
            "-" => -1,
            _ => return None,
        };
        let hours = self.number(2, 2)?;
        self.text = self.text.strip_prefix(':').unwrap_or(self.text);
        let minutes = if self.text.starts_with(|char: char| char.is_ascii_digit()) {
            self.number(2, 2)?
        } else {
            0
        };
        (hours < 24 && minutes < 60).then_some(east * i64::from(hours * 3600 + minutes * 60))
    }

    /// Parses a zone name. Only unambiguous names are supported: a wrong guess would shift events by hours.
    fn zone(&mut self) -> Option<i64> {
        let length = self
            .text
            .bytes()
            .take_while(u8::is_ascii_alphabetic)
            .count();
        if length == 0 {
            return self.offset();
        }
        let hours = match self.take(length)? {
            "UTC" | "GMT" | "Z" | "UT" => 0,
            "EDT" => -4,
            "EST" | "CDT" => -5,
            "CST" | "MDT" => -6,
            "MST" | "PDT" => -7,
            "PST" => -8,
            _ => return None,
        };
        Some(hours * 3600)
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    fn go(layout: &str, text: &str) -> Option<String> {
        Layout::go(layout)
            .unwrap()
            .parse(text, Timestamp::EPOCH)
            .map(|time| time.to_string())
    }

    fn strftime(pattern: &str, text: &str) -> Option<String> {
        Layout::strftime(pattern)
            .unwrap()
            .parse(text, Timestamp::EPOCH)
            .map(|time| time.to_string())
    }

    #[test]
    fn go_layouts() {
        for (layout, text, expected) in [
            (
                "[02/Jan/2006:15:04:05 -0700]",
                "[06/Feb/2019:00:00:38 +0100]",
                Some("2019-02-05 23:00:38.000000000"),
            ),
            (
                "2006-01-02 15:04:05 MST",
                "2020-06-05 14:39:59 UTC",
                Some("2020-06-05 14:39:59.000000000"),
            ),
            (
                "Mon, 02 Jan 2006 15:04:05 MST",
                "Fri, 05 Jun 2020 14:39:59 PST",
                Some("2020-06-05 22:39:59.000000000"),
            ),
            (
                "01/02/2006 15:04:05.999",
                "06/05/2020 14:39:59.305",
                Some("2020-06-05 14:39:59.305000000"),
            ),
            (
                "01/02/2006 15:04:05.999",
                "06/05/2020 14:39:59",
                Some("2020-06-05 14:39:59.000000000"),
            ),
            (
                "Mon Jan 2 15:04:05 2006 MST",
                "Fri Jun  5 14:39:59 2020 UTC",
                Some("2020-06-05 14:39:59.000000000"),
            ),
            (
                "Jan _2 3:04PM 2006",
                "Jun  5 12:01AM 2020",
                Some("2020-06-05 00:01:00.000000000"),
            ),
            (
                "2006-01-02T15:04:05Z07:00",
                "2020-06-05T14:39:59.25Z",
                Some("2020-06-05 14:39:59.250000000"),
            ),
            (
                "2006-002",
                "2020-366",
                Some("2020-12-31 00:00:00.000000000"),
            ),
            ("2006-002", "2021-366", None),
            ("2006-01-02 15:04:05 MST", "2020-06-05 14:39:59 XYZ", None),
            ("2006-01-02", "2020-06-05 trailing", None),
        ] {
            assert_eq!(go(layout, text).as_deref(), expected, "{layout} {text}");
        }
    }

    #[test]
    fn strftime_patterns() {
        for (pattern, text, expected) in [
            (
                "%Y-%m-%d %H:%M:%S",
                "2020-06-05 14:39:59",
                Some("2020-06-05 14:39:59.000000000"),
            ),
            (
                "%Y-%m-%d %H:%M:%S.%f",
                "2020-06-05 14:39:59.305988",
                Some("2020-06-05 14:39:59.305988000"),
            ),
            (
                "%Y-%m-%dT%H:%M:%S.%LZ",
                "2020-06-05T14:39:59.305Z",
                Some("2020-06-05 14:39:59.305000000"),
            ),
            (
                "%d/%b/%Y:%H:%M:%S %z",
                "05/Jun/2020:14:39:59 -0700",
                Some("2020-06-05 21:39:59.000000000"),
            ),
            (
                "%A, %d %B %y %I:%M %p",
                "Friday, 05 June 20 02:39 PM",
                Some("2020-06-05 14:39:00.000000000"),
            ),
            ("%s", "1591367999", Some("2020-06-05 14:39:59.000000000")),
            ("%F %T", "2020-06-05 14:39:61", None),
            ("%F %T", "2020-06-31 14:39:01", None),
        ] {
            assert_eq!(
                strftime(pattern, text).as_deref(),
                expected,
                "{pattern} {text}"
            );
        }
    }

    #[test]
    fn a_pattern_without_date_is_refused() {
        assert!(Layout::strftime("%H:%M").is_err());
        assert!(Layout::go("Jan 15:04:05").is_err());
    }

    fn at(text: &str) -> Timestamp {
        Layout::strftime("%F %T")
            .unwrap()
            .parse(text, Timestamp::EPOCH)
            .unwrap()
    }

    #[test]
    fn a_time_without_year_takes_it_from_the_receive_time() {
        for (pattern, text, received, expected) in [
            (
                "%b %e %H:%M:%S",
                "Dec 31 23:59:59",
                "2026-01-01 00:00:01",
                Some("2025-12-31 23:59:59"),
            ),
            (
                "%b %e %H:%M:%S",
                "Jan  1 00:00:01",
                "2025-12-31 23:59:58",
                Some("2026-01-01 00:00:01"),
            ),
            (
                "%b %e %H:%M:%S",
                "Jan  1 10:00:00",
                "2025-12-31 12:00:00",
                Some("2026-01-01 10:00:00"),
            ),
            (
                "%b %e %H:%M:%S",
                "Mar  4 05:06:07",
                "2026-03-04 05:06:08",
                Some("2026-03-04 05:06:07"),
            ),
            (
                "%b %e %H:%M:%S",
                "Mar  4 05:06:07",
                "2026-01-01 00:00:00",
                Some("2025-03-04 05:06:07"),
            ),
            (
                "%b %e %H:%M:%S",
                "Mar  4 05:06:07",
                "2026-12-31 00:00:00",
                Some("2026-03-04 05:06:07"),
            ),
            (
                "%b %e %H:%M:%S",
                "Feb 29 05:06:07",
                "2026-03-01 00:00:00",
                Some("2024-02-29 05:06:07"),
            ),
            (
                "%b %e %H:%M:%S",
                "Feb 29 05:06:07",
                "1903-03-01 00:00:00",
                Some("1896-02-29 05:06:07"),
            ),
            (
                "%b %e %H:%M:%S",
                "Feb 30 05:06:07",
                "2026-03-01 00:00:00",
                None,
            ),
            (
                "%d/%m %H:%M %z",
                "01/01 00:30 +0200",
                "2025-12-31 22:31:00",
                Some("2025-12-31 22:30:00"),
            ),
            (
                "%d/%m %H:%M %z",
                "31/12 23:30 -0200",
                "2026-01-01 01:31:00",
                Some("2026-01-01 01:30:00"),
            ),
            (
                "%j",
                "366",
                "2026-03-01 00:00:00",
                Some("2024-12-31 00:00:00"),
            ),
        ] {
            let time = Layout::strftime(pattern).unwrap().parse(text, at(received));
            assert_eq!(time, expected.map(at), "{text} received at {received}");
        }
    }

    proptest! {
        /// An event of the last 364 days, and one of a clock that is at most a day fast, gets back its year.
        #[test]
        fn any_year_is_found_again(received in -62_000_000_000_i64..253_000_000_000, age in -86_400_i64..364 * 86_400) {
            let time = Timestamp::from_unix(received - age, 0).unwrap();
            let text = time.to_string();
            let read = Layout::strftime("%m-%d %H:%M:%S").unwrap().parse(&text[5..19], Timestamp::from_unix(received, 0).unwrap());
            prop_assert_eq!(read, Some(time));
        }
    }
}
