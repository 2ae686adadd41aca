//! A destination with its configuration. Requests and rows hold it in one form: an object whose only key is the type.

use std::sync::Arc;

use serde::de::Error;
use serde_json::{Map, Value};

use super::TYPES;
use super::destination::{Destination, DestinationType, Means};

/// A destination with its configuration; clones share it.
#[derive(Clone)]
pub struct ConfiguredDestination {
    of: &'static DestinationType,
    values: Map<String, Value>,
    pub(super) destination: Arc<dyn Destination>,
}

impl ConfiguredDestination {
    /// The destination that a caller described, checked.
    ///
    /// # Errors
    /// What is wrong with it, for the caller.
    pub(super) fn read(config: &Value, means: &Means) -> Result<Self, String> {
        let one = config.as_object().filter(|object| object.len() == 1);
        let (key, given) = one
            .and_then(|object| object.iter().next())
            .ok_or_else(must_be_one)?;
        let of = TYPES.iter().find(|of| of.spec.key == key);
        let of = of.ok_or_else(must_be_one)?;
        let read = Self::of(of, of.spec.read(given)?);
        let read = read.map_err(|error| format!("outputConfig.{key}: {error}"))?;
        read.destination.check(means)?;
        Ok(read)
    }

    /// The destination that a row holds.
    pub(super) fn from_row(row: &[u8]) -> serde_json::Result<Self> {
        let row: Map<String, Value> = serde_json::from_slice(row)?;
        let entry = row.into_iter().next();
        let (key, values) = entry.ok_or_else(|| Error::custom("it names no type"))?;
        // Old rows name the type in lower case.
        let of = TYPES
            .iter()
            .find(|of| of.spec.key == key || of.spec.row_type() == key)
            .ok_or_else(|| Error::custom(format!("this version has no type {key}")))?;
        Self::of(of, serde_json::from_value(values)?)
    }

    fn of(of: &'static DestinationType, values: Map<String, Value>) -> serde_json::Result<Self> {
        let destination = of.make(values.clone())?;
        Ok(Self {
            of,
            values,
            destination,
        })
    }

    /// As a row holds it, secrets included.
    #[must_use]
    pub fn to_row(&self) -> Vec<u8> {
        self.under_key(self.values.clone()).to_string().into()
    }

    /// The type as rows and answers hold it.
    #[must_use]
    pub fn row_type(&self) -> String {
        self.of.spec.row_type()
    }

    /// Where alerts go, without what is secret.
    #[must_use]
    pub fn address(&self) -> String {
        self.destination.address()
    }

    /// With its secrets blanked.
    #[must_use]
    pub fn shown(&self) -> Value {
        self.under_key(self.of.spec.shown(&self.values))
    }

    fn under_key(&self, values: Map<String, Value>) -> Value {
        let key = self.of.spec.key.to_owned();
        Map::from_iter([(key, values.into())]).into()
    }

    /// Its secrets.
    pub(super) fn secrets(&self) -> impl Iterator<Item = &str> {
        self.of.spec.secrets(&self.values)
    }
}

fn must_be_one() -> String {
    let keys: Vec<&str> = TYPES.iter().map(|of| of.spec.key).collect();
    format!(
        "outputConfig must have one key, which names the type: one of {}",
        keys.join(", ")
    )
}

#[cfg(test)]
mod tests {
    use std::time::Duration;

    use serde_json::json;

    use super::*;
    use crate::destinations::files::Files;
    use crate::destinations::http::HttpPoster;
    use crate::destinations::{DestinationField, FieldForm};
    use crate::egress::Egress;

    fn means() -> Means {
        let _ = rustls::crypto::ring::default_provider().install_default();
        let deadline = Duration::from_secs(1);
        Means {
            http: HttpPoster::new(Egress::without(Vec::new()), deadline).unwrap(),
            files: Files::default(),
            deadline,
        }
    }

    fn example(of: &DestinationType) -> Map<String, Value> {
        serde_json::from_str(of.spec.example).unwrap()
    }

    fn read(key: &str, values: impl Into<Value>) -> Result<ConfiguredDestination, String> {
        let config = Value::from(Map::from_iter([(key.to_owned(), values.into())]));
        ConfiguredDestination::read(&config, &means())
    }

    #[test]
    fn each_type_has_a_name_and_a_key_of_its_own_and_at_most_one_address() {
        for (place, of) in TYPES.iter().enumerate() {
            for other in &TYPES[place + 1..] {
                assert_ne!(of.spec.name, other.spec.name);
                assert_ne!(of.spec.row_type(), other.spec.row_type());
            }
            let addresses = of.spec.fields.iter().filter(|field| field.address);
            assert!(addresses.count() <= 1, "{}", of.spec.name);
        }
    }

    #[test]
    fn each_types_example_is_read_and_comes_back_from_its_row() {
        for of in TYPES {
            let values = example(of);
            let configured = read(of.spec.key, values.clone()).unwrap_or_else(|e| panic!("{e}"));
            for row in [
                configured.to_row(),
                // As the first version wrote it.
                format!(r#"{{"{}": {}}}"#, of.spec.row_type(), json!(values)).into(),
            ] {
                let again = ConfiguredDestination::from_row(&row).unwrap();
                assert_eq!(again.values, values, "{}", of.spec.name);
                assert_eq!(again.address(), configured.address());
                assert_eq!(again.row_type(), of.spec.row_type());
            }
        }
    }

    #[test]
    fn no_types_secret_is_shown() {
        for of in TYPES {
            let configured = read(of.spec.key, example(of)).unwrap_or_else(|e| panic!("{e}"));
            let shown = format!("{} {}", configured.shown(), configured.address());
            let secrets: Vec<&str> = configured.secrets().collect();
            for secret in secrets {
                assert!(!secret.is_empty() && !shown.contains(secret), "{shown}");
            }
            let shown = configured.shown();
            let keys: Vec<&String> = shown[of.spec.key].as_object().unwrap().keys().collect();
            let fields: Vec<&str> = of.spec.fields.iter().map(|field| field.name).collect();
            assert_eq!(keys, fields);
        }
    }

    #[test]
    fn each_type_names_the_field_that_is_wrong() {
        let wrong = |field: &DestinationField| match field.form {
            FieldForm::Text | FieldForm::Path => json!(7),
            FieldForm::List => json!([7]),
        };
        for of in TYPES {
            for field in of.spec.fields {
                let mut values = example(of);
                values.insert(field.name.to_owned(), wrong(field));
                let error = read(of.spec.key, values.clone()).err().unwrap();
                assert!(
                    error.contains(field.name) && error.contains("expected"),
                    "{error}"
                );
                values.remove(field.name);
                let without = read(of.spec.key, values);
                assert_eq!(without.is_err(), field.required, "{}", field.name);
                assert!(without.err().is_none_or(|error| error.contains(field.name)));
            }
            let mut values = example(of);
            values.insert("nmae".to_owned(), json!("x"));
            let error = read(of.spec.key, values).err().unwrap();
            assert!(error.contains("`nmae`"), "{error}");
        }
    }

    #[test]
    fn a_configuration_of_no_type_or_of_two_is_refused_with_the_types_that_exist() {
        for config in [
            json!(null),
            json!({}),
            json!({"pager": {}}),
            json!({"slack": {}, "file": {}}),
        ] {
            let error = ConfiguredDestination::read(&config, &means())
                .err()
                .unwrap();
            for of in TYPES {
                assert!(error.contains(of.spec.key), "{error}");
            }
        }
    }
}
