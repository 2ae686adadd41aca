//! The parts of a time pattern, and the two notations in which schemas write them.

/// One part of a pattern.
#[derive(Debug, Clone, Copy, PartialEq)]
pub(super) enum Part {
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
    /// A number that the date implies, such as that of the week or of the weekday; at most two digits.
    Implied,
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

/// The parts of a Go layout such as `02/Jan/2006:15:04:05 -0700`.
pub(super) fn go(layout: &str) -> Vec<Part> {
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
    parts
}

/// The parts of a strftime pattern such as `%d/%b/%Y:%H:%M:%S %z`.
///
/// # Errors
/// The letter that is not known.
pub(super) fn strftime(pattern: &str) -> Result<Vec<Part>, String> {
    let mut parts = Vec::new();
    let mut chars = pattern.chars().peekable();
    while let Some(first) = chars.next() {
        if first != '%' {
            parts.push(literal(first));
            continue;
        }
        // padding flags, and the colon of `%:z`, have no effect on parsing
        while chars
            .next_if(|flag| matches!(flag, '-' | '_' | '0' | ':'))
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
            Some('w' | 'u' | 'U' | 'W' | 'V') => parts.push(Part::Implied),
            Some(whole @ ('c' | 'x' | 'X' | 'r' | 'v')) => {
                let pattern = match whole {
                    'c' => "%a %b %e %H:%M:%S %Y",
                    'x' => "%m/%d/%y",
                    'X' => "%H:%M:%S",
                    'r' => "%I:%M:%S %p",
                    _ => "%e-%b-%Y",
                };
                parts.extend(strftime(pattern)?);
            }
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
    Ok(parts)
}

fn literal(char: char) -> Part {
    if char == ' ' {
        Part::Space
    } else {
        Part::Literal(char)
    }
}
