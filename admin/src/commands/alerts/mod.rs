//! alerts: what was found, what became of it, and where it was delivered.

mod show;

use chrono::{DateTime, SecondsFormat, Utc};
use clap::{Args, Subcommand, ValueEnum};
use serde_json::{Value, json};

use super::{Context, Severity, filters_in_words, given, ledger, names, outputs};
use crate::{
    answer::{Answer, Fields},
    cli::now,
    failure::{Exit, Failure},
    input,
    output::{Cell, Grid, Look, Tone, ago, counted, short},
};

/// The component that answers here.
const API: &str = "panther-alerts-api";
/// Alerts or events asked for at a time: what the API gives at most.
const PAGE: usize = 50;

/// `alerts`.
#[derive(Debug, Subcommand)]
pub(crate) enum Alerts {
    /// Alerts, the newest first
    List(Box<List>),
    /// One alert: its texts, deliveries, history and events
    Show(show::Show),
    /// Nothing is left to do about alerts
    Close(Settle),
    /// Somebody looks at alerts
    Triage(Settle),
    /// What alerts told of is mended
    Resolve(Settle),
    /// Alerts are open again
    Reopen(Settle),
    /// Give alerts to somebody
    Assign(Assign),
    /// Send an alert to outputs again
    Deliver(Deliver),
}

#[derive(Debug, Clone, Copy, PartialEq, Eq, ValueEnum)]
#[value(rename_all = "UPPER")]
enum Status {
    Open,
    Triaged,
    Closed,
    Resolved,
}

/// What an alert turned out to be.
#[derive(Debug, Clone, Copy, PartialEq, Eq, ValueEnum)]
enum Disposition {
    /// It told of what it was made for
    True,
    /// It told of something true and harmless
    Benign,
    /// It should not have come
    False,
}

/// What an alert is of.
#[derive(Debug, Clone, Copy, PartialEq, Eq, ValueEnum)]
#[value(rename_all = "SCREAMING_SNAKE_CASE")]
enum AlertType {
    /// A rule matched
    Rule,
    /// A rule failed
    RuleError,
    /// A policy failed
    Policy,
}

/// `alerts list`.
#[derive(Debug, Args)]
pub(crate) struct List {
    /// Of this rule id
    #[arg(long)]
    rule: Option<String>,
    /// In this state; several by commas
    #[arg(long, value_enum, ignore_case = true, value_delimiter = ',')]
    status: Vec<Status>,
    /// Of this severity; several by commas
    #[arg(long, value_enum, ignore_case = true, value_delimiter = ',')]
    severity: Vec<Severity>,
    /// Of this type; several by commas
    #[arg(long = "type", value_enum, ignore_case = true, value_delimiter = ',')]
    types: Vec<AlertType>,
    /// From events of this log type; several by commas
    #[arg(long = "log-type", value_name = "LOG_TYPE", value_delimiter = ',')]
    log_types: Vec<String>,
    /// With this in their title
    #[arg(long)]
    name: Option<String>,
    /// Created after this time: 2h, 7d, 2026-03-05, 2026-03-05T14:00:00Z
    #[arg(long, value_name = "TIME", value_parser = time)]
    since: Option<DateTime<Utc>>,
    /// Created before this time
    #[arg(long, value_name = "TIME", value_parser = time)]
    until: Option<DateTime<Utc>>,
    /// The oldest first
    #[arg(long)]
    oldest: bool,
    /// How many
    #[arg(long, default_value_t = 25, value_parser = at_least_one)]
    limit: usize,
}

/// `alerts close`, `triage`, `resolve`, `reopen`.
#[derive(Debug, Args)]
pub(crate) struct Settle {
    /// The alerts' ids
    #[arg(required = true)]
    alerts: Vec<String>,
    /// What they turned out to be
    #[arg(long, value_enum)]
    disposition: Option<Disposition>,
    /// Why
    #[arg(long)]
    reason: Option<String>,
}

/// `alerts assign`.
#[derive(Debug, Args)]
pub(crate) struct Assign {
    /// Who is to look at them; "" for nobody
    assignee: String,
    /// The alerts' ids
    #[arg(required = true)]
    alerts: Vec<String>,
}

/// `alerts deliver`.
#[derive(Debug, Args)]
pub(crate) struct Deliver {
    /// The alert's id
    alert: String,
    /// The outputs, by name or id
    #[arg(required = true)]
    outputs: Vec<String>,
}

fn at_least_one(text: &str) -> Result<usize, String> {
    match text.parse() {
        Ok(0) | Err(_) => Err("give a number of 1 or more".to_owned()),
        Ok(count) => Ok(count),
    }
}

fn time(text: &str) -> Result<DateTime<Utc>, String> {
    input::instant(text, now())
}

impl Alerts {
    pub(super) async fn run(self, context: &Context) -> Result<Exit, Failure> {
        match self {
            Self::List(list) => list.run(context).await,
            Self::Show(show) => show.run(context).await,
            Self::Close(settle) => settle.run(context, Status::Closed).await,
            Self::Triage(settle) => settle.run(context, Status::Triaged).await,
            Self::Resolve(settle) => settle.run(context, Status::Resolved).await,
            Self::Reopen(settle) => settle.run(context, Status::Open).await,
            Self::Assign(assign) => assign.run(context).await,
            Self::Deliver(deliver) => deliver.run(context).await,
        }
    }
}

/// An alert's title, or the name of its rule.
pub(super) fn title(alert: &Value) -> String {
    ["title", "ruleDisplayName", "ruleId"]
        .iter()
        .map(|key| alert.text(key))
        .find(|text| !text.is_empty())
        .unwrap_or_default()
}

/// Its severity, louder the higher it is.
pub(super) fn severity(alert: &Value) -> Cell {
    let severity = alert.text("severity");
    let tone = match severity.as_str() {
        "CRITICAL" | "HIGH" => Tone::Bad,
        "MEDIUM" => Tone::Warning,
        _ => Tone::Plain,
    };
    Cell::toned(tone, severity)
}

/// Where it was delivered, the last attempt of each output counting.
fn delivery(alert: &Value) -> Cell {
    let mut last: Vec<(String, bool)> = Vec::new();
    for attempt in alert.items("deliveryResponses") {
        let (output, success) = (attempt.text("outputId"), attempt["success"] == true);
        match last.iter_mut().find(|(known, _)| *known == output) {
            Some((_, earlier)) => *earlier = success,
            None => last.push((output, success)),
        }
    }
    let delivered = last.iter().filter(|(_, success)| *success).count();
    match last.len() {
        0 => Cell::toned(Tone::Dim, "-"),
        all if all == delivered => Cell::toned(Tone::Good, format!("{delivered} of {all}")),
        all => Cell::toned(Tone::Bad, format!("{delivered} of {all}")),
    }
}

fn table(alerts: &[Value], look: &Look) -> String {
    let mut grid = Grid::new(&[
        "CREATED",
        "SEVERITY",
        "STATUS",
        "#EVENTS",
        "DELIVERED",
        "ALERT",
        "RULE",
        "TITLE",
    ]);
    for alert in alerts {
        grid.row([
            ago(look.now, alert.instant("creationTime")).into(),
            severity(alert),
            alert.text("status").into(),
            alert.number("eventsMatched").into(),
            delivery(alert),
            alert.text("alertId").into(),
            alert.text("ruleId").into(),
            short(&title(alert), 120).into(),
        ]);
    }
    grid.render(look)
}

impl List {
    async fn run(self, context: &Context) -> Result<Exit, Failure> {
        let stamp = |time: Option<DateTime<Utc>>| {
            time.map(|time| time.to_rfc3339_opts(SecondsFormat::Millis, true))
        };
        let filters = given(json!({
            "ruleId": self.rule,
            "status": names(&self.status),
            "severity": names(&self.severity),
            "types": names(&self.types),
            "logTypes": self.log_types,
            "nameContains": self.name,
            "createdAtAfter": stamp(self.since),
            "createdAtBefore": stamp(self.until),
            "sortDir": self.oldest.then_some("ascending"),
        }));
        let answer = self.pages(context, &filters).await?;
        let alerts = answer.items("alertSummaries");
        if alerts.is_empty() && !context.screen.json() {
            context.screen.note(&nothing(context, &filters).await);
            return Ok(Exit::Fine);
        }
        context.screen.show(&answer, |look| table(alerts, look))?;
        if answer.has("lastEvaluatedKey") {
            context.screen.note(&format!(
                "there are more; these are {}: --limit N shows more",
                alerts.len()
            ));
        }
        Ok(Exit::Fine)
    }

    /// Page after page until there are as many as asked for, as one answer.
    async fn pages(&self, context: &Context, filters: &Value) -> Result<Answer, Failure> {
        let mut alerts: Vec<Value> = Vec::new();
        let mut key = Value::Null;
        loop {
            let mut input = filters.clone();
            input["pageSize"] = json!(self.limit.saturating_sub(alerts.len()).clamp(1, PAGE));
            if !key.is_null() {
                input["exclusiveStartKey"] = key.clone();
            }
            let page = context.read(API, "listAlerts", input).await?;
            alerts.extend(page.items("alertSummaries").iter().cloned());
            let next = page["lastEvaluatedKey"].clone();
            // A node that gives the same key again would keep us for ever.
            if next.is_null() || next == key || alerts.len() >= self.limit {
                return Ok(Answer::of(
                    json!({"alertSummaries": alerts, "lastEvaluatedKey": next}),
                ));
            }
            key = next;
        }
    }
}

/// Why there is no alert to show.
async fn nothing(context: &Context, filters: &Value) -> String {
    let words = filters_in_words(filters, &["sortDir"]);
    let any = context
        .aside(API, "listAlerts", json!({"pageSize": 1}))
        .await
        .is_some_and(|answer| !answer.items("alertSummaries").is_empty());
    if any {
        return format!(
            "no alert with {words}; there are alerts without that: pantherctl alerts list"
        );
    }
    let status = context.aside("node", "status", json!({})).await;
    let detections = match status.as_ref().map(|status| &status["pack"]) {
        Some(pack) if pack.is_object() => {
            format!("{} are live", counted(pack.number("rules"), "rule"))
        }
        Some(_) => "no detections are uploaded (`pantherctl detections upload`)".to_owned(),
        None => "the detections are not known".to_owned(),
    };
    let received = ledger::in_words(context, None).await;
    format!("there is no alert at all: {detections}; {received}")
}

impl Settle {
    async fn run(self, context: &Context, status: Status) -> Result<Exit, Failure> {
        update(
            context,
            json!({
                "alertIds": self.alerts,
                "status": names(&[status]).concat(),
                "userId": context.user,
                "disposition": self.disposition.map(|disposition| names(&[disposition]).concat()),
                "reason": self.reason,
            }),
        )
        .await
    }
}

impl Assign {
    async fn run(self, context: &Context) -> Result<Exit, Failure> {
        update(
            context,
            json!({"alertIds": self.alerts, "userId": context.user, "assignee": self.assignee}),
        )
        .await
    }
}

async fn update(context: &Context, input: Value) -> Result<Exit, Failure> {
    let answer = context
        .change(API, "updateAlertStatus", given(input))
        .await?;
    context
        .screen
        .show(&answer, |look| table(answer.items("summaries"), look))?;
    Ok(Exit::Fine)
}

impl Deliver {
    async fn run(self, context: &Context) -> Result<Exit, Failure> {
        let ids = outputs::ids_of(context, &self.outputs).await?;
        let input = json!({"alertId": self.alert, "outputIds": ids});
        let answer = context.change(API, "deliverAlert", input).await?;
        context.screen.show(&answer, |look| {
            table(std::slice::from_ref(&answer.value), look)
        })?;
        context.screen.note(&format!(
            "on its way; how it went: pantherctl alerts show {}",
            self.alert
        ));
        Ok(Exit::Fine)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// An alert as the API gives it whole.
    pub(super) fn alert() -> Value {
        json!({"alertId": "a1", "type": "RULE", "ruleId": "R", "severity": "HIGH", "status": "OPEN", "title": "Too\nmany",
            "creationTime": "2023-11-14T22:13:20Z", "eventsMatched": 12, "logTypes": ["AWS.CloudTrail"],
            "deliveryResponses": [{"outputId": "o", "success": false}, {"outputId": "o", "success": true}, {"outputId": "p", "success": false}],
            "history": [{"at": "2023-11-14T22:13:21Z", "status": "OPEN"}],
            "events": [{"p_row_id": "r1"}, "{\"p_row_id\":\"r2\"}"]})
    }

    #[test]
    fn a_row_tells_the_last_attempt_of_each_output() {
        let shown = table(&[alert()], &Look::plain_at(1_700_000_120));
        let row: Vec<&str> = shown
            .lines()
            .nth(1)
            .unwrap_or_default()
            .split("  ")
            .map(str::trim)
            .filter(|cell| !cell.is_empty())
            .collect();
        assert_eq!(
            row,
            [
                "2 min ago",
                "HIGH",
                "OPEN",
                "12",
                "1 of 2",
                "a1",
                "R",
                "Too many"
            ]
        );
    }
}
