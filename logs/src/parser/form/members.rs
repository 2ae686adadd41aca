//! The members of an object whose names come from a text: a name can come more than once.

use std::{borrow::Cow, collections::HashMap};

use crate::json::push_quoted;

/// Names and their JSON values, in order of appearance. A repeated name becomes an array of its values, so that none is lost.
#[derive(Default)]
pub(super) struct Members<'t> {
    members: Vec<(Cow<'t, str>, Vec<String>)>,
    places: HashMap<Cow<'t, str>, usize>,
}

impl<'t> Members<'t> {
    pub(super) fn add(&mut self, name: impl Into<Cow<'t, str>>, value: String) {
        let name = name.into();
        let next = self.members.len();
        let place = *self.places.entry(name.clone()).or_insert(next);
        match self.members.get_mut(place) {
            Some((_, values)) => values.push(value),
            None => self.members.push((name, vec![value])),
        }
    }

    pub(super) fn is_empty(&self) -> bool {
        self.members.is_empty()
    }

    /// Appends the object.
    pub(super) fn write(&self, out: &mut String) {
        self.write_with(|_| false, out);
    }

    /// Appends the object. A name for which `is_list` is true has an array also for a single value.
    pub(super) fn write_with(&self, is_list: impl Fn(&str) -> bool, out: &mut String) {
        out.push('{');
        for (index, (name, values)) in self.members.iter().enumerate() {
            if index > 0 {
                out.push(',');
            }
            push_quoted(name, out);
            out.push(':');
            match values.as_slice() {
                [one] if !is_list(name) => out.push_str(one),
                several => {
                    out.push('[');
                    out.push_str(&several.join(","));
                    out.push(']');
                }
            }
        }
        out.push('}');
    }
}

/// Resolves escapes: `\\` followed by a character for which `of` gives another one. Other escapes stay as they are.
pub(super) fn unescape(text: &str, of: impl Fn(char) -> Option<char>) -> Cow<'_, str> {
    if !text.contains('\\') {
        return Cow::Borrowed(text);
    }
    let mut out = String::with_capacity(text.len());
    let mut chars = text.chars();
    while let Some(char) = chars.next() {
        if char != '\\' {
            out.push(char);
            continue;
        }
        match chars.clone().next().and_then(&of) {
            Some(meant) => {
                chars.next();
                out.push(meant);
            }
            None => out.push('\\'),
        }
    }
    Cow::Owned(out)
}
