//! AWS indicators: ARNs, account ids and instance ids, and a walk over AWS payloads for which there is no schema.

use super::{Indicators, List, scan};
use crate::json::{Document, Node, Str};

/// Adds an ARN, and the account and instance that it names: `arn:partition:service:region:account:resource`.
pub(super) fn arn<'a>(text: &'a str, found: &mut Indicators<'a>) {
    if !text.starts_with("arn:") {
        return;
    }
    found.add(List::AwsArns, text);
    // for users of an identity provider, the session name is their email address
    if let Some((_, session)) = text
        .split_once(":assumed-role/")
        .and_then(|(_, role)| role.rsplit_once('/'))
        && session.contains('@')
    {
        found.add(List::Emails, session);
    }
    let mut parts = text.splitn(6, ':').skip(4);
    if let Some(account) = parts.next() {
        account_id(account, found);
    }
    if let Some(resource) = parts.next()
        && let Some(instance) = resource.rsplit('/').next()
        && resource.starts_with("instance/")
    {
        instance_id(instance, found);
    }
}

pub(super) fn account_id<'a>(text: &'a str, found: &mut Indicators<'a>) {
    if text.len() == 12 && text.bytes().all(|byte| byte.is_ascii_digit()) {
        found.add(List::AwsAccountIds, text);
    }
}

pub(super) fn instance_id<'a>(text: &'a str, found: &mut Indicators<'a>) {
    if text.starts_with("i-") {
        found.add(List::AwsInstanceIds, text);
    }
}

/// Walks the whole value at `at`. It collects ARNs under any key, and the values of the keys that AWS uses for addresses, names, accounts,
/// instances and tags.
pub(crate) fn extract<'a>(document: Document<'_, 'a>, at: usize, found: &mut Indicators<'a>) {
    let mut key = "";
    for index in at..document.after(at) {
        match document.node(index) {
            // a key with escapes never equals one of the known keys
            Node::Key(name) => {
                key = name.raw();
                if key == "tags" {
                    tags(document, index + 1, found);
                }
            }
            Node::String(text) => value(key, text, found),
            _ => {}
        }
    }
}

fn value<'a>(key: &str, text: Str<'a>, found: &mut Indicators<'a>) {
    let raw = text.raw();
    if raw.starts_with("arn:") {
        // any string that parses as an ARN, under any key
        if raw.split(':').count() >= 6 && !raw.contains('\\') {
            arn(raw, found);
        }
        return;
    }
    if raw.is_empty() || raw.contains('\\') {
        return;
    }
    match key {
        "ipv6Addresses" | "publicIp" | "privateIpAddress" | "ipAddressV4" | "sourceIPAddress" => {
            scan::ip(raw, found);
        }
        "publicDnsName" | "privateDnsName" | "domain" => scan::domain(raw, found),
        "account" => account_id(raw, found),
        "instance-id" => instance_id(raw, found),
        _ if key.ends_with("nstanceId") => instance_id(raw, found),
        _ if key.ends_with("ccountId") => account_id(raw, found),
        _ => {}
    }
}

/// Adds the tags of `[{"key": …, "value": …}]`.
fn tags<'a>(document: Document<'_, 'a>, at: usize, found: &mut Indicators<'a>) {
    for element in document.elements(at) {
        let text = |name| document.get(element, name).map(|at| document.node(at));
        if let (Some(Node::String(key)), Some(Node::String(value))) = (text("key"), text("value")) {
            found.add(
                List::AwsTags,
                format!("{}:{}", key.decoded(), value.decoded()),
            );
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::json::Reader;

    #[test]
    fn a_payload_is_walked_whole() {
        let text = r#"{"instancesSet":{"items":[{"instanceId":"i-0a","privateIpAddress":"10.0.0.1","publicDnsName":"ec2.example.com",
            "ipv6Addresses":["2001:db8::1"],"tags":[{"key":"env","value":"prod"}],"srcInstanceId":"i-0b","other":"i-0c"}]},
            "ownerAccountId":"123456789012","account":"210987654321","note":"123456789012x",
            "deep":[[{"x":"arn:aws:ec2:us-east-1:111111111111:instance/i-0d"}]],"notArn":"arn:short"}"#;
        let mut nodes = Vec::new();
        Reader::new(64).read(text, &mut nodes).unwrap();
        let mut found = Indicators::default();
        extract(Document::new(&nodes), 0, &mut found);
        let mut out = String::new();
        found.write(&mut out);
        assert_eq!(
            out,
            concat!(
                ",\"p_any_ip_addresses\":[\"10.0.0.1\",\"2001:db8::1\"],\"p_any_domain_names\":[\"ec2.example.com\"]",
                ",\"p_any_aws_arns\":[\"arn:aws:ec2:us-east-1:111111111111:instance/i-0d\"]",
                ",\"p_any_aws_account_ids\":[\"111111111111\",\"123456789012\",\"210987654321\"]",
                ",\"p_any_aws_instance_ids\":[\"i-0a\",\"i-0b\",\"i-0d\"],\"p_any_aws_tags\":[\"env:prod\"]"
            )
        );
    }
}
