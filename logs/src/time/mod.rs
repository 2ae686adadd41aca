//! Timestamps: parsed from every format that a schema can declare, written in the one format of events.

mod calendar;
mod format;
mod layout;

use std::time::{Duration, SystemTime, UNIX_EPOCH};

pub(crate) use format::TimeFormat;

/// A point in time in UTC, with nanosecond resolution, in the years 1 to 9999.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct Timestamp {
    seconds: i64,
    nanos: u32,
}

const FIRST_SECOND: i64 = -62_135_596_800;
const LAST_SECOND: i64 = 253_402_300_799;
const NANOS: i128 = 1_000_000_000;

impl Timestamp {
    /// 1970-01-01 00:00:00.
    pub const EPOCH: Self = Self {
        seconds: 0,
        nanos: 0,
    };

    /// Creates a timestamp from seconds since 1970 and nanoseconds within that second. `None` outside the years 1 to 9999, or if `nanos` is
    /// not below 1,000,000,000.
    pub fn from_unix(seconds: i64, nanos: u32) -> Option<Self> {
        ((FIRST_SECOND..=LAST_SECOND).contains(&seconds) && nanos < 1_000_000_000)
            .then_some(Self { seconds, nanos })
    }

    /// Creates a timestamp from milliseconds since 1970. `None` outside the years 1 to 9999.
    pub fn from_unix_millis(millis: i64) -> Option<Self> {
        Self::from_unix_nanos(i128::from(millis) * 1_000_000)
    }

    /// Creates a timestamp from nanoseconds since 1970. `None` outside the years 1 to 9999.
    pub fn from_unix_nanos(nanos: i128) -> Option<Self> {
        let seconds = i64::try_from(nanos.div_euclid(NANOS)).ok()?;
        Self::from_unix(seconds, nanos.rem_euclid(NANOS) as u32)
    }

    /// Whole seconds since 1970, rounded down.
    pub fn unix_seconds(self) -> i64 {
        self.seconds
    }

    /// Nanoseconds after the whole second.
    pub fn subsec_nanos(self) -> u32 {
        self.nanos
    }

    /// Milliseconds since 1970, rounded down.
    pub fn unix_millis(self) -> i64 {
        self.seconds * 1000 + i64::from(self.nanos / 1_000_000)
    }

    /// Appends `YYYY-MM-DD HH:MM:SS.fffffffff`.
    pub(crate) fn write(self, out: &mut String) {
        let (year, month, day) = calendar::date(self.seconds.div_euclid(86_400));
        let second = self.seconds.rem_euclid(86_400) as u32;
        let mut text = *b"0000-00-00 00:00:00.000000000";
        for (from, to, number) in [
            (0, 4, year as u32),
            (5, 7, month),
            (8, 10, day),
            (11, 13, second / 3600),
            (14, 16, second / 60 % 60),
            (17, 19, second % 60),
            (20, 29, self.nanos),
        ] {
            let mut number = number;
            for digit in text.get_mut(from..to).unwrap_or_default().iter_mut().rev() {
                *digit = b'0' + (number % 10) as u8;
                number /= 10;
            }
        }
        out.push_str(std::str::from_utf8(&text).unwrap_or_default());
    }
}

/// Formats as `YYYY-MM-DD HH:MM:SS.fffffffff`, UTC, as in events.
impl std::fmt::Display for Timestamp {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        let mut text = String::with_capacity(29);
        self.write(&mut text);
        f.write_str(&text)
    }
}

/// A system time outside the years 1 to 9999 is clamped to that range.
impl From<SystemTime> for Timestamp {
    fn from(time: SystemTime) -> Self {
        let nanos = match time.duration_since(UNIX_EPOCH) {
            Ok(since) => since.as_nanos() as i128,
            Err(before) => -(before.duration().as_nanos() as i128),
        };
        let clamped = nanos.clamp(
            i128::from(FIRST_SECOND) * NANOS,
            i128::from(LAST_SECOND) * NANOS,
        );
        Self::from_unix_nanos(clamped).unwrap_or(Self::EPOCH)
    }
}

impl From<Timestamp> for SystemTime {
    fn from(time: Timestamp) -> Self {
        let whole = Duration::from_secs(time.seconds.unsigned_abs());
        let base = if time.seconds < 0 {
            UNIX_EPOCH - whole
        } else {
            UNIX_EPOCH + whole
        };
        base + Duration::from_nanos(u64::from(time.nanos))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn written_in_the_one_form() {
        assert_eq!(
            Timestamp::EPOCH.to_string(),
            "1970-01-01 00:00:00.000000000"
        );
        assert_eq!(
            Timestamp::from_unix(1_688_990_400, 7).unwrap().to_string(),
            "2023-07-10 12:00:00.000000007"
        );
        assert_eq!(
            Timestamp::from_unix(FIRST_SECOND, 0).unwrap().to_string(),
            "0001-01-01 00:00:00.000000000"
        );
        assert_eq!(
            Timestamp::from_unix(LAST_SECOND, 999_999_999)
                .unwrap()
                .to_string(),
            "9999-12-31 23:59:59.999999999"
        );
        assert_eq!(Timestamp::from_unix(LAST_SECOND + 1, 0), None);
    }

    #[test]
    fn system_times_go_both_ways() {
        for time in [
            Timestamp::EPOCH,
            Timestamp::from_unix(-1, 5).unwrap(),
            Timestamp::from_unix(1_700_000_000, 123).unwrap(),
        ] {
            assert_eq!(Timestamp::from(SystemTime::from(time)), time);
        }
    }
}
