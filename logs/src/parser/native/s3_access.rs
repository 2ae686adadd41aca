//! Server access logs of S3: columns between spaces, with the time in brackets and quotes within quotes.

use super::{Reading, push};
use crate::{
    json::push_quoted,
    parser::{csv::split, row::push_json},
    schema::ObjectType,
};

/// Columns of the format, the time being two; later versions only add behind.
const LEAST: usize = 25;

/// The columns behind the time.
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
    let values = split(line, ' ');
    let [owner, bucket, time, zone, rest @ ..] = values.as_slice() else {
        return Err(format!("has {} columns, fewer than {LEAST}", values.len()));
    };
    if values.len() < LEAST {
        return Err(format!("has {} columns, fewer than {LEAST}", values.len()));
    }
    let (Some(time), Some(zone)) = (time.strip_prefix('['), zone.strip_suffix(']')) else {
        return Err("has no time in brackets in its third column".into());
    };
    let mut json = String::with_capacity(1024);
    json.push('{');
    push("bucketowner", owner, root, &mut json);
    push("bucket", bucket, root, &mut json);
    push("time", &format!("{time} {zone}"), root, &mut json);
    for (name, value) in COLUMNS.iter().zip(rest) {
        push(name, value, root, &mut json);
    }
    if let Some(more) = rest.get(COLUMNS.len()..).filter(|more| !more.is_empty()) {
        let mut list = String::from("[");
        for (number, value) in more.iter().enumerate() {
            if number > 0 {
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
