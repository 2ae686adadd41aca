//! Scanners: the form that a field's text must have to be an indicator, and the lists to which the indicator is added.

use std::{borrow::Cow, net::IpAddr};

use super::{Indicators, List, aws};

/// The scanners that a schema can name under `indicators`.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Scanner {
    Ip,
    Domain,
    Hostname,
    Url,
    NetAddr,
    Md5,
    Sha1,
    Sha256,
    TraceId,
    /// An ARN, and the account, instance and mail address that it names.
    AwsArn,
    /// An ARN and nothing of its content.
    AwsArnOnly,
    AwsAccountId,
    AwsInstanceId,
    AwsTag,
    Email,
    Username,
    ActorId,
    Mac,
    SerialNumber,
    /// Every IPv4 address anywhere in the text.
    IpsInText,
}

const NAMES: [(&str, Scanner); 20] = [
    ("ip", Scanner::Ip),
    ("domain", Scanner::Domain),
    ("hostname", Scanner::Hostname),
    ("url", Scanner::Url),
    ("net_addr", Scanner::NetAddr),
    ("md5", Scanner::Md5),
    ("sha1", Scanner::Sha1),
    ("sha256", Scanner::Sha256),
    ("trace_id", Scanner::TraceId),
    ("aws_arn", Scanner::AwsArn),
    ("aws_arn_only", Scanner::AwsArnOnly),
    ("aws_account_id", Scanner::AwsAccountId),
    ("aws_instance_id", Scanner::AwsInstanceId),
    ("aws_tag", Scanner::AwsTag),
    ("email", Scanner::Email),
    ("username", Scanner::Username),
    ("actor_id", Scanner::ActorId),
    ("mac", Scanner::Mac),
    ("serial_number", Scanner::SerialNumber),
    ("ips_in_text", Scanner::IpsInText),
];

impl Scanner {
    pub(crate) fn named(name: &str) -> Option<Self> {
        NAMES
            .iter()
            .find(|(known, _)| *known == name)
            .map(|(_, scanner)| *scanner)
    }

    /// All scanner names, for error messages.
    pub(crate) fn names() -> String {
        NAMES
            .iter()
            .map(|(name, _)| *name)
            .collect::<Vec<_>>()
            .join(", ")
    }

    /// Adds the indicators in `text`.
    pub(super) fn scan<'a>(self, text: &'a str, found: &mut Indicators<'a>) {
        let text = text.trim();
        if text.is_empty() {
            return;
        }
        match self {
            Self::Ip => {
                // each proxy appends the client address that it saw
                for one in text.split(',') {
                    ip(one.trim(), found);
                }
            }
            Self::Domain => domain(text, found),
            Self::Hostname => hostname(text, found),
            Self::Url => {
                if let Some(host) = url_host(text) {
                    hostname(host, found);
                }
            }
            Self::NetAddr => hostname(without_port(text), found),
            Self::Md5 => hash(text, 32, List::Md5Hashes, found),
            Self::Sha1 => hash(text, 40, List::Sha1Hashes, found),
            Self::Sha256 => hash(text, 64, List::Sha256Hashes, found),
            Self::TraceId => found.add(List::TraceIds, text),
            Self::AwsArn => aws::arn(text, found),
            Self::AwsArnOnly => {
                if text.starts_with("arn:") {
                    found.add(List::AwsArns, text);
                }
            }
            Self::AwsAccountId => aws::account_id(text, found),
            Self::AwsInstanceId => aws::instance_id(text, found),
            Self::AwsTag => {
                if text.contains(':') {
                    found.add(List::AwsTags, text);
                }
            }
            Self::Email => {
                if text.contains('@') {
                    found.add(List::Emails, text);
                }
            }
            Self::Username => found.add(List::Usernames, text),
            Self::ActorId => found.add(List::ActorIds, text),
            Self::Mac => {
                if is_mac(text) {
                    found.add(List::MacAddresses, text);
                }
            }
            Self::SerialNumber => found.add(List::SerialNumbers, text),
            Self::IpsInText => ips_in_text(text, found),
        }
    }
}

/// Adds `text` if it is an IP address. Returns true if it is one.
pub(super) fn ip<'a>(text: &'a str, found: &mut Indicators<'a>) -> bool {
    let may_be = text.len() <= 45
        && text
            .bytes()
            .next()
            .is_some_and(|first| first.is_ascii_hexdigit() || first == b':');
    let is = may_be && text.parse::<IpAddr>().is_ok();
    if is {
        found.add(List::IpAddresses, text);
    }
    is
}

pub(super) fn hostname<'a>(text: &'a str, found: &mut Indicators<'a>) {
    if !ip(text, found) {
        domain(text, found);
    }
}

pub(super) fn domain<'a>(text: &'a str, found: &mut Indicators<'a>) {
    let text = text.strip_suffix('.').unwrap_or(text);
    let shaped = !text.is_empty()
        && text.len() <= 253
        && text.chars().all(|char| {
            char.is_ascii_alphanumeric()
                || matches!(char, '-' | '_' | '.' | '*')
                || !char.is_ascii()
        })
        && !text.chars().any(char::is_whitespace);
    if !shaped {
        return;
    }
    if text.contains("xn--") {
        let (decoded, _) = idna::domain_to_unicode(text);
        found.add(List::DomainNames, Cow::Owned(decoded));
    } else {
        found.add(List::DomainNames, text);
    }
}

fn hash<'a>(text: &'a str, length: usize, list: List, found: &mut Indicators<'a>) {
    if text.len() != length || !text.bytes().all(|byte| byte.is_ascii_hexdigit()) {
        return;
    }
    if text.bytes().any(|byte| byte.is_ascii_uppercase()) {
        found.add(list, text.to_ascii_lowercase());
    } else {
        found.add(list, text);
    }
}

/// True for six or eight bytes in hexadecimal digits, separated by `:` or `-`, or in groups of four digits separated by `.`.
fn is_mac(text: &str) -> bool {
    let groups = |separator: char, digits: usize, counts: [usize; 2]| {
        let mut count = 0;
        text.split(separator).all(|group| {
            count += 1;
            group.len() == digits && group.bytes().all(|byte| byte.is_ascii_hexdigit())
        }) && counts.contains(&count)
    };
    groups(':', 2, [6, 8]) || groups('-', 2, [6, 8]) || groups('.', 4, [3, 4])
}

/// The host of `scheme://user@host:port/path`.
fn url_host(text: &str) -> Option<&str> {
    let (_, rest) = text.split_once("://")?;
    let authority = rest.split(['/', '?', '#']).next()?;
    let host = authority
        .rsplit_once('@')
        .map_or(authority, |(_, host)| host);
    Some(without_port(host))
}

/// The host of `host:port`, `[v6]:port`, or of a bare host.
fn without_port(text: &str) -> &str {
    if let Some(rest) = text.strip_prefix('[') {
        return rest.split(']').next().unwrap_or_default();
    }
    match text.split_once(':') {
        Some((host, port)) if port.bytes().all(|byte| byte.is_ascii_digit()) => host,
        _ => text,
    }
}

fn ips_in_text<'a>(text: &'a str, found: &mut Indicators<'a>) {
    for word in text.split(|char: char| !(char.is_ascii_digit() || char == '.')) {
        let word = word.trim_matches('.');
        if word.len() >= 7 && word.bytes().filter(|byte| *byte == b'.').count() == 3 {
            ip(word, found);
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn scan(scanner: &str, text: &str) -> String {
        let mut found = Indicators::default();
        Scanner::named(scanner).unwrap().scan(text, &mut found);
        let mut out = String::new();
        found.write(&mut out);
        out
    }

    #[test]
    fn each_scanner_takes_its_own() {
        let ips = |list: &str| format!(",\"p_any_ip_addresses\":[{list}]");
        let domains = |list: &str| format!(",\"p_any_domain_names\":[{list}]");
        for (scanner, text, expected) in [
            ("ip", "1.2.3.4", ips("\"1.2.3.4\"")),
            ("ip", "2001:db8::1", ips("\"2001:db8::1\"")),
            ("ip", "1.2.3.400", String::new()),
            ("ip", "example.com", String::new()),
            ("domain", "example.com.", domains("\"example.com\"")),
            (
                "domain",
                "xn--bcher-kva.example",
                domains("\"b\u{fc}cher.example\""),
            ),
            ("domain", "AWS Internal", String::new()),
            ("hostname", "::1", ips("\"::1\"")),
            (
                "hostname",
                "sts.amazonaws.com",
                domains("\"sts.amazonaws.com\""),
            ),
            (
                "url",
                "https://u:p@example.com:8443/x?y#z",
                domains("\"example.com\""),
            ),
            ("url", "http://[2001:db8::1]:80/", ips("\"2001:db8::1\"")),
            ("url", "/relative", String::new()),
            ("net_addr", "10.0.0.1:22", ips("\"10.0.0.1\"")),
            ("net_addr", "[::1]:22", ips("\"::1\"")),
            ("net_addr", "2001:db8::1", ips("\"2001:db8::1\"")),
            ("net_addr", "host.example:22", domains("\"host.example\"")),
            (
                "md5",
                "D41D8CD98F00B204E9800998ECF8427E",
                ",\"p_any_md5_hashes\":[\"d41d8cd98f00b204e9800998ecf8427e\"]".into(),
            ),
            ("md5", "d41d8cd98f00b204e9800998ecf8427", String::new()),
            (
                "sha1",
                "da39a3ee5e6b4b0d3255bfef95601890afd80709",
                ",\"p_any_sha1_hashes\":[\"da39a3ee5e6b4b0d3255bfef95601890afd80709\"]".into(),
            ),
            ("trace_id", " t-1 ", ",\"p_any_trace_ids\":[\"t-1\"]".into()),
            (
                "email",
                "a@example.com",
                ",\"p_any_emails\":[\"a@example.com\"]".into(),
            ),
            ("email", "nobody", String::new()),
            ("username", "root", ",\"p_any_usernames\":[\"root\"]".into()),
            ("actor_id", "u-1", ",\"p_any_actor_ids\":[\"u-1\"]".into()),
            (
                "aws_tag",
                "env:prod",
                ",\"p_any_aws_tags\":[\"env:prod\"]".into(),
            ),
            (
                "aws_arn_only",
                "arn:aws:iam::123456789012:role/x",
                ",\"p_any_aws_arns\":[\"arn:aws:iam::123456789012:role/x\"]".into(),
            ),
            ("aws_arn_only", "role/x", String::new()),
            (
                "mac",
                "00:1b:63:84:45:E6",
                ",\"p_any_mac_addresses\":[\"00:1b:63:84:45:E6\"]".into(),
            ),
            (
                "mac",
                "0123.4567.89ab",
                ",\"p_any_mac_addresses\":[\"0123.4567.89ab\"]".into(),
            ),
            ("mac", "00:1b:63:84:45", String::new()),
            ("mac", "00:1b:63:84:45-e6", String::new()),
            (
                "serial_number",
                "C02X",
                ",\"p_any_serial_numbers\":[\"C02X\"]".into(),
            ),
            (
                "ips_in_text",
                "from 10.0.0.2 to (10.0.0.1), v1.2.3.4.5 of 9.9",
                ips("\"10.0.0.1\",\"10.0.0.2\""),
            ),
        ] {
            assert_eq!(scan(scanner, text), expected, "{scanner} {text}");
        }
    }

    #[test]
    fn lists_are_sorted_and_unique_however_long() {
        let mut found = Indicators::default();
        for number in (0..100).chain(0..100) {
            found.add(List::TraceIds, format!("{:03}", 99 - number));
        }
        let mut out = String::new();
        found.write(&mut out);
        let numbers: Vec<String> = (0..100).map(|number| format!("\"{number:03}\"")).collect();
        assert_eq!(out, format!(",\"p_any_trace_ids\":[{}]", numbers.join(",")));
    }
}
