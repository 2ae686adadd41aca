//! Indicator fields: values worth searching across all log types, collected in the `p_any_*` lists of an event.

mod aws;
mod scan;

use std::borrow::Cow;

pub(crate) use aws::extract as extract_aws;
pub(crate) use scan::Scanner;

use crate::json::{Str, push_quoted};

/// The indicator lists, in the order of their output.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub(crate) enum List {
    IpAddresses,
    DomainNames,
    Md5Hashes,
    Sha1Hashes,
    Sha256Hashes,
    TraceIds,
    AwsArns,
    AwsAccountIds,
    AwsInstanceIds,
    AwsTags,
    Emails,
    Usernames,
    ActorIds,
    MacAddresses,
    SerialNumbers,
}

impl List {
    /// Name of the event field that holds the list.
    pub(crate) fn field(self) -> &'static str {
        match self {
            Self::IpAddresses => "p_any_ip_addresses",
            Self::DomainNames => "p_any_domain_names",
            Self::Md5Hashes => "p_any_md5_hashes",
            Self::Sha1Hashes => "p_any_sha1_hashes",
            Self::Sha256Hashes => "p_any_sha256_hashes",
            Self::TraceIds => "p_any_trace_ids",
            Self::AwsArns => "p_any_aws_arns",
            Self::AwsAccountIds => "p_any_aws_account_ids",
            Self::AwsInstanceIds => "p_any_aws_instance_ids",
            Self::AwsTags => "p_any_aws_tags",
            Self::Emails => "p_any_emails",
            Self::Usernames => "p_any_usernames",
            Self::ActorIds => "p_any_actor_ids",
            Self::MacAddresses => "p_any_mac_addresses",
            Self::SerialNumbers => "p_any_serial_numbers",
        }
    }
}

/// Up to this number of values, duplicates are found by a linear scan. Beyond it, the final sort removes duplicates.
const FEW: usize = 32;

/// The indicators found in one event.
#[derive(Debug, Default)]
pub(crate) struct Indicators<'a> {
    found: Vec<(List, Cow<'a, str>)>,
}

impl<'a> Indicators<'a> {
    pub(crate) fn clear(&mut self) {
        self.found.clear();
    }

    /// An empty set that reuses the memory of this one.
    pub(crate) fn recycled<'b>(mut self) -> Indicators<'b> {
        self.found.clear();
        // the vector is empty, and collecting in place keeps the allocation
        Indicators {
            found: self
                .found
                .into_iter()
                .map(|(list, value)| (list, Cow::Owned(value.into_owned())))
                .collect(),
        }
    }

    pub(crate) fn add(&mut self, list: List, value: impl Into<Cow<'a, str>>) {
        let value = value.into();
        if self.found.len() <= FEW
            && self
                .found
                .iter()
                .any(|(known, found)| *known == list && *found == value)
        {
            return;
        }
        self.found.push((list, value));
    }

    /// Runs `scanners` on the text of a field.
    pub(crate) fn scan(&mut self, scanners: &[Scanner], text: Str<'a>) {
        if scanners.is_empty() {
            return;
        }
        match text.decoded() {
            Cow::Borrowed(text) => scanners.iter().for_each(|scanner| scanner.scan(text, self)),
            Cow::Owned(text) => {
                let mut found = Indicators::default();
                scanners
                    .iter()
                    .for_each(|scanner| scanner.scan(&text, &mut found));
                for (list, value) in found.found {
                    self.add(list, value.into_owned());
                }
            }
        }
    }

    /// Appends `,"p_any_…":[…]` for each non-empty list, sorted and without duplicates.
    pub(crate) fn write(&mut self, out: &mut String) {
        self.found.sort_unstable();
        self.found.dedup();
        let mut before = None;
        for (list, value) in &self.found {
            if before == Some(*list) {
                out.push(',');
            } else {
                if before.is_some() {
                    out.push(']');
                }
                out.push_str(",\"");
                out.push_str(list.field());
                out.push_str("\":[");
                before = Some(*list);
            }
            push_quoted(value, out);
        }
        if before.is_some() {
            out.push(']');
        }
    }
}
