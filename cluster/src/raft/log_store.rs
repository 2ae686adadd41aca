//! openraft's log interface over the log on disk.

use std::fmt::Debug;
use std::io;
use std::ops::{Bound, RangeBounds};

use openraft::storage::{IOFlushed, LogState, RaftLogReader, RaftLogStorage};
use tokio::sync::oneshot;

use super::types::{self, LogId, RaftEntry, RaftVoteType, Types};
use crate::log::{Log, Told};
use crate::offload::offload;

/// Largest size of one read's result, in bytes of entries.
const READ_BYTES: usize = 2 << 20;

#[derive(Clone)]
pub(crate) struct LogStore {
    log: Log,
}

impl LogStore {
    pub(crate) fn new(log: Log) -> Self {
        Self { log }
    }
}

/// Submits an operation to the log and waits until it is durable.
pub(super) async fn durable(hand_over: impl FnOnce(Told)) -> io::Result<()> {
    let (sender, receiver) = oneshot::channel();
    hand_over(Box::new(move |result| {
        let _ = sender.send(result); // the caller may have stopped waiting; the write is done anyway
    }));
    receiver
        .await
        .unwrap_or_else(|_| Err(io::Error::other("the log's writer has ended")))
}

impl RaftLogReader<Types> for LogStore {
    async fn try_get_log_entries<RB: RangeBounds<u64> + Clone + Debug + Send>(
        &mut self,
        range: RB,
    ) -> io::Result<Vec<RaftEntry>> {
        let start = match range.start_bound() {
            Bound::Included(start) => *start,
            Bound::Excluded(before) => before + 1,
            Bound::Unbounded => 0,
        };
        let end = match range.end_bound() {
            Bound::Included(last) => last.saturating_add(1),
            Bound::Excluded(end) => *end,
            Bound::Unbounded => u64::MAX,
        };
        if start >= end {
            return Ok(Vec::new());
        }
        let entries = match self.log.cached(start..end) {
            Some(entries) => entries,
            None => {
                let log = self.log.clone();
                offload(move || log.read(start..end, usize::MAX)).await??
            }
        };
        entries
            .iter()
            .map(|(at, payload)| types::decode_entry(at, payload))
            .collect()
    }

    async fn limited_get_log_entries(
        &mut self,
        start: u64,
        end: u64,
    ) -> io::Result<Vec<RaftEntry>> {
        let log = self.log.clone();
        let entries = offload(move || log.read(start..end, READ_BYTES)).await??;
        entries
            .iter()
            .map(|(at, payload)| types::decode_entry(at, payload))
            .collect()
    }

    async fn read_vote(&mut self) -> io::Result<Option<RaftVoteType>> {
        Ok(self.log.state().vote.as_ref().map(types::vote))
    }
}

impl RaftLogStorage<Types> for LogStore {
    type LogReader = Self;

    async fn get_log_state(&mut self) -> io::Result<LogState<Types>> {
        let state = self.log.state();
        Ok(LogState {
            last_purged_log_id: state.purged.as_ref().map(types::log_id),
            last_log_id: state.last.as_ref().map(types::log_id),
        })
    }

    async fn get_log_reader(&mut self) -> Self {
        self.clone()
    }

    async fn save_vote(&mut self, vote: &RaftVoteType) -> io::Result<()> {
        self.log.room().await;
        let vote = types::stored_vote(vote);
        durable(|told| self.log.save_vote(vote, told)).await
    }

    async fn save_committed(&mut self, committed: Option<LogId>) -> io::Result<()> {
        if let Some(committed) = committed {
            self.log.room().await;
            self.log.save_committed(types::position(&committed));
        }
        Ok(())
    }

    async fn read_committed(&mut self) -> io::Result<Option<LogId>> {
        Ok(self.log.state().committed.as_ref().map(types::log_id))
    }

    async fn append<I>(&mut self, entries: I, callback: IOFlushed<Types>) -> io::Result<()>
    where
        I: IntoIterator<Item = RaftEntry> + Send,
        I::IntoIter: Send,
    {
        let entries = entries
            .into_iter()
            .map(|entry| {
                (
                    types::position(&entry.log_id),
                    types::encode_payload(&entry.payload),
                )
            })
            .collect();
        self.log.room().await;
        self.log.append(
            entries,
            Box::new(move |result| callback.io_completed(result)),
        );
        Ok(())
    }

    async fn truncate_after(&mut self, last: Option<LogId>) -> io::Result<()> {
        self.log.room().await;
        durable(|told| self.log.truncate(last.map(|id| id.index()), told)).await
    }

    async fn purge(&mut self, upto: LogId) -> io::Result<()> {
        self.log.room().await;
        durable(|told| self.log.purge(types::position(&upto), told)).await
    }
}
