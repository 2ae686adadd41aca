//! The registry of log types: the built-in ones, and those that users add.

use std::{
    collections::BTreeMap,
    sync::{Arc, LazyLock},
};

use crate::{
    parser::Parser,
    schema::{Schema, SchemaError, compile},
};

/// The built-in schemas, one file each.
const BUILTIN: &[&str] = &[
    include_str!("../schemas/AWS.ALB.yml"),
    include_str!("../schemas/AWS.CloudTrail.yml"),
    include_str!("../schemas/AWS.CloudTrailDigest.yml"),
    include_str!("../schemas/AWS.CloudTrailInsight.yml"),
    include_str!("../schemas/AWS.CloudWatchEvents.yml"),
    include_str!("../schemas/AWS.GuardDuty.yml"),
    include_str!("../schemas/AWS.S3ServerAccess.yml"),
    include_str!("../schemas/AWS.VPCDns.yml"),
    include_str!("../schemas/AWS.VPCFlow.yml"),
    include_str!("../schemas/AWS.WAFWebACL.yml"),
    include_str!("../schemas/Apache.AccessCombined.yml"),
    include_str!("../schemas/Apache.AccessCommon.yml"),
    include_str!("../schemas/Box.Event.yml"),
    include_str!("../schemas/Cloudflare.HttpRequest.yml"),
    include_str!("../schemas/Duo.Administrator.yml"),
    include_str!("../schemas/Duo.Authentication.yml"),
    include_str!("../schemas/GCP.AuditLog.yml"),
    include_str!("../schemas/GSuite.ActivityEvent.yml"),
    include_str!("../schemas/GSuite.Reports.yml"),
    include_str!("../schemas/GitHub.Audit.yml"),
    include_str!("../schemas/GitLab.API.yml"),
    include_str!("../schemas/Gravitational.TeleportAudit.yml"),
    include_str!("../schemas/Nginx.Access.yml"),
    include_str!("../schemas/Okta.SystemLog.yml"),
    include_str!("../schemas/OneLogin.Events.yml"),
    include_str!("../schemas/Osquery.Differential.yml"),
    include_str!("../schemas/Slack.AccessLogs.yml"),
    include_str!("../schemas/Slack.AuditLogs.yml"),
    include_str!("../schemas/Suricata.DNS.yml"),
    include_str!("../schemas/Syslog.RFC5424.yml"),
    include_str!("../schemas/Zeek.DNS.yml"),
];

/// A log type: a schema and its compiled parser.
#[derive(Debug)]
pub struct LogType {
    pub(crate) schema: Schema,
    pub(crate) parser: Parser,
    yaml: Box<str>,
    builtin: bool,
}

impl LogType {
    fn read(yaml: &str, builtin: bool) -> Result<Self, SchemaError> {
        let schema = compile(yaml)?;
        let problem = |(path, problem)| SchemaError {
            schema: schema.name.to_string(),
            path,
            problem,
        };
        let parser = Parser::compile(schema.parser.as_ref(), &schema.root).map_err(problem)?;
        if parser.is_native() && !builtin {
            return Err(problem((
                "parser.native".into(),
                "only the log types built in can have a native parser".into(),
            )));
        }
        Ok(Self {
            schema,
            parser,
            yaml: yaml.into(),
            builtin,
        })
    }

    /// Its name, such as `AWS.CloudTrail`.
    pub fn name(&self) -> &Arc<str> {
        &self.schema.name
    }

    /// Description, as its author wrote it.
    pub fn description(&self) -> &str {
        &self.schema.description
    }

    /// Link to the documentation of the format; empty if the schema gives no link.
    pub fn reference(&self) -> &str {
        &self.schema.reference
    }

    /// The YAML schema, as its author wrote it.
    pub fn yaml(&self) -> &str {
        &self.yaml
    }

    /// True if the log type is built in.
    pub fn is_builtin(&self) -> bool {
        self.builtin
    }
}

/// A set of log types. Cheap to clone.
#[derive(Debug, Clone, Default)]
pub struct LogTypes {
    types: BTreeMap<Arc<str>, Arc<LogType>>,
}

impl LogTypes {
    /// The built-in log types. They are compiled on the first call.
    #[expect(
        clippy::expect_used,
        reason = "the schemas are part of the program, and a test reads each of them"
    )]
    pub fn builtin() -> Self {
        static READ: LazyLock<LogTypes> = LazyLock::new(|| {
            let types = BUILTIN
                .iter()
                .map(|yaml| LogType::read(yaml, true).expect("a schema built in is valid"));
            LogTypes {
                types: types
                    .map(|log_type| (Arc::clone(log_type.name()), Arc::new(log_type)))
                    .collect(),
            }
        });
        READ.clone()
    }

    /// The names in alphabetical order.
    pub fn names(&self) -> impl Iterator<Item = &Arc<str>> {
        self.types.keys()
    }

    /// The log type of that name.
    pub fn get(&self, name: &str) -> Option<&Arc<LogType>> {
        self.types.get(name)
    }

    /// The known name with the smallest edit distance from `name`, ignoring case, or `None` if no name is close enough.
    pub fn nearest(&self, name: &str) -> Option<&Arc<str>> {
        let wanted = name.to_lowercase();
        self.names()
            .map(|known| (distance(&known.to_lowercase(), &wanted), known))
            .min_by_key(|(distance, _)| *distance)
            .filter(|(distance, _)| *distance <= 1 + wanted.len() / 4)
            .map(|(_, known)| known)
    }

    /// Adds the log type that `yaml` declares. It replaces an earlier user log type of the same name.
    ///
    /// # Errors
    /// The schema is invalid, or its name belongs to a built-in log type.
    pub fn with_schema(mut self, yaml: &str) -> Result<Self, SchemaError> {
        let log_type = LogType::read(yaml, false)?;
        let name = Arc::clone(log_type.name());
        if self.types.get(&name).is_some_and(|known| known.builtin) {
            return Err(SchemaError {
                schema: name.to_string(),
                path: "schema".into(),
                problem: "the name belongs to a log type built in".into(),
            });
        }
        self.types.insert(name, Arc::new(log_type));
        Ok(self)
    }
}

/// Edit distance (Levenshtein) of two texts, in characters inserted, removed or replaced.
fn distance(one: &str, other: &str) -> usize {
    let other: Vec<char> = other.chars().collect();
    let mut row: Vec<usize> = (0..=other.len()).collect();
    for (at, letter) in one.chars().enumerate() {
        let mut diagonal = std::mem::replace(&mut row[0], at + 1);
        for (place, second) in other.iter().enumerate() {
            let changed = diagonal + usize::from(letter != *second);
            diagonal = row[place + 1];
            row[place + 1] = changed.min(diagonal + 1).min(row[place] + 1);
        }
    }
    row.last().copied().unwrap_or_default()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_wrong_name_finds_the_one_that_was_meant() {
        let known = LogTypes::builtin();
        for (name, meant) in [
            ("AWS.Albb", Some("AWS.ALB")),
            ("aws.cloudtrail", Some("AWS.CloudTrail")),
            ("AWS.CloudTrial", Some("AWS.CloudTrail")),
            ("nginx", None),
            ("Okta.SytemLogs", Some("Okta.SystemLog")),
            ("", None),
        ] {
            assert_eq!(known.nearest(name).map(|name| &**name), meant, "{name}");
        }
    }

    #[test]
    fn every_schema_built_in_is_valid() {
        for yaml in BUILTIN {
            if let Err(error) = LogType::read(yaml, true) {
                panic!("{error}");
            }
        }
        assert_eq!(LogTypes::builtin().names().count(), BUILTIN.len());
    }
}
