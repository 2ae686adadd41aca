//! Dates and times, as far as rules use them: `datetime.fromisoformat(text).timestamp()`.

/// A date and time without a zone, in microseconds since 1970 as if it were of UTC.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) struct Moment(i64);

impl Moment {
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
        let (year, month, day) = (number(0, 4)?, number(5, 7)?, number(8, 10)?);
        if !is(4, b"-") || !is(7, b"-") || year < 1 {
            return None;
        }
        let leap = year % 4 == 0 && (year % 100 != 0 || year % 400 == 0);
        let days = match month {
            2 => 28 + i64::from(leap),
            4 | 6 | 9 | 11 => 30,
            1..=12 => 31,
            _ => return None,
        };
        if !(1..=days).contains(&day) {
            return None;
        }
        let mut micros = days_since_1970(year, month, day) * 86_400 * 1_000_000;
        if bytes.len() == 10 {
            return Some(Self(micros));
        }
        let (hour, minute, second) = (number(11, 13)?, number(14, 16)?, number(17, 19)?);
        if !is(10, b"T ")
            || !is(13, b":")
            || !is(16, b":")
            || hour > 23
            || minute > 59
            || second > 59
        {
            return None;
        }
        micros += ((hour * 60 + minute) * 60 + second) * 1_000_000;
        match bytes.len() {
            19 => Some(Self(micros)),
            23 if is(19, b".") => Some(Self(micros + number(20, 23)? * 1000)),
            26 if is(19, b".") => Some(Self(micros + number(20, 26)?)),
            _ => None,
        }
    }

    /// `timestamp()` where local time is UTC.
    #[allow(clippy::cast_precision_loss)]
    pub(super) fn timestamp(self) -> f64 {
        // Seconds of four-digit years are exact, and so is what Python adds to them.
        self.0.div_euclid(1_000_000) as f64 + self.0.rem_euclid(1_000_000) as f64 / 1e6
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

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    #[allow(clippy::float_cmp)]
    fn times_are_read_as_python_reads_them() {
        let timestamp = |text: &str| Moment::parse(text).map(Moment::timestamp);
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
}
