//! The JSON form of messages, after the names in `proto/`.
//!
//! Numbers of 64 bits are JSON numbers. An optional field without a value is `null`, so that an answer has all its keys. A message [`Json`] is
//! the JSON that it holds.
//!
//! [`Json`]: crate::v1::Json

use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use prost_reflect::{
    DynamicMessage, FieldDescriptor, Kind, MapKey, MessageDescriptor, ReflectMessage,
    Value as Field,
};
use serde_json::{Map, Value};

use crate::v1::Json;

/// The message whose JSON form is the JSON that it holds.
const JSON: &str = "panther.v1.Json";

/// A text that is not of a message's JSON form.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("{}{what}", if .key.is_empty() { String::new() } else { format!("{key}: ") })]
pub struct JsonError {
    /// The key; empty for the whole.
    pub key: String,
    /// What is wrong with its value.
    pub what: String,
}

impl JsonError {
    fn new(what: impl Into<String>) -> Self {
        Self {
            key: String::new(),
            what: what.into(),
        }
    }

    fn at(mut self, key: &str) -> Self {
        self.key = if self.key.is_empty() {
            key.to_owned()
        } else {
            format!("{key}.{}", self.key)
        };
        self
    }
}

impl From<Value> for Json {
    fn from(value: Value) -> Self {
        Self {
            text: value.to_string(),
        }
    }
}

impl Json {
    /// The JSON that it holds; null if the text is not JSON.
    #[must_use]
    pub fn value(&self) -> Value {
        serde_json::from_str(&self.text).unwrap_or_default()
    }
}

/// A message as JSON.
#[must_use]
pub fn value(message: &DynamicMessage) -> Value {
    let form = message.descriptor();
    if form.full_name() == JSON {
        let text = message.get_field_by_name("text");
        let text = text.as_ref().and_then(|text| text.as_str());
        return text
            .and_then(|text| serde_json::from_str(text).ok())
            .unwrap_or_default();
    }
    let mut object = Map::new();
    for field in form.fields() {
        let present = message.has_field(&field);
        let shown = if field.supports_presence() && !present {
            // Of a real oneof only the field that is set is shown.
            match field.containing_oneof() {
                Some(oneof) if !oneof.is_synthetic() => continue,
                _ => Value::Null,
            }
        } else {
            self::field(&field, &message.get_field(&field))
        };
        object.insert(field.json_name().to_owned(), shown);
    }
    Value::Object(object)
}

/// A generated message as JSON; `name` is the message's name in `proto/`. Null if there is no message of that name.
#[must_use]
pub fn of<M: prost::Message>(name: &str, message: &M) -> Value {
    let form = crate::methods::pool().get_message_by_name(&format!("panther.v1.{name}"));
    let encoded = bytes::Bytes::from(message.encode_to_vec());
    form.and_then(|form| DynamicMessage::decode(form, encoded).ok())
        .map(|message| value(&message))
        .unwrap_or_default()
}

/// The value of a field as JSON.
#[must_use]
pub fn field(of: &FieldDescriptor, value: &Field) -> Value {
    match value {
        Field::Bool(flag) => (*flag).into(),
        Field::I32(number) => (*number).into(),
        Field::I64(number) => (*number).into(),
        Field::U32(number) => (*number).into(),
        Field::U64(number) => (*number).into(),
        Field::F32(number) => (*number).into(),
        Field::F64(number) => (*number).into(),
        Field::String(text) => text.as_str().into(),
        Field::Bytes(bytes) => STANDARD.encode(bytes).into(),
        Field::EnumNumber(number) => match of.kind() {
            Kind::Enum(form) => form
                .get_value(*number)
                .map_or_else(|| (*number).into(), |value| value.name().into()),
            _ => (*number).into(),
        },
        Field::Message(message) => self::value(message),
        Field::List(items) => items.iter().map(|item| field(of, item)).collect(),
        Field::Map(entries) => {
            let mut entries: Vec<(String, Value)> = entries
                .iter()
                .map(|(key, value)| (text_of(key), field(of, value)))
                .collect();
            entries.sort_by(|(a, _), (b, _)| a.cmp(b));
            Value::Object(entries.into_iter().collect())
        }
    }
}

fn text_of(key: &MapKey) -> String {
    match key {
        MapKey::Bool(key) => key.to_string(),
        MapKey::I32(key) => key.to_string(),
        MapKey::I64(key) => key.to_string(),
        MapKey::U32(key) => key.to_string(),
        MapKey::U64(key) => key.to_string(),
        MapKey::String(key) => key.clone(),
    }
}

/// A message from its JSON form.
///
/// # Errors
/// A key is unknown, or its value is of another type.
pub fn message(form: &MessageDescriptor, json: &Value) -> Result<DynamicMessage, JsonError> {
    let mut message = DynamicMessage::new(form.clone());
    if form.full_name() == JSON {
        message.set_field_by_name("text", Field::String(json.to_string()));
        return Ok(message);
    }
    let Value::Object(object) = json else {
        return Err(JsonError::new(format!("expected an object, found {json}")));
    };
    for (key, value) in object {
        let field = form.get_field_by_json_name(key).ok_or_else(|| {
            let known: Vec<String> = form
                .fields()
                .map(|field| format!("`{}`", field.json_name()))
                .collect();
            JsonError::new(if known.is_empty() {
                format!("unknown field `{key}`, there are no fields")
            } else {
                format!(
                    "unknown field `{key}`, expected one of {}",
                    known.join(", ")
                )
            })
        })?;
        let is_json = matches!(field.kind(), Kind::Message(form) if form.full_name() == JSON)
            && !field.is_list();
        if value.is_null() && !is_json {
            continue;
        }
        message.set_field(&field, read(&field, value).map_err(|error| error.at(key))?);
    }
    Ok(message)
}

fn read(field: &FieldDescriptor, value: &Value) -> Result<Field, JsonError> {
    if field.is_list() {
        let Value::Array(items) = value else {
            return Err(JsonError::new(format!("expected a list, found {value}")));
        };
        let items: Result<Vec<Field>, JsonError> =
            items.iter().map(|item| one(&field.kind(), item)).collect();
        return Ok(Field::List(items?));
    }
    if field.is_map() {
        let (Value::Object(entries), Kind::Message(entry)) = (value, field.kind()) else {
            return Err(JsonError::new(format!("expected an object, found {value}")));
        };
        let of = entry.map_entry_value_field().kind();
        let mut map = std::collections::HashMap::new();
        for (key, value) in entries {
            let value = one(&of, value).map_err(|error| error.at(key))?;
            map.insert(MapKey::String(key.clone()), value);
        }
        return Ok(Field::Map(map));
    }
    one(&field.kind(), value)
}

fn one(kind: &Kind, value: &Value) -> Result<Field, JsonError> {
    let read = match kind {
        Kind::Bool => value.as_bool().map(Field::Bool),
        Kind::String => value.as_str().map(|text| Field::String(text.to_owned())),
        Kind::Bytes => value
            .as_str()
            .and_then(|text| STANDARD.decode(text).ok())
            .map(|bytes| Field::Bytes(bytes.into())),
        Kind::Double => value.as_f64().map(Field::F64),
        #[allow(clippy::cast_possible_truncation)] // a number of 32 bits is what the field takes
        Kind::Float => value.as_f64().map(|number| Field::F32(number as f32)),
        Kind::Int32 | Kind::Sint32 | Kind::Sfixed32 => value
            .as_i64()
            .and_then(|number| i32::try_from(number).ok())
            .map(Field::I32),
        Kind::Int64 | Kind::Sint64 | Kind::Sfixed64 => value.as_i64().map(Field::I64),
        Kind::Uint32 | Kind::Fixed32 => value
            .as_u64()
            .and_then(|number| u32::try_from(number).ok())
            .map(Field::U32),
        Kind::Uint64 | Kind::Fixed64 => value.as_u64().map(Field::U64),
        Kind::Message(form) => return Ok(Field::Message(message(form, value)?)),
        Kind::Enum(form) => value
            .as_str()
            .and_then(|name| form.get_value_by_name(name))
            .map(|value| Field::EnumNumber(value.number())),
    };
    read.ok_or_else(|| {
        let expected = match kind {
            Kind::Bool => "true or false".to_owned(),
            Kind::String => "a string".to_owned(),
            Kind::Bytes => "bytes in base64".to_owned(),
            Kind::Double | Kind::Float => "a number".to_owned(),
            Kind::Uint32 | Kind::Fixed32 | Kind::Uint64 | Kind::Fixed64 => {
                "a whole number that is not negative".to_owned()
            }
            Kind::Enum(form) => {
                let names: Vec<String> =
                    form.values().map(|value| value.name().to_owned()).collect();
                format!("one of {}", names.join(", "))
            }
            _ => "a whole number".to_owned(),
        };
        JsonError::new(format!("expected {expected}, found {value}"))
    })
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;
    use serde_json::json;

    fn form(name: &str) -> MessageDescriptor {
        crate::methods::pool()
            .get_message_by_name(&format!("panther.v1.{name}"))
            .unwrap()
    }

    fn refused(name: &str, json: &Value) -> String {
        message(&form(name), json).unwrap_err().to_string()
    }

    #[test]
    fn an_optional_field_without_a_value_is_null_and_a_oneof_shows_what_is_set() {
        let shown = value(&DynamicMessage::new(form("OutputView")));
        assert_eq!(shown["address"], Value::Null);
        assert_eq!(shown["needsSecret"], false);
        assert_eq!(shown["alertTypes"], json!([]));
        let text = json!({"text": "x"});
        let read = message(&form("Value"), &text).unwrap();
        assert_eq!(value(&read), text);
    }

    #[test]
    fn an_error_names_the_key() {
        assert!(refused("AddOutputRequest", &json!([])).contains("an object"));
        assert!(refused("AddOutputRequest", &json!({"nmae": 1})).contains("`nmae`"));
        let key = json!({"key": {"hash": 7}});
        assert_eq!(
            refused("RowChange", &key),
            "key.hash: expected a string, found 7"
        );
        let types = json!({"alertTypes": "RULE"});
        assert!(refused("AddOutputRequest", &types).starts_with("alertTypes: expected a list"));
    }

    fn any_json() -> impl Strategy<Value = Value> {
        let leaf = prop_oneof![
            Just(Value::Null),
            any::<bool>().prop_map(Value::from),
            any::<i64>().prop_map(Value::from),
            ".{0,8}".prop_map(Value::from),
        ];
        leaf.prop_recursive(3, 16, 4, |inner| {
            prop_oneof![
                prop::collection::vec(inner.clone(), 0..4).prop_map(Value::from),
                prop::collection::btree_map(".{0,6}", inner, 0..4)
                    .prop_map(|map| Value::Object(map.into_iter().collect())),
            ]
        })
    }

    proptest! {
        #[test]
        fn json_of_any_form_comes_back_as_it_was(json in any_json()) {
            let read = message(&form("Json"), &json).unwrap();
            prop_assert_eq!(value(&read), json);
        }

        #[test]
        fn any_json_is_a_message_or_an_error(json in any_json()) {
            // It must not panic; what it accepts it gives back in a form that it accepts.
            if let Ok(read) = message(&form("AddOutputRequest"), &json) {
                let again = message(&form("AddOutputRequest"), &value(&read)).unwrap();
                prop_assert_eq!(value(&read), value(&again));
            }
        }
    }
}
