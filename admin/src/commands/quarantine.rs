//! quarantine: what no log type took, kept with each log type's reason until a schema is mended and it is replayed.

use clap::{Args, Subcommand};
use serde_json::{Value, json};

use super::{Context, given, ledger};
use crate::{
    answer::Fields,
    client::Call,
    failure::{Exit, Failure},
    output::{Details, Grid, Look, Tone, ago, clean, counted, short},
};

/// `quarantine`.
#[derive(Debug, Args)]
pub(crate) struct Quarantine {
    #[command(subcommand)]
    verb: Option<Verb>,
}

#[derive(Debug, Subcommand)]
enum Verb {
    /// Objects with quarantined records, and the most frequent reasons
    Ls(Ls),
    /// The records of one object, with every log type's reason
    Show(Show),
    /// Read quarantined records again, after a schema was mended
    Replay(Replay),
}

#[derive(Debug, Args)]
struct Ls {
    /// Only of this source, by its label or id
    #[arg(long)]
    source: Option<String>,
    /// How many objects
    #[arg(long, default_value_t = 50)]
    limit: u32,
}

#[derive(Debug, Args)]
struct Show {
    /// The object, as `quarantine ls` names it
    object: String,
    /// How many records
    #[arg(long, default_value_t = 20)]
    limit: u32,
}

#[derive(Debug, Args)]
#[command(group = clap::ArgGroup::new("what").required(true))]
struct Replay {
    /// The records of this object
    #[arg(long, group = "what")]
    object: Option<String>,
    /// The records of this source, by its label or id
    #[arg(long, group = "what")]
    source: Option<String>,
    /// All records
    #[arg(long, group = "what")]
    all: bool,
}

impl Quarantine {
    pub(super) async fn run(self, context: &Context) -> Result<Exit, Failure> {
        let verb = self.verb.unwrap_or(Verb::Ls(Ls {
            source: None,
            limit: 50,
        }));
        match verb {
            Verb::Ls(ls) => ls.run(context).await,
            Verb::Show(show) => show.run(context).await,
            Verb::Replay(replay) => replay.run(context).await,
        }
    }
}

impl Ls {
    async fn run(self, context: &Context) -> Result<Exit, Failure> {
        let source = super::sources::id_of(context, self.source.as_deref()).await?;
        let input = given(json!({"source": source, "limit": self.limit}));
        let answer = context.read("node", "quarantine", input).await?;
        let groups = answer.items("groups");
        if groups.is_empty() && !context.screen.json() {
            let where_ = self
                .source
                .as_deref()
                .map_or(String::new(), |source| format!(" of source {source}"));
            let received = ledger::in_words(context, source.as_deref()).await;
            context
                .screen
                .note(&format!("nothing{where_} is in quarantine; {received}"));
            return Ok(Exit::Fine);
        }
        context.screen.show(&answer, |look| table(groups, look))?;
        Ok(Exit::Fine)
    }
}

fn table(groups: &[Value], look: &Look) -> String {
    let mut grid = Grid::new(&["SOURCE", "#RECORDS", "SINCE", "OBJECT", "REASONS"]);
    for group in groups {
        let label = group.text("source_label");
        grid.row([
            if label.is_empty() {
                group.text("source")
            } else {
                label
            }
            .into(),
            group.number("count").into(),
            ago(look.now, group.instant("first_ms")).into(),
            group.text("object").into(),
            reasons(group.items("reasons")).into(),
        ]);
    }
    grid.render(look)
}

/// The most frequent reasons, which come as texts or as a log type and its reason.
fn reasons(reasons: &[Value]) -> String {
    let text = reasons.iter().map(reason).collect::<Vec<_>>().join("; ");
    short(&text, 160)
}

fn reason(reason: &Value) -> String {
    match reason {
        Value::Object(_) => match reason.text("log_type") {
            log_type if log_type.is_empty() => reason.text("reason"),
            log_type => format!("{log_type}: {}", reason.text("reason")),
        },
        other => crate::answer::plain(other),
    }
}

impl Show {
    async fn run(self, context: &Context) -> Result<Exit, Failure> {
        let input = json!({"object": self.object, "limit": self.limit});
        let answer = context
            .read("node", "quarantine_show", input)
            .await
            .map_err(|error| error.next("`pantherctl quarantine ls` lists the objects"))?;
        let lines = answer.items("lines");
        if lines.is_empty() && !context.screen.json() {
            context.screen.note(&format!(
                "{} has no record in quarantine; `pantherctl quarantine ls` lists the objects that have",
                self.object
            ));
            return Ok(Exit::Findings);
        }
        context.screen.show(&answer, |look| {
            lines.iter().map(|line| record(line, look)).collect()
        })?;
        if lines.len() as u64 >= u64::from(self.limit) {
            context
                .screen
                .note("there may be more: --limit N shows more");
        }
        Ok(Exit::Fine)
    }
}

fn record(line: &Value, look: &Look) -> String {
    let mut details = Details::default();
    for item in line.items("reasons") {
        let label = match item.text("log_type") {
            log_type if log_type.is_empty() => "record".to_owned(),
            log_type => log_type,
        };
        details.toned(&label, Tone::Warning, item.text("reason"));
    }
    let origin = match line.text("origin") {
        origin if origin.is_empty() => origin,
        origin => format!(" of {origin}"),
    };
    format!(
        "{}{}\n{}\n",
        look.heading(&format!("record {}{origin}", line.text("record"))),
        clean(line.text("text").trim_end()),
        details.render(look)
    )
}

impl Replay {
    async fn run(self, context: &Context) -> Result<Exit, Failure> {
        let source = super::sources::id_of(context, self.source.as_deref()).await?;
        let input = given(json!({"object": self.object, "source": source}));
        let call = Call::change("node", "quarantine_replay", input);
        let answer = context.client.invoke(call).await?;
        context.screen.show(&answer, |_| {
            format!(
                "records of {} are read again ({})\n",
                counted(answer.number("objects"), "object"),
                counted(answer.number("messages"), "message")
            )
        })?;
        let stay = answer.number("stay");
        if stay > 0 {
            context.screen.note(&format!(
                "{} not read again: the text in quarantine is not all of the record (cut, empty or no UTF-8). Mend the input and send it again",
                if stay == 1 { "1 record is".to_owned() } else { format!("{stay} records are") }
            ));
        } else if answer.number("objects") == 0 {
            context
                .screen
                .note("nothing matched; `pantherctl quarantine ls` lists what is in quarantine");
        }
        Ok(Exit::Fine)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn records_stand_with_every_reason() {
        let line = json!({"record": 3, "text": "garbage\u{7}", "reasons": [{"log_type": "AWS.ALB", "reason": "no fields"},
            {"log_type": null, "reason": "is cut"}]});
        assert_eq!(
            record(&line, &Look::plain_at(0)),
            "record 3\ngarbage\\u{7}\nAWS.ALB  no fields\nrecord   is cut\n\n"
        );
    }
}
