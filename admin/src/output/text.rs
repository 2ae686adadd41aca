//! Texts by others made fit for a terminal, and figures fit for people.

use serde_json::Value;
use unicode_width::UnicodeWidthStr;

/// Takes what a terminal would obey out of a text: control characters other than line end and tab, and marks that turn the direction of
/// writing, are shown as their code.
pub(crate) fn clean(text: &str) -> String {
    let mut shown = String::with_capacity(text.len());
    for character in text.chars() {
        let kept = matches!(character, '\n' | '\t');
        let turning = matches!(character, '\u{200e}' | '\u{200f}' | '\u{202a}'..='\u{202e}' | '\u{2066}'..='\u{2069}');
        if !kept && (character.is_control() || turning) {
            shown.extend(character.escape_unicode());
        } else {
            shown.push(character);
        }
    }
    shown
}

/// A clean text on one line.
pub(crate) fn one_line(text: &str) -> String {
    let text = clean(text.trim());
    if text.contains(['\n', '\t']) {
        text.split_whitespace().collect::<Vec<_>>().join(" ")
    } else {
        text
    }
}

/// A clean text on one line, of at most so many columns.
pub(crate) fn short(text: &str, columns: usize) -> String {
    // However long the text is, what cannot be seen need not be cleaned.
    let head: String = text.chars().take(columns * 2 + 1).collect();
    let line = one_line(&head);
    if line.width() <= columns && head.len() == text.len() {
        return line;
    }
    let mut cut = String::new();
    for character in line.chars() {
        cut.push(character);
        if cut.width() >= columns {
            cut.pop();
            break;
        }
    }
    format!("{}…", cut.trim_end())
}

/// JSON whose texts give no orders to a terminal: the control characters that JSON allows in texts, and marks that turn the direction of writing, are
/// written by their number. A program reads the same value.
pub(crate) fn json(text: &str) -> String {
    let mut shown = String::with_capacity(text.len());
    for character in text.chars() {
        let orders = matches!(character, '\u{7f}'..='\u{9f}' | '\u{200e}' | '\u{200f}' | '\u{2028}'..='\u{202e}' | '\u{2066}'..='\u{2069}');
        if orders {
            shown.push_str(&format!("\\u{:04x}", u32::from(character)));
        } else {
            shown.push(character);
        }
    }
    shown
}

/// JSON over several lines.
pub(crate) fn pretty(value: &Value) -> String {
    clean(&serde_json::to_string_pretty(value).unwrap_or_else(|_| value.to_string()))
}

/// A size in decimal units.
pub(crate) fn bytes(count: i64) -> String {
    const UNITS: [&str; 5] = ["B", "kB", "MB", "GB", "TB"];
    let mut size = count as f64;
    let mut unit = 0;
    while size >= 999.5 && unit + 1 < UNITS.len() {
        size /= 1000.0;
        unit += 1;
    }
    let name = UNITS.get(unit).copied().unwrap_or_default();
    if unit == 0 || size >= 99.5 {
        format!("{size:.0} {name}")
    } else {
        format!("{size:.1} {name}")
    }
}

/// `1 message`, `2 messages`; `1 policy`, `2 policies`; `1 day`, `2 days`.
pub(crate) fn counted(count: i64, noun: &str) -> String {
    if count == 1 {
        return format!("1 {noun}");
    }
    match noun.strip_suffix('y') {
        // a vowel before it keeps the y
        Some(stem) if !stem.ends_with(['a', 'e', 'o', 'u']) => format!("{count} {stem}ies"),
        _ => format!("{count} {noun}s"),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn json_gives_no_orders_and_is_the_same_value() {
        let value = serde_json::json!({"a": "x\u{9b}31m\u{7f}\u{202e}\u{1b}[2Jü"});
        let shown = json(&value.to_string());
        assert!(
            !shown.chars().any(|c| c.is_control() || c == '\u{202e}'),
            "{shown}"
        );
        assert_eq!(serde_json::from_str::<Value>(&shown).unwrap(), value);
    }

    #[test]
    fn a_log_line_cannot_command_the_terminal() {
        assert_eq!(
            clean("a\u{1b}[31mb\u{9b}c\u{202e}\n\t"),
            "a\\u{1b}[31mb\\u{9b}c\\u{202e}\n\t"
        );
        assert_eq!(one_line(" a\nb\r\n"), "a b");
        assert_eq!(one_line("a  b"), "a  b");
    }

    #[test]
    fn long_texts_are_cut_by_columns() {
        assert_eq!(short("abcdef", 6), "abcdef");
        assert_eq!(short("abcdefg", 6), "abcde…");
        assert_eq!(short("日本語日本語", 6), "日本…");
        assert_eq!(short(&"x".repeat(10_000), 4), "xxx…");
    }

    #[test]
    fn figures_read_well() {
        assert_eq!(bytes(0), "0 B");
        assert_eq!(bytes(999), "999 B");
        assert_eq!(bytes(12_345), "12.3 kB");
        assert_eq!(bytes(999_999), "1.0 MB");
        assert_eq!(bytes(123_456_789), "123 MB");
        assert_eq!(counted(1, "message"), "1 message");
        assert_eq!(counted(0, "policy"), "0 policies");
    }
}
