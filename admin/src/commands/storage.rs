//! storage: what takes the room, and how long it is kept.

use clap::{Args, Subcommand, ValueEnum};
use serde_json::{Value, json};

use super::{Context, names};
use crate::{
    answer::Fields,
    client::Call,
    confirm::Consent,
    failure::{Exit, Failure},
    output::{Grid, Look, ago, bytes, counted},
};

/// `storage`.
#[derive(Debug, Subcommand)]
pub(crate) enum Storage {
    /// What is kept, by kind and log type, and for how long
    Show,
    /// Set how long one kind of data is kept
    Retain(Retain),
    /// Remove what is older than its retention now; the leader does it each hour
    Gc(Gc),
}

/// A kind of data.
#[derive(Debug, Clone, Copy, PartialEq, Eq, ValueEnum)]
enum Kind {
    Raw,
    Events,
    Matches,
    Errors,
    Quarantine,
    Alerts,
}

#[derive(Debug, Args)]
pub(crate) struct Retain {
    /// What
    kind: Kind,
    /// For how long: `30d`, or `forever`
    #[arg(value_parser = days)]
    time: Days,
    /// Only of this log type; goes before the time of all log types
    #[arg(long)]
    log_type: Option<String>,
}

#[derive(Debug, Args)]
pub(crate) struct Gc {
    /// Only say what would be removed
    #[arg(long)]
    dry_run: bool,
    #[command(flatten)]
    consent: Consent,
}

/// A number of days; `None`: for ever.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
struct Days(Option<u32>);

fn days(text: &str) -> Result<Days, String> {
    if text == "forever" {
        return Ok(Days(None));
    }
    let count = text.strip_suffix('d').and_then(|count| count.parse().ok());
    match count {
        Some(count) if count > 0 => Ok(Days(Some(count))),
        _ => Err("give whole days, such as 30d, or `forever`".to_owned()),
    }
}

impl Storage {
    pub(super) async fn run(self, context: &Context) -> Result<Exit, Failure> {
        match self {
            Self::Show => show(context).await,
            Self::Retain(retain) => retain.run(context).await,
            Self::Gc(gc) => gc.run(context).await,
        }
    }
}

async fn show(context: &Context) -> Result<Exit, Failure> {
    let call = Call::read("node", "storage", json!({}));
    let answer = context.client.invoke(call).await?;
    context.screen.show(&answer, |look| kept(&answer, look))?;
    Ok(Exit::Fine)
}

fn kept(answer: &Value, look: &Look) -> String {
    let mut grid = Grid::new(&["KIND", "OF", "#COUNT", "#BYTES", "OLDEST", "KEPT FOR"]);
    let retention = answer.items("retention");
    for amount in answer.items("kept") {
        let kind = amount.text("kind");
        let of = |log_type: &str| {
            retention
                .iter()
                .find(|set| set.text("kind") == kind && set.text("log_type") == log_type)
        };
        let set = of(&amount.text("folder")).or_else(|| of(""));
        grid.row([
            kind.as_str().into(),
            amount.text("of").into(),
            amount.number("count").into(),
            bytes(amount.number("bytes")).into(),
            ago(look.now, amount.instant("oldest_ms")).into(),
            set.map_or_else(|| "for ever".to_owned(), time).into(),
        ]);
    }
    let mut text = grid.render(look);
    let expired = answer.items("expired");
    if !expired.is_empty() {
        let (mut count, mut size) = (0, 0);
        for amount in expired {
            count += amount.number("count");
            size += amount.number("bytes");
        }
        text.push_str(&format!(
            "{count} of them ({}) are older than their retention, and go within the hour\n",
            bytes(size)
        ));
    }
    if answer.number("in_use") > 0 {
        text.push_str(&format!(
            "{} are older than their retention and stay while a message names them\n",
            counted(answer.number("in_use"), "object")
        ));
    }
    text
}

fn time(set: &Value) -> String {
    if set.has("days") {
        counted(set.number("days"), "day")
    } else {
        "for ever".to_owned()
    }
}

impl Retain {
    async fn run(self, context: &Context) -> Result<Exit, Failure> {
        let kind = names(&[self.kind]).remove(0);
        let input = json!({"kind": kind, "logType": self.log_type.clone().unwrap_or_default(), "days": self.time.0});
        let answer = context.change("node", "storage_retain", input).await?;
        context.screen.show(&answer, |look| {
            let mut grid = Grid::new(&["KIND", "LOG TYPE", "KEPT FOR"]);
            for set in answer.items("retention") {
                let log_type = match set.text("log_type") {
                    all if all.is_empty() => "all others".to_owned(),
                    log_type => log_type,
                };
                grid.row([set.text("kind").into(), log_type.into(), time(set).into()]);
            }
            grid.render(look)
        })?;
        if self.time.0.is_some() {
            context.screen.note(
                "what is older goes within the hour; `pantherctl storage gc --dry-run` says how much",
            );
        }
        Ok(Exit::Fine)
    }
}

impl Gc {
    async fn run(self, context: &Context) -> Result<Exit, Failure> {
        let collect =
            |dry_run: bool| Call::change("node", "storage_collect", json!({"dryRun": dry_run}));
        let plan = context.client.invoke(collect(true)).await?;
        let words = format!(
            "{} ({})",
            counted(plan.number("count"), "object and alert"),
            bytes(plan.number("bytes"))
        );
        if self.dry_run || plan.number("count") == 0 {
            context
                .screen
                .show(&plan, |_| format!("{words} would be removed\n"))?;
            return Ok(Exit::Fine);
        }
        self.consent
            .ask(context, &format!("{words} will be removed for good"))
            .await?;
        let answer = context.client.invoke(collect(false)).await?;
        context.screen.show(&answer, |_| {
            format!(
                "{} removed; the objects' room is free within the hour\n",
                answer.number("count")
            )
        })?;
        Ok(Exit::Fine)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn times_are_whole_days() {
        assert_eq!(days("30d"), Ok(Days(Some(30))));
        assert_eq!(days("forever"), Ok(Days(None)));
        for wrong in ["0d", "30", "-1d", "1h", ""] {
            assert!(days(wrong).is_err(), "{wrong}");
        }
    }

    #[test]
    fn what_is_kept_stands_with_its_time() {
        let answer = json!({
            "kept": [{"kind": "events", "folder": "aws_alb", "of": "AWS.ALB", "count": 2, "bytes": 2048, "oldest_ms": 1_700_000_000_000_i64},
                {"kind": "raw", "folder": "id", "of": "nginx", "count": 1, "bytes": 10, "oldest_ms": 1_700_000_000_000_i64}],
            "expired": [{"kind": "events", "folder": "aws_alb", "count": 1, "bytes": 1024}],
            "retention": [{"kind": "events", "log_type": "", "days": 90}, {"kind": "events", "log_type": "aws_alb", "days": 1}, {"kind": "raw", "log_type": "", "days": null}],
        });
        let shown = kept(&answer, &Look::plain_at(1_700_000_120));
        for part in [
            "events  AWS.ALB",
            "1 day\n",
            "for ever\n",
            "1 of them (1.0 kB) are older",
        ] {
            assert!(shown.contains(part), "{part:?} is not in\n{shown}");
        }
    }
}
