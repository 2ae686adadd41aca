//! `KEY=VALUE` filters over detections.

use std::str::FromStr;

use crate::pack::{Detection, DetectionKind};

/// Keeps detections of which a YAML key has, or has not, one of some values.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Filter {
    key: Key,
    values: Vec<String>,
    inverted: bool,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Key {
    AnalysisType,
    Id,
    DisplayName,
    Severity,
    Enabled,
    CreateAlert,
    LogTypes,
    ScheduledQueries,
    Tags,
    Status,
    Filename,
}

const KEYS: [(&str, Key); 14] = [
    ("AnalysisType", Key::AnalysisType),
    ("RuleID", Key::Id),
    ("PolicyID", Key::Id),
    ("DisplayName", Key::DisplayName),
    ("Severity", Key::Severity),
    ("Enabled", Key::Enabled),
    ("CreateAlert", Key::CreateAlert),
    ("LogTypes", Key::LogTypes),
    ("LogType", Key::LogTypes),
    ("ResourceTypes", Key::LogTypes),
    ("ScheduledQueries", Key::ScheduledQueries),
    ("Tags", Key::Tags),
    ("Status", Key::Status),
    ("Filename", Key::Filename),
];

/// A text that is no filter.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum FilterError {
    /// No `=`.
    #[error(
        "{0:?} is no filter; write KEY=VALUE or KEY!=VALUE, with several values separated by commas"
    )]
    Shape(String),
    /// A key that detections do not have or that cannot be filtered by.
    #[error("{0:?} is no key to filter by; the keys are {known}", known = KEYS.map(|(name, _)| name).join(", "))]
    Key(String),
}

impl FromStr for Filter {
    type Err = FilterError;

    fn from_str(text: &str) -> Result<Self, Self::Err> {
        let (key, values) = text
            .split_once('=')
            .ok_or_else(|| FilterError::Shape(text.to_owned()))?;
        let (name, inverted) = match key.strip_suffix('!') {
            Some(name) => (name, true),
            None => (key, false),
        };
        let key = KEYS
            .iter()
            .find(|(known, _)| known.eq_ignore_ascii_case(name.trim()))
            .map(|(_, key)| *key)
            .ok_or_else(|| FilterError::Key(name.to_owned()))?;
        let values = values
            .split(',')
            .map(|value| value.trim().to_owned())
            .collect();
        Ok(Self {
            key,
            values,
            inverted,
        })
    }
}

impl Filter {
    /// Whether the detection passes.
    #[must_use]
    pub fn takes(&self, detection: &Detection) -> bool {
        let own = self.key.of(detection);
        let any = self
            .values
            .iter()
            .any(|value| own.iter().any(|own| own.eq_ignore_ascii_case(value)));
        any != self.inverted
    }
}

impl Key {
    fn of(self, detection: &Detection) -> Vec<String> {
        match self {
            Self::AnalysisType => vec![
                match detection.kind {
                    DetectionKind::Rule => "rule",
                    DetectionKind::Policy => "policy",
                    DetectionKind::ScheduledRule => "scheduled_rule",
                }
                .to_owned(),
            ],
            Self::Id => vec![detection.id.clone()],
            Self::DisplayName => detection.display_name.iter().cloned().collect(),
            Self::Severity => vec![detection.severity.as_str().to_owned()],
            Self::Enabled => vec![detection.enabled.to_string()],
            Self::CreateAlert => vec![detection.create_alert.to_string()],
            Self::LogTypes => detection.log_types.clone(),
            Self::ScheduledQueries => detection.scheduled_queries.clone(),
            Self::Tags => detection.tags.clone(),
            Self::Status => detection.status.iter().cloned().collect(),
            Self::Filename => match &detection.source {
                crate::pack::Source::Python { file, .. } => {
                    vec![
                        file.clone(),
                        file.rsplit('/').next().unwrap_or_default().to_owned(),
                    ]
                }
                crate::pack::Source::Simple(_) => Vec::new(),
            },
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn filters_are_read_or_explained() {
        assert!("Severity=High,critical".parse::<Filter>().is_ok());
        assert!("Severity!=Info".parse::<Filter>().unwrap().inverted);
        assert!(matches!(
            "Severity".parse::<Filter>(),
            Err(FilterError::Shape(_))
        ));
        let unknown = "Owner=me".parse::<Filter>().unwrap_err();
        assert!(unknown.to_string().contains("LogTypes"), "{unknown}");
    }
}
