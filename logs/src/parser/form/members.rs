//! The members of an object whose names come from a text: a name can come more than once.

use std::{borrow::Cow, collections::HashMap};

use crate::json::push_quoted;

/// Names and their JSON values, in order of appearance. A repeated name becomes an array of its values, so that none is lost.
#[derive(Default)]
pub(super) struct Members<'t> {
    members: Vec<(&'t str, Vec<String>)>,
    places: HashMap<&'t str, usize>,
}

impl<'t> Members<'t> {
    pub(super) fn add(&mut self, name: &'t str, value: String) {
        let next = self.members.len();
        let place = *self.places.entry(name).or_insert(next);
        match self.members.get_mut(place) {
            Some((_, values)) => values.push(value),
            None => self.members.push((name, vec![value])),
        }
    }

    /// Appends the object.
    pub(super) fn write(&self, out: &mut String) {
        out.push('{');
        for (index, (name, values)) in self.members.iter().enumerate() {
            if index > 0 {
                out.push(',');
            }
            push_quoted(name, out);
            out.push(':');
            match values.as_slice() {
                [one] => out.push_str(one),
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
