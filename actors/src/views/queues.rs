//! Queues: counts, messages, and what an operator does to them.

use panther_cluster::door::change;
use panther_cluster::state::read;
use panther_proto::v1::{
    DeleteAnswer, DeleteRequest, MessageView, PeekAnswer, PeekRequest, PurgeAnswer, QueueCounts,
    QueueView, QueuesAnswer, RequeueAnswer, RequeueRequest, SendAnswer, SendRequest,
};
use serde::{Deserialize, Serialize};

use super::Views;
use crate::api::{ApiError, CallContext};
use crate::catalogue::Kind;
use crate::components::catalogue;
use crate::retention::DELETED;

/// What a purge or requeue set out to do: a retry goes on with the same.
#[derive(Serialize, Deserialize)]
struct Bounds {
    /// The newest message at the start; what comes later is left alone.
    upto: u64,
}

fn kind(name: &str) -> &'static str {
    match catalogue().all().find(|component| {
        component.name == name && matches!(component.kind, Kind::Queue | Kind::Dlq)
    }) {
        Some(component) if component.kind == Kind::Dlq => "dlq",
        _ if name.ends_with("-feed") => "feed",
        _ => "queue",
    }
}

fn counted(name: &str, counts: &QueueCounts, oldest_ms: Option<u64>, now_ms: u64) -> QueueView {
    QueueView {
        name: name.to_owned(),
        kind: kind(name).to_owned(),
        waiting: counts.waiting,
        delayed: counts.delayed,
        in_flight: counts.in_flight,
        oldest_ms_ago: oldest_ms.map(|oldest| now_ms.saturating_sub(oldest)),
        accepted: counts.accepted,
        done: counts.done,
        failed: counts.failures,
        dead_lettered: counts.dead_lettered,
        expired: counts.expired,
        purged: counts.purged,
        moved_out: counts.moved_out,
        coalesced: counts.coalesced,
        deduplicated: counts.deduplicated,
        bytes: counts.bytes,
        suspects: counts.suspects,
        dlq: catalogue().dlq_of(name).map(str::to_owned),
        ..QueueView::default()
    }
}

impl Views<'_> {
    pub(super) async fn all_queues(&self) -> Result<QueuesAnswer, ApiError> {
        let now = self.door.now_ms();
        let all = self.door.all_counts().await?;
        let queues = all
            .iter()
            .map(|(name, (counts, oldest))| counted(name, counts, *oldest, now));
        Ok(QueuesAnswer {
            queues: queues.collect(),
        })
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

    pub(super) async fn one_queue(&self, name: &str) -> Result<QueueView, ApiError> {
        let spec = self.known(name).await?;
        let all = self.door.all_counts().await?;
        let (counts, oldest) = all.get(name).cloned().unwrap_or_default();
        let consumer = catalogue().consumer_of(name);
        Ok(QueueView {
            visibility_ms: Some(spec.visibility_ms),
            retention_ms: Some(spec.retention_ms),
            max_receive_count: Some(spec.max_receive_count),
            consumer: consumer.map(|consumer| consumer.name.clone()),
            ..counted(name, &counts, oldest, self.door.now_ms())
        })
    }

    pub(super) async fn messages(&self, request: PeekRequest) -> Result<PeekAnswer, ApiError> {
        let queue = request.queue;
        self.known(&queue).await?;
        let limit = super::at_most(request.limit, 10);
        let after = request.after.unwrap_or(0);
        let messages = self.door.peek(&queue, after, limit).await?;
        let shown = messages.into_iter().map(|message| MessageView {
            body: super::json::body(&queue, &message.body),
            id: message.id,
            seq: message.seq,
            attributes: message.attributes,
            receives: message.receives,
            failures: message.failures,
            sent_ms: message.sent_ms,
            last_error: message.last_error,
            in_flight: message.in_flight,
            trace_id: message.trace_id,
            origin: message.origin,
            turn: message.turn,
            suspect: message.suspect,
        });
        Ok(PeekAnswer {
            messages: shown.collect(),
        })
    }

    pub(super) async fn send_message(
        &self,
        context: &CallContext,
        request: SendRequest,
    ) -> Result<SendAnswer, ApiError> {
        self.known(&request.queue).await?;
        let mut send = change::to_queue(&request.queue, request.body);
        send.attributes = request.attributes;
        send.delay_ms = request.delay_ms;
        let mut transact = context.transact(self.door.now_ms(), Vec::new());
        transact.sends.push(send);
        let done = self.door.transact(transact).await?;
        let answer = SendAnswer {
            id: done.message_ids.into_iter().next(),
        };
        context.keep(self.door, &answer).await?;
        Ok(answer)
    }

    /// Notes how far a purge or requeue of a queue goes.
    async fn bounds(&self, context: &CallContext, queue: &str) -> Result<u64, ApiError> {
        let upto = self.door.newest(queue).await?;
        let bounds = context.begin_with(self.door, Bounds { upto }).await?;
        Ok(bounds.upto)
    }

    pub(super) async fn purge_queue(
        &self,
        context: &CallContext,
        name: &str,
    ) -> Result<PurgeAnswer, ApiError> {
        self.known(name).await?;
        let upto = self.bounds(context, name).await?;
        let count = self.door.purge_up_to(name, upto).await?;
        self.finished(context, PurgeAnswer { count }).await
    }

    /// Takes one dead letter out of its queue. It can be put back while the queue of deleted messages keeps it.
    pub(super) async fn delete_message(
        &self,
        context: &CallContext,
        request: DeleteRequest,
    ) -> Result<DeleteAnswer, ApiError> {
        let DeleteRequest { queue, message_id } = request;
        if !self.known(&queue).await?.dead_letter {
            return Err(ApiError::Invalid(format!(
                "{queue} is no dead letter queue: its messages are handled, and end as dead letters if that fails; `pantherctl queue purge` empties it"
            )));
        }
        let begun = context.begun::<Bounds>(self.door).await?.is_some();
        let upto = self.bounds(context, &queue).await?;
        let count = self
            .door
            .requeue_up_to(&queue, DELETED, &message_id, Some(1), upto)
            .await?;
        // A retry does not find the message that the first call has moved.
        if count == 0 && !begun {
            return Err(ApiError::NotFound(format!(
                "{queue} holds no message {message_id}; `pantherctl queue peek {queue}` shows the ids"
            )));
        }
        let answer = DeleteAnswer {
            queue,
            message_id,
            kept_in: DELETED.to_owned(),
        };
        self.finished(context, answer).await
    }

    pub(super) async fn requeue_messages(
        &self,
        context: &CallContext,
        request: RequeueRequest,
    ) -> Result<RequeueAnswer, ApiError> {
        let to = request.to;
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
        let from = match request.from {
            Some(from) => from,
            None => catalogue().dlq_of(&to).map(str::to_owned).ok_or_else(|| {
                ApiError::Invalid(format!(
                    "{to} has no dead letter queue; name one with --from"
                ))
            })?,
        };
        self.known(&from).await?;
        let message_id = request.message_id.unwrap_or_default();
        let upto = self.bounds(context, &from).await?;
        let count = self
            .door
            .requeue_up_to(&from, &to, &message_id, request.limit, upto)
            .await?;
        self.finished(context, RequeueAnswer { from, to, count })
            .await
    }
}
