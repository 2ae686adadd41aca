//! XML documents: the content of the root element becomes an object. An attribute is a member whose name begins with `@`, the text of an
//! element that has attributes or children is `#text`, and repeated elements are an array. No entity but the predefined ones is resolved,
//! and nothing outside the text is read.

use std::borrow::Cow;

use quick_xml::{
    Reader,
    escape::resolve_predefined_entity,
    events::{BytesStart, Event},
};

use super::Members;
use crate::{
    json::push_quoted,
    parser::row::push_text,
    schema::{ObjectType, ValueType, Xml},
};

/// Maximum nesting depth of elements.
const MAX_DEPTH: usize = 64;

/// An open element.
struct Element<'s> {
    /// The name of the member that the element becomes.
    name: String,
    /// The declared type; `None` for the root element too.
    of: Option<&'s ValueType>,
    /// The declared type as an object. An array of objects declares the type of each element of this name.
    object: Option<&'s ObjectType>,
    members: Members<'static>,
    text: String,
}

impl Element<'_> {
    /// The value: the text alone, or an object.
    fn value(&self) -> String {
        let mut json = String::new();
        let text = self.text.trim();
        if self.members.is_empty() && !matches!(self.of, Some(ValueType::Object(_))) {
            push_text(text, self.of.map(element_of), &mut json);
            return json;
        }
        write_object(&self.members, text, self.object, &mut json);
        json
    }
}

fn object_of(of: &ValueType) -> Option<&ObjectType> {
    match element_of(of) {
        ValueType::Object(of) => Some(of),
        _ => None,
    }
}

fn element_of(of: &ValueType) -> &ValueType {
    match of {
        ValueType::Array(element) => element,
        of => of,
    }
}

fn write_object(members: &Members<'_>, text: &str, of: Option<&ObjectType>, out: &mut String) {
    let is_list = |name: &str| {
        of.and_then(|of| of.field(name))
            .is_some_and(|field| matches!(&*field.value, ValueType::Array(_)))
    };
    members.write_with(is_list, out);
    if !text.is_empty() {
        out.pop();
        super::push("#text", text, of, out);
        out.push('}');
    }
}

pub(super) fn read(
    options: &Xml,
    text: &str,
    of: Option<&ObjectType>,
    out: &mut String,
) -> Result<(), String> {
    let mut reader = Reader::from_str(text);
    reader.config_mut().expand_empty_elements = true;
    // some senders do not escape an ampersand in a text
    reader.config_mut().allow_dangling_amp = true;
    let mut open: Vec<Element<'_>> = Vec::new();
    let mut root: Option<Element<'_>> = None;
    loop {
        let at = reader.buffer_position();
        let event = reader
            .read_event()
            .map_err(|error| format!("is no XML at byte {at}: {error}"))?;
        match event {
            Event::Start(start) => {
                if root.is_some() {
                    return Err("has a second root element".into());
                }
                if open.len() == MAX_DEPTH {
                    return Err(format!("is nested deeper than {MAX_DEPTH} elements"));
                }
                let parent = open.last().map(|parent| parent.object);
                open.push(element(options, &start, parent, of));
            }
            Event::End(_) => {
                let Some(element) = open.pop() else {
                    return Err("an element ends that did not begin".into());
                };
                match open.last_mut() {
                    Some(parent) => {
                        let value = element.value();
                        parent.members.add(element.name, value);
                    }
                    None => root = Some(element),
                }
            }
            Event::Text(text) => push_content(open.last_mut(), &lossy(&text))?,
            Event::CData(text) => push_content(open.last_mut(), &lossy(&text))?,
            Event::GeneralRef(reference) => {
                let name = lossy(&reference);
                let resolved = match reference.resolve_char_ref() {
                    Ok(Some(char)) => Cow::Owned(char.to_string()),
                    _ => match resolve_predefined_entity(&name) {
                        Some(text) => Cow::Borrowed(text),
                        // kept as it came
                        None => Cow::Owned(format!("&{name};")),
                    },
                };
                push_content(open.last_mut(), &resolved)?;
            }
            Event::Eof => break,
            _ => {}
        }
    }
    match root {
        Some(root) if open.is_empty() => {
            write_object(&root.members, root.text.trim(), of, out);
            Ok(())
        }
        _ => Err("is no complete XML document".into()),
    }
}

/// Opens an element within an element of the type `parent`, or the root element, whose type is `root`.
fn element<'s>(
    options: &Xml,
    start: &BytesStart<'_>,
    parent: Option<Option<&'s ObjectType>>,
    root: Option<&'s ObjectType>,
) -> Element<'s> {
    let own = String::from_utf8_lossy(start.name().into_inner()).into_owned();
    let naming = options.named_elements.get(&own);
    let mut element = Element {
        name: own,
        of: None,
        object: root,
        members: Members::default(),
        text: String::new(),
    };
    let mut attributes = start.attributes();
    attributes.with_checks(false);
    let mut read: Vec<(String, String)> = Vec::new();
    for attribute in attributes.flatten() {
        let name = String::from_utf8_lossy(attribute.key.into_inner()).into_owned();
        let value = match attribute.unescape_value() {
            Ok(value) => value.into_owned(),
            Err(_) => String::from_utf8_lossy(&attribute.value).into_owned(),
        };
        if naming.is_some_and(|naming| *naming == name) && !value.is_empty() {
            element.name = value;
        } else {
            read.push((name, value));
        }
    }
    if let Some(parent) = parent {
        element.of = parent
            .and_then(|of| of.field(&element.name))
            .map(|field| &*field.value);
        element.object = element.of.and_then(object_of);
    }
    let of = element.object;
    for (name, value) in read {
        let name = format!("@{name}");
        let mut json = String::new();
        match of.and_then(|of| of.field(&name)) {
            Some(field) => push_text(&value, Some(&field.value), &mut json),
            None => push_quoted(&value, &mut json),
        }
        element.members.add(name, json);
    }
    element
}

fn push_content(element: Option<&mut Element<'_>>, text: &str) -> Result<(), String> {
    match element {
        Some(element) => element.text.push_str(text),
        None if text.trim().trim_start_matches('\u{feff}').is_empty() => {}
        None => return Err("has text outside its root element".into()),
    }
    Ok(())
}

/// The text of an event. The whole document is UTF-8, so nothing is lost.
fn lossy(bytes: &[u8]) -> Cow<'_, str> {
    String::from_utf8_lossy(bytes)
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    fn json(text: &str) -> Result<String, String> {
        let options = Xml {
            named_elements: [("Data".to_owned(), "Name".to_owned())].into(),
        };
        let mut out = String::new();
        read(&options, text, None, &mut out).map(|()| out)
    }

    #[test]
    fn elements_attributes_and_texts() {
        for (text, expected) in [
            (
                "<a><b>1</b><c x=\"y&amp;\"/><d> t </d></a>",
                r#"{"b":"1","c":{"@x":"y&"},"d":"t"}"#,
            ),
            (
                "<?xml version=\"1.0\"?><!-- c --><a k='v'>x &lt;<![CDATA[<y>]]>&#233;</a>",
                "{\"@k\":\"v\",\"#text\":\"x <<y>\u{e9}\"}",
            ),
            (
                "<a><b>1</b><b/><b><c/></b></a>",
                r#"{"b":["1","",{"c":""}]}"#,
            ),
            (
                "<E><D><Data Name='u'>ana</Data><Data Name='n' Type='s'>5</Data><Data>x</Data></D></E>",
                r##"{"D":{"u":"ana","n":{"@Type":"s","#text":"5"},"Data":"x"}}"##,
            ),
            (
                "<a>&unknown; &amp; a & b</a>",
                r##"{"#text":"&unknown; & a & b"}"##,
            ),
            (
                "<n:a xmlns:n='u'><n:b>1</n:b></n:a>",
                r#"{"@xmlns:n":"u","n:b":"1"}"#,
            ),
        ] {
            assert_eq!(json(text).as_deref(), Ok(expected), "{text}");
        }
        for text in [
            "", "text", "<a>", "<a></b>", "<a/><b/>", "<a/>x", "</a>", "<a",
        ] {
            assert!(json(text).is_err(), "{text}");
        }
        let deep = format!("{}{}", "<a>".repeat(65), "</a>".repeat(65));
        assert!(json(&deep).unwrap_err().contains("deeper"));
        // entities of the document itself are not resolved: nothing grows
        let bomb = "<!DOCTYPE a [<!ENTITY x \"lol\"><!ENTITY y \"&x;&x;\">]><a>&y;</a>";
        assert_eq!(json(bomb).as_deref(), Ok(r##"{"#text":"&y;"}"##));
    }

    proptest! {
        #[test]
        fn any_text_is_read_or_refused(text in "(<a|<b/|</a|>|>x|<Data Name='a'|&amp;|&|\"|'|=| |\u{e9}|<!\\[CDATA\\[|\\]\\]|<!--|-->|<\\?){0,16}") {
            for text in [text.clone(), format!("<a>{text}</a>")] {
                if let Ok(json) = json(&text) {
                    prop_assert!(serde_json::from_str::<serde_json::Value>(&json).is_ok(), "{} of {}", json, text);
                }
            }
        }

        #[test]
        fn texts_come_back(text in "[ -~\u{e9}]{1,16}", attribute in "[ -~\u{e9}]{1,16}") {
            let escape = |text: &str| text.replace('&', "&amp;").replace('<', "&lt;").replace('"', "&quot;");
            let read: serde_json::Value = serde_json::from_str(&json(&format!("<a><b c=\"{}\">{}</b></a>", escape(&attribute), escape(&text))).unwrap()).unwrap();
            prop_assert_eq!(read["b"]["@c"].as_str(), Some(attribute.as_str()));
            prop_assert_eq!(read["b"]["#text"].as_str().unwrap_or_default(), text.trim());
        }
    }
}
