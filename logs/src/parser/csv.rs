//! CSV parser: delimited lines. Quotes are read leniently: a quote ends a field only if a delimiter or the end of the line follows.
//!
//! A quoted value may span several lines (RFC 4180, section 2.6). The record that ends the value produces the event. The records before it
//! are parts of that event and are never parsed as rows of their own, whatever they look like.

use std::borrow::Cow;

use super::{
    Filter, Learned, Open, Reading, State,
    row::{Row, RowOptions},
};
use crate::schema::{CsvFile, ObjectType};

/// Maximum number of lines of a row with a multi-line value.
const MAX_LINES: usize = 200;
/// Maximum length of such a row, in bytes.
const MAX_TEXT: usize = 256 << 10;

/// The compiled `csv` parser.
#[derive(Debug)]
pub(crate) struct Csv {
    delimiter: char,
    has_header: bool,
    columns: Vec<String>,
    skip_prefix: Option<String>,
    options: RowOptions,
}

impl Csv {
    pub(super) fn compile(file: &CsvFile) -> Result<Self, (&'static str, String)> {
        let delimiter = file.delimiter.as_deref().unwrap_or(",");
        let mut chars = delimiter.chars();
        let (Some(delimiter), None) = (chars.next(), chars.next()) else {
            return Err(("delimiter", format!("`{delimiter}` is not one character")));
        };
        if delimiter == '"' {
            return Err(("delimiter", "a quote cannot be the delimiter".into()));
        }
        if file.columns.is_empty() && !file.has_header {
            return Err((
                "columns",
                "needed where no header gives them (hasHeader: true)".into(),
            ));
        }
        Ok(Self {
            delimiter,
            has_header: file.has_header,
            columns: file.columns.clone(),
            skip_prefix: file.skip_prefix.clone(),
            options: RowOptions::compile(&file.empty_values, file.trim_space, &file.expand_fields)?,
        })
    }

    /// True if the names of the columns come from the file itself.
    pub(super) fn has_named_columns(&self) -> bool {
        self.has_header && self.columns.is_empty()
    }

    /// True if the line ends within a quoted value.
    pub(super) fn is_open_behind(&self, line: &str) -> bool {
        line.contains('"') && !split_quoted(line, self.delimiter).1
    }

    pub(super) fn read(
        &self,
        line: &str,
        root: &ObjectType,
        state: &mut State,
        out: &mut Vec<String>,
    ) -> Result<Reading, String> {
        let begun = state.open.take();
        if begun.is_none()
            && let Some(filter) = state.filter(line, 0, self.skip_prefix.as_deref())
        {
            return Ok(Reading::Filtered(filter));
        }
        let joined = begun.as_ref().map(|open| format!("{}\n{line}", open.text));
        let line = joined.as_deref().unwrap_or(line);
        let (values, closed) = split_quoted(line, self.delimiter);
        if !closed {
            let lines = begun.map_or(1, |open| open.lines + 1);
            if lines < MAX_LINES && line.len() < MAX_TEXT {
                state.pending = Some(Learned::Open(Open {
                    text: line.into(),
                    lines,
                }));
                return Ok(Reading::Begun);
            }
            return Err("a quoted value has no closing quote".into());
        }
        if self.has_header && !self.columns.is_empty() && !state.header_seen {
            state.pending = Some(Learned::HeaderSeen);
            return Ok(Reading::Filtered(Filter::Header));
        }
        if self.has_named_columns() {
            match &state.header {
                None => {
                    let names: Vec<String> = values
                        .iter()
                        .map(|value| value.trim().to_string())
                        .collect();
                    // any line could be a header, so a line counts as one only if it names a field of the schema
                    if !names.iter().any(|name| root.field(name).is_some()) {
                        return Err(
                            "the first line names none of the schema's fields, so it is no header"
                                .into(),
                        );
                    }
                    state.pending = Some(Learned::Header(names));
                    return Ok(Reading::Filtered(Filter::Header));
                }
                // concatenated files repeat the header
                Some(header) if values.iter().map(|value| value.trim()).eq(header) => {
                    return Ok(Reading::Filtered(Filter::Header));
                }
                Some(_) => {}
            }
        }
        let columns = state
            .header
            .as_ref()
            .filter(|_| self.columns.is_empty())
            .unwrap_or(&self.columns);
        count(&values, columns.len())?;
        let row: Row<'_> = columns
            .iter()
            .map(String::as_str)
            .zip(values)
            .filter(|(name, _)| !name.is_empty())
            .collect();
        out.push(self.options.write(&row, root));
        Ok(Reading::Written)
    }
}

fn count(values: &[Cow<'_, str>], expected: usize) -> Result<(), String> {
    if values.len() == expected {
        return Ok(());
    }
    Err(format!("has {} columns, not {expected}", values.len()))
}

/// The values of a line, and whether the last value has its closing quote, if it needs one.
fn split_quoted(line: &str, delimiter: char) -> (Vec<Cow<'_, str>>, bool) {
    let mut closed = true;
    let mut values = Vec::with_capacity(32);
    let mut rest = line;
    loop {
        let (value, after) = match rest.strip_prefix('"') {
            Some(quoted) => {
                let (value, after, whole) = unquote(quoted, delimiter);
                closed = whole;
                (value, after)
            }
            None => match rest.split_once(delimiter) {
                Some((value, after)) => (Cow::Borrowed(value), Some(after)),
                None => (Cow::Borrowed(rest), None),
            },
        };
        values.push(value);
        match after {
            Some(after) => rest = after,
            None => return (values, closed),
        }
    }
}

/// Parses a value after its opening quote. Returns the value, the text after the next delimiter, and whether there was a closing quote.
/// Without a closing quote the value is the rest of the line.
fn unquote(text: &str, delimiter: char) -> (Cow<'_, str>, Option<&str>, bool) {
    let mut from = 0;
    while let Some(at) = text
        .get(from..)
        .and_then(|rest| rest.find('"'))
        .map(|at| from + at)
    {
        let after = text.get(at + 1..).unwrap_or_default();
        if after.starts_with('"') {
            from = at + 2;
            continue;
        }
        let value = text.get(..at).unwrap_or_default();
        if after.is_empty() {
            return (single(value), None, true);
        }
        if let Some(after) = after.strip_prefix(delimiter) {
            return (single(value), Some(after), true);
        }
        from = at + 1;
    }
    (single(text), None, false)
}

/// Replaces each doubled quote by a single one.
fn single(value: &str) -> Cow<'_, str> {
    if value.contains("\"\"") {
        Cow::Owned(value.replace("\"\"", "\""))
    } else {
        Cow::Borrowed(value)
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    #[test]
    fn quotes_are_read_leniently() {
        for (line, expected) in [
            ("a,b,c", vec!["a", "b", "c"]),
            ("", vec![""]),
            (",", vec!["", ""]),
            ("\"a,b\",c", vec!["a,b", "c"]),
            ("\"a\"\"b\",c", vec!["a\"b", "c"]),
            ("\"\",c", vec!["", "c"]),
            ("a\"b,c", vec!["a\"b", "c"]),
            ("\"GET /?q=\"x\" HTTP\",c", vec!["GET /?q=\"x\" HTTP", "c"]),
            ("\"open,c", vec!["open,c"]),
            ("\"a\",", vec!["a", ""]),
        ] {
            assert_eq!(split_quoted(line, ',').0, expected, "{line}");
        }
    }

    proptest! {
        #[test]
        fn what_is_quoted_comes_back(values in prop::collection::vec("[a-z,\" \u{e9}]{0,8}", 1..6)) {
            let line: Vec<String> = values.iter().map(|value| format!("\"{}\"", value.replace('"', "\"\""))).collect();
            let line = line.join(",");
            prop_assert_eq!(split_quoted(&line, ','), (values.into_iter().map(Cow::from).collect(), true));
        }

        #[test]
        fn nothing_panics(line in any::<String>()) {
            split_quoted(&line, ' ');
            split_quoted(&line, '\u{e9}');
        }
    }
}
