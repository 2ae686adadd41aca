//! What Python tells of a pack that it has loaded, as `_panther_native.py` writes it.

use std::collections::{BTreeMap, HashMap};

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

/// A value that a function reads: `[form, value]`.
#[derive(Debug, serde::Deserialize)]
#[serde(tag = "form", content = "value")]
pub(super) enum ToldValue {
    #[serde(rename = "K")]
    Plain(Plain),
    /// As Python writes it.
    #[serde(rename = "D")]
    Float(String),
    #[serde(rename = "L")]
    List(Vec<ToldValue>),
    #[serde(rename = "T")]
    Tuple(Vec<ToldValue>),
    /// A `set` or `frozenset`.
    #[serde(rename = "S")]
    Set(Vec<ToldValue>),
    #[serde(rename = "M")]
    Dict(Vec<(ToldValue, ToldValue)>),
    /// A pattern and its flags.
    #[serde(rename = "R")]
    Regex((String, u64)),
    /// A `timedelta`, in microseconds.
    #[serde(rename = "Q")]
    Span(i64),
    /// One of [`Told::functions`].
    #[serde(rename = "F")]
    Function(String),
    /// One of [`Told::tables`].
    #[serde(rename = "B")]
    Table(String),
    #[serde(rename = "O")]
    Class(ToldClass),
    /// A class that `namedtuple` makes: its fields.
    #[serde(rename = "Y")]
    NamedTuple(Vec<String>),
    /// A function or class of the language or a library.
    #[serde(rename = "C")]
    Named(String),
    #[serde(rename = "E")]
    Error(ToldError),
    /// A module of a library.
    #[serde(rename = "N")]
    Library(String),
    /// A module of the pack, with the members that the function may mean.
    #[serde(rename = "P")]
    Module(HashMap<String, ToldValue>),
    /// A value without a form: what it is.
    #[serde(rename = "X")]
    Unknown(String),
}

/// A value that JSON has as well.
#[derive(Debug, serde::Deserialize)]
#[serde(untagged)]
pub(super) enum Plain {
    None(()),
    Bool(bool),
    Int(i64),
    Text(String),
}

/// An exception's class.
#[derive(Debug, serde::Deserialize)]
pub(super) struct ToldError {
    /// Its own name and those of the classes above it.
    pub(super) names: Vec<String>,
    /// Whether it takes and shows its arguments as `Exception` does.
    pub(super) plain: bool,
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
            (r#"["K",null]"#, "Plain(None(()))"),
            (r#"["K",-3]"#, "Plain(Int(-3))"),
            (r#"["K","K"]"#, r#"Plain(Text("K"))"#),
            (
                r#"["K",9223372036854775807]"#,
                "Plain(Int(9223372036854775807))",
            ),
            (r#"["D","1e+300"]"#, r#"Float("1e+300")"#),
            (
                r#"["L",[["K",true],["X","file"]]]"#,
                r#"List([Plain(Bool(true)), Unknown("file")])"#,
            ),
            (
                r#"["M",[[["K",1],["T",[]]]]]"#,
                "Dict([(Plain(Int(1)), Tuple([]))])",
            ),
            (r#"["R",["a+",32]]"#, r#"Regex(("a+", 32))"#),
            (
                r#"["E",{"names":["m.E","Exception"],"plain":true}]"#,
                r#"Error(ToldError { names: ["m.E", "Exception"], plain: true })"#,
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
