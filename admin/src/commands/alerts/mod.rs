//! alerts: what was found, what became of it, and where it was delivered.

mod show;

use chrono::{DateTime, SecondsFormat, Utc};
use clap::{Args, Subcommand, ValueEnum};
use panther_proto::v1::{
    AlertSummary, DeliverAlertRequest, DeliveryResponse, ListAlertsAnswer, ListAlertsRequest,
    StatusRequest, UpdateAlertStatusRequest,
};

use super::{Context, Severity, ledger, names, outputs};
use crate::{
    answer::Reply,
    cli::now,
    failure::{Exit, Failure},
    input,
    output::{Cell, Grid, Look, Tone, ago, counted, instant, short},
};

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
pub(super) fn title<'a>(title: &'a str, rule_name: &'a str, rule_id: &'a str) -> &'a str {
    [title, rule_name, rule_id]
        .into_iter()
        .find(|text| !text.is_empty())
        .unwrap_or_default()
}

/// A severity, louder the higher it is.
pub(super) fn severity(severity: &str) -> Cell {
    let tone = match severity {
        "CRITICAL" | "HIGH" => Tone::Bad,
        "MEDIUM" => Tone::Warning,
        _ => Tone::Plain,
    };
    Cell::toned(tone, severity)
}

/// Where it was delivered, the last attempt of each output counting.
fn delivery(attempts: &[DeliveryResponse]) -> Cell {
    let mut last: Vec<(&str, bool)> = Vec::new();
    for attempt in attempts {
        let output = attempt.output_id.as_str();
        match last.iter_mut().find(|(known, _)| *known == output) {
            Some((_, earlier)) => *earlier = attempt.success,
            None => last.push((output, attempt.success)),
        }
    }
    let delivered = last.iter().filter(|(_, success)| *success).count();
    match last.len() {
        0 => Cell::toned(Tone::Dim, "-"),
        all if all == delivered => Cell::toned(Tone::Good, format!("{delivered} of {all}")),
        all => Cell::toned(Tone::Bad, format!("{delivered} of {all}")),
    }
}

fn table(alerts: &[AlertSummary], look: &Look) -> String {
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
            ago(look.now, instant(alert.creation_time())).into(),
            severity(alert.severity()),
            alert.status.as_str().into(),
            alert.events_matched().into(),
            delivery(&alert.delivery_responses),
            alert.alert_id.as_str().into(),
            alert.rule_id().into(),
            short(
                title(alert.title(), alert.rule_display_name(), alert.rule_id()),
                120,
            )
            .into(),
        ]);
    }
    grid.render(look)
}

impl List {
    async fn run(self, context: &Context) -> Result<Exit, Failure> {
        let stamp = |time: Option<DateTime<Utc>>| {
            time.map(|time| time.to_rfc3339_opts(SecondsFormat::Millis, true))
        };
        let filters = ListAlertsRequest {
            rule_id: self.rule.clone(),
            status: names(&self.status),
            severity: names(&self.severity),
            types: names(&self.types),
            log_types: self.log_types.clone(),
            name_contains: self.name.clone(),
            created_at_after: stamp(self.since),
            created_at_before: stamp(self.until),
            sort_dir: self.oldest.then(|| "ascending".to_owned()),
            ..ListAlertsRequest::default()
        };
        let answer = self.pages(context, &filters).await?;
        let alerts = &answer.alert_summaries;
        if alerts.is_empty() && !context.screen.json() {
            context.screen.note(&nothing(context, &filters).await);
            return Ok(Exit::Fine);
        }
        context.screen.show(&answer, |look| table(alerts, look))?;
        if answer.last_evaluated_key.is_some() {
            context.screen.note(&format!(
                "there are more; these are {}: --limit N shows more",
                alerts.len()
            ));
        }
        Ok(Exit::Fine)
    }

    /// Page after page until there are as many as asked for, as one answer.
    async fn pages(
        &self,
        context: &Context,
        filters: &ListAlertsRequest,
    ) -> Result<Reply<ListAlertsAnswer>, Failure> {
        let mut alerts = Vec::new();
        let mut key = None;
        loop {
            let left = self.limit.saturating_sub(alerts.len()).clamp(1, PAGE);
            let request = ListAlertsRequest {
                page_size: u32::try_from(left).ok(),
                exclusive_start_key: key.clone(),
                ..filters.clone()
            };
            let mut page = context.call(request).await?;
            alerts.append(&mut page.alert_summaries);
            let next = page.last_evaluated_key.clone();
            // A node that gives the same key again would keep us for ever.
            if next.is_none() || next == key || alerts.len() >= self.limit {
                page.alert_summaries = alerts;
                return Ok(page);
            }
            key = next;
        }
    }
}

/// Filters in words, such as `severity HIGH, status OPEN`; empty without a filter.
fn in_words(filters: &ListAlertsRequest) -> String {
    let texts = [
        ("rule", filters.rule_id().to_owned()),
        ("status", filters.status.join(", ")),
        ("severity", filters.severity.join(", ")),
        ("type", filters.types.join(", ")),
        ("log type", filters.log_types.join(", ")),
        ("name", filters.name_contains().to_owned()),
        ("created after", filters.created_at_after().to_owned()),
        ("created before", filters.created_at_before().to_owned()),
    ];
    let given = texts.iter().filter(|(_, text)| !text.is_empty());
    given
        .map(|(name, text)| format!("{name} {text}"))
        .collect::<Vec<_>>()
        .join(", ")
}

/// Why there is no alert to show.
async fn nothing(context: &Context, filters: &ListAlertsRequest) -> String {
    let words = in_words(filters);
    let one = ListAlertsRequest {
        page_size: Some(1),
        ..ListAlertsRequest::default()
    };
    let any = context.call(one).await;
    if any.is_ok_and(|answer| !answer.alert_summaries.is_empty()) {
        return format!(
            "no alert with {words}; there are alerts without that: pantherctl alerts list"
        );
    }
    let status = context.call(StatusRequest {}).await;
    let detections = match status.as_ref().map(|status| &status.pack) {
        Ok(Some(pack)) => {
            let rules = i64::try_from(pack.rules()).unwrap_or(i64::MAX);
            format!("{} are live", counted(rules, "rule"))
        }
        Ok(None) => "no detections are uploaded (`pantherctl detections upload`)".to_owned(),
        Err(_) => "the detections are not known".to_owned(),
    };
    let received = ledger::in_words(context, None).await;
    format!("there is no alert at all: {detections}; {received}")
}

impl Settle {
    async fn run(self, context: &Context, status: Status) -> Result<Exit, Failure> {
        let request = UpdateAlertStatusRequest {
            alert_ids: self.alerts,
            status: Some(names(&[status]).concat()),
            disposition: self
                .disposition
                .map(|disposition| names(&[disposition]).concat()),
            reason: self.reason,
            ..UpdateAlertStatusRequest::default()
        };
        update(context, request).await
    }
}

impl Assign {
    async fn run(self, context: &Context) -> Result<Exit, Failure> {
        let request = UpdateAlertStatusRequest {
            alert_ids: self.alerts,
            assignee: Some(self.assignee),
            ..UpdateAlertStatusRequest::default()
        };
        update(context, request).await
    }
}

async fn update(context: &Context, request: UpdateAlertStatusRequest) -> Result<Exit, Failure> {
    let request = UpdateAlertStatusRequest {
        user_id: context.user.clone(),
        ..request
    };
    let answer = context.call(request).await?;
    context
        .screen
        .show(&answer, |look| table(&answer.summaries, look))?;
    Ok(Exit::Fine)
}

impl Deliver {
    async fn run(self, context: &Context) -> Result<Exit, Failure> {
        let request = DeliverAlertRequest {
            alert_id: self.alert.clone(),
            output_ids: outputs::ids_of(context, &self.outputs).await?,
        };
        let answer = context.call(request).await?;
        context
            .screen
            .show(&answer, |look| table(std::slice::from_ref(&*answer), look))?;
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
    use panther_proto::v1::{AlertChange, AlertDetails};
    use serde_json::json;

    fn attempts() -> Vec<DeliveryResponse> {
        let attempt = |output: &str, success| DeliveryResponse {
            output_id: output.to_owned(),
            success,
            ..DeliveryResponse::default()
        };
        vec![attempt("o", false), attempt("o", true), attempt("p", false)]
    }

    /// An alert as the API gives it whole.
    pub(super) fn alert() -> AlertDetails {
        let text = |text: &str| Some(text.to_owned());
        AlertDetails {
            alert_id: "a1".to_owned(),
            r#type: text("RULE"),
            rule_id: text("R"),
            severity: text("HIGH"),
            status: "OPEN".to_owned(),
            title: text("Too\nmany"),
            creation_time: text("2023-11-14T22:13:20Z"),
            events_matched: Some(12),
            log_types: vec!["AWS.CloudTrail".to_owned()],
            delivery_responses: attempts(),
            history: vec![AlertChange {
                time: "2023-11-14T22:13:21Z".to_owned(),
                status: text("OPEN"),
                ..AlertChange::default()
            }],
            events: vec![
                json!({"p_row_id": "r1"}).into(),
                json!({"p_row_id": "r2"}).into(),
            ],
            ..AlertDetails::default()
        }
    }

    #[test]
    fn a_row_tells_the_last_attempt_of_each_output() {
        let AlertDetails {
            alert_id,
            rule_id,
            severity,
            status,
            title,
            creation_time,
            events_matched,
            delivery_responses,
            ..
        } = alert();
        let summary = AlertSummary {
            alert_id,
            rule_id,
            severity,
            status,
            title,
            creation_time,
            events_matched,
            delivery_responses,
            ..AlertSummary::default()
        };
        let shown = table(&[summary], &Look::plain_at(1_700_000_120));
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
