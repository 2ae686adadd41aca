//! Queue operations of the door: receives that wait and are retried when their answer is lost, releases, and an
//! operator's bulk operations.

use std::collections::BTreeMap;
use std::sync::atomic::Ordering;
use std::time::Duration;

use panther_proto::v1::{
    Code, Extend, GiveBack, Message, Purge, QueueCounts, Receipt, Receive, Received, Requeue,
    command, reply,
};
use panther_retry::Retry;
use tokio::time::Instant;

use super::error::unexpected;
use super::{Door, DoorError, among};
use crate::offload::offload;
use crate::state::read;

/// Retries of an idempotent command that had no answer: a leader that fails takes with it the answers to what it has
/// executed. A node without contact to a leader for longer than the deadline loses its session anyway, and its messages
/// are released.
pub const UNTIL_ANSWERED: Retry =
    Retry::every(Duration::from_millis(100)).within(Duration::from_secs(15));

impl Door {
    /// Receives up to `max` messages, and waits up to `wait` for the first one. Empty if none arrives in time.
    ///
    /// # Errors
    /// See [`DoorError`].
    pub async fn receive(
        &self,
        queue: &str,
        max: u32,
        wait: Duration,
    ) -> Result<Received, DoorError> {
        self.receive_by_turns(queue, max, 0, wait).await
    }

    /// As [`Door::receive`], with a limit for fair queues: this node holds at most `turn_max` messages of one fairness
    /// key at a time (0 = no limit), so that a single source does not use all the node's capacity.
    ///
    /// # Errors
    /// As [`Door::receive`].
    pub async fn receive_by_turns(
        &self,
        queue: &str,
        max: u32,
        turn_max: u32,
        wait: Duration,
    ) -> Result<Received, DoorError> {
        let until = Instant::now() + wait;
        let mut receives = self.inner.receives.subscribe();
        loop {
            let allowed = tokio::time::timeout_at(until, receives.wait_for(|allowed| *allowed));
            if allowed.await.is_err() {
                return Ok(self.nothing());
            }
            let parked = self.inner.parking.park(queue);
            let session = self.session();
            let receive = Receive {
                queue: queue.to_owned(),
                session,
                max,
                attempt: self.inner.attempts.fetch_add(1, Ordering::Relaxed),
                turn_max,
                ..Receive::default()
            };
            let (store, wanted) = (self.store().clone(), receive.clone());
            if offload(move || read::may_receive(&store, &wanted)).await?? {
                match self.attempt(receive).await? {
                    reply::Kind::Received(received) if !received.messages.is_empty() => {
                        return Ok(received);
                    }
                    reply::Kind::Received(_) => {}
                    reply::Kind::Refused(refused) if refused.code() == Code::StaleSession => {
                        // The node's session has ended, which is no error of the caller: open a new session.
                        among::renew(&self.inner, session).await;
                        if Instant::now() >= until {
                            return Ok(self.nothing());
                        }
                        continue;
                    }
                    other => return Err(unexpected(other)),
                }
            }
            if tokio::time::timeout_at(until, parked.notified())
                .await
                .is_err()
            {
                return Ok(self.nothing());
            }
        }
    }

    /// The reply to a receive that found no message.
    fn nothing(&self) -> Received {
        Received {
            messages: Vec::new(),
            time_ms: self.now_ms(),
        }
    }

    /// One receive attempt, retried under the same attempt number if it has no answer. When a leader fails, the answer
    /// to a receive that it has executed is lost; those messages would stay hidden until their visibility timeout.
    async fn attempt(&self, mut receive: Receive) -> Result<reply::Kind, DoorError> {
        UNTIL_ANSWERED
            .run(DoorError::has_no_answer, || {
                let kind = command::Kind::Receive(receive.clone());
                receive.again = true;
                self.execute(kind)
            })
            .await
    }

    /// Extends the visibility timeout of a received message, counted from now.
    ///
    /// # Errors
    /// See [`DoorError`]; a stale receipt is refused.
    pub async fn extend(&self, receipt: Receipt, visibility: Duration) -> Result<(), DoorError> {
        let visibility_ms = u64::try_from(visibility.as_millis()).unwrap_or(u64::MAX);
        match self
            .execute(command::Kind::Extend(Extend {
                receipt: Some(receipt),
                visibility_ms,
            }))
            .await?
        {
            reply::Kind::Done(_) => Ok(()),
            other => Err(unexpected(other)),
        }
    }

    /// Releases a received message.
    ///
    /// # Errors
    /// See [`DoorError`]; a stale receipt is refused.
    pub async fn give_back(&self, give_back: GiveBack) -> Result<(), DoorError> {
        match self.execute(command::Kind::GiveBack(give_back)).await? {
            reply::Kind::Done(_) => Ok(()),
            other => Err(unexpected(other)),
        }
    }

    /// Removes the messages of a queue that are not in flight, up to the newest one at the start. Returns how many.
    ///
    /// # Errors
    /// See [`DoorError`].
    pub async fn purge(&self, queue: &str) -> Result<u64, DoorError> {
        let upto = self.newest(queue).await?;
        self.purge_up_to(queue, upto).await
    }

    /// The sequence number of the newest message of a queue, as purge and requeue take it.
    ///
    /// # Errors
    /// As [`DoorError`] says.
    pub async fn newest(&self, queue: &str) -> Result<u64, DoorError> {
        Ok(self.counts(queue).await?.next_seq.max(1))
    }

    /// Removes what waits in a queue, up to a sequence number; how many. Repeated with the same number it removes nothing that came later.
    ///
    /// # Errors
    /// As [`DoorError`] says.
    pub async fn purge_up_to(&self, queue: &str, upto: u64) -> Result<u64, DoorError> {
        let step = |after, max| {
            command::Kind::Purge(Purge {
                queue: queue.to_owned(),
                upto,
                max,
                after,
            })
        };
        self.in_steps(u64::MAX, step).await
    }

    /// Moves messages that are not in flight from one queue to another, up to the newest one at the start. An empty
    /// `message_id` means all of them. Returns how many.
    ///
    /// # Errors
    /// See [`DoorError`].
    pub async fn requeue(
        &self,
        from: &str,
        to: &str,
        message_id: &str,
        limit: Option<u64>,
    ) -> Result<u64, DoorError> {
        let upto = self.newest(from).await?;
        self.requeue_up_to(from, to, message_id, limit, upto).await
    }

    /// Moves what waits in one queue to another, up to a sequence number; how many. Repeated with the same number it moves nothing that came later.
    ///
    /// # Errors
    /// As [`DoorError`] says.
    pub async fn requeue_up_to(
        &self,
        from: &str,
        to: &str,
        message_id: &str,
        limit: Option<u64>,
        upto: u64,
    ) -> Result<u64, DoorError> {
        let step = |after, max| {
            command::Kind::Requeue(Requeue {
                from: from.to_owned(),
                to: to.to_owned(),
                upto,
                max,
                message_id: message_id.to_owned(),
                after,
            })
        };
        self.in_steps(limit.unwrap_or(u64::MAX), step).await
    }

    /// Repeats steps until nothing is left or `limit` is reached. Returns how many messages were moved.
    async fn in_steps(
        &self,
        limit: u64,
        step: impl Fn(u64, u32) -> command::Kind,
    ) -> Result<u64, DoorError> {
        const STEP: u64 = 500;
        let (mut count, mut after) = (0, 0);
        loop {
            let max = u32::try_from(STEP.min(limit - count)).unwrap_or(1);
            let moved = self.moved(step(after, max)).await?;
            count += u64::from(moved.count);
            // If a step made no progress, the next one would examine the same messages again.
            if moved.finished || count >= limit || moved.last <= after {
                return Ok(count);
            }
            after = moved.last;
        }
    }

    /// Messages after a sequence number, without receiving them.
    ///
    /// # Errors
    /// There is no leader, or the state cannot be read.
    pub async fn peek(
        &self,
        queue: &str,
        after: u64,
        limit: usize,
    ) -> Result<Vec<Message>, DoorError> {
        let queue = queue.to_owned();
        self.read(move |store| read::peek(store, &queue, after, limit))
            .await
    }

    /// A queue's counters.
    ///
    /// # Errors
    /// There is no leader, or the state cannot be read.
    pub async fn counts(&self, queue: &str) -> Result<QueueCounts, DoorError> {
        let queue = queue.to_owned();
        self.read(move |store| read::counts(store, &queue)).await
    }

    /// Counters of all queues, each with the arrival time of its oldest message (cluster time, ms).
    ///
    /// # Errors
    /// There is no leader, or the state cannot be read.
    pub async fn all_counts(
        &self,
    ) -> Result<BTreeMap<String, (QueueCounts, Option<u64>)>, DoorError> {
        self.read(|store| read::all_counts(store)).await
    }
}
