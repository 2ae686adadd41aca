//! Columns that hold what a client sent, unescaped: their ends are told by what the server writes behind them.
//!
//! A client can send a quote, and what looks like the columns behind it. So a place is taken for the end of a client's columns only if it is
//! the one place in the line where the server's columns can begin; otherwise the record is refused.

/// Splits `text` at the one place where a quote is followed by a space and `count` columns that `fits` takes. What is before the quote, the
/// columns, and what follows them without its space.
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

/// The next columns between single spaces, and what follows them.
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

/// Whether a column is a number, or stands for nothing.
pub(super) fn is_number(column: &str) -> bool {
    column == "-" || column.bytes().all(|byte| byte.is_ascii_digit())
}
