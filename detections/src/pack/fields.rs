//! Typed access to one item's YAML keys: every wrong type, missing or unknown key becomes a [`Problem`] and reading goes on.

use std::collections::BTreeMap;

use serde_json::{Map, Value};

use super::Problem;
use super::nearest::nearest;
use super::schema::{Effect, Key};

/// Longest id, display name and single list entry, in characters.
pub(crate) const MAX_ID: usize = 1_000;
/// Longest description, reference and runbook, in characters.
pub(crate) const MAX_TEXT: usize = 10_000;
/// Longest Python body, in characters.
pub(crate) const MAX_BODY: usize = 100_000;
/// Most entries of a list (log types, tags, destinations, tests, mappings).
pub(crate) const MAX_ENTRIES: usize = 500;

/// One mapping of a YAML file, and where its problems go.
pub(crate) struct Fields<'m, 'p> {
    file: &'m str,
    /// Where in the file the mapping stands, as a prefix of its keys: empty, or like `Tests[2].`.
    place: String,
    map: &'m Map<String, Value>,
    problems: &'p mut Vec<Problem>,
}

impl<'m, 'p> Fields<'m, 'p> {
    pub(crate) fn new(
        file: &'m str,
        place: impl Into<String>,
        map: &'m Map<String, Value>,
        problems: &'p mut Vec<Problem>,
    ) -> Self {
        Self {
            file,
            place: place.into(),
            map,
            problems,
        }
    }

    pub(crate) fn problem(&mut self, key: &str, reason: impl Into<String>) {
        self.problems.push(Problem {
            file: self.file.to_owned(),
            key: Some(format!("{}{key}", self.place)),
            reason: reason.into(),
        });
    }

    pub(crate) fn has(&self, key: &str) -> bool {
        self.map.get(key).is_some_and(|value| !value.is_null())
    }

    pub(crate) fn value(&self, key: &str) -> Option<&'m Value> {
        self.map.get(key).filter(|value| !value.is_null())
    }

    /// Refuses each key that is not in `known`: a misspelt `Threshold` must not be taken for an absent one. Gives the keys that have no effect, with the reason.
    pub(crate) fn only(&mut self, known: &[&[Key]]) -> Vec<(String, &'static str)> {
        let known = || known.iter().copied().flatten();
        let mut ignored = Vec::new();
        for (key, value) in self.map {
            let found = known().find(|candidate| candidate.name == key);
            match found.map(|found| found.effect) {
                Some(Effect::Ignored(reason)) if !value.is_null() => {
                    ignored.push((key.clone(), reason));
                }
                Some(_) => {}
                None => {
                    let meant = nearest(key, known().map(|candidate| candidate.name));
                    let reason = match meant {
                        Some(meant) => format!("unknown key; did you mean {meant}?"),
                        None => "unknown key".to_owned(),
                    };
                    self.problem(key, reason);
                }
            }
        }
        ignored
    }

    pub(crate) fn text(&mut self, key: &str, max: usize) -> Option<String> {
        match self.value(key)? {
            Value::String(text) => {
                let length = text.chars().count();
                if length > max {
                    self.problem(key, format!("{length} characters; at most {max}"));
                }
                Some(text.clone())
            }
            other => {
                self.problem(key, format!("must be a text, not {}", kind(other)));
                None
            }
        }
    }

    pub(crate) fn required_text(&mut self, key: &str, max: usize) -> Option<String> {
        if !self.has(key) {
            self.problem(key, "is missing");
            return None;
        }
        let text = self.text(key, max)?;
        if text.trim().is_empty() {
            self.problem(key, "must not be empty");
            return None;
        }
        Some(text)
    }

    /// An id: text without the characters that break links and XML.
    pub(crate) fn id(&mut self, key: &str) -> Option<String> {
        let id = self.required_text(key, MAX_ID)?;
        if id.contains(['<', '>', '&', '"', '%']) || id.chars().any(char::is_control) {
            self.problem(
                key,
                "must not contain any of < > & \" % or control characters",
            );
        }
        Some(id)
    }

    pub(crate) fn boolean(&mut self, key: &str) -> Option<bool> {
        match self.value(key)? {
            Value::Bool(value) => Some(*value),
            other => {
                self.problem(key, format!("must be true or false, not {}", kind(other)));
                None
            }
        }
    }

    pub(crate) fn unsigned(&mut self, key: &str, max: u64) -> Option<u64> {
        let value = self.value(key)?;
        match value.as_u64() {
            Some(number) if number <= max => Some(number),
            Some(number) => {
                self.problem(key, format!("{number} is more than {max}"));
                None
            }
            None => {
                self.problem(
                    key,
                    format!("must be a whole number of at least 0, not {}", shown(value)),
                );
                None
            }
        }
    }

    /// A list of texts; numbers are taken as written, since control ids such as `3.5` are.
    pub(crate) fn texts(&mut self, key: &str) -> Vec<String> {
        let Some(value) = self.value(key) else {
            return Vec::new();
        };
        self.texts_of(key, value)
    }

    fn texts_of(&mut self, key: &str, value: &Value) -> Vec<String> {
        let Value::Array(items) = value else {
            self.problem(key, format!("must be a list of texts, not {}", kind(value)));
            return Vec::new();
        };
        if items.len() > MAX_ENTRIES {
            self.problem(
                key,
                format!("{} entries; at most {MAX_ENTRIES}", items.len()),
            );
        }
        let mut texts = Vec::with_capacity(items.len());
        for (index, item) in items.iter().enumerate() {
            match item {
                Value::String(text) if text.chars().count() <= MAX_ID => texts.push(text.clone()),
                Value::String(_) => self.problem(
                    &format!("{key}[{index}]"),
                    format!("more than {MAX_ID} characters"),
                ),
                Value::Number(number) => texts.push(number.to_string()),
                other => self.problem(
                    &format!("{key}[{index}]"),
                    format!("must be a text, not {}", kind(other)),
                ),
            }
        }
        texts
    }

    /// A mapping of name to list of texts, each sorted.
    pub(crate) fn reports(&mut self, key: &str) -> BTreeMap<String, Vec<String>> {
        let mut reports = BTreeMap::new();
        match self.value(key) {
            None => {}
            Some(Value::Object(map)) => {
                for (name, value) in map {
                    let mut ids = self.texts_of(&format!("{key}.{name}"), value);
                    ids.sort();
                    reports.insert(name.clone(), ids);
                }
            }
            Some(other) => self.problem(
                key,
                format!(
                    "must be a mapping of framework to list, not {}",
                    kind(other)
                ),
            ),
        }
        reports
    }

    /// A mapping of texts; other values are taken as JSON text.
    pub(crate) fn parameters(&mut self, key: &str) -> BTreeMap<String, String> {
        let mut parameters = BTreeMap::new();
        match self.value(key) {
            None => {}
            Some(Value::Object(map)) => {
                for (name, value) in map {
                    let text = value.as_str().map(str::to_owned);
                    parameters.insert(name.clone(), text.unwrap_or_else(|| value.to_string()));
                }
            }
            Some(other) => self.problem(key, format!("must be a mapping, not {}", kind(other))),
        }
        parameters
    }

    /// The mappings in a list, each with its place; entries of another type are problems.
    pub(crate) fn mappings(&mut self, key: &str) -> Vec<(String, &'m Map<String, Value>)> {
        let items = match self.value(key) {
            None => return Vec::new(),
            Some(Value::Array(items)) => items,
            Some(other) => {
                self.problem(
                    key,
                    format!("must be a list of mappings, not {}", kind(other)),
                );
                return Vec::new();
            }
        };
        if items.len() > MAX_ENTRIES {
            self.problem(
                key,
                format!("{} entries; at most {MAX_ENTRIES}", items.len()),
            );
        }
        let mut maps = Vec::with_capacity(items.len());
        for (index, item) in items.iter().enumerate() {
            match item {
                Value::Object(map) => maps.push((format!("{}{key}[{index}].", self.place), map)),
                other => self.problem(
                    &format!("{key}[{index}]"),
                    format!("must be a mapping, not {}", kind(other)),
                ),
            }
        }
        maps
    }
}

/// What a value is, for messages.
pub(crate) fn kind(value: &Value) -> &'static str {
    match value {
        Value::Null => "nothing",
        Value::Bool(_) => "a boolean",
        Value::Number(_) => "a number",
        Value::String(_) => "a text",
        Value::Array(_) => "a list",
        Value::Object(_) => "a mapping",
    }
}

fn shown(value: &Value) -> String {
    match value {
        Value::Number(number) => number.to_string(),
        Value::String(text) => format!("the text {text:?}"),
        other => kind(other).to_owned(),
    }
}
