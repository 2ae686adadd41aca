//! components, describe, runbook: what the run book says of each component, and how it is now.

use clap::Args;
use serde_json::{Value, json};

use super::Context;
use crate::{
    answer::{Fields, plain},
    failure::{Exit, Failure},
    output::{Cell, Details, Grid, Look, Tone, clean, one_line, short},
};

/// `components`.
#[derive(Debug, Args)]
pub(crate) struct List {
    /// Only those whose name contains this
    name: Option<String>,
    /// Only those that are built and not running
    #[arg(long)]
    troubled: bool,
}

impl List {
    pub(super) async fn run(self, context: &Context) -> Result<Exit, Failure> {
        let answer = context.read("node", "components", json!({})).await?;
        let all = answer.items("components");
        let chosen: Vec<&Value> = all
            .iter()
            .filter(|component| {
                let named = self
                    .name
                    .as_ref()
                    .is_none_or(|name| component.text("name").contains(name));
                let state = component.text("state");
                named && !(self.troubled && matches!(state.as_str(), "running" | "not built"))
            })
            .collect();
        if chosen.is_empty() && !context.screen.json() {
            let wanted = match (&self.name, self.troubled) {
                (Some(name), true) => format!("with {name:?} in its name is in trouble"),
                (Some(name), false) => format!("has {name:?} in its name"),
                (None, _) => "is in trouble".to_owned(),
            };
            context.screen.note(&format!(
                "looked at {} components; none {wanted}",
                all.len()
            ));
            return Ok(Exit::Fine);
        }
        context.screen.show(&answer, |look| render(&chosen, look))?;
        Ok(Exit::Fine)
    }
}

fn state_tone(state: &str) -> Tone {
    match state {
        "running" => Tone::Good,
        "restarting" | "stopped" => Tone::Warning,
        "open" => Tone::Bad,
        "not built" => Tone::Dim,
        _ => Tone::Plain,
    }
}

fn render(components: &[&Value], look: &Look) -> String {
    let mut grid = Grid::new(&[
        "NAME",
        "KIND",
        "BUILT",
        "STATE",
        "#HANDLED",
        "#FAILED",
        "#IN FLIGHT",
        "#RESTARTS",
        "LAST ERROR",
    ]);
    for component in components {
        let state = component.text("state");
        let mut row: Vec<Cell> = vec![
            component.text("name").into(),
            component.text("kind").into(),
            component.text("built").into(),
            Cell::toned(state_tone(&state), &state),
        ];
        if state == "not built" {
            row.extend(["", "", "", "", ""].map(Cell::from));
        } else {
            row.extend([
                component.number("handled").into(),
                Cell::alarming(component.number("failed")),
                component.number("in_flight").into(),
                Cell::alarming(component.number("restarts")),
                short(&component.text("last_error"), 80).into(),
            ]);
        }
        grid.row(row);
    }
    grid.render(look)
}

/// `describe`.
#[derive(Debug, Args)]
pub(crate) struct Describe {
    /// Its name, such as panther-rules-engine; or name/kind where two share a name
    component: String,
}

impl Describe {
    pub(super) async fn run(self, context: &Context) -> Result<Exit, Failure> {
        let answer = context
            .read("node", "describe", json!({"component": self.component}))
            .await
            .map_err(|error| {
                if error.is_not_found() {
                    error.next("`pantherctl components` lists them all")
                } else {
                    error
                }
            })?;
        context.screen.show(&answer, |look| entry(&answer, look))?;
        Ok(Exit::Fine)
    }
}

/// Keys of an entry that have a place of their own in [`entry`].
const PLACED: [&str; 12] = [
    "name",
    "kind",
    "function",
    "failure_impact",
    "recovery",
    "reads",
    "writes",
    "outside",
    "alarms",
    "built",
    "built_note",
    "state",
];

fn entry(answer: &Value, look: &Look) -> String {
    let mut text = look.heading(&format!(
        "{} ({})",
        answer.text("name"),
        answer.text("kind")
    ));
    text.push_str(&format!("{}\n\n", clean(&answer.text("function"))));
    let mut details = Details::default();
    match &answer["state"] {
        Value::Object(_) => {
            let state = &answer["state"];
            let now = state.text("state");
            details.toned("state", state_tone(&now), &now);
            for key in ["handled", "failed", "in_flight", "restarts", "last_error"] {
                details.add(&key.replace('_', " "), state.text(key));
            }
        }
        state => {
            let state = plain(state);
            details.toned("state", state_tone(&state), &state);
        }
    }
    let built = answer.text("built");
    let note = answer.text("built_note");
    details.add(
        "built",
        if note.is_empty() {
            built
        } else {
            format!("{built}: {note}")
        },
    );
    for key in ["reads", "writes", "outside"] {
        details.add(key, lines(answer.items(key)));
    }
    if let Value::Object(fields) = answer {
        for (key, value) in fields
            .iter()
            .filter(|(key, _)| !PLACED.contains(&key.as_str()))
        {
            match value {
                Value::Object(inner) => {
                    for (name, value) in inner {
                        details.add(
                            &format!("{key} {}", name.replace('_', " ")),
                            attribute(value),
                        );
                    }
                }
                other => {
                    details.add(&key.replace('_', " "), attribute(other));
                }
            }
        }
    }
    text.push_str(&details.render(look));
    for (heading, key) in [
        ("when it fails", "failure_impact"),
        ("what brings it back", "recovery"),
    ] {
        let items = answer.items(key);
        if !items.is_empty() {
            text.push('\n');
            text.push_str(&look.heading(heading));
            for (index, item) in items.iter().enumerate() {
                let bullet = if key == "recovery" {
                    format!("{}.", index + 1)
                } else {
                    "-".to_owned()
                };
                text.push_str(&format!("{bullet} {}\n", one_line(&plain(item))));
            }
        }
    }
    let alarms = answer.items("alarms");
    if !alarms.is_empty() {
        text.push('\n');
        text.push_str(&look.heading("alarms"));
        for alarm in alarms {
            text.push_str(&format!("- {}\n", one_line(&alarm_in_words(alarm))));
        }
    }
    text
}

fn lines(items: &[Value]) -> String {
    items.iter().map(plain).collect::<Vec<_>>().join("\n")
}

fn attribute(value: &Value) -> String {
    match value {
        Value::Array(items) if items.iter().any(Value::is_object) => lines(items),
        other => plain(other),
    }
}

fn alarm_in_words(alarm: &Value) -> String {
    if !alarm.is_object() {
        return plain(alarm);
    }
    let name = alarm.text("name");
    let name = if name.is_empty() {
        String::new()
    } else {
        format!("{name}: ")
    };
    format!(
        "{name}{} of {} above {} in {} × {} s",
        alarm.text("statistic"),
        alarm.text("metric").replace('_', " "),
        alarm.text("threshold"),
        alarm.text("periods"),
        alarm.text("period_seconds")
    )
}

/// `runbook`.
pub(super) async fn runbook(context: &Context) -> Result<Exit, Failure> {
    let answer = context.read("node", "runbook", json!({})).await?;
    context.screen.show(&answer, |_| {
        format!("{}\n", clean(answer.text("markdown").trim_end()))
    })?;
    Ok(Exit::Fine)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn components_that_are_not_built_have_no_figures() {
        let running = json!({"name": "a", "kind": "function", "built": "yes", "state": "running", "restarts": 0, "handled": 5,
            "failed": 1, "in_flight": 0, "last_error": "no\nluck"});
        let absent = json!({"name": "b", "kind": "topic", "built": "no", "state": "not built", "restarts": 0, "handled": 0});
        let shown = render(&[&running, &absent], &Look::plain_at(0));
        let lines: Vec<&str> = shown.lines().collect();
        assert!(lines[1].ends_with("no luck"), "{shown}");
        assert!(lines[2].ends_with("not built"), "{shown}");
    }

    #[test]
    fn an_entry_tells_impact_recovery_and_attributes_it_does_not_know() {
        let shown = entry(
            &json!({"name": "q", "kind": "queue", "function": "Holds.", "failure_impact": ["Stops."], "recovery": ["Mend.", "Requeue."],
                "reads": [], "writes": ["f"], "alarms": [{"metric": "age", "statistic": "max", "threshold": 5, "periods": 2, "period_seconds": 60}],
                "queue": {"visibility_seconds": 30}, "built": "partly", "built_note": "no x", "state": "running"}),
            &Look::plain_at(0),
        );
        for part in [
            "q (queue)\n",
            "built                     partly: no x",
            "queue visibility seconds  30",
            "- Stops.",
            "2. Requeue.",
            "- max of age above 5 in 2 × 60 s",
        ] {
            assert!(shown.contains(part), "{part:?} is not in\n{shown}");
        }
    }
}
