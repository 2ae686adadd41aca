//! alarms: what wants somebody's attention.

use clap::Args;
use serde_json::{Value, json};

use super::Context;
use crate::{
    answer::Fields,
    failure::{Exit, Failure},
    output::{Cell, Grid, Look, Tone, ago},
};

/// `alarms`.
#[derive(Debug, Args)]
pub(crate) struct Alarms {
    /// Also those that are not raised now
    #[arg(long)]
    all: bool,
}

impl Alarms {
    pub(super) async fn run(self, context: &Context) -> Result<Exit, Failure> {
        let answer = context
            .read("node", "alarms", json!({"all": self.all}))
            .await?;
        if answer.items("alarms").is_empty() && !context.screen.json() {
            let known = match context.aside("node", "alarms", json!({"all": true})).await {
                Some(known) => known.items("alarms").len(),
                None => 0,
            };
            context.screen.note(&match known {
                0 => "no alarm is raised, and none ever was".to_owned(),
                1 => {
                    "no alarm is raised; 1 was and is ok now: `pantherctl alarms --all`".to_owned()
                }
                _ => format!(
                    "no alarm is raised; {known} were and are ok now: `pantherctl alarms --all`"
                ),
            });
            return Ok(Exit::Fine);
        }
        context.screen.show(&answer, |look| {
            let mut text = super::status::by_itself(&answer, look);
            text.push_str(&render(answer.items("alarms"), look));
            text
        })?;
        Ok(Exit::Fine)
    }
}

/// Alarms as a table; `tail alarms` shows its lines the same way.
pub(super) fn render(alarms: &[Value], look: &Look) -> String {
    let mut grid = Grid::new(&[
        "STATE",
        "ALARM",
        "COMPONENT",
        "NODE",
        "SINCE",
        "#TIMES",
        "REASON",
    ]);
    for alarm in alarms {
        grid.row([
            state(alarm),
            alarm.text("name").into(),
            alarm.text("component").into(),
            alarm.text("node").into(),
            ago(look.now, alarm.instant("since_ms")).into(),
            alarm.number("times_raised").into(),
            alarm.text("reason").into(),
        ]);
    }
    grid.render(look)
}

/// Its state, raised in red.
pub(super) fn state(alarm: &Value) -> Cell {
    let state = alarm.text("state");
    let tone = if state == "ok" { Tone::Good } else { Tone::Bad };
    Cell::toned(tone, state)
}
