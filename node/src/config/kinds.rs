//! What values may be. Each function reads one kind of value, or says what is wrong with it and what would be right.

use std::net::{IpAddr, SocketAddr, ToSocketAddrs};
use std::ops::RangeInclusive;
use std::path::{Path, PathBuf};
use std::time::Duration;

use config::{Value, ValueKind};
use ipnet::IpNet;

use panther_cluster::objects::place::Place;

use super::LogFormat;

/// Bytes of a Unix socket's path at most (`sun_path` of Linux, with its closing zero).
const SOCKET_BYTES: usize = 107;

fn string(value: Value, wanted: &str) -> Result<String, String> {
    match &value.kind {
        ValueKind::String(text) => Ok(text.clone()),
        // The environment and TOML alike may give a name that looks like a number.
        ValueKind::I64(_) | ValueKind::U64(_) | ValueKind::Float(_) | ValueKind::Boolean(_) => {
            value.into_string().map_err(|error| error.to_string())
        }
        _ => Err(format!("write {wanted}")),
    }
}

fn path(value: Value, wanted: &str) -> Result<PathBuf, String> {
    let text = string(value, wanted)?;
    if text.is_empty() {
        return Err(format!("it is empty; write {wanted}"));
    }
    std::path::absolute(&text).map_err(|error| format!("{text:?} is no path: {error}"))
}

/// A folder.
pub(super) fn folder(value: Value) -> Result<PathBuf, String> {
    if value.kind == ValueKind::Nil {
        return Err("no place for data is known, because neither HOME nor STATE_DIRECTORY is set; set data_dir to a folder".to_owned());
    }
    let folder = path(value, "the path of a folder, in quotes")?;
    if folder.exists() && !folder.is_dir() {
        return Err(format!(
            "{} is no folder; name one, or a place for one",
            folder.display()
        ));
    }
    Ok(folder)
}

/// The path of a Unix socket.
pub(super) fn socket(value: Value) -> Result<PathBuf, String> {
    let path = path(value, "the path of a socket, in quotes")?;
    let bytes = path.as_os_str().len();
    if bytes > SOCKET_BYTES {
        return Err(format!(
            "{} has {bytes} bytes, and the path of a Unix socket has {SOCKET_BYTES} at most; set socket to a shorter one",
            path.display()
        ));
    }
    Ok(path)
}

/// A file outside a folder; "" for none.
pub(super) fn outside(value: Value, folder: &Path) -> Result<Option<PathBuf>, String> {
    let wanted = "the path of a file, in quotes, or \"\" for none";
    let text = string(value, wanted)?;
    if text.is_empty() {
        return Ok(None);
    }
    let path = path(Value::new(None, text), wanted)?;
    if path.starts_with(folder) && !folder.as_os_str().is_empty() {
        return Err(format!(
            "{} is in data_dir, and it is there to tell that the data are gone; name a place outside",
            path.display()
        ));
    }
    Ok(Some(path))
}

/// A name for lists and logs.
pub(super) fn name(value: Value) -> Result<String, String> {
    let name = string(value, "a name, in quotes")?;
    if name.is_empty()
        || name.len() > 255
        || name
            .chars()
            .any(|letter| letter.is_control() || letter.is_whitespace())
    {
        return Err("write a name of 1 to 255 bytes without spaces".to_owned());
    }
    Ok(name)
}

fn number(value: Value, range: &RangeInclusive<i64>, unit: &str) -> Result<i64, String> {
    let wanted = || {
        format!(
            "write a whole number of {unit} from {} to {}",
            range.start(),
            range.end()
        )
    };
    let number = match &value.kind {
        ValueKind::Boolean(_) | ValueKind::Float(_) => return Err(wanted()),
        _ => value.into_int().map_err(|_| wanted())?,
    };
    if range.contains(&number) {
        Ok(number)
    } else {
        Err(format!("{number} is out of bounds; {}", wanted()))
    }
}

/// Yes or no.
pub(super) fn switch(value: Value) -> Result<bool, String> {
    match value.kind {
        ValueKind::Boolean(on) => Ok(on),
        ValueKind::String(text) if text == "true" || text == "false" => Ok(text == "true"),
        _ => Err("must be true or false".to_owned()),
    }
}

/// A whole number.
pub(super) fn whole(
    range: RangeInclusive<i64>,
    unit: &'static str,
) -> impl FnOnce(Value) -> Result<usize, String> {
    move |value| usize::try_from(number(value, &range, unit)?).map_err(|error| error.to_string())
}

/// A time.
pub(super) fn milliseconds(
    range: RangeInclusive<i64>,
) -> impl FnOnce(Value) -> Result<Duration, String> {
    move |value| {
        let number = number(value, &range, "milliseconds")?;
        Ok(Duration::from_millis(
            u64::try_from(number).unwrap_or_default(),
        ))
    }
}

/// An address and port to listen on; "" for none.
pub(super) fn address(value: Value) -> Result<Option<SocketAddr>, String> {
    let wanted = "an address and port such as \"127.0.0.1:8686\", or \"\" for none";
    let text = string(value, wanted)?;
    if text.is_empty() {
        return Ok(None);
    }
    if let Ok(address) = text.parse() {
        return Ok(Some(address));
    }
    // `localhost` is worth a look; other names could stand for a place elsewhere.
    text.strip_prefix("localhost:")
        .and_then(|_| text.to_socket_addrs().ok()?.find(SocketAddr::is_ipv4))
        .map(Some)
        .ok_or_else(|| format!("{text:?} is no address with a port; write {wanted}"))
}

/// What no node of this version can do.
pub(super) fn no_grpc(value: Value) -> Result<(), String> {
    let text = string(value, "\"\"")?;
    if text.is_empty() {
        return Ok(());
    }
    Err("gRPC over TCP needs certificates, which this version cannot check, so it is not offered; leave the key out, and use the Unix socket (key socket)".to_owned())
}

/// What other nodes are told, as host:port; needed where they are listened to at any address of the machine.
pub(super) fn advertised(value: Value, listen: Option<SocketAddr>) -> Result<String, String> {
    let text = string(value, "an address and port, in quotes")?;
    match (listen, text.rsplit_once(':')) {
        (None, _) if text.is_empty() => Ok(text),
        (None, _) => Err(
            "it is of no use without cluster.listen; set that too, or leave this out".to_owned(),
        ),
        (Some(listen), _) if text.is_empty() => Err(format!(
            "cluster.listen is {listen}, which tells other nodes not where this one is; write the name or address and the port by which they reach it, such as \"10.0.0.2:{}\"",
            listen.port()
        )),
        (Some(_), Some((host, port)))
            if !host.is_empty() && port.parse::<u16>().is_ok_and(|port| port > 0) =>
        {
            Ok(text)
        }
        _ => Err(format!(
            "{text:?} is no host and port; write it like \"10.0.0.2:8687\" or \"node2.example:8687\""
        )),
    }
}

/// Where objects lie.
pub(super) fn objects(value: Value) -> Result<Place, String> {
    Place::read(&string(value, "a URL, in quotes")?)
}

/// The address of a server that speaks a cloud's protocol; "" for the cloud itself.
pub(super) fn endpoint(value: Value) -> Result<Option<String>, String> {
    let text = optional(value)?;
    match &text {
        Some(url) if !url.starts_with("https://") && !url.starts_with("http://") => Err(format!(
            "{url:?} is no URL; write it like \"https://garage.example:3900\", or \"\" for the cloud's own"
        )),
        _ => Ok(text),
    }
}

/// What an address for people begins with; "" for none.
pub(super) fn link(value: Value) -> Result<Option<String>, String> {
    let text = optional(value)?;
    match &text {
        Some(url) if !url.starts_with("https://") && !url.starts_with("http://") => Err(format!(
            "{url:?} is no URL; write it like \"https://panther.example\", or \"\" for none"
        )),
        _ => Ok(text),
    }
}

/// Networks, as a list or as words.
pub(super) fn networks(value: Value) -> Result<Vec<IpNet>, String> {
    let wanted = "write a list of networks: [\"169.254.0.0/16\", \"fe80::/10\"]";
    let items: Vec<String> = match value.kind {
        ValueKind::Array(items) => items
            .into_iter()
            .map(|item| string(item, wanted))
            .collect::<Result<_, _>>()?,
        // From the environment: words.
        ValueKind::String(text) => text.split_whitespace().map(str::to_owned).collect(),
        _ => return Err(wanted.to_owned()),
    };
    let network = |text: String| match (text.parse::<IpNet>(), text.parse::<IpAddr>()) {
        (Ok(network), _) => Ok(network),
        (_, Ok(address)) => Ok(IpNet::from(address)),
        _ => Err(format!("{text:?} is no network; {wanted}")),
    };
    items.into_iter().map(network).collect()
}

/// A word; "" for none.
pub(super) fn optional(value: Value) -> Result<Option<String>, String> {
    let text = string(value, "a text, in quotes")?;
    Ok(Some(text).filter(|text| !text.is_empty()))
}

/// A program: a path, or a name that is looked up in PATH.
pub(super) fn program(value: Value) -> Result<PathBuf, String> {
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
}

/// What is logged.
pub(super) fn level(value: Value) -> Result<String, String> {
    let wanted =
        "error, warn, info, debug or trace, also per part as in \"info,panther_cluster=debug\"";
    let text = string(value, wanted)?;
    // A lone word that is no level would be taken for the name of a part.
    let levels = ["error", "warn", "info", "debug", "trace", "off"];
    let known = text.split(',').all(|part| {
        let level = part
            .rsplit_once('=')
            .map_or(part, |(_, level)| level)
            .trim();
        levels.contains(&level.to_lowercase().as_str())
    });
    if !known || crate::logging::filter(&text).is_err() {
        return Err(format!("{text:?} is no level; write {wanted}"));
    }
    Ok(text)
}

/// The form of log lines.
pub(super) fn format(value: Value) -> Result<LogFormat, String> {
    match string(value, "\"text\" or \"json\"")?.as_str() {
        "text" => Ok(LogFormat::Text),
        "json" => Ok(LogFormat::Json),
        other => Err(format!(
            "{other:?} is no format; write \"text\" or \"json\""
        )),
    }
}

/// Packages, as pip takes them.
pub(super) fn packages(value: Value) -> Result<Vec<String>, String> {
    let wanted = "write a list: [\"name==1.2.3\", \"other\"]";
    let items = match value.kind {
        ValueKind::Array(items) => items,
        // From the environment: words.
        ValueKind::String(text) => text
            .split_whitespace()
            .map(|word| Value::new(None, word))
            .collect(),
        _ => return Err(wanted.to_owned()),
    };
    let mut packages = Vec::new();
    for item in items {
        let package = string(item, wanted)?.trim().to_owned();
        // An option would change what pip does.
        if package.is_empty() || package.starts_with('-') || package.contains(['\n', '\r']) {
            return Err(format!("{package:?} names no package; {wanted}"));
        }
        packages.push(package);
    }
    Ok(packages)
}

/// A program with its arguments: a list, or from the environment words; empty for none.
pub(super) fn command(value: Value) -> Result<Option<Vec<String>>, String> {
    let words: Vec<String> = match value.kind {
        ValueKind::Array(items) => items
            .into_iter()
            .map(|item| string(item, "a list of texts"))
            .collect::<Result<_, _>>()?,
        ValueKind::String(text) => text.split_whitespace().map(str::to_owned).collect(),
        _ => return Err("write a list: [\"/path/of/program\", \"argument\"]".to_owned()),
    };
    match words.first() {
        None => Ok(None),
        Some(program) if program.is_empty() => {
            Err("its first word is empty; write the program's path".to_owned())
        }
        Some(program) if program.starts_with('/') && !Path::new(program).exists() => {
            Err(format!("there is no {program}; write the program's path"))
        }
        Some(_) => Ok(Some(words)),
    }
}
