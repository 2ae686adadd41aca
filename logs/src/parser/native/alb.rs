//! Access logs of AWS application load balancers: columns between spaces, three of which hold two or three values each.

use super::{Reading, push};
use crate::{
    json::push_quoted,
    parser::{csv::split, row::push_json},
    schema::ObjectType,
};

/// Columns that the first version of the format has; later ones only add behind.
const LEAST: usize = 25;

/// The columns; none for one that is taken apart below.
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
    let values = split(line, ' ');
    if values.len() < LEAST {
        return Err(format!("has {} columns, fewer than {LEAST}", values.len()));
    }
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

fn push_address(ip: &str, port: &str, value: &str, root: &ObjectType, json: &mut String) {
    match value.rsplit_once(':') {
        Some((host, number)) => {
            push(ip, host.trim_matches(['[', ']']), root, json);
            push(port, number, root, json);
        }
        None => push(ip, value, root, json),
    }
}

/// `"GET https://example.com:443/ HTTP/1.1"`, each of which can be missing.
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
