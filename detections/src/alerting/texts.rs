//! What an alert says: the match's own texts where it gave some, else the detection's.

use serde::{Deserialize, Serialize};

use crate::pack::{Detection, Severity};
use crate::verdict::{Outputs, RuleError};

/// The texts that a deduplication row carries from its alert's first match. `None` where the match gave none.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct Generated {
    /// Title.
    pub title: Option<String>,
    /// Description.
    pub description: Option<String>,
    /// Reference.
    pub reference: Option<String>,
    /// Runbook.
    pub runbook: Option<String>,
    /// Severity.
    pub severity: Option<Severity>,
}

impl From<&Outputs> for Generated {
    fn from(outputs: &Outputs) -> Self {
        Self {
            title: outputs.title.clone(),
            description: outputs.description.clone(),
            reference: outputs.reference.clone(),
            runbook: outputs.runbook.clone(),
            severity: Some(outputs.severity),
        }
    }
}

/// The texts of an alert as people see them.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct AlertTexts {
    /// Never empty.
    pub title: String,
    /// May be empty.
    pub description: String,
    /// May be empty.
    pub reference: String,
    /// May be empty.
    pub runbook: String,
    /// Severity.
    pub severity: Severity,
}

/// The match's text if it has one, else the detection's; for a title, else the display name, else the id.
#[must_use]
pub fn alert_texts(generated: &Generated, detection: &Detection) -> AlertTexts {
    let given = |text: &Option<String>| text.clone().filter(|text| !text.is_empty());
    AlertTexts {
        title: given(&generated.title)
            .or_else(|| given(&detection.display_name))
            .unwrap_or_else(|| detection.id.clone()),
        description: given(&generated.description).unwrap_or_else(|| detection.description.clone()),
        reference: given(&generated.reference).unwrap_or_else(|| detection.reference.clone()),
        runbook: given(&generated.runbook).unwrap_or_else(|| detection.runbook.clone()),
        severity: generated.severity.unwrap_or(detection.severity),
    }
}

/// Title and dedup string of a rule error: the exception's representation with the place in the pack that raised it; and its class.
#[must_use]
pub fn error_outputs(error: &RuleError) -> (String, String) {
    let title = match &error.place {
        Some(place) => format!("{} at {place}", error.title),
        None => error.title.clone(),
    };
    (title, error.kind.clone())
}
