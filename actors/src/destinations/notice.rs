//! An alert as destinations need it.

use serde_json::{Value, json};

/// An alert, and the address of its page.
pub(super) struct Notice<'a> {
    alert: &'a Value,
    /// What the address of an alert's page begins with.
    link: Option<&'a str>,
}

impl<'a> Notice<'a> {
    pub(super) const fn new(alert: &'a Value, link: Option<&'a str>) -> Self {
        Self { alert, link }
    }

    /// A value of the alert as text; empty if it has none.
    pub(super) fn text(&self, name: &str) -> String {
        match &self.alert[name] {
            Value::String(text) => text.clone(),
            Value::Null => String::new(),
            other => other.to_string(),
        }
    }

    /// The title that people read, which also says what kind of alert it is.
    pub(super) fn title(&self) -> String {
        let alert = self.alert;
        let prefix = match alert["type"].as_str() {
            Some("RULE_ERROR") => "New rule error: ",
            Some("POLICY") => "Policy Failure: ",
            _ => "New Alert: ",
        };
        let again = if alert["isResent"].as_bool() == Some(true) {
            "[Re-sent]: "
        } else {
            ""
        };
        let own = alert["title"]
            .as_str()
            .filter(|title| !title.is_empty())
            .or(alert["analysisName"].as_str())
            .unwrap_or_default();
        format!("{again}{prefix}{own}")
    }

    /// The address of the alert's page, if the node's configuration says where pages are.
    pub(super) fn link(&self) -> Option<String> {
        let id = self.alert["alertId"].as_str().unwrap_or_default();
        let base = self.link?.trim_end_matches('/');
        Some(format!("{base}/log-analysis/alerts/{id}"))
    }

    /// The colour of the alert's severity.
    pub(super) fn color(&self) -> &'static str {
        match self.alert["severity"].as_str().unwrap_or_default() {
            "CRITICAL" => "#425a70",
            "HIGH" => "#cb2e2e",
            "MEDIUM" => "#d9822b",
            "LOW" => "#f7d154",
            _ => "#47b881",
        }
    }

    /// The alert in the form that machines read.
    pub(super) fn notification(&self) -> Value {
        let alert = self.alert;
        json!({
            "id": alert["analysisId"], "createdAt": alert["createdAt"], "severity": alert["severity"], "type": alert["type"],
            "link": self.link(), "title": self.title(), "name": alert["analysisName"], "alertId": alert["alertId"],
            "alertContext": alert["context"], "description": alert["analysisDescription"], "runbook": alert["runbook"],
            "tags": alert["tags"], "version": alert["version"],
        })
    }
}
