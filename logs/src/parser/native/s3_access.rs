//! Server access logs of S3: space-separated columns, with the time in brackets. Request, referrer and user agent are quoted and hold
//! unescaped input of the client; see [`anchors`].

use super::{
    Reading,
    anchors::{self, columns, is_number},
    push,
};
use crate::{json::push_quoted, parser::row::push_json, schema::ObjectType};

/// Minimum number of words of a line of the first version, which ends with the version id. Later versions only append columns.
const LEAST: usize = 19;

/// The fields of the columns after the time.
const COLUMNS: [&str; 21] = [
    "remoteip",
    "requester",
    "requestid",
    "operation",
    "key",
    "requesturi",
    "httpstatus",
    "errorcode",
    "bytessent",
    "objectsize",
    "totaltime",
    "turnaroundtime",
    "referrer",
    "useragent",
    "versionid",
    "hostid",
    "signatureversion",
    "ciphersuite",
    "authenticationtype",
    "hostheader",
    "tlsVersion",
];

pub(super) fn read(
    line: &str,
    root: &ObjectType,
    out: &mut Vec<String>,
) -> Result<Reading, String> {
    let count = line.split(' ').count();
    let few = || format!("has {count} columns, fewer than {LEAST}");
    if count < LEAST {
        return Err(few());
    }
    let (
        [
            owner,
            bucket,
            time,
            zone,
            remote,
            requester,
            id,
            operation,
            key,
        ],
        rest,
    ) = columns(line).ok_or_else(few)?;
    let (Some(time), Some(zone)) = (time.strip_prefix('['), zone.strip_suffix(']')) else {
        return Err("has no time in brackets in its third column".into());
    };
    let (request, answer, rest) = match rest.strip_prefix('"') {
        Some(quoted) => anchors::split_once(quoted, "request", is_answer)?,
        // an internal operation of S3 has no request
        None => {
            let (["-"], rest) = columns(rest).ok_or_else(few)? else {
                return Err("has no request in quotes behind its key".into());
            };
            let (answer, rest) = columns(rest).ok_or_else(few)?;
            if !is_answer(&answer) {
                return Err("has no status and sizes behind its request".into());
            }
            ("-", answer, rest)
        }
    };
    let (referrer, agent, tail) = client(rest).ok_or("has no referrer and user agent")?;
    let tail: Vec<&str> = tail.split(' ').collect();
    if !is_tail(&tail) {
        return Err("the columns behind its user agent are not those of the format".into());
    }
    let values = [remote, requester, id, operation, key, request]
        .into_iter()
        .chain(answer)
        .chain([referrer, agent])
        .chain(tail);
    let mut json = String::with_capacity(1024);
    json.push('{');
    push("bucketowner", owner, root, &mut json);
    push("bucket", bucket, root, &mut json);
    push("time", &format!("{time} {zone}"), root, &mut json);
    for (name, value) in COLUMNS.iter().zip(values.clone()) {
        push(name, value, root, &mut json);
    }
    let mut more = values.skip(COLUMNS.len()).peekable();
    if more.peek().is_some() {
        let mut list = String::from("[");
        for value in more {
            if list.len() > 1 {
                list.push(',');
            }
            push_quoted(value, &mut list);
        }
        list.push(']');
        push_json("additionalFields", &list, &mut json);
    }
    json.push('}');
    out.push(json);
    Ok(Reading::Written)
}

/// True for the columns after the request: status, error code, bytes sent, size, and two times.
fn is_answer([status, error, sizes @ ..]: &[&str; 6]) -> bool {
    (*status == "-" || (status.len() == 3 && is_number(status)))
        && error
            .bytes()
            .all(|byte| byte.is_ascii_alphanumeric() || matches!(byte, b'-' | b'.' | b'_'))
        && sizes.iter().all(|column| is_number(column))
}

/// True for the columns after the user agent: the version id; since 2019 also host id, signature, cipher, authentication and host header;
/// then TLS version and later columns.
fn is_tail(tail: &[&str]) -> bool {
    match tail {
        [version] => {
            !version.is_empty()
                && version
                    .bytes()
                    .all(|byte| byte.is_ascii_alphanumeric() || matches!(byte, b'-' | b'.' | b'_'))
        }
        [_, _, signature, _, authentication, _, later @ ..] => {
            matches!(*signature, "-" | "SigV2" | "SigV4" | "SigV4A")
                && matches!(*authentication, "-" | "AuthHeader" | "QueryString")
                && later.first().is_none_or(|tls| {
                    *tls == "-"
                        || tls
                            .get(..4)
                            .is_some_and(|tls| tls.eq_ignore_ascii_case("tlsv"))
                })
        }
        _ => false,
    }
}

/// Splits off referrer and user agent, which are input of the client, and returns them with the remaining columns. Those columns never
/// contain a quote.
fn client(text: &str) -> Option<(&str, &str, &str)> {
    let Some(last) = text.rfind('"') else {
        let (["-", "-"], tail) = columns(text)? else {
            return None;
        };
        return Some(("-", "-", tail));
    };
    let (quoted, tail) = (text.get(..last)?, text.get(last + 1..)?.strip_prefix(' ')?);
    if let Some(agent) = quoted.strip_prefix("- \"") {
        return Some(("-", agent, tail));
    }
    let quoted = quoted.strip_prefix('"')?;
    match quoted.split_once("\" \"") {
        Some((referrer, agent)) => Some((referrer, agent, tail)),
        None => Some((quoted, "-", tail.strip_prefix("- ")?)),
    }
}
