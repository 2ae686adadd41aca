//! Access logs of web servers: Apache `common` and `combined`, Nginx `combined`, and the variants that the packages of these servers
//! configure.
//!
//! Both servers escape quotes in client input, so the first unescaped quote is the start of the request. The user name before it is also
//! client input and may contain spaces and brackets; it ends at the time, whose length is fixed.

use std::{borrow::Cow, net::IpAddr};

use super::{Reading, push};
use crate::schema::ObjectType;

/// `02/Jan/2006:15:04:05 -0700`
const TIME: usize = 26;

/// The supported formats.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Format {
    ApacheCommon,
    ApacheCombined,
    Nginx,
}

pub(super) fn read(
    format: Format,
    line: &str,
    root: &ObjectType,
    out: &mut Vec<String>,
) -> Result<Reading, String> {
    let (before, rest) = line
        .split_once("] \"")
        .ok_or("has no time in brackets before a request in quotes")?;
    let (who, time) = before
        .len()
        .checked_sub(TIME)
        .and_then(|at| Some((before.get(..at)?, before.get(at..)?)))
        .and_then(|(who, time)| Some((who.strip_suffix(" [")?, time)))
        .filter(|(who, _)| !ends_within_quotes(who))
        .ok_or("has no time in brackets before its request")?;
    let mut json = String::with_capacity(1024);
    json.push('{');
    match format {
        Format::Nginx => push_nginx_client(who, root, &mut json)?,
        _ => push_apache_client(who, root, &mut json)?,
    }
    let nginx = format == Format::Nginx;
    let time_name = if nginx { "time" } else { "request_time" };
    push(time_name, time, root, &mut json);
    let (request, rest) = quoted(rest).ok_or("lacks the quote behind its request")?;
    if nginx {
        push("request", &request, root, &mut json);
    } else {
        push_request(&request, root, &mut json);
    }
    let rest = rest.strip_prefix(' ').ok_or("has no status")?;
    let (status, rest) = rest.split_once(' ').ok_or("has no size")?;
    if !(status.len() == 3 && status.bytes().all(|byte| byte.is_ascii_digit())) {
        return Err(format!("`{status}` is no status"));
    }
    let (size, mut rest) = rest.split_once(' ').unwrap_or((rest, ""));
    let (status_name, size_name) = if nginx {
        ("status", "bodyBytesSent")
    } else {
        ("response_status", "response_size")
    };
    push(status_name, status, root, &mut json);
    push(size_name, size, root, &mut json);
    let quoted_names: &[&str] = match format {
        Format::ApacheCommon => &[],
        Format::ApacheCombined => &["referer", "user_agent"],
        Format::Nginx => &["httpReferer", "httpUserAgent"],
    };
    for name in quoted_names {
        let (value, after) = rest
            .strip_prefix('"')
            .and_then(quoted)
            .ok_or_else(|| format!("has no {name} in quotes"))?;
        push(name, &value, root, &mut json);
        rest = after.strip_prefix(' ').unwrap_or(after);
    }
    // the format `main` of Nginx packages
    if nginx && let Some((value, after)) = rest.strip_prefix('"').and_then(quoted) {
        push("httpXForwardedFor", &value, root, &mut json);
        rest = after;
    }
    if !rest.is_empty() {
        return Err(format!("has more columns than the format: `{rest}`"));
    }
    json.push('}');
    out.push(json);
    Ok(Reading::Written)
}

/// Parses `address - user`. In the place of the address there can be the list of addresses that a proxy wrote; its elements must be
/// addresses, because it begins with input of the client.
fn push_nginx_client(who: &str, root: &ObjectType, json: &mut String) -> Result<(), String> {
    let (address, user) = who
        .split_once(" - ")
        .ok_or("has no ` - ` between its address and user")?;
    if address.is_empty() || address.contains([' ', ',']) && !is_address_list(address) {
        return Err(format!(
            "`{address}` is neither an address nor a list of them"
        ));
    }
    push("remoteAddr", address, root, json);
    push("remoteUser", &unescape(user), root, json);
    Ok(())
}

/// Parses `host identity user`, with an optional virtual host before them.
fn push_apache_client(who: &str, root: &ObjectType, json: &mut String) -> Result<(), String> {
    let mut client = who;
    // a list of addresses that a proxy wrote, in the place of the host
    if let Some((list, rest)) = who.split_once(" - ")
        && list.contains(',')
        && is_address_list(list)
    {
        push("remote_host_ip_address", list, root, json);
        push("request_user", &unescape(rest), root, json);
        return Ok(());
    }
    // the identity is almost always `-`; an address in its place is the address of the client, after a virtual host
    let mut words = who.splitn(4, ' ');
    if let (Some(host), Some(address), Some("-"), Some(_)) =
        (words.next(), words.next(), words.next(), words.next())
        && address.parse::<IpAddr>().is_ok()
        && !host.contains(',')
    {
        push("virtual_host", host, root, json);
        client = who.get(host.len() + 1..).unwrap_or_default();
    }
    let mut words = client.splitn(3, ' ');
    let (Some(host), Some(identity), Some(user)) = (words.next(), words.next(), words.next())
    else {
        return Err("has not host, identity and user before its time".into());
    };
    if host.is_empty() || identity.is_empty() || user.is_empty() {
        return Err("has an empty column before its time".into());
    }
    if host.contains(',') {
        return Err("its host is neither a host nor a list of addresses".into());
    }
    push("remote_host_ip_address", host, root, json);
    push("client_identity_rfc_1413", identity, root, json);
    push("request_user", &unescape(user), root, json);
    Ok(())
}

/// True for addresses with commas between them.
fn is_address_list(text: &str) -> bool {
    text.split(',')
        .all(|one| one.trim().parse::<IpAddr>().is_ok())
}

/// Splits `METHOD URI PROTOCOL`. If the client sent no valid request, the whole text is kept as the URI.
fn push_request(request: &str, root: &ObjectType, json: &mut String) {
    let Some((method, rest)) = request.split_once(' ').filter(|(method, _)| {
        method
            .bytes()
            .all(|byte| byte.is_ascii_alphabetic() || byte == b'-')
    }) else {
        push("request_uri", request, root, json);
        return;
    };
    push("request_method", method, root, json);
    match rest.rsplit_once(' ') {
        Some((uri, protocol)) if protocol.starts_with("HTTP/") => {
            push("request_uri", uri, root, json);
            push("request_protocol", protocol, root, json);
        }
        _ => push("request_uri", rest, root, json),
    }
}

/// True if `text` contains an unescaped quote, which means that the request began before the end of `text`.
fn ends_within_quotes(text: &str) -> bool {
    end_of_quoted(text).is_some()
}

/// Parses a value up to its closing quote and resolves `\"` and `\\`. Returns the value and the text after the quote.
fn quoted(text: &str) -> Option<(Cow<'_, str>, &str)> {
    let end = end_of_quoted(text)?;
    Some((unescape(text.get(..end)?), text.get(end + 1..)?))
}

fn end_of_quoted(text: &str) -> Option<usize> {
    let mut from = 0;
    loop {
        let at = from + memchr::memchr2(b'"', b'\\', text.as_bytes().get(from..)?)?;
        match text.as_bytes().get(at) {
            Some(b'"') => return Some(at),
            // skip the escaped byte; the continuation bytes of a multi-byte character match no case above
            _ => from = at + 2,
        }
    }
}

fn unescape(text: &str) -> Cow<'_, str> {
    crate::parser::fastmatch::unescape(text, '"')
}
