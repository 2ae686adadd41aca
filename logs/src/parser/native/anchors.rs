//! Columns with unescaped input of a client: their end is found by the columns that the server writes after them (the anchor).
//!
//! A client can send a quote, followed by text that looks like the next columns. So a position counts as the end of a client's column only
//! if it is the only position in the line where the server's columns can begin. Otherwise the record is rejected.

/// Splits `text` at the only position where a quote and a space are followed by `COUNT` columns for which `fits` is true. Returns the text
/// before the quote, the columns, and the text after the columns and their space.
pub(super) fn split_once<'t, const COUNT: usize>(
    text: &'t str,
    what: &str,
    fits: impl Fn(&[&'t str; COUNT]) -> bool,
) -> Result<(&'t str, [&'t str; COUNT], &'t str), String> {
    let mut found = None;
    for (at, _) in text.match_indices("\" ") {
        let (before, behind) = (
            text.get(..at).unwrap_or_default(),
            text.get(at + 2..).unwrap_or_default(),
        );
        let Some((columns, rest)) = columns(behind) else {
            continue;
        };
        if !fits(&columns) {
            continue;
        }
        if found.is_some() {
            return Err(format!(
                "more than one place could be the end of its {what}: a client's text imitates the columns behind it"
            ));
        }
        found = Some((before, columns, rest));
    }
    found.ok_or_else(|| format!("has no end of its {what} that the columns behind it tell"))
}

/// Splits off the next columns, separated by single spaces. Returns them and the rest.
pub(super) fn columns<const COUNT: usize>(text: &str) -> Option<([&str; COUNT], &str)> {
    let mut columns = [""; COUNT];
    let mut rest = text;
    for column in &mut columns {
        (*column, rest) = rest.split_once(' ').unwrap_or((rest, ""));
        if column.is_empty() {
            return None;
        }
    }
    Some((columns, rest))
}

/// True if a column is a number or `-`.
pub(super) fn is_number(column: &str) -> bool {
    column == "-" || column.bytes().all(|byte| byte.is_ascii_digit())
}
