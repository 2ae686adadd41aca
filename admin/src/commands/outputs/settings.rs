//! The configuration of an output, made of what an operator typed and of what the server says about the output's type.

use std::path::{Path, PathBuf};

use clap::Args;
use panther_proto::v1::{OutputField, OutputType, OutputValueForm};
use serde_json::{Map, Value};

use crate::failure::Failure;
use crate::input;

/// The field for certificates, which has an option of its own.
const CERTIFICATES: &str = "caCertificate";

/// How an output is reached, besides its address.
#[derive(Debug, Args)]
pub(crate) struct Settings {
    /// A field of the type, as `pantherctl outputs types` lists them; a list has commas between its items. - reads the value from standard input, @FILE from a
    /// file, which keeps a secret out of the shell's history
    #[arg(long = "set", value_name = "FIELD=VALUE", value_parser = pair)]
    fields: Vec<(String, String)>,
    /// Certificates in a PEM file by which alone the destination is trusted: its own, or those of your authority
    #[arg(long, value_name = "FILE")]
    ca_file: Option<PathBuf>,
}

/// For clap, hence the text as error.
fn pair(text: &str) -> Result<(String, String), String> {
    let (field, value) = text
        .split_once('=')
        .filter(|(field, _)| !field.is_empty())
        .ok_or("expected FIELD=VALUE")?;
    Ok((field.to_owned(), value.to_owned()))
}

impl Settings {
    /// True if the operator gave none.
    pub(super) fn is_empty(&self) -> bool {
        self.fields.is_empty() && self.ca_file.is_none()
    }

    /// The configuration as `outputConfig` holds it.
    pub(super) fn read(&self, of: &OutputType, address: Option<&str>) -> Result<Value, Failure> {
        let mut values = Map::new();
        if let Some(address) = address {
            let field = of.fields.iter().find(|field| field.address);
            let field = field.ok_or_else(|| {
                Failure::input(format!("an output of type {} has no address", of.name))
                    .next("pantherctl outputs types")
            })?;
            values.insert(field.name.clone(), value(field, address)?);
        }
        for (name, given) in &self.fields {
            let field = field(of, name)?;
            if values.insert(name.clone(), value(field, given)?).is_some() {
                return Err(Failure::input(format!("{name} is given twice")));
            }
        }
        if let Some(path) = &self.ca_file {
            let field = field(of, CERTIFICATES)?;
            let from_file = format!("@{}", path.display());
            values.insert(field.name.clone(), value(field, &from_file)?);
        }
        let mut fields = of.fields.iter();
        if let Some(missing) =
            fields.find(|field| field.required && !values.contains_key(&field.name))
        {
            let next = if missing.address {
                "give its address".to_owned()
            } else {
                format!("give it with --set {}=VALUE", missing.name)
            };
            return Err(Failure::input(format!(
                "an output of type {} needs {}",
                of.name, missing.name
            ))
            .why(about(missing))
            .next(next));
        }
        Ok(Map::from_iter([(of.key.clone(), values.into())]).into())
    }
}

fn field<'a>(of: &'a OutputType, name: &str) -> Result<&'a OutputField, Failure> {
    let found = of.fields.iter().find(|field| field.name == name);
    found.ok_or_else(|| {
        let known: Vec<&str> = of.fields.iter().map(|field| field.name.as_str()).collect();
        Failure::input(format!("an output of type {} has no field {name}", of.name))
            .why(format!("its fields are {}", known.join(", ")))
            .next("pantherctl outputs types")
    })
}

/// The value of a field in the form that the server takes.
fn value(field: &OutputField, given: &str) -> Result<Value, Failure> {
    let text = input::text(&format!("the value of {}", field.name), given)?;
    Ok(match field.form() {
        OutputValueForm::OutputValueText if field.address => text.trim().into(),
        OutputValueForm::OutputValueText => text.into(),
        OutputValueForm::OutputValuePath => {
            let path = input::absolute(Path::new(text.trim()))?;
            path.display().to_string().into()
        }
        OutputValueForm::OutputValueList => {
            let items = text.split(',').map(str::trim);
            items.filter(|item| !item.is_empty()).collect()
        }
    })
}

/// What a field is, in words.
pub(super) fn about(field: &OutputField) -> String {
    let mut marks = Vec::new();
    if field.address {
        marks.push("the address");
    }
    if field.secret {
        marks.push("secret");
    }
    if marks.is_empty() {
        field.about.clone()
    } else {
        format!("{} ({})", field.about, marks.join(", "))
    }
}

/// The server knows no type of this name.
pub(super) fn unknown(name: &str, types: &[OutputType]) -> Failure {
    let known: Vec<&str> = types.iter().map(|of| of.name.as_str()).collect();
    Failure::input(format!("there is no type of outputs {name:?}"))
        .why(format!("the types are {}", known.join(", ")))
        .next("pantherctl outputs types")
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    fn of(fields: Vec<OutputField>) -> OutputType {
        OutputType {
            name: "ticket".to_owned(),
            key: "Ticket".to_owned(),
            fields,
            ..OutputType::default()
        }
    }

    fn field(name: &str, form: OutputValueForm) -> OutputField {
        OutputField {
            name: name.to_owned(),
            form: form.into(),
            ..OutputField::default()
        }
    }

    fn tickets() -> OutputType {
        let mut address = field("url", OutputValueForm::OutputValueText);
        (address.address, address.required) = (true, true);
        let mut key = field("apiKey", OutputValueForm::OutputValueText);
        (key.secret, key.required) = (true, true);
        of(vec![
            address,
            key,
            field("labels", OutputValueForm::OutputValueList),
            field("path", OutputValueForm::OutputValuePath),
            field(CERTIFICATES, OutputValueForm::OutputValueText),
        ])
    }

    fn read(fields: &[&str], ca: Option<&Path>, address: Option<&str>) -> Result<Value, Failure> {
        let settings = Settings {
            fields: fields.iter().map(|text| pair(text).unwrap()).collect(),
            ca_file: ca.map(Path::to_owned),
        };
        settings.read(&tickets(), address)
    }

    #[test]
    fn a_configuration_has_the_form_that_the_server_describes() {
        let folder = tempfile::tempdir().unwrap();
        let (ca, key) = (folder.path().join("ca.pem"), folder.path().join("key"));
        std::fs::write(&ca, "PEM\n").unwrap();
        std::fs::write(&key, "k=1\n").unwrap();
        let key = format!("apiKey=@{}", key.display());
        let made = read(&[&key, "labels=a, b,"], Some(&ca), Some("https://x \n")).unwrap();
        assert_eq!(
            made,
            json!({"Ticket": {"url": "https://x", "apiKey": "k=1", "labels": ["a", "b"], "caCertificate": "PEM"}})
        );
        let made = read(&["url=https://x", "apiKey=", "path=a"], None, None).unwrap();
        let path = made["Ticket"]["path"].as_str().unwrap();
        assert!(path.starts_with('/') && path.ends_with("/a"), "{path}");
    }

    #[test]
    fn what_the_type_does_not_have_or_still_needs_is_named() {
        for (fields, address, reason) in [
            (&["apiKey=k"][..], None, "needs url"),
            (&[], Some("x"), "needs apiKey"),
            (&["apiKey=k", "clour=x"], Some("x"), "no field clour"),
            (&["apiKey=k", "url=y"], Some("x"), "url is given twice"),
        ] {
            let failure = read(fields, None, address).unwrap_err();
            let said = failure.as_json().to_string();
            assert!(said.contains(reason), "{said}");
        }
        assert!(pair("x").is_err() && pair("=x").is_err());
    }
}
