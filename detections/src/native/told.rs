//! What Python tells of a pack that it has loaded, as `_panther_native.py` writes it.

use std::collections::{BTreeMap, HashMap};
use std::fmt;

use serde::de::{self, Deserialize, Deserializer, IgnoredAny, SeqAccess, Visitor};

/// A pack as Python has loaded it.
#[derive(Debug, Default, serde::Deserialize)]
#[serde(default)]
pub(crate) struct Told {
    /// The text of each file by its path; a text that has half of a surrogate pair is missing.
    pub(super) files: BTreeMap<String, Option<String>>,
    /// The functions that detections and data models reach, by a name of their own.
    pub(super) functions: BTreeMap<String, ToldFunction>,
    /// Large containers of libraries, which several functions share.
    pub(super) tables: BTreeMap<String, ToldValue>,
    pub(super) detections: Vec<ToldDetection>,
    pub(super) models: Vec<ToldModel>,
    pub(super) addresses: ToldAddresses,
    /// Whether the interpreter's local time is UTC.
    pub(super) in_utc: bool,
    /// Whether its `fromisoformat` reads `Z` and a second's digits of any number.
    pub(super) iso_zones: bool,
    /// The expressions by which the interpreter reads times, by directive.
    pub(super) times: BTreeMap<String, String>,
    /// The fields of each country, by its code.
    pub(super) countries: BTreeMap<String, BTreeMap<String, ToldValue>>,
}

/// Where a function is written, and the values that it reads.
#[derive(Debug, Default, serde::Deserialize)]
#[serde(default)]
pub(super) struct ToldFunction {
    /// `None`: code without a module.
    pub(super) module: Option<String>,
    pub(super) file: String,
    pub(super) name: String,
    /// The first line, decorators included.
    pub(super) line: u64,
    pub(super) globals: HashMap<String, ToldValue>,
    /// Defaults of the last positional parameters.
    pub(super) defaults: Vec<ToldValue>,
    pub(super) keyword_defaults: HashMap<String, ToldValue>,
    /// The methods that `super()` has in a method.
    #[serde(rename = "super")]
    pub(super) supers: HashMap<String, ToldValue>,
}

/// The functions of a detection by name.
#[derive(Debug, serde::Deserialize)]
pub(super) struct ToldDetection {
    pub(super) index: u32,
    pub(super) functions: HashMap<String, ToldValue>,
}

/// A data model.
#[derive(Debug, Default, serde::Deserialize)]
#[serde(default)]
pub(super) struct ToldModel {
    pub(super) log_type: String,
    pub(super) paths: HashMap<String, Vec<serde_json::Value>>,
    pub(super) methods: HashMap<String, ToldValue>,
    pub(super) told: HashMap<String, String>,
}

/// The networks that the interpreter counts as private.
#[derive(Debug, Default, serde::Deserialize)]
#[serde(default)]
pub(super) struct ToldAddresses {
    pub(super) private: Vec<String>,
    pub(super) not_private: Vec<String>,
}

/// A class of the pack.
#[derive(Debug, Default, serde::Deserialize)]
#[serde(default)]
pub(super) struct ToldClass {
    pub(super) methods: HashMap<String, ToldValue>,
    pub(super) properties: HashMap<String, ToldValue>,
    pub(super) constants: HashMap<String, ToldValue>,
}

/// A value that a function reads.
#[derive(Debug)]
pub(super) enum ToldValue {
    None,
    Bool(bool),
    Int(i64),
    Float(f64),
    Text(String),
    List(Vec<ToldValue>),
    Tuple(Vec<ToldValue>),
    /// A `set` or `frozenset`.
    Set(Vec<ToldValue>),
    Dict(Vec<(ToldValue, ToldValue)>),
    Regex {
        text: String,
        flags: u64,
    },
    /// A `timedelta`, in microseconds.
    Span(i64),
    /// One of [`Told::functions`].
    Function(String),
    /// One of [`Told::tables`].
    Table(String),
    Class(ToldClass),
    /// A class that `namedtuple` makes: its fields.
    NamedTuple(Vec<String>),
    /// A function or class of the language or a library.
    Named(String),
    /// An exception's class.
    Error {
        name: String,
        /// Its own name and those of the classes above it.
        names: Vec<String>,
        /// Whether it takes and shows its arguments as `Exception` does.
        plain: bool,
    },
    /// A module of a library.
    Library(String),
    /// A module of the pack, with the members that the function may mean.
    Module(HashMap<String, ToldValue>),
    /// A value without a form: what it is.
    Unknown(String),
}

/// The letter that a value begins with.
#[derive(Debug, Clone, Copy, serde::Deserialize)]
enum Form {
    K,
    D,
    L,
    T,
    S,
    M,
    R,
    Q,
    F,
    B,
    O,
    Y,
    C,
    E,
    N,
    P,
    X,
}

impl<'de> Deserialize<'de> for ToldValue {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        deserializer.deserialize_seq(FormVisitor)
    }
}

struct FormVisitor;

impl<'de> Visitor<'de> for FormVisitor {
    type Value = ToldValue;

    fn expecting(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        formatter.write_str("a value as [form, ...]")
    }

    fn visit_seq<A: SeqAccess<'de>>(self, mut parts: A) -> Result<ToldValue, A::Error> {
        Ok(match next::<Form, A>(&mut parts)? {
            Form::K => next::<Scalar, A>(&mut parts)?.0,
            Form::D => {
                let text: String = next(&mut parts)?;
                let unknown = |_| ToldValue::Unknown("a float".to_owned());
                text.parse().map_or_else(unknown, ToldValue::Float)
            }
            Form::L => ToldValue::List(next(&mut parts)?),
            Form::T => ToldValue::Tuple(next(&mut parts)?),
            Form::S => ToldValue::Set(next(&mut parts)?),
            Form::M => ToldValue::Dict(next(&mut parts)?),
            Form::R => ToldValue::Regex {
                text: next(&mut parts)?,
                flags: next(&mut parts)?,
            },
            Form::Q => ToldValue::Span(next(&mut parts)?),
            Form::F => ToldValue::Function(next(&mut parts)?),
            Form::B => ToldValue::Table(next(&mut parts)?),
            Form::O => {
                next::<IgnoredAny, A>(&mut parts)?;
                ToldValue::Class(next(&mut parts)?)
            }
            Form::Y => ToldValue::NamedTuple(next(&mut parts)?),
            Form::C => ToldValue::Named(next(&mut parts)?),
            Form::E => ToldValue::Error {
                name: next(&mut parts)?,
                names: next(&mut parts)?,
                plain: next(&mut parts)?,
            },
            Form::N => ToldValue::Library(next(&mut parts)?),
            Form::P => ToldValue::Module(next(&mut parts)?),
            Form::X => ToldValue::Unknown(next(&mut parts)?),
        })
    }
}

fn next<'de, T: Deserialize<'de>, A: SeqAccess<'de>>(parts: &mut A) -> Result<T, A::Error> {
    let part = parts.next_element()?;
    part.ok_or_else(|| de::Error::custom("a value that ends too early"))
}

/// `None`, a boolean, an integer or a text.
struct Scalar(ToldValue);

impl<'de> Deserialize<'de> for Scalar {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        deserializer.deserialize_any(ScalarVisitor).map(Self)
    }
}

struct ScalarVisitor;

impl Visitor<'_> for ScalarVisitor {
    type Value = ToldValue;

    fn expecting(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        formatter.write_str("null, a boolean, an integer or a text")
    }

    fn visit_unit<E: de::Error>(self) -> Result<ToldValue, E> {
        Ok(ToldValue::None)
    }

    fn visit_bool<E: de::Error>(self, value: bool) -> Result<ToldValue, E> {
        Ok(ToldValue::Bool(value))
    }

    fn visit_i64<E: de::Error>(self, value: i64) -> Result<ToldValue, E> {
        Ok(ToldValue::Int(value))
    }

    fn visit_u64<E: de::Error>(self, value: u64) -> Result<ToldValue, E> {
        let unknown = |_| ToldValue::Unknown("a number".to_owned());
        Ok(i64::try_from(value).map_or_else(unknown, ToldValue::Int))
    }

    fn visit_str<E: de::Error>(self, value: &str) -> Result<ToldValue, E> {
        Ok(ToldValue::Text(value.to_owned()))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn told(json: &str) -> Result<String, String> {
        let value: Result<ToldValue, _> = serde_json::from_str(json);
        value.map_or_else(
            |error| Err(error.to_string()),
            |value| Ok(format!("{value:?}")),
        )
    }

    #[test]
    fn each_form_is_the_value_that_it_stands_for() {
        for (json, value) in [
            (r#"["K",null]"#, "None"),
            (r#"["K",-3]"#, "Int(-3)"),
            (r#"["K","K"]"#, r#"Text("K")"#),
            (r#"["K",9223372036854775807]"#, "Int(9223372036854775807)"),
            (r#"["D","1e+300"]"#, "Float(1e300)"),
            (r#"["D","inf"]"#, "Float(inf)"),
            (
                r#"["L",[["K",true],["X","file"]]]"#,
                r#"List([Bool(true), Unknown("file")])"#,
            ),
            (
                r#"["M",[[["K",1],["T",[]]]]]"#,
                "Dict([(Int(1), Tuple([]))])",
            ),
            (r#"["R","a+",32]"#, r#"Regex { text: "a+", flags: 32 }"#),
            (
                r#"["E","m.E",["m.E","Exception"],true]"#,
                r#"Error { name: "m.E", names: ["m.E", "Exception"], plain: true }"#,
            ),
        ] {
            assert_eq!(told(json).unwrap(), value);
        }
    }

    #[test]
    fn what_is_no_form_is_refused() {
        for json in [
            "3",
            "[]",
            r#"["K"]"#,
            r#"["Z",1]"#,
            r#"["K",1,2]"#,
            r#"["F",1]"#,
            r#"["K",1.5]"#,
        ] {
            assert!(told(json).is_err(), "{json}");
        }
    }
}
