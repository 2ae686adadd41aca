//! The sample file: every key with its default and its meaning, from the sections' docs.

use std::fmt::Write;

use super::layers::{key, toml};
use super::sections::{
    Alarm, Alerts, Cluster, Engine, Ingest, Listen, Log, Node, Objects, Paths, Python, Section,
    Traces,
};

const HEAD: &str = "\
# Configuration of pantherd, the daemon of panther-cluster. Every key is optional: with an empty file, or without a file, one node starts and works.
# The values here, behind \"#\", are the defaults. Every key can also be given in the environment, which wins over this file:
# PANTHER__LISTEN__INGEST for ingest in [listen]. `pantherd config show` prints the values in force and their origin, `pantherd config check` all
# faults. `pantherd config sample` prints this file.
#
# Sources, destinations, detections and schemas are not here. They are state of the cluster, set with pantherctl and the same on every node. This
# file says only how this one node runs. An unknown key is an error, so that a typing error is not a silent default.
";

/// Keys that the packaged file sets, so that each command works on the same place, whatever starts it.
const SET: [(&str, &str); 3] = [
    ("data_dir", "/var/lib/panther"),
    ("socket", "/run/panther/pantherd.sock"),
    ("identity", "/etc/panther/identity"),
];
/// Defaults that depend on the machine, as the file shows them.
const SHOWN: [(&str, &str); 2] = [
    ("node.name", "node-1"),
    ("objects.url", "file:///var/lib/panther/objects"),
];

/// The sample file.
pub(crate) fn sample() -> String {
    let mut text = HEAD.to_owned();
    section::<Paths>(&mut text);
    section::<Node>(&mut text);
    section::<Listen>(&mut text);
    section::<Cluster>(&mut text);
    section::<Ingest>(&mut text);
    section::<Objects>(&mut text);
    section::<Python>(&mut text);
    section::<Engine>(&mut text);
    section::<Log>(&mut text);
    section::<Traces>(&mut text);
    section::<Alerts>(&mut text);
    section::<Alarm>(&mut text);
    text
}

fn section<T: Section>(text: &mut String) {
    // Writing to a string cannot fail.
    if !T::NAME.is_empty() {
        let _ = write!(text, "\n[{}]", T::NAME);
    }
    let defaults = serde_json::to_value(T::default()).unwrap_or_default();
    for (field, docs) in T::FIELD_NAMES.iter().zip(T::FIELD_DOCS) {
        text.push('\n');
        for line in docs.lines() {
            let _ = writeln!(text, "# {line}");
        }
        let key = key::<T>(field);
        let of = |list: &[(&str, &'static str)]| {
            let found = list.iter().find(|(name, _)| *name == key);
            found.map(|(_, value)| serde_json::Value::from(*value))
        };
        if let Some(set) = of(&SET) {
            let _ = writeln!(text, "{field} = {}", toml(&key, &set));
        } else {
            let value = of(&SHOWN).unwrap_or_else(|| defaults[*field].clone());
            let _ = writeln!(text, "#{field} = {}", toml(&key, &value));
        }
    }
}
