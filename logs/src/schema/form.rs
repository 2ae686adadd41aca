//! Text forms with names of their own for their values. A schema names them as the parser of a log type, or as the form of one field.

use super::file::{KeyValueFile, ParserFile};

/// A text form.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) enum Form {
    Json,
    KeyValue(KeyValue),
    Cef,
    Leef,
    Syslog,
}

/// The options of key=value texts.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct KeyValue {
    /// The text between two pairs; `None` for white space.
    pub(crate) pair_separator: Option<String>,
    pub(crate) key_separator: String,
    /// A word without a key is a field with the value `true`; otherwise it belongs to the value before it.
    pub(crate) flags: bool,
    /// Values that are left out.
    pub(crate) empty_values: Vec<String>,
}

impl Form {
    /// The form of a field, with default options.
    ///
    /// # Errors
    /// The name is not known.
    pub(super) fn named(name: &str) -> Result<Self, String> {
        Ok(match name {
            "json" => Self::Json,
            "keyValue" => {
                Self::key_value(&KeyValueFile::default()).map_err(|(_, problem)| problem)?
            }
            "cef" => Self::Cef,
            "leef" => Self::Leef,
            "syslog" => Self::Syslog,
            other => {
                return Err(format!(
                    "`{other}` is no form of text: use json, keyValue, cef, leef or syslog"
                ));
            }
        })
    }

    /// The form that a parser reads, with its name; `None` for parsers of another kind.
    ///
    /// # Errors
    /// The path of the invalid option, and the reason.
    pub(crate) fn of_parser(file: &ParserFile) -> Result<Option<Self>, (&'static str, String)> {
        Ok(if let Some(options) = &file.key_value {
            Some(Self::key_value(options)?)
        } else if file.cef.is_some() {
            Some(Self::Cef)
        } else if file.leef.is_some() {
            Some(Self::Leef)
        } else if file.syslog.is_some() {
            Some(Self::Syslog)
        } else {
            None
        })
    }

    fn key_value(file: &KeyValueFile) -> Result<Self, (&'static str, String)> {
        let key_separator = file.key_separator.as_deref().unwrap_or("=");
        let pair_separator = file.pair_separator.as_deref();
        for (path, text) in [
            ("keyValue.keySeparator", Some(key_separator)),
            ("keyValue.pairSeparator", pair_separator),
        ] {
            if text.is_some_and(|text| text.is_empty() || text.contains('"')) {
                return Err((path, "must be a text without quotes".into()));
            }
        }
        if pair_separator == Some(key_separator) {
            return Err(("keyValue.pairSeparator", "is the keySeparator too".into()));
        }
        Ok(Self::KeyValue(KeyValue {
            pair_separator: pair_separator
                .filter(|text| !text.trim().is_empty())
                .map(String::from),
            key_separator: key_separator.into(),
            flags: file.flags,
            empty_values: file.empty_values.clone(),
        }))
    }
}
