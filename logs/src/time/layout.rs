//! Time patterns: strftime patterns and Go reference layouts, both compiled to one list of parts.

mod parts;
mod rest;

use parts::Part;
use rest::{MONTHS, Rest, WEEKDAYS};

use super::{Timestamp, calendar, format};

/// A compiled time pattern.
#[derive(Debug, Clone, PartialEq)]
pub(crate) struct Layout {
    parts: Vec<Part>,
}

/// How far after the receive time a time without a year may be, in seconds. A clock may be fast, and a local time without a zone may be up
/// to 14 hours ahead of UTC.
const AHEAD: i64 = 86_400;

impl Layout {
    /// Compiles a Go layout such as `02/Jan/2006:15:04:05 -0700`.
    pub(super) fn go(layout: &str) -> Result<Self, String> {
        Self::checked(parts::go(layout), layout)
    }

    /// Compiles a strftime pattern such as `%d/%b/%Y:%H:%M:%S %z`.
    pub(super) fn strftime(pattern: &str) -> Result<Self, String> {
        Self::checked(parts::strftime(pattern)?, pattern)
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
                Part::Implied => {
                    rest.number(1, 2)?;
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
            (
                "%c",
                "Fri Jun  5 14:39:59 2020",
                Some("2020-06-05 14:39:59.000000000"),
            ),
            (
                "%x %r %:z",
                "06/05/20 02:39:59 PM +02:00",
                Some("2020-06-05 12:39:59.000000000"),
            ),
            (
                "%v %X week %U day %w",
                "5-Jun-2020 14:39:59 week 22 day 5",
                Some("2020-06-05 14:39:59.000000000"),
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
