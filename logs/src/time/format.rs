//! The time formats that a schema can name.

use super::{Timestamp, calendar, layout::Layout};

/// The format of a timestamp field.
#[derive(Debug, Clone, PartialEq)]
pub(crate) enum TimeFormat {
    /// RFC 3339, with `T` or a space, with or without fraction.
    Rfc3339,
    /// A decimal number of seconds, milliseconds, microseconds or nanoseconds since 1970. `unit` is the length of the unit, in nanoseconds.
    Unix { unit: i128 },
    /// Cloudflare's three formats: RFC 3339, Unix seconds, or Unix nanoseconds.
    Cloudflare,
    /// A strftime pattern or a Go layout.
    Layout(Layout),
    /// Several formats, tried in order.
    AnyOf(Vec<TimeFormat>),
}

impl TimeFormat {
    /// The format for `timeFormat: <name>`.
    ///
    /// # Errors
    /// The part of the pattern that is not supported.
    pub(crate) fn named(name: &str) -> Result<Self, String> {
        Ok(match name {
            "rfc3339" => Self::Rfc3339,
            "unix" => Self::Unix {
                unit: 1_000_000_000,
            },
            "unix_ms" => Self::Unix { unit: 1_000_000 },
            "unix_us" => Self::Unix { unit: 1_000 },
            "unix_ns" => Self::Unix { unit: 1 },
            "cloudflare" => Self::Cloudflare,
            _ => match name.strip_prefix("layout=") {
                Some(layout) => Self::Layout(Layout::go(layout)?),
                None if name.contains('%') => Self::Layout(Layout::strftime(name)?),
                None => {
                    return Err(format!(
                        "`{name}` is no time format: use rfc3339, unix, unix_ms, unix_us, unix_ns, a strftime pattern with `%`, or layout=<Go layout>"
                    ));
                }
            },
        })
    }

    /// The formats for `names`, tried in order.
    ///
    /// # Errors
    /// The list is empty, or a format is not supported; the text names it.
    pub(crate) fn any_of(names: &[String]) -> Result<Self, String> {
        match names {
            [] => Err("a timestamp needs at least one".into()),
            [one] => Self::named(one),
            several => several
                .iter()
                .map(|name| Self::named(name))
                .collect::<Result<_, _>>()
                .map(Self::AnyOf),
        }
    }

    /// Parses `text`. `number` is true if the value was written as a JSON number. A time without a year takes it from `received`.
    pub(crate) fn parse(&self, text: &str, number: bool, received: Timestamp) -> Option<Timestamp> {
        self.declared(text, number, received)
            .or_else(|| of_event(text))
    }

    fn declared(&self, text: &str, number: bool, received: Timestamp) -> Option<Timestamp> {
        match self {
            Self::AnyOf(formats) => formats
                .iter()
                .find_map(|format| format.declared(text, number, received)),
            Self::Rfc3339 => rfc3339(text),
            Self::Unix { unit } => decimal(text, *unit),
            Self::Cloudflare if number || text.bytes().all(|byte| byte.is_ascii_digit()) => {
                // Unix seconds have ten digits until the year 2286, Unix nanoseconds have nineteen
                decimal(text, if text.len() > 14 { 1 } else { 1_000_000_000 })
            }
            Self::Cloudflare => rfc3339(text),
            Self::Layout(layout) => layout.parse(text, received),
        }
    }
}

/// Parses the format of event timestamps, also with fewer digits. It is accepted for every declared format, so that an event can be read
/// again as a record.
fn of_event(text: &str) -> Option<Timestamp> {
    let bytes = text.as_bytes();
    if bytes.get(10) != Some(&b' ')
        || !matches!(bytes.get(19), None | Some(b'.'))
        || bytes.len() > 29
    {
        return None;
    }
    let mut zoned = [b'Z'; 30];
    zoned.get_mut(..bytes.len())?.copy_from_slice(bytes);
    rfc3339(std::str::from_utf8(zoned.get(..=bytes.len())?).ok()?)
}

/// Parses RFC 3339 (section 5.6); a space is accepted instead of the `T`.
fn rfc3339(text: &str) -> Option<Timestamp> {
    let bytes = text.as_bytes();
    let number = |from: usize, to: usize| -> Option<u32> {
        bytes.get(from..to)?.iter().try_fold(0u32, |number, byte| {
            byte.is_ascii_digit()
                .then(|| number * 10 + u32::from(byte - b'0'))
        })
    };
    let is = |at: usize, byte: u8| bytes.get(at) == Some(&byte);
    if !(is(4, b'-')
        && is(7, b'-')
        && matches!(bytes.get(10), Some(b'T' | b't' | b' '))
        && is(13, b':')
        && is(16, b':'))
    {
        return None;
    }
    let days = calendar::days(i64::from(number(0, 4)?), number(5, 7)?, number(8, 10)?)?;
    let (hour, minute, second) = (number(11, 13)?, number(14, 16)?, number(17, 19)?);
    let mut at = 19;
    let mut nanos = 0;
    if is(at, b'.') || is(at, b',') {
        let digits = bytes
            .get(at + 1..)?
            .iter()
            .take_while(|byte| byte.is_ascii_digit())
            .count();
        nanos = fraction(bytes.get(at + 1..at + 1 + digits)?)?;
        at += 1 + digits;
    }
    let offset = match bytes.get(at)? {
        b'Z' | b'z' if bytes.len() == at + 1 => 0,
        sign @ (b'+' | b'-') => {
            let colon = usize::from(is(at + 3, b':'));
            if bytes.len() != at + 5 + colon {
                return None;
            }
            let (hours, minutes) = (
                number(at + 1, at + 3)?,
                number(at + 3 + colon, at + 5 + colon)?,
            );
            if hours > 23 || minutes > 59 {
                return None;
            }
            let seconds = i64::from(hours * 3600 + minutes * 60);
            if *sign == b'-' { -seconds } else { seconds }
        }
        _ => return None,
    };
    instant(days, hour, minute, second, nanos, offset)
}

/// Converts a local time, `offset` seconds east of UTC. A leap second becomes the last second of its minute.
pub(super) fn instant(
    days: i64,
    hour: u32,
    minute: u32,
    second: u32,
    nanos: u32,
    offset: i64,
) -> Option<Timestamp> {
    if hour > 23 || minute > 59 || second > 60 {
        return None;
    }
    let second = second.min(59);
    Timestamp::from_unix(
        days * 86_400 + i64::from(hour * 3600 + minute * 60 + second) - offset,
        nanos,
    )
}

/// Converts the digits after a decimal point to nanoseconds. Finer digits are truncated.
pub(super) fn fraction(digits: &[u8]) -> Option<u32> {
    if digits.is_empty() {
        return None;
    }
    let mut nanos = 0;
    for place in 0..9 {
        nanos = nanos * 10 + digits.get(place).map_or(0, |digit| u32::from(digit - b'0'));
    }
    Some(nanos)
}

/// Parses `-?digits[.digits][e±digits]` in units of `unit` nanoseconds. The result is exact; a float would lose the microseconds of
/// present-day times.
fn decimal(text: &str, unit: i128) -> Option<Timestamp> {
    let (mantissa, exponent) = match text.split_once(['e', 'E']) {
        Some((mantissa, exponent)) => (mantissa, exponent.parse::<i32>().ok()?),
        None => (text, 0),
    };
    let (negative, mantissa) = match mantissa.strip_prefix('-') {
        Some(rest) => (true, rest),
        None => (false, mantissa),
    };
    let (whole, part) = mantissa.split_once('.').unwrap_or((mantissa, ""));
    if whole.is_empty() || whole.len() + part.len() > 30 || !(-40..=40).contains(&exponent) {
        return None;
    }
    let mut digits: i128 = 0;
    for byte in whole.bytes().chain(part.bytes()) {
        digits = byte
            .is_ascii_digit()
            .then(|| digits * 10 + i128::from(byte - b'0'))?;
    }
    let mut power = exponent - part.len() as i32;
    let mut nanos = digits.checked_mul(unit)?;
    while power > 0 {
        nanos = nanos.checked_mul(10)?;
        power -= 1;
    }
    while power < 0 {
        nanos /= 10;
        power += 1;
    }
    Timestamp::from_unix_nanos(if negative { -nanos } else { nanos })
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    fn read(format: &str, text: &str) -> Option<String> {
        TimeFormat::named(format)
            .unwrap()
            .parse(text, false, Timestamp::EPOCH)
            .map(|time| time.to_string())
    }

    #[test]
    fn rfc3339_in_its_forms() {
        for (text, expected) in [
            (
                "2023-07-10T12:00:00Z",
                Some("2023-07-10 12:00:00.000000000"),
            ),
            (
                "2023-07-10t12:00:00.5z",
                Some("2023-07-10 12:00:00.500000000"),
            ),
            (
                "2023-07-10 12:00:00.123456789123Z",
                Some("2023-07-10 12:00:00.123456789"),
            ),
            (
                "2023-07-10T12:00:00+02:00",
                Some("2023-07-10 10:00:00.000000000"),
            ),
            (
                "2023-07-10T23:30:00.25-0100",
                Some("2023-07-11 00:30:00.250000000"),
            ),
            (
                "2016-12-31T23:59:60Z",
                Some("2016-12-31 23:59:59.000000000"),
            ),
            ("2023-07-10T12:00:00", None),
            ("2023-07-10", None),
            ("2023-02-30T12:00:00Z", None),
            ("2023-07-10T24:00:00Z", None),
            ("2023-07-10T12:00:00.Z", None),
            ("2023-07-10T12:00:00Zx", None),
            ("", None),
        ] {
            assert_eq!(read("rfc3339", text).as_deref(), expected, "{text}");
        }
    }

    #[test]
    fn unix_numbers_are_read_exactly() {
        for (format, text, expected) in [
            (
                "unix",
                "1591367999.305988",
                Some("2020-06-05 14:39:59.305988000"),
            ),
            ("unix", "1.5e9", Some("2017-07-14 02:40:00.000000000")),
            ("unix", "-1", Some("1969-12-31 23:59:59.000000000")),
            (
                "unix_ms",
                "1623971719091",
                Some("2021-06-17 23:15:19.091000000"),
            ),
            (
                "unix_us",
                "1623971719091005",
                Some("2021-06-17 23:15:19.091005000"),
            ),
            (
                "unix_ns",
                "1623971719091005007",
                Some("2021-06-17 23:15:19.091005007"),
            ),
            ("unix", "1e30", None),
            ("unix", "", None),
            ("unix", "1x", None),
            ("unix", "99999999999999999999999999999999999999999999", None),
            (
                "cloudflare",
                "1623971719",
                Some("2021-06-17 23:15:19.000000000"),
            ),
            (
                "cloudflare",
                "1623971719091005007",
                Some("2021-06-17 23:15:19.091005007"),
            ),
            (
                "cloudflare",
                "2021-06-17T23:15:19Z",
                Some("2021-06-17 23:15:19.000000000"),
            ),
        ] {
            assert_eq!(read(format, text).as_deref(), expected, "{format} {text}");
        }
    }

    #[test]
    fn an_unknown_format_is_named() {
        assert!(TimeFormat::named("iso").unwrap_err().contains("`iso`"));
        assert!(TimeFormat::named("%Q").unwrap_err().contains("%Q"));
    }

    proptest! {
        #[test]
        fn rfc3339_of_any_time_is_read_back(nanos in -62_135_596_800_000_000_000i128..253_402_300_799_000_000_000) {
            let time = Timestamp::from_unix_nanos(nanos).unwrap();
            let text = time.to_string().replace(' ', "T") + "Z";
            prop_assert_eq!(TimeFormat::Rfc3339.parse(&text, false, Timestamp::EPOCH), Some(time));
        }

        #[test]
        fn nothing_panics(format in "(%[a-zA-Z%]|[ :-]){1,8}", text in any::<String>()) {
            if let Ok(format) = TimeFormat::named(&format) {
                let _ = format.parse(&text, false, Timestamp::EPOCH);
            }
            for name in ["rfc3339", "unix", "unix_ns", "cloudflare", "layout=Jan _2 15:04:05.000 MST 2006"] {
                let _ = TimeFormat::named(name).unwrap().parse(&text, true, Timestamp::EPOCH);
            }
        }
    }
}
