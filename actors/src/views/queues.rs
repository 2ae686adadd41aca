//! Queues: counts, messages, and what an operator does to them.

use std::collections::BTreeMap;

use panther_cluster::door::change;
use panther_cluster::state::read;
use panther_proto::v1::QueueCounts;
use serde::Deserialize;
use serde_json::{Value, json};

use super::Views;
use crate::api::{ApiCall, ApiError};
use crate::catalogue::Kind;
use crate::components::catalogue;
use crate::components::outputs_api::request;

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct Name {
    #[serde(alias = "queue")]
    name: String,
}

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct Peek {
    queue: String,
    #[serde(default)]
    limit: Option<usize>,
    #[serde(default)]
    after: Option<u64>,
}

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct SendMessage {
    queue: String,
    body: String,
    #[serde(default)]
    attributes: BTreeMap<String, String>,
    #[serde(default)]
    delay_ms: u64,
}

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct Requeue {
    to: String,
    #[serde(default)]
    from: Option<String>,
    #[serde(default)]
    message_id: Option<String>,
    #[serde(default)]
    limit: Option<u64>,
}

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct Delete {
    queue: String,
    message_id: String,
}

/// Where a dead letter goes that an operator deletes.
pub(crate) const DELETED: &str = "panther-deleted-messages";

fn kind(name: &str) -> &'static str {
    match catalogue().all().find(|component| {
        component.name == name && matches!(component.kind, Kind::Queue | Kind::Dlq)
    }) {
        Some(component) if component.kind == Kind::Dlq => "dlq",
        _ if name.ends_with("-feed") => "feed",
        _ => "queue",
    }
}

fn counted(name: &str, counts: &QueueCounts, oldest_ms: Option<u64>, now_ms: u64) -> Value {
    json!({
        "name": name, "kind": kind(name), "waiting": counts.waiting, "delayed": counts.delayed, "in_flight": counts.in_flight,
        "oldest_ms_ago": oldest_ms.map(|oldest| now_ms.saturating_sub(oldest)), "accepted": counts.accepted, "done": counts.done,
        "failed": counts.failures, "dead_lettered": counts.dead_lettered, "expired": counts.expired, "purged": counts.purged,
        "moved_out": counts.moved_out, "coalesced": counts.coalesced, "deduplicated": counts.deduplicated, "bytes": counts.bytes,
        "suspects": counts.suspects, "dlq": catalogue().dlq_of(name),
    })
}

impl Views<'_> {
    pub(super) async fn queues(&self) -> Result<Value, ApiError> {
        let now = self.door.now_ms();
        let all = self.door.all_counts().await?;
        Ok(
            json!({"queues": all.iter().map(|(name, (counts, oldest))| counted(name, counts, *oldest, now)).collect::<Vec<_>>()}),
        )
    }

    async fn known(&self, name: &str) -> Result<panther_proto::v1::QueueSpec, ApiError> {
        let specs = self.door.read(|store| read::queues(store)).await?;
        let near: Vec<String> = specs
            .iter()
            .filter(|spec| spec.name.contains(name))
            .map(|spec| spec.name.clone())
            .collect();
        specs
            .into_iter()
            .find(|spec| spec.name == name)
            .ok_or_else(|| {
                let hint = if near.is_empty() {
                    "`pantherctl queue ls` shows them".to_owned()
                } else {
                    format!("did you mean {}?", near.join(" or "))
                };
                ApiError::NotFound(format!("there is no queue {name}; {hint}"))
            })
    }

    pub(super) async fn queue(&self, call: &ApiCall) -> Result<Value, ApiError> {
        let Name { name } = call.input()?;
        let spec = self.known(&name).await?;
        let all = self.door.all_counts().await?;
        let (counts, oldest) = all.get(&name).cloned().unwrap_or_default();
        let mut shown = counted(&name, &counts, oldest, self.door.now_ms());
        shown["visibility_ms"] = spec.visibility_ms.into();
        shown["retention_ms"] = spec.retention_ms.into();
        shown["max_receive_count"] = spec.max_receive_count.into();
        shown["consumer"] = catalogue()
            .consumer_of(&name)
            .map(|consumer| consumer.name.clone())
            .into();
        Ok(shown)
    }

    pub(super) async fn peek(&self, call: &ApiCall) -> Result<Value, ApiError> {
        let Peek {
            queue,
            limit,
            after,
        } = call.input()?;
        self.known(&queue).await?;
        let messages = self
            .door
            .peek(&queue, after.unwrap_or(0), limit.unwrap_or(10))
            .await?;
        let shown: Vec<Value> = messages
            .iter()
            .map(|message| {
                json!({"id": message.id, "seq": message.seq, "body": super::json::body(&queue, &message.body), "attributes": message.attributes, "receives": message.receives,
                    "failures": message.failures, "sent_ms": message.sent_ms, "last_error": message.last_error, "in_flight": message.in_flight, "trace_id": message.trace_id,
                    "origin": message.origin, "turn": message.turn, "suspect": message.suspect})
            })
            .collect();
        Ok(json!({"messages": shown}))
    }

    pub(super) async fn send(&self, call: &ApiCall) -> Result<Value, ApiError> {
        let SendMessage {
            queue,
            body,
            attributes,
            delay_ms,
        } = call.input()?;
        self.known(&queue).await?;
        let mut send = change::to_queue(&queue, body);
        send.attributes = attributes;
        send.delay_ms = delay_ms;
        let mut transact = request(call, Vec::new());
        transact.sends.push(send);
        let done = self.door.transact(transact).await?;
        Ok(json!({"id": done.message_ids.first()}))
    }

    pub(super) async fn purge(&self, call: &ApiCall) -> Result<Value, ApiError> {
        let Name { name } = call.input()?;
        self.known(&name).await?;
        Ok(json!({"count": self.door.purge(&name).await?}))
    }

    /// Takes one dead letter out of its queue. It can be put back while the queue of deleted messages keeps it.
    pub(super) async fn delete(&self, call: &ApiCall) -> Result<Value, ApiError> {
        let Delete { queue, message_id } = call.input()?;
        if !self.known(&queue).await?.dead_letter {
            return Err(ApiError::Invalid(format!(
                "{queue} is no dead letter queue: its messages are handled, and end as dead letters if that fails; `pantherctl queue purge` empties it"
            )));
        }
        let count = self
            .door
            .requeue(&queue, DELETED, &message_id, Some(1))
            .await?;
        if count == 0 {
            return Err(ApiError::NotFound(format!(
                "{queue} holds no message {message_id}; `pantherctl queue peek {queue}` shows the ids"
            )));
        }
        Ok(json!({"queue": queue, "message_id": message_id, "kept_in": DELETED}))
    }

    pub(super) async fn requeue(&self, call: &ApiCall) -> Result<Value, ApiError> {
        let Requeue {
            to,
            from,
            message_id,
            limit,
        } = call.input()?;
        let spec = self.known(&to).await?;
        if spec.dead_letter {
            let of = catalogue()
                .find(&format!("{to}/dlq"))
                .ok()
                .and_then(|component| component.queue.as_ref()?.dead_letters_of.clone())
                .unwrap_or_default();
            return Err(ApiError::Invalid(format!(
                "{to} is a dead letter queue: requeue goes the other way, `pantherctl requeue {of}`"
            )));
        }
        let from = match from {
            Some(from) => from,
            None => catalogue().dlq_of(&to).map(str::to_owned).ok_or_else(|| {
                ApiError::Invalid(format!(
                    "{to} has no dead letter queue; name one with --from"
                ))
            })?,
        };
        self.known(&from).await?;
        let count = self
            .door
            .requeue(&from, &to, &message_id.unwrap_or_default(), limit)
            .await?;
        Ok(json!({"from": from, "to": to, "count": count}))
    }
}
