//! JSON that senders and rules wrote, read so that nothing in it can keep a document from being opened.
//!
//! Python and most log writers take an escape of half a character (`\ud83d` alone), which RFC 8259 allows and which no Rust string
//! holds. Here it becomes the replacement character. Numbers keep their digits, however many there are.

use std::borrow::Cow;

use serde_json::Value;

/// Reads a document.
///
/// # Errors
/// It is no JSON.
pub(crate) fn read(text: &[u8]) -> serde_json::Result<Value> {
    serde_json::from_slice(text).or_else(|error| match without_half_characters(text) {
        Cow::Owned(mended) => serde_json::from_slice(&mended),
        Cow::Borrowed(_) => Err(error),
    })
}

/// Replaces escapes of surrogates that have no partner.
fn without_half_characters(text: &[u8]) -> Cow<'_, [u8]> {
    let mut mended: Option<Vec<u8>> = None;
    let mut at = 0;
    while let Some(found) = memchr::memchr(b'\\', text.get(at..).unwrap_or_default()) {
        let escape = at + found;
        at = escape + 2;
        let Some(unit) = escaped_unit(text, escape) else {
            continue;
        };
        at = escape + 6;
        if (0xD800..0xDC00).contains(&unit)
            && escaped_unit(text, at).is_some_and(|low| (0xDC00..0xE000).contains(&low))
        {
            at += 6;
        } else if (0xD800..0xE000).contains(&unit)
            && let Some(digits) = mended
                .get_or_insert_with(|| text.to_vec())
                .get_mut(escape + 2..escape + 6)
        {
            digits.copy_from_slice(b"fffd");
        }
    }
    mended.map_or(Cow::Borrowed(text), Cow::Owned)
}

/// The code unit of an escape `\uXXXX` that begins here.
fn escaped_unit(text: &[u8], at: usize) -> Option<u16> {
    let digits = text.get(at..at + 6)?.strip_prefix(b"\\u")?;
    u16::from_str_radix(std::str::from_utf8(digits).ok()?, 16).ok()
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    #[test]
    fn half_characters_become_the_replacement_character_and_whole_ones_stay() {
        for (text, wanted) in [
            (r#""a\ud83db""#, "a\u{fffd}b"),
            (r#""\ude00""#, "\u{fffd}"),
            (r#""\ud83d\ude00\ud83d""#, "\u{1f600}\u{fffd}"),
            (r#""\ud83d\u0041""#, "\u{fffd}A"),
            (r#""\\ud83d\ud83d""#, "\\ud83d\u{fffd}"),
            (r#""\\\ud83d""#, "\\\u{fffd}"),
        ] {
            assert_eq!(read(text.as_bytes()).unwrap(), wanted, "{text}");
        }
        assert!(read(br#""\ud83""#).is_err());
    }

    #[test]
    fn numbers_keep_their_digits() {
        let text = r#"{"n":123456789012345678901234567890,"f":1e+400,"z":-0,"p":1.10}"#;
        assert_eq!(read(text.as_bytes()).unwrap().to_string(), text);
    }

    proptest! {
        #[test]
        fn whatever_units_a_text_is_escaped_of_it_can_be_read(units in proptest::collection::vec(any::<u16>(), 0..12)) {
            let text: String = units.iter().map(|unit| format!("\\u{unit:04x}")).collect();
            let value = read(format!("\"{text}\"").as_bytes()).unwrap();
            prop_assert_eq!(value.as_str().unwrap(), String::from_utf16_lossy(&units));
        }
    }
}
