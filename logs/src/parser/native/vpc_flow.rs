//! VPC flow logs: space-separated columns, named by a header line. The header's names differ from the field names.

use super::{Reading, push};
use crate::{
    json::push_quoted,
    parser::{Filter, Learned, State, row::push_json},
    schema::ObjectType,
};

/// Minimum number of known names that make a line a header. If all words of a line are known names, two are enough.
const LEAST: usize = 5;

/// Column names of AWS and the corresponding field names.
const NAMES: [(&str, &str); 42] = [
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
    // the first fourteen columns are the default format
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
    ("ecs-cluster-arn", "ecsClusterArn"),
    ("ecs-cluster-name", "ecsClusterName"),
    ("ecs-container-instance-arn", "ecsContainerInstanceArn"),
    ("ecs-container-instance-id", "ecsContainerInstanceId"),
    ("ecs-container-id", "ecsContainerId"),
    ("ecs-second-container-id", "ecsSecondContainerId"),
    ("ecs-service-name", "ecsServiceName"),
    ("ecs-task-definition-arn", "ecsTaskDefinitionArn"),
    ("ecs-task-arn", "ecsTaskArn"),
    ("ecs-task-id", "ecsTaskId"),
    ("reject-reason", "rejectReason"),
    ("resource-id", "resourceId"),
    ("encryption-status", "encryptionStatus"),
];

/// Number of columns up to each version of the format, in the order of AWS's documentation. CloudWatch and Firehose deliver lines without a
/// header.
const VERSIONS: [(&str, usize); 6] = [
    ("2", 14),
    ("3", 21),
    ("4", 25),
    ("5", 29),
    ("7", 39),
    ("8", 40),
];

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
        // concatenated files have several header lines
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
        None if is_whole_version(line, count) => {
            for ((_, name), value) in NAMES.iter().zip(line.split(' ')) {
                push(name, value, root, &mut json);
            }
        }
        None => {
            return Err(
                "no header line came before, and it does not have the columns of a whole version"
                    .into(),
            );
        }
    }
    json.push('}');
    out.push(json);
    Ok(Reading::Written)
}

/// True if a line has all columns of a version and of the versions before it. The first column is the version of the newest column, or a
/// newer one.
fn is_whole_version(line: &str, count: usize) -> bool {
    let Some(newest) = VERSIONS
        .iter()
        .find(|(_, columns)| *columns == count)
        .map(|(version, _)| version)
    else {
        return false;
    };
    line.split(' ').next().is_some_and(|version| {
        version.len() == 1
            && version.bytes().all(|byte| byte.is_ascii_digit())
            && if count == 14 {
                version == *newest
            } else {
                version >= *newest || count == 29 && matches!(version, "3" | "4")
            }
    })
}

/// Appends the values of columns that the header does not name.
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
