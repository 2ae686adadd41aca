//! queue: queues, dead letter queues and feeds, and the messages in them.

use clap::{Args, Subcommand};
use serde_json::{Map, Value, json};

use super::{Context, given};
use crate::{
    answer::{Answer, Fields, plain},
    client::Call,
    confirm::Consent,
    failure::{Exit, Failure},
    input,
    output::{Cell, Details, Grid, Look, Tone, bytes, clean, counted, moment, pretty, span},
};

/// `queue`.
#[derive(Debug, Subcommand)]
pub(crate) enum Queue {
    /// All queues, their dead letter queues and feeds
    Ls(Ls),
    /// One queue: its attributes and what went through
    Show(Name),
    /// Look at messages without receiving them
    Peek(Peek),
    /// Send a message
    Send(Send),
    /// Delete what waits in a queue, for good
    Purge(Purge),
    /// Delete one dead letter
    Delete(Delete),
}

/// `queue ls`.
#[derive(Debug, Args)]
pub(crate) struct Ls {
    /// Only queues whose name contains this
    name: Option<String>,
    /// Only queues that hold something
    #[arg(long)]
    filled: bool,
}

/// A queue.
#[derive(Debug, Args)]
pub(crate) struct Name {
    /// The queue
    queue: String,
}

/// `queue peek`.
#[derive(Debug, Args)]
pub(crate) struct Peek {
    /// The queue
    queue: String,
    /// How many messages
    #[arg(long, default_value_t = 10)]
    limit: u32,
    /// Begin behind the message of this number
    #[arg(long, default_value_t = 0, value_name = "SEQ")]
    after: u64,
}

/// `queue send`.
#[derive(Debug, Args)]
pub(crate) struct Send {
    /// The queue
    queue: String,
    /// The message's text; - for standard input, @FILE for a file
    body: String,
    /// An attribute of the message; may be given several times
    #[arg(long = "attribute", value_name = "KEY=VALUE", value_parser = input::pair)]
    attributes: Vec<(String, String)>,
    /// Seconds until it can be received
    #[arg(long, default_value_t = 0, value_name = "SECONDS")]
    delay: u32,
}

/// `queue purge`.
#[derive(Debug, Args)]
pub(crate) struct Purge {
    /// The queue
    queue: String,
    #[command(flatten)]
    consent: Consent,
}

/// `queue delete`.
#[derive(Debug, Args)]
pub(crate) struct Delete {
    /// The dead letter queue
    queue: String,
    /// The message's id, as `queue peek` shows it
    message: String,
}

impl Queue {
    pub(super) async fn run(self, context: &Context) -> Result<Exit, Failure> {
        match self {
            Self::Ls(ls) => ls.run(context).await,
            Self::Show(name) => {
                let answer = one(context, &name.queue).await?;
                context
                    .screen
                    .show(&answer, |look| details(&answer, look))?;
                Ok(Exit::Fine)
            }
            Self::Peek(peek) => peek.run(context).await,
            Self::Send(send) => send.run(context).await,
            Self::Purge(purge) => purge.run(context).await,
            Self::Delete(delete) => delete.run(context).await,
        }
    }
}

/// A queue with its attributes and counts.
pub(super) async fn one(context: &Context, queue: &str) -> Result<Answer, Failure> {
    context
        .read("node", "queue", json!({"name": queue}))
        .await
        .map_err(|error| {
            if error.is_not_found() {
                error.next("`pantherctl queue ls` lists them all").into()
            } else {
                error.into()
            }
        })
}

/// What a queue holds, in words.
pub(super) fn contents(queue: &Value) -> String {
    let mut words = format!("{} waiting", queue.number("waiting"));
    for (key, word) in [("delayed", "delayed"), ("in_flight", "in flight")] {
        if queue.number(key) > 0 {
            words.push_str(&format!(", {} {word}", queue.number(key)));
        }
    }
    if queue.has("oldest_ms_ago") {
        words.push_str(&format!(
            ", the oldest {} old",
            span(queue.number("oldest_ms_ago"))
        ));
    }
    words
}

/// What went through a queue since it was made, in words.
fn history(queue: &Value) -> String {
    let counts: Vec<String> = [
        "accepted",
        "done",
        "failed",
        "dead_lettered",
        "expired",
        "purged",
        "moved_out",
        "coalesced",
        "deduplicated",
    ]
    .iter()
    .filter(|key| matches!(**key, "accepted" | "done") || queue.number(key) > 0)
    .map(|key| format!("{} {}", queue.number(key), key.replace('_', " ")))
    .collect();
    counts.join(", ")
}

impl Ls {
    async fn run(self, context: &Context) -> Result<Exit, Failure> {
        let answer = context.read("node", "queues", json!({})).await?;
        let all = answer.items("queues");
        let held = |queue: &Value| {
            queue.number("waiting") + queue.number("delayed") + queue.number("in_flight")
        };
        let chosen: Vec<&Value> = all
            .iter()
            .filter(|queue| {
                let named = self
                    .name
                    .as_ref()
                    .is_none_or(|name| queue.text("name").contains(name));
                named && (!self.filled || held(queue) > 0)
            })
            .collect();
        if chosen.is_empty() && !context.screen.json() {
            let all = counted(all.len() as i64, "queue");
            context.screen.note(&match &self.name {
                Some(name) => format!(
                    "looked at {all}; none with {name:?} in its name{}",
                    if self.filled { " holds anything" } else { "" }
                ),
                None => format!("looked at {all}; none holds anything"),
            });
            return Ok(Exit::Fine);
        }
        context.screen.show(&answer, |look| table(&chosen, look))?;
        Ok(Exit::Fine)
    }
}

fn table(queues: &[&Value], look: &Look) -> String {
    let mut grid = Grid::new(&[
        "NAME",
        "KIND",
        "#WAITING",
        "#DELAYED",
        "#IN FLIGHT",
        "OLDEST",
        "#ACCEPTED",
        "#DONE",
        "#FAILED",
        "#DEAD",
        "#BYTES",
    ]);
    for queue in queues {
        let waiting = queue.number("waiting");
        let dead = queue.text("kind") == "dlq";
        grid.row([
            queue.text("name").into(),
            queue.text("kind").into(),
            if dead {
                Cell::alarming(waiting)
            } else {
                waiting.into()
            },
            queue.number("delayed").into(),
            queue.number("in_flight").into(),
            if queue.has("oldest_ms_ago") {
                span(queue.number("oldest_ms_ago")).into()
            } else {
                "".into()
            },
            queue.number("accepted").into(),
            queue.number("done").into(),
            queue.number("failed").into(),
            Cell::alarming(queue.number("dead_lettered")),
            bytes(queue.number("bytes")).into(),
        ]);
    }
    grid.render(look)
}

fn details(queue: &Value, look: &Look) -> String {
    let seconds = |key: &str| {
        if queue.has(key) {
            span(queue.number(key))
        } else {
            String::new()
        }
    };
    let mut details = Details::default();
    details
        .add("name", queue.text("name"))
        .add("kind", queue.text("kind"))
        .add(
            "holds",
            format!("{} ({})", contents(queue), bytes(queue.number("bytes"))),
        )
        .add("went through", history(queue))
        .add("consumer", queue.text("consumer"))
        .add("visibility", seconds("visibility_ms"))
        .add("retention", seconds("retention_ms"))
        .add("dlq", queue.text("dlq"));
    if queue.has("dlq") && !queue.text("dlq").is_empty() {
        details.add("receives before dlq", queue.text("max_receive_count"));
    }
    details.render(look)
}

impl Peek {
    async fn run(self, context: &Context) -> Result<Exit, Failure> {
        let input = json!({"queue": self.queue, "limit": self.limit, "after": self.after});
        let answer = context.read("node", "peek", input).await?;
        let messages = answer.items("messages");
        if messages.is_empty() && !context.screen.json() {
            let queue = one(context, &self.queue).await?;
            let behind = if self.after > 0 {
                format!(" behind number {}", self.after)
            } else {
                String::new()
            };
            context.screen.note(&format!(
                "no message{behind} in {}: {}; since it was made: {}",
                self.queue,
                contents(&queue),
                history(&queue)
            ));
            return Ok(Exit::Fine);
        }
        context.screen.show(&answer, |look| {
            messages
                .iter()
                .map(|message| shown(message, look))
                .collect()
        })?;
        if messages.len() as u64 >= u64::from(self.limit) {
            let last = messages
                .last()
                .map(|message| message.text("seq"))
                .unwrap_or_default();
            context.screen.note(&format!(
                "there may be more: pantherctl queue peek {} --after {last}",
                self.queue
            ));
        }
        Ok(Exit::Fine)
    }
}

fn shown(message: &Value, look: &Look) -> String {
    let state = if message.get("in_flight").and_then(Value::as_bool) == Some(true) {
        ", in flight"
    } else {
        ""
    };
    let attributes = match &message["attributes"] {
        Value::Object(fields) => fields
            .iter()
            .map(|(key, value)| format!("{key}={}", plain(value)))
            .collect::<Vec<_>>()
            .join(" "),
        _ => String::new(),
    };
    let mut details = Details::default();
    details
        .add("sent", moment(look.now, message.instant("sent_ms")))
        .add(
            "received",
            format!(
                "{} times, failed {}{state}",
                message.number("receives"),
                message.number("failures")
            ),
        )
        .toned("last error", Tone::Bad, message.text("last_error"))
        .add("attributes", attributes)
        .add("trace", message.text("trace_id"));
    let body = match &message["body"] {
        Value::String(text) => clean(text),
        Value::Null => String::new(),
        other => pretty(other),
    };
    format!(
        "{}{}{}\n\n",
        look.heading(&format!("#{} {}", message.text("seq"), message.text("id"))),
        details.render(look),
        body.trim_end()
    )
}

impl Send {
    async fn run(self, context: &Context) -> Result<Exit, Failure> {
        let attributes: Map<String, Value> = self
            .attributes
            .into_iter()
            .map(|(key, value)| (key, Value::String(value)))
            .collect();
        let body = input::text("the message", &self.body)?;
        let mut input =
            json!({"queue": self.queue, "body": body, "attributes": attributes, "delay_ms": null});
        if self.delay > 0 {
            input["delay_ms"] = json!(u64::from(self.delay) * 1000);
        }
        let answer = context.change("node", "send", given(input)).await?;
        context
            .screen
            .show(&answer, |_| format!("{}\n", clean(&answer.text("id"))))?;
        Ok(Exit::Fine)
    }
}

impl Purge {
    async fn run(self, context: &Context) -> Result<Exit, Failure> {
        let queue = one(context, &self.queue).await?;
        let waiting = queue.number("waiting") + queue.number("delayed");
        if waiting == 0 {
            context.screen.note(&format!(
                "nothing to purge: {} holds {}",
                self.queue,
                contents(&queue)
            ));
            if context.screen.json() {
                context
                    .screen
                    .show(&Answer::of(json!({"count": 0})), |_| String::new())?;
            }
            return Ok(Exit::Fine);
        }
        self.consent
            .ask(
                context,
                &format!(
                    "purge {}: {} will be deleted for good and counted as purged ({})",
                    self.queue,
                    counted(waiting, "message"),
                    contents(&queue)
                ),
            )
            .await?;
        let call = Call::change("node", "purge", json!({"queue": self.queue}));
        let answer = context.client.invoke(call).await?;
        context.screen.show(&answer, |_| {
            format!(
                "{} deleted from {}\n",
                counted(answer.number("count"), "message"),
                clean(&self.queue)
            )
        })?;
        Ok(Exit::Fine)
    }
}

impl Delete {
    async fn run(self, context: &Context) -> Result<Exit, Failure> {
        let input = json!({"queue": self.queue, "message_id": self.message});
        let answer = context.change("node", "delete", input).await?;
        context.screen.show(&answer, |_| {
            format!(
                "message {} is deleted from {}\n",
                clean(&self.message),
                clean(&self.queue)
            )
        })?;
        context.screen.note(&format!(
            "for 14 days `pantherctl requeue QUEUE --from {} --message {}` puts it back",
            answer.text("kept_in"),
            self.message
        ));
        Ok(Exit::Fine)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_queue_is_told_in_words() {
        let queue = json!({"waiting": 2, "delayed": 0, "in_flight": 1, "oldest_ms_ago": 7_200_000, "accepted": 9, "done": 6, "failed": 1});
        assert_eq!(
            contents(&queue),
            "2 waiting, 1 in flight, the oldest 2 h old"
        );
        assert_eq!(history(&queue), "9 accepted, 6 done, 1 failed");
    }

    #[test]
    fn a_message_is_shown_with_its_last_error_first_and_harmless() {
        let message = json!({"id": "m1", "seq": 4, "body": "{\"a\":1}\u{1b}[2J", "attributes": {"type": "x"}, "receives": 4,
            "failures": 4, "sent_ms": 1_700_000_000_000_i64, "last_error": "truncated", "in_flight": false});
        let text = shown(&message, &Look::plain_at(1_700_000_060));
        assert!(text.starts_with("#4 m1\nsent        2023-11-14 22:13:20Z (60 s ago)\nreceived    4 times, failed 4\nlast error  truncated\n"), "{text}");
        assert!(!text.contains('\u{1b}'), "{text}");
    }
}
