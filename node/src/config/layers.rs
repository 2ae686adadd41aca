//! The layers of a configuration (file, environment, flags), read section by section. A fault is noted and reading goes on, so that one look finds all
//! faults.

use std::collections::BTreeMap;
use std::fmt;
use std::path::Path;

use config::{Config, ConfigError, Environment, File, FileFormat, Value, ValueKind};
use serde_json::{Map, Value as Json};
use strsim::levenshtein;

use super::Surroundings;
use super::sections::Section;

/// One thing that is wrong: where, what, and what to do.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct Fault {
    /// The key, or a file.
    pub(crate) key: String,
    /// Where it was given.
    pub(crate) origin: String,
    /// What is wrong, and the remedy.
    pub(crate) what: String,
}

/// All that is wrong with a configuration.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct Faults(pub(crate) Vec<Fault>);

impl fmt::Display for Faults {
    fn fmt(&self, to: &mut fmt::Formatter<'_>) -> fmt::Result {
        let word = if self.0.len() == 1 { "fault" } else { "faults" };
        write!(
            to,
            "pantherd: the configuration has {} {word}",
            self.0.len()
        )?;
        for Fault { key, origin, what } in &self.0 {
            write!(to, "\n  {key} ({origin}): {what}")?;
        }
        Ok(())
    }
}

/// A key with the value in force.
#[derive(Debug, Clone, PartialEq, Eq)]
struct InForce {
    key: String,
    value: String,
    origin: String,
}

/// Every key with the value in force and where it comes from; prints as TOML.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct Effective(Vec<InForce>);

impl Effective {
    /// The value in force of a key, as TOML.
    #[cfg(test)]
    pub(crate) fn get(&self, key: &str) -> Option<&str> {
        self.0
            .iter()
            .find(|entry| entry.key == key)
            .map(|entry| entry.value.as_str())
    }
}

impl fmt::Display for Effective {
    fn fmt(&self, to: &mut fmt::Formatter<'_>) -> fmt::Result {
        let mut section = "";
        for InForce { key, value, origin } in &self.0 {
            let (table, name) = key.rsplit_once('.').unwrap_or(("", key.as_str()));
            if table != section {
                section = table;
                write!(to, "\n[{table}]\n")?;
            }
            writeln!(to, "{:<56} # {origin}", format!("{name} = {value}"))?;
        }
        Ok(())
    }
}

/// Keys and values that were given and not yet taken, and what was found of them.
pub(crate) struct Layers {
    left: BTreeMap<String, Value>,
    faults: Vec<Fault>,
    effective: Vec<InForce>,
    /// The file's name as it was given.
    file: Option<String>,
    /// Variables that begin as ours do, with one underscore.
    single: Vec<String>,
}

/// Variables that both programs, or pantherctl alone, go by.
const OF_PANTHERCTL: [&str; 3] = ["PANTHER_CONFIG", "PANTHER_SOCKET", "PANTHER_USER"];

impl Layers {
    /// Gathers a file, the environment (`PANTHER__SECTION__KEY`) and flags; the later one wins.
    pub(crate) fn gather(
        file: Option<&Path>,
        surroundings: &Surroundings,
        flags: Vec<(&str, String)>,
    ) -> Self {
        let single = surroundings.variables.keys().filter(|name| {
            let ours = name.starts_with("PANTHER_") && !name.starts_with("PANTHER__");
            ours && !OF_PANTHERCTL.contains(&name.as_str())
        });
        let mut given = Self {
            left: BTreeMap::new(),
            faults: Vec::new(),
            effective: Vec::new(),
            file: file.map(|path| path.display().to_string()),
            single: single.cloned().collect(),
        };
        let environment = Environment::with_prefix("PANTHER")
            .prefix_separator("__")
            .separator("__")
            .source(Some(surroundings.variables.clone().into_iter().collect()));
        let build = |file: Option<&Path>| {
            let mut builder = Config::builder();
            if let Some(path) = file {
                builder = builder.add_source(File::from(path).format(FileFormat::Toml));
            }
            builder = builder.add_source(environment.clone());
            for (key, value) in &flags {
                builder = builder.set_override(*key, value.clone())?;
            }
            builder.build()
        };
        // A file that cannot be read is one fault; the other layers are looked at all the same.
        let built = build(file).or_else(|error| {
            given.unreadable(file, &error);
            build(None)
        });
        match built {
            Ok(config) => flatten("", config.cache, &mut given.left),
            Err(error) => given.unreadable(None, &error),
        }
        given
    }

    /// A variable with one underscore where two are needed would be without effect, in silence.
    fn nearly_ours(&mut self, known: &[&str]) {
        for name in std::mem::take(&mut self.single) {
            let flat = |text: &str| text.to_lowercase().replace(['.', '_'], "");
            let rest = name.strip_prefix("PANTHER_").unwrap_or_default();
            let key = known.iter().find(|key| flat(key) == flat(rest));
            if let Some(key) = key {
                let right = key.to_uppercase().replace('.', "__");
                let what = format!("it has no effect; {key} is set by PANTHER__{right}");
                self.fault(name.clone(), "environment".to_owned(), what);
            }
        }
    }

    /// Where a value came from; the file by the name that it was given by, whatever the working directory.
    fn origin(&self, key: &str, value: &Value) -> String {
        match value.origin() {
            None => "flag".to_owned(),
            Some("the environment") => {
                format!(
                    "environment PANTHER__{}",
                    key.to_uppercase().replace('.', "__")
                )
            }
            Some(file) => self.file.clone().unwrap_or_else(|| file.to_owned()),
        }
    }

    fn unreadable(&mut self, file: Option<&Path>, error: &ConfigError) {
        let name = file.map_or_else(
            || "environment".to_owned(),
            |path| path.display().to_string(),
        );
        let what = match error {
            _ if file.is_some_and(Path::is_dir) => "it is a folder; name the file in it".to_owned(),
            ConfigError::FileParse { cause, .. } => {
                format!(
                    "it is no TOML: {}",
                    cause.to_string().trim().replace('\n', "\n    ")
                )
            }
            ConfigError::Foreign(cause) => format!("it cannot be read: {cause}"),
            other => other.to_string(),
        };
        self.fault(name, "configuration file".to_owned(), what);
    }

    fn fault(&mut self, key: String, origin: String, what: String) {
        self.faults.push(Fault { key, origin, what });
    }

    /// The given value of a key that [`Layers::section`] will read.
    pub(crate) fn peek(&self, key: &str) -> Option<Json> {
        self.left.get(key).map(|value| json(&value.kind))
    }

    /// Reads a section: what was given, and for other keys the values of `base`. `origins` says where values of `base` come from, if not from the
    /// defaults. Each key is read by itself, so that all faults are found. After a fault the section holds a default there, and [`Layers::finish`]
    /// refuses the whole configuration.
    pub(crate) fn section<T: Section>(&mut self, base: &T, origins: &[(&str, &str)]) -> T {
        let mut values = match serde_json::to_value(base) {
            Ok(Json::Object(values)) => values,
            _ => Map::new(),
        };
        for field in T::FIELD_NAMES {
            let key = key::<T>(field);
            let (value, origin) = match self.left.remove(&key) {
                Some(value) => (json(&value.kind), self.origin(&key, &value)),
                None => {
                    let known = origins.iter().find(|(name, _)| name == field);
                    let why = known.map_or(String::new(), |(_, why)| format!(" ({why})"));
                    let value = values.get(*field).cloned().unwrap_or_default();
                    (value, format!("default{why}"))
                }
            };
            let alone = Map::from_iter([((*field).to_owned(), value.clone())]);
            match serde_json::from_value::<T>(Json::Object(alone)) {
                Ok(_) => {
                    values.insert((*field).to_owned(), value.clone());
                }
                Err(error) => {
                    values.remove(*field);
                    self.fault(key.clone(), origin.clone(), error.to_string());
                }
            }
            self.effective.push(InForce {
                value: toml(&key, &value),
                key,
                origin,
            });
        }
        serde_json::from_value(Json::Object(values)).unwrap_or_default()
    }

    /// Notes a fault of a value that contradicts another one.
    pub(crate) fn contradiction(&mut self, key: &str, what: String) {
        let known = self.effective.iter().find(|known| known.key == key);
        let origin = known.map_or(String::new(), |known| known.origin.clone());
        self.fault(key.to_owned(), origin, what);
    }

    /// The values in force, if nothing was wrong; keys that nobody took are wrong.
    ///
    /// # Errors
    /// All that is wrong.
    pub(crate) fn finish(mut self) -> Result<Effective, Faults> {
        let known: Vec<String> = self
            .effective
            .iter()
            .map(|entry| entry.key.clone())
            .collect();
        let known: Vec<&str> = known.iter().map(String::as_str).collect();
        self.nearly_ours(&known);
        for (key, value) in std::mem::take(&mut self.left) {
            let nearest = known
                .iter()
                .min_by_key(|known| levenshtein(known, &key))
                .filter(|known| levenshtein(known, &key) <= 4);
            let what = match nearest {
                Some(near) => format!("there is no such key; {near} is near it"),
                None => {
                    "there is no such key; `pantherd config show` without it lists all".to_owned()
                }
            };
            let origin = self.origin(&key, &value);
            self.faults.push(Fault { origin, key, what });
        }
        if self.faults.is_empty() {
            Ok(Effective(self.effective))
        } else {
            Err(Faults(self.faults))
        }
    }
}

fn flatten(prefix: &str, value: Value, into: &mut BTreeMap<String, Value>) {
    match value.kind {
        // An empty section says nothing.
        ValueKind::Table(table) => {
            for (name, value) in table {
                let key = if prefix.is_empty() {
                    name
                } else {
                    format!("{prefix}.{name}")
                };
                flatten(&key, value, into);
            }
        }
        _ => {
            into.insert(prefix.to_owned(), value);
        }
    }
}

/// The full name of a section's key.
pub(crate) fn key<T: Section>(field: &str) -> String {
    match T::NAME {
        "" => field.to_owned(),
        section => format!("{section}.{field}"),
    }
}

fn json(kind: &ValueKind) -> Json {
    match kind {
        ValueKind::Nil => Json::Null,
        ValueKind::Boolean(on) => (*on).into(),
        ValueKind::I64(number) => (*number).into(),
        ValueKind::U64(number) => (*number).into(),
        ValueKind::I128(_) | ValueKind::U128(_) => kind.to_string().into(),
        ValueKind::Float(number) => (*number).into(),
        ValueKind::String(text) => text.clone().into(),
        ValueKind::Array(items) => items.iter().map(|item| json(&item.kind)).collect(),
        ValueKind::Table(table) => table
            .iter()
            .map(|(name, value)| (name.clone(), json(&value.kind)))
            .collect(),
    }
}

/// A value as TOML, with what looks like a secret left out.
pub(crate) fn toml(key: &str, value: &Json) -> String {
    match value {
        Json::Null => "\"\"".to_owned(),
        Json::Array(items) => {
            let mut hide_next = false;
            let items: Vec<String> = items
                .iter()
                .map(|item| {
                    let text = item
                        .as_str()
                        .map_or_else(|| item.to_string(), str::to_owned);
                    let hidden = std::mem::replace(&mut hide_next, false);
                    let (option, value) = text.split_once('=').unwrap_or((&text, ""));
                    if hidden {
                        quoted("***")
                    } else if secret(option) && !value.is_empty() {
                        quoted(&format!("{option}=***"))
                    } else {
                        hide_next = option.starts_with('-') && secret(option);
                        quoted(&text)
                    }
                })
                .collect();
            format!("[{}]", items.join(", "))
        }
        Json::String(text) if key == "objects.url" => quoted(&without_password(text)),
        other => other.to_string(),
    }
}

fn secret(name: &str) -> bool {
    let name = name.to_lowercase();
    ["token", "secret", "password", "passwd", "key", "auth"]
        .iter()
        .any(|word| name.contains(word))
}

fn without_password(url: &str) -> String {
    match url.split_once("://") {
        Some((scheme, rest)) => match rest.split_once('@') {
            Some((_, place)) => format!("{scheme}://***@{place}"),
            None => url.to_owned(),
        },
        None => url.to_owned(),
    }
}

/// JSON's form of a string is one of TOML's.
fn quoted(text: &str) -> String {
    serde_json::Value::from(text).to_string()
}
