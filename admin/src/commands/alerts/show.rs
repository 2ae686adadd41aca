//! alerts show: one alert, from its texts to its events.

use clap::Args;
use panther_proto::v1::{AlertChange, AlertDetails, GetAlertRequest};

use super::{PAGE, title};
use crate::{
    answer::Reply,
    commands::{Context, outputs},
    failure::{Exit, Failure},
    output::{Details, Look, instant, moment, one_line, pretty},
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
        if answer.events_last_evaluated_key.is_some() {
            context.screen.note(&format!(
                "{} of {} events are shown; --events N shows more",
                answer.events.len(),
                answer.events_matched()
            ));
        }
        Ok(Exit::Fine)
    }

    /// The alert with as many of its events as asked for, as one answer.
    async fn pages(&self, context: &Context) -> Result<Reply<AlertDetails>, Failure> {
        let (mut events, mut unreadable) = (Vec::new(), Vec::new());
        let mut key = None;
        loop {
            let size = self.events.saturating_sub(events.len()).min(PAGE);
            let request = GetAlertRequest {
                alert_id: self.alert.clone(),
                events_page_size: u32::try_from(size).ok(),
                events_exclusive_start_key: key.clone(),
            };
            let mut page = context.call(request).await.map_err(|error| {
                if error.is_not_found() {
                    error.next("`pantherctl alerts list` lists alerts; ids are given whole")
                } else {
                    error
                }
            })?;
            events.append(&mut page.events);
            unreadable.append(&mut page.events_unreadable);
            let next = page.events_last_evaluated_key.clone();
            if next.is_none() || next == key || events.len() >= self.events {
                page.events = events;
                page.events_unreadable = unreadable;
                return Ok(page);
            }
            key = next;
        }
    }
}

fn whole(alert: &AlertDetails, look: &Look) -> String {
    let mut text = look.heading(title(
        alert.title(),
        alert.rule_display_name(),
        alert.rule_id(),
    ));
    let mut details = Details::default();
    let version = match alert.rule_version() {
        "" => String::new(),
        version => format!(" version {version}"),
    };
    details
        .add("alert", &alert.alert_id)
        .add("status", &alert.status)
        .add("severity", alert.severity())
        .add("type", alert.r#type())
        .add("rule", format!("{}{version}", alert.rule_id()))
        .add("pack", alert.pack_version())
        .add("decided by", alert.engine())
        .add("dedup", alert.dedup_string())
        .add("log types", alert.log_types.join(", "))
        .add("created", moment(look.now, instant(alert.creation_time())))
        .add("updated", moment(look.now, instant(alert.update_time())))
        .add(
            "first event",
            moment(look.now, instant(alert.first_event_match_time())),
        )
        .add("events", alert.events_matched().to_string())
        .add("assignee", alert.assignee())
        .add("disposition", alert.disposition())
        .add("last changed by", alert.last_updated_by())
        .add("description", alert.description())
        .add("runbook", alert.runbook())
        .add("reference", alert.reference())
        .add("tags", alert.tags.join(", "));
    let alert_context = alert.context.as_ref().map(|context| context.value());
    if let Some(value) = alert_context
        && value.as_object().is_some_and(|object| !object.is_empty())
    {
        details.add("context", pretty(&value));
    }
    text.push_str(&details.render(look));
    let deliveries = &alert.delivery_responses;
    text.push('\n');
    text.push_str(&look.heading("deliveries"));
    if deliveries.is_empty() {
        text.push_str("none: no output takes it, or it is not sent yet\n");
    } else {
        text.push_str(&outputs::attempts(deliveries, look));
    }
    if !alert.history.is_empty() {
        text.push_str(&look.heading("history"));
        for entry in &alert.history {
            text.push_str(&format!("- {}\n", one_line(&change(entry, look))));
        }
    }
    if !alert.events_unreadable.is_empty() {
        text.push_str(&look.heading("events that cannot be read"));
        for object in &alert.events_unreadable {
            let line = format!("{}: {}", object.object, object.reason);
            text.push_str(&format!("- {}\n", one_line(&line)));
        }
    }
    if !alert.events.is_empty() {
        text.push_str(&look.heading("events"));
        for event in &alert.events {
            text.push_str(&format!("{}\n", pretty(&event.value())));
        }
    }
    text
}

/// One change of an alert, in a line.
fn change(entry: &AlertChange, look: &Look) -> String {
    let texts = [
        ("user", entry.user.as_str()),
        ("status", entry.status()),
        ("disposition", entry.disposition()),
        ("assignee", entry.assignee()),
        ("reason", entry.reason()),
    ];
    let given = texts.iter().filter(|(_, text)| !text.is_empty());
    let told = given.map(|(name, text)| format!("{name} {text}"));
    std::iter::once(moment(look.now, instant(&entry.time)))
        .filter(|time| !time.is_empty())
        .chain(told)
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
