//! trace: the way of an input through the system, hop by hop; of an event also its raw line and the alerts that it is part of.

use clap::Args;
use serde_json::{Value, json};

use super::Context;
use crate::{
    answer::{Fields, plain},
    failure::{Exit, Failure},
    output::{Details, Grid, Look, clean, one_line, pretty},
};

/// `trace`.
#[derive(Debug, Args)]
pub(crate) struct Trace {
    /// The p_row_id of an event, a trace id or traceparent, or the id of an alert
    #[arg(value_name = "ID")]
    event: String,
}

impl Trace {
    pub(super) async fn run(self, context: &Context) -> Result<Exit, Failure> {
        let answer = context
            .read("node", "trace", json!({"event": self.event}))
            .await
            .map_err(|error| {
                error.next(
                    "ID is the p_row_id of an event (`pantherctl alerts show` shows it), the trace_id that a door answered, or the id of an alert",
                )
            })?;
        let found = answer.has("event") || !answer.items("hops").is_empty();
        context.screen.show(&answer, |look| render(&answer, look))?;
        if found {
            return Ok(Exit::Fine);
        }
        context.screen.note(&format!(
            "no event {} was found; the steps say where was looked",
            self.event
        ));
        Ok(Exit::Findings)
    }
}

fn render(answer: &Value, look: &Look) -> String {
    let mut text = String::new();
    if answer.has("event") || !answer.items("steps").is_empty() {
        text.push_str(&event_of(answer, look));
    }
    let hops = answer.items("hops");
    if !hops.is_empty() {
        text.push_str(&look.heading(&format!("trace {}", answer.text("trace_id"))));
        let mut grid = Grid::new(&["TIME", "NODE", "COMPONENT", "MS", "WHAT"]);
        for hop in hops {
            let failed = if hop["failed"] == true {
                "FAILED: "
            } else {
                ""
            };
            grid.row([
                hop.text("time").into(),
                hop.text("node").into(),
                hop.text("component").into(),
                hop.text("took_ms").into(),
                format!("{failed}{}", one_line(&hop.text("what"))).into(),
            ]);
        }
        text.push_str(&grid.render(look));
    }
    text
}

/// The raw record, the matches and the text of an event.
fn event_of(answer: &Value, look: &Look) -> String {
    let raw = &answer["raw"];
    let source = match &answer["source"] {
        Value::Object(_) => match answer["source"].text("integrationLabel") {
            label if label.is_empty() => answer["source"].to_string(),
            label => label,
        },
        other => plain(other),
    };
    let mut details = Details::default();
    details.add("source", source);
    if raw.is_object() {
        details
            .add("raw object", raw.text("object"))
            .add("record", raw.text("record"))
            .add("came from", raw.text("origin"));
    }
    details.add("processed object", answer.text("processed_object"));
    let mut text = details.render(look);
    let steps = answer.items("steps");
    if !steps.is_empty() {
        text.push_str(&look.heading("steps"));
        for (index, step) in steps.iter().enumerate() {
            text.push_str(&format!("{}. {}\n", index + 1, one_line(&plain(step))));
        }
    }
    if answer.has("event") {
        text.push_str(&look.heading("matches"));
        let matches = answer.items("matches");
        if matches.is_empty() {
            text.push_str("none: no detection matched it\n");
        } else {
            let mut grid = Grid::new(&["RULE", "ALERT", "ERROR"]);
            for matched in matches {
                grid.row(["rule", "alert_id", "error"].map(|key| matched.text(key).into()));
            }
            text.push_str(&grid.render(look));
        }
        let record = raw.text("text");
        if !record.is_empty() {
            text.push_str(&look.heading("record as it came"));
            text.push_str(&format!("{}\n", clean(record.trim_end())));
        }
        text.push_str(&look.heading("event"));
        text.push_str(&format!("{}\n", pretty(&answer["event"])));
    }
    text
}
