//! VPC flow logs: columns between spaces, named by a header line whose names differ from the fields'.

use super::{Reading, push};
use crate::{
    json::push_quoted,
    parser::{Filter, Learned, State, row::push_json},
    schema::ObjectType,
};

/// Known names that make a line a header, whatever else it holds; of a line of nothing else, two are enough.
const LEAST: usize = 5;

/// AWS's names and the fields'.
const NAMES: [(&str, &str); 29] = [
    ("version", "version"),
    ("account-id", "account"),
    ("interface-id", "interfaceId"),
    ("srcaddr", "srcAddr"),
    ("dstaddr", "dstAddr"),
    ("srcport", "srcPort"),
    ("dstport", "dstPort"),
    ("protocol", "protocol"),
    ("packets", "packets"),
    ("bytes", "bytes"),
    ("start", "start"),
    ("end", "end"),
    ("action", "action"),
    ("log-status", "status"),
    // the first fourteen are the default format
    ("vpc-id", "vpcId"),
    ("subnet-id", "subNetId"),
    ("instance-id", "instanceId"),
    ("tcp-flags", "tcpFlags"),
    ("type", "trafficType"),
    ("pkt-srcaddr", "pktSrcAddr"),
    ("pkt-dstaddr", "pktDstAddr"),
    ("region", "region"),
    ("az-id", "azId"),
    ("sublocation-type", "sublocationType"),
    ("sublocation-id", "sublocationId"),
    ("pkt-src-aws-service", "pktSrcAwsService"),
    ("pkt-dst-aws-service", "pktDstAwsService"),
    ("flow-direction", "flowDirection"),
    ("traffic-path", "trafficPath"),
];

/// Columns of the default format, which some deliveries write without header.
const DEFAULT: usize = 14;

pub(super) fn read(
    line: &str,
    root: &ObjectType,
    state: &mut State,
    out: &mut Vec<String>,
) -> Result<Reading, String> {
    let field = |name: &str| {
        NAMES
            .iter()
            .find(|(known, _)| *known == name)
            .map(|(_, field)| *field)
    };
    let count = line.split(' ').count();
    let known = line
        .split(' ')
        .filter(|value| field(value).is_some())
        .count();
    if known >= LEAST || (known >= 2 && known == count) {
        // files that were joined have more than one
        state.pending = Some(Learned::Header(
            line.split(' ')
                .map(|name| field(name).unwrap_or(name).to_string())
                .collect(),
        ));
        return Ok(Reading::Filtered(Filter::Header));
    }
    let mut json = String::with_capacity(512);
    json.push('{');
    match &state.header {
        Some(header) if header.len() <= count => {
            let mut values = line.split(' ');
            for (name, value) in header.iter().zip(&mut values) {
                push(name, value, root, &mut json);
            }
            push_more(values, &mut json);
        }
        Some(header) => {
            return Err(format!(
                "has {count} columns, not the {} of the header",
                header.len()
            ));
        }
        None if (count == DEFAULT && line.starts_with("2 ")) || is_full(line, count) => {
            for ((_, name), value) in NAMES.iter().zip(line.split(' ')) {
                push(name, value, root, &mut json);
            }
        }
        None => {
            return Err("no header line came before, and it is not of the default format".into());
        }
    }
    json.push('}');
    out.push(json);
    Ok(Reading::Written)
}

/// Whether a line has all columns in the order of AWS's documentation, as deliveries without header write them.
fn is_full(line: &str, count: usize) -> bool {
    count == NAMES.len()
        && line
            .split(' ')
            .next()
            .is_some_and(|version| matches!(version, "3" | "4" | "5"))
}

/// Values behind those that the header names.
fn push_more<'t>(values: impl Iterator<Item = &'t str>, json: &mut String) {
    let mut list = String::from("[");
    for value in values {
        if list.len() > 1 {
            list.push(',');
        }
        push_quoted(value, &mut list);
    }
    if list.len() > 1 {
        list.push(']');
        push_json("additionalFields", &list, json);
    }
}
