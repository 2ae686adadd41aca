//! What values may be. Each function reads one kind of value, or says what is wrong with it and what would be right.
//!
//! They are for `#[serde(deserialize_with)]`. A value from the environment is a text, so numbers, switches and lists are read from texts too.

use std::fmt::Display;
use std::net::{IpAddr, SocketAddr, ToSocketAddrs};
use std::path::{Path, PathBuf};
use std::time::Duration;

use ipnet::IpNet;
use panther_cluster::objects::place::Place;
use serde::de::Error;
use serde::{Deserialize, Deserializer, Serializer};
use serde_json::Value;

use super::sections::LogFormat;

/// Bytes of a Unix socket's path at most (`sun_path` of Linux, with its closing zero).
const SOCKET_BYTES: usize = 107;

/// Reads a value by a function that says what is wrong with it.
fn read<'de, D: Deserializer<'de>, T>(
    from: D,
    read: impl FnOnce(&Value) -> Result<T, String>,
) -> Result<T, D::Error> {
    let value = Value::deserialize(from)?;
    read(&value).map_err(D::Error::custom)
}

fn string(value: &Value, wanted: &str) -> Result<String, String> {
    match value {
        Value::String(text) => Ok(text.clone()),
        // The environment and TOML alike may give a name that looks like a number.
        Value::Number(_) | Value::Bool(_) => Ok(value.to_string()),
        _ => Err(format!("write {wanted}")),
    }
}

/// The items of a list. A text, as the environment gives it, is split into words.
fn words(value: &Value, wanted: &str) -> Result<Vec<String>, String> {
    match value {
        Value::Array(items) => items.iter().map(|item| string(item, wanted)).collect(),
        Value::String(text) => Ok(text.split_whitespace().map(str::to_owned).collect()),
        _ => Err(format!("write {wanted}")),
    }
}

fn path(text: &str, wanted: &str) -> Result<PathBuf, String> {
    if text.is_empty() {
        return Err(format!("it is empty; write {wanted}"));
    }
    std::path::absolute(text).map_err(|error| format!("{text:?} is no path: {error}"))
}

/// A folder.
pub(super) fn folder<'de, D: Deserializer<'de>>(from: D) -> Result<PathBuf, D::Error> {
    read(from, |value| {
        if value.as_str().is_none_or(str::is_empty) {
            return Err("no folder for data is known, because neither HOME nor STATE_DIRECTORY is set; set data_dir to a folder".to_owned());
        }
        let wanted = "the path of a folder, in quotes";
        let folder = path(&string(value, wanted)?, wanted)?;
        if folder.exists() && !folder.is_dir() {
            return Err(format!(
                "{} is no folder; name a folder, or a path for a new one",
                folder.display()
            ));
        }
        Ok(folder)
    })
}

/// The path of a Unix socket.
pub(super) fn socket<'de, D: Deserializer<'de>>(from: D) -> Result<PathBuf, D::Error> {
    read(from, |value| {
        let wanted = "the path of a socket, in quotes";
        let path = path(&string(value, wanted)?, wanted)?;
        let bytes = path.as_os_str().len();
        if bytes > SOCKET_BYTES {
            return Err(format!(
                "{} has {bytes} bytes, and the path of a Unix socket has {SOCKET_BYTES} at most; set socket to a shorter one",
                path.display()
            ));
        }
        Ok(path)
    })
}

/// A file; "" for none.
pub(super) fn file<'de, D: Deserializer<'de>>(from: D) -> Result<Option<PathBuf>, D::Error> {
    read(from, |value| {
        let wanted = "the path of a file, in quotes, or \"\" for none";
        let text = string(value, wanted)?;
        if text.is_empty() {
            return Ok(None);
        }
        path(&text, wanted).map(Some)
    })
}

/// A name for lists and logs.
pub(super) fn name<'de, D: Deserializer<'de>>(from: D) -> Result<String, D::Error> {
    read(from, |value| {
        let name = string(value, "a name, in quotes")?;
        let is_wrong = |letter: char| letter.is_control() || letter.is_whitespace();
        if name.is_empty() || name.len() > 255 || name.chars().any(is_wrong) {
            return Err("write a name of 1 to 255 bytes without spaces".to_owned());
        }
        Ok(name)
    })
}

fn number(value: &Value, least: u64, most: u64, what: &str) -> Result<u64, String> {
    let wanted = || format!("write {what} from {least} to {most}");
    let number = match value {
        Value::Number(number) => number.to_string(),
        Value::String(text) => text.trim().to_owned(),
        _ => return Err(wanted()),
    };
    let number: i128 = number.parse().map_err(|_| wanted())?;
    match u64::try_from(number) {
        Ok(number) if (least..=most).contains(&number) => Ok(number),
        _ => Err(format!("{number} is out of bounds; {}", wanted())),
    }
}

/// A whole number.
pub(super) fn whole<'de, const LEAST: u64, const MOST: u64, D: Deserializer<'de>>(
    from: D,
) -> Result<usize, D::Error> {
    read(from, |value| {
        let number = number(value, LEAST, MOST, "a whole number")?;
        usize::try_from(number).map_err(|error| error.to_string())
    })
}

/// A time in milliseconds.
pub(super) fn milliseconds<'de, const LEAST: u64, const MOST: u64, D: Deserializer<'de>>(
    from: D,
) -> Result<Duration, D::Error> {
    read(from, |value| {
        number(value, LEAST, MOST, "a whole number of milliseconds").map(Duration::from_millis)
    })
}

/// A part of a hundred.
pub(super) fn percent<'de, D: Deserializer<'de>>(from: D) -> Result<u8, D::Error> {
    read(from, |value| {
        let percent = number(value, 0, 100, "a whole number")?;
        u8::try_from(percent).map_err(|error| error.to_string())
    })
}

/// Yes or no.
pub(super) fn switch<'de, D: Deserializer<'de>>(from: D) -> Result<bool, D::Error> {
    read(from, |value| match value {
        Value::Bool(on) => Ok(*on),
        Value::String(text) if text == "true" || text == "false" => Ok(text == "true"),
        _ => Err("it must be true or false".to_owned()),
    })
}

/// An address and port to listen on; "" for none.
pub(super) fn address<'de, D: Deserializer<'de>>(from: D) -> Result<Option<SocketAddr>, D::Error> {
    read(from, address_of)
}

/// As [`address`], of a value.
pub(super) fn address_of(value: &Value) -> Result<Option<SocketAddr>, String> {
    let wanted = "an address and port such as \"127.0.0.1:8686\", or \"\" for none";
    let text = string(value, wanted)?;
    if text.is_empty() {
        return Ok(None);
    }
    if let Ok(address) = text.parse() {
        return Ok(Some(address));
    }
    // `localhost` can be resolved safely; another name could stand for an address elsewhere.
    text.strip_prefix("localhost:")
        .and_then(|_| text.to_socket_addrs().ok()?.find(SocketAddr::is_ipv4))
        .map(Some)
        .ok_or_else(|| format!("{text:?} is no address with a port; write {wanted}"))
}

/// A listener that this version does not offer.
pub(super) fn no_grpc<'de, D: Deserializer<'de>>(from: D) -> Result<String, D::Error> {
    read(from, |value| {
        let text = string(value, "\"\"")?;
        if text.is_empty() {
            return Ok(text);
        }
        Err("gRPC over TCP needs certificates, which this version cannot check, so it is not offered; leave the key out, and use the Unix socket (key socket)".to_owned())
    })
}

/// A host and a port; "" for none.
pub(super) fn host_and_port<'de, D: Deserializer<'de>>(from: D) -> Result<String, D::Error> {
    read(from, |value| {
        let text = string(value, "an address and port, in quotes")?;
        match text.rsplit_once(':') {
            _ if text.is_empty() => Ok(text),
            Some((host, port))
                if !host.is_empty() && port.parse::<u16>().is_ok_and(|port| port > 0) =>
            {
                Ok(text)
            }
            _ => Err(format!(
                "{text:?} is no host and port; write it like \"10.0.0.2:8687\" or \"node2.example:8687\""
            )),
        }
    })
}

/// Where objects lie.
pub(super) fn place<'de, D: Deserializer<'de>>(from: D) -> Result<Place, D::Error> {
    read(from, |value| {
        Place::read(&string(value, "a URL, in quotes")?)
    })
}

/// The address of a server that speaks a cloud's protocol; "" for the cloud itself.
pub(super) fn endpoint<'de, D: Deserializer<'de>>(from: D) -> Result<Option<String>, D::Error> {
    let right = "write it like \"https://garage.example:3900\", or \"\" for the cloud's own";
    read(from, |value| url(value, right))
}

/// The beginning of an address for people; "" for none.
pub(super) fn link<'de, D: Deserializer<'de>>(from: D) -> Result<Option<String>, D::Error> {
    let right = "write it like \"https://panther.example\", or \"\" for none";
    read(from, |value| url(value, right))
}

fn url(value: &Value, right: &str) -> Result<Option<String>, String> {
    let text = optional_text(value)?;
    match &text {
        Some(url) if !url.starts_with("https://") && !url.starts_with("http://") => {
            Err(format!("{url:?} is no URL; {right}"))
        }
        _ => Ok(text),
    }
}

/// Networks.
pub(super) fn networks<'de, D: Deserializer<'de>>(from: D) -> Result<Vec<IpNet>, D::Error> {
    let wanted = "a list of networks: [\"169.254.0.0/16\", \"fe80::/10\"]";
    let network = |text: String| match (text.parse::<IpNet>(), text.parse::<IpAddr>()) {
        (Ok(network), _) => Ok(network),
        (_, Ok(address)) => Ok(IpNet::from(address)),
        _ => Err(format!("{text:?} is no network; write {wanted}")),
    };
    read(from, |value| {
        words(value, wanted)?.into_iter().map(network).collect()
    })
}

/// A text; "" for none.
pub(super) fn optional<'de, D: Deserializer<'de>>(from: D) -> Result<Option<String>, D::Error> {
    read(from, optional_text)
}

fn optional_text(value: &Value) -> Result<Option<String>, String> {
    let text = string(value, "a text, in quotes")?;
    Ok(Some(text).filter(|text| !text.is_empty()))
}

/// A program: a path, or a name that is looked up in PATH.
pub(super) fn program<'de, D: Deserializer<'de>>(from: D) -> Result<PathBuf, D::Error> {
    read(from, |value| {
        let wanted = "a path, or a name that is looked up in PATH";
        let text = string(value, wanted)?;
        if text.is_empty() {
            return Err(format!("it is empty; write {wanted}"));
        }
        let program = PathBuf::from(text);
        if program.is_absolute() && !program.exists() {
            return Err(format!("there is no {}; write {wanted}", program.display()));
        }
        Ok(program)
    })
}

/// What is logged.
pub(super) fn level<'de, D: Deserializer<'de>>(from: D) -> Result<String, D::Error> {
    read(from, |value| {
        let wanted = "error, warn, info, debug or trace, also per module as in \"info,panther_cluster=debug\"";
        let text = string(value, wanted)?;
        // A single word that is no level would be taken for the name of a module.
        let levels = ["error", "warn", "info", "debug", "trace", "off"];
        let known = text.split(',').all(|part| {
            let level = part.rsplit_once('=').map_or(part, |(_, level)| level);
            levels.contains(&level.trim().to_lowercase().as_str())
        });
        if !known || crate::telemetry::filter(&text).is_err() {
            return Err(format!("{text:?} is no level; write {wanted}"));
        }
        Ok(text)
    })
}

/// The form of log lines.
pub(super) fn format<'de, D: Deserializer<'de>>(from: D) -> Result<LogFormat, D::Error> {
    read(from, |value| {
        match string(value, "\"text\" or \"json\"")?.as_str() {
            "text" => Ok(LogFormat::Text),
            "json" => Ok(LogFormat::Json),
            other => Err(format!(
                "{other:?} is no format; write \"text\" or \"json\""
            )),
        }
    })
}

/// Packages, as pip takes them.
pub(super) fn packages<'de, D: Deserializer<'de>>(from: D) -> Result<Vec<String>, D::Error> {
    read(from, |value| {
        let wanted = "a list: [\"name==1.2.3\", \"other\"]";
        let packages = words(value, wanted)?;
        // An option would change what pip does.
        let wrong = packages.iter().find(|package| {
            package.trim().is_empty() || package.starts_with('-') || package.contains(['\n', '\r'])
        });
        match wrong {
            Some(package) => Err(format!("{package:?} names no package; write {wanted}")),
            None => Ok(packages),
        }
    })
}

/// A program with its arguments; empty for none.
pub(super) fn command<'de, D: Deserializer<'de>>(from: D) -> Result<Vec<String>, D::Error> {
    read(from, |value| {
        let words = words(value, "a list: [\"/path/of/program\", \"argument\"]")?;
        match words.first() {
            Some(program) if program.is_empty() => {
                Err("its first word is empty; write the program's path".to_owned())
            }
            Some(program) if program.starts_with('/') && !Path::new(program).exists() => {
                Err(format!("there is no {program}; write the program's path"))
            }
            _ => Ok(words),
        }
    })
}

/// Writes a value as its text; "" for none.
pub(super) fn or_empty<T: Display, S: Serializer>(
    value: &Option<T>,
    to: S,
) -> Result<S::Ok, S::Error> {
    match value {
        Some(value) => to.collect_str(value),
        None => to.serialize_str(""),
    }
}

/// Writes a path; "" for none.
pub(super) fn or_empty_path<S: Serializer>(
    path: &Option<PathBuf>,
    to: S,
) -> Result<S::Ok, S::Error> {
    or_empty(&path.as_ref().map(|path| path.display()), to)
}

/// Writes a value as its text.
pub(super) fn as_text<T: Display, S: Serializer>(value: &T, to: S) -> Result<S::Ok, S::Error> {
    to.collect_str(value)
}

/// Writes a time in milliseconds.
pub(super) fn in_milliseconds<S: Serializer>(time: &Duration, to: S) -> Result<S::Ok, S::Error> {
    to.serialize_u64(u64::try_from(time.as_millis()).unwrap_or(u64::MAX))
}
