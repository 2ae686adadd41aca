//! requeue: dead letters go back into their queue once the cause is mended.
//!
//! One command of the node moves each message with its id, attributes and trace, so that none is doubled or lost on the way. What arrives
//! in the dead letter queue meanwhile stays there. Which dead letter queue belongs to a queue is known to the node, not guessed from names.

use std::collections::BTreeMap;

use clap::Args;
use serde_json::{Value, json};

use super::{
    Context, given,
    queue::{contents, one},
};
use crate::{
    answer::{Answer, Fields},
    client::Call,
    confirm::Consent,
    failure::{Exit, Failure},
    output::{clean, counted, short},
};

/// How many messages are looked at for their reasons.
const LOOKED_AT: i64 = 100;

/// `requeue`.
#[derive(Debug, Args)]
pub(crate) struct Requeue {
    /// The queue that the messages go back to
    to: String,
    /// The queue they come from; by default the dead letter queue of TO
    #[arg(long, value_name = "DLQ")]
    from: Option<String>,
    /// Only the message of this id
    #[arg(long, value_name = "ID")]
    message: Option<String>,
    /// At most so many, the oldest first
    #[arg(long, value_name = "N")]
    limit: Option<u64>,
    /// Show what would be moved, and move nothing
    #[arg(long)]
    dry_run: bool,
    #[command(flatten)]
    consent: Consent,
}

impl Requeue {
    pub(super) async fn run(self, context: &Context) -> Result<Exit, Failure> {
        let from = self.source(context).await?;
        let held = one(context, &from).await?;
        let most = i64::try_from(self.limit.unwrap_or(u64::MAX)).unwrap_or(i64::MAX);
        let most = if self.message.is_some() { 1 } else { most };
        let planned = held.number("waiting").min(most);
        if planned == 0 {
            context.screen.note(&format!(
                "nothing to requeue: {from} holds {}",
                contents(&held)
            ));
            if context.screen.json() {
                context
                    .screen
                    .show(&self.answer(&from, 0), |_| String::new())?;
            }
            return Ok(Exit::Fine);
        }
        let looked_at = if self.message.is_some() {
            0
        } else {
            planned.min(LOOKED_AT)
        };
        let messages = if looked_at > 0 {
            let input = json!({"queue": from, "limit": looked_at, "after": 0});
            context.read("node", "peek", input).await?
        } else {
            Answer::of(json!({}))
        };
        let plan = self.plan(&from, &held, planned, messages.items("messages"));
        if self.dry_run {
            context
                .screen
                .show(&self.answer(&from, planned), |_| clean(&plan))?;
            return Ok(Exit::Fine);
        }
        self.consent.ask(context, &plan).await?;
        let input =
            json!({"to": self.to, "from": from, "message_id": self.message, "limit": self.limit});
        let call = Call::change("node", "requeue", given(input));
        let answer = context.client.invoke(call).await?;
        context.screen.show(&answer, |_| {
            format!(
                "{} moved from {} to {}\n",
                counted(answer.number("count"), "message"),
                clean(&from),
                clean(&self.to)
            )
        })?;
        Ok(Exit::Fine)
    }

    /// Where the messages come from.
    async fn source(&self, context: &Context) -> Result<String, Failure> {
        let target = one(context, &self.to).await?;
        if target.text("kind") == "dlq" {
            let wrong = Failure::input(format!("{} is a dead letter queue itself", self.to))
                .why("nobody receives from it: messages moved there would stay there");
            let queues = context.aside("node", "queues", json!({})).await;
            let owner = queues.as_ref().and_then(|queues| {
                queues
                    .items("queues")
                    .iter()
                    .find(|queue| queue.text("dlq") == self.to)
            });
            return Err(match owner {
                Some(owner) => wrong.next(format!(
                    "to put its messages back: pantherctl requeue {}",
                    owner.text("name")
                )),
                None => wrong.next(
                    "name the queue that its messages go back to; `pantherctl queue ls` lists them",
                ),
            });
        }
        if let Some(from) = &self.from {
            return Ok(from.clone());
        }
        match target.text("dlq") {
            dlq if dlq.is_empty() => Err(Failure::input(format!(
                "{} has no dead letter queue",
                self.to
            ))
            .next(
                "say where the messages come from: --from QUEUE; `pantherctl queue ls` lists them",
            )),
            dlq => Ok(dlq),
        }
    }

    fn plan(&self, from: &str, held: &Value, planned: i64, messages: &[Value]) -> String {
        let what = match &self.message {
            Some(id) => format!("message {id}"),
            None => counted(planned, "message"),
        };
        let mut plan = format!(
            "requeue {what}\n  from  {from} ({})\n  to    {}\n  ids, attributes and traces are kept; receive and failure counts start from 0\n",
            contents(held),
            self.to
        );
        let mut reasons: BTreeMap<String, i64> = BTreeMap::new();
        for message in messages {
            let reason = short(&message.text("last_error"), 400);
            *reasons
                .entry(if reason.is_empty() {
                    "no reason told".to_owned()
                } else {
                    reason
                })
                .or_default() += 1;
        }
        let mut reasons: Vec<(String, i64)> = reasons.into_iter().collect();
        reasons.sort_by_key(|(_, count)| -count);
        if !reasons.is_empty() {
            plan.push_str("  why they failed (is it mended?)\n");
        }
        for (reason, count) in reasons.iter().take(10) {
            plan.push_str(&format!("    {count} × {reason}\n"));
        }
        if reasons.len() > 10 {
            plan.push_str(&format!("    and {} other reasons\n", reasons.len() - 10));
        }
        plan
    }

    fn answer(&self, from: &str, count: i64) -> Answer {
        Answer::of(json!({"from": from, "to": self.to, "count": count, "dryRun": self.dry_run}))
    }
}
