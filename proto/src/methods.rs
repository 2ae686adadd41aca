//! The methods of the APIs: a table made from the descriptors of `proto/`, so that each fact about a method stands in one place.

use std::collections::BTreeMap;
use std::sync::LazyLock;

use bytes::Bytes;
use prost_reflect::{
    DescriptorPool, DynamicMessage, ExtensionDescriptor, MessageDescriptor, MethodDescriptor,
    ReflectMessage, Value as Field,
};
use serde_json::{Map, Value};

use crate::json::{self, JsonError};
use crate::v1::{ApiMethodOptions, ApiServiceOptions, Role};

/// A request of an API: it names its method.
pub trait ApiRequest: prost::Message {
    /// The answer of its method.
    type Answer: prost::Message + Default;
    /// The method as gRPC names it, for instance `/panther.v1.OutputsApi/AddOutput`.
    const PATH: &'static str;

    /// The method with its options.
    #[must_use]
    fn method() -> Option<&'static Method> {
        methods().by_path(Self::PATH)
    }
}

/// A method of an API.
#[derive(Debug)]
pub struct Method {
    /// The service, for instance `OutputsApi`.
    pub service: String,
    /// The method, for instance `AddOutput`.
    pub name: String,
    /// The method's name in the original, for instance `addOutput`.
    pub operation: String,
    /// The method as gRPC names it.
    pub path: String,
    /// The component of the catalogue that answers, or `node`.
    pub component: String,
    /// What the method does: the comment in `proto/`.
    pub about: String,
    /// Whether it changes something.
    pub changes: bool,
    /// Who may call it.
    pub role: Role,
    /// JSON names of the request's fields that name what is changed.
    pub subject: Vec<String>,
    /// Whether the call may take minutes.
    pub long: bool,
    /// Whether a node answers it without a leader.
    pub without_leader: bool,
    input: MessageDescriptor,
    output: MessageDescriptor,
}

impl std::fmt::Display for Method {
    fn fmt(&self, out: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        write!(out, "{}.{}", self.service, self.name)
    }
}

impl Method {
    /// An encoded request from its JSON form.
    ///
    /// # Errors
    /// The JSON is not of the request's form; the error names the key.
    pub fn request_from_json(&self, json: &Value) -> Result<Bytes, JsonError> {
        encoded(&self.input, json)
    }

    /// The JSON form of an encoded request.
    ///
    /// # Errors
    /// The bytes are not such a request.
    pub fn request_to_json(&self, request: Bytes) -> Result<Value, prost::DecodeError> {
        shown(&self.input, request)
    }

    /// An encoded answer from its JSON form.
    ///
    /// # Errors
    /// The JSON is not of the answer's form; the error names the key.
    pub fn answer_from_json(&self, json: &Value) -> Result<Bytes, JsonError> {
        encoded(&self.output, json)
    }

    /// The JSON form of an encoded answer.
    ///
    /// # Errors
    /// The bytes are not such an answer.
    pub fn answer_to_json(&self, answer: Bytes) -> Result<Value, prost::DecodeError> {
        shown(&self.output, answer)
    }

    /// What a request says of itself, read without the type of the request.
    ///
    /// # Errors
    /// The bytes are not such a request.
    pub fn look_at(&self, request: Bytes) -> Result<Request, prost::DecodeError> {
        let message = DynamicMessage::decode(self.input.clone(), request)?;
        let mut subject = Map::new();
        for field in self.input.fields() {
            if self.subject.iter().any(|name| name == field.json_name())
                && message.has_field(&field)
            {
                subject.insert(
                    field.json_name().to_owned(),
                    json::field(&field, &message.get_field(&field)),
                );
            }
        }
        let user = message
            .get_field_by_name("user_id")
            .and_then(|user| user.as_str().map(str::to_owned))
            .unwrap_or_default();
        Ok(Request {
            subject: Value::Object(subject),
            user,
            missing: missing(&message, required().as_ref()),
        })
    }

    fn is_called(&self, operation: &str) -> bool {
        let letters = operation.chars().filter(|letter| *letter != '_');
        letters
            .map(|letter| letter.to_ascii_lowercase())
            .eq(self.name.chars().map(|letter| letter.to_ascii_lowercase()))
    }

    /// The JSON names of the request's fields.
    #[must_use]
    pub fn fields(&self) -> Vec<String> {
        self.input
            .fields()
            .map(|field| field.json_name().to_owned())
            .collect()
    }

    /// The names of the request and of the answer.
    #[must_use]
    pub fn messages(&self) -> (&str, &str) {
        (self.input.name(), self.output.name())
    }
}

/// What a request says of itself.
#[derive(Debug, Clone)]
pub struct Request {
    /// The fields that name what is changed, by JSON name.
    pub subject: Value,
    /// The user that the request names; empty if it names none.
    pub user: String,
    /// A required field that is empty, by JSON name.
    pub missing: Option<String>,
}

/// All methods of all APIs.
#[derive(Debug)]
pub struct Methods {
    by_path: BTreeMap<String, Method>,
}

impl Methods {
    /// A method as gRPC names it.
    #[must_use]
    pub fn by_path(&self, path: &str) -> Option<&Method> {
        self.by_path.get(path)
    }

    /// A method of a component by its name in the original; `table_get` is another spelling of `tableGet`.
    #[must_use]
    pub fn by_operation(&self, component: &str, operation: &str) -> Option<&Method> {
        self.all()
            .find(|method| method.component == component && method.is_called(operation))
    }

    /// All methods in the order of their paths.
    pub fn all(&self) -> impl Iterator<Item = &Method> {
        self.by_path.values()
    }
}

/// The table of all methods.
#[must_use]
pub fn methods() -> &'static Methods {
    static METHODS: LazyLock<Methods> = LazyLock::new(|| Methods {
        by_path: pool()
            .services()
            .flat_map(|service| service.methods().collect::<Vec<_>>())
            .filter_map(|method| read(&method))
            .map(|method| (method.path.clone(), method))
            .collect(),
    });
    &METHODS
}

/// The descriptors of all messages and services.
#[must_use]
pub fn pool() -> &'static DescriptorPool {
    // They are part of the program: a test decodes them.
    static POOL: LazyLock<DescriptorPool> =
        LazyLock::new(|| DescriptorPool::decode(crate::DESCRIPTORS).unwrap_or_default());
    &POOL
}

fn required() -> &'static Option<ExtensionDescriptor> {
    static REQUIRED: LazyLock<Option<ExtensionDescriptor>> =
        LazyLock::new(|| pool().get_extension_by_name("panther.v1.required"));
    &REQUIRED
}

/// A method of an API; `None` for methods of other services.
fn read(method: &MethodDescriptor) -> Option<Method> {
    let service = method.parent_service();
    let api: ApiServiceOptions = option(&service.options(), "panther.v1.api")?;
    let options: ApiMethodOptions =
        option(&method.options(), "panther.v1.method").unwrap_or_default();
    let mut letters = method.name().chars();
    let first = letters.next()?.to_ascii_lowercase();
    Some(Method {
        service: service.name().to_owned(),
        name: method.name().to_owned(),
        operation: std::iter::once(first).chain(letters).collect(),
        path: format!("/{}/{}", service.full_name(), method.name()),
        component: api.component,
        about: comment(method),
        changes: options.changes,
        role: options.role(),
        subject: options.subject.clone(),
        long: options.long,
        without_leader: options.without_leader,
        input: method.input(),
        output: method.output(),
    })
}

fn option<T: prost::Message + Default>(options: &DynamicMessage, name: &str) -> Option<T> {
    let extension = pool().get_extension_by_name(name)?;
    if !options.has_extension(&extension) {
        return None;
    }
    match options.get_extension(&extension).as_ref() {
        Field::Message(message) => message.transcode_to().ok(),
        _ => None,
    }
}

/// The comment in front of a method.
fn comment(method: &MethodDescriptor) -> String {
    let file = method.parent_file();
    let Some(info) = &file.file_descriptor_proto().source_code_info else {
        return String::new();
    };
    let text = info
        .location
        .iter()
        .find(|location| location.path == method.path())
        .map(|location| location.leading_comments())
        .unwrap_or_default();
    text.split_whitespace().collect::<Vec<_>>().join(" ")
}

/// The JSON name of a required field that is empty.
fn missing(message: &DynamicMessage, required: Option<&ExtensionDescriptor>) -> Option<String> {
    let required = required?;
    for field in message.descriptor().fields() {
        let is_required = field.options().has_extension(required);
        if is_required && !message.has_field(&field) {
            return Some(field.json_name().to_owned());
        }
        if let Field::Message(inner) = message.get_field(&field).as_ref()
            && message.has_field(&field)
            && let Some(name) = missing(inner, Some(required))
        {
            return Some(format!("{}.{name}", field.json_name()));
        }
    }
    None
}

fn encoded(form: &MessageDescriptor, json: &Value) -> Result<Bytes, JsonError> {
    let message = json::message(form, json)?;
    Ok(prost::Message::encode_to_vec(&message).into())
}

fn shown(form: &MessageDescriptor, message: Bytes) -> Result<Value, prost::DecodeError> {
    let message = DynamicMessage::decode(form.clone(), message)?;
    Ok(json::value(&message))
}

#[cfg(test)]
mod tests {
    use super::*;
    use serde_json::json;

    #[test]
    fn every_method_of_an_api_says_who_may_call_it_and_names_fields_that_exist() {
        assert!(methods().all().count() > 0);
        for method in methods().all() {
            assert_ne!(method.role, Role::Unspecified, "{method} names no role");
            assert!(!method.component.is_empty(), "{method} names no component");
            assert!(!method.about.is_empty(), "{method} has no comment");
            let fields = method.fields();
            for name in &method.subject {
                assert!(fields.contains(name), "{method} has no field {name}");
            }
            assert!(
                method.changes || method.subject.is_empty(),
                "{method} changes nothing, so nothing records its subject"
            );
        }
    }

    #[test]
    fn a_request_is_read_without_its_type() {
        let method = methods()
            .by_operation("panther-outputs-api", "addOutput")
            .unwrap();
        assert_eq!(method.path, "/panther.v1.OutputsApi/AddOutput");
        let mut request = json!({"userId": "ann", "displayName": "pager",
            "outputConfig": {"customWebhook": {"webhookURL": "https://secret"}}});
        let encoded = method.request_from_json(&request).unwrap();
        let read = method.look_at(encoded).unwrap();
        assert_eq!(read.subject, json!({"displayName": "pager"}));
        assert_eq!((read.user.as_str(), read.missing), ("ann", None));

        request["displayName"] = "".into();
        let encoded = method.request_from_json(&request).unwrap();
        let read = method.look_at(encoded).unwrap();
        assert_eq!(read.missing.as_deref(), Some("displayName"));
    }
}
