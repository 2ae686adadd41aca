//! Regex parser: lines matched by a regular expression, with named patterns in the style of grok, `%{IP:client} %{WORD:method}`, or with
//! plain `(?P<name>…)` groups.
//!
//! The expression must match the whole line. The regex engine runs in time linear in the length of the line, for every expression.

mod builtin;

use std::{borrow::Cow, collections::BTreeMap, sync::OnceLock};

use regex::Regex;
use regex_automata::{Anchored, Input, hybrid::dfa::DFA};

use super::{
    Reading, State,
    row::{Row, RowOptions},
};
use crate::schema::{ObjectType, PatternFile};

/// Maximum size of an expanded expression, in bytes. Without it, definitions that each double the size could exhaust the memory.
const MAX_EXPANDED: usize = 256 << 10;
/// Maximum length of a line that is explained, in bytes.
const MAX_EXPLAINED: usize = 16 << 10;
/// Length of the text that is shown from the place of a misfit, in characters.
const SHOWN: usize = 40;
/// Maximum nesting depth of patterns.
const MAX_DEPTH: usize = 32;

/// The compiled `regex` parser.
#[derive(Debug)]
pub(crate) struct Pattern {
    regex: Regex,
    /// Finds where a line stops to fit. Built for the first line that does not fit; `None` if the expression has no such form.
    places: OnceLock<Option<Box<DFA>>>,
    /// The field of each capture group; `None` for a group that captures no field.
    fields: Vec<Option<String>>,
    skip_lines: u64,
    skip_prefix: Option<String>,
    options: RowOptions,
}

impl Pattern {
    pub(super) fn compile(
        file: &PatternFile,
        root: &ObjectType,
    ) -> Result<Self, (&'static str, String)> {
        if file.patterns.is_empty() {
            return Err(("match", "needs at least one expression".into()));
        }
        let mut expansion = Expansion {
            definitions: &file.pattern_definitions,
            fields: Vec::new(),
            size: 0,
        };
        let expanded = expansion
            .expand(&file.patterns.concat(), 0)
            .map_err(|problem| ("match", problem))?;
        let regex = Regex::new(&format!("^(?:{expanded})$"))
            .map_err(|error| ("match", format!("is no regular expression: {error}")))?;
        let fields: Vec<Option<String>> = regex
            .capture_names()
            .map(|name| {
                let name = name?;
                let numbered = name
                    .strip_prefix("field__")
                    .and_then(|number| number.parse::<usize>().ok());
                Some(
                    numbered
                        .and_then(|number| expansion.fields.get(number))
                        .map_or(name, String::as_str)
                        .to_string(),
                )
            })
            .collect();
        if !fields
            .iter()
            .flatten()
            .any(|name| root.field(name).is_some())
        {
            return Err(("match", "captures none of the schema's fields".into()));
        }
        Ok(Self {
            regex,
            places: OnceLock::new(),
            fields,
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
        let captures = self
            .regex
            .captures(line)
            .ok_or("does not fit the regular expression")?;
        let row: Row<'_> = self
            .fields
            .iter()
            .zip(captures.iter())
            .filter_map(|(name, found)| Some((name.as_deref()?, Cow::Borrowed(found?.as_str()))))
            .collect();
        out.push(self.options.write(&row, root));
        Ok(Reading::Written)
    }
}

impl Pattern {
    /// Why a line does not fit, with the place. Slower than [`Self::read`], so it is for lines that end in quarantine. `None` if the line fits, or
    /// if the place cannot be found.
    pub(super) fn explain(&self, line: &str) -> Option<String> {
        if line.len() > MAX_EXPLAINED || self.regex.is_match(line) {
            return None;
        }
        let at = self.first_misfit(line)?;
        let rest: String = line.get(at..)?.chars().take(SHOWN).collect();
        Some(if rest.is_empty() {
            "the line ends before the regular expression does".into()
        } else {
            format!("does not fit the regular expression from byte {at} on: `{rest}`")
        })
    }

    /// The index of the first character with which no line that fits could go on.
    fn first_misfit(&self, line: &str) -> Option<usize> {
        let build = || {
            DFA::builder()
                .configure(DFA::config().unicode_word_boundary(true))
                .build(self.regex.as_str())
                .ok()
                .map(Box::new)
        };
        let dfa = self.places.get_or_init(build).as_ref()?;
        let mut cache = dfa.create_cache();
        let input = Input::new(line).anchored(Anchored::Yes);
        let mut state = dfa.start_state_forward(&mut cache, &input).ok()?;
        for (at, byte) in line.bytes().enumerate() {
            state = dfa.next_state(&mut cache, state, byte).ok()?;
            if state.is_quit() {
                return None;
            }
            if state.is_dead() {
                return (0..=at).rev().find(|at| line.is_char_boundary(*at));
            }
        }
        Some(line.len())
    }
}

/// Expands pattern names into their expressions.
struct Expansion<'f> {
    definitions: &'f BTreeMap<String, String>,
    /// Field names by number, because a group name allows fewer characters than a field name.
    fields: Vec<String>,
    size: usize,
}

impl Expansion<'_> {
    fn expand(&mut self, text: &str, depth: usize) -> Result<String, String> {
        if depth > MAX_DEPTH {
            return Err(format!(
                "patterns use each other more than {MAX_DEPTH} deep; does one use itself?"
            ));
        }
        let mut out = String::new();
        let mut rest = text;
        while let Some((before, after)) = rest.split_once("%{") {
            let (reference, after) = after
                .split_once('}')
                .ok_or_else(|| format!("`%{{{after}` has no closing `}}`"))?;
            let (name, field) = match reference.split_once(':') {
                Some((name, field)) => (name, Some(field).filter(|field| !field.is_empty())),
                None => (reference, None),
            };
            let pattern = match self.definitions.get(name) {
                Some(pattern) => pattern.clone(),
                None => builtin::pattern(name)
                    .ok_or_else(|| format!("the pattern `{name}` is not known"))?
                    .to_string(),
            };
            out.push_str(before);
            match field {
                Some(field) => {
                    out.push_str(&format!("(?P<field__{}>", self.fields.len()));
                    self.fields.push(field.into());
                }
                None => out.push_str("(?:"),
            }
            out.push_str(&self.expand(&pattern, depth + 1)?);
            out.push(')');
            rest = after;
        }
        out.push_str(rest);
        self.size += out.len();
        if self.size > MAX_EXPANDED {
            return Err(format!(
                "grows beyond {MAX_EXPANDED} bytes with its patterns put in"
            ));
        }
        Ok(out)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn expand(text: &str, definitions: &[(&str, &str)]) -> Result<String, String> {
        let definitions = definitions
            .iter()
            .map(|(name, text)| (name.to_string(), text.to_string()))
            .collect();
        Expansion {
            definitions: &definitions,
            fields: Vec::new(),
            size: 0,
        }
        .expand(text, 0)
    }

    #[test]
    fn patterns_are_put_in() {
        assert_eq!(
            expand("%{A:x.y} %{A}", &[("A", "%{B}+"), ("B", "[ab]")]),
            Ok("(?P<field__0>(?:[ab])+) (?:(?:[ab])+)".into())
        );
        assert!(
            expand("%{NOPE:x}", &[])
                .unwrap_err()
                .contains("`NOPE` is not known")
        );
        assert!(
            expand("%{A}", &[("A", "%{A}")])
                .unwrap_err()
                .contains("use itself")
        );
        let doubling: Vec<(String, String)> = (0..30)
            .map(|n| (format!("P{n}"), format!("%{{P{}}}%{{P{}}}", n + 1, n + 1)))
            .collect();
        let mut doubling: Vec<(&str, &str)> = doubling
            .iter()
            .map(|(name, text)| (name.as_str(), text.as_str()))
            .collect();
        doubling.push(("P30", "aaaaaaaa"));
        assert!(
            expand("%{P0}", &doubling)
                .unwrap_err()
                .contains("grows beyond")
        );
    }

    #[test]
    fn each_built_in_pattern_takes_what_it_names() {
        let fits = |name: &str, text: &str| {
            let expression = expand(&format!("%{{{name}}}"), &[]).unwrap();
            Regex::new(&format!("^(?:{expression})$"))
                .unwrap_or_else(|error| panic!("{name}: {error}"))
                .is_match(text)
        };
        for (name, good, bad) in [
            ("DATA", "anything", "a\nb"),
            ("GREEDYDATA", "any thing", "a\nb"),
            ("NOTSPACE", "a,b", "a b"),
            ("NS", "a,b", "a b"),
            ("SPACE", "  ", "a"),
            ("WORD", "a_1", "a-1"),
            ("QUOTEDSTRING", "\"a \\\" b\"", "\"a"),
            ("QS", "'a'", "a"),
            ("HEXDIGIT", "f", "g"),
            ("UUID", "0f8fad5b-d9cb-469f-a165-70867728950e", "0f8fad5b"),
            ("INT", "-12", "1.5"),
            ("BASE10NUM", "-1.5", "x"),
            ("NUMBER", "0.25", "1e"),
            ("BASE16NUM", "0xFf", "xyz"),
            ("POSINT", "12", "0"),
            ("NONNEGINT", "0", "-1"),
            ("CISCOMAC", "0123.4567.89ab", "0123.4567"),
            ("WINDOWSMAC", "01-23-45-67-89-AB", "01:23:45:67:89:AB"),
            ("COMMONMAC", "01:23:45:67:89:ab", "01-23-45-67-89-ab"),
            ("MAC", "01:23:45:67:89:ab", "01:23"),
            ("IPV6", "2001:db8::1", "1.2.3.4"),
            ("IPV6", "::ffff:1.2.3.4", "12345::1"),
            ("IPV4", "255.0.10.9", "256.1.1.1"),
            ("IP", "::1", "host"),
            ("HOSTNAME", "a-b.example.com", "-a"),
            ("HOST", "localhost", "a b"),
            ("IPORHOST", "10.0.0.1", "a/b"),
            ("HOSTPORT", "example.com:443", "example.com"),
            ("USERNAME", "a.b-c_1", "a b"),
            ("USER", "root", "a@b"),
            ("UNIXPATH", "/var/log/x.log", "var"),
            ("WINPATH", "C:\\Windows\\x", "/x"),
            ("PATH", "/x", "x"),
            ("TTY", "/dev/pts/0", "pts0"),
            ("URIPROTO", "https", "1:"),
            ("URIHOST", "example.com:80", "/"),
            ("URIPATH", "/a/b%20c", "a"),
            ("URIPARAM", "?a=b&c=d", "a=b"),
            ("URIPATHPARAM", "/a?b=c", "?b=c"),
            ("URI", "https://user@example.com:80/a?b=c", "example.com"),
            ("MONTH", "September", "Sepp"),
            ("MONTHNUM", "9", "13"),
            ("MONTHNUM2", "09", "9"),
            ("MONTHDAY", "31", "32"),
            ("DAY", "Tue", "Tu"),
            ("YEAR", "2026", "20260"),
            ("HOUR", "23", "24"),
            ("MINUTE", "59", "60"),
            ("SECOND", "59.123", "61"),
            ("KITCHEN", "3:04PM", "15:04"),
            ("TIME", "23:59:59", "24:59:59"),
            ("DATE_US", "12/31/2026", "31/12/2026"),
            ("DATE_EU", "31.12.2026", "12.31.2026"),
            ("ISO8601_TIMEZONE", "+01:00", "CET"),
            ("ISO8601_SECOND", "60", "61"),
            ("TIMESTAMP_ISO8601", "2026-11-24T08:00:00.5Z", "2026"),
            ("DATE", "12/31/2026", "2026"),
            ("DATETIME", "12/31/2026 23:59:59", "12/31/2026"),
            ("TZ", "UTC", "utc"),
            ("TZOFFSET", "-0700", "0700"),
            ("TIMESTAMP_RFC822", "Tue Nov 24 2026 08:00:00 UTC", "Nov 24"),
            (
                "TIMESTAMP_RFC2822",
                "Tue, 24 Nov 2026 08:00:00 +0000",
                "24 Nov",
            ),
            ("TIMESTAMP_OTHER", "Tue Nov 24 08:00:00 UTC 2026", "24 Nov"),
            ("TIMESTAMP_EVENTLOG", "20261124080000", "2026"),
            ("SYSLOGTIMESTAMP", "Nov  4 08:00:00", "2026"),
            ("HTTPDATE", "24/Nov/2026:08:00:00 +0000", "24/11/2026"),
            ("PID", "4711", "x"),
        ] {
            assert!(fits(name, good), "{name} should take {good}");
            assert!(!fits(name, bad), "{name} should not take {bad}");
        }
    }
}
