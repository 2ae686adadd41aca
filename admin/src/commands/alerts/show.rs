//! alerts show: one alert, from its texts to its events.

use clap::Args;
use serde_json::{Value, json};

use super::{API, PAGE, title};
use crate::{
    answer::{Answer, Fields, plain},
    commands::{Context, given, outputs},
    failure::{Exit, Failure},
    output::{Details, Look, clean, moment, one_line, pretty},
};

/// `alerts show`.
#[derive(Debug, Args)]
pub(crate) struct Show {
    /// The alert's id
    alert: String,
    /// How many of its events
    #[arg(long, default_value_t = 10)]
    events: usize,
}

impl Show {
    pub(super) async fn run(self, context: &Context) -> Result<Exit, Failure> {
        let answer = self.pages(context).await?;
        context.screen.show(&answer, |look| whole(&answer, look))?;
        if answer.has("eventsLastEvaluatedKey") {
            context.screen.note(&format!(
                "{} of {} events are shown; --events N shows more",
                answer.items("events").len(),
                answer.number("eventsMatched")
            ));
        }
        Ok(Exit::Fine)
    }

    /// The alert with as many of its events as asked for, as one answer.
    async fn pages(&self, context: &Context) -> Result<Answer, Failure> {
        let mut events: Vec<Value> = Vec::new();
        let mut unreadable: Vec<Value> = Vec::new();
        let mut key = Value::Null;
        loop {
            let size = self.events.saturating_sub(events.len()).min(PAGE);
            let input = given(
                json!({"alertId": self.alert, "eventsPageSize": size, "eventsExclusiveStartKey": key}),
            );
            let mut page = context
                .read(API, "getAlert", input)
                .await
                .map_err(|error| {
                    if error.is_not_found() {
                        error.next("`pantherctl alerts list` lists alerts; ids are given whole")
                    } else {
                        error
                    }
                })?;
            events.extend(page.items("events").iter().cloned());
            unreadable.extend(page.items("eventsUnreadable").iter().cloned());
            let next = page["eventsLastEvaluatedKey"].clone();
            if next.is_null() || next == key || events.len() >= self.events {
                page.value["events"] = Value::Array(events);
                page.value["eventsUnreadable"] = Value::Array(unreadable);
                return Ok(Answer::of(page.value));
            }
            key = next;
        }
    }
}

fn whole(alert: &Value, look: &Look) -> String {
    let mut text = look.heading(&title(alert));
    let mut details = Details::default();
    let version = match alert.text("ruleVersion") {
        version if version.is_empty() => String::new(),
        version => format!(" version {version}"),
    };
    details
        .add("alert", alert.text("alertId"))
        .add("status", alert.text("status"))
        .add("severity", alert.text("severity"))
        .add("type", alert.text("type"))
        .add("rule", format!("{}{version}", alert.text("ruleId")))
        .add("pack", alert.text("packVersion"))
        .add("decided by", alert.text("engine"))
        .add("dedup", alert.text("dedupString"))
        .add("log types", alert.text("logTypes"))
        .add("created", moment(look.now, alert.instant("creationTime")))
        .add("updated", moment(look.now, alert.instant("updateTime")))
        .add(
            "first event",
            moment(look.now, alert.instant("firstEventMatchTime")),
        )
        .add("events", alert.text("eventsMatched"))
        .add("assignee", alert.text("assignee"))
        .add("disposition", alert.text("disposition"))
        .add("last changed by", alert.text("lastUpdatedBy"))
        .add("description", alert.text("description"))
        .add("runbook", alert.text("runbook"))
        .add("reference", alert.text("reference"))
        .add("tags", alert.text("tags"));
    if alert["context"]
        .as_object()
        .is_some_and(|context| !context.is_empty())
    {
        details.add("context", pretty(&alert["context"]));
    }
    text.push_str(&details.render(look));
    let deliveries = alert.items("deliveryResponses");
    text.push('\n');
    text.push_str(&look.heading("deliveries"));
    if deliveries.is_empty() {
        text.push_str("none: no output takes it, or it is not sent yet\n");
    } else {
        text.push_str(&outputs::attempts(deliveries, look));
    }
    let history = alert.items("history");
    if !history.is_empty() {
        text.push_str(&look.heading("history"));
        for entry in history {
            text.push_str(&format!("- {}\n", one_line(&change(entry, look))));
        }
    }
    let unreadable = alert.items("eventsUnreadable");
    if !unreadable.is_empty() {
        text.push_str(&look.heading("events that cannot be read"));
        for object in unreadable {
            let line = format!("{}: {}", object.text("object"), object.text("reason"));
            text.push_str(&format!("- {}\n", one_line(&line)));
        }
    }
    let events = alert.items("events");
    if !events.is_empty() {
        text.push_str(&look.heading("events"));
        for event in events {
            text.push_str(&format!("{}\n", event_text(event)));
        }
    }
    text
}

/// An event, which the API may give as JSON or as JSON in a text.
fn event_text(event: &Value) -> String {
    match event {
        Value::String(text) => {
            serde_json::from_str::<Value>(text).map_or_else(|_| clean(text), |event| pretty(&event))
        }
        other => pretty(other),
    }
}

/// One change of an alert, in a line.
fn change(entry: &Value, look: &Look) -> String {
    let Value::Object(fields) = entry else {
        return plain(entry);
    };
    fields
        .iter()
        .filter(|(_, value)| !value.is_null())
        .map(|(key, value)| {
            let is_time =
                key.to_ascii_lowercase().contains("time") || key == "at" || key.ends_with("_ms");
            match entry.instant(key).filter(|_| is_time) {
                Some(time) => moment(look.now, Some(time)),
                None => format!("{key} {}", plain(value)),
            }
        })
        .collect::<Vec<_>>()
        .join(", ")
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_alert_is_shown_with_its_events() {
        let shown = whole(
            &super::super::tests::alert(),
            &Look::plain_at(1_700_000_120),
        );
        for part in [
            "Too many\n",
            "2023-11-14 22:13:20Z (2 min ago)",
            "\"p_row_id\": \"r1\"",
            "\"p_row_id\": \"r2\"",
            "- 2023-11-14 22:13:21Z (119 s ago), status OPEN",
        ] {
            assert!(shown.contains(part), "{part:?} is not in\n{shown}");
        }
    }
}
