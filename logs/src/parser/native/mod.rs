//! Native parsers: formats that the schema language cannot express. Each parser only splits a record into fields; the schema declares
//! types, timestamps and indicators.

mod alb;
mod anchors;
mod falcon;
mod gsuite;
mod s3_access;
mod vpc_flow;
mod web_access;

use web_access::Format;

use super::{Line, Reading, State, form::syslog};
use crate::schema::ObjectType;

/// The native parsers.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Native {
    Alb,
    FalconReplicator,
    GsuiteActivity,
    S3ServerAccess,
    Syslog5424,
    VpcFlow,
    WebAccess(Format),
}

const NAMES: [(&str, Native); 9] = [
    ("AWS.ALB", Native::Alb),
    ("AWS.S3ServerAccess", Native::S3ServerAccess),
    ("AWS.VPCFlow", Native::VpcFlow),
    (
        "Apache.AccessCombined",
        Native::WebAccess(Format::ApacheCombined),
    ),
    (
        "Apache.AccessCommon",
        Native::WebAccess(Format::ApacheCommon),
    ),
    ("Crowdstrike.FDREvent", Native::FalconReplicator),
    ("GSuite.ActivityEvent", Native::GsuiteActivity),
    ("Nginx.Access", Native::WebAccess(Format::Nginx)),
    ("Syslog.RFC5424", Native::Syslog5424),
];

impl Native {
    pub(super) fn named(name: &str) -> Result<Self, String> {
        NAMES
            .iter()
            .find(|(known, _)| *known == name)
            .map(|(_, native)| *native)
            .ok_or_else(|| {
                let known: Vec<&str> = NAMES.iter().map(|(name, _)| *name).collect();
                format!("`{name}` is not known: use {}", known.join(", "))
            })
    }

    pub(super) fn read(
        self,
        line: &Line<'_, '_>,
        root: &ObjectType,
        state: &mut State,
        out: &mut Vec<String>,
    ) -> Result<Reading, String> {
        match self {
            Self::Alb => alb::read(line.text, root, out),
            Self::FalconReplicator => falcon::read(line, out),
            Self::GsuiteActivity => gsuite::read(line, out),
            Self::S3ServerAccess => s3_access::read(line.text, root, out),
            Self::Syslog5424 => syslog::read_5424(line.text, root, out),
            Self::VpcFlow => vpc_flow::read(line.text, root, state, out),
            Self::WebAccess(format) => web_access::read(format, line.text, root, out),
        }
    }
}

/// Appends a text as an object field. `-` means that there is no value.
fn push(name: &str, text: &str, root: &ObjectType, out: &mut String) {
    if text != "-" {
        super::row::push_field(name, text, root, out);
    }
}
