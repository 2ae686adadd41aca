//! What an argument stands for: text as it is, `-` for standard input, `@FILE` for a file's content; and points in time.

use std::{
    io::{IsTerminal, Read},
    path::{Path, PathBuf},
};

use chrono::{DateTime, NaiveDate, Utc};

use crate::failure::Failure;

/// Bytes read at most for one argument: no command of the cluster is larger.
const MOST_BYTES: u64 = 1 << 20;

/// The text that an argument stands for, without the line end that a shell or editor adds.
pub(crate) fn text(what: &str, argument: &str) -> Result<String, Failure> {
    let (source, read): (String, Box<dyn Read>) = if argument == "-" {
        if std::io::stdin().is_terminal() {
            eprintln!("reading {what} from the terminal; Ctrl-D ends it");
        }
        ("standard input".to_owned(), Box::new(std::io::stdin()))
    } else if let Some(path) = argument.strip_prefix('@') {
        let file = std::fs::File::open(path).map_err(|error| {
            Failure::input(format!("cannot read {what}"))
                .tried(format!("open {path}"))
                .why(error.to_string())
        })?;
        (path.to_owned(), Box::new(file))
    } else {
        return Ok(argument.to_owned());
    };
    let mut bytes = Vec::new();
    read.take(MOST_BYTES + 1)
        .read_to_end(&mut bytes)
        .map_err(|error| {
            Failure::input(format!("cannot read {what}"))
                .tried(format!("read {source}"))
                .why(error.to_string())
        })?;
    if bytes.len() as u64 > MOST_BYTES {
        return Err(Failure::input(format!("{what} is too large"))
            .tried(format!("read {source}"))
            .why(format!(
                "it has more than {MOST_BYTES} bytes, which is what one message may have"
            )));
    }
    let text = String::from_utf8(bytes).map_err(|error| {
        Failure::input(format!("{what} is no text"))
            .tried(format!("read {source}"))
            .why(format!(
                "not UTF-8 from byte {} on",
                error.utf8_error().valid_up_to()
            ))
    })?;
    let text = text.strip_suffix('\n').map_or(text.as_str(), |text| {
        text.strip_suffix('\r').unwrap_or(text)
    });
    Ok(text.to_owned())
}

/// A path that means the same to a process in another folder.
pub(crate) fn absolute(path: &Path) -> Result<PathBuf, Failure> {
    std::path::absolute(path).map_err(|error| {
        Failure::input(format!("{} is no path", path.display())).why(error.to_string())
    })
}

/// A point in time as a person types it: `90m`, `2h`, `7d` before `now`, a day, or RFC 3339. For clap, hence the text as error.
pub(crate) fn instant(text: &str, now: DateTime<Utc>) -> Result<DateTime<Utc>, String> {
    if let Ok(time) = DateTime::parse_from_rfc3339(text) {
        return Ok(time.to_utc());
    }
    if let Some(midnight) = text
        .parse::<NaiveDate>()
        .ok()
        .and_then(|day| day.and_hms_opt(0, 0, 0))
    {
        return Ok(midnight.and_utc());
    }
    let span = text
        .char_indices()
        .last()
        .and_then(|(at, unit)| Some((text.get(..at)?.parse::<i64>().ok()?, unit)))
        .and_then(|(count, unit)| match unit {
            's' => chrono::TimeDelta::try_seconds(count),
            'm' => chrono::TimeDelta::try_minutes(count),
            'h' => chrono::TimeDelta::try_hours(count),
            'd' => chrono::TimeDelta::try_days(count),
            _ => None,
        });
    span.and_then(|span| now.checked_sub_signed(span))
        .ok_or_else(|| {
            "write a time as 2026-03-05, 2026-03-05T14:00:00Z, or as a span before now: 90m, 2h, 7d"
                .to_owned()
        })
}

/// A time such as `30m`, `2h`, `7d` or `90s`, in seconds.
///
/// # Errors
/// It is none.
pub(crate) fn span(text: &str) -> Result<u64, String> {
    let wrong = || format!("{text:?} is no time; write it like 30m, 2h or 7d");
    let (number, unit) = text
        .find(|letter: char| !letter.is_ascii_digit())
        .map(|at| text.split_at(at))
        .ok_or_else(wrong)?;
    let seconds = match unit {
        "s" => 1,
        "m" => 60,
        "h" => 3_600,
        "d" => 86_400,
        _ => return Err(wrong()),
    };
    let number: u64 = number.parse().map_err(|_| wrong())?;
    number.checked_mul(seconds).ok_or_else(wrong)
}

/// A `KEY=VALUE` argument, for clap.
pub(crate) fn pair(text: &str) -> Result<(String, String), String> {
    match text.split_once('=') {
        Some((key, value)) if !key.is_empty() => Ok((key.to_owned(), value.to_owned())),
        _ => Err("write KEY=VALUE".to_owned()),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn times_are_read_as_typed() {
        let now = DateTime::from_timestamp(1_700_000_000, 0).unwrap();
        let read = |text: &str| instant(text, now).map(|time| time.timestamp());
        assert_eq!(read("2h"), Ok(1_700_000_000 - 7200));
        assert_eq!(read("2023-11-14"), Ok(1_699_920_000));
        assert_eq!(read("2023-11-14T22:13:20+01:00"), Ok(1_700_000_000 - 3600));
        assert!(read("yesterday").is_err() && read("").is_err() && read("ä").is_err());
        assert!(read("9223372036854775807d").is_err());
    }

    #[test]
    fn pairs_need_a_key() {
        assert_eq!(pair("a=b=c"), Ok(("a".to_owned(), "b=c".to_owned())));
        assert!(pair("=b").is_err() && pair("ab").is_err());
    }

    #[test]
    fn files_are_bounded_and_read_without_their_last_line_end() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("body");
        std::fs::write(&path, "a\nb\r\n").unwrap();
        let argument = format!("@{}", path.display());
        assert_eq!(text("the body", &argument).unwrap(), "a\nb");
        std::fs::write(&path, vec![b' '; MOST_BYTES as usize + 1]).unwrap();
        assert!(text("the body", &argument).is_err());
        assert_eq!(text("the body", "as it is").unwrap(), "as it is");
    }
}
