//! Reader of the text that a time pattern is matched with.

use super::super::format;

pub(super) const MONTHS: [&str; 12] = [
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
pub(super) const WEEKDAYS: [&str; 7] = [
    "monday",
    "tuesday",
    "wednesday",
    "thursday",
    "friday",
    "saturday",
    "sunday",
];

/// The unparsed rest of the text.
pub(super) struct Rest<'a> {
    pub(super) text: &'a str,
}

impl<'a> Rest<'a> {
    pub(super) fn take(&mut self, length: usize) -> Option<&'a str> {
        let taken = self.text.get(..length)?;
        self.text = self.text.get(length..)?;
        Some(taken)
    }

    pub(super) fn literal(&mut self, char: char) -> Option<()> {
        self.text = self.text.strip_prefix(char)?;
        Some(())
    }

    pub(super) fn space(&mut self) {
        self.text = self.text.trim_start_matches(' ');
    }

    pub(super) fn digits(&mut self) -> &'a str {
        let length = self.text.bytes().take_while(u8::is_ascii_digit).count();
        self.take(length).unwrap_or_default()
    }

    pub(super) fn number(&mut self, least: usize, most: usize) -> Option<u32> {
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
    pub(super) fn name(&mut self, names: &[&str]) -> Option<u32> {
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

    pub(super) fn half_day(&mut self) -> Option<bool> {
        match self.take(2)?.to_ascii_lowercase().as_str() {
            "am" => Some(false),
            "pm" => Some(true),
            _ => None,
        }
    }

    pub(super) fn fraction(&mut self) -> Option<Option<u32>> {
        match self.text.strip_prefix(['.', ',']) {
            Some(rest) if rest.starts_with(|char: char| char.is_ascii_digit()) => {
                self.text = rest;
                Some(Some(format::fraction(self.digits().as_bytes())?))
            }
            _ => Some(None),
        }
    }

    pub(super) fn offset(&mut self) -> Option<i64> {
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
    pub(super) fn zone(&mut self) -> Option<i64> {
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
