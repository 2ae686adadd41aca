//! tail: alerts and alarms as they come.

use clap::{Args, ValueEnum};
use serde_json::Value;

use super::{Context, alarms, alerts};
use crate::{
    answer::Fields,
    cli::now,
    failure::{Exit, Failure},
    output::{Grid, Look, clean},
};

/// `tail`.
#[derive(Debug, Args)]
pub(crate) struct Tail {
    /// What to follow
    #[arg(value_enum, default_value = "alerts")]
    what: What,
    /// End after so many
    #[arg(long, value_name = "N")]
    limit: Option<u64>,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq, ValueEnum)]
enum What {
    Alerts,
    Alarms,
}

impl Tail {
    pub(super) async fn run(self, context: &Context) -> Result<Exit, Failure> {
        let what = super::names(&[self.what]).concat();
        let mut lines = context.client.tail(&what).await?;
        context
            .screen
            .note(&format!("following {what}; Ctrl-C ends it"));
        let mut left = self.limit.unwrap_or(u64::MAX);
        while left > 0 {
            let line = lines.message().await.map_err(|status| {
                Failure::new("the node ended the stream")
                    .tried(format!("tail {what}"))
                    .why(status.message())
                    .next("`pantherctl health` tells whether it is well; then tail again")
            })?;
            let Some(line) = line else {
                return Err(Failure::new("the node ended the stream")
                    .tried(format!("tail {what}"))
                    .why("it is stopping")
                    .next("tail again once it is back"));
            };
            left -= 1;
            let look = Look {
                now: now(),
                ..*context.screen.look()
            };
            context.screen.print(&if context.screen.json() {
                format!("{}\n", line.json.trim())
            } else {
                shown(self.what, &line.json, &look)
            })?;
        }
        Ok(Exit::Fine)
    }
}

fn shown(what: What, json: &str, look: &Look) -> String {
    let Ok(value) = serde_json::from_str::<Value>(json) else {
        return format!("{}\n", clean(json));
    };
    if value.has("missed") {
        return format!(
            "{} more came faster than they could be shown\n",
            value.number("missed")
        );
    }
    let time = look.now.format("%H:%M:%S").to_string();
    let mut grid = Grid::new(&["", "", "", ""]);
    grid.row(match what {
        What::Alerts => [
            time.into(),
            alerts::severity(&value.text("severity")),
            value.text("alertId").into(),
            alerts::title(
                &value.text("title"),
                &value.text("ruleDisplayName"),
                &value.text("ruleId"),
            )
            .into(),
        ],
        What::Alarms => [
            time.into(),
            alarms::state(&value),
            value.text("alarm").into(),
            value.text("reason").into(),
        ],
    });
    grid.render(look)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn lines_stand_by_themselves() {
        let look = Look::plain_at(0);
        assert_eq!(
            shown(
                What::Alarms,
                r#"{"alarm":"a","state":"raised","reason":"x"}"#,
                &look
            ),
            "00:00:00  raised  a  x\n"
        );
        assert_eq!(
            shown(
                What::Alerts,
                r#"{"alertId":"1","severity":"HIGH","title":"t"}"#,
                &look
            ),
            "00:00:00  HIGH  1  t\n"
        );
        assert_eq!(
            shown(What::Alerts, "no json\u{1b}", &look),
            "no json\\u{1b}\n"
        );
    }
}
