//! The fields of a destination's configuration: what an operator enters, and which of it is secret.

use serde_json::{Map, Value};

/// What operators and tools know of a type of destination.
#[derive(Debug, Clone, Copy)]
pub struct DestinationSpec {
    /// The word by which an operator names the type.
    pub name: &'static str,
    /// The key of its configuration in `outputConfig`. In lower case it is the `outputType` of a row.
    pub key: &'static str,
    /// What it is, in one sentence.
    pub about: &'static str,
    /// The fields of its configuration.
    pub fields: &'static [DestinationField],
    /// A configuration that passes the check, in JSON.
    pub example: &'static str,
}

/// A field of a configuration.
#[derive(Debug, Clone, Copy)]
pub struct DestinationField {
    /// Its key in JSON.
    pub name: &'static str,
    /// What it is, in one sentence.
    pub about: &'static str,
    /// The form of its value.
    pub form: FieldForm,
    /// A configuration without it is refused.
    pub required: bool,
    /// It is never shown, and is removed from every answer that is kept.
    pub secret: bool,
    /// It says where the alerts go; at most one field of a type does.
    pub address: bool,
}

/// The form of a field's value.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum FieldForm {
    /// A text.
    Text,
    /// A path on the node that delivers.
    Path,
    /// A list of texts.
    List,
}

impl DestinationField {
    /// A text.
    #[must_use]
    pub const fn text(name: &'static str, about: &'static str) -> Self {
        Self {
            name,
            about,
            form: FieldForm::Text,
            required: false,
            secret: false,
            address: false,
        }
    }

    /// The same field in another form.
    #[must_use]
    pub const fn form(self, form: FieldForm) -> Self {
        Self { form, ..self }
    }

    /// The same field, required.
    #[must_use]
    pub const fn required(self) -> Self {
        Self {
            required: true,
            ..self
        }
    }

    /// The same field, secret.
    #[must_use]
    pub const fn secret(self) -> Self {
        Self {
            secret: true,
            ..self
        }
    }

    /// The same field, as the address of the destination.
    #[must_use]
    pub const fn address(self) -> Self {
        Self {
            address: true,
            ..self
        }
    }

    fn check(&self, value: &Value) -> Result<(), String> {
        let is_text = |value: &Value| value.is_string();
        let (is_right, expected) = match self.form {
            FieldForm::Text | FieldForm::Path => (is_text(value), "a string"),
            FieldForm::List => (
                value
                    .as_array()
                    .is_some_and(|items| items.iter().all(is_text)),
                "a list of strings",
            ),
        };
        if is_right {
            return Ok(());
        }
        // A value of the wrong form may be a secret all the same.
        let found = if self.secret {
            "another value".to_owned()
        } else {
            value.to_string()
        };
        Err(format!("expected {expected}, found {found}"))
    }

    fn is_empty(value: &Value) -> bool {
        match value {
            Value::Null => true,
            Value::String(text) => text.is_empty(),
            Value::Array(items) => items.is_empty(),
            _ => false,
        }
    }
}

impl DestinationSpec {
    /// The type as rows and answers hold it.
    #[must_use]
    pub fn row_type(&self) -> String {
        self.key.to_lowercase()
    }

    /// The fields that a caller gave, without those that have no value.
    ///
    /// # Errors
    /// A field is unknown or has a value of another form, or a required one has none. The text names the field.
    pub(super) fn read(&self, given: &Value) -> Result<Map<String, Value>, String> {
        let key = self.key;
        let Value::Object(given) = given else {
            return Err(format!("outputConfig.{key}: expected an object"));
        };
        let mut values = Map::new();
        for (name, value) in given {
            let field = self.fields.iter().find(|field| field.name == name);
            let field = field.ok_or_else(|| {
                let known: Vec<String> = self
                    .fields
                    .iter()
                    .map(|field| format!("`{}`", field.name))
                    .collect();
                format!(
                    "outputConfig.{key}: unknown field `{name}`, expected one of {}",
                    known.join(", ")
                )
            })?;
            if value.is_null() {
                continue;
            }
            field
                .check(value)
                .map_err(|error| format!("outputConfig.{key}.{name}: {error}"))?;
            values.insert(name.clone(), value.clone());
        }
        for field in self.fields.iter().filter(|field| field.required) {
            if values
                .get(field.name)
                .is_none_or(DestinationField::is_empty)
            {
                return Err(format!(
                    "outputConfig.{key} needs {}: {}",
                    field.name, field.about
                ));
            }
        }
        Ok(values)
    }

    /// The fields of a configuration as they are shown: a secret is empty, and a field without a value is null.
    pub(super) fn shown(&self, values: &Map<String, Value>) -> Map<String, Value> {
        let shown = self.fields.iter().map(|field| {
            let value = match values.get(field.name) {
                Some(_) if field.secret => Value::from(""),
                Some(value) => value.clone(),
                None => Value::Null,
            };
            (field.name.to_owned(), value)
        });
        shown.collect()
    }

    /// The secrets of a configuration.
    pub(super) fn secrets<'a>(
        &'a self,
        values: &'a Map<String, Value>,
    ) -> impl Iterator<Item = &'a str> {
        let secret = self.fields.iter().filter(|field| field.secret);
        secret.filter_map(|field| values.get(field.name)?.as_str())
    }
}
