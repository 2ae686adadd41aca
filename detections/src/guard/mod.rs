//! Which rules an event cannot match, decided without Python.
//!
//! A [`Guard`] is a condition that holds whenever a rule's `rule()` returns True, raises, or does something that outlives the event. It is taken from
//! the rule's syntax tree by the Python side. Where a guard is false the pair of event and rule needs no evaluation; where it is true, or where the
//! event is too odd to tell, the pair is evaluated. So every doubt is answered by "true", and a guard never changes a result.

mod condition;
mod index;
mod scan;

use serde_json::Value;

pub use index::Index;

/// A condition on an event.
#[derive(Debug, Clone, PartialEq)]
pub enum Guard {
    /// Holds for every event: nothing is known.
    Always,
    /// Holds for no event.
    Never,
    /// All of them hold.
    All(Vec<Guard>),
    /// At least one holds.
    Any(Vec<Guard>),
    /// The value at a path passes a test.
    Field(Vec<String>, Test),
    /// The value at a path fails a test.
    NotField(Vec<String>, Test),
}

/// A test of one value of an event. Keys are looked up without regard to case; a text test fails for
/// what is no text.
#[derive(Debug, Clone, PartialEq)]
pub enum Test {
    /// Equal, as Python compares, to one of these; a path that leads nowhere equals null. No lists or
    /// mappings among them.
    In(Vec<Value>),
    /// A text whose lower case is one of these.
    LowerIn(Vec<String>),
    /// True as Python takes it.
    Truthy,
    /// A text that starts with one of these.
    Prefix(Vec<String>),
    /// A text that ends with one of these.
    Suffix(Vec<String>),
    /// A text that contains one of these.
    Contains(Vec<String>),
    /// Of one of these types.
    OfType(Vec<JsonType>),
}

/// The types that a value of an event can have.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum JsonType {
    /// The path leads nowhere.
    Missing,
    /// `null`.
    Null,
    /// `true` or `false`.
    Bool,
    /// A number.
    Number,
    /// A text.
    Text,
    /// A list.
    List,
    /// A mapping.
    Mapping,
}

impl JsonType {
    fn from_name(name: &str) -> Option<Self> {
        Some(match name {
            "missing" => Self::Missing,
            "null" => Self::Null,
            "bool" => Self::Bool,
            "number" => Self::Number,
            "string" => Self::Text,
            "array" => Self::List,
            "object" => Self::Mapping,
            _ => return None,
        })
    }
}

impl Guard {
    /// Reads the JSON form. What it does not know is [`Guard::Always`]: an unknown condition must not
    /// hide an event.
    #[must_use]
    pub fn from_json(json: &Value) -> Self {
        match json {
            Value::Bool(false) => Self::Never,
            Value::Object(map) if map.len() == 1 => map
                .iter()
                .next()
                .and_then(|(operator, operand)| Self::operator(operator, operand))
                .unwrap_or(Self::Always),
            _ => Self::Always,
        }
    }

    fn operator(operator: &str, operand: &Value) -> Option<Self> {
        if operator == "not" {
            return match Self::from_json(operand) {
                Self::Field(path, test) => Some(Self::NotField(path, test)),
                _ => None,
            };
        }
        let items = operand.as_array()?;
        match operator {
            "all" => return Some(Self::all(items.iter().map(Self::from_json))),
            "any" => return Some(Self::any(items.iter().map(Self::from_json))),
            _ => {}
        }
        // `{"truthy": path}`; the others are `{operator: [path, operand]}`.
        let path = match items.first()? {
            Value::Array(path) => path,
            _ if operator == "truthy" => items,
            _ => return None,
        };
        let path = texts(path)?;
        if path.is_empty() {
            return None;
        }
        let value = items.get(1);
        let several = || match value? {
            Value::Array(values) => texts(values),
            Value::String(text) => Some(vec![text.clone()]),
            _ => None,
        };
        let test = match operator {
            "eq" => Test::In(vec![scalar(value?)?]),
            "in" => Test::In(
                value?
                    .as_array()?
                    .iter()
                    .map(scalar)
                    .collect::<Option<_>>()?,
            ),
            "ieq" => Test::LowerIn(several()?),
            "truthy" => Test::Truthy,
            "prefix" => Test::Prefix(several()?),
            "suffix" => Test::Suffix(several()?),
            "contains" => Test::Contains(several()?),
            "type" => Test::OfType(
                several()?
                    .iter()
                    .map(|name| JsonType::from_name(name))
                    .collect::<Option<_>>()?,
            ),
            _ => return None,
        };
        Some(Self::Field(path, test))
    }

    fn all(guards: impl Iterator<Item = Self>) -> Self {
        let mut kept = Vec::new();
        for guard in guards {
            match guard {
                Self::Always => {}
                Self::Never => return Self::Never,
                Self::All(inner) => kept.extend(inner),
                other => kept.push(other),
            }
        }
        match kept.len() {
            0 => Self::Always,
            1 => kept.remove(0),
            _ => Self::All(kept),
        }
    }

    fn any(guards: impl Iterator<Item = Self>) -> Self {
        let mut kept = Vec::new();
        for guard in guards {
            match guard {
                Self::Never => {}
                Self::Always => return Self::Always,
                Self::Any(inner) => kept.extend(inner),
                other => kept.push(other),
            }
        }
        match kept.len() {
            0 => Self::Never,
            1 => kept.remove(0),
            _ => Self::Any(kept),
        }
    }
}

fn texts(values: &[Value]) -> Option<Vec<String>> {
    values
        .iter()
        .map(|value| value.as_str().map(str::to_owned))
        .collect()
}

fn scalar(value: &Value) -> Option<Value> {
    (!value.is_array() && !value.is_object()).then(|| value.clone())
}
