//! detections list, show, suspend, resume: the pack that is live.

use clap::{Args, ValueEnum};
use serde_json::{Value, json};

use crate::{
    answer::{Answer, Fields, plain},
    commands::{Context, Severity, filters_in_words, given, names},
    failure::{Exit, Failure},
    output::{Cell, Details, Grid, Look, Tone, clean, counted, one_line, pretty, short},
};

/// The component that answers here.
const API: &str = "panther-analysis-api";
/// Detections asked for at a time: what the API gives at most.
const PAGE: i64 = 1000;

/// `detections list`.
#[derive(Debug, Args)]
pub(crate) struct List {
    /// With this in their id or name
    name: Option<String>,
    /// Of this severity; several by commas
    #[arg(long, value_enum, ignore_case = true, value_delimiter = ',')]
    severity: Vec<Severity>,
    /// For this log type; several by commas
    #[arg(long = "log-type", value_name = "LOG_TYPE", value_delimiter = ',')]
    log_types: Vec<String>,
    /// Of this type; several by commas
    #[arg(long = "type", value_enum, ignore_case = true, value_delimiter = ',')]
    types: Vec<Type>,
    /// In this state; several by commas
    #[arg(long = "state", value_enum, ignore_case = true, value_delimiter = ',')]
    states: Vec<State>,
    /// Only those that are enabled
    #[arg(long, conflicts_with = "disabled")]
    enabled: bool,
    /// Only those that are not enabled
    #[arg(long)]
    disabled: bool,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq, ValueEnum)]
enum Type {
    #[value(name = "RULE")]
    Rule,
    #[value(name = "POLICY")]
    Policy,
    #[value(name = "SCHEDULED_RULE")]
    ScheduledRule,
    #[value(name = "CORRELATION_RULE")]
    CorrelationRule,
}

/// Whether a detection runs, and if not why.
#[derive(Debug, Clone, Copy, PartialEq, Eq, ValueEnum)]
enum State {
    /// It looks at the events of a source
    Live,
    /// The same, evaluated by Python alone
    Python,
    /// It runs, and a part of it is not evaluated
    PartlyEvaluated,
    /// Its pack disables it
    Disabled,
    /// An operator stopped it
    Off,
    /// It was stopped because it kept failing, or by an operator
    Suspended,
    /// Its code does not load
    DoesNotLoad,
    /// This version does not evaluate what it is
    NotEvaluated,
    /// No log type that it names is known
    NoLogType,
    /// No source sends a log type that it names
    NoSource,
}

/// `detections show`.
#[derive(Debug, Args)]
pub(crate) struct Show {
    /// Its id
    detection: String,
}

/// `detections suspend`, `resume`.
#[derive(Debug, Args)]
pub(crate) struct Name {
    /// Its id
    detection: String,
    /// Why
    #[arg(long)]
    reason: Option<String>,
}

impl List {
    pub(super) async fn run(self, context: &Context) -> Result<Exit, Failure> {
        let filters = given(json!({
            "nameContains": self.name,
            "severity": names(&self.severity),
            "logTypes": self.log_types,
            "analysisTypes": names(&self.types),
            "states": names(&self.states),
            "enabled": (self.enabled || self.disabled).then_some(self.enabled),
        }));
        let answer = pages(context, &filters).await?;
        let detections = answer.items("detections");
        if detections.is_empty() && !context.screen.json() {
            let words = filters_in_words(&filters, &[]);
            let all = context
                .aside(API, "listDetections", json!({"pageSize": 1, "page": 1}))
                .await;
            let all = all.map_or(0, |answer| answer["paging"].number("totalItems"));
            context.screen.note(&match all {
                0 => "no detections are uploaded; pantherctl detections upload DIR".to_owned(),
                all => format!("looked at {}; none with {words}", counted(all, "detection")),
            });
            return Ok(Exit::Fine);
        }
        context
            .screen
            .show(&answer, |look| table(detections, look))?;
        Ok(Exit::Fine)
    }
}

/// How many detections have each state, in one line: `states: 12 live, 3 no-source`.
pub(crate) fn states(counts: &Value) -> String {
    let counts: Vec<String> = counts
        .as_object()
        .into_iter()
        .flatten()
        .map(|(state, count)| format!("{} {}", plain(count), one_line(state)))
        .collect();
    counts.join(", ")
}

/// All pages as one answer.
async fn pages(context: &Context, filters: &Value) -> Result<Answer, Failure> {
    let mut detections: Vec<Value> = Vec::new();
    let mut page = 1;
    loop {
        let mut input = filters.clone();
        input["pageSize"] = json!(PAGE);
        input["page"] = json!(page);
        let mut answer = context.read(API, "listDetections", input).await?;
        let came = answer.items("detections").len();
        if page == 1 && answer["paging"].number("totalPages") <= 1 {
            return Ok(answer);
        }
        detections.extend(answer.items("detections").iter().cloned());
        if page >= answer["paging"].number("totalPages") || came == 0 {
            let total = detections.len();
            answer.value["detections"] = Value::Array(detections);
            answer.value["paging"] = json!({"thisPage": 1, "totalPages": 1, "totalItems": total});
            return Ok(Answer::of(answer.value));
        }
        page += 1;
    }
}

fn state(detection: &Value) -> Cell {
    let state = detection.text("state");
    let tone = match state.as_str() {
        "live" | "python" => Tone::Good,
        "suspended" | "does-not-load" => Tone::Bad,
        "no-log-type" | "no-source" | "partly-evaluated" => Tone::Warning,
        _ => Tone::Dim,
    };
    Cell::toned(tone, state)
}

fn table(detections: &[Value], look: &Look) -> String {
    let mut grid = Grid::new(&["ID", "TYPE", "SEVERITY", "STATE", "FOR", "NOTE"]);
    for detection in detections {
        let targets = match detection.text("logTypes") {
            none if none.is_empty() => detection.text("resourceTypes"),
            log_types => log_types,
        };
        grid.row([
            detection.text("id").into(),
            detection.text("type").into(),
            detection.text("severity").into(),
            state(detection),
            short(&targets, 60).into(),
            short(&detection.text("stateReason"), 120).into(),
        ]);
    }
    grid.render(look)
}

impl Show {
    pub(super) async fn run(self, context: &Context) -> Result<Exit, Failure> {
        let answer = context
            .read(API, "getDetection", json!({"id": self.detection}))
            .await
            .map_err(|error| {
                if error.is_not_found() {
                    error.next(format!("pantherctl detections list {}", self.detection))
                } else {
                    error
                }
            })?;
        context.screen.show(&answer, |look| whole(&answer, look))?;
        Ok(Exit::Fine)
    }
}

/// Keys of a detection that have a place of their own in [`whole`].
const PLACED: [&str; 6] = ["id", "body", "tests", "engine", "errors", "displayName"];

fn whole(detection: &Value, look: &Look) -> String {
    let mut text = look.heading(&detection.text("id"));
    let mut details = Details::default();
    details.add("name", detection.text("displayName"));
    if let Value::Object(fields) = detection {
        for (key, value) in fields
            .iter()
            .filter(|(key, _)| !PLACED.contains(&key.as_str()))
        {
            match value {
                Value::Object(inner) if !inner.is_empty() => details.add(key, pretty(value)),
                Value::Object(_) => &mut details,
                other => details.add(key, plain(other)),
            };
        }
    }
    let (engine, errors) = (&detection["engine"], &detection["errors"]);
    if engine.is_object() {
        details.add("engine", engine.text("name"));
    }
    if errors.number("count") > 0 {
        details.toned(
            "errors",
            Tone::Bad,
            format!("{}; the last: {}", errors.text("count"), last_error(errors)),
        );
    }
    text.push_str(&details.render(look));
    // A simple detection has its conditions in place of code.
    let body = match &detection["body"] {
        Value::Object(_) => pretty(&detection["body"]),
        body => plain(body),
    };
    if !body.is_empty() {
        text.push('\n');
        text.push_str(&look.heading("code"));
        text.push_str(&format!("{}\n", clean(body.trim_end())));
    }
    let tests = detection.items("tests");
    if !tests.is_empty() {
        text.push('\n');
        text.push_str(&look.heading("tests"));
        for test in tests {
            let name = ["name", "Name"]
                .iter()
                .map(|key| test.text(key))
                .find(|name| !name.is_empty());
            let expected = ["expected", "expectedResult", "ExpectedResult"]
                .iter()
                .find_map(|key| test.get(key));
            text.push_str(&format!(
                "- {}: expects {}\n",
                one_line(&name.unwrap_or_default()),
                expected.map(plain).unwrap_or_default()
            ));
        }
    }
    text
}

fn last_error(errors: &Value) -> String {
    match &errors["last"] {
        last if last.is_object() => format!("{}: {}", last.text("kind"), last.text("message")),
        last => plain(last),
    }
}

impl Name {
    /// Sets its state.
    pub(super) async fn set(self, context: &Context, state: &str) -> Result<Exit, Failure> {
        let input = json!({"id": self.detection, "state": state, "userId": context.user, "reason": self.reason});
        let answer = context
            .change(API, "setDetectionState", given(input))
            .await?;
        context.screen.show(&answer, |_| {
            format!("{} is {state}\n", clean(&self.detection))
        })?;
        Ok(Exit::Fine)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_list_says_what_does_not_run() {
        let detections = [
            json!({"id": "A", "type": "RULE", "severity": "HIGH", "enabled": true, "state": "live", "logTypes": ["T"]}),
            json!({"id": "B", "type": "RULE", "severity": "LOW", "enabled": false, "state": "disabled", "logTypes": ["T"]}),
            json!({"id": "C", "type": "POLICY", "severity": "LOW", "enabled": true, "state": "does-not-load", "logTypes": [], "resourceTypes": ["R"], "stateReason": "SyntaxError"}),
        ];
        assert_eq!(
            table(&detections, &Look::plain_at(0)),
            "ID  TYPE    SEVERITY  STATE          FOR  NOTE\n\
             A   RULE    HIGH      live           T\n\
             B   RULE    LOW       disabled       T\n\
             C   POLICY  LOW       does-not-load  R    SyntaxError\n"
        );
    }

    #[test]
    fn a_detection_is_shown_with_its_code_and_errors() {
        let shown = whole(
            &json!({"id": "A", "displayName": "Name", "severity": "HIGH", "body": "def rule(event):\n    return True\n",
                "tests": [{"name": "t", "expected": true}], "engine": {"name": "rust"}, "errors": {"count": 2, "last": "KeyError"}}),
            &Look::plain_at(0),
        );
        for part in [
            "name      Name\n",
            "engine    rust\n",
            "errors    2; the last: KeyError\n",
            "    return True\n",
            "- t: expects true\n",
        ] {
            assert!(shown.contains(part), "{part:?} is not in\n{shown}");
        }
    }
}
