//! Events that nobody wrote: those of unit tests with a field or three changed, at which two ways of evaluating a rule may part.

use rand::rngs::StdRng;
use rand::seq::IndexedRandom;
use rand::{Rng, SeedableRng};
use serde_json::{Map, Value, json};

/// Values inside the events themselves that may take the place of others.
const MOST_FOUND: usize = 1000;

/// Makes events of events. The same seed gives the same.
#[derive(Debug)]
pub struct Changes {
    chance: StdRng,
    /// What a field may hold instead: the values at which languages differ, and what the events hold elsewhere.
    instead: Vec<Value>,
}

impl Changes {
    /// For events like these.
    #[must_use]
    pub fn new<'a>(seed: u64, events: impl IntoIterator<Item = &'a Value>) -> Self {
        let mut found = Vec::new();
        for event in events {
            within(event, &mut found);
        }
        let mut instead = odd();
        instead.extend(found.into_iter().cloned());
        Self {
            chance: StdRng::seed_from_u64(seed),
            instead,
        }
    }

    /// An event with one to three changes.
    pub fn of(&mut self, event: &Value) -> Value {
        let mut changed = event.clone();
        for _ in 0..[1, 1, 2, 3][self.chance.random_range(0..4)] {
            self.change(&mut changed);
        }
        changed
    }

    /// Changes one thing somewhere inside.
    fn change(&mut self, event: &mut Value) {
        let Some(mut below) = size(event).checked_sub(1) else {
            return;
        };
        if below > 0 {
            below = self.chance.random_range(0..below);
        }
        self.change_at(event, &mut below);
    }

    /// Changes the value that so many others come before; false if it is not in here.
    fn change_at(&mut self, within: &mut Value, before: &mut usize) -> bool {
        match within {
            Value::Object(members) => {
                let keys: Vec<String> = members.keys().cloned().collect();
                for key in keys {
                    if *before == 0 {
                        self.change_member(members, &key);
                        return true;
                    }
                    *before -= 1;
                    if members
                        .get_mut(&key)
                        .is_some_and(|member| self.change_at(member, before))
                    {
                        return true;
                    }
                }
            }
            Value::Array(items) => {
                for place in 0..items.len() {
                    if *before == 0 {
                        if self.chance.random_ratio(1, 10) {
                            items.remove(place);
                        } else {
                            self.change_value(&mut items[place]);
                        }
                        return true;
                    }
                    *before -= 1;
                    if self.change_at(&mut items[place], before) {
                        return true;
                    }
                }
            }
            _ => {}
        }
        false
    }

    fn change_member(&mut self, members: &mut Map<String, Value>, key: &str) {
        match self.chance.random_range(0..10) {
            0 => drop(members.shift_remove(key)),
            1 => {
                let other = self.recased(key);
                let renamed = std::mem::take(members).into_iter().map(|(name, value)| {
                    if name == key {
                        (other.clone(), value)
                    } else {
                        (name, value)
                    }
                });
                *members = renamed.collect();
            }
            2 => {
                let other = self.recased(key);
                let value = self.other();
                members.insert(other, value);
            }
            _ => {
                if let Some(value) = members.get_mut(key) {
                    self.change_value(value);
                }
            }
        }
    }

    fn change_value(&mut self, value: &mut Value) {
        let taken = value.take();
        *value = match (self.chance.random_range(0..8), taken) {
            (0, value) => json!([value]),
            (1, Value::Array(items)) if !items.is_empty() => items[0].clone(),
            (1, Value::String(text)) => self.recased(&text).into(),
            (2, Value::String(text)) => self.cut(&text).into(),
            (3, Value::Number(number)) => number.to_string().into(),
            (3, Value::Bool(value)) => value.to_string().into(),
            _ => self.other(),
        };
    }

    fn other(&mut self) -> Value {
        let other = self.instead.choose(&mut self.chance);
        other.cloned().unwrap_or_default()
    }

    fn recased(&mut self, text: &str) -> String {
        match self.chance.random_range(0..3) {
            0 => text.to_uppercase(),
            1 => text.to_lowercase(),
            _ => {
                let mut letters = text.chars();
                let first = letters.next().into_iter().flat_map(|first| {
                    if first.is_lowercase() {
                        first.to_uppercase().collect::<Vec<_>>()
                    } else {
                        first.to_lowercase().collect()
                    }
                });
                first.chain(letters).collect()
            }
        }
    }

    /// A part of a text, or something more than it.
    fn cut(&mut self, text: &str) -> String {
        let letters = text.chars().count();
        let place = self.chance.random_range(0..=letters);
        let (before, after): (String, String) = (
            text.chars().take(place).collect(),
            text.chars().skip(place).collect(),
        );
        match self.chance.random_range(0..6) {
            0 => before,
            1 => after,
            2 => text.repeat(2),
            3 => format!("{text}\n"),
            4 => format!("{before}é{after}"),
            _ => format!("{before} {after}"),
        }
    }
}

/// Values in a value, itself among them.
fn size(value: &Value) -> usize {
    1 + match value {
        Value::Object(members) => members.values().map(size).sum(),
        Value::Array(items) => items.iter().map(size).sum(),
        _ => 0,
    }
}

fn within<'a>(value: &'a Value, found: &mut Vec<&'a Value>) {
    let inner: Box<dyn Iterator<Item = &Value>> = match value {
        Value::Object(members) => Box::new(members.values()),
        Value::Array(items) => Box::new(items.iter()),
        _ => return,
    };
    for value in inner {
        if found.len() >= MOST_FOUND {
            return;
        }
        found.push(value);
        within(value, found);
    }
}

/// Values at which languages differ.
fn odd() -> Vec<Value> {
    let texts = [
        "",
        " ",
        "x",
        "None",
        "0",
        "1.5",
        "true",
        "a'b",
        "a\"b",
        "a'b\"c",
        "back\\slash",
        "line\nbreak",
        "end\n",
        "tab\t",
        "\0",
        "\u{1c}",
        "\u{7f}",
        "é",
        "ß",
        "İstanbul",
        "ﬁ",
        "\u{212a}",
        "日本",
        "😀",
        "\u{2028}",
        "10.0.0.1",
        "8.8.8.8",
        "100.64.0.1",
        "::1",
        "fe80::1",
        "999.1.1.1",
        "10.0.0.0/8",
        "a@b.example",
        "arn:aws:iam::123456789012:user/x",
        "2024-01-02T03:04:05Z",
        "2024-01-02 03:04:05.678",
        "1700000000",
        "*",
        "a,b",
        "a/b/c",
        "a:b",
        "%20",
        "{}",
        "{\"a\": 1}",
        "[1]",
    ];
    let others = [
        json!(null),
        json!(true),
        json!(false),
        json!(0),
        json!(1),
        json!(-1),
        json!(7),
        json!(1_i64 << 31),
        json!(i64::MAX),
        json!(u64::MAX),
        json!(0.0),
        json!(1.5),
        json!(-0.25),
        json!(1e16),
        json!(1e22),
        json!(1e-7),
        json!([]),
        json!([null]),
        json!(["x"]),
        json!(["x", "y"]),
        json!([1, "1", 1.0, true]),
        json!([[]]),
        json!([["x"]]),
        json!([{}]),
        json!([{"a": 1}]),
        json!({}),
        json!({"a": 1}),
        json!({"A": {"b": []}}),
        json!({"key": "value", "Key": "other"}),
        json!({"": ""}),
    ];
    texts.into_iter().map(Value::from).chain(others).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn events_are_others_and_the_same_under_a_seed() {
        let event = json!({"name": "Create", "list": [1, {"x": null}], "deep": {"a": {"b": "c"}}});
        let made = |seed| -> Vec<Value> {
            let mut changes = Changes::new(seed, [&event]);
            (0..300).map(|_| changes.of(&event)).collect()
        };
        let events = made(7);
        assert_eq!(events, made(7));
        assert_ne!(events, made(8));
        assert!(events.iter().all(Value::is_object));
        let others = events.iter().filter(|made| **made != event).count();
        assert!(others > 280, "{others}");
        // Every place was changed, the deepest too.
        for path in ["/name", "/list", "/list/0", "/list/1/x", "/deep/a/b"] {
            let at = event.pointer(path);
            assert!(events.iter().any(|made| made.pointer(path) != at), "{path}");
        }
    }

    #[test]
    fn nothing_is_made_of_nothing() {
        for event in [json!({}), json!(null), json!([])] {
            assert_eq!(Changes::new(1, [&event]).of(&event), event);
        }
    }
}
