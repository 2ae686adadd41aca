//! Access logs of AWS application load balancers: space-separated columns, three of which hold two or three values each. Some quoted
//! columns hold unescaped input of the client; see [`anchors`].

use super::{
    Reading,
    anchors::{self, columns, is_number},
    push,
};
use crate::{json::push_quoted, parser::row::push_json, schema::ObjectType};

/// Number of columns in the first version of the format. Later versions only append columns: they have 21, 24, 25, 27, 29 or 30.
const LEAST: usize = 18;

/// Number of columns before the request.
const BEFORE: usize = 12;

/// The field of each column; `None` for a column that is split into several fields below.
const COLUMNS: [Option<&str>; 30] = [
    Some("type"),
    Some("timestamp"),
    Some("elb"),
    None,
    None,
    Some("requestProcessingTime"),
    Some("targetProcessingTime"),
    Some("responseProcessingTime"),
    Some("elbStatusCode"),
    Some("targetStatusCode"),
    Some("receivedBytes"),
    Some("sentBytes"),
    None,
    Some("userAgent"),
    Some("sslCipher"),
    Some("sslProtocol"),
    Some("targetGroupArn"),
    Some("traceId"),
    Some("domainName"),
    Some("chosenCertArn"),
    Some("matchedRulePriority"),
    Some("requestCreationTime"),
    None,
    Some("redirectUrl"),
    Some("errorReason"),
    Some("targetPortList"),
    Some("targetStatusCodeList"),
    Some("classification"),
    Some("classificationReason"),
    Some("connTraceId"),
];

pub(super) fn read(
    line: &str,
    root: &ObjectType,
    out: &mut Vec<String>,
) -> Result<Reading, String> {
    let values = values(line)?;
    let mut json = String::with_capacity(1024);
    json.push('{');
    for (number, value) in values.iter().enumerate() {
        match COLUMNS.get(number) {
            Some(Some(name)) => push(name, value, root, &mut json),
            Some(None) => match number {
                3 => push_address("clientIp", "clientPort", value, root, &mut json),
                4 => push_address("targetIp", "targetPort", value, root, &mut json),
                12 => push_request(value, root, &mut json),
                _ => push_list("actionsExecuted", value, &mut json),
            },
            None => {}
        }
    }
    if let Some(more) = values.get(COLUMNS.len()..).filter(|more| !more.is_empty()) {
        push_list("additionalFields", &more.join(","), &mut json);
    }
    json.push('}');
    out.push(json);
    Ok(Reading::Written)
}

/// Splits a line into the values of all columns.
fn values(line: &str) -> Result<Vec<&str>, String> {
    let few = || {
        let count = line.split(' ').count();
        format!("has {count} columns, fewer than {LEAST}")
    };
    let (before, rest) = columns::<BEFORE>(line).ok_or_else(few)?;
    let rest = rest
        .strip_prefix('"')
        .ok_or("has no request in quotes in its thirteenth column")?;
    let (client, tls, rest) =
        anchors::split_once(rest, "user agent", |[cipher, protocol, group]| {
            let is_name = |text: &str| {
                text.bytes()
                    .all(|byte| byte.is_ascii_alphanumeric() || matches!(byte, b'-' | b'_' | b'.'))
            };
            is_name(cipher)
                && (*protocol == "-" || protocol.starts_with("TLS") || protocol.starts_with("SSL"))
                && is_name(protocol)
                && (*group == "-" || group.starts_with("arn:") && !group.contains('"'))
        })?;
    let (request, agent) = client
        .split_once("\" \"")
        .ok_or("has no user agent in quotes behind its request")?;
    let rest = rest.strip_prefix('"').ok_or_else(few)?;
    let mut values: Vec<&str> = before.into_iter().collect();
    values.extend([request, agent]);
    values.extend(tls);
    if let Some(columns) = short_end(rest) {
        values.extend(columns);
        return Ok(values);
    }
    let (names, rule, rest) = anchors::split_once(rest, "certificate", |[priority, time]| {
        is_number(priority)
            && (*time == "-" || time.len() >= 20 && time.ends_with('Z') && time.contains('T'))
    })?;
    // the certificate is written by the load balancer and never contains a quote
    let (asked, certificate) = names
        .rsplit_once("\" \"")
        .filter(|(_, certificate)| !certificate.contains('"'))
        .ok_or("has no certificate in quotes behind its domain")?;
    let (trace, domain) = asked
        .split_once("\" \"")
        .ok_or("has no domain in quotes behind its trace")?;
    let (actions, rest) = rest
        .strip_prefix('"')
        .and_then(|rest| rest.split_once("\" \""))
        .ok_or_else(few)?;
    values.extend([trace, domain, certificate]);
    values.extend(rule);
    values.push(actions);
    // the version with 24 columns ends with the redirect URL
    if let Some(redirect) = rest.strip_suffix('"').filter(|text| !text.contains('"')) {
        values.push(redirect);
        return Ok(values);
    }
    let (redirect, outcome, more) = outcome(rest)?;
    values.push(redirect);
    values.extend(outcome);
    values.extend(more);
    Ok(values)
}

/// The columns from the trace on, if the line ends with the trace (18 columns) or with the rule's priority (21 columns). The quoted columns of
/// later versions would be more than these, whatever a client sent.
fn short_end(text: &str) -> Option<Vec<&str>> {
    let (quoted, priority) = text.rsplit_once('"')?;
    let columns: Vec<&str> = quoted.split("\" \"").collect();
    if columns.iter().any(|column| column.contains('"')) {
        return None;
    }
    match (columns.len(), priority.strip_prefix(' ')) {
        (1, None) if priority.is_empty() => Some(columns),
        (3, Some(priority)) if !priority.is_empty() && is_number(priority) => {
            Some(columns.into_iter().chain([priority]).collect())
        }
        _ => None,
    }
}

/// Parses the redirect URL, which holds input of the client, and the columns after it: error, targets, their statuses, classification and
/// its reason, as far as the version of the format has them; then any further columns.
fn outcome(text: &str) -> Result<(&str, Vec<&str>, Vec<&str>), String> {
    let places: Vec<_> = text
        .match_indices('"')
        .filter_map(|(at, _)| {
            let behind = text.get(at..)?.strip_prefix("\" \"")?;
            Some((at, outcome_columns(behind)?))
        })
        .collect();
    // the single column of the first version also matches after every redirect URL of a later version
    let full = places
        .iter()
        .find(|(_, (columns, _))| columns.len() > 1)
        .or(places.first());
    let Some((at, (columns, rest))) = full else {
        return Err("has no end of its redirection that the columns behind it tell".into());
    };
    // a list that contains only `-` matches from several of its columns on, but all those matches end at one position
    if places
        .iter()
        .any(|(_, (other, end))| other.len() > 1.min(columns.len() - 1) && end.len() != rest.len())
    {
        return Err("more than one place could be the end of its redirection: a client's text imitates the columns behind it".into());
    }
    let more = rest
        .split(' ')
        .map(|more| more.trim_matches('"'))
        .filter(|more| !more.is_empty())
        .collect();
    Ok((text.get(..*at).unwrap_or_default(), columns.clone(), more))
}

/// The quoted columns at the start of `text`, if they are the columns after a redirect URL, and the remaining text. The quotes are removed.
fn outcome_columns(text: &str) -> Option<(Vec<&str>, &str)> {
    let fits = [
        |text: &str| text == "-" || text.bytes().all(|byte| byte.is_ascii_alphabetic()),
        |text: &str| {
            text.bytes()
                .all(|byte| byte.is_ascii_hexdigit() || b"-.:[], ".contains(&byte))
        },
        |text: &str| {
            text.bytes()
                .all(|byte| byte.is_ascii_digit() || b"-, ".contains(&byte))
        },
        |text: &str| matches!(text, "-" | "Acceptable" | "Ambiguous" | "Severe"),
        |text: &str| text == "-" || text.bytes().all(|byte| byte.is_ascii_alphanumeric()),
    ];
    let mut columns = Vec::new();
    let mut rest = text;
    for fits in fits {
        let (column, after) = rest.split_once('"')?;
        if column.is_empty() || !fits(column) {
            return None;
        }
        columns.push(column);
        match after.strip_prefix(" \"") {
            Some(next) => rest = next,
            None => {
                // versions of the format end after the error, the statuses, or the reason
                let complete = matches!(columns.len(), 1 | 3 | 5);
                let apart = after.is_empty() || after.starts_with(' ');
                return (complete && apart).then_some((columns, after));
            }
        }
    }
    None
}

fn push_address(ip: &str, port: &str, value: &str, root: &ObjectType, json: &mut String) {
    match value.rsplit_once(':') {
        Some((host, number)) => {
            push(ip, host.trim_matches(['[', ']']), root, json);
            push(port, number, root, json);
        }
        None => push(ip, value, root, json),
    }
}

/// Splits `"GET https://example.com:443/ HTTP/1.1"` into its parts, each of which may be missing.
fn push_request(value: &str, root: &ObjectType, json: &mut String) {
    let mut parts = value.trim().splitn(2, ' ');
    push("requestHttpMethod", parts.next().unwrap_or("-"), root, json);
    let rest = parts.next().unwrap_or("-").trim();
    let (url, version) = rest.rsplit_once(' ').unwrap_or((rest, "-"));
    push("requestUrl", url.trim(), root, json);
    push("requestHttpVersion", version, root, json);
}

fn push_list(name: &str, value: &str, json: &mut String) {
    if value.is_empty() || value == "-" {
        return;
    }
    let mut list = String::from("[");
    for (number, value) in value.split(',').enumerate() {
        if number > 0 {
            list.push(',');
        }
        push_quoted(value, &mut list);
    }
    list.push(']');
    push_json(name, &list, json);
}
