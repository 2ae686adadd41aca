//! Fastmatch parser: fields between fixed texts, such as `%{host} - [%{time}] "%{request}"`. One pass over the line, without backtracking.

use std::borrow::Cow;

use super::{
    Reading, State,
    row::{Row, RowOptions},
};
use crate::schema::{ObjectType, PatternFile};

/// The compiled `fastmatch` parser.
#[derive(Debug)]
pub(crate) struct Fastmatch {
    /// The patterns, tried in this order on every line.
    patterns: Vec<Matcher>,
    skip_lines: u64,
    skip_prefix: Option<String>,
    options: RowOptions,
}

#[derive(Debug)]
struct Matcher {
    prefix: String,
    fields: Vec<Placeholder>,
}

/// A field and the delimiter that ends it.
#[derive(Debug)]
struct Placeholder {
    /// Name of the field; empty if the field is discarded.
    name: String,
    delimiter: String,
    /// The quote character around the field. It can be escaped within the field.
    quote: Option<char>,
}

impl Fastmatch {
    pub(super) fn compile(file: &PatternFile) -> Result<Self, (&'static str, String)> {
        if file.patterns.is_empty() {
            return Err(("match", "needs at least one pattern".into()));
        }
        if !file.pattern_definitions.is_empty() {
            return Err(("patternDefinitions", "belong to the regex parser".into()));
        }
        Ok(Self {
            patterns: file
                .patterns
                .iter()
                .map(|pattern| Matcher::compile(pattern))
                .collect::<Result<_, _>>()
                .map_err(|problem| ("match", problem))?,
            skip_lines: file.skip_lines,
            skip_prefix: file.skip_prefix.clone(),
            options: RowOptions::compile(&file.empty_values, file.trim_space, &file.expand_fields)?,
        })
    }

    pub(super) fn read(
        &self,
        line: &str,
        root: &ObjectType,
        state: &mut State,
        out: &mut Vec<String>,
    ) -> Result<Reading, String> {
        if let Some(filter) = state.filter(line, self.skip_lines, self.skip_prefix.as_deref()) {
            return Ok(Reading::Filtered(filter));
        }
        let mut reasons = String::new();
        for pattern in &self.patterns {
            match pattern.read(line) {
                Ok(row) => {
                    out.push(self.options.write(&row, root));
                    return Ok(Reading::Written);
                }
                Err(reason) => {
                    if !reasons.is_empty() {
                        reasons.push_str("; ");
                    }
                    reasons.push_str(&reason);
                }
            }
        }
        Err(reasons)
    }
}

impl Matcher {
    fn compile(pattern: &str) -> Result<Self, String> {
        let (prefix, mut rest) = pattern
            .split_once("%{")
            .ok_or_else(|| format!("`{pattern}` has no field `%{{name}}`"))?;
        let mut fields: Vec<Placeholder> = Vec::new();
        let mut before = prefix;
        loop {
            let (name, after) = rest
                .split_once('}')
                .ok_or_else(|| format!("`{pattern}`: a `%{{` has no closing `}}`"))?;
            let (delimiter, next) = match after.split_once("%{") {
                Some((delimiter, next)) => (delimiter, Some(next)),
                None => (after, None),
            };
            if next.is_some() && delimiter.is_empty() {
                return Err(format!(
                    "`{pattern}`: nothing stands between `%{{{name}}}` and the next field to tell where one ends"
                ));
            }
            if !name.is_empty() && fields.iter().any(|field| field.name == name) {
                return Err(format!(
                    "`{pattern}`: the field `{name}` stands there twice"
                ));
            }
            let quote = before
                .chars()
                .last()
                .filter(|last| matches!(last, '"' | '\'') && delimiter.starts_with(*last));
            fields.push(Placeholder {
                name: name.into(),
                delimiter: delimiter.into(),
                quote,
            });
            match next {
                Some(next) => {
                    before = delimiter;
                    rest = next;
                }
                None => {
                    return Ok(Self {
                        prefix: prefix.into(),
                        fields,
                    });
                }
            }
        }
    }

    fn read<'a>(&'a self, line: &'a str) -> Result<Row<'a>, String> {
        let mut rest = line
            .strip_prefix(self.prefix.as_str())
            .ok_or_else(|| format!("does not begin with `{}`", self.prefix))?;
        let mut row = Row::with_capacity(self.fields.len());
        for (index, field) in self.fields.iter().enumerate() {
            let last = index + 1 == self.fields.len();
            let end = if last && field.quote.is_none() {
                rest.strip_suffix(field.delimiter.as_str()).map(str::len)
            } else {
                find_end(rest, &field.delimiter, field.quote)
                    .filter(|end| !last || end + field.delimiter.len() == rest.len())
            };
            let Some(end) = end else {
                return Err(format!(
                    "lacks the `{}` after field `{}`",
                    field.delimiter, field.name
                ));
            };
            let value = rest.get(..end).unwrap_or_default();
            if !field.name.is_empty() {
                row.push((
                    &field.name,
                    field
                        .quote
                        .map_or(Cow::Borrowed(value), |quote| unescape(value, quote)),
                ));
            }
            rest = rest.get(end + field.delimiter.len()..).unwrap_or_default();
        }
        Ok(row)
    }
}

fn find_end(text: &str, delimiter: &str, quote: Option<char>) -> Option<usize> {
    if quote.is_none() {
        return text.find(delimiter);
    }
    let mut from = 0;
    loop {
        let at = from + text.get(from..)?.find(['\\', delimiter.chars().next()?])?;
        if text.get(at..)?.starts_with('\\') {
            // skip the escaped character, whatever its length
            from = at + 1 + text.get(at + 1..)?.chars().next()?.len_utf8();
        } else if text.get(at..)?.starts_with(delimiter) {
            return Some(at);
        } else {
            from = at + 1;
        }
    }
}

/// Resolves escapes of the quote and of the backslash. Other escapes belong to the log and are kept.
pub(super) fn unescape(value: &str, quote: char) -> Cow<'_, str> {
    if !value.contains('\\') {
        return Cow::Borrowed(value);
    }
    let mut out = String::with_capacity(value.len());
    let mut chars = value.chars().peekable();
    while let Some(char) = chars.next() {
        match chars.next_if(|next| char == '\\' && (*next == quote || *next == '\\')) {
            Some(escaped) => out.push(escaped),
            None => out.push(char),
        }
    }
    Cow::Owned(out)
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    fn read(pattern: &str, line: &str) -> Result<Vec<(String, String)>, String> {
        let matcher = Matcher::compile(pattern)?;
        Ok(matcher
            .read(line)?
            .into_iter()
            .map(|(name, text)| (name.into(), text.into()))
            .collect())
    }

    fn fields(pairs: &[(&str, &str)]) -> Vec<(String, String)> {
        pairs
            .iter()
            .map(|(name, text)| (name.to_string(), text.to_string()))
            .collect()
    }

    #[test]
    fn fields_between_fixed_texts() {
        let pattern = "%{host} - [%{time}] \"%{request}\" %{} %{rest}";
        assert_eq!(
            read(
                pattern,
                r#"1.2.3.4 - [now] "GET \"x\" \\ \x22" 200 and all else"#
            ),
            Ok(fields(&[
                ("host", "1.2.3.4"),
                ("time", "now"),
                ("request", r#"GET "x" \ \x22"#),
                ("rest", "and all else")
            ]))
        );
        assert_eq!(read("a=%{a};", "a=1;2;"), Ok(fields(&[("a", "1;2")])));
        assert_eq!(read("\"%{a}\"", "\"x\\\"y\""), Ok(fields(&[("a", "x\"y")])));
        assert_eq!(
            read("\"%{a}\"", "\"x\"y\""),
            Err("lacks the `\"` after field `a`".into())
        );
        assert!(
            read(pattern, "1.2.3.4 [now]")
                .unwrap_err()
                .contains("` - [` after field `host`")
        );
        assert!(
            read("<%{a}>", "x")
                .unwrap_err()
                .contains("does not begin with `<`")
        );
    }

    #[test]
    fn patterns_that_cannot_be() {
        for (pattern, problem) in [
            ("plain", "no field"),
            ("%{a}%{b}", "nothing stands between"),
            ("%{a", "no closing"),
            ("%{a} %{a}", "twice"),
        ] {
            assert!(
                Matcher::compile(pattern).unwrap_err().contains(problem),
                "{pattern}"
            );
        }
    }

    proptest! {
        #[test]
        fn what_is_joined_comes_apart(a in "[^ ]{0,12}", b in "[^|]{0,12}", c in any::<String>()) {
            let line = format!("{a} {b}|{c}");
            prop_assert_eq!(read("%{a} %{b}|%{c}", &line), Ok(fields(&[("a", &a), ("b", &b), ("c", &c)])));
        }

        #[test]
        fn nothing_panics(pattern in "(%\\{[ab]?\\}|[\" \\\\é|]){0,8}", line in any::<String>()) {
            let _ = read(&pattern, &line);
        }
    }
}
